//! What API, dashboard and `fleetctl` show: plain data, made by pure functions from the aggregate.
//!
//! Times are the server's (of the KV entry) unless a field says that they are the device's. Lists are sorted by name.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_protocol::state::{CrashLoop, Cutover, InitProgress, PhaseMark, PullProgress, Running};
use fleet_protocol::{Cause, DeploymentSpec, DeviceInfo, Heartbeat};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub mod schema;

/// Defines an enum whose words are the same in API, dashboard, CLI and docs.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every one, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|word| word.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    format!("{text:?} is none of {}", words.join(", "))
                })
            }
        }
    };
}

words! {
    /// Whether a device is there.
    DeviceState {
        /// Its heartbeat is missing.
        Offline,
        /// It writes, but nothing that says what it is: no readable `device-info`.
        Unknown,
        /// Its heartbeat is there.
        Online,
    }
}

words! {
    /// How a pair (one deployment on one device) is: the agent's phase, and what the agent cannot say itself. In the
    /// order in which a person wants to see them.
    PairState {
        /// Not running; the cause says why.
        Failed,
        /// The device is online, yet nothing has moved for longer than it should take.
        Stuck,
        /// What the device reported cannot be read by this version.
        Unreadable,
        /// A phase of a newer agent; the word is in `phase`.
        Unknown,
        /// Desired, and not yet taken up by the device.
        Waiting,
        /// Taken up; nothing done yet.
        Pending,
        /// The image is being pulled.
        Pulling,
        /// The old container is being replaced.
        Upgrading,
        /// Being started; not proven yet.
        Starting,
        /// Taken away; being removed from the device.
        Removing,
        /// Proved itself.
        Running,
        /// Ended well; its restart policy asks for no other run.
        Finished,
    }
}

words! {
    /// How one link of the chain is.
    LinkState {
        /// Done.
        Done,
        /// Going on by itself.
        Waiting,
        /// Needs a person.
        Blocked,
        /// Not reached yet.
        Later,
    }
}

words! {
    /// The links of the chain that answers "why is it stuck?", in order.
    LinkKind {
        /// What was asked.
        Desired,
        /// What has to hold before the device can take it up.
        Gate,
        /// Where the device is.
        Phase,
        /// Why it is there.
        Cause,
        /// What systemd does for it.
        Unit,
        /// What the container wrote last.
        Log,
        /// What to do, or what happens by itself.
        Next,
    }
}

words! {
    /// What needs a person, most urgent first.
    AttentionKind {
        /// Pairs that failed.
        Failed,
        /// Pairs that do not move.
        Stuck,
        /// Values in KV that this version cannot read.
        Unreadable,
        /// Devices that are offline.
        Offline,
        /// Devices that report something wrong with themselves.
        Unhealthy,
        /// Deployments that select no device.
        SelectsNothing,
    }
}

/// Something in KV that this build cannot use as it is. It is kept and shown, never dropped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Bucket of the value.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Stable kebab-case word, such as `value-malformed`.
    pub kind: String,
    /// A sentence: who wrote what, what that means, what to do.
    pub detail: String,
    /// When the value was written.
    pub since: DateTime<Utc>,
}

/// Whether the operator has read everything that lay in KV when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryView {
    /// It has: views are whole.
    pub converged: bool,
    /// It is connected to NATS at this moment; if not, views are of `last_event_at`.
    pub connected: bool,
    /// One sentence for a page's header: why it is not converged or not connected. Absent when all is well.
    pub detail: Option<String>,
    /// When KV last said something.
    pub last_event_at: Option<DateTime<Utc>>,
    /// Per bucket, in the order of the protocol's table.
    pub buckets: Vec<BucketView>,
}

/// How far the watch of one bucket is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BucketView {
    /// Its name.
    pub name: String,
    /// Everything up to `target_revision` was read.
    pub caught_up: bool,
    /// Newest revision read.
    pub revision: u64,
    /// Newest revision when the watch began.
    pub target_revision: u64,
    /// How often the watch was begun since the operator started; 1 when nothing ever went wrong.
    pub watches_begun: u64,
}

