//! The record of podman's pause process, kept true.
//!
//! Rootless podman keeps one process (catatonit) that holds its user namespace, and its id in `pause.pid` below the runtime
//! folder. It is born in the control group of whichever podman came first and moved to a scope of its own a moment later. When that group is
//! killed in between, as when the agent is restarted right after its start, the record outlives the process, and every podman
//! of the user then fails with "cannot re-exec process to join the existing user namespace" until the next reboot: pulls,
//! containers, everything (podman#13737). The cure that podman's own people name is to remove the record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::exec::Environment;

/// Longest record: a process id.
const MAX_BYTES: u64 = 32;
/// What the pause process is called: catatonit, or podman itself where that is not installed.
const NAMES: [&str; 2] = ["catatonit", "podman"];

fn record(environment: &Environment) -> PathBuf {
    environment.runtime_dir.join("libpod/tmp/pause.pid")
}

/// Removes a record whose process is no more. Cheap: two small reads of files in memory.
pub(crate) fn forget_dead(environment: &Environment) {
    // What goes wrong here is seen by the podman that comes next, and told in its words.
    let _ = forget_dead_of(&record(environment), Path::new("/proc"));
}

/// Whether a stale record was removed.
fn forget_dead_of(record: &Path, proc: &Path) -> io::Result<bool> {
    let Some(before) = durable::read_bounded(record, MAX_BYTES)? else {
        return Ok(false);
    };
    // An empty record is one that a podman is about to write.
    let text = String::from_utf8_lossy(&before).trim().to_owned();
    if text.is_empty() || is_pause_process(&text, proc) {
        return Ok(false);
    }
    // Another podman may have put things right in the meantime.
    if durable::read_bounded(record, MAX_BYTES)?.as_deref() != Some(before.as_slice()) {
        return Ok(false);
    }
    match fs::remove_file(record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

/// Whether the process with this id lives and may be a pause process: ids are used again.
fn is_pause_process(id: &str, proc: &Path) -> bool {
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    let status = is_number.then(|| fs::read_to_string(proc.join(id).join("status")).ok());
    let Some(status) = status.flatten() else {
        return false;
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let is_dead = field("State:").starts_with(['Z', 'X']);
    !is_dead && NAMES.iter().any(|name| field("Name:").starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of process 7, and a `/proc` that shows it with this status.
    fn scene(status: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("pause.pid");
        let put = |path: &Path, text: &str| {
            let _ = durable::replace(path, text.as_bytes(), 0o600).unwrap();
        };
        put(&record, "7");
        if let Some(status) = status {
            put(&dir.path().join("7/status"), status);
        }
        (dir, record)
    }

    fn forgets(status: Option<&str>) -> bool {
        let (dir, record) = scene(status);
        let removed = forget_dead_of(&record, dir.path()).unwrap();
        assert_eq!(removed, !record.exists());
        removed
    }

    #[test]
    fn the_record_of_a_dead_or_reused_process_goes_and_that_of_a_living_one_stays() {
        assert!(forgets(None), "nothing has this id");
        assert!(
            forgets(Some("Name:\tbash\nState:\tS (sleeping)\n")),
            "another has it"
        );
        assert!(
            forgets(Some("Name:\tcatatonit\nState:\tZ (zombie)\n")),
            "it is dead"
        );
        assert!(!forgets(Some("Name:\tcatatonit\nState:\tS (sleeping)\n")));
        assert!(!forgets(Some("Name:\tpodman pause\nState:\tS (sleeping)\n")));
    }

    #[test]
    fn no_record_and_an_unfinished_one_are_left_alone_and_nonsense_goes() {
        let (dir, record) = scene(None);
        let _ = durable::replace(&record, b"", 0o600).unwrap();
        assert!(!forget_dead_of(&record, dir.path()).unwrap());
        let _ = durable::replace(&record, b"../../etc\n", 0o600).unwrap();
        assert!(forget_dead_of(&record, dir.path()).unwrap());
        assert!(!forget_dead_of(&record, dir.path()).unwrap());
    }
}
