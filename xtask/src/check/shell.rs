//! Shell scripts, judged by shellcheck.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let scripts: Vec<PathBuf> = workspace
        .files()?
        .into_iter()
        .filter(|file| is_script(file, &workspace.root().join(file)))
        .collect();
    if scripts.is_empty() {
        bail!("no shell script was found, though there are some");
    }
    eprintln!("{} scripts", scripts.len());
    // Below a warning it is a matter of taste, and of which sourced files this machine happens to have.
    workspace
        .tool("shellcheck")
        .args(["--severity", "warning"])
        .args(&scripts)
        .run()
}

fn is_script(name: &Path, path: &Path) -> bool {
    if name.extension().is_some_and(|extension| extension == "sh") {
        return true;
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && names_a_shell(&String::from_utf8_lossy(&start))
}

fn names_a_shell(start: &str) -> bool {
    let Some(line) = start.strip_prefix("#!").and_then(|rest| rest.lines().next()) else {
        return false;
    };
    let mut words = line
        .split_whitespace()
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    let program = words
        .next()
        .filter(|word| *word != "env")
        .or_else(|| words.next());
    matches!(program, Some("sh" | "bash" | "dash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_its_first_line() {
        for start in [
            "#!/bin/sh\n",
            "#! /bin/sh -e\n",
            "#!/usr/bin/env bash\nset -u",
            "#!/bin/dash",
        ] {
            assert!(names_a_shell(start), "{start}");
        }
        for start in [
            "#!/usr/bin/python3\n",
            "// #!/bin/sh",
            "#!/usr/bin/env python3",
            "#!\n",
            "",
        ] {
            assert!(!names_a_shell(start), "{start}");
        }
    }
}
