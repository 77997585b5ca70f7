//! Names that become NATS subjects, file names and unit names, and so are never taken on trust.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest id, in bytes: that of a DNS label, since a device id also becomes a host name.
pub const MAX_ID_LEN: usize = 63;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The string is empty.
    #[error("is empty: give 1 to {MAX_ID_LEN} of a-z, 0-9 and '-'")]
    Empty,
    /// The string is longer than [`MAX_ID_LEN`] bytes.
    #[error("is {0} bytes long: {MAX_ID_LEN} at most")]
    TooLong(usize),
    /// A character outside `[a-z0-9-]`, or a `-` at either end.
    #[error("has {character:?} at position {position}: a-z, 0-9 and (inside) '-' only")]
    BadCharacter {
        /// The offending character.
        character: char,
        /// Its place, counted in characters from 1.
        position: usize,
    },
}

/// Checks `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_LEN {
        return Err(IdError::TooLong(text.len()));
    }
    let last = text.chars().count();
    for (index, character) in text.chars().enumerate() {
        let inner = index > 0 && index + 1 < last;
        let good =
            character.is_ascii_lowercase() || character.is_ascii_digit() || (inner && character == '-');
        if !good {
            return Err(IdError::BadCharacter {
                character,
                position: index + 1,
            });
        }
    }
    Ok(())
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a string that matches `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
            ///
            /// # Errors
            /// [`IdError`] says which rule is broken, and where.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
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

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text.as_ref())
                    .map_err(|error| serde::de::Error::custom(format_args!("{:?} {error}", text)))
            }
        }
    };
}

id!(
    /// Names one device for its whole life; survives a new card, a new root and a rollback.
    DeviceId
);
id!(
    /// Names one deployment in the fleet.
    DeploymentName
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_field_are_accepted() {
        for good in ["a", "pi-7", "0", "basement-lyon-7", &"x".repeat(63)] {
            assert!(DeviceId::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_could_escape_a_subject_or_a_path_is_refused() {
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a*",
            "a>b",
            "../x",
            "a b",
            "é",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(DeviceId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_refusal_names_the_place() {
        assert_eq!(
            DeviceId::new("ab.c"),
            Err(IdError::BadCharacter {
                character: '.',
                position: 3
            })
        );
    }

    proptest! {
        #[test]
        fn every_accepted_id_is_one_subject_token(text in ".{0,70}") {
            if let Ok(id) = DeploymentName::new(text.clone()) {
                prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
                prop_assert!(serde_json::from_str::<DeploymentName>(&serde_json::to_string(&id).unwrap()).unwrap() == id);
            }
        }
    }
}
