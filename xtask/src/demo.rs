//! The line that `demo --check` ends on.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::stages::Stages;

/// What was done and seen, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoLine {
    /// Whether all of it was as it should be.
    pub ok: bool,
    /// Seconds by the name of the stage, in the order in which they ran.
    pub stages: Map<String, Value>,
    /// The id of the virtual device.
    pub device: String,
    /// The phase that the deployment was last seen in; none when it was never seen.
    pub deployment_phase: Option<String>,
    /// The HTTP status that the container's page was answered with; none without an answer.
    pub page_status: Option<u16>,
}

impl DemoLine {
    /// The stages with what was seen. A demo is good when every stage was and the page was served.
    pub fn new(
        stages: &Stages,
        device: &str,
        deployment_phase: Option<String>,
        page_status: Option<u16>,
    ) -> Self {
        let seconds = |stage: &crate::stages::Stage| {
            (
                stage.name.clone(),
                Value::from((stage.took.as_secs_f64() * 1000.0).round() / 1000.0),
            )
        };
        Self {
            ok: stages.ok() && page_status == Some(200),
            stages: stages.list().iter().map(seconds).collect(),
            device: device.to_owned(),
            deployment_phase,
            page_status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_without_its_page_is_not_ok() {
        let mut stages = Stages::default();
        stages.run("boot", || Ok(())).expect("not interrupted");
        assert!(DemoLine::new(&stages, "demo-1", Some("Running".into()), Some(200)).ok);
        assert!(!DemoLine::new(&stages, "demo-1", Some("Running".into()), Some(502)).ok);
        assert!(!DemoLine::new(&stages, "demo-1", None, None).ok);
    }

    #[test]
    fn a_demo_with_a_failed_stage_is_not_ok() {
        let mut stages = Stages::default();
        stages
            .run("boot", || anyhow::bail!("no login"))
            .expect("not interrupted");
        let line = DemoLine::new(&stages, "demo-1", Some("Running".into()), Some(200));
        assert!(!line.ok && line.stages.contains_key("boot"));
    }
}
