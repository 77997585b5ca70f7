//! Questions of a script, and whether a run can change their answer: only such a question guards what depends on it.
//!
//! A question about the environment, the image or a mount itself has the same answer each time, however often the script runs.

use tree_sitter::Node;

use super::super::mounts::Place;
use super::super::program;
use super::super::word::{Word, operands};
use super::{MAX_DEPTH, Script, named};

/// What the status of a statement depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// It is the same in each run.
    Constant,
    /// An earlier run may have changed it, and asking does nothing.
    Asked,
    /// It is the end of something that was done, or that nobody knows.
    Done,
}

/// Questions whose answer is the same in each run.
const CONSTANT: [&str; 15] = [
    "which",
    "type",
    "hash",
    "uname",
    "arch",
    "hostname",
    "whoami",
    "nproc",
    "getconf",
    "tty",
    "printenv",
    "pg_isready",
    "ping",
    "nc",
    "mountpoint",
];
/// Programs that only say what they are given; their status is no question.
const SAYING: [&str; 9] = [
    "echo", "printf", "date", "pwd", "basename", "dirname", "mktemp", "env", "seq",
];
/// Programs that read files, or what comes through a pipe.
const READING: [&str; 19] = [
    "ls",
    "find",
    "cat",
    "head",
    "tail",
    "wc",
    "sort",
    "uniq",
    "tr",
    "cut",
    "stat",
    "diff",
    "cmp",
    "sha256sum",
    "md5sum",
    "base64",
    "xxd",
    "du",
    "readlink",
];
/// The same, with an expression before the files.
const MATCHING: [&str; 7] = ["grep", "egrep", "fgrep", "rg", "sed", "awk", "jq"];
/// Those whose status is no question: they fail only where something is wrong.
const FILTERS: [&str; 12] = [
    "cat", "head", "tail", "wc", "sort", "uniq", "tr", "cut", "sed", "awk", "base64", "xxd",
];
/// Questions about what a mount as a whole holds.
const LISTING: [&str; 3] = ["ls", "find", "du"];
/// Files of the image that programs of the script may change without naming them.
const ACCOUNTS: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/shadow"];

impl<'t> Script<'t, '_, '_> {
    /// What the status of a statement depends on. Deeper than [`MAX_DEPTH`] it is taken for a guard.
    pub(super) fn answer(&self, node: Node<'t>, depth: usize) -> Answer {
        self.status(node, depth).unwrap_or(Answer::Asked)
    }

    /// The same; nothing, if it depends on what comes through a pipe.
    fn status(&self, node: Node<'t>, depth: usize) -> Option<Answer> {
        if depth >= MAX_DEPTH {
            return Some(Answer::Asked);
        }
        match node.kind() {
            "test_command" => Some(self.test(&leaves(node, depth), depth)),
            "negated_command" => self.status(*named(node).first()?, depth + 1),
            "redirected_statement" => match node.child_by_field_name("body") {
                Some(body) => self.status(body, depth + 1),
                None => Some(Answer::Asked),
            },
            "pipeline" => {
                let stages = named(node);
                let (last, before) = stages.split_last()?;
                let through = || before.iter().any(|stage| self.says(*stage, depth + 1));
                Some(match self.status(*last, depth + 1) {
                    Some(answer) => answer,
                    None if through() => Answer::Asked,
                    None => Answer::Constant,
                })
            }
            "list" => {
                let parts = named(node);
                let (left, right) = (*parts.first()?, *parts.last()?);
                let answers = [self.answer(left, depth + 1), self.answer(right, depth + 1)];
                Some(both(answers, super::has_or(node)))
            }
            "subshell" | "compound_statement" => {
                let last = named(node).into_iter().rfind(|part| part.kind() != "comment")?;
                self.status(last, depth + 1)
            }
            "variable_assignment" if self.varies(node, depth + 1) => Some(Answer::Done),
            "variable_assignment" => Some(Answer::Constant),
            "command" => self.program(node, depth + 1),
            _ => Some(Answer::Done),
        }
    }

    /// A command; nothing, if it asks about what comes through a pipe.
    fn program(&self, node: Node<'t>, depth: usize) -> Option<Answer> {
        let words = self.words(node);
        let Some(first) = words.first() else {
            return Some(Answer::Done);
        };
        if let Some(body) = self.functions.get(&first.text).copied() {
            let known = self.source.budget.take(body.byte_range().len());
            return Some(if known {
                self.answer(body, depth)
            } else {
                Answer::Asked
            });
        }
        if first.base() == "command"
            && words
                .iter()
                .any(|word| word.has_short('v') || word.has_short('V'))
        {
            return Some(Answer::Constant);
        }
        let words = program::unwrapped(&words);
        let (first, arguments) = words.split_first()?;
        match first.base() {
            "test" | "[" | "[[" | "expr" => {
                let parts = leaves(node, depth);
                Some(self.test(&parts, depth))
            }
            name if CONSTANT.contains(&name) => Some(Answer::Constant),
            "id" if operands(arguments).is_empty() => Some(Answer::Constant),
            "id" | "getent" | "pgrep" => Some(Answer::Asked),
            "git" if operands(arguments).first().is_some_and(|w| w.text == "rev-parse") => {
                Some(Answer::Asked)
            }
            "iptables" | "ip6tables" if arguments.iter().any(|word| word.text == "-C") => Some(Answer::Asked),
            name if FILTERS.contains(&name) => Some(Answer::Done),
            name if READING.contains(&name) || MATCHING.contains(&name) => self.reads(name, arguments),
            _ => Some(Answer::Done),
        }
    }

