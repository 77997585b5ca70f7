//! What makes a command harmless where it stands.

use super::{psql, script};

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
        "[ \"$(psql -tAc 'SELECT 1 FROM t')\" = 1 ] || psql -c 'INSERT INTO t VALUES (1)'",
        "n=$(psql -tAc 'SELECT count(*) FROM t')\nif [ \"$n\" = 0 ]; then psql -c 'INSERT INTO t VALUES (1)'; fi",
        "done=0; [ -f /data/x ] && done=1; [ $done = 1 ] || mkdir /data/x",
        "[ -z \"$(ls -A /data)\" ] && mkdir /data/x",
        "is_done() { [ -f /data/done ]; }; is_done && exit 0; mkdir /data/x",
        "[ -n \"$URL\" ] && [ ! -e /data/x ] && mkdir /data/x",
        "grep -q '^app:' /etc/passwd || useradd app",
        "read v < /data/version; [ \"$v\" = 1 ] || mkdir /data/x",
        "alembic check || psql -c 'INSERT INTO t VALUES (1)'",
        "psql -c 'SELECT 1 FROM t'; if [ $? -ne 0 ]; then psql -c 'CREATE TABLE t (a int)'; fi",
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
        (
            "[ -n \"$DB_URL\" ] && psql -c 'INSERT INTO t VALUES (1)'",
            "sql-insert",
        ),
        (
            "command -v psql && psql -c 'INSERT INTO t VALUES (1)'",
            "sql-insert",
        ),
        (
            "if [ \"$ENV\" = prod ]; then psql -c 'INSERT INTO t VALUES (1)'; fi",
            "sql-insert",
        ),
        (
            "if which psql; then psql -c 'INSERT INTO t VALUES (1)'; fi",
            "sql-insert",
        ),
        ("test -d /data && mkdir /data/x", "mkdir"),
        ("[ -d /data/ ] && mkdir /data/x", "mkdir"),
        ("[ -f /etc/alpine-release ] && mkdir /data/x", "mkdir"),
        ("[ -z \"$SKIP\" ] || exit 0\nmkdir /data/x", "mkdir"),
        ("which psql || exit 0\nmkdir /data/x", "mkdir"),
        ("case $1 in -h) exit 0;; esac\nmkdir /data/x", "mkdir"),
        ("case $ENV in prod) mkdir /data/x;; esac", "mkdir"),
        ("os=$(uname -s); [ \"$os\" = Linux ] && mkdir /data/x", "mkdir"),
        ("env | grep -q PROD && mkdir /data/x", "mkdir"),
        ("[ \"$(id -u)\" = 0 ] && mkdir /data/x", "mkdir"),
        ("grep -q prod /etc/environment && mkdir /data/x", "mkdir"),
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

#[test]
fn what_is_made_fresh_under_a_condition_is_not_fresh_behind_it() {
    for (loud, rule) in [
        (
            "[ -f /data/c ] || cp /default /data/c; echo a >> /data/c",
            "append",
        ),
        (
            "[ -f /data/c ] || cp /default /data/c && echo a >> /data/c",
            "append",
        ),
        ("if [ -e reset ]; then rm -rf /data/x; fi; mkdir /data/x", "mkdir"),
        (
            "if [ -e reset ]; then :; else rm -rf /data/x; fi; mkdir /data/x",
            "mkdir",
        ),
        ("[ \"$RESET\" = 1 ] && rm -rf /data/x; mkdir /data/x", "mkdir"),
        ("case $1 in reset) rm -rf /data/x;; esac; mkdir /data/x", "mkdir"),
        ("while read f; do rm -rf /data/x; done; mkdir /data/x", "mkdir"),
        (
            "[ \"$RESET\" = 1 ] && psql -c 'TRUNCATE t'; psql -c 'INSERT INTO t VALUES (1)'",
            "sql-insert",
        ),
    ] {
        assert_eq!(script(loud), [rule], "{loud}");
    }
    for quiet in [
        "if [ \"$RESET\" = 1 ]; then rm -rf /data/x; mkdir /data/x; fi",
        "[ \"$RESET\" = 1 ] && rm -rf /data/x && mkdir /data/x",
        "if [ \"$A\" = 1 ]; then cp /a /data/c; else cp /b /data/c; fi; echo a >> /data/c",
        "echo reset && rm -rf /data/x && mkdir /data/x",
        "set -e; cd /data && rm -rf /data/x; mkdir /data/x",
    ] {
        assert_eq!(script(quiet), [""; 0], "{quiet}");
    }
}

#[test]
fn what_is_gone_of_one_kind_is_not_gone_of_another() {
    for (loud, rule) in [
        (
            "ALTER TABLE t DROP COLUMN IF EXISTS items; INSERT INTO items VALUES (1)",
            "sql-insert",
        ),
        ("DROP INDEX IF EXISTS a; CREATE TABLE a (b int)", "sql-create"),
        ("TRUNCATE t; CREATE TABLE t (a int)", "sql-create"),
        (
            "ALTER TABLE t DROP COLUMN IF EXISTS a; ALTER TABLE u ADD COLUMN a int",
            "sql-add-column",
        ),
    ] {
        assert_eq!(psql(loud), [rule], "{loud}");
    }
    for quiet in [
        "ALTER TABLE t DROP COLUMN IF EXISTS a; ALTER TABLE t ADD COLUMN a int",
        "DROP USER IF EXISTS app; CREATE ROLE app",
    ] {
        assert_eq!(psql(quiet), [""; 0], "{quiet}");
    }
}
