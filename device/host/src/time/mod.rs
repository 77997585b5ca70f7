//! The time: the kernel's clocks, what time servers say, and the newest time that was known to be right.

mod clock;
mod floor;
mod sntp;

#[cfg(feature = "fakes")]
pub(crate) use clock::STEP;
pub use clock::{Clock, SystemClock};
pub use floor::{FileFloor, TimeFloor};
pub use sntp::{Kiss, Reply, Said, Sntp, TimeServers};
