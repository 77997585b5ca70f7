//! Each rule about SQL, and each way to hand SQL to a client.

use super::{psql, rules_of, score, script};

type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

const TABLE: &[Row] = &[
    (
        "sql-insert",
        &[
            "INSERT INTO t VALUES (1)",
            "insert into app.t (a, b) values (1, 'x;y'), (2, 'z')",
            "INSERT INTO t SELECT * FROM s",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "INSERT INTO t (a) VALUES (1) RETURNING a",
            "BEGIN; INSERT INTO t VALUES (1); COMMIT;",
            "CREATE TABLE IF NOT EXISTS t (a int); INSERT INTO t VALUES (1);",
        ],
        &[
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
            "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM t WHERE a = 1)",
            "INSERT INTO t SELECT s.a FROM s LEFT JOIN t ON t.a = s.a WHERE t.a IS NULL",
            "TRUNCATE t; INSERT INTO t VALUES (1)",
            "DELETE FROM t; INSERT INTO t VALUES (1)",
            "DROP TABLE IF EXISTS t; CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
            "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)",
            "SELECT 'INSERT INTO t VALUES (1)'",
            "-- INSERT INTO t VALUES (1)\nSELECT 1",
        ],
    ),
    (
        "sql-create",
        &[
            "CREATE TABLE t (a int primary key)",
            "CREATE UNIQUE INDEX i ON t (a)",
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "CREATE SCHEMA s",
            "CREATE VIEW v AS SELECT 1",
            "CREATE EXTENSION hstore",
            "CREATE TYPE mood AS ENUM ('a', 'b')",
            "CREATE SEQUENCE s",
            "DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s; CREATE TABLE u.t (a int)",
        ],
        &[
            "CREATE TABLE IF NOT EXISTS t (a int)",
            "CREATE INDEX IF NOT EXISTS i ON t (a)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "CREATE TEMPORARY TABLE t (a int)",
            "CREATE SCHEMA IF NOT EXISTS s",
            "CREATE EXTENSION IF NOT EXISTS hstore",
            "DROP TABLE IF EXISTS t; CREATE TABLE t (a int)",
            "DROP VIEW IF EXISTS v; CREATE VIEW v AS SELECT 1",
            "DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s; CREATE TABLE s.t (a int); INSERT INTO s.t VALUES (1)",
        ],
    ),
    (
        "sql-create-role",
        &[
            "CREATE USER app WITH PASSWORD 'x'",
            "CREATE ROLE app LOGIN",
            "CREATE DATABASE app OWNER app",
            "CREATE DATABASE app",
        ],
        &[
            "DO $$ BEGIN CREATE ROLE app; EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
            "SELECT 'CREATE DATABASE app' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'app')\\gexec",
            "CREATE DATABASE IF NOT EXISTS app",
            "CREATE USER IF NOT EXISTS app",
        ],
    ),
    (
        "sql-add-column",
        &["ALTER TABLE t ADD COLUMN a int", "ALTER TABLE t ADD a int"],
        &["ALTER TABLE t ADD COLUMN IF NOT EXISTS a int"],
    ),
    (
        "sql-add-constraint",
        &["ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)"],
        &["ALTER TABLE t DROP CONSTRAINT IF EXISTS c; ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)"],
    ),
    (
        "sql-rename",
        &["ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t RENAME TO u"],
        &["ALTER TABLE t OWNER TO app"],
    ),
    (
        "sql-drop",
        &[
            "DROP TABLE t",
            "DROP INDEX i",
            "ALTER TABLE t DROP COLUMN a",
            "DROP ROLE app",
        ],
        &[
            "DROP TABLE IF EXISTS t",
            "DROP INDEX IF EXISTS i",
            "ALTER TABLE t DROP COLUMN IF EXISTS a",
        ],
    ),
    (
        "sql-update",
        &[
            "UPDATE t SET n = n + 1",
            "UPDATE t SET n = t.n * 2 WHERE id = 3",
            "UPDATE t SET name = name || 'x'",
            "UPDATE t SET name = concat(name, 'x')",
            "INSERT INTO t (k) VALUES (1) ON CONFLICT (k) DO UPDATE SET n = t.n + 1",
        ],
        &[
            "UPDATE t SET n = 1",
            "UPDATE t SET n = m + 1",
            "UPDATE t SET version = version + 1 WHERE version = 1",
            "UPDATE t SET name = lower(name)",
            "UPDATE t SET n = n + 1, done = true WHERE NOT done",
        ],
    ),
    (
        "sql-copy",
        &[
            "COPY t FROM '/data/rows.csv'",
            "\\copy t FROM '/data/rows.csv'",
            "SELECT 1;\n\\copy t (a, b) from '/data/rows.csv' with csv header\nSELECT 2;",
        ],
        &[
            "COPY t TO '/data/rows.csv'",
            "\\copy t TO '/data/rows.csv'",
            "TRUNCATE t;\n\\copy t FROM '/data/rows.csv'",
            "TRUNCATE TABLE t; COPY t FROM '/data/rows.csv'",
        ],
    ),
];

#[test]
fn each_rule_finds_what_is_bad_and_lets_pass_what_is_good() {
    for (rule, bad, good) in TABLE {
        for text in *bad {
            assert_eq!(psql(text), [*rule], "{text}");
        }
        for text in *good {
            assert_eq!(psql(text), [""; 0], "{text}");
        }
    }
}

