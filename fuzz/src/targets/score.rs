//! A score that a device would run: whatever its fields hold, the unit file has the lines that we wrote and no others.

use fleet_host::quadlet::{Digests, RenderedUnit, render};
use fleet_protocol::{DeploymentName, PodmanV0Score};

const SECTIONS: [&str; 5] = ["[Unit]", "[Quadlet]", "[Container]", "[Service]", "[Install]"];

pub(super) fn run(bytes: &[u8]) {
    let Ok(score) = serde_json::from_slice::<PodmanV0Score>(bytes) else {
        return;
    };
    let name = DeploymentName::new("web").expect("it is a name");
    let Ok(rendered) = render(&name, &score, &Digests::new()) else {
        return;
    };
    assert!(score.problems().is_empty(), "a score with problems was rendered");
    check(&rendered.main, &SECTIONS);
    for init in &rendered.inits {
        // Nothing wants an init container but the main unit.
        check(&init.of, &SECTIONS[..SECTIONS.len() - 1]);
    }
    assert_eq!(render(&name, &score, &Digests::new()), Ok(rendered));
}

fn check(part: &RenderedUnit, expected: &[&str]) {
    let sections: Vec<&str> = part.text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(sections, expected, "{}", part.text);
    for line in part.text.lines() {
        let key = line.split_once('=').map(|(key, _)| key);
        let is_ours = line.is_empty()
            || line.starts_with(['[', '#'])
            || key.is_some_and(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert!(is_ours, "{line:?} in\n{}", part.text);
        assert!(!line.ends_with('\\'), "{line:?} would swallow the next line");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
}
