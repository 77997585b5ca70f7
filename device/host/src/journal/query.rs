//! The questions to `journalctl`.
//!
//! What a container writes cannot pass for another deployment's log. journald itself sets the fields that begin with an underscore,
//! from what the kernel says of the sender: `_UID`, and `_SYSTEMD_USER_UNIT` from its control group. A container lives in the control
//! group of its own unit, so even one that was given journald's socket can only add to its own log. `CONTAINER_NAME`,
//! `CONTAINER_ID_FULL` and `PODMAN_*` are the sender's own words and choose within that unit; `_COMM` and `_EXE` are not asked for, since a
//! process chooses them too. A sender that was gone before journald looked at it has no unit, and its lines are not given: better one
//! lost than one forged.

use std::ops::ControlFlow;
use std::time::Duration;

use fleet_protocol::cause::shorten;
use nix::unistd::geteuid;
use tokio::time::Instant;

use super::entry::{Entry, FIELDS, is_container_id};
use super::reader::LogReader;
use super::{JournalError, LogLimits, LogTail};
use crate::exec::{Environment, ExecError, Tool, run_lines};
use crate::names::InvocationId;

/// Longest time for the last words of a run.
const WORDS_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for one query, however many calls it takes; an answer is worth nothing once nobody waits for it.
const QUERY_WITHIN: Duration = Duration::from_secs(3);
/// Longest line of the last words, in bytes.
const MAX_WORDS: usize = 512;
/// Most lines of the last words.
const MAX_WORDS_LINES: u16 = 100;
/// What every call begins with. Without `--user`: a volatile journal is not split by user, and `--user` would then find nothing.
const OPTIONS: [&str; 4] = ["--quiet", "--no-pager", "--output=json", FIELDS];

/// The newest run.
pub(super) async fn newest(
    environment: &Environment,
    container: &str,
    limits: LogLimits,
) -> Result<LogTail, JournalError> {
    let mut reader = LogReader::new(limits);
    let [uid, unit, lines, events] = &matches(container);
    let args = [
        "--all",
        "--reverse",
        uid,
        unit,
        lines,
        "+",
        uid,
        unit,
        events,
        CREATED,
    ];
    let end = Instant::now() + QUERY_WITHIN;
    let read = call(environment, &args, end, &mut |json| reader.entry(json)).await;
    let tail = done(reader, read)?;
    if tail.run.is_some() {
        return Ok(tail);
    }
    // A start without a container (podman refused to make one) is no loss.
    let complete = knows_a_start(environment, container, end).await?;
    Ok(LogTail { complete, ..tail })
}

/// Whether the journal reaches back to a start of the unit: the line in which the user's systemd (which alone lives in its own
/// `init.scope`) tells of it.
async fn knows_a_start(
    environment: &Environment,
    container: &str,
    end: Instant,
) -> Result<bool, JournalError> {
    let [uid, ..] = &matches(container);
    let unit = format!("USER_UNIT={container}.service");
    let args = ["--reverse", "--lines=1", uid, MANAGER, &unit, STARTING];
    let mut known = false;
    call(environment, &args, end, &mut |_| {
        known = true;
        ControlFlow::Break(())
    })
    .await
    .map_err(JournalError)?;
    Ok(known)
}

/// The run before the newest one: everything before the making of the newest container.
pub(super) async fn previous(
    environment: &Environment,
    container: &str,
    limits: LogLimits,
) -> Result<LogTail, JournalError> {
    let end = Instant::now() + QUERY_WITHIN;
    let [uid, unit, lines, events] = &matches(container);
    let mut made = None;
    let args = ["--reverse", "--lines=1", uid, unit, events, CREATED];
    call(environment, &args, end, &mut |json| {
        made = Entry::read(json).and_then(|entry| {
            let (run, cursor) = (entry.run()?, entry.cursor()?);
            Some((run.to_owned(), format!("--cursor={cursor}")))
        });
        ControlFlow::Break(())
    })
    .await
    .map_err(JournalError)?;
    // A journal that lost the beginning of the newest run lost everything before it too.
    let Some((newest, cursor)) = made else {
        return Ok(LogTail::default());
    };
    let mut reader = LogReader::new(limits).before(newest);
    let args = [
        "--all",
        "--reverse",
        &cursor,
        uid,
        unit,
        lines,
        "+",
        uid,
        unit,
        events,
        CREATED,
    ];
    let read = call(environment, &args, end, &mut |json| reader.entry(json)).await;
    done(reader, read)
}

