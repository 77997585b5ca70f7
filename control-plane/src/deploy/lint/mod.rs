//! The lint: what in a score's init containers will not bear a second run.
//!
//! Init containers run before *every* fresh main container, so a `mkdir` without `-p` works on the day of the first start and breaks
//! at the first power cut. [`lint`] reads their arguments and environment, says what it found, why it is wrong and what to write
//! instead. It is pure and takes any score: nothing panics, and the work is bounded ([`MAX_READ`], [`MAX_WARNINGS`]).
//!
//! - [`shell`], [`expand`]: scripts, read by tree-sitter's grammar of bash, which goes on behind a fault; with their guards (`if`,
//!   `||`, tests, an early `exit`)
//! - [`program`], [`files`]: one command with its arguments
//! - [`client`], [`sql`]: what SQL clients are given, read by `sqlparser`
//! - [`rule`]: the rules; [`findings`] keeps what was found, [`known`] what was done before
//!
//! It is a lint, not a proof: what it cannot read (a script inside the image, `psql -f`) it says nothing of. It warns where a second
//! run would fail or do the same thing once more, and is silent where that cannot be.

mod client;
mod expand;
mod files;
mod findings;
mod known;
mod mounts;
mod program;
mod rule;
mod shell;
mod sql;
mod word;

use fleet_protocol::score::{InitContainer, PodmanV0Score, Score};
use serde::{Deserialize, Serialize};

use findings::Findings;
use known::Known;
use mounts::Mounts;
pub use rule::{RULES, Rule};
use word::{Spot, Word};

/// Most bytes of arguments that are read of one score; a value of the wire has no more.
pub const MAX_READ: usize = 256 * 1024;
/// Longest script, and longest text that a script makes of its own parts, in bytes; an argument of the wire has no more.
const MAX_TEXT: usize = 8 * 1024;
/// Most warnings of one score.
pub const MAX_WARNINGS: usize = 100;

/// One thing that will not bear a second run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Warning {
    /// Field of the score, such as `init_containers[0].args[2]`.
    pub path: String,
    /// Line within that field's text, from 1.
    pub line: usize,
    /// The rule's name: stable, kebab-case.
    pub rule: String,
    /// What was found, on one line.
    pub found: String,
    /// What a second run does.
    pub why: String,
    /// What to write instead.
    pub fix: String,
}

impl Warning {
    /// The same warning, with its path below `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.path = format!("{prefix}.{}", self.path);
        self
    }
}

/// Reads any score. Paths start at `score`.
#[must_use]
pub fn lint_score(score: &Score) -> Vec<Warning> {
    match score {
        Score::PodmanV0(score) => lint(score)
            .into_iter()
            .map(|warning| warning.under("score.podman_v0"))
            .collect(),
    }
}

/// Reads the init containers of a score, in order. Paths are relative to the score.
#[must_use]
pub fn lint(score: &PodmanV0Score) -> Vec<Warning> {
    let mut findings = Findings::default();
    for (index, init) in score.init_containers.iter().enumerate() {
        Reader::new(index, init, &mut findings).read(init);
    }
    findings.into_warnings()
}

/// What makes a finding harmless at the place where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Guard {
    /// It only runs if something was asked first.
    conditional: bool,
    /// That it fails is taken care of.
    forgiven: bool,
}

/// Reads one init container.
struct Reader<'a> {
    at: String,
    init: &'a InitContainer,
    mounts: Mounts,
    findings: &'a mut Findings,
    known: Known,
}

impl<'a> Reader<'a> {
    fn new(index: usize, init: &'a InitContainer, findings: &'a mut Findings) -> Self {
        Self {
            at: format!("init_containers[{index}]"),
            init,
            mounts: Mounts::of(init),
            findings,
            known: Known::default(),
        }
    }

    fn read(&mut self, init: &InitContainer) {
        let mut words = Vec::new();
        for (index, text) in init.args.iter().enumerate() {
            if !self.findings.may_read(text.len()) {
                return;
            }
            words.push(Word::exact(
                text,
                Spot::field(format!("{}.args[{index}]", self.at)),
            ));
        }
        self.run(&words, &program::Io::default(), Guard::default());
    }

    /// Notes a finding, unless its guard or what is known makes it harmless.
    fn report(&mut self, rule: &Rule, spot: &Spot, found: &str, place: Option<&str>, guard: Guard) {
        let excused = guard.conditional || self.known.left_early || (guard.forgiven && rule.only_fails);
        if !excused {
            self.findings.add(rule, spot, found, place);
        }
    }

    /// The environment variable of that name, as text and where it stands.
    fn variable(&self, name: &str) -> Option<Word> {
        let index = self.init.env.iter().position(|variable| variable.name == name)?;
        let spot = Spot::field(format!("{}.env[{index}].value", self.at));
        Some(Word::exact(&self.init.env[index].value, spot))
    }
}

#[cfg(test)]
mod tests;
