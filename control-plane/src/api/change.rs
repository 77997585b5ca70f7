//! Changing deployments: compare-and-set, then the history.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use fleet_protocol::DeploymentName;
use fleet_protocol::deployment::name_problem;
use fleet_protocol::event::{self, FleetEvent};
use fleet_protocol::score::{FieldError, label_problems};
use tracing::Instrument;

use super::read::asked;
use super::types::{ACTOR_HEADER, ChangeAnswer, ChangeQuery, Outcome, ProblemDetails, PutDeployment};
use super::{ApiError, ApiState};
use crate::deploy::lint::{Warning, lint_score};
use crate::fleet::Fleet;
use crate::history::{Late, OPERATOR};
use crate::metrics::WriteOutcome;
use crate::store::{BucketId, WriteError};

mod decision;

use decision::{Decision, decide_delete, decide_put};

/// How often a change is tried when somebody else changes the same thing.
const TRIES: u32 = 5;
/// How long an answer waits until the aggregate shows the change, so that a caller reads what it wrote.
const ECHO: Duration = Duration::from_secs(3);
const LONGEST_ACTOR: usize = 64;

/// Creates or changes a deployment. The same content changes nothing.
#[utoipa::path(
    put, path = "/api/v0/deployments/{name}", tag = "deployments",
    params(
        ("name" = String, Path, description = "Deployment"), ChangeQuery,
        ("If-Match" = Option<String>, Header, description = "Only if it has this generation; 0: only if it does not exist"),
        ("X-Fleet-Actor" = Option<String>, Header, description = "Who asks, for the history")
    ),
    request_body = PutDeployment,
    responses(
        (status = 200, description = "Changed or unchanged", body = ChangeAnswer),
        (status = 201, description = "Created", body = ChangeAnswer),
        (status = 400, description = "A header or the query cannot be understood", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Changed by somebody else at the same time (`conflict`), or written by a newer control plane", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 412, description = "Another generation", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "Larger than the store takes", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "Fields are wrong (`invalid`), or have warnings and `strict` was asked for (`warnings`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 500, description = "The lint of the init containers ended (`lint-failed`); nothing was written", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Recovering, or NATS is away", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn put(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ChangeAnswer>), ApiError> {
    let query = asked(query)?;
    let request = Request::new(&name, &headers)?;
    let wanted = parse_body(&name, body)?;
    ready(&state)?;
    let warnings = warnings_of(&name, &wanted, query.strict).await?;
    let mut answer = request
        .change(&state, query.dry_run, |fleet, name| {
            decide_put(fleet, name, &wanted)
        })
        .await?;
    answer.warnings = warnings;
    let status = if answer.outcome == Outcome::Created && !answer.dry_run {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(answer)))
}

/// What the lint says; a refusal if it says something and `strict` was asked for.
///
/// The lint takes some of a processor's time and waits for nothing, so it has a thread of its own: the workers go on answering.
async fn warnings_of(name: &str, wanted: &PutDeployment, strict: bool) -> Result<Vec<Warning>, ApiError> {
    let score = wanted.spec.score.clone();
    let warnings = tokio::task::spawn_blocking(move || lint_score(&score)).await;
    let warnings: Vec<_> = warnings
        .map_err(|error| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "lint-failed",
                "the lint of the init containers ended",
                format!("nothing was written: {error}; please report it, with the deployment"),
            )
        })?
        .into_iter()
        .map(|warning| warning.under("spec"))
        .collect();
    if !strict || warnings.is_empty() {
        return Ok(warnings);
    }
    let problems = warnings.into_iter().map(|warning| FieldError {
        path: warning.path,
        problem: format!(
            "{}: {}: {}. {}",
            warning.rule, warning.found, warning.why, warning.fix
        ),
    });
    Err(ApiError::warned(name, problems.collect()))
}

