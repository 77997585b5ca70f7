//! What is shown of devices, deployments and pairs.

use super::*;

#[test]
fn an_all_green_fleet_is_a_calm_page() {
    let fleet = fleet_of(&running_pair());
    let status = fleet.status();
    assert!(status.attention.is_empty(), "{:?}", status.attention);
    assert_eq!(
        (status.devices.online, status.pairs.running, status.pairs.total),
        (1, 1, 1)
    );
    assert!(status.recovery.converged && status.recovery.detail.is_none());
}

#[test]
fn a_container_that_did_its_work_is_calm_at_rest_and_needs_nobody() {
    let mut events = running_pair();
    let done = state(3, Phase::Finished, None);
    events.push(entry(BucketId::Reported, "pi-1.web", 2, Some(done)));
    let mut fleet = fleet_of(&events);
    assert_eq!(pair_state(&fleet), PairState::Finished);
    // However long ago that was.
    fleet.tick(noon() + TimeDelta::days(1), &mut Changes::default());
    assert_eq!(pair_state(&fleet), PairState::Finished);
    let (status, key) = (fleet.status(), fleet.pairs().next().expect("a pair").0.clone());
    assert!(status.attention.is_empty(), "{:?}", status.attention);
    assert_eq!(
        (status.pairs.running, status.pairs.finished, status.pairs.well()),
        (0, 1, 1)
    );
    let links = fleet.pair_view(&key).expect("it is visible").chain;
    let phase = links
        .iter()
        .find(|link| link.kind == LinkKind::Phase)
        .expect("a phase");
    assert_eq!(phase.state, LinkState::Done);
    assert!(phase.text.contains("ended well"), "{}", phase.text);
}

#[test]
fn until_every_bucket_is_read_it_says_which_are_missing() {
    let mut fleet = Fleet::default();
    apply(&mut fleet, &[connected(1)]);
    apply(&mut fleet, &[begin(BucketId::Info), end(BucketId::Info)]);
    let recovery = fleet.recovery();
    let detail = recovery.detail.expect("it is recovering");
    assert!(
        !recovery.converged && detail.contains("deployments") && !detail.contains("device-info"),
        "{detail}"
    );
}

#[test]
fn what_a_device_wrote_and_nobody_can_read_is_shown_and_counted() {
    let mut events = running_pair();
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        2,
        Some(Bytes::from_static(b"{\"phase\":")),
    ));
    events.push(entry(
        BucketId::Info,
        "pi-2",
        2,
        Some(Bytes::from_static(b"\xff\xfe")),
    ));
    events.push(entry(
        BucketId::Heartbeat,
        "pi-2",
        2,
        Some(Bytes::from_static(b"[]")),
    ));
    events.push(entry(
        BucketId::Deployments,
        "api",
        2,
        Some(Bytes::from_static(br#"{"protocol":99}"#)),
    ));
    events.push(entry(BucketId::Desired, "no key at all", 2, Some(Bytes::new())));
    let fleet = fleet_of(&events);
    assert_eq!(pair_state(&fleet), PairState::Unreadable);
    let device = fleet.device_view(&"pi-2".parse().unwrap()).expect("it is kept");
    assert_eq!(
        (device.summary.state, device.problems.len()),
        (DeviceState::Unknown, 2)
    );
    let api = fleet
        .deployment_view(&"api".parse().unwrap())
        .expect("it is kept");
    assert_eq!(api.problems[0].kind, "value-of-newer-version");
    let titles: Vec<_> = fleet.status().attention.into_iter().map(|a| a.title).collect();
    for part in [
        "web: pi-1 wrote",
        "api cannot be read",
        "desired-state/no key at all",
        "pi-2: value-malformed",
    ] {
        assert!(
            titles.iter().any(|title| title.contains(part)),
            "{part} in {titles:?}"
        );
    }
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    let phase = view
        .chain
        .iter()
        .find(|link| link.kind == LinkKind::Phase)
        .expect("a phase link");
    assert!(
        phase
            .text
            .contains("pi-1 wrote something that this version cannot read"),
        "{}",
        phase.text
    );
}

#[test]
fn a_phase_of_a_newer_agent_is_shown_as_it_came() {
    let mut events = running_pair();
    let phase = Phase::Unknown("Teleporting".into());
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        2,
        Some(state(3, phase, None)),
    ));
    let fleet = fleet_of(&events);
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    assert_eq!(
        (view.state, view.phase.as_deref()),
        (PairState::Unknown, Some("Teleporting"))
    );
}

