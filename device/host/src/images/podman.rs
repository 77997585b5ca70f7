//! Images by podman(1).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use fleet_protocol::score::ImageRef;
use fleet_protocol::state::PullProgress;
use tokio::time::Instant;

use super::progress::Progress;
use super::room::{self, Manifest, RESERVE, Room};
use super::{ImageError, Images, Pulled};
use crate::durable;
use crate::exec::{Environment, ExecError, Tool, run, run_watched};
use crate::names::Digest;

/// Longest pull: 2 GiB over a line of 0.5 Mbit/s. A shorter patience is the caller's: it drops the future.
const PULL_WITHIN: Duration = Duration::from_secs(12 * 3600);
/// Longest time in which a pull neither says a word nor receives a byte. The last layer is unpacked without either, which on a
/// slow card takes minutes.
const STALL: Duration = Duration::from_mins(15);
/// Longest pause between two looks at what a pull received.
const LOOK_EACH: Duration = Duration::from_secs(30);
/// Longest time for a question to the local storage; a card that is busy is slow.
const ASK_WITHIN: Duration = Duration::from_secs(60);
/// Longest time for a registry to tell what an image is made of.
const MANIFEST_WITHIN: Duration = Duration::from_secs(15);

/// podman's local storage.
#[derive(Debug, Clone)]
pub struct PodmanImages {
    environment: Environment,
    data: PathBuf,
    reserve: u64,
    stall: Duration,
    /// The staging folder was made by this process.
    staged: Cell<bool>,
}

impl PodmanImages {
    /// `data` is any path on the file system that holds podman's storage.
    #[must_use]
    pub fn new(environment: Environment, data: impl Into<PathBuf>) -> Self {
        Self {
            environment,
            data: data.into(),
            reserve: RESERVE,
            stall: STALL,
            staged: Cell::new(false),
        }
    }

    /// Sets how many bytes must be free for a pull to begin.
    #[must_use]
    pub fn with_reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Sets how long a pull may neither say a word nor receive a byte before it is ended.
    #[must_use]
    pub fn with_stall(mut self, patience: Duration) -> Self {
        self.stall = patience;
        self
    }

    /// Ready once a pull is stalled: `heard` is when it last spoke. What it receives grows in the staging folder, which
    /// pulls share: one that moves keeps another from being called stalled.
    async fn stalled(&self, heard: &Cell<Instant>) {
        let each = (self.stall / 4).min(LOOK_EACH);
        let mut received = 0;
        while heard.get().elapsed() < self.stall {
            tokio::time::sleep(each).await;
            let dir = self.environment.staging();
            // A folder that cannot be read tells nothing: the words have to do.
            let now = durable::blocking(move || Ok(size_of(&dir)))
                .await
                .unwrap_or(received);
            if now != received {
                received = now;
                heard.set(Instant::now());
            }
        }
    }

    fn check_room(&self) -> Result<(), ImageError> {
        let space = durable::space(&self.data).map_err(|error| ImageError::Disk(error.into()))?;
        if space.free < self.reserve {
            return Err(ImageError::NoRoom {
                free_mib: space.free >> 20,
                reserve_mib: self.reserve >> 20,
            });
        }
        Ok(())
    }

    /// What a registry holds under a reference; `None` when it or podman does not tell.
    async fn manifest(&self, reference: &str) -> Option<Manifest> {
        let mut quoting = None;
        let mut line = |line: &str| {
            if line.contains(room::QUOTE) {
                quoting = Some(line.to_owned());
            }
        };
        let args = ["manifest", "inspect", reference];
        let asked = run_watched(&self.environment, Tool::Podman, &args, MANIFEST_WITHIN, &mut line).await;
        match (asked, quoting) {
            (Ok(output), _) => Manifest::read(&output.stdout, None),
            (Err(_), Some(line)) => Manifest::read("", Some(&line)),
            (Err(_), None) => None,
        }
    }

    /// Bytes that a pull takes, as far as the registry tells.
    async fn needed(&self, image: &ImageRef) -> Option<u64> {
        let home = self.environment.home.clone();
        let there = durable::blocking(move || Ok(room::layers_there(&home)));
        let (there, manifest) = tokio::join!(there, self.manifest(image.as_str()));
        let (there, manifest) = (there.unwrap_or_default(), manifest?);
        if let Some(digest) = manifest.of_machine(room::machine()) {
            let manifest = self.manifest(&room::pinned(image, digest)).await?;
            return manifest.needed(&there);
        }
        manifest.needed(&there)
    }

