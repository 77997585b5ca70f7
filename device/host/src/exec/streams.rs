//! What a tool writes: all of it is read, so that the tool never waits for a reader, and a part of it is kept.

use std::ops::ControlFlow;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Most bytes of standard output that are kept; the rest is read and dropped.
pub(super) const MAX_STDOUT: usize = 256 * 1024;
/// Most bytes of standard error that are kept: the last ones, since the cause comes last.
pub(super) const MAX_STDERR: usize = 16 * 1024;
/// Most bytes of a line of standard output that are handed over by [`each_line`].
pub(super) const MAX_LINE: usize = 256 * 1024;

/// Hands over each line without its end; breaks when `line` does.
pub(super) async fn each_line(
    from: Option<impl AsyncRead + Unpin>,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(from) = from else {
        return ControlFlow::Continue(());
    };
    let mut from = BufReader::with_capacity(16 * 1024, from);
    let mut kept = Vec::new();
    loop {
        let (used, ended) = match from.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(chunk) => {
                let end = chunk.iter().position(|byte| *byte == b'\n');
                let part = &chunk[..end.unwrap_or(chunk.len())];
                let room = MAX_LINE - kept.len();
                kept.extend_from_slice(&part[..part.len().min(room)]);
                (part.len() + usize::from(end.is_some()), end.is_some())
            }
        };
        from.consume(used);
        if ended {
            line(&kept)?;
            kept.clear();
        }
    }
    match kept.is_empty() {
        true => ControlFlow::Continue(()),
        false => line(&kept),
    }
}

/// Keeps the first bytes.
pub(super) async fn keep_first(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = MAX_STDOUT - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Keeps the last bytes, and hands over each line as it comes.
pub(super) async fn keep_last(
    from: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    line: &mut dyn FnMut(&str),
) {
    let Some(from) = from else { return };
    let mut from = BufReader::with_capacity(4096, from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        // `take` bounds a line that never ends.
        match (&mut from)
            .take(MAX_STDERR as u64)
            .read_until(b'\n', &mut bytes)
            .await
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        line(String::from_utf8_lossy(&bytes).trim_end());
        kept.extend_from_slice(&bytes);
        if kept.len() > MAX_STDERR {
            kept.drain(..kept.len() - MAX_STDERR);
        }
    }
}
