//! Images: pulled before anything is stopped, and outside the unit, whose start time-out would kill a slow pull.

mod classify;
mod podman;
mod progress;
mod room;

pub use classify::{ImageError, ImageErrorKind};
pub use podman::PodmanImages;
pub use room::{RESERVE, Room};

use fleet_protocol::score::ImageRef;
use fleet_protocol::state::PullProgress;

use crate::names::Digest;

/// An image that is on the device, durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The manifest's digest, which names the same bytes on every registry.
    pub digest: Digest,
}

/// The images on the device.
pub trait Images {
    /// The digest of an image that is on the device, `None` when it is not. Asks no registry.
    ///
    /// # Errors
    /// [`ImageError`] when podman cannot tell.
    async fn present(&self, image: &ImageRef) -> Result<Option<Digest>, ImageError>;

    /// How much room a pull of an image needs, and how much there is. Takes as long as a registry takes to answer, half a minute at
    /// most. Whether the size is known or not, [`Room::is_enough`] says whether to begin.
    ///
    /// # Errors
    /// [`ImageError::Disk`] when the disk cannot be asked. A registry or podman that cannot tell is no error.
    async fn room_for(&self, image: &ImageRef) -> Result<Room, ImageError>;

    /// Pulls an image and waits until its bytes are on the disk for good. `progress` is called when a
    /// layer begins or ends. Dropping the future kills the pull; what came so far is kept by podman or
    /// fetched again.
    ///
    /// # Errors
    /// [`ImageError`], classified from podman's own words; [`ImageError::is_transient`] says whether
    /// to try again.
    async fn pull(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled, ImageError>;

    /// Removes images that no container uses, except those in `wanted`.
    ///
    /// # Errors
    /// [`ImageError`] when podman cannot.
    async fn prune(&self, wanted: &[ImageRef]) -> Result<(), ImageError>;

    /// Looks through the storage after an unclean shutdown and removes what is damaged (a damaged image is
    /// then absent, and a container of it too). Can take minutes; never call it while something is pulled.
    ///
    /// # Errors
    /// [`ImageError`] when podman cannot.
    async fn repair(&self) -> Result<(), ImageError>;
}
