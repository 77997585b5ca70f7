//! The way between the device and a service on this machine: a relay inside the test's process.
//!
//! The device's side is a Unix socket (the virtual machine starts one `socat` for each connection to it); the service's side is
//! a TCP address that can be changed at any time, so a device restored from a snapshot finds this test's own service at the
//! address it always uses.
//!
//! A connection that the relay refuses was already accepted by QEMU's network: the device sees it open and close at once,
//! never "connection refused". A cable pulled with `set_link` is the way to see no answer at all, also from DHCP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::Fault;

const CONNECT: Duration = Duration::from_secs(5);
/// Pieces on their way through a delayed connection; what is more waits in the sender.
const IN_FLIGHT: usize = 256;

/// What the way does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes at once.
    Clear,
    /// Everything passes, each byte this much later, in each direction.
    Delayed(Duration),
    /// Everything passes, and each connection carries no more than this many bytes a second in each direction: a narrow pipe.
    Narrow(u32),
    /// Open connections are cut and new ones closed at once: the service is down.
    Refusing,
    /// Connections stay open and nothing passes: the worst kind of network. What was sent passes when it clears up.
    Silent,
}

/// A relay for one service; dropping it cuts all connections.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    way: Mutex<Way>,
    changed: Condvar,
}

#[derive(Debug)]
struct Way {
    target: Option<SocketAddr>,
    weather: Weather,
    closed: bool,
    accepted: u64,
    open: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    device: UnixStream,
    service: TcpStream,
}

impl Relay {
    /// Listens on `socket`. Without a target every connection is closed at once.
    pub fn listen(socket: &Path, target: Option<SocketAddr>) -> Result<Self, Fault> {
        let listener = UnixListener::bind(socket).map_err(Fault::file("listen on", socket))?;
        let way = Way {
            target,
            weather: Weather::Clear,
            closed: false,
            accepted: 0,
            open: Vec::new(),
        };
        let state = Arc::new(Shared {
            way: Mutex::new(way),
            changed: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Ok(Self {
            socket: socket.to_owned(),
            state,
        })
    }

    /// The socket of the device's side.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Leads new connections to another address (`None`: nowhere) and cuts the open ones.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        let mut way = self.state.lock();
        way.target = target;
        way.cut();
    }

    /// Changes the weather, for open connections too.
    pub fn set_weather(&self, weather: Weather) {
        let mut way = self.state.lock();
        way.weather = weather;
        if weather == Weather::Refusing {
            way.cut();
        }
        self.state.changed.notify_all();
    }

    /// Cuts all open connections; new ones are welcome.
    pub fn cut_connections(&self) {
        self.state.lock().cut();
    }

    /// How many connections the device opened so far, refused ones included: the proof that a fault was met.
    pub fn connections_seen(&self) -> u64 {
        self.state.lock().accepted
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut way = self.state.lock();
        way.closed = true;
        way.cut();
        drop(way);
        self.state.changed.notify_all();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = UnixStream::connect(&self.socket);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way
            .lock()
            .expect("no thread panics while it holds the relay's state")
    }

    /// Blocks while nothing may pass; gives the weather, or `None` when the relay is gone.
    fn pass(&self) -> Option<Weather> {
        let silent = |way: &mut Way| way.weather == Weather::Silent && !way.closed;
        let way = self
            .changed
            .wait_while(self.lock(), silent)
            .expect("no thread panics while it holds the state");
        (!way.closed).then_some(way.weather)
    }
}

impl Way {
    fn cut(&mut self) {
        for connection in self.open.drain(..) {
            // An error says that it is closed already.
            let _ = connection.device.shutdown(Shutdown::Both);
            let _ = connection.service.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for device in listener.incoming() {
        let (target, closed) = {
            let mut way = shared.lock();
            way.accepted += u64::from(!way.closed);
            let refuses = way.weather == Weather::Refusing;
            (way.target.filter(|_| !refuses), way.closed)
        };
        if closed {
            return;
        }
        if let (Ok(device), Some(target)) = (device, target) {
            let shared = Arc::clone(shared);
            // Whatever fails here is what the device sees: its connection closes.
            std::thread::spawn(move || connect(device, target, &shared));
        }
    }
}

fn connect(device: UnixStream, target: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let service = TcpStream::connect_timeout(&target, CONNECT)?;
    service.set_nodelay(true)?;
    let both = (device.try_clone()?, service.try_clone()?);
    {
        let mut way = shared.lock();
        if way.closed || way.weather == Weather::Refusing || way.target != Some(target) {
            return Ok(());
        }
        way.open.push(Connection {
            device: both.0.try_clone()?,
            service: both.1.try_clone()?,
        });
    }
    let up = Arc::clone(shared);
    let (from_device, to_service) = (device, service);
    std::thread::spawn(move || carry(from_device, to_service, |to| to.shutdown(Shutdown::Write), &up));
    let (to_device, from_service) = both;
    carry(from_service, to_device, |to| to.shutdown(Shutdown::Write), shared);
    Ok(())
}

/// Carries one direction until its end, then passes the end on.
fn carry<W: Write + Send + 'static>(
    mut from: impl Read,
    mut to: W,
    finish: impl FnOnce(&W) -> io::Result<()> + Send + 'static,
    shared: &Arc<Shared>,
) {
    let (pieces, arrivals) = mpsc::sync_channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let way = Arc::clone(shared);
    let writer = std::thread::spawn(move || {
        deliver(&arrivals, &mut to, &way);
        // An error says that the other end is gone already.
        let _ = finish(&to);
    });
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..count].to_vec())).is_err() {
            break;
        }
    }
    drop(pieces);
    let _ = writer.join();
}

