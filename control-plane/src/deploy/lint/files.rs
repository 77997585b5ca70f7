//! Programs that make, link, move and remove files.

use super::mounts::Place;
use super::rule::{self, Rule};
use super::word::{Spot, Word, operands, shown};
use super::{Guard, Reader};

impl Reader<'_> {
    pub(super) fn file_program(&mut self, words: &[Word], guard: Guard) {
        let (program, arguments) = (words[0].base(), &words[1..]);
        match program {
            "mkdir" => self.mkdir(words, arguments, guard),
            "ln" => self.ln(words, arguments, guard),
            "mv" => self.mv(words, arguments, guard),
            "rm" => self.rm(words, arguments, guard),
            "git" => self.git(words, arguments, guard),
            "tee" if arguments.iter().any(|w| w.has_short('a') || w.text == "--append") => {
                for target in operands(arguments) {
                    self.append(target, &shown(words), guard);
                }
            }
            // What these write is whole each time.
            _ => {
                for word in operands(arguments) {
                    self.known.fresh.insert(word.text.clone());
                }
            }
        }
    }

    fn mkdir(&mut self, words: &[Word], arguments: &[Word], guard: Guard) {
        let lenient = arguments
            .iter()
            .any(|word| word.has_short('p') || word.text == "--parents");
        if lenient {
            return;
        }
        // `-m 0755` takes the next word with it.
        let mode = arguments.iter().position(|word| word.text == "-m");
        let given: Vec<_> = operands(arguments)
            .into_iter()
            .filter(|word| mode.is_none_or(|at| arguments.get(at + 1) != Some(*word)))
            .collect();
        self.report_files(&rule::MKDIR, words, &given, guard);
        for folder in given {
            self.known.fresh.insert(folder.text.clone());
        }
    }

    fn ln(&mut self, words: &[Word], arguments: &[Word], guard: Guard) {
        let lenient = arguments
            .iter()
            .any(|word| word.has_short('f') || word.text == "--force");
        if !lenient && let Some(name) = operands(arguments).last() {
            self.report_files(&rule::LINK, words, &[name], guard);
        }
    }

    fn mv(&mut self, words: &[Word], arguments: &[Word], guard: Guard) {
        let given = operands(arguments);
        let Some((target, sources)) = given.split_last() else {
            return;
        };
        let own: Vec<_> = sources
            .iter()
            .copied()
            .filter(|source| !self.known.named.contains(&source.text))
            .collect();
        self.report_files(&rule::MOVE, words, &own, guard);
        self.known.fresh.insert(target.text.clone());
    }

    fn rm(&mut self, words: &[Word], arguments: &[Word], guard: Guard) {
        let given = operands(arguments);
        let lenient = arguments
            .iter()
            .any(|word| word.has_short('f') || word.text == "--force");
        if !lenient {
            let own: Vec<_> = given
                .iter()
                .copied()
                .filter(|word| !self.known.named.contains(&word.text))
                .collect();
            self.report_files(&rule::REMOVE, words, &own, guard);
        }
        for word in given {
            self.known.fresh.insert(word.text.clone());
        }
    }

    fn git(&mut self, words: &[Word], arguments: &[Word], guard: Guard) {
        let given = operands(arguments);
        let Some(at) = given.iter().position(|word| word.text == "clone") else {
            return;
        };
        match given[at + 1..] {
            [] => {}
            [url] => self.report(&rule::GIT_CLONE, &url.spot, &shown(words), None, guard),
            [.., folder] => self.report_files(&rule::GIT_CLONE, words, &[folder], guard),
        }
    }

    /// A `>>`, or what does the same.
    pub(super) fn append(&mut self, target: &Word, found: &str, guard: Guard) {
        let log = target.text.ends_with(".log")
            || ["/log/", "/logs/"].iter().any(|part| target.text.contains(part));
        let place = self.mounts.place(target);
        if log || self.is_fresh(target) || matches!(place, Place::Own | Place::Scratch) {
            return;
        }
        let kept = kept(&place);
        self.report(&rule::APPEND, &target.spot, found, kept, guard);
    }

    /// A `>`: from here on the file holds what this run wrote.
    pub(super) fn overwritten(&mut self, target: &Word) {
        self.known.fresh.insert(target.text.clone());
        self.known.named.insert(target.text.clone());
    }

    fn is_fresh(&self, word: &Word) -> bool {
        word.fresh || self.known.fresh.contains(&word.text)
    }

    /// Reports a command about files once, for the first of them that stays.
    fn report_files(&mut self, rule: &Rule, words: &[Word], files: &[&Word], guard: Guard) {
        for file in files {
            let place = self.mounts.place(file);
            if self.is_fresh(file) || matches!(place, Place::Own | Place::Scratch) {
                continue;
            }
            let spot: Spot = words[0].spot.clone();
            return self.report(rule, &spot, &shown(words), kept(&place), guard);
        }
    }
}

fn kept(place: &Place) -> Option<&str> {
    match place {
        Place::Kept(name) => Some(name),
        Place::Own | Place::Scratch | Place::Unknown => None,
    }
}
