//! The zoo of tokens.

use ::ring::hmac;
use ::ring::rand::SystemRandom;
use ::ring::rsa::PublicKeyComponents;
use ::ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA512,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: i64 = 1_795_000_000;
const ISSUER: &str = "https://id.example.com";

/// A key for this test and nothing else: ring makes none of RSA.
const RSA: &[u8] = include_bytes!("testdata/rsa.pk8");

struct Provider {
    rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Provider {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("random numbers");
        let ec =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("random numbers");
        Self {
            rsa: RsaKeyPair::from_pkcs8(RSA).expect("a key"),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key"),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random)
                .expect("a key"),
        }
    }

    fn set(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let (n, e) = (B64.encode(rsa.n), B64.encode(rsa.e));
        json!({ "keys": [
            { "kty": "RSA", "kid": "rs256", "use": "sig", "alg": "RS256", "n": n, "e": e },
            { "kty": "RSA", "kid": "rsa", "n": n, "e": e },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "alg": "EdDSA", "x": B64.encode(self.ed.public_key()) },
            { "kty": "EC", "crv": "P-256", "kid": "ec", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..]) },
            { "kty": "EC", "crv": "P-256", "kid": "for-encryption", "use": "enc", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..]) },
            { "kty": "oct", "kid": "secret", "k": B64.encode("shared") },
            { "kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..]) },
            { "kty": "quantum", "kid": "from-the-future" },
            7,
        ] })
    }

    fn keys(&self) -> KeySet {
        KeySet::read(self.set().to_string().as_bytes()).expect("a key set")
    }

    /// Signed by the key that the header names, whatever else that says.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let by_rsa = |padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            let random = SystemRandom::new();
            self.rsa
                .sign(padding, &random, message.as_bytes(), &mut signature)
                .expect("random numbers");
            signature
        };
        let signature = match header["kid"].as_str() {
            Some("rs256") => by_rsa(&RSA_PKCS1_SHA256),
            Some("rsa") => by_rsa(&RSA_PSS_SHA512),
            Some("ec") => self
                .ec
                .sign(&SystemRandom::new(), message.as_bytes())
                .expect("random numbers")
                .as_ref()
                .to_vec(),
            _ => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", B64.encode(signature))
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.sign(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims)
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["other", "fleet"], "sub": "42", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600,
        "urn:zitadel:iam:org:project:roles": { "fleet-admin": { "17": "a.example.com" } },
    })
}

fn expected() -> Expected {
    Expected {
        issuer: ISSUER.to_owned(),
        audiences: vec!["fleet".to_owned()],
    }
}

fn refusal(provider: &Provider, token: &str) -> Refusal {
    verify(token, &provider.keys(), &expected(), NOW).expect_err("it is refused")
}

#[test]
fn a_good_token_of_each_key_is_accepted_with_all_its_claims() {
    let provider = Provider::new();
    let ec = provider.sign(
        &json!({ "alg": "ES256", "kid": "ec", "typ": "at+jwt" }),
        &claims(),
    );
    let rs256 = provider.sign(&json!({ "alg": "RS256", "kid": "rs256" }), &claims());
    let ps512 = provider.sign(&json!({ "alg": "PS512", "kid": "rsa" }), &claims());
    for token in [provider.token(|_| {}), ec, rs256, ps512] {
        let token = verify(&token, &provider.keys(), &expected(), NOW).expect("it is good");
        assert_eq!((token.subject.as_str(), token.expires_at), ("42", NOW + 600));
        let roles = super::super::roles::RoleClaim::general().roles(&token.claims);
        assert!(roles.contains("fleet-admin"));
    }
    let single = provider.token(|claims| claims["aud"] = json!("fleet"));
    assert!(verify(&single, &provider.keys(), &expected(), NOW).is_ok());
    assert_eq!(
        provider.keys().ids().collect::<Vec<_>>(),
        ["ec", "ed", "rs256", "rsa"],
        "what can verify a token"
    );
}

