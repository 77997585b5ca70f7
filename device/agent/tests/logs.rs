//! A deployment's log over a real nats-server, from a fake journal.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::{Duration, Instant};

use async_nats::client::{RequestError, RequestErrorKind};
use common::{IMAGE, Scene, desired, scene, unit, until, web};
use fleet_host::Shelf;
use fleet_host::fakes::Behaviour;
use fleet_protocol::command::{self, Pong, Reply};
use fleet_protocol::logs::{self, LogChunk, LogRequest};
use fleet_protocol::{Cause, DeploymentName};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

const CONTAINER: &str = "fleet-web";
const INIT: &str = "fleet-web.init-migrate";

fn with_init(generation: u64, image: &str) -> String {
    format!(
        r#"{{"protocol":0,"generation":{generation},"score":{{"podman_v0":{{"image":"{image}","init_containers":[{{"name":"migrate","image":"{IMAGE}"}},{{"name":"seed","image":"{IMAGE}"}}]}}}}}}"#
    )
}

fn lines(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

async fn request<T: DeserializeOwned>(scene: &Scene, subject: String, payload: Vec<u8>) -> Reply<T> {
    let answer = scene.client().request(subject, payload.into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

async fn ask_of(scene: &Scene, deployment: &str, request_: &LogRequest) -> Result<LogChunk, Cause> {
    let name: DeploymentName = deployment.parse().unwrap();
    let payload = serde_json::to_vec(request_).unwrap();
    match request(scene, logs::subject(&scene.device, &name), payload).await {
        Reply::Done(chunk) => Ok(chunk),
        Reply::Refused(cause) => Err(cause),
    }
}

async fn ask(scene: &Scene, request: LogRequest) -> Result<LogChunk, Cause> {
    ask_of(scene, "web", &request).await
}

fn last(count: u32) -> LogRequest {
    LogRequest {
        lines: count,
        ..LogRequest::default()
    }
}

fn of_init(name: &str) -> LogRequest {
    LogRequest {
        init: Some(name.to_owned()),
        ..LogRequest::default()
    }
}

fn previous() -> LogRequest {
    LogRequest {
        previous: true,
        ..LogRequest::default()
    }
}

async fn ping(scene: &Scene) -> bool {
    let asked = scene.client().request(command::ping(&scene.device), "".into());
    // The server may still know the connection of an agent that is gone, and then nobody answers.
    matches!(
        timeout(Duration::from_secs(1), asked).await,
        Ok(Ok(answer)) if serde_json::from_slice::<Reply<Pong>>(&answer.payload).is_ok()
    )
}

/// An agent that answers, with the deployment running.
async fn running(scene: &mut Scene, value: String) {
    scene.start();
    scene.ask_for(value).await;
    scene.until_running(1).await;
    let scene = &*scene;
    until("answers", async || ping(scene).await).await;
}

#[tokio::test]
async fn the_last_lines_come_with_whose_they_are_and_whether_older_ones_were_left_out() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        let all = lines(0..300);
        scene.world.says(CONTAINER, &texts(&all));
        let chunk = ask(&scene, LogRequest::default()).await.unwrap();
        assert_eq!(chunk.source.as_str(), "web");
        assert_eq!(chunk.lines, all[100..]);
        assert!(chunk.truncated);
        let chunk = ask(&scene, last(300)).await.unwrap();
        assert_eq!((chunk.lines.len(), chunk.truncated), (300, false));
        // None at all is no question, and too many are as many as there can be.
        assert_eq!(ask(&scene, last(0)).await.unwrap().lines, ["line 299"]);
        assert_eq!(ask(&scene, last(u32::MAX)).await.unwrap().lines.len(), 300);
    })
    .await;
}

#[tokio::test]
async fn the_run_before_is_another_answer_and_there_may_be_none() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.world.says(CONTAINER, &["first"]);
        let cause = ask(&scene, previous()).await.unwrap_err();
        assert_eq!(cause.kind, "logs-no-previous");
        scene.world.says(CONTAINER, &["second"]);
        assert_eq!(ask(&scene, previous()).await.unwrap().lines, ["first"]);
        assert_eq!(
            ask(&scene, LogRequest::default()).await.unwrap().lines,
            ["second"]
        );
    })
    .await;
}

