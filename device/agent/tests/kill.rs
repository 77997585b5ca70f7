//! The agent is killed at each stage, once right after it was recorded and once after its effects were begun,
//! and the power is cut after each single durable write. The next agent must finish the work.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::rc::Rc;
use std::time::Duration;

use common::{IMAGE, NEXT_IMAGE, Scene, desired, scene, unit, until, web};
use fleet_agent::fault::Faults;
use fleet_host::Shelf;
use fleet_host::fakes::Behaviour;
use tokio::sync::Notify;

fn hold(at: &str) -> (Faults, Rc<Notify>) {
    let reached = Rc::new(Notify::new());
    let faults = Faults::Hold {
        at: at.to_owned(),
        reached: Rc::clone(&reached),
    };
    (faults, reached)
}

/// Starts an agent, lets something happen to it, kills it at the point, and starts another.
async fn kill_at(scene: &mut Scene, point: &str, cause: impl AsyncFnOnce(&Scene)) {
    let (faults, reached) = hold(point);
    scene.start_with(faults);
    cause(scene).await;
    let arrived = tokio::time::timeout(Duration::from_secs(20), reached.notified()).await;
    assert!(arrived.is_ok(), "{point} was never reached");
    scene.kill().await;
    scene.start();
}

fn both(stage: &str) -> [String; 2] {
    [stage.to_owned(), format!("{stage}.begun")]
}

