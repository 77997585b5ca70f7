//! The HTTP API, seen from outside.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::error::{CtlError, Exit};
use crate::api::types::{ACTOR_HEADER, BASE, ChangeAnswer, ListQuery, PairList, PairQuery, ProblemDetails};

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest silence of a stream; the server says something more often.
const STREAM_SILENCE: Duration = Duration::from_secs(60);

/// One server.
pub struct Client {
    agent: Agent,
    server: String,
    actor: Option<String>,
}

impl Client {
    /// A client for `http://host:port`. Nothing is sent yet. `actor` is the person's name for the history.
    ///
    /// # Errors
    /// [`Exit::Usage`] when the address is none that this build can call.
    pub fn new(server: &str, actor: Option<String>) -> Result<Self, CtlError> {
        let bad = |why: &str| {
            Err(CtlError::new(
                Exit::Usage,
                format!("{server:?} is no address of an operator"),
                why,
            )
            .next("give --server or FLEET_SERVER like http://127.0.0.1:8480"))
        };
        let server = server.trim_end_matches('/');
        let Ok(uri) = server.parse::<ureq::http::Uri>() else {
            return bad("it does not parse");
        };
        match uri.scheme_str() {
            Some("http") if uri.path() == "/" || uri.path().is_empty() => {}
            Some("https") => {
                return bad(
                    "this version speaks http only: the operator listens on loopback, reach it through an SSH tunnel",
                );
            }
            Some("http") => return bad("it has a path"),
            _ => return bad("it does not begin with http://"),
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(STREAM_SILENCE))
            .user_agent(concat!("fleetctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let actor = actor.filter(|name| {
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic())
        });
        Ok(Self {
            agent,
            server: server.to_owned(),
            actor,
        })
    }

    /// Asks for one thing; `object` names it in errors.
    pub(super) fn get<T: DeserializeOwned>(&self, object: &str, path: &str) -> Result<T, CtlError> {
        let response = self.agent.get(self.address(path)).call();
        self.answer(object, response)
    }

    /// Asks for a list.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        object: &str,
        path: &str,
        query: &ListQuery,
    ) -> Result<T, CtlError> {
        self.get(object, &format!("{path}{}", list_text(query)))
    }

    /// Asks for a page of pairs.
    pub(super) fn pairs(&self, query: &PairQuery) -> Result<PairList, CtlError> {
        self.get("pairs", &format!("/pairs{}", pairs_text(query)))
    }

    /// Sends a change.
    pub(super) fn put<T: Serialize>(
        &self,
        object: &str,
        path: &str,
        body: &T,
    ) -> Result<ChangeAnswer, CtlError> {
        let json = serde_json::to_vec(body).expect("requests have string keys only");
        let mut request = self
            .agent
            .put(self.address(path))
            .content_type("application/json");
        if let Some(actor) = &self.actor {
            request = request.header(ACTOR_HEADER, actor);
        }
        self.answer(object, request.send(&json))
    }

    /// Sends a deletion.
    pub(super) fn delete(&self, object: &str, path: &str) -> Result<ChangeAnswer, CtlError> {
        let mut request = self.agent.delete(self.address(path));
        if let Some(actor) = &self.actor {
            request = request.header(ACTOR_HEADER, actor);
        }
        self.answer(object, request.call())
    }

    /// The lines of an event stream.
    pub(super) fn lines(
        &self,
        path: &str,
    ) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, CtlError> {
        let response = self
            .agent
            .get(self.address(path))
            .header("accept", "text/event-stream")
            .call();
        let response = self.accepted("the stream of changes", response)?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    fn address(&self, path: &str) -> String {
        format!("{}{BASE}{path}", self.server)
    }

    fn answer<T: DeserializeOwned>(
        &self,
        object: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, CtlError> {
        let mut response = self.accepted(object, response)?;
        let text = self.text(&mut response)?;
        serde_json::from_str(&text).map_err(|error| {
            CtlError::new(
                Exit::Failed,
                format!("{object}: the answer cannot be read"),
                error.to_string(),
            )
            .next("compare `fleetctl version` with the operator's: one of them is too old")
        })
    }

    fn accepted(
        &self,
        object: &str,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, CtlError> {
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = self.text(&mut response)?;
        match serde_json::from_str::<ProblemDetails>(&text) {
            Ok(problem) => Err(CtlError::from_problem(object, &problem)),
            Err(_) => {
                let exit = if status.as_u16() == 404 {
                    Exit::NotFound
                } else {
                    Exit::Failed
                };
                Err(CtlError::new(
                    exit,
                    format!("{object}: {status}"),
                    format!("{} answered, but not as an operator does", self.server),
                )
                .next("check --server"))
            }
        }
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String, CtlError> {
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        body.read_to_string().map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> CtlError {
        CtlError::new(
            Exit::Unreachable,
            format!("the operator at {} was not reached", self.server),
            error.to_string(),
        )
        .next("check that fleet-operator runs there, and --server or FLEET_SERVER")
    }
}

/// Percent-encoded for a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn list_text(query: &ListQuery) -> String {
    query_text([
        ("l", query.l.clone()),
        ("q", query.q.clone()),
        ("phase", query.phase.map(|phase| phase.to_string())),
        ("state", query.state.map(|state| state.to_string())),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("after", query.after.clone()),
    ])
}

fn pairs_text(query: &PairQuery) -> String {
    query_text([
        ("deployment", query.deployment.clone()),
        ("device", query.device.clone()),
        ("l", query.l.clone()),
        ("phase", query.phase.map(|phase| phase.to_string())),
        ("state", query.state.map(|state| state.to_string())),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("after", query.after.clone()),
    ])
}

fn query_text<const N: usize>(parts: [(&str, Option<String>); N]) -> String {
    let given: Vec<String> = parts
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(&value))))
        .collect();
    if given.is_empty() {
        String::new()
    } else {
        format!("?{}", given.join("&"))
    }
}
