//! Staying, and printing each change.

use super::*;

#[test]
fn watching_prints_each_change_once() {
    let server = serve(fabricated::calm(fixed_now()));
    let out = Shown::default();
    let (watcher, address) = (out.clone(), server.address.clone());
    // It ends with the test: a watch has no end of its own.
    std::thread::spawn(move || fleetctl_into(watcher, &address, &["get", "pairs", "meter", "--watch"]));
    let wait = |what: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !what(&out.text()) {
            assert!(Instant::now() < deadline, "in time only: {}", out.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&|text| text.lines().count() == 13);
    // The stream may not yet be open: change again until it is seen.
    wait(&|text| {
        server.fleet.change(|state| {
            let pair = state.pairs.iter_mut().find(|p| p.deployment == "meter").unwrap();
            pair.state = fleet_control_plane::fleet::view::PairState::Upgrading;
        });
        text.contains("Upgrading")
    });
    assert_eq!(out.text().matches("Upgrading").count(), 1, "{}", out.text());
    assert_eq!(out.text().lines().count(), 14, "{}", out.text());
}

#[test]
fn following_the_history_misses_none_and_survives_another_store() {
    let server = serve(fabricated::calm(fixed_now()));
    let event = |server: &Server, numbers: std::ops::RangeInclusive<u64>, word: &str| {
        server.fleet.change(|state| {
            let model = state.events[0].clone();
            for sequence in numbers {
                let mut item = model.clone();
                item.sequence = sequence;
                item.event.subject = format!("device/{word}-{sequence}");
                state.events.insert(0, item);
            }
        });
    };
    let out = watching(&server, &["events", "--watch", "-o", "name"]);
    wait(&out, |text| !text.is_empty());
    event(&server, 10_001..=11_500, "burst");
    wait(&out, |text| text.contains("burst-11500"));
    assert_eq!(out.text().matches("burst-").count(), 1_500);
    server.fleet.change(|state| state.events.truncate(1));
    event(&server, 1..=2, "anew");
    server.fleet.change(|state| state.events.truncate(2));
    wait(&out, |text| text.contains("anew-2"));
}
