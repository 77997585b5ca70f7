//! `logs.<deployment>`: the end of a container's log, from the device's journal.
//!
//! Only deployments on record are answered for. The record is read from the disk each time, so that it makes no difference whether
//! the agent has just been started, or whether the container is there.
//!
//! When the journal has nothing of a container (a volatile journal is short, and its files can be removed), the answer is an empty
//! chunk: `truncated` tells whether something was lost, or nothing was ever said.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::SecondsFormat;
use fleet_host::{
    Clock, Host, Journal, Ledger, LogLimits, LogLine, LogTail, Reading, Shelf, UnitName, Units, WhichRun,
    container_name, init_container_name,
};
use fleet_protocol::cause::shorten;
use fleet_protocol::id::IdError;
use fleet_protocol::logs::{LogChunk, LogRequest, MAX_BYTES, MAX_LINE, MAX_LINES, MAX_REQUEST, ProbeName};
use fleet_protocol::{Cause, DeploymentName};
use serde_json::error::Category;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{done, refused};
use crate::deployment::record::Record;
use crate::shared::Shared;
use crate::words::chain;

/// Requests that are carried out at once; each holds up to a megabyte, and journalctl wants a processor.
pub(super) const AT_ONCE: usize = 4;
/// Longest time to an answer, the wait for a turn included: the operator waits for 5 s.
const WITHIN: Duration = Duration::from_secs(4);
/// Longest wait for a turn; what is left is enough for the journal, which takes 3 s at worst.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// Room in a message for what is no line.
const ENVELOPE: usize = 1024;

/// Bytes of the answer. `room`: the longest message that the server takes.
pub(super) async fn answer<H: Host>(
    shared: &Shared<H>,
    turns: &Semaphore,
    name: Result<DeploymentName, IdError>,
    request: &[u8],
    room: usize,
) -> Vec<u8> {
    let chunk = async {
        let request = read(request)?;
        let name = name.map_err(|error| malformed(format!("the deployment's name {error}")))?;
        let container = Container::of(shared, &name, request.init.as_deref()).await?;
        // The semaphore lives as long as the subscription and is never closed.
        let _turn = timeout(TURN_WITHIN, turns.acquire())
            .await
            .map_err(|_| too_many())?;
        chunk(shared, &request, container, room.saturating_sub(ENVELOPE)).await
    };
    match timeout(WITHIN, chunk).await {
        Ok(Ok(chunk)) => done(chunk),
        Ok(Err(cause)) => refused(cause),
        Err(_) => refused(unreadable(&format!(
            "it did not answer within {} s: the device is busy, ask again",
            WITHIN.as_secs()
        ))),
    }
}

/// The answer to one request too many.
pub(super) fn busy() -> Vec<u8> {
    refused(too_many())
}

fn too_many() -> Cause {
    unreadable("too many ask for logs at once, ask again")
}

fn unreadable(why: &str) -> Cause {
    Cause::new(
        "logs-unreadable",
        format!("the device's journal cannot be read: {why}"),
    )
}

fn malformed(why: impl std::fmt::Display) -> Cause {
    Cause::new(
        "request-malformed",
        format!("the request for logs is not understood: {why}"),
    )
}

