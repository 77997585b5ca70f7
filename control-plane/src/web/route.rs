//! Addresses to pages. One parser serves plain requests and `/live`, so both always show the same.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use fleet_protocol::logs::LogChunk;
use serde::de::DeserializeOwned;

use super::page::{self, Body, DeviceFilter, EventFilter, LogsFilter, Thing};
use super::source::{Source, SourceError};
use crate::api::RETRY_AFTER;
use crate::deploy::companion::logs::LogQueryError;

/// A page of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Fleet(DeviceFilter),
    Device(String),
    Deployments,
    Deployment(String),
    Pair {
        deployment: String,
        device: String,
    },
    Logs {
        deployment: String,
        device: String,
        filter: LogsFilter,
    },
    Events(EventFilter),
}

impl Page {
    /// Reads path and query. `None` is no page; what a query holds beyond the known is ignored.
    pub(super) fn parse(uri: &Uri) -> Option<Self> {
        let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
        let page = match parts.as_slice() {
            [""] => Self::Fleet(query(uri)),
            ["devices", id] => Self::Device((*id).to_owned()),
            ["deployments"] => Self::Deployments,
            ["deployments", name] => Self::Deployment((*name).to_owned()),
            ["deployments", name, "devices", id] => Self::Pair {
                deployment: (*name).to_owned(),
                device: (*id).to_owned(),
            },
            ["deployments", name, "devices", id, "logs"] => Self::Logs {
                deployment: (*name).to_owned(),
                device: (*id).to_owned(),
                filter: query(uri),
            },
            ["events"] => Self::Events(query(uri)),
            _ => return None,
        };
        Some(page)
    }

    /// What this page is about, when the views do not have it.
    fn lacking(&self, source: &dyn Source) -> Option<Thing> {
        match self {
            Self::Device(id) => source.device(id).is_none().then(|| Thing::Device(id.clone())),
            Self::Deployment(name) => source
                .deployment(name)
                .is_none()
                .then(|| Thing::Deployment(name.clone())),
            Self::Pair { deployment, device }
            | Self::Logs {
                deployment, device, ..
            } => source.pair(deployment, device).is_none().then(|| Thing::Pair {
                deployment: deployment.clone(),
                device: device.clone(),
            }),
            Self::Fleet(_) | Self::Deployments | Self::Events(_) => None,
        }
    }

    /// What has to be asked of a device for this page; nothing for the others, or where it would be in vain.
    pub(super) async fn gather(&self, source: &dyn Source) -> Option<Gathered> {
        let Self::Logs {
            deployment,
            device,
            filter,
        } = self
        else {
            return None;
        };
        source.pair(deployment, device)?;
        let of = filter.of(deployment, device)?;
        Some(source.logs(of, filter.lines() as usize).await.into())
    }

    /// The page's content at this moment, with what was gathered for it.
    pub(super) async fn body(
        &self,
        source: &dyn Source,
        gathered: Option<&Gathered>,
        now: DateTime<Utc>,
    ) -> Body {
        // Read first: what a whole view lacked is missing, whatever began anew since.
        let recovery = source.recovery();
        if !page::is_whole(&recovery)
            && let Some(thing) = self.lacking(source)
        {
            return page::not_known_yet(&thing).with_recovery(&recovery, now);
        }
        let result = match self {
            Self::Fleet(filter) => source
                .devices(&filter.query())
                .map(|list| page::fleet(&source.status(), &list, filter, now)),
            Self::Device(id) => Ok(source
                .device(id)
                .map_or_else(|| page::no_device(id), |view| page::device(&view, now))),
            Self::Deployments => source
                .deployments(&crate::api::types::ListQuery::default())
                .map(|list| page::deployments(&list, now)),
            Self::Deployment(name) => Ok(source
                .deployment(name)
                .map_or_else(|| page::no_deployment(name), |view| page::deployment(&view, now))),
            Self::Pair { deployment, device } => Ok(source.pair(deployment, device).map_or_else(
                || page::no_pair(deployment, device),
                |view| page::pair(&view, now),
            )),
            Self::Logs {
                deployment,
                device,
                filter,
            } => Ok(match (source.pair(deployment, device), gathered) {
                (None, _) => page::no_pair(deployment, device),
                (Some(_), None) => page::not_asked_yet(deployment, device),
                (Some(view), Some(answer)) => page::logs(&view, filter, answer, now),
            }),
            Self::Events(filter) => source
                .events(filter.query())
                .await
                .map(|list| page::events(&list, filter, now).with_note(list.detail.as_deref())),
        };
        let body = result.unwrap_or_else(|error| match error {
            SourceError::BadQuery(why) => page::bad_query(&why),
            SourceError::Unavailable(why) => page::unavailable(&why),
        });
        body.with_recovery(&recovery, now)
    }
}

/// What a device was asked for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gathered {
    /// Its answer.
    Lines(LogChunk),
    /// An earlier answer, and why there is no newer one.
    Old(LogChunk, LogQueryError),
    /// Why there never was one.
    Nothing(LogQueryError),
}

impl From<Result<LogChunk, LogQueryError>> for Gathered {
    fn from(answer: Result<LogChunk, LogQueryError>) -> Self {
        match answer {
            Ok(chunk) => Self::Lines(chunk),
            Err(error) => Self::Nothing(error),
        }
    }
}

/// An unreadable query is an empty one: a mistyped address still shows a page.
fn query<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| T::default(), |query| query.0)
}

/// Answers a plain request for any page.
pub(super) async fn show(State(source): State<Arc<dyn Source>>, OriginalUri(uri): OriginalUri) -> Response {
    let Some(page) = Page::parse(&uri) else {
        return not_found(uri).await;
    };
    let gathered = page.gather(source.as_ref()).await;
    let body = page.body(source.as_ref(), gathered.as_ref(), source.now()).await;
    let mut response = (body.status, page::whole(&body, &uri)).into_response();
    if body.status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

/// The page for an address that is none: the fallback of the whole server.
pub async fn not_found(uri: Uri) -> Response {
    let body = page::no_page(uri.path());
    let response = (StatusCode::NOT_FOUND, page::whole(&body, &uri)).into_response();
    super::with_headers(response).await
}
