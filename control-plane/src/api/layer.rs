//! What holds for every request: an id, a time limit, a log line, a count, and that it was meant for this machine.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::{ApiError, ApiState};

/// Longest time until an answer begins. Streams begin at once and may go on.
const LIMIT: Duration = Duration::from_secs(15);
const REQUEST_ID: &str = "x-request-id";

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task answers.
pub(super) fn request_id() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

pub(super) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", id = %id, %method, %path);
    let answer = CURRENT
        .scope(id.clone(), answer(request, next))
        .instrument(span.clone());
    let mut response = answer.await;
    let status = response.status().as_u16();
    let took = started.elapsed();
    span.in_scope(|| tracing::info!(status, ?took, "answered"));
    state
        .metrics
        .answered(&route, &method, status, took.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answer(request: Request, next: Next) -> Response {
    if let Err(error) = meant_for_us(request.headers()) {
        return error.into_response();
    }
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "no answer in time",
            format!(
                "it took longer than {} s; a change may or may not have been made: ask before repeating it",
                LIMIT.as_secs()
            ),
        )
        .into_response(),
    }
}

/// A page of another site can make a browser on this machine send requests here (DNS rebinding, forms). They carry a
/// foreign `Host` or `Origin`.
fn meant_for_us(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let host_is_ours = text(header::HOST).is_none_or(is_loopback);
    // An origin without a host, such as `null`, is none of ours.
    let origin_is_ours = text(header::ORIGIN).is_none_or(|origin| {
        origin
            .split_once("://")
            .is_some_and(|(_, host)| is_loopback(host))
    });
    if host_is_ours && origin_is_ours {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "foreign-host",
        "this request was not meant for this machine",
        "there are no roles yet, so only requests to localhost are answered: use an SSH tunnel to reach it from elsewhere",
    ))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An id from the caller is kept when it is short and plain.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=64).contains(&id.len()) && id.bytes().all(plain)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_ours() {
        for ours in [
            "localhost",
            "localhost:8480",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:8480",
            "[::1]",
        ] {
            assert!(is_loopback(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
            "[2001:db8::1]:80",
            "null",
            "",
        ] {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }
}
