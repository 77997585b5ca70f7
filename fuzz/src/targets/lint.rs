//! A script or SQL of an init container: whatever it is, the lint says where in it something is, by a rule that there is.

use fleet_control_plane::deploy::lint::{MAX_WARNINGS, RULES, lint};
use fleet_protocol::score::PodmanV0Score;
use serde_json::json;

pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lines = text.lines().count() + 1;
    for args in [
        json!(["sh", "-ec", text]),
        json!(["psql", "-c", text]),
        json!(["mysql", "-e", text]),
        json!(["sqlite3", "/data/db", text]),
        json!(text.split_whitespace().collect::<Vec<_>>()),
    ] {
        let score: PodmanV0Score = serde_json::from_value(json!({
            "image": "r.example/app:1",
            "init_containers": [{
                "name": "prepare",
                "image": "r.example/tools:1",
                "args": args,
                "env": [{ "name": "TEXT", "value": text }],
                "volumes": [{ "source": { "volume": { "name": "app" } }, "path": "/data" }],
            }],
        }))
        .expect("a score");
        let warnings = lint(&score);
        assert!(warnings.len() <= MAX_WARNINGS);
        for warning in warnings {
            assert!(RULES.iter().any(|rule| rule.name == warning.rule), "{warning:?}");
            assert!((1..=lines).contains(&warning.line), "{warning:?} of {lines}");
            assert!(warning.path.starts_with("init_containers[0]."), "{warning:?}");
            assert!(!warning.found.chars().any(char::is_control), "{warning:?}");
        }
    }
}