#[test]
fn time_is_judged_with_a_small_leeway_and_the_refusal_says_by_how_much() {
    let provider = Provider::new();
    let at = |name: &str, seconds: Value| {
        let token = provider.token(|claims| claims[name] = seconds);
        verify(&token, &provider.keys(), &expected(), NOW).map(|_| ())
    };
    assert_eq!(at("exp", json!(NOW - LEEWAY + 1)), Ok(()));
    assert_eq!(at("exp", json!(NOW - LEEWAY)), Err(Refusal::Expired(30)));
    assert_eq!(
        at("exp", json!(NOW - 872)).unwrap_err().to_string(),
        "it expired 14m32s ago"
    );
    for name in ["nbf", "iat"] {
        assert_eq!(at(name, json!(NOW + LEEWAY)), Ok(()));
        assert_eq!(at(name, json!(NOW + LEEWAY + 1)), Err(Refusal::NotYet(31)));
    }
    assert_eq!(at("exp", json!(NOW as f64 + 0.5)), Ok(()));
    for wrong in [json!("soon"), json!(null), json!(1e300), json!(true)] {
        assert_eq!(at("exp", wrong.clone()), Err(Refusal::Claim("exp")), "{wrong}");
    }
    assert_eq!(at("exp", json!([NOW + 600])), Err(Refusal::Malformed));
    for wrong in [json!(i64::MIN), json!(-1)] {
        assert!(matches!(at("exp", wrong), Err(Refusal::Expired(_))));
    }
    assert!(matches!(at("nbf", json!(i64::MAX)), Err(Refusal::NotYet(_))));
}

#[test]
fn who_it_is_from_for_and_about_is_looked_at() {
    let provider = Provider::new();
    let with = |name: &str, value: Value| refusal(&provider, &provider.token(|claims| claims[name] = value));
    assert_eq!(
        with("iss", json!("https://id.example.com/")).to_string(),
        "its issuer is \"https://id.example.com/\""
    );
    assert_eq!(with("iss", json!([ISSUER])), Refusal::Claim("iss"));
    assert_eq!(with("aud", json!("fleet2")), Refusal::Audience);
    assert_eq!(with("aud", json!([])), Refusal::Audience);
    assert_eq!(with("aud", json!(["fleet", 7])), Refusal::Claim("aud"));
    assert_eq!(with("aud", json!(null)), Refusal::Claim("aud"));
    assert_eq!(with("sub", json!("")), Refusal::Claim("sub"));
    assert_eq!(with("sub", json!(42)), Refusal::Claim("sub"));
    let without = provider.token(|claims| drop(claims.as_object_mut().map(|claims| claims.remove("exp"))));
    assert_eq!(refusal(&provider, &without), Refusal::Claim("exp"));
}

