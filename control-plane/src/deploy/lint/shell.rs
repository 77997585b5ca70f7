//! Scripts: a walk over the syntax tree, which knows what stands under a condition and what was made before.
//!
//! The grammar goes on behind a fault, so a script that is wrong in one place is still read in the others. The tree may be as deep
//! as the text is long: deeper than [`MAX_DEPTH`] nothing is read.

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::{Node, Parser};

use super::expand::Source;
use super::program::Io;
use super::word::Word;
use super::{Guard, Reader, known};
use question::Answer;

mod command;
mod question;

/// Deepest nesting of a script that is read.
const MAX_DEPTH: usize = 48;
/// Most commands that are read of one script, with each call of its functions.
const MAX_COMMANDS: usize = 5_000;

impl Reader<'_> {
    /// Reads a script.
    pub(super) fn shell(&mut self, script: &Word, guard: Guard) {
        let mut parser = Parser::new();
        if parser.set_language(&tree_sitter_bash::LANGUAGE.into()).is_err() {
            tracing::debug!("the grammar of bash does not fit the library: no script is read");
            return;
        }
        let Some(tree) = parser.parse(ascii(&script.text), None) else {
            return;
        };
        let names = self.init.env.iter().map(|variable| &variable.name);
        let variables = names.filter_map(|name| Some((name.clone(), self.variable(name)?)));
        let source = Source {
            text: &script.text,
            spot: script.spot.clone(),
            variables: variables.collect(),
            budget: self.findings.budget(),
        };
        let mut script = Script {
            source,
            functions: BTreeMap::new(),
            asked: BTreeSet::new(),
            reader: self,
            depth: 0,
            commands: 0,
        };
        script.statements(tree.root_node(), guard, &Around::default());
    }
}

/// The text with a letter for each byte outside ASCII, so that each place in it is the same. The grammar's scanner asks C's `isdigit` about
/// whole characters, which is a read out of bounds for most of them.
fn ascii(text: &str) -> Vec<u8> {
    text.bytes()
        .map(|byte| if byte.is_ascii() { byte } else { b'x' })
        .collect()
}

/// One script that is being read.
struct Script<'t, 'r, 'a> {
    source: Source<'t>,
    functions: BTreeMap<String, Node<'t>>,
    /// Variables whose value an earlier run may have changed.
    asked: BTreeSet<String>,
    reader: &'r mut Reader<'a>,
    depth: usize,
    commands: usize,
}

/// What stands around a command and belongs to it.
#[derive(Clone, Default)]
struct Around<'t> {
    io: Io,
    redirects: Vec<Node<'t>>,
}

/// One statement of those with `&&` and `||` between them.
struct Part<'t> {
    /// A `||` stands before it.
    or: bool,
    node: Node<'t>,
    around: Around<'t>,
}

impl<'t> Script<'t, '_, '_> {
    fn statements(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        for child in named(node) {
            self.statement(child, guard, around);
        }
    }

    fn statement(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        if self.depth >= MAX_DEPTH || self.commands >= MAX_COMMANDS {
            return;
        }
        self.depth += 1;
        match node.kind() {
            "list" => self.list(node, guard, around),
            "pipeline" => self.pipeline(node, guard, around),
            "redirected_statement" => self.redirected(node, guard, around),
            "negated_command" => self.statements(node, forgiven(guard), around),
            "if_statement" | "elif_clause" => self.branches(node, guard),
            "else_clause" => self.statements(node, guard, &Around::default()),
            "case_item" => {
                let mark = self.reader.known.mark();
                self.statements(node, guard, &Around::default());
                self.reader.known.forget(&mark);
            }
            "while_statement" => self.while_loop(node, guard),
            "function_definition" => self.define(node),
            "command" => self.command(node, guard, around),
            "variable_assignment" => self.assign(node, guard),
            "subshell" => self.subshell(node, guard, around),
            // The words of `case` items and `for` lists are walked too, and hold nothing but substitutions.
            "program"
            | "compound_statement"
            | "do_group"
            | "ERROR"
            | "case_statement"
            | "for_statement"
            | "c_style_for_statement"
            | "declaration_command"
            | "variable_assignments" => {
                self.redirects(&around.redirects, node, guard);
                let inner = Around {
                    io: around.io.clone(),
                    redirects: Vec::new(),
                };
                let guard = self.subject(node, guard);
                self.statements(node, guard, &inner);
            }
            "comment" | "heredoc_end" => {}
            _ => self.substitutions(node, guard),
        }
        self.depth -= 1;
    }

