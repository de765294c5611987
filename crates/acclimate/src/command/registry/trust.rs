//! Whose signatures count: `--trust`, `--signatures`, and the keys of `keygen`.

use std::path::{Path, PathBuf};

use acclimate::ExperimentError;
use acclimate_registry::{PublicKey, Settings, SignaturePolicy, Signer, Stored, Trust};
use serde::Deserialize;

use crate::command::shared::UsageError;

/// What is asked of signatures, by every command that reads.
#[derive(clap::Args)]
pub(in crate::command) struct Trusting {
    /// File with the keys whose signatures count; default the registry's name with `.toml` beside it, if that is there.
    #[arg(long, value_name = "FILE", global = true)]
    trust: Option<PathBuf>,
    /// What is asked of signatures; default what the file says, `require` where it does not say, and `warn` without one.
    #[arg(long, value_name = "POLICY", global = true)]
    signatures: Option<Policy>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Policy {
    /// What no trusted key has signed is refused
    Require,
    /// It is said
    Warn,
    /// Nobody looks
    Off,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrustFile {
    signatures: SignaturePolicy,
    trusted: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

impl Default for TrustFile {
    fn default() -> Self {
        Self { signatures: SignaturePolicy::Require, trusted: Vec::new(), revoked: Vec::new() }
    }
}

impl Trusting {
    /// The settings for a registry in `root`.
    pub(in crate::command) fn settings(&self, root: &Path) -> anyhow::Result<Settings> {
        let mut settings = match self.text(root)? {
            None => Settings::default(),
            Some((path, text)) => {
                let read: Result<TrustFile, _> = toml::from_str(&text);
                let TrustFile { signatures, trusted, revoked } = read.map_err(|error| ExperimentError::Artifact {
                    path: path.clone(),
                    problem: format!("is no list of keys ({}); write trusted = [\"KEY\"], with keys as `keygen` prints them", error.to_string().trim()),
                })?;
                Settings { policy: signatures, trusted, revoked }
            }
        };
        if let Some(policy) = self.signatures {
            settings.policy = match policy {
                Policy::Require => SignaturePolicy::Require,
                Policy::Warn => SignaturePolicy::Warn,
                Policy::Off => SignaturePolicy::Off,
            };
        }
        Ok(settings)
    }

    /// The file that was named, or the one beside the registry: beside the path that was given, or beside the folder that it leads to.
    fn text(&self, root: &Path) -> anyhow::Result<Option<(PathBuf, String)>> {
        let read = |path: &Path| std::fs::read_to_string(path);
        let unread = |path: &Path, source| ExperimentError::Read { path: path.to_owned(), source };
        if let Some(path) = &self.trust {
            return Ok(Some((path.clone(), read(path).map_err(|source| unread(path, source))?)));
        }
        let real = root.canonicalize().ok();
        for root in [Some(root), real.as_deref()].into_iter().flatten() {
            let Some(mut name) = root.file_name().map(ToOwned::to_owned) else { continue };
            name.push(".toml");
            let path = root.with_file_name(name);
            match read(&path) {
                Ok(text) => return Ok(Some((path, text))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(unread(&path, source).into()),
            }
        }
        Ok(None)
    }
}

/// What is known of who published a version.
pub(super) fn said(trust: Trust) -> String {
    match trust {
        Trust::Signed(key) => format!("signed by {key}"),
        Trust::Unsigned => "not signed".to_owned(),
        Trust::Doubtful(why) => why.to_owned(),
        Trust::Unchecked => "not looked at".to_owned(),
    }
}

/// What is to be said of a version before something points to it, where keys are trusted and none of them has signed it.
pub(super) fn warning(settings: &Settings, stored: &Stored) -> Option<String> {
    let quiet = settings.trusted.is_empty() || matches!(stored.trust, Trust::Signed(_) | Trust::Unchecked);
    (!quiet).then(|| format!("note: {} {}: {}\n", stored.manifest.name, stored.manifest.version, said(stored.trust)))
}

#[derive(clap::Args)]
pub(super) struct Keygen {
    /// New file for the secret key, which only you may read.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn keygen(wish: &Keygen) -> anyhow::Result<String> {
    if wish.out.exists() {
        return Err(UsageError(format!("--out {} exists; a key is never written over: name another file", wish.out.display())).into());
    }
    let signer = Signer::create(&wish.out)?;
    let (file, key) = (wish.out.display(), signer.public());
    Ok(format!("{file} holds the secret key; keep it. Its public key:\n{key}\nWho trusts it has a file with: trusted = [\"{key}\"]\n"))
}
