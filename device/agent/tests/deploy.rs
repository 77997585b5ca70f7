//! From a key in the store to a container and back, on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::{Duration, Instant};

use common::{IMAGE, NEXT_IMAGE, copy_folder, desired, file, scene, unit, until, web};
use fleet_host::ImageErrorKind;
use fleet_host::Shelf;
use fleet_host::fakes::Behaviour;
use fleet_protocol::bucket;
use fleet_protocol::cause::Exit;
use fleet_protocol::{DeviceInfo, Heartbeat, Phase, wire};

#[tokio::test]
async fn a_deployment_is_pulled_started_and_reported_with_each_phase() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let state = scene.until_running(1).await;
        let phases: Vec<&str> = state.marks.iter().map(|mark| mark.phase.as_str()).collect();
        assert_eq!(phases, ["Pending", "Pulling", "Starting", "Running"]);
        let running = state.running.unwrap();
        assert_eq!(
            (running.image.as_str(), running.unit.as_str()),
            (IMAGE, "fleet-web.service")
        );
        assert!(running.digest.unwrap().starts_with("sha256:"));
        assert!(scene.world.running_image(&unit()).unwrap().contains("@sha256:"));
        assert_eq!(scene.calls("units.take_up"), 1);
        assert_eq!(scene.calls("units.reload"), 0, "a new unit needs none");
    })
    .await;
}

