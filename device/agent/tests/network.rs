//! What the network and the server do to a device, with a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, copy_folder, desired, scene, unit, until, web};
use fleet_agent::{LinkState, status};
use fleet_protocol::bucket::{self, agent_consumer};
use fleet_protocol::command::{self, Pong, Reply};
use fleet_protocol::{DeploymentName, Phase};

#[tokio::test]
async fn without_any_network_the_last_desired_state_runs_after_a_power_cut() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.server.stop().unwrap();
        scene.world.cut_power();
        scene.kill().await;
        scene.world.reboot();
        scene.world.stop_by_hand(&unit());
        scene.start();
        let scene = &scene;
        until("running", async || scene.world.running_image(&unit()).is_some()).await;
        until("shown", async || {
            let status = status::of_running_agent(&scene.settings.runtime);
            status.is_some_and(|status| {
                status
                    .deployments
                    .get(&web())
                    .is_some_and(|state| state.phase == Phase::Running)
                    && matches!(status.link, Some(LinkState::Offline { .. }))
            })
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn ten_reconnects_leave_one_consumer() {
    scene(async |mut scene| {
        scene.settings.tuning.reconnect_max = Duration::from_millis(100);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        for round in 2..=11 {
            scene.server.start_again().unwrap();
            scene.reconnect().await;
            scene.ask_for(desired(round, IMAGE)).await;
            scene.until_running(round).await;
        }
        assert_eq!(
            scene.consumers(&bucket::DESIRED_STATE).await,
            vec![agent_consumer(&scene.device)]
        );
        let scene = &scene;
        until("no consumer on states", async || {
            scene.consumers(&bucket::DEPLOYMENT_STATE).await.is_empty()
        })
        .await;
        assert_eq!(scene.calls("units.restart") + scene.calls("units.start"), 1);
    })
    .await;
}

#[tokio::test]
async fn an_empty_store_deletes_nothing_and_is_filled_again() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        let before = scene.until_running(1).await;
        scene.server.start_again_empty().unwrap();
        scene.reconnect().await;
        scene.make_buckets().await;
        let after = scene.until_running(1).await;
        assert_eq!(before, after);
        let info = scene.kv(&bucket::DEVICE_INFO).await;
        until("described again", async || {
            info.get("pi-1").await.unwrap().is_some()
        })
        .await;
        // A store that knows other deployments only is still not the one that asked for this.
        let other = scene.kv(&bucket::DESIRED_STATE).await;
        other
            .put("pi-1.other", desired(1, NEXT_IMAGE).into())
            .await
            .unwrap();
        let states = scene.kv(&bucket::DEPLOYMENT_STATE).await;
        until("the other one runs", async || {
            let bytes = states.get("pi-1.other").await.unwrap().unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains("Running")
        })
        .await;
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        scene.until_running(1).await;
        assert!(scene.world.running_image(&unit()).is_some());
        assert_eq!(scene.calls("units.stop"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_key_purged_while_the_device_was_away_is_removed_when_the_store_is_the_same() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.stop().await;
        assert!(
            scene.world.running_image(&unit()).is_some(),
            "containers outlive the agent"
        );
        assert!(scene.world.notes().contains(&"stopping".to_owned()));
        // Without a trace: not even a marker is left.
        let stream = scene
            .js()
            .get_stream(bucket::DESIRED_STATE.stream())
            .await
            .unwrap();
        stream.purge().filter("$KV.desired-state.pi-1.web").await.unwrap();
        scene.start();
        let scene = &scene;
        until("gone", async || scene.state().await.is_none()).await;
        assert_eq!(scene.world.podman_holds().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_bucket_made_anew_under_a_living_connection_deletes_nothing() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        for bucket in bucket::ALL {
            scene.js().delete_key_value(bucket.name).await.unwrap();
        }
        scene
            .js()
            .delete_stream(fleet_protocol::event::STREAM)
            .await
            .unwrap();
        scene.make_buckets().await;
        scene.until_running(1).await;
        scene.ask_for(desired(5, IMAGE)).await;
        scene.until_running(5).await;
        assert_eq!(scene.calls("units.stop"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_state_key_that_belongs_to_nothing_goes() {
    scene(async |mut scene| {
        let states = scene.kv(&bucket::DEPLOYMENT_STATE).await;
        states.put("pi-1.ghost", "{}".into()).await.unwrap();
        states.put("pi-2.ghost", "{}".into()).await.unwrap();
        scene.start();
        until("gone", async || states.get("pi-1.ghost").await.unwrap().is_none()).await;
        assert!(
            states.get("pi-2.ghost").await.unwrap().is_some(),
            "another device's key"
        );
    })
    .await;
}

#[tokio::test]
async fn a_state_written_by_somebody_else_is_put_right() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let states = scene.kv(&bucket::DEPLOYMENT_STATE).await;
        states.put("pi-1.web", "{}".into()).await.unwrap();
        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
    })
    .await;
}

#[tokio::test]
async fn unchanged_keys_are_not_written_again_after_a_reconnect() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let scene_ref = &scene;
        let info = scene.kv(&bucket::DEVICE_INFO).await;
        until("described", async || info.get("pi-1").await.unwrap().is_some()).await;
        let described = info.entry("pi-1").await.unwrap().unwrap().revision;
        let revision = scene_ref.revision().await;
        let records = scene.world.writes();
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        let scene = &scene;
        until("connected again", async || {
            !scene.consumers(&bucket::DESIRED_STATE).await.is_empty()
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let info = scene.kv(&bucket::DEVICE_INFO).await;
        assert_eq!(info.entry("pi-1").await.unwrap().unwrap().revision, described);
        assert_eq!(scene.revision().await, revision);
        assert_eq!(scene.world.writes(), records);
    })
    .await;
}

#[tokio::test]
async fn the_watchdog_is_fed_by_the_loop_that_does_the_work() {
    scene(async |mut scene| {
        scene.world.set_watchdog(Some(Duration::from_millis(200)));
        scene.start();
        let signs = || {
            scene
                .world
                .notes()
                .iter()
                .filter(|note| *note == "watchdog")
                .count()
        };
        until("alive", async || signs() >= 5).await;
    })
    .await;
}

#[tokio::test]
async fn commands_are_answered_and_unknown_ones_refused() {
    scene(async |mut scene| {
        scene.start();
        let scene = &scene;
        until("subscribed", async || {
            let answer = scene
                .client()
                .request(command::ping(&scene.device), "".into())
                .await;
            answer.is_ok_and(|answer| {
                matches!(
                    serde_json::from_slice(&answer.payload),
                    Ok(Reply::<Pong>::Done(_))
                )
            })
        })
        .await;
        let subject = format!("device-commands.{}.fly", scene.device);
        let answer = scene.client().request(subject, "".into()).await.unwrap();
        let Ok(Reply::<()>::Refused(cause)) = serde_json::from_slice(&answer.payload) else {
            panic!("{answer:?}")
        };
        assert_eq!(cause.kind, "command-unknown");
    })
    .await;
}

#[tokio::test]
async fn a_device_that_is_shut_out_says_why_and_comes_back_when_it_is_let_in() {
    scene(async |mut scene| {
        use fleet_testbed::nats::{NatsUser, UserKey};
        scene.settings.tuning.reconnect_max = Duration::from_millis(200);
        let key = UserKey::generate().unwrap();
        scene.settings.identity.seed = fleet_agent::settings::Seed::new(key.seed());
        scene.start();
        let runtime = scene.settings.runtime.clone();
        until("refused", async || {
            let status = status::of_running_agent(&runtime);
            let reason = match status.and_then(|status| status.link) {
                Some(LinkState::Offline { reason, .. }) => reason.to_lowercase(),
                _ => String::new(),
            };
            reason.contains("refuses the key of this device (authorization violation): add the device")
        })
        .await;
        // Long enough for a client that counts equal errors to give up.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let user = NatsUser::device(&key, &scene.device);
        scene.server.add_user(user).unwrap();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
    })
    .await;
}

#[tokio::test]
async fn the_permissions_of_a_device_are_enough_and_none_is_violated() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.take_away().await;
        let scene = &scene;
        until("gone", async || scene.state().await.is_none()).await;
        let log = std::fs::read_to_string(scene.server.log_path()).unwrap();
        assert!(!log.to_lowercase().contains("violation"), "{log}");
        let history = scene
            .js()
            .get_stream(fleet_protocol::event::STREAM)
            .await
            .unwrap();
        assert!(history.cached_info().state.messages > 0, "its history is written");
    })
    .await;
}

