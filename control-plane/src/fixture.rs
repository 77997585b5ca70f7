//! Messages as devices and people write them, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::{
    Cause, Deployment, DeploymentSpec, DeploymentState, DeviceInfo, Heartbeat, PROTOCOL_VERSION, Phase, wire,
};
use futures_util::future::BoxFuture;

use crate::store::{AskError, Asks, BucketId, Entry, Source, StoreEvent};

/// The moment at which tests begin.
pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time in range")
}

pub(crate) fn spec(site: &str, image: &str) -> DeploymentSpec {
    let json = format!(
        r#"{{"selector":{{"labels":{{"site":"{site}"}}}},"score":{{"podman_v0":{{"image":"{image}"}}}}}}"#
    );
    serde_json::from_str(&json).expect("a specification")
}

pub(crate) fn deployment(name: &str, generation: u64, spec: DeploymentSpec) -> Bytes {
    let name = name.parse().expect("a name");
    let labels = BTreeMap::new();
    wire::encode(&Deployment {
        protocol: PROTOCOL_VERSION,
        name,
        labels,
        generation,
        spec,
    })
    .into()
}

pub(crate) fn info(site: &str) -> Bytes {
    info_with(site, Vec::new())
}

pub(crate) fn info_with(site: &str, health: Vec<Cause>) -> Bytes {
    wire::encode(&DeviceInfo {
        protocol: PROTOCOL_VERSION,
        agent_version: "0.3.0".into(),
        arch: "arm64".into(),
        os: "Debian".into(),
        kernel: "6.12".into(),
        podman_version: "5.4".into(),
        boot_id: "b".into(),
        hostname: "h".into(),
        memory_mib: 1,
        data_mib: 1,
        labels: BTreeMap::from([("site".to_owned(), site.to_owned())]),
        health,
        agent_started_at: noon(),
    })
    .into()
}

pub(crate) fn heartbeat() -> Bytes {
    wire::encode(&Heartbeat {
        protocol: PROTOCOL_VERSION,
        at: noon(),
        uptime_seconds: 1,
        data_free_mib: 1,
        memory_available_mib: 1,
    })
    .into()
}

pub(crate) fn state(generation: u64, phase: Phase, cause: Option<Cause>) -> Bytes {
    wire::encode(&DeploymentState {
        protocol: PROTOCOL_VERSION,
        observed_generation: generation,
        phase,
        since: noon(),
        cause,
        progress: None,
        running: None,
        next_try_at: None,
        init: None,
        cutover: None,
        crash_loop: None,
        failed_tries: 0,
        marks: Vec::new(),
    })
    .into()
}

pub(crate) fn desired(generation: u64, image: &str) -> Bytes {
    let spec = spec("x", image);
    let name = "x".parse().expect("a name");
    let deployment = Deployment {
        protocol: PROTOCOL_VERSION,
        name,
        labels: BTreeMap::new(),
        generation,
        spec,
    };
    crate::fleet::resolve(&deployment).into()
}

pub(crate) fn entry(bucket: BucketId, key: &str, revision: u64, value: Option<Bytes>) -> StoreEvent {
    let at = noon() + TimeDelta::seconds(revision.cast_signed());
    StoreEvent::Entry {
        source: Source::Bucket(bucket),
        entry: Entry {
            key: key.to_owned(),
            revision,
            at,
            value,
        },
    }
}

pub(crate) fn connected(session: u64) -> StoreEvent {
    StoreEvent::Connection {
        session,
        connected: true,
    }
}

pub(crate) fn begin(bucket: BucketId) -> StoreEvent {
    begin_over(1, bucket)
}

pub(crate) fn begin_over(session: u64, bucket: BucketId) -> StoreEvent {
    StoreEvent::Begin {
        source: Source::Bucket(bucket),
        session,
        stream_created: noon(),
        target: 0,
    }
}

pub(crate) fn end(bucket: BucketId) -> StoreEvent {
    StoreEvent::End {
        source: Source::Bucket(bucket),
    }
}

/// What a device was asked: the subject and the request.
pub(crate) type Asked = (String, serde_json::Value);

/// Devices that all give the same answer; none listens until one is set.
#[derive(Default)]
pub(crate) struct Answering {
    pub(crate) answer: Mutex<Option<Result<Bytes, AskError>>>,
    pub(crate) asked: Mutex<Vec<Asked>>,
    /// No answer is given while this is held.
    pub(crate) hold: tokio::sync::Mutex<()>,
}

impl Answering {
    pub(crate) fn answers(&self, answer: &serde_json::Value) {
        *self.answer.lock().unwrap() = Some(Ok(answer.to_string().into()));
    }
}

impl Asks for Answering {
    fn ask(&self, subject: String, request: Bytes, _: Duration) -> BoxFuture<'_, Result<Bytes, AskError>> {
        let request = serde_json::from_slice(&request).expect("a request is JSON");
        self.asked.lock().unwrap().push((subject, request));
        Box::pin(async {
            drop(self.hold.lock().await);
            let answer = self.answer.lock().unwrap().clone();
            answer.unwrap_or(Err(AskError::NobodyListens))
        })
    }
}

/// Looks every few milliseconds until it holds; says what was waited for when it never does.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never so: {what}");
}
