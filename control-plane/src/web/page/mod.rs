//! Pages: pure functions from views and the time to markup.

mod deployment;
mod device;
mod events;
mod fleet;
mod frame;
mod icon;
mod lines;
mod logs;
mod missing;
mod pair;
mod parts;
mod time;

pub(super) use deployment::{deployment, deployments};
pub(super) use device::device;
pub(super) use events::{EventFilter, events};
pub(crate) use fleet::SAMPLE as SAMPLE_MANIFEST;
pub(super) use fleet::{DeviceFilter, fleet};
pub(super) use frame::{Body, is_whole, whole};
pub(super) use logs::{LogsFilter, logs};
pub(super) use missing::{
    Thing, bad_query, no_deployment, no_device, no_page, no_pair, not_asked_yet, not_known_yet, unavailable,
};
pub(super) use pair::pair;
pub(crate) use time::span;
