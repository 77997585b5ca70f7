//! `Pull`: every image of the score is on the device before anything that runs is stopped.

use std::time::Duration;

use fleet_host::{DeviceFacts, Host, ImageError, Images, Pulled, Room};
use fleet_machine::deployment::{Digests, Fact, Failure, Progress, Retry, Target};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::ImageRef;
use fleet_protocol::state::PullProgress;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::Place;
use crate::deployment::failures::{self, failure};

/// With so much free, in MiB, a pull begins while the registry is asked how large the image is.
const ROOMY_MIB: u64 = 2048;
/// Most often that the progress of a pull is told.
const PROGRESS_EACH: Duration = Duration::from_secs(1);

impl<H: Host> Place<H> {
    /// Pulls the images that are not there. Without a score, as when its record is lost, the main one alone.
    pub(in crate::deployment) async fn pull(
        self,
        target: Target,
        score: Option<PodmanV0Score>,
        news: UnboundedSender<Fact>,
    ) -> Fact {
        if let Some((digest, others)) = self.all_at_hand(&target, score.as_ref()).await {
            return Fact::Pulled { digest, others };
        }
        // The semaphore lives as long as the agent and is never closed.
        let _turn = self.shared.pulls.acquire().await;
        // A closed channel means that the task is gone, and this future with it.
        let _ = news.send(Fact::PullBegan);
        match self.try_pull(&target, score.as_ref(), &news).await {
            Ok((digest, others)) => Fact::Pulled { digest, others },
            Err(failure) => {
                self.note_full_disk(&failure);
                Fact::PullFailed(failure)
            }
        }
    }

    /// The digests of all images, if podman has them. What runs is not stopped for an image that is only remembered.
    async fn all_at_hand(&self, target: &Target, score: Option<&PodmanV0Score>) -> Option<(String, Digests)> {
        let (images, host) = (&self.shared.images, &self.shared.host);
        let main: ImageRef = target.image.parse().ok()?;
        let digest = images.verified(host, &main).await?;
        let mut others = Digests::new();
        for image in score.map(PodmanV0Score::images).unwrap_or_default() {
            if *image != main {
                others.insert(image.to_string(), images.verified(host, image).await?);
            }
        }
        Some((digest, others))
    }

    async fn try_pull(
        &self,
        target: &Target,
        score: Option<&PodmanV0Score>,
        news: &UnboundedSender<Fact>,
    ) -> Result<(String, Digests), Failure> {
        let malformed = || {
            let detail = format!("{:?} is no name of an image: correct the manifest", target.image);
            failure("image-malformed", detail, Retry::Never)
        };
        let main: ImageRef = target.image.parse().map_err(|_| malformed())?;
        let digest = self.fetch(&main, news).await?;
        let mut others = Digests::new();
        for image in score.map(PodmanV0Score::images).unwrap_or_default() {
            if *image != main {
                let fetched = self.fetch(image, news).await;
                let digest = fetched.map_err(|failure| failures::of_init_image(failure, score, image))?;
                others.insert(image.to_string(), digest);
            }
        }
        Ok((digest, others))
    }

    /// The digest of an image that is there afterwards.
    async fn fetch(&self, image: &ImageRef, news: &UnboundedSender<Fact>) -> Result<String, Failure> {
        let (shared, name) = (&self.shared, image.as_str());
        if let Some(digest) = shared.images.digest(name) {
            return Ok(digest);
        }
        let mut told: Option<Instant> = None;
        let mut progress = |pull: PullProgress| {
            if told.is_some_and(|told| told.elapsed() < PROGRESS_EACH) {
                return;
            }
            told = Some(Instant::now());
            let _ = news.send(Fact::PullProgress(Progress {
                layers_done: pull.layers_done,
                layers_total: pull.layers_total,
                bytes: pull.bytes,
            }));
        };
        let _ = shared.images.repair_once(&shared.host).await;
        let pulled = match self.pull_if_it_fits(image, &mut progress).await {
            Some(pulled) => pulled,
            None => self.pull_after_pruning(image, &mut progress).await?,
        };
        if let Err(ImageError::NoRoom { .. }) = &pulled {
            shared.health.wrong(failures::full_disk());
        }
        let pulled = pulled.map_err(|error| failures::of_pull(name, &error))?;
        let digest = pulled.digest.to_string();
        shared.images.pulled(&shared.host, name, &digest).await;
        shared.health.right("disk-full");
        Ok(digest)
    }

    /// `None` when there is no room for it; then nothing of it was kept.
    async fn pull_if_it_fits(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Option<Result<Pulled, ImageError>> {
        let images = self.shared.host.images();
        let free = self
            .shared
            .host
            .facts()
            .vitals()
            .map(|vitals| vitals.data_free_mib);
        if free.is_ok_and(|mib| mib >= ROOMY_MIB) {
            // Nothing can fill so much before the registry answered: the question costs no time. Dropping the pull kills it.
            let mut pull = std::pin::pin!(images.pull(image, progress));
            return tokio::select! {
                biased;
                pulled = &mut pull => Some(pulled),
                room = images.room_for(image) => match fits(&room) {
                    true => Some(pull.await),
                    false => None,
                },
            };
        }
        match fits(&images.room_for(image).await) {
            true => Some(images.pull(image, progress).await),
            false => None,
        }
    }

    /// Makes room by removing images that nothing uses; what runs, or is asked for, keeps its own.
    async fn pull_after_pruning(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Result<Pulled, ImageError>, Failure> {
        tracing::info!("there is no room for {image}: removing images that nothing uses");
        let shared = &self.shared;
        shared.images.prune(&shared.host).await;
        match shared.host.images().room_for(image).await {
            Ok(room) if !room.is_enough() => {
                // A large image on a device that is well is no trouble of the device.
                if room.free < room.reserve {
                    shared.health.wrong(failures::full_disk());
                }
                Err(failures::of_room(image.as_str(), &room))
            }
            Ok(_) | Err(_) => Ok(shared.host.images().pull(image, progress).await),
        }
    }
}

/// What is unknown stops no pull.
fn fits(room: &Result<Room, ImageError>) -> bool {
    match room {
        Ok(room) => room.is_enough(),
        Err(error) => {
            tracing::debug!("nobody can tell how much room there is: {error}");
            true
        }
    }
}
