//! The state in words for others: the key in the store, the log, the history, and which images are in use.

use fleet_host::Host;
use fleet_machine::deployment::{Goal, State};
use fleet_protocol::event::FleetEvent;
use fleet_protocol::{PROTOCOL_VERSION, PodmanV0Score, wire};

use super::Task;
use crate::deployment::report::{self, report};

impl<H: Host + 'static> Task<H> {
    pub(super) fn publish(&self) {
        if let Some(report) = report(&self.state) {
            self.place.shared.outbox.state(&self.place.name, report);
        }
    }

    /// Tells log and history about a new phase.
    pub(super) fn announce(&self, before: &State) {
        let (old, new) = (before.stage(), self.state.stage());
        if old == new {
            return;
        }
        let name = &self.place.name;
        let why = self
            .state
            .failure()
            .map(|f| format!(" ({}: {})", f.kind, f.detail))
            .unwrap_or_default();
        tracing::info!(
            "{name}: {old} -> {new}, generation {}{why}",
            self.state.generation
        );
        if report::phase(old) == report::phase(new) {
            return;
        }
        let device = &self.place.shared.settings.identity.enrolment.device_id;
        let word = report::phase(new).map_or("removed".to_owned(), |phase| phase.to_string());
        let event = FleetEvent {
            protocol: PROTOCOL_VERSION,
            at: report::time(self.place.shared.at()),
            actor: format!("device/{device}"),
            kind: "phase-changed".to_owned(),
            subject: format!("device/{device}/deployment/{name}"),
            detail: fleet_protocol::cause::shorten(
                format!("{word}, generation {}{why}", self.state.generation),
                fleet_protocol::cause::MAX_DETAIL,
            ),
        };
        self.place.shared.outbox.event(wire::encode(&event));
    }

    /// Tells which images must stay: of what runs, of what is installed, and of what is asked for.
    pub(super) fn note_images(&self) {
        let mut images: Vec<String> = Vec::new();
        let installed = self.state.unit.installed().into_iter();
        for of in installed.chain(self.state.running.as_ref().map(|running| &running.of)) {
            images.push(of.image.clone());
            images.extend(of.others.keys().cloned());
        }
        if let Goal::Fetching { target, .. }
        | Goal::FetchFailed { target, .. }
        | Goal::AfterRemoval { target } = &self.state.goal
        {
            images.push(target.image.clone());
            let score = self
                .record
                .as_ref()
                .and_then(|record| record.scores.get(&target.spec));
            let all = score.into_iter().flat_map(PodmanV0Score::images);
            images.extend(all.map(ToString::to_string));
        }
        self.place.shared.images.uses(&self.place.name, images);
    }
}