/// Deletes a deployment; devices then remove what runs of it.
#[utoipa::path(
    delete, path = "/api/v0/deployments/{name}", tag = "deployments",
    params(
        ("name" = String, Path, description = "Deployment"), ChangeQuery,
        ("If-Match" = Option<String>, Header, description = "Only if it has this generation"),
        ("X-Fleet-Actor" = Option<String>, Header, description = "Who asks, for the history")
    ),
    responses(
        (status = 200, body = ChangeAnswer),
        (status = 400, description = "A header or the query cannot be understood", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Changed by somebody else at the same time (`conflict`), or written by a newer control plane", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 412, description = "Another generation", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Recovering, or NATS is away", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<ChangeAnswer>, ApiError> {
    let query = asked(query)?;
    let request = Request::new(&name, &headers)?;
    ready(&state)?;
    request
        .change(&state, query.dry_run, decide_delete)
        .await
        .map(Json)
}

fn ready(state: &ApiState) -> Result<(), ApiError> {
    state
        .fleet
        .recovery()
        .detail
        .map_or(Ok(()), |detail| Err(ApiError::recovering(detail)))
}

fn parse_body(name: &str, body: Result<Bytes, BytesRejection>) -> Result<PutDeployment, ApiError> {
    let body = body.map_err(|rejection| {
        ApiError::new(
            rejection.status(),
            "too-large",
            "the body was not taken",
            rejection.body_text(),
        )
    })?;
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let wanted: PutDeployment = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        ApiError::invalid(
            name,
            vec![FieldError {
                path,
                problem: error.inner().to_string(),
            }],
        )
    })?;
    let mut problems = wanted.spec.problems();
    problems.extend(label_problems("labels", &wanted.labels));
    // In the API the name is in the path, not in `metadata`.
    problems.extend(
        name.parse()
            .ok()
            .as_ref()
            .and_then(name_problem)
            .map(|problem| FieldError {
                path: "name".to_owned(),
                ..problem
            }),
    );
    if problems.is_empty() {
        Ok(wanted)
    } else {
        Err(ApiError::invalid(name, problems))
    }
}

/// Who asks for what, under which condition.
struct Request {
    name: DeploymentName,
    actor: String,
    if_match: Option<u64>,
}

/// Why a change is not answered with "done".
enum Refused {
    /// Nothing was changed, or it is not known whether.
    Write(WriteError),
    /// It was changed; its line is not in the history yet.
    Line(Late),
}

impl Request {
    fn new(name: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let parsed = name.parse().map_err(|error: fleet_protocol::IdError| {
            ApiError::invalid(
                name,
                vec![FieldError {
                    path: "name".to_owned(),
                    problem: error.to_string(),
                }],
            )
        })?;
        Ok(Self {
            name: parsed,
            actor: actor(headers)?,
            if_match: if_match(headers)?,
        })
    }

    async fn change(
        self,
        state: &ApiState,
        dry_run: bool,
        decide: impl Fn(&Fleet, &DeploymentName) -> Result<Decision, ApiError>,
    ) -> Result<ChangeAnswer, ApiError> {
        let request = Arc::new(self);
        for attempt in 1..=TRIES {
            let version = state.fleet.changes();
            let decision = state.fleet.read(|fleet| decide(fleet, &request.name))?;
            request.check(&decision)?;
            let answer = ChangeAnswer {
                outcome: decision.outcome,
                dry_run,
                name: request.name.to_string(),
                generation: decision.generation,
                devices: decision.devices,
                warnings: Vec::new(),
            };
            let Some((expected, value)) = decision.write.filter(|_| !dry_run) else {
                return Ok(answer);
            };
            match Arc::clone(&request).commit(state, &answer, expected, value).await {
                Ok(revision) => {
                    request.seen(state, revision).await;
                    return Ok(answer);
                }
                Err(Refused::Write(WriteError::Conflict { .. })) if attempt < TRIES => {
                    look_again(version).await;
                }
                Err(Refused::Write(error)) => return Err(error.into()),
                Err(Refused::Line(late)) => return Err(made_without_line(&answer, late)),
            }
        }
        unreachable!("the last try returns")
    }

