//! What the agent tells the systemd that supervises it.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Readiness, status and watchdog towards systemd. All are no-ops without `$NOTIFY_SOCKET`.
pub trait Supervisor {
    /// The agent is up.
    ///
    /// # Errors
    /// The socket's error; nothing depends on it but systemd's patience.
    fn ready(&self) -> io::Result<()>;

    /// One line for `systemctl status`.
    ///
    /// # Errors
    /// As with [`Supervisor::ready`].
    fn status(&self, line: &str) -> io::Result<()>;

    /// A sign of life.
    ///
    /// # Errors
    /// As with [`Supervisor::ready`].
    fn watchdog(&self) -> io::Result<()>;

    /// The agent is going down in order.
    ///
    /// # Errors
    /// As with [`Supervisor::ready`].
    fn stopping(&self) -> io::Result<()>;

    /// How often systemd wants a sign of life at least; `None` when it does not watch. Send twice as often.
    fn watchdog_interval(&self) -> Option<Duration>;
}

/// `sd_notify(3)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemdSupervisor;

impl Supervisor for SystemdSupervisor {
    fn ready(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Ready])
    }

    fn status(&self, line: &str) -> io::Result<()> {
        // A line break would begin a further assignment.
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        sd_notify::notify(&[NotifyState::Status(&line)])
    }

    fn watchdog(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Watchdog])
    }

    fn stopping(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Stopping])
    }

    fn watchdog_interval(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}
