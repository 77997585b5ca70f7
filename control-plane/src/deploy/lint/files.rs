//! Programs that make, link, move and remove files.

use super::mounts::{self, Place};
use super::rule::{self, Rule};
use super::word::{Spot, Word, operands, shown};
use super::{Guard, Reader};

/// Longest path of a folder that is followed; Linux takes no longer ones.
const LONGEST_PATH: usize = 4096;

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
                    self.made(word);
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
            self.emptied(folder);
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
        self.made(target);
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
            self.emptied(word);
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
        let place = self.place(target);
        if log || self.is_fresh(target) || matches!(place, Place::Own | Place::Scratch) {
            return;
        }
        let kept = kept(&place);
        self.report(&rule::APPEND, &target.spot, found, kept, guard);
    }

    /// A `>`: from here on the file holds what this run wrote.
    pub(super) fn overwritten(&mut self, target: &Word) {
        self.made(target);
        self.known.named.insert(target.text.clone());
    }

    /// `cd`: what is relative lies there from here on.
    pub(super) fn go(&mut self, arguments: &[Word]) {
        let known = |folder: &Word| {
            (folder.fresh || folder.text.starts_with('/')) && folder.text.len() <= LONGEST_PATH
        };
        self.known.folder = match operands(arguments).as_slice() {
            [folder] => Some(self.located(folder)).filter(known),
            _ => None,
        };
    }

    /// The path that a word means.
    pub(super) fn located(&self, word: &Word) -> Word {
        mounts::within(self.known.folder.as_ref(), word)
    }

    /// Where the file lies that a word means.
    pub(super) fn place(&self, word: &Word) -> Place {
        self.mounts.place(&self.located(word))
    }

    /// From here on a file is what this run made of it.
    fn made(&mut self, file: &Word) {
        let path = self.located(file).text;
        self.known.fresh.insert(path);
    }

    /// From here on nothing of an earlier run is at that path or below.
    fn emptied(&mut self, path: &Word) {
        let path = self.located(path).text;
        let all = path.strip_suffix('*').filter(|folder| folder.ends_with('/'));
        let below = all.map_or_else(|| format!("{path}/"), str::to_owned);
        self.known.fresh.insert(below);
        self.known.fresh.insert(path);
    }

    pub(super) fn is_fresh(&self, word: &Word) -> bool {
        let located = self.located(word);
        let path = located.text.as_str();
        let in_fresh = |at: usize| self.known.fresh.contains(&path[..=at]);
        located.fresh
            || self.known.fresh.contains(path)
            || path.match_indices('/').any(|(at, _)| in_fresh(at))
    }

    /// Reports a command about files once, for the first of them that stays.
    fn report_files(&mut self, rule: &Rule, words: &[Word], files: &[&Word], guard: Guard) {
        for file in files {
            let place = self.place(file);
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