#[tokio::test]
async fn killed_at_each_stage_of_a_first_start_it_runs_in_the_end() {
    for stage in ["Queued", "Pulling", "Installing", "Starting", "Running"] {
        for point in both(stage) {
            scene(async |mut scene| {
                kill_at(&mut scene, &point, async |scene| {
                    scene.ask_for(desired(1, IMAGE)).await;
                })
                .await;
                scene.until_running(1).await;
                assert!(scene.world.running_image(&unit()).is_some(), "{point}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn killed_at_each_stage_of_a_change_the_new_version_runs_in_the_end() {
    for stage in ["Queued", "Pulling", "Replacing", "Starting"] {
        for point in both(stage) {
            scene(async |mut scene| {
                scene.start();
                scene.ask_for(desired(1, IMAGE)).await;
                scene.until_running(1).await;
                scene.stop().await;
                let digest = scene.world.registry_holds(NEXT_IMAGE, 2);
                // The old run is down and the new one not yet up for long enough that it is seen.
                scene.world.behaves(&web(), Behaviour::Hangs);
                kill_at(&mut scene, &point, async |scene| {
                    scene.ask_for(desired(2, NEXT_IMAGE)).await;
                })
                .await;
                scene.world.behaves(&web(), Behaviour::Runs);
                scene.world.comes_up(&web());
                let state = scene.until_running(2).await;
                assert_eq!(
                    state.running.unwrap().digest.unwrap(),
                    digest.to_string(),
                    "{point}"
                );
                assert!(
                    scene
                        .world
                        .running_image(&unit())
                        .unwrap()
                        .contains(digest.as_str()),
                    "{point}"
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn killed_during_a_removal_nothing_is_left_in_the_end() {
    for point in both("Removing") {
        scene(async |mut scene| {
            scene.start();
            scene.ask_for(desired(1, IMAGE)).await;
            scene.until_running(1).await;
            scene.stop().await;
            kill_at(&mut scene, &point, async |scene| scene.take_away().await).await;
            let scene = &scene;
            until("gone", async || scene.state().await.is_none()).await;
            assert_eq!(scene.world.podman_holds().len(), 0, "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn killed_while_it_waits_for_the_next_try_it_tries_again() {
    for stage in ["PullFailed", "Down"] {
        for point in both(stage) {
            scene(async |mut scene| {
                match stage {
                    "Down" => scene.world.behaves(&web(), Behaviour::Skipped),
                    _ => scene.world.registry_down(true),
                }
                kill_at(&mut scene, &point, async |scene| {
                    scene.ask_for(desired(1, IMAGE)).await;
                })
                .await;
                scene.world.registry_down(false);
                scene.world.behaves(&web(), Behaviour::Runs);
                scene.until_running(1).await;
            })
            .await;
        }
    }
}

/// A version that must not be killed and, at first, does not end. `IMAGE` as generation 1, `NEXT_IMAGE` as 2, with an init container.
fn polite(generation: u64, image: &str) -> String {
    let more = format!(
        r#""lifecycle":{{"grace_period":"1s","sigkill_fallback":false}},"init_containers":[{{"name":"prepare","image":"{image}"}}],"volumes""#
    );
    desired(generation, image).replace("\"volumes\"", &more)
}

#[tokio::test]
async fn killed_at_each_stage_of_a_polite_change_nothing_is_killed_and_the_new_version_runs_in_the_end() {
    for stage in ["Replacing", "StopIgnored"] {
        for point in both(stage) {
            scene(async |mut scene| {
                scene.start();
                scene.ask_for(polite(1, IMAGE)).await;
                let old = scene.until_running(1).await.running.unwrap();
                scene.stop().await;
                scene.world.ignores_signals(&web(), true);
                kill_at(&mut scene, &point, async |scene| {
                    scene.ask_for(polite(2, NEXT_IMAGE)).await;
                })
                .await;
                let state = scene.until_failed("stop-signal-ignored").await;
                assert_eq!(state.running.unwrap().invocation_id, old.invocation_id, "{point}");
                assert_eq!(
                    scene.calls("units.restart") + scene.calls("units.stop"),
                    0,
                    "{point}"
                );
                scene.stop().await;
                scene.world.ignores_signals(&web(), false);
                scene.start();
                scene.until_running(2).await;
                let begun = scene.world.begun();
                let order = begun.iter().rev().take(2).map(String::as_str);
                assert_eq!(
                    order.collect::<Vec<_>>(),
                    ["fleet-web.service", "fleet-web.init-prepare.service"],
                    "{point}"
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn killed_while_an_init_container_fails_the_next_agent_names_it_and_sees_it_succeed() {
    for stage in ["Starting", "Down"] {
        for point in both(stage) {
            scene(async |mut scene| {
                let lines = vec!["table is locked".to_owned()];
                let fails = Behaviour::Exits { status: 4, lines };
                scene.world.init_behaves(&web(), "prepare", fails);
                kill_at(&mut scene, &point, async |scene| {
                    scene.ask_for(polite(1, IMAGE)).await;
                })
                .await;
                let state = scene.until_failed("init-failed").await;
                assert_eq!(state.cause.unwrap().init.as_deref(), Some("prepare"), "{point}");
                let (status, lines) = (0, Vec::new());
                let heals = Behaviour::Exits { status, lines };
                scene.world.init_behaves(&web(), "prepare", heals);
                scene.until_running(1).await;
            })
            .await;
        }
    }
}

/// Whether the power went within this time. That it does not is told by nothing: the change wrote less before it was through.
async fn is_cut_within(scene: &Scene, time: Duration) -> bool {
    let began = std::time::Instant::now();
    while !scene.world.is_dark() && began.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.world.is_dark()
}

/// Cuts the power after the n-th durable write, for every n until a whole change passes without a cut.
#[tokio::test]
async fn a_power_cut_after_any_write_of_a_change_ends_with_the_new_version() {
    let mut cuts = 0;
    for writes in 0.. {
        let mut whole = false;
        scene(async |mut scene| {
            scene.settings.tuning.reconnect_max = Duration::from_millis(100);
            scene.start();
            scene.ask_for(desired(1, IMAGE)).await;
            scene.until_running(1).await;
            let before = scene.world.writes();
            scene.world.cut_power_after(writes);
            scene.ask_for(desired(2, NEXT_IMAGE)).await;
            whole = !is_cut_within(&scene, Duration::from_millis(1500)).await;
            assert!(whole || scene.world.fired().contains(&"power".to_owned()));
            assert!(scene.world.writes() <= before + writes);
            scene.kill().await;
            scene.world.reboot();
            scene.start();
            scene.until_running(2).await;
            assert!(scene.world.running_image(&unit()).is_some());
        })
        .await;
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 5, "only {cuts} writes were cut");
}

/// A value that no agent can use: the port is none.
fn unusable(generation: u64) -> String {
    desired(generation, IMAGE).replace("\"volumes\"", r#""ports":[{"host":0,"container":80}],"volumes""#)
}

#[tokio::test]
async fn killed_while_it_refuses_a_value_the_next_agent_tells_why_and_what_runs_goes_on() {
    for point in both("Rejected") {
        scene(async |mut scene| {
            scene.start();
            scene.ask_for(desired(1, IMAGE)).await;
            let run = scene.until_running(1).await.running.unwrap();
            scene.stop().await;
            kill_at(&mut scene, &point, async |scene| {
                scene.ask_for(unusable(2)).await;
            })
            .await;
            let state = scene.until_failed("spec-invalid").await;
            assert_eq!(state.observed_generation, 2, "{point}");
            assert_eq!(state.running.unwrap().invocation_id, run.invocation_id, "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_power_cut_after_any_write_of_a_refusal_does_not_lose_the_reason() {
    let mut cuts = 0;
    for writes in 0.. {
        let mut whole = false;
        scene(async |mut scene| {
            scene.settings.tuning.reconnect_max = Duration::from_millis(100);
            scene.start();
            scene.ask_for(desired(1, IMAGE)).await;
            scene.until_running(1).await;
            scene.world.cut_power_after(writes);
            scene.ask_for(unusable(2)).await;
            whole = !is_cut_within(&scene, Duration::from_millis(800)).await;
            scene.kill().await;
            scene.world.reboot();
            scene.start();
            scene
                .until_state("told", |state| {
                    let kind = state.cause.as_ref().map(|cause| cause.kind.as_str());
                    let up = state.running.as_ref().is_some_and(|run| run.generation == 1);
                    state.observed_generation == 2 && kind == Some("spec-invalid") && up
                })
                .await;
        })
        .await;
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 2, "only {cuts} writes were cut");
}

/// As `desired`, with a volume that outlives the deployment beside the other.
fn keeping(generation: u64) -> String {
    desired(generation, IMAGE).replace(
        "\"volumes\":[",
        "\"volumes\":[{\"source\":{\"volume\":{\"name\":\"db\",\"keep\":true}},\"path\":\"/db\"},",
    )
}

/// An older generation wanted to keep a volume that the newest does not name.
async fn run_with_a_volume_to_keep(scene: &mut Scene) {
    scene.settings.tuning.reconnect_max = Duration::from_millis(100);
    scene.start();
    scene.ask_for(keeping(1)).await;
    scene.until_running(1).await;
    scene.ask_for(desired(2, IMAGE)).await;
    scene.until_running(2).await;
    let held = scene.world.podman_holds();
    assert!(
        held.contains("fleet-web.db") && held.contains("fleet-web.data"),
        "{held:?}"
    );
}

#[tokio::test]
async fn a_power_cut_after_any_write_of_a_removal_never_costs_a_volume_to_keep() {
    let mut cuts = 0;
    for writes in 0.. {
        let mut whole = false;
        scene(async |mut scene| {
            run_with_a_volume_to_keep(&mut scene).await;
            scene.world.cut_power_after(writes);
            scene.take_away().await;
            whole = !is_cut_within(&scene, Duration::from_millis(800)).await;
            scene.kill().await;
            scene.world.reboot();
            scene.start();
            let gone = &scene;
            until("gone", async || gone.state().await.is_none()).await;
            until("cleared away", async || gone.world.podman_holds().len() <= 1).await;
            let held: Vec<String> = scene.world.podman_holds().into_iter().collect();
            assert_eq!(held, ["fleet-web.db"], "after {writes} writes");
        })
        .await;
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 3, "only {cuts} writes were cut");
}

#[tokio::test]
async fn a_damaged_record_of_what_to_run_does_not_cost_a_volume_to_keep() {
    scene(async |mut scene| {
        run_with_a_volume_to_keep(&mut scene).await;
        scene.stop().await;
        scene.world.damage_record(Shelf::Desired, &web(), b"{\"seen\":");
        scene.take_away().await;
        scene.start();
        let gone = &scene;
        until("gone", async || gone.state().await.is_none()).await;
        let held: Vec<String> = scene.world.podman_holds().into_iter().collect();
        assert_eq!(held, ["fleet-web.db"]);
    })
    .await;
}

#[tokio::test]
async fn while_no_record_says_which_volumes_to_keep_all_stay_and_the_removal_says_so() {
    scene(async |mut scene| {
        run_with_a_volume_to_keep(&mut scene).await;
        scene.stop().await;
        scene.world.damage_record(Shelf::Desired, &web(), b"{\"seen\":");
        let bytes = scene.world.record(Shelf::Progress, &web()).unwrap();
        let mut state: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(state.as_object_mut().unwrap().remove("kept").is_some());
        scene
            .world
            .damage_record(Shelf::Progress, &web(), state.to_string().as_bytes());
        scene.take_away().await;
        scene.start();
        let state = scene
            .until_state("incomplete", |state| {
                state
                    .cause
                    .as_ref()
                    .is_some_and(|cause| cause.kind == "removal-incomplete")
            })
            .await;
        assert!(state.cause.unwrap().detail.contains("fleet-web.db"));
        let held: Vec<String> = scene.world.podman_holds().into_iter().collect();
        assert_eq!(held, ["fleet-web.data", "fleet-web.db"]);
    })
    .await;
}
