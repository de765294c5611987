use std::path::PathBuf;

use acclimate_eval::EvalError;
use thiserror::Error;

use crate::{Digest, Name, TensorProblem, Version};

/// What can go wrong in a registry. Paths are those inside it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A name outside the pattern.
    #[error("`{found}` is no name: {problem}; a name is [a-z0-9][a-z0-9._-]{{0,63}}")]
    Name {
        /// Its beginning.
        found: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Text that is no SHA-256.
    #[error("`{found}` is no SHA-256; write 64 lower-case hexadecimal digits")]
    Digest {
        /// Its beginning.
        found: String,
    },
    /// Text that is no version.
    #[error("`{found}` is no version; write v and at least six digits, such as v000017")]
    Version {
        /// Its beginning.
        found: String,
    },
    /// The system refuses.
    #[error("can not {action} {path}: {source}; check that the folder exists, is writable and has room")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A link where a file or folder must be.
    #[error("{path} is a symbolic link; a registry follows none: put the file itself there")]
    Symlink {
        /// The link.
        path: String,
    },
    /// A path that no part of a registry has.
    #[error("`{path}` is no path inside a registry")]
    Path {
        /// The path.
        path: String,
    },
    /// A file of the caller that can not be read.
    #[error("can not read {}: {source}", .path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No registry in the folder.
    #[error("{path} is no registry: it holds no registry.json; make one with `init`")]
    NoRegistry {
        /// The folder.
        path: String,
    },
    /// A file above its limit.
    #[error("{path} has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A file that is not what its reader expects.
    #[error("{path}: {problem}; restore the file from a copy, or {}", instead(path))]
    Content {
        /// The file.
        path: String,
        /// What is wrong, with line and column where there are some.
        problem: String,
    },
    /// A later format.
    #[error("{path} has format {found}, this program knows {known}; use a later program")]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The latest known.
        known: u32,
    },
    /// A file whose bytes are not those that were published.
    #[error("{path} is damaged: SHA-256 {found}, published was {expected}; restore it from a copy, or move the alias to another version")]
    Damaged {
        /// The file.
        path: String,
        /// What its manifest or alias says.
        expected: Digest,
        /// What the bytes give.
        found: Digest,
    },
    /// A file that its manifest does not list, or one that is listed and not there.
    #[error("{path} {problem}; a version holds exactly what its manifest lists")]
    Files {
        /// The file.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something that is asked for and not there.
    #[error("there is no {what} `{name}`; there is: {known}")]
    Unknown {
        /// What was asked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        known: String,
    },
    /// Somebody else was faster.
    #[error("{what} has generation {found}, expected was {expected}: somebody else has changed it; look at it and try again")]
    Stale {
        /// The alias or the routes.
        what: String,
        /// The generation that the caller had seen; 0 for none.
        expected: u64,
        /// The generation there is.
        found: u64,
    },
    /// An alias that has named nothing else before.
    #[error("alias `{alias}` can not go back: it has named no other version before")]
    NothingEarlier {
        /// The alias.
        alias: Name,
    },
    /// An update that would break an invariant of the store.
    #[error("refused, since {invariant}: {problem}")]
    Refused {
        /// The invariant.
        invariant: &'static str,
        /// What would break it, and what to do.
        problem: String,
    },
    /// A version that can not be published as it is.
    #[error("can not publish: {what}: {problem}")]
    Draft {
        /// The part.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor file that its validator refuses.
    #[error("{path}: {problem}")]
    Tensors {
        /// The file.
        path: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// A version without a signature where one is required.
    #[error("{path} is not signed, and the policy is `require`; publish it with a trusted key")]
    Unsigned {
        /// The version.
        path: String,
    },
    /// A signature that does not hold.
    #[error("{path}: {problem}; do not serve this version until you know who published it")]
    Signature {
        /// The version.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key that is none.
    #[error("{what} is no Ed25519 key; write its 32 bytes as 64 lower-case hexadecimal digits")]
    Key {
        /// Which.
        what: &'static str,
    },
    /// A file of a secret key that can not be used.
    #[error("the key {}: {problem}", .path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An audit log that is not as it was written.
    #[error("{path}, line {line}: {problem}; compare the folder with a copy, and move it away to begin a new log")]
    Audit {
        /// The file.
        path: String,
        /// The number of the line in the whole log; 0 where none is meant.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A segment that can not be used.
    #[error("segment {path}: {problem}")]
    Segment {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A comparison that can not be made.
    #[error("the gate can not compare: {0}")]
    Gate(#[from] EvalError),
    /// A setting of the gate outside its range.
    #[error("gate: {what} is {value}, allowed is {allowed}")]
    GateSetting {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        allowed: &'static str,
    },
    /// More versions than numbers.
    #[error("`{name}` has reached {last}, the last number of a version; publish under another name")]
    Full {
        /// The name.
        name: Name,
        /// The last version.
        last: Version,
    },
}

impl RegistryError {
    /// Whether something was simply not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// What helps where a file is not as it was written.
fn instead(path: &str) -> &'static str {
    if path.contains("/aliases/") {
        "remove it and move the alias again, to where `registry audit` says that it pointed"
    } else {
        "publish the version again"
    }
}
