//! Users of a server, each known by the public half of an nkey.

use fleet_protocol::DeviceId;
use fleet_protocol::permissions::{self, Permissions};

use super::NatsError;

/// A user's nkey: the seed is the user's secret, the public key is what the server's configuration names.
#[derive(Debug, Clone)]
pub struct UserKey {
    seed: String,
    public_key: String,
}

impl UserKey {
    /// A new key.
    pub fn generate() -> Result<Self, NatsError> {
        let pair = nkeys::KeyPair::new_user();
        let seed = pair.seed().map_err(|source| NatsError::Key { source })?;
        Ok(Self {
            seed,
            public_key: pair.public_key(),
        })
    }

    /// The key of this seed.
    pub fn from_seed(seed: &str) -> Result<Self, NatsError> {
        let pair = nkeys::KeyPair::from_seed(seed).map_err(|source| NatsError::Key { source })?;
        Ok(Self {
            seed: seed.to_owned(),
            public_key: pair.public_key(),
        })
    }

    /// The secret (`SU…`), as it stands in a device's `fleet.toml`.
    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// The public key (`U…`).
    pub fn public_key(&self) -> &str {
        &self.public_key
    }
}

/// Who is admitted, and to what.
#[derive(Debug, Clone)]
pub struct NatsUser {
    public_key: String,
    permissions: Option<Permissions>,
}

impl NatsUser {
    /// A user that may do everything: for the test itself, never for a part that is tested.
    pub fn unrestricted(key: &UserKey) -> Self {
        Self {
            public_key: key.public_key.clone(),
            permissions: None,
        }
    }

    /// A user with just these permissions.
    pub fn restricted(key: &UserKey, permissions: Permissions) -> Self {
        Self {
            public_key: key.public_key.clone(),
            permissions: Some(permissions),
        }
    }

    /// A device's agent.
    pub fn device(key: &UserKey, device: &DeviceId) -> Self {
        Self::restricted(key, permissions::device(device))
    }

    /// The operator.
    pub fn operator(key: &UserKey) -> Self {
        Self::restricted(key, permissions::operator())
    }

    /// The public key.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    pub(super) fn permissions(&self) -> Option<&Permissions> {
        self.permissions.as_ref()
    }
}
