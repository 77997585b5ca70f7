//! Entries of one container, the newest first, put together to the end of one run's log.
//!
//! conmon writes a long line in pieces, each marked but the last; standard output (priority 6) and standard error (3) each
//! have their own. Read backwards, a line begins with its last piece and grows at its beginning.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use fleet_protocol::cause::shorten;

use super::entry::Entry;
use super::{LogLimits, LogLine, LogTail};

/// Most entries that are looked at: more than a journal of the device's size gives in the time that there is.
const MAX_ENTRIES: usize = 20_000;
/// Most bytes of JSON that are looked at.
const MAX_JSON: usize = 24 << 20;
/// Enough lines were seen: so many more entries are looked at for the earlier pieces of one of them. Another stream's
/// entries may lie between two pieces.
const LOOK_BACK: usize = 64;

/// A line whose beginning may not have been read yet.
#[derive(Debug)]
struct Growing {
    at: DateTime<Utc>,
    /// At most its first `LogLimits::line` bytes and one more, which says that there are more.
    bytes: Vec<u8>,
}

/// Where the next earlier piece of a stream belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    /// To a line that was not seen.
    #[default]
    Nothing,
    /// To this line.
    Line(usize),
    /// To a line that is one too many.
    Surplus,
}

/// Takes entries as `journalctl --output=json --reverse` prints them, and never keeps more than the limits allow, a few lines of
/// them aside. Pure; public for the fuzzer.
#[derive(Debug)]
pub struct LogReader {
    limits: LogLimits,
    /// The run that is read: the first one that is seen.
    run: Option<String>,
    /// Its entries are passed over.
    newer: Option<String>,
    /// The newest first.
    lines: Vec<Growing>,
    open: [Open; 2],
    bytes: usize,
    /// There are older lines than those that are kept.
    more: bool,
    /// The beginning of the run was seen.
    begun: bool,
    entries: usize,
    json: usize,
    /// Entries since enough lines were seen, or a piece of one of them.
    beyond: usize,
}

