//! The rules: what each says and advises. Their names are stable, since scripts allow them by name.

/// One rule of the lint.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Kebab-case, stable.
    pub name: &'static str,
    /// What it looks for.
    pub finds: &'static str,
    /// What a second run does.
    pub why: &'static str,
    /// What to write instead.
    pub fix: &'static str,
    /// A second run fails and does nothing, so that `|| true` makes it harmless; else it does the same once more.
    pub only_fails: bool,
}

macro_rules! rules {
    ($($id:ident = $name:literal, $only_fails:literal, $finds:literal, $why:literal, $fix:literal;)+) => {
        $(pub(super) const $id: Rule = Rule { name: $name, finds: $finds, why: $why, fix: $fix, only_fails: $only_fails };)+
        /// Every rule, in the order in which the documentation lists them.
        pub const RULES: &[Rule] = &[$($id),+];
    };
}

rules! {
    MKDIR = "mkdir", true, "`mkdir` without `-p`",
        "the second run fails: the folder is there already",
        "write `mkdir -p`";
    ADD_USER = "add-user", true, "`useradd`, `adduser`, `groupadd`, `addgroup` without a question before",
        "the second run fails where the user or group is there already",
        "ask first: `id NAME >/dev/null 2>&1 || useradd NAME` (`getent group NAME || groupadd NAME`), or make it in the image";
    APPEND = "append", false, "`>>` or `tee -a` to a file that stays",
        "each run appends the same once more",
        "write the whole file with `>`, or ask first: `grep -qxF LINE FILE || echo LINE >> FILE`";
    LINK = "link", true, "`ln` without `-f`",
        "the second run fails: the name is taken already",
        "write `ln -sfn TARGET NAME`";
    MOVE = "move", true, "`mv` of something that stays, and that this script did not make",
        "the second run fails: what it moves is gone from there",
        "ask first: `[ ! -e SOURCE ] || mv SOURCE TARGET`";
    REMOVE = "remove", true, "`rm` without `-f` of something that stays",
        "the second run fails: it is gone already",
        "write `rm -f`";
    GIT_CLONE = "git-clone", true, "`git clone` into a folder that stays",
        "the second run fails: the folder is there and not empty",
        "ask first: `[ -d DIR/.git ] || git clone URL DIR`, then `git -C DIR pull` if it should follow";
    IPTABLES = "iptables", false, "`iptables -A` or `-I` without `-C` before",
        "each run adds the same rule once more",
        "ask first: `iptables -C RULE 2>/dev/null || iptables -A RULE`";
    CRONTAB = "crontab", false, "`crontab -l` with a line added, back into `crontab -`",
        "each run adds the same line once more",
        "take the old line out on the way: `(crontab -l | grep -vF COMMAND; echo LINE) | crontab -`";
    CREATE_DATABASE = "create-database", true, "`createdb`, `createuser`, `mysqladmin create`, `initdb` without a question before",
        "the second run fails: it is there already",
        "ask first: `psql -tAc \"SELECT 1 FROM pg_database WHERE datname = 'NAME'\" | grep -q 1 || createdb NAME` (`pg_roles` and `rolname` for a user; `[ -s \"$PGDATA/PG_VERSION\" ] || initdb`)";
    SQL_INSERT = "sql-insert", false, "`INSERT` without `ON CONFLICT`, `ON DUPLICATE KEY`, `OR IGNORE`, `OR REPLACE` or `WHERE NOT EXISTS`",
        "each run inserts the same rows once more, or fails on their key",
        "Postgres and SQLite: add `ON CONFLICT (KEY) DO NOTHING` or `DO UPDATE SET …`; MySQL: `INSERT IGNORE` or `ON DUPLICATE KEY UPDATE …`";
    SQL_COPY = "sql-copy", false, "`COPY table FROM`, `\\copy table FROM`, `LOAD DATA INFILE`",
        "each run copies the same rows in once more, or fails on their key",
        "copy into a temporary table, then `INSERT INTO … SELECT … ON CONFLICT DO NOTHING`";
    SQL_UPDATE = "sql-update", false, "`UPDATE` that computes a value from itself, such as `SET n = n + 1`",
        "each run changes the value once more",
        "set a value that does not depend on the old one, or say in `WHERE` which rows still need it";
    SQL_CREATE = "sql-create", true, "`CREATE TABLE`, `INDEX`, `VIEW`, `SCHEMA` … without `IF NOT EXISTS` or `OR REPLACE`",
        "the second run fails: it exists already",
        "write `CREATE … IF NOT EXISTS` (or `CREATE OR REPLACE` for views, functions and triggers). Where the database has neither, ask its catalogue first";
    SQL_CREATE_ROLE = "sql-create-role", true, "`CREATE USER`, `ROLE` or `DATABASE` without `IF NOT EXISTS`",
        "the second run fails: it exists already",
        "MySQL: write `IF NOT EXISTS`. Postgres has none for these, so ask first: `DO $$ BEGIN CREATE ROLE name; EXCEPTION WHEN duplicate_object THEN NULL; END $$;`, and for a database `SELECT 'CREATE DATABASE name' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'name')\\gexec`";
    SQL_ADD_COLUMN = "sql-add-column", true, "`ALTER TABLE … ADD COLUMN` without `IF NOT EXISTS`",
        "the second run fails: the column exists already",
        "Postgres and MariaDB: write `ADD COLUMN IF NOT EXISTS`; SQLite and MySQL have no such words, so ask `pragma_table_info` or `information_schema.columns` first";
    SQL_ADD_CONSTRAINT = "sql-add-constraint", true, "`ALTER TABLE … ADD CONSTRAINT` that was not dropped before",
        "the second run fails: the constraint exists already",
        "drop it first: `ALTER TABLE t DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c …`";
    SQL_RENAME = "sql-rename", true, "`ALTER TABLE … RENAME`",
        "the second run fails: the old name is gone already",
        "ask `information_schema.columns` (or `.tables`) whether the old name is still there, in a `DO` block or before the statement";
    SQL_DROP = "sql-drop", true, "`DROP …` without `IF EXISTS`",
        "the second run fails: it is gone already",
        "write `DROP … IF EXISTS`";
}
