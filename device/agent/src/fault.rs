//! Places where tests hold or kill the agent. Without the feature `fault-points` there is nothing here that
//! could fire.
//!
//! A point is named `<Stage>` (the stage is recorded, its effects have not begun) or `<Stage>.begun` (all
//! of it is begun). `FLEET_CRASH_AT=<point>` kills the process there once: a marker file in the
//! runtime folder both proves that it fell there and keeps the restarted agent alive.

use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::Notify;

/// What happens at the points.
#[derive(Debug, Clone, Default)]
pub enum Faults {
    /// Nothing.
    #[default]
    None,
    /// The process kills itself at this point, once.
    Crash {
        /// The point.
        at: String,
        /// Folder of the marker `crashed-at-<point>`.
        markers: PathBuf,
    },
    /// The task that comes to this point stays there for ever.
    Hold {
        /// The point.
        at: String,
        /// Told when the point is reached.
        reached: Rc<Notify>,
    },
}

impl Faults {
    /// Takes `FLEET_CRASH_AT`.
    #[must_use]
    pub fn of_this_process(markers: PathBuf) -> Self {
        match std::env::var("FLEET_CRASH_AT") {
            Ok(at) if cfg!(feature = "fault-points") && !at.is_empty() => Self::Crash { at, markers },
            _ => Self::None,
        }
    }

    /// A point.
    pub(crate) async fn pass(&self, point: &str) {
        #[cfg(feature = "fault-points")]
        match self {
            Self::None => {}
            Self::Crash { at, markers } => crash(at, markers, point),
            Self::Hold { at, reached } => {
                if at == point {
                    reached.notify_one();
                    std::future::pending::<()>().await;
                }
            }
        }
        #[cfg(not(feature = "fault-points"))]
        let _ = point;
    }
}

#[cfg(feature = "fault-points")]
fn crash(at: &str, markers: &std::path::Path, point: &str) {
    let marker = markers.join(format!("crashed-at-{point}"));
    if at != point || marker.exists() {
        return;
    }
    // A marker that cannot be written would make the agent crash for ever: better not at all.
    if fleet_host::durable::replace(&marker, point.as_bytes(), 0o600).is_ok() {
        tracing::error!("fault point {point}: ending here, as FLEET_CRASH_AT asks");
        std::process::abort();
    }
}
