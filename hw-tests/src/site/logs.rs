//! The logs of the site's device, asked for as an operator does. Blocking, with a deadline.

use std::time::{Duration, Instant};

use async_nats::client::{Client, RequestErrorKind};
use fleet_protocol::Cause;
use fleet_protocol::command::Reply;
use fleet_protocol::logs::{self, LogChunk, LogRequest};
use fleet_testbed::nats::{NatsServer, UserKey};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{KvError, Site};

/// Longer than a device takes at worst, as long as it has a processor.
const ANSWER: Duration = Duration::from_secs(10);

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The end of a log.
    Chunk(LogChunk),
    /// The device refused, and says why.
    Refused(Cause),
    /// The server knows nobody who would answer.
    NobodyThere,
    /// No answer came, or one that is none.
    Unanswered(String),
}

impl Answer {
    /// The chunk.
    pub fn chunk(self) -> Result<LogChunk, Self> {
        match self {
            Self::Chunk(chunk) => Ok(chunk),
            other => Err(other),
        }
    }
}

/// Asks the site's device for logs.
#[derive(Debug)]
pub struct LogDesk {
    runtime: Runtime,
    client: Client,
}

impl LogDesk {
    /// Connects.
    pub fn connect(nats: &NatsServer, key: &UserKey) -> Result<Self, KvError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(KvError::Runtime)?;
        let client = runtime
            .block_on(nats.connect(Some(key)))
            .map_err(KvError::Connect)?;
        Ok(Self { runtime, client })
    }

    /// Asks for the log of a deployment; gives also how long it took.
    pub fn ask(&self, deployment: &str, request: &LogRequest) -> (Answer, Duration) {
        let deployment = deployment.parse().expect("a test names its deployments well");
        let subject = logs::subject(&Site::device(), &deployment);
        let payload = serde_json::to_vec(request).expect("a request has string keys only");
        let begin = Instant::now();
        let asked = async { timeout(ANSWER, self.client.request(subject, payload.into())).await };
        let answer = self.runtime.block_on(asked);
        let took = begin.elapsed();
        let answer = match answer {
            Err(_) => Answer::Unanswered(format!("nothing within {} s", ANSWER.as_secs())),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Answer::NobodyThere,
            Ok(Err(error)) => Answer::Unanswered(error.to_string()),
            Ok(Ok(message)) => match serde_json::from_slice(&message.payload) {
                Ok(Reply::Done(chunk)) => Answer::Chunk(chunk),
                Ok(Reply::Refused(cause)) => Answer::Refused(cause),
                Err(error) => Answer::Unanswered(format!("the answer is none: {error}")),
            },
        };
        (answer, took)
    }
}