fn deliver(arrivals: &Receiver<(Instant, Vec<u8>)>, to: &mut impl Write, shared: &Shared) {
    for (sent, piece) in arrivals {
        let Some(weather) = shared.pass() else { return };
        match weather {
            // A piece waits for its own time, not for its turn: delay is latency here, not a narrow pipe.
            Weather::Delayed(delay) => {
                std::thread::sleep((sent + delay).saturating_duration_since(Instant::now()));
            }
            // It waits for its turn: the time that it takes to carry it.
            Weather::Narrow(rate) => {
                std::thread::sleep(Duration::from_secs_f64(
                    piece.len() as f64 / f64::from(rate.max(1)),
                ));
            }
            Weather::Clear | Weather::Refusing | Weather::Silent => {}
        }
        if to.write_all(&piece).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A service that answers each connection with its name, then echoes.
    fn service(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    stream.write_all(name.as_bytes())?;
                    let mut reader = stream.try_clone()?;
                    io::copy(&mut reader, &mut stream)
                });
            }
        });
        address
    }

    fn relay(target: Option<SocketAddr>) -> (tempfile::TempDir, Relay) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let relay = Relay::listen(&folder.path().join("s"), target).expect("a relay");
        (folder, relay)
    }

    fn open(relay: &Relay) -> UnixStream {
        let stream = UnixStream::connect(relay.socket()).expect("the relay listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        stream
    }

    fn read(stream: &mut UnixStream, count: usize) -> io::Result<String> {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn a_switched_target_cuts_old_connections_and_serves_new_ones() {
        let (_folder, relay) = relay(Some(service("one")));
        let mut old = open(&relay);
        assert_eq!(read(&mut old, 3).expect("an answer"), "one");
        relay.set_target(Some(service("two")));
        assert!(read(&mut old, 1).is_err(), "the old connection ends");
        assert_eq!(read(&mut open(&relay), 3).expect("an answer"), "two");
    }

    #[test]
    fn a_refusing_way_cuts_and_closes_and_counts() {
        let (_folder, relay) = relay(Some(service("up")));
        let mut old = open(&relay);
        assert_eq!(read(&mut old, 2).expect("an answer"), "up");
        relay.set_weather(Weather::Refusing);
        assert!(read(&mut old, 1).is_err());
        assert!(read(&mut open(&relay), 1).is_err());
        assert_eq!(relay.connections_seen(), 2);
    }

    #[test]
    fn a_silent_way_holds_bytes_back_until_it_clears_up() {
        let (_folder, relay) = relay(Some(service("")));
        let mut stream = open(&relay);
        stream.write_all(b"a").expect("sent");
        assert_eq!(read(&mut stream, 1).expect("the echo"), "a");
        relay.set_weather(Weather::Silent);
        stream.write_all(b"b").expect("sent");
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        assert!(read(&mut stream, 1).is_err(), "nothing passes");
        relay.set_weather(Weather::Clear);
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        assert_eq!(read(&mut stream, 1).expect("the held byte"), "b");
    }

    #[test]
    fn delay_is_latency_and_not_a_narrow_pipe() {
        let (_folder, relay) = relay(Some(service("")));
        relay.set_weather(Weather::Delayed(Duration::from_millis(40)));
        let mut stream = open(&relay);
        let start = Instant::now();
        let sent = vec![b'x'; 1 << 20];
        let mut writer = stream.try_clone().expect("a second handle");
        let bytes = sent.clone();
        std::thread::spawn(move || writer.write_all(&bytes));
        assert_eq!(read(&mut stream, sent.len()).expect("the echo").len(), sent.len());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(80), "{took:?}: there and back");
        assert!(
            took < Duration::from_secs(2),
            "{took:?}: the pieces travel together"
        );
    }

    #[test]
    fn a_narrow_way_takes_the_time_that_its_rate_needs() {
        let (_folder, relay) = relay(Some(service("")));
        relay.set_weather(Weather::Narrow(256 << 10));
        let mut stream = open(&relay);
        let start = Instant::now();
        let sent = vec![b'x'; 128 << 10];
        stream.write_all(&sent).expect("sent");
        assert_eq!(read(&mut stream, sent.len()).expect("the echo").len(), sent.len());
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(450),
            "{took:?} for half a second's bytes"
        );
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}
