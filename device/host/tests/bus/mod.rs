//! A private D-Bus with a systemd of our own on it, which can lose signals, stall and refuse.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use zbus::{Connection, OwnedObjectPath, interface};

pub(crate) const WEB: &str = "/org/freedesktop/systemd1/unit/fleet_2dweb_2eservice";
/// Object paths of the units of its two init containers, in their order.
pub(crate) const INITS: [&str; 2] = [
    "/org/freedesktop/systemd1/unit/fleet_2dweb_2einit_2da_2eservice",
    "/org/freedesktop/systemd1/unit/fleet_2dweb_2einit_2db_2eservice",
];

/// What a start does in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The unit comes up with a new invocation.
    Up,
    /// The process ends with status 1 and systemd waits for its next try.
    Fails,
    /// The second init container fails for good with status 7, and the job with it.
    Dependency,
    /// Done, says the job; but a condition kept the unit from starting.
    Skipped,
    /// Done, says the job; but nothing happened at all.
    Nothing,
    /// The job never ends.
    Never,
}

/// What systemd knows of the unit of an init container.
#[derive(Debug, Clone)]
pub(crate) struct Init {
    /// It is in systemd's memory.
    pub(crate) held: bool,
    pub(crate) load: &'static str,
    pub(crate) active: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) result: &'static str,
    pub(crate) status: i32,
    pub(crate) invocation: u8,
    /// Its files are others than those that systemd read.
    pub(crate) outdated: bool,
}

impl Init {
    fn at_rest() -> Self {
        Self {
            held: false,
            load: "loaded",
            active: "inactive",
            sub: "dead",
            result: "success",
            status: 0,
            invocation: 0,
            outdated: false,
        }
    }

    /// A run of it is under way.
    pub(crate) fn runs(&mut self) {
        self.held = true;
        self.invocation += 1;
        (self.active, self.sub) = ("activating", "start");
    }

    /// The run that is under way fails.
    pub(crate) fn fails_now(&mut self, result: &'static str, status: i32) {
        self.fails(result, status);
        self.invocation -= 1;
    }

    /// One run of it failed, and systemd waits for the next.
    pub(crate) fn fails(&mut self, result: &'static str, status: i32) {
        self.held = true;
        self.invocation += 1;
        (self.active, self.sub) = ("activating", "auto-restart");
        (self.result, self.status) = (result, status);
    }
}

/// What systemd does and what it knows.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) ending: Ending,
    pub(crate) takes: Duration,
    pub(crate) signal_lost: bool,
    /// How long the answer to `Subscribe` takes.
    pub(crate) subscribe_takes: Duration,
    pub(crate) known: bool,
    pub(crate) active: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) result: &'static str,
    pub(crate) condition: bool,
    pub(crate) invocation: u8,
    pub(crate) jobs: u32,
    pub(crate) calls: Vec<String>,
    pub(crate) inits: [Init; 2],
    /// With a disk, a unit that is not known is looked for there, as systemd does it.
    pub(crate) disk: Option<Disk>,
}

/// The runtime folder, and what systemd remembers of it: names of units, for as long as the time of its folder `user`
/// stays the same. The time of `generator` does not count (seen with systemd 257).
#[derive(Debug)]
pub(crate) struct Disk {
    runtime: PathBuf,
    seen_at: Option<SystemTime>,
    found: bool,
}

impl Disk {
    pub(crate) fn new(runtime: &Path) -> Self {
        let mut disk = Self {
            runtime: runtime.to_owned(),
            seen_at: None,
            found: false,
        };
        disk.read();
        disk
    }

    fn time(&self) -> Option<SystemTime> {
        std::fs::metadata(self.runtime.join("systemd/user"))
            .and_then(|folder| folder.modified())
            .ok()
    }

    fn read(&mut self) {
        self.seen_at = self.time();
        self.found = self.runtime.join("systemd/generator/fleet-web.service").exists();
    }

    fn find(&mut self) -> bool {
        if self.time() != self.seen_at {
            self.read();
        }
        self.found
    }
}

