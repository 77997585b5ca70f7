//! Simulated devices: they speak the real protocol and nothing else, so that an operator cannot tell.
//!
//! - [`SimOptions`] says how many, and how they behave; [`Simulation::start`] lets them live
//! - [`script`]: which phases a deployment goes through, and when; pure
//! - [`logs`]: what it answers to who asks for logs
//! - [`device`]: one device: info, heartbeats, its one consumer, its states
//!
//! Devices share connections (one for each [`SimOptions::per_connection`]), so that a thousand fit on a small machine; with
//! a folder of credentials each has its own, as in the field. What they do not do: run anything.

pub mod device;
mod logs;
pub mod script;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fleet_protocol::{DeviceId, IdError, permissions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::store::nats::{ConnectOptions, Connection, OptionsError};
use device::SimDevice;

/// How many devices, where, and how they behave.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// How many.
    pub devices: usize,
    /// They are called `<prefix>-0001` and on.
    pub prefix: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Where NATS is, and as whom; for shared connections.
    pub connect: ConnectOptions,
    /// Folder with `<device>.nk` for each device; each then has its own connection with its own rights.
    pub credentials: Option<PathBuf>,
    /// Devices on one shared connection.
    pub per_connection: usize,
    /// How they behave.
    pub behaviour: Behaviour,
}

/// How a simulated device behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// Time of each phase, on average; half to one and a half of it.
    pub latency: Duration,
    /// Chance that a start fails, 0 to 1. It is tried again.
    pub failure_rate: f64,
    /// Chance to go offline in any minute, 0 to 1.
    pub churn: f64,
    /// How long it then stays away, on average.
    pub away: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        let (latency, away) = (Duration::from_millis(500), Duration::from_secs(90));
        Self {
            latency,
            failure_rate: 0.0,
            churn: 0.0,
            away,
        }
    }
}

/// Why the simulation cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Prefix and number make no id.
    #[error("the device id {id:?} {error}")]
    Id {
        /// The text.
        id: String,
        /// Why.
        error: IdError,
    },
    /// NATS cannot be used.
    #[error(transparent)]
    Connect(#[from] OptionsError),
}

/// Devices that live until they are ended.
#[derive(Debug)]
pub struct Simulation {
    stop: watch::Sender<bool>,
    devices: JoinSet<()>,
}

impl Simulation {
    /// Starts all devices.
    ///
    /// # Errors
    /// [`SimError`] when the options cannot work. A server that is down is tried until it is there.
    pub async fn start(options: &SimOptions, clock: &Clock) -> Result<Self, SimError> {
        let (stop, stopped) = watch::channel(false);
        let mut devices = JoinSet::new();
        let mut shared = None;
        for (index, id) in device_ids(options)?.into_iter().enumerate() {
            let connection = match &options.credentials {
                Some(folder) => own_connection(options, folder, &id).await?,
                None if index % options.per_connection.max(1) == 0 => {
                    shared.insert(shared_connection(options, index).await?).clone()
                }
                None => shared
                    .clone()
                    .expect("the first device of each group opened a connection"),
            };
            let device = SimDevice::new(
                id,
                options.labels.clone(),
                options.behaviour,
                connection,
                clock.clone(),
            );
            devices.spawn(device.run(stopped.clone()));
        }
        Ok(Self { stop, devices })
    }

    /// Ends all devices in order: each deletes its consumer.
    pub async fn close(mut self) {
        self.stop.send(true).ok();
        while self.devices.join_next().await.is_some() {}
    }
}

fn device_ids(options: &SimOptions) -> Result<Vec<DeviceId>, SimError> {
    let width = options.devices.to_string().len().max(4);
    let ids = (1..=options.devices).map(|number| {
        let id = format!("{}-{number:0width$}", options.prefix);
        DeviceId::new(id.clone()).map_err(|error| SimError::Id { id, error })
    });
    ids.collect()
}

async fn own_connection(
    options: &SimOptions,
    folder: &std::path::Path,
    id: &DeviceId,
) -> Result<Connection, SimError> {
    let connect = ConnectOptions {
        credential: Some(folder.join(format!("{id}.nk"))),
        name: format!("fleet-sim {id}"),
        inbox_prefix: permissions::device_inbox(id),
        ..options.connect.clone()
    };
    Ok(Connection::open(&connect).await?)
}

async fn shared_connection(options: &SimOptions, index: usize) -> Result<Connection, SimError> {
    let connect = ConnectOptions {
        name: format!("fleet-sim {index} and on"),
        ..options.connect.clone()
    };
    Ok(Connection::open(&connect).await?)
}
