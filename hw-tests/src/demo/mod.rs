//! The main job, from an image to a page: services, a virtual device that boots for the first time, simulated devices beside it, a
//! deployment by `fleetctl`, and what a person would look at.

mod line;
mod programs;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_protocol::DeviceId;
use fleet_testbed::process::Service;
use fleet_testbed::progress::Progress;
use fleet_testbed::{files, interrupt};

use crate::folders::RigFolder;
use crate::image::DeviceImage;
use crate::qemu::{Forward, QemuRig, QemuSettings};
use crate::rig::Rig;
use crate::site::{DEVICE, SITE_LABEL, Site};

pub use line::DemoLine;
pub use programs::Programs;

/// The port that the sample application serves on, in container and device.
const WEB_PORT: u16 = 8080;
const MANIFEST: &str = "docs/examples/web.yaml";
const DEPLOYMENT: &str = "web";
const BOOT: Duration = Duration::from_secs(300);
const READY: Duration = Duration::from_secs(60);
const PAGE: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(15);
/// Between two looks at something that takes seconds.
const LOOK: Duration = Duration::from_millis(200);

/// What a person may choose.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Simulated devices beside the virtual one.
    pub devices: u32,
    /// The dashboard's port.
    pub port: u16,
    /// Where the device's application is reached.
    pub web_port: u16,
    /// The checkout: where the example manifest lies.
    pub checkout: PathBuf,
}

/// A running demo. Dropping it ends all that it started, the device first.
pub struct Demo {
    options: DemoOptions,
    programs: Programs,
    rig: Option<QemuRig>,
    simulation: Option<Service>,
    operator: Option<Service>,
    site: Option<Site>,
    folder: RigFolder,
}

impl Demo {
    /// A demo that has not begun.
    pub fn new(options: DemoOptions) -> Result<Self> {
        Ok(Self {
            options,
            programs: Programs::beside_this_one()?,
            rig: None,
            simulation: None,
            operator: None,
            site: None,
            folder: RigFolder::make("demo-services")?,
        })
    }

    /// Does all of it; what was seen so far is in `line`, also when a stage fails.
    pub fn run(&mut self, line: &mut DemoLine) -> Result<()> {
        self.stage(line, "services", Self::start_services)?;
        self.stage(line, "operator", Self::start_operator)?;
        if self.options.devices > 0 {
            self.stage(line, "simulated-devices", Self::start_simulation)?;
        }
        self.stage(line, "boot", Self::boot)?;
        self.stage(line, "apply", |demo| {
            demo.fleetctl(&["apply", "-f", &demo.manifest()])
        })?;
        let deployed = self.stage(line, "deploy", |demo| {
            demo.fleetctl(&["rollout", "status", "deployment", DEPLOYMENT, "--timeout", "10m"])
        });
        line.deployment_phase = self.phase().ok();
        deployed?;
        let mut status = None;
        let served = self.stage(line, "page", |demo| demo.fetch_page(&mut status));
        line.page_status = status;
        served?;
        self.stage(line, "logs", |demo| demo.read_logs())
    }