impl Script {
    fn finds(&mut self) -> bool {
        self.known || self.disk.as_mut().is_some_and(Disk::find)
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            ending: Ending::Up,
            takes: Duration::from_millis(20),
            signal_lost: false,
            subscribe_takes: Duration::ZERO,
            known: true,
            active: "inactive",
            sub: "dead",
            result: "success",
            condition: true,
            invocation: 0,
            jobs: 0,
            calls: Vec::new(),
            inits: [Init::at_rest(), Init::at_rest()],
            disk: None,
        }
    }
}

type Shared = Arc<Mutex<Script>>;

/// A bus with its systemd; the bus ends when it is dropped.
pub(crate) struct Bus {
    pub(crate) address: String,
    pub(crate) script: Shared,
    daemon: Child,
    systemd: Connection,
    dir: tempfile::TempDir,
}

impl Bus {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = daemon(&dir);
        let address = format!("unix:path={}", socket(&dir).display());
        let script = Shared::default();
        let systemd = systemd(&address, &script).await;
        Self {
            address,
            script,
            daemon,
            systemd,
            dir,
        }
    }

    /// The bus dies, and with it every connection.
    pub(crate) fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        let _ = std::fs::remove_file(socket(&self.dir));
    }

    /// A new bus at the same address.
    pub(crate) async fn revive(&mut self) {
        self.daemon = daemon(&self.dir);
        self.systemd = systemd(&self.address, &self.script).await;
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.script.lock().unwrap().calls.clone()
    }

    /// systemd says that properties of a unit changed.
    pub(crate) async fn properties_changed(&self, path: &str, interface: &str) {
        let changed: HashMap<&str, zbus::Variant<'_>> = HashMap::new();
        let body = (interface, changed, vec!["ActiveState"]);
        self.systemd
            .emit_signal(
                None::<&str>,
                path,
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                &body,
            )
            .await
            .unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn socket(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("bus")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test starts the bus itself; nothing of it ships"
)]
fn daemon(dir: &tempfile::TempDir) -> Child {
    let config = dir.path().join("bus.conf");
    let text = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
         <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
         </policy></busconfig>",
        socket(dir).display()
    );
    let _ = fleet_host::durable::replace(&config, text.as_bytes(), 0o644).unwrap();
    let mut child = std::process::Command::new("/usr/bin/dbus-daemon")
        .arg(format!("--config-file={}", config.display()))
        .args(["--nofork", "--print-address"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need /usr/bin/dbus-daemon (Debian: dbus-daemon)");
    // The line comes when the socket is there.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("unix:"), "{line:?}");
    child
}

async fn systemd(address: &str, script: &Shared) -> Connection {
    let mut builder = zbus::connection::Builder::address(address);
    for (i, path) in INITS.into_iter().enumerate() {
        builder = builder
            .serve_at(path, InitUnit(Arc::clone(script), i))
            .serve_at(path, InitService(Arc::clone(script), i));
    }
    builder
        .serve_at("/org/freedesktop/systemd1", Manager(Arc::clone(script)))
        .serve_at(WEB, Unit(Arc::clone(script)))
        .serve_at(WEB, Service(Arc::clone(script)))
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap()
}

struct Manager(Shared);

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
}

fn path(text: String) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text).unwrap()
}

impl Manager {
    async fn job(
        &self,
        connection: &Connection,
        call: &str,
        unit: &str,
        ending: Ending,
    ) -> Result<OwnedObjectPath, Refusal> {
        let (id, takes) = {
            let mut script = self.0.lock().unwrap();
            script.calls.push(format!("{call} {unit}"));
            if !script.finds() {
                return Err(Refusal::NoSuchUnit(format!("Unit {unit} not loaded.")));
            }
            script.jobs += 1;
            (script.jobs, script.takes)
        };
        let job = path(format!("/org/freedesktop/systemd1/job/{id}"));
        connection.object_server().at(&job, Job).await?;
        if ending != Ending::Never {
            let (shared, connection, job, unit) = (
                Arc::clone(&self.0),
                connection.clone(),
                job.clone(),
                unit.to_owned(),
            );
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                let (result, lost) = end(&shared, ending);
                connection.object_server().remove::<Job, _>(&job).await.unwrap();
                if !lost {
                    connection
                        .emit_signal(
                            None::<&str>,
                            "/org/freedesktop/systemd1",
                            "org.freedesktop.systemd1.Manager",
                            "JobRemoved",
                            &(id, &job, unit.as_str(), result),
                        )
                        .await
                        .unwrap();
                }
            });
        }
        Ok(job)
    }
}

