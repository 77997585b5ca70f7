//! The program itself, as systemd starts it, but without systemd, D-Bus and podman: it must say so and stay.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};
use fleet_host::durable;
use fleet_protocol::{DeviceInfo, bucket, wire};
use fleet_testbed::nats::{NatsOptions, NatsServer, NatsUser, UserKey};
use fleet_testbed::process::{Service, ServiceSpec};

fn put(path: &Path, text: &str) {
    assert!(
        durable::replace(path, text.as_bytes(), 0o600)
            .unwrap()
            .is_changed()
    );
}

fn agent(folder: &Path, args: &[&str], log: &str) -> Service {
    agent_with(folder, args, log, &[])
}

fn agent_with(folder: &Path, args: &[&str], log: &str, variables: &[(&str, &str)]) -> Service {
    let data = folder.join("data").display().to_string();
    let mut all = vec!["--data", &data];
    all.extend(args);
    // The bench of its footprint runs this test on the stripped program.
    let program = std::env::var("FLEET_AGENT_PROGRAM");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_fleet-agent").to_owned());
    let mut spec = ServiceSpec::new("fleet-agent", Path::new(&program), all, &folder.join(log));
    spec.env = vec![
        ("XDG_RUNTIME_DIR".into(), folder.join("run").into()),
        ("HOME".into(), folder.join("data").into()),
    ];
    spec.env
        .extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
    Service::start(spec).unwrap()
}

fn ended(mut service: Service) -> (Option<i32>, String) {
    let began = Instant::now();
    loop {
        if let Some(status) = service.ended().unwrap() {
            return (status.code(), service.log_tail());
        }
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server with buckets, and a device that is enrolled there.
struct Scene {
    folder: tempfile::TempDir,
    js: jetstream::Context,
    key: UserKey,
    _server: NatsServer,
}

async fn scene() -> Scene {
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let (operator, key) = (UserKey::generate().unwrap(), UserKey::generate().unwrap());
    let device = "pi-1".parse().unwrap();
    let options = NatsOptions::default()
        .tls()
        .user(NatsUser::unrestricted(&operator))
        .user(NatsUser::device(&key, &device));
    let server = NatsServer::start(options).unwrap();
    let js = jetstream::new(server.connect(Some(&operator)).await.unwrap());
    for bucket in bucket::ALL {
        let config = kv::Config {
            bucket: bucket.name.to_owned(),
            ..Default::default()
        };
        js.create_key_value(config).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("data/identity");
    put(
        &identity.join("device.toml"),
        &format!("device_id = \"pi-1\"\n[nats]\nurl = \"{}\"\n", server.url()),
    );
    put(&identity.join("nats.nk"), key.seed());
    let ca = std::fs::read_to_string(server.ca_path().unwrap()).unwrap();
    put(&identity.join("ca.pem"), &ca);
    Scene {
        folder,
        js,
        key,
        _server: server,
    }
}

#[tokio::test]
async fn the_program_connects_describes_the_device_answers_status_and_ends_in_order() {
    let Scene {
        folder,
        js,
        key,
        _server,
    } = scene().await;
    let orphan = ".config/containers/systemd/fleet-old.container";
    put(&folder.path().join("data").join(orphan), "[Container]\nImage=a\n");
    let service = agent(folder.path(), &["run"], "agent.log");
    let store = js.get_key_value(bucket::DEVICE_INFO.name).await.unwrap();
    let began = Instant::now();
    let info = loop {
        if let Some(bytes) = store.get("pi-1").await.unwrap() {
            let info: DeviceInfo = wire::decode(&bytes).unwrap();
            break info;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            service.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(info.agent_version, fleet_agent::VERSION);

    // The file is written a little after the fact, so that changes that come together are one write.
    loop {
        let (code, status) = ended(agent(folder.path(), &["status"], "status.log"));
        assert_eq!(code, Some(0), "{status}");
        if status.contains("pi-1") && status.contains("connected for") {
            assert!(
                status.contains("unit-without-record: fleet-old.container"),
                "{status}"
            );
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{status}");
    }
    let (code, config) = ended(agent(folder.path(), &["config", "show"], "config.log"));
    assert_eq!(code, Some(0), "{config}");
    assert!(
        config.contains("nats.credential") && !config.contains(key.seed()),
        "{config}"
    );

    let pid = service.pid();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap_or("Pss: unknown");
    println!("{pss}");
    service.stop(Duration::from_secs(5)).unwrap();
    let (code, status) = ended(agent(folder.path(), &["status"], "records.log"));
    assert_eq!(code, Some(4), "{status}");
    assert!(status.contains("not running"), "{status}");
    assert!(
        status.contains("unit-without-record: fleet-old.container"),
        "{status}"
    );
    assert!(
        folder.path().join("data").join(orphan).exists(),
        "it is told, not removed"
    );
}

/// The fault point that suites on virtual devices use: it fires once, leaves its proof, and the next agent goes on.
#[tokio::test]
async fn a_crash_point_kills_once_and_leaves_its_mark() {
    let Scene {
        folder, js, _server, ..
    } = scene().await;
    let store = js.get_key_value(bucket::DESIRED_STATE.name).await.unwrap();
    let value = r#"{"protocol":0,"generation":1,"score":{"podman_v0":{"image":"r.test/a:1"}}}"#;
    store.put("pi-1.web", value.into()).await.unwrap();
    let crash = [("FLEET_CRASH_AT", "Queued")];
    let (code, log) = ended(agent_with(folder.path(), &["run"], "first.log", &crash));
    assert_eq!(code, None, "it ended by a signal: {log}");
    assert!(folder.path().join("run/fleet-agent/crashed-at-Queued").exists());
    let service = agent_with(folder.path(), &["run"], "second.log", &crash);
    let states = js.get_key_value(bucket::DEPLOYMENT_STATE.name).await.unwrap();
    let began = Instant::now();
    loop {
        // There is no podman here, so a failed pull is as far as it can come.
        let bytes = states.get("pi-1.web").await.unwrap().unwrap_or_default();
        if String::from_utf8_lossy(&bytes).contains("Failed") {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            service.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_crash_point_that_no_agent_comes_to_is_refused_with_those_that_there_are() {
    let Scene { folder, _server, .. } = scene().await;
    let crash = [("FLEET_CRASH_AT", "Quened")];
    let (code, log) = ended(agent_with(folder.path(), &["run"], "agent.log", &crash));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("\"Quened\"") && log.contains("Queued, Queued.begun") && log.contains("Removing.begun"),
        "{log}"
    );
}

#[test]
fn each_exit_code_is_as_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], log: &str| ended(agent(folder.path(), args, log));
    assert_eq!(run(&["--version"], "a").0, Some(0));
    let (code, help) = run(&["--help"], "b");
    assert_eq!((code, help.contains("Exit codes")), (Some(0), true));
    assert_eq!(run(&["fly"], "c").0, Some(2));
    let (code, text) = run(&["run"], "d");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("device.toml"), "{text}");
}
