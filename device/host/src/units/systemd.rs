//! `systemd --user` over the session bus.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Started, UnitFacts, Units, UnitsError};
use crate::names::UnitName;

/// `systemd --user` over the session bus.
#[derive(Debug)]
pub struct UserUnits {
    address: String,
}

impl UserUnits {
    /// Connects at the first call.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
        }
    }
    fn gone<T>(&self) -> Result<T, UnitsError> {
        Err(UnitsError::NoBus {
            address: self.address.clone(),
            source: "not connected".into(),
        })
    }
}

impl Units for UserUnits {
    async fn reload(&self) -> Result<(), UnitsError> {
        self.gone()
    }
    async fn start(&self, _: &UnitName, _: Duration) -> Result<Started, UnitsError> {
        self.gone()
    }
    async fn stop(&self, _: &UnitName, _: Duration) -> Result<(), UnitsError> {
        self.gone()
    }
    async fn restart(&self, _: &UnitName, _: Duration) -> Result<Started, UnitsError> {
        self.gone()
    }
    async fn reset_failed(&self, _: &UnitName) -> Result<(), UnitsError> {
        self.gone()
    }
    async fn facts(&self, _: &UnitName) -> Result<UnitFacts, UnitsError> {
        self.gone()
    }
    async fn watch(&self, _: BTreeSet<UnitName>) -> Result<(), UnitsError> {
        self.gone()
    }
    async fn changed(&self) -> BTreeSet<UnitName> {
        std::future::pending().await
    }
}
