//! A client for QEMU's monitor protocol: one JSON object a line, answers and events in one stream.
//!
//! A dozen commands are used, with a deadline each; a generated client of the whole schema would be larger than this file by orders.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::Fault;
use crate::poll;
use crate::shell::is_timeout;

const PEER: &str = "QEMU's monitor";

/// One line from QEMU.
#[derive(Debug, Clone, PartialEq)]
enum Line {
    Greeting,
    Return(Value),
    Error(String),
    Event(String),
}

/// A connected monitor.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
    partial: Vec<u8>,
}

impl Qmp {
    /// Waits for the greeting and leaves the negotiation mode.
    pub(crate) fn new(stream: UnixStream, deadline: Duration) -> Result<Self, Fault> {
        let mut monitor = Self {
            reader: BufReader::new(stream),
            partial: Vec::new(),
        };
        let end = Instant::now() + deadline;
        while monitor.line("its greeting", end, deadline)? != Line::Greeting {}
        monitor.execute("qmp_capabilities", &json!({}), deadline)?;
        Ok(monitor)
    }

    /// Runs one command; events that come before its answer are dropped, since states are asked for instead.
    pub(crate) fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
        deadline: Duration,
    ) -> Result<Value, Fault> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.reader
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .map_err(Fault::connection(PEER))?;
        let end = Instant::now() + deadline;
        loop {
            match self.line(command, end, deadline)? {
                Line::Return(value) => return Ok(value),
                Line::Error(description) => {
                    return Err(Fault::Refused {
                        command: command.to_owned(),
                        description,
                    });
                }
                Line::Greeting | Line::Event(_) => {}
            }
        }
    }

    fn line(&mut self, what: &str, end: Instant, deadline: Duration) -> Result<Line, Fault> {
        let late = || Fault::Late {
            what: format!("QEMU's answer to `{what}`"),
            deadline,
            last: "the monitor is silent".to_owned(),
        };
        let broken = Fault::connection(PEER);
        loop {
            let left = poll::left(end).ok_or_else(late)?;
            self.reader
                .get_ref()
                .set_read_timeout(Some(left))
                .map_err(&broken)?;
            // After a timeout the bytes read so far stay in `partial`.
            match self.reader.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => break,
                Ok(_) => return Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        parse(&std::mem::take(&mut self.partial))
    }
}

fn parse(line: &[u8]) -> Result<Line, Fault> {
    let nonsense = || Fault::Protocol {
        peer: PEER,
        detail: String::from_utf8_lossy(line).trim().to_owned(),
    };
    let mut object: Value = serde_json::from_slice(line).map_err(|_| nonsense())?;
    if object.get("QMP").is_some() {
        return Ok(Line::Greeting);
    }
    if let Some(value) = object.get_mut("return") {
        return Ok(Line::Return(value.take()));
    }
    if let Some(description) = object.pointer("/error/desc").and_then(Value::as_str) {
        return Ok(Line::Error(description.to_owned()));
    }
    let event = object.get("event").and_then(Value::as_str).map(str::to_owned);
    event.map(Line::Event).ok_or_else(nonsense)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_line_is_told_apart() {
        let line = |text: &str| parse(text.as_bytes()).expect("it parses");
        assert_eq!(
            line(r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#),
            Line::Greeting
        );
        assert_eq!(
            line(r#"{"return": {"status": "running"}}"#),
            Line::Return(json!({"status": "running"}))
        );
        let error = r#"{"error": {"class": "GenericError", "desc": "Device 'x' not found"}}"#;
        assert_eq!(line(error), Line::Error("Device 'x' not found".to_owned()));
        let event = r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true}}"#;
        assert_eq!(line(event), Line::Event("SHUTDOWN".to_owned()));
    }

    #[test]
    fn an_answer_behind_events_is_found_and_a_refusal_is_quoted() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        theirs
            .write_all(
                b"{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"RESUME\"}\n{\"return\":{\"n\":1}}\n{\"error\":{\"desc\":\"no\"}}\n",
            )
            .expect("written");
        let second = Duration::from_secs(1);
        let mut monitor = Qmp::new(ours, second).expect("a greeting");
        assert_eq!(
            monitor.execute("a", &json!({}), second).expect("an answer"),
            json!({"n": 1})
        );
        let refused = monitor.execute("b", &json!({}), second).expect_err("a refusal");
        assert_eq!(refused.to_string(), "QEMU refused `b`: no");
        let silent = monitor
            .execute("c", &json!({}), Duration::from_millis(20))
            .expect_err("nothing comes");
        assert!(matches!(silent, Fault::Late { .. }), "{silent}");
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }
    }
}