fn end(shared: &Shared, ending: Ending) -> (&'static str, bool) {
    let mut script = shared.lock().unwrap();
    match ending {
        Ending::Up => {
            script.invocation += 1;
            (script.active, script.sub, script.result) = ("active", "running", "success");
        }
        Ending::Fails => {
            script.invocation += 1;
            (script.active, script.sub, script.result) = ("activating", "auto-restart", "exit-code");
        }
        Ending::Dependency => {
            script.inits[1].fails("exit-code", 7);
            (script.inits[1].active, script.inits[1].sub) = ("failed", "failed");
        }
        Ending::Skipped => script.condition = false,
        Ending::Nothing | Ending::Never => {}
    }
    let result = match ending {
        Ending::Fails => "failed",
        Ending::Dependency => "dependency",
        _ => "done",
    };
    (result, script.signal_lost)
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn subscribe(&self) {
        let takes = {
            let mut script = self.0.lock().unwrap();
            script.calls.push("Subscribe".to_owned());
            script.subscribe_takes
        };
        tokio::time::sleep(takes).await;
    }

    fn reload(&self) {
        let mut script = self.0.lock().unwrap();
        script.calls.push("Reload".to_owned());
        if let Some(disk) = &mut script.disk {
            disk.read();
            script.known = disk.found;
        }
    }

    async fn start_unit(
        &self,
        unit: &str,
        mode: &str,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refusal> {
        let ending = self.0.lock().unwrap().ending;
        let call = match mode {
            "replace" => "StartUnit".to_owned(),
            other => format!("StartUnit:{other}"),
        };
        self.job(connection, &call, unit, ending).await
    }

    async fn restart_unit(
        &self,
        unit: &str,
        _mode: &str,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refusal> {
        let ending = self.0.lock().unwrap().ending;
        self.job(connection, "RestartUnit", unit, ending).await
    }

    async fn stop_unit(
        &self,
        unit: &str,
        _mode: &str,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Refusal> {
        let job = self.job(connection, "StopUnit", unit, Ending::Nothing).await?;
        let mut script = self.0.lock().unwrap();
        if let Some(init) = init_of(&mut script, unit) {
            (init.active, init.sub) = ("inactive", "dead");
            return Ok(job);
        }
        (script.active, script.sub) = ("inactive", "dead");
        Ok(job)
    }

    #[expect(clippy::type_complexity, reason = "systemd's own row")]
    fn list_units_by_patterns(
        &self,
        _states: Vec<String>,
        patterns: Vec<String>,
    ) -> Vec<(
        String,
        String,
        String,
        String,
        String,
        String,
        OwnedObjectPath,
        u32,
        String,
        OwnedObjectPath,
    )> {
        assert_eq!(patterns, ["fleet-web.init-*.service"]);
        let script = self.0.lock().unwrap();
        let rows = script.inits.iter().zip(["a", "b"]).zip(INITS);
        rows.filter(|((init, _), _)| init.held)
            .map(|((init, name), at)| {
                let text = str::to_owned;
                (
                    format!("fleet-web.init-{name}.service"),
                    String::new(),
                    text(init.load),
                    text(init.active),
                    text(init.sub),
                    String::new(),
                    path(text(at)),
                    0,
                    String::new(),
                    path("/".to_owned()),
                )
            })
            .collect()
    }

    fn reset_failed_unit(&self, unit: &str) -> Result<(), Refusal> {
        let mut script = self.0.lock().unwrap();
        script.calls.push(format!("ResetFailedUnit {unit}"));
        if let Some(init) = init_of(&mut script, unit)
            && init.held
        {
            // Nothing is left to remember it for.
            init.held = init.active != "failed" && init.active != "inactive";
            return Ok(());
        }
        Err(Refusal::NoSuchUnit(format!("Unit {unit} not loaded.")))
    }
}

/// The init container whose unit that is.
fn init_of<'a>(script: &'a mut Script, unit: &str) -> Option<&'a mut Init> {
    let name = unit.strip_prefix("fleet-web.init-")?;
    match name.strip_suffix(".service")? {
        "a" => Some(&mut script.inits[0]),
        "b" => Some(&mut script.inits[1]),
        _ => None,
    }
}

struct Job;

#[interface(name = "org.freedesktop.systemd1.Job")]
impl Job {
    #[zbus(property)]
    fn state(&self) -> &'static str {
        "running"
    }
}