const CREATED: &str = "PODMAN_EVENT=create";
const MANAGER: &str = "_SYSTEMD_USER_UNIT=init.scope";
/// `SD_MESSAGE_UNIT_STARTING` of sd-messages.h.
const STARTING: &str = "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5";

/// The user, the unit, the container's own lines, podman's entries about it.
fn matches(container: &str) -> [String; 4] {
    [
        format!("_UID={}", geteuid()),
        format!("_SYSTEMD_USER_UNIT={container}.service"),
        format!("CONTAINER_NAME={container}"),
        format!("PODMAN_NAME={container}"),
    ]
}

async fn call(
    environment: &Environment,
    args: &[&str],
    end: Instant,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ExecError> {
    let all = [&OPTIONS[..], args].concat();
    let left = end.saturating_duration_since(Instant::now());
    run_lines(environment, Tool::Journalctl, &all, left, line).await
}

/// What was read before a failure is still true, though not complete: files of the journal may vanish while they are read.
fn done(reader: LogReader, read: Result<(), ExecError>) -> Result<LogTail, JournalError> {
    match read {
        Err(error) if reader.is_empty() => Err(JournalError(error)),
        Err(_) => Ok(LogTail {
            complete: false,
            ..reader.finish()
        }),
        Ok(()) => Ok(reader.finish()),
    }
}

/// The last words of one run of a unit. What its processes said comes before what systemd said of them: at the end of a run that
/// left processes behind systemd alone has more to say (a line for each that it kills) than would fit.
pub(super) async fn last_words(
    environment: &Environment,
    run: &InvocationId,
    lines: u16,
) -> Result<Vec<String>, JournalError> {
    let wanted = usize::from(lines.min(MAX_WORDS_LINES));
    let by_processes = format!("_SYSTEMD_INVOCATION_ID={run}");
    let by_systemd = format!("USER_INVOCATION_ID={run}");
    let args = ["--reverse", &by_processes, "+", &by_systemd];
    let mut words = LastWords::new(wanted);
    let end = Instant::now() + WORDS_WITHIN;
    let read = call(environment, &args, end, &mut |json| words.entry(json)).await;
    let words = words.finish();
    match read {
        // What was read until then was said.
        Err(error) if words.is_empty() => Err(JournalError(error)),
        _ => Ok(words),
    }
}

/// Puts the last words together, from entries of which the newest comes first.
struct LastWords {
    wanted: usize,
    own: usize,
    /// The newest first; whether it is systemd's.
    found: Vec<(bool, String)>,
}

impl LastWords {
    fn new(wanted: usize) -> Self {
        Self {
            wanted,
            own: 0,
            found: Vec::new(),
        }
    }

    fn entry(&mut self, json: &[u8]) -> ControlFlow<()> {
        let Some(entry) = Entry::read(json) else {
            return ControlFlow::Continue(());
        };
        let of_systemd = entry.is_of_systemd();
        let theirs = self.found.len() - self.own;
        if !(of_systemd && theirs == self.wanted)
            && let Some(text) = words(&entry)
        {
            self.own += usize::from(!of_systemd);
            self.found.push((of_systemd, text));
        }
        match self.own < self.wanted {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// The oldest first.
    fn finish(self) -> Vec<String> {
        let mut room = self.wanted.saturating_sub(self.own);
        let mut kept = Vec::new();
        for (of_systemd, text) in self.found {
            if of_systemd {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            kept.push(text);
        }
        kept.reverse();
        kept
    }
}

/// The line of one entry; `None` for podman's events and for ids (`podman run --detach`, as the unit calls it, prints the id of its
/// container).
fn words(entry: &Entry<'_>) -> Option<String> {
    if entry.podman_event.is_some() {
        return None;
    }
    let text = String::from_utf8_lossy(entry.message.0.as_deref()?).into_owned();
    if is_container_id(text.trim_end()) {
        return None;
    }
    let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    Some(shorten(plain, MAX_WORDS))
}

#[cfg(test)]
mod tests;
