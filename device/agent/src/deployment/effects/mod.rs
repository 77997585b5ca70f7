//! What the machine asks for, carried out on the host. Each returns the fact that came of it, is idempotent,
//! and may be dropped at any await.
//!
//! | module | effect |
//! | --- | --- |
//! | `pull` | `Pull`: every image of the score |
//! | `install` | `Install`: the files, and systemd's knowledge of them |
//! | `start` | `Start`: what it replaces ends, init containers run, the container comes up |
//! | `stop` | how a run may be ended, and asking it politely |
//! | `look` | `Verify`, and the glances beside a start |
//! | `remove` | `Remove` |

mod install;
mod look;
mod pull;
mod remove;
mod start;
mod stop;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fleet_host::quadlet::{self, Digests, Rendered};
use fleet_host::{Clock, DeviceFacts, Digest, Host, InvocationId, Journal, RESERVE, UnitFacts, UnitName};
use fleet_machine::deployment::{At, Failure, Installed, Retry, Run};
use fleet_protocol::cause::MAX_LOG_LINES;
use fleet_protocol::{DeploymentName, PodmanV0Score};

use super::failures::{self, failure};
use crate::shared::Shared;

pub(super) use start::{Order, Replaced};
pub(super) use stop::Manners;

/// One deployment's place on the host.
pub(super) struct Place<H> {
    pub(super) shared: Rc<Shared<H>>,
    pub(super) name: DeploymentName,
    pub(super) unit: UnitName,
    /// The install just before found the unit at rest: the start after it asks nothing first. A memory of a moment,
    /// used once; were it wrong, `StartUnit` of a unit that runs starts nothing and tells its run.
    pub(super) at_rest: Rc<Cell<bool>>,
}

impl<H> Clone for Place<H> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            name: self.name.clone(),
            unit: self.unit.clone(),
            at_rest: Rc::clone(&self.at_rest),
        }
    }
}

impl<H: Host> Place<H> {
    fn units(&self) -> &H::Units {
        self.shared.host.units()
    }

    fn note_full_disk(&self, failure: &Failure) {
        if failure.kind == "disk-full" {
            self.shared.health.wrong(failures::full_disk());
        }
    }

    /// With a deployment that is gone goes who would have found out that there is room again.
    pub(super) fn note_room(&self) {
        let vitals = self.shared.host.facts().vitals();
        if vitals.is_ok_and(|vitals| vitals.data_free_mib << 20 >= RESERVE) {
            self.shared.health.right("disk-full");
        }
    }

    fn render(&self, of: &Installed, score: &PodmanV0Score) -> Result<Rendered, Failure> {
        // A digest that does not parse is one of a damaged record: the tag then has to do.
        let known = of.others.iter().chain([(&of.image, &of.digest)]);
        let digests: Digests = known
            .filter_map(|(image, digest)| Some((image.clone(), Digest::parse(digest).ok()?)))
            .collect();
        quadlet::render(&self.name, score, &digests)
            .map_err(|error| failure(error.kind(), error.to_string(), Retry::Never))
    }

    fn active_run(&self, facts: &UnitFacts) -> Option<Run> {
        facts
            .invocation_id
            .as_ref()
            .filter(|_| facts.is_up())
            .map(|id| self.run(facts, id))
    }

    fn run(&self, facts: &UnitFacts, id: &InvocationId) -> Run {
        Run {
            unit: self.unit.to_string(),
            invocation: id.to_string(),
            started_at: self.wall_clock(facts.state_change_monotonic),
        }
    }

    /// The time of one of systemd's stamps; not before the epoch.
    fn wall_clock(&self, monotonic: Duration) -> At {
        let now = self.shared.host.clock().monotonic();
        let millis = |time: Duration| At::try_from(time.as_millis()).unwrap_or_default();
        let ahead = millis(monotonic.saturating_sub(now));
        let ago = millis(now.saturating_sub(monotonic));
        self.shared.at().saturating_add(ahead).saturating_sub(ago)
    }

    /// The last lines that a run of the unit, or of an init container's, left in the journal.
    async fn last_words(&self, facts: &UnitFacts) -> Vec<String> {
        let Some(id) = &facts.invocation_id else {
            return Vec::new();
        };
        let lines = u16::try_from(MAX_LOG_LINES).unwrap_or(u16::MAX);
        match self.shared.host.journal().tail(id, lines).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::debug!("no last words of {}: {error}", self.unit);
                Vec::new()
            }
        }
    }
}
