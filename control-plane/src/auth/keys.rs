//! The keys that a provider signs with (a JWK set, RFC 7517).

use std::collections::BTreeMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Largest set, in bytes.
pub const MAX_SET_BYTES: usize = 64 * 1024;
/// Most keys in a set: a provider that rotates has two or three.
pub const MAX_KEYS: usize = 32;

/// The public keys of a provider, by their ids.
#[derive(Clone, Default)]
pub struct KeySet(BTreeMap<String, Key>);

/// One of them.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    /// The only algorithm that it is for, where the provider says so.
    pub(super) algorithm: Option<String>,
}

/// Why bytes are no key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Too many bytes.
    #[error("the key set has {0} bytes: {MAX_SET_BYTES} at most")]
    TooLarge(usize),
    /// Too many keys.
    #[error("the key set has {0} keys: {MAX_KEYS} at most")]
    TooMany(usize),
    /// No JSON of the right form.
    #[error("it is no key set (RFC 7517)")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys that cannot verify a token are left out: those for encryption, shared secrets, those without an id, and those
    /// of kinds that are not known here; a provider may have any of them beside the others.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_SET_BYTES {
            return Err(KeySetError::TooLarge(bytes.len()));
        }
        let set: Set = serde_json::from_slice(bytes)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(set.keys.len()));
        }
        let usable = set.keys.into_iter().filter_map(usable);
        Ok(Self(usable.collect()))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }

    /// Ids of the keys, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn usable(value: Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let id = jwk.common.key_id.clone()?;
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let known_curve = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => true,
        AlgorithmParameters::EllipticCurve(key) => {
            matches!(key.curve, EllipticCurve::P256 | EllipticCurve::P384)
        }
        AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
        // Shared secrets, and what is not known here.
        _ => false,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let usable = for_signatures && known_curve && key.family() != AlgorithmFamily::Hmac;
    let algorithm = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    usable.then_some((id, Key { key, algorithm }))
}
