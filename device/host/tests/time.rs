//! Asking time servers: a real one, and those that nobody should believe.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet_host::{Kiss, Reply, Said, Sntp, TimeServers};
use fleet_protocol::time_server::ServerName;
use fleet_testbed::ntp::{Chrony, Liar, Manner};

async fn ask(servers: &[String]) -> Vec<Reply> {
    let names: Vec<ServerName> = servers.iter().map(|name| name.parse().unwrap()).collect();
    Sntp::new(names, 0).ask(&BTreeSet::new()).await
}

async fn said_by(manner: Manner) -> Said {
    let liar = Liar::start(manner).unwrap();
    let replies = ask(&[liar.address().to_string()]).await;
    assert!(liar.heard() > 0, "it was not asked");
    let [reply] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert_eq!(reply.address, Some(liar.address()));
    reply.said.clone()
}

fn reason(said: &Said) -> &str {
    match said {
        Said::Nothing(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn chrony_agrees_with_the_clock_that_it_tells() {
    let chrony = Chrony::start().unwrap();
    let replies = ask(&[chrony.address().to_string()]).await;
    let Said::Time {
        offset_millis,
        error_millis,
    } = replies[0].said
    else {
        panic!("{replies:?}")
    };
    assert!(
        offset_millis.abs() <= 1_000 && error_millis < 1_000,
        "{replies:?}"
    );
}

#[tokio::test]
async fn a_time_that_is_off_is_told_with_its_sign_also_by_decades() {
    for seconds in [300, -872, 1_800_000_000, -1_700_000_000] {
        let Said::Time { offset_millis, .. } = said_by(Manner::Off(seconds)).await else {
            panic!("{seconds}")
        };
        assert!(
            (offset_millis - seconds * 1000).abs() <= 2_000,
            "{seconds}: {offset_millis}"
        );
    }
}

#[tokio::test]
async fn a_kiss_is_obeyed_and_one_that_asks_for_nothing_is_no_time() {
    assert_eq!(said_by(Manner::Kiss(*b"DENY")).await, Said::Kiss(Kiss::Leave));
    assert_eq!(said_by(Manner::Kiss(*b"RSTR")).await, Said::Kiss(Kiss::Leave));
    assert_eq!(said_by(Manner::Kiss(*b"RATE")).await, Said::Kiss(Kiss::Slower));
    assert_eq!(
        reason(&said_by(Manner::Kiss(*b"INIT")).await),
        "it refuses with INIT"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_a_reason() {
    assert_eq!(reason(&said_by(Manner::Unset).await), "its own clock is not set");
    assert_eq!(reason(&said_by(Manner::Stray).await), "its answer makes no sense");
    assert_eq!(reason(&said_by(Manner::Half).await), "its answer makes no sense");
    assert_eq!(reason(&said_by(Manner::Silent).await), "it does not answer");
}

#[tokio::test]
async fn all_are_asked_at_once_and_the_silent_ones_cost_five_seconds_at_most() {
    let (chrony, silent) = (Chrony::start().unwrap(), Liar::start(Manner::Silent).unwrap());
    let nobody = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string()
    };
    let servers = [
        silent.address().to_string(),
        nobody,
        "no-such-server.invalid".to_owned(),
        chrony.address().to_string(),
    ];
    let began = Instant::now();
    let replies = ask(&servers).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let asked: Vec<&str> = replies.iter().map(|reply| reply.server.as_str()).collect();
    assert_eq!(asked, servers, "in order");
    assert_eq!(reason(&replies[0].said), "it does not answer");
    assert!(silent.heard() >= 2, "a datagram can be lost: it is asked again");
    assert!(
        reason(&replies[1].said).contains("no server listens there"),
        "{replies:?}"
    );
    assert!(reason(&replies[2].said).contains("look"), "{replies:?}");
    assert!(matches!(replies[3].said, Said::Time { .. }), "{replies:?}");
}

#[tokio::test]
async fn one_that_rests_is_not_asked_and_one_source_port_serves_all() {
    let (one, other) = (
        Liar::start(Manner::Off(0)).unwrap(),
        Liar::start(Manner::Off(0)).unwrap(),
    );
    let port = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let names = [&one, &other].map(|liar| liar.address().to_string().parse().unwrap());
    let sntp = Sntp::new(names.to_vec(), port);
    let replies = sntp.ask(&BTreeSet::new()).await;
    let told = replies
        .iter()
        .filter(|reply| matches!(reply.said, Said::Time { .. }));
    assert_eq!(told.count(), 2, "{replies:?}");

    let replies = sntp.ask(&BTreeSet::from([one.address()])).await;
    assert_eq!(
        (replies[0].said.clone(), one.heard(), other.heard()),
        (Said::Rests, 1, 2)
    );
}
