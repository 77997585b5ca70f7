//! Upgrades on the booted device: from version to version with every failure in between, told with its stable kind and its reason,
//! never back to an old image, and on with the next specification.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleet_hw_tests::site::{PageWatch, Trial, Version, come_back, score};
use fleet_hw_tests::{Rig, Service, Weather};
use fleet_protocol::cause::Exit;
use fleet_protocol::{DeploymentState, Phase, Score};
use serde_json::{Value, json};

const DEPLOY: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(120);
/// Polling and a request's own time, and the time that a program takes from its start to its first answer, on a busy machine.
const SLACK: u64 = 3_000;

/// Asks for `version`, waits until it runs and answers, and gives the state.
fn roll_to(trial: &Trial, generation: u64, version: &Version, more: Value) -> Result<DeploymentState> {
    trial.kv.desire("web", generation, version.score(more))?;
    let state = trial
        .kv
        .wait_for_phase("web", generation, &Phase::Running, DEPLOY)?;
    trial.wait_for_page(&version.line(), SOON)?;
    let running = state.running.as_ref().context("it says what runs")?;
    ensure!(running.image.ends_with(&version.name()), "{running:?}");
    ensure!(state.cause.is_none(), "{state:?}");
    Ok(state)
}

/// Asks for what can't be had: the failure is told with its kind, and so is that the old version serves, which nobody touched.
fn require_old_serves(
    trial: &mut Trial,
    generation: u64,
    wish: Score,
    kind: &str,
    old: (u64, &Version),
) -> Result<()> {
    let before = trial.invocation("web")?;
    trial.kv.desire("web", generation, wish)?;
    let state = trial.kv.wait_for_state("web", kind, SOON, |state| {
        let cause = state.cause.as_ref();
        state.observed_generation == generation && cause.is_some_and(|cause| cause.kind == kind)
    })?;
    let cause = state.cause.context("it has a cause")?;
    eprintln!("{cause}");
    ensure!(state.phase == Phase::Failed, "{}", state.phase);
    let running = state.running.context("it says what runs on")?;
    ensure!(
        running.generation == old.0
            && running.invocation_id == before
            && running.image.ends_with(&old.1.name()),
        "{running:?}"
    );
    ensure!(
        state.next_try_at.is_some(),
        "it says when it tries again by itself"
    );
    ensure!(trial.invocation("web")? == before, "the old one was restarted");
    trial.wait_for_page(&old.1.line(), SOON)?;
    Ok(())
}

/// Asks for what can't start: the failure is told with its kind, its exit and its last words, and the old image doesn't come back.
fn require_told(trial: &mut Trial, generation: u64, wish: Score, expected: &Told<'_>) -> Result<()> {
    trial.kv.desire("web", generation, wish)?;
    let state = trial.kv.wait_for_state("web", expected.kind, DEPLOY, |state| {
        let cause = state.cause.as_ref();
        state.observed_generation == generation
            && state.phase == Phase::Failed
            && cause.is_some_and(|cause| cause.kind == expected.kind)
    })?;
    let cause = state.cause.context("it has a cause")?;
    eprintln!("{cause} ({:?}), its log: {:?}", cause.exit, cause.log);
    if let Some(exit) = expected.exit {
        ensure!(cause.exit == Some(exit), "{:?}", cause.exit);
    }
    ensure!(!cause.log.is_empty(), "it has no last words: {cause}");
    let said = format!("{cause}\n{}", cause.log.join("\n"));
    ensure!(
        said.contains(expected.word),
        "{said:?} without {:?}",
        expected.word
    );
    ensure!(
        state
            .running
            .is_none_or(|running| running.generation == generation),
        "an old generation is said to run"
    );
    let file = trial.fleet("grep ^Image= ~/.config/containers/systemd/fleet-web.container")?;
    let old = expected.old.image.digest().as_str();
    ensure!(file.contains("@sha256:"), "it names no digest: {file}");
    ensure!(!file.contains(old), "the old image is back: {file}");
    let page = trial.page().unwrap_or_default();
    ensure!(!page.contains(&expected.old.line()), "the old page is served");
    Ok(())
}