#[test]
fn a_report_about_an_older_generation_is_waiting_and_not_running() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-1.web", 2, Some(desired(4, IMAGE)))],
    );
    assert_eq!(pair_state(&fleet), PairState::Waiting);
}

#[test]
fn an_online_device_that_does_not_move_is_stuck_and_an_offline_one_is_offline() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-1.web", 2, Some(desired(4, IMAGE)))],
    );
    let mut changes = Changes::new();
    fleet.tick(noon() + TimeDelta::minutes(1), &mut changes);
    assert!(changes.is_empty() && pair_state(&fleet) == PairState::Waiting);
    fleet.tick(noon() + TimeDelta::minutes(5), &mut changes);
    assert!(changes.iter().any(|change| matches!(change, Change::Pair(_))));
    assert_eq!(pair_state(&fleet), PairState::Stuck);
    assert_eq!(fleet.status().attention[0].title, "web is stuck on pi-1");

    apply(&mut fleet, &[entry(BucketId::Heartbeat, "pi-1", 2, None)]);
    fleet.tick(noon() + TimeDelta::minutes(6), &mut changes);
    assert_eq!(pair_state(&fleet), PairState::Waiting);
    let attention = fleet.status().attention;
    assert_eq!((attention.len(), attention[0].kind), (1, AttentionKind::Offline));

    apply(
        &mut fleet,
        &[entry(BucketId::Heartbeat, "pi-1", 400, Some(heartbeat()))],
    );
    fleet.tick(noon() + TimeDelta::seconds(401), &mut changes);
    assert_eq!(
        pair_state(&fleet),
        PairState::Waiting,
        "a device that just came back gets its time"
    );
    apply(
        &mut fleet,
        &[entry(
            BucketId::Reported,
            "pi-1.web",
            500,
            Some(state(4, Phase::Running, None)),
        )],
    );
    assert!(fleet.status().attention.is_empty());
}

/// As `desired`, with these fields of the score, which may make steps long.
fn patient(generation: u64, fields: &serde_json::Value) -> Bytes {
    let mut value: serde_json::Value = serde_json::from_slice(&desired(generation, IMAGE)).unwrap();
    let score = value["score"]["podman_v0"].as_object_mut().unwrap();
    score.extend(fields.as_object().unwrap().clone());
    serde_json::to_vec(&value).unwrap().into()
}

#[test]
fn a_step_that_may_take_long_is_not_stuck_before_it_took_longer() {
    let plain = serde_json::json!({});
    let init = serde_json::json!({
        "init_containers": [{ "name": "migrate", "image": IMAGE, "timeout": "30m" }]
    });
    let grace = serde_json::json!({ "lifecycle": { "grace_period": "1h" } });
    // With two rounds of 35 s behind the first 25 minutes.
    let health = serde_json::json!({
        "health": { "command": ["true"], "start_period": "25m", "interval": "30s", "timeout": "5s", "retries": 1 }
    });
    for (fields, phase, limit) in [
        (&plain, Phase::Starting, 10),
        (&init, Phase::Starting, 32),
        (&health, Phase::Starting, 28),
        (&grace, Phase::Starting, 62),
        (&grace, Phase::Upgrading, 62),
        (&grace, Phase::Removing, 62),
        (&grace, Phase::Pulling, 10),
    ] {
        let mut events = running_pair();
        events.push(entry(BucketId::Desired, "pi-1.web", 2, Some(patient(4, fields))));
        if phase == Phase::Removing {
            events.push(entry(BucketId::Desired, "pi-1.web", 3, None));
        }
        let report = state(4, phase.clone(), None);
        events.push(entry(BucketId::Reported, "pi-1.web", 4, Some(report)));
        let mut fleet = fleet_of(&events);
        let mut changes = Changes::new();
        fleet.tick(noon() + TimeDelta::minutes(limit), &mut changes);
        assert_ne!(pair_state(&fleet), PairState::Stuck, "{phase} {fields}");
        fleet.tick(noon() + TimeDelta::minutes(limit + 1), &mut changes);
        assert_eq!(pair_state(&fleet), PairState::Stuck, "{phase} {fields}");
    }
}

