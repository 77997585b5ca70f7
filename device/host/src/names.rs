//! Names on the device that are derived from a deployment's name, all in one place.
//!
//! A volume's part is set off by `.`, which no id contains: with `-`, volume `b-c` of deployment `a` and
//! volume `c` of deployment `a-b` would be the same volume. The same dot sets off an init container, behind `init-`: volumes
//! and containers are different things to podman, so that a volume called `init-x` takes nothing from anybody.

use std::fmt;

use fleet_protocol::DeploymentName;
use fleet_protocol::deployment::RESERVED_NAMES;

/// What every name of ours begins with.
pub(crate) const PREFIX: &str = "fleet-";
/// Between a deployment's name and that of one of its init containers.
const INIT: &str = ".init-";

/// Splits `<deployment>` or `<deployment>.init-<name>`.
fn split(stem: &str) -> Option<(DeploymentName, Option<&str>)> {
    let (deployment, init) = match stem.split_once(INIT) {
        Some((deployment, init)) => (deployment, Some(init)),
        None => (stem, None),
    };
    // An init container's name keeps the rules of an id.
    let good = init.is_none_or(|init| DeploymentName::new(init).is_ok());
    let deployment = DeploymentName::new(deployment).ok()?;
    good.then_some((deployment, init))
}

/// The stem that a deployment's files, units and containers share.
fn stem(deployment: &DeploymentName, init: Option<&str>) -> Result<String, NameError> {
    if RESERVED_NAMES.contains(&deployment.as_str()) {
        return Err(NameError::Reserved(deployment.as_str().to_owned()));
    }
    match init {
        None => Ok(container_name(deployment)),
        Some(name) if DeploymentName::new(name).is_ok() => Ok(init_container_name(deployment, name)),
        Some(name) => malformed(name, "the name of an init container"),
    }
}

/// Why a text is not one of our names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The unit of such a deployment would replace a unit of the platform.
    #[error("a deployment cannot be called {0:?}: its unit would replace one of the platform's own")]
    Reserved(String),
    /// Not a name of the expected form.
    #[error("{text:?} is not {expected}")]
    Malformed {
        /// The text.
        text: String,
        /// What it should have been.
        expected: &'static str,
    },
}

fn malformed<T>(text: &str, expected: &'static str) -> Result<T, NameError> {
    Err(NameError::Malformed {
        text: text.to_owned(),
        expected,
    })
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// A unit of a deployment: `fleet-<deployment>.service`, or that of one of its init containers,
/// `fleet-<deployment>.init-<name>.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(String);
text_type!(UnitName);

impl UnitName {
    /// The unit of this deployment.
    ///
    /// # Errors
    /// [`NameError::Reserved`] when that is a unit of the platform.
    pub fn of(deployment: &DeploymentName) -> Result<Self, NameError> {
        Ok(Self(format!("{}.service", stem(deployment, None)?)))
    }

    /// The unit of one of its init containers.
    ///
    /// # Errors
    /// [`NameError`], also when `init` breaks the rules of an id.
    pub fn init(deployment: &DeploymentName, init: &str) -> Result<Self, NameError> {
        Ok(Self(format!("{}.service", stem(deployment, Some(init))?)))
    }

    /// Reads a unit's name as systemd tells it.
    ///
    /// # Errors
    /// [`NameError`] when it is not one of a deployment.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(".service"));
        match name.and_then(split) {
            Some((deployment, init)) => Ok(Self(format!("{}.service", stem(&deployment, init)?))),
            None => malformed(text, "fleet-<deployment>.service"),
        }
    }

    fn parts(&self) -> (DeploymentName, Option<&str>) {
        let name = self
            .0
            .strip_prefix(PREFIX)
            .and_then(|name| name.strip_suffix(".service"));
        name.and_then(split).expect("every constructor checks it")
    }

    /// The deployment that this unit belongs to.
    ///
    /// # Panics
    /// Never: every constructor checks it.
    #[must_use]
    pub fn deployment(&self) -> DeploymentName {
        self.parts().0
    }

    /// The init container whose unit this is; `None` for the main one's.
    #[must_use]
    pub fn init_name(&self) -> Option<&str> {
        self.parts().1
    }
}

/// The container of a deployment: `fleet-<deployment>`.
#[must_use]
pub fn container_name(deployment: &DeploymentName) -> String {
    format!("{PREFIX}{deployment}")
}

/// An init container of a deployment: `fleet-<deployment>.init-<name>`.
#[must_use]
pub fn init_container_name(deployment: &DeploymentName, init: &str) -> String {
    format!("{PREFIX}{deployment}{INIT}{init}")
}

/// A volume of a deployment: `fleet-<deployment>.<name>`.
#[must_use]
pub fn volume_name(deployment: &DeploymentName, name: &str) -> String {
    format!("{PREFIX}{deployment}.{name}")
}

/// The name of a Quadlet file of ours: `fleet-<deployment>.container`, or `fleet-<deployment>.init-<name>.container`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitFileName(String);
text_type!(UnitFileName);

impl UnitFileName {
    /// The file of a deployment's container.
    ///
    /// # Errors
    /// [`NameError::Reserved`], as with [`UnitName::of`].
    pub fn container(deployment: &DeploymentName) -> Result<Self, NameError> {
        Ok(Self(format!("{}.container", stem(deployment, None)?)))
    }

    /// The file of one of its init containers.
    ///
    /// # Errors
    /// [`NameError`], as with [`UnitName::init`].
    pub fn init(deployment: &DeploymentName, init: &str) -> Result<Self, NameError> {
        Ok(Self(format!("{}.container", stem(deployment, Some(init))?)))
    }