/// The first screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// Whether this is the whole truth.
    pub recovery: RecoveryView,
    /// What needs a person, most urgent first; alike things are one entry.
    pub attention: Vec<Attention>,
    /// Devices by state.
    pub devices: DeviceCounts,
    /// Pairs by state.
    pub pairs: PairCounts,
    /// Number of deployments.
    pub deployments: u64,
}

/// One thing that needs a person; the same thing on many devices is one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// What kind of thing.
    pub kind: AttentionKind,
    /// One line: `web failed on 37 devices`.
    pub title: String,
    /// Why, as the newest of them reports it.
    #[schema(value_type = Option<schema::Cause>)]
    pub cause: Option<Cause>,
    /// What to do, in plain words.
    pub next: String,
    /// Since when the oldest of them is so.
    pub since: Option<DateTime<Utc>>,
    /// The deployment, where it is about one.
    pub deployment: Option<String>,
    /// How many devices it is about.
    pub count: u64,
    /// Some of them, by name; at most [`MAX_SAMPLE`].
    pub devices: Vec<String>,
}

/// Most device names in an [`Attention`].
pub const MAX_SAMPLE: usize = 10;

/// Devices by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceCounts {
    /// All.
    pub total: u64,
    /// With a heartbeat.
    pub online: u64,
    /// Without.
    pub offline: u64,
    /// Without a readable `device-info`.
    pub unknown: u64,
}

/// Pairs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "each field is the count of the PairState of its name")]
pub struct PairCounts {
    pub total: u64,
    pub failed: u64,
    pub stuck: u64,
    pub unreadable: u64,
    pub unknown: u64,
    pub waiting: u64,
    pub pending: u64,
    pub pulling: u64,
    pub upgrading: u64,
    pub starting: u64,
    pub removing: u64,
    pub running: u64,
    // Absent in answers of an older operator.
    #[serde(default)]
    pub finished: u64,
}

impl PairCounts {
    /// The count of one state.
    #[must_use]
    pub fn of(&self, state: PairState) -> u64 {
        let mut copy = *self;
        *copy.slot(state)
    }

    /// Those that are as they ought to be: they run, or are done.
    #[must_use]
    pub fn well(&self) -> u64 {
        self.running + self.finished
    }

    /// One more in this state.
    pub fn add(&mut self, state: PairState) {
        self.total += 1;
        *self.slot(state) += 1;
    }

    /// One fewer in this state.
    pub(super) fn remove(&mut self, state: PairState) {
        self.total -= 1;
        *self.slot(state) -= 1;
    }

