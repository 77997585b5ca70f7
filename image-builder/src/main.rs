//! `fleet-image`: builds flashable device images.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use fleet_image::{BuildRequest, Profile, build, default_cache_dir, for_stderr};

const EXAMPLES: &str = "Examples:
  fleet-image build --profile amd64-vm --out device.img --agent target/release/fleet-agent --provision target/release/fleet-provision
  fleet-image build --profile amd64-uefi --out pc.img --size 8G --agent A --provision P
  FLEET_CACHE=/var/cache/fleet fleet-image build --profile amd64-vm --out device.img --agent A --provision P --refresh";

/// Debian 13, released on this day; the same for everyone unless SOURCE_DATE_EPOCH says otherwise.
const EPOCH: u64 = 1_754_697_600;

#[derive(Parser)]
#[command(name = "fleet-image", version, about, before_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build an image, and its manifest beside it (FILE.json)
    Build(Box<BuildOptions>),
}

#[derive(Args)]
struct BuildOptions {
    /// Kind of machine
    #[arg(long, value_enum)]
    profile: Profile,
    /// Image to write (raw, sparse)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The agent's binary
    #[arg(long, value_name = "PATH")]
    agent: PathBuf,
    /// The provisioning tool's binary
    #[arg(long, value_name = "PATH")]
    provision: PathBuf,
    /// Size of the disk, with K, M or G; the device grows to its real disk at first boot
    #[arg(long, default_value = "4G", value_parser = size)]
    size: u64,
    /// Folder for what is worth keeping between builds [default: $FLEET_CACHE or ~/.cache/fleet-platform]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Version of the agent
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    agent_version: String,
    /// Files laid out as installed
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../device/dist"))]
    dist: PathBuf,
    /// The initramfs-tools tree
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../initramfs-hooks"))]
    hooks: PathBuf,
    /// Time stamp of everything in the image, seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = EPOCH)]
    epoch: u64,
    /// Take Debian's packages anew, even when they are cached
    #[arg(long)]
    refresh: bool,
}

fn main() -> ExitCode {
    let Command::Build(options) = Cli::parse().command;
    match run(*options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn run(options: BuildOptions) -> anyhow::Result<()> {
    let request = options.request()?;
    let built = build(&request, for_stderr().as_ref())?;
    let state = if built.unchanged { "unchanged" } else { "built" };
    println!(
        "{} {state}, inputs {}",
        request.out.display(),
        &built.manifest.inputs[..16]
    );
    Ok(())
}

impl BuildOptions {
    fn request(self) -> anyhow::Result<BuildRequest> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).with_context(|| format!("cannot resolve {}", path.display()))
        };
        Ok(BuildRequest {
            profile: self.profile,
            out: absolute(self.out)?,
            size: self.size,
            agent: absolute(self.agent)?,
            agent_version: self.agent_version,
            provision: absolute(self.provision)?,
            dist: self.dist,
            hooks: self.hooks,
            cache: absolute(self.cache.unwrap_or_else(default_cache_dir))?,
            epoch: self.epoch,
            refresh: self.refresh,
        })
    }
}

/// Reads "4G", "512M", "1048576".
fn size(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        other => anyhow::bail!("the unit `{other}` is not K, M or G"),
    };
    let number: u64 = digits.parse().context("not a number with K, M or G after it")?;
    let bytes = number.checked_mul(unit).context("too large")?;
    ensure!(bytes > 0, "a disk has at least one byte");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(size("4G").expect("a size"), 4 << 30);
        assert_eq!(size("512m").expect("a size"), 512 << 20);
        for bad in ["", "G", "4T", "-1", "0", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
