//! Servers that asked to be left alone (kiss-o'-death), and for how long they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use fleet_host::{Kiss, Reply, Said};
use serde::{Deserialize, Serialize};

/// First rest of one that is asked too often; doubled each time it says so again.
const SLOWER: Duration = Duration::from_mins(15);
/// Rest of one that refuses for good: longer than a boot usually lasts would never notice that the refusal was lifted.
const LEAVE: Duration = Duration::from_hours(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Rest {
    /// Milliseconds of the clock that only rises.
    until: i64,
    /// How often it asked for it in a row.
    times: u32,
}

/// Servers that rest, by address. Addresses that were not asked for a day are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rests(BTreeMap<SocketAddr, Rest>);

impl Rests {
    /// Those that must not be asked now.
    pub(super) fn now(&self, monotonic_millis: i64) -> BTreeSet<SocketAddr> {
        let rests = self.0.iter().filter(|(_, rest)| rest.until > monotonic_millis);
        rests.map(|(address, _)| *address).collect()
    }

    /// Takes note of who wants to rest, and who does not any more.
    pub(super) fn note(&mut self, replies: &[Reply], monotonic_millis: i64) {
        for reply in replies {
            let Some(address) = reply.address else { continue };
            match reply.said {
                Said::Time { .. } => {
                    self.0.remove(&address);
                }
                Said::Nothing(_) | Said::Rests => {}
                Said::Kiss(kiss) => {
                    let times = self.0.get(&address).map_or(0, |rest| rest.times);
                    let pause = match kiss {
                        Kiss::Leave => LEAVE,
                        Kiss::Slower => SLOWER.saturating_mul(1 << times.min(16)).min(LEAVE),
                    };
                    tracing::info!(
                        "time server {} wants to be left alone: it is, for {pause:?}",
                        reply.server
                    );
                    let until = monotonic_millis.saturating_add(super::millis(pause));
                    let times = times.saturating_add(1);
                    self.0.insert(address, Rest { until, times });
                }
            }
        }
        let day_ago = monotonic_millis.saturating_sub(super::millis(LEAVE));
        self.0.retain(|_, rest| rest.until > day_ago);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(said: Said) -> Reply {
        Reply {
            server: "ntp.test".to_owned(),
            address: Some(address()),
            said,
        }
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 123))
    }

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_server_that_is_asked_too_often_rests_ever_longer_until_it_answers() {
        let mut rests = Rests::default();
        let mut now = 0;
        for minutes in [15, 30, 60] {
            rests.note(&[reply(Said::Kiss(Kiss::Slower))], now);
            now += minutes * MINUTE - 1;
            assert!(rests.now(now).contains(&address()), "{minutes}");
            now += 1;
            assert!(!rests.now(now).contains(&address()), "{minutes}");
        }
        let time = Said::Time {
            offset_millis: 0,
            error_millis: 0,
        };
        rests.note(&[reply(time)], now);
        assert_eq!(rests, Rests::default());
    }

    #[test]
    fn a_server_that_refuses_is_left_alone_for_a_day_and_silence_changes_nothing() {
        let mut rests = Rests::default();
        rests.note(&[reply(Said::Kiss(Kiss::Leave))], 0);
        rests.note(&[reply(Said::Nothing("x".to_owned()))], MINUTE);
        assert!(rests.now(24 * 60 * MINUTE - 1).contains(&address()));
        assert!(rests.now(24 * 60 * MINUTE).is_empty());
        rests.note(&[], 48 * 60 * MINUTE);
        assert_eq!(rests, Rests::default());
    }
}
