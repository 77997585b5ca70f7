//! Lists, their filters and their pages.

use super::*;

#[test]
fn lists_are_filtered_and_paged() {
    let mut events = Vec::new();
    for number in 0..25_u64 {
        let site = if number % 2 == 0 { "lyon" } else { "nice" };
        events.push(entry(
            BucketId::Info,
            &format!("pi-{number:02}"),
            number + 1,
            Some(info(site)),
        ));
    }
    let fleet = fleet_of(&events);
    let mut query = ListQuery {
        l: Some("site=lyon".into()),
        limit: Some(5),
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = fleet.device_list(&query).expect("a good query");
        assert_eq!(page.total, 13);
        seen.extend(page.items.into_iter().map(|item| item.id));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 13);
    assert!(seen.is_sorted());
    let bad = ListQuery {
        after: Some("Not An Id".into()),
        ..Default::default()
    };
    assert!(fleet.device_list(&bad).unwrap_err().starts_with("after"));
}

#[test]
fn pairs_are_listed_page_by_page_and_filtered() {
    let mut events = vec![entry(
        BucketId::Deployments,
        "web",
        1,
        Some(deployment("web", 4, spec("lyon", IMAGE))),
    )];
    for number in 1..=7_u64 {
        let (id, site) = (format!("pi-{number}"), if number > 5 { "nice" } else { "lyon" });
        let revision = number + 1;
        events.push(entry(BucketId::Info, &id, revision, Some(info(site))));
        let key = format!("{id}.web");
        let generation = if number == 7 { 3 } else { 4 };
        events.push(entry(
            BucketId::Desired,
            &key,
            revision,
            Some(desired(generation, IMAGE)),
        ));
        events.push(entry(
            BucketId::Desired,
            &format!("{id}.api"),
            revision + 100,
            Some(desired(1, IMAGE)),
        ));
    }
    events.push(entry(
        BucketId::Reported,
        "pi-2.web",
        1,
        Some(state(4, Phase::Running, None)),
    ));
    let mut fleet = fleet_of(&events);
    let names = |query: PairQuery| {
        let (mut query, mut names) = (query, Vec::new());
        loop {
            let page = fleet.pair_list(&query).expect("a good query");
            assert!(page.items.len() <= query.limit.unwrap_or(500));
            names.extend(
                page.items
                    .iter()
                    .map(|pair| format!("{}.{}", pair.device, pair.deployment)),
            );
            query.after = page.next;
            if query.after.is_none() {
                assert_eq!(page.total, names.len() as u64, "the total is of all pages");
                return names;
            }
        }
    };
    let text = |text: &str| Some(text.to_owned());
    let asked = PairQuery {
        limit: Some(2),
        ..PairQuery::default()
    };
    assert_eq!(names(asked.clone()).len(), 14);
    let of = |query: PairQuery| names(query).join(" ");
    assert_eq!(
        of(PairQuery {
            deployment: text("web"),
            l: text("site=nice"),
            ..asked.clone()
        }),
        "pi-6.web pi-7.web"
    );
    assert_eq!(
        of(PairQuery {
            device: text("pi-1"),
            ..asked.clone()
        }),
        "pi-1.api pi-1.web"
    );
    assert_eq!(
        of(PairQuery {
            device: text("pi-3"),
            deployment: text("web"),
            ..asked.clone()
        }),
        "pi-3.web"
    );
    assert_eq!(
        of(PairQuery {
            phase: Some(PairState::Running),
            ..asked.clone()
        }),
        "pi-2.web"
    );
    assert_eq!(
        of(PairQuery {
            state: Some(DeviceState::Online),
            ..asked.clone()
        }),
        ""
    );
    assert_eq!(
        of(PairQuery {
            device: text("No Id"),
            ..asked
        }),
        ""
    );
    let bad = PairQuery {
        after: text("nonsense"),
        ..PairQuery::default()
    };
    assert!(fleet.pair_list(&bad).is_err());

    let behind = |fleet: &Fleet| fleet.deployment_summary(&"web".parse().unwrap()).unwrap().behind;
    assert_eq!(behind(&fleet), 1);
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-7.web", 200, Some(desired(4, IMAGE)))],
    );
    assert_eq!(behind(&fleet), 0);
    apply(
        &mut fleet,
        &[entry(
            BucketId::Deployments,
            "web",
            2,
            Some(deployment("web", 5, spec("lyon", IMAGE))),
        )],
    );
    assert_eq!(behind(&fleet), 7);
}

#[test]
fn a_list_is_of_those_whose_name_contains_what_was_asked() {
    let fleet = fleet_of(&running_pair());
    let asked = |q: &str| ListQuery {
        q: Some(q.to_owned()),
        ..ListQuery::default()
    };
    assert_eq!(fleet.device_list(&asked("i-1")).unwrap().total, 1);
    assert_eq!(fleet.device_list(&asked("lyon")).unwrap().total, 0);
    assert_eq!(fleet.deployment_list(&asked("we")).unwrap().total, 1);
    assert_eq!(fleet.deployment_list(&asked("api")).unwrap().items.len(), 0);
}
