//! What podman's words mean.
//!
//! The sentences are those of podman 5.4 and the libraries in it (containers/image 5.34, containers/storage
//! 1.57, Go's net and crypto/tls); the tests hold whole specimens. podman has one exit status (125) for all.

use crate::exec::ExecError;
use crate::names::NameError;

/// What went wrong with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageErrorKind {
    /// The registry has no such repository, tag or digest.
    NotFound,
    /// It exists, but not for this architecture.
    WrongArchitecture,
    /// The registry wants other credentials. Docker Hub says so of what does not exist, too.
    Unauthorized,
    /// No answer, or one that says "later".
    RegistryUnreachable,
    /// The registry's certificate is not accepted, or it speaks plain http.
    Tls,
    /// No room on the device.
    DiskFull,
    /// The bytes are not what the digest promises, or the storage is damaged.
    Corrupt,
    /// Took longer than any pull may.
    Timeout,
    /// podman failed in words that this build does not know.
    Podman,
}

impl ImageErrorKind {
    /// The stable word for a cause.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "image-not-found",
            Self::WrongArchitecture => "image-wrong-architecture",
            Self::Unauthorized => "registry-unauthorized",
            Self::RegistryUnreachable => "registry-unreachable",
            Self::Tls => "registry-tls",
            Self::DiskFull => "disk-full",
            Self::Corrupt => "image-corrupt",
            Self::Timeout => "pull-timeout",
            Self::Podman => "podman-failed",
        }
    }

    /// Whether the same pull can succeed later without anybody changing the deployment.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::RegistryUnreachable | Self::DiskFull | Self::Corrupt | Self::Timeout | Self::Podman => true,
            Self::NotFound | Self::WrongArchitecture | Self::Unauthorized | Self::Tls => false,
        }
    }
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// podman failed.
    #[error("{}: {detail}", kind.as_str())]
    Podman {
        /// What that means.
        kind: ImageErrorKind,
        /// podman's last words.
        detail: String,
    },
    /// There is too little room to begin a pull.
    #[error(
        "{free_mib} MiB are free and {reserve_mib} MiB are kept in reserve: free some space on the device"
    )]
    NoRoom {
        /// Free space, in MiB.
        free_mib: u64,
        /// What must stay free, in MiB.
        reserve_mib: u64,
    },
    /// The pulled bytes could not be brought to the disk for good, or the disk could not be asked.
    #[error("the disk failed")]
    Disk(#[source] std::io::Error),
    /// podman answered in a form that this build does not know.
    #[error("podman's answer to {operation} cannot be read")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: NameError,
    },
}

impl ImageError {
    /// The error for a call to podman that failed.
    pub(crate) fn of(error: &ExecError) -> Self {
        let kind = if error.is_timeout() {
            ImageErrorKind::Timeout
        } else {
            classify(&error.stderr)
        };
        Self::Podman {
            kind,
            detail: detail(error),
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn image_kind(&self) -> ImageErrorKind {
        match self {
            Self::Podman { kind, .. } => *kind,
            Self::NoRoom { .. } => ImageErrorKind::DiskFull,
            Self::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => ImageErrorKind::DiskFull,
            Self::Disk(_) => ImageErrorKind::Corrupt,
            Self::Answer { .. } => ImageErrorKind::Podman,
        }
    }

    /// The stable word for a cause.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.image_kind().as_str()
    }

    /// Whether the same call can succeed later without anybody changing the deployment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.image_kind().is_transient()
    }
}

/// podman's last `Error: …`, or what else there is.
fn detail(error: &ExecError) -> String {
    match final_error(&error.stderr) {
        Some(line) => line.to_owned(),
        None => error.to_string(),
    }
}

/// The last `Error: …` line. Earlier lines are warnings of tries that podman repeated by itself.
fn final_error(stderr: &str) -> Option<&str> {
    stderr
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("Error: "))
}

