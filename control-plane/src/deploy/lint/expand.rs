//! Nodes of a script to words: quotes taken away, variables filled in as far as they are known.

use std::collections::BTreeMap;

use tree_sitter::Node;

use super::findings::Budget;
use super::word::{HOLE, Spot, Word};

/// Deepest nesting of quotes and expansions that is read.
const MAX_DEPTH: usize = 16;
/// Longest word with its variables filled in, in bytes: twice what an argument of the wire has.
const MAX_WORD: usize = 2 * super::MAX_TEXT;

/// A text, and variables that are known while it runs.
pub(super) struct Source<'s> {
    pub(super) text: &'s str,
    /// Where the text begins.
    pub(super) spot: Spot,
    pub(super) variables: BTreeMap<String, Word>,
    pub(super) budget: Budget,
}

impl<'s> Source<'s> {
    pub(super) fn slice(&self, node: Node<'_>) -> &'s str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    pub(super) fn spot(&self, node: Node<'_>) -> Spot {
        self.spot.below(node.start_position().row)
    }

    /// A word of a command. One that is nothing but a variable whose value is known stands where that value stands.
    pub(super) fn word(&self, node: Node<'_>) -> Word {
        if let Some(value) = self.value(node) {
            return value.clone();
        }
        let mut word = Word::exact("", self.spot(node));
        self.expand(node, &mut word, 0);
        word
    }

    /// The value, if the node is nothing but a variable that is known, and as long as values may be filled in.
    fn value(&self, node: Node<'_>) -> Option<&Word> {
        let value = self.variables.get(self.alone(node)?)?;
        let value = self.budget.take(value.text.len()).then_some(value)?;
        #[cfg(test)]
        tests::FILLED_IN.set(tests::FILLED_IN.get() + value.text.len());
        Some(value)
    }

    /// The name, if the node is `$NAME`, `${NAME}` or one of them in double quotes.
    fn alone(&self, node: Node<'_>) -> Option<&'s str> {
        let inner = match node.kind() {
            "string" if node.named_child_count() == 1 => node.named_child(0)?,
            _ => node,
        };
        if !matches!(inner.kind(), "simple_expansion" | "expansion") || inner.named_child_count() != 1 {
            return None;
        }
        let whole = self.slice(inner).trim_matches(['$', '{', '}']);
        let quoted = node == inner || self.slice(node).trim_matches('"') == self.slice(inner);
        let name = inner.named_child(0).map(|name| self.slice(name))?;
        (quoted && whole == name).then_some(name)
    }

    fn expand(&self, node: Node<'_>, word: &mut Word, depth: usize) {
        if depth > MAX_DEPTH || word.text.len() > MAX_WORD {
            word.text.push(HOLE);
            return;
        }
        let text = self.slice(node);
        match node.kind() {
            "raw_string" => word.text.push_str(text.trim_matches('\'')),
            "ansi_c_string" => {
                let inner = text.strip_prefix("$'").unwrap_or(text);
                word.text
                    .push_str(&escapes(inner.strip_suffix('\'').unwrap_or(inner)));
            }
            "simple_expansion" | "expansion" => match self.value(node) {
                Some(value) => {
                    word.text.push_str(&value.text);
                    word.fresh |= value.fresh;
                }
                None => word.text.push(HOLE),
            },
            "command_substitution" if self.printed(node).is_some() => {
                let document = self
                    .printed(node)
                    .and_then(|redirect| self.document_at(redirect, depth + 1));
                if let Some(document) = document {
                    if word.text.is_empty() {
                        word.spot = document.spot;
                    }
                    word.text.push_str(document.text.trim_end_matches('\n'));
                }
            }
            "command_substitution" | "process_substitution" | "arithmetic_expansion" => {
                word.fresh |= text.contains("mktemp");
                word.text.push(HOLE);
            }
            "string" | "translated_string" => self.children(node, word, depth, in_quotes),
            "heredoc_body" | "herestring_redirect" => self.children(node, word, depth, str::to_owned),
            "concatenation" | "command_name" => self.children(node, word, depth, unquoted),
            "string_content" => word.text.push_str(&in_quotes(text)),
            "heredoc_content" => word.text.push_str(text),
            _ => word.text.push_str(&unquoted(text)),
        }
    }

    /// The children, and the text between them, which the grammar has no nodes for.
    fn children(&self, node: Node<'_>, word: &mut Word, depth: usize, plain: fn(&str) -> String) {
        let mut at = node.start_byte();
        let mut cursor = node.walk();
        let between = |from: usize, to: usize| {
            let gap = self.text.get(from..to).unwrap_or_default();
            if node.kind() == "string" {
                plain(gap.trim_matches('"'))
            } else {
                plain(gap)
            }
        };
        for child in node.named_children(&mut cursor) {
            word.text.push_str(&between(at, child.start_byte().max(at)));
            self.expand(child, word, depth + 1);
            at = child.end_byte();
        }
        word.text.push_str(&between(at, node.end_byte().max(at)));
    }

    /// The here-document of `$(cat <<EOF …)`, which is printed as it is.
    fn printed<'n>(&self, substitution: Node<'n>) -> Option<Node<'n>> {
        let statement = substitution
            .named_child(0)
            .filter(|_| substitution.named_child_count() == 1)?;
        let body = statement.child_by_field_name("body")?;
        let redirect = statement
            .named_child(1)
            .filter(|_| statement.named_child_count() == 2)?;
        (self.slice(body) == "cat" && redirect.kind() == "heredoc_redirect").then_some(redirect)
    }

    /// What a here-document or here-string holds.
    pub(super) fn document(&self, redirect: Node<'_>) -> Option<Word> {
        self.document_at(redirect, 0)
    }

    fn document_at(&self, redirect: Node<'_>, depth: usize) -> Option<Word> {
        let mut cursor = redirect.walk();
        if redirect.kind() == "herestring_redirect" {
            return redirect
                .named_children(&mut cursor)
                .last()
                .map(|node| self.word(node));
        }
        let body = redirect
            .named_children(&mut cursor)
            .find(|node| node.kind() == "heredoc_body")?;
        let quoted = redirect
            .named_children(&mut cursor)
            .find(|node| node.kind() == "heredoc_start")
            .is_some_and(|start| self.slice(start).contains(['\'', '"', '\\']));
        let mut word = Word::exact("", self.spot(body));
        if quoted {
            self.slice(body).clone_into(&mut word.text);
        } else {
            self.expand(body, &mut word, depth);
        }
        Some(word)
    }
}

/// A text without the backslashes that escape in it.
fn unquoted(text: &str) -> String {
    without_backslashes(text, |_| true)
}

fn in_quotes(text: &str) -> String {
    without_backslashes(text, |c| matches!(c, '"' | '\\' | '$' | '`' | '\n'))
}

fn without_backslashes(text: &str, escaped: fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match characters.peek() {
            Some(&next) if c == '\\' && escaped(next) => {
                characters.next();
                if next != '\n' {
                    plain.push(next);
                }
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// `\n` and the like, as `printf` and `$'…'` read them.
pub(super) fn escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, if c == '\\' { characters.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some(other)) => plain.push(other),
            (c, _) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// Bytes of values that were filled in by this thread.
        pub(in crate::deploy::lint) static FILLED_IN: Cell<usize> = const { Cell::new(0) };
    }
}
