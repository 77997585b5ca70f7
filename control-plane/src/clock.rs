//! The clock as an input: one place reads the machine's, tests set their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

/// Where the time comes from. Clones are the same clock.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until it is moved.
    #[must_use]
    pub fn standing_at(time: DateTime<Utc>) -> Self {
        Self(Kind::Set(Arc::new(AtomicI64::new(time.timestamp_millis()))))
    }

    /// Moves a standing clock; the machine's is left alone.
    pub fn forward(&self, by: TimeDelta) {
        if let Kind::Set(millis) = &self.0 {
            millis.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        }
    }

    /// The time.
    #[must_use]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the boundary at which the control plane reads the clock"
    )]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Kind::System => Utc::now(),
            Kind::Set(millis) => {
                DateTime::from_timestamp_millis(millis.load(Ordering::SeqCst)).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
