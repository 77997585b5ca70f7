//! What the benches deploy.

use fleet_protocol::{PodmanV0Score, Score};
use serde_json::json;

use crate::rig::Service;

/// The port that the sample application serves on.
pub(super) const WEB_PORT: u16 = 8080;

/// The sample web application; on [`WEB_PORT`] of the device if `reachable`.
pub(super) fn web(reachable: bool) -> Score {
    let ports = if reachable {
        json!([{ "host": WEB_PORT, "container": WEB_PORT }])
    } else {
        json!([])
    };
    let score = json!({
        "image": format!("{}/sample-web:1", Service::Registry.device_address()),
        "ports": ports,
    });
    let score: PodmanV0Score = serde_json::from_value(score).expect("the constant is a score");
    Score::PodmanV0(Box::new(score))
}

/// A deployment that says `line 1` to `line <lines>` and then nothing any more.
pub(super) fn talker(lines: u32) -> Score {
    let script = format!("for n in $(/bin/busybox seq {lines}); do echo line $n; done; exec sleep 1000000");
    crate::site::score("sample-shell:1", json!({ "args": ["-c", script] }))
}

/// A deployment that runs, does nothing, and takes as little of the device as a container can.
pub(super) fn bystander() -> Score {
    crate::site::score("sample-ignores-term:1", json!({ "network": "none" }))
}
