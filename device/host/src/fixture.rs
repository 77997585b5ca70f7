//! For tests: an environment whose `podman` is a shell script.

use tempfile::TempDir;

use crate::durable;
use crate::exec::Environment;

/// The script sees podman's arguments; `HOME` is a path in the folder that does not exist yet.
#[expect(clippy::disallowed_methods, reason = "only tests are built with it")]
pub(crate) fn podman(script: &str) -> (TempDir, Environment) {
    let dir = tempfile::tempdir().unwrap();
    let (text, tool) = (dir.path().join("text"), dir.path().join("podman"));
    let _ = durable::replace(&text, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
    // Copied by another process: while this one has a file open for writing, a test beside it may start a
    // process, which inherits it, and a file that is open for writing cannot be executed.
    let copied = std::process::Command::new("/bin/cp")
        .args([&text, &tool])
        .status()
        .unwrap();
    assert!(copied.success());
    let environment = Environment {
        home: dir.path().join("home"),
        runtime_dir: dir.path().join("run"),
        session_bus: "unix:path=/nowhere".into(),
        tools: dir.path().into(),
        generators: dir.path().into(),
    };
    (dir, environment)
}
