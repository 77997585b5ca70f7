//! What the device does when its own records cannot be written or are damaged, on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, Scene, desired, file, scene, unit, until, web};
use fleet_host::Shelf;
use fleet_protocol::bucket;

/// Records are tried again with each look for drift, so there has to be one within the test.
const LOOK: Duration = Duration::from_millis(300);

async fn run_another(scene: &Scene) {
    let store = scene.kv(&bucket::DESIRED_STATE).await;
    store
        .put("pi-1.other", desired(1, NEXT_IMAGE).into())
        .await
        .unwrap();
    let states = scene.kv(&bucket::DEPLOYMENT_STATE).await;
    until("the other one runs", async || {
        let bytes = states.get("pi-1.other").await.unwrap().unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("Running")
    })
    .await;
}

#[tokio::test]
async fn what_is_written_for_one_deployment_ends_no_trouble_of_another() {
    scene(async |mut scene| {
        scene.world.refuse_records(&web(), true);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        let told = &scene;
        until("told", async || {
            told.trouble("records-not-written").await.is_some()
        })
        .await;
        run_another(&scene).await;
        // A change of health is in the store at once; it stays away for as long as this.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let detail = scene.trouble("records-not-written").await.unwrap();
            assert!(detail.contains("free space"), "{detail}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_record_that_the_disk_refused_is_written_without_anything_new() {
    scene(async |mut scene| {
        scene.settings.tuning.drift_check = LOOK;
        scene.world.refuse_records(&web(), true);
        scene.start();
        // Nothing of it is installed, so that no unit gives an occasion.
        scene.ask_for("{").await;
        scene.until_failed("value-malformed").await;
        let cured = &scene;
        until("told", async || {
            cured.trouble("records-not-written").await.is_some()
        })
        .await;
        assert!(
            scene.world.record(Shelf::Desired, &web()).is_none(),
            "it is refused"
        );
        scene.world.refuse_records(&web(), false);
        until("written", async || {
            Shelf::ALL
                .iter()
                .all(|shelf| cured.world.record(*shelf, &web()).is_some())
        })
        .await;
        until("cured", async || {
            cured.trouble("records-not-written").await.is_none()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_removal_whose_first_record_stays_is_not_undone_by_the_next_agent() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.fail_nth("ledger.remove", 1);
        scene.take_away().await;
        let gone = &scene;
        until("gone", async || gone.state().await.is_none()).await;
        assert!(scene.world.fired().contains(&"ledger.remove#1".to_owned()));
        let state = scene.world.record(Shelf::Progress, &web());
        assert!(state.is_some(), "with the other record alone it would come back");
        scene.kill().await;
        scene.server.stop().unwrap();
        scene.start();
        let gone = &scene;
        until("removed", async || {
            Shelf::ALL
                .iter()
                .all(|shelf| gone.world.record(*shelf, &web()).is_none())
        })
        .await;
        assert_eq!(scene.world.running_image(&unit()), None);
    })
    .await;
}

#[tokio::test]
async fn records_that_the_disk_would_not_remove_go_later_and_undo_nothing() {
    scene(async |mut scene| {
        scene.settings.tuning.drift_check = LOOK;
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.world.refuse_records(&web(), true);
        scene.take_away().await;
        let gone = &scene;
        until("gone", async || gone.state().await.is_none()).await;
        until("told", async || {
            gone.trouble("records-not-written").await.is_some()
        })
        .await;
        let state = scene.world.record(Shelf::Progress, &web());
        assert!(state.is_some(), "with the other record alone it would come back");
        scene.world.refuse_records(&web(), false);
        until("removed", async || {
            Shelf::ALL
                .iter()
                .all(|shelf| gone.world.record(*shelf, &web()).is_none())
        })
        .await;
        until("cured", async || {
            gone.trouble("records-not-written").await.is_none()
        })
        .await;
    })
    .await;
}

/// As `desired`, with a volume that outlives the deployment beside the other.
fn keeping(generation: u64) -> String {
    desired(generation, IMAGE).replace(
        "\"volumes\":[",
        "\"volumes\":[{\"source\":{\"volume\":{\"name\":\"db\",\"keep\":true}},\"path\":\"/db\"},",
    )
}

#[tokio::test]
async fn with_both_records_lost_no_volume_of_an_older_generation_is_removed() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(keeping(1)).await;
        scene.until_running(1).await;
        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
        scene.stop().await;
        for shelf in Shelf::ALL {
            scene.world.damage_record(shelf, &web(), b"{\"torn");
        }
        // An agent without a network finds the damage, a later one the key.
        scene.server.stop().unwrap();
        scene.start();
        let found = &scene;
        until("moved aside", async || {
            Shelf::ALL
                .iter()
                .all(|shelf| found.world.record(*shelf, &web()).is_none())
        })
        .await;
        scene.stop().await;
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        scene.start();
        scene.until_running(2).await;
        let told = &scene;
        until("told", async || told.trouble("volumes-unknown").await.is_some()).await;
        let detail = scene.trouble("volumes-unknown").await.unwrap();
        assert!(
            detail.contains("web") && detail.contains("podman volume rm"),
            "{detail}"
        );
        assert_eq!(
            scene.trouble("record-damaged").await,
            None,
            "it is on record again"
        );

        scene.take_away().await;
        scene
            .until_state("incomplete", |state| {
                state
                    .cause
                    .as_ref()
                    .is_some_and(|cause| cause.kind == "removal-incomplete")
            })
            .await;
        let held: Vec<String> = scene.world.podman_holds().into_iter().collect();
        assert_eq!(held, ["fleet-web.data", "fleet-web.db"]);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_began_with_good_records_knows_what_to_keep() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(keeping(1)).await;
        scene.until_running(1).await;
        assert_eq!(scene.trouble("volumes-unknown").await, None);
        scene.take_away().await;
        let gone = &scene;
        until("gone", async || gone.state().await.is_none()).await;
        let held: Vec<String> = scene.world.podman_holds().into_iter().collect();
        assert_eq!(held, ["fleet-web.db"]);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_whose_record_and_key_are_gone_is_told_by_every_agent_and_runs_on() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.stop().await;
        scene.world.damage_record(Shelf::Desired, &web(), b"{\"seen\":");
        // Without a trace: not even a marker is left.
        let stream = scene
            .js()
            .get_stream(bucket::DESIRED_STATE.stream())
            .await
            .unwrap();
        stream.purge().filter("$KV.desired-state.pi-1.web").await.unwrap();
        for agent in ["the one that found the damage", "the next one"] {
            scene.start();
            let told = &scene;
            until(agent, async || {
                let orphan = told.trouble("unit-without-record").await;
                orphan.is_some_and(|detail| detail.contains(file().as_str()))
                    && told.trouble("record-damaged").await.is_some()
            })
            .await;
            assert!(scene.world.running_image(&unit()).is_some());
            scene.stop().await;
        }
        scene.start();
        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
        let cured = &scene;
        until("cured", async || cured.health().await.is_empty()).await;
    })
    .await;
}

/// The first pull of a boot, and no other, waits for a look through podman's storage.
#[tokio::test]
async fn after_a_power_cut_the_storage_is_repaired_once_before_the_first_pull() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        assert_eq!(scene.calls("images.repair"), 0, "nobody ever pulled here before");
        scene.world.cut_power();
        scene.kill().await;
        scene.world.reboot();
        scene.start();
        let up = &scene;
        until("running", async || up.world.running_image(&unit()).is_some()).await;
        scene.until_running(1).await;
        assert_eq!(scene.calls("images.repair"), 0, "what runs waits for nothing");
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        let calls = scene.world.calls();
        let at = |call: &str| calls.iter().rposition(|made| made.starts_with(call)).unwrap();
        assert!(at("images.repair") < at("images.pull"), "{calls:?}");

        scene.stop().await;
        scene.start();
        let third = "registry.test/web:3";
        scene.world.registry_holds(third, 1);
        scene.ask_for(desired(3, third)).await;
        scene.until_running(3).await;
        assert_eq!(
            scene.calls("images.repair"),
            1,
            "once for each boot, not for each agent"
        );
    })
    .await;
}

#[tokio::test]
async fn a_repair_that_fails_keeps_no_deployment_from_its_image() {
    scene(async |mut scene| {
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        scene.stop().await;
        scene.world.reboot();
        scene.world.fail_nth("images.repair", 1);
        scene.start();
        scene.ask_for(desired(2, NEXT_IMAGE)).await;
        scene.until_running(2).await;
        assert!(scene.world.fired().contains(&"images.repair#1".to_owned()));
    })
    .await;
}