    fn slot(&mut self, state: PairState) -> &mut u64 {
        match state {
            PairState::Failed => &mut self.failed,
            PairState::Stuck => &mut self.stuck,
            PairState::Unreadable => &mut self.unreadable,
            PairState::Unknown => &mut self.unknown,
            PairState::Waiting => &mut self.waiting,
            PairState::Pending => &mut self.pending,
            PairState::Pulling => &mut self.pulling,
            PairState::Upgrading => &mut self.upgrading,
            PairState::Starting => &mut self.starting,
            PairState::Removing => &mut self.removing,
            PairState::Running => &mut self.running,
            PairState::Finished => &mut self.finished,
        }
    }
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceSummary {
    /// Its id.
    pub id: String,
    /// Whether it is there.
    pub state: DeviceState,
    /// Since when it is so, as far as known: an operator that was restarted knows a heartbeat's last time only.
    pub since: Option<DateTime<Utc>>,
    /// When the last heartbeat came.
    pub last_heartbeat_at: Option<DateTime<Utc>>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Architecture; empty when unknown.
    pub arch: String,
    /// Version of the agent; empty when unknown.
    pub agent_version: String,
    /// Its pairs by state.
    pub pairs: PairCounts,
    /// Number of things that are wrong with it, beside its pairs.
    pub problem_count: u64,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// As in the list.
    #[serde(flatten)]
    pub summary: DeviceSummary,
    /// One sentence on its state: `offline for longer than 45 s: no heartbeat`.
    pub detail: String,
    /// What it says about itself.
    #[schema(value_type = Option<Object>)]
    pub info: Option<DeviceInfo>,
    /// When it said so.
    pub info_at: Option<DateTime<Utc>>,
    /// Its last heartbeat, kept when it went offline while the operator looked.
    #[schema(value_type = Option<Object>)]
    pub heartbeat: Option<Heartbeat>,
    /// What is wrong with the device itself, by its own report.
    #[schema(value_type = Vec<schema::Cause>)]
    pub health: Vec<Cause>,
    /// What cannot be read.
    pub problems: Vec<Problem>,
    /// Its deployments.
    pub deployments: Vec<PairView>,
}

/// A deployment in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentSummary {
    /// Its name.
    pub name: String,
    /// Its own labels.
    pub labels: BTreeMap<String, String>,
    /// Rises with each change of the specification.
    pub generation: u64,
    /// The image; empty when the deployment cannot be read.
    pub image: String,
    /// The selector in words: `site=lyon`, `all devices`, `2 devices by id`.
    pub selector: String,
    /// When it was last changed.
    pub changed_at: DateTime<Utc>,
    /// Devices that have it in their desired state.
    pub selected: u64,
    /// Its pairs by state.
    pub pairs: PairCounts,
    /// Pairs whose desired state is not of this generation (yet), those that are being removed among them.
    pub behind: u64,
    /// It was deleted; devices are still removing it.
    pub deleted: bool,
    /// Number of values of it that cannot be read.
    pub problem_count: u64,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentView {
    /// As in the list.
    #[serde(flatten)]
    pub summary: DeploymentSummary,
    /// What was asked; absent when deleted or not readable.
    #[schema(value_type = Option<Object>)]
    pub spec: Option<DeploymentSpec>,
    /// What cannot be read.
    pub problems: Vec<Problem>,
    /// Its pairs, those that need a person first, at most [`MAX_PAIRS`]; `pairs.total` counts all.
    pub devices: Vec<PairView>,
}

/// Most pairs in a [`DeploymentView`].
pub const MAX_PAIRS: usize = 500;

/// One deployment on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairView {
    /// The device.
    pub device: String,
    /// The deployment.
    pub deployment: String,
    /// How it is.
    pub state: PairState,
    /// Whether the device is there; if not, all below is what it said last.
    pub device_state: DeviceState,
    /// The agent's word, as it came; absent when it reported nothing.
    pub phase: Option<String>,
    /// Since when it is so: by the device's clock for phases, by the server's for `Waiting`, `Stuck`, `Unreadable`.
    pub since: Option<DateTime<Utc>>,
    /// Why.
    #[schema(value_type = Option<schema::Cause>)]
    pub cause: Option<Cause>,
    /// What is desired; absent when it is to be removed.
    pub desired_generation: Option<u64>,
    /// The image that is desired.
    pub desired_image: Option<String>,
    /// What the device took up.
    pub observed_generation: Option<u64>,
    /// How far a pull is.
    #[schema(value_type = Option<schema::PullProgress>)]
    pub progress: Option<PullProgress>,
    /// What runs there, perhaps of an older generation.
    #[schema(value_type = Option<schema::Running>)]
    pub running: Option<Running>,
    /// The init container that runs or is waited for, while it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::InitProgress>)]
    pub init: Option<InitProgress>,
    /// Init containers that are desired, by name, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<String>,
    /// How the last change of version went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Cutover>)]
    pub cutover: Option<Cutover>,
    /// It ends again and again, and is started again each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CrashLoop>)]
    pub crash_loop: Option<CrashLoop>,
    /// When the agent tries again by itself.
    pub next_try_at: Option<DateTime<Utc>>,
    /// How often this generation failed.
    pub failed_tries: u32,
    /// The phases of this generation, oldest first, by the device's clock.
    #[schema(value_type = Vec<schema::PhaseMark>)]
    pub marks: Vec<PhaseMark>,
    /// When the device last wrote about it.
    pub reported_at: Option<DateTime<Utc>>,
    /// desired → gate → phase → cause → unit → log → next; always in this order, a link without content is left out.
    pub chain: Vec<Link>,
    /// What cannot be read.
    pub problems: Vec<Problem>,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Which one.
    pub kind: LinkKind,
    /// How it is.
    pub state: LinkState,
    /// A plain sentence.
    pub text: String,
    /// When it came about.
    pub at: Option<DateTime<Utc>>,
    /// Lines of a log, the oldest first; only with `Log`. As the container wrote them: not safe to show as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}
