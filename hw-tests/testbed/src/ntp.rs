//! Time servers on 127.0.0.1: a real one, and those that nobody should believe.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::write_atomically;
use crate::process::{Service, ServiceError, ServiceSpec};
use crate::scratch::Scratch;
use crate::tools::{self, ToolError};

const START: Duration = Duration::from_secs(20);
/// Seconds from NTP's epoch (1900) to Unix's.
const EPOCH: u64 = 2_208_988_800;
/// Length of a packet without extensions, in bytes (RFC 5905 section 7.3).
const PACKET: usize = 48;

/// A time server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NtpError {
    /// No program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The process.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A file or a socket.
    #[error("cannot {what} for a time server")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> NtpError {
    move |source| NtpError::Io { what, source }
}

/// Debian's `chronyd`, which tells this machine's time and does not touch it. Dropping it ends it.
#[derive(Debug)]
pub struct Chrony {
    _service: Service,
    address: SocketAddr,
    _folder: Scratch,
}

impl Chrony {
    /// Starts it on any free port and waits until it answers.
    pub fn start() -> Result<Self, NtpError> {
        let program = tools::chronyd()?;
        let folder = Scratch::new("fleet-chrony-").map_err(io("make a folder"))?;
        // Given back at once: nobody here hands out UDP ports at random, so it is still free a moment later.
        let address = socket()?.local_addr().map_err(io("find a port"))?;
        let config = folder.path().join("chrony.conf");
        let pid = folder.path().join("pid");
        let text = format!(
            "port {}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 8\ncmdport 0\npidfile {}\n",
            address.port(),
            pid.display()
        );
        write_atomically(&config, 0o600, text.as_bytes()).map_err(io("write the configuration"))?;
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .map_err(|errno| io("find out who this is")(errno.into()))?
            .map_or_else(|| "root".to_owned(), |user| user.name);
        // -x: never sets the clock; -U: needs no root for that.
        let args = ["-d", "-x", "-U", "-u", &user, "-f"].map(std::path::Path::new);
        let args = args.into_iter().chain([config.as_path()]);
        let log = folder.path().join("chronyd.log");
        let mut service = Service::start(ServiceSpec::new("chronyd", &program, args, &log))?;
        service.wait_until("tell the time", START, || answers(address))?;
        Ok(Self {
            _service: service,
            address,
            _folder: folder,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn socket() -> Result<UdpSocket, NtpError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("open a socket"))
}

/// Whether the server there answers as a server whose clock is set.
fn answers(address: SocketAddr) -> Result<(), String> {
    let asking = || -> io::Result<[u8; PACKET]> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut packet = [0; PACKET];
        packet[0] = 0x23;
        socket.send(&packet)?;
        socket.recv(&mut packet)?;
        Ok(packet)
    };
    let packet = asking().map_err(|error| error.to_string())?;
    match packet[0] >> 6 {
        3 => Err("its clock is not set".to_owned()),
        _ => Ok(()),
    }
}

/// What a server that is not to be believed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Tells a time that is off by so many seconds.
    Off(i64),
    /// Sends a kiss-o'-death with this code.
    Kiss([u8; 4]),
    /// Says that its own clock is not set.
    Unset,
    /// Answers to what nobody asked: another origin.
    Stray,
    /// Sends half a packet.
    Half,
    /// Hears and says nothing.
    Silent,
}

/// A time server that is not to be believed. Dropping it ends it.
#[derive(Debug)]
pub struct Liar {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Starts it on any free port.
    pub fn start(manner: Manner) -> Result<Self, NtpError> {
        let socket = socket()?;
        let address = socket.local_addr().map_err(io("find a port"))?;
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .map_err(io("set a limit"))?;
        let (heard, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&heard), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut request = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut request) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(manner, &request[..length]) {
                    // A client that went away is no trouble of a server.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self {
            address,
            heard,
            end,
            thread: Some(thread),
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(manner: Manner, request: &[u8]) -> Option<Vec<u8>> {
    let asked: [u8; 8] = request.get(40..PACKET)?.try_into().ok()?;
    let off = match manner {
        Manner::Off(seconds) => seconds,
        _ => 0,
    };
    let time = timestamp(off);
    let mut packet = vec![0; PACKET];
    packet[0] = match manner {
        Manner::Unset => 0xe4,
        _ => 0x24,
    };
    packet[1] = match manner {
        Manner::Kiss(_) => 0,
        _ => 2,
    };
    packet[3] = 0xec;
    packet[12..16].copy_from_slice(match &manner {
        Manner::Kiss(code) => code,
        _ => b"\x7f\0\0\x01",
    });
    packet[16..24].copy_from_slice(&time);
    packet[24..32].copy_from_slice(&asked);
    packet[32..40].copy_from_slice(&time);
    packet[40..48].copy_from_slice(&time);
    match manner {
        Manner::Silent => None,
        Manner::Half => Some(packet[..PACKET / 2].to_vec()),
        Manner::Stray => {
            packet[24] ^= 0xff;
            Some(packet)
        }
        Manner::Off(_) | Manner::Kiss(_) | Manner::Unset => Some(packet),
    }
}

#[expect(clippy::disallowed_methods, reason = "a time server tells the time")]
fn timestamp(off: i64) -> [u8; 8] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (now.as_secs() + EPOCH).saturating_add_signed(off) & u64::from(u32::MAX);
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    ((seconds << 32) | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_is_no_question_gets_no_answer() {
        assert_eq!(answer(Manner::Off(0), b"short"), None);
        assert_eq!(
            answer(Manner::Half, &[0; PACKET]).map(|half| half.len()),
            Some(24)
        );
    }
}
