//! The one place where this crate starts programs.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::error::ImageError;
use crate::progress::Progress;

const TAIL_LINES: usize = 25;

/// A program call: what runs, with which environment, and what to tell a person when it fails.
pub(crate) struct Call<'a> {
    /// Name for messages.
    pub(crate) tool: &'a str,
    /// Program and arguments.
    pub(crate) argv: Vec<OsString>,
    /// Added to an environment that holds PATH, HOME and TMPDIR alone.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Given on standard input.
    pub(crate) input: &'a str,
    /// What it does for us ("making the root file system").
    pub(crate) purpose: &'a str,
    /// What a person does when it fails.
    pub(crate) next: &'a str,
}

impl Call<'_> {
    /// Runs to the end. Output lines go to `progress`, the last of them into the error.
    pub(crate) fn run(&self, folder: &Path, progress: &dyn Progress) -> Result<(), ImageError> {
        let mut child = self.spawn(folder)?;
        let mut stdin = child.stdin.take().expect("stdin was requested as a pipe");
        let input = self.input.to_owned();
        let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
        let tail = follow(&mut child, progress);
        let status = child.wait().map_err(ImageError::io("wait for", self.tool))?;
        // A program that ends without reading its input is judged by its status, not by our broken pipe.
        let _fed = feeder.join();
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(status.to_string(), tail))
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the crate's one place where processes start"
    )]
    fn spawn(&self, folder: &Path) -> Result<Child, ImageError> {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).current_dir(folder).env_clear();
        for name in ["PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
            .spawn()
            .map_err(|error| self.failure(format!("could not be started: {error}"), VecDeque::new()))
    }

    fn failure(&self, outcome: String, tail: VecDeque<String>) -> ImageError {
        ImageError::Tool {
            tool: self.tool.to_owned(),
            outcome,
            purpose: self.purpose.to_owned(),
            next: self.next.to_owned(),
            tail: Vec::from(tail).join("\n"),
        }
    }
}

/// Reads standard error to its end and keeps the last lines.
fn follow(child: &mut Child, progress: &dyn Progress) -> VecDeque<String> {
    let mut tail = VecDeque::new();
    let stderr = child.stderr.take().expect("stderr was requested as a pipe");
    for chunk in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&chunk).trim_end().to_owned();
        progress.line(line.trim_start_matches("I: "));
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail
}

/// Whether PATH has a program.
pub(crate) fn in_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(tool).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Plain;

    fn shell(script: &str) -> Call<'_> {
        Call {
            tool: "sh",
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
            env: Vec::new(),
            input: "",
            purpose: "testing",
            next: "look again",
        }
    }

    #[test]
    fn failed_program_is_named_with_its_last_lines_and_the_next_step() {
        let error = shell("echo the reason >&2; exit 3")
            .run(Path::new("/"), &Plain::default())
            .unwrap_err();
        let text = error.to_string();
        for part in ["`sh`", "exit status: 3", "testing", "the reason", "look again"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn program_that_ignores_its_input_is_judged_by_its_status() {
        let input = "x".repeat(1 << 20);
        let call = Call {
            input: &input,
            ..shell("exit 0")
        };
        call.run(Path::new("/"), &Plain::default()).expect("a success");
    }

    #[test]
    fn program_that_does_not_exist_says_so() {
        let call = Call {
            argv: vec!["/nonexistent/tool".into()],
            ..shell("")
        };
        assert!(
            call.run(Path::new("/"), &Plain::default())
                .unwrap_err()
                .to_string()
                .contains("could not be started")
        );
    }
}
