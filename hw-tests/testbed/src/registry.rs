//! Debian's `docker-registry` on 127.0.0.1, over plain http.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::files::write_atomically;
use crate::oci::push::{self, PushError};
use crate::oci::{Digest, Image};
use crate::ports::{PortError, ReservedPort};
use crate::process::{Service, ServiceError, ServiceSpec};
use crate::scratch::Scratch;
use crate::tools::{self, ToolError};

const START: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(10);

/// The registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The process.
    #[error(transparent)]
    Service(#[from] ServiceError),
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
    #[error("docker-registry is not running: it was stopped")]
    NotRunning,
}

/// How to start a registry. The default is an own empty store and any free port.
#[derive(Debug, Default)]
pub struct RegistryOptions {
    storage: Option<PathBuf>,
    port: Option<u16>,
}

impl RegistryOptions {
    /// Keeps the images in this folder, which outlives the registry, instead of in a temporary one.
    #[must_use]
    pub fn storage(mut self, folder: impl Into<PathBuf>) -> Self {
        self.storage = Some(folder.into());
        self
    }

    /// Listens on this port instead of on any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// A registry that ends when this is dropped. Port, images and log stay over restarts.
#[derive(Debug)]
pub struct Registry {
    program: PathBuf,
    storage: PathBuf,
    port: ReservedPort,
    service: Option<Service>,
    folder: Scratch,
}

impl Registry {
    /// Starts the registry and waits until it answers.
    pub fn start(options: RegistryOptions) -> Result<Self, RegistryError> {
        let program = tools::docker_registry()?;
        let temporary = std::env::temp_dir();
        let folder = Scratch::new("fleet-registry-").map_err(at("use", &temporary))?;
        let mut registry = Self {
            program,
            storage: options.storage.unwrap_or_else(|| folder.path().join("images")),
            port: options
                .port
                .map_or_else(ReservedPort::any, ReservedPort::exactly)?,
            service: None,
            folder,
        };
        registry.start_again()?;
        Ok(registry)
    }

    /// Ends it in order (SIGTERM). Nothing happens when it is down already.
    pub fn stop(&mut self) -> Result<(), RegistryError> {
        self.service
            .take()
            .map_or(Ok(()), |service| service.stop(GRACE))
            .map_err(RegistryError::from)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.service = None;
    }

    /// Freezes it: connections stay open and a pull makes no progress.
    pub fn pause(&mut self) -> Result<(), RegistryError> {
        Ok(self.running()?.pause()?)
    }

    /// Ends a [`Registry::pause`].
    pub fn resume(&mut self) -> Result<(), RegistryError> {
        Ok(self.running()?.resume()?)
    }

    /// An error when it has ended by itself, or was stopped.
    pub fn check(&mut self) -> Result<(), RegistryError> {
        Ok(self.running()?.check()?)
    }

    /// Starts it on the same port with the same images; kills it first when it runs.
    pub fn start_again(&mut self) -> Result<(), RegistryError> {
        self.kill();
        fs::create_dir_all(&self.storage).map_err(at("create", &self.storage))?;
        let config = self.folder.path().join("config.yml");
        write_atomically(&config, 0o600, self.config().as_bytes()).map_err(at("write", &config))?;
        let spec = ServiceSpec::new(
            "docker-registry",
            &self.program,
            [Path::new("serve"), &config],
            &self.log_path(),
        );
        let mut service = Service::start(spec)?;
        let url = self.url();
        service.wait_until("answer on /v2/", START, || push::ping(&url))?;
        self.service = Some(service);
        Ok(())
    }

    /// Uploads an image as `<repository>:<tag>`; what is there already isn't sent again. Answers the manifest's digest.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<Digest, PushError> {
        push::push(&self.url(), image, repository, tag)
    }

    /// Inverts one byte in the middle of a stored blob, as a bad disk would: it is served with its old size and digest. Done twice,
    /// the blob is whole again.
    pub fn damage(&self, blob: &Digest) -> Result<(), RegistryError> {
        let hash = blob.as_str().trim_start_matches("sha256:");
        let store = self.storage.join("docker/registry/v2/blobs/sha256");
        let file = store.join(&hash[..2]).join(hash).join("data");
        let mut bytes = fs::read(&file).map_err(at("read", &file))?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte = !*byte;
        }
        write_atomically(&file, 0o644, &bytes).map_err(at("write", &file))
    }

    /// `127.0.0.1:<port>`, as it stands at the front of an image reference on this machine.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The root of its HTTP API, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its log: each request with its status among others.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("docker-registry.log")
    }

    fn running(&mut self) -> Result<&mut Service, RegistryError> {
        self.service.as_mut().ok_or(RegistryError::NotRunning)
    }

    /// Its configuration is YAML, and JSON is YAML.
    fn config(&self) -> String {
        let config = json!({
            "version": 0.1,
            "log": { "level": "info" },
            "storage": { "filesystem": { "rootdirectory": self.storage }, "delete": { "enabled": true } },
            // Signs the state of uploads between requests of one client; there is one registry, so any word does.
            "http": { "addr": self.address(), "secret": "fleet-testbed" },
        });
        format!("{config:#}\n")
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::File { what, path, source }
}
