//! Each rule about commands, with what it must find and what it must let pass.

use super::{rules_of, score, script};

/// Rule, scripts that break it, scripts that do not.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

const TABLE: &[Row] = &[
    (
        "mkdir",
        &[
            "mkdir /data/x",
            "cd /data && mkdir x",
            "mkdir -m 0755 /data/x",
            "mkdir -- /data/x",
            "mkdir \"$HOME/x\"",
            "mkdir /data/{a,b}",
            "for d in a b; do mkdir /data/$d; done",
            "mkdir /data/x || exit 1",
            "mkdir /data/x || { echo failed; exit 1; }",
            "x=$(mkdir /data/x)",
            "(cd /data; mkdir x)",
            "prepare() { mkdir /data/x; }; prepare",
        ],
        &[
            "mkdir -p /data/x",
            "mkdir -vp /data/x",
            "mkdir --parents /data/x",
            "rm -rf /data/x; mkdir /data/x",
            "echo mkdir /data/x",
            "prepare() { mkdir /data/x; }; true",
            "d=$(mktemp -d); mkdir $d/x",
            "# mkdir /data/x",
            "install -d /data/x",
        ],
    ),
    (
        "add-user",
        &[
            "useradd app",
            "adduser -D app",
            "groupadd -g 10 app",
            "addgroup app",
        ],
        &[
            "id app >/dev/null 2>&1 || useradd app",
            "id -u app || adduser -D app",
            "getent group app || groupadd app",
            "groupadd -f app",
            "adduser --system app",
            "useradd app || true",
            "if ! id app; then useradd app; fi",
        ],
    ),
    (
        "append",
        &[
            "echo x >> /data/conf",
            "cat a >> /data/conf",
            "echo x | tee -a /data/conf",
            "{ echo a; echo b; } >> /data/conf",
            "cat >> /data/conf <<EOF\nx\nEOF",
            "echo x >> conf",
            "echo x >> /data/conf || true",
            "printf 'x\\n' >>/data/conf",
        ],
        &[
            "echo a > /data/conf; echo b >> /data/conf",
            ": > /data/conf; for i in 1 2; do echo $i >> /data/conf; done",
            "rm -f /data/conf; echo b >> /data/conf",
            "cp /defaults/conf /data/conf && echo x >> /data/conf",
            "grep -q x /data/conf || echo x >> /data/conf",
            "cat > /data/conf <<EOF\nx\nEOF\necho y >> /data/conf",
            "f=$(mktemp); echo x >> \"$f\"",
            "migrate >> /data/log/migrate.log 2>&1",
            "cmd 2>> /data/errors",
            "echo x >> /dev/null",
        ],
    ),
    (
        "link",
        &["ln -s /app/a /data/a", "ln /data/a /data/b"],
        &[
            "ln -sf /app/a /data/a",
            "ln -sfn /app/a /data/a",
            "ln --force -s /app/a /data/a",
            "[ -L /data/a ] || ln -s /app/a /data/a",
        ],
    ),
    (
        "move",
        &["mv /data/a /data/b", "mv old new"],
        &[
            "curl -o /data/x.new https://e.example/x && mv /data/x.new /data/x",
            "echo x > /data/x.tmp; mv /data/x.tmp /data/x",
            "mv /tmp/x /data/x",
            "[ ! -e /data/a ] || mv /data/a /data/b",
            "[ -e /data/a ] && mv /data/a /data/b",
            "mv /data/a /data/b || :",
        ],
    ),
    (
        "remove",
        &["rm /data/x", "rm -r /data/x"],
        &[
            "rm -f /data/x",
            "rm -rf /data/x",
            "touch /data/lock; rm /data/lock",
            "rm /tmp/x",
        ],
    ),
    (
        "git-clone",
        &[
            "git clone https://e.example/x /data/x",
            "git -c a=b clone https://e.example/x",
        ],
        &[
            "[ -d /data/x/.git ] || git clone https://e.example/x /data/x",
            "git -C /data/x pull",
            "rm -rf /data/x && git clone https://e.example/x /data/x",
        ],
    ),
    (
        "iptables",
        &[
            "iptables -A INPUT -p tcp -j ACCEPT",
            "iptables -t nat -I PREROUTING -j X",
        ],
        &[
            "iptables -C INPUT -j X 2>/dev/null || iptables -A INPUT -j X",
            "iptables -F INPUT",
        ],
    ),
    (
        "crontab",
        &["(crontab -l; echo '0 * * * * x') | crontab -"],
        &[
            "(crontab -l | grep -v x; echo '0 * * * * x') | crontab -",
            "crontab /app/crontab",
        ],
    ),
    (
        "create-database",
        &[
            "createdb app",
            "createuser app",
            "mysqladmin create app",
            "initdb -D /data/db",
            "gosu postgres createdb app",
            "runuser -u postgres -- createdb app",
            "runuser postgres -c 'createdb app'",
        ],
        &[
            "psql -lqt | cut -d '|' -f 1 | grep -qw app || createdb app",
            "[ -s /data/db/PG_VERSION ] || initdb -D /data/db",
            "createdb app 2>/dev/null || true",
            "mysqladmin ping",
        ],
    ),
];