    /// `a && b`, `a || b`, `a || b && c`.
    fn list(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        let mut parts = Vec::new();
        let mut left = node;
        while left.kind() == "list" {
            let inner = named(left);
            let (Some(first), Some(right)) = (inner.first(), inner.last()) else {
                return;
            };
            parts.push(Part {
                or: has_or(left),
                node: *right,
                around: Around::default(),
            });
            left = *first;
        }
        parts.push(Part {
            or: false,
            node: left,
            around: Around::default(),
        });
        parts[0].around = around.clone();
        parts.reverse();
        self.chain(&parts, guard);
    }

    /// Statements with `&&` and `||` between them: each depends on those before it, and is forgiven by a `||` behind it.
    fn chain(&mut self, parts: &[Part<'t>], guard: Guard) {
        let last_or = parts
            .iter()
            .rposition(|part| part.or && !self.fails(part.node, self.depth));
        let mut before = None;
        // Where what may not run begins: what it makes fresh is so to the end of the chain, or to a `||`.
        let mut mark: Option<known::Mark> = None;
        for (at, part) in parts.iter().enumerate() {
            let asked = before.is_some_and(|answer| match answer {
                Answer::Constant => false,
                Answer::Asked => true,
                Answer::Done => part.or,
            });
            let guard = if asked { conditional(guard) } else { guard };
            let guard = if last_or.is_some_and(|or| at < or) {
                forgiven(guard)
            } else {
                guard
            };
            if part.or
                && let Some(mark) = mark.take()
            {
                self.reader.known.forget(&mark);
            }
            if part.or || before.is_some_and(|answer| answer != Answer::Done) {
                mark.get_or_insert_with(|| self.reader.known.mark());
            } else if at > 0
                && parts[at - 1].or
                && let Some(mark) = mark.take()
            {
                self.reader.known.forget(&mark);
            }
            self.statement(part.node, guard, &part.around);
            if before.is_some_and(|answer| answer != Answer::Constant) {
                self.depends(part.node);
            }
            let answer = self.answer(part.node, self.depth);
            before = Some(before.map_or(answer, |before| question::both([before, answer], part.or)));
        }
        if let Some(mark) = mark {
            self.reader.known.forget(&mark);
        }
    }

    /// Takes up that a variable's value depends on an answer.
    fn depends(&mut self, assignment: Node<'t>) {
        if assignment.kind() == "variable_assignment"
            && let Some(name) = assignment.child_by_field_name("name")
        {
            self.asked.insert(self.source.slice(name).to_owned());
        }
    }

    fn pipeline(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        let stages = named(node);
        let mut io = around.io.clone();
        io.pipeline = Some(self.source.slice(node).to_owned());
        for (index, stage) in stages.iter().enumerate() {
            let redirects = if index + 1 == stages.len() {
                around.redirects.clone()
            } else {
                Vec::new()
            };
            let around = Around {
                io: io.clone(),
                redirects,
            };
            self.statement(*stage, guard, &around);
            io.input = self.output(*stage, self.depth);
        }
    }

    /// A statement with `>`, `>>`, `<<` behind it. Behind a here-document, the grammar puts what follows it on its line.
    fn redirected(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        let mut inner = around.clone();
        let (mut body, mut piped, mut right, mut or) = (None, None, None, false);
        for child in named(node) {
            match child.kind() {
                "file_redirect" => inner.redirects.push(child),
                "herestring_redirect" => inner.io.input = self.source.document(child),
                "heredoc_redirect" => {
                    inner.io.input = self.source.document(child);
                    for part in named(child) {
                        match part.kind() {
                            "file_redirect" => inner.redirects.push(part),
                            "pipeline" => piped = Some(part),
                            _ => {}
                        }
                    }
                    right = child.child_by_field_name("right");
                    or = child
                        .child_by_field_name("operator")
                        .is_some_and(|op| op.kind() == "||");
                }
                _ => body = Some(child),
            }
        }
        let Some(body) = body else {
            return self.redirects(&inner.redirects, node, guard);
        };
        match (right, piped) {
            (Some(right), _) => {
                let first = Part {
                    or: false,
                    node: body,
                    around: inner,
                };
                let second = Part {
                    or,
                    node: right,
                    around: Around::default(),
                };
                self.chain(&[first, second], guard);
            }
            (None, Some(piped)) => {
                self.statement(body, guard, &inner);
                let passes_on = self
                    .words(body)
                    .first()
                    .is_some_and(|program| program.base() == "cat");
                let io = Io {
                    input: inner.io.input.filter(|_| passes_on),
                    pipeline: None,
                };
                let after = Around {
                    io,
                    redirects: Vec::new(),
                };
                self.statements(piped, guard, &after);
            }
            (None, None) => self.statement(body, guard, &inner),
        }
    }

    /// The guard of what stands in a `case`; takes up the variable of a `for`.
    fn subject(&mut self, node: Node<'t>, guard: Guard) -> Guard {
        match node.kind() {
            "case_statement" => {
                let value = node.child_by_field_name("value");
                if value.is_some_and(|value| self.varies(value, self.depth)) {
                    return conditional(guard);
                }
            }
            "for_statement" => {
                let mut cursor = node.walk();
                let values: Vec<_> = node.children_by_field_name("value", &mut cursor).collect();
                if values.into_iter().any(|value| self.varies(value, self.depth))
                    && let Some(name) = node.child_by_field_name("variable")
                {
                    self.asked.insert(self.source.slice(name).to_owned());
                }
            }
            _ => {}
        }
        guard
    }

    /// `if` and `elif`: what comes before `then` is asked, the rest depends on its last statement.
    fn branches(&mut self, node: Node<'t>, guard: Guard) {
        let mut asked = true;
        let mut answer = Answer::Constant;
        let mut mark = self.reader.known.mark();
        let mut branches: Vec<known::Branch> = Vec::new();
        let mut last = node.kind();
        for index in 0..node.child_count() {
            let Some(child) = node.child(index) else { continue };
            if child.kind() == "then" {
                asked = false;
                mark = self.reader.known.mark();
            } else if child.is_named() {
                let guard = if asked {
                    forgiven(guard)
                } else if answer == Answer::Constant {
                    guard
                } else {
                    conditional(guard)
                };
                if matches!(child.kind(), "elif_clause" | "else_clause") {
                    branches.push(self.reader.known.forget(&mark));
                    last = child.kind();
                }
                self.statement(child, guard, &Around::default());
                if asked && child.kind() != "comment" {
                    answer = self.answer(child, self.depth);
                }
            }
        }
        branches.push(self.reader.known.forget(&mark));
        if let ("else_clause", [then, otherwise]) = (last, branches.as_slice()) {
            self.reader.known.either(then, otherwise);
        }
    }

    fn while_loop(&mut self, node: Node<'t>, guard: Guard) {
        let mark = self.reader.known.mark();
        for child in named(node) {
            let guard = if child.kind() == "do_group" {
                guard
            } else {
                forgiven(guard)
            };
            self.statement(child, guard, &Around::default());
        }
        self.reader.known.forget(&mark);
    }

    fn subshell(&mut self, node: Node<'t>, guard: Guard, around: &Around<'t>) {
        self.redirects(&around.redirects, node, guard);
        let left_early = self.reader.known.left_early;
        let folder = self.reader.known.folder.clone();
        let inner = Around {
            io: around.io.clone(),
            redirects: Vec::new(),
        };
        self.statements(node, guard, &inner);
        self.reader.known.left_early = left_early;
        self.reader.known.folder = folder;
    }
}

fn has_or(list: Node<'_>) -> bool {
    (0..list.child_count()).any(|at| list.child(at).is_some_and(|child| child.kind() == "||"))
}

fn conditional(guard: Guard) -> Guard {
    Guard {
        conditional: true,
        ..guard
    }
}

fn forgiven(guard: Guard) -> Guard {
    Guard {
        forgiven: true,
        ..guard
    }
}

fn named(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).collect()
}
