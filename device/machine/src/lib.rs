//! The pure state machines of a device.
//!
//! A machine is one function: `step(&State, Event) -> Result<(State, Vec<Effect>), IllegalEvent>`. It does
//! no I/O, reads no clock, draws no random number and never panics; times and jitter come in with the
//! event. Its caller records the new state, runs the effects, and feeds their outcomes back as events, so
//! that whatever is interrupted is resumed from the record and the facts.
//!
//! - [`clock`]: whether the device's clock is right; no machine but one judgement at a time.
//! - [`deployment`]: one deployment on one device, from "asked for" to "running", and away again.

pub mod clock;
pub mod deployment;