impl LogReader {
    /// Reads the first run that it is shown.
    #[must_use]
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            run: None,
            newer: None,
            lines: Vec::new(),
            open: [Open::Nothing; 2],
            bytes: 0,
            more: false,
            begun: false,
            entries: 0,
            json: 0,
            beyond: 0,
        }
    }

    /// Passes over the entries of this run, which is newer.
    #[must_use]
    pub fn before(mut self, newer: String) -> Self {
        self.newer = Some(newer);
        self
    }

    /// Whether it saw anything of the run.
    pub(super) fn is_empty(&self) -> bool {
        self.run.is_none()
    }

    /// Takes one entry; breaks when no earlier one is needed.
    pub fn entry(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.entries += 1;
        self.json += json.len();
        if self.entries > MAX_ENTRIES || self.json > MAX_JSON {
            self.more = true;
            return ControlFlow::Break(());
        }
        let Some(mut entry) = Entry::read(json) else {
            return ControlFlow::Continue(());
        };
        match self.is_of_run(&entry) {
            None => return ControlFlow::Continue(()),
            Some(true) => {}
            Some(false) => {
                self.begun = true;
                return ControlFlow::Break(());
            }
        }
        if entry.is_beginning() {
            self.begun = true;
            return ControlFlow::Break(());
        }
        if let Some(bytes) = entry.message.0.take().filter(|_| entry.podman_event.is_none()) {
            self.take(&entry, bytes);
        }
        self.has_enough()
    }

    /// Whether an entry is of the run that is read; `None` when it is of none, or of one that is newer.
    fn is_of_run(&mut self, entry: &Entry<'_>) -> Option<bool> {
        let run = entry.run()?;
        if self.newer.as_deref() == Some(run) {
            return None;
        }
        match &self.run {
            Some(of) => Some(of == run),
            None => {
                self.run = Some(run.to_owned());
                Some(true)
            }
        }
    }

    fn take(&mut self, entry: &Entry<'_>, mut bytes: Vec<u8>) {
        let stream = usize::from(entry.priority.as_deref() == Some("3"));
        if entry.is_piece() {
            match self.open[stream] {
                Open::Line(line) => return self.grow(line, entry.at(), bytes),
                Open::Surplus => return,
                Open::Nothing => {}
            }
        } else if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if self.more || self.lines.len() == self.limits.lines {
            self.more = true;
            self.open[stream] = Open::Surplus;
            return;
        }
        bytes.truncate(self.limits.line.saturating_add(1));
        self.bytes += bytes.len();
        self.lines.push(Growing {
            at: entry.at(),
            bytes,
        });
        self.open[stream] = Open::Line(self.lines.len() - 1);
        self.keep_within_bytes();
    }

    fn grow(&mut self, line: usize, at: DateTime<Utc>, mut piece: Vec<u8>) {
        let Some(line) = self.lines.get_mut(line) else {
            return;
        };
        self.bytes -= line.bytes.len();
        piece.append(&mut line.bytes);
        piece.truncate(self.limits.line.saturating_add(1));
        self.bytes += piece.len();
        (line.at, line.bytes) = (at, piece);
        self.beyond = 0;
        self.keep_within_bytes();
    }

    /// Lets go of the oldest lines.
    fn keep_within_bytes(&mut self) {
        while self.bytes > self.limits.bytes
            && let Some(oldest) = self.lines.pop()
        {
            self.bytes -= oldest.bytes.len();
            self.more = true;
            for open in &mut self.open {
                if *open == Open::Line(self.lines.len()) {
                    *open = Open::Surplus;
                }
            }
        }
    }

    fn has_enough(&mut self) -> ControlFlow<()> {
        if !self.more {
            return ControlFlow::Continue(());
        }
        self.beyond += 1;
        let grows = self.open.iter().any(|open| matches!(open, Open::Line(_)));
        match grows && self.beyond <= LOOK_BACK {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> LogTail {
        let (mut lines, mut bytes, mut more) = (Vec::new(), 0, self.more);
        for line in self.lines {
            let text = shorten(
                String::from_utf8_lossy(&line.bytes).into_owned(),
                self.limits.line,
            );
            bytes += text.len();
            if bytes > self.limits.bytes {
                more = true;
                break;
            }
            lines.push(LogLine { at: line.at, text });
        }
        lines.reverse();
        LogTail {
            complete: self.run.is_some() && self.begun && !more,
            run: self.run,
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits {
        lines: 3,
        bytes: 100,
        line: 10,
    };

    fn id(letter: &str) -> String {
        letter.repeat(64)
    }

    fn json(run: &str, priority: u8, text: &str, piece: bool) -> String {
        let mut entry = serde_json::json!({
            "CONTAINER_ID_FULL": id(run),
            "PRIORITY": priority.to_string(),
            "MESSAGE": text,
            "__REALTIME_TIMESTAMP": "1767225600000000",
        });
        if piece {
            entry["CONTAINER_PARTIAL_MESSAGE"] = "true".into();
        }
        entry.to_string()
    }

    fn out(run: &str, text: &str) -> String {
        json(run, 6, &format!("{text}\n"), false)
    }

    fn event(run: &str, event: &str) -> String {
        format!(
            r#"{{"PODMAN_EVENT":"{event}","PODMAN_ID":"{}","MESSAGE":"x"}}"#,
            id(run)
        )
    }

    /// Entries in the order in which they were written; gives also how many of them were read.
    fn read(mut reader: LogReader, written: &[String]) -> (Vec<String>, LogTail, usize) {
        let mut count = 0;
        for entry in written.iter().rev() {
            count += 1;
            if reader.entry(entry.as_bytes()).is_break() {
                break;
            }
        }
        let tail = reader.finish();
        let texts = tail.lines.iter().map(|line| line.text.clone()).collect();
        (texts, tail, count)
    }

    #[test]
    fn a_short_run_is_whole_and_nothing_before_its_beginning_is_read() {
        let written = [
            out("a", "old"),
            event("b", "create"),
            event("b", "start"),
            out("b", "one"),
            json("b", 3, "two\n", false),
            out("b", "three"),
            event("b", "died"),
        ];
        let (texts, tail, count) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!((tail.run, tail.complete, count), (Some(id("b")), true, 6));
    }

    #[test]
    fn a_run_that_said_nothing_does_not_borrow_the_words_of_the_one_before() {
        let written = [event("a", "create"), out("a", "old"), event("b", "create")];
        let (texts, tail, _) = read(LogReader::new(LIMITS), &written);
        assert!(texts.is_empty());
        assert_eq!((tail.run, tail.complete), (Some(id("b")), true));
    }

    #[test]
    fn older_lines_are_left_out_and_that_is_said() {
        let mut written = vec![event("a", "create")];
        written.extend((0..50).map(|n| out("a", &n.to_string())));
        let (texts, tail, count) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["47", "48", "49"]);
        assert!(!tail.complete);
        assert_eq!(count, 4, "no more is read than is needed");
        let (texts, tail, _) = read(LogReader::new(LIMITS), &written[..4]);
        assert_eq!(
            (texts.len(), tail.complete),
            (3, true),
            "just as many as are wanted"
        );
    }

    #[test]
    fn a_journal_that_lost_the_beginning_is_not_complete() {
        let (texts, tail, _) = read(LogReader::new(LIMITS), &[out("a", "1"), out("a", "2")]);
        assert_eq!(texts, ["1", "2"]);
        assert!(!tail.complete);
        let (_, tail, _) = read(LogReader::new(LIMITS), &[]);
        assert_eq!(tail, LogTail::default());
    }

    #[test]
    fn pieces_are_joined_within_their_stream_and_a_long_line_keeps_its_beginning() {
        let written = [
            event("a", "create"),
            json("a", 6, "abcdefgh", true),
            json("a", 3, "xy", true),
            json("a", 6, "ijklmnop", true),
            json("a", 3, "z\n", false),
            json("a", 6, "end\n", false),
            json("a", 6, "no e", true),
            json("a", 6, "nd", true),
        ];
        let (texts, tail, _) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["xyz", "abcdefg…", "no end"]);
        assert!(tail.complete);
    }

    #[test]
    fn a_character_that_two_pieces_share_stays_one() {
        let bytes = |bytes: &[u8], piece: &str| {
            format!(
                r#"{{"CONTAINER_ID_FULL":"{}","PRIORITY":"6","MESSAGE":{bytes:?}{piece}}}"#,
                id("a")
            )
        };
        let written = [
            bytes(&[b'a', 0xc3], r#","CONTAINER_PARTIAL_MESSAGE":"true""#),
            bytes(&[0xa9, b'\n'], ""),
            bytes(&[27, 255, b'<', b'\n'], ""),
        ];
        let (texts, ..) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["aé", "\u{1b}\u{fffd}<"]);
    }

    #[test]
    fn earlier_pieces_of_the_oldest_line_are_looked_for_and_not_for_ever() {
        let mut written = vec![json("a", 3, "begin ", true)];
        written.extend((0..9).map(|n| out("a", &n.to_string())));
        written.push(json("a", 3, "end\n", false));
        written.extend([out("a", "x"), out("a", "y")]);
        let (texts, ..) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["begin end", "x", "y"]);
        let mut written: Vec<String> = (0..500).map(|n| out("a", &n.to_string())).collect();
        written.push(json("a", 3, "end\n", false));
        let (texts, tail, count) = read(LogReader::new(LIMITS), &written);
        assert_eq!(texts, ["498", "499", "end"]);
        assert!(!tail.complete && count < 80, "{count}");
    }

    #[test]
    fn the_run_before_is_found_past_the_newest_one() {
        let written = [
            event("a", "create"),
            out("a", "oldest"),
            event("b", "create"),
            out("b", "old"),
            event("c", "create"),
            out("c", "new"),
        ];
        let (texts, tail, _) = read(LogReader::new(LIMITS).before(id("c")), &written);
        assert_eq!(texts, ["old"]);
        assert_eq!((tail.run, tail.complete), (Some(id("b")), true));
        let (_, tail, _) = read(LogReader::new(LIMITS).before(id("c")), &written[4..]);
        assert_eq!(tail.run, None);
    }

    #[test]
    fn all_lines_together_keep_within_their_bytes() {
        let limits = LogLimits {
            lines: 100,
            bytes: 12,
            line: 10,
        };
        let written = [out("a", "12345"), out("a", "1234567"), out("a", "12345")];
        let (texts, tail, _) = read(LogReader::new(limits), &written);
        assert_eq!((texts.len(), tail.complete), (2, false));
        // Bytes that are no UTF-8 take three times their room once they are replaced.
        let bytes = format!(r#"{{"CONTAINER_ID_FULL":"{}","MESSAGE":[255,255,10]}}"#, id("a"));
        let (texts, ..) = read(LogReader::new(limits), &[bytes.clone(), bytes.clone(), bytes]);
        assert_eq!(texts.len(), 2);
    }
}
