//! Image references, fully qualified: a device never guesses a registry.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// `registry/repository:tag` or `registry/repository[:tag]@sha256:…`.
///
/// Grammar: the distribution project's reference format, with the registry and one of tag and digest
/// mandatory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ImageRef(String);

/// Why a text is not a usable image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Longer than 512 bytes.
    #[error("is longer than 512 bytes")]
    TooLong,
    /// No registry in front.
    #[error("names no registry: write it out, such as docker.io/library/nginx:1.27")]
    NoRegistry,
    /// Neither tag nor digest.
    #[error("has neither tag nor digest: add one, such as :1.27 or @sha256:… (`latest` is never assumed)")]
    NoVersion,
    /// A part breaks the grammar.
    #[error("has a bad {part}: {text:?}")]
    BadPart {
        /// Which part: registry, repository, tag or digest.
        part: &'static str,
        /// Its text.
        text: String,
    },
}

impl ImageRef {
    /// The reference as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest (`sha256:…`) that it pins, if it does.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, digest)| digest)
    }

    /// Registry and repository, without tag and digest.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.0.split_once('@').map_or(self.0.as_str(), |(name, _)| name);
        match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => name,
        }
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let host_good = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    let named = text == "localhost" || host.contains('.') || port.is_some();
    host_good && named && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_path_component(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn part(good: bool, part: &'static str, text: &str) -> Result<(), ImageError> {
    if good {
        Ok(())
    } else {
        Err(ImageError::BadPart {
            part,
            text: text.to_owned(),
        })
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.len() > 512 {
            return Err(ImageError::TooLong);
        }
        let (name, digest) = text.split_once('@').map_or((text, None), |(n, d)| (n, Some(d)));
        let (registry, rest) = name.split_once('/').ok_or(ImageError::NoRegistry)?;
        if !is_registry(registry) {
            return Err(ImageError::NoRegistry);
        }
        let (repository, tag) = rest.split_once(':').map_or((rest, None), |(r, t)| (r, Some(t)));
        part(
            repository.split('/').all(is_path_component),
            "repository",
            repository,
        )?;
        if let Some(tag) = tag {
            part(is_tag(tag), "tag", tag)?;
        }
        if let Some(digest) = digest {
            part(is_digest(digest), "digest", digest)?;
        }
        if tag.is_none() && digest.is_none() {
            return Err(ImageError::NoVersion);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| serde::de::Error::custom(format_args!("{text:?} {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn qualified_references_are_accepted() {
        for good in [
            "docker.io/library/nginx:1.27",
            "10.0.2.100:5000/web:1",
            "localhost/a/b_c.d-e:V1_x",
        ] {
            assert_eq!(good.parse::<ImageRef>().unwrap().as_str(), good);
        }
        let pinned: ImageRef = format!("ghcr.io/a/b:1@{DIGEST}").parse().unwrap();
        assert_eq!(pinned.digest(), Some(DIGEST));
        assert_eq!(pinned.name(), "ghcr.io/a/b");
        assert_eq!("h:5000/a:1".parse::<ImageRef>().unwrap().name(), "h:5000/a");
    }

    #[test]
    fn short_names_and_missing_versions_are_refused() {
        assert_eq!("nginx:1.27".parse::<ImageRef>(), Err(ImageError::NoRegistry));
        assert_eq!("library/nginx:1".parse::<ImageRef>(), Err(ImageError::NoRegistry));
        assert_eq!(
            "docker.io/library/nginx".parse::<ImageRef>(),
            Err(ImageError::NoVersion)
        );
    }

    #[test]
    fn what_could_escape_a_unit_file_is_refused() {
        for bad in [
            "a.b/c:1\nExec=x",
            "a.b/c:1 --privileged",
            "a.b/../c:1",
            "a.b/C:1",
            "a.b/c:%i",
            "a.b/c@sha256:00",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?}");
        }
    }
}
