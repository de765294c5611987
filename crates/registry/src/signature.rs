//! Ed25519 signatures of manifests. A manifest pins the SHA-256 of every file, so its signature is that of the version.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{hex, unhex};
use crate::{RegistryError, Settings, json};

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

    /// Makes a key of the system's random numbers and writes it to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`RegistryError::KeyFile`]: the file is there already, or the system refuses.
    pub fn create(path: &Path) -> Result<Self, RegistryError> {
        let failed = |error: std::io::Error| RegistryError::KeyFile { path: path.to_owned(), problem: error.to_string() };
        let mut secret = [0; 32];
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret)).map_err(failed)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = writeln!(file, "{}", hex(&secret)).and_then(|()| file.sync_all()).and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|error| {
            // A part of a key is none, and would never be written over.
            let _ = std::fs::remove_file(path);
            failed(error)
        })?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Reads the file of a key.
    ///
    /// # Errors
    /// [`RegistryError::KeyFile`]: others may read it too, or it can not be read; [`RegistryError::Key`].
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        let wrong = |problem: String| RegistryError::KeyFile { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mode = file.metadata().map_err(|error| wrong(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!("others may read it too (mode {:o}); chmod 600", mode & 0o777)));
        }
        let mut text = String::new();
        file.take(128).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        Self::from_hex(&text)
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
        SignatureFile { format: SignatureFile::FORMAT, key: self.public(), signature: hex(&signature.to_bytes()) }.to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.public()).finish()
    }
}

/// `manifest.sig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFile {
    format: u32,
    /// The key that has signed.
    pub key: PublicKey,
    signature: String,
}

impl SignatureFile {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;
    /// Most bytes of the file.
    pub const LARGEST: u64 = 4096;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads the bytes of a signature file; `path` is named in errors. Whether it is the signature of anything is not looked at.
    ///
    /// # Errors
    /// Bytes that nobody writes, or another format.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let file: Self = json::read(path, bytes)?;
        if file.format != Self::FORMAT {
            return Err(RegistryError::Format { path: path.to_owned(), found: file.format, known: Self::FORMAT });
        }
        match file.parts() {
            Some(_) => Ok(file),
            None => {
                Err(RegistryError::Content { path: path.to_owned(), problem: "its signature is not 64 bytes in hexadecimal".to_owned() })
            }
        }
    }

    fn parts(&self) -> Option<(Signature, VerifyingKey)> {
        let signature = unhex(&self.signature).map(|bytes| Signature::from_bytes(&bytes));
        signature.zip(VerifyingKey::from_bytes(&self.key.0).ok())
    }
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
pub(crate) fn check(path: &str, manifest: &[u8], signature: Option<&[u8]>, settings: &Settings) -> Result<Trust, RegistryError> {
    if settings.policy == SignaturePolicy::Off {
        return Ok(Trust::Unchecked);
    }
    let trust = signature.map_or(Trust::Unsigned, |bytes| look(path, manifest, bytes, settings));
    match (settings.policy, trust) {
        (SignaturePolicy::Require, Trust::Unsigned) => Err(RegistryError::Unsigned { path: path.to_owned() }),
        (SignaturePolicy::Require, Trust::Doubtful(problem)) => Err(RegistryError::Signature { path: path.to_owned(), problem }),
        (_, trust) => Ok(trust),
    }
}

fn look(path: &str, manifest: &[u8], signature: &[u8], Settings { trusted, revoked, .. }: &Settings) -> Trust {
    let Ok(file) = SignatureFile::read(path, signature) else { return Trust::Doubtful("its signature file can not be read") };
    if revoked.contains(&file.key) {
        return Trust::Doubtful("its signature is by a key that was revoked");
    }
    if !trusted.contains(&file.key) {
        return Trust::Doubtful("its signature is by a key that is not trusted");
    }
    match file.parts() {
        Some((signature, key)) if key.verify_strict(&[DOMAIN, manifest].concat(), &signature).is_ok() => Trust::Signed(file.key),
        _ => Trust::Doubtful("its signature is not that of its manifest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::from_hex(&hex(&[byte; 32])).unwrap()
    }

    fn settings(policy: SignaturePolicy, trusted: &[PublicKey], revoked: &[PublicKey]) -> Settings {
        Settings { policy, trusted: trusted.to_vec(), revoked: revoked.to_vec() }
    }

    #[test]
    fn a_key_is_made_once_and_read_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = Signer::create(&path).unwrap();
        assert_eq!(Signer::load(&path).unwrap().public(), made.public());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Signer::create(&path), Err(RegistryError::KeyFile { .. })), "a key is never written over");
        assert_ne!(Signer::create(&folder.path().join("other")).unwrap().public(), made.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Signer::load(&path), Err(RegistryError::KeyFile { problem, .. }) if problem.contains("chmod 600")));
        std::fs::write(folder.path().join("other"), "x".repeat(1000)).unwrap();
        assert!(Signer::load(&folder.path().join("other")).is_err());
        assert!(Signer::load(&folder.path().join("none")).is_err());
        assert!(!format!("{made:?}").contains(std::fs::read_to_string(&path).unwrap().trim()), "a secret is never printed");
    }

    #[test]
    fn only_a_trusted_key_over_these_very_bytes_is_a_signature() {
        let (signer, other) = (signer(1), signer(2));
        let signature = signer.sign(b"manifest");
        let checked = |manifest: &[u8], signature: Option<&[u8]>, trusted: &[PublicKey]| {
            check("v", manifest, signature, &settings(SignaturePolicy::Require, trusted, &[]))
        };
        let trusted = [other.public(), signer.public()];
        assert_eq!(checked(b"manifest", Some(&signature), &trusted).unwrap(), Trust::Signed(signer.public()));
        assert!(matches!(checked(b"manifesT", Some(&signature), &trusted), Err(RegistryError::Signature { .. })));
        assert!(matches!(checked(b"manifest", Some(&signature), &trusted[..1]), Err(RegistryError::Signature { .. })));
        assert!(matches!(checked(b"manifest", None, &trusted), Err(RegistryError::Unsigned { .. })));
        let revoked = |keys: &[PublicKey]| check("v", b"manifest", Some(&signature), &settings(SignaturePolicy::Require, &trusted, keys));
        assert!(matches!(revoked(&[signer.public()]), Err(RegistryError::Signature { problem, .. }) if problem.contains("revoked")));
        assert!(revoked(&[other.public()]).is_ok());
        for at in 0..signature.len() {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert!(checked(b"manifest", Some(&damaged), &trusted).is_err(), "{at}");
        }
    }

    #[test]
    fn a_warning_lets_pass_and_says_why() {
        let warn = settings(SignaturePolicy::Warn, &[], &[]);
        let warned = check("v", b"m", None, &warn).unwrap();
        assert_eq!(warned, Trust::Unsigned);
        let warned = check("v", b"m", Some(&signer(1).sign(b"m")), &warn).unwrap();
        assert!(matches!(warned, Trust::Doubtful(why) if why.contains("not trusted")));
        assert_eq!(check("v", b"m", None, &settings(SignaturePolicy::Off, &[], &[])).unwrap(), Trust::Unchecked);
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 8032, section 7.1, test 1.
        let signer = Signer::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        assert_eq!(signer.public().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert!("00".repeat(32).parse::<PublicKey>().is_err(), "a key of small order signs everything");
    }
}
