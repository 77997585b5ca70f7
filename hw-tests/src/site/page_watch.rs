//! Watching a page at a fine interval while something happens to it: which versions answered, from when to when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between the end of one request and the next: what a measured gap is uncertain by, together with a request's own time.
const PAUSE: Duration = Duration::from_millis(10);
/// An answer takes milliseconds; a request that met the gap must not sleep through its end.
const ANSWER: Duration = Duration::from_millis(400);

/// One text of the page.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The page.
    pub text: String,
    /// When its first answer was complete.
    pub first: Instant,
    /// When its last answer so far was complete.
    pub last: Instant,
    /// How many answers.
    pub answers: u32,
}

/// Asks for a page again and again on a thread of its own until this is dropped.
#[derive(Debug)]
pub struct PageWatch {
    seen: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PageWatch {
    /// Begins to ask `address` for `/`.
    pub fn begin(address: SocketAddr) -> Self {
        let (seen, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (theirs, until) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                if let Some(text) = ask(address) {
                    note(&theirs, text, Instant::now());
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            seen,
            over,
            thread: Some(thread),
        }
    }

    /// The texts so far, in the order of their first answers.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the last answer of `old` to the first one of `new`, once `new` has answered.
    pub fn gap(&self, old: &str, new: &str) -> Option<Duration> {
        let seen = self.seen();
        let of = |part: &str| seen.iter().rev().find(|seen| seen.text.contains(part));
        Some(of(new)?.first.saturating_duration_since(of(old)?.last))
    }
}

impl Drop for PageWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within a request's time, and has nothing to say.
            let _ = thread.join();
        }
    }
}

fn note(seen: &Mutex<Vec<Seen>>, text: String, at: Instant) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match seen.last_mut() {
        Some(last) if last.text == text => {
            last.last = at;
            last.answers += 1;
        }
        _ => seen.push(Seen {
            text,
            first: at,
            last: at,
            answers: 1,
        }),
    }
}

/// The body of a good answer. The forward accepts connections while nothing listens in the device, so only an answer counts.
fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines()
        .next()?
        .contains(" 200 ")
        .then(|| body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers with `old`, goes away, and comes back as `new`.
    fn replaced_after(old: Duration, down: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            let start = Instant::now();
            for mut stream in listener.incoming().flatten() {
                let text = match start.elapsed() {
                    at if at < old => "version 1.",
                    at if at < old + down => continue,
                    _ => "version 2.",
                };
                let mut request = [0; 64];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{text}\n").as_bytes());
            }
        });
        address
    }

    #[test]
    fn the_gap_is_the_time_between_the_last_old_and_the_first_new_answer() {
        let down = Duration::from_millis(300);
        let watch = PageWatch::begin(replaced_after(Duration::from_millis(200), down));
        let end = Instant::now() + Duration::from_secs(10);
        let gap = loop {
            if let Some(gap) = watch.gap("version 1.", "version 2.") {
                break gap;
            }
            assert!(Instant::now() < end, "{:?}", watch.seen());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(gap >= down, "{gap:?}");
        assert!(gap < down * 4, "{gap:?}");
        assert_eq!(watch.seen().len(), 2, "{:?}", watch.seen());
    }
}
