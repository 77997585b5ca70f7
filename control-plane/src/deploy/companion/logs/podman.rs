//! Logs of a container under podman: the device's agent is asked over NATS and reads its journal.

use std::time::Duration;

use fleet_protocol::command::Reply;
use fleet_protocol::logs::{self, LogChunk, LogRequest, MAX_BYTES, MAX_LINE, MAX_LINES, ProbeName};
use fleet_protocol::{Cause, DeviceId, PodmanV0Score};

use super::{Devices, LogQuery, LogQueryError, LogsOf};
use crate::store::AskError;

/// How long a device is given to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a device's agent for the log of one of a deployment's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodmanLogQuery {
    of: LogsOf,
}

impl PodmanLogQuery {
    /// A query for these logs.
    #[must_use]
    pub fn new(of: LogsOf) -> Self {
        Self { of }
    }

    /// Asks without a score: what a device runs outlives its specification, for instance while it is removed.
    ///
    /// # Errors
    /// As [`LogQuery::last_lines`].
    pub async fn ask<T: Devices>(&self, topology: &T, n: usize) -> Result<LogChunk, LogQueryError> {
        let placed = &self.of.placed;
        topology.reachable(placed)?;
        let source = self.source()?;
        let request = LogRequest {
            lines: u32::try_from(n).unwrap_or(MAX_LINES).clamp(1, MAX_LINES),
            init: self.of.init.clone(),
            previous: self.of.previous,
            timestamps: self.of.timestamps,
        };
        let bytes = serde_json::to_vec(&request).expect("a request has string keys only");
        let subject = logs::subject(&placed.device, &placed.deployment);
        let answer = topology.ask(subject, bytes.into(), PATIENCE).await;
        let answer = answer.map_err(|error| match error {
            AskError::NobodyListens => topology.deaf(placed),
            AskError::TimedOut => topology.silent(placed, PATIENCE),
            AskError::Unavailable(why) => LogQueryError::Disconnected(why),
        })?;
        self.read(&answer, &source, request.lines as usize)
    }

    /// Reads an answer; a device is not trusted to keep to limits.
    fn read(&self, answer: &[u8], source: &ProbeName, n: usize) -> Result<LogChunk, LogQueryError> {
        let device = &self.of.placed.device;
        let reply: Reply<LogChunk> =
            serde_json::from_slice(answer).map_err(|error| malformed(device, error.to_string()))?;
        let mut chunk = match reply {
            Reply::Done(chunk) => chunk,
            Reply::Refused(cause) => return Err(refused(device, cause)),
        };
        if *source != chunk.source {
            return Err(malformed(device, format!("it is about {}", chunk.source)));
        }
        bound(&mut chunk, n);
        Ok(chunk)
    }

    /// Whose words the answer has to be.
    fn source(&self) -> Result<ProbeName, LogQueryError> {
        let deployment = &self.of.placed.deployment;
        match &self.of.init {
            None => Ok(ProbeName::of(deployment)),
            Some(init) => ProbeName::of_init(deployment, init).map_err(|_| LogQueryError::NoSuchInit {
                deployment: deployment.clone(),
                init: init.clone(),
            }),
        }
    }
}

impl<T: Devices> LogQuery<T> for PodmanLogQuery {
    type Score = PodmanV0Score;

    /// The device knows which generation it holds; the score may be a newer one, so it is not asked about names.
    async fn last_lines(
        &self,
        _score: &PodmanV0Score,
        topology: &T,
        n: usize,
    ) -> Result<LogChunk, LogQueryError> {
        self.ask(topology, n).await
    }
}

/// What a device says no with: a kind that the protocol has, and a sentence that is not too long. What else came with it is left out.
fn refused(device: &DeviceId, cause: Cause) -> LogQueryError {
    if !is_refusal(&cause.kind) {
        return malformed(device, format!("it says no with the kind {:?}", cause.kind));
    }
    LogQueryError::Refused {
        device: device.clone(),
        cause: Box::new(Cause::new(&cause.kind, cause.detail)),
    }
}

/// Longest kind of a refusal, in bytes.
const MAX_KIND: usize = 40;

/// Whether a device may refuse a request for logs with this kind. A newer agent may have a `logs-…` that is not known here.
fn is_refusal(kind: &str) -> bool {
    let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match kind.strip_prefix("logs-") {
        Some(rest) => !rest.is_empty() && kind.len() <= MAX_KIND && rest.bytes().all(kebab),
        None => matches!(kind, "request-malformed" | "command-unknown"),
    }
}

fn malformed(device: &DeviceId, why: String) -> LogQueryError {
    LogQueryError::Malformed {
        device: device.clone(),
        why: fleet_protocol::cause::shorten(why, 200),
    }
}

/// Keeps the end: at most `n` lines, none too long, not too many bytes.
fn bound(chunk: &mut LogChunk, n: usize) {
    let mut bytes = 0;
    let fit = chunk.lines.iter().rev().take(n).take_while(|line| {
        bytes += line.len().min(MAX_LINE);
        bytes <= MAX_BYTES
    });
    let surplus = chunk.lines.len() - fit.count();
    chunk.truncated |= surplus > 0;
    chunk.lines.drain(..surplus);
    for line in &mut chunk.lines {
        if line.len() > MAX_LINE {
            *line = fleet_protocol::cause::shorten(std::mem::take(line), MAX_LINE);
        }
    }
}