    /// Reads the name of a file found on disk.
    ///
    /// # Errors
    /// [`NameError`] when it is not one that this crate writes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix(".container"));
        match name.and_then(split) {
            Some((deployment, init)) => Ok(Self(format!("{}.container", stem(&deployment, init)?))),
            None => malformed(
                text,
                "fleet-<deployment>.container or fleet-<deployment>.init-<name>.container",
            ),
        }
    }

    fn parts(&self) -> (DeploymentName, Option<&str>) {
        let name = self
            .0
            .strip_prefix(PREFIX)
            .and_then(|name| name.strip_suffix(".container"));
        name.and_then(split).expect("every constructor checks it")
    }

    /// The deployment that the file belongs to.
    ///
    /// # Panics
    /// Never: every constructor checks it.
    #[must_use]
    pub fn deployment(&self) -> DeploymentName {
        self.parts().0
    }

    /// The init container whose file this is; `None` for the main one's.
    #[must_use]
    pub fn init_name(&self) -> Option<&str> {
        self.parts().1
    }

    /// The unit that systemd's generator makes of it.
    #[must_use]
    pub fn unit(&self) -> UnitName {
        let stem = self
            .0
            .strip_suffix(".container")
            .expect("every constructor checks it");
        UnitName(format!("{stem}.service"))
    }
}

/// systemd's `InvocationID`: 32 hex digits. Another one is another start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(String);
text_type!(InvocationId);

impl InvocationId {
    /// From the 16 bytes that D-Bus gives; `None` for a unit that never ran (no bytes, or all zero).
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 16 || bytes.iter().all(|b| *b == 0) {
            return None;
        }
        Some(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// From 32 hex digits, as a record keeps it.
    ///
    /// # Errors
    /// [`NameError::Malformed`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() == 32
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Self(text.to_owned()));
        }
        malformed(text, "an invocation id: 32 hex digits")
    }
}

/// A content digest: `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);
text_type!(Digest);

impl Digest {
    /// Reads `sha256:…`.
    ///
    /// # Errors
    /// [`NameError::Malformed`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Self(text.to_owned()));
        }
        malformed(text, "a digest: sha256: and 64 hex digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DeploymentName {
        DeploymentName::new(text).unwrap()
    }

    #[test]
    fn a_deployment_cannot_take_the_agents_own_unit() {
        assert_eq!(
            UnitName::of(&name("agent")),
            Err(NameError::Reserved("agent".into()))
        );
        assert_eq!(
            UnitName::of(&name("agent-2")).unwrap().as_str(),
            "fleet-agent-2.service"
        );
    }

    #[test]
    fn two_deployments_never_share_a_volume() {
        assert_ne!(volume_name(&name("a"), "b-c"), volume_name(&name("a-b"), "c"));
    }

    /// No id contains a dot, so the first `.init-` is the one that was put there.
    #[test]
    fn an_init_container_takes_no_name_of_another_deployment_or_of_its_own_main_container() {
        let units = [
            UnitName::of(&name("a")),
            UnitName::init(&name("a"), "b"),
            UnitName::of(&name("a-init-b")),
            UnitName::init(&name("a-init"), "b"),
            UnitName::init(&name("a"), "init-b"),
        ];
        let different: std::collections::BTreeSet<_> = units.iter().cloned().map(Result::unwrap).collect();
        assert_eq!(different.len(), units.len());
        assert!(UnitName::init(&name("a"), "b.service\nx").is_err());
        assert!(UnitName::init(&name("agent"), "b").is_err());
    }

    #[test]
    fn file_names_are_read_back() {
        let parsed = UnitFileName::parse("fleet-a-b.container").unwrap();
        assert_eq!(
            (parsed.as_str(), parsed.deployment()),
            ("fleet-a-b.container", name("a-b"))
        );
        let init = UnitFileName::parse("fleet-a-b.init-set-up.container").unwrap();
        assert_eq!(
            (init.deployment(), init.init_name()),
            (name("a-b"), Some("set-up"))
        );
        assert_eq!(init, UnitFileName::init(&name("a-b"), "set-up").unwrap());
        let unit = init.unit();
        assert_eq!(unit.as_str(), "fleet-a-b.init-set-up.service");
        assert_eq!(UnitName::init(&name("a-b"), "set-up"), Ok(unit.clone()));
        assert_eq!(UnitName::parse(unit.as_str()), Ok(unit.clone()));
        assert_eq!(
            (unit.deployment(), unit.init_name()),
            (name("a-b"), Some("set-up"))
        );
        assert_eq!(parsed.unit(), UnitName::of(&name("a-b")).unwrap());
        assert_eq!(parsed.init_name(), None);
        for text in [
            "fleet-a.init-.container",
            "fleet-a.init-B.container",
            "fleet-a.init-b.init-c.container",
            "fleet-.init-b.container",
            "fleet-agent.init-b.container",
            "fleet-a.b.container",
            "web.container",
            "fleet-.container",
            "fleet-agent.container",
            "fleet-a.volume",
            "fleet-a/../b.container",
            "fleet-a.container~",
            ".fleet-a.container~new",
        ] {
            assert!(UnitFileName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_that_never_ran_has_no_invocation() {
        assert_eq!(InvocationId::from_bytes(&[]), None);
        assert_eq!(InvocationId::from_bytes(&[0; 16]), None);
        assert_eq!(
            InvocationId::from_bytes(&[0xab; 16]).unwrap().as_str(),
            "ab".repeat(16)
        );
    }
}
