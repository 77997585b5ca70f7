//! The line that `demo --check` ends on.

use serde::{Serialize, Serializer};

/// What was done and seen, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoLine {
    /// Whether all of it was as it should be.
    pub ok: bool,
    /// Seconds by the name of the stage, in the order in which they ran.
    #[serde(serialize_with = "in_order")]
    pub stages: Vec<(String, f64)>,
    /// The id of the virtual device.
    pub device: String,
    /// The phase that the deployment was last seen in; none when it was never seen.
    pub deployment_phase: Option<String>,
    /// The HTTP status that the container's page was answered with; none without an answer.
    pub page_status: Option<u16>,
}

impl DemoLine {
    /// A demo of which nothing was seen yet.
    pub fn new(device: &str) -> Self {
        Self {
            ok: false,
            stages: Vec::new(),
            device: device.to_owned(),
            deployment_phase: None,
            page_status: None,
        }
    }

    /// Notes how long a stage took.
    pub fn took(&mut self, stage: &str, seconds: f64) {
        let rounded = (seconds * 1000.0).round() / 1000.0;
        self.stages.push((stage.to_owned(), rounded));
    }

    /// Judges it, once every stage went well: the deployment must run, and its page must have been served.
    #[must_use]
    pub fn judged(mut self, every_stage_went_well: bool) -> Self {
        let runs = self.deployment_phase.as_deref() == Some("Running");
        self.ok = every_stage_went_well && runs && self.page_status == Some(200);
        self
    }
}

/// A JSON object keeps no order by itself; a person who reads the line is glad of it.
fn in_order<S: Serializer>(stages: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stages.iter().map(|(name, seconds)| (name, seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(phase: &str, page_status: Option<u16>) -> DemoLine {
        DemoLine {
            deployment_phase: Some(phase.to_owned()),
            page_status,
            ..DemoLine::new("demo-1")
        }
    }

    #[test]
    fn a_demo_without_its_page_or_its_phase_is_not_ok() {
        assert!(seen("Running", Some(200)).judged(true).ok);
        assert!(!seen("Running", Some(502)).judged(true).ok);
        assert!(!seen("Running", None).judged(true).ok);
        assert!(!seen("Failed", Some(200)).judged(true).ok);
    }

    #[test]
    fn a_demo_with_a_failed_stage_is_not_ok() {
        assert!(!seen("Running", Some(200)).judged(false).ok);
    }

    #[test]
    fn stages_keep_their_order() {
        let mut line = DemoLine::new("demo-1");
        line.took("setup", 1.000_4);
        line.took("boot", 2.0);
        let text = serde_json::to_string(&line).expect("a line is plain data");
        assert!(text.contains(r#""stages":{"setup":1.0,"boot":2.0}"#), "{text}");
    }
}
