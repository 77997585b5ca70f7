//! Upgrades of one version after the other, with failures between: on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, THIRD_IMAGE, desired, run_first, runs, scene, unit, until, web};
use fleet_host::ImageErrorKind;
use fleet_host::fakes::Behaviour;
use fleet_protocol::Phase;
use fleet_protocol::cause::Exit;

#[tokio::test]
async fn three_versions_follow_each_other_with_every_failure_between() {
    scene(async |mut scene| {
        scene.world.registry_holds(THIRD_IMAGE, 1);
        run_first(&mut scene, desired(1, IMAGE)).await;
        // The image of 2 cannot be had: 1 serves, and the state says both.
        scene.world.registry_fails(NEXT_IMAGE, ImageErrorKind::NotFound);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        let state = scene.until_failed("image-not-found").await;
        assert_eq!((state.observed_generation, runs(&state)), (2, Some(1)));
        // It is there and ends at once: there is no way back to 1.
        scene.world.registry_holds(NEXT_IMAGE, 1);
        let lines = vec!["no such table".to_owned()];
        scene.world.behaves(&web(), Behaviour::Exits { status: 7, lines });
        scene.ask_for(desired(3, NEXT_IMAGE)).await;
        let state = scene.until_failed("exited-early").await;
        let cause = state.cause.clone().unwrap();
        assert_eq!((cause.exit, runs(&state)), (Some(Exit::Status(7)), None));
        assert_eq!(cause.log, ["no such table"]);
        // Its command does not exist.
        let lines = Vec::new();
        scene
            .world
            .behaves(&web(), Behaviour::Exits { status: 127, lines });
        scene.ask_for(desired(4, IMAGE)).await;
        let state = scene.until_failed("exec-failed").await;
        assert_eq!((state.observed_generation, runs(&state)), (4, None));
        // A new specification rolls forward from there, at once: what failed was another version.
        scene.world.behaves(&web(), Behaviour::Runs);
        scene.ask_for(desired(5, THIRD_IMAGE)).await;
        let state = scene.until_running(5).await;
        assert_eq!(
            (runs(&state), state.failed_tries, state.cause),
            (Some(5), 0, None)
        );
        let image = scene.world.running_image(&unit()).unwrap();
        assert_eq!(
            image,
            format!("registry.test/web@{}", scene.world.registry_holds(THIRD_IMAGE, 1))
        );
    })
    .await;
}

#[tokio::test]
async fn whatever_keeps_an_image_away_the_old_version_runs_on_and_the_state_says_both() {
    scene(async |mut scene| {
        run_first(&mut scene, desired(1, IMAGE)).await;
        let kinds = [
            ImageErrorKind::NotFound,
            ImageErrorKind::WrongArchitecture,
            ImageErrorKind::Unauthorized,
            ImageErrorKind::RegistryUnreachable,
            ImageErrorKind::Tls,
            ImageErrorKind::DiskFull,
            ImageErrorKind::Corrupt,
            ImageErrorKind::Timeout,
            ImageErrorKind::Podman,
        ];
        for (generation, kind) in (2..).zip(kinds) {
            let image = format!("registry.test/web:bad-{generation}");
            scene.world.registry_fails(&image, kind);
            scene.ask_for(desired(generation, &image)).await;
            let state = scene
                .until_state(kind.as_str(), |state| {
                    state.observed_generation == generation && state.phase == Phase::Failed
                })
                .await;
            assert_eq!(state.cause.as_ref().unwrap().kind, kind.as_str());
            assert_eq!(runs(&state), Some(1), "{}", kind.as_str());
            assert!(state.next_try_at.is_some());
        }
        assert_eq!(scene.calls("units.restart") + scene.calls("units.stop"), 0);
        assert!(scene.world.running_image(&unit()).is_some());
    })
    .await;
}

