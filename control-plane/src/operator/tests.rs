use std::sync::Arc;

use bytes::Bytes;

use super::Operator;
use super::plan::{Dirty, Write, plan};
use crate::clock::Clock;
use crate::fixture::{
    begin, begin_over, connected, deployment, desired, end, entry, info, noon, spec, until,
};
use crate::fleet::FleetHandle;
use crate::metrics::Metrics;
use crate::store::memory::MemoryStore;
use crate::store::{BucketId, StoreEvent};

const IMAGE: &str = "reg.example/app:1";

fn operator_on(store: &MemoryStore) -> (Operator, FleetHandle) {
    let fleet = FleetHandle::new(Clock::standing_at(noon()));
    let operator = Operator::start(
        &fleet,
        store.watch(),
        Arc::new(store.clone()),
        Arc::new(Metrics::default()),
    );
    (operator, fleet)
}

fn store() -> MemoryStore {
    MemoryStore::new(Clock::standing_at(noon()))
}

fn set_web(store: &MemoryStore, generation: u64, site: &str, image: &str) {
    store.set(
        BucketId::Deployments,
        "web",
        Some(deployment("web", generation, spec(site, image))),
    );
}

fn handle_with(events: &[StoreEvent]) -> FleetHandle {
    let fleet = FleetHandle::new(Clock::standing_at(noon()));
    fleet.feed(&[connected(1)]);
    fleet.feed(&BucketId::ALL.map(begin));
    fleet.feed(events);
    fleet.feed(&BucketId::ALL.map(end));
    fleet
}

fn planned(fleet: &FleetHandle) -> Vec<Write> {
    fleet.read(|fleet| plan(fleet, &Dirty::everything()))
}

#[tokio::test]
async fn a_deployment_appears_on_the_devices_it_selects_and_goes_with_it() {
    let store = store();
    store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    store.set(BucketId::Info, "pi-2", Some(info("nice")));
    let (operator, _fleet) = operator_on(&store);
    set_web(&store, 1, "lyon", IMAGE);
    until("it is on pi-1", || store.keys(BucketId::Desired) == ["pi-1.web"]).await;
    assert_eq!(
        store.value(BucketId::Desired, "pi-1.web"),
        Some(desired(1, IMAGE))
    );

    store.set(BucketId::Info, "pi-2", Some(info("lyon")));
    until("a device that moved gets it", || {
        store.keys(BucketId::Desired) == ["pi-1.web", "pi-2.web"]
    })
    .await;
    set_web(&store, 2, "nice", IMAGE);
    until("no device is selected any more", || {
        store.keys(BucketId::Desired).is_empty()
    })
    .await;
    set_web(&store, 3, "lyon", IMAGE);
    until("they are again", || store.keys(BucketId::Desired).len() == 2).await;
    store.set(BucketId::Deployments, "web", None);
    until("it was deleted", || store.keys(BucketId::Desired).is_empty()).await;
    until("the history says so", || {
        let last = store
            .history()
            .last()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        last.is_some_and(|event| event.contains("taken away from 2 devices"))
    })
    .await;
    operator.close().await;
}

#[tokio::test]
async fn a_desired_state_that_somebody_spoiled_is_put_right() {
    let store = store();
    store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    set_web(&store, 1, "lyon", IMAGE);
    let (operator, _fleet) = operator_on(&store);
    until("it is there", || {
        store.value(BucketId::Desired, "pi-1.web").is_some()
    })
    .await;
    store.set(BucketId::Desired, "pi-1.web", Some(Bytes::from_static(b"oops")));
    until("it is right again", || {
        store.value(BucketId::Desired, "pi-1.web") == Some(desired(1, IMAGE))
    })
    .await;
    store.set(BucketId::Desired, "pi-1.web", None);
    until("it is there again", || {
        store.value(BucketId::Desired, "pi-1.web") == Some(desired(1, IMAGE))
    })
    .await;
    operator.close().await;
}

