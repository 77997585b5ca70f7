//! The real `fleet-operator` on a real nats-server with thousands of devices, measured:
//! `cargo build --release -p fleet-control-plane && cargo run --release -p fleet-control-plane --example scale -- 10000`.
//!
//! Devices are keys that are written as agents write them; nothing runs. It ends on one line of JSON in the form of the benches.

#![allow(
    clippy::disallowed_methods,
    reason = "it starts the processes that it measures"
)]

mod measure;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use chrono::Utc;
use fleet_protocol::{DeploymentState, DeviceInfo, Heartbeat, Phase, bucket, wire};
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use futures_util::{StreamExt, TryStreamExt, stream};
use measure::{Usage, follow, get};
use serde_json::{Value, json};

/// Deployments, all on every device.
const DEPLOYMENTS: [&str; 3] = ["web", "metrics", "gateway"];
/// Writes on their way at one time.
const AT_ONCE: usize = 256;
/// Changes of the last part, each second.
const CHANGES_PER_SECOND: u64 = 100;
/// How long they go on.
const CHANGING: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(180);

struct Operator {
    child: Child,
    url: String,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Bed {
    server: NatsServer,
    keys: tempfile::TempDir,
    bucket: jetstream::Context,
}

impl Bed {
    async fn start() -> Result<Self> {
        let (operator, all) = (UserKey::generate()?, UserKey::generate()?);
        let options = NatsOptions::default()
            .tls()
            .user(NatsUser::operator(&operator))
            .user(NatsUser::unrestricted(&all));
        let server = NatsServer::start(options)?;
        let keys = tempfile::tempdir()?;
        let mut file = std::fs::File::create(keys.path().join("operator.nk"))?;
        std::io::Write::write_all(&mut file, operator.seed().as_bytes())?;
        let bucket = jetstream::new(server.connect(Some(&all)).await?);
        Ok(Self { server, keys, bucket })
    }

    /// Starts the operator beside this program; gives it and the seconds until it knew everything.
    async fn operator(&self) -> Result<(Operator, f64)> {
        let program = program("fleet-operator")?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?.to_string();
        drop(free);
        let begun = Instant::now();
        let child = Command::new(&program)
            .args([
                "--nats-url",
                &self.server.url(),
                "--listen",
                &address,
                "--log",
                "warn",
            ])
            .arg("--nats-credential")
            .arg(self.keys.path().join("operator.nk"))
            .arg("--nats-ca")
            .arg(self.server.ca_path().context("TLS")?)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{}: build it first", program.display()))?;
        let operator = Operator {
            child,
            url: format!("http://{address}"),
        };
        until(|| get(&operator.url, "/readyz").is_ok_and(|answer| answer.status == 200)).await?;
        Ok((operator, begun.elapsed().as_secs_f64()))
    }

