//! `PodmanV0Score`: one container, and the rules that make it one podman will take.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::image::ImageRef;
use super::parts::{
    Capabilities, EnvVar, HealthCheck, NetworkMode, PortMapping, Resources, RestartPolicy, VolumeMount,
    VolumeSource,
};
use super::problem::{FieldError, label_problems};

/// One container on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodmanV0Score {
    /// What to run.
    pub image: ImageRef,
    /// Arguments after the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Ports of the device that lead into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// What is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// When it is started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// `uid`, `uid:gid` or a name that the image knows; the image's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The container's root file system cannot be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Capabilities, relative to podman's default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: Capabilities,
    /// How to find out that it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// How it reaches the network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: NetworkMode,
    /// Labels of the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Most entries in each list of a score.
const MAX_LIST: usize = 128;
/// Longest argument, variable or path, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// Least memory a container can start with.
const MIN_MEMORY: u64 = 6 << 20;
/// Labels with this prefix are the platform's.
const RESERVED_LABEL_PREFIX: &str = "fleet.";

impl PodmanV0Score {
    /// Everything that is wrong with it; empty is valid. Paths are relative to the score.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldError> {
        let mut found = Problems::default();
        self.check_lists(&mut found);
        self.check_texts(&mut found);
        self.check_ports(&mut found);
        self.check_volumes(&mut found);
        self.check_resources(&mut found);
        self.check_rights(&mut found);
        self.check_health(&mut found);
        found.0.extend(label_problems("labels", &self.labels));
        for key in self
            .labels
            .keys()
            .filter(|key| key.starts_with(RESERVED_LABEL_PREFIX))
        {
            found.add(
                format!("labels.{key}"),
                "begins with `fleet.`, which is kept for the platform",
            );
        }
        found.0
    }

    fn check_lists(&self, found: &mut Problems) {
        let lists = [
            ("args", self.args.len()),
            ("env", self.env.len()),
            ("ports", self.ports.len()),
            ("volumes", self.volumes.len()),
        ];
        for (name, len) in lists {
            found.unless(
                len <= MAX_LIST,
                name,
                format!("has {len} entries: {MAX_LIST} at most"),
            );
        }
    }

    fn check_texts(&self, found: &mut Problems) {
        for (i, arg) in self.args.iter().enumerate() {
            found.text(&format!("args[{i}]"), arg);
        }
        let mut seen = BTreeSet::new();
        for (i, variable) in self.env.iter().enumerate() {
            let path = format!("env[{i}].name");
            found.unless(
                is_variable(&variable.name),
                &path,
                "is not a letter or '_', then letters, digits or '_'",
            );
            found.unless(
                seen.insert(&variable.name),
                &path,
                format!("names {} a second time", variable.name),
            );
            found.text(&format!("env[{i}].value"), &variable.value);
        }
        if let Some(user) = &self.user {
            found.unless(is_user(user), "user", "is not a uid, uid:gid or name");
        }
    }

    fn check_ports(&self, found: &mut Problems) {
        if self.network != NetworkMode::Private && !self.ports.is_empty() {
            found.add(
                "ports",
                "cannot be mapped with this network mode: remove them or use `network: private`",
            );
        }
        for (i, port) in self.ports.iter().enumerate() {
            let path = format!("ports[{i}].host");
            found.unless(
                port.host >= 1024,
                &path,
                "is below 1024: containers run without root and cannot bind it",
            );
            found.unless(port.container != 0, &format!("ports[{i}].container"), "is 0");
            // Without an address a mapping takes the port of all of them.
            // Without an address a mapping takes the port of all of them.
            let taken = self.ports[..i].iter().any(|other| {
                let overlaps =
                    other.address == port.address || other.address.is_none() || port.address.is_none();
                (other.host, other.protocol) == (port.host, port.protocol) && overlaps
            });
            found.unless(!taken, &path, "is mapped a second time");
        }
    }

    fn check_volumes(&self, found: &mut Problems) {
        let mut paths = BTreeSet::new();
        let mut keeps = BTreeMap::new();
        for (i, mount) in self.volumes.iter().enumerate() {
            let path = format!("volumes[{i}].path");
            found.absolute(&path, &mount.path);
            found.unless(mount.path != "/", &path, "is the container's root");
            found.unless(paths.insert(&mount.path), &path, "is mounted a second time");
            match &mount.source {
                VolumeSource::Volume { name, keep } => {
                    let path = format!("volumes[{i}].source.volume.name");
                    if let Err(error) = crate::id::DeploymentName::new(name.as_str()) {
                        found.add(&path, error.to_string());
                    }
                    let same = *keeps.entry(name).or_insert(*keep) == *keep;
                    found.unless(same, &path, "is mounted twice with different `keep`");
                }
                VolumeSource::HostPath { path: host } => {
                    let path = format!("volumes[{i}].source.host_path.path");
                    found.absolute(&path, host);
                    found.unless(
                        !is_systems_own(host),
                        &path,
                        "belongs to the system or to the agent: use a volume, or a path under /srv, /mnt, /media or /dev",
                    );
                }
            }
        }
    }

    fn check_resources(&self, found: &mut Problems) {
        if let Some(memory) = self.resources.memory {
            found.unless(
                memory.0 >= MIN_MEMORY,
                "resources.memory",
                "is under 6Mi: no container starts with less",
            );
        }
        if let Some(cpus) = self.resources.cpus {
            found.unless(cpus.milli >= 10, "resources.cpus", "is under 0.01");
        }
        if let Some(pids) = self.resources.pids {
            found.unless(
                pids >= 1,
                "resources.pids",
                "is 0: a container needs at least one process",
            );
        }
    }

    fn check_rights(&self, found: &mut Problems) {
        let lists = [("add", &self.capabilities.add), ("drop", &self.capabilities.drop)];
        for (list, names) in lists {
            for (i, name) in names.iter().enumerate() {
                let known = CAPABILITIES.contains(&name.as_str()) || (list == "drop" && name == "ALL");
                let path = format!("capabilities.{list}[{i}]");
                found.unless(
                    known,
                    &path,
                    format!("{name:?} is no capability (such as NET_BIND_SERVICE)"),
                );
            }
        }
    }

    fn check_health(&self, found: &mut Problems) {
        let Some(health) = &self.health else { return };
        found.unless(!health.command.is_empty(), "health.command", "is empty");
        for (i, word) in health.command.iter().enumerate() {
            found.text(&format!("health.command[{i}]"), word);
        }
        found.unless(
            health.interval.duration().as_secs() >= 1,
            "health.interval",
            "is under 1s",
        );
        found.unless(
            health.timeout.duration().as_secs() >= 1,
            "health.timeout",
            "is under 1s",
        );
        found.unless(health.retries >= 1, "health.retries", "is 0");
    }
}

