//! Clients of databases: which of their arguments are SQL.

use sqlparser::dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};

use super::mounts::Place;
use super::program::Io;
use super::word::Word;
use super::{Guard, Reader};

/// How a client takes its SQL.
struct Client {
    dialect: &'static dyn Dialect,
    /// The short option whose value is SQL.
    short: char,
    /// The long one.
    long: &'static str,
    /// Short options that take a value, so that the value is not taken for more options.
    with_value: &'static str,
    /// Options after which the standard input is not read as SQL.
    from_file: [&'static str; 2],
}

const PSQL: Client = Client {
    dialect: &PostgreSqlDialect {},
    short: 'c',
    long: "--command",
    with_value: "dfFhLopPRTUv",
    from_file: ["-f", "--file"],
};
const MYSQL: Client = Client {
    dialect: &MySqlDialect {},
    short: 'e',
    long: "--execute",
    with_value: "hDPSu",
    from_file: ["--help", "-?"],
};

impl Reader<'_> {
    /// Reads what a client is given, as arguments or as standard input.
    pub(super) fn sql_client(&mut self, name: &str, arguments: &[Word], io: &Io, guard: Guard) {
        let texts = match name {
            "psql" => given_by_option(&PSQL, arguments),
            "sqlite3" => {
                let (file, texts) = sqlite_operands(arguments);
                // Without a file the database is in memory.
                if file.is_none_or(|file| !self.database_stays(file)) {
                    return;
                }
                texts
            }
            _ => given_by_option(&MYSQL, arguments),
        };
        let (dialect, files): (&'static dyn Dialect, [&str; 2]) = match name {
            "psql" => (PSQL.dialect, PSQL.from_file),
            "sqlite3" => (&SQLiteDialect {}, ["-init", "-help"]),
            _ => (MYSQL.dialect, MYSQL.from_file),
        };
        let from_file = arguments
            .windows(2)
            .any(|pair| files.contains(&pair[0].text.as_str()) && pair[1].text != "-");
        if texts.is_empty()
            && !from_file
            && let Some(input) = &io.input
        {
            self.sql(input, Some(dialect), guard);
        }
        for text in texts {
            self.sql(&text, Some(dialect), guard);
        }
    }
}

impl Reader<'_> {
    /// Whether what an earlier run wrote into the file of a database is there.
    fn database_stays(&self, file: &Word) -> bool {
        let memory = file.text.is_empty() || file.text.contains(":memory:");
        let own = matches!(self.place(file), Place::Own | Place::Scratch);
        !memory && !own && !self.is_fresh(file)
    }
}

/// The file and the SQL of `sqlite3 [OPTION…] FILE [SQL…]`.
fn sqlite_operands(arguments: &[Word]) -> (Option<&Word>, Vec<Word>) {
    const WITH_VALUE: [&str; 7] = [
        "-cmd",
        "-init",
        "-separator",
        "-nullvalue",
        "-newline",
        "-maxsize",
        "-vfs",
    ];
    let (mut file, mut texts) = (None, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let option = word
            .text
            .strip_prefix('-')
            .map_or("", |name| name.trim_start_matches('-'));
        if word.is_option() {
            if WITH_VALUE.iter().any(|known| known[1..] == *option) {
                let value = words.next();
                texts.extend(value.filter(|_| option == "cmd").cloned());
            }
        } else if file.is_none() {
            file = Some(word);
        } else {
            texts.push(word.clone());
        }
    }
    (file, texts)
}

/// The values of `-c TEXT`, `-Atc TEXT`, `-cTEXT`, `--command=TEXT` and `--command TEXT`.
fn given_by_option(client: &Client, arguments: &[Word]) -> Vec<Word> {
    let mut texts = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word.text == client.long {
            texts.extend(words.next().cloned());
        } else if let Some(rest) = word.text.strip_prefix(client.long) {
            texts.extend(rest.strip_prefix('=').map(|text| part(word, text)));
        } else if word.is_option() && !word.text.starts_with("--") {
            let Some((at, option)) = word
                .text
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == client.short || client.with_value.contains(*c))
            else {
                continue;
            };
            let rest = &word.text[at + option.len_utf8()..];
            let value = if rest.is_empty() {
                words.next().cloned()
            } else {
                Some(part(word, rest))
            };
            if option == client.short {
                texts.extend(value);
            }
        }
    }
    texts
}

fn part(word: &Word, text: &str) -> Word {
    Word {
        text: text.to_owned(),
        ..word.clone()
    }
}
