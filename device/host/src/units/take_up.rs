//! Units that come and go: made known to systemd, and forgotten by it, without a reload where that can be.

use std::time::Duration;

use super::generator::GeneratorError;
use super::{LoadState, UnitFacts, Units, UnitsError, UserUnits};
use crate::names::UnitName;

/// Longest wait for an init container of older files to end; its own time limit is shorter.
const INIT_STOP_WITHIN: Duration = Duration::from_secs(60);

impl UserUnits {
    /// Takes up a unit that systemd does not hold. `Err` says why that needs a reload after all; without a word where
    /// systemd holds it.
    pub(super) async fn take_up_alone(
        &self,
        unit: &UnitName,
    ) -> Result<Result<UnitFacts, Option<String>>, UnitsError> {
        let Some(generator) = &self.generator else {
            return Ok(Err(Some("there is no generator".to_owned())));
        };
        // The question costs next to nothing and the generator much: it does not wait, and is killed if it runs in vain.
        let asked = async {
            match self.load_state(unit).await {
                Ok(LoadState::NotFound) => Ok(()),
                Ok(LoadState::Loaded | LoadState::Unusable(_)) => Err(Ok(())),
                Err(error) => Err(Err(error)),
            }
        };
        let generated = match tokio::try_join!(asked, async { Ok(generator.generate(unit).await) }) {
            Ok(((), generated)) => generated,
            Err(Ok(())) => return Ok(Err(None)),
            Err(Err(error)) => return Err(error),
        };
        let placed = match generated.and_then(|generated| generator.place(generated)) {
            Ok(placed) => placed,
            Err(error) => return Ok(Err(Some(words(&error)))),
        };
        for init in &placed {
            // One that systemd holds from before is read anew by a reload only.
            if self.load_state(init).await? != LoadState::Loaded || self.is_outdated(init).await? {
                return Ok(Err(Some(format!(
                    "systemd does not find {init} where it was put"
                ))));
            }
        }
        let facts = self.glance(unit).await?;
        Ok(match facts.load_state {
            LoadState::Loaded => Ok(facts),
            LoadState::NotFound => Err(Some(format!("systemd does not find {unit} where it was put"))),
            LoadState::Unusable(word) => Err(Some(format!(
                "systemd cannot use {unit} as it was generated ({word})"
            ))),
        })
    }

    /// Ends what init containers still do by older files, and reloads: their next run is by the new ones, and those that are no more
    /// would be tried for ever. In this order. After the reload a unit without a file has lost its own time limit and
    /// what clears away behind it; and the start job of the main unit, which waits for it, would find nothing more to wait
    /// for and start without the new ones. The stop takes that job along, since the main unit requires it.
    pub(super) async fn take_up_by_reload(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError> {
        let mut old = Vec::new();
        for init in self.held_inits(unit).await? {
            // One without a file is that of an agent which was killed in the middle of this.
            if init.load_state == LoadState::NotFound || self.is_outdated(&init.name).await? {
                old.push(init);
            }
        }
        for init in &old {
            if !init.is_down() {
                self.stop_one(&init.name, INIT_STOP_WITHIN).await?;
            }
        }
        self.reload().await?;
        for init in old {
            self.reset_failed(&init.name).await?;
        }
        self.glance(unit).await
    }

    /// Whether systemd has forgotten the unit and those of its init containers without a reload.
    pub(super) async fn let_go_alone(&self, unit: &UnitName) -> Result<bool, UnitsError> {
        let withdrawn = match &self.generator {
            Some(generator) => generator.withdraw(unit).is_ok(),
            None => false,
        };
        // systemd keeps what failed.
        for init in self.held_inits(unit).await? {
            self.reset_failed(&init.name).await?;
        }
        // A link of `default.target` keeps it in memory, and what is there in place of a file that would not go is
        // read again: both need a reload.
        if !withdrawn || self.load_state(unit).await? != LoadState::NotFound {
            return Ok(false);
        }
        let held = self.held_inits(unit).await?;
        Ok(held.iter().all(super::systemd::HeldUnit::is_a_name_only))
    }
}

/// An error and its source in one line.
fn words(error: &GeneratorError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
