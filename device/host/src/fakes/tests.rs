//! The fakes are checked too: a fake that forgives hides a bug.

use std::time::Duration;

use fleet_protocol::DeploymentName;
use fleet_protocol::score::{ImageRef, PodmanV0Score};

use super::*;
use crate::{
    Changed, Host, Images, Ledger, LoadState, Reading, Shelf, UnitFiles, UnitName, Units, UnitsError, quadlet,
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
