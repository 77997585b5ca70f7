//! What a deployment's task waits for beside its channels: work that may be absent, times that may not be set.

use std::future::pending;
use std::pin::Pin;

use fleet_machine::deployment::Fact;
use tokio::time::{Instant, sleep_until};

/// Work under way, and the fact that comes of it.
pub(super) type Work = Pin<Box<dyn Future<Output = Option<Fact>>>>;

/// The outcome of a slot's work; an empty slot has none.
pub(super) async fn slot(slot: &mut Option<Work>) -> Option<Fact> {
    let Some(work) = slot else { return pending().await };
    let fact = work.await;
    *slot = None;
    fact
}

/// Ready at the time; never without one.
pub(super) async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
