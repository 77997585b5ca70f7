//! The fakes are checked too: a fake that forgives hides a bug.

use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{ImageRef, PodmanV0Score, StopSignal};

use super::*;
use crate::{
    Changed, Containers, Host, Images, Ledger, LoadState, Reading, Shelf, Signalled, UnitFiles, UnitName,
    Units, UnitsError, quadlet,
};

const WITHIN: Duration = Duration::from_secs(5);
const IMAGE: &str = "10.0.2.100:5000/web:1";

fn web() -> DeploymentName {
    DeploymentName::new("web").unwrap()
}

fn rendered() -> quadlet::Rendered {
    let score: PodmanV0Score = serde_json::from_value(serde_json::json!({
        "image": IMAGE, "volumes": [{"source": {"volume": {"name": "data"}}, "path": "/data"}]
    }))
    .unwrap();
    quadlet::render(&web(), &score, &quadlet::Digests::new()).unwrap()
}

fn image() -> ImageRef {
    IMAGE.parse().unwrap()
}

async fn deploy(device: &Device) -> Result<(), UnitsError> {
    let file = rendered();
    device.images().pull(&image(), &mut |_| ()).await.unwrap();
    let _ = device
        .unit_files()
        .write(&file.main.file, &file.main.text)
        .await
        .unwrap();
    device.units().reload().await?;
    device
        .units()
        .start(&file.main.unit, &[], WITHIN)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_unit_starts_only_with_its_file_loaded_and_its_image_pulled() {
    let world = World::new();
    let device = world.device();
    let file = rendered();
    let start = || device.units().start(&file.main.unit, &[], WITHIN);
    assert!(matches!(start().await, Err(UnitsError::NoSuchUnit(_))));
    assert_eq!(
        device
            .unit_files()
            .write(&file.main.file, &file.main.text)
            .await
            .unwrap(),
        Changed::Changed
    );
    assert!(matches!(start().await, Err(UnitsError::NoSuchUnit(_))));
    device.units().reload().await.unwrap();
    assert!(matches!(start().await, Err(UnitsError::JobFailed { .. })));
    world.registry_holds(IMAGE, 2);
    device.images().pull(&image(), &mut |_| ()).await.unwrap();
    let first = start().await.unwrap().invocation_id;
    assert_eq!(start().await.unwrap().invocation_id, first, "it runs already");
    assert_eq!(world.running_image(&file.main.unit).as_deref(), Some(IMAGE));
    assert!(world.podman_holds().contains("fleet-web.data"));
}

#[tokio::test]
async fn a_power_cut_keeps_what_was_written_and_loses_the_rest() {
    let world = World::new();
    world.registry_holds(IMAGE, 1);
    let device = world.device();
    deploy(&device).await.unwrap();
    world.cut_power_after(1);
    assert!(device.ledger().write(Shelf::Progress, &web(), &1).await.is_ok());
    assert!(device.ledger().write(Shelf::Progress, &web(), &2).await.is_err());
    assert!(world.is_dark() && world.fired() == ["power"]);
    assert!(device.units().reload().await.is_err());
    let before = world.running_image(&rendered().main.unit);
    world.reboot();
    assert_eq!(
        device
            .ledger()
            .read::<i32>(Shelf::Progress, &web())
            .await
            .unwrap(),
        Reading::Found(1)
    );
    assert_eq!(world.running_image(&rendered().main.unit), before);
}

#[tokio::test]
async fn the_nth_call_fails_once_and_has_no_effect() {
    let world = World::new();
    let device = world.device();
    world.fail_nth("ledger.write", 2);
    assert!(device.ledger().write(Shelf::Desired, &web(), &1).await.is_ok());
    assert!(device.ledger().write(Shelf::Desired, &web(), &2).await.is_err());
    assert_eq!(
        device.ledger().read::<i32>(Shelf::Desired, &web()).await.unwrap(),
        Reading::Found(1)
    );
    assert!(device.ledger().write(Shelf::Desired, &web(), &2).await.is_ok());
    assert_eq!(world.fired(), ["ledger.write#2"]);
}

#[tokio::test]
async fn a_crash_is_told_to_who_watches_and_to_nobody_else() {
    let world = World::new();
    world.registry_holds(IMAGE, 1);
    let device = world.device();
    deploy(&device).await.unwrap();
    let unit = UnitName::of(&web()).unwrap();
    world.crash(&unit);
    device.units().watch([unit.clone()].into()).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(20), device.units().changed()).await;
    assert!(quiet.is_err());
    world.crash(&unit);
    assert_eq!(device.units().changed().await, [unit.clone()].into());
    assert_eq!(device.units().facts(&unit).await.unwrap().n_restarts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_never_gets_ready_takes_the_whole_deadline() {
    let world = World::new();
    world.registry_holds(IMAGE, 1);
    world.behaves(&web(), Behaviour::Hangs);
    let begun = tokio::time::Instant::now();
    let error = deploy(&world.device()).await.unwrap_err();
    assert!(matches!(error, UnitsError::Deadline { .. }), "{error}");
    assert_eq!(begun.elapsed(), WITHIN);
}

#[tokio::test]
async fn a_new_unit_needs_no_reload_a_known_one_does_and_one_that_a_reload_saw_is_let_go_by_another() {
    let world = World::new();
    world.registry_holds(IMAGE, 1);
    let device = world.device();
    let file = rendered();
    let reloads = || {
        world
            .calls()
            .iter()
            .filter(|call| *call == "units.reload")
            .count()
    };
    let taken = device.units().take_up(&file.main.unit).await.unwrap();
    assert_eq!((taken.facts.load_state, reloads()), (LoadState::NotFound, 1));
    let _ = device
        .unit_files()
        .write(&file.main.file, &file.main.text)
        .await
        .unwrap();
    let taken = device.units().take_up(&file.main.unit).await.unwrap();
    assert_eq!((taken.facts.load_state, reloads()), (LoadState::Loaded, 1));
    let _ = device.unit_files().remove(&file.main.file).await.unwrap();
    device.units().let_go(&file.main.unit).await.unwrap();
    assert_eq!(reloads(), 1);
    let _ = device
        .unit_files()
        .write(&file.main.file, &file.main.text)
        .await
        .unwrap();
    device.units().reload().await.unwrap();
    device.units().take_up(&file.main.unit).await.unwrap();
    let _ = device.unit_files().remove(&file.main.file).await.unwrap();
    device.units().let_go(&file.main.unit).await.unwrap();
    assert_eq!(reloads(), 4);
    let facts = device.units().facts(&file.main.unit).await.unwrap();
    assert_eq!(facts.load_state, LoadState::NotFound);
}

fn with_inits() -> quadlet::Rendered {
    let score: PodmanV0Score = serde_json::from_value(serde_json::json!({
        "image": IMAGE,
        "init_containers": [
            {"name": "a", "image": IMAGE},
            {"name": "b", "image": IMAGE, "timeout": "3s",
             "volumes": [{"source": {"volume": {"name": "seed"}}, "path": "/seed"}]}
        ]
    }))
    .unwrap();
    quadlet::render(&web(), &score, &quadlet::Digests::new()).unwrap()
}

/// Files written and loaded, image pulled.
async fn prepare(world: &World, rendered: &quadlet::Rendered) -> Device {
    world.registry_holds(IMAGE, 1);
    let device = world.device();
    device.images().pull(&image(), &mut |_| ()).await.unwrap();
    let _ = device.unit_files().replace(rendered).await.unwrap();
    device.units().take_up(&rendered.main.unit).await.unwrap();
    device
}

const ALL: [&str; 3] = [
    "fleet-web.init-a.service",
    "fleet-web.init-b.service",
    "fleet-web.service",
];

#[tokio::test]
async fn init_containers_run_in_order_before_every_fresh_main_container() {
    let (world, rendered) = (World::new(), with_inits());
    let device = prepare(&world, &rendered).await;
    let (unit, inits) = (&rendered.main.unit, rendered.init_units());
    device.units().start(unit, &inits, WITHIN).await.unwrap();
    assert_eq!(world.begun(), ALL);
    device.units().restart(unit, &inits, WITHIN).await.unwrap();
    world.crash(unit);
    assert_eq!(world.begun(), [ALL, ALL, ALL].concat());
    world.cut_power();
    world.reboot();
    assert_eq!(world.begun().len(), 4 * ALL.len());
    assert!(device.units().facts(unit).await.unwrap().is_up());
    assert!(world.podman_holds().contains("fleet-web.seed"));
}

#[tokio::test]
async fn an_init_container_that_fails_keeps_the_main_one_down_until_it_ends_well() {
    let (world, rendered) = (World::new(), with_inits());
    let device = prepare(&world, &rendered).await;
    let (unit, inits) = (&rendered.main.unit, rendered.init_units());
    let exits = |status| Behaviour::Exits {
        status,
        lines: vec!["no".to_owned()],
    };
    world.init_behaves(&web(), "b", exits(3));
    let error = device.units().start(unit, &inits, WITHIN).await.unwrap_err();
    let UnitsError::InitFailed { unit: init, facts } = &error else {
        panic!("{error}")
    };
    assert_eq!((init, facts.exec_main_status), (&inits[1], 3));
    assert_eq!(world.begun(), &ALL[..2]);
    world.crash(unit);
    assert_eq!(device.units().facts(init).await.unwrap().n_restarts, 1);
    world.init_behaves(&web(), "b", exits(0));
    world.crash(unit);
    assert!(device.units().facts(unit).await.unwrap().is_up());
    assert_eq!(device.units().facts(init).await.unwrap().result, "success");
    let [a, b, main] = ALL;
    assert_eq!(
        world.begun(),
        [a, b, b, b, main],
        "what ended well is not run again"
    );
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_hangs_is_ended_at_its_time_limit_or_at_the_deadline() {
    let (world, rendered) = (World::new(), with_inits());
    let device = prepare(&world, &rendered).await;
    let (unit, inits) = (&rendered.main.unit, rendered.init_units());
    world.init_behaves(&web(), "b", Behaviour::Hangs);
    let begun = tokio::time::Instant::now();
    let error = device.units().start(unit, &inits, WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), ("init-timeout", 3));
    let short = Duration::from_secs(2);
    let error = device.units().start(unit, &inits, short).await.unwrap_err();
    assert!(matches!(error, UnitsError::Deadline { .. }), "{error}");
    // Who does not say which init containers there are hears of none.
    let error = device.units().start(unit, &[], WITHIN).await.unwrap_err();
    assert!(matches!(error, UnitsError::Deadline { .. }), "{error}");
    device.units().stop(unit, WITHIN).await.unwrap();
    assert!(device.units().facts(&inits[1]).await.unwrap().is_down());
    assert!(!world.podman_holds().contains("fleet-web.init-b"));
}

#[tokio::test]
async fn a_run_of_an_init_container_that_is_no_more_ends_when_the_files_are_taken_up() {
    let (world, all) = (World::new(), with_inits());
    let device = prepare(&world, &all).await;
    world.init_behaves(&web(), "b", Behaviour::Hangs);
    let short = Duration::from_millis(20);
    let started = device
        .units()
        .start(&all.main.unit, &all.init_units(), short)
        .await;
    assert!(started.is_err() && world.podman_holds().contains("fleet-web.init-b"));
    assert!(
        device
            .unit_files()
            .replace(&rendered())
            .await
            .unwrap()
            .is_changed()
    );
    device.units().take_up(&all.main.unit).await.unwrap();
    assert!(!world.podman_holds().contains("fleet-web.init-b"));
    let init = &all.inits[1].of.unit;
    assert_eq!(
        device.units().facts(init).await.unwrap().load_state,
        LoadState::NotFound
    );
}

#[tokio::test]
async fn a_container_ends_by_its_signal_unless_it_does_not_listen() {
    let world = World::new();
    world.registry_holds(IMAGE, 1);
    let device = world.device();
    let web = web();
    let signal = || device.containers().signal(&web, StopSignal::Term);
    assert_eq!(signal().await.unwrap(), Signalled::NotRunning);
    deploy(&device).await.unwrap();
    let unit = rendered().main.unit;
    world.ignores_signals(&web, true);
    assert_eq!(signal().await.unwrap(), Signalled::Sent);
    assert!(device.units().facts(&unit).await.unwrap().is_up());
    world.ignores_signals(&web, false);
    world.fail_nth("containers.signal", 1);
    assert!(signal().await.is_err());
    assert_eq!(signal().await.unwrap(), Signalled::Sent);
    assert!(device.units().facts(&unit).await.unwrap().is_restarting());
    assert_eq!(signal().await.unwrap(), Signalled::NotRunning);
}

#[tokio::test]
async fn room_is_known_where_the_registry_tells() {
    let world = World::new();
    let device = world.device();
    world.registry_holds(IMAGE, 1);
    assert_eq!(device.images().room_for(&image()).await.unwrap().needed, None);
    world.image_needs(IMAGE, 1 << 30);
    assert!(device.images().room_for(&image()).await.unwrap().is_enough());
    world.set_data_free_mib(1200);
    assert!(!device.images().room_for(&image()).await.unwrap().is_enough());
    world.registry_down(true);
    assert!(device.images().room_for(&image()).await.unwrap().is_enough());
}