#[tokio::test]
async fn two_operators_come_to_rest_and_write_each_key_about_once() {
    let store = store();
    for number in 0..50 {
        store.set(BucketId::Info, &format!("pi-{number}"), Some(info("lyon")));
    }
    let (one, _) = operator_on(&store);
    let (two, _) = operator_on(&store);
    let before = store.writes();
    set_web(&store, 1, "lyon", IMAGE);
    until("all have it", || store.keys(BucketId::Desired).len() == 50).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await; // a fight would show as further writes
    assert_eq!(
        store.writes() - before,
        51,
        "one of the deployment, and one for each device whoever was first"
    );
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_write_that_the_store_refused_is_done_when_it_is_back() {
    let store = store();
    store.set(BucketId::Info, "pi-1", Some(info("lyon")));
    let (operator, fleet) = operator_on(&store);
    fleet.wait_until(crate::fleet::Fleet::converged).await;
    store.refuse_writes(3);
    set_web(&store, 1, "lyon", IMAGE);
    until("it was tried again", || {
        store.value(BucketId::Desired, "pi-1.web").is_some()
    })
    .await;
    operator.close().await;
}

#[test]
fn nothing_is_planned_from_a_partial_view() {
    let fleet = FleetHandle::new(Clock::standing_at(noon()));
    fleet.feed(&[connected(1)]);
    fleet.feed(&BucketId::ALL.map(begin));
    fleet.feed(&[
        entry(BucketId::Desired, "pi-1.web", 1, Some(desired(1, IMAGE))),
        entry(BucketId::Deployments, "web", 1, None),
    ]);
    for bucket in BucketId::ALL {
        assert_eq!(planned(&fleet), [], "before {bucket:?} was read");
        fleet.feed(&[end(bucket)]);
    }
    assert_eq!(planned(&fleet).len(), 1, "and then it deletes");
    fleet.feed(&[begin(BucketId::Info)]);
    assert_eq!(planned(&fleet), [], "nor while a bucket is read again");
}

#[test]
fn a_new_connection_makes_nothing_known_until_every_bucket_was_read_over_it() {
    let fleet = handle_with(&[
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(
            BucketId::Deployments,
            "web",
            1,
            Some(deployment("web", 1, spec("lyon", IMAGE))),
        ),
        entry(BucketId::Desired, "pi-1.web", 1, Some(desired(1, IMAGE))),
    ]);
    // The store behind the new connection is empty, and only one bucket says so yet: to believe the others would put an
    // old desired state into the new store.
    for bucket in [
        BucketId::Desired,
        BucketId::Info,
        BucketId::Reported,
        BucketId::Heartbeat,
        BucketId::Deployments,
    ] {
        fleet.feed(&[begin_over(2, bucket), end(bucket)]);
        assert_eq!(planned(&fleet), [], "after {bucket:?}");
    }
    assert!(fleet.recovery().converged);
    assert!(handle_with(&[]).recovery().converged);
}

#[test]
fn a_store_that_lost_its_deployments_takes_nothing_away() {
    let fleet = handle_with(&[
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(BucketId::Desired, "pi-1.web", 1, Some(desired(1, IMAGE))),
    ]);
    assert_eq!(planned(&fleet), []);
}

#[test]
fn what_is_not_known_is_left_as_it_is() {
    let web = deployment("web", 2, spec("lyon", IMAGE));
    let unknown_device = handle_with(&[
        entry(BucketId::Deployments, "web", 1, Some(web.clone())),
        entry(BucketId::Desired, "ghost.web", 1, Some(desired(1, IMAGE))),
        entry(BucketId::Info, "dumb", 1, Some(Bytes::from_static(b"?"))),
        entry(BucketId::Desired, "dumb.web", 2, Some(desired(1, IMAGE))),
    ]);
    assert_eq!(planned(&unknown_device), []);
    let unreadable_deployment = handle_with(&[
        entry(BucketId::Deployments, "web", 1, Some(Bytes::from_static(b"?"))),
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(BucketId::Desired, "pi-1.web", 2, Some(desired(1, IMAGE))),
    ]);
    assert_eq!(planned(&unreadable_deployment), []);
    let newer_desired = handle_with(&[
        entry(BucketId::Deployments, "web", 1, Some(web)),
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(
            BucketId::Desired,
            "pi-1.web",
            2,
            Some(Bytes::from_static(br#"{"protocol":9}"#)),
        ),
    ]);
    assert_eq!(planned(&newer_desired), []);
}

#[test]
fn a_device_that_was_removed_on_purpose_loses_its_desired_states() {
    let fleet = handle_with(&[
        entry(
            BucketId::Deployments,
            "web",
            1,
            Some(deployment("web", 1, spec("lyon", IMAGE))),
        ),
        entry(BucketId::Info, "pi-1", 1, None),
        entry(BucketId::Desired, "pi-1.web", 7, Some(desired(1, IMAGE))),
    ]);
    assert!(matches!(
        planned(&fleet).as_slice(),
        [Write::Delete { expected: 7, .. }]
    ));
}

#[test]
fn a_deployment_with_fields_that_a_device_would_refuse_is_not_resolved() {
    let bad = String::from_utf8(deployment("web", 1, spec("lyon", IMAGE)).to_vec()).unwrap();
    let bad = bad.replace(
        r#""podman_v0":{"#,
        r#""podman_v0":{"ports":[{"host":80,"container":80}],"#,
    );
    let fleet = handle_with(&[
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(BucketId::Deployments, "web", 1, Some(bad.into())),
    ]);
    assert_eq!(planned(&fleet), []);
    let problem = fleet.deployment("web").expect("it is shown").problems.remove(0);
    assert!(
        problem.kind == "deployment-invalid" && problem.detail.contains("ports[0].host"),
        "{problem:?}"
    );
}

#[test]
fn history_events_make_nothing_dirty() {
    let mut dirty = Dirty::default();
    dirty.note(&crate::fleet::Change::History(1));
    assert!(dirty.is_empty());
}

#[test]
fn the_report_of_a_device_makes_nobody_look_at_the_others_again() {
    let mut reports = Dirty::default();
    reports.note(&crate::fleet::Change::Deployment("web".parse().unwrap()));
    assert!(reports.is_empty(), "{reports:?}");
    let mut asked = Dirty::default();
    asked.note(&crate::fleet::Change::Specification("web".parse().unwrap()));
    assert!(!asked.is_empty());
}