    /// Writes and appends to the history in a task of its own: a client that goes away drops the request's future, and a
    /// change without its line in the history would be one that nobody made.
    async fn commit(
        self: Arc<Self>,
        state: &ApiState,
        answer: &ChangeAnswer,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<u64, Refused> {
        let (state, answer) = (state.clone(), answer.clone());
        let target = format!("{}/{}", BucketId::Deployments.name(), self.name);
        // The end of the process waits for it too.
        let open = state.historian.open();
        let commit = async move {
            let written = self.write(&state, expected, value).await;
            if let Err(WriteError::Unavailable { .. }) = &written {
                self.unconfirmed(&state, &answer);
            }
            let revision = written.map_err(Refused::Write)?;
            let recorded = self.record(&state, &answer).await;
            drop(open);
            recorded.map(|()| revision).map_err(Refused::Line)
        };
        let task = tokio::spawn(commit.instrument(tracing::Span::current()));
        task.await.unwrap_or_else(|error| {
            Err(Refused::Write(WriteError::Unavailable {
                target,
                source: error.into(),
            }))
        })
    }

    fn check(&self, decision: &Decision) -> Result<(), ApiError> {
        match self.if_match {
            Some(expected) if expected != decision.before => Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "generation-conflict",
                format!("deployment {} has another generation", self.name),
                format!(
                    "generation {expected} was expected and {} is there: look at what changed, then apply again",
                    decision.before
                ),
            )),
            _ => Ok(()),
        }
    }

    async fn write(&self, state: &ApiState, expected: u64, value: Option<Bytes>) -> Result<u64, WriteError> {
        let key = self.name.as_str();
        let result = match value {
            Some(bytes) => state.store.put(BucketId::Deployments, key, expected, bytes).await,
            None => state.store.delete(BucketId::Deployments, key, expected).await,
        };
        let outcome = match &result {
            Ok(_) => WriteOutcome::Done,
            Err(WriteError::Conflict { .. }) => WriteOutcome::Conflict,
            Err(_) => WriteOutcome::Failed,
        };
        state.metrics.wrote(BucketId::Deployments, outcome);
        result
    }

    async fn record(&self, state: &ApiState, answer: &ChangeAnswer) -> Result<(), Late> {
        let (kind, what) = match answer.outcome {
            Outcome::Created => ("deployment-created", "created"),
            Outcome::Changed => ("deployment-changed", "changed"),
            Outcome::Unchanged => ("deployment-unchanged", "unchanged"),
            Outcome::Deleted => ("deployment-deleted", "deleted"),
        };
        let detail = format!(
            "{what}, generation {}, {} devices",
            answer.generation, answer.devices
        );
        let event = self.event(state, kind, detail);
        tracing::info!(actor = %self.actor, deployment = %self.name, %kind, detail = %event.detail, "change");
        state.historian.append(&event::operator_subject(), &event).await
    }

    /// NATS may have taken the write all the same: whoever reads the history later shall know who asked for it.
    fn unconfirmed(&self, state: &ApiState, answer: &ChangeAnswer) {
        let detail = format!(
            "asked for generation {} on {} devices; NATS did not answer, so it may or may not have been written",
            answer.generation, answer.devices
        );
        let event = self.event(state, "deployment-change-unconfirmed", detail);
        state.historian.note(&event::operator_subject(), &event);
    }

    fn event(&self, state: &ApiState, kind: &str, detail: String) -> FleetEvent {
        FleetEvent {
            protocol: fleet_protocol::PROTOCOL_VERSION,
            at: state.fleet.now(),
            actor: self.actor.clone(),
            kind: kind.to_owned(),
            subject: format!("deployment/{}", self.name),
            detail,
        }
    }

    /// Waits until the aggregate shows the change.
    async fn seen(&self, state: &ApiState, revision: u64) {
        let seen = state.fleet.wait_until(|fleet| {
            let slot = fleet.deployment(&self.name).and_then(|entry| entry.slot());
            slot.is_some_and(|slot| slot.revision >= revision)
        });
        if tokio::time::timeout(ECHO, seen).await.is_err() {
            tracing::warn!(deployment = %self.name, "written, but the watch has not brought it back yet");
        }
    }
}

/// The change stands, so it is not taken back; but nobody is told "done" before the history says who did it.
fn made_without_line(answer: &ChangeAnswer, late: Late) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "history-late",
        "the change was made, but the history does not tell of it yet",
        format!(
            "generation {} of {} stands and need not be repeated; {late}",
            answer.generation, answer.name
        ),
    )
}

/// Waits until the aggregate has moved on, at most half a second.
async fn look_again(mut version: tokio::sync::watch::Receiver<u64>) {
    tokio::time::timeout(Duration::from_millis(500), version.changed())
        .await
        .ok();
}

fn actor(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(value) = headers.get(ACTOR_HEADER) else {
        return Ok(OPERATOR.to_owned());
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() || text.len() > LONGEST_ACTOR {
        return Err(ApiError::bad_request(format!(
            "{ACTOR_HEADER} is not 1 to {LONGEST_ACTOR} plain characters"
        )));
    }
    Ok(text.to_owned())
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    let wrong = || ApiError::bad_request(format!("If-Match: {text:?} is not a generation"));
    text.parse().map(Some).map_err(|_| wrong())
}
