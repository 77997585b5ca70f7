//! A site's device under trial: the questions that every suite asks of a running device, and the faults that hit its agent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fleet_protocol::{PodmanV0Score, Score};
use fleet_testbed::files::write_atomically;
use fleet_testbed::sample::{SampleError, WEB_PORT};

use super::{FleetKv, PageWatch, Site, SiteError, Version};
use crate::error::{Fault, RigError};
use crate::poll;
use crate::qemu::{Forward, QemuRig, QemuSettings};
use crate::rig::{Rig, Service, quote};

/// One command in the device; podman alone takes seconds on a virtual one that shares its cores.
const COMMAND: Duration = Duration::from_secs(90);
/// The user whose units, containers and records these are.
const USER: &str = "fleet";
/// Where the agent keeps what a power cut must not take.
const RECORDS: &str = "/var/lib/fleet/agent";
const AGENT: &str = "fleet-agent.service";

/// A running device with the services it calls and the buckets between them.
pub struct Trial {
    // Order matters to Drop: the device goes before its services.
    /// The device.
    pub rig: QemuRig,
    /// The buckets.
    pub kv: FleetKv,
    /// nats-server and registry.
    pub site: Site,
}

impl Trial {
    /// Gives a device to `test`; when that fails, the device's own log is left in the rig's folder.
    pub fn run<E: From<SiteError>>(
        name: &str,
        test: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        Self::begin(name)?.put_to(test)
    }

    /// As [`Trial::run`], with a device that reaches this machine's own ports at 10.0.2.2, UDP among them.
    pub fn run_with_a_way_out<E: From<SiteError>>(
        name: &str,
        test: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        Self::begin_with(name, |settings| settings.internet = true)?.put_to(test)
    }

    fn put_to<E>(mut self, test: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let outcome = test(&mut self);
        if outcome.is_err() {
            self.keep_log();
        }
        outcome
    }

    /// A restored device; its port [`WEB_PORT`] is reached from this machine.
    pub fn begin(name: &str) -> Result<Self, SiteError> {
        Self::begin_with(name, |_| {})
    }

    fn begin_with(name: &str, change: impl FnOnce(&mut QemuSettings)) -> Result<Self, SiteError> {
        let site = Site::open()?;
        let kv = site.kv()?;
        let forward = Forward {
            device_port: WEB_PORT,
            host_port: None,
        };
        let mut settings = QemuSettings {
            forwards: vec![forward],
            ..site.settings(name)
        };
        change(&mut settings);
        let rig = site.prepared()?.restore(settings)?;
        Ok(Self { rig, kv, site })
    }

    /// Puts a version of the page into the registry.
    pub fn push(&self, version: &Version) -> Result<(), SiteError> {
        let pushed = self
            .site
            .registry
            .push(&version.image, version.repository(), &version.tag);
        pushed.map(drop).map_err(|source| {
            SiteError::Samples(SampleError::Push {
                sample: version.name(),
                source,
            })
        })
    }

    /// Begins to watch the page at a fine interval.
    ///
    /// # Panics
    /// Never: the port is forwarded for each trial.
    pub fn watch_page(&self) -> PageWatch {
        PageWatch::begin(self.rig.host_address(WEB_PORT).expect("each trial forwards it"))
    }

    /// Runs a command as root, which must end well; gives its trimmed output.
    pub fn root(&mut self, command: &str) -> Result<String, RigError> {
        self.rig.run_ok(command, COMMAND)
    }

    /// Runs a command as the user `fleet`, which must end well; gives its trimmed output.
    pub fn fleet(&mut self, command: &str) -> Result<String, RigError> {
        let output = self.rig.run_as(USER, command, COMMAND)?;
        if output.success() {
            return Ok(output.text());
        }
        let fault = Fault::Command {
            command: command.to_owned(),
            status: output.status,
            said: output.said(),
        };
        Err(fault.of_rig(self.rig.name(), self.rig.logs()))
    }

    /// Repeats a command as the user `fleet` until it ends well.
    pub fn until_fleet(&mut self, command: &str, deadline: Duration) -> Result<String, RigError> {
        let (name, logs) = (self.rig.name().to_owned(), self.rig.logs().to_owned());
        let outcome = poll::until(&format!("`{command}` as {USER}"), deadline, || {
            Ok(self.fleet(command).map_err(|error| error.to_string()))
        });
        outcome.map_err(|fault| fault.of_rig(&name, logs))
    }

