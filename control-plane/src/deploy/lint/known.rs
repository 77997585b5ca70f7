//! What the init container has done so far, as far as it was read.

use std::collections::BTreeSet;

use super::word::Word;

/// Names that were taken up, in order, so that those of a branch can be forgotten behind it.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: BTreeSet<String>,
    order: Vec<String>,
}

impl Names {
    pub(super) fn insert(&mut self, name: String) {
        if self.all.insert(name.clone()) {
            self.order.push(name);
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.all.contains(name)
    }

    fn forget(&mut self, from: usize) -> Vec<String> {
        let names = self.order.split_off(from.min(self.order.len()));
        for name in &names {
            self.all.remove(name);
        }
        names
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Paths that were made from nothing or emptied.
    pub(super) fresh: Names,
    /// Words of earlier commands: what they made is theirs.
    pub(super) named: BTreeSet<String>,
    /// What is empty or gone in a database at this point, whatever was there before.
    pub(super) sql: Names,
    /// The folder that the script went to, if it did and that is known.
    pub(super) folder: Option<Word>,
    /// What follows runs only where it has not been done: a test before it leaves the script otherwise.
    pub(super) left_early: bool,
    /// Scripts within scripts.
    pub(super) depth: usize,
}

/// A point of a script.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    folder: Option<Word>,
    fresh: usize,
    sql: usize,
}

/// What was made fresh in a branch.
#[derive(Debug, Default)]
pub(super) struct Branch {
    fresh: Vec<String>,
    sql: Vec<String>,
}

impl Known {
    /// Where a branch begins, which may not run.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            folder: self.folder.clone(),
            fresh: self.fresh.order.len(),
            sql: self.sql.order.len(),
        }
    }

    /// Behind the branch nothing is fresh through it.
    pub(super) fn forget(&mut self, mark: &Mark) -> Branch {
        self.folder.take_if(|folder| mark.folder.as_ref() != Some(folder));
        Branch {
            fresh: self.fresh.forget(mark.fresh),
            sql: self.sql.forget(mark.sql),
        }
    }

    /// Takes up what is fresh in either branch, if one of them runs.
    pub(super) fn either(&mut self, one: &Branch, other: &Branch) {
        let common = |one: &[String], other: &[String]| {
            let other: BTreeSet<_> = other.iter().collect();
            one.iter()
                .filter(|name| other.contains(name))
                .cloned()
                .collect::<Vec<_>>()
        };
        for name in common(&one.fresh, &other.fresh) {
            self.fresh.insert(name);
        }
        for name in common(&one.sql, &other.sql) {
            self.sql.insert(name);
        }
    }
}