    /// The dashboard's address.
    pub fn dashboard(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.port)
    }

    /// The address of the application that the device runs.
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.options.web_port)
    }

    /// An error that says what has ended by itself, if anything has.
    pub fn check(&mut self) -> Result<()> {
        self.check_services()?;
        if let Some(rig) = &mut self.rig {
            ensure!(
                rig.is_on()?,
                "the device switched itself off; see {}",
                rig.logs().display()
            );
        }
        Ok(())
    }

    fn check_services(&mut self) -> Result<()> {
        if let Some(site) = &mut self.site {
            site.nats.check()?;
            site.registry.check()?;
        }
        for service in [&mut self.operator, &mut self.simulation].into_iter().flatten() {
            service.check().with_context(|| {
                format!("a part of the demo died, its log is {}", service.log().display())
            })?;
        }
        Ok(())
    }

    /// Ends everything, device first, and says what did not end in order.
    pub fn end(mut self) -> Result<()> {
        drop(self.rig.take());
        for service in [self.simulation.take(), self.operator.take()]
            .into_iter()
            .flatten()
        {
            service.stop(END)?;
        }
        Ok(())
    }

    fn stage<T>(
        &mut self,
        line: &mut DemoLine,
        name: &str,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        interrupt::check()?;
        eprintln!("── {name}");
        let start = Instant::now();
        let done = work(self);
        line.took(name, start.elapsed().as_secs_f64());
        // The logs outlive us, also those of a demo that failed.
        done.with_context(|| format!("{name} (logs: {})", self.folder.path().display()))
    }

    fn site(&mut self) -> Result<&mut Site> {
        self.site
            .as_mut()
            .context("the services run since the first stage")
    }

    fn start_services(&mut self) -> Result<()> {
        let site = Site::open()?;
        eprintln!(
            "nats-server on port {}, registry on port {}",
            site.nats.port(),
            site.registry.port()
        );
        self.site = Some(site);
        Ok(())
    }

    fn start_operator(&mut self) -> Result<()> {
        let listen = format!("127.0.0.1:{}", self.options.port);
        let log = self.folder.path().join("operator.log");
        eprintln!(
            "logs of operator and simulation in {}",
            self.folder.path().display()
        );
        let site = self
            .site
            .as_ref()
            .context("the services run since the first stage")?;
        let spec = self.programs.operator(site, &listen, &log)?;
        let mut operator = Service::start(spec)?;
        let ready = format!("{}/readyz", self.dashboard());
        operator.wait_until("answer that it is ready", READY, || match get(&ready) {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("status {status}: {body}")),
            Err(error) => Err(error),
        })?;
        self.operator = Some(operator);
        Ok(())
    }

    fn start_simulation(&mut self) -> Result<()> {
        // With the disks, since it goes when the demo goes: these are secrets, though short-lived ones.
        let keys = self.folder.disks().join("simulated");
        std::fs::create_dir(&keys).with_context(|| format!("cannot create {}", keys.display()))?;
        let devices: Vec<DeviceId> = (1..=self.options.devices)
            .map(|number| format!("sim-{number:04}").parse())
            .collect::<Result<_, _>>()?;
        let admitted = self.site()?.admit(&devices)?;
        for (device, key) in devices.iter().zip(&admitted) {
            let path = keys.join(format!("{device}.nk"));
            files::write_atomically(&path, 0o600, key.seed().as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let log = self.folder.path().join("simulation.log");
        let labels = format!("site={SITE_LABEL}");
        let site = self
            .site
            .as_ref()
            .context("the services run since the first stage")?;
        let spec = self
            .programs
            .simulation(site, self.options.devices, &keys, &labels, &log);
        self.simulation = Some(Service::start(spec)?);
        Ok(())
    }

    fn boot(&mut self) -> Result<()> {
        let site = self
            .site
            .as_ref()
            .context("the services run since the first stage")?;
        let forward = Forward {
            device_port: WEB_PORT,
            host_port: Some(self.options.web_port),
        };
        let settings = QemuSettings {
            forwards: vec![forward],
            ..site.settings("demo")
        };
        let mut rig = QemuRig::new(&DeviceImage::find()?, settings)?;
        rig.put_boot_file("fleet.toml", Site::fleet_toml(&site.keys)?.as_bytes())?;
        rig.power_on()?;
        eprintln!("console and logs in {}", rig.logs().display());
        let console = rig.logs().join("serial.log");
        let logs = rig.logs().display().to_string();
        self.rig = Some(rig);
        let mut progress = Progress::start("first boot");
        let url = format!("{}/api/v0/devices/{DEVICE}", self.dashboard());
        let start = Instant::now();
        while !get(&url).is_ok_and(|(status, body)| status == 200 && body.contains("\"Online\"")) {
            interrupt::check()?;
            self.check()?;
            ensure!(
                start.elapsed() < BOOT,
                "{DEVICE} is not online after {} s; see {logs}",
                BOOT.as_secs()
            );
            progress.tick(|| files::tail(&console, 1));
            std::thread::sleep(LOOK);
        }
        progress.finish("the device is online");
        Ok(())
    }

    fn manifest(&self) -> String {
        self.options
            .checkout
            .join(MANIFEST)
            .to_string_lossy()
            .into_owned()
    }

    fn fleetctl(&self, args: &[&str]) -> Result<()> {
        eprintln!("$ fleetctl {}", args.join(" "));
        self.programs.fleetctl(&self.dashboard(), args)
    }

    fn phase(&self) -> Result<String> {
        let url = format!(
            "{}/api/v0/deployments/{DEPLOYMENT}/devices/{DEVICE}",
            self.dashboard()
        );
        let (_, body) = get(&url).map_err(anyhow::Error::msg)?;
        let pair: serde_json::Value = serde_json::from_str(&body)?;
        pair["phase"]
            .as_str()
            .map(str::to_owned)
            .context("the pair has no phase")
    }

    /// The container's log, from the device by way of NATS and operator, and the page that shows it.
    fn read_logs(&self) -> Result<()> {
        let path = format!("deployments/{DEPLOYMENT}/devices/{DEVICE}/logs?lines=200");
        let (status, body) =
            get(&format!("{}/api/v0/{path}", self.dashboard())).map_err(anyhow::Error::msg)?;
        ensure!(status == 200, "the log is not told: status {status}: {body}");
        let chunk: serde_json::Value = serde_json::from_str(&body)?;
        let lines = chunk["lines"].as_array().context("the log has no lines")?;
        let last = lines
            .last()
            .and_then(serde_json::Value::as_str)
            .context("the container said nothing")?;
        let (status, page) = get(&format!("{}/{path}", self.dashboard())).map_err(anyhow::Error::msg)?;
        ensure!(
            status == 200 && page.contains(last),
            "the page of the log, status {status}, does not show {last:?}"
        );
        eprintln!("the container's last words: {last}");
        Ok(())
    }

    fn fetch_page(&mut self, seen: &mut Option<u16>) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            self.check()?;
            let answer = get(&self.page());
            if let Ok((status, body)) = &answer {
                *seen = Some(*status);
                if *status == 200 && body.contains(DEVICE) {
                    return Ok(());
                }
            }
            ensure!(
                start.elapsed() < PAGE,
                "{} does not show the page of {DEVICE}: {answer:?}",
                self.page()
            );
            std::thread::sleep(LOOK);
        }
    }
}

/// Status and body of a page.
fn get(url: &str) -> Result<(u16, String), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    let body = answer
        .body_mut()
        .read_to_string()
        .map_err(|error| error.to_string())?;
    Ok((answer.status().as_u16(), body))
}
