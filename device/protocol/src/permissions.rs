//! Least privilege in NATS: the exact subjects each party needs, and no other.

use crate::bucket::{self, Bucket};
use crate::command;
use crate::event;
use crate::id::DeviceId;

/// Subjects that a NATS user may publish and subscribe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish.
    pub publish_allow: Vec<String>,
    /// Subjects it may subscribe.
    pub subscribe_allow: Vec<String>,
    /// It may answer a request, on the reply subject of that request.
    pub allow_responses: bool,
}

/// Prefix of a device's inboxes. Each device has its own, so that none reads another's answers.
#[must_use]
pub fn device_inbox(device: &DeviceId) -> String {
    format!("_INBOX_{device}")
}

/// Prefix of the operator's inboxes.
pub const OPERATOR_INBOX: &str = "_INBOX-operator";

/// What a device may do: write its own keys, read its own desired state, answer its own commands.
#[must_use]
pub fn device(device: &DeviceId) -> Permissions {
    let id = device.as_str();
    let mut publish = vec![event::device_subject(device)];
    for bucket in [bucket::DEVICE_INFO, bucket::DEVICE_HEARTBEAT] {
        publish.extend(own_keys(&bucket, id));
    }
    publish.extend(own_keys(&bucket::DEPLOYMENT_STATE, &format!("{id}.*")));
    for bucket in [bucket::DESIRED_STATE, bucket::DEPLOYMENT_STATE] {
        publish.extend(own_watch(&bucket, device));
    }
    Permissions {
        publish_allow: publish,
        subscribe_allow: vec![format!("{}.>", device_inbox(device)), command::all_of(device)],
        allow_responses: true,
    }
}

/// Write and read of the keys that match `pattern`.
fn own_keys(bucket: &Bucket, pattern: &str) -> [String; 3] {
    let stream = bucket.stream();
    let subject = bucket.subject(pattern);
    [
        subject.clone(),
        format!("$JS.API.DIRECT.GET.{stream}.{subject}"),
        format!("$JS.API.STREAM.INFO.{stream}"),
    ]
}

/// The one pull consumer that the device keeps on a bucket with keys `<device>.<deployment>`.
fn own_watch(bucket: &Bucket, device: &DeviceId) -> Vec<String> {
    let stream = bucket.stream();
    let consumer = bucket::agent_consumer(device);
    let keys = bucket.subject(&format!("{device}.*"));
    vec![
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{keys}"),
        format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"),
        format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
        format!("$JS.API.DIRECT.GET.{stream}.{keys}"),
    ]
}

/// What the operator may do: all of JetStream in its account, commands to devices, and the history.
#[must_use]
pub fn operator() -> Permissions {
    let publish = [
        "$JS.API.>",
        "$KV.>",
        event::SUBJECTS,
        "device-commands.>",
        "$JS.ACK.>",
        "$JS.FC.>",
    ];
    Permissions {
        publish_allow: publish.map(str::to_owned).to_vec(),
        subscribe_allow: vec![
            format!("{OPERATOR_INBOX}.>"),
            "$KV.>".to_owned(),
            event::SUBJECTS.to_owned(),
        ],
        allow_responses: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_subject_of_a_device_reaches_another_device() {
        let permissions = device(&"pi-1".parse().unwrap());
        for subject in permissions
            .publish_allow
            .iter()
            .chain(&permissions.subscribe_allow)
        {
            let own = subject.contains("pi-1") || subject.starts_with("$JS.API.STREAM.INFO.KV_");
            assert!(own, "{subject}");
        }
    }
}