    /// Makes the staging folder. The first time it is emptied, of what pulls left there that were killed or cut; later
    /// other pulls may be at work in it.
    async fn stage(&self) -> Result<(), ImageError> {
        let dir = self.environment.staging();
        let first = !self.staged.replace(true);
        let made = durable::blocking(move || {
            if first && dir.exists() {
                std::fs::remove_dir_all(&dir)?;
            }
            std::fs::create_dir_all(&dir)
        });
        made.await.map_err(ImageError::Disk)
    }

    async fn ask(&self, args: &[&str]) -> Result<String, ExecError> {
        Ok(run(&self.environment, Tool::Podman, args, ASK_WITHIN)
            .await?
            .stdout)
    }

    /// Brings what podman wrote to the disk for good: it syncs little by itself, and a power cut would leave
    /// layers of length zero that it calls present (podman#16362).
    async fn settle(&self) -> Result<(), ImageError> {
        let data = self.data.clone();
        durable::blocking(move || durable::sync_file_system(&data))
            .await
            .map_err(ImageError::Disk)
    }
}

/// Bytes in the files below a folder; what vanishes meanwhile has none.
fn size_of(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// An image's id without the `sha256:` that only some of podman's commands print.
fn bare_id(line: &str) -> String {
    line.trim().trim_start_matches("sha256:").to_owned()
}

/// The digest in what `podman image inspect --format {{.Digest}}` prints.
fn digest(answer: &str) -> Result<Digest, ImageError> {
    Digest::parse(answer.trim()).map_err(|source| ImageError::Answer {
        operation: "image inspect",
        source,
    })
}

impl Images for PodmanImages {
    async fn present(&self, image: &ImageRef) -> Result<Option<Digest>, ImageError> {
        let args = ["image", "inspect", "--format", "{{.Digest}}", image.as_str()];
        match self.ask(&args).await {
            Ok(answer) => digest(&answer).map(Some),
            Err(error) if error.stderr.contains("image not known") => Ok(None),
            Err(error) => Err(ImageError::of(&error)),
        }
    }

    async fn room_for(&self, image: &ImageRef) -> Result<Room, ImageError> {
        let needed = self.needed(image).await;
        let space = durable::space(&self.data).map_err(|error| ImageError::Disk(error.into()))?;
        Ok(Room {
            needed,
            free: space.free,
            reserve: self.reserve,
        })
    }

    async fn pull(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(PullProgress),
    ) -> Result<Pulled, ImageError> {
        self.check_room()?;
        self.stage().await?;
        let mut state = Progress::default();
        let heard = Cell::new(Instant::now());
        let mut line = |line: &str| {
            heard.set(Instant::now());
            if let Some(now) = state.line(line) {
                progress(now);
            }
        };
        // One repetition by podman itself: longer waits are the caller's, who can show them.
        let args = ["pull", "--retry=1", image.as_str()];
        let pulling = run_watched(&self.environment, Tool::Podman, &args, PULL_WITHIN, &mut line);
        // Dropping the pull kills it with all its processes.
        tokio::select! {
            pulled = pulling => pulled.map_err(|error| ImageError::of(&error))?,
            () = self.stalled(&heard) => return Err(ImageError::Podman {
                kind: super::ImageErrorKind::RegistryUnreachable,
                detail: format!("nothing came for {} s, and the pull was ended", self.stall.as_secs()),
            }),
        };
        self.settle().await?;
        match self.present(image).await? {
            Some(digest) => Ok(Pulled { digest }),
            None => Err(ImageError::Podman {
                kind: super::ImageErrorKind::Corrupt,
                detail: format!("{image} was pulled and yet is not in the storage"),
            }),
        }
    }

    async fn prune(&self, wanted: &[ImageRef]) -> Result<(), ImageError> {
        let failed = |error| ImageError::of(&error);
        let listed = self
            .ask(&["image", "ls", "--quiet", "--no-trunc"])
            .await
            .map_err(failed)?;
        let using = [
            "ps",
            "--all",
            "--external",
            "--no-trunc",
            "--format",
            "{{.ImageID}}",
        ];
        let using = self.ask(&using).await.map_err(failed)?;
        let mut kept: BTreeSet<String> = using.lines().map(bare_id).collect();
        for image in wanted {
            // One that is wanted but not there has nothing to keep.
            let args = ["image", "inspect", "--format", "{{.Id}}", image.as_str()];
            kept.extend(self.ask(&args).await.ok().map(|id| bare_id(&id)));
        }
        let listed: BTreeSet<String> = listed.lines().map(bare_id).collect();
        for id in listed.difference(&kept) {
            // By force, since an image with two names is refused otherwise; no container uses it. One that
            // resists is met again by the next prune.
            let _ = self.ask(&["image", "rm", "--force", id]).await;
        }
        Ok(())
    }

    async fn repair(&self) -> Result<(), ImageError> {
        let args = ["system", "check", "--quick", "--repair", "--force"];
        let repaired = run(&self.environment, Tool::Podman, &args, PULL_WITHIN).await;
        repaired.map_err(|error| ImageError::of(&error))?;
        self.settle().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::ImageErrorKind;
    use super::*;
    use crate::fixture::podman;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn images(script: &str) -> (tempfile::TempDir, PodmanImages) {
        let (dir, environment) = podman(script);
        let images = PodmanImages::new(environment, dir.path()).with_reserve(0);
        (dir, images)
    }

    fn web() -> ImageRef {
        "10.0.2.100:5000/web:1".parse().unwrap()
    }

    #[tokio::test]
    async fn a_pull_tells_its_layers_and_ends_with_the_digest() {
        let script = format!(
            "case \"$*\" in
             'pull --retry=1 10.0.2.100:5000/web:1')
               echo 'Trying to pull 10.0.2.100:5000/web:1...' >&2; echo 'Copying blob {SHA}' >&2
               echo 'Copying config {SHA}' >&2; echo 'Writing manifest to image destination' >&2; echo 0123;;
             'image inspect --format {{{{.Digest}}}} 10.0.2.100:5000/web:1') echo '{SHA}';;
             *) echo \"Error: unexpected $*\" >&2; exit 125;; esac"
        );
        let (_dir, images) = images(&script);
        let mut seen = Vec::new();
        let pulled = images
            .pull(&web(), &mut |p| seen.push((p.layers_done, p.layers_total)))
            .await
            .unwrap();
        assert_eq!(pulled.digest.as_str(), SHA);
        assert_eq!(seen, [(0, 1), (1, 1)]);
    }

    #[tokio::test]
    async fn an_image_that_is_not_there_is_none_and_a_broken_storage_is_an_error() {
        let (_dir, there) = images("echo 'Error: 10.0.2.100:5000/web:1: image not known' >&2; exit 125");
        assert_eq!(there.present(&web()).await.unwrap(), None);
        let (_dir, broken) = images("echo 'Error: database is locked' >&2; exit 125");
        let error = broken.present(&web()).await.unwrap_err();
        assert_eq!(
            (error.image_kind(), error.to_string().as_str()),
            (ImageErrorKind::Podman, "podman-failed: database is locked")
        );
    }

    #[tokio::test]
    async fn what_a_cut_pull_left_is_removed_once_and_not_under_a_pull_that_runs() {
        let (dir, images) = images("[ -d \"$TMPDIR\" ] || echo 'Error: no staging' >&2; exit 125");
        let stray = dir
            .path()
            .join("home/.cache/fleet-pull/container_images_storage1/1");
        let leave = || durable::replace(&stray, b"half", 0o600).unwrap().is_changed();
        assert!(leave());
        let error = images.pull(&web(), &mut |_| ()).await.unwrap_err();
        assert!(!error.to_string().contains("no staging"), "{error}");
        assert!(!stray.exists());
        assert!(leave());
        images.pull(&web(), &mut |_| ()).await.unwrap_err();
        assert!(stray.exists());
    }

    #[tokio::test]
    async fn a_pull_that_a_silent_registry_holds_is_killed_and_can_be_tried_again() {
        let script = r#"echo 'Trying to pull 10.0.2.100:5000/web:1...' >&2; echo $$ > "$TMPDIR/../pid"; exec sleep 600"#;
        let (dir, images) = images(script);
        let error = images
            .with_stall(Duration::from_millis(600))
            .pull(&web(), &mut |_| ())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_transient()),
            ("registry-unreachable", true)
        );
        let pid = std::fs::read_to_string(dir.path().join("home/.cache/pid")).unwrap();
        let ended = || {
            // Until it is reaped, a killed process is a zombie.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        let began = Instant::now();
        while !ended() {
            assert!(began.elapsed() < Duration::from_secs(10), "{pid} lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The control of the test above: podman tells the beginning of a layer only, and a slow line is not a silent one.
    #[tokio::test]
    async fn a_pull_that_receives_slowly_and_says_nothing_is_left_alone() {
        let script = format!(
            "case \"$1\" in
             pull) for i in 1 2 3 4 5 6; do sleep 0.3; echo $i >> \"$TMPDIR/layer\"; done;;
             *) echo '{SHA}';; esac"
        );
        let (_dir, images) = images(&script);
        let pulled = images
            .with_stall(Duration::from_millis(1000))
            .pull(&web(), &mut |_| ())
            .await;
        assert_eq!(pulled.unwrap().digest.as_str(), SHA);
    }

    #[tokio::test]
    async fn no_pull_begins_without_the_reserve() {
        let (_dir, images) = images("exit 0");
        let error = images
            .with_reserve(u64::MAX)
            .pull(&web(), &mut |_| ())
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::NoRoom { .. }), "{error}");
        assert!(error.is_transient() && error.kind() == "disk-full");
    }

    /// What podman 5.4 says of an index, and of the image in it.
    const MANIFESTS: &str = r#"
        echo "$*" >> "${0%/*}/asked"
        machine=$(/bin/uname -m | /bin/sed 's/x86_64/amd64/; s/aarch64/arm64/')
        case "$*" in
        "manifest inspect 10.0.2.100:5000/web:1")
            echo "{\"manifests\": [{\"digest\": \"sha256:99\", \"platform\": {\"architecture\": \"x\", \"os\": \"linux\"}}, {\"digest\": \"sha256:11\", \"platform\": {\"architecture\": \"$machine\", \"os\": \"linux\"}}]}" ;;
        "manifest inspect 10.0.2.100:5000/web@sha256:11")
            echo 'Error: parsing manifest blob "{\"layers\": [{\"digest\": \"sha256:aa\", \"size\": 1000, \"mediaType\": \"x.tar+gzip\"}, {\"digest\": \"sha256:bb\", \"size\": 100, \"mediaType\": \"x.tar+gzip\"}]}" as a "application/x": Treating single images as manifest lists is not implemented' >&2
            exit 125 ;;
        *) exit 125 ;;
        esac"#;

    #[tokio::test]
    async fn the_room_for_an_image_is_that_of_this_machine_and_counts_no_layer_that_is_there() {
        let (dir, images) = images(MANIFESTS);
        let room = images.room_for(&web()).await.unwrap();
        assert_eq!((room.needed, room.is_enough()), (Some(3300), true));
        assert!(room.free > 0);
        let stored = dir
            .path()
            .join("home/.local/share/containers/storage/overlay-images/1234/manifest");
        let manifest = br#"{"layers": [{"digest": "sha256:aa", "size": 1000}]}"#;
        let _ = durable::replace(&stored, manifest, 0o600).unwrap();
        assert_eq!(images.room_for(&web()).await.unwrap().needed, Some(300));
        let full = images.with_reserve(u64::MAX).room_for(&web()).await.unwrap();
        assert!(!full.is_enough());
        let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(asked.lines().count(), 6);
    }

    #[tokio::test]
    async fn a_size_that_nobody_can_tell_stops_no_pull() {
        for script in [
            "echo 'Error: reading image: connection refused' >&2; exit 125",
            "echo '{\"schemaVersion\": 2, \"manifests\": null}'",
            "echo 'no json'",
        ] {
            let (_dir, images) = images(script);
            let room = images.room_for(&web()).await.unwrap();
            assert_eq!((room.needed, room.is_enough()), (None, true), "{script}");
        }
    }

    #[tokio::test]
    async fn only_images_that_nobody_wants_and_nothing_uses_are_pruned() {
        let script = r#"case "$*" in
            "image ls --quiet --no-trunc") echo sha256:aa; echo sha256:bb; echo sha256:cc; echo sha256:cc;;
            "ps --all --external --no-trunc --format {{.ImageID}}") echo bb;;
            "image inspect --format {{.Id}} 10.0.2.100:5000/web:1") echo aa;;
            "image rm --force "*) echo "$4" >> "$HOME";;
            *) echo "Error: unexpected $*" >&2; exit 125;; esac"#;
        let (dir, images) = images(script);
        images.prune(&[web()]).await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("home")).unwrap(), "cc\n");
    }
}
