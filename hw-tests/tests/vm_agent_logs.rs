//! What containers said, asked for over NATS, on the booted device: real conmon, real journald, and what happens to its files.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fleet_hw_tests::site::{Answer, LogDesk, Trial, score};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::logs::{LogChunk, LogRequest, MAX_LINE};
use fleet_protocol::{Phase, Score};
use serde_json::json;

const DEPLOY: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(120);
/// An answer that takes longer than this is late, also on a device that shares its cores.
const ANSWER: Duration = Duration::from_secs(9);
/// Prints a line a second, for ever.
const TICKS: &str = "n=0; while :; do n=$((n + 1)); echo tick $n; sleep 1; done";

/// A container that runs this script.
fn says(script: &str, restart: &str) -> Score {
    score(
        "sample-shell:1",
        json!({ "args": ["-c", script], "restart": restart }),
    )
}

fn last(lines: u32) -> LogRequest {
    LogRequest {
        lines,
        ..LogRequest::default()
    }
}

fn previous() -> LogRequest {
    LogRequest {
        previous: true,
        ..LogRequest::default()
    }
}

fn of_init(name: &str) -> LogRequest {
    LogRequest {
        init: Some(name.to_owned()),
        ..LogRequest::default()
    }
}

/// An init container that runs this script.
fn init(name: &str, script: &str) -> serde_json::Value {
    let image = format!("{}/sample-shell:1", Service::Registry.device_address());
    json!({ "name": name, "image": image, "args": ["-c", script] })
}

fn desk(trial: &Trial) -> Result<LogDesk> {
    Ok(LogDesk::connect(&trial.site.nats, &trial.site.keys.tester)?)
}

/// The answer to one question, which must be a chunk and in time.
fn ask(desk: &LogDesk, deployment: &str, request: &LogRequest) -> Result<LogChunk> {
    let (answer, took) = desk.ask(deployment, request);
    ensure!(took < ANSWER, "{deployment} took {took:.1?}");
    answer
        .chunk()
        .map_err(|other| anyhow!("{deployment} {request:?}: {other:?}"))
}

