//! A container that does its work once and ends, on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use common::{IMAGE, Scene, desired, file, scene, until, web};
use fleet_host::fakes::Behaviour;
use fleet_protocol::{DeploymentState, Phase};

fn once(generation: u64) -> String {
    desired(generation, IMAGE).replacen("\"image\"", "\"restart\":\"never\",\"image\"", 1)
}

async fn finished(scene: &Scene, generation: u64) -> DeploymentState {
    scene
        .until_state("Finished", |state| {
            state.phase == Phase::Finished && state.observed_generation == generation
        })
        .await
}

fn does_its_work(scene: &Scene) {
    let (status, lines) = (0, Vec::new());
    scene.world.behaves(&web(), Behaviour::Exits { status, lines });
}

#[tokio::test]
async fn a_container_that_does_its_work_and_ends_is_finished_and_no_failure() {
    scene(async |mut scene| {
        does_its_work(&scene);
        scene.start();
        scene.ask_for(once(1)).await;
        let state = finished(&scene, 1).await;
        assert_eq!((state.cause, state.running, state.failed_tries), (None, None, 0));
        assert_eq!(state.next_try_at, None);
        scene.take_away().await;
        until("gone", async || scene.state().await.is_none()).await;
        assert_eq!(scene.world.podman_holds().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn neither_a_new_generation_nor_another_agent_nor_an_edited_file_runs_it_again() {
    scene(async |mut scene| {
        does_its_work(&scene);
        scene.start();
        scene.ask_for(once(1)).await;
        finished(&scene, 1).await;
        scene.ask_for(once(2)).await;
        finished(&scene, 2).await;
        scene.stop().await;
        let good = scene.world.file(&file());
        scene.world.edit_by_hand(&file(), Some("[Container]\n"));
        scene.start();
        until("its file is put right", async || {
            scene.world.file(&file()) == good
        })
        .await;
        finished(&scene, 2).await;
        assert_eq!(scene.calls("units.start"), 1);
    })
    .await;
}

#[tokio::test]
async fn with_the_policy_always_an_end_is_a_failure_however_well() {
    scene(async |mut scene| {
        does_its_work(&scene);
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_failed("exited-early").await;
    })
    .await;
}
