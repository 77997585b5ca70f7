//! What makes a command harmless where it stands.

use super::script;

#[test]
fn what_runs_only_where_it_is_not_done_yet_is_silent() {
    for quiet in [
        "[ -e /data/x ] || mkdir /data/x",
        "test -f /data/x || { mkdir /data/x; psql -c 'INSERT INTO t VALUES (1)'; }",
        "[[ -d /data/x ]] || mkdir /data/x",
        "[ ! -d /data/x ] && mkdir /data/x",
        "! [ -d /data/x ] && mkdir /data/x",
        "if [ ! -e /data/x ]; then mkdir /data/x; fi",
        "if [ -e /data/x ]; then :; else mkdir /data/x; fi",
        "if a; then :; elif b; then mkdir /data/x; fi",
        "case $(cat /data/version) in 1) mkdir /data/x;; esac",
        "command -v foo && mkdir /data/x",
        "ls /data/x >/dev/null 2>&1 || mkdir /data/x",
        "[ -f /data/done ] && exit 0\nmkdir /data/x\necho a >> /data/f",
        "if [ -f /data/done ]; then echo done; exit; fi\nmkdir /data/x",
        "test -f /data/done && { echo done; exit 0; }\nmkdir /data/x",
        "init() { mkdir /data/x; }\n[ -d /data/x ] || init",
        "[ -d /data/x ] || (cd /data && mkdir x)",
        "mkdir /data/x || true",
        "mkdir /data/x || :",
        "mkdir /data/x 2>/dev/null || echo there",
        "if mkdir /data/x; then echo made; fi",
        "[ -e a ] || mkdir /data/a && echo made",
        "[ -f /data/done ] || psql <<EOF\nINSERT INTO t VALUES (1);\nEOF",
        "if [ ! -f /data/done ]; then\npsql <<'EOF'\nINSERT INTO t VALUES (1);\nEOF\nfi",
    ] {
        assert_eq!(script(quiet), [""; 0], "{quiet}");
    }
}

#[test]
fn what_only_looks_like_a_guard_is_none() {
    for (loud, rule) in [
        ("set -e; mkdir /data/x", "mkdir"),
        ("cd /data && mkdir x", "mkdir"),
        ("mkdir /data/x && echo made", "mkdir"),
        ("cd /nowhere || exit 1\nmkdir /data/x", "mkdir"),
        ("[ -n \"$URL\" ] || exit 1\nmkdir /data/x", "mkdir"),
        ("mkdir /data/x || exit 1", "mkdir"),
        ("mkdir /data/x || return 1", "mkdir"),
        ("until pg_isready; do sleep 1; done; mkdir /data/x", "mkdir"),
        ("([ -f /data/done ] && exit 0); mkdir /data/x", "mkdir"),
        ("echo a >> /data/f || true", "append"),
        ("psql -c 'UPDATE t SET n = n + 1' || true", "sql-update"),
        ("[ -e a ]; mkdir /data/x", "mkdir"),
        ("mkdir /data/x &", "mkdir"),
        ("pg_isready && psql -c 'INSERT INTO t VALUES (1)'", "sql-insert"),
    ] {
        assert_eq!(script(loud), [rule], "{loud}");
    }
}
