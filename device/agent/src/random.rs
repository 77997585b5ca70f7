//! Random numbers for jitter. The standard library seeds each hasher from the kernel, which is random
//! enough to spread retries and saves a crate.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A random number.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random number for the machine.
pub(crate) fn jitter() -> u16 {
    u16::try_from(number() & 0xffff).unwrap_or_default()
}

/// A random time up to `most`.
pub(crate) fn up_to(most: Duration) -> Duration {
    most.mul_f64(f64::from(jitter()) / f64::from(u16::MAX))
}
