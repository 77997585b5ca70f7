//! Commands to the device: request and reply.

use std::rc::Rc;
use std::time::Duration;

use async_nats::{Client, Message};
use fleet_host::{Clock, Host};
use fleet_protocol::command::{self, Pong, Reply};
use fleet_protocol::{Cause, wire};
use futures_util::StreamExt;
use tokio::time::sleep;

use crate::VERSION;
use crate::shared::Shared;

/// Wait before a lost subscription is made anew.
const WAIT: Duration = Duration::from_secs(5);

/// Answers for as long as the session lasts.
pub(super) async fn run<H: Host>(shared: &Rc<Shared<H>>, client: &Client) {
    let device = &shared.settings.identity.enrolment.device_id;
    loop {
        match client.subscribe(command::all_of(device)).await {
            Ok(mut requests) => {
                while let Some(request) = requests.next().await {
                    answer(shared, client, request).await;
                }
            }
            Err(error) => tracing::warn!("commands cannot be received: {error}"),
        }
        sleep(WAIT).await;
    }
}

async fn answer<H: Host>(shared: &Rc<Shared<H>>, client: &Client, request: Message) {
    let Some(to) = request.reply else {
        return tracing::debug!("{} wants no answer and gets none", request.subject.as_str());
    };
    let device = &shared.settings.identity.enrolment.device_id;
    let bytes = if request.subject.as_str() == command::ping(device) {
        wire::encode(&Reply::Done(Pong {
            agent_version: VERSION.to_owned(),
            at: shared.host.clock().now(),
        }))
    } else {
        wire::encode(&Reply::<()>::Refused(Cause::new(
            "command-unknown",
            format!("{} is no command of agent {VERSION}", request.subject.as_str()),
        )))
    };
    if let Err(error) = client.publish(to, bytes.into()).await {
        tracing::debug!("an answer is lost: {error}");
    }
}
