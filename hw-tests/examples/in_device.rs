//! Runs shell commands as root in a fresh enrolled device and shows what they print: for looking around.
//!
//! ```sh
//! cargo run -p fleet-hw-tests --example in_device -- 'lvs' 'systemctl --user -M fleet@ status'
//! ```

use std::time::{Duration, Instant};

use anyhow::Result;
use fleet_hw_tests::{Rig, Site};

const COMMAND: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let site = Site::open()?;
    // The operator's part: without buckets the agent has nothing to watch.
    let _kv = site.kv()?;
    let mut rig = site.device_running("in-device")?;
    for command in std::env::args().skip(1) {
        let start = Instant::now();
        let output = rig.run(&command, COMMAND)?;
        println!(
            "# {command}\n{}",
            String::from_utf8_lossy(&output.stdout).trim_end()
        );
        let said = String::from_utf8_lossy(&output.stderr);
        println!(
            "{}# status {} after {:.2} s\n",
            said,
            output.status,
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
