//! SQL: each statement on its own, by the parser of the client's database. What does not parse is not warned about.

mod head;
mod statement;

use sqlparser::dialect::{Dialect, GenericDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::word::{HOLE, Word};
use super::{Guard, Reader};

/// Most tokens of one statement that are parsed: a longer one is a heap of rows, and its tree would be as deep as it is long.
const MAX_TOKENS: usize = 4_000;
/// Most statements of one text.
const MAX_STATEMENTS: usize = 500;
/// Stands for what is only known when it runs; a name, so that it parses wherever a name or, in quotes, a value can stand.
const UNKNOWN: &str = "unknown_";

/// One statement.
struct Statement<'t> {
    tokens: &'t [TokenWithSpan],
    /// Its text, from the first token on.
    text: String,
    /// Its line within the text, from 0.
    line: usize,
}

impl Reader<'_> {
    /// Reads a text of SQL, for a client of `dialect` or for one that is not known.
    pub(super) fn sql(&mut self, text: &Word, dialect: Option<&'static dyn Dialect>, guard: Guard) {
        if !self.findings.may_read(text.text.len()) {
            return;
        }
        self.findings.allow(&text.spot, &text.text);
        let dialects = dialects(dialect);
        let plain = without_client_commands(&text.text);
        let Some(tokens) = dialects
            .iter()
            .find_map(|dialect| Tokenizer::new(*dialect, &plain).tokenize_with_location().ok())
        else {
            tracing::debug!(field = %text.spot.path, "SQL that is not read: its quotes do not end");
            return;
        };
        for part in tokens
            .split(|token| token.token == Token::SemiColon)
            .take(MAX_STATEMENTS)
        {
            let Some(statement) = Statement::of(part, &plain) else {
                continue;
            };
            let spot = text.spot.below(statement.line);
            let parsed = parse(&statement, &dialects);
            let found = match &parsed {
                Some(parsed) => statement::rules(parsed, &statement, &mut self.known.sql),
                None => head::rules_unparsed(&statement, &mut self.known.sql),
            };
            if parsed.is_none() && found.is_empty() {
                tracing::debug!(field = %spot.path, line = spot.line, "SQL that is not read: it does not parse");
            }
            for rule in found {
                self.report(rule, &spot, &statement.text, None, guard);
            }
        }
    }
}

impl<'t> Statement<'t> {
    fn of(tokens: &'t [TokenWithSpan], text: &str) -> Option<Self> {
        let blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
        let start = tokens.iter().position(|token| !blank(token))?;
        let tokens = &tokens[start..];
        let line = usize::try_from(tokens[0].span.start.line).unwrap_or(1).max(1) - 1;
        let column = usize::try_from(tokens[0].span.start.column).unwrap_or(1).max(1) - 1;
        let rest = text.lines().skip(line);
        let text = rest
            .enumerate()
            .map(|(at, line)| {
                let skipped = if at == 0 { column } else { 0 };
                line.chars().skip(skipped).collect::<String>()
            })
            .take(3)
            .collect::<Vec<_>>()
            .join(" ");
        let text = text.split(';').next().unwrap_or_default().to_owned();
        Some(Self { tokens, text, line })
    }

    /// The statement's words and signs, without white space.
    fn plain(&self) -> impl Iterator<Item = &'t Token> + Clone {
        let tokens = self.tokens;
        tokens
            .iter()
            .map(|token| &token.token)
            .filter(|token| !matches!(token, Token::Whitespace(_)))
    }

    /// Whether these keywords stand in it, one right after the other.
    fn has(&self, keywords: &[Keyword]) -> bool {
        let all: Vec<_> = self.plain().map(keyword).collect();
        all.windows(keywords.len()).any(|window| window == keywords)
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn dialects(dialect: Option<&'static dyn Dialect>) -> Vec<&'static dyn Dialect> {
    let mut all: Vec<&'static dyn Dialect> = vec![&GenericDialect {}];
    match dialect {
        Some(dialect) => all.insert(0, dialect),
        None => all.extend([
            &PostgreSqlDialect {} as &dyn Dialect,
            &MySqlDialect {},
            &SQLiteDialect {},
        ]),
    }
    all
}

fn parse(statement: &Statement<'_>, dialects: &[&'static dyn Dialect]) -> Option<sqlparser::ast::Statement> {
    if statement.tokens.len() > MAX_TOKENS {
        return None;
    }
    dialects.iter().find_map(|dialect| {
        let mut parser =
            Parser::new(*dialect).with_tokens_with_locations(without_variables(statement.tokens));
        let parsed = parser.parse_statement().ok()?;
        (parser.peek_token_ref().token == Token::EOF).then_some(parsed)
    })
}

/// psql's `:name`, `:'name'` without their colon, so that a value stands there.
fn without_variables(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let colon = |token: &&TokenWithSpan| token.token != Token::Colon;
    tokens.iter().filter(colon).cloned().collect()
}

/// The text without the commands of the client itself (`\echo`, `.mode`), line for line, and with names in its holes.
fn without_client_commands(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim_start().chars().next() {
        // psql's own form of `COPY`, which ends with its line.
        Some('\\') if line.trim_start().starts_with("\\copy ") => line.replacen('\\', "", 1) + ";",
        Some('\\' | '.') => String::new(),
        _ => line.split_once("\\g").map_or(line, |(sql, _)| sql).to_owned(),
    });
    let lines: Vec<_> = lines.collect();
    lines.join("\n").replace(HOLE, UNKNOWN)
}

/// Whether a text begins like SQL; for an argument that might be a script as well.
pub(super) fn looks_like_sql(text: &str) -> bool {
    const FIRST: [&str; 12] = [
        "insert", "create", "alter", "drop", "update", "delete", "select", "with", "begin", "do", "truncate",
        "grant",
    ];
    let dialect = GenericDialect {};
    let mut words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(str::split_whitespace);
    let first = words.next().unwrap_or_default().to_lowercase();
    let second = words.next().unwrap_or_default().to_lowercase();
    // `select` and the like are no programs, but `do` and `with` could stand in a script.
    FIRST.contains(&first.trim_end_matches(';'))
        && !second.is_empty()
        && Tokenizer::new(&dialect, text).tokenize().is_ok_and(|tokens| {
            tokens
                .iter()
                .any(|token| !matches!(token, Token::Whitespace(Whitespace::Space)))
        })
}
