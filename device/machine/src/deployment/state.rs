//! What is remembered of a deployment. All of it but the fields marked "not recorded" goes to disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{At, Stage};

/// Most marks that are kept; the oldest go first.
pub const MAX_MARKS: usize = 16;

/// A deployment on this device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Generation of what was last asked for.
    pub generation: u64,
    /// What is asked for and not yet handed over.
    pub goal: Goal,
    /// What was handed over to systemd.
    pub unit: Unit,
    /// What runs at this moment; may be older than what is asked for.
    pub running: Option<Running>,
    /// An older version that systemd may still be at, also while it is not seen to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
    /// Why the unit is being put right: something was changed by hand.
    pub drift: Option<Failure>,
    /// Pulls of this goal that failed in a row.
    pub pull_tries: u32,
    /// Installs, starts and runs of this unit that failed in a row.
    pub unit_tries: u32,
    /// Why coming up proves nothing any more, until a run stays up: the last one ended right after its start, or several
    /// ended in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<Failure>,
    /// How the version that runs took the place of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutover: Option<Cutover>,
    /// When the present stage was entered.
    pub since: At,
    /// The stages of this generation, the newest last.
    pub marks: Vec<Mark>,
    /// Which volumes outlive the deployment.
    #[serde(default)]
    pub kept: Kept,
}

/// Which volumes outlive a deployment. It only grows until the deployment is forgotten: what any generation
/// wanted to keep may hold data that nobody else has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// Nothing was noted yet.
    #[default]
    Unrecorded,
    /// The record that said so is lost: all have to stay.
    Unknown,
    /// These, by their names within the deployment.
    Volumes(BTreeSet<String>),
}

impl Kept {
    /// Adds volumes; what is unknown stays so. Whether anything changed.
    pub fn grow(&mut self, volumes: &BTreeSet<String>) -> bool {
        match self {
            Self::Unknown => false,
            Self::Unrecorded => {
                *self = Self::Volumes(volumes.clone());
                true
            }
            Self::Volumes(known) => {
                let before = known.len();
                known.extend(volumes.iter().cloned());
                known.len() != before
            }
        }
    }

    /// The volumes, if they are known.
    #[must_use]
    pub fn volumes(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Volumes(volumes) => Some(volumes),
            Self::Unrecorded | Self::Unknown => None,
        }
    }
}

/// What is asked for and not yet handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// Nothing: never asked for, or taken away.
    #[default]
    Nothing,
    /// The unit is what is asked for.
    Met,
    /// Its image is on the way.
    Fetching {
        /// What is fetched.
        target: Target,
        /// A pull runs; before that it waits for its turn.
        began: bool,
        /// How far it is. Not recorded: it would be written each second.
        #[serde(skip)]
        progress: Option<Progress>,
    },
    /// The pull failed.
    FetchFailed {
        /// What was to be fetched.
        target: Target,
        /// Why it was not.
        failure: Failure,
        /// When it is tried again.
        next_try: Option<At>,
    },
    /// What was asked for cannot be run by this agent, whatever it tries.
    Rejected {
        /// Why.
        failure: Failure,
    },
    /// Asked for again before its removal was complete.
    AfterRemoval {
        /// What comes then.
        target: Target,
    },
}

/// What was handed over to systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nothing is installed.
    #[default]
    None,
    /// Its files are being written and loaded.
    Installing {
        /// What is installed.
        of: Installed,
        /// Which run of the unit needs no restart afterwards.
        keep: Keep,
    },
    /// Its files could not be written or loaded.
    InstallFailed {
        /// What was to be installed.
        of: Installed,
        /// Why it was not.
        failure: Failure,
        /// When it is tried again.
        next_try: Option<At>,
    },
    /// Its start job runs.
    Starting {
        /// What is started.
        of: Installed,
        /// Invocation that is being replaced: seeing any other one means that the start was done.
        replaces: Option<String>,
        /// Generation of the other version that ran until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// The init container that runs. Not recorded, as progress never is.
        #[serde(skip)]
        init: Option<InitStep>,
    },
    /// What it was to replace did not end when it was asked to, and must not be killed. Its files are in place: what
    /// systemd starts next is the new version.
    StopIgnored {
        /// What is to be started.
        of: Installed,
        /// Invocation that goes on.
        replaces: String,
        /// Generation of the other version that goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Why it goes on.
        failure: Failure,
        /// When it is asked again; `None` while it is being asked.
        next_try: Option<At>,
    },
    /// It proved itself.
    Up {
        /// What runs.
        of: Installed,
    },
    /// It ended well, and its restart policy asks for no other run. The next boot runs it again, as it runs every unit.
    Finished {
        /// What ran.
        of: Installed,
    },
    /// It did not start, or it ended.
    Down {
        /// What is installed.
        of: Installed,
        /// Why it is down.
        failure: Failure,
        /// When it is tried again.
        next_try: Option<At>,
        /// systemd holds it up again, and it may prove itself until `next_try`. Not recorded: a
        /// container that ends each few seconds would wear the disk.
        #[serde(skip)]
        back: Option<Back>,
        /// What systemd's own restarts have come to since `failure`. Not recorded, for the same reason.
        #[serde(skip)]
        restarts: Option<Restarts>,
    },
    /// Its containers, volumes and files are being removed.
    Removing {
        /// Why the last try did not succeed.
        failure: Option<Failure>,
        /// When it is tried again.
        next_try: Option<At>,
        /// Hash of the specification of what is stopped: how it may be stopped depends on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
    },
}

/// A run that came up and has to stay up before it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// Which run.
    pub run: Run,
    /// The agent asked for it. Its end is the end of a try; those of systemd's own restarts are not counted one by one.
    pub asked: bool,
}