#[test]
fn no_header_makes_a_token_one_that_it_is_not() {
    let provider = Provider::new();
    let with = |header: Value| refusal(&provider, &provider.sign(&header, &claims()));
    assert_eq!(with(json!({ "alg": "EdDSA" })), Refusal::NoKey);
    assert!(
        matches!(with(json!({ "alg": "EdDSA", "kid": "gone\u{1b}[31m" })), Refusal::UnknownKey(id) if id.to_string() == "\"gone[31m\"")
    );
    assert_eq!(with(json!({ "alg": "none", "kid": "ed" })), Refusal::Malformed);
    assert_eq!(
        with(json!({ "alg": "ES256", "kid": "ed" })),
        Refusal::Algorithm,
        "of another family"
    );
    assert_eq!(
        with(json!({ "alg": "ES384", "kid": "ec" })),
        Refusal::Signature,
        "of the family, and not of the key"
    );
    assert!(matches!(
        with(json!({ "alg": "EdDSA", "kid": "for-encryption" })),
        Refusal::UnknownKey(_)
    ));
    assert!(matches!(
        with(json!({ "alg": "HS256", "kid": "secret" })),
        Refusal::UnknownKey(_)
    ));
    assert_eq!(
        with(json!({ "alg": "EdDSA", "kid": "ed", "crit": ["x"], "x": 1 })),
        Refusal::Critical
    );
    assert_eq!(
        with(json!({ "alg": "PS256", "kid": "rs256" })),
        Refusal::Algorithm,
        "the key is for another one"
    );
    assert_eq!(with(json!({ "alg": "RS256", "kid": "rsa" })), Refusal::Signature);
    // A key that the token brings along is not looked at.
    let other = Provider::new();
    let own = json!({ "alg": "EdDSA", "kid": "ed", "jwk": other.set()["keys"][0] });
    assert_eq!(
        refusal(&provider, &other.sign(&own, &claims())),
        Refusal::Signature
    );
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let provider = Provider::new();
    let message = format!(
        "{}.{}",
        B64.encode(json!({ "alg": "HS256", "kid": "ed" }).to_string()),
        B64.encode(claims().to_string())
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, provider.ed.public_key().as_ref());
    let token = format!("{message}.{}", B64.encode(hmac::sign(&key, message.as_bytes())));
    assert_eq!(refusal(&provider, &token), Refusal::Algorithm);
}

#[test]
fn what_is_no_token_is_refused_unread() {
    let provider = Provider::new();
    let good = provider.token(|_| {});
    let unsigned = good.rsplit_once('.').expect("it has dots").0.to_owned();
    for token in [
        "",
        ".",
        "..",
        "opaque-token",
        "a.b.c",
        &good[..good.len() / 2],
        &unsigned,
        &format!("{good}.x"),
        &format!("{unsigned}."),
    ] {
        let refusal = refusal(&provider, token);
        assert!(
            matches!(refusal, Refusal::Malformed | Refusal::Signature),
            "{token}: {refusal}"
        );
    }
    let huge = "a".repeat(1 << 20);
    assert_eq!(refusal(&provider, &huge), Refusal::TooLong(1 << 20));
    let wide = provider.token(|claims| claims["filler"] = json!("x".repeat(MAX_TOKEN_BYTES)));
    assert!(matches!(refusal(&provider, &wide), Refusal::TooLong(_)));
}

#[test]
fn a_key_set_is_bounded() {
    let many: Vec<Value> = (0..=MAX_KEYS_FOR_TEST)
        .map(|n| json!({ "kty": "x", "kid": n.to_string() }))
        .collect();
    let error = KeySet::read(json!({ "keys": many }).to_string().as_bytes())
        .err()
        .expect("too many");
    assert_eq!(error.to_string(), "the key set has 33 keys: 32 at most");
    let error = KeySet::read(&vec![b' '; 64 * 1024 + 1]).err().expect("too large");
    assert!(error.to_string().contains("65537 bytes"), "{error}");
    assert!(KeySet::read(b"<html>").is_err() && KeySet::read(b"{}").is_err());
}

const MAX_KEYS_FOR_TEST: usize = super::super::keys::MAX_KEYS;

proptest! {
    /// One bit of a token changes: it is not the same token with another verdict.
    #[test]
    fn a_changed_token_is_refused(place in any::<prop::sample::Index>(), bit in 0_u8..7) {
        let provider = Provider::new();
        let mut token = provider.token(|_| {}).into_bytes();
        let place = place.index(token.len());
        token[place] ^= 1 << bit;
        if let Ok(token) = String::from_utf8(token) {
            // The last character of a part has bits that mean nothing; a strict decoder refuses those that are not zero.
            prop_assert!(verify(&token, &provider.keys(), &expected(), NOW).is_err(), "{token}");
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", dots in "[a-zA-Z0-9_.-]{0,200}") {
        let provider = Provider::new();
        for token in [text, dots] {
            prop_assert!(verify(&token, &provider.keys(), &expected(), NOW).is_err());
        }
    }
}
