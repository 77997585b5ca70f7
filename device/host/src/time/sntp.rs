//! Asking time servers (SNTP, RFC 4330 and 5905, by `sntpc`).

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fleet_protocol::time_server::ServerName;
use futures_util::future::join_all;
use sntpc::{KissOfDeathCode, NtpContext, NtpResult, NtpTimestampGenerator, NtpUdpSocket};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Clock, SystemClock};

/// Longest that asking takes, the look-up of names included. Nobody waits longer for an agent that starts.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for one answer. Datagrams are lost, so each address is asked [`TRIES`] times within [`PATIENCE`].
const ANSWER: Duration = Duration::from_millis(1_500);
const TRIES: u32 = 2;
/// Most addresses asked of one name: `pool.ntp.org` has four, and each is another operator's.
const ADDRESSES: usize = 4;
/// Most names that are looked up at one time: each takes a blocking thread, and keeps it when nobody waits any more. Files are
/// written by the same threads.
const LOOKUPS: usize = 2;

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The server, as it is configured.
    pub server: String,
    /// The address that was asked; absent when the name has none.
    pub address: Option<SocketAddr>,
    /// What it said.
    pub said: Said,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The time.
    Time {
        /// Milliseconds by which the server is ahead of this clock; negative when it is behind.
        offset_millis: i64,
        /// Milliseconds by which that can be off.
        error_millis: u64,
    },
    /// To be left alone (kiss-o'-death, RFC 5905 section 7.4).
    Kiss(Kiss),
    /// Nothing of use; the reason is a phrase for a person.
    Nothing(String),
}

/// What a server that wants to be left alone asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kiss {
    /// DENY, RSTR: never to be asked again.
    Leave,
    /// RATE: to be asked less often.
    Slower,
}

/// Asks time servers.
pub trait TimeServers {
    /// Asks every configured server, those at `resting` addresses excepted, and comes back with what they said within five
    /// seconds, in the order in which they are configured. No server is no reply.
    async fn ask(&self, resting: &BTreeSet<SocketAddr>) -> Vec<Reply>;
}

/// The servers, over UDP.
#[derive(Debug, Clone)]
pub struct Sntp {
    servers: Vec<ServerName>,
    source_port: u16,
}

impl Sntp {
    /// `source_port` is what a strict firewall lets out; 0 is any.
    #[must_use]
    pub fn new(servers: Vec<ServerName>, source_port: u16) -> Self {
        Self { servers, source_port }
    }

    async fn ask_name(
        &self,
        server: &ServerName,
        resting: &BTreeSet<SocketAddr>,
        lookups: &Semaphore,
        end: Instant,
    ) -> Vec<Reply> {
        let reply = |address, said| Reply {
            server: server.to_string(),
            address,
            said,
        };
        let looking_up = async {
            // Never closed, so that an error is as good as a permit.
            let _turn = lookups.acquire().await;
            lookup_host((server.host(), server.port())).await
        };
        let found = timeout_at(end, looking_up).await;
        let addresses: BTreeSet<SocketAddr> = match found {
            Ok(Ok(found)) => found.take(ADDRESSES).collect(),
            Ok(Err(error)) => {
                return vec![reply(
                    None,
                    Said::Nothing(format!("its name has no address: {error}")),
                )];
            }
            Err(_) => {
                return vec![reply(
                    None,
                    Said::Nothing("its name was not looked up in time".to_owned()),
                )];
            }
        };
        let asked = addresses.difference(resting);
        join_all(asked.map(async |address| reply(Some(*address), self.ask_address(*address, end).await)))
            .await
    }

    async fn ask_address(&self, address: SocketAddr, end: Instant) -> Said {
        let socket = match self.socket(address) {
            Ok(socket) => socket,
            Err(error) => return Said::Nothing(format!("it cannot be reached: {error}")),
        };
        let mut last = "it does not answer".to_owned();
        for _ in 0..TRIES {
            let context = NtpContext::new(Stamp::default());
            let asking = timeout(ANSWER, sntpc::get_time(address, &socket, context));
            match timeout_at(end, asking).await {
                Ok(Ok(Ok(result))) => return time_of(&result),
                Ok(Ok(Err(sntpc::Error::KissOfDeath(code)))) => match kiss_of(code) {
                    Some(kiss) => return Said::Kiss(kiss),
                    None => return Said::Nothing(format!("it refuses with {}", code.as_str())),
                },
                Ok(Ok(Err(error))) => last = problem(error).to_owned(),
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
        Said::Nothing(last)
    }

    /// A socket that hears this address only. With a port of its own, several of them share it.
    fn socket(&self, address: SocketAddr) -> io::Result<Connected> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(Protocol::UDP),
        )?;
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.source_port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.source_port)),
        };
        if self.source_port != 0 {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&any.into())?;
        socket.connect(&address.into())?;
        Ok(Connected(UdpSocket::from_std(socket.into())?, address))
    }
}

impl TimeServers for Sntp {
    async fn ask(&self, resting: &BTreeSet<SocketAddr>) -> Vec<Reply> {
        let end = Instant::now() + PATIENCE;
        let lookups = Semaphore::new(LOOKUPS);
        let asking = self
            .servers
            .iter()
            .map(|server| self.ask_name(server, resting, &lookups, end));
        join_all(asking).await.concat()
    }
}

/// A socket and its only peer.
struct Connected(UdpSocket, SocketAddr);

impl NtpUdpSocket for Connected {
    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> sntpc::Result<usize> {
        self.0.send(buf).await.map_err(|_| sntpc::Error::Network)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        let received = self.0.recv(buf).await.map_err(|_| sntpc::Error::Network)?;
        Ok((received, self.1))
    }
}

/// The time at which a datagram leaves or comes.
#[derive(Debug, Clone, Copy, Default)]
struct Stamp(Duration);

impl NtpTimestampGenerator for Stamp {
    fn init(&mut self) {
        // Before 1970 there is no time to tell: the answer is then off by as much, which is far beyond any tolerance.
        let micros = SystemClock.now().timestamp_micros();
        self.0 = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    }

    fn timestamp_sec(&self) -> u64 {
        self.0.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        self.0.subsec_micros()
    }
}

fn time_of(result: &NtpResult) -> Said {
    // NTP's short format: seconds and 1/65536 of them, sixteen bits each.
    let short = |value: u32| u64::from(value) * 1000 / 65_536;
    Said::Time {
        offset_millis: result.offset / 1000,
        error_millis: result.roundtrip / 2000 + short(result.root_delay) / 2 + short(result.root_dispersion),
    }
}

/// What a code asks for; `None` for those that ask for nothing.
fn kiss_of(code: KissOfDeathCode) -> Option<Kiss> {
    match code {
        KissOfDeathCode::Deny | KissOfDeathCode::Rstr => Some(Kiss::Leave),
        KissOfDeathCode::Rate => Some(Kiss::Slower),
        _ => None,
    }
}

fn problem(error: sntpc::Error) -> &'static str {
    match error {
        sntpc::Error::UnsynchronizedClock => "its own clock is not set",
        sntpc::Error::ExcessiveRootDistance => "it is too far from any reference",
        sntpc::Error::Network => "it cannot be reached, or no server listens there",
        _ => "its answer makes no sense",
    }
}