#[tokio::test]
async fn the_events_of_a_server_that_does_not_answer_do_not_stop_the_device() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.server.pause().unwrap();
        scene.world.stop_by_hand(&unit());
        let world = scene.world.clone();
        until("repaired", async || world.running_image(&unit()).is_some()).await;
        scene.server.resume().unwrap();
        let _: DeploymentName = web();
        scene
            .until_state("told", |state| {
                state.marks.iter().any(|mark| mark.phase == Phase::Failed)
            })
            .await;
        scene.until_running(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_in_a_store_restored_from_an_older_backup_takes_nothing_away() {
    scene(async |mut scene| {
        scene.settings.tuning.reconnect_max = Duration::from_millis(100);
        scene.ask_for(desired(1, IMAGE)).await;
        scene.take_away().await;
        let backup = tempfile::tempdir().unwrap();
        scene.server.stop().unwrap();
        copy_folder(scene.server.store(), backup.path());
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        scene.start();
        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
        scene.server.stop().unwrap();
        std::fs::remove_dir_all(scene.server.store()).unwrap();
        copy_folder(backup.path(), scene.server.store());
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        // The state is told again, which comes after the keys of the restored store.
        scene.until_running(2).await;
        assert!(scene.world.running_image(&unit()).is_some());
        assert_eq!(scene.calls("units.stop"), 0);
    })
    .await;
}

/// What `fleet-agent status` says is the matter with the connection.
async fn offline_with(scene: &mut common::Scene, words: &str) {
    scene.settings.tuning.reconnect_max = Duration::from_millis(200);
    scene.start();
    let runtime = scene.settings.runtime.clone();
    let last = std::cell::RefCell::new(String::new());
    until(words, async || {
        let Some(shown) = status::of_running_agent(&runtime) else {
            return false;
        };
        let text = status::text(&shown, chrono::DateTime::UNIX_EPOCH);
        last.replace(text.clone());
        text.contains("offline for") && text.contains(words)
    })
    .await;
    let last = last.into_inner();
    assert!(!last.contains("SU"), "no seed is ever shown: {last}");
    scene.stop().await;
}

#[tokio::test]
async fn each_reason_for_being_offline_is_one_sentence_with_its_next_step() {
    scene(async |mut scene| {
        let good = scene.settings.clone();
        let url = scene.server.url();
        let port = scene.server.port();
        let strange = fleet_testbed::ca::Authority::new().unwrap().pem();
        let ca = scene.settings.runtime.with_file_name("strange-ca.pem");
        let _ = fleet_host::durable::replace(&ca, strange.as_bytes(), 0o644).unwrap();

        scene.settings.identity.ca = Some(ca);
        offline_with(&mut scene, "is not from the CA that the device was enrolled with").await;

        scene.settings = good.clone();
        scene.settings.identity.ca = Some("/nonexistent/ca.pem".into());
        offline_with(&mut scene, "the CA in /nonexistent/ca.pem cannot be used").await;

        scene.settings = good.clone();
        scene.settings.identity.seed = fleet_agent::settings::Seed::new("SUANOTASEED");
        offline_with(&mut scene, "nats.nk cannot be used: enrol the device again").await;

        scene.settings = good.clone();
        scene.settings.identity.enrolment.nats.url = format!("tls://nobody.invalid:{port}");
        let words = format!("the name of nobody.invalid:{port} cannot be found");
        offline_with(&mut scene, &words).await;

        // The certificate is for 127.0.0.1, not for its neighbour; the server listens on the first alone.
        scene.settings = good.clone();
        scene.settings.identity.enrolment.nats.url = format!("tls://127.0.0.2:{port}");
        let words = format!("nothing listens at 127.0.0.2:{port} (connection refused)");
        offline_with(&mut scene, &words).await;

        scene.settings = good;
        scene.server.stop().unwrap();
        let words = format!("nothing listens at {}", url.trim_start_matches("tls://"));
        offline_with(&mut scene, &words).await;
    })
    .await;
}
