//! The resident agent of a device: it makes the device run what the control plane asks for, says how far
//! it is, and needs neither network nor control plane to keep running what it was last asked.
//!
//! Entry point: [`Agent::run`]. Everything runs on one thread, in a `LocalSet`:
//!
//! | task | waits for | tells |
//! | --- | --- | --- |
//! | dispatcher (`dispatch`) | news from the session, changed units, timers, signals | the deployment tasks |
//! | one per deployment (`deployment::task`) | its inbox, its pull, its unit's work, its two timers | the outbox |
//! | session (`session`) | the network | the dispatcher (news), and NATS what the outbox wants |
//! | status (`status`) | changes of link, outbox and health | a file in the runtime folder |
//! | device-info (`info`) | changes of health | the outbox |
//!
//! A deployment task is the only writer of its records; it records a phase before it acts on it. The outbox holds
//! what each key *ought* to be, so a session that comes back, even to an empty store, just makes it so.
//!
//! **What deletes.** A deployment is removed when its key is deleted or purged, or when a complete snapshot
//! lacks its key *and* the store is the very one in which that key was seen: the stream's creation
//! time is the recorded one and its last sequence has not fallen behind. An empty, a new or a restored
//! store deletes nothing; the device goes on and writes its own keys again.
//!
//! What the agent does not do: touch anything that needs root, its own binary, or containers that are not its own.

mod agent;
mod dispatch;
mod health;
mod images;
mod info;
mod orphans;
mod outbox;
mod random;
mod records;
mod session;
mod shared;
mod words;

pub mod cli;
pub mod clock;
pub mod deployment;
pub mod fault;
pub mod journal;
pub mod settings;
pub mod status;

pub use agent::Agent;
pub use session::LinkState;

/// Version of this agent, as `--version` and `device-info` say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
