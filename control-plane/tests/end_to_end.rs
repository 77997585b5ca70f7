//! The real `fleetctl` against the real `fleet-operator` on a real nats-server with one simulated device: what a person does
//! on the first day, from `apply` to `delete`.

#![allow(
    clippy::disallowed_methods,
    reason = "the processes are those that a person starts"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fleet_control_plane::clock::Clock;
use fleet_control_plane::sim::{Behaviour, SimOptions, Simulation};
use fleet_protocol::bucket;
use support::{Bed, until, until_keys};

/// The operator's process; it goes with the test.
struct OperatorProcess {
    child: Child,
    url: String,
}

impl OperatorProcess {
    fn start(bed: &Bed) -> Self {
        // A process is told its port, so it has to be chosen first.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_fleet-operator"))
            .arg("--nats-url")
            .arg(bed.server.url())
            .arg("--nats-credential")
            .arg(bed.keys.path().join("operator.nk"))
            .arg("--nats-ca")
            .arg(bed.server.ca_path().expect("the server speaks TLS"))
            .arg("--listen")
            .arg(address.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("fleet-operator starts");
        let url = format!("http://{address}");
        Self { child, url }
    }

    /// One command line, with what is on its standard input.
    async fn ctl(&self, line: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetctl"));
        command
            .env("FLEET_SERVER", &self.url)
            .args(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        let run = move || {
            let mut child = command.spawn().expect("fleetctl starts");
            let mut stdin = child.stdin.take().expect("it was asked for");
            // One that reads nothing may have ended already.
            stdin.write_all(input.as_bytes()).ok();
            drop(stdin);
            child.wait_with_output().expect("it ends")
        };
        tokio::task::spawn_blocking(run).await.expect("the call ends")
    }

    /// What it printed; it must end well.
    async fn shown(&self, line: &[&str], input: &str) -> String {
        let output = self.ctl(line, input).await;
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{line:?}: {out}\n{err}");
        out
    }
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn one_device(bed: &Bed) -> SimOptions {
    SimOptions {
        devices: 1,
        prefix: "sim".to_owned(),
        labels: BTreeMap::from([("site".to_owned(), "lyon".to_owned())]),
        connect: bed.connect_options("all"),
        credentials: None,
        per_connection: 100,
        behaviour: Behaviour {
            latency: Duration::from_millis(50),
            ..Behaviour::default()
        },
    }
}

fn held(holds: bool, otherwise: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_apply_to_delete_with_the_real_programs() {
    let bed = Bed::start();
    let operator = OperatorProcess::start(&bed);
    until("the operator answers and knows the whole fleet", || async {
        let output = operator.ctl(&["get", "deployments"], "").await;
        let err = text(&output.stderr);
        held(output.status.success() && !err.contains("recovering"), err)
    })
    .await;
    let simulation = Simulation::start(&one_device(&bed), &Clock::system())
        .await
        .expect("usable options");
    until("the device is online", || async {
        let line = ["get", "devices", "--state", "Online", "-o", "name"];
        let out = text(&operator.ctl(&line, "").await.stdout);
        held(out == "device/sim-0001\n", out)
    })
    .await;

    let manifest = operator.shown(&["example"], "").await;
    let applied = operator.shown(&["apply", "-f", "-"], &manifest).await;
    assert!(applied.contains("deployment/web created"), "{applied}");
    let follow = ["rollout", "status", "deployment", "web", "--timeout", "30s"];
    let rolled = operator.shown(&follow, "").await;
    assert!(rolled.contains("generation 1 runs on 1 of 1 device"), "{rolled}");
    let line = ["get", "pairs", "-l", "site=lyon", "-o", "name"];
    assert_eq!(operator.shown(&line, "").await, "pair/web/sim-0001\n");
    let described = operator.shown(&["describe", "pair", "web/sim-0001"], "").await;
    assert!(
        described.contains("Running") && described.contains("docker.io/library/nginx:1.27"),
        "{described}"
    );

    let deleted = operator.shown(&["delete", "deployment", "web"], "").await;
    assert!(deleted.contains("deployment/web deleted"), "{deleted}");
    let looker = bed.looker().await;
    until_keys(&looker, bucket::DEPLOYMENT_STATE, &[]).await;
    until("nothing is left of it", || async {
        let output = operator.ctl(&["describe", "deployment", "web"], "").await;
        held(output.status.code() == Some(3), text(&output.stdout))
    })
    .await;
    let events = operator.shown(&["events", "--about", "deployment/web"], "").await;
    assert!(
        events.contains("deployment-created") && events.contains("deployment-deleted"),
        "{events}"
    );
    simulation.close().await;
}

/// Sends a change, and goes without waiting for the answer.
fn throw(url: &str, name: &str) -> std::net::TcpStream {
    let address = url.strip_prefix("http://").expect("http");
    let body = serde_json::to_string(&support::web("lyon", "reg.example/app:1")).expect("JSON");
    let mut stream = std::net::TcpStream::connect(address).expect("the operator listens");
    write!(
        stream,
        "PUT /api/v0/deployments/{name} HTTP/1.1\r\nhost: {address}\r\nx-fleet-actor: ada\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_told_to_end_in_the_midst_of_changes_leaves_none_without_its_line() {
    let bed = Bed::start();
    let mut operator = OperatorProcess::start(&bed);
    until("the operator knows the whole fleet", || async {
        let output = operator.ctl(&["get", "deployments"], "").await;
        held(output.status.success(), text(&output.stderr))
    })
    .await;
    let looker = bed.looker().await;
    let deployments = support::kv(&looker, bucket::DEPLOYMENTS).await;
    let mut callers = Vec::new();
    for number in 0..60 {
        callers.push(throw(&operator.url, &format!("app-{number}")));
    }
    until("the first change is in the store", || async {
        held(
            deployments.get("app-0").await.expect("readable").is_some(),
            String::new(),
        )
    })
    .await;
    let process = operator.child.id().to_string();
    let told = Command::new("kill")
        .args(["-TERM", &process])
        .status()
        .expect("kill runs");
    // All callers hang up: none is left whose answer the server would wait for.
    drop(callers);
    assert!(told.success());
    tokio::task::spawn_blocking(move || operator.child.wait().expect("it ends"))
        .await
        .expect("no panic");

    let made = support::keys(&looker, bucket::DEPLOYMENTS).await;
    let history = looker
        .get_stream(fleet_protocol::event::STREAM)
        .await
        .expect("it is there");
    let last = history.cached_info().state.last_sequence;
    let mut told = Vec::new();
    for sequence in 1..=last {
        let message = history.get_raw_message(sequence).await.expect("readable");
        let event: fleet_protocol::event::FleetEvent =
            serde_json::from_slice(&message.payload).expect("an event");
        if event.actor == "ada" {
            told.push(event.subject.replace("deployment/", ""));
        }
    }
    told.sort();
    assert!(!made.is_empty());
    assert_eq!(made, told, "one line for each change that was made");
}
