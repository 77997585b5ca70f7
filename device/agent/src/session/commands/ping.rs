//! `ping`: proves a round trip through the dispatcher.

use fleet_host::{Clock, Host};
use fleet_protocol::command::Pong;

use super::done;
use crate::VERSION;
use crate::shared::Shared;

pub(super) fn answer<H: Host>(shared: &Shared<H>) -> Vec<u8> {
    done(Pong {
        agent_version: VERSION.to_owned(),
        at: shared.host.clock().now(),
    })
}
