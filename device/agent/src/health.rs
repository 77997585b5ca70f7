//! What is wrong with the device itself: each kind once, told in `device-info`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fleet_protocol::{Cause, cause};
use tokio::sync::watch;

/// Most subjects of a trouble that are told; the rest is counted.
const TOLD: usize = 4;
/// Longest that is told of one subject, in bytes, so that the advice behind it is never cut.
const MAX_PROBLEM: usize = 180;

/// A trouble that several subjects can have at once: it is one cause, and over when the last of them is well.
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: &'static str,
    /// What to do.
    advice: &'static str,
}

/// The disk refuses records of the agent. The subject is the record.
pub(crate) const RECORDS_NOT_WRITTEN: Trouble = Trouble {
    kind: "records-not-written",
    advice: "free space on the device, or replace its card; it is tried again by itself",
};
/// A record was damaged. The subject is the deployment.
pub(crate) const RECORD_DAMAGED: Trouble = Trouble {
    kind: "record-damaged",
    advice: "apply the deployment again if it does not come back by itself; if this happens again, replace the card",
};
/// The record of which volumes to keep is lost. The subject is the deployment.
pub(crate) const VOLUMES_UNKNOWN: Trouble = Trouble {
    kind: "volumes-unknown",
    advice: "no volume of it is removed with it; before you delete it, save what you need of its volumes, then remove them on the device with podman volume rm",
};

impl Trouble {
    /// The trouble as a cause.
    pub(crate) fn cause(&self, problem: &str) -> Cause {
        Cause::new(self.kind, format!("{problem}; {}", self.advice))
    }
}

/// What is wrong with the device itself.
pub(crate) struct Health {
    causes: watch::Sender<BTreeMap<String, Cause>>,
    subjects: RefCell<BTreeMap<(&'static str, String), String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            causes: watch::Sender::new(BTreeMap::new()),
            subjects: RefCell::default(),
        }
    }
}

impl Health {
    pub(crate) fn wrong(&self, cause: Cause) {
        self.causes.send_if_modified(|causes| {
            if causes.get(&cause.kind) == Some(&cause) {
                return false;
            }
            tracing::warn!("the device is not well: {cause}");
            causes.insert(cause.kind.clone(), cause);
            true
        });
    }

    pub(crate) fn right(&self, kind: &str) {
        self.causes.send_if_modified(|causes| {
            let gone = causes.remove(kind).is_some();
            if gone {
                tracing::info!("the device recovered from {kind}");
            }
            gone
        });
    }

    /// `problem` says what is wrong with the subject, without advice.
    pub(crate) fn wrong_for(&self, trouble: &Trouble, subject: &str, problem: impl Into<String>) {
        let problem = cause::shorten(problem.into(), MAX_PROBLEM);
        let key = (trouble.kind, subject.to_owned());
        self.subjects.borrow_mut().insert(key, problem);
        self.tell(trouble);
    }

    pub(crate) fn right_for(&self, trouble: &Trouble, subject: &str) {
        let key = (trouble.kind, subject.to_owned());
        if self.subjects.borrow_mut().remove(&key).is_some() {
            self.tell(trouble);
        }
    }

    fn tell(&self, trouble: &Trouble) {
        let subjects = self.subjects.borrow();
        let of_kind = || subjects.iter().filter(|((kind, _), _)| *kind == trouble.kind);
        let told: Vec<&str> = of_kind()
            .take(TOLD)
            .map(|(_, problem)| problem.as_str())
            .collect();
        if told.is_empty() {
            return self.right(trouble.kind);
        }
        let more = match of_kind().count() - told.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        self.wrong(trouble.cause(&format!("{}{more}", told.join("; "))));
    }

    /// Sorted by kind.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        self.causes.borrow().values().cloned().collect()
    }

    /// The changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.causes.subscribe())
    }
}

/// Changes that one reader has not seen. Each reader has its own, and none is lost.
pub(crate) struct Changes(watch::Receiver<BTreeMap<String, Cause>>);

impl Changes {
    /// Waits for the next change. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could change anything.
            std::future::pending::<()>().await;
        }
    }

    /// What changed so far is of no interest.
    pub(crate) fn skip(&mut self) {
        self.0.mark_unchanged();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_trouble_is_over_when_the_last_of_its_subjects_is_well() {
        let health = Health::default();
        health.wrong_for(&RECORDS_NOT_WRITTEN, "desired/a", "cannot write a");
        health.wrong_for(&RECORDS_NOT_WRITTEN, "ledger/b", "cannot write b");
        health.right_for(&RECORDS_NOT_WRITTEN, "ledger/b");
        health.right_for(&RECORDS_NOT_WRITTEN, "ledger/other");
        let detail = health.causes()[0].detail.clone();
        assert!(detail.starts_with("cannot write a; free space"), "{detail}");
        health.right_for(&RECORDS_NOT_WRITTEN, "desired/a");
        assert_eq!(health.causes(), []);
    }

    #[test]
    fn many_long_problems_leave_room_for_the_advice() {
        let health = Health::default();
        for n in 0..50 {
            health.wrong_for(&VOLUMES_UNKNOWN, &format!("web-{n}"), "é".repeat(500));
        }
        let detail = health.causes()[0].detail.clone();
        assert!(
            detail.contains("and 46 more") && detail.ends_with("podman volume rm"),
            "{detail}"
        );
    }

    #[test]
    fn every_reader_sees_every_change_even_one_from_before_it_waited() {
        let health = Health::default();
        let (mut one, mut other) = (health.changes(), health.changes());
        health.wrong(Cause::new("a", "b"));
        assert!(one.next().now_or_never().is_some() && other.next().now_or_never().is_some());
        health.wrong(Cause::new("a", "b"));
        assert!(one.next().now_or_never().is_none(), "the same again is no change");
        health.right("a");
        one.skip();
        assert!(one.next().now_or_never().is_none() && other.next().now_or_never().is_some());
    }
}
