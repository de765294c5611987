//! Ed25519 signatures of manifests. A manifest pins the SHA-256 of every file, so its signature is that of the version.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{hex, unhex};
use crate::{RegistryError, json};

/// What stands before the bytes that are signed, so that a signature is never one of something else.
const DOMAIN: &[u8] = b"acclimate registry manifest 1\n";

/// What is asked of the signature of a version before an alias is moved to it or its files are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignaturePolicy {
    /// Without a signature by a trusted key it is refused.
    Require,
    /// The answer says what is wrong with it.
    #[default]
    Warn,
    /// Nobody looks.
    Off,
}

/// A public key, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl FromStr for PublicKey {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let key = unhex(text).filter(|bytes| VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak()));
        key.map(Self).ok_or(RegistryError::Key { what: "the public key" })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = RegistryError;

    fn try_from(text: String) -> Result<Self, RegistryError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A secret key. It is never printed, and its bytes are wiped when it is dropped.
pub struct Signer(SigningKey);

impl Signer {
    /// From the 32 bytes of a secret key as 64 hexadecimal digits, as they stand in a key file.
    ///
    /// # Errors
    /// [`RegistryError::Key`].
    pub fn from_hex(text: &str) -> Result<Self, RegistryError> {
        let bytes = unhex(text.trim()).ok_or(RegistryError::Key { what: "the secret key" })?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// The key by which others know its signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The bytes of `manifest.sig`.
    #[must_use]
    pub(crate) fn sign(&self, manifest: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&[DOMAIN, manifest].concat());
        json::written(&SignatureFile { format: 1, key: self.public(), signature: hex(&signature.to_bytes()) })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public()).finish()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    format: u32,
    key: PublicKey,
    signature: String,
}

/// What is known of who published a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A trusted key has signed it.
    Signed(PublicKey),
    /// It has no signature.
    Unsigned,
    /// It has one that says nothing, and why.
    Doubtful(&'static str),
    /// Nobody looked: the policy is off.
    Unchecked,
}

/// Looks at the signature of a manifest; `path` is the version's.
pub(crate) fn check(
    path: &str,
    manifest: &[u8],
    signature: Option<&[u8]>,
    policy: SignaturePolicy,
    trusted: &[PublicKey],
) -> Result<Trust, RegistryError> {
    if policy == SignaturePolicy::Off {
        return Ok(Trust::Unchecked);
    }
    let trust = signature.map_or(Trust::Unsigned, |bytes| look(path, manifest, bytes, trusted));
    match (policy, trust) {
        (SignaturePolicy::Require, Trust::Unsigned) => Err(RegistryError::Unsigned { path: path.to_owned() }),
        (SignaturePolicy::Require, Trust::Doubtful(problem)) => Err(RegistryError::Signature { path: path.to_owned(), problem }),
        (_, trust) => Ok(trust),
    }
}

fn look(path: &str, manifest: &[u8], signature: &[u8], trusted: &[PublicKey]) -> Trust {
    let Ok(file) = json::read::<SignatureFile>(path, signature) else { return Trust::Doubtful("its signature file can not be read") };
    if !trusted.contains(&file.key) {
        return Trust::Doubtful("its signature is by a key that is not trusted");
    }
    let parts = unhex(&file.signature).map(|bytes| Signature::from_bytes(&bytes)).zip(VerifyingKey::from_bytes(&file.key.0).ok());
    match parts {
        Some((signature, key)) if file.format == 1 && key.verify_strict(&[DOMAIN, manifest].concat(), &signature).is_ok() => {
            Trust::Signed(file.key)
        }
        _ => Trust::Doubtful("its signature is not that of its manifest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::from_hex(&hex(&[byte; 32])).unwrap()
    }

    #[test]
    fn only_a_trusted_key_over_these_very_bytes_is_a_signature() {
        let (signer, other) = (signer(1), signer(2));
        let signature = signer.sign(b"manifest");
        let checked = |manifest: &[u8], signature: Option<&[u8]>, trusted: &[PublicKey]| {
            check("v", manifest, signature, SignaturePolicy::Require, trusted)
        };
        let trusted = [other.public(), signer.public()];
        assert_eq!(checked(b"manifest", Some(&signature), &trusted).unwrap(), Trust::Signed(signer.public()));
        assert!(matches!(checked(b"manifesT", Some(&signature), &trusted), Err(RegistryError::Signature { .. })));
        assert!(matches!(checked(b"manifest", Some(&signature), &trusted[..1]), Err(RegistryError::Signature { .. })));
        assert!(matches!(checked(b"manifest", None, &trusted), Err(RegistryError::Unsigned { .. })));
        for at in 0..signature.len() {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert!(checked(b"manifest", Some(&damaged), &trusted).is_err(), "{at}");
        }
    }

    #[test]
    fn a_warning_lets_pass_and_says_why() {
        let warned = check("v", b"m", None, SignaturePolicy::Warn, &[]).unwrap();
        assert_eq!(warned, Trust::Unsigned);
        let warned = check("v", b"m", Some(&signer(1).sign(b"m")), SignaturePolicy::Warn, &[]).unwrap();
        assert!(matches!(warned, Trust::Doubtful(why) if why.contains("not trusted")));
        assert_eq!(check("v", b"m", None, SignaturePolicy::Off, &[]).unwrap(), Trust::Unchecked);
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 8032, section 7.1, test 1.
        let signer = Signer::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        assert_eq!(signer.public().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!("00".repeat(32).parse::<PublicKey>().is_err(), "a key of small order signs everything");
    }
}
