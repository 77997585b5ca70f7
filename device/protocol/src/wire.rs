//! Bytes to messages and back: one canonical encoding, limits before parsing, and errors that name the
//! field.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest value that any bucket takes, in bytes. Also set as the buckets' `max_value_size`, so the
/// server refuses what a reader would.
pub const MAX_VALUE_BYTES: usize = 128 * 1024;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_VALUE_BYTES`]: not even looked at.
    #[error("the value is {0} bytes: {MAX_VALUE_BYTES} at most")]
    TooLarge(usize),
    /// Not JSON, or not of the expected shape.
    #[error("the value does not parse")]
    Malformed(#[source] serde_json::Error),
    /// Written by a newer control plane or agent than this build knows.
    #[error("the value is of protocol version {found}: this build knows {known} at most, upgrade it")]
    Newer {
        /// The version found in the value.
        found: u32,
        /// The newest version this build reads.
        known: u32,
    },
}

impl DecodeError {
    /// The stable word for this error, for a [`crate::Cause`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "value-too-large",
            Self::Malformed(_) => "value-malformed",
            Self::Newer { .. } => "value-of-newer-version",
        }
    }

    /// The error and its source in one sentence.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(source) => format!("{self}: {source}"),
            Self::TooLarge(_) | Self::Newer { .. } => self.to_string(),
        }
    }
}

/// A message that says which protocol version wrote it.
pub trait Versioned {
    /// Protocol version of the writer.
    fn protocol(&self) -> u32;
}

/// Only the version, whatever else the message holds: read first, so that a newer message is called
/// newer and not malformed.
#[derive(serde::Deserialize)]
struct VersionOnly {
    #[serde(default)]
    protocol: u32,
}

/// The canonical bytes of a message: compact JSON, fields in declared order, maps sorted.
///
/// # Panics
/// Never for the types of this crate: they hold no map with keys that are not strings.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("wire types have string keys only")
}

/// Reads a message.
///
/// # Errors
/// [`DecodeError`] when it is too large, malformed, or of a newer protocol version.
pub fn decode<T: DeserializeOwned + Versioned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    let version: VersionOnly = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
    if version.protocol > crate::PROTOCOL_VERSION {
        return Err(DecodeError::Newer {
            found: version.protocol,
            known: crate::PROTOCOL_VERSION,
        });
    }
    serde_json::from_slice(bytes).map_err(DecodeError::Malformed)
}

/// Implements [`Versioned`] for messages with a `protocol` field.
macro_rules! versioned {
    ($($name:ty),+) => {$(
        impl $crate::wire::Versioned for $name {
            fn protocol(&self) -> u32 {
                self.protocol
            }
        }
    )+};
}
pub(crate) use versioned;
