//! How far a pull is, from the lines that podman prints when it writes to no terminal.
//!
//! Each layer is named once, when its copy begins, also a layer that is there already; its end is not told.
//! At most [`AT_ONCE`] copies run at a time, so each line beyond that many proves that one more layer is
//! done. The configuration is copied last: its line proves that all are.

use std::collections::BTreeSet;

use fleet_protocol::state::PullProgress;

/// Layers that containers/image copies at a time (`maxParallelDownloads`).
const AT_ONCE: u32 = 6;

/// The state of one pull.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: BTreeSet<String>,
    complete: bool,
}

impl Progress {
    /// Takes a line; gives the new state when the line changed it.
    pub(crate) fn line(&mut self, line: &str) -> Option<PullProgress> {
        if let Some(rest) = line.strip_prefix("Copying blob ") {
            let digest = rest.split_whitespace().next()?;
            return self.begun.insert(digest.to_owned()).then(|| self.now());
        }
        if line.starts_with("Copying config ") && !self.complete {
            self.complete = true;
            return Some(self.now());
        }
        None
    }

    fn now(&self) -> PullProgress {
        let total = u32::try_from(self.begun.len()).unwrap_or(u32::MAX);
        let done = if self.complete {
            total
        } else {
            total.saturating_sub(AT_ONCE)
        };
        PullProgress {
            layers_done: done,
            layers_total: total,
            bytes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_and_never_called_done_before_they_are() {
        let mut progress = Progress::default();
        assert_eq!(progress.line("Trying to pull 10.0.2.100:5000/web:1..."), None);
        assert_eq!(progress.line("Getting image source signatures"), None);
        let seen: Vec<(u32, u32)> = (0..8)
            .filter_map(|i| progress.line(&format!("Copying blob sha256:{i:064}")))
            .map(|p| (p.layers_done, p.layers_total))
            .collect();
        assert_eq!(
            seen,
            [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 7), (2, 8)]
        );
        assert_eq!(progress.line(&format!("Copying blob sha256:{:064}", 3)), None);
        let end = progress.line("Copying config sha256:ab").unwrap();
        assert_eq!((end.layers_done, end.layers_total), (8, 8));
    }
}
