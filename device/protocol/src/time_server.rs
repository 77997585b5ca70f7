//! The names of time servers, as a person writes them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// NTP's port (RFC 5905).
const NTP: u16 = 123;
/// Most time servers that are configured: a majority of more is no surer.
pub const MAX_SERVERS: usize = 8;
/// Longest host name in DNS, in bytes.
const MAX_HOST: usize = 253;

/// A time server: `host`, `host:port`, an IPv4 address, an IPv6 address, or `[IPv6]:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName {
    host: String,
    port: u16,
}

/// Why a text names no time server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} names no time server: {problem}; write host, host:port or [IPv6 address]:port")]
pub struct ServerNameError {
    given: String,
    problem: &'static str,
}

impl ServerName {
    /// Name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// UDP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the port is NTP's own: systemd-timesyncd knows no other.
    #[must_use]
    pub fn is_at_the_usual_port(&self) -> bool {
        self.port == NTP
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        let fail = |problem| ServerNameError {
            given: text.chars().take(80).collect(),
            problem,
        };
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            let host = address.to_string();
            return Ok(Self { host, port: NTP });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| fail("the bracket is not closed"))?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(fail("what is in brackets is no IPv6 address"));
                }
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(fail("after the bracket comes a port or nothing")),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            return Err(fail("the host is neither a name nor an address"));
        }
        let port = match port {
            None => NTP,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(fail("the port is not between 1 and 65535")),
                Ok(port) => port,
            },
        };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name of digits and dots only is an address with a typing error.
    let lettered = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    host.len() <= MAX_HOST && lettered && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

impl TryFrom<String> for ServerName {
    type Error = ServerNameError;

    fn try_from(text: String) -> Result<Self, ServerNameError> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match (*port, host.contains(':')) {
            (NTP, _) => f.write_str(host),
            (_, true) => write!(f, "[{host}]:{port}"),
            (_, false) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, host, port) in [
            ("time.cloudflare.com", "time.cloudflare.com", 123),
            ("ntp-1.site.lan:1123", "ntp-1.site.lan", 1123),
            ("192.168.1.1", "192.168.1.1", 123),
            ("10.0.2.2:12300", "10.0.2.2", 12300),
            ("2001:db8::1", "2001:db8::1", 123),
            ("[2001:db8::1]:1123", "2001:db8::1", 1123),
        ] {
            let name: ServerName = text.parse().unwrap();
            assert_eq!((name.host(), name.port()), (host, port), "{text}");
            assert_eq!(name.to_string().parse::<ServerName>().unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_reason() {
        let long = "a".repeat(254);
        for (text, word) in [
            ("", "neither"),
            ("ntp://pool.ntp.org", "port"),
            ("pool ntp.org", "neither"),
            ("-a.b", "neither"),
            ("192.168.1.300", "neither"),
            (long.as_str(), "neither"),
            ("host:0", "port"),
            ("host:99999", "port"),
            ("host:", "port"),
            ("[2001:db8::1", "not closed"),
            ("[host]:1", "no IPv6"),
            ("[::1]1", "or nothing"),
            ("2001:db8::1:zz", "neither"),
        ] {
            let error = text.parse::<ServerName>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
