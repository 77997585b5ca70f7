//! The fuzzer: libFuzzer on what reads bytes, with the pinned toolchain. Coverage comes from LLVM's own pass, which stable rustc hands
//! the flags to; only the sanitizers would need a nightly, and safe Rust gains little by them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use fleet_testbed::tools;

use crate::setup;
use crate::setup::needs::Purpose;
use crate::stages::Stages;
use crate::workspace::Workspace;

/// What makes a program tell libFuzzer where it has been.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];
/// A single input that takes longer, or more memory, is a finding.
const LONGEST_INPUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 1024;

/// Options of the fuzzer.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// Only these targets, folders of `fuzz/seeds` [default: all]
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Builds the fuzzer and runs the targets one after the other; what is found ends that target and fails the run at its end.
pub fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<()> {
    let targets = chosen(all_targets(workspace)?, &args.targets)?;
    setup::ensure(workspace, &[Purpose::Fuzz])?;
    let program = build(workspace)?;
    let mut stages = Stages::default();
    for target in &targets {
        stages.run(&format!("fuzz · {target}"), || {
            fuzz(workspace, &program, target, args.seconds)
        })?;
    }
    println!("{}", stages.table());
    stages.verdict()
}

/// The folders of seeds: a test of that crate holds them against the targets.
fn all_targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = seeds(workspace.root());
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn seeds(root: &Path) -> PathBuf {
    root.join("fuzz/seeds")
}

fn chosen(all: Vec<String>, wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}: {}", all.join(", "));
    }
    Ok(all
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.contains(name))
        .collect())
}

/// In a folder of its own: every dependency is built anew with the instrumentation. With a target triple, so that build scripts and
/// macros, which have nothing to tell, are not.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace.target_folder()?.join("fuzz");
    let build = [
        "build",
        "--locked",
        "--package",
        "fleet-fuzz",
        "--features",
        "libfuzzer",
        "--profile",
        "fuzz",
        "--target",
        &triple,
        "--target-dir",
    ];
    workspace
        .cargo(build)
        .args([&folder])
        .env("RUSTFLAGS", INSTRUMENTATION.join(" "))
        .run()?;
    Ok(folder.join(triple).join("fuzz/fleet-fuzz"))
}

/// What was found interesting is kept in the cache, so that the next run goes on from there.
fn fuzz(workspace: &Workspace, program: &Path, target: &str, seconds: u32) -> Result<()> {
    let folder = tools::cache_folder()?.join("fuzz").join(target);
    let (corpus, findings) = (folder.join("corpus"), folder.join("findings"));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let limits = [
        format!("-max_total_time={seconds}"),
        format!("-timeout={LONGEST_INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        "-print_final_stats=1".to_owned(),
        "-verbosity=1".to_owned(),
        format!("-artifact_prefix={}/", findings.display()),
    ];
    workspace
        .tool(&program.to_string_lossy())
        .env("FLEET_FUZZ_TARGET", target)
        .args(limits)
        .args([&corpus, &seeds(workspace.root()).join(target)])
        .run()
        .with_context(|| {
            format!(
                "target {target}: the input is in {}; once mended, put it into fuzz/seeds/{target}",
                findings.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn no_target_means_all_and_an_unknown_one_is_refused_with_those_there_are() {
        let all = || names(&["manifest", "wire"]);
        assert_eq!(chosen(all(), &[]).expect("all"), all());
        assert_eq!(chosen(all(), &names(&["wire"])).expect("one"), ["wire"]);
        let error = chosen(all(), &names(&["wires"])).expect_err("no such target");
        assert_eq!(error.to_string(), "there is no target wires: manifest, wire");
    }
}
