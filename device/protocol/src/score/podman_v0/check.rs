//! The rules that make a score one podman will take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::PodmanV0Score;
use super::found::{Problems, is_user, is_variable};
use super::rights::{CAPABILITIES, is_systems_own};
use crate::score::init::InitContainer;
use crate::score::lifecycle::LifecyclePolicy;
use crate::score::parts::{EnvVar, NetworkMode, VolumeMount, VolumeSource};
use crate::score::problem::{FieldError, label_problems};

/// Most entries in each list of a score.
const MAX_LIST: usize = 128;
/// Most init containers.
const MAX_INITS: usize = 16;
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
        let mut keeps = Keeps::new();
        self.check_volumes(&mut keeps, &mut found);
        self.check_inits(&mut keeps, &mut found);
        self.check_lifecycle(&mut found);
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
            check_length(name, len, found);
        }
    }

    fn check_texts(&self, found: &mut Problems) {
        check_words("", &self.args, &self.env, found);
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
            let taken = self.ports[..i].iter().any(|other| {
                let overlaps =
                    other.address == port.address || other.address.is_none() || port.address.is_none();
                (other.host, other.protocol) == (port.host, port.protocol) && overlaps
            });
            found.unless(!taken, &path, "is mapped a second time");
        }
    }

    fn check_volumes<'a>(&'a self, keeps: &mut Keeps<'a>, found: &mut Problems) {
        check_volumes("", &self.volumes, keeps, found);
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

    fn check_lifecycle(&self, found: &mut Problems) {
        let Some(policy) = &self.lifecycle else { return };
        let grace = policy.grace_period.duration();
        found.unless(
            grace.as_secs() >= 1,
            "lifecycle.grace_period",
            "is under 1s: give the container time to end",
        );
        found.unless(
            grace <= Duration::from_secs(LifecyclePolicy::MAX_GRACE_SECS),
            "lifecycle.grace_period",
            "is over 1h: an upgrade that waits longer looks stuck",
        );
    }

    fn check_inits<'a>(&'a self, keeps: &mut Keeps<'a>, found: &mut Problems) {
        let count = self.init_containers.len();
        found.unless(
            count <= MAX_INITS,
            "init_containers",
            format!("has {count} entries: {MAX_INITS} at most"),
        );
        let mut names = BTreeSet::new();
        for (i, init) in self.init_containers.iter().enumerate() {
            let at = format!("init_containers[{i}].");
            let name = format!("{at}name");
            if let Err(error) = crate::id::DeploymentName::new(init.name.as_str()) {
                found.add(&name, error.to_string());
            }
            found.unless(
                names.insert(&init.name),
                &name,
                format!("names {} a second time", init.name),
            );
            for (list, len) in [
                ("args", init.args.len()),
                ("env", init.env.len()),
                ("volumes", init.volumes.len()),
            ] {
                check_length(&format!("{at}{list}"), len, found);
            }
            check_words(&at, &init.args, &init.env, found);
            check_volumes(&at, &init.volumes, keeps, found);
            let seconds = init.timeout.duration().as_secs();
            found.unless(
                (1..=InitContainer::MAX_TIMEOUT_SECS).contains(&seconds),
                &format!("{at}timeout"),
                "is not between 1s and 24h",
            );
        }
    }
}

/// Whether each volume is kept: the same for all mounts of it.
type Keeps<'a> = BTreeMap<&'a str, bool>;

fn check_length(path: &str, len: usize, found: &mut Problems) {
    found.unless(
        len <= MAX_LIST,
        path,
        format!("has {len} entries: {MAX_LIST} at most"),
    );
}

/// Arguments and environment of one container, whose fields begin with `at`.
fn check_words(at: &str, args: &[String], env: &[EnvVar], found: &mut Problems) {
    for (i, arg) in args.iter().enumerate() {
        found.text(&format!("{at}args[{i}]"), arg);
    }
    let mut seen = BTreeSet::new();
    for (i, variable) in env.iter().enumerate() {
        let path = format!("{at}env[{i}].name");
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
        found.text(&format!("{at}env[{i}].value"), &variable.value);
    }
}

/// Mounts of one container, whose fields begin with `at`.
fn check_volumes<'a>(at: &str, volumes: &'a [VolumeMount], keeps: &mut Keeps<'a>, found: &mut Problems) {
    let mut paths = BTreeSet::new();
    for (i, mount) in volumes.iter().enumerate() {
        let path = format!("{at}volumes[{i}].path");
        found.absolute(&path, &mount.path);
        found.unless(mount.path != "/", &path, "is the container's root");
        found.unless(paths.insert(&mount.path), &path, "is mounted a second time");
        match &mount.source {
            VolumeSource::Volume { name, keep } => {
                let path = format!("{at}volumes[{i}].source.volume.name");
                if let Err(error) = crate::id::DeploymentName::new(name.as_str()) {
                    found.add(&path, error.to_string());
                }
                let same = *keeps.entry(name).or_insert(*keep) == *keep;
                found.unless(same, &path, "is mounted twice with different `keep`");
            }
            VolumeSource::HostPath { path: host } => {
                let path = format!("{at}volumes[{i}].source.host_path.path");
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
