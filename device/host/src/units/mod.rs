//! Units of `systemd --user`: what can be asked of them, and what is known about them.

mod answers;
mod bus;
mod error;
mod facts;
mod generator;
mod inits;
mod job;
mod systemd;
mod take_up;

pub use error::UnitsError;
pub use facts::{ActiveState, LoadState, Started, TakenUp, UnitFacts};
pub use generator::Generator;
pub use systemd::UserUnits;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::names::UnitName;

/// Starts, stops and observes units.
///
/// Every operation is idempotent and may be repeated after an error. `within` is the longest wait for
/// the job; when it passes, the job itself goes on and [`Units::facts`] tells what came of it.
pub trait Units {
    /// Makes systemd run its generators and read its unit files again.
    ///
    /// # Errors
    /// [`UnitsError`] when there is no bus, or systemd refuses.
    async fn reload(&self) -> Result<(), UnitsError>;

    /// Makes systemd know a unit whose file was just written, and with it those of its init containers. One that systemd
    /// holds already, or that cannot be taken up alone, costs a reload, which is always right; so no caller depends on
    /// which way it went. Init containers that still run by files which are no more, or were others, are stopped.
    ///
    /// # Errors
    /// [`UnitsError`], as with [`Units::reload`]. That systemd has no such unit afterwards is in the facts.
    async fn take_up(&self, unit: &UnitName) -> Result<TakenUp, UnitsError>;

    /// Makes systemd forget a unit that is down and whose file was just removed, and those of its init containers, failures and
    /// all. Costs a reload only when systemd holds on to one of them.
    ///
    /// # Errors
    /// [`UnitsError`], as with [`Units::reload`].
    async fn let_go(&self, unit: &UnitName) -> Result<(), UnitsError>;

    /// Starts a unit and waits until it has started, or failed to. One that runs already goes on with the same
    /// invocation. `inits` are the units of its init containers, which systemd runs first.
    ///
    /// # Errors
    /// [`UnitsError::JobFailed`] carries the facts that decided; [`UnitsError::InitFailed`] as soon as one of `inits` has
    /// failed in a run that was not there before, while the start itself goes on; [`UnitsError::Skipped`] when a condition
    /// kept it from starting; [`UnitsError::NoSuchUnit`] when no file describes it.
    async fn start(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError>;

    /// Waits for a start that is under way already, or for systemd's next automatic restart. Of `inits` none is run once more:
    /// they run in their order, beside a start that somebody else asked for.
    ///
    /// # Errors
    /// [`UnitsError`], as with [`Units::start`]; a failure of one of `inits` counts also in a run that was there before, if it
    /// had not ended yet.
    async fn join(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError>;

    /// Stops a unit and its init containers, and waits until they are down. A unit that is unknown or not running is down.
    ///
    /// # Errors
    /// [`UnitsError`], as with [`Units::start`].
    async fn stop(&self, unit: &UnitName, within: Duration) -> Result<(), UnitsError>;

    /// Stops and starts in one job, with the init containers between; the invocation is always a new one.
    ///
    /// # Errors
    /// [`UnitsError`], as with [`Units::start`].
    async fn restart(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError>;

    /// Forgets a failure and the start limit's count. Unknown units have none.
    ///
    /// # Errors
    /// [`UnitsError`] when there is no bus, or systemd refuses.
    async fn reset_failed(&self, unit: &UnitName) -> Result<(), UnitsError>;

    /// What systemd knows about a unit now. A unit without a file has [`LoadState::NotFound`].
    ///
    /// # Errors
    /// [`UnitsError`] when there is no bus, or the answer cannot be read.
    async fn facts(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError>;

    /// Sets which units [`Units::changed`] tells about. Survives a lost bus.
    ///
    /// # Errors
    /// [`UnitsError`] when there is no bus; the wish is kept, and obeyed when the bus is back.
    async fn watch(&self, units: BTreeSet<UnitName>) -> Result<(), UnitsError>;

    /// Waits until a watched unit may have changed, and says which. Changes are merged: ask
    /// [`Units::facts`] what is true now. After a lost bus every watched unit may have changed.
    /// While there is no bus it keeps trying to reach one, so it never fails.
    ///
    /// Cancel-safe: a change is told to the next call.
    async fn changed(&self) -> BTreeSet<UnitName>;
}
