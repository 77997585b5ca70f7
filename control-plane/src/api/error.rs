//! Errors as `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use fleet_protocol::score::FieldError;

use super::layer;
use super::types::ProblemDetails;
use crate::store::WriteError;

/// An answer that says what went wrong.
#[derive(Debug)]
pub struct ApiError(Box<ProblemDetails>);

impl ApiError {
    /// An error of this status, stable word, few words, and sentence.
    pub fn new(status: StatusCode, kind: &str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails {
            kind: kind.to_owned(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            problems: Vec::new(),
            since: None,
            request_id: layer::request_id(),
        }))
    }

    /// Says since when it is so.
    #[must_use]
    pub fn with_since(mut self, since: Option<DateTime<Utc>>) -> Self {
        self.0.since = since;
        self
    }

    /// There is no such thing.
    pub fn not_found(what: &str, name: &str) -> Self {
        let detail = format!("there is no {what} {name:?}: look at the list for those that are there");
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("{what} not found"),
            detail,
        )
    }

    /// The request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "the request cannot be understood",
            detail,
        )
    }

    /// Fields are wrong.
    pub fn invalid(name: &str, problems: Vec<FieldError>) -> Self {
        let detail = match problems.as_slice() {
            [one] => format!("{one}"),
            many => format!("{} fields are wrong; nothing was changed", many.len()),
        };
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            format!("deployment {name} is not valid"),
            detail,
        );
        error.0.problems = problems;
        error
    }

    /// Fields are allowed but warned of, and that was not to be let pass.
    pub fn warned(name: &str, problems: Vec<FieldError>) -> Self {
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "warnings",
            format!("deployment {name} has warnings, and `strict` was asked for"),
            "nothing was written: correct what the lint found, allow it with a comment, or ask without `strict`",
        );
        error.0.problems = problems;
        error
    }

    /// Nothing can be changed at this moment.
    pub fn recovering(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "recovering",
            "the operator does not know the whole fleet at this moment",
            detail,
        )
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let detail = error.detail();
        match error {
            WriteError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "changed by somebody else at the same time",
                detail,
            ),
            WriteError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "larger than the store takes",
                detail,
            ),
            WriteError::Unavailable { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "NATS did not take the write",
                format!("{detail}. It is not known whether it was written: ask again, and repeat it if not"),
            ),
        }
    }
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this path does not take this method",
        "see /api/v0/openapi.json for what each path takes",
    )
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).expect("problem details have string keys only");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(super::RETRY_AFTER));
        }
        response
    }
}
