//! The fakes of what is on disk.

use std::io;
use std::path::PathBuf;

use fleet_protocol::DeploymentName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::world::{Denied, World};
use crate::Changed;
use crate::ledger::{self, Ledger, LedgerError, Reading, Shelf};
use crate::names::UnitFileName;
use crate::unit_files::{UnitFiles, UnitFilesError};

/// The fake of [`crate::QuadletDir`].
#[derive(Debug, Clone)]
pub struct QuadletDir(World);

impl QuadletDir {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }
}

impl UnitFiles for QuadletDir {
    async fn list(&self) -> Result<Vec<UnitFileName>, UnitFilesError> {
        self.0
            .call("unit-files.list", "")
            .map_err(|denied| UnitFilesError::List {
                path: PathBuf::from("/fake"),
                source: denied.into(),
            })?;
        Ok(self.0.state.borrow().files.keys().cloned().collect())
    }

    async fn read(&self, name: &UnitFileName) -> Result<Option<String>, UnitFilesError> {
        self.0
            .call("unit-files.read", name.as_str())
            .map_err(|denied| UnitFilesError::Read {
                path: name.as_str().into(),
                source: denied.into(),
            })?;
        Ok(self.0.file(name))
    }

    async fn write(&self, name: &UnitFileName, text: &str) -> Result<Changed, UnitFilesError> {
        let failed = |denied: Denied| UnitFilesError::Write {
            path: name.as_str().into(),
            source: denied.into(),
        };
        self.0.call("unit-files.write", name.as_str()).map_err(failed)?;
        if self.0.file(name).as_deref() == Some(text) {
            return Ok(Changed::Unchanged);
        }
        self.0.write().map_err(failed)?;
        self.0
            .state
            .borrow_mut()
            .files
            .insert(name.clone(), text.to_owned());
        Ok(Changed::Changed)
    }

    async fn remove(&self, name: &UnitFileName) -> Result<Changed, UnitFilesError> {
        let failed = |denied: Denied| UnitFilesError::Remove {
            path: name.as_str().into(),
            source: denied.into(),
        };
        self.0.call("unit-files.remove", name.as_str()).map_err(failed)?;
        if self.0.file(name).is_none() {
            return Ok(Changed::Unchanged);
        }
        self.0.write().map_err(failed)?;
        self.0.state.borrow_mut().files.remove(name);
        Ok(Changed::Changed)
    }
}

/// The fake of [`crate::FileLedger`].
#[derive(Debug, Clone)]
pub struct FileLedger(World);

impl FileLedger {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }
}

fn failed(operation: &'static str, deployment: &str) -> impl Fn(Denied) -> LedgerError {
    let path = PathBuf::from(deployment);
    move |denied| LedgerError::Disk {
        operation,
        path: path.clone(),
        source: io::Error::from(denied),
    }
}

impl Ledger for FileLedger {
    async fn list(&self, shelf: Shelf) -> Result<Vec<DeploymentName>, LedgerError> {
        self.0
            .call("ledger.list", shelf.folder())
            .map_err(failed("list", shelf.folder()))?;
        let state = self.0.state.borrow();
        Ok(state
            .records
            .keys()
            .filter(|(on, _)| *on == shelf)
            .map(|(_, name)| name.clone())
            .collect())
    }

    async fn damaged(&self) -> Result<Vec<DeploymentName>, LedgerError> {
        self.0.call("ledger.damaged", "").map_err(failed("list", ""))?;
        let state = self.0.state.borrow();
        let names: std::collections::BTreeSet<_> = state.aside.iter().map(|(_, name)| name.clone()).collect();
        Ok(names.into_iter().collect())
    }

    async fn read<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Reading<T>, LedgerError> {
        self.0
            .call("ledger.read", deployment.as_str())
            .map_err(failed("read", deployment.as_str()))?;
        let Some(bytes) = self.0.record(shelf, deployment) else {
            return Ok(Reading::Absent);
        };
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Reading::Found(record)),
            Err(error) => {
                let mut state = self.0.state.borrow_mut();
                state.records.remove(&(shelf, deployment.clone()));
                state.aside.insert((shelf, deployment.clone()));
                let moved_to = PathBuf::from(format!("{deployment}.json.corrupt"));
                Ok(Reading::Corrupt {
                    moved_to,
                    problem: error.to_string(),
                })
            }
        }
    }

    async fn peek<T: DeserializeOwned>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
    ) -> Result<Option<T>, LedgerError> {
        self.0
            .call("ledger.peek", deployment.as_str())
            .map_err(failed("read", deployment.as_str()))?;
        let bytes = self.0.record(shelf, deployment);
        let record = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        record.map_err(|source| LedgerError::Damaged {
            path: PathBuf::from(format!("{deployment}.json")),
            source,
        })
    }

    async fn write<T: Serialize>(
        &self,
        shelf: Shelf,
        deployment: &DeploymentName,
        record: &T,
    ) -> Result<Changed, LedgerError> {
        let failed = failed("write", deployment.as_str());
        self.0
            .call("ledger.write", deployment.as_str())
            .map_err(&failed)?;
        self.0.takes_records(deployment).map_err(&failed)?;
        let bytes = ledger::encode(deployment, record)?;
        if self.0.record(shelf, deployment).as_ref() == Some(&bytes) {
            return Ok(Changed::Unchanged);
        }
        self.0.write().map_err(&failed)?;
        self.0
            .state
            .borrow_mut()
            .records
            .insert((shelf, deployment.clone()), bytes);
        Ok(Changed::Changed)
    }

    async fn remove(&self, shelf: Shelf, deployment: &DeploymentName) -> Result<Changed, LedgerError> {
        let failed = failed("remove", deployment.as_str());
        self.0
            .call("ledger.remove", deployment.as_str())
            .map_err(&failed)?;
        self.0.takes_records(deployment).map_err(&failed)?;
        let key = (shelf, deployment.clone());
        let there = self.0.record(shelf, deployment).is_some();
        if there {
            self.0.write().map_err(&failed)?;
        }
        let mut state = self.0.state.borrow_mut();
        state.records.remove(&key);
        state.aside.remove(&key);
        Ok(if there {
            Changed::Changed
        } else {
            Changed::Unchanged
        })
    }
}
