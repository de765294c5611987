//! Who may ask: keys with their tenants, and the token of the admin listener.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use acclimate_registry::{Digest, Name};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::ServeError;
use super::problem::Problem;
use super::route::Needs;
use crate::api::{Caller, Roles};
use crate::engine::LOCAL;

/// Most bytes of a key.
const LONGEST: usize = 512;

/// Most bytes of a key file.
const FILE: u64 = 8 << 20;

/// A key file: `[[key]]` with `name`, `tenant`, `sha256` and `roles`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: Name,
    tenant: Name,
    sha256: Digest,
    roles: Vec<Role>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Score,
    Adapt,
    Admin,
}

/// Who may ask.
#[derive(Debug)]
pub(crate) enum Access {
    /// Whoever reaches the listener.
    Open,
    /// Who has a key.
    Keys(Vec<Key>),
}

/// A key, known by its digest only.
#[derive(Debug)]
pub(crate) struct Key {
    name: String,
    digest: [u8; 32],
    caller: Caller,
}

/// Who asks, with the name of the key for the log.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) key: String,
    pub(crate) caller: Caller,
}

impl Access {
    /// Reads a key file.
    pub(crate) fn read(path: &Path) -> Result<Self, ServeError> {
        let wrong = |problem: String| ServeError::File { what: "key file", path: path.to_owned(), problem };
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > FILE {
            return Err(wrong(format!("it has {size} bytes, at most {FILE} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: KeyFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.key.is_empty() {
            return Err(wrong("it has no [[key]], so that nobody could ask".to_owned()));
        }
        let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
        let mut keys = Vec::with_capacity(file.key.len());
        for entry in file.key {
            if !names.insert(entry.name.clone()) {
                return Err(wrong(format!("two keys are named `{}`; give each its own name", entry.name)));
            }
            if !digests.insert(entry.sha256.to_string()) {
                return Err(wrong(format!("the key `{}` is there under another name too; a key has one tenant", entry.name)));
            }
            if entry.roles.is_empty() {
                return Err(wrong(format!("the key `{}` has no roles; give it some of score, adapt, admin", entry.name)));
            }
            let mut roles = Roles::default();
            for role in entry.roles {
                match role {
                    Role::Score => roles.score = true,
                    Role::Adapt => roles.adapt = true,
                    Role::Admin => roles.admin = true,
                }
            }
            if entry.tenant.as_str() == LOCAL {
                return Err(wrong(format!(
                    "the key `{}` is of the tenant `{LOCAL}`, whose name is kept for servers without keys; choose another",
                    entry.name
                )));
            }
            let caller = Caller { tenant: entry.tenant.to_string(), roles };
            keys.push(Key { name: entry.name.to_string(), digest: bytes_of(&entry.sha256), caller });
        }
        Ok(Self::Keys(keys))
    }

    /// One key that has the admin role.
    pub(crate) fn token(digest: &Digest) -> Self {
        let caller = Caller { tenant: "admin".to_owned(), roles: Roles { score: false, adapt: false, admin: true } };
        Self::Keys(vec![Key { name: "admin-token".to_owned(), digest: bytes_of(digest), caller }])
    }

    /// Adds the keys of another that have the admin role.
    pub(crate) fn with_admins_of(mut self, other: &Self) -> Self {
        if let (Self::Keys(own), Self::Keys(keys)) = (&mut self, other) {
            let admins = keys.iter().filter(|key| key.caller.roles.admin);
            own.extend(admins.map(|key| Key { name: key.name.clone(), digest: key.digest, caller: key.caller.clone() }));
        }
        self
    }

    /// The tenants that there are.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        let keys = if let Self::Keys(keys) = self { keys.as_slice() } else { &[] };
        keys.iter().map(|key| key.caller.tenant.as_str())
    }

    /// Who asks; refused without a key, with an unknown one, or with one that lacks the role.
    pub(crate) fn check(&self, headers: &HeaderMap, needs: Needs) -> Result<Asking, Problem> {
        let roles = |score, adapt| Caller { tenant: LOCAL.to_owned(), roles: Roles { score, adapt, admin: false } };
        let asking = match self {
            // Without keys there is nobody to tell apart.
            Self::Open => Asking { key: "none".to_owned(), caller: roles(true, true) },
            Self::Keys(_) if needs == Needs::Nothing => Asking { key: "none".to_owned(), caller: roles(false, false) },
            Self::Keys(keys) => known(keys, presented(headers)?).ok_or(Problem::WrongKey)?,
        };
        match needs.lacking(asking.caller.roles) {
            None => Ok(asking),
            Some(role) => Err(Problem::Role { key: asking.key, role }),
        }
    }
}

/// The key that a request shows.
fn presented(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let bearer = headers.get(header::AUTHORIZATION).map(|value| {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7).ok_or(Problem::WrongKey)?;
        if scheme.eq_ignore_ascii_case(b"bearer ") { Ok(key.trim_ascii()) } else { Err(Problem::WrongKey) }
    });
    let own = headers.get("x-api-key").map(|value| value.as_bytes());
    match (bearer.transpose()?, own) {
        (None, None) => Err(Problem::NoKey),
        (Some(key), None) | (None, Some(key)) if key.len() <= LONGEST => Ok(key),
        // Two keys would leave open which of them counts.
        _ => Err(Problem::WrongKey),
    }
}

/// The entry of a key. Every entry is compared, and wholly, so that the time says nothing of how near a guess is.
fn known(keys: &[Key], key: &[u8]) -> Option<Asking> {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (mut found, mut place) = (Choice::from(0), 0_u64);
    for (index, entry) in keys.iter().enumerate() {
        let same = entry.digest.ct_eq(&digest);
        place.conditional_assign(&(index as u64), same);
        found |= same;
    }
    let entry = bool::from(found).then(|| &keys[place as usize])?;
    Some(Asking { key: entry.name.clone(), caller: entry.caller.clone() })
}

/// The bytes of a digest, which shows itself as text only.
fn bytes_of(digest: &Digest) -> [u8; 32] {
    let text = digest.to_string();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = digits.expect("a digest shows itself as hexadecimal digits");
    }
    bytes
}

/// Makes a token and writes it to a file that only its owner reads; gives its digest.
pub(crate) fn new_token(path: &Path) -> Result<Digest, ServeError> {
    let wrong = |problem: String| ServeError::File { what: "token file", path: path.to_owned(), problem };
    let mut bytes = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| wrong("the system gives no random bytes".to_owned()))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(path, token.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    Ok(Digest::of(token.as_bytes()))
}

/// Writes a file beside its place and renames it, so that it is never there with the rights of an older file, and no link is followed.
fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside: PathBuf = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(&beside) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&beside)?;
            options.open(&beside)?
        }
        file => file?,
    };
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Whether a listener may be open to whoever reaches it.
pub(crate) fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
