//! Requests with their time and size, streams with their bytes, and what a process uses.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second, on every Linux that we run on.
const TICKS: f64 = 100.0;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) seconds: f64,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

fn answer(call: impl FnOnce() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
    let begun = Instant::now();
    let mut response = call()?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Answer {
        status,
        text,
        seconds,
    })
}

pub(crate) fn get(server: &str, path: &str) -> Result<Answer> {
    answer(|| agent().get(format!("{server}{path}")).call())
}

pub(crate) fn put(server: &str, path: &str, body: &str) -> Result<Answer> {
    answer(|| agent().put(format!("{server}{path}")).send(body))
}

/// The bytes that came over a stream so far.
pub(crate) struct Bytes(Arc<AtomicU64>);

impl Bytes {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads a stream in a thread that ends with the process.
pub(crate) fn follow(server: &str, path: &str) -> Bytes {
    let bytes = Arc::new(AtomicU64::new(0));
    let (count, url) = (Arc::clone(&bytes), format!("{server}{path}"));
    std::thread::spawn(move || {
        let Ok(response) = agent().get(url).call() else {
            return;
        };
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
    });
    Bytes(bytes)
}

/// A line of `/proc/PID/status`, in MiB.
pub(crate) fn memory_mib(process: u32, line: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let found = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib: f64 = found
        .and_then(|text| text.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(|| format!("no {line}"))?;
    Ok(kib / 1024.0)
}

/// The processor's time that a process used since this was begun.
pub(crate) struct Usage {
    process: u32,
    begun: f64,
}

impl Usage {
    pub(crate) fn begin(process: u32) -> Result<Self> {
        Ok(Self {
            process,
            begun: used(process)?,
        })
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        Ok(used(self.process)? - self.begun)
    }
}

fn used(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before it may hold anything, also blanks.
    let fields = stat
        .rsplit_once(')')
        .context("no stat")?
        .1
        .split_whitespace()
        .collect::<Vec<_>>();
    let ticks: f64 = fields.get(11).context("no utime")?.parse::<f64>()?
        + fields.get(12).context("no stime")?.parse::<f64>()?;
    Ok(ticks / TICKS)
}
