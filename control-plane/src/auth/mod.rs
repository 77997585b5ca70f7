//! Who somebody is, and what they may do.
//!
//! - [`roles`]: the roles in a token's claims, by one function for whoever asks
//! - [`keys`]: the keys that a provider signs with
//! - [`token`]: a token, judged by them; every refusal says why
//!
//! Everything here is pure: keys, time and tokens come in, a verdict comes out.

pub mod keys;
mod ring;
pub mod roles;
pub mod token;
