//! Words: ids, keys, amounts, image references, names of units. What is taken reads back from how it is shown.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use fleet_host::{Digest, InvocationId, UnitFileName};
use fleet_protocol::bucket::PairKey;
use fleet_protocol::quantity::{ByteSize, Cpus, Span};
use fleet_protocol::score::ImageRef;
use fleet_protocol::{DeploymentName, DeviceId};

pub(super) fn run(bytes: &[u8]) {
    let Ok(word) = std::str::from_utf8(bytes) else {
        return;
    };
    reads_back::<ByteSize>(word);
    reads_back::<Cpus>(word);
    reads_back::<Span>(word);
    reads_back::<ImageRef>(word);
    reads_back::<DeviceId>(word);
    reads_back::<DeploymentName>(word);
    if let Some(key) = PairKey::parse(word) {
        assert_eq!(key.to_string(), word);
    }
    if let Ok(name) = UnitFileName::parse(word) {
        let (deployment, unit) = (name.deployment(), name.unit());
        assert_eq!(
            (unit.deployment(), unit.init_name()),
            (deployment.clone(), name.init_name())
        );
        let again = match name.init_name() {
            None => UnitFileName::container(&deployment),
            Some(init) => UnitFileName::init(&deployment, init),
        };
        assert_eq!(again, Ok(name));
    }
    let _never_dies = (
        Digest::parse(word),
        InvocationId::parse(word),
        InvocationId::from_bytes(bytes),
    );
}

fn reads_back<T: FromStr + Display + PartialEq + Debug>(word: &str) {
    if let Ok(value) = word.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value), "{word:?}");
    }
}
