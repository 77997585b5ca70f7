//! Addresses to pages. One parser serves plain requests and `/live`, so both always show the same.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::page::{self, Body, DeviceFilter, EventFilter};
use super::source::{Source, SourceError};

/// A page of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Fleet(DeviceFilter),
    Device(String),
    Deployments,
    Deployment(String),
    Pair { deployment: String, device: String },
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
            ["events"] => Self::Events(query(uri)),
            _ => return None,
        };
        Some(page)
    }

    /// The page's content at this moment.
    pub(super) async fn body(&self, source: &dyn Source, now: DateTime<Utc>) -> Body {
        let recovery = source.recovery();
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

/// An unreadable query is an empty one: a mistyped address still shows a page.
fn query<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| T::default(), |query| query.0)
}

/// Answers a plain request for any page.
pub(super) async fn show(State(source): State<Arc<dyn Source>>, OriginalUri(uri): OriginalUri) -> Response {
    let Some(page) = Page::parse(&uri) else {
        return not_found(uri).await;
    };
    let body = page.body(source.as_ref(), source.now()).await;
    let status = body.status;
    (status, page::whole(&body, &uri)).into_response()
}

/// The page for an address that is none: the fallback of the whole server.
pub async fn not_found(uri: Uri) -> Response {
    let body = page::no_page(uri.path());
    let response = (StatusCode::NOT_FOUND, page::whole(&body, &uri)).into_response();
    super::with_headers(response).await
}
