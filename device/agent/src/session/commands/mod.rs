//! Commands to the device: request and reply, one subscription for all of them.
//!
//! A command that takes its time (logs ask journald) is carried out beside the others, so that a `ping` is answered at once
//! whatever else goes on.

mod logs;
mod ping;

use std::rc::Rc;
use std::time::Duration;

use async_nats::subject::ToSubject;
use async_nats::{Client, Message, Subscriber};
use fleet_host::Host;
use fleet_protocol::command::{self, Reply};
use fleet_protocol::{Cause, DeploymentName, DeviceId, id::IdError, wire};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::VERSION;
use crate::shared::Shared;

/// Wait before a lost subscription is made anew.
const WAIT: Duration = Duration::from_secs(5);
/// Most log requests that are carried out or wait for it; what comes on top is refused at once.
const MOST: usize = 32;

/// Answers for as long as the session lasts.
pub(super) async fn run<H: Host>(shared: &Rc<Shared<H>>, client: &Client) {
    let device = &shared.settings.identity.enrolment.device_id;
    loop {
        match client.subscribe(command::all_of(device)).await {
            Ok(requests) => serve(shared, client, requests).await,
            Err(error) => tracing::warn!("commands cannot be received: {error}"),
        }
        sleep(WAIT).await;
    }
}

/// Answers until the subscription ends; what is not answered by then has nobody left to hear it.
async fn serve<H: Host>(shared: &Rc<Shared<H>>, client: &Client, mut requests: Subscriber) {
    let turns = Semaphore::new(logs::AT_ONCE);
    let mut at_work = FuturesUnordered::new();
    loop {
        // Both arms only take what is ready: nothing is lost by dropping them.
        let request = tokio::select! {
            request = requests.next() => request,
            Some(()) = at_work.next(), if !at_work.is_empty() => continue,
        };
        let Some(request) = request else { return };
        let Some(to) = request.reply.clone() else {
            tracing::debug!("{} wants no answer and gets none", request.subject.as_str());
            continue;
        };
        match Command::of(&shared.settings.identity.enrolment.device_id, &request) {
            Command::Ping => publish(client, to, ping::answer(shared)).await,
            Command::Logs(_) if at_work.len() >= MOST => publish(client, to, logs::busy()).await,
            Command::Logs(name) => {
                let turns = &turns;
                at_work.push(async move {
                    let room = client.server_info().max_payload;
                    let bytes = logs::answer(shared, turns, name, &request.payload, room).await;
                    publish(client, to, bytes).await;
                });
            }
            Command::Unknown => publish(client, to, unknown(&request)).await,
        }
    }
}

/// What is asked for.
enum Command {
    Ping,
    /// Of this deployment, if that is a name.
    Logs(Result<DeploymentName, IdError>),
    Unknown,
}

impl Command {
    fn of(device: &DeviceId, request: &Message) -> Self {
        let subject = request.subject.as_str();
        if subject == command::ping(device) {
            return Self::Ping;
        }
        fleet_protocol::logs::deployment_of(device, subject).map_or(Self::Unknown, Self::Logs)
    }
}

fn unknown(request: &Message) -> Vec<u8> {
    refused(Cause::new(
        "command-unknown",
        format!("{} is no command of agent {VERSION}", request.subject.as_str()),
    ))
}

fn done<T: Serialize>(answer: T) -> Vec<u8> {
    wire::encode(&Reply::Done(answer))
}

fn refused(cause: Cause) -> Vec<u8> {
    wire::encode(&Reply::<()>::Refused(cause))
}

async fn publish(client: &Client, to: impl ToSubject, answer: Vec<u8>) {
    if let Err(error) = client.publish(to, answer.into()).await {
        tracing::debug!("an answer is lost: {error}");
    }
}
