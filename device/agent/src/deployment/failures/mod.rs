//! The host's errors as failures: a word, a sentence that says what to do, and whether time can cure it.

mod ends;

use std::time::Duration;

use fleet_host::{ImageError, ImageErrorKind, LeftoversError, Remains, Room, UnitFilesError, UnitsError};
use fleet_machine::deployment::{End, Failure, Retry};
use fleet_protocol::score::ImageRef;
use fleet_protocol::{Cause, PodmanV0Score};

pub(super) use ends::{RunEnd, ended_well, of_start, of_stop, ran_well, start_ended_well};

use crate::words::{chain, with_podmans};

/// Of a pull that was not begun.
const NO_SPACE: &str = "no-space";

pub(super) fn failure(kind: &str, detail: impl Into<String>, retry: Retry) -> Failure {
    Failure::new(kind, detail, retry)
}

fn retry(transient: bool) -> Retry {
    if transient { Retry::Soon } else { Retry::Seldom }
}

/// What a failed pull means, where that is known, and what to do about it.
fn meaning(kind: ImageErrorKind) -> (Option<&'static str>, &'static str) {
    let (means, advice) = match kind {
        ImageErrorKind::NotFound => ("the registry does not have it", "push it, or correct the name"),
        ImageErrorKind::WrongArchitecture => (
            "the registry has it for other architectures only",
            "push it for this architecture",
        ),
        ImageErrorKind::Unauthorized => (
            "the registry refuses it to this device",
            "give the device credentials, or check that the image exists",
        ),
        ImageErrorKind::RegistryUnreachable => (
            "the registry cannot be reached, or cannot serve it now",
            "check the registry and the device's network",
        ),
        ImageErrorKind::Tls => (
            "there is no trusted TLS connection to the registry",
            "check the registry's certificate, or enrol it as insecure",
        ),
        ImageErrorKind::DiskFull => (
            "the device has no room for it",
            "free space on the device, or use a smaller image",
        ),
        ImageErrorKind::Corrupt => (
            "what arrived, or what podman keeps, is damaged",
            "the image is fetched again",
        ),
        ImageErrorKind::Timeout => ("it took too long", "check the device's network"),
        ImageErrorKind::Podman => return (None, "look at the agent's log on the device"),
    };
    (Some(means), advice)
}

pub(super) fn of_pull(image: &str, error: &ImageError) -> Failure {
    let (means, advice) = meaning(error.image_kind());
    let detail = match (error, means) {
        (ImageError::Podman { detail: words, .. }, Some(means)) => {
            with_podmans(&format!("{image} could not be pulled: {means}; {advice}"), words)
        }
        (ImageError::Podman { detail: words, .. }, None) => {
            format!("{image} could not be pulled: {words}; {advice}")
        }
        (ImageError::NoRoom { .. } | ImageError::Disk(_) | ImageError::Answer { .. }, _) => {
            format!("{image} could not be pulled: {}; {advice}", chain(error))
        }
    };
    let kind = match error {
        ImageError::NoRoom { .. } => NO_SPACE,
        _ => error.kind(),
    };
    failure(kind, detail, retry(error.is_transient()))
}

/// There is no room for an image, and nothing more can be collected.
pub(super) fn of_room(image: &str, room: &Room) -> Failure {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let needed = match room.needed {
        Some(bytes) => format!("it needs about {} MiB", mib(bytes)),
        None => "its size is not known".to_owned(),
    };
    let detail = format!(
        "{image} is not pulled: {needed}, {} MiB are free, and {} MiB of them are kept in reserve; unused images are \
         collected already: remove deployments or volumes that are not needed, or use a smaller image",
        room.free >> 20,
        mib(room.reserve),
    );
    failure(NO_SPACE, detail, Retry::Soon)
}

pub(super) fn full_disk() -> Cause {
    Cause::new(
        "disk-full",
        "the data file system is full: remove deployments or volumes that are not needed",
    )
}

/// A pull that failed for an image that init containers alone use names the first of them.
pub(super) fn of_init_image(
    mut failure: Failure,
    score: Option<&PodmanV0Score>,
    image: &ImageRef,
) -> Failure {
    let inits = score
        .map(|score| score.init_containers.as_slice())
        .unwrap_or_default();
    let Some(init) = inits.iter().find(|init| init.image == *image) else {
        return failure;
    };
    failure.detail = format!("init container {}: {}", init.name, failure.detail);
    failure.with_end(End {
        init: Some(init.name.clone()),
        ..End::default()
    })
}

pub(super) fn of_files(error: &UnitFilesError) -> Failure {
    if error.is_disk_full() {
        let detail = format!("{}; free space on the device", chain(error));
        return failure("disk-full", detail, Retry::Soon);
    }
    failure("unit-files", chain(error), Retry::Soon)
}

pub(super) fn of_units(error: &UnitsError) -> Failure {
    // A container that fails to start may well start later: its needs come and go.
    let soon = error.is_transient() || matches!(error, UnitsError::JobFailed { .. });
    failure(error.kind(), chain(error), retry(soon))
}

pub(super) fn of_removal(error: &LeftoversError) -> Failure {
    failure("removal-failed", chain(error), Retry::Soon)
}

/// `known` says that it was known which volumes to keep.
pub(super) fn of_remains(remains: &Remains, known: bool) -> Failure {
    let names: Vec<&str> = remains
        .containers
        .iter()
        .chain(&remains.volumes)
        .map(String::as_str)
        .collect();
    let names = names.join(", ");
    let detail = match known {
        true => format!("podman did not remove {names}"),
        false => format!(
            "the device lost its record of which volumes to keep and removed none: save what is needed of \
             {names} and remove them by hand"
        ),
    };
    failure("removal-incomplete", detail, Retry::Soon)
}

pub(super) fn of_drift(file: &str, gone: bool) -> Failure {
    let what = if gone { "was removed" } else { "was changed" };
    failure(
        if gone {
            "unit-file-removed"
        } else {
            "unit-file-changed"
        },
        format!("{file} {what} on the device; it is written again"),
        Retry::Soon,
    )
}

/// How long to wait for a job beyond systemd's own time limit.
pub(super) const GRACE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn pull_fails(kind: ImageErrorKind, words: &str) -> Failure {
        let detail = words.to_owned();
        of_pull("r.io/a:1", &ImageError::Podman { kind, detail })
    }

    #[test]
    fn the_detail_of_a_failed_pull_says_what_it_means_before_podmans_words() {
        let failure = pull_fails(ImageErrorKind::NotFound, "reading manifest 1: manifest unknown");
        assert_eq!(failure.kind, "image-not-found");
        assert_eq!(
            failure.detail,
            "r.io/a:1 could not be pulled: the registry does not have it; push it, or correct the name. \
             In podman's words: reading manifest 1: manifest unknown"
        );
    }

    #[test]
    fn the_detail_of_a_pull_that_failed_in_unknown_words_is_those_words_and_does_not_repeat_its_kind() {
        let failure = pull_fails(ImageErrorKind::Podman, "database is locked");
        assert_eq!(failure.kind, "podman-failed");
        assert_eq!(
            failure.detail,
            "r.io/a:1 could not be pulled: database is locked; look at the agent's log on the device"
        );
    }
}