/// Where a row of init containers is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitStep {
    /// Name of the one that runs.
    pub name: String,
    /// Its place in the row, from 1.
    pub step: u32,
    /// How many there are.
    pub of: u32,
}

/// How one version took the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// Generation that ran before.
    pub from: u64,
    /// How long nothing was up.
    pub gap: Gap,
}

/// How long a restart took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From the order to stop to the end.
    pub stop: u64,
    /// From the end to the next run.
    pub down: u64,
}

/// Something to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Generation that it is of.
    pub generation: u64,
    /// Hash of the specification: equal hash, equal files.
    pub spec: String,
    /// The image as it was asked for.
    pub image: String,
    /// Digest of the image, when it and all others are known to be on the device already.
    pub at_hand: Option<String>,
    /// Then: digests of the images of its init containers, by image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: Digests,
}

/// Digests by image.
pub type Digests = BTreeMap<String, String>;

/// Something to run whose image is on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Generation that it is of.
    pub generation: u64,
    /// Hash of the specification.
    pub spec: String,
    /// The image as it was asked for.
    pub image: String,
    /// What it resolved to.
    pub digest: String,
    /// What the images of its init containers resolved to, by image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: Digests,
    /// An image was taken to be there from memory and no pull confirmed it.
    pub optimistic: bool,
}

/// Which run of a unit is known to be of the files that are being installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// None: the unit is restarted.
    None,
    /// Whichever runs, if the files did not change: there is no record of it, so it was started from them.
    AnyIfUnchanged,
    /// This one: it proved itself before the files were changed by hand.
    Invocation(String),
    /// The one that ended well before the files were changed by hand: none is started.
    Finished,
}

/// One run of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// systemd's unit.
    pub unit: String,
    /// systemd's `InvocationID`.
    pub invocation: String,
    /// When it began.
    pub started_at: At,
}

/// A version that was handed over before another one, and may still be up or on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Older {
    /// The version: how its container may be ended depends on it.
    pub of: Installed,
    /// systemd's `InvocationID` of its run; `None` when any run can be one of it, or when it had none yet.
    pub invocation: Option<String>,
}

impl Older {
    /// Whether a run, or a start that may have no invocation yet, can be of it.
    #[must_use]
    pub fn is(&self, invocation: Option<&str>) -> bool {
        match (self.invocation.as_deref(), invocation) {
            (Some(known), Some(seen)) => known == seen,
            (None, _) | (_, None) => true,
        }
    }
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Which specification.
    pub of: Installed,
    /// Which run of it.
    pub run: Run,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Layers that are complete.
    pub layers_done: u32,
    /// Layers of the image, as far as known.
    pub layers_total: u32,
    /// Bytes received, where known.
    pub bytes: Option<u64>,
}

/// Why something failed, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable kebab-case word.
    pub kind: String,
    /// A sentence for a person.
    pub detail: String,
    /// Whether time can cure it.
    pub retry: Retry,
    /// How the run ended that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Box<End>>,
}

/// How a run of the main container ended, or of an init container before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The init container, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Its last lines, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// It ended so soon after its start that the start had proved nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    /// systemd starts it again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// It was ended by this signal.
    Signal(i32),
}

/// Automatic restarts of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// How many, since somebody last asked for a start.
    pub count: u32,
    /// When the next one comes.
    pub next_at: Option<At>,
}

/// Whether time can cure a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Likely: try again soon, then less often.
    Soon,
    /// Only if somebody else acts, such as pushing the image: try seldom.
    Seldom,
    /// No: only another specification helps.
    Never,
}

/// When a stage was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The stage.
    pub stage: Stage,
    /// When it was entered.
    pub at: At,
}

impl Failure {
    /// One that is not about the end of a run.
    #[must_use]
    pub fn new(kind: &str, detail: impl Into<String>, retry: Retry) -> Self {
        Self {
            kind: kind.to_owned(),
            detail: detail.into(),
            retry,
            end: None,
        }
    }

    /// With how a run ended.
    #[must_use]
    pub fn with_end(mut self, end: End) -> Self {
        self.end = Some(Box::new(end));
        self
    }
}

impl Target {
    pub(super) fn with(self, digest: String, others: Digests, optimistic: bool) -> Installed {
        Installed {
            generation: self.generation,
            spec: self.spec,
            image: self.image,
            digest,
            others,
            optimistic,
        }
    }
}

impl Installed {
    pub(super) fn to_target(&self) -> Target {
        Target {
            generation: self.generation,
            spec: self.spec.clone(),
            image: self.image.clone(),
            at_hand: None,
            others: Digests::new(),
        }
    }
}

impl Unit {
    /// What is installed, or being installed.
    #[must_use]
    pub fn installed(&self) -> Option<&Installed> {
        match self {
            Self::None | Self::Removing { .. } => None,
            Self::Installing { of, .. }
            | Self::InstallFailed { of, .. }
            | Self::Starting { of, .. }
            | Self::StopIgnored { of, .. }
            | Self::Up { of }
            | Self::Finished { of }
            | Self::Down { of, .. } => Some(of),
        }
    }

    pub(super) fn installed_mut(&mut self) -> Option<&mut Installed> {
        match self {
            Self::None | Self::Removing { .. } => None,
            Self::Installing { of, .. }
            | Self::InstallFailed { of, .. }
            | Self::Starting { of, .. }
            | Self::StopIgnored { of, .. }
            | Self::Up { of }
            | Self::Finished { of }
            | Self::Down { of, .. } => Some(of),
        }
    }
}