#[test]
fn each_rule_finds_what_is_bad_and_lets_pass_what_is_good() {
    for (rule, bad, good) in TABLE {
        for text in *bad {
            assert_eq!(script(text), [*rule], "{text}");
        }
        for text in *good {
            assert_eq!(script(text), [""; 0], "{text}");
        }
    }
}

#[test]
fn what_lies_in_a_place_that_is_new_for_this_run_is_silent() {
    for quiet in [
        "sqlite3 :memory: 'CREATE TABLE t (a int)'",
        "sqlite3 /tmp/x.db 'CREATE TABLE t (a int)'",
        "sqlite3 /app/x.db 'CREATE TABLE t (a int)'",
        "rm -f /data/a.db; sqlite3 /data/a.db 'CREATE TABLE t (a int)'",
        "rm -f /data/a.db; cd /data && sqlite3 a.db 'CREATE TABLE t (a int)'",
        "rm -rf /data/t && mkdir /data/t && echo a >> /data/t/x",
        "rm -rf /data/t/*; mkdir /data/t/a",
        "cd /data; rm -rf t; mkdir /data/t",
        "cd /tmp && mkdir x",
        "cd \"$(mktemp -d)\" && mkdir x",
        "mkdir /data/../tmp/x",
        "iptables -F X; iptables -A X -j Y",
        "iptables -t nat -F; iptables -t nat -A X -j Y",
        "iptables -D X -j Y; iptables -A X -j Y",
    ] {
        assert_eq!(script(quiet), [""; 0], "{quiet}");
    }
    for (loud, rule) in [
        (
            "rm -f /data/a.db; sqlite3 /data/b.db 'CREATE TABLE t (a int)'",
            "sql-create",
        ),
        (
            "sqlite3 -cmd 'CREATE TABLE t (a int)' /data/a.db .tables",
            "sql-create",
        ),
        (
            "sqlite3 -separator , /data/a.db 'CREATE TABLE t (a int)'",
            "sql-create",
        ),
        ("cd /tmp && mkdir ../data/x", "mkdir"),
        ("(cd /tmp); mkdir x", "mkdir"),
        ("[ -n \"$A\" ] && cd /tmp; mkdir x", "mkdir"),
        ("cp /default /data; echo a >> /data/x", "append"),
        ("rm -rf /data/t; mkdir /data/tt", "mkdir"),
        ("iptables -F X; iptables -A Y -j Z", "iptables"),
        ("iptables -F X; iptables -t nat -A X -j Z", "iptables"),
    ] {
        assert_eq!(script(loud), [rule], "{loud}");
    }
}

#[test]
fn commands_without_a_shell_are_read_too() {
    for (args, rule) in [
        (&["mkdir", "/data/x"][..], "mkdir"),
        (&["ln", "-s", "/app/a", "/data/a"], "link"),
        (&["git", "clone", "https://e.example/x", "/data/x"], "git-clone"),
        (&["useradd", "app"], "add-user"),
        (&["psql", "-c", "INSERT INTO t VALUES (1)"], "sql-insert"),
        (&["-c", "INSERT INTO t VALUES (1)"], "sql-insert"),
        (&["sqlite3", "/data/db", "CREATE TABLE t (a int)"], "sql-create"),
    ] {
        assert_eq!(rules_of(&score(args)), [rule], "{args:?}");
    }
}
