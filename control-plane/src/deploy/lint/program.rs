//! One command: which program it really runs, and what that does.

use super::expand::escapes;
use super::rule::{self, Rule};
use super::word::{Word, shown};
use super::{Guard, MAX_TEXT, Reader};

/// What is connected to a command.
#[derive(Debug, Clone, Default)]
pub(super) struct Io {
    /// What it reads from its standard input, where that is known.
    pub(super) input: Option<Word>,
    /// The pipeline it is a part of.
    pub(super) pipeline: Option<String>,
}

/// Programs that run another one, and how many operands of their own they take before it.
const WRAPPERS: [(&str, usize); 20] = [
    ("env", 0),
    ("sudo", 0),
    ("doas", 0),
    ("exec", 0),
    ("command", 0),
    ("builtin", 0),
    ("time", 0),
    ("nice", 0),
    ("ionice", 0),
    ("nohup", 0),
    ("busybox", 0),
    ("toybox", 0),
    ("tini", 0),
    ("dumb-init", 0),
    ("setpriv", 0),
    // With -u; else it is as `su`.
    ("runuser", 0),
    ("timeout", 1),
    ("gosu", 1),
    ("su-exec", 1),
    ("chroot", 1),
];
/// Options of wrappers that take the next word with them.
const WITH_VALUE: [&str; 8] = ["-u", "-n", "-k", "-s", "-g", "-C", "--user", "--signal"];
/// Shells.
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "ksh", "zsh"];
/// Scripts within scripts, at most.
const MAX_DEPTH: usize = 4;

/// Reads a command whose name and arguments are words.
impl Reader<'_> {
    pub(super) fn run(&mut self, words: &[Word], io: &Io, guard: Guard) {
        let words = unwrapped(words);
        let Some((program, arguments)) = words.split_first() else {
            return;
        };
        match program.base() {
            name if SHELLS.contains(&name) => self.shell_program(arguments, io, guard),
            "cd" | "pushd" => self.go(arguments),
            "popd" => self.known.folder = None,
            "su" | "runuser" => self.su(arguments, io, guard),
            "eval" => self.eval(arguments, guard),
            // The image's entry point is a shell or a client, and takes the text with -c.
            name if name.starts_with('-') => self.entry_point(words, guard),
            "psql" | "mysql" | "mariadb" | "sqlite3" => self.sql_client(program.base(), arguments, io, guard),
            _ => self.known_program(words, io, guard),
        }
        for word in arguments {
            self.known.named.insert(word.text.clone());
        }
    }

    fn known_program(&mut self, words: &[Word], io: &Io, guard: Guard) {
        let arguments = &words[1..];
        match words[0].base() {
            "mkdir" | "ln" | "mv" | "rm" | "git" | "tee" | "cp" | "install" | "curl" | "wget" => {
                self.file_program(words, guard);
            }
            "useradd" | "adduser" | "groupadd" | "addgroup" if !is_lenient(words) => {
                self.simple(&rule::ADD_USER, words, guard);
            }
            "iptables" | "ip6tables" => self.iptables(words, guard),
            "createdb" | "createuser" | "initdb" => self.simple(&rule::CREATE_DATABASE, words, guard),
            "mysqladmin" | "mariadb-admin" if arguments.iter().any(|word| word.text == "create") => {
                self.simple(&rule::CREATE_DATABASE, words, guard);
            }
            "crontab" => self.crontab(words, io, guard),
            _ => {}
        }
    }

    fn simple(&mut self, rule: &Rule, words: &[Word], guard: Guard) {
        let asks = words[1..]
            .iter()
            .any(|word| ["--help", "--version"].contains(&word.text.as_str()));
        if !asks {
            self.report(rule, &words[0].spot, &shown(words), None, guard);
        }
    }

    /// A rule may be added to a chain that was flushed, or where the same one was taken away.
    fn iptables(&mut self, words: &[Word], guard: Guard) {
        const ADD: [&str; 4] = ["-A", "-I", "--append", "--insert"];
        const TAKE: [&str; 4] = ["-F", "--flush", "-D", "--delete"];
        let is = |verbs: [&str; 4]| words.iter().position(|word| verbs.contains(&word.text.as_str()));
        let table = words
            .windows(2)
            .find(|pair| ["-t", "--table"].contains(&pair[0].text.as_str()));
        let table = table.map_or("filter", |pair| pair[1].text.as_str());
        let key = |what: &str| format!("{} {table} {what}", words[0].base());
        // The verb stands for none of the words behind it.
        let whole = |at: usize| key(&shown(&words[at + 1..]));
        if let Some(at) = is(TAKE) {
            let chain = words.get(at + 1).filter(|word| !word.is_option());
            let gone = match chain {
                _ if words[at].text.ends_with(['D', 'e']) => whole(at),
                Some(chain) => key(&chain.text),
                None => key(""),
            };
            self.known.fresh.insert(gone);
        } else if let Some(at) = is(ADD) {
            let chain = words.get(at + 1).map_or("", |word| word.text.as_str());
            let flushed = [key(chain), key(""), whole(at)]
                .iter()
                .any(|key| self.known.fresh.contains(key));
            if !flushed {
                self.simple(&rule::IPTABLES, words, guard);
            }
        }
    }

    fn crontab(&mut self, words: &[Word], io: &Io, guard: Guard) {
        let takes_input = words.get(1).is_some_and(|word| word.text == "-");
        let pipeline = io.pipeline.as_deref().unwrap_or_default();
        let filters = ["grep -v", "grep -Fv", "sort -u", "uniq", "sed "];
        if takes_input
            && pipeline.contains("crontab -l")
            && !filters.iter().any(|filter| pipeline.contains(filter))
        {
            self.report(&rule::CRONTAB, &words[0].spot, pipeline, None, guard);
        }
    }

    fn shell_program(&mut self, arguments: &[Word], io: &Io, guard: Guard) {
        let mut given = arguments.iter().skip_while(|word| {
            let option = word.is_option() || word.text.starts_with('+');
            option && !word.has_short('c') || ["pipefail", "errexit", "nounset"].contains(&word.text.as_str())
        });
        match given.next() {
            Some(option) if option.has_short('c') => {
                // `-o pipefail` may stand between -c and the script.
                let script = given.find(|word| !word.is_option() && word.text != "pipefail");
                if let Some(script) = script {
                    self.script(&script.clone(), guard);
                }
            }
            Some(_) => {}
            None => {
                if let Some(script) = &io.input {
                    self.script(script, guard);
                }
            }
        }
    }

    /// `su -c "…" user`, `su user -c "…"`.
    fn su(&mut self, arguments: &[Word], io: &Io, guard: Guard) {
        let command = arguments
            .iter()
            .position(|word| word.text == "-c" || word.text == "--command");
        match command.and_then(|at| arguments.get(at + 1)) {
            Some(script) => self.script(script, guard),
            None => self.shell_program(&[], io, guard),
        }
    }

    fn eval(&mut self, arguments: &[Word], guard: Guard) {
        if let [script] = arguments {
            self.script(script, guard);
        }
    }

    fn entry_point(&mut self, words: &[Word], guard: Guard) {
        let Some(at) = words
            .iter()
            .position(|word| word.has_short('c') || word.has_short('e'))
        else {
            return;
        };
        let Some(text) = words.get(at + 1) else { return };
        if super::sql::looks_like_sql(&text.text) {
            self.sql(text, None, guard);
        } else if words[at].has_short('c') {
            self.script(text, guard);
        }
    }

    /// A script within the arguments.
    fn script(&mut self, script: &Word, guard: Guard) {
        let too_much = self.known.depth >= MAX_DEPTH || script.text.len() > MAX_TEXT;
        if too_much || !self.findings.may_read(script.text.len()) {
            return;
        }
        self.known.depth += 1;
        self.findings.allow(&script.spot, &script.text);
        self.shell(script, guard);
        self.known.depth -= 1;
    }
}

