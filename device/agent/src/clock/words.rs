//! What is told about the clock: to the operator as health, to the journal, and to who asks on the device.

use std::collections::BTreeMap;

use fleet_host::{Reply, Said};
use fleet_machine::clock::{Doubt, Finding, Skew, Standing, span};
use fleet_protocol::Cause;

use crate::health::Health;

const SKEWED: &str = "clock-skewed";
const BEHIND: &str = "clock-behind";
const UNVERIFIED: &str = "clock-unverified";
const LET_THROUGH: &str =
    "let NTP out (UDP port 123), or name a server of the site in clock_servers of /etc/fleet/agent.d";
const NAME_OTHERS: &str = "name other servers in clock_servers of /etc/fleet/agent.d";
const NAME_THREE: &str =
    "name at least three in clock_servers of /etc/fleet/agent.d, so that one that is wrong is outvoted";

/// Tells the standing and takes back what was told before. Where an earlier agent of this boot found it, there are no
/// finding and no replies.
pub(super) fn tell(health: &Health, standing: &Standing, finding: Option<&Finding>, replies: &[Reply]) {
    let cause = cause(standing, finding, replies);
    for kind in [SKEWED, BEHIND, UNVERIFIED] {
        if cause.as_ref().is_none_or(|cause| cause.kind != kind) {
            health.right(kind);
        }
    }
    match cause {
        Some(cause) => health.wrong(cause),
        None => tracing::debug!("the clock is right: {standing:?}, {finding:?}"),
    }
}

fn cause(standing: &Standing, finding: Option<&Finding>, replies: &[Reply]) -> Option<Cause> {
    Some(match standing {
        Standing::Right { .. } => return None,
        Standing::Skewed { offset_millis } => {
            let side = if *offset_millis > 0 { "behind" } else { "ahead" };
            let skew = Skew(*offset_millis);
            let by = finding.map(witnesses).unwrap_or_default();
            Cause::new(
                SKEWED,
                format!("{skew} It is {side}{by}; it is checked again by itself"),
            )
        }
        Standing::Behind { least_millis, doubt } => Cause::new(
            BEHIND,
            format!(
                "the system clock is {} behind at least: it shows a time that was over when it was last known to be right, and {}. Enable systemd-timesyncd or chrony, and {}",
                span(*least_millis),
                why(*doubt, replies),
                cure(*doubt, replies)
            ),
        ),
        Standing::Unverified { doubt } => Cause::new(
            UNVERIFIED,
            format!(
                "nobody knows whether the system clock is right: {}; {}",
                why(*doubt, replies),
                cure(*doubt, replies)
            ),
        ),
    })
}

fn why(doubt: Doubt, replies: &[Reply]) -> String {
    match doubt {
        Doubt::Silence => format!("no time server answers{}", reasons(replies)),
        Doubt::Contradiction => format!("the time servers contradict each other{}", claims(replies)),
    }
}

/// What to do. Where servers only want to be left alone, no firewall is in the way.
fn cure(doubt: Doubt, replies: &[Reply]) -> &'static str {
    let unheard = |reply: &Reply| matches!(reply.said, Said::Nothing(_));
    match doubt {
        Doubt::Contradiction => NAME_THREE,
        Doubt::Silence if !replies.is_empty() && !replies.iter().any(unheard) => NAME_OTHERS,
        Doubt::Silence => LET_THROUGH,
    }
}

/// The standing in a few words, for who asks on the device. What else there is to say is in `device-info`'s health.
pub(crate) fn line(standing: &Standing, agent_runs: bool) -> String {
    match standing {
        Standing::Right { offset_millis } => format!("right to {} ms", offset_millis.saturating_abs()),
        Standing::Skewed { offset_millis } if agent_runs => format!("wrong by {}", span(*offset_millis)),
        Standing::Skewed { offset_millis } => {
            format!("{} The agent does not start before", Skew(*offset_millis))
        }
        Standing::Behind { least_millis, .. } => format!("behind by {} at least", span(*least_millis)),
        Standing::Unverified {
            doubt: Doubt::Silence,
        } => "not verified: no time server answers".to_owned(),
        Standing::Unverified {
            doubt: Doubt::Contradiction,
        } => "not verified: the time servers contradict each other".to_owned(),
    }
}

fn witnesses(finding: &Finding) -> String {
    match *finding {
        Finding::Agreed {
            agreeing, dropped, ..
        } => match agreeing + dropped {
            1 => ", by the one time server that answers".to_owned(),
            all => format!(", by {agreeing} of {all} time servers that answer"),
        },
        Finding::Contradiction { .. } | Finding::Silence => String::new(),
    }
}

/// Why each server said nothing, each once: one reason for all addresses of a name, and the same words each time, since
/// another word would be another report.
fn reasons(replies: &[Reply]) -> String {
    let mut reasons: BTreeMap<&str, &str> = BTreeMap::new();
    for reply in replies {
        let reason = match &reply.said {
            Said::Nothing(reason) => reason,
            Said::Kiss(_) | Said::Rests => "it wants to be left alone",
            Said::Time { .. } => continue,
        };
        reasons.entry(&reply.server).or_insert(reason);
    }
    listed(
        reasons
            .into_iter()
            .map(|(server, reason)| format!("{server}: {reason}")),
    )
}

/// What each server claims, each claim once; the first one of each server comes before the second of any.
fn claims(replies: &[Reply]) -> String {
    let mut firsts: Vec<(&str, String)> = Vec::new();
    let mut others = Vec::new();
    for reply in replies {
        let Said::Time { offset_millis, .. } = reply.said else {
            continue;
        };
        let sign = if offset_millis < 0 { '-' } else { '+' };
        let claim = (reply.server.as_str(), format!("{sign}{}", span(offset_millis)));
        match firsts.iter().find(|(server, _)| *server == claim.0) {
            None => firsts.push(claim),
            Some(first) if *first != claim && !others.contains(&claim) => others.push(claim),
            Some(_) => {}
        }
    }
    let all = firsts.into_iter().chain(others);
    listed(all.map(|(server, claim)| format!("{server} {claim}")))
}

/// Most that are listed, so that the advice behind them is never cut.
const LISTED: usize = 4;

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.take(LISTED).collect();
    match items.is_empty() {
        true => String::new(),
        false => format!(" ({})", items.join("; ")),
    }
}