struct Told<'a> {
    kind: &'static str,
    exit: Option<Exit>,
    /// In its last words.
    word: &'static str,
    /// What must not come back.
    old: &'a Version,
}

#[test]
fn versions_roll_forward_through_every_failure_and_never_back() -> Result<()> {
    Trial::run("upgrade", |trial| {
        let (one, two, three) = (Version::page("1")?, Version::page("2")?, Version::page("3")?);
        for version in [&one, &two, &three] {
            trial.push(version)?;
        }
        roll_to(trial, 1, &one, json!({}))?;

        // Between 1 and 2: what can't be had.
        let gone = score("upgrade:gone", json!({}));
        require_old_serves(trial, 2, gone, "image-not-found", (1, &one))?;
        trial.site.registry.stop()?;
        require_old_serves(trial, 3, two.score(json!({})), "registry-unreachable", (1, &one))?;
        trial.site.registry.start_again()?;
        let own_layer = &two.image.layers.last().context("it has layers")?.digest;
        trial.site.registry.damage(own_layer)?;
        let again = two.score(json!({ "env": [{ "name": "TRY", "value": "again" }] }));
        require_old_serves(trial, 4, again, "image-corrupt", (1, &one))?;
        trial.site.registry.damage(own_layer)?;

        // What was damaged is pulled again, and the change is told in figures that agree with what is seen from here.
        let watch = trial.watch_page();
        let state = roll_to(trial, 5, &two, json!({}))?;
        let gap = watched_gap(&watch, &one, &two)?;
        drop(watch);
        require_plausible(&state, 1, gap)?;
        let phases: Vec<_> = state.marks.iter().map(|mark| mark.phase.as_str()).collect();
        eprintln!("phases: {phases:?}");
        ensure!(phases.contains(&"Upgrading"), "{phases:?}");

        require_start_failures_told(trial, &two)?;

        // On to 3 from the last failure; and a change that changes nothing restarts nothing.
        let state = roll_to(trial, 9, &three, json!({}))?;
        let run = state.running.context("it says what runs")?.invocation_id;
        let state = roll_to(trial, 10, &three, json!({}))?;
        ensure!(state.running.context("it says what runs")?.invocation_id == run);
        ensure!(trial.invocation("web")? == run);
        Ok(())
    })
}

/// Between 2 and 3: what is there and doesn't start.
fn require_start_failures_told(trial: &mut Trial, old: &Version) -> Result<()> {
    let broken = Version::without_a_program("broken")?;
    trial.push(&broken)?;
    let told = Told {
        kind: "exec-failed",
        exit: Some(Exit::Status(127)),
        word: "no-such-program",
        old,
    };
    require_told(trial, 6, broken.score(json!({})), &told)?;

    let three = Version::page("3")?;
    let told = Told {
        kind: "exited-early",
        exit: Some(Exit::Status(4)),
        word: "version 3 gives up",
        old,
    };
    let wish = three.score(json!({ "env": [{ "name": "EXIT_AFTER", "value": "2" }] }));
    require_told(trial, 7, wish, &told)?;

    let told = Told {
        kind: "unhealthy",
        exit: None,
        word: "version 3 starts",
        old,
    };
    let wish = three.score(json!({ "health": { "command": ["false"], "interval": "1s", "retries": 2 } }));
    require_told(trial, 8, wish, &told)
}

