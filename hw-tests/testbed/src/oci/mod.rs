//! Container images built in memory: the same input gives the same bytes, and so the same digest.

mod image;
mod layer;
pub mod push;

use std::fmt;

pub use image::{Blob, HealthCheck, Image, ImageSpec};
pub use layer::Layer;

/// `sha256:<64 hexadecimal digits>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", crate::files::sha256_hex(bytes)))
    }

    /// The whole text, with its `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
