//! The keys of the site, kept in the cache so that a prepared device fits the next run.

use std::fs;
use std::path::Path;

use fleet_testbed::ca::ServerFiles;
use fleet_testbed::files::write_atomically;
use fleet_testbed::nats::UserKey;

use super::SiteError;
use crate::error::Fault;
use crate::folders;
use crate::image::lock;

/// One key for each party, and the server's certificate.
#[derive(Debug, Clone)]
pub struct SiteKeys {
    /// The virtual device.
    pub device: UserKey,
    /// `fleet-operator`.
    pub operator: UserKey,
    /// The test itself: it may do everything.
    pub tester: UserKey,
    /// The certificate of nats-server, and the CA that the device trusts.
    pub tls: ServerFiles,
}

impl SiteKeys {
    /// The keys of an earlier run, else new ones.
    pub fn kept() -> Result<Self, SiteError> {
        let folder = folders::in_cache("site").map_err(SiteError::Keys)?;
        let _lock = lock(&folder.join("lock")).map_err(SiteError::Keys)?;
        Ok(Self {
            device: kept_key(&folder.join("device.nk"))?,
            operator: kept_key(&folder.join("operator.nk"))?,
            tester: kept_key(&folder.join("tester.nk"))?,
            tls: ServerFiles::kept_in(&folder)?,
        })
    }

    /// The file with the operator's credential.
    pub fn operator_credential(&self) -> Result<std::path::PathBuf, SiteError> {
        Ok(folders::in_cache("site")
            .map_err(SiteError::Keys)?
            .join("operator.nk"))
    }
}

fn kept_key(path: &Path) -> Result<UserKey, SiteError> {
    if let Ok(seed) = fs::read_to_string(path) {
        return Ok(UserKey::from_seed(seed.trim())?);
    }
    let key = UserKey::generate()?;
    write_atomically(path, 0o600, key.seed().as_bytes())
        .map_err(|source| SiteError::Keys(Fault::file("write", path)(source)))?;
    Ok(key)
}
