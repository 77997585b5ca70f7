//! What the agent does about a clock that is wrong, or that nobody can check, on a fake device and a real nats-server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::{IMAGE, Scene, desired, scene, until};
use fleet_agent::{clock, status};
use fleet_host::fakes::TimeServer::{Honest, Kisses, Lies, Silent};
use fleet_host::{Clock, Host, Kiss};
use fleet_machine::clock::Standing;
use fleet_protocol::bucket;

const SENTENCE: &str =
    "system clock skew is 14m32s; JWT validation will fail. Enable systemd-timesyncd or chrony.";
/// Longer than a clock is left alone after a check.
const SETTLED: Duration = Duration::from_secs(16);
/// The same after several checks that failed.
const LONG_SETTLED: Duration = Duration::from_secs(301);

fn now(scene: &Scene) -> DateTime<Utc> {
    scene.world.device().clock().now()
}

/// Puts the clock back by 14m32s, or forward again.
fn set_back(scene: &Scene, back: bool) {
    let skew = TimeDelta::seconds(872);
    let now = now(scene);
    scene.world.set_now(if back { now - skew } else { now + skew });
}

async fn until_trouble(scene: &Scene, kind: &str) -> String {
    until(kind, async || scene.trouble(kind).await.is_some()).await;
    scene.trouble(kind).await.unwrap()
}

