//! The serial console of a device, captured to a file from the first byte of firmware output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Fault;
use crate::poll;

const TAIL_LINES: usize = 12;

/// The captured console; it goes on through power cycles.
#[derive(Debug, Clone)]
pub struct Console {
    file: PathBuf,
    power_on: usize,
}

impl Console {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, power_on: 0 }
    }

    /// From here on, [`Console::text`] and [`Console::wait_for`] see only what comes after this moment.
    pub(crate) fn mark_power_on(&mut self) {
        self.power_on = self.bytes().len();
    }

    /// The file with everything since the rig was made.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What was written since the device was last powered on. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        let bytes = self.bytes();
        String::from_utf8_lossy(bytes.get(self.power_on..).unwrap_or_default()).into_owned()
    }

    /// Waits until `pattern` was written since the device was last powered on; gives the line that holds it.
    pub fn wait_for(&self, pattern: &str, deadline: Duration) -> Result<String, Fault> {
        poll::until(&format!("`{pattern}` on the serial console"), deadline, || {
            let text = self.text();
            let line = text
                .lines()
                .find(|line| line.contains(pattern))
                .map(str::to_owned);
            Ok(line.ok_or_else(|| tail(&text)))
        })
    }

    /// The last lines since power on, for a message.
    pub fn tail(&self) -> String {
        tail(&self.text())
    }

    fn bytes(&self) -> Vec<u8> {
        // Absent until the device is first powered on.
        std::fs::read(&self.file).unwrap_or_default()
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_came_since_power_on_is_seen() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut console = Console::new(file.path().to_owned());
        writeln!(file, "first boot: login:").expect("written");
        assert!(console.wait_for("login:", Duration::ZERO).is_ok());
        console.mark_power_on();
        let late = console.wait_for("login:", Duration::from_millis(5));
        assert!(matches!(late, Err(Fault::Late { .. })), "{late:?}");
        writeln!(file, "second boot: login:").expect("written");
        assert_eq!(
            console.wait_for("login:", Duration::ZERO).expect("it is there"),
            "second boot: login:"
        );
    }
}
