//! One entry of the journal, as `journalctl --output=json` prints it. Whoever writes to the journal chooses nearly all of it.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The fields that are asked for; journalctl adds those that begin with two underscores.
pub(super) const FIELDS: &str = "--output-fields=MESSAGE,PRIORITY,CONTAINER_ID_FULL,CONTAINER_PARTIAL_MESSAGE,\
                                 PODMAN_EVENT,PODMAN_ID,USER_INVOCATION_ID";

/// The fields of an entry that matter. A field that occurs twice is a list, and such an entry is none.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(rename = "MESSAGE", default)]
    pub(super) message: Message,
    #[serde(rename = "PRIORITY", borrow, default)]
    pub(super) priority: Option<Cow<'a, str>>,
    #[serde(rename = "CONTAINER_ID_FULL", borrow, default)]
    container: Option<Cow<'a, str>>,
    #[serde(rename = "CONTAINER_PARTIAL_MESSAGE", borrow, default)]
    partial: Option<Cow<'a, str>>,
    #[serde(rename = "PODMAN_EVENT", borrow, default)]
    pub(super) podman_event: Option<Cow<'a, str>>,
    #[serde(rename = "PODMAN_ID", borrow, default)]
    podman_id: Option<Cow<'a, str>>,
    #[serde(rename = "USER_INVOCATION_ID", borrow, default)]
    told_of: Option<Cow<'a, str>>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    realtime: Option<Cow<'a, str>>,
    #[serde(rename = "__CURSOR", borrow, default)]
    cursor: Option<Cow<'a, str>>,
}

impl<'a> Entry<'a> {
    /// `None` for what is no entry.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The full id of the container that it is about.
    pub(super) fn run(&self) -> Option<&str> {
        let id = match self.podman_event {
            Some(_) => self.podman_id.as_deref(),
            None => self.container.as_deref(),
        };
        id.filter(|id| is_container_id(id))
    }

    /// Whether podman tells in it that it made the container.
    pub(super) fn is_beginning(&self) -> bool {
        self.podman_event.as_deref() == Some("create")
    }

    /// Whether it is systemd's word about a run, and not one of the run's own.
    pub(super) fn is_of_systemd(&self) -> bool {
        self.told_of.is_some()
    }

    /// Whether the line goes on in the next entry of the same stream.
    pub(super) fn is_piece(&self) -> bool {
        self.partial.as_deref() == Some("true")
    }

    /// When journald got it.
    pub(super) fn at(&self) -> DateTime<Utc> {
        let micros = self.realtime.as_deref().and_then(|text| text.parse().ok());
        micros
            .and_then(DateTime::from_timestamp_micros)
            .unwrap_or_default()
    }

    /// Where it is in the journal.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}

/// The bytes of a message. journalctl gives text as a string, bytes that are no printable text as numbers, and what it finds too
/// large as null.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message(pub(super) Option<Vec<u8>>);

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(MessageVisitor)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, bytes as numbers, or null")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Message, E> {
        Ok(Message(Some(text.as_bytes().to_vec())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Message, E> {
        Ok(Message(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Message, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = from.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(Message(Some(bytes)))
    }
}

/// 64 hex digits.
pub(super) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Option<Vec<u8>> {
        Entry::read(json.as_bytes()).unwrap().message.0
    }

    #[test]
    fn a_message_is_text_or_bytes_or_nothing() {
        assert_eq!(message(r#"{"MESSAGE":"a\n<b>"}"#).unwrap(), b"a\n<b>");
        assert_eq!(message(r#"{"MESSAGE":[27,255,0]}"#).unwrap(), [27, 255, 0]);
        assert_eq!(message(r#"{"MESSAGE":null}"#), None);
        assert_eq!(message("{}"), None);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in [
            "",
            "not json",
            "[1]",
            r#"{"MESSAGE":["a","b"]}"#,
            r#"{"MESSAGE":[300]}"#,
        ] {
            assert!(Entry::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_run_is_a_whole_id_and_podmans_own_entries_have_theirs_elsewhere() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let run = |json: String| Entry::read(json.as_bytes()).unwrap().run().map(str::to_owned);
        assert_eq!(run(format!(r#"{{"CONTAINER_ID_FULL":"{a}"}}"#)), Some(a.clone()));
        let both = format!(r#"{{"CONTAINER_ID_FULL":"{a}","PODMAN_ID":"{b}","PODMAN_EVENT":"create"}}"#);
        assert_eq!(run(both), Some(b));
        assert_eq!(run(r#"{"CONTAINER_ID_FULL":"abc"}"#.to_owned()), None);
    }
}
