//! A certificate authority for one test or one demo, and server certificates under it.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::files::write_atomically;

/// The names a service is reached by: from a guest of the rig, and from this machine.
pub const SERVER_NAMES: [&str; 3] = ["10.0.2.100", "127.0.0.1", "localhost"];

/// A certificate could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// rcgen refused.
    #[error("cannot make a certificate for {subject}")]
    Make {
        /// Whose certificate.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The file could not be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A certificate authority; its key lives in memory only.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// PEM files of one server.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// The authority's certificate (0644), for the clients.
    pub ca: PathBuf,
    /// The server's certificate (0644).
    pub certificate: PathBuf,
    /// The server's key (0600).
    pub key: PathBuf,
}

impl ServerFiles {
    /// The files that an earlier call left in `folder`, else new ones of a new authority: for a service that devices met before.
    /// Callers that may race hold a lock of their own.
    pub fn kept_in(folder: &Path) -> Result<Self, CaError> {
        let kept = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("server.pem"),
            key: folder.join("server-key.pem"),
        };
        // The key is written last, so a folder that has it has all three.
        if kept.key.is_file() {
            return Ok(kept);
        }
        Authority::new()?.write_server_files(folder)
    }
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new() -> Result<Self, CaError> {
        let subject = "fleet testbed CA";
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, subject);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            valid_for_long(&mut params);
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        let issuer = make().map_err(|source| CaError::Make {
            subject: subject.into(),
            source,
        })?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for `names` (DNS names or addresses) and its key, both as PEM.
    pub fn issue(&self, names: &[&str]) -> Result<(String, String), CaError> {
        let make = || {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params
                .distinguished_name
                .push(DnType::CommonName, "fleet testbed server");
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            valid_for_long(&mut params);
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok((certificate.pem(), key.serialize_pem()))
        };
        make().map_err(|source| CaError::Make {
            subject: names.join(", "),
            source,
        })
    }

    /// Issues a certificate for [`SERVER_NAMES`] and writes it with its key and the authority's certificate to `folder`.
    pub fn write_server_files(&self, folder: &Path) -> Result<ServerFiles, CaError> {
        let (certificate, key) = self.issue(&SERVER_NAMES)?;
        let write = |name: &str, mode, text: String| {
            let path = folder.join(name);
            match write_atomically(&path, mode, text.as_bytes()) {
                Ok(()) => Ok(path),
                Err(source) => Err(CaError::Write { path, source }),
            }
        };
        Ok(ServerFiles {
            ca: write("ca.pem", 0o644, self.pem())?,
            certificate: write("server.pem", 0o644, certificate)?,
            key: write("server-key.pem", 0o600, key)?,
        })
    }
}

/// A device under test may have a clock that is years off; what is tested there is the clock gate, not this certificate.
fn valid_for_long(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_only_and_the_certificates_are_public() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let authority = Authority::new().expect("an authority");
        let files = authority.write_server_files(folder.path()).expect("files");
        let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(
            (mode(&files.ca), mode(&files.certificate), mode(&files.key)),
            (0o644, 0o644, 0o600)
        );
    }
}
