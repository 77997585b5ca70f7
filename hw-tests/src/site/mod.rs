//! A site: one virtual device, enrolled, with the services it calls running on this machine. Suites, benches and the demo all
//! start here.
//!
//! Keys and certificates of the site are kept in the cache: they are part of `fleet.toml`, and a device that was prepared with them
//! once is at hand in a second or two the next time, with services that are new and empty each time.

mod keys;
mod kv;
mod logs;
mod page_watch;
mod survival;
mod trial;
mod upgrade;
mod version;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fleet_protocol::DeviceId;
use fleet_protocol::enrolment::{ClockEnrolment, Enrolment, NatsEnrolment, RegistryEnrolment};
use fleet_testbed::nats::{NatsError, NatsOptions, NatsServer, NatsUser, UserKey};
use fleet_testbed::registry::{Registry, RegistryError, RegistryOptions};
use fleet_testbed::sample::{self, SampleError};

use crate::error::{Fault, RigError};
use crate::image::DeviceImage;
use crate::qemu::{Hardware, Preparation, PreparedDevice, QemuRig, QemuSettings};
use crate::rig::Service;

pub use keys::SiteKeys;
pub use kv::{FleetKv, KvError};
pub use logs::{Answer, LogDesk};
pub use page_watch::{PageWatch, Seen};
pub use survival::{come_back, require_whole};
pub use trial::{Trial, score, web};
pub use upgrade::{Moment, careful, require_initialized_in_this_boot};
pub use version::Version;

/// The device of every site.
pub const DEVICE: &str = "virtual-1";
/// Its label `site`.
pub const SITE_LABEL: &str = "demo";
/// The command that is true in a device whose agent is up.
const AGENT_RUNS: &str = "systemctl --user -M fleet@ is-active fleet-agent.service";
const FIRST_BOOT: Duration = Duration::from_secs(300);

/// A site could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The device or its rig.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// A file of the site in the cache.
    #[error("the site's keys in the cache are not usable")]
    Keys(#[source] Fault),
    /// A certificate.
    #[error("the site's certificates")]
    Certificates(#[from] fleet_testbed::ca::CaError),
    /// nats-server.
    #[error("the site's nats-server")]
    Nats(#[from] NatsError),
    /// The registry.
    #[error("the site's registry")]
    Registry(#[from] RegistryError),
    /// The sample images.
    #[error("the sample images")]
    Samples(#[from] SampleError),
    /// The key-value buckets.
    #[error("the site's buckets")]
    Kv(#[from] KvError),
}

/// Services for one virtual device. Dropping it ends them.
#[derive(Debug)]
pub struct Site {
    /// The real nats-server, with TLS and one user for each party.
    pub nats: NatsServer,
    /// The real registry, with every sample image in it.
    pub registry: Registry,
    /// Who may do what.
    pub keys: SiteKeys,
}

impl Site {
    /// Starts nats-server and registry, with empty stores and the sample images.
    pub fn open() -> Result<Self, SiteError> {
        Self::open_with(|options| options)
    }

    /// As [`Site::open`], with a say in how nats-server starts.
    pub fn open_with(change: impl FnOnce(NatsOptions) -> NatsOptions) -> Result<Self, SiteError> {
        let keys = SiteKeys::kept()?;
        let options = NatsOptions::default()
            .tls_with(keys.tls.clone())
            .user(NatsUser::device(&keys.device, &Self::device()))
            .user(NatsUser::operator(&keys.operator))
            .user(NatsUser::unrestricted(&keys.tester));
        let nats = NatsServer::start(change(options))?;
        let registry = Registry::start(RegistryOptions::default())?;
        sample::push_all(&registry)?;
        Ok(Self { nats, registry, keys })
    }

    /// The device's id.
    pub fn device() -> DeviceId {
        DEVICE.parse().expect("the constant is an id")
    }

    /// Lets other devices in, such as simulated ones, and gives their keys in the same order.
    pub fn admit(&mut self, devices: &[DeviceId]) -> Result<Vec<UserKey>, SiteError> {
        let mut keys = Vec::new();
        let mut users = Vec::new();
        for device in devices {
            let key = UserKey::generate()?;
            users.push(NatsUser::device(&key, device));
            keys.push(key);
        }
        self.nats.add_users(users)?;
        Ok(keys)
    }

    /// The buckets, seen as an operator sees them.
    pub fn kv(&self) -> Result<FleetKv, SiteError> {
        Ok(FleetKv::connect(&self.nats, &self.keys.tester)?)
    }

    /// The device's `fleet.toml`.
    pub fn fleet_toml(keys: &SiteKeys) -> Result<String, SiteError> {
        let ca = std::fs::read_to_string(&keys.tls.ca)
            .map_err(|source| SiteError::Keys(Fault::file("read", &keys.tls.ca)(source)))?;
        let enrolment = Enrolment {
            device_id: Self::device(),
            labels: [("site".to_owned(), SITE_LABEL.to_owned())].into(),
            nats: NatsEnrolment {
                url: format!("tls://{}", Service::Nats.device_address()),
                credential: Some(keys.device.seed().to_owned()),
                ca: Some(ca),
            },
            registry: vec![RegistryEnrolment {
                location: Service::Registry.device_address().to_owned(),
                insecure: true,
            }],
            // The device reaches no time server: SNTP is UDP, and only TCP is carried to this machine.
            clock: Some(ClockEnrolment { servers: Vec::new() }),
        };
        Ok(toml::to_string(&enrolment).expect("an enrolment has tables last and string keys only"))
    }

    /// Rig settings that lead the device to this site's services.
    pub fn settings(&self, name: &str) -> QemuSettings {
        let here = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        QemuSettings {
            nats: here(self.nats.port()),
            registry: here(self.registry.port()),
            ..QemuSettings::new(name)
        }
    }

    /// The enrolled device with its agent up, frozen; made once for each image.
    pub fn prepared(&self) -> Result<PreparedDevice, SiteError> {
        Self::prepared_with(&self.keys)
    }

    /// As [`Site::prepared`], for suites that need no services.
    pub fn prepared_with(keys: &SiteKeys) -> Result<PreparedDevice, SiteError> {
        let image = DeviceImage::find().map_err(SiteError::Keys)?;
        let preparation = Preparation {
            fleet_toml: Some(Self::fleet_toml(keys)?),
            ready_when: AGENT_RUNS.to_owned(),
            deadline: FIRST_BOOT,
            hardware: Hardware::default(),
        };
        Ok(PreparedDevice::get(&image, &preparation)?)
    }

    /// The enrolled device, running, led to this site's services.
    pub fn device_running(&self, name: &str) -> Result<QemuRig, SiteError> {
        Ok(self.prepared()?.restore(self.settings(name))?)
    }
}
