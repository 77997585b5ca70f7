//! A token of the provider (RFC 7519, signed as of RFC 7515): verified here, and refused with the reason that a person needs.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::keys::KeySet;
use super::ring;

/// Longest token, in bytes. Zitadel's, with roles of many projects, have some thousands.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Seconds by which the clocks of provider and verifier may differ.
pub const LEEWAY: i64 = 30;

/// What a token has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The provider, as `iss` names it, to the letter.
    pub issuer: String,
    /// It has to be for one of these (`aud`).
    pub audiences: Vec<String>,
}

/// A token that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Who it is about.
    pub subject: String,
    /// When it ends, in seconds since the epoch.
    pub expires_at: i64,
    /// Everything that it says.
    pub claims: Map<String, Value>,
}

/// Why a token is refused. The text goes to logs and to whoever sent it: it holds nothing of the token but what names the fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is longer than any token.
    #[error("it has {0} bytes: {MAX_TOKEN_BYTES} at most")]
    TooLong(usize),
    /// It is no signed token at all: opaque, cut off, or unsigned.
    #[error("it is no signed token (JWT)")]
    Malformed,
    /// It says nothing of the key that it was signed with.
    #[error("it names no key (kid)")]
    NoKey,
    /// The provider has no such key: it is another provider's, or the keys were changed.
    #[error("the issuer has no key {0}: it may have been rotated")]
    UnknownKey(Short),
    /// Its algorithm is not one that its key is for.
    #[error("its algorithm is not the one of its key")]
    Algorithm,
    /// It demands what is not understood here (`crit`).
    #[error("it has critical extensions, and none is known here")]
    Critical,
    /// It was not signed with that key, or changed since.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing, or not of its type.
    #[error("its claim {0} is missing or not of the right form")]
    Claim(&'static str),
    /// Another provider's.
    #[error("its issuer is {0}")]
    Issuer(Short),
    /// For somebody else.
    #[error("it is not for this service (aud)")]
    Audience,
    /// It is over.
    #[error("it expired {} ago", Span(*.0))]
    Expired(i64),
    /// It is not valid yet: the clock of one of both is wrong.
    #[error("it is valid only in {}: is this clock, or the issuer's, right?", Span(*.0))]
    NotYet(i64),
}

/// Foreign text, cut to a length that a log bears, with nothing in it that a terminal acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short(String);

const SHORT: usize = 80;

impl Short {
    fn of(text: &str) -> Self {
        let printable = text.chars().filter(char::is_ascii_graphic);
        let mut short: String = printable.take(SHORT).collect();
        if text.chars().count() > SHORT {
            short.push('…');
        }
        Self(short)
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Seconds as a person reads them: `14m32s`.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.unsigned_abs();
        match (seconds / 86_400, seconds / 3600, seconds / 60) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, minutes) => write!(f, "{minutes}m{:02}s", seconds % 60),
            (0, hours, minutes) => write!(f, "{hours}h{:02}m", minutes % 60),
            (days, hours, _) => write!(f, "{days}d{:02}h", hours % 24),
        }
    }
}

/// Id of the key that a token says it was signed with. Nothing is verified: it only tells which key to look for.
///
/// # Errors
/// [`Refusal::TooLong`], [`Refusal::Malformed`], [`Refusal::NoKey`].
pub fn key_id(token: &str) -> Result<String, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLong(token.len()));
    }
    let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
    header.kid.ok_or(Refusal::NoKey)
}

/// Verifies a token at the time `now`, in seconds since the epoch.
///
/// # Errors
/// [`Refusal`].
pub fn verify(token: &str, keys: &KeySet, expected: &Expected, now: i64) -> Result<Token, Refusal> {
    ring::install();
    let id = key_id(token)?;
    let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
    if header.crit.is_some() {
        return Err(Refusal::Critical);
    }
    let key = keys.get(&id).ok_or_else(|| Refusal::UnknownKey(Short::of(&id)))?;
    let algorithm = header.alg;
    let is_of_key = key
        .algorithm
        .as_ref()
        .is_none_or(|only| *only == format!("{algorithm:?}"));
    if !ring::ACCEPTED.contains(&algorithm) || algorithm.family() != key.key.family() || !is_of_key {
        return Err(Refusal::Algorithm);
    }
    // Signature only: the library's checks of claims know no clock but the machine's, and give no figures.
    let mut signature = Validation::new(algorithm);
    signature.required_spec_claims.clear();
    signature.validate_exp = false;
    signature.validate_aud = false;
    let claims =
        decode::<Map<String, Value>>(token, &key.key, &signature).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => Refusal::Signature,
            _ => Refusal::Malformed,
        })?;
    judge(claims.claims, expected, now)
}

fn judge(claims: Map<String, Value>, expected: &Expected, now: i64) -> Result<Token, Refusal> {
    let issuer = text(&claims, "iss")?;
    if issuer != expected.issuer {
        return Err(Refusal::Issuer(Short::of(issuer)));
    }
    if !audiences(&claims)?.any(|audience| expected.audiences.iter().any(|ours| ours == audience)) {
        return Err(Refusal::Audience);
    }
    let subject = text(&claims, "sub")?.to_owned();
    let expires_at = time(&claims, "exp")?.ok_or(Refusal::Claim("exp"))?;
    if now.saturating_sub(expires_at) >= LEEWAY {
        return Err(Refusal::Expired(now.saturating_sub(expires_at)));
    }
    for name in ["nbf", "iat"] {
        if let Some(from) = time(&claims, name)?
            && from.saturating_sub(now) > LEEWAY
        {
            return Err(Refusal::NotYet(from.saturating_sub(now)));
        }
    }
    Ok(Token {
        subject,
        expires_at,
        claims,
    })
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Refusal> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).ok_or(Refusal::Claim(name))
}

/// One name, or a list of names.
fn audiences(claims: &Map<String, Value>) -> Result<impl Iterator<Item = &str>, Refusal> {
    let names = match claims.get("aud") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => {
            let names: Option<_> = names.iter().map(Value::as_str).collect();
            names.ok_or(Refusal::Claim("aud"))?
        }
        _ => return Err(Refusal::Claim("aud")),
    };
    Ok(names.into_iter())
}

/// Seconds since the epoch; RFC 7519 allows fractions.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match (value.as_i64(), value.as_f64()) {
            (Some(seconds), _) => Ok(Some(seconds)),
            #[expect(clippy::cast_possible_truncation, reason = "the range is looked at")]
            (None, Some(seconds)) if seconds.abs() < 1e12 => Ok(Some(seconds.floor() as i64)),
            _ => Err(Refusal::Claim(name)),
        },
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
