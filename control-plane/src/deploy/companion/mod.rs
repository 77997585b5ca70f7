//! Companions of a score: what one kind of score can do and another need not.
//!
//! A companion is a trait over the topology that it runs on; a score says which companions it has ([`Score`]). What has none
//! says so to whoever asks, and nothing breaks.

pub mod logs;

use fleet_protocol::{DeploymentName, DeviceId, PodmanV0Score};

use logs::{Logs, LogsOf};

/// What scores run on, and what their companions ask through.
pub trait Topology: Send + Sync {}

/// One kind of score on a topology.
pub trait Score<T: Topology>: Send + Sync {
    /// The companion that gives the logs; `None` when this kind of score exposes none.
    fn logs<'a>(&'a self, _of: LogsOf) -> Option<Logs<'a, T>> {
        None
    }
}

/// One deployment on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The device.
    pub device: DeviceId,
    /// The deployment.
    pub deployment: DeploymentName,
}

impl<T: logs::Devices> Score<T> for PodmanV0Score {
    fn logs<'a>(&'a self, of: LogsOf) -> Option<Logs<'a, T>> {
        Some(Logs::new(logs::PodmanLogQuery::new(of), self))
    }
}

/// The score as it came over the wire has the companions of its kind.
impl<T: logs::Devices> Score<T> for fleet_protocol::Score {
    fn logs<'a>(&'a self, of: LogsOf) -> Option<Logs<'a, T>> {
        let Self::PodmanV0(score) = self;
        Score::<T>::logs(&**score, of)
    }
}
