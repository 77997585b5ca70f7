//! One command of a script: its words, what it assigns, which files it writes to, and what it hands on.

use tree_sitter::Node;

use super::super::word::Word;
use super::super::{Guard, MAX_TEXT, program};
use super::{Around, MAX_DEPTH, Script, named};

impl<'t> Script<'t, '_, '_> {
    /// A function is read where it is called, under the guard of the call.
    pub(super) fn define(&mut self, node: Node<'t>) {
        let name = node.child_by_field_name("name");
        if let (Some(name), Some(body)) = (name, node.child_by_field_name("body")) {
            self.functions.insert(self.source.slice(name).to_owned(), body);
        }
    }

    pub(super) fn assign(&mut self, node: Node<'t>, guard: Guard) {
        self.substitutions(node, guard);
        let Some(name) = node.child_by_field_name("name") else {
            return;
        };
        let name = self.source.slice(name).to_owned();
        if guard.conditional || self.varies(node, self.depth) {
            self.asked.insert(name.clone());
        }
        let value = node
            .child_by_field_name("value")
            .map(|value| self.source.word(value));
        match value {
            // What grows (`A="$A$A"`) is not followed.
            Some(value) if value.text.len() <= self.source.text.len() => {
                self.source.variables.insert(name, value);
            }
            _ => drop(self.source.variables.remove(&name)),
        }
    }

    pub(super) fn command(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        self.commands += 1;
        let mut around = around.clone();
        for child in named(node) {
            match child.kind() {
                "variable_assignment" => self.assign(child, guard),
                "herestring_redirect" => around.io.input = self.source.document(child),
                "file_redirect" => around.redirects.push(child),
                _ => self.substitutions(child, guard),
            }
        }
        let words = self.words(node);
        let Some(program) = words.first() else { return };
        if let Some(body) = self.functions.get(&program.text).copied() {
            // Each call is read anew, so that a short script with many calls is a long one.
            if !self.source.budget.take(body.byte_range().len()) {
                return;
            }
            let left_early = self.reader.known.left_early;
            self.statement(body, guard, &around);
            // `return` leaves the function only.
            if !self.source.slice(body).contains("exit") {
                self.reader.known.left_early = left_early;
            }
        } else if program.text == "read" {
            let names = words[1..].iter().map(|word| word.text.clone());
            self.asked.extend(names);
        } else if matches!(program.text.as_str(), "exit" | "return") {
            let in_order = words.get(1).is_none_or(|status| status.text == "0");
            self.reader.known.left_early |= in_order && guard.conditional;
        } else {
            self.reader.run(&words, &around.io, guard);
        }
        self.redirects(&around.redirects, node, guard);
    }

    pub(super) fn words(&self, node: Node<'t>) -> Vec<Word> {
        let node = match node.kind() {
            "redirected_statement" => node.child_by_field_name("body").unwrap_or(node),
            _ => node,
        };
        if node.kind() != "command" {
            return Vec::new();
        }
        let parts = named(node).into_iter().filter(|child| {
            !matches!(
                child.kind(),
                "variable_assignment" | "file_redirect" | "herestring_redirect" | "comment"
            )
        });
        parts.map(|part| self.source.word(part)).collect()
    }

    /// The files that a statement writes to.
    pub(super) fn redirects(&mut self, redirects: &[Node<'t>], statement: Node<'t>, guard: Guard) {
        for redirect in redirects {
            let Some(target) = redirect.child_by_field_name("destination") else {
                continue;
            };
            let target = self.source.word(target);
            let text = self.source.slice(*redirect);
            if text.contains(">>") {
                // What goes wrong may be told again.
                if !text.starts_with('2') {
                    let statement = self.source.slice(statement);
                    let found = if statement.contains(text) {
                        statement.to_owned()
                    } else {
                        format!("{statement} {text}")
                    };
                    self.reader.append(&target, &found, guard);
                }
            } else if text.contains('>') {
                self.reader.overwritten(&target);
            }
        }
    }

    /// Commands within words.
    pub(super) fn substitutions(&mut self, node: Node<'t>, guard: Guard) {
        if self.depth >= MAX_DEPTH {
            return;
        }
        self.depth += 1;
        for child in named(node) {
            if matches!(child.kind(), "command_substitution" | "process_substitution") {
                let left_early = self.reader.known.left_early;
                let folder = self.reader.known.folder.clone();
                self.statements(child, guard, &Around::default());
                self.reader.known.left_early = left_early;
                self.reader.known.folder = folder;
            } else {
                self.substitutions(child, guard);
            }
        }
        if matches!(node.kind(), "command_substitution" | "process_substitution") {
            self.statements(node, guard, &Around::default());
        }
        self.depth -= 1;
    }

    /// Whether a statement ends in failure whatever it does, so that it forgives nothing. Deeper than [`MAX_DEPTH`] it is taken to forgive.
    pub(super) fn fails(&self, node: Node<'t>, depth: usize) -> bool {
        if depth >= MAX_DEPTH {
            return false;
        }
        let inner = |node: Node<'t>| self.fails(node, depth + 1);
        match node.kind() {
            "list" | "compound_statement" | "subshell" => named(node).last().copied().is_some_and(inner),
            "redirected_statement" => node.child_by_field_name("body").is_some_and(inner),
            "command" => {
                let words = self.words(node);
                let name = words.first().map_or("", |word| word.text.as_str());
                match name {
                    "exit" | "return" => words.get(1).is_none_or(|status| status.text != "0"),
                    _ => ["false", "die", "fail", "fatal", "abort", "error", "panic"].contains(&name),
                }
            }
            _ => false,
        }
    }

    /// What a stage of a pipeline hands to the next one, where that is in the script, no deeper than [`MAX_DEPTH`] and no longer than
    /// [`MAX_TEXT`].
    pub(super) fn output(&self, node: Node<'t>, depth: usize) -> Option<Word> {
        if depth >= MAX_DEPTH {
            return None;
        }
        match node.kind() {
            "compound_statement" | "subshell" => {
                let mut all: Option<Word> = None;
                for part in named(node) {
                    let Some(part) = self.output(part, depth + 1) else {
                        continue;
                    };
                    let Some(all) = &mut all else {
                        all = Some(part);
                        continue;
                    };
                    if all.text.len() + part.text.len() >= MAX_TEXT {
                        return None;
                    }
                    all.text.push('\n');
                    all.text.push_str(&part.text);
                }
                all
            }
            "redirected_statement" => {
                let document = named(node)
                    .into_iter()
                    .find(|child| matches!(child.kind(), "heredoc_redirect" | "herestring_redirect"));
                match document {
                    Some(document) => self.source.document(document),
                    None => self.output(node.child_by_field_name("body")?, depth + 1),
                }
            }
            "command" => program::output(&self.words(node)),
            _ => None,
        }
    }
}
