//! A new unit is made known to systemd without a reload, and forgotten without one; whatever goes wrong ends
//! with the reload.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in what it is made of")]

mod bus;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::{Bus, Disk};
use fleet_host::exec::Environment;
use fleet_host::{Generator, LoadState, UnitName, Units, UserUnits, durable};
use fleet_protocol::DeploymentName;

const LONG: Duration = Duration::from_secs(30);
/// Below the generator's time limit.
const QUICK: Duration = Duration::from_secs(10);
/// What podman's generator does: the unit, and a link for the next boot.
const GENERATES: &str = r#"
    [ $# -eq 3 ] || exit 2
    echo '[Service]' > "$1/fleet-web.service"
    /bin/mkdir "$1/default.target.wants"
    /bin/ln -s ../fleet-web.service "$1/default.target.wants/fleet-web.service"
"#;

fn web() -> UnitName {
    UnitName::of(&DeploymentName::new("web").unwrap()).unwrap()
}

/// A systemd that never read the unit, and a runtime folder as a device without deployments has it.
struct Scene {
    bus: Bus,
    units: UserUnits,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new(generator: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run/systemd")).unwrap();
        if let Some(script) = generator {
            make_generator(dir.path(), script);
        }
        let bus = Bus::start().await;
        bus.set(|script| (script.known, script.disk) = (false, Some(Disk::new(&dir.path().join("run")))));
        let units = UserUnits::new(&bus.address).with_generator(Generator::new(Environment {
            home: dir.path().join("home"),
            runtime_dir: dir.path().join("run"),
            session_bus: bus.address.clone(),
            tools: "/nonexistent".into(),
            generators: dir.path().join("generators"),
        }));
        Self { bus, units, dir }
    }

    fn run(&self, path: &str) -> PathBuf {
        self.dir.path().join("run").join(path)
    }

    fn generated(&self) -> PathBuf {
        self.run("systemd/generator/fleet-web.service")
    }

    fn reloads(&self) -> usize {
        self.bus.calls().iter().filter(|call| *call == "Reload").count()
    }

    async fn load_state(&self) -> LoadState {
        self.units.facts(&web()).await.unwrap().load_state
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing of the test ships")]
fn make_generator(dir: &Path, script: &str) {
    let text = dir.join("text");
    let tool = dir.join("generators/podman-user-generator");
    let _ = durable::replace(&text, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
    std::fs::create_dir_all(dir.join("generators")).unwrap();
    // Copied by another process: what this one holds open for writing, a test beside it cannot execute.
    let copied = std::process::Command::new("/bin/cp")
        .args([&text, &tool])
        .status()
        .unwrap();
    assert!(copied.success());
}

#[tokio::test]
async fn a_unit_that_systemd_does_not_hold_is_taken_up_without_a_reload_and_starts() {
    let scene = Scene::new(Some(GENERATES)).await;
    assert_eq!(scene.load_state().await, LoadState::NotFound);
    let taken = scene.units.take_up(&web()).await.unwrap();
    assert_eq!((taken.detour, taken.facts.load_state), (None, LoadState::Loaded));
    assert_eq!(scene.reloads(), 0);
    assert_eq!(std::fs::read_to_string(scene.generated()).unwrap(), "[Service]\n");
    assert!(
        !scene.run("systemd/generator/default.target.wants").exists(),
        "the link is a boot's"
    );
    assert!(!scene.run("fleet-agent/generated/fleet-web.service").exists());
    assert!(scene.units.start(&web(), &[], LONG).await.unwrap().facts.is_up());
}

/// The negative control: the file alone is not enough, since systemd does not look again.
#[tokio::test]
async fn a_file_that_is_put_in_place_without_a_touch_is_not_found() {
    let scene = Scene::new(Some(GENERATES)).await;
    std::fs::create_dir(scene.run("systemd/generator")).unwrap();
    let _ = durable::replace(&scene.generated(), b"[Service]\n", 0o644).unwrap();
    assert_eq!(scene.load_state().await, LoadState::NotFound);
}

#[tokio::test]
async fn a_unit_that_systemd_holds_is_reloaded_and_the_generator_is_not_waited_for() {
    for generator in ["exit 1", "while :; do :; done"] {
        let scene = Scene::new(Some(generator)).await;
        bus_holds(&scene);
        let taken = tokio::time::timeout(QUICK, scene.units.take_up(&web())).await;
        assert_eq!(
            (taken.unwrap().unwrap().detour, scene.reloads()),
            (None, 1),
            "{generator}"
        );
        assert!(
            !scene.run("fleet-agent/generated/fleet-web.service").exists(),
            "{generator}"
        );
    }
}

fn bus_holds(scene: &Scene) {
    scene.bus.set(|script| script.known = true);
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_short_way_ends_with_a_reload_and_is_told() {
    let cases = [
        (None, "the generator failed: podman-user-generator"),
        (
            Some("echo 'quadlet: no' >&2; exit 1"),
            "exit status: 1: quadlet: no",
        ),
        (Some("exit 0"), "cannot place"),
    ];
    for (generator, why) in cases {
        let scene = Scene::new(generator).await;
        let taken = scene.units.take_up(&web()).await.unwrap();
        let detour = taken.detour.unwrap();
        assert!(detour.contains(why), "{detour}");
        assert_eq!(scene.reloads(), 1, "{why}");
    }
    let scene = Scene::new(Some(GENERATES)).await;
    std::fs::remove_dir(scene.run("systemd")).unwrap();
    let taken = scene.units.take_up(&web()).await.unwrap();
    assert!(taken.detour.unwrap().contains("cannot make"));
    assert_eq!(scene.reloads(), 1);
    assert_eq!(
        taken.facts.load_state,
        LoadState::NotFound,
        "the facts tell that it did not help"
    );
}

/// What the generator makes of a deployment with an init container, and of another deployment beside it.
const GENERATES_INITS: &str = r#"
    for unit in fleet-web fleet-web.init-a fleet-web-2 fleet-web-2.init-a; do
        echo '[Service]' > "$1/$unit.service"
    done
"#;

#[tokio::test]
async fn the_units_of_init_containers_come_and_go_with_their_main_one_and_no_others() {
    let scene = Scene::new(Some(GENERATES_INITS)).await;
    let generated = || {
        let mut names: Vec<_> = std::fs::read_dir(scene.run("systemd/generator"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let taken = scene.units.take_up(&web()).await.unwrap();
    assert_eq!((taken.detour, scene.reloads()), (None, 0));
    assert_eq!(generated(), ["fleet-web.init-a.service", "fleet-web.service"]);
    let other = scene.run("systemd/generator/fleet-web-2.init-a.service");
    let _ = durable::replace(&other, b"", 0o644).unwrap();
    // Of an init container that the present score does not name.
    let stale = scene.run("systemd/generator/fleet-web.init-old.service");
    let _ = durable::replace(&stale, b"", 0o644).unwrap();
    scene.units.let_go(&web()).await.unwrap();
    assert_eq!(generated(), ["fleet-web-2.init-a.service"]);
    assert_eq!(scene.reloads(), 0);
}

#[tokio::test]
async fn an_init_container_that_systemd_does_not_find_costs_a_reload_and_is_told() {
    let scene = Scene::new(Some(GENERATES_INITS)).await;
    scene.bus.set(|script| script.inits[0].load = "not-found");
    let taken = scene.units.take_up(&web()).await.unwrap();
    let detour = taken.detour.unwrap();
    assert!(
        detour.contains("does not find fleet-web.init-a.service"),
        "{detour}"
    );
    assert_eq!(scene.reloads(), 1);
}

#[tokio::test]
async fn a_failed_init_container_is_forgotten_with_its_main_unit() {
    let scene = Scene::new(Some(GENERATES_INITS)).await;
    scene.units.take_up(&web()).await.unwrap();
    scene.bus.set(|script| {
        script.inits[0].fails("exit-code", 1);
        script.inits[0].active = "failed";
    });
    scene.units.let_go(&web()).await.unwrap();
    let reset = "ResetFailedUnit fleet-web.init-a.service".to_owned();
    assert!(scene.bus.calls().contains(&reset), "{:?}", scene.bus.calls());
    assert_eq!(scene.reloads(), 0);
    // One that does not go without is a reload's.
    scene.units.take_up(&web()).await.unwrap();
    scene.bus.set(|script| script.inits[1].fails("exit-code", 1));
    scene.units.let_go(&web()).await.unwrap();
    assert_eq!(scene.reloads(), 1);
}

#[tokio::test]
async fn a_stray_folder_of_a_killed_agent_is_no_obstacle() {
    let scene = Scene::new(Some(GENERATES)).await;
    let stray = scene.run("fleet-agent/generated/fleet-web.service/default.target.wants/x");
    let _ = durable::replace(&stray, b"", 0o600).unwrap();
    assert_eq!(scene.units.take_up(&web()).await.unwrap().detour, None);
    assert_eq!(scene.reloads(), 0);
}

#[tokio::test]
async fn a_unit_that_was_taken_up_alone_is_let_go_without_a_reload_and_leaves_no_file() {
    let scene = Scene::new(Some(GENERATES)).await;
    scene.units.take_up(&web()).await.unwrap();
    scene.units.let_go(&web()).await.unwrap();
    assert!(!scene.generated().exists());
    assert_eq!(
        (scene.reloads(), scene.load_state().await),
        (0, LoadState::NotFound)
    );
    scene.units.let_go(&web()).await.unwrap();
    assert_eq!(scene.reloads(), 0, "letting go twice is as good");
    assert_eq!(scene.units.take_up(&web()).await.unwrap().detour, None);
    assert_eq!(scene.reloads(), 0, "and it can come back");
}

/// After a boot or a reload `default.target` wants the unit and keeps it in memory.
#[tokio::test]
async fn a_unit_that_systemd_holds_on_to_is_let_go_by_a_reload() {
    let scene = Scene::new(Some(GENERATES)).await;
    scene.units.take_up(&web()).await.unwrap();
    scene.units.reload().await.unwrap();
    scene.units.let_go(&web()).await.unwrap();
    assert!(!scene.generated().exists());
    assert_eq!(
        (scene.reloads(), scene.load_state().await),
        (2, LoadState::NotFound)
    );
}
