//! Simulated devices on a real nats-server: with the rights of one device each, and many on shared connections.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleet_control_plane::clock::Clock;
use fleet_control_plane::fleet::view::PairState;
use fleet_control_plane::sim::{Behaviour, SimOptions, Simulation};
use fleet_protocol::command::Reply;
use fleet_protocol::logs::{self, LogChunk};
use fleet_protocol::{Score, bucket};
use fleet_testbed::nats::{NatsUser, UserKey};
use support::{Bed, consumers, keys, until, web};

fn options(bed: &Bed, devices: usize) -> SimOptions {
    SimOptions {
        devices,
        prefix: "sim".to_owned(),
        labels: BTreeMap::from([("site".to_owned(), "lyon".to_owned())]),
        connect: bed.connect_options("all"),
        credentials: None,
        per_connection: 100,
        behaviour: Behaviour {
            latency: Duration::from_millis(50),
            ..Behaviour::default()
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_with_the_rights_of_a_device_reach_running_and_remove_what_is_deleted() {
    let mut bed = Bed::start();
    for number in 1..=3 {
        let key = UserKey::generate().expect("a key");
        let id = format!("sim-{number:04}");
        bed.write_key(&id, key.seed());
        bed.server
            .add_user(NatsUser::device(&key, &id.parse().expect("an id")))
            .expect("admitted");
    }
    let operator = bed.operator().await;
    operator.converged().await;
    let settings = SimOptions {
        credentials: Some(bed.keys.path().to_owned()),
        ..options(&bed, 3)
    };
    let simulation = Simulation::start(&settings, &Clock::system())
        .await
        .expect("usable options");
    operator
        .fleet
        .wait_until(|fleet| fleet.device_counts().online == 3)
        .await;
    operator.apply("web", &web("lyon", "reg.example/app:1")).await;
    operator.pairs_in(PairState::Running, 3).await;
    operator.apply("web", &web("lyon", "reg.example/app:2")).await;
    operator
        .fleet
        .wait_until(|fleet| fleet.pair_counts().running < 3)
        .await;
    operator.pairs_in(PairState::Running, 3).await;
    let view = operator.fleet.pair("web", "sim-0001").expect("it is there");
    let phases: Vec<_> = view.marks.iter().map(|mark| mark.phase.as_str()).collect();
    assert_eq!(phases, ["Pending", "Pulling", "Upgrading", "Starting", "Running"]);
    operator.apply("web", &web("nowhere", "reg.example/app:2")).await;
    operator
        .fleet
        .wait_until(|fleet| fleet.pair_counts().total == 0)
        .await;
    let looker = bed.looker().await;
    assert_eq!(keys(&looker, bucket::DEPLOYMENT_STATE).await, [""; 0]);
    simulation.close().await;
    let left = consumers(&looker).await;
    assert!(left.iter().all(|name| name.contains("/operator-")), "{left:?}");
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_devices_converge_and_come_back_after_the_server_was_killed() {
    const DEVICES: u64 = 300;
    let mut bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let settings = options(&bed, 300);
    let start = Instant::now();
    let simulation = Simulation::start(&settings, &Clock::system())
        .await
        .expect("usable options");
    operator
        .fleet
        .wait_until(|fleet| fleet.device_counts().online == DEVICES)
        .await;
    let online = start.elapsed();
    let start = Instant::now();
    operator.apply("web", &web("lyon", "reg.example/app:1")).await;
    operator.pairs_in(PairState::Running, DEVICES).await;
    let running = start.elapsed();

    bed.server.kill();
    operator.fleet.wait_until(|fleet| !fleet.connected()).await;
    bed.server.start_again().expect("it starts again");
    operator.converged().await;
    assert_eq!(
        operator.fleet.status().devices.online,
        DEVICES,
        "a restart of the server makes nobody offline"
    );
    let looker = bed.looker().await;
    until("all devices watch again", || async {
        let count = consumers(&looker).await.len() as u64;
        if count == DEVICES + 6 {
            Ok(())
        } else {
            Err(format!("{count} consumers"))
        }
    })
    .await;
    let start = Instant::now();
    let answer = operator.apply("web", &web("lyon", "reg.example/app:2")).await;
    assert_eq!((answer.generation, answer.devices), (2, DEVICES));
    operator
        .fleet
        .wait_until(|fleet| fleet.pair_counts().running < DEVICES)
        .await;
    operator.pairs_in(PairState::Running, DEVICES).await;
    eprintln!(
        "{DEVICES} devices: online {online:?}, running {running:?}, upgraded after a kill {:?}",
        start.elapsed()
    );
    assert_eq!(consumers(&looker).await.len() as u64, DEVICES + 6);
    simulation.close().await;
    assert_eq!(consumers(&looker).await.len(), 6);
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_shown_with_its_cause_and_what_happens_next() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let mut settings = options(&bed, 2);
    settings.behaviour.failure_rate = 1.0;
    let simulation = Simulation::start(&settings, &Clock::system())
        .await
        .expect("usable options");
    operator
        .fleet
        .wait_until(|fleet| fleet.device_counts().online == 2)
        .await;
    operator.apply("web", &web("lyon", "reg.example/app:1")).await;
    operator.pairs_in(PairState::Failed, 2).await;
    let status = operator.fleet.status();
    // One entry for each way in which chance let them fail.
    let ours: Vec<_> = status
        .attention
        .iter()
        .filter(|entry| entry.title.starts_with("web failed on"))
        .collect();
    assert!(!ours.is_empty(), "{:?}", status.attention);
    for entry in ours {
        assert!(entry.next.contains("again by itself"), "{entry:?}");
    }
    simulation.close().await;
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_cut_overs_and_logs_are_shown_as_of_a_real_device() {
    let bed = Bed::start();
    let operator = bed.operator().await;
    operator.converged().await;
    let simulation = Simulation::start(&options(&bed, 1), &Clock::system())
        .await
        .expect("usable options");
    operator
        .fleet
        .wait_until(|fleet| fleet.device_counts().online == 1)
        .await;
    let with_init = |image: &str| {
        let mut body = web("lyon", image);
        let Score::PodmanV0(score) = &mut body.spec.score;
        let init = serde_json::json!({ "name": "migrate", "image": "reg.example/tools:1" });
        score.init_containers = vec![serde_json::from_value(init).expect("an init container")];
        body
    };
    operator.apply("web", &with_init("reg.example/app:1")).await;
    operator.pairs_in(PairState::Running, 1).await;
    operator.apply("web", &with_init("reg.example/app:2")).await;
    operator
        .fleet
        .wait_until(|fleet| fleet.pair_counts().running == 0)
        .await;
    operator.pairs_in(PairState::Running, 1).await;
    let view = operator.fleet.pair("web", "sim-0001").expect("it is there");
    let cutover = view.cutover.expect("an upgrade has its figures");
    assert_eq!(cutover.from_generation, 1);
    assert!(cutover.down_millis > 0, "{cutover:?}");

    let client = bed.server.connect(Some(&bed.all)).await.expect("it is admitted");
    let subject = logs::subject(
        &"sim-0001".parse().expect("an id"),
        &"web".parse().expect("a name"),
    );
    let answer = client
        .request(subject, r#"{"lines":1,"init":"migrate"}"#.into())
        .await
        .expect("the device answers");
    let reply: Reply<LogChunk> = serde_json::from_slice(&answer.payload).expect("a reply");
    let Reply::Done(chunk) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!((chunk.source.as_str(), chunk.lines.len()), ("web.migrate", 1));
    simulation.close().await;
    operator.close().await;
}
