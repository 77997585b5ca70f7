//! The heartbeat. Nothing waits for an answer: a lost one is followed by the next.

use std::rc::Rc;
use std::time::Duration;

use async_nats::Client;
use fleet_host::{Clock, DeviceFacts, Host};
use fleet_protocol::bucket::{self, HEARTBEAT_SECONDS};
use fleet_protocol::{Heartbeat, PROTOCOL_VERSION, wire};
use tokio::time::sleep;

use crate::random;
use crate::shared::Shared;
use crate::words::chain;

/// Beats for as long as the session lasts: once at its start, then spread, so that a fleet that comes back
/// together does not beat together.
pub(super) async fn run<H: Host>(shared: &Rc<Shared<H>>, client: &Client) {
    const EACH: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
    let device = &shared.settings.identity.enrolment.device_id;
    let subject = bucket::DEVICE_HEARTBEAT.subject(device.as_str());
    let mut wait = random::up_to(EACH);
    loop {
        match beat(shared) {
            Ok(beat) => {
                if let Err(error) = client.publish(subject.clone(), wire::encode(&beat).into()).await {
                    tracing::debug!("a heartbeat is lost: {error}");
                }
            }
            Err(error) => tracing::warn!("no heartbeat: {}", chain(&error)),
        }
        sleep(wait).await;
        wait = EACH;
    }
}

fn beat<H: Host>(shared: &Rc<Shared<H>>) -> Result<Heartbeat, fleet_host::FactsError> {
    let vitals = shared.host.facts().vitals()?;
    Ok(Heartbeat {
        protocol: PROTOCOL_VERSION,
        at: shared.host.clock().now(),
        uptime_seconds: vitals.uptime.as_secs(),
        data_free_mib: vitals.data_free_mib,
        memory_available_mib: vitals.memory_available_mib,
    })
}
