//! Where a path of an init container lies: what is not in a volume is gone when the container ends, and each run starts without it.

use fleet_protocol::score::{InitContainer, VolumeSource};

use super::word::{HOLE, Word};

/// Folders whose content nobody expects to stay.
const SCRATCH: [&str; 5] = ["/tmp", "/var/tmp", "/run", "/var/run", "/dev"];

/// What is mounted into an init container, writable.
#[derive(Debug)]
pub(super) struct Mounts(Vec<(String, String)>);

/// A path in a folder, without `.`, `..` and doubled slashes. One that begins with what is not known is left as it is.
pub(super) fn within(folder: Option<&Word>, path: &Word) -> Word {
    let mut located = path.clone();
    if !path.text.starts_with(['/', HOLE])
        && let Some(folder) = folder
    {
        located.text = format!("{}/{}", folder.text, path.text);
        located.fresh |= folder.fresh;
    }
    if !located.text.starts_with('/') {
        return located;
    }
    let mut parts = Vec::new();
    for part in located.text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    located.text = format!("/{}", parts.join("/"));
    located
}

/// Where a path lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In something that stays; its name for a person.
    Kept(String),
    /// In the container's own file system, which is new for each run.
    Own,
    /// In a folder for what passes.
    Scratch,
    /// Nobody can tell before it runs.
    Unknown,
}

impl Mounts {
    pub(super) fn of(init: &InitContainer) -> Self {
        let writable = init.volumes.iter().filter(|mount| !mount.read_only);
        let named = writable.map(|mount| {
            let name = match &mount.source {
                VolumeSource::Volume { name, .. } => format!("in the volume `{name}`"),
                VolumeSource::HostPath { path } => format!("on the device, in {path}"),
            };
            (mount.path.trim_end_matches('/').to_owned(), name)
        });
        Self(named.collect())
    }

    /// Where a path lies. Without any mount, an absolute path is [`Place::Unknown`]: whoever prepares files there means them to
    /// stay, and will mount something.
    pub(super) fn place(&self, word: &Word) -> Place {
        if word.fresh {
            return Place::Scratch;
        }
        let path = word.text.as_str();
        if !path.starts_with('/') {
            return Place::Unknown;
        }
        let known = path.split(HOLE).next().unwrap_or_default();
        let mount = self
            .0
            .iter()
            .filter(|(mount, _)| is_below(known, mount))
            .max_by_key(|(mount, _)| mount.len());
        if let Some((_, name)) = mount {
            return Place::Kept(name.clone());
        }
        if SCRATCH.iter().any(|scratch| is_below(known, scratch)) {
            return Place::Scratch;
        }
        if self.0.is_empty() || known.len() < path.len() {
            Place::Unknown
        } else {
            Place::Own
        }
    }
}

impl Mounts {
    /// Whether a path is that of a mount, and not of something in it.
    pub(super) fn is_itself(&self, word: &Word) -> bool {
        let path = word.text.trim_end_matches('/');
        self.0.iter().any(|(mount, _)| mount == path)
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