/// What was found wrong so far.
#[derive(Default)]
struct Problems(Vec<FieldError>);

impl Problems {
    fn add(&mut self, path: impl AsRef<str>, problem: impl Into<String>) {
        self.0.push(FieldError::new(path.as_ref(), problem));
    }

    fn unless(&mut self, good: bool, path: &str, problem: impl Into<String>) {
        if !good {
            self.add(path, problem);
        }
    }

    fn text(&mut self, path: &str, text: &str) {
        self.unless(
            text.len() <= MAX_TEXT,
            path,
            format!("is {} bytes: {MAX_TEXT} at most", text.len()),
        );
        self.unless(!text.contains('\0'), path, "has a NUL character");
    }

    fn absolute(&mut self, path: &str, value: &str) {
        self.text(path, value);
        let walked = value.starts_with('/') && !value.split('/').any(|part| part == ".." || part == ".");
        self.unless(walked, path, "is not an absolute path without `.` and `..`");
        let plain = !value.chars().any(|c| c.is_control() || c == ':' || c == ',');
        self.unless(
            plain,
            path,
            "has a ':', a ',' or a control character, which podman's mounts cannot express",
        );
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 256
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_user(user: &str) -> bool {
    let word = |text: &str| {
        (1..=32).contains(&text.len())
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match user.split_once(':') {
        Some((user, group)) => word(user) && word(group),
        None => word(user),
    }
}

/// Paths of the device that a container must not see: the system's, and those where the agent keeps its
/// secrets. The user namespace alone would not keep a container out of the latter: its root is the
/// agent's own user.
fn is_systems_own(path: &str) -> bool {
    const CLOSED: [&str; 16] = [
        "/bin",
        "/boot",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/tmp",
        "/usr",
        "/var/lib/fleet",
        "/var/run",
    ];
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let path = format!("/{}", parts.join("/"));
    // An ancestor of a closed path would expose it: `/`, `/var`, `/var/lib`.
    CLOSED.iter().any(|closed| {
        let within = path == *closed || path.starts_with(&format!("{closed}/"));
        let above = path == "/" || closed.starts_with(&format!("{path}/"));
        within || above
    })
}

/// capabilities(7), Linux 6.12.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn paths_of(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut value = json!({ "image": "10.0.2.100:5000/web:1" });
        change(&mut value);
        let score: PodmanV0Score = serde_json::from_value(value).unwrap();
        score.problems().into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn the_least_score_is_valid_and_its_bytes_are_short() {
        assert!(paths_of(|_| ()).is_empty());
        let score: PodmanV0Score = serde_json::from_value(json!({ "image": "a.b/c:1" })).unwrap();
        assert_eq!(serde_json::to_string(&score).unwrap(), r#"{"image":"a.b/c:1"}"#);
    }

    #[test]
    fn each_refusal_names_its_field() {
        type Case = (Value, &'static str);
        let cases: Vec<Case> = vec![
            (json!({"ports": [{"host": 80, "container": 80}]}), "ports[0].host"),
            (
                json!({"ports": [{"host": 8080, "container": 0}]}),
                "ports[0].container",
            ),
            (
                json!({"ports": [{"host": 8080, "container": 1}, {"host": 8080, "container": 2}]}),
                "ports[1].host",
            ),
            (
                json!({"ports": [{"host": 8080, "container": 1, "address": "127.0.0.1"}, {"host": 8080, "container": 2}]}),
                "ports[1].host",
            ),
            (
                json!({"ports": [{"host": 8080, "container": 1}, {"host": 8080, "container": 2, "address": "127.0.0.1"}]}),
                "ports[1].host",
            ),
            (
                json!({"network": "host", "ports": [{"host": 8080, "container": 1}]}),
                "ports",
            ),
            (json!({"env": [{"name": "A B", "value": ""}]}), "env[0].name"),
            (
                json!({"env": [{"name": "A", "value": ""}, {"name": "A", "value": ""}]}),
                "env[1].name",
            ),
            (json!({"env": [{"name": "A", "value": "\u{0}"}]}), "env[0].value"),
            (
                json!({"volumes": [{"source": {"host_path": {"path": "/var/lib"}}, "path": "/x"}]}),
                "volumes[0].source.host_path.path",
            ),
            (
                json!({"volumes": [{"source": {"host_path": {"path": "//etc/"}}, "path": "/x"}]}),
                "volumes[0].source.host_path.path",
            ),
            (
                json!({"volumes": [{"source": {"volume": {"name": "a/b"}}, "path": "/x"}]}),
                "volumes[0].source.volume.name",
            ),
            (
                json!({"volumes": [{"source": {"volume": {"name": "a"}}, "path": "x"}]}),
                "volumes[0].path",
            ),
            (
                json!({"volumes": [{"source": {"volume": {"name": "a"}}, "path": "/x:y"}]}),
                "volumes[0].path",
            ),
            (json!({"resources": {"memory": "1Mi"}}), "resources.memory"),
            (json!({"resources": {"cpus": "0.001"}}), "resources.cpus"),
            (json!({"resources": {"pids": 0}}), "resources.pids"),
            (json!({"capabilities": {"add": ["ALL"]}}), "capabilities.add[0]"),
            (json!({"user": "-x"}), "user"),
            (json!({"health": {"command": []}}), "health.command"),
            (json!({"labels": {"fleet.x": "y"}}), "labels.fleet.x"),
        ];
        for (part, path) in cases {
            let found = paths_of(|value| {
                value
                    .as_object_mut()
                    .unwrap()
                    .extend(part.as_object().unwrap().clone());
            });
            assert_eq!(found, vec![path.to_owned()], "{part}");
        }
    }

    #[test]
    fn a_field_that_this_build_does_not_know_is_refused() {
        let value = json!({"image": "a.b/c:1", "privileged": true});
        let error = serde_json::from_value::<PodmanV0Score>(value)
            .unwrap_err()
            .to_string();
        assert!(error.contains("privileged"), "{error}");
    }
}