#[test]
fn what_waits_for_its_turn_to_pull_is_not_stuck() {
    let mut events = running_pair();
    events.push(entry(BucketId::Desired, "pi-1.web", 2, Some(desired(4, IMAGE))));
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        2,
        Some(state(4, Phase::Pending, None)),
    ));
    let other = [
        entry(BucketId::Desired, "pi-1.zoo", 3, Some(desired(1, IMAGE))),
        entry(
            BucketId::Reported,
            "pi-1.zoo",
            3,
            Some(state(1, Phase::Pulling, None)),
        ),
    ];
    let mut fleet = fleet_of(&events);
    apply(&mut fleet, &other);
    let mut changes = Changes::new();
    // The pull of the other moves, or it would be stuck itself.
    let moves = entry(
        BucketId::Reported,
        "pi-1.zoo",
        700,
        Some(state(1, Phase::Pulling, None)),
    );
    apply(&mut fleet, &[moves]);
    fleet.tick(noon() + TimeDelta::minutes(15), &mut changes);
    assert_eq!(pair_state(&fleet), PairState::Pending);
    let done = entry(
        BucketId::Reported,
        "pi-1.zoo",
        900,
        Some(state(1, Phase::Running, None)),
    );
    apply(&mut fleet, &[done]);
    fleet.tick(noon() + TimeDelta::minutes(16), &mut changes);
    assert_eq!(pair_state(&fleet), PairState::Stuck);
    // Its age is that of the last news, not of what ran before.
    let attention = fleet.status().attention;
    let stuck = attention
        .iter()
        .find(|item| item.kind == AttentionKind::Stuck)
        .unwrap();
    assert_eq!(stuck.since, Some(noon() + TimeDelta::seconds(2)));
}

#[test]
fn the_same_failure_on_many_devices_is_one_entry_and_another_cause_is_another() {
    let mut events = vec![entry(
        BucketId::Deployments,
        "web",
        1,
        Some(deployment("web", 1, spec("lyon", IMAGE))),
    )];
    for number in 1..=40_u64 {
        let id = format!("pi-{number:02}");
        let kind = if number == 7 {
            "disk-full"
        } else {
            "image-not-found"
        };
        let report = state(
            1,
            Phase::Failed,
            Some(Cause::new(kind, format!("because {number}"))),
        );
        events.push(entry(BucketId::Info, &id, number, Some(info("lyon"))));
        events.push(entry(BucketId::Heartbeat, &id, number, Some(heartbeat())));
        events.push(entry(
            BucketId::Desired,
            &format!("{id}.web"),
            number,
            Some(desired(1, IMAGE)),
        ));
        events.push(entry(
            BucketId::Reported,
            &format!("{id}.web"),
            number,
            Some(report),
        ));
    }
    let attention = fleet_of(&events).status().attention;
    let titles: Vec<_> = attention.iter().map(|a| a.title.as_str()).collect();
    assert_eq!(titles, ["web failed on pi-07", "web failed on 39 devices"]);
    assert_eq!(attention[1].devices.len(), crate::fleet::view::MAX_SAMPLE);
}

