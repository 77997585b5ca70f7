//! The history that is kept.

use super::*;

fn history_event(sequence: u64) -> StoreEvent {
    let event = fleet_protocol::event::FleetEvent {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        at: noon(),
        actor: "ada".to_owned(),
        kind: "deployment-changed".to_owned(),
        subject: "deployment/web".to_owned(),
        detail: String::new(),
    };
    StoreEvent::Entry {
        source: Source::History,
        entry: crate::store::Entry {
            key: "x".to_owned(),
            revision: sequence,
            at: noon(),
            value: Some(fleet_protocol::wire::encode(&event).into()),
        },
    }
}

fn history_of(last: u64) -> Fleet {
    let mut fleet = fleet_of(&[]);
    let source = Source::History;
    let begin = StoreEvent::Begin {
        source,
        session: 1,
        stream_created: noon(),
        target: last,
    };
    apply(&mut fleet, &[begin]);
    apply(&mut fleet, &(1..=last).map(history_event).collect::<Vec<_>>());
    apply(&mut fleet, &[StoreEvent::End { source }]);
    fleet
}

#[test]
fn a_history_that_is_not_heard_says_so_and_leaves_the_fleet_ready() {
    let mut fleet = history_of(1);
    assert_eq!(fleet.event_list(&EventQuery::default()).detail, None);
    let broken = StoreEvent::Broken {
        source: Source::History,
        why: "gone".to_owned(),
    };
    assert!(apply(&mut fleet, &[broken]).contains(&Change::Recovery));
    let detail = fleet
        .event_list(&EventQuery::default())
        .detail
        .unwrap_or_default();
    assert!(detail.contains("gone"), "{detail}");
    assert!(fleet.converged());
}

#[test]
fn the_history_is_followed_page_by_page_from_the_oldest() {
    let fleet = history_of(25);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let query = EventQuery {
            after: Some(after),
            limit: Some(10),
            ..EventQuery::default()
        };
        let list = fleet.event_list(&query);
        assert_eq!((list.newest, list.stream_created), (25, Some(noon())));
        let Some(newest) = list.items.first() else { break };
        after = newest.sequence;
        seen.extend(list.items.iter().rev().map(|item| item.sequence));
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
}
