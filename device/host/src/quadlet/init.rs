//! Init containers: a unit each, so that systemd keeps the order at every boot, without the agent.
//!
//! - `Type=oneshot` without `RemainAfterExit=`: it is over when its container is, and each start of the main unit, which
//!   requires it, runs it again.
//! - `RestartMode=direct`: between two tries it never reads "failed", so that the main unit goes on waiting instead of
//!   failing by dependency; nobody would start that one again on a device without its agent.
//! - Among each other they are only ordered (`After=`): a next try of one does not run those before it again, which
//!   `Requires=` would do. The main unit, which requires them all, brings them all into each start.
//! - `PartOf=` the main unit: who stops that one stops the tries too.
//! - `TimeoutStartSec=` is the container's time; then systemd ends it, and the try counts as failed.
//! - podman stays in the foreground, attached to nothing: its exit status is the container's, and each line is in the log once.

use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{InitContainer, PodmanV0Score};

use super::container::{Common, seconds};
use super::{Digests, QuadletError, RenderedInit, RenderedUnit, Text, service};
use crate::names::{UnitFileName, UnitName, init_container_name};

/// Time to end by itself for one that ran too long, before it is killed.
const STOP_SIGNAL_TO_KILL: Duration = Duration::from_secs(5);
/// Until systemd itself kills what podman could not end. It bounds podman's removal of a container that ended well, too, and
/// one that is cut short makes a failure of it: with 10 s a busy device ran such an init container twice.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What systemd and podman take beside the container itself, on a slow card.
const AROUND: Duration = Duration::from_secs(60);

/// How long a start of the main unit may wait for them all: each may use up its time once.
pub(super) fn all_within(inits: &[InitContainer]) -> Duration {
    let each = inits
        .iter()
        .map(|init| init.timeout.duration().saturating_add(AROUND));
    each.fold(Duration::ZERO, Duration::saturating_add)
}

/// The files of all, in the order in which they run.
pub(super) fn render_all(
    deployment: &DeploymentName,
    score: &PodmanV0Score,
    digests: &Digests,
) -> Result<Vec<RenderedInit>, QuadletError> {
    let mut done: Vec<RenderedInit> = Vec::new();
    for (i, init) in score.init_containers.iter().enumerate() {
        let before = done.last().map(|init| init.of.unit.clone());
        let at = format!("init_containers[{i}].");
        let common = Common {
            deployment,
            at: &at,
            image: &init.image,
            args: &init.args,
            env: &init.env,
            volumes: &init.volumes,
            network: score.network,
        };
        done.push(render(init, &common, before.as_ref(), digests)?);
    }
    Ok(done)
}

fn render(
    init: &InitContainer,
    common: &Common<'_>,
    before: Option<&UnitName>,
    digests: &Digests,
) -> Result<RenderedInit, QuadletError> {
    let (deployment, name) = (common.deployment, &init.name);
    let container = init_container_name(deployment, name);
    let mut text = Text::default();
    service::unit(
        &mut text,
        format_args!("Init container {name} of fleet deployment {deployment}"),
    );
    text.set("PartOf", UnitName::of(deployment)?);
    if let Some(before) = before {
        text.set("After", before);
    }
    service::quadlet(&mut text);
    common.program(&mut text, &container, digests)?;
    common.environment(&mut text)?;
    text.set("StopTimeout", seconds(STOP_SIGNAL_TO_KILL));
    common.network(&mut text);
    common.volumes(&mut text)?;
    text.set("PodmanArgs", "--attach=stdin");
    section(&mut text, &container, init.timeout.duration());
    Ok(RenderedInit {
        name: name.clone(),
        timeout: init.timeout.duration(),
        of: RenderedUnit {
            file: UnitFileName::init(deployment, name)?,
            unit: UnitName::init(deployment, name)?,
            text: text.0,
        },
    })
}

/// Starts it, and waits until it ended well.
pub(super) fn needs(text: &mut Text, init: &UnitName) {
    text.set("Requires", init);
    text.set("After", init);
}

fn section(text: &mut Text, container: &str, timeout: Duration) {
    text.section("Service");
    text.set("Type", "oneshot");
    text.set("Restart", "on-failure");
    text.set("RestartMode", "direct");
    service::back_off(text);
    text.set("TimeoutStartSec", seconds(timeout));
    text.set("TimeoutStopSec", seconds(STOP_WITHIN));
    // Of a container whose processes systemd had to kill podman's first removal fails ("conmon exited prematurely"), and finds
    // out thereby that it has ended: Quadlet's own, which comes after this one, then removes it.
    let again = format!("/usr/bin/podman rm --force --volumes --ignore {container}");
    let only_then = format!("-/bin/sh -c '[ \"$$SERVICE_RESULT\" != timeout ] || exec {again}'");
    text.set("ExecStopPost", only_then);
}
