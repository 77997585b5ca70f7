//! How a statement begins: `CREATE`, `DROP`, `TRUNCATE` and `DELETE` say all that matters in their first words, in every dialect.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use super::super::known::Names;
use super::super::rule::{self, Rule};
use super::{Statement, keyword};

/// What a `CREATE` or `DROP` is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) verb: Keyword,
    /// `TABLE`, `INDEX`, `ROLE` …
    pub(super) kind: Keyword,
    /// `IF NOT EXISTS`, `IF EXISTS`, `OR REPLACE` or `TEMPORARY`.
    pub(super) lenient: bool,
    /// The name, in small letters, without its schema.
    pub(super) name: String,
    /// Its schema, if that is named.
    pub(super) schema: Option<String>,
}

/// Words between `CREATE` and what is created.
const BETWEEN: [Keyword; 7] = [
    Keyword::UNIQUE,
    Keyword::MATERIALIZED,
    Keyword::RECURSIVE,
    Keyword::UNLOGGED,
    Keyword::VIRTUAL,
    Keyword::CONCURRENTLY,
    Keyword::CONSTRAINT,
];
const KINDS: [Keyword; 15] = [
    Keyword::TABLE,
    Keyword::INDEX,
    Keyword::VIEW,
    Keyword::SCHEMA,
    Keyword::SEQUENCE,
    Keyword::EXTENSION,
    Keyword::TRIGGER,
    Keyword::FUNCTION,
    Keyword::PROCEDURE,
    Keyword::TYPE,
    Keyword::DOMAIN,
    Keyword::POLICY,
    Keyword::DATABASE,
    Keyword::USER,
    Keyword::ROLE,
];
/// What the parser's grammar takes in few of its forms.
const THIN: [Keyword; 3] = [Keyword::DATABASE, Keyword::USER, Keyword::ROLE];

impl Head {
    pub(super) fn of(statement: &Statement<'_>) -> Option<Self> {
        let mut tokens = statement.plain().peekable();
        let verb = keyword(tokens.next()?);
        if !matches!(verb, Keyword::CREATE | Keyword::DROP) {
            return None;
        }
        let mut lenient = false;
        let kind = loop {
            match keyword(tokens.next()?) {
                Keyword::OR | Keyword::REPLACE | Keyword::TEMP | Keyword::TEMPORARY => lenient = true,
                word if BETWEEN.contains(&word) => {}
                word if KINDS.contains(&word) => break word,
                _ => return None,
            }
        };
        while tokens
            .next_if(|token| keyword(token) == Keyword::CONCURRENTLY)
            .is_some()
        {}
        if tokens.next_if(|token| keyword(token) == Keyword::IF).is_some() {
            lenient = true;
            while tokens
                .next_if(|token| matches!(keyword(token), Keyword::NOT | Keyword::EXISTS))
                .is_some()
            {}
        }
        let (schema, name) = name(&mut tokens);
        Some(Self {
            verb,
            kind,
            lenient,
            name,
            schema,
        })
    }

    /// The rules of the statement; takes up what it makes empty or takes away.
    pub(super) fn rules(&self, known: &mut Names) -> Vec<&'static Rule> {
        let gone = gone(self.kind, &self.name);
        let schema = self.schema.as_deref();
        let was_gone = known.contains(&gone) || schema.is_some_and(|schema| is_gone_with(schema, known));
        if self.verb == Keyword::DROP {
            known.insert(gone);
            if self.kind == Keyword::TABLE {
                known.insert(empty(&self.name));
            }
            return if self.lenient || was_gone {
                Vec::new()
            } else {
                vec![&rule::SQL_DROP]
            };
        }
        match (self.lenient || was_gone, THIN.contains(&self.kind)) {
            (true, _) => Vec::new(),
            (false, true) => vec![&rule::SQL_CREATE_ROLE],
            (false, false) => vec![&rule::SQL_CREATE],
        }
    }
}

/// Whether a schema was dropped, with all that was in it.
pub(super) fn is_gone_with(schema: &str, known: &Names) -> bool {
    [Keyword::SCHEMA, Keyword::DATABASE]
        .into_iter()
        .any(|kind| known.contains(&gone(kind, schema)))
}

/// A name: the part before the last one, and the last one, in small letters.
fn name<'t>(tokens: &mut impl Iterator<Item = &'t Token>) -> (Option<String>, String) {
    let (mut before, mut last) = (None, String::new());
    let mut dot = true;
    for token in tokens {
        match token {
            Token::Word(word) if dot => last = word.value.to_lowercase(),
            Token::SingleQuotedString(text) if dot => last = text.to_lowercase(),
            Token::Period => {
                dot = true;
                before = Some(std::mem::take(&mut last));
                continue;
            }
            _ => break,
        }
        dot = false;
    }
    (before, last)
}

/// Takes up a table that is emptied: `TRUNCATE t`, `DELETE FROM t` without `WHERE`.
pub(super) fn emptied(statement: &Statement<'_>, known: &mut Names) {
    let mut tokens = statement.plain().peekable();
    let whole = match tokens.next().map(keyword) {
        Some(Keyword::TRUNCATE) => true,
        Some(Keyword::DELETE) => !statement.has(&[Keyword::WHERE]),
        _ => false,
    };
    if !whole {
        return;
    }
    while tokens
        .next_if(|token| matches!(keyword(token), Keyword::TABLE | Keyword::FROM | Keyword::ONLY))
        .is_some()
    {}
    known.insert(empty(&name(&mut tokens).1));
}

/// What stands for a table, role … of that name that is gone: a table and a column may have the same one.
pub(super) fn gone(kind: Keyword, name: &str) -> String {
    let kind = if kind == Keyword::USER {
        Keyword::ROLE
    } else {
        kind
    };
    format!("{kind:?} {name}")
}

/// What stands for a table of that name without rows.
pub(super) fn empty(table: &str) -> String {
    format!("rows {table}")
}

/// MySQL's `LOAD DATA INFILE` into a table that is not empty, unless rows that are there already are left or replaced.
pub(super) fn loads(statement: &Statement<'_>, known: &Names) -> Option<&'static Rule> {
    let mut words = statement.plain();
    let is_load =
        words.next().map(keyword) == Some(Keyword::LOAD) && words.next().map(keyword) == Some(Keyword::DATA);
    let lenient = [Keyword::IGNORE, Keyword::REPLACE]
        .into_iter()
        .any(|how| statement.has(&[how, Keyword::INTO]));
    if !is_load || lenient {
        return None;
    }
    let mut target = words.skip_while(|token| keyword(token) != Keyword::TABLE).skip(1);
    (!known.contains(&empty(&name(&mut target).1))).then_some(&rule::SQL_COPY)
}

/// What can be said of a statement that the parser does not take: that it creates a database, user or role, or loads rows.
pub(super) fn rules_unparsed(statement: &Statement<'_>, known: &mut Names) -> Vec<&'static Rule> {
    emptied(statement, known);
    match Head::of(statement) {
        Some(head) if THIN.contains(&head.kind) && !head.name.is_empty() => head.rules(known),
        _ => loads(statement, known).into_iter().collect(),
    }
}