/// No bytes at all ask for the usual.
fn read(bytes: &[u8]) -> Result<LogRequest, Cause> {
    if bytes.is_empty() {
        return Ok(LogRequest::default());
    }
    if bytes.len() > MAX_REQUEST {
        return Err(malformed(format!(
            "it has {} bytes, {MAX_REQUEST} at most",
            bytes.len()
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => malformed(error),
        Category::Io | Category::Syntax | Category::Eof => malformed(format!("it is no JSON: {error}")),
    })
}

/// Whose log it is.
struct Container {
    name: String,
    /// Its own unit, that of the init container if it is one; `None` when no unit may have such a name.
    unit: Option<UnitName>,
    source: ProbeName,
}

impl Container {
    async fn of<H: Host>(
        shared: &Shared<H>,
        deployment: &DeploymentName,
        init: Option<&str>,
    ) -> Result<Self, Cause> {
        let inits = inits_on_record(shared, deployment).await?;
        let Some(init) = init else {
            return Ok(Self {
                name: container_name(deployment),
                unit: UnitName::of(deployment).ok(),
                source: ProbeName::of(deployment),
            });
        };
        let source = ProbeName::of_init(deployment, init).ok();
        match source.filter(|_| inits.contains(init)) {
            Some(source) => Ok(Self {
                name: init_container_name(deployment, init),
                unit: UnitName::init(deployment, init).ok(),
                source,
            }),
            None => Err(unknown_init(deployment, init, &inits)),
        }
    }
}

fn unknown_init(deployment: &DeploymentName, init: &str, inits: &BTreeSet<String>) -> Cause {
    let known: Vec<&str> = inits.iter().map(String::as_str).collect();
    let known = match known.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has: {}", known.join(", ")),
    };
    let init = shorten(init.to_owned(), 64);
    Cause::new(
        "logs-unknown-init",
        format!("{deployment} has no init container {init:?}; {known}"),
    )
}

/// Names of the init containers of every version on record: the newest one, and the one that is installed.
async fn inits_on_record<H: Host>(
    shared: &Shared<H>,
    deployment: &DeploymentName,
) -> Result<BTreeSet<String>, Cause> {
    let ledger = shared.host.ledger();
    let unread = |error| {
        let why = format!("nor can the device's records: {}", chain(&error));
        unreadable(&why)
    };
    let reading: Reading<Record> = ledger.read(Shelf::Desired, deployment).await.map_err(unread)?;
    if let Reading::Found(record) = reading {
        let inits = record.scores.values().flat_map(|score| &score.init_containers);
        return Ok(inits.map(|init| init.name.clone()).collect());
    }
    // Without the record of what is wanted it is still on record while something of it runs.
    let progress = ledger.list(Shelf::Progress).await.map_err(unread)?;
    match progress.contains(deployment) || matches!(reading, Reading::Corrupt { .. }) {
        true => Ok(BTreeSet::new()),
        false => Err(Cause::new(
            "logs-unknown-deployment",
            format!(
                "this device has no deployment {deployment}: logs of one that was removed are not given; see which ones it has"
            ),
        )),
    }
}

async fn chunk<H: Host>(
    shared: &Shared<H>,
    request: &LogRequest,
    of: Container,
    room: usize,
) -> Result<LogChunk, Cause> {
    let limits = LogLimits {
        lines: usize::try_from(request.lines.clamp(1, MAX_LINES)).unwrap_or(1),
        bytes: MAX_BYTES,
        line: MAX_LINE,
    };
    let which = match request.previous {
        true => WhichRun::Previous,
        false => WhichRun::Newest,
    };
    let tail = shared.host.journal().query(&of.name, which, limits).await;
    let tail = tail.map_err(|error| unreadable(&chain(&error)))?;
    if tail.run.is_none() && request.previous {
        return Err(no_previous(&of.source));
    }
    let lost = !tail.complete && (tail.run.is_some() || has_run(shared, of.unit.as_ref()).await);
    let (lines, cut) = fit(tail, request.timestamps, room);
    Ok(LogChunk {
        source: of.source,
        captured_at: shared.host.clock().now(),
        lines,
        truncated: lost || cut,
    })
}

fn no_previous(source: &ProbeName) -> Cause {
    Cause::new(
        "logs-no-previous",
        format!(
            "the device's journal has no run of {source} before the newest one: there was none since the device \
             started, or its lines had to make room for newer ones"
        ),
    )
}

/// Whether the container's unit ran since the device started, as far as systemd tells: then a journal without its run lost it.
/// An init container is asked about by its own unit: where it fails, the main one never ran.
async fn has_run<H: Host>(shared: &Shared<H>, unit: Option<&UnitName>) -> bool {
    let Some(unit) = unit else {
        return false;
    };
    match shared.host.units().facts(unit).await {
        Ok(facts) => facts.invocation_id.is_some(),
        Err(error) => {
            tracing::debug!("whether {unit} ever ran is not known: {}", chain(&error));
            true
        }
    }
}

/// The lines as they are sent, cut at the beginning until they fit a chunk and a message; whether any was left out.
fn fit(tail: LogTail, timestamps: bool, room: usize) -> (Vec<String>, bool) {
    let (mut bytes, mut encoded) = (0, 0);
    let mut lines = Vec::with_capacity(tail.lines.len());
    let mut cut = false;
    for line in tail.lines.into_iter().rev() {
        let text = shown(line, timestamps);
        bytes += text.len();
        encoded += encoded_len(&text);
        if bytes > MAX_BYTES || encoded > room {
            cut = true;
            break;
        }
        lines.push(text);
    }
    lines.reverse();
    (lines, cut)
}

fn shown(line: LogLine, timestamps: bool) -> String {
    if !timestamps {
        return line.text;
    }
    let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    shorten(format!("{at} {}", line.text), MAX_LINE)
}

/// Bytes of a text as JSON, with the comma after it. A control character takes up to six.
fn encoded_len(text: &str) -> usize {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(byte).sum::<usize>() + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(texts: &[String]) -> LogTail {
        let line = |text: &String| LogLine {
            at: chrono::DateTime::from_timestamp_millis(1_767_225_600_123).unwrap(),
            text: text.clone(),
        };
        LogTail {
            run: Some("a".repeat(64)),
            lines: texts.iter().map(line).collect(),
            complete: true,
        }
    }

    #[test]
    fn a_request_may_be_empty_or_newer_than_this_agent_and_never_too_long() {
        assert_eq!(read(b""), Ok(LogRequest::default()));
        let newer = read(br#"{"lines":7,"follow":true}"#).unwrap();
        assert_eq!(newer.lines, 7);
        let long = format!("{{}}{}", " ".repeat(MAX_REQUEST - 1));
        for bytes in [&b"{"[..], b"7", br#"{"lines":-1}"#, long.as_bytes()] {
            let cause = read(bytes).unwrap_err();
            assert_eq!(cause.kind, "request-malformed");
        }
        assert!(read(br#"{"lines":"x"}"#).unwrap_err().detail.contains("u32"));
    }

    #[test]
    fn what_does_not_fit_is_cut_at_the_beginning() {
        let long = "x".repeat(MAX_LINE);
        let texts: Vec<String> = (0..60).map(|n| format!("{n:02}{}", &long[2..])).collect();
        let (lines, cut) = fit(tail(&texts), false, usize::MAX);
        assert!(cut && lines.iter().map(String::len).sum::<usize>() <= MAX_BYTES);
        assert!(lines.len() == 48 && lines[47].starts_with("59"));
        // A megabyte is the room of a message: control characters take six times theirs.
        let escapes = vec!["\u{1}".repeat(MAX_LINE); 48];
        let room = (1 << 20) - ENVELOPE;
        let (lines, cut) = fit(tail(&escapes), false, room);
        let encoded = serde_json::to_vec(&lines).unwrap().len();
        assert!(cut && !lines.is_empty() && encoded <= room, "{encoded}");
    }

    #[test]
    fn the_length_as_json_is_never_underestimated() {
        for text in [
            "",
            "plain",
            "é…",
            "\"\\/",
            "\u{0}\u{1b}[31m\t\r\u{7f}\u{8}\u{c}\u{2028}",
        ] {
            let exact = serde_json::to_string(text).unwrap().len() + 1;
            assert_eq!(encoded_len(text), exact, "{text:?}");
        }
    }

    #[test]
    fn a_time_comes_first_when_it_is_asked_for() {
        let (lines, _) = fit(tail(&["<b>\u{1b}[0m".to_owned()]), true, usize::MAX);
        assert_eq!(lines, ["2026-01-01T00:00:00.123Z <b>\u{1b}[0m"]);
    }
}
