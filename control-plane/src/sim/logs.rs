//! What a simulated device answers to who asks for logs: lines that nobody wrote, the same for the same question.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fleet_protocol::command::Reply;
use fleet_protocol::logs::{LogChunk, LogRequest, MAX_LINES, MAX_REQUEST, ProbeName};
use fleet_protocol::{Cause, DeploymentName};

use super::script::Script;

/// Most lines of one simulated run.
const MOST: i64 = 6_000;
/// Seconds between two lines.
const PACE: i64 = 2;

/// The answer to a request about `name`, whose script is `script` if it is on this device.
pub(super) fn answer(
    name: &DeploymentName,
    script: Option<&Script>,
    request: &[u8],
    now: DateTime<Utc>,
) -> Reply<LogChunk> {
    match chunk(name, script, request, now) {
        Ok(chunk) => Reply::Done(chunk),
        Err(cause) => Reply::Refused(cause),
    }
}

fn chunk(
    name: &DeploymentName,
    script: Option<&Script>,
    request: &[u8],
    now: DateTime<Utc>,
) -> Result<LogChunk, Cause> {
    let request = parse(request)?;
    let script = script.ok_or_else(|| {
        Cause::new(
            "logs-unknown-deployment",
            format!("there is no deployment {name} on this device"),
        )
    })?;
    let source = match &request.init {
        None => ProbeName::of(name),
        Some(init) if script.inits().contains(init) => ProbeName::of_init(name, init)
            .map_err(|error| Cause::new("logs-unknown-init", format!("{init:?} {error}")))?,
        Some(init) => {
            let known = script.inits().join(", ");
            let detail = format!(
                "{name} has no init container {init}: it has {}",
                if known.is_empty() { "none" } else { &known }
            );
            return Err(Cause::new("logs-unknown-init", detail));
        }
    };
    if request.previous && script.runs() < 2 {
        return Err(Cause::new(
            "logs-no-previous",
            format!("{name} was started once only"),
        ));
    }
    let all = lines(script, &request, now);
    let wanted = request.lines.clamp(1, MAX_LINES) as usize;
    let skipped = all.len().saturating_sub(wanted);
    Ok(LogChunk {
        source,
        captured_at: now,
        lines: all.into_iter().skip(skipped).collect(),
        truncated: skipped > 0,
    })
}

fn parse(request: &[u8]) -> Result<LogRequest, Cause> {
    let malformed = |why: String| {
        Cause::new(
            "request-malformed",
            format!("the request is not one for logs: {why}"),
        )
    };
    if request.len() > MAX_REQUEST {
        return Err(malformed(format!(
            "{} bytes, {MAX_REQUEST} at most",
            request.len()
        )));
    }
    if request.is_empty() {
        return Ok(LogRequest::default());
    }
    serde_json::from_slice(request).map_err(|error| malformed(error.to_string()))
}

/// All lines of the run that is asked for.
fn lines(script: &Script, request: &LogRequest, now: DateTime<Utc>) -> Vec<String> {
    let state = script.state();
    let started = state.running.as_ref().map(|running| running.started_at);
    let texts: Vec<(TimeDelta, String)> = match (&request.init, &state.cause, started) {
        (Some(init), Some(cause), _) if cause.init.as_ref() == Some(init) => said(&cause.log),
        (Some(init), ..) => said(&[format!("{init}: all is as it should be, nothing to do")]),
        (None, ..) if request.previous => said(&[
            "serving on port 8080".to_owned(),
            "SIGTERM: draining".to_owned(),
            "bye".to_owned(),
        ]),
        (None, Some(cause), None) if cause.init.is_none() => said(&cause.log),
        (None, _, Some(started)) => served((now - started).num_seconds()),
        (None, ..) => Vec::new(),
    };
    let begin = started.unwrap_or(state.since);
    texts
        .into_iter()
        .map(|(after, text)| {
            if request.timestamps {
                format!(
                    "{} {text}",
                    (begin + after).to_rfc3339_opts(SecondsFormat::Millis, true)
                )
            } else {
                text
            }
        })
        .collect()
}

fn said(lines: &[String]) -> Vec<(TimeDelta, String)> {
    (0..)
        .map(TimeDelta::milliseconds)
        .zip(lines.iter().cloned())
        .collect()
}