/// Asks until the chunk is as `wanted` says.
fn until(
    desk: &LogDesk,
    deployment: &str,
    request: &LogRequest,
    what: &str,
    wanted: impl Fn(&LogChunk) -> bool,
) -> Result<LogChunk> {
    let begin = Instant::now();
    loop {
        let (answer, _) = desk.ask(deployment, request);
        if let Answer::Chunk(chunk) = &answer
            && wanted(chunk)
        {
            return Ok(chunk.clone());
        }
        ensure!(
            begin.elapsed() < SOON,
            "{deployment}: not {what}; last answer: {answer:?}"
        );
        // Nothing tells when a container has written.
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn refused(desk: &LogDesk, deployment: &str, request: &LogRequest, kind: &str) -> Result<()> {
    match desk.ask(deployment, request).0 {
        Answer::Refused(cause) if cause.kind == kind => Ok(()),
        other => Err(anyhow!("{deployment}: not {kind} but {other:?}")),
    }
}

#[test]
fn the_end_of_a_log_comes_as_it_was_written_also_when_the_container_is_gone() -> Result<()> {
    Trial::run("logs-end", |trial| {
        let desk = desk(trial)?;
        let many = "for n in $(/bin/busybox seq 1000); do echo line $n; done; echo end >&2; sleep 100000";
        trial.kv.desire("many", 1, says(many, "never"))?;
        let odd = "/bin/busybox head -c 1048576 /dev/zero | /bin/busybox tr '\\000' x; echo; \
                   /bin/busybox printf '\\033[31mred\\033[0m <script>alert(1)</script> \\377\\n'; \
                   /bin/busybox printf 'no end'; sleep 1; exit 4";
        trial.kv.desire("odd", 1, says(odd, "never"))?;
        trial.kv.wait_for_phase("many", 1, &Phase::Running, DEPLOY)?;
        let whole = |chunk: &LogChunk| chunk.lines.iter().any(|line| line == "end");
        let chunk = until(&desk, "many", &last(5000), "whole", whole)?;
        let mut lines = chunk.lines.clone();
        lines.retain(|line| line != "end");
        let written: Vec<String> = (1..=1000).map(|n| format!("line {n}")).collect();
        ensure!(lines == written, "{} lines", lines.len());
        ensure!(!chunk.truncated && chunk.source.as_str() == "many");
        let chunk = ask(&desk, "many", &last(200))?;
        ensure!(
            chunk.lines.len() == 200 && chunk.truncated,
            "{} lines",
            chunk.lines.len()
        );
        let timed = LogRequest {
            timestamps: true,
            ..last(1)
        };
        let line = ask(&desk, "many", &timed)?.lines.concat();
        ensure!(line.len() > 25 && &line[23..25] == "Z ", "{line}");

        let ended = |chunk: &LogChunk| chunk.lines.iter().any(|line| line == "no end");
        let chunk = until(&desk, "odd", &last(10), "ended", ended)?;
        ensure!(
            chunk.lines.len() == 3 && !chunk.truncated,
            "{:?}",
            chunk.lines.len()
        );
        ensure!(chunk.lines[0].len() <= MAX_LINE && chunk.lines[0].ends_with("xx…"));
        let red = "\u{1b}[31mred\u{1b}[0m <script>alert(1)</script> \u{fffd}";
        ensure!(chunk.lines[1] == red, "{:?}", chunk.lines[1]);

        // The container is removed under systemd's feet, and the agent is a new one.
        trial.fleet("podman rm --force --time 0 fleet-many")?;
        let (agent, _) = trial.agent()?;
        trial.kill_agent()?;
        trial.wait_for_next_agent(&agent, SOON)?;
        let chunk = until(&desk, "many", &last(200), "answered", |_| true)?;
        ensure!(chunk.lines.len() == 200 && chunk.truncated);
        ensure!(
            trial
                .fleet("podman ps --all --format '{{.Names}}'")?
                .trim()
                .is_empty()
        );
        refused(&desk, "many", &previous(), "logs-no-previous")?;
        refused(&desk, "nothing", &last(1), "logs-unknown-deployment")?;
        Ok(())
    })
}

#[test]
fn an_init_container_has_a_log_of_its_own() -> Result<()> {
    Trial::run("logs-init", |trial| {
        let desk = desk(trial)?;
        let inits = [
            init("migrate", "echo migrated; exit 0"),
            init("seed", "echo no seeds >&2; exit 7"),
        ];
        let args = ["-c", "echo serving; sleep 100000"];
        let score = score(
            "sample-shell:1",
            json!({ "args": args, "init_containers": inits }),
        );
        trial.kv.desire("web", 1, score)?;
        let chunk = until(&desk, "web", &of_init("migrate"), "migrated", |chunk| {
            !chunk.lines.is_empty()
        })?;
        ensure!(
            chunk.lines == ["migrated"] && !chunk.truncated && chunk.source.as_str() == "web.migrate",
            "{chunk:?}"
        );
        let chunk = until(&desk, "web", &of_init("seed"), "failing", |chunk| {
            !chunk.lines.is_empty()
        })?;
        ensure!(chunk.lines == ["no seeds"], "{chunk:?}");
        let chunk = ask(&desk, "web", &last(10))?;
        ensure!(
            chunk.lines.is_empty(),
            "the main container did not start: {chunk:?}"
        );
        refused(&desk, "web", &of_init("nobody"), "logs-unknown-init")
    })
}

#[test]
fn each_run_of_a_crash_loop_has_its_own_words() -> Result<()> {
    Trial::run("logs-crash", |trial| {
        let desk = desk(trial)?;
        let crash = "echo run $(cat /proc/sys/kernel/random/uuid); exit 3";
        trial.kv.desire("crash", 1, says(crash, "always"))?;
        trial.kv.desire("ghost", 1, score("no-such-image:1", json!({})))?;
        let of_run = |chunk: &LogChunk| chunk.lines.len() == 1 && chunk.lines[0].starts_with("run ");
        let first = until(&desk, "crash", &last(10), "its first run", of_run)?;
        let next = until(&desk, "crash", &last(10), "its next run", |chunk| {
            of_run(chunk) && chunk.lines != first.lines
        })?;
        let seen = until(&desk, "crash", &previous(), "the run before", |chunk| {
            of_run(chunk) && chunk.lines != first.lines
        })?;
        ensure!(!next.truncated && !seen.truncated, "{next:?} {seen:?}");

        trial.kv.wait_for_cause("ghost", "image-not-found", DEPLOY)?;
        let nothing = ask(&desk, "ghost", &last(10))?;
        ensure!(nothing.lines.is_empty() && !nothing.truncated, "{nothing:?}");
        Ok(())
    })
}

/// What journald lost is lost: that is said at once, and nothing stale is shown in its place.
#[test]
fn a_journal_that_lost_its_files_is_told_and_recovers() -> Result<()> {
    Trial::run("logs-lost", |trial| {
        let desk = desk(trial)?;
        trial.kv.desire("ticks", 1, says(TICKS, "always"))?;
        trial
            .kv
            .desire("quiet", 1, says("echo once; sleep 100000", "always"))?;
        let migrate = init("migrate", "echo no table >&2; exit 7");
        let args = ["-c", "echo serving; sleep 100000"];
        let inits = json!({ "args": args, "init_containers": [migrate] });
        trial.kv.desire("inits", 1, score("sample-shell:1", inits))?;
        trial.kv.wait_for_phase("ticks", 1, &Phase::Running, DEPLOY)?;
        trial.kv.wait_for_phase("quiet", 1, &Phase::Running, DEPLOY)?;
        trial.kv.wait_for_cause("inits", "init-failed", DEPLOY)?;
        let from_the_first = |chunk: &LogChunk| chunk.lines.first().is_some_and(|line| line == "tick 1");
        let chunk = until(&desk, "ticks", &last(5000), "ticking", |chunk| {
            chunk.lines.len() > 3
        })?;
        ensure!(from_the_first(&chunk) && !chunk.truncated, "{chunk:?}");
        let chunk = ask(&desk, "quiet", &last(10))?;
        ensure!(chunk.lines == ["once"] && !chunk.truncated, "{chunk:?}");

        trial.root("sleep 2; journalctl --rotate --vacuum-time=1s")?;
        let lost = |chunk: &LogChunk| chunk.truncated && !from_the_first(chunk);
        let chunk = until(&desk, "ticks", &last(5000), "cut", |chunk| {
            lost(chunk) && !chunk.lines.is_empty()
        })?;
        eprintln!("{} lines after the vacuum", chunk.lines.len());
        let lost_whole = |chunk: &LogChunk| chunk.lines.is_empty() && chunk.truncated;
        let chunk = ask(&desk, "quiet", &last(10))?;
        ensure!(lost_whole(&chunk), "{chunk:?}");
        refused(&desk, "quiet", &previous(), "logs-no-previous")?;
        // It is tried again with growing pauses: each run that has words is lost anew until the answer is seen between two runs.
        let begin = Instant::now();
        while !lost_whole(&ask(&desk, "inits", &of_init("migrate"))?) {
            ensure!(
                begin.elapsed() < SOON,
                "the lost log of an init container is not told"
            );
            trial.root("sleep 2; journalctl --rotate --vacuum-time=1s")?;
        }
        let chunk = ask(&desk, "inits", &last(10))?;
        ensure!(
            chunk.lines.is_empty() && !chunk.truncated,
            "the main container never ran: {chunk:?}"
        );

        trial.root("rm -rf /run/log/journal/*/*")?;
        let chunk = ask(&desk, "ticks", &last(5000))?;
        ensure!(lost(&chunk), "{chunk:?}");
        // journald notices within seconds that it writes into a file without a name, and makes a new one.
        let chunk = until(&desk, "ticks", &last(5000), "ticking again", |chunk| {
            chunk.lines.len() > 2
        })?;
        ensure!(lost(&chunk), "{chunk:?}");
        Ok(())
    })
}

#[test]
fn nobody_speaks_for_another_deployment() -> Result<()> {
    Trial::run("logs-forged", |trial| {
        let desk = desk(trial)?;
        trial
            .kv
            .desire("victim", 1, says("echo honest; sleep 100000", "always"))?;
        trial.kv.wait_for_phase("victim", 1, &Phase::Running, DEPLOY)?;
        until(&desk, "victim", &last(10), "speaking", |chunk| {
            chunk.lines == ["honest"]
        })?;
        let id = trial.fleet("podman inspect --format '{{.Id}}' fleet-victim")?;
        let entry = format!(
            "MESSAGE=forged\nPRIORITY=6\nCONTAINER_NAME=fleet-victim\nCONTAINER_ID_FULL={id}\n\
             _SYSTEMD_USER_UNIT=fleet-victim.service\n"
        );
        trial.rig.put_file("/tmp/entry", entry.as_bytes(), SOON)?;
        // As another unit of the same user, and as root: both say all that conmon says.
        trial.fleet(
            "systemd-run --user --wait --quiet --unit=fleet-other sh -c 'logger --journald < /tmp/entry'",
        )?;
        trial.root("logger --journald < /tmp/entry")?;
        let forged =
            trial.root("journalctl --quiet --output=cat CONTAINER_NAME=fleet-victim | grep -c forged")?;
        ensure!(forged == "2", "the fault does not fire: {forged}");
        let chunk = ask(&desk, "victim", &last(10))?;
        ensure!(chunk.lines == ["honest"], "{chunk:?}");
        Ok(())
    })
}

#[test]
fn of_a_device_without_a_connection_the_server_says_at_once_that_nobody_is_there() -> Result<()> {
    Trial::run("logs-offline", |trial| {
        let desk = desk(trial)?;
        trial.kv.desire("ticks", 1, says(TICKS, "always"))?;
        trial.kv.wait_for_phase("ticks", 1, &Phase::Running, DEPLOY)?;
        until(&desk, "ticks", &last(10), "ticking", |chunk| {
            !chunk.lines.is_empty()
        })?;
        trial.rig.way_to(Service::Nats).set_weather(Weather::Refusing);
        let begin = Instant::now();
        let (answer, took) = loop {
            let answered = desk.ask("ticks", &last(10));
            if answered.0 == Answer::NobodyThere || begin.elapsed() > SOON {
                break answered;
            }
        };
        ensure!(answer == Answer::NobodyThere, "{answer:?}");
        ensure!(took < Duration::from_secs(1), "at once is not {took:?}");
        trial.rig.way_to(Service::Nats).set_weather(Weather::Clear);
        until(&desk, "ticks", &last(10), "back", |chunk| !chunk.lines.is_empty())
            .context("the device came back")?;
        Ok(())
    })
}