#[test]
fn what_a_device_says_of_its_health_needs_a_person() {
    let skew = vec![Cause::new("clock-skew", "the clock is 40 s behind")];
    let fleet = fleet_of(&[
        entry(BucketId::Info, "pi-1", 1, Some(info_with("lyon", skew))),
        entry(BucketId::Heartbeat, "pi-1", 1, Some(heartbeat())),
    ]);
    assert_eq!(fleet.status().attention[0].title, "clock-skew on pi-1");
}

#[test]
fn a_restart_of_the_server_that_loses_heartbeats_makes_nobody_offline_at_once() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[begin(BucketId::Heartbeat), end(BucketId::Heartbeat)],
    );
    assert_eq!(fleet.device_counts().online, 1);
    let mut changes = Changes::new();
    fleet.tick(noon() + TimeDelta::seconds(30), &mut changes);
    assert_eq!(fleet.device_counts().online, 1);
    fleet.tick(noon() + TimeDelta::seconds(60), &mut changes);
    assert_eq!(fleet.device_counts().offline, 1);
    // In memory, revisions begin at 1 again: a lower one of a new snapshot counts.
    apply(
        &mut fleet,
        &[entry(BucketId::Heartbeat, "pi-1", 1, Some(heartbeat()))],
    );
    assert_eq!(fleet.device_counts().online, 1);
}

#[test]
fn what_a_new_snapshot_does_not_show_is_gone_and_what_is_the_same_changes_nothing() {
    let mut fleet = fleet_of(&running_pair());
    let again = [
        begin(BucketId::Reported),
        running_pair().remove(4),
        end(BucketId::Reported),
    ];
    assert_eq!(apply(&mut fleet, &again), Changes::from([Change::Recovery]));
    apply(&mut fleet, &[begin(BucketId::Reported), end(BucketId::Reported)]);
    assert_eq!(pair_state(&fleet), PairState::Waiting);
}

#[test]
fn a_deployment_that_the_store_lost_is_not_called_deleted() {
    let events: Vec<_> = running_pair().into_iter().skip(1).collect();
    let fleet = fleet_of(&events);
    let view = fleet
        .deployment_view(&"web".parse().unwrap())
        .expect("devices have it");
    assert!(!view.summary.deleted && view.problems[0].kind == "deployment-lost");
    assert_eq!(
        fleet.status().attention[0].title,
        "web is on devices but not in the store"
    );
}

#[test]
fn a_removed_deployment_is_shown_until_the_device_has_removed_it() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[
            entry(BucketId::Deployments, "web", 2, None),
            entry(BucketId::Desired, "pi-1.web", 2, None),
        ],
    );
    assert_eq!(pair_state(&fleet), PairState::Removing);
    assert!(
        fleet
            .deployment_summary(&"web".parse().unwrap())
            .expect("still there")
            .deleted
    );
    let changes = apply(&mut fleet, &[entry(BucketId::Reported, "pi-1.web", 2, None)]);
    assert!(changes.contains(&Change::Deployment("web".parse().unwrap())));
    assert!(fleet.deployment_summary(&"web".parse().unwrap()).is_none());
    assert_eq!(fleet.status().pairs.total, 0);
}

#[test]
fn a_watch_that_broke_is_not_caught_up_and_says_why_until_it_is_again() {
    let mut fleet = fleet_of(&running_pair());
    let broken = StoreEvent::Broken {
        source: Source::Bucket(BucketId::Reported),
        why: "no word for ten seconds".to_owned(),
    };
    let changes = apply(&mut fleet, &[broken]);
    assert!(changes.contains(&Change::Recovery));
    let recovery = fleet.recovery();
    let detail = recovery.detail.unwrap_or_default();
    assert!(!recovery.converged && recovery.connected);
    assert!(
        detail.contains("deployment-state") && detail.contains("no word for ten seconds"),
        "{detail}"
    );
    apply(&mut fleet, &[begin(BucketId::Reported)]);
    assert!(
        fleet
            .recovery()
            .detail
            .is_some_and(|detail| detail.contains("no word"))
    );
    apply(&mut fleet, &[end(BucketId::Reported)]);
    assert!(fleet.converged() && fleet.recovery().detail.is_none());
}
