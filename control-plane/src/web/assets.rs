//! Files of the dashboard, inside the binary. Their names hold a hash of their content, so a browser keeps them for ever
//! and never shows an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

struct Asset {
    path: String,
    content_type: &'static str,
    body: &'static [u8],
}

/// FNV-1a, 64 bits: names a content, guards nothing.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn asset(stem: &str, extension: &str, content_type: &'static str, body: &'static [u8]) -> Asset {
    Asset {
        path: format!("/assets/{stem}-{:016x}.{extension}", hash(body)),
        content_type,
        body,
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let body = include_bytes!("../../assets/style.css");
    asset("style", "css", "text/css; charset=utf-8", body)
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let body = include_bytes!("../../assets/live.js");
    asset("live", "js", "text/javascript; charset=utf-8", body)
});
static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let body = include_bytes!("../../assets/icon.svg");
    asset("icon", "svg", "image/svg+xml", body)
});

pub(super) fn style() -> &'static str {
    &STYLE.path
}

pub(super) fn script() -> &'static str {
    &SCRIPT.path
}

pub(super) fn icon() -> &'static str {
    &ICON.path
}

/// Paths of all assets, for tests and for a proxy's warm-up.
#[must_use]
pub fn asset_paths() -> [&'static str; 3] {
    [style(), script(), icon()]
}

/// Names this build's assets: a page that was loaded from another build reloads itself once.
pub(super) fn build() -> String {
    format!("{:016x}", hash(asset_paths().join(" ").as_bytes()))
}

pub(super) async fn serve(Path(file): Path<String>) -> Response {
    let wanted = format!("/assets/{file}");
    match [&*STYLE, &*SCRIPT, &*ICON]
        .into_iter()
        .find(|asset| asset.path == wanted)
    {
        Some(asset) => send(asset),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn favicon() -> Response {
    send(&ICON)
}

fn send(asset: &'static Asset) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.body).into_response()
}