/// The gap between two versions, once the watch itself has met the new one.
fn watched_gap(watch: &PageWatch, old: &Version, new: &Version) -> Result<Duration> {
    let end = Instant::now() + SOON;
    loop {
        if let Some(gap) = watch.gap(&old.line(), &new.line()) {
            return Ok(gap);
        }
        ensure!(Instant::now() < end, "not both versions: {:?}", watch.seen());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The figures in the state against the gap that was seen from this machine: the old one may have stopped to answer as soon as it was
/// asked to end, and the new one answers some time after it was started.
fn require_plausible(state: &DeploymentState, from: u64, gap: Duration) -> Result<()> {
    let told = state.cutover.as_ref().context("it says how the change went")?;
    let gap = u64::try_from(gap.as_millis())?;
    eprintln!("told: {told:?}; seen from here: {gap} ms");
    ensure!(told.from_generation == from, "{told:?}");
    ensure!(
        told.down_millis > 0 && told.down_millis <= gap + 200,
        "{told:?}, seen {gap} ms"
    );
    ensure!(
        gap <= told.stop_millis + told.down_millis + SLACK,
        "{told:?}, seen {gap} ms"
    );
    Ok(())
}

fn lifecycle(signal: &str, grace: &str, kill: bool, more: Value) -> Value {
    let mut fields = more;
    fields["lifecycle"] = json!({ "stop_signal": signal, "grace_period": grace, "sigkill_fallback": kill });
    fields
}

#[test]
fn the_stop_signal_that_was_asked_for_reaches_the_container() -> Result<()> {
    Trial::run("stop-signals", |trial| {
        let kept = || json!({ "volumes": [{ "source": { "volume": { "name": "data" } }, "path": "/data" }] });
        let signals = ["SIGINT", "SIGUSR1", "SIGTERM"];
        for (generation, signal) in (1..).zip(signals) {
            let version = Version::page(&generation.to_string())?;
            trial.push(&version)?;
            // The first one's end is systemd's to bring about; the second, which must not be killed for the third, is asked by the agent.
            let kill = signal != "SIGTERM";
            roll_to(
                trial,
                generation,
                &version,
                lifecycle(signal, "20s", kill, kept()),
            )?;
        }
        let notes = trial.fleet("podman exec fleet-web cat /data/notes")?;
        eprintln!("{notes}");
        let expected = ["1 started", "1 INT", "2 started", "2 USR1", "3 started"];
        ensure!(notes.lines().eq(expected), "{notes}");
        Ok(())
    })
}

#[test]
fn a_container_that_ignores_its_signal_is_killed_if_that_is_allowed_and_else_told_and_left_alone()
-> Result<()> {
    Trial::run("stop-ignored", |trial| {
        let stubborn = || json!({ "env": [{ "name": "STUBBORN", "value": "1" }] });
        let versions: Vec<_> = ["1", "2", "3", "4"]
            .iter()
            .map(|tag| Version::page(tag))
            .collect::<Result<_, _>>()?;
        for version in &versions {
            trial.push(version)?;
        }
        let [one, two, three, four] = &versions[..] else {
            bail!("there are four versions")
        };
        let killed = || lifecycle("SIGTERM", "3s", true, stubborn());
        let spared = || lifecycle("SIGTERM", "3s", false, stubborn());
        roll_to(trial, 1, one, spared())?;

        // Not to be killed: it serves on, untouched, and the state says whom to ask.
        let run = trial.invocation("web")?;
        let process = trial.fleet("podman inspect -f '{{.State.Pid}}' fleet-web")?;
        trial.kv.desire("web", 2, two.score(spared()))?;
        let state = trial.kv.wait_for_cause("web", "stop-signal-ignored", SOON)?;
        let cause = state.cause.context("it has a cause")?;
        eprintln!("{cause}");
        ensure!(
            cause.detail.contains("fleet-web"),
            "it doesn't name the container: {cause}"
        );
        let running = state.running.context("it says what runs on")?;
        ensure!(
            running.generation == 1 && running.invocation_id == run,
            "{running:?}"
        );
        ensure!(trial.invocation("web")? == run);
        ensure!(trial.fleet("podman inspect -f '{{.State.Pid}}' fleet-web")? == process);
        trial.wait_for_page(&one.line(), SOON)?;

        // The next specification rolls on from there, and may kill it; so does the one after, without a failure before.
        for (generation, version) in [(3, three), (4, four)] {
            let start = Instant::now();
            let state = roll_to(trial, generation, version, killed())?;
            let told = state.cutover.context("it says how the change went")?;
            eprintln!("rolled on in {:.1?}: {told:?}", start.elapsed());
            ensure!((2_900..15_000).contains(&told.stop_millis), "{told:?}");
        }
        Ok(())
    })
}

/// systemd joins a start that is under way: the container that comes up then is the older version's.
#[test]
fn a_change_while_the_older_version_still_starts_runs_and_is_told_only_when_it_does() -> Result<()> {
    Trial::run("upgrade-starting", |trial| {
        let (one, two) = (Version::page("1")?, Version::page("2")?);
        for version in [&one, &two] {
            trial.push(version)?;
        }
        let slow = json!({
            "env": [{ "name": "START_SECONDS", "value": "40" }],
            "health": { "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "2s", "retries": 60 },
        });
        trial.kv.desire("web", 1, one.score(slow))?;
        trial.kv.wait_for_phase("web", 1, &Phase::Starting, DEPLOY)?;
        trial.until_fleet("podman exec fleet-web echo up", SOON)?;
        let first = trial.invocation("web")?;
        let begun = Instant::now();

        let state = roll_to(trial, 2, &two, json!({}))?;
        eprintln!("the second runs {:.0?} after it was asked for", begun.elapsed());
        let running = state.running.clone().context("it says what runs")?;
        ensure!(running.invocation_id != first, "the first one's start was joined");
        ensure!(running.invocation_id == trial.invocation("web")?);
        let said = trial.fleet("podman logs fleet-web")?;
        ensure!(
            said.contains("version 2 starts") && !said.contains("version 1"),
            "{said}"
        );
        ensure!(state.cutover.is_none(), "the first one never served: {state:?}");
        Ok(())
    })
}

/// podman#16362: a power cut leaves layers that are called present and are not whole.
#[test]
fn an_image_that_lost_its_bytes_is_had_again_though_nothing_new_was_asked_for() -> Result<()> {
    Trial::run("damaged-storage", |trial| {
        let one = Version::page("1")?;
        trial.push(&one)?;
        roll_to(trial, 1, &one, json!({}))?;
        let program = "$(find ~/.local/share/containers/storage/overlay -path '*/diff/init' | head -n 1)";
        trial.fleet(&format!("file={program} && test -s $file && : > $file && sync"))?;
        let before = trial.rig.boot_id(SOON)?;
        trial.rig.cut_power()?;
        come_back(&mut trial.rig)?;
        ensure!(trial.rig.boot_id(SOON)? != before, "it is the same boot");
        trial.wait_for_page(&one.line(), DEPLOY * 2)?;
        let run = trial.invocation("web")?;
        trial
            .kv
            .wait_for_state("web", "this boot's run", DEPLOY, |state| {
                state.phase == Phase::Running
                    && state.running.as_ref().is_some_and(|now| now.invocation_id == run)
            })?;
        trial.fleet(&format!("test -s {program}"))?;
        let log = trial.fleet("journalctl --user -b -o cat -u fleet-agent")?;
        ensure!(log.contains("looking through podman's storage"), "{log}");
        Ok(())
    })
}

/// A pull is no part of a start: systemd's patience with one has nothing to do with the other.
#[test]
fn a_pull_that_takes_longer_than_a_start_may_does_not_fail_the_start() -> Result<()> {
    Trial::run("slow-registry", |trial| {
        let patience = Duration::from_secs(15);
        trial.fleet(&format!(
            "folder=~/.config/systemd/user/fleet-web.service.d && mkdir -p $folder && \
             printf '[Service]\\nTimeoutStartSec={}\\n' > $folder/short.conf",
            patience.as_secs()
        ))?;
        pull_slowly(trial, patience, Version::heavy("heavy", 4)?, 180 << 10)?;
        let limit = trial.unit("fleet-web.service", &["TimeoutStartUSec"])?.concat();
        ensure!(limit == "15s", "the unit's own limit is {limit}");
        Ok(())
    })
}

/// Pulls `version` at `rate` bytes a second, which must take longer than `patience`.
fn pull_slowly(trial: &mut Trial, patience: Duration, version: Version, rate: u32) -> Result<()> {
    trial.push(&version)?;
    trial
        .rig
        .way_to(Service::Registry)
        .set_weather(Weather::Narrow(rate));
    trial.kv.desire("web", 1, version.score(json!({})))?;
    trial.kv.wait_for_phase("web", 1, &Phase::Pulling, SOON)?;
    let start = Instant::now();
    let limit = patience + Duration::from_secs(300);
    let state = trial
        .kv
        .wait_for_state("web", "the end of the pull", limit, |state| {
            state.phase != Phase::Pulling
        })?;
    let took = start.elapsed();
    eprintln!("pulled in {took:.0?}, then {}", state.phase);
    ensure!(
        took > patience,
        "the pull took {took:.0?} only: nothing is proved"
    );
    ensure!(state.phase != Phase::Failed, "{state:?}");
    trial.kv.wait_for_phase("web", 1, &Phase::Running, DEPLOY)?;
    trial.wait_for_page(&version.line(), SOON)?;
    Ok(())
}

const MANY: usize = 20;

#[test]
fn twenty_deployments_at_once_all_run_and_none_is_started_twice() -> Result<()> {
    Trial::run("twenty", |trial| {
        let version = Version::page("1")?;
        trial.push(&version)?;
        let names: Vec<String> = (1..=MANY).map(|number| format!("app-{number}")).collect();
        let start = Instant::now();
        for name in &names {
            let wish = json!({ "env": [{ "name": "WHO", "value": name }] });
            trial.kv.desire(name, 1, score(&version.name(), wish))?;
        }
        for name in &names {
            let state = trial.kv.wait_for_phase(name, 1, &Phase::Running, DEPLOY * 2)?;
            ensure!(state.failed_tries == 0, "{name} failed before: {state:?}");
            let starts = state.marks.iter().filter(|mark| mark.phase == Phase::Starting);
            ensure!(starts.count() == 1, "{name} was started again: {:?}", state.marks);
        }
        eprintln!("{MANY} run after {:.0?}", start.elapsed());
        for name in &names {
            let restarts = trial
                .unit(&format!("fleet-{name}.service"), &["NRestarts"])?
                .concat();
            ensure!(restarts == "0", "systemd restarted {name} {restarts} times");
        }
        let running = trial.fleet("podman ps --format '{{.Names}}' | grep -c ^fleet-app-")?;
        ensure!(running == MANY.to_string(), "{running} run");
        let (agent, restarts) = trial.agent()?;
        ensure!(restarts == 0, "the agent was restarted");
        let peak = trial.root(&format!(
            "grep VmHWM /proc/{agent}/status && grep ^Pss: /proc/{agent}/smaps_rollup"
        ))?;
        eprintln!("the agent's memory: {peak}");
        let kib: Vec<u32> = peak
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [highest, now] = kib[..] else {
            bail!("no two figures in {peak}")
        };
        // Everything mapped, the program's file included, never went beyond this; what is its own now is far less.
        ensure!(highest < 24 << 10 && now < 10 << 10, "{peak}");
        Ok(())
    })
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    /// With nothing shortened: systemd's own limit for the start is two minutes.
    #[test]
    fn a_pull_of_more_than_two_minutes_does_not_fail_the_start() -> Result<()> {
        Trial::run("very-slow-registry", |trial| {
            pull_slowly(
                trial,
                Duration::from_secs(130),
                Version::heavy("heavy", 14)?,
                90 << 10,
            )
        })
    }
}
