//! The last words of a container.

use std::time::Duration;

use fleet_protocol::cause::shorten;
use serde::Deserialize;

use crate::exec::{Environment, ExecError, Tool, run};
use crate::names::InvocationId;

/// Longest time for one call.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest line that is kept, in bytes.
const MAX_LINE: usize = 512;
/// Most lines that are given.
const MAX_LINES: u16 = 100;

/// Why the journal gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the journal of this run")]
pub struct JournalError(#[source] pub ExecError);

/// The journal.
pub trait Journal {
    /// The last lines of one run of a unit, the oldest first: what the container printed, and what
    /// podman and systemd said about it. At most 100 lines of 512 bytes.
    ///
    /// # Errors
    /// [`JournalError`]. A run without lines is not an error.
    async fn tail(&self, run: &InvocationId, lines: u16) -> Result<Vec<String>, JournalError>;
}

/// journald, by `journalctl`. A volatile journal is not split by user: the agent's user must then be in the group
/// `systemd-journal` to see its own containers.
#[derive(Debug, Clone)]
pub struct UserJournal {
    environment: Environment,
}

impl UserJournal {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { environment }
    }
}

impl Journal for UserJournal {
    async fn tail(&self, run_id: &InvocationId, lines: u16) -> Result<Vec<String>, JournalError> {
        let wanted = lines.min(MAX_LINES);
        // podman's own events are taken out below, so ask for more than is wanted.
        let count = (wanted.saturating_mul(3)).to_string();
        let by_processes = format!("_SYSTEMD_INVOCATION_ID={run_id}");
        let by_systemd = format!("USER_INVOCATION_ID={run_id}");
        // Without `--user`: a volatile journal is not split by user, and `--user` would then find nothing.
        let args = [
            "--quiet",
            "--no-pager",
            "--output=json",
            "--output-fields=MESSAGE,PODMAN_EVENT",
            "--lines",
            &count,
            &by_processes,
            "+",
            &by_systemd,
        ];
        let output = run(&self.environment, Tool::Journalctl, &args, WITHIN)
            .await
            .map_err(JournalError)?;
        let mut found: Vec<String> = output.stdout.lines().filter_map(message).collect();
        let surplus = found.len().saturating_sub(usize::from(wanted));
        found.drain(..surplus);
        Ok(found)
    }
}

/// The fields of an entry that matter.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE", default)]
    message: Message,
    #[serde(rename = "PODMAN_EVENT", default)]
    podman_event: Option<serde::de::IgnoredAny>,
}

/// journalctl gives text as a string, bytes that are no text as numbers, and what is too large as null.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
    #[default]
    None,
}

/// The line of one entry; `None` for podman's events, for ids and for what is no entry.
fn message(line: &str) -> Option<String> {
    let entry: Entry = serde_json::from_str(line).ok()?;
    if entry.podman_event.is_some() {
        return None;
    }
    let text = match entry.message {
        Message::Text(text) => text,
        Message::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Message::None => return None,
    };
    if is_container_id(&text) {
        return None;
    }
    let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    Some(shorten(plain, MAX_LINE))
}

/// `podman run --detach`, as the unit calls it, prints the id of its container: nothing that helps a person.
fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_from_text_and_bytes_and_what_podman_prints_for_itself_is_left_out() {
        assert_eq!(
            message(r#"{"MESSAGE":"listening on 8080","_PID":"1"}"#).unwrap(),
            "listening on 8080"
        );
        assert_eq!(
            message(r#"{"MESSAGE":[27,91,51,49,109,111,110]}"#).unwrap(),
            "[31mon"
        );
        assert_eq!(message(r#"{"MESSAGE":null}"#), None);
        assert_eq!(message(r#"{"MESSAGE":"x","PODMAN_EVENT":"start"}"#), None);
        let id = "20d3cba091d190e5f2a437e5cc292cd20d13985fe893fc527e476a740e09ebd8";
        assert_eq!(message(&format!(r#"{{"MESSAGE":"{id}"}}"#)), None);
        assert_eq!(message("not json"), None);
        assert!(
            message(&format!(r#"{{"MESSAGE":"{}"}}"#, "é".repeat(600)))
                .unwrap()
                .len()
                <= MAX_LINE
        );
    }
}
