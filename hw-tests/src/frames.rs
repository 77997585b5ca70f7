//! The framing of the rig's shell: what goes over the virtio-serial port.
//!
//! Both directions are a stream of bytes that can begin anywhere: the device may have restarted in the middle of a frame, or
//! an answer may come after we stopped waiting for it. So each frame starts on a line of its own with a word that occurs
//! nowhere else and an id that is used once; a reader skips everything until it finds the frame it waits for. Bodies are raw
//! bytes with their length in the header.
//!
//! ```text
//! to the device    @fleet-rig-ping <id>
//!                  @fleet-rig-run <id> <seconds> <bytes of command> <bytes of input>  then command, input
//! from the device  @fleet-rig-done <id> <status> <bytes of stdout> <bytes of stderr>  then stdout, stderr
//! ```

use crate::rig::Output;

const DONE: &str = "@fleet-rig-done";
/// More than any header that the device writes.
const HEADER_LIMIT: usize = 256;

/// A question that the shell answers at once.
pub fn ping(id: &str) -> Vec<u8> {
    format!("\n@fleet-rig-ping {id}\n").into_bytes()
}

/// A command for bash that the device ends after `seconds`.
pub fn run(id: &str, seconds: u64, command: &[u8], input: &[u8]) -> Vec<u8> {
    let mut frame = format!(
        "\n@fleet-rig-run {id} {seconds} {} {}\n",
        command.len(),
        input.len()
    )
    .into_bytes();
    frame.extend_from_slice(command);
    frame.extend_from_slice(input);
    frame
}

/// Finds the answer with one id in a stream of bytes.
#[derive(Debug)]
pub struct AnswerReader {
    marker: Vec<u8>,
    buffer: Vec<u8>,
    header: Option<Header>,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    status: i32,
    stdout: usize,
    stderr: usize,
}

impl AnswerReader {
    /// Waits for the answer to the frame with `id`.
    pub fn new(id: &str) -> Self {
        Self {
            marker: format!("\n{DONE} {id} ").into_bytes(),
            buffer: Vec::new(),
            header: None,
        }
    }

    /// Takes more bytes; gives the answer once it is whole. Bytes after it are dropped: nothing else is waited for.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Output> {
        self.buffer.extend_from_slice(bytes);
        if self.header.is_none() {
            self.header = self.find_header();
        }
        let header = self.header?;
        let whole = header.stdout + header.stderr;
        if self.buffer.len() < whole {
            return None;
        }
        let mut stdout = std::mem::take(&mut self.buffer);
        stdout.truncate(whole);
        let stderr = stdout.split_off(header.stdout);
        Some(Output {
            status: header.status,
            stdout,
            stderr,
        })
    }

    /// Drops what cannot belong to the answer, then the header itself when it is whole.
    fn find_header(&mut self) -> Option<Header> {
        loop {
            let Some(at) = find(&self.buffer, &self.marker) else {
                let keep = self.marker.len().saturating_sub(1).min(self.buffer.len());
                self.buffer.drain(..self.buffer.len() - keep);
                return None;
            };
            self.buffer.drain(..at);
            let rest = &self.buffer[self.marker.len()..];
            let end = rest.iter().take(HEADER_LIMIT).position(|byte| *byte == b'\n');
            let header = match end {
                Some(end) => parse_header(&rest[..end]),
                None if rest.len() < HEADER_LIMIT => return None,
                None => None,
            };
            // A header that does not parse is a torn one from before a restart: look behind it.
            let skip = if header.is_some() {
                self.marker.len() + end.unwrap_or(0) + 1
            } else {
                1
            };
            self.buffer.drain(..skip);
            if header.is_some() {
                return header;
            }
        }
    }
}

fn parse_header(text: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let header = Header {
        status: words.next()?.parse().ok()?,
        stdout: words.next()?.parse().ok()?,
        stderr: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(header)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: &str, status: i32, stdout: &[u8], stderr: &[u8]) -> Vec<u8> {
        let mut bytes = format!("\n{DONE} {id} {status} {} {}\n", stdout.len(), stderr.len()).into_bytes();
        bytes.extend_from_slice(stdout);
        bytes.extend_from_slice(stderr);
        bytes
    }

    #[test]
    fn a_command_frame_says_the_length_of_its_parts() {
        assert_eq!(
            run("a1", 30, b"cat", b"in\n"),
            b"\n@fleet-rig-run a1 30 3 3\ncatin\n"
        );
    }

    #[test]
    fn an_answer_to_an_older_command_is_skipped() {
        let mut stream = answer("old", 0, b"stale", b"");
        stream.extend(answer("new", 7, b"", b"fresh"));
        let output = AnswerReader::new("new").push(&stream).expect("it is whole");
        assert_eq!(
            output,
            Output {
                status: 7,
                stdout: vec![],
                stderr: b"fresh".to_vec()
            }
        );
    }

    #[test]
    fn a_torn_header_of_the_same_id_is_skipped() {
        let mut stream = b"\n@fleet-rig-done a1 0 1".to_vec();
        stream.extend(answer("a1", 0, b"x", b""));
        assert_eq!(
            AnswerReader::new("a1").push(&stream).expect("it is whole").stdout,
            b"x"
        );
    }

    proptest! {
        #[test]
        fn an_answer_is_found_in_any_noise_and_any_cut_of_the_stream(
            noise in proptest::collection::vec(any::<u8>(), 0..400),
            status in 0..256i32,
            stdout in proptest::collection::vec(any::<u8>(), 0..400),
            stderr in proptest::collection::vec(any::<u8>(), 0..400),
            step in 1..64usize,
        ) {
            let mut stream = noise;
            stream.extend(answer("7f-3", status, &stdout, &stderr));
            let mut reader = AnswerReader::new("7f-3");
            let mut found = None;
            for bytes in stream.chunks(step) {
                prop_assert!(found.is_none());
                found = reader.push(bytes);
            }
            prop_assert_eq!(found, Some(Output { status, stdout, stderr }));
        }
    }
}
