//! How the agent behaves: defaults, overridden by fragments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_protocol::time_server::{MAX_SERVERS, ServerName};
use serde::Deserialize;
use tracing::Level;

use super::{SettingsError, malformed, read};

/// One file `*.toml`. Every field is optional; one that this build does not know is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: Option<String>,
    /// Pulls at one time.
    pub pulls_at_once: Option<usize>,
    /// Minutes between two looks at units and files that nobody reported as changed.
    pub drift_check_minutes: Option<u64>,
    /// Longest wait between two tries to connect, in seconds.
    pub reconnect_max_seconds: Option<u64>,
    /// Minutes that an image stays after the last change of a deployment, though nothing uses it.
    pub keep_images_minutes: Option<u64>,
    /// Minutes in which a pull neither says a word nor receives a byte before it is ended and tried again.
    pub pull_stall_minutes: Option<u64>,
    /// Time servers to compare the clock with: `host`, `host:port`, an address. None means that the clock is not checked.
    pub clock_servers: Option<Vec<String>>,
    /// Seconds by which the clock may be off before the agent refuses to start with it.
    pub clock_tolerance_seconds: Option<u64>,
    /// Hours between two checks of a clock that is right.
    pub clock_check_hours: Option<u64>,
    /// UDP port from which time servers are asked, where a firewall lets one out only; 0 is any. The agent's user may
    /// not take one below 1024.
    pub clock_source_port: Option<u16>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// This file did.
    File(PathBuf),
}

/// How the agent behaves.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Lines below it are not logged.
    pub log_level: Level,
    /// See [`Fragment::pulls_at_once`].
    pub pulls_at_once: usize,
    /// See [`Fragment::drift_check_minutes`].
    pub drift_check: Duration,
    /// See [`Fragment::reconnect_max_seconds`].
    pub reconnect_max: Duration,
    /// See [`Fragment::keep_images_minutes`].
    pub keep_images: Duration,
    /// See [`Fragment::pull_stall_minutes`].
    pub pull_stall: Duration,
    /// See [`Fragment::clock_servers`].
    pub clock_servers: Vec<ServerName>,
    /// See [`Fragment::clock_tolerance_seconds`].
    pub clock_tolerance: Duration,
    /// See [`Fragment::clock_check_hours`].
    pub clock_check: Duration,
    /// See [`Fragment::clock_source_port`].
    pub clock_source_port: u16,
    /// Where each value comes from, by its name in a fragment.
    pub sources: BTreeMap<&'static str, Source>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            log_level: Level::INFO,
            pulls_at_once: 1,
            drift_check: Duration::from_mins(10),
            reconnect_max: Duration::from_secs(60),
            keep_images: Duration::from_mins(60),
            pull_stall: Duration::from_mins(15),
            clock_servers: CLOCK_SERVERS
                .iter()
                .map(|name| name.parse().expect("a constant that is a name"))
                .collect(),
            clock_tolerance: Duration::from_secs(30),
            clock_check: Duration::from_hours(6),
            clock_source_port: 0,
            sources: NAMES.iter().map(|name| (*name, Source::Default)).collect(),
        }
    }
}

const CLOCK_SERVERS: [&str; 2] = ["time.cloudflare.com", "pool.ntp.org"];
const NAMES: [&str; 10] = [
    "log_level",
    "pulls_at_once",
    "drift_check_minutes",
    "reconnect_max_seconds",
    "keep_images_minutes",
    "pull_stall_minutes",
    "clock_servers",
    "clock_tolerance_seconds",
    "clock_check_hours",
    "clock_source_port",
];

impl Tuning {
    /// Reads the fragments of these folders in order.
    ///
    /// # Errors
    /// [`SettingsError`] names the file and what is wrong in it.
    pub fn read(folders: &[PathBuf]) -> Result<Self, SettingsError> {
        let mut tuning = Self::default();
        for folder in folders {
            for path in fragments_in(folder)? {
                let fragment: Fragment =
                    toml::from_str(&read(&path)?).map_err(|error| malformed(&path, error))?;
                tuning
                    .merge(fragment, &path)
                    .map_err(|problem| malformed(&path, problem))?;
            }
        }
        Ok(tuning)
    }

    fn merge(&mut self, fragment: Fragment, path: &Path) -> Result<(), String> {
        let mut set = |name| self.sources.insert(name, Source::File(path.to_owned()));
        if let Some(level) = fragment.log_level {
            let known = "error, warn, info, debug or trace";
            self.log_level = level
                .parse()
                .map_err(|_| format!("log_level {level:?} is not {known}"))?;
            set("log_level");
        }
        if let Some(pulls) = within("pulls_at_once", fragment.pulls_at_once, 1, 16)? {
            self.pulls_at_once = pulls;
            set("pulls_at_once");
        }
        if let Some(minutes) = within("drift_check_minutes", fragment.drift_check_minutes, 1, 1440)? {
            self.drift_check = Duration::from_mins(minutes);
            set("drift_check_minutes");
        }
        if let Some(seconds) = within("reconnect_max_seconds", fragment.reconnect_max_seconds, 1, 3600)? {
            self.reconnect_max = Duration::from_secs(seconds);
            set("reconnect_max_seconds");
        }
        if let Some(minutes) = within("keep_images_minutes", fragment.keep_images_minutes, 0, 525_600)? {
            self.keep_images = Duration::from_mins(minutes);
            set("keep_images_minutes");
        }
        if let Some(minutes) = within("pull_stall_minutes", fragment.pull_stall_minutes, 1, 720)? {
            self.pull_stall = Duration::from_mins(minutes);
            set("pull_stall_minutes");
        }
        if let Some(servers) = fragment.clock_servers {
            self.clock_servers = clock_servers(&servers)?;
            set("clock_servers");
        }
        if let Some(seconds) = within(
            "clock_tolerance_seconds",
            fragment.clock_tolerance_seconds,
            1,
            300,
        )? {
            self.clock_tolerance = Duration::from_secs(seconds);
            set("clock_tolerance_seconds");
        }
        if let Some(hours) = within("clock_check_hours", fragment.clock_check_hours, 1, 168)? {
            self.clock_check = Duration::from_hours(hours);
            set("clock_check_hours");
        }
        if let Some(port) = fragment.clock_source_port {
            if (1..1024).contains(&port) {
                return Err(format!(
                    "clock_source_port = {port} is not 0 and not between 1024 and 65535"
                ));
            }
            self.clock_source_port = port;
            set("clock_source_port");
        }
        Ok(())
    }

