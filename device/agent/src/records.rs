//! Records that the disk refused: told as a matter of health until the last of them is on it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use fleet_host::{Changed, Host, Ledger, LedgerError, Shelf};
use fleet_protocol::DeploymentName;

use crate::health::{Health, RECORDS_NOT_WRITTEN};
use crate::words::chain;

/// Records that are not on the disk as they ought to be.
#[derive(Default)]
pub(crate) struct Unwritten(RefCell<BTreeSet<(Shelf, DeploymentName)>>);

impl Unwritten {
    /// Notes how it went with a record, and tells; whether it is on the disk as it ought to be.
    pub(crate) fn judge(
        &self,
        health: &Health,
        shelf: Shelf,
        name: &DeploymentName,
        outcome: Result<Changed, LedgerError>,
    ) -> bool {
        let subject = format!("{}/{name}", shelf.folder());
        let key = (shelf, name.clone());
        match outcome {
            Ok(_) => {
                if self.0.borrow_mut().remove(&key) {
                    health.right_for(&RECORDS_NOT_WRITTEN, &subject);
                }
                true
            }
            Err(error) => {
                self.0.borrow_mut().insert(key);
                health.wrong_for(&RECORDS_NOT_WRITTEN, &subject, chain(&error));
                false
            }
        }
    }

    /// Whose records they are.
    pub(crate) fn deployments(&self) -> BTreeSet<DeploymentName> {
        self.0.borrow().iter().map(|(_, name)| name.clone()).collect()
    }

    /// Removes what is on record of a deployment. The state last: with it alone the removal is repeated, with
    /// the other alone it would be undone.
    pub(crate) async fn forget(&self, host: &impl Host, health: &Health, name: &DeploymentName) {
        for shelf in [Shelf::Desired, Shelf::Progress] {
            let removed = host.ledger().remove(shelf, name).await;
            if !self.judge(health, shelf, name, removed) {
                return;
            }
        }
    }
}
