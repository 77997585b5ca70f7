//! Places where tests hold or kill the agent. Without the feature `fault-points` there is nothing here that
//! could fire.
//!
//! A point is named `<Stage>` (the stage is recorded, its effects have not begun) or `<Stage>.begun` (all
//! of it is begun). `FLEET_CRASH_AT=<point>` kills the process there once: a marker file in the
//! runtime folder both proves that it fell there and keeps the restarted agent alive.

use std::path::PathBuf;
use std::rc::Rc;

use fleet_machine::deployment::Stage;
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

/// A point that no agent ever comes to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("FLEET_CRASH_AT: there is no fault point {0:?}; there are {known}", known = points().join(", "))]
pub struct UnknownPoint(String);

/// Every point, in the order of the stages.
#[must_use]
pub fn points() -> Vec<String> {
    let of = |stage: Stage| [stage.to_string(), begun(stage)];
    Stage::ALL.into_iter().flat_map(of).collect()
}

/// The point at which all of a stage is begun.
pub(crate) fn begun(stage: Stage) -> String {
    format!("{stage}.begun")
}

impl Faults {
    /// Takes `FLEET_CRASH_AT`. Without the feature it is not looked at.
    ///
    /// # Errors
    /// [`UnknownPoint`]: a test that waits for it would pass without having tested anything.
    pub fn of_this_process(markers: PathBuf) -> Result<Self, UnknownPoint> {
        match std::env::var("FLEET_CRASH_AT") {
            Ok(at) if cfg!(feature = "fault-points") && !at.is_empty() => Self::crash_at(at, markers),
            _ => Ok(Self::None),
        }
    }

    fn crash_at(at: String, markers: PathBuf) -> Result<Self, UnknownPoint> {
        match points().contains(&at) {
            true => Ok(Self::Crash { at, markers }),
            false => Err(UnknownPoint(at)),
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