    /// Properties of a user unit, one a line, in the order asked for.
    pub fn unit(&mut self, unit: &str, properties: &[&str]) -> Result<Vec<String>, RigError> {
        let ask = |property: &&str| format!("systemctl --user show -P {property} {}", quote(unit));
        let commands: Vec<_> = properties.iter().map(ask).collect();
        Ok(self
            .fleet(&commands.join(" && "))?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// systemd's id of the current run of a deployment's unit: another one is another start.
    pub fn invocation(&mut self, deployment: &str) -> Result<String, RigError> {
        let unit = format!("fleet-{deployment}.service");
        Ok(self.unit(&unit, &["InvocationID"])?.concat())
    }

    /// The agent's process id, and how often systemd had to start it again.
    pub fn agent(&mut self) -> Result<(String, u32), RigError> {
        let answer = self.unit(AGENT, &["MainPID", "NRestarts"])?;
        let restarts = answer.get(1).and_then(|count| count.parse().ok());
        Ok((
            answer.first().cloned().unwrap_or_default(),
            restarts.unwrap_or_default(),
        ))
    }

    /// Kills the agent's own process with SIGKILL and gives what it showed of itself right before (JSON of `fleet-agent
    /// status`): the proof of where it was hit. systemd is not asked, so that it may be busy.
    pub fn kill_agent(&mut self) -> Result<serde_json::Value, RigError> {
        let shown = self.fleet(
            "shown=$(fleet-agent status --json) && echo \"$shown\" && \
             kill -KILL $(echo \"$shown\" | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')",
        )?;
        serde_json::from_str(&shown).map_err(|error| {
            let fault = Fault::Protocol {
                peer: "fleet-agent status",
                detail: format!("{error} in {shown}"),
            };
            fault.of_rig(self.rig.name(), self.rig.logs())
        })
    }

    /// Waits until the agent is up, with another process than `before`.
    pub fn wait_for_next_agent(&mut self, before: &str, deadline: Duration) -> Result<String, RigError> {
        self.until_fleet(
            &format!(
                "systemctl --user is-active --quiet {AGENT} && pid=$(systemctl --user show -P MainPID {AGENT}) && \
                 [ \"$pid\" != 0 ] && [ \"$pid\" != {before} ] && echo \"$pid\""
            ),
            deadline,
        )
    }

    /// Gives the agent a fragment of settings and restarts it.
    pub fn tune_agent(&mut self, fragment: &str) -> Result<(), RigError> {
        let path = "/etc/fleet/agent.d/90-trial.toml";
        self.rig.put_file(path, fragment.as_bytes(), COMMAND)?;
        self.fleet(&format!("systemctl --user restart {AGENT}"))?;
        Ok(())
    }

    /// The text of a record about a deployment, such as `desired`.
    pub fn record(&mut self, shelf: &str, deployment: &str) -> Result<String, RigError> {
        self.root(&format!("cat {RECORDS}/{shelf}/{deployment}.json"))
    }

    /// Everything on the device that belongs to a deployment, one a line; empty when nothing does.
    pub fn belongings(&mut self, deployment: &str) -> Result<String, RigError> {
        self.fleet(&format!(
            "cd {RECORDS} && ls -d */{deployment}.json* ~/.config/containers/systemd/fleet-{deployment}.* 2>/dev/null; \
             podman ps --all --external --format 'container {{{{.Names}}}}' --filter name='^fleet-{deployment}$'; \
             podman volume ls --format 'volume {{{{.Name}}}}' --filter name='^fleet-{deployment}[.]'; \
             systemctl --user list-units --all --plain --no-legend 'fleet-{deployment}.*'"
        ))
    }

    /// The page that the device serves now, as this machine sees it; `None` while it serves none.
    pub fn page(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.rig.host_address(WEB_PORT)?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let status = page.lines().next().unwrap_or_default();
        status.contains(" 200 ").then_some(page)
    }

    /// Waits until the page holds `text`.
    pub fn wait_for_page(&self, text: &str, deadline: Duration) -> Result<String, RigError> {
        let outcome = poll::until(&format!("{text:?} on the page"), deadline, || {
            let page = self.page().unwrap_or_default();
            Ok(if page.contains(text) { Ok(page) } else { Err(page) })
        });
        outcome.map_err(|fault| fault.of_rig(self.rig.name(), self.rig.logs()))
    }

    fn keep_log(&mut self) {
        let log = self
            .rig
            .run("journalctl -b --no-pager -o short-monotonic", COMMAND);
        if let Ok(log) = log {
            // A log that cannot be kept is no reason for another failure.
            let _ = write_atomically(&self.rig.logs().join("journal.log"), 0o644, &log.stdout);
        }
    }
}

/// A score for an image of the site's registry, with the further fields of `more` (an object).
///
/// # Panics
/// When the test's own JSON is no score.
pub fn score(image: &str, mut more: serde_json::Value) -> Score {
    more["image"] = format!("{}/{image}", Service::Registry.device_address()).into();
    let score: PodmanV0Score = serde_json::from_value(more).expect("a test writes its scores well");
    Score::PodmanV0(Box::new(score))
}

/// The sample web page on [`WEB_PORT`] of the device, with further fields.
pub fn web(version: &str, mut more: serde_json::Value) -> Score {
    more["ports"] = serde_json::json!([{ "host": WEB_PORT, "container": WEB_PORT }]);
    score(&format!("sample-web:{version}"), more)
}