/// The command without what only runs it.
pub(super) fn unwrapped(mut words: &[Word]) -> &[Word] {
    while let Some(program) = words.first() {
        let as_su = program.base() == "runuser"
            && !words
                .iter()
                .any(|word| ["-u", "--user"].contains(&word.text.as_str()));
        let own = WRAPPERS
            .iter()
            .find(|(name, _)| *name == program.base() && !as_su);
        let Some(&(_, mut operands)) = own else {
            return words;
        };
        words = &words[1..];
        while let Some(word) = words.first() {
            let with_value = WITH_VALUE.contains(&word.text.as_str());
            if word.text == "--" {
                words = &words[1..];
                break;
            } else if word.is_option() || word.text.contains('=') {
                words = words.get(1 + usize::from(with_value)..).unwrap_or_default();
            } else if operands > 0 {
                operands -= 1;
                words = &words[1..];
            } else {
                break;
            }
        }
    }
    words
}

/// What a command writes to its standard output, where that is in the command.
pub(super) fn output(words: &[Word]) -> Option<Word> {
    let (program, arguments) = unwrapped(words).split_first()?;
    let mut given = arguments.iter().filter(|word| !word.is_option());
    match program.base() {
        "echo" => {
            let mut first = given.next()?.clone();
            for word in given {
                first.text.push(' ');
                first.text.push_str(&word.text);
            }
            Some(first)
        }
        "printf" => {
            let format = given.next()?;
            let rest: Vec<_> = given.map(|word| word.text.as_str()).collect();
            let mut text = format.clone();
            text.text = match format.text.trim_end_matches("\\n") {
                "%s" | "%b" => rest.join("\n"),
                _ => escapes(&format.text),
            };
            Some(text)
        }
        _ => None,
    }
}

/// `groupadd -f` and Debian's `adduser --system` take what is there already for done.
fn is_lenient(words: &[Word]) -> bool {
    let options = &words[1..];
    match words[0].base() {
        "groupadd" => options
            .iter()
            .any(|word| word.has_short('f') || word.text == "--force"),
        "adduser" | "addgroup" => options.iter().any(|word| word.text == "--system"),
        _ => false,
    }
}