    /// Each value with its name in a fragment.
    #[must_use]
    pub fn values(&self) -> [(&'static str, String); 10] {
        [
            ("log_level", self.log_level.to_string().to_lowercase()),
            ("pulls_at_once", self.pulls_at_once.to_string()),
            (
                "drift_check_minutes",
                (self.drift_check.as_secs() / 60).to_string(),
            ),
            ("reconnect_max_seconds", self.reconnect_max.as_secs().to_string()),
            (
                "keep_images_minutes",
                (self.keep_images.as_secs() / 60).to_string(),
            ),
            ("pull_stall_minutes", (self.pull_stall.as_secs() / 60).to_string()),
            ("clock_servers", {
                let names: Vec<String> = self.clock_servers.iter().map(ToString::to_string).collect();
                names.join(",")
            }),
            (
                "clock_tolerance_seconds",
                self.clock_tolerance.as_secs().to_string(),
            ),
            (
                "clock_check_hours",
                (self.clock_check.as_secs() / 3600).to_string(),
            ),
            ("clock_source_port", self.clock_source_port.to_string()),
        ]
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: Option<T>,
    least: T,
    most: T,
) -> Result<Option<T>, String> {
    match value {
        Some(value) if value < least || value > most => {
            Err(format!("{name} = {value} is not between {least} and {most}"))
        }
        value => Ok(value),
    }
}

impl Tuning {
    /// Time servers that were given at enrolment stand above the defaults and below the fragments.
    pub(super) fn enrolled_servers(&mut self, servers: &[ServerName], device_toml: &Path) {
        if self.sources.get("clock_servers") == Some(&Source::Default) {
            self.clock_servers = servers.to_vec();
            self.sources
                .insert("clock_servers", Source::File(device_toml.to_owned()));
        }
    }
}

fn clock_servers(names: &[String]) -> Result<Vec<ServerName>, String> {
    if names.len() > MAX_SERVERS {
        let given = names.len();
        return Err(format!("clock_servers has {given} names: {MAX_SERVERS} at most"));
    }
    let parse = |name: &String| name.parse().map_err(|error| format!("clock_servers: {error}"));
    names.iter().map(parse).collect()
}

/// The files `*.toml` of a folder, sorted by name; a folder that does not exist has none.
fn fragments_in(folder: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let failed = |source| SettingsError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let _ = fleet_host::durable::replace(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
        }
        dir
    }

    #[test]
    fn a_later_fragment_wins_and_each_value_says_where_it_comes_from() {
        let usr = folder(&[("10-a.toml", "pulls_at_once = 2\nlog_level = \"debug\"\n")]);
        let etc = folder(&[("10-b.toml", "pulls_at_once = 3\n"), ("notes.txt", "x")]);
        let tuning = Tuning::read(&[usr.path().into(), "/nonexistent".into(), etc.path().into()]).unwrap();
        assert_eq!((tuning.pulls_at_once, tuning.log_level), (3, Level::DEBUG));
        assert_eq!(
            tuning.sources["pulls_at_once"],
            Source::File(etc.path().join("10-b.toml"))
        );
        assert_eq!(tuning.sources["drift_check_minutes"], Source::Default);
    }

    #[test]
    fn time_servers_of_the_enrolment_stand_above_the_defaults_and_below_the_fragments() {
        let enrolled = ["ntp.lyon.example.com".parse().unwrap()];
        let mut tuning = Tuning::default();
        assert_eq!(tuning.clock_servers.len(), 2);
        tuning.enrolled_servers(&enrolled, Path::new("/x/device.toml"));
        assert_eq!(tuning.clock_servers, enrolled);
        assert_eq!(
            tuning.sources["clock_servers"],
            Source::File("/x/device.toml".into())
        );
        let etc = folder(&[("10-a.toml", "clock_servers = [\"10.0.0.1:1123\"]\n")]);
        let mut tuning = Tuning::read(&[etc.path().into()]).unwrap();
        tuning.enrolled_servers(&enrolled, Path::new("/x/device.toml"));
        assert_eq!(tuning.clock_servers[0].to_string(), "10.0.0.1:1123");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_file_and_name() {
        for (text, word) in [
            ("pulls = 2\n", "pulls"),
            ("pulls_at_once = 0\n", "pulls_at_once"),
            ("log_level = \"loud\"\n", "log_level"),
            ("clock_servers = [\"ntp://x\"]\n", "clock_servers"),
            (
                "clock_servers = [\"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\"]\n",
                "8 at most",
            ),
            ("clock_tolerance_seconds = 301\n", "clock_tolerance_seconds"),
            ("clock_check_hours = 0\n", "clock_check_hours"),
            ("clock_source_port = 123\n", "clock_source_port"),
        ] {
            let dir = folder(&[("a.toml", text)]);
            let error = Tuning::read(&[dir.path().into()]).unwrap_err().to_string();
            assert!(error.contains("a.toml") && error.contains(word), "{error}");
        }
    }
}
