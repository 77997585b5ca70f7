//! Amounts as people write them in a manifest: `256Mi`, `1.5`, `30s`. On the wire they keep that form, in
//! one canonical spelling.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an amount. The text says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct QuantityError {
    text: String,
    expected: &'static str,
}

fn refuse<T>(text: &str, expected: &'static str) -> Result<T, QuantityError> {
    let text = crate::cause::shorten(text.to_owned(), 64);
    Err(QuantityError { text, expected })
}

/// An amount of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const BYTES_EXPECTED: &str =
    "an amount of memory: a whole number of bytes, or with Ki, Mi or Gi (such as 256Mi)";

impl FromStr for ByteSize {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "" => 1,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return refuse(text, BYTES_EXPECTED),
        };
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
            Some(bytes) if !digits.starts_with('+') => Ok(Self(bytes)),
            _ => refuse(text, BYTES_EXPECTED),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A share of processor time, in thousandths of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus {
    /// Thousandths of one core: 1500 is one and a half cores.
    pub milli: u32,
}

const CPUS_EXPECTED: &str = "a number of cores with up to three decimals (such as 0.5 or 2)";

impl FromStr for Cpus {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 || whole.len() > 5 {
            return refuse(text, CPUS_EXPECTED);
        }
        let milli = format!("{whole}{part:0<3}").parse();
        milli.map_or_else(|_| refuse(text, CPUS_EXPECTED), |milli| Ok(Self { milli }))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.milli / 1000, self.milli % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A span of time in whole milliseconds, written `250ms`, `30s`, `5m` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

const SPAN_EXPECTED: &str = "a span of time: a whole number with ms, s, m or h (such as 30s)";

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as a standard duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return refuse(text, SPAN_EXPECTED),
        };
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
            Some(millis) if !digits.starts_with('+') => Ok(Self(Duration::from_millis(millis))),
            _ => refuse(text, SPAN_EXPECTED),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, word) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if millis != 0 && millis.is_multiple_of(unit) {
                return write!(f, "{}{word}", millis / unit);
            }
        }
        write!(f, "{millis}ms")
    }
}

/// Accepts a string, or a bare number where that is how people write it (`cpus: 2`, `memory: 1048576`).
#[derive(Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Whole(u64),
    Decimal(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

macro_rules! as_written {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match Written::deserialize(deserializer)? {
                    Written::Whole(n) => Cow::Owned(n.to_string()),
                    Written::Decimal(n) => Cow::Owned(n.to_string()),
                    Written::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_written!(ByteSize);
as_written!(Cpus);
as_written!(Span);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        assert_eq!("256Mi".parse(), Ok(ByteSize(256 << 20)));
        assert_eq!("1.5".parse(), Ok(Cpus { milli: 1500 }));
        assert_eq!("0.05".parse(), Ok(Cpus { milli: 50 }));
        assert_eq!("5m".parse(), Ok(Span::from_secs(300)));
        assert_eq!(serde_json::from_str::<Cpus>("2").unwrap().milli, 2000);
        assert_eq!(serde_json::from_str::<Cpus>("0.25").unwrap().milli, 250);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for bad in [
            "",
            "Mi",
            "1.5Mi",
            "256M",
            "256mb",
            "-1",
            "+1",
            "99999999999999999999",
            "1 Mi",
            "é",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        for bad in ["", ".5", "1.", "1.2345", "1e3", "-1", "100000", "é"] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
        for bad in ["", "30", "30 s", "1.5s", "-3s", "5d", "18446744073709551615h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(n in 0u64..u64::MAX / 3_600_000, c in 0u32..99_999_999) {
            prop_assert_eq!(ByteSize(n).to_string().parse(), Ok(ByteSize(n)));
            let span = Span(Duration::from_millis(n));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            prop_assert_eq!(Cpus { milli: c }.to_string().parse(), Ok(Cpus { milli: c }));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,24}") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Cpus>();
            let _ = text.parse::<Span>();
        }
    }
}
