//! Uploading an image through a registry's HTTP API (OCI distribution), and reading it back.

use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::{Blob, Digest, Image};

const REQUEST: Duration = Duration::from_secs(60);
const LARGEST_BLOB: u64 = 4 << 30;

/// A request to the registry did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// No answer.
    #[error("no answer to {request}")]
    NoAnswer {
        /// Method and address.
        request: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// An answer that says no.
    #[error("{request} was answered {status}: {body}")]
    Refused {
        /// Method and address.
        request: String,
        /// The status of the answer.
        status: StatusCode,
        /// Its text.
        body: String,
    },
    /// The upload was begun, but the registry did not say where to send it.
    #[error("{request} was answered without a Location")]
    NoLocation {
        /// Method and address.
        request: String,
    },
}

/// Uploads what the registry does not have yet, then the manifest under `tag`.
pub fn push(registry: &str, image: &Image, repository: &str, tag: &str) -> Result<Digest, PushError> {
    let agent = agent();
    let api = format!("{registry}/v2/{repository}");
    for blob in image.layers.iter().chain([&image.config]) {
        push_blob(&agent, registry, &api, blob)?;
    }
    let url = format!("{api}/manifests/{tag}");
    let request = agent.put(&url).header("Content-Type", image.manifest.media_type);
    accept(format!("PUT {url}"), request.send(&image.manifest.bytes[..]))?;
    Ok(image.digest().clone())
}

/// Reads the manifest named by a tag or a digest, as its bytes.
pub fn pull_manifest(registry: &str, repository: &str, reference: &str) -> Result<Vec<u8>, PushError> {
    let url = format!("{registry}/v2/{repository}/manifests/{reference}");
    let types =
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
    let request = format!("GET {url}");
    let answer = accept(request.clone(), agent().get(&url).header("Accept", types).call())?;
    read(request, answer)
}

/// Reads a blob by its digest.
pub fn pull_blob(registry: &str, repository: &str, digest: &str) -> Result<Vec<u8>, PushError> {
    let url = format!("{registry}/v2/{repository}/blobs/{digest}");
    let request = format!("GET {url}");
    let answer = accept(request.clone(), agent().get(&url).call())?;
    read(request, answer)
}

/// Whether the registry answers; the error is what it said instead.
pub(crate) fn ping(registry: &str) -> Result<(), String> {
    let url = format!("{registry}/v2/");
    accept(format!("GET {url}"), agent().get(&url).call())
        .map(drop)
        .map_err(|error| match error {
            PushError::NoAnswer { source, .. } => source.to_string(),
            other => other.to_string(),
        })
}

fn push_blob(agent: &Agent, registry: &str, api: &str, blob: &Blob) -> Result<(), PushError> {
    let known = format!("{api}/blobs/{}", blob.digest);
    if agent
        .head(&known)
        .call()
        .is_ok_and(|answer| answer.status().is_success())
    {
        return Ok(());
    }
    let start = format!("{api}/blobs/uploads/");
    let begun = accept(format!("POST {start}"), agent.post(&start).send_empty())?;
    let location = begun
        .headers()
        .get("Location")
        .and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| PushError::NoLocation {
        request: format!("POST {start}"),
    })?;
    let place = if location.starts_with('/') {
        format!("{registry}{location}")
    } else {
        location.to_owned()
    };
    let joint = if place.contains('?') { '&' } else { '?' };
    let put = agent.put(format!("{place}{joint}digest={}", blob.digest));
    let put = put.header("Content-Type", "application/octet-stream");
    accept(format!("PUT {place}"), put.send(&blob.bytes[..])).map(drop)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(REQUEST))
        .proxy(None);
    config.build().into()
}

fn accept(
    request: String,
    outcome: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, PushError> {
    match outcome {
        Err(source) => Err(PushError::NoAnswer {
            request,
            source: Box::new(source),
        }),
        Ok(answer) if answer.status().is_success() => Ok(answer),
        Ok(mut answer) => {
            let body = answer
                .body_mut()
                .read_to_string()
                .unwrap_or_else(|error| error.to_string());
            Err(PushError::Refused {
                request,
                status: answer.status(),
                body: body.trim().to_owned(),
            })
        }
    }
}

fn read(request: String, mut answer: Response<Body>) -> Result<Vec<u8>, PushError> {
    let body = answer.body_mut().with_config().limit(LARGEST_BLOB).read_to_vec();
    body.map_err(|source| PushError::NoAnswer {
        request,
        source: Box::new(source),
    })
}
