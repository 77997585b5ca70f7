//! Why the device is not connected: one sentence, with the next step, for whoever stands before it.

use std::error::Error;
use std::io;
use std::time::Duration;

use async_nats::rustls::{self, CertificateError};
use async_nats::{ConnectError, ConnectErrorKind};
use chrono::{DateTime, Utc};

use crate::settings::Identity;
use crate::words::chain;

/// Why a connection could not be made. `said` is what the server said meanwhile.
pub(super) fn of_connect(identity: &Identity, error: &ConnectError, said: Option<&str>) -> String {
    let server = server(identity);
    if let Some(tls) = tls(error) {
        return of_tls(identity, server, tls);
    }
    match error.kind() {
        ConnectErrorKind::Dns => format!(
            "the name of {server} cannot be found ({}): check the device's network and its name server, or nats.url in fleet.toml",
            cause(error)
        ),
        ConnectErrorKind::AuthorizationViolation => shut_out(server),
        ConnectErrorKind::Authentication => {
            format!(
                "the key in {} cannot be used: enrol the device again",
                key_file(identity)
            )
        }
        ConnectErrorKind::TimedOut => silent(server),
        ConnectErrorKind::Tls => match &identity.ca {
            Some(ca) => format!(
                "the CA in {} cannot be used ({}): enrol the device again with the CA of {server}",
                ca.display(),
                cause(error)
            ),
            None => format!(
                "no TLS with {server} ({}): set nats.ca in fleet.toml and enrol the device again",
                cause(error)
            ),
        },
        _ => of_io(server, error, said),
    }
}

/// What a server said before it closed a connection that was up.
pub(super) fn of_words(identity: &Identity, words: &str) -> String {
    let lower = words.to_lowercase();
    let shut = [
        "authorization violation",
        "authentication",
        "user authentication revoked",
    ];
    match shut.iter().any(|word| lower.contains(word)) {
        true => shut_out(server(identity)),
        false => words.to_owned(),
    }
}

/// No answer within the limit of a whole try.
pub(super) fn of_silence(identity: &Identity, within: Duration) -> String {
    format!(
        "{} (given up after {} s)",
        silent(server(identity)),
        within.as_secs()
    )
}

/// `host:port`, as it was enrolled.
fn server(identity: &Identity) -> &str {
    let url = &identity.enrolment.nats.url;
    url.strip_prefix("tls://").unwrap_or(url)
}

fn key_file(identity: &Identity) -> String {
    identity.folder.join("nats.nk").display().to_string()
}

fn shut_out(server: &str) -> String {
    format!(
        "{server} refuses the key of this device (authorization violation): add the device to the server's users, or enrol it again with a key that is among them"
    )
}

fn silent(server: &str) -> String {
    format!(
        "{server} does not answer: check the device's network, and that no firewall keeps it from that port"
    )
}

fn of_io(server: &str, error: &ConnectError, said: Option<&str>) -> String {
    let words = match said {
        Some(said) => said.to_owned(),
        None => cause(error),
    };
    let kind = io_error(error).map(io::Error::kind);
    let advice = match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            return format!(
                "nothing listens at {server} (connection refused): check that the server runs, and nats.url in fleet.toml"
            );
        }
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            return format!(
                "there is no way to {server} from here ({words}): check the device's cable or its address"
            );
        }
        Some(io::ErrorKind::TimedOut) => return silent(server),
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            "check that a NATS server with TLS answers there, and look at its log"
        }
        _ => "look at the server's log",
    };
    format!("{server} ended the connection before it was up ({words}): {advice}")
}

fn of_tls(identity: &Identity, server: &str, error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return format!("no TLS with {server} ({error}): check that a NATS server with TLS answers there");
    };
    match problem {
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the device's clock says {}, which is before the certificate of {server} begins ({}): the device connects once its clock is right, so let it reach a time server (NTP, UDP port 123)",
            date(time.as_secs()),
            date(not_before.as_secs())
        ),
        CertificateError::NotValidYet => format!(
            "the device's clock is before the certificate of {server} begins: let the device reach a time server (NTP, UDP port 123)"
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {server} ended on {}, and the device's clock says {}: renew the certificate, or let the device reach a time server if its clock is wrong",
            date(not_after.as_secs()),
            date(time.as_secs())
        ),
        CertificateError::Expired => format!(
            "the certificate of {server} has ended by the device's clock: renew it, or let the device reach a time server if its clock is wrong"
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match identity.ca {
            Some(_) => format!(
                "the certificate of {server} is not from the CA that the device was enrolled with: check who answers there, or put the server's CA into nats.ca of fleet.toml and enrol the device again"
            ),
            None => format!(
                "the certificate of {server} is from no CA that the device knows: put the server's CA into nats.ca of fleet.toml and enrol the device again"
            ),
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the certificate of the server is not for {server}: use a name in nats.url that it is for, or issue it for this one"
        ),
        other => format!(
            "the certificate of {server} cannot be used ({other:?}): issue it anew and install it on the server"
        ),
    }
}

fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    at.map_or_else(
        || "an unknown date".to_owned(),
        |at| at.format("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// What lies behind the library's own words.
fn cause(error: &ConnectError) -> String {
    match error.source() {
        Some(source) => chain(source),
        None => error.to_string(),
    }
}

fn io_error(error: &ConnectError) -> Option<&io::Error> {
    error.source()?.downcast_ref::<io::Error>()
}

/// The TLS library's own error. It is inside of the I/O error, whose `source` would skip it.
fn tls(error: &ConnectError) -> Option<&rustls::Error> {
    io_error(error)?.get_ref()?.downcast_ref::<rustls::Error>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Seed;
    use async_nats::rustls::pki_types::UnixTime;

    fn identity(ca: bool) -> Identity {
        Identity {
            enrolment: toml::from_str("device_id = \"pi-1\"\n[nats]\nurl = \"tls://nats.test:4222\"\n")
                .unwrap(),
            seed: Seed::new("SUASECRET"),
            ca: ca.then(|| "/id/ca.pem".into()),
            folder: "/id".into(),
        }
    }

    fn certificate(problem: CertificateError) -> ConnectError {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidCertificate(problem),
        );
        ConnectError::from(error)
    }

    #[test]
    fn a_clock_of_1970_is_named_as_the_reason_and_not_the_certificate() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let error = certificate(CertificateError::NotValidYetContext {
            time: at(60),
            not_before: at(1_767_225_600),
        });
        assert_eq!(
            of_connect(&identity(true), &error, None),
            "the device's clock says 1970-01-01 00:01 UTC, which is before the certificate of nats.test:4222 begins (2026-01-01 00:00 UTC): the device connects once its clock is right, so let it reach a time server (NTP, UDP port 123)"
        );
        let ended = certificate(CertificateError::ExpiredContext {
            time: at(1_767_225_600),
            not_after: at(60),
        });
        let words = of_connect(&identity(true), &ended, None);
        assert!(
            words.contains("ended on 1970-01-01") && words.contains("renew"),
            "{words}"
        );
    }

    /// Each as one sentence with the server, without the secret, and with something to do after the last colon.
    #[test]
    fn every_reason_names_the_server_and_a_next_step() {
        let io = |kind| ConnectError::from(io::Error::from(kind));
        let with = |kind, words: &str| ConnectError::with_source(kind, words.to_owned());
        let errors = [
            with(ConnectErrorKind::Dns, "failed to lookup address information"),
            with(
                ConnectErrorKind::AuthorizationViolation,
                "authorization violation",
            ),
            ConnectError::new(ConnectErrorKind::TimedOut),
            with(ConnectErrorKind::Tls, "no certificate"),
            with(ConnectErrorKind::Io, "expected INFO, got nothing"),
            io(io::ErrorKind::ConnectionRefused),
            io(io::ErrorKind::NetworkUnreachable),
            io(io::ErrorKind::UnexpectedEof),
            certificate(CertificateError::UnknownIssuer),
            certificate(CertificateError::NotValidForName),
            certificate(CertificateError::Revoked),
        ];
        for error in &errors {
            for ca in [true, false] {
                let words = of_connect(&identity(ca), error, None);
                let (what, next) = words
                    .rsplit_once(": ")
                    .unwrap_or_else(|| panic!("no next step: {words}"));
                assert!(
                    words.contains("nats.test:4222") || words.contains("/id/"),
                    "{words}"
                );
                assert!(
                    what.len() > 20 && next.len() > 15 && !words.contains('\n'),
                    "{words}"
                );
                assert!(!words.contains("SUASECRET"), "{words}");
            }
        }
        let key = ConnectError::new(ConnectErrorKind::Authentication);
        assert_eq!(
            of_connect(&identity(true), &key, None),
            "the key in /id/nats.nk cannot be used: enrol the device again"
        );
    }

    #[test]
    fn a_key_that_is_revoked_while_connected_reads_as_one_that_was_never_let_in() {
        let words = of_words(&identity(true), "User Authentication Revoked");
        assert!(words.contains("refuses the key"), "{words}");
        assert_eq!(
            of_words(&identity(true), "the server is shutting down"),
            "the server is shutting down"
        );
    }
}
