//! The root shell in the device.
//!
//! Nothing of it is in the image: systemd takes extra units from SMBIOS strings (`systemd.extra-unit.*`,
//! `systemd.unit-dropin.*`, since version 256), which only whoever builds the machine can set. The unit has no dependencies,
//! so the shell is there as soon as systemd is, works in emergency mode, and stays until the last moment of a shutdown.
//! It talks on a virtio-serial port, which the network faults of a test do not touch.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fleet_testbed::interrupt;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Fault;
use crate::frames::{self, AnswerReader};
use crate::poll;
use crate::rig::{Output, quote};

/// The name of the virtio-serial port.
pub const PORT: &str = "fleet.rig";
const SCRIPT: &str = include_str!("shell.sh");
const PEER: &str = "the device's shell";

/// A lost ping is sent again after this time; it gets lost when the device restarts while it reads.
const PING_AGAIN: Duration = Duration::from_secs(2);
/// The device ends a command at its deadline; this long we wait for it to say so.
const ANSWER_GRACE: Duration = Duration::from_secs(15);
/// So often a wait for the device looks whether somebody asked to stop.
const INTERRUPT_LOOK: Duration = Duration::from_millis(200);
const CHUNK: usize = 1 << 20;

/// SMBIOS type 11 strings that make systemd run the shell: name and content.
pub fn credentials() -> [String; 3] {
    let unit = format!(
        "[Unit]\nDescription=Root shell of the test rig\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n\
         StartLimitIntervalSec=0\n[Service]\nExecStart=/bin/bash -c 'source <(echo {} | base64 -d)'\n\
         Restart=always\nRestartSec=1\nKillMode=process\nOOMScoreAdjust=-1000\n",
        base64(SCRIPT.as_bytes())
    );
    let wanted = "[Unit]\nWants=fleet-rig.service\n";
    let credential = |name: &str, content: &str| {
        format!(
            "io.systemd.credential.binary:{name}={}",
            base64(content.as_bytes())
        )
    };
    [
        credential("systemd.extra-unit.fleet-rig.service", &unit),
        credential("systemd.unit-dropin.sysinit.target~fleet-rig", wanted),
        credential("systemd.unit-dropin.emergency.target~fleet-rig", wanted),
    ]
}

/// The host's end of the shell. One command at a time.
#[derive(Debug)]
pub struct Shell {
    stream: UnixStream,
    session: String,
    count: u64,
    /// Whether the device answered since we last had a reason to doubt it.
    answers: bool,
}