#[tokio::test]
async fn an_image_that_does_not_fit_is_not_pulled_and_unused_ones_go_first() {
    scene(async |mut scene| {
        run_first(&mut scene, desired(1, IMAGE)).await;
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        scene.world.registry_holds(THIRD_IMAGE, 2);
        scene.world.image_needs(THIRD_IMAGE, 900 << 20);
        scene.world.set_data_free_mib(1024);
        let pulls = scene.calls("images.pull");
        scene.ask_for(desired(3, THIRD_IMAGE)).await;
        let state = scene.until_failed("no-space").await;
        let detail = &state.cause.as_ref().unwrap().detail;
        assert!(
            detail.contains("900 MiB") && detail.contains("1024 MiB"),
            "{detail}"
        );
        assert_eq!(runs(&state), Some(2));
        assert_eq!(
            scene.trouble("disk-full").await,
            None,
            "the image is too large, the device is well"
        );
        assert_eq!(scene.calls("images.pull"), pulls, "nothing of it was fetched");
        let calls = scene.world.calls();
        assert!(calls.iter().any(|call| call == "images.prune"));
        assert!(scene.world.running_image(&unit()).is_some());
        // Room was made.
        scene.world.set_data_free_mib(2000);
        scene.until_running(3).await;
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_of_the_device_until_there_is_room_though_its_deployment_is_gone() {
    scene(async |mut scene| {
        scene.start();
        scene.world.set_data_free_mib(0);
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_failed("no-space").await;
        let scene = &scene;
        until("the device unwell", || async {
            scene.trouble("disk-full").await.is_some()
        })
        .await;
        scene.world.set_data_free_mib(1000);
        scene.take_away().await;
        until("the device well", || async { scene.health().await.is_empty() }).await;
    })
    .await;
}

#[tokio::test]
async fn a_change_of_version_tells_how_long_nothing_was_up() {
    scene(async |mut scene| {
        scene.world.advance(Duration::from_secs(60));
        let first = run_first(&mut scene, desired(1, IMAGE)).await;
        assert_eq!(first.cutover, None);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        let state = scene.until_running(2).await;
        let cutover = state.cutover.unwrap();
        assert_eq!((cutover.from_generation, cutover.down_millis), (1, 0));
    })
    .await;
}

/// systemd joins a start that is under way: what comes up then is the older version.
#[tokio::test]
async fn a_change_while_an_older_version_still_starts_is_never_told_to_run_before_it_does() {
    scene(async |mut scene| {
        scene.world.behaves(&web(), Behaviour::Hangs);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let world = scene.world.clone();
        until("begun", async || !world.begun().is_empty()).await;
        let first = scene.world.running_image(&unit());
        let digest = scene.world.registry_holds(NEXT_IMAGE, 2);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        until("begun anew", async || world.begun().len() == 2).await;
        scene.world.comes_up(&web());
        let state = scene.until_running(2).await;
        assert_eq!(state.running.unwrap().digest, Some(digest.to_string()));
        let runs = scene.world.running_image(&unit()).unwrap();
        assert!(runs.contains(digest.as_str()), "{runs}, first {first:?}");
        assert_eq!(state.cutover, None, "the first one never served");
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_only_remembered_is_had_again_before_what_runs_is_stopped() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        scene.world.remove_image_by_hand(IMAGE);
        scene.world.registry_down(true);
        scene.ask_for(desired(3, IMAGE)).await;
        let state = scene.until_failed("registry-unreachable").await;
        assert_eq!(runs(&state), Some(2), "the old one goes on");
        scene.world.registry_down(false);
        scene.until_running(3).await;
    })
    .await;
}

#[tokio::test]
async fn images_that_lost_their_last_user_under_an_agent_that_is_gone_are_collected_by_the_next_one() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        scene.stop().await;
        assert_eq!(scene.calls("images.prune"), 0, "it is kept for a while");
        scene.settings.tuning.keep_images = Duration::from_millis(300);
        scene.start();
        until("collected", async || scene.calls("images.prune") == 1).await;
        assert!(
            scene.world.running_image(&unit()).is_some(),
            "the running one stays"
        );
        // Going back costs a pull now.
        let pulls = scene.calls("images.pull");
        scene.ask_for(desired(3, IMAGE)).await;
        scene.until_running(3).await;
        assert_eq!(scene.calls("images.pull"), pulls + 1);
    })
    .await;
}

/// The files of the new version are there, and systemd has not read them: what it starts is the old one.
#[tokio::test]
async fn a_version_that_systemd_did_not_load_is_not_told_to_run() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let digest = scene.world.registry_holds(NEXT_IMAGE, 2);
        scene.world.fail_nth("units.take_up", 1);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        let state = scene.until_running(2).await;
        assert!(
            scene
                .world
                .fired()
                .iter()
                .any(|fault| fault.contains("units.take_up"))
        );
        assert_eq!(state.running.unwrap().digest, Some(digest.to_string()));
        let runs = scene.world.running_image(&unit()).unwrap();
        assert!(runs.contains(digest.as_str()), "{runs}");
    })
    .await;
}
