//! Forking a child that does not outlive this process.

use std::ffi::OsStr;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

pub(super) const SETPRIV: &str = "/usr/bin/setpriv";

/// A child that is killed when this is dropped.
#[derive(Debug)]
pub(super) struct GuardedChild(Child);

impl GuardedChild {
    /// Starts it in a process group of its own, so that a Ctrl-C on the terminal reaches only us.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).process_group(0);
        fork_from_lasting_thread(command).map(Self)
    }
}

impl Deref for GuardedChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for GuardedChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        // Either can only fail when the process is gone already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that the kernel kills when the thread that forks it is gone.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place of the test bed and the rigs that starts processes"
)]
pub(super) fn guarded<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(SETPRIV);
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(args);
    command
}

type Fork = (Command, Sender<io::Result<Child>>);

/// Hands the command to the thread that forks for the whole process; see the module's text for why.
fn fork_from_lasting_thread(command: Command) -> io::Result<Child> {
    static FORKER: OnceLock<Sender<Fork>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Fork>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // The asker waits for the answer; if it is gone all the same, the child dies with its handle's loss noticed here.
                if let Err(lost) = answer.send(command.spawn())
                    && let Ok(mut child) = lost.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        sender
    });
    let (sender, answer) = mpsc::channel();
    forker
        .send((command, sender))
        .expect("the forking thread never ends: its sender is static");
    answer.recv().expect("the forking thread answers each request")
}