/// The order counts: a sentence about a full disk may quote a digest, one about TLS may say "Get".
const SIGNS: [(ImageErrorKind, &[&str]); 7] = [
    (
        ImageErrorKind::DiskFull,
        &["no space left on device", "disk quota exceeded"],
    ),
    (
        ImageErrorKind::Tls,
        &[
            "x509:",
            "tls: ",
            "server gave HTTP response to HTTPS client",
            "remote error: tls",
        ],
    ),
    (
        ImageErrorKind::WrongArchitecture,
        &[
            "no image found in image index for architecture",
            "no image found in manifest list for architecture",
        ],
    ),
    (
        ImageErrorKind::NotFound,
        &[
            "manifest unknown",
            "name unknown",
            "repository name not known",
            "status 404",
            "StatusCode: 404",
            "not found: manifest",
        ],
    ),
    (
        ImageErrorKind::Unauthorized,
        &[
            "unauthorized",
            "authentication required",
            "access to the resource is denied",
            "invalid username/password",
            "status 401",
            "status 403",
            "denied:",
            "403 (Forbidden)",
        ],
    ),
    (
        ImageErrorKind::Corrupt,
        &[
            "Digest did not match",
            "does not match expected",
            "invalid tar header",
            "gzip: invalid",
            "invalid checksum",
            "layer not known",
            "size for layer",
            "is corrupt",
            "digest verification failed",
            "unexpected end of JSON",
        ],
    ),
    (
        ImageErrorKind::RegistryUnreachable,
        &[
            "connection refused",
            "connection reset",
            "no such host",
            "server misbehaving",
            "i/o timeout",
            "TLS handshake timeout",
            "network is unreachable",
            "no route to host",
            "deadline exceeded",
            "Client.Timeout",
            "broken pipe",
            "EOF",
            "toomanyrequests",
            "too many requests",
            "pinging container registry",
            "HTTP status: 5",
            "HTTP status: 429",
            "status 5",
            "status 429",
        ],
    ),
];