    async fn fill(&self, bucket: bucket::Bucket, entries: Vec<(String, Vec<u8>)>) -> Result<()> {
        stream::iter(entries)
            .map(|(key, value)| async move {
                let sent = self.bucket.publish(bucket.subject(&key), value.into()).await?;
                sent.await?;
                anyhow::Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}

async fn until(mut holds: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !holds() {
        ensure!(begun.elapsed() < PATIENCE, "not within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn info(number: usize) -> Vec<u8> {
    wire::encode(&DeviceInfo {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        agent_version: "0.3.0".into(),
        arch: "arm64".into(),
        os: "Debian GNU/Linux 13 (trixie)".into(),
        kernel: "6.12.48+deb13-arm64".into(),
        podman_version: "5.4.2".into(),
        boot_id: format!("{number:032x}"),
        hostname: id(number),
        memory_mib: 4096,
        data_mib: 24_000,
        labels: [
            ("fleet", "all".to_owned()),
            ("site", format!("site-{}", number % 100)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        health: Vec::new(),
        agent_started_at: Utc::now(),
    })
}

fn heartbeat() -> Vec<u8> {
    wire::encode(&Heartbeat {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        at: Utc::now(),
        uptime_seconds: 1,
        data_free_mib: 1,
        memory_available_mib: 1,
    })
}

fn reported(generation: u64, phase: Phase) -> Vec<u8> {
    wire::encode(&DeploymentState {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        observed_generation: generation,
        phase,
        since: Utc::now(),
        cause: None,
        progress: None,
        running: None,
        next_try_at: None,
        init: None,
        cutover: None,
        crash_loop: None,
        failed_tries: 0,
        marks: Vec::new(),
    })
}

fn id(number: usize) -> String {
    format!("device-{number:05}")
}

/// Applies an image for every device; gives the seconds until the store holds it for each.
async fn apply(operator: &Operator, name: &str, image: &str, devices: usize) -> Result<f64> {
    let body = json!({"spec": {
        "selector": {"labels": {"fleet": "all"}},
        "score": {"podman_v0": {"image": image}},
    }});
    let begun = Instant::now();
    let path = format!("/api/v0/deployments/{name}");
    let answer = measure::put(&operator.url, &path, &body.to_string())?;
    ensure!(answer.status < 300, "{}", answer.text);
    let all = || -> Result<bool> {
        let list: Value =
            serde_json::from_str(&get(&operator.url, &format!("/api/v0/deployments?q={name}"))?.text)?;
        let item = &list["items"][0];
        Ok(item["behind"] == 0 && item["selected"] == devices)
    };
    until(|| all().unwrap_or(false)).await?;
    Ok(begun.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<()> {
    let devices: usize = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    if devices == 0 {
        bail!("at least one device");
    }
    let mut further = serde_json::Map::new();
    let bed = Bed::start().await?;
    let (operator, empty) = bed.operator().await?;
    further.insert("caught_up_empty_s".into(), rounded(empty));

    let numbers = || 0..devices;
    let infos = numbers().map(|n| (id(n), info(n))).collect();
    let bare = Instant::now();
    bed.fill(bucket::DEVICE_INFO, infos).await?;
    further.insert(
        "as_many_bare_writes_s".into(),
        rounded(bare.elapsed().as_secs_f64()),
    );
    let beats = || numbers().map(|n| (id(n), heartbeat())).collect::<Vec<_>>();
    bed.fill(bucket::DEVICE_HEARTBEAT, beats()).await?;
    eprintln!("{devices} devices written");
    until(|| total(&operator) == devices as u64).await?;
    for name in DEPLOYMENTS {
        let seconds = apply(&operator, name, "registry.example/app:1", devices).await?;
        eprintln!("{name} resolved in {seconds:.2} s");
        let keys = numbers().map(|n| (format!("{}.{name}", id(n)), reported(1, Phase::Running)));
        bed.fill(bucket::DEPLOYMENT_STATE, keys.collect()).await?;
    }
    let resolve = apply(&operator, "web", "registry.example/app:2", devices).await?;
    further.insert("resolve_change_s".into(), rounded(resolve));
    let keys = numbers().map(|n| (format!("{}.web", id(n)), reported(2, Phase::Running)));
    let rollout = Usage::begin(operator.child.id())?;
    bed.fill(bucket::DEPLOYMENT_STATE, keys.collect()).await?;
    further.insert("rollout_reports_cpu_s".into(), rounded(rollout.cpu_seconds()?));
    drop(operator);

    bed.fill(bucket::DEVICE_HEARTBEAT, beats()).await?;
    let (operator, caught_up) = bed.operator().await?;
    ensure!(
        total(&operator) == devices as u64,
        "the restarted operator knows all devices"
    );
    further.insert(
        "rss_mib".into(),
        rounded(measure::memory_mib(operator.child.id(), "VmRSS")?),
    );
    further.insert(
        "rss_peak_mib".into(),
        rounded(measure::memory_mib(operator.child.id(), "VmHWM")?),
    );
    for (name, path) in [
        ("first_screen", "/"),
        ("deployment_page", "/deployments/web"),
        ("device_page", "/devices/device-00042"),
        ("filtered_screen", "/?l=site%3Dsite-7&phase=Running"),
        ("metrics", "/metrics"),
    ] {
        let answer = get(&operator.url, path)?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        further.insert(format!("{name}_ms"), rounded(answer.seconds * 1e3));
        further.insert(format!("{name}_kib"), rounded(answer.text.len() as f64 / 1024.0));
    }
    further.insert(
        "fleetctl_get_devices_s".into(),
        rounded(fleetctl(&operator, devices, &["get", "devices"])?),
    );
    further.insert(
        "fleetctl_get_pairs_s".into(),
        rounded(fleetctl(
            &operator,
            devices * DEPLOYMENTS.len(),
            &["get", "pairs"],
        )?),
    );
    bed.fill(bucket::DEVICE_HEARTBEAT, beats()).await?;
    changing(&bed, &operator, devices, &mut further).await?;

    let line = json!({
        "bench": "operator-scale",
        "params": {"devices": devices, "deployments": DEPLOYMENTS.len()},
        "value": rounded(caught_up), "unit": "s", "baseline": null, "ratio": null,
        "goal": "value ≤ 2 s", "met": caught_up <= 2.0,
    });
    let Value::Object(mut line) = line else {
        unreachable!("an object was written")
    };
    line.extend(further);
    println!("{}", Value::Object(line));
    Ok(())
}

/// Devices change, and three clients look.
async fn changing(
    bed: &Bed,
    operator: &Operator,
    devices: usize,
    further: &mut serde_json::Map<String, Value>,
) -> Result<()> {
    let followed = [
        ("live_first_screen", "/live?page=/"),
        ("live_deployment", "/live?page=/deployments/web"),
        ("watch_all", "/api/v0/watch"),
    ];
    let streams = followed.map(|(name, path)| (name, follow(&operator.url, path)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = streams.iter().map(|(_, bytes)| bytes.now()).collect::<Vec<_>>();
    let usage = Usage::begin(operator.child.id())?;
    let begun = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_micros(1_000_000 / CHANGES_PER_SECOND));
    let mut number = 0;
    while begun.elapsed() < CHANGING {
        interval.tick().await;
        number += 1;
        let phase = if (number / devices).is_multiple_of(2) {
            Phase::Starting
        } else {
            Phase::Running
        };
        let key = format!("{}.web", id(number * 7 % devices));
        bed.bucket
            .publish(bucket::DEPLOYMENT_STATE.subject(&key), reported(2, phase).into())
            .await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    further.insert("changes_per_s".into(), rounded(number as f64 / seconds));
    further.insert(
        "changing_cpu_percent".into(),
        rounded(usage.cpu_seconds()? / seconds * 100.0),
    );
    for ((name, bytes), before) in streams.iter().zip(before) {
        let rate = (bytes.now() - before) as f64 / 1024.0 / seconds;
        further.insert(format!("{name}_kib_per_s"), rounded(rate));
    }
    let answer = get(&operator.url, "/")?;
    further.insert(
        "first_screen_while_changing_ms".into(),
        rounded(answer.seconds * 1e3),
    );
    Ok(())
}

fn total(operator: &Operator) -> u64 {
    let text = get(&operator.url, "/api/v0/status")
        .map(|answer| answer.text)
        .unwrap_or_default();
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    status["devices"]["total"].as_u64().unwrap_or_default()
}

fn fleetctl(operator: &Operator, rows: usize, line: &[&str]) -> Result<f64> {
    let begun = Instant::now();
    let output = Command::new(program("fleetctl")?)
        .env("FLEET_SERVER", &operator.url)
        .args(line)
        .output()?;
    let seconds = begun.elapsed().as_secs_f64();
    let shown = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(
        output.status.success() && shown == rows + 1,
        "{line:?}: {shown} lines"
    );
    Ok(seconds)
}

/// A program in the folder of the second argument, else in that above this one.
fn program(name: &str) -> Result<PathBuf> {
    let folder = std::env::args().nth(2).map(PathBuf::from);
    let above = || Some(std::env::current_exe().ok()?.ancestors().nth(2)?.to_owned());
    Ok(folder.or_else(above).context("no folder")?.join(name))
}

fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}