#[tokio::test]
async fn the_device_says_what_it_is_and_that_it_lives() {
    scene(async |mut scene| {
        scene.start();
        let scene = &scene;
        until("described", async || {
            let store = scene.kv(&bucket::DEVICE_INFO).await;
            let Some(bytes) = store.get("pi-1").await.unwrap() else {
                return false;
            };
            let info: DeviceInfo = wire::decode(&bytes).unwrap();
            info.labels["site"] == "lyon" && info.agent_version == fleet_agent::VERSION
        })
        .await;
        until("alive", async || {
            let store = scene.kv(&bucket::DEVICE_HEARTBEAT).await;
            let bytes = store.get("pi-1").await.unwrap();
            bytes.is_some_and(|bytes| wire::decode::<Heartbeat>(&bytes).is_ok())
        })
        .await;
        assert!(scene.world.notes().contains(&"ready".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn an_image_on_record_is_not_pulled_again() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let pulls = scene.calls("images.pull");
        let with_variable = desired(2, IMAGE).replace(
            "\"volumes\"",
            "\"env\":[{\"name\":\"A\",\"value\":\"b\"}],\"volumes\"",
        );
        scene.ask_for(with_variable).await;
        scene.until_running(2).await;
        assert_eq!(scene.calls("images.pull"), pulls);
        assert_eq!(scene.calls("images.present"), 1, "before what runs is stopped");
        assert_eq!(scene.calls("units.restart"), 1);
        assert!(
            scene.world.file(&file()).unwrap().contains("Environment=A=b")
                || scene.world.file(&file()).unwrap().contains("A=b")
        );
    })
    .await;
}

#[tokio::test]
async fn between_files_and_start_of_a_new_unit_systemd_is_asked_nothing() {
    scene(|mut scene| async move {
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        scene.until_running(1).await;
        let calls = scene.world.calls();
        let at = |operation: &str| calls.iter().position(|call| call.starts_with(operation)).unwrap();
        let between = &calls[at("units.take_up")..at("units.start")];
        let asked: Vec<&String> = between
            .iter()
            .filter(|call| call.starts_with("units.facts"))
            .collect();
        assert!(asked.is_empty(), "{calls:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_version_that_is_being_stopped_is_upgrading_and_what_follows_is_starting() {
    scene(async |mut scene| {
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        scene.until_running(1).await;
        scene.world.behaves(&web(), fleet_host::fakes::Behaviour::Hangs);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        let state = scene
            .until_state("starting", |state| {
                state.phase == Phase::Starting && state.observed_generation == 2
            })
            .await;
        assert_eq!(state.running, None);
        let phases: Vec<&Phase> = state.marks.iter().rev().take(2).map(|mark| &mark.phase).collect();
        assert_eq!(phases, [&Phase::Starting, &Phase::Upgrading]);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_somebody_removed_is_pulled_again() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.remove_image_by_hand(IMAGE);
        let with_user = desired(2, IMAGE).replace("\"volumes\"", "\"user\":\"1000\",\"volumes\"");
        scene.ask_for(with_user).await;
        scene.until_running(2).await;
        assert_eq!(scene.calls("images.pull"), 2);
    })
    .await;
}

#[tokio::test]
async fn a_generation_that_changes_nothing_restarts_nothing() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let before = scene.until_running(1).await.running.unwrap();
        scene.ask_for(desired(2, IMAGE)).await;
        let after = scene.until_running(2).await.running.unwrap();
        assert_eq!(before.invocation_id, after.invocation_id);
        assert_eq!(after.generation, 2);
        assert_eq!(scene.calls("units.restart") + scene.calls("units.start"), 1);
    })
    .await;
}

#[tokio::test]
async fn the_old_version_runs_on_while_the_new_image_cannot_be_had() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.registry_fails(NEXT_IMAGE, ImageErrorKind::NotFound);
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        let state = scene.until_failed("image-not-found").await;
        assert_eq!(
            (state.observed_generation, state.running.unwrap().generation),
            (2, 1)
        );
        assert!(state.next_try_at.is_some());
        assert!(state.cause.unwrap().detail.contains(NEXT_IMAGE));
        assert!(scene.world.running_image(&unit()).is_some());
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_comes_back_is_used_without_a_new_generation() {
    scene(async |mut scene| {
        scene.world.registry_down(true);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_failed("registry-unreachable").await;
        scene.world.registry_down(false);
        let state = scene.until_running(1).await;
        assert_eq!(state.failed_tries, 0);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_and_the_old_version_runs_on() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let newer = desired(4, IMAGE).replace("\"protocol\":0", "\"protocol\":7");
        let port = desired(5, IMAGE).replace(
            "\"volumes\"",
            "\"ports\":[{\"host\":1,\"container\":1}],\"volumes\"",
        );
        let unknown = desired(6, IMAGE).replace("\"volumes\"", "\"privileged\":true,\"volumes\"");
        let huge = format!("{}{}", desired(3, IMAGE), " ".repeat(wire::MAX_VALUE_BYTES - 600));
        for (value, kind, words) in [
            ("{\"generation\":".to_owned(), "value-malformed", "parse"),
            (newer, "value-of-newer-version", "upgrade"),
            (port, "spec-invalid", "score.podman_v0.ports[0].host"),
            (unknown, "value-malformed", "privileged"),
        ] {
            scene.ask_for(value).await;
            let state = scene.until_failed(kind).await;
            assert!(state.cause.unwrap().detail.contains(words));
            assert_eq!(state.running.unwrap().generation, 1);
            assert!(scene.world.running_image(&unit()).is_some());
        }
        // Large, but within the limit: fine.
        scene.ask_for(huge).await;
        scene.until_running(3).await;
        assert_eq!(scene.calls("units.restart") + scene.calls("units.stop"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_would_replace_the_agents_own_unit_is_refused() {
    scene(async |mut scene| {
        scene.start();
        let store = scene.kv(&bucket::DESIRED_STATE).await;
        store.put("pi-1.agent", desired(1, IMAGE).into()).await.unwrap();
        let states = scene.kv(&bucket::DEPLOYMENT_STATE).await;
        until("refused", async || {
            let bytes = states.get("pi-1.agent").await.unwrap().unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains("name-reserved")
        })
        .await;
        // A key that no deployment can have changes nothing.
        let client = scene.client();
        client
            .publish("$KV.desired-state.pi-1.Not_A_Name", "x".into())
            .await
            .unwrap();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
    })
    .await;
}

#[tokio::test]
async fn removal_leaves_nothing_behind() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        assert!(!scene.world.podman_holds().is_empty());
        scene.take_away().await;
        let scene = &scene;
        until("gone", async || scene.state().await.is_none()).await;
        assert_eq!(scene.world.podman_holds().len(), 0);
        assert_eq!(scene.world.file(&file()), None);
        for shelf in Shelf::ALL {
            assert_eq!(scene.world.record(shelf, &web()), None);
        }
        // And it can come back.
        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_podman_refuses_is_told_and_tried_again() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.is_stuck("fleet-web.data", true);
        scene.take_away().await;
        let state = scene
            .until_state("stuck", |state| {
                state.phase == Phase::Removing && state.cause.is_some()
            })
            .await;
        assert!(state.cause.unwrap().detail.contains("fleet-web.data"));
        scene.world.is_stuck("fleet-web.data", false);
        let scene = &scene;
        until("gone", async || scene.state().await.is_none()).await;
    })
    .await;
}

#[tokio::test]
async fn a_unit_stopped_by_hand_is_started_again_and_that_shows() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let before = scene.until_running(1).await.running.unwrap();
        scene.world.stop_by_hand(&unit());
        let state = scene
            .until_state("running again", |state| {
                let other =
                    |running: &fleet_protocol::state::Running| running.invocation_id != before.invocation_id;
                state.phase == Phase::Running && state.running.as_ref().is_some_and(other)
            })
            .await;
        let failed = state
            .marks
            .iter()
            .filter(|mark| mark.phase == Phase::Failed)
            .count();
        assert_eq!(failed, 1, "{:?}", state.marks);
    })
    .await;
}

#[tokio::test]
async fn a_unit_file_changed_by_hand_is_put_right_without_a_restart() {
    scene(async |mut scene| {
        scene.settings.tuning.drift_check = Duration::from_millis(300);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let before = scene.until_running(1).await.running.unwrap();
        let good = scene.world.file(&file()).unwrap();
        for bad in [Some("[Container]\nImage=evil\n"), None] {
            scene.world.edit_by_hand(&file(), bad);
            let scene = &scene;
            until("repaired", async || {
                scene.world.file(&file()).as_deref() == Some(&good)
            })
            .await;
            let after = scene.until_running(1).await.running.unwrap();
            assert_eq!(after.invocation_id, before.invocation_id);
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ends_at_once_fails_with_its_last_words() {
    scene(async |mut scene| {
        let lines = vec!["cannot find its database".to_owned()];
        scene.world.behaves(&web(), Behaviour::Exits { status: 3, lines });
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let state = scene.until_failed("exited-early").await;
        let cause = state.cause.unwrap();
        assert!(cause.detail.contains("status 3"), "{}", cause.detail);
        assert_eq!(cause.exit, Some(Exit::Status(3)));
        assert_eq!(cause.log, ["cannot find its database"]);
        assert!(state.next_try_at.is_some() && state.failed_tries > 0);
        // Tries of the agent start nothing while systemd is at it: they tell how often it restarted it.
        scene.world.crash(&unit());
        scene.world.crash(&unit());
        let state = scene
            .until_state("in a crash loop", |state| {
                state.crash_loop.as_ref().is_some_and(|loops| loops.restarts == 2)
            })
            .await;
        assert_eq!(state.phase, Phase::Failed);
        assert_eq!(scene.calls("units.start"), 1);
        assert_eq!(scene.calls("units.join") + scene.calls("units.restart"), 0);
        scene.world.behaves(&web(), Behaviour::Runs);
        scene.world.crash(&unit());
        assert!(scene.world.running_image(&unit()).is_some());
        // To come up is no proof any more: it has to stay up.
        let began = Instant::now();
        scene.until_running(1).await;
        assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_refuses_the_unit_file_is_told_and_tried_again() {
    scene(async |mut scene| {
        scene.world.fail_nth("unit-files.write", 1);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let state = scene.until_running(1).await;
        assert!(scene.world.fired().contains(&"unit-files.write#1".to_owned()));
        assert!(state.marks.iter().any(|mark| mark.phase == Phase::Failed));
    })
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_a_matter_of_health_and_stops_nothing() {
    scene(async |mut scene| {
        for nth in 1..=3 {
            scene.world.fail_nth("ledger.write", nth);
        }
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        assert_eq!(scene.world.fired().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn idle_writes_nothing_and_asks_nothing() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        // The last writes of the deployment itself may still be under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (writes, calls, revision) = (
            scene.world.writes(),
            scene.world.calls().len(),
            scene.revision().await,
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(scene.world.writes(), writes);
        let since = &scene.world.calls()[calls..];
        assert!(
            since
                .iter()
                .all(|call| call.starts_with("facts.") || call.starts_with("supervisor.")),
            "{since:?}"
        );
        assert_eq!(scene.revision().await, revision);
    })
    .await;
}

#[tokio::test]
async fn a_unit_file_that_nobody_stands_for_is_told_and_kept_until_its_key_is_seen() {
    scene(async |mut scene| {
        scene
            .world
            .edit_by_hand(&file(), Some("[Container]\nImage=old\n"));
        scene.start();
        let told = async |scene: &common::Scene| {
            let store = scene.kv(&bucket::DEVICE_INFO).await;
            let info = store.get("pi-1").await.unwrap()?;
            let info: DeviceInfo = wire::decode(&info).unwrap();
            Some(
                info.health
                    .iter()
                    .any(|cause| cause.kind == "unit-without-record"),
            )
        };
        let seen = &scene;
        until("told", async || told(seen).await == Some(true)).await;
        assert!(scene.world.file(&file()).is_some());
        scene.stop().await;
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        scene.until_running(1).await;
        let seen = &scene;
        until("cured", async || told(seen).await == Some(false)).await;
    })
    .await;
}

#[tokio::test]
async fn a_record_that_a_full_disk_refused_is_written_once_there_is_room() {
    scene(async |mut scene| {
        // The first record of a deployment is that of what to run, the second that of its first phase.
        scene.world.fail_nth("ledger.write", 1);
        scene.world.fail_nth("ledger.write", 2);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        assert_eq!(scene.world.fired().len(), 2, "{:?}", scene.world.fired());
        for shelf in Shelf::ALL {
            assert!(scene.world.record(shelf, &web()).is_some(), "{shelf:?}");
        }
    })
    .await;
}

/// The value lands on the sequence of one that the agent saw before, in what calls itself the same store.
#[tokio::test]
async fn a_value_written_after_the_store_was_restored_from_a_backup_is_taken_up() {
    for restarted in [false, true] {
        scene(async |mut scene| {
            scene.settings.tuning.reconnect_max = std::time::Duration::from_millis(100);
            scene.ask_for(desired(1, IMAGE)).await;
            let backup = tempfile::tempdir().unwrap();
            scene.server.stop().unwrap();
            copy_folder(scene.server.store(), backup.path());
            scene.server.start_again().unwrap();
            scene.reconnect().await;
            scene.start();
            scene.ask_for(desired(2, IMAGE)).await;
            scene.until_running(2).await;
            if restarted {
                scene.stop().await;
            }
            scene.server.stop().unwrap();
            std::fs::remove_dir_all(scene.server.store()).unwrap();
            copy_folder(backup.path(), scene.server.store());
            scene.server.start_again().unwrap();
            scene.reconnect().await;
            // At the next number, so that the agent can only meet the new value.
            scene.ask_for(desired(3, NEXT_IMAGE)).await;
            if restarted {
                scene.start();
            }
            let state = scene.until_running(3).await;
            assert_eq!(state.running.unwrap().image, NEXT_IMAGE, "restarted: {restarted}");
        })
        .await;
    }
}
