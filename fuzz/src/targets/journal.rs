//! The journal's entries, of which a container chooses nearly all: the first three bytes are the limits, the rest is what `journalctl`
//! prints.

use fleet_host::{LogLimits, LogReader};

pub(super) fn run(bytes: &[u8]) {
    let Some((&[lines, all, line], journal)) = bytes.split_first_chunk() else {
        return;
    };
    let limits = LogLimits {
        lines: usize::from(lines),
        bytes: usize::from(all) * 16,
        line: usize::from(line).max(8),
    };
    let plain = LogReader::new(limits);
    let newest = read(plain, journal, limits);
    if let Some(run) = newest {
        let before = read(LogReader::new(limits).before(run.clone()), journal, limits);
        assert_ne!(before, Some(run), "a run is not before itself");
    }
}

/// The run that was read; its log is within all limits.
fn read(mut reader: LogReader, journal: &[u8], limits: LogLimits) -> Option<String> {
    for entry in journal.split(|byte| *byte == b'\n') {
        if reader.entry(entry).is_break() {
            break;
        }
    }
    let tail = reader.finish();
    assert!(tail.lines.len() <= limits.lines);
    assert!(tail.lines.iter().all(|line| line.text.len() <= limits.line));
    assert!(tail.lines.iter().map(|line| line.text.len()).sum::<usize>() <= limits.bytes);
    assert!(tail.run.is_some() || tail.lines.is_empty() && !tail.complete);
    tail.run
}