/// What a container that serves has to say after so many seconds.
fn served(seconds: i64) -> Vec<(TimeDelta, String)> {
    let count = (seconds / PACE).clamp(0, MOST);
    let line = |number: i64| {
        let text = match number {
            0 => "serving on port 8080".to_owned(),
            n if n % 97 == 0 => format!("\u{1b}[33mWARN\u{1b}[0m request {n} took {} ms", 400 + n % 300),
            n => format!(
                "\u{1b}[32mINFO\u{1b}[0m GET /items/{} 200 {} ms",
                n % 41,
                3 + n % 17
            ),
        };
        (TimeDelta::seconds(number * PACE), text)
    };
    (0..=count).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleet_protocol::Score;

    use super::super::script::{Asked, Dice};
    use super::*;

    fn name() -> DeploymentName {
        "web".parse().unwrap()
    }

    fn script(fails: bool) -> Script {
        let score = serde_json::json!({ "podman_v0": {
            "image": "r.example/a:1",
            "init_containers": [{ "name": "migrate", "image": "r.example/a:1" }],
        }});
        let score: Score = serde_json::from_value(score).unwrap();
        let mut script = Script::new(name(), Asked::of(&score), 1, DateTime::UNIX_EPOCH);
        let dice = Dice {
            fails,
            way: 0.5,
            wait: Duration::from_millis(1),
        };
        for _ in 0..8 {
            if fails && script.state().cause.is_some() {
                break;
            }
            script.step(dice, DateTime::UNIX_EPOCH);
        }
        script
    }

    fn ask(script: Option<&Script>, request: &str) -> Reply<LogChunk> {
        answer(
            &name(),
            script,
            request.as_bytes(),
            DateTime::UNIX_EPOCH + TimeDelta::seconds(1000),
        )
    }

    fn kind(reply: Reply<LogChunk>) -> String {
        match reply {
            Reply::Refused(cause) => cause.kind,
            Reply::Done(chunk) => panic!("{chunk:?}"),
        }
    }

    fn done(reply: Reply<LogChunk>) -> LogChunk {
        match reply {
            Reply::Done(chunk) => chunk,
            Reply::Refused(cause) => panic!("{cause}"),
        }
    }

    #[test]
    fn the_last_lines_are_given_and_what_is_cut_is_said() {
        let running = script(false);
        let chunk = done(ask(Some(&running), r#"{"lines":3}"#));
        assert_eq!(
            (chunk.source.as_str(), chunk.lines.len(), chunk.truncated),
            ("web", 3, true)
        );
        let all = done(ask(Some(&running), r#"{"lines":5000}"#));
        assert_eq!((all.lines.len(), all.truncated), (501, false));
        assert_eq!(all.lines[498..], chunk.lines);
        let stamped = done(ask(Some(&running), r#"{"lines":1,"timestamps":true}"#));
        assert!(
            stamped.lines[0].starts_with("1970-01-01T00:16:40.000Z "),
            "{:?}",
            stamped.lines
        );
    }

    #[test]
    fn an_init_container_has_its_own_words_and_a_failed_one_its_last() {
        let chunk = done(ask(Some(&script(false)), r#"{"init":"migrate"}"#));
        assert_eq!((chunk.source.as_str(), chunk.lines.len()), ("web.migrate", 1));
        let chunk = done(ask(Some(&script(true)), r#"{"init":"migrate"}"#));
        assert!(chunk.lines[1].contains("already exists"), "{:?}", chunk.lines);
        assert_eq!(
            done(ask(Some(&script(true)), "")).lines,
            [""; 0],
            "the main one never ran"
        );
    }

    #[test]
    fn what_is_not_there_is_refused_by_its_kind() {
        let running = script(false);
        assert_eq!(kind(ask(None, "{}")), "logs-unknown-deployment");
        assert_eq!(
            kind(ask(Some(&running), r#"{"init":"nope"}"#)),
            "logs-unknown-init"
        );
        assert_eq!(
            kind(ask(Some(&running), r#"{"previous":true}"#)),
            "logs-no-previous"
        );
        assert_eq!(kind(ask(Some(&running), "{")), "request-malformed");
    }
}
