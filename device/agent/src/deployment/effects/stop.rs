//! How a run may be ended. systemd's stop sends the signal, waits, and kills. What must not be killed is asked by the
//! agent itself, and nothing is done to its unit before it ended.

use std::time::Duration;

use fleet_host::{Containers, Host, Signalled, Units, container_name};
use fleet_machine::deployment::{Failure, Retry};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::StopSignal;
use tokio::time::{Instant, sleep};

use super::Place;
use crate::deployment::failures::failure;
use crate::words::chain;

/// Between two looks at whether it ended.
const LOOK_EACH: Duration = Duration::from_millis(200);

/// How a run may be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deployment) struct Manners {
    pub(in crate::deployment) signal: StopSignal,
    pub(in crate::deployment) grace: Duration,
    /// It may be killed after the grace period.
    pub(in crate::deployment) kill: bool,
}

impl Manners {
    /// Signal and grace period are those of what runs (`old`). Whether it may be killed is what the newest policy says: that
    /// of what replaces it (`new`), or else its own; so a new specification can insist.
    pub(in crate::deployment) fn of(old: Option<&PodmanV0Score>, new: Option<&PodmanV0Score>) -> Self {
        let own = old.or(new).map(PodmanV0Score::lifecycle).unwrap_or_default();
        let newest = new.and_then(|score| score.lifecycle.as_ref());
        Self {
            signal: own.stop_signal,
            grace: own.grace_period.duration(),
            kill: newest.map_or(own.sigkill_fallback, |policy| policy.sigkill_fallback),
        }
    }
}

impl<H: Host> Place<H> {
    /// Asks a run to end and waits until it did, for as long as its grace period. An error says why it goes on.
    /// `which` names it for a person.
    pub(super) async fn ask_to_end(
        &self,
        invocation: Option<&str>,
        which: &str,
        manners: &Manners,
    ) -> Result<(), Failure> {
        let containers = self.shared.host.containers();
        match containers.signal(&self.name, manners.signal).await {
            Ok(Signalled::Sent) => {}
            // Of a unit that is up it is about to end: the wait tells. One that is still to come has nothing to spare.
            Ok(Signalled::NotRunning) => {
                let facts = self.units().facts(&self.unit).await;
                if facts.is_ok_and(|facts| !facts.is_up()) {
                    return Ok(());
                }
            }
            Err(error) => {
                let detail = format!("{which} goes on running: {}", chain(&error));
                return Err(failure("stop-failed", detail, Retry::Soon));
            }
        }
        let deadline = Instant::now() + manners.grace;
        while !self.has_ended(invocation).await {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.ignored(which, manners));
            }
            sleep(left.min(LOOK_EACH)).await;
        }
        Ok(())
    }

    fn ignored(&self, which: &str, manners: &Manners) -> Failure {
        let detail = format!(
            "container {} ignored {} for {} s and must not be killed (sigkill_fallback: false): {which} goes on running; \
             it is asked again every few minutes. Make it end, or apply a specification with sigkill_fallback: true",
            container_name(&self.name),
            manners.signal.as_str(),
            manners.grace.as_secs(),
        );
        failure("stop-signal-ignored", detail, Retry::Seldom)
    }

    /// Whether the run is over: of any invocation, when it is not known which. Nobody can tell while systemd gives no answer.
    async fn has_ended(&self, invocation: Option<&str>) -> bool {
        match self.units().facts(&self.unit).await {
            Ok(facts) => {
                let id = facts.invocation_id.as_ref().map(fleet_host::InvocationId::as_str);
                let same = invocation.is_none() || id == invocation;
                !same || facts.is_down() || facts.is_restarting()
            }
            Err(error) => {
                tracing::debug!("nobody can tell whether {} ended: {error}", self.unit);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(lifecycle: &str) -> PodmanV0Score {
        serde_json::from_str(&format!(r#"{{"image":"r.io/a:1"{lifecycle}}}"#)).unwrap()
    }

    #[test]
    fn the_one_that_ends_says_how_and_the_newest_policy_whether_it_may_be_killed() {
        let old =
            score(r#","lifecycle":{"stop_signal":"SIGINT","grace_period":"7s","sigkill_fallback":false}"#);
        let (silent, insists) = (score(""), score(r#","lifecycle":{"sigkill_fallback":true}"#));
        for (new, kill) in [(&silent, false), (&insists, true), (&old, false)] {
            let manners = Manners::of(Some(&old), Some(new));
            assert_eq!(manners.kill, kill);
            assert_eq!((manners.signal, manners.grace.as_secs()), (StopSignal::Int, 7));
        }
        assert!(Manners::of(Some(&silent), None).kill && Manners::of(None, None).kill);
        assert!(!Manners::of(Some(&silent), Some(&old)).kill && !Manners::of(Some(&old), None).kill);
    }
}
