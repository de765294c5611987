//! `acclimate registry users`: what a patch gives each user, solved for beforehand and published beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use acclimate::open::{HISTORY, OpenBase};
use acclimate::{Patch, serving};
use acclimate_registry::{About, Draft, Kind, Manifest, Name, Registry, Settings, SignaturePolicy, Signer, Version, segment_files};
use acclimate_serve::engine::{SEGMENTS_PATCH, segments_of};

use super::now;
use crate::command::shared::{UsageError, at_least_one};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  acclimate registry users films-users --base base\n\nA server answers a known user who brings no support set with the head that was published here. It keeps heads alone: \
        patches of `bayes_head`, or of `maml` that adapts the head."
)]
pub(super) struct Users {
    /// Name of the published patch.
    name: String,
    /// Its version; default the latest.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Folder of the base, whose training rows the users are adapted to.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// Rows of a user, the latest.
    #[arg(long, default_value_t = HISTORY, value_name = "N", value_parser = at_least_one)]
    history: usize,
    /// File of the secret key to sign it with, which `keygen` made.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Users of a segment.
const ROWS: usize = 1 << 16;

pub(super) fn run(registry: &Registry, settings: &Settings, wish: &Users) -> anyhow::Result<String> {
    let name: Name = wish.name.parse()?;
    let signer = wish.sign.as_deref().map(Signer::load).transpose()?;
    if settings.policy == SignaturePolicy::Require && signer.is_none() {
        return Err(UsageError("signatures are required here, and what has none is not published; give --sign FILE".into()).into());
    }
    let latest = registry.versions(Kind::Patch, &name)?.last().copied();
    let version = match wish.version {
        Some(number) => Version::new(number).ok_or_else(|| UsageError("--version 0 is none; versions begin with 1".into()))?,
        None => latest.ok_or_else(|| UsageError(format!("`{name}` is no published patch")))?,
    };
    let stored = registry.show(Kind::Patch, &name, version)?;
    let file = "adapter_model.safetensors";
    let bytes = registry.read(Kind::Patch, &name, version, &file.parse()?, u64::MAX)?;
    let open = OpenBase::open(&wish.base, None)?;
    let patch = Patch::parse((&open.saved.base, &open.saved.base.hash()), &bytes, Path::new(file)).map_err(acclimate::ExperimentError::from)?;
    let heads = serving::heads(&open, &patch, wish.history)?;
    if heads.keys.is_empty() {
        return Err(UsageError(format!("none of the users has enough rows for `{name}`; nothing is published")).into());
    }
    let files = segment_files(&heads.keys, &heads.values, ROWS)?;
    let segments = segments_of(&name).ok_or_else(|| UsageError(format!("`{name}` is too long a name for segments beside it; publish the patch under a shorter one")))?;
    let config = serde_json::Map::from_iter([(SEGMENTS_PATCH.to_owned(), stored.digest.to_string().into())]);
    let about = About {
        methods: vec!["personal_head".into()],
        config,
        metrics: BTreeMap::new(),
        parent: registry.versions(Kind::Segments, &segments)?.last().copied(),
        created: now(),
        ..stored.manifest.about
    };
    let stored = registry.publish(&Draft { kind: Kind::Segments, name: segments, about, files, expected: BTreeMap::new() }, signer.as_ref())?;
    let without = match heads.without {
        0 => String::new(),
        n => format!("; {n} have too few rows for it, and are answered as strangers"),
    };
    let Manifest { name, version, .. } = &stored.manifest;
    let users = heads.keys.len();
    Ok(format!("segments/{name}/{version}: the heads of {users} users{without}; nothing points to it yet. Next: acclimate registry promote {name} --force --reason TEXT\n"))
}