impl Shell {
    /// Takes the connected socket of the port. The device need not listen yet.
    pub fn new(stream: UnixStream) -> Result<Self, Fault> {
        stream
            .set_write_timeout(Some(ANSWER_GRACE))
            .map_err(Fault::connection(PEER))?;
        let mut bytes = [0; 6];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the kernel gives random bytes");
        let session = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            stream,
            session,
            count: 0,
            answers: false,
        })
    }

    /// Waits until the shell answers. A command is sent only to a shell that does, so none is left lying in the pipe to be
    /// run by a later boot.
    pub fn wait(&mut self, deadline: Duration) -> Result<(), Fault> {
        let end = Instant::now() + deadline;
        self.answers = false;
        while let Some(left) = poll::left(end) {
            let id = self.next_id();
            self.send(&frames::ping(&id))?;
            if self.answer(&id, left.min(PING_AGAIN))?.is_some() {
                self.answers = true;
                return Ok(());
            }
        }
        let last = "no answer on the port; the serial log shows how far the boot came".to_owned();
        Err(Fault::Late {
            what: "the device's shell".to_owned(),
            deadline,
            last,
        })
    }

    /// After this the next command first waits for the shell: the device was reset.
    pub fn doubt(&mut self) {
        self.answers = false;
    }

    /// Runs one command with `input` on its standard input; waits for the shell first if need be.
    pub fn run(&mut self, command: &str, input: &[u8], deadline: Duration) -> Result<Output, Fault> {
        let end = Instant::now() + deadline;
        if !self.answers {
            self.wait(deadline)?;
        }
        let left = poll::left(end).unwrap_or(Duration::from_secs(1));
        let id = self.next_id();
        // What fails from here on leaves a command of which we do not know how far it got.
        self.answers = false;
        self.send(&frames::run(
            &id,
            left.as_secs().max(1),
            command.as_bytes(),
            input,
        ))?;
        let Some(output) = self.answer(&id, left + ANSWER_GRACE)? else {
            let what = format!("the answer to `{command}`");
            let last = "the shell took the command and is silent".to_owned();
            return Err(Fault::Late { what, deadline, last });
        };
        self.answers = true;
        Ok(output)
    }

    /// Puts a file into the device: beside its place, synced, then renamed.
    pub fn put_file(&mut self, path: &str, content: &[u8], deadline: Duration) -> Result<(), Fault> {
        let end = Instant::now() + deadline;
        let (place, part) = (quote(path), quote(&format!("{path}.fleet-rig")));
        self.run_ok(
            &format!("mkdir -p \"$(dirname {place})\" && : >{part}"),
            &[],
            deadline,
        )?;
        for chunk in content.chunks(CHUNK) {
            let left = poll::left(end).unwrap_or(Duration::from_secs(1));
            self.run_ok(&format!("cat >>{part}"), chunk, left)?;
        }
        let left = poll::left(end).unwrap_or(Duration::from_secs(1));
        let last = format!(
            "chmod 0644 {part} && sync {part} && mv -T {part} {place} && sync \"$(dirname {place})\""
        );
        self.run_ok(&last, &[], left).map(drop)
    }

    /// A file of the device.
    pub fn get_file(&mut self, path: &str, deadline: Duration) -> Result<Vec<u8>, Fault> {
        let end = Instant::now() + deadline;
        let mut content = Vec::new();
        loop {
            let left = poll::left(end).unwrap_or(Duration::from_secs(1));
            let skip = content.len() / CHUNK;
            let command = format!(
                "dd if={} bs={CHUNK} skip={skip} count=1 iflag=fullblock status=none",
                quote(path)
            );
            let chunk = self.run_ok(&command, &[], left)?.stdout;
            content.extend_from_slice(&chunk);
            if chunk.len() < CHUNK {
                return Ok(content);
            }
        }
    }

    fn run_ok(&mut self, command: &str, input: &[u8], deadline: Duration) -> Result<Output, Fault> {
        let output = self.run(command, input, deadline)?;
        if output.success() {
            return Ok(output);
        }
        let (status, said) = (output.status, output.said());
        Err(Fault::Command {
            command: command.to_owned(),
            status,
            said,
        })
    }

    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.session, self.count)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(frame).map_err(Fault::connection(PEER))
    }

    fn answer(&mut self, id: &str, wait: Duration) -> Result<Option<Output>, Fault> {
        let broken = Fault::connection(PEER);
        let end = Instant::now() + wait;
        let mut reader = AnswerReader::new(id);
        let mut buffer = vec![0; 64 << 10];
        while let Some(left) = poll::left(end) {
            interrupt::check()?;
            let wait = left.min(INTERRUPT_LOOK);
            self.stream.set_read_timeout(Some(wait)).map_err(&broken)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    if let Some(output) = reader.push(&buffer[..count]) {
                        return Ok(Some(output));
                    }
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(None)
    }
}

/// Whether a read ended since its time was up, or was interrupted and may be tried again.
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// RFC 4648 with padding. Twelve lines spare a dependency.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let digit = ALPHABET[digit as usize] as char;
            text.push(if at > chunk.len() { '=' } else { digit });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_examples_of_rfc_4648() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, coded) in examples {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_injected_unit_has_nothing_that_systemd_would_expand() {
        let unit = &credentials()[0];
        assert!(unit.starts_with("io.systemd.credential.binary:systemd.extra-unit.fleet-rig.service="));
        let script = base64(SCRIPT.as_bytes());
        assert!(!script.contains(['%', '$', '\'', '\n']));
    }

    #[test]
    fn a_silent_device_is_reported_and_no_command_is_left_in_the_pipe() {
        let (host, mut device) = UnixStream::pair().expect("a socket pair");
        let mut shell = Shell::new(host).expect("a shell");
        let error = shell
            .run("poweroff", &[], Duration::from_millis(50))
            .expect_err("nobody answers");
        assert!(matches!(error, Fault::Late { .. }), "{error}");
        drop(shell);
        let mut sent = String::new();
        device.read_to_string(&mut sent).expect("what was sent");
        assert!(
            sent.contains("@fleet-rig-ping") && !sent.contains("poweroff"),
            "{sent}"
        );
    }
}
