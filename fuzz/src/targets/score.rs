//! A score that a device would run: whatever its fields hold, the unit file has the lines that we wrote and no others.

use fleet_host::quadlet::render;
use fleet_protocol::{DeploymentName, PodmanV0Score};

const SECTIONS: [&str; 5] = ["[Unit]", "[Quadlet]", "[Container]", "[Service]", "[Install]"];

pub(super) fn run(bytes: &[u8]) {
    let Ok(score) = serde_json::from_slice::<PodmanV0Score>(bytes) else {
        return;
    };
    let name = DeploymentName::new("web").expect("it is a name");
    let Ok(rendered) = render(&name, &score, None) else {
        return;
    };
    assert!(score.problems().is_empty(), "a score with problems was rendered");
    let sections: Vec<&str> = rendered
        .text
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert_eq!(sections, SECTIONS, "{}", rendered.text);
    for line in rendered.text.lines() {
        let key = line.split_once('=').map(|(key, _)| key);
        let is_ours = line.is_empty()
            || line.starts_with(['[', '#'])
            || key.is_some_and(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert!(is_ours, "{line:?} in\n{}", rendered.text);
        assert!(!line.ends_with('\\'), "{line:?} would swallow the next line");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    assert_eq!(
        render(&name, &score, None).map(|again| again.text),
        Ok(rendered.text)
    );
}