    /// Whether files that are read may have been changed; nothing, if there are none.
    fn reads(&self, name: &str, arguments: &[Word]) -> Option<Answer> {
        let given = operands(arguments);
        let before = usize::from(MATCHING.contains(&name) && !arguments.iter().any(|word| word.text == "-e"));
        let files = given.get(before..).unwrap_or_default();
        if files.is_empty() {
            return None;
        }
        let changes = |file: &&Word| {
            let whole = LISTING.contains(&name) && matches!(self.reader.place(file), Place::Kept(_));
            whole || self.may_change(file) || ACCOUNTS.contains(&file.text.as_str())
        };
        Some(if files.iter().any(changes) {
            Answer::Asked
        } else {
            Answer::Constant
        })
    }

    /// Whether an earlier run may have made, changed or removed a file.
    fn may_change(&self, file: &Word) -> bool {
        match self.reader.place(file) {
            Place::Kept(_) => !self.reader.mounts.is_itself(&self.reader.located(file)),
            Place::Unknown => true,
            Place::Own | Place::Scratch => false,
        }
    }

    /// A test: of files, or of values.
    fn test(&self, parts: &[Node<'t>], depth: usize) -> Answer {
        if parts.iter().any(|part| self.varies(*part, depth + 1)) {
            return Answer::Asked;
        }
        let words: Vec<_> = parts.iter().map(|part| self.source.word(*part)).collect();
        let asked = words.iter().enumerate().any(|(at, word)| {
            let next = words.get(at + 1);
            let before = at.checked_sub(1).and_then(|at| words.get(at));
            match word.text.as_str() {
                "-nt" | "-ot" | "-ef" => before.into_iter().chain(next).any(|file| self.may_change(file)),
                text if is_of_files(text) => next.is_some_and(|file| self.may_change(file)),
                _ => false,
            }
        });
        if asked { Answer::Asked } else { Answer::Constant }
    }

    /// Whether a text may be another one when an earlier run has changed something.
    pub(super) fn varies(&self, node: Node<'t>, depth: usize) -> bool {
        if depth >= MAX_DEPTH {
            return true;
        }
        match node.kind() {
            "command_substitution" | "process_substitution" => {
                named(node).into_iter().any(|part| self.says(part, depth + 1))
            }
            "special_variable_name" => self.source.slice(node) == "?",
            "variable_name" => self.asked.contains(self.source.slice(node)),
            _ => named(node).into_iter().any(|part| self.varies(part, depth + 1)),
        }
    }

    /// Whether what a statement writes may vary.
    fn says(&self, node: Node<'t>, depth: usize) -> bool {
        if depth >= MAX_DEPTH {
            return true;
        }
        match node.kind() {
            "pipeline" | "list" | "subshell" | "compound_statement" => {
                named(node).into_iter().any(|part| self.says(part, depth + 1))
            }
            "redirected_statement" => {
                let reads = |child: &Node<'t>| {
                    child.kind() == "file_redirect" && self.source.slice(*child).starts_with('<')
                };
                let body = node.child_by_field_name("body");
                named(node).iter().any(reads) || body.is_none_or(|body| self.says(body, depth + 1))
            }
            "command" => {
                let words = self.words(node);
                let words = program::unwrapped(&words);
                let Some((first, arguments)) = words.split_first() else {
                    return false;
                };
                let name = first.base();
                if SAYING.contains(&name) {
                    self.varies(node, depth + 1)
                } else if FILTERS.contains(&name) {
                    self.reads(name, arguments) == Some(Answer::Asked)
                } else {
                    self.program(node, depth + 1)
                        .is_some_and(|answer| answer != Answer::Constant)
                }
            }
            _ => true,
        }
    }
}

/// The answer of two statements with `||`, or else `&&`, between them.
pub(super) fn both(answers: [Answer; 2], or: bool) -> Answer {
    let [left, right] = answers;
    if !or && answers.contains(&Answer::Asked) {
        Answer::Asked
    } else {
        left.max(right)
    }
}

/// `-e`, `-f` and the like; not `-n`, `-z` and `-t`, and not `-a` and `-o` between two tests.
fn is_of_files(option: &str) -> bool {
    matches!(option.as_bytes(), [b'-', letter] if b"bcdefghkprsuwxLSGNO".contains(letter))
}

/// The words of a test, without its brackets and operators.
fn leaves(node: Node<'_>, depth: usize) -> Vec<Node<'_>> {
    const GROUPS: [&str; 5] = [
        "test_command",
        "unary_expression",
        "binary_expression",
        "parenthesized_expression",
        "negated_command",
    ];
    if depth >= MAX_DEPTH {
        return Vec::new();
    }
    let mut found = Vec::new();
    for part in named(node) {
        if GROUPS.contains(&part.kind()) {
            found.extend(leaves(part, depth + 1));
        } else {
            found.push(part);
        }
    }
    found
}