/// The device said what it is, and that it is well.
async fn until_well(scene: &Scene) {
    let store = scene.kv(&bucket::DEVICE_INFO).await;
    until("well", async || {
        let told = store.get(scene.device.as_str()).await.unwrap();
        told.is_some() && scene.health().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_agent_does_not_begin_with_a_wrong_clock_says_so_and_begins_once_it_is_right() {
    scene(async |mut scene| {
        scene.ask_for(desired(1, IMAGE)).await;
        set_back(&scene, true);
        assert_eq!(scene.refused().await.to_string(), SENTENCE);
        let calls = scene.world.calls();
        let begun = calls
            .iter()
            .find(|call| !call.starts_with("time-") && !call.starts_with("supervisor."));
        assert_eq!(begun, None, "it did something: {calls:?}");
        let notes = scene.world.notes();
        assert_eq!(
            notes,
            [format!("status refuses to start: {SENTENCE}")],
            "and was never ready"
        );
        let left = clock::of_runtime(&scene.settings.runtime).unwrap();
        assert_eq!(
            left.standing,
            Standing::Skewed {
                offset_millis: 872_000
            }
        );
        assert_eq!(scene.refused().await.to_string(), SENTENCE);
        assert_eq!(
            scene.calls("time-servers.ask"),
            1,
            "one that is started again at once asks nobody"
        );
        scene.world.advance(Duration::from_mins(1));
        assert_eq!(scene.refused().await.to_string(), SENTENCE);
        assert_eq!(
            scene.calls("time-servers.ask"),
            2,
            "and after a while it asks again"
        );

        set_back(&scene, false);
        scene.start();
        scene.until_running(1).await;
        until_well(&scene).await;
    })
    .await;
}

#[tokio::test]
async fn servers_that_fall_silent_after_a_refusal_let_nobody_begin_for_an_hour() {
    scene(async |mut scene| {
        set_back(&scene, true);
        assert_eq!(scene.refused().await.to_string(), SENTENCE);
        for servers in [&[Silent][..], &[Kisses(Kiss::Slower)], &[Lies(0), Lies(60_000)]] {
            scene.world.time_servers(servers);
            scene.world.advance(Duration::from_mins(16));
            assert_eq!(scene.refused().await.to_string(), SENTENCE);
        }
        scene.world.time_servers(&[Silent]);
        scene.world.advance(Duration::from_mins(16));
        scene.start();
        until_trouble(&scene, "clock-unverified").await;
    })
    .await;
}

#[tokio::test]
async fn other_servers_are_asked_at_once() {
    scene(async |mut scene| {
        scene.world.time_servers(&[Silent]);
        scene.start();
        until_trouble(&scene, "clock-unverified").await;
        scene.stop().await;
        scene.world.time_servers(&[Honest]);
        scene.settings.tuning.clock_servers = vec!["ntp.lyon.example.com".parse().unwrap()];
        scene.start();
        until_well(&scene).await;
        let shown = status::of_running_agent(&scene.settings.runtime).unwrap();
        let clock = clock::of_runtime(&scene.settings.runtime);
        assert_eq!(shown.clock, clock, "what is shown is what was found");
        assert!(clock.unwrap().standing.is_right());
        scene.stop().await;

        scene.settings.tuning.clock_servers.clear();
        scene.start();
        until("nothing is claimed", async || {
            clock::of_runtime(&scene.settings.runtime).is_none()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_goes_wrong_later_is_told_and_is_over_once_it_is_right() {
    scene(async |mut scene| {
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        scene.until_running(1).await;
        for _ in 0..2 {
            scene.world.advance(SETTLED);
            set_back(&scene, true);
            let detail = until_trouble(&scene, "clock-skewed").await;
            assert!(
                detail.starts_with(SENTENCE) && detail.contains("is behind"),
                "{detail}"
            );
            scene.world.advance(SETTLED);
            set_back(&scene, false);
            until_well(&scene).await;
        }
        scene.until_running(1).await;
        assert_eq!(scene.calls("units.start"), 1, "the container noticed nothing");
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_nobody_could_check_is_told_and_checked_when_the_device_comes_online() {
    scene(async |mut scene| {
        scene.world.time_servers(&[Silent, Silent]);
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        let detail = until_trouble(&scene, "clock-unverified").await;
        assert!(
            detail.contains("ntp1.test: it does not answer") && detail.contains("UDP port 123"),
            "{detail}"
        );
        scene.until_running(1).await;

        // The connection that came after the first check is a reason for a second one; after that only another connection is.
        until("asked again", async || scene.calls("time-servers.ask") == 2).await;
        scene.world.time_servers(&[Honest]);
        scene.world.advance(LONG_SETTLED);
        scene.server.start_again().unwrap();
        scene.reconnect().await;
        scene.make_buckets().await;
        until_well(&scene).await;
    })
    .await;
}

#[tokio::test]
async fn a_board_that_wakes_in_the_past_without_a_server_knows_that_it_is_wrong() {
    scene(async |mut scene| {
        scene.start();
        until("the floor is kept", async || scene.calls("time-floor.write") == 1).await;
        scene.stop().await;
        scene.world.time_servers(&[Silent]);
        scene.world.set_now(DateTime::from_timestamp(60, 0).unwrap());
        scene.start();
        let detail = until_trouble(&scene, "clock-behind").await;
        assert!(detail.contains("20453d23h behind at least"), "{detail}");
        assert_eq!(
            scene.calls("time-floor.write"),
            1,
            "a time that nobody verified is no floor"
        );
    })
    .await;
}

#[tokio::test]
async fn a_liar_is_outvoted_and_where_nobody_is_it_is_said() {
    scene(async |mut scene| {
        scene.world.time_servers(&[Honest, Lies(300_000), Honest]);
        scene.start();
        until_well(&scene).await;
        assert_eq!(scene.calls("time-floor.write"), 1);
        scene.stop().await;

        scene.world.time_servers(&[Honest, Lies(300_000)]);
        scene.world.advance(Duration::from_hours(6));
        scene.start();
        let detail = until_trouble(&scene, "clock-unverified").await;
        assert!(detail.contains("ntp1.test +0s; ntp2.test +5m00s"), "{detail}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_comes_right_after_another_asks_nobody_unless_the_clock_was_set() {
    scene(async |mut scene| {
        scene.start();
        until("asked", async || scene.calls("time-floor.write") == 1).await;
        scene.stop().await;
        scene.world.advance(Duration::from_hours(5));
        scene.start();
        scene.ask_for(desired(1, IMAGE)).await;
        scene.until_running(1).await;
        assert_eq!(scene.calls("time-servers.ask"), 1);
        scene.stop().await;
        set_back(&scene, true);
        assert_eq!(scene.refused().await.to_string(), SENTENCE);
        assert_eq!(scene.calls("time-servers.ask"), 2);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is_also_by_the_next_agent() {
    scene(async |mut scene| {
        scene.world.time_servers(&[Kisses(Kiss::Leave)]);
        scene.start();
        let detail = until_trouble(&scene, "clock-unverified").await;
        assert!(
            detail.contains("wants to be left alone); name other servers"),
            "{detail}"
        );
        scene.stop().await;
        // It would answer now, and is not asked.
        scene.world.time_servers(&[Honest]);
        scene.world.advance(Duration::from_hours(1));
        scene.start();
        let found = || clock::of_runtime(&scene.settings.runtime).unwrap();
        until("checked", async || found().checked_at == now(&scene)).await;
        assert!(!found().standing.is_right(), "it was asked");
        scene.stop().await;
        scene.world.advance(Duration::from_hours(23));
        scene.start();
        until_well(&scene).await;
    })
    .await;
}

#[tokio::test]
async fn without_servers_nobody_is_asked_and_nothing_is_claimed() {
    scene(async |mut scene| {
        scene.settings.tuning.clock_servers = Vec::new();
        set_back(&scene, true);
        scene.ask_for(desired(1, IMAGE)).await;
        scene.start();
        scene.until_running(1).await;
        until_well(&scene).await;
        assert_eq!(scene.calls("time-servers.ask"), 0);
    })
    .await;
}
