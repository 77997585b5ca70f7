//! The time, as an input.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

/// Tells the time.
pub trait Clock {
    /// The wall clock. It can jump, and be wrong.
    fn now(&self) -> DateTime<Utc>;

    /// Time since boot that only rises (`CLOCK_MONOTONIC`); systemd's monotonic timestamps are of this clock.
    fn monotonic(&self) -> Duration;

    /// Waits until the wall clock has been set by a second or more, against what [`ahead_of`] gave; at once if it was set
    /// since then. One that is slewed into its place is not set. Costs nothing while it waits. Cancel-safe.
    ///
    /// # Errors
    /// The kernel has no timer to give.
    async fn was_set(&self, ahead: Duration) -> io::Result<()>;

    /// By how much the wall clock is ahead of the monotonic one, which changes only when it is set or disciplined.
    /// Before 1970 it is none.
    fn ahead(&self) -> Duration {
        ahead_of(self.now(), self.monotonic())
    }
}

/// See [`Clock::ahead`].
pub(crate) fn ahead_of(now: DateTime<Utc>, monotonic: Duration) -> Duration {
    let wall = Duration::from_millis(u64::try_from(now.timestamp_millis()).unwrap_or(0));
    wall.saturating_sub(monotonic)
}

/// A clock that is disciplined moves by less between two looks.
pub(crate) const STEP: Duration = Duration::from_secs(1);

/// A time that no clock here will show (in the year 2242): its timer is there to be cancelled.
const NEVER: Duration = Duration::from_secs(1 << 33);

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the boundary that others take the time from"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
        Duration::from(time)
    }

    #[expect(
        deprecated,
        reason = "it is unsound for types that lie about their descriptor; this one is owned, and the successor is unsafe"
    )]
    async fn was_set(&self, ahead: Duration) -> io::Result<()> {
        loop {
            // Armed first and compared second: whatever sets the clock in between is seen.
            let timer = match cancelled_when_set() {
                // It was set while the timer was.
                Err(Errno::ECANCELED) => continue,
                timer => AsyncFd::new(timer?)?,
            };
            if self.ahead().abs_diff(ahead) >= STEP {
                return Ok(());
            }
            // Readable is one that was cancelled: the clock was set, by however little.
            let _ = timer.readable().await?;
        }
    }
}

/// A timer that becomes readable when the wall clock is set.
fn cancelled_when_set() -> nix::Result<OwnedFd> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(TimerClock::CLOCK_REALTIME, flags)?;
    timer.set(
        Expiration::OneShot(TimeSpec::from_duration(NEVER)),
        TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
    )?;
    Ok(timer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_is_the_kernels_and_never_falls() {
        let first = SystemClock.monotonic();
        assert!(first > Duration::ZERO);
        assert!(SystemClock.monotonic() >= first);
    }

    #[tokio::test]
    async fn a_clock_that_nobody_sets_is_waited_for_and_one_that_was_set_is_noticed_at_once() {
        let ahead = SystemClock.ahead();
        let waited = tokio::time::timeout(Duration::from_millis(50), SystemClock.was_set(ahead)).await;
        assert!(waited.is_err());
        SystemClock.was_set(ahead + STEP + STEP).await.unwrap();
        SystemClock.was_set(ahead - STEP - STEP).await.unwrap();
    }
}