struct Unit(Shared);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn load_state(&self) -> &'static str {
        if self.0.lock().unwrap().finds() {
            "loaded"
        } else {
            "not-found"
        }
    }
    #[zbus(property)]
    fn active_state(&self) -> &'static str {
        self.0.lock().unwrap().active
    }
    #[zbus(property)]
    fn sub_state(&self) -> &'static str {
        self.0.lock().unwrap().sub
    }
    #[zbus(property)]
    fn condition_result(&self) -> bool {
        self.0.lock().unwrap().condition
    }
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        match self.0.lock().unwrap().invocation {
            0 => Vec::new(),
            n => vec![n; 16],
        }
    }
    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn state_change_timestamp_monotonic(&self) -> u64 {
        1_500_000
    }
    #[zbus(property)]
    fn active_exit_timestamp_monotonic(&self) -> u64 {
        1_200_000
    }
    #[zbus(property)]
    fn inactive_enter_timestamp_monotonic(&self) -> u64 {
        1_300_000
    }
    #[zbus(property)]
    fn active_enter_timestamp_monotonic(&self) -> u64 {
        1_400_000
    }
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, path("/".to_owned()))
    }
}

struct Service(Shared);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &'static str {
        self.0.lock().unwrap().result
    }
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        3
    }
    #[zbus(property, name = "RestartUSecNext")]
    fn restart_usec_next(&self) -> u64 {
        4_000_000
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        1
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        1
    }
}

struct InitUnit(Shared, usize);

impl InitUnit {
    fn read<T>(&self, read: impl FnOnce(&Init) -> T) -> T {
        read(&self.0.lock().unwrap().inits[self.1])
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl InitUnit {
    #[zbus(property)]
    fn load_state(&self) -> &'static str {
        self.read(|init| init.load)
    }
    #[zbus(property)]
    fn active_state(&self) -> &'static str {
        self.read(|init| init.active)
    }
    #[zbus(property)]
    fn sub_state(&self) -> &'static str {
        self.read(|init| init.sub)
    }
    #[zbus(property)]
    fn condition_result(&self) -> bool {
        true
    }
    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        self.read(|init| match init.invocation {
            0 => Vec::new(),
            n => vec![n; 16],
        })
    }
    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        self.read(|init| init.outdated)
    }
    #[zbus(property)]
    fn state_change_timestamp_monotonic(&self) -> u64 {
        0
    }
    #[zbus(property)]
    fn active_exit_timestamp_monotonic(&self) -> u64 {
        0
    }
    #[zbus(property)]
    fn inactive_enter_timestamp_monotonic(&self) -> u64 {
        0
    }
    #[zbus(property)]
    fn active_enter_timestamp_monotonic(&self) -> u64 {
        0
    }
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, path("/".to_owned()))
    }
}

struct InitService(Shared, usize);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl InitService {
    #[zbus(property)]
    fn result(&self) -> &'static str {
        self.0.lock().unwrap().inits[self.1].result
    }
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        0
    }
    #[zbus(property, name = "RestartUSecNext")]
    fn restart_usec_next(&self) -> u64 {
        1_000_000
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        1
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.0.lock().unwrap().inits[self.1].status
    }
}
