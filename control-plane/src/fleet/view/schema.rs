//! The shapes of protocol types, for the OpenAPI document only.

#![allow(
    dead_code,
    missing_docs,
    reason = "read by the derive; the protocol crate documents the fields"
)]
use chrono::{DateTime, Utc};
use utoipa::ToSchema;

/// A stable word for programs and a sentence for people.
#[derive(ToSchema)]
pub struct Cause {
    kind: String,
    detail: String,
    exit: Option<Exit>,
    init: Option<String>,
    /// Whatever the container wrote: not safe to show as it is.
    log: Option<Vec<String>>,
}

/// How a process ended.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Exit {
    Status(i32),
    Signal(i32),
}

/// The end of a log.
#[derive(ToSchema)]
pub struct LogChunk {
    /// `web`, or `web.migrate` for an init container.
    source: String,
    /// By the device's clock.
    captured_at: DateTime<Utc>,
    /// The oldest first. Whatever the container wrote: not safe to show as it is.
    lines: Vec<String>,
    /// There were more lines before these.
    truncated: bool,
}

/// Where a row of init containers is.
#[derive(ToSchema)]
pub struct InitProgress {
    name: String,
    step: u32,
    of: u32,
}

/// How one version took the place of another.
#[derive(ToSchema)]
pub struct Cutover {
    from_generation: u64,
    stop_millis: u64,
    down_millis: u64,
}

/// A container that ends again and again.
#[derive(ToSchema)]
pub struct CrashLoop {
    restarts: u32,
    next_restart_at: Option<DateTime<Utc>>,
}

/// How far a pull is.
#[derive(ToSchema)]
pub struct PullProgress {
    layers_done: u32,
    layers_total: u32,
    bytes: Option<u64>,
}

/// What runs.
#[derive(ToSchema)]
pub struct Running {
    generation: u64,
    image: String,
    digest: Option<String>,
    unit: String,
    invocation_id: String,
    started_at: DateTime<Utc>,
}

/// When a phase was entered.
#[derive(ToSchema)]
pub struct PhaseMark {
    phase: String,
    at: DateTime<Utc>,
}
