use fleet_protocol::score::PodmanV0Score;

use super::*;

fn asked(image: &str, inits: &[&str]) -> Asked {
    let mut score: PodmanV0Score = serde_json::from_value(serde_json::json!({ "image": image })).unwrap();
    score.init_containers = inits
        .iter()
        .map(|name| serde_json::from_value(serde_json::json!({ "name": name, "image": image })).unwrap())
        .collect();
    Asked::of(&Score::PodmanV0(Box::new(score)))
}

fn script(inits: &[&str]) -> Script {
    Script::new(
        "web".parse().unwrap(),
        asked("r.example/a:1", inits),
        1,
        DateTime::UNIX_EPOCH,
    )
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn dice(fails: bool, way: f64) -> Dice {
    Dice {
        fails,
        way,
        wait: Duration::from_millis(10),
    }
}

fn phases(script: &Script) -> Vec<&str> {
    let marks = script.state().marks.iter();
    marks.map(|mark| mark.phase.as_str()).collect()
}

/// One step a second, until it is at rest; gives the init containers that were seen at work.
fn drive(script: &mut Script, mut fails: u32, way: f64) -> Vec<String> {
    let (mut second, mut seen) = (0, Vec::new());
    loop {
        second += 1;
        let more = script.step(dice(fails > 0, way), at(second));
        if let Some(init) = &script.state().init {
            seen.push(format!("{} {}/{}", init.name, init.step, init.of));
        }
        if script.state().phase == Phase::Failed {
            fails -= 1;
        }
        if more.is_none() {
            return seen;
        }
    }
}

#[test]
fn a_first_start_pulls_and_starts_and_a_change_upgrades() {
    let mut script = script(&[]);
    drive(&mut script, 0, 0.5);
    assert_eq!(phases(&script), ["Pending", "Pulling", "Starting", "Running"]);
    assert_eq!(script.state().cutover, None, "nothing was replaced");
    script.change(asked("r.example/a:2", &[]), 2, DateTime::UNIX_EPOCH);
    let running = |script: &Script| script.state().running.as_ref().map(|running| running.generation);
    assert_eq!(running(&script), Some(1));
    drive(&mut script, 0, 0.5);
    assert_eq!(
        phases(&script),
        ["Pending", "Pulling", "Upgrading", "Starting", "Running"]
    );
    assert_eq!(running(&script), Some(2));
    let cutover = script.state().cutover.clone().unwrap();
    assert_eq!(
        (cutover.from_generation, cutover.stop_millis, cutover.down_millis),
        (1, 1, 1000)
    );
    assert_eq!(script.runs(), 2);
}

#[test]
fn an_old_version_that_must_be_killed_takes_its_whole_grace_period() {
    let mut script = script(&[]);
    drive(&mut script, 0, 0.5);
    script.change(asked("r.example/a:2", &[]), 2, DateTime::UNIX_EPOCH);
    drive(&mut script, 0, 0.01);
    assert_eq!(
        script.state().cutover.as_ref().map(|cutover| cutover.stop_millis),
        Some(30_000)
    );
}

#[test]
fn init_containers_run_in_order_before_the_main_one() {
    let mut script = script(&["fetch", "migrate"]);
    assert_eq!(drive(&mut script, 0, 0.5), ["fetch 1/2", "migrate 2/2"]);
    assert_eq!(
        (&script.state().phase, &script.state().init),
        (&Phase::Running, &None)
    );
}

#[test]
fn a_failed_init_container_is_named_and_run_again() {
    let mut script = script(&["migrate"]);
    while script.state().phase != Phase::Failed {
        script.step(dice(true, 0.5), at(1));
    }
    let cause = script.state().cause.clone().unwrap();
    assert_eq!(
        (cause.kind.as_str(), cause.init.as_deref()),
        ("init-failed", Some("migrate"))
    );
    assert!(cause.exit == Some(Exit::Status(1)) && !cause.log.is_empty());
    assert_eq!(drive(&mut script, 0, 0.5), ["migrate 1/1"]);
    assert!(script.state().phase == Phase::Running && script.state().cause.is_none());
}

#[test]
fn a_failure_says_why_ends_the_old_version_and_is_tried_again() {
    let mut script = script(&[]);
    drive(&mut script, 0, 0.5);
    script.change(asked("r.example/a:2", &[]), 2, DateTime::UNIX_EPOCH);
    while script.state().phase != Phase::Failed {
        script.step(dice(true, 0.5), at(1));
    }
    let state = script.state();
    assert!(state.next_try_at.is_some() && state.crash_loop.is_none());
    assert_eq!(
        state.cause.as_ref().map(|cause| cause.kind.as_str()),
        Some("exited-early")
    );
    assert_eq!(state.running, None, "no way back to the old version");
    script.step(dice(true, 0.5), at(2));
    script.step(dice(true, 0.5), at(3));
    assert_eq!(
        script.state().crash_loop.as_ref().map(|crashes| crashes.restarts),
        Some(2)
    );
    drive(&mut script, 1, 0.9);
    let state = script.state();
    assert_eq!(
        (&state.phase, state.failed_tries, state.cause.is_none()),
        (&Phase::Running, 3, true)
    );
    assert_eq!(state.crash_loop, None);
    assert!(state.cutover.is_some(), "the whole time without service is told");
}

#[test]
fn each_way_to_fail_has_its_kind() {
    let kinds = [0.1, 0.7, 0.9].map(|way| main_failure(way).kind);
    assert_eq!(kinds, ["exited-early", "exec-failed", "unhealthy"]);
    assert_eq!(init_failure("a", 0.9).kind, "init-timeout");
}