#[test]
fn each_database_has_its_own_words() {
    for quiet in [
        &["mysql", "-e", "INSERT IGNORE INTO t VALUES (1)"][..],
        &[
            "mysql",
            "-e",
            "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 1",
        ],
        &["mysql", "-e", "REPLACE INTO t VALUES (1)"],
        &["mariadb", "--execute=CREATE TABLE IF NOT EXISTS `t` (`a` int)"],
        &["sqlite3", "/data/db", "INSERT OR IGNORE INTO t VALUES (1)"],
        &["sqlite3", "/data/db", "INSERT OR REPLACE INTO t VALUES (1)"],
        &["sqlite3", "-batch", "/data/db", ".mode csv"],
        &["mysql", "-e", "LOAD DATA INFILE '/x' REPLACE INTO TABLE t"],
        &[
            "mysql",
            "-e",
            "TRUNCATE t; LOAD DATA LOCAL INFILE '/x' INTO TABLE t",
        ],
    ] {
        assert_eq!(rules_of(&score(quiet)), [""; 0], "{quiet:?}");
    }
    for (loud, rule) in [
        (
            &["mysql", "-uroot", "-psecret", "-e", "INSERT INTO t VALUES (1)"][..],
            "sql-insert",
        ),
        (
            &["mysql", "-u", "root", "-NeCREATE TABLE t (a int)"],
            "sql-create",
        ),
        (
            &["mysql", "-e", "CREATE USER 'app'@'%' IDENTIFIED BY 'x'"],
            "sql-create-role",
        ),
        (
            &[
                "mysql",
                "-e",
                "LOAD DATA LOCAL INFILE '/x' INTO TABLE t IGNORE 1 LINES",
            ],
            "sql-copy",
        ),
        (
            &["sqlite3", "/data/db", "INSERT OR ABORT INTO t VALUES (1)"],
            "sql-insert",
        ),
        (&["sqlite3", "/data/db", "CREATE TABLE t (a)"], "sql-create"),
    ] {
        assert_eq!(rules_of(&score(loud)), [rule], "{loud:?}");
    }
}

#[test]
fn each_way_to_hand_sql_to_a_client_is_read() {
    for text in [
        "psql -c 'INSERT INTO t VALUES (1)'",
        "psql -U app -d db -Atc 'INSERT INTO t VALUES (1)'",
        "psql --command='INSERT INTO t VALUES (1)'",
        "psql --command 'INSERT INTO t VALUES (1)'",
        "PGPASSWORD=x psql -h db -v ON_ERROR_STOP=1 <<EOF\nINSERT INTO t VALUES ('$NAME');\nEOF",
        "psql <<-'EOF' >/dev/null\n\tINSERT INTO t VALUES (1);\n\tEOF",
        "echo \"INSERT INTO t VALUES ($X);\" | psql -q",
        "printf 'INSERT INTO t VALUES (1);\\n' | psql",
        "cat <<EOF | psql\nINSERT INTO t VALUES (1);\nEOF",
        "psql <<< \"INSERT INTO t VALUES (1)\"",
        "{ echo 'BEGIN;'; echo 'INSERT INTO t VALUES (1);'; } | psql",
        "(echo 'INSERT INTO t VALUES (1);') | psql -1",
        "sqlite3 /data/db \"INSERT INTO t VALUES (1)\"",
        "sqlite3 /data/db <<EOF\n.mode csv\nINSERT INTO t VALUES (1);\nEOF",
        "gosu postgres psql -c 'INSERT INTO t VALUES (1)'",
        "su postgres -c \"psql -c 'INSERT INTO t VALUES (1)'\"",
        "SQL='INSERT INTO t VALUES (1)'; psql -c \"$SQL\"",
        "mysql <<EOF\nINSERT INTO t VALUES (1);\nEOF",
        "psql -c 'SELECT 1' -c 'INSERT INTO t VALUES (1)'",
        "id=$(psql -Atc 'INSERT INTO t VALUES (1) RETURNING id')",
        "psql -c \"$(cat <<EOF\nINSERT INTO t VALUES ('$NAME');\nEOF\n)\"",
        "SQL=$(cat <<'EOF'\nINSERT INTO t VALUES (1);\nEOF\n)\npsql -c \"$SQL\"",
        "psql <<EOF\n\\set ON_ERROR_STOP on\nINSERT INTO t VALUES (:'name');\nEOF",
    ] {
        assert_eq!(script(text), ["sql-insert"], "{text}");
    }
}

#[test]
fn the_line_is_that_of_the_statement() {
    let text = "set -e\npsql <<EOF\nSELECT 1;\n\n  INSERT INTO t\n  VALUES (1);\nEOF\n";
    let warnings = super::lint(&score(&["sh", "-c", text]));
    assert_eq!(warnings[0].line, 5, "{warnings:?}");
    assert_eq!(warnings[0].found, "INSERT INTO t VALUES (1)");
}

#[test]
fn a_here_document_within_quotes_has_its_own_lines() {
    let text = "set -e\npsql -c \"$(cat <<EOF\nSELECT 1;\nINSERT INTO t VALUES (1);\nEOF\n)\"\n";
    let warnings = super::lint(&score(&["sh", "-c", text]));
    assert_eq!(warnings[0].line, 4, "{warnings:?}");
}

#[test]
fn a_database_that_is_asked_first_is_silent() {
    let ask = "psql -tAc \"SELECT 1 FROM pg_database WHERE datname = 'app'\" | grep -q 1";
    assert_eq!(
        script(&format!("{ask} || psql -c 'CREATE DATABASE app'")),
        [""; 0]
    );
    assert_eq!(script(&format!("if ! {ask}; then createdb app; fi")), [""; 0]);
}
