//! Who somebody is, and what they may do.
//!
//! - [`roles`]: the roles in a token's claims, by one function for whoever asks

pub mod roles;
