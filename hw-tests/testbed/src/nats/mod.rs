//! `nats-server` with JetStream, as the fleet uses it, and the ways it can go away and come back.

#[cfg(feature = "client")]
mod client;
mod config;
mod users;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::ca::{Authority, CaError, ServerFiles};
use crate::files::write_atomically;
use crate::ports::{PortError, ReservedPort};
use crate::process::{Service, ServiceError, ServiceSpec};
use crate::scratch::Scratch;
use crate::tools::{self, ToolError};

pub use users::{NatsUser, UserKey};

const START: Duration = Duration::from_secs(20);
const RELOAD: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(20);

/// The server could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CaError),
    /// The process.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A key pair.
    #[error("cannot make a user key")]
    Key {
        /// Why.
        source: nkeys::error::Error,
    },
    /// A file or folder.
    #[error("cannot {what} {path}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was stopped or killed and not started again.
    #[error("nats-server is not running: it was stopped")]
    NotRunning,
}

/// Where a server's certificate comes from.
#[derive(Debug, Default)]
enum Tls {
    #[default]
    Off,
    OfItsOwn,
    Given(ServerFiles),
}

/// How to start a server. The default is open to everybody on loopback, without TLS, with an own empty store.
#[derive(Debug, Default)]
pub struct NatsOptions {
    tls: Tls,
    users: Vec<NatsUser>,
    store: Option<PathBuf>,
    port: Option<u16>,
}

impl NatsOptions {
    /// TLS with a certificate for [`crate::ca::SERVER_NAMES`] of an authority that is made for this server.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Tls::OfItsOwn;
        self
    }

    /// TLS with these files, which clients may know from before.
    #[must_use]
    pub fn tls_with(mut self, files: ServerFiles) -> Self {
        self.tls = Tls::Given(files);
        self
    }

    /// Admits this user; once there is one, nobody else gets in.
    #[must_use]
    pub fn user(mut self, user: NatsUser) -> Self {
        self.users.push(user);
        self
    }

    /// Keeps the JetStream data in this folder, which outlives the server, instead of in a temporary one.
    #[must_use]
    pub fn store(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = Some(folder.into());
        self
    }

    /// Listens on this port instead of on any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// A `nats-server` on 127.0.0.1 that ends when this is dropped. Port, users, certificate and log stay over restarts.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    users: Vec<NatsUser>,
    store: PathBuf,
    port: ReservedPort,
    monitor: ReservedPort,
    tls: Option<ServerFiles>,
    service: Option<Service>,
    folder: Scratch,
}

impl NatsServer {
    /// Starts the server and waits until it accepts clients and JetStream is up.
    pub fn start(options: NatsOptions) -> Result<Self, NatsError> {
        let program = tools::nats_server()?;
        let temporary = std::env::temp_dir();
        let folder = Scratch::new("fleet-nats-").map_err(at("use", &temporary))?;
        let tls = match options.tls {
            Tls::Off => None,
            Tls::OfItsOwn => Some(Authority::new()?.write_server_files(folder.path())?),
            Tls::Given(files) => Some(files),
        };
        let mut server = Self {
            program,
            users: options.users,
            store: options.store.unwrap_or_else(|| folder.path().join("store")),
            port: options
                .port
                .map_or_else(ReservedPort::any, ReservedPort::exactly)?,
            monitor: ReservedPort::any()?,
            tls,
            service: None,
            folder,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Ends it in order (SIGTERM), as an administrator would. Nothing happens when it is down already.
    pub fn stop(&mut self) -> Result<(), NatsError> {
        self.service
            .take()
            .map_or(Ok(()), |service| service.stop(GRACE))
            .map_err(NatsError::from)
    }

    /// Kills it (SIGKILL), as a crash or a power cut of the machine would.
    pub fn kill(&mut self) {
        self.service = None;
    }

    /// Freezes it: connections stay open and nothing is answered, as on a network that swallows everything.
    pub fn pause(&mut self) -> Result<(), NatsError> {
        Ok(self.running()?.pause()?)
    }

    /// Ends a [`NatsServer::pause`].
    pub fn resume(&mut self) -> Result<(), NatsError> {
        Ok(self.running()?.resume()?)
    }

    /// An error when it has ended by itself, or was stopped.
    pub fn check(&mut self) -> Result<(), NatsError> {
        Ok(self.running()?.check()?)
    }

    /// Starts it on the same port with the same store; kills it first when it runs.
    pub fn start_again(&mut self) -> Result<(), NatsError> {
        self.kill();
        self.write_config()?;
        let spec = ServiceSpec::new(
            "nats-server",
            &self.program,
            [Path::new("--config"), &self.config_path()],
            &self.log_path(),
        );
        let mut service = Service::start(spec)?;
        let port = self.port.number();
        service.wait_until("accept clients with JetStream", START, || read_info(port))?;
        self.service = Some(service);
        Ok(())
    }

    /// Starts it on the same port with an empty store: what a restored or replaced server looks like to its clients.
    pub fn start_again_empty(&mut self) -> Result<(), NatsError> {
        self.kill();
        match fs::remove_dir_all(&self.store) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("empty", &self.store)(error)),
            _ => self.start_again(),
        }
    }

