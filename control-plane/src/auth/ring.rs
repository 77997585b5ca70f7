//! Signatures of tokens by ring, for `jsonwebtoken`. Only what a provider's public key can verify is there: a token that says that
//! it is signed with a shared secret (HS256 and its like) is refused before anything is computed, or the public key would be the secret.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// Every algorithm that is accepted.
pub(super) const ACCEPTED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has `jsonwebtoken` use ring from now on. May be called any number of times.
pub(super) fn install() {
    // Someone else's is this one: nothing in this workspace links another.
    let _ = PROVIDER.install_default();
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match ACCEPTED.contains(algorithm) && algorithm.family() == key.family() {
        true => Ok(Box::new(ByRing {
            algorithm: *algorithm,
            key: key.clone(),
        })),
        false => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// ring's name of an algorithm: RSA keys come as two numbers, others as bytes.
enum Named {
    Rsa(&'static RsaParameters),
    Bytes(&'static dyn VerificationAlgorithm),
    Nothing,
}

fn named(algorithm: Algorithm) -> Named {
    match algorithm {
        Algorithm::RS256 => Named::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Named::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Named::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Named::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Named::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Named::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Named::Bytes(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Named::Bytes(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Named::Bytes(&ED25519),
        // Shared secrets, and what is not known here.
        _ => Named::Nothing,
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (named(self.algorithm), self.key.kind()) {
            (Named::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Named::Bytes(algorithm), DecodingKeyKind::SecretOrDer(bytes)) => {
                UnparsedPublicKey::new(algorithm, bytes).verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}
