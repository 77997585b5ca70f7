//! Unit files of deployments that nobody asks for, as somebody's restored backup or a lost record leaves them: they
//! start at each boot, and nothing else would ever tell of them.

use fleet_host::UnitFileName;
use fleet_protocol::Cause;

use crate::health::Health;

/// The cause's kind.
const KIND: &str = "unit-without-record";
/// Most files that are named; the rest is counted.
const NAMED: usize = 8;

/// What is wrong, if there are any.
pub(crate) fn cause(orphans: impl Iterator<Item = UnitFileName>) -> Option<Cause> {
    let all: Vec<UnitFileName> = orphans.collect();
    if all.is_empty() {
        return None;
    }
    let mut names = all[..all.len().min(NAMED)]
        .iter()
        .map(UnitFileName::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if all.len() > NAMED {
        names.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    let detail = format!(
        "{names}: on the device, but nobody asks for it and the agent has no record of who did; apply the deployment again, and delete it if it is not wanted, or stop its unit, remove the file and run systemctl --user daemon-reload"
    );
    Some(Cause::new(KIND, detail))
}

/// Tells of them, once for each change.
pub(crate) fn tell(health: &Health, orphans: impl Iterator<Item = UnitFileName>) {
    match cause(orphans) {
        Some(cause) => health.wrong(cause),
        None => health.right(KIND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize) -> impl Iterator<Item = UnitFileName> {
        (0..count).map(|n| UnitFileName::parse(&format!("fleet-x{n}.container")).unwrap())
    }

    #[test]
    fn some_are_named_and_the_rest_is_counted() {
        assert_eq!(cause(files(0)), None);
        let one = cause(files(1)).unwrap().detail;
        assert!(one.starts_with("fleet-x0.container: on the device"), "{one}");
        let many = cause(files(100)).unwrap().detail;
        assert!(many.contains("fleet-x7.container and 92 more"), "{many}");
        assert!(!many.contains("fleet-x8"), "{many}");
    }
}