    /// Admits one more user without a restart (SIGHUP), and waits until that holds. Clients that are connected stay.
    pub fn add_user(&mut self, user: NatsUser) -> Result<(), NatsError> {
        self.add_users([user])
    }

    /// The same for several at once.
    pub fn add_users(&mut self, users: impl IntoIterator<Item = NatsUser>) -> Result<(), NatsError> {
        self.users.extend(users);
        self.reload()
    }

    /// Shuts out the user with this public key without a restart; its connections are closed by the server.
    pub fn remove_user(&mut self, public_key: &str) -> Result<(), NatsError> {
        self.users.retain(|user| user.public_key() != public_key);
        self.reload()
    }

    /// What a client on this machine connects to.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port.number())
    }

    /// The clients' port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's monitoring pages (`/varz`, `/jsz?consumers=true`, …), without a slash at the end.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor.number())
    }

    /// The PEM file of the authority that clients have to trust; none without TLS.
    pub fn ca_path(&self) -> Option<&Path> {
        self.tls.as_ref().map(|files| files.ca.as_path())
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("nats-server.log")
    }

    /// The folder with the JetStream data.
    pub fn store(&self) -> &Path {
        &self.store
    }

    fn running(&mut self) -> Result<&mut Service, NatsError> {
        self.service.as_mut().ok_or(NatsError::NotRunning)
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("nats-server.conf")
    }

    fn write_config(&self) -> Result<(), NatsError> {
        let listen = config::Listen {
            port: self.port.number(),
            monitor: self.monitor.number(),
        };
        let text = config::render(listen, &self.store, self.tls.as_ref(), &self.users);
        let path = self.config_path();
        write_atomically(&path, 0o600, text.as_bytes()).map_err(at("write", &path))
    }

    fn reload(&mut self) -> Result<(), NatsError> {
        self.write_config()?;
        let log = self.log_path();
        let before = outcomes_of_reloads(&log);
        let service = self.running()?;
        service.signal(Signal::SIGHUP)?;
        service.wait_until("take over the changed configuration", RELOAD, || {
            let now = outcomes_of_reloads(&log);
            if now.done > before.done {
                Ok(())
            } else {
                Err(format!("{} refusals", now.refused - before.refused))
            }
        })?;
        Ok(())
    }
}

struct ReloadCounts {
    done: usize,
    refused: usize,
}

fn outcomes_of_reloads(log: &Path) -> ReloadCounts {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    ReloadCounts {
        done: text.matches("Reloaded server configuration").count(),
        refused: text.matches("Failed to reload server configuration").count(),
    }
}

/// Reads the INFO line, which the server sends unasked, in clear text also with TLS, to each client that connects.
fn read_info(port: u16) -> Result<(), String> {
    let look = || -> io::Result<String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = look().map_err(|error| error.to_string())?;
    let info = line
        .strip_prefix("INFO ")
        .and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
    match info {
        Some(info) if info["jetstream"] == true => Ok(()),
        _ => Err(format!("it said {line:?}")),
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NatsError {
    let path = path.to_owned();
    move |source| NatsError::File { what, path, source }
}
