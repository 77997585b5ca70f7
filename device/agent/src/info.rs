//! `device-info`: what the device is, and what is wrong with it.

use std::rc::Rc;
use std::time::Duration;

use fleet_host::{DeviceFacts, DeviceIdentity, Host};
use fleet_protocol::{Cause, DeviceInfo, PROTOCOL_VERSION};
use tokio::time::{Instant, sleep_until};

use crate::VERSION;
use crate::health::Changes;
use crate::shared::Shared;
use crate::words::chain;

/// Shortest time between two questions to podman, each of which is a process. Doubled while it stays silent, up to the
/// time between two looks for drift.
const ASK_AGAIN: Duration = Duration::from_mins(1);

const PODMAN_SILENT: &str = "podman-silent";

/// Keeps `device-info` right; ends by being dropped.
pub(crate) async fn keep<H: Host>(shared: Rc<Shared<H>>) {
    let longest = shared.settings.tuning.drift_check.max(ASK_AGAIN);
    let mut changes = shared.health.changes();
    let mut known = None;
    let mut pause = ASK_AGAIN;
    loop {
        let asked = Instant::now();
        let well = ask(&shared, &mut known).await;
        tell(
            &shared,
            known.as_ref(),
            &mut changes,
            asked,
            (!well).then_some(pause),
        )
        .await;
        pause = if well { ASK_AGAIN } else { (pause * 2).min(longest) };
    }
}

/// Asks the device what it is; whether all of it answered. What podman said last may differ in words each time, so what
/// this changes in health wakes nobody here.
async fn ask<H: Host>(shared: &Shared<H>, known: &mut Option<DeviceIdentity>) -> bool {
    let identity = match shared.host.facts().identity().await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!("the device cannot be described: {}", chain(&error));
            return false;
        }
    };
    match &identity.podman_problem {
        Some(problem) => shared.health.wrong(Cause::new(
            PODMAN_SILENT,
            format!("{problem}; deployments cannot change until podman answers: look at the agent's log on the device, or reboot it"),
        )),
        None => shared.health.right(PODMAN_SILENT),
    }
    let well = identity.podman_problem.is_none();
    *known = Some(identity);
    well
}

/// Tells each change of health, until it is time to ask again.
async fn tell<H: Host>(
    shared: &Shared<H>,
    known: Option<&DeviceIdentity>,
    changes: &mut Changes,
    asked: Instant,
    again_after: Option<Duration>,
) {
    loop {
        changes.skip();
        if let Some(identity) = known {
            shared.outbox.info(&info(shared, identity.clone()));
        }
        tokio::select! {
            // Whatever made the device unwell, or well, may be podman.
            () = changes.next() => if again_after.is_none() && asked.elapsed() >= ASK_AGAIN {
                return;
            },
            () = due(again_after.map(|pause| asked + pause)) => return,
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn info<H: Host>(shared: &Shared<H>, identity: DeviceIdentity) -> DeviceInfo {
    DeviceInfo {
        protocol: PROTOCOL_VERSION,
        agent_version: VERSION.to_owned(),
        arch: identity.arch,
        os: identity.os,
        kernel: identity.kernel,
        podman_version: identity.podman_version,
        boot_id: identity.boot_id,
        hostname: identity.hostname,
        memory_mib: identity.memory_mib,
        data_mib: identity.data_mib,
        labels: shared.settings.identity.enrolment.labels.clone(),
        health: shared.health.causes(),
        agent_started_at: shared.started_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Faults;
    use crate::settings::{Identity, Seed, Settings, Tuning};
    use fleet_host::fakes::{Device, World};
    use tokio::time::timeout;

    fn shared(world: &World) -> Rc<Shared<Device>> {
        let enrolment = "device_id = \"pi-1\"\n[nats]\nurl = \"tls://h:4222\"\n";
        let settings = Settings {
            identity: Identity {
                enrolment: toml::from_str(enrolment).unwrap(),
                seed: Seed::new("SUA"),
                ca: None,
                folder: "/nonexistent".into(),
            },
            tuning: Tuning::default(),
            runtime: "/nonexistent".into(),
        };
        Rc::new(Shared::new(world.device(), settings, Faults::None))
    }

    fn questions(world: &World) -> usize {
        let calls = world.calls();
        calls
            .iter()
            .filter(|call| call.starts_with("facts.identity"))
            .count()
    }

    async fn for_minutes(minutes: u64, keeping: &mut std::pin::Pin<Box<impl Future<Output = ()>>>) {
        let lasted = timeout(Duration::from_mins(minutes), keeping).await;
        assert!(lasted.is_err(), "it never ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_podman_that_fails_in_other_words_each_time_is_asked_seldom_and_heard_when_it_is_back() {
        let world = World::new();
        let shared = shared(&world);
        world.podman_problem(Some("podman is broken"));
        let mut keeping = Box::pin(keep(Rc::clone(&shared)));
        for_minutes(8, &mut keeping).await;
        assert_eq!(questions(&world), 4, "at once, after 1, 3 and 7 minutes");
        let causes = shared.health.causes();
        assert!(causes[0].detail.contains("podman is broken (4)"), "{causes:?}");
        shared.health.wrong(Cause::new("disk-full", "x"));
        for_minutes(1, &mut keeping).await;
        assert_eq!(
            questions(&world),
            4,
            "another's trouble is told without a question"
        );
        let told = String::from_utf8(shared.outbox.wanted_info().unwrap().to_vec()).unwrap();
        assert!(told.contains("disk-full"), "{told}");
        world.podman_problem(None);
        for_minutes(10, &mut keeping).await;
        assert_eq!(shared.health.causes().len(), 1, "podman is back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_is_well_is_not_asked_on_a_timer() {
        let world = World::new();
        let shared = shared(&world);
        let mut keeping = Box::pin(keep(Rc::clone(&shared)));
        for_minutes(600, &mut keeping).await;
        assert_eq!(questions(&world), 1);
        world.podman_problem(Some("gone"));
        shared.health.wrong(Cause::new("disk-full", "x"));
        for_minutes(1, &mut keeping).await;
        assert!(
            shared
                .health
                .causes()
                .iter()
                .any(|cause| cause.kind == PODMAN_SILENT)
        );
    }
}
