//! Asking time servers (SNTP, RFC 4330 and 5905, by `sntpc`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fleet_protocol::time_server::ServerName;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use sntpc::{KissOfDeathCode, NtpContext, NtpResult, NtpTimestampGenerator, NtpUdpSocket};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Clock, SystemClock};

/// Longest that asking takes, the look-up of names included. Nobody waits longer for an agent that starts.
const PATIENCE: Duration = Duration::from_secs(5);
/// An address that has not answered for this long is asked once more, since datagrams are lost; what comes late still counts.
const AGAIN: Duration = Duration::from_millis(1_500);
const TRIES: u32 = 2;
/// Longest that one name is looked up, so that others get their turn.
const LOOKUP: Duration = Duration::from_secs(2);
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
    /// It was not asked, since it wanted to be left alone.
    Rests,
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
    /// Asks every configured server, those at `resting` addresses excepted ([`Said::Rests`]), and comes back with what they said within five
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
            if let Ok(address) = server.host().parse::<IpAddr>() {
                return Ok(Ok([SocketAddr::from((address, server.port()))].into()));
            }
            // Never closed, so that an error is as good as a permit.
            let _turn = lookups.acquire().await;
            let found = timeout(LOOKUP, lookup_host((server.host(), server.port()))).await?;
            Ok::<_, Elapsed>(found.map(|found| found.take(ADDRESSES).collect()))
        };
        let found: Result<io::Result<BTreeSet<SocketAddr>>, _> =
            timeout_at(end, looking_up).await.unwrap_or_else(Err);
        let addresses = match found {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                let reason = format!("its name has no address: {error}");
                return vec![reply(None, Said::Nothing(reason))];
            }
            Err(_) => {
                let reason = "its name was not looked up in time".to_owned();
                return vec![reply(None, Said::Nothing(reason))];
            }
        };
        let asking = addresses.into_iter().map(async |address| {
            let said = match resting.contains(&address) {
                true => Said::Rests,
                false => self.ask_address(address, end).await,
            };
            reply(Some(address), said)
        });
        join_all(asking).await
    }

    async fn ask_address(&self, address: SocketAddr, end: Instant) -> Said {
        let mut tries: FuturesUnordered<_> = (0..TRIES)
            .map(async |number| {
                sleep(AGAIN * number).await;
                self.ask_once(address).await
            })
            .collect();
        let mut last = "it does not answer".to_owned();
        while let Ok(Some(outcome)) = timeout_at(end, tries.next()).await {
            match outcome {
                Ok(said) => return said,
                Err(problem) => last = problem,
            }
        }
        Said::Nothing(last)
    }

    /// What it said, or the problem that another try may not have.
    async fn ask_once(&self, address: SocketAddr) -> Result<Said, String> {
        let socket = self
            .socket(address)
            .map_err(|error| format!("it cannot be reached: {error}"))?;
        let context = NtpContext::new(Stamp::default());
        match sntpc::get_time(address, &socket, context).await {
            Ok(result) => Ok(time_of(&result)),
            Err(sntpc::Error::KissOfDeath(code)) => Ok(match kiss_of(code) {
                Some(kiss) => Said::Kiss(kiss),
                None => Said::Nothing(format!("it refuses with {}", code.as_str())),
            }),
            // The second may be an answer to an earlier question.
            Err(error @ (sntpc::Error::Network | sntpc::Error::IncorrectOriginTimestamp)) => {
                Err(problem(error).to_owned())
            }
            Err(error) => Ok(Said::Nothing(problem(error).to_owned())),
        }
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