/// What podman's standard error means.
pub(crate) fn classify(stderr: &str) -> ImageErrorKind {
    let text = final_error(stderr).unwrap_or(stderr);
    // A handshake that timed out is the network's fault, not the certificate's.
    let text = text.replace("net/http: TLS handshake timeout", "i/o timeout");
    let meant = SIGNS
        .iter()
        .find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
    meant.map_or(ImageErrorKind::Podman, |(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn podmans_own_sentences_are_understood() {
        use ImageErrorKind::*;
        let specimens = [
            (
                NotFound,
                "Error: initializing source docker://10.0.2.100:5000/nope:1: reading manifest 1 in 10.0.2.100:5000/nope: manifest unknown",
            ),
            (
                NotFound,
                "Error: initializing source docker://10.0.2.100:5000/nope:1: reading manifest 1 in 10.0.2.100:5000/nope: name unknown: repository name not known to registry",
            ),
            (
                Unauthorized,
                "Error: initializing source docker://docker.io/library/nope:1: reading manifest 1 in docker.io/library/nope: requested access to the resource is denied",
            ),
            (
                Unauthorized,
                "Error: unable to copy from source docker://ghcr.io/a/b:1: initializing source docker://ghcr.io/a/b:1: Requesting bearer token: invalid status code from registry 403 (Forbidden)",
            ),
            (
                Unauthorized,
                "Error: initializing source docker://r.example/a:1: unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password",
            ),
            (
                RegistryUnreachable,
                "Error: initializing source docker://10.0.2.100:5000/web:1: pinging container registry 10.0.2.100:5000: Get \"https://10.0.2.100:5000/v2/\": dial tcp 10.0.2.100:5000: connect: connection refused",
            ),
            (
                RegistryUnreachable,
                "Error: initializing source docker://r.example/a:1: pinging container registry r.example: Get \"https://r.example/v2/\": dial tcp: lookup r.example on 10.0.2.3:53: no such host",
            ),
            (
                RegistryUnreachable,
                "Error: initializing source docker://r.example/a:1: pinging container registry r.example: Get \"https://r.example/v2/\": net/http: TLS handshake timeout",
            ),
            (
                RegistryUnreachable,
                "Error: copying system image from manifest list: reading blob sha256:ab: fetching blob: received unexpected HTTP status: 503 Service Unavailable",
            ),
            (
                RegistryUnreachable,
                "Error: copying system image from manifest list: writing blob: storing blob to file \"/var/tmp/container_images_storage1/1\": happened during read: unexpected EOF",
            ),
            (
                RegistryUnreachable,
                "Error: initializing source docker://docker.io/library/nginx:1: reading manifest 1 in docker.io/library/nginx: toomanyrequests: You have reached your pull rate limit.",
            ),
            (
                Tls,
                "Error: initializing source docker://10.0.2.100:5000/web:1: pinging container registry 10.0.2.100:5000: Get \"https://10.0.2.100:5000/v2/\": http: server gave HTTP response to HTTPS client",
            ),
            (
                Tls,
                "Error: initializing source docker://r.example/a:1: pinging container registry r.example: Get \"https://r.example/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
            (
                Tls,
                "Error: initializing source docker://r.example/a:1: pinging container registry r.example: Get \"https://r.example/v2/\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-01T00:00:12Z is before 2026-01-01T00:00:00Z",
            ),
            (
                DiskFull,
                "Error: copying system image from manifest list: writing blob: adding layer with blob \"sha256:ab\"/\"\"/\"sha256:cd\": unpacking failed (error: exit status 1; output: write /usr/lib/x: no space left on device)",
            ),
            (
                DiskFull,
                "Error: copying system image from manifest list: writing blob: storing blob to file \"/var/tmp/container_images_storage1/1\": write /var/tmp/container_images_storage1/1: no space left on device",
            ),
            (
                Corrupt,
                "Error: copying system image from manifest list: writing blob: Digest did not match, expected sha256:aa, got sha256:bb",
            ),
            (
                Corrupt,
                "Error: copying system image from manifest list: writing blob: adding layer with blob \"sha256:ab\": unpacking failed (error: exit status 1; output: archive/tar: invalid tar header)",
            ),
            (
                WrongArchitecture,
                "Error: choosing an image from manifest list docker://r.example/a:1: no image found in image index for architecture \"arm64\", variant \"v8\", OS \"linux\"",
            ),
            (
                NotFound,
                "Error: initializing source docker://127.0.0.1:5999/nope:1: reading manifest 1 in 127.0.0.1:5999/nope: repository name not known to registry",
            ),
            (
                Unauthorized,
                "Error: initializing source docker://127.0.0.1:5999/deny:1: reading manifest 1 in 127.0.0.1:5999/deny: unauthorized",
            ),
            (
                RegistryUnreachable,
                "Error: initializing source docker://127.0.0.1:5999/busy:1: reading manifest 1 in 127.0.0.1:5999/busy: received unexpected HTTP status: 503 Service Unavailable",
            ),
            (
                RegistryUnreachable,
                "Error: writing blob: storing blob to file \"/var/tmp/container_images_storage911223653/3\": happened during read: unexpected EOF (after reconnecting, server did not process a Range: header, status 200)",
            ),
            (
                Corrupt,
                "Error: writing blob: setting up to decompress blob: happened during read: Digest did not match, expected sha256:2dd8843991e21b4a2196834f61b9bbf5c3412c0f579f15e7581f60ac325c87cf, got sha256:66ee830e5d864f32d4ea4aabc4943946f92d989306104090bd87fc895b67248b",
            ),
            (
                WrongArchitecture,
                "Error: choosing an image from manifest list docker://127.0.0.1:5999/arch:1: no image found in image index for architecture \"amd64\", variant \"\", OS \"linux\"",
            ),
            (Podman, "Error: something that nobody has seen before"),
        ];
        for (kind, words) in specimens {
            assert_eq!(
                classify(&format!("Trying to pull x...\n{words}\n")),
                kind,
                "{words}"
            );
        }
    }

    #[test]
    fn a_try_that_podman_repeated_by_itself_is_not_the_cause() {
        let stderr = format!(
            "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"Failed, retrying in 1s ... (1/1). Error: dial tcp: connect: connection refused\"\nGetting image source signatures\nCopying blob {SHA}\nError: writing blob: no space left on device\n"
        );
        assert_eq!(classify(&stderr), ImageErrorKind::DiskFull);
    }

    #[test]
    fn what_a_person_must_change_is_not_tried_again() {
        assert!(!ImageErrorKind::NotFound.is_transient());
        assert!(!ImageErrorKind::Tls.is_transient());
        assert!(ImageErrorKind::RegistryUnreachable.is_transient());
    }
}
