//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::check::Check;
use crate::image::Profile;
use crate::setup::needs::Purpose;
use crate::test::Scope;
use crate::tier::Tier;
use crate::workspace::Workspace;
use crate::{check, ci, field, fuzz, image, setup, test};

/// Exit code after Ctrl-C or SIGTERM, as a shell reports it.
pub const EXIT_INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                      the main job, for a person; --check for a machine
  cargo xtask setup --plan              what is missing on this machine, and why it is needed
  cargo xtask test --tier unit          the quick tests
  cargo xtask ci                        everything that has to pass before a change lands";

/// Everything that CI or a person runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, before_help = EXAMPLES)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing on this machine (Debian 12 or 13), saying first what and why
    Setup(SetupArgs),
    /// Judge the sources: format, lints, docs, shell scripts, links, licences
    Check(CheckArgs),
    /// Run the tests, after setting up what they need
    Test(TestArgs),
    /// Build the device image with the programs of this checkout
    Image(ImageArgs),
    /// Run the main job: a virtual device that runs a web application, seen on the dashboard
    Demo(field::DemoArgs),
    /// Measure, against a baseline in the same run; ends on one line of JSON
    Bench(field::BenchArgs),
    /// Give bytes that nobody wrote to everything that reads bytes, and see whether it dies
    Fuzz(fuzz::FuzzArgs),
    /// Setup, check and every tier of tests, with a table of times at the end
    Ci(TierArgs),
}

#[derive(Debug, Args)]
struct TierArgs {
    /// Only this tier; may be given more than once [default: all but the matrix]
    #[arg(long = "tier", value_enum)]
    tiers: Vec<Tier>,
}

#[derive(Debug, Args)]
struct SetupArgs {
    #[command(flatten)]
    tiers: TierArgs,
    /// Only say what would be done
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Only this check; may be given more than once [default: all]
    #[arg(long, value_enum)]
    only: Vec<Check>,
}

#[derive(Debug, Args)]
struct TestArgs {
    #[command(flatten)]
    tiers: TierArgs,
    /// Only the tests of this package; may be given more than once [default: the whole workspace]
    #[arg(short, long = "package")]
    packages: Vec<String>,
    /// Handed on to the test runner: names of tests, or its own flags
    #[arg(last = true)]
    runner: Vec<String>,
}

#[derive(Debug, Args)]
struct ImageArgs {
    /// The kind of machine
    #[arg(long, value_enum, default_value = "amd64-vm")]
    profile: Profile,
    /// The file to write [default: in the cache, where virtual devices take it from]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl TierArgs {
    fn chosen(&self) -> Vec<Tier> {
        if self.tiers.is_empty() {
            return Tier::EACH_CHANGE.to_vec();
        }
        Tier::ALL
            .into_iter()
            .filter(|tier| self.tiers.contains(tier))
            .collect()
    }
}

/// Does what the command line asks for.
pub fn run(cli: Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Setup(args) => {
            let tiers = args.tiers.chosen();
            let purposes: Vec<Purpose> = if args.tiers.tiers.is_empty() {
                Purpose::ALL.to_vec()
            } else {
                tiers.into_iter().map(Purpose::from).collect()
            };
            if args.plan {
                setup::show(&workspace, &purposes)
            } else {
                setup::ensure(&workspace, &purposes)
            }
        }
        Command::Check(args) => check::run(&workspace, &args.only),
        Command::Test(args) => {
            let tiers = args.tiers.chosen();
            test::run(
                &workspace,
                &tiers,
                &Scope {
                    packages: args.packages,
                    runner: args.runner,
                },
            )
        }
        Command::Image(args) => image::run(&workspace, args.profile, args.out),
        Command::Demo(args) => field::demo(&workspace, &args),
        Command::Bench(args) => field::bench(&workspace, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::Ci(args) => ci::run(&workspace, &args.chosen()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn tiers(arguments: &[&str]) -> Vec<Tier> {
        let all = ["cargo xtask", "test"].iter().chain(arguments);
        match Cli::try_parse_from(all)
            .expect("these arguments are right")
            .command
        {
            Command::Test(args) => args.tiers.chosen(),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_tier_means_those_of_each_change_and_a_repeated_one_counts_once() {
        assert_eq!(tiers(&[]), Tier::EACH_CHANGE);
        assert_eq!(tiers(&["--tier", "matrix"]), [Tier::Matrix]);
        assert_eq!(
            tiers(&["--tier", "service", "--tier", "unit", "--tier", "unit"]),
            [Tier::Unit, Tier::Service]
        );
    }

    #[test]
    fn an_unknown_tier_is_refused_with_the_ones_there_are() {
        let error =
            Cli::try_parse_from(["cargo xtask", "test", "--tier", "hardware"]).expect_err("no such tier");
        let text = error.to_string();
        for tier in ["unit", "service", "vm", "browser", "matrix"] {
            assert!(text.contains(tier), "{text}");
        }
    }

    #[test]
    fn help_opens_with_the_examples() {
        assert!(
            Cli::command()
                .render_help()
                .to_string()
                .starts_with("Examples:\n")
        );
    }
}
