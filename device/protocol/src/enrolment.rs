//! `fleet.toml`: what a field engineer puts on the card so that a device knows who it is and whom to call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::score::FieldError;
use crate::time_server::{MAX_SERVERS, ServerName};

/// Largest `fleet.toml`, in bytes.
pub const MAX_ENROLMENT_BYTES: usize = 64 * 1024;

/// The content of `fleet.toml`. After first boot the same file lies on `data` as `device.toml`, with the
/// secret and the CA in files of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Who the device is. Becomes its host name.
    pub device_id: DeviceId,
    /// Labels that selectors match on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whom to call.
    pub nats: NatsEnrolment,
    /// Registries that need more than the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registry: Vec<RegistryEnrolment>,
    /// Where the time comes from, where the internet's servers cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockEnrolment>,
}

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockEnrolment {
    /// Time servers, instead of the default ones. None at all means that the clock is not checked.
    pub servers: Vec<ServerName>,
}

/// How to reach NATS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsEnrolment {
    /// `tls://host:port`. `nats://` is refused: the credential would cross the network in the open.
    pub url: String,
    /// The seed of a NATS user key (`SU…`). A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// PEM of the CA that signed the server's certificate; without it the system's roots are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// The secret never reaches a log.
impl std::fmt::Debug for NatsEnrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsEnrolment")
            .field("url", &self.url)
            .field("credential", &self.credential.as_ref().map(|_| "(set)"))
            .field("ca", &self.ca.as_ref().map(|_| "(set)"))
            .finish()
    }
}

/// A registry that is not plain https with a public certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryEnrolment {
    /// `host` or `host:port`, as it stands in image names.
    pub location: String,
    /// Plain http, or https with a certificate that nobody signed.
    #[serde(default)]
    pub insecure: bool,
}

impl Enrolment {
    /// Everything that is wrong with it beyond its shape; empty is valid. The seed and the PEM are not
    /// checked here, since that takes a crypto library: the reader does it.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        match self.nats.url.strip_prefix("tls://") {
            Some(rest) if host_and_port(rest) => {}
            _ => problems.push(FieldError::new("nats.url", "is not tls://host:port")),
        }
        for (index, registry) in self.registry.iter().enumerate() {
            if !host_and_port(&registry.location) {
                let path = format!("registry[{index}].location");
                problems.push(FieldError::new(&path, "is not host or host:port"));
            }
        }
        let servers = self.clock.as_ref().map_or(0, |clock| clock.servers.len());
        if servers > MAX_SERVERS {
            let problem = format!("has {servers} names: {MAX_SERVERS} at most");
            problems.push(FieldError::new("clock.servers", &problem));
        }
        problems.extend(crate::score::label_problems("labels", &self.labels));
        problems
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good_host = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        }
    };
    good_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = r#"
            device_id = "basement-lyon-7"
            [labels]
            site = "lyon"
            [nats]
            url = "tls://nats.example.com:4222"
            credential = "SUAC"
            [[registry]]
            location = "10.0.2.100:5000"
            insecure = true
            [clock]
            servers = ["ntp.lyon.example.com", "192.168.1.1"]
        "#;
        let enrolment: Enrolment = toml::from_str(text).unwrap();
        assert_eq!(enrolment.problems(), Vec::new());
        assert_eq!(enrolment.clock.as_ref().unwrap().servers[1].host(), "192.168.1.1");
        let again = toml::to_string(&enrolment).unwrap();
        assert_eq!(toml::from_str::<Enrolment>(&again).unwrap(), enrolment);
        assert!(!format!("{enrolment:?}").contains("SUAC"));
    }

    #[test]
    fn time_servers_are_names_and_not_too_many() {
        let with = |servers: &[&str]| {
            let text =
                format!("device_id = \"a\"\n[nats]\nurl = \"tls://h:1\"\n[clock]\nservers = {servers:?}\n");
            toml::from_str::<Enrolment>(&text)
        };
        let error = with(&["ok.example.com", "ntp://x"]).unwrap_err().to_string();
        assert!(
            error.contains("line 5") && error.contains("names no time server"),
            "{error}"
        );
        let problems = with(&["a.b"; 9]).unwrap().problems();
        assert_eq!(problems[0].to_string(), "clock.servers has 9 names: 8 at most");
        assert_eq!(with(&["a.b"; 8]).unwrap().problems(), []);
        assert_eq!(with(&[]).unwrap().problems(), [], "no check at all is a choice");
    }

    #[test]
    fn urls_that_would_send_the_secret_in_the_open_are_refused() {
        for url in [
            "nats://h:4222",
            "h:4222",
            "tls://",
            "tls://h:0",
            "tls://h:x",
            "tls://a b:1",
            "tls://user@h:1",
        ] {
            let text = format!("device_id = \"a\"\n[nats]\nurl = \"{url}\"\n");
            let enrolment: Enrolment = toml::from_str(&text).unwrap();
            assert_eq!(enrolment.problems().len(), 1, "{url}");
        }
    }
}
