//! A real database on the booted device: its rows survive an upgrade of the image and a power cut, and its migration, an
//! init container, runs each time without harm.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::Rig;
use fleet_hw_tests::site::{Trial, score};
use fleet_image::{Plain, default_cache_dir, unpacked_packages};
use fleet_protocol::{Phase, Score};
use fleet_testbed::sample::{POSTGRES_PACKAGES, postgres};
use serde_json::json;

/// `initdb` alone takes a minute on a virtual device.
const DEPLOY: Duration = Duration::from_secs(480);
const BOOT: Duration = Duration::from_secs(240);

fn database(version: &str) -> Score {
    let image = format!("sample-postgres:{version}");
    let data = json!([{ "source": { "volume": { "name": "data" } }, "path": "/data" }]);
    let registry = fleet_hw_tests::Service::Registry.device_address();
    score(
        &image,
        json!({
            "volumes": data,
            "lifecycle": { "stop_signal": "SIGINT", "grace_period": "60s" },
            "health": { "command": ["pg_isready", "--username=postgres"], "interval": "2s", "start_period": "60s" },
            "init_containers": [{
                "name": "prepare",
                "image": format!("{registry}/{image}"),
                "args": ["prepare"],
                "volumes": data,
            }],
        }),
    )
}

/// One statement, answered by the database in the running container.
fn ask(trial: &mut Trial, statement: &str) -> Result<String> {
    Ok(trial.fleet(&format!(
        "podman exec fleet-db psql --no-psqlrc --quiet --tuples-only --no-align --username=postgres --command=\"{statement}\""
    ))?)
}

fn runs(trial: &mut Trial, version: &str) -> Result<u32> {
    let answer = ask(
        trial,
        &format!("SELECT runs FROM migrations WHERE version = '{version}'"),
    )?;
    answer.trim().parse().context("the migration left no count")
}

#[test]
fn a_database_keeps_its_rows_through_an_upgrade_and_a_power_cut() -> Result<()> {
    let packages = unpacked_packages(
        "sample-postgres",
        POSTGRES_PACKAGES,
        &default_cache_dir(),
        &Plain::default(),
    )?;
    Trial::run("database", |trial| {
        for version in ["1", "2"] {
            let sample = postgres(version, &packages)?;
            trial
                .site
                .registry
                .push(&sample.image, sample.repository, sample.tag)?;
        }
        trial.kv.desire("db", 1, database("1"))?;
        trial.kv.wait_for_phase("db", 1, &Phase::Running, DEPLOY)?;
        ensure!(runs(trial, "1")? == 1);
        ask(
            trial,
            "INSERT INTO visits SELECT n, 'visit ' || n FROM generate_series(1, 1000) AS n",
        )?;

        trial.kv.desire("db", 2, database("2"))?;
        let state = trial.kv.wait_for_phase("db", 2, &Phase::Running, DEPLOY)?;
        let cutover = state.cutover.context("the figures of the cut-over")?;
        eprintln!("{cutover:?}");
        ensure!(ask(trial, "SELECT count(*), sum(stars) FROM visits")?.trim() == "1000|5000");
        ensure!(runs(trial, "2")? == 1);
        ask(trial, "INSERT INTO visits VALUES (1001, 'after the upgrade')")?;

        trial.rig.cut_power()?;
        trial.rig.power_on()?;
        trial.rig.wait_for_shell(BOOT)?;
        trial.until_fleet("podman exec fleet-db pg_isready --username=postgres", DEPLOY)?;
        ensure!(ask(trial, "SELECT count(*) FROM visits")?.trim() == "1001");
        ensure!(
            runs(trial, "2")? == 2,
            "the migration runs before each fresh container"
        );
        trial.kv.wait_for_phase("db", 2, &Phase::Running, DEPLOY)?;
        Ok(())
    })
}