#[tokio::test]
async fn an_init_container_has_a_log_of_its_own_and_an_unknown_one_is_told_which_there_are() {
    scene(async |mut scene| {
        running(&mut scene, with_init(1, IMAGE)).await;
        scene.world.says(INIT, &["migrated"]);
        scene.world.says(CONTAINER, &["serving"]);
        let chunk = ask(&scene, of_init("migrate")).await.unwrap();
        assert_eq!(chunk.source.as_str(), "web.migrate");
        assert_eq!(chunk.lines, ["migrated"]);
        for unknown in ["nobody", "", "../x", "*"] {
            let cause = ask(&scene, of_init(unknown)).await.unwrap_err();
            assert_eq!(cause.kind, "logs-unknown-init");
            assert!(cause.detail.contains("it has: migrate, seed"), "{cause}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_on_record_is_refused_also_when_the_journal_still_has_it() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.world.says("fleet-gone", &["a secret"]);
        let cause = ask_of(&scene, "gone", &LogRequest::default()).await.unwrap_err();
        assert_eq!(cause.kind, "logs-unknown-deployment");
        assert_eq!(scene.calls("journal.query"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_not_understood_is_refused_with_the_reason() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.world.says(CONTAINER, &["one"]);
        let subject = logs::subject(&scene.device, &web());
        let long = format!("{{}}{}", " ".repeat(logs::MAX_REQUEST)).into_bytes();
        for bad in [b"{".to_vec(), br#"{"lines":"all"}"#.to_vec(), long] {
            let Reply::<LogChunk>::Refused(cause) = request(&scene, subject.clone(), bad).await else {
                panic!("it was answered");
            };
            assert_eq!(cause.kind, "request-malformed");
        }
        for subject in [format!("{subject}.b"), subject.replace("web", "WEB")] {
            let Reply::<LogChunk>::Refused(cause) = request(&scene, subject, Vec::new()).await else {
                panic!("it was answered");
            };
            assert_eq!(cause.kind, "request-malformed");
        }
        let newer = br#"{"lines":1,"follow":true}"#.to_vec();
        for good in [newer, Vec::new()] {
            let answer: Reply<LogChunk> = request(&scene, subject.clone(), good).await;
            assert!(matches!(answer, Reply::Done(chunk) if chunk.lines == ["one"]));
        }
    })
    .await;
}

#[tokio::test]
async fn without_any_run_the_answer_is_empty_and_with_a_lost_one_it_says_so() {
    scene(async |mut scene| {
        // The image cannot be had: nothing ran yet.
        scene.start();
        scene.ask_for(desired(1, "registry.test/ghost:1")).await;
        scene.until_failed("image-not-found").await;
        let asked = &scene;
        until("answers", async || ping(asked).await).await;
        let chunk = ask(&scene, LogRequest::default()).await.unwrap();
        assert_eq!((chunk.lines.len(), chunk.truncated), (0, false));

        scene.ask_for(desired(2, IMAGE)).await;
        scene.until_running(2).await;
        scene.world.says(CONTAINER, &["one", "two"]);
        scene.world.vacuum_journal(1);
        let chunk = ask(&scene, LogRequest::default()).await.unwrap();
        assert_eq!((chunk.lines, chunk.truncated), (vec!["two".to_owned()], true));
        scene.world.vacuum_journal(0);
        let chunk = ask(&scene, LogRequest::default()).await.unwrap();
        assert_eq!((chunk.lines.len(), chunk.truncated), (0, true));
    })
    .await;
}

#[tokio::test]
async fn the_lost_log_of_an_init_container_is_told_from_one_that_never_ran() {
    scene(async |mut scene| {
        let fails = Behaviour::Exits {
            status: 7,
            lines: vec!["no table".to_owned()],
        };
        scene.world.init_behaves(&web(), "migrate", fails);
        scene.start();
        scene.ask_for(with_init(1, IMAGE)).await;
        scene.until_failed("init-failed").await;
        let asked = &scene;
        until("answers", async || ping(asked).await).await;
        // It ran and failed, so the main container and the next init container never did.
        scene.world.says(INIT, &["no table"]);
        scene.world.vacuum_journal(0);
        let chunk = ask(&scene, of_init("migrate")).await.unwrap();
        assert_eq!((chunk.lines.len(), chunk.truncated), (0, true));
        for never in [of_init("seed"), LogRequest::default()] {
            let chunk = ask(&scene, never).await.unwrap();
            assert_eq!((chunk.lines.len(), chunk.truncated), (0, false), "{chunk:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_crashed_container_and_a_restarted_agent_make_no_difference() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.world.says(CONTAINER, &["last words"]);
        scene.world.stop_by_hand(&unit());
        assert_eq!(
            ask(&scene, LogRequest::default()).await.unwrap().lines,
            ["last words"]
        );
        scene.kill().await;
        scene.start();
        let asked = &scene;
        until("answers", async || ping(asked).await).await;
        assert_eq!(
            ask(&scene, LogRequest::default()).await.unwrap().lines,
            ["last words"]
        );
        // A damaged record: the deployment is known, its init containers are not.
        scene.world.damage_record(Shelf::Desired, &web(), b"rubbish");
        assert_eq!(
            ask(&scene, LogRequest::default()).await.unwrap().lines,
            ["last words"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_slow_journal_holds_up_nobody_else_and_is_given_up_before_the_one_who_asks_gives_up() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.world.says(CONTAINER, &["one"]);
        scene.world.journal_takes(Duration::from_secs(3600));
        let asked = &scene;
        let began = Instant::now();
        let many = futures_util::future::join_all((0..40).map(|_| ask(asked, LogRequest::default())));
        let meanwhile = async {
            until("journals are asked", async || asked.calls("journal.query") > 0).await;
            assert!(ping(asked).await);
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        };
        let (answers, ()) = tokio::join!(many, meanwhile);
        for answer in answers {
            assert_eq!(answer.unwrap_err().kind, "logs-unreadable");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(scene.calls("journal.query"), 4, "the others did not get a turn");
        scene.world.journal_takes(Duration::ZERO);
        assert_eq!(ask(&scene, LogRequest::default()).await.unwrap().lines, ["one"]);
        scene.world.fail_nth("journal.query", 1);
        let cause = ask(&scene, LogRequest::default()).await.unwrap_err();
        assert_eq!(cause.kind, "logs-unreadable");
    })
    .await;
}

#[tokio::test]
async fn the_longest_answer_fits_a_message_whatever_is_in_it() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        let line = "\u{1b}".repeat(1000);
        let many = vec![line.as_str(); 5000];
        scene.world.says(CONTAINER, &many);
        let chunk = ask(&scene, last(5000)).await.unwrap();
        assert!(
            chunk.truncated && chunk.lines.len() > 100,
            "{}",
            chunk.lines.len()
        );
        assert!(chunk.lines.iter().all(|sent| *sent == line));
    })
    .await;
}

#[tokio::test]
async fn of_a_device_that_is_away_the_server_says_so_at_once() {
    scene(async |mut scene| {
        running(&mut scene, desired(1, IMAGE)).await;
        scene.stop().await;
        let subject = logs::subject(&scene.device, &web());
        let ask = || {
            let asked = scene.client().request(subject.clone(), "{}".into());
            timeout(Duration::from_secs(1), asked)
        };
        let refused = |answer| {
            matches!(answer, Ok(Err(error)) if RequestError::kind(&error) == RequestErrorKind::NoResponders)
        };
        // The server needs a moment to see that the connection is over.
        until("gone", async || refused(ask().await)).await;
        let began = Instant::now();
        assert!(refused(ask().await));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    })
    .await;
}
