//! `acclimate registry publish`: everything that a server needs of a base or a patch, as the next version of a name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use acclimate::{ExperimentError, Patch};
use acclimate::adapt::Manifest;
use acclimate::artifact::SavedBase;
use acclimate::model::{ArrayKind, TensorFile};
use acclimate::{serving, state};
use acclimate_adapt::Serve;
use acclimate_registry::{About, Content, Digest, Draft, Kind, Measured, Name, Registry, Settings, Signer, TensorSpec, TensorType};
use anyhow::Context;

use super::now;
use crate::command::shared::UsageError;

#[derive(clap::Args)]
pub(super) struct Publish {
    /// Name: lower-case letters, digits, dots, dashes and underscores.
    name: String,
    /// Folder of the base that `pretrain` wrote.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// A patch of it. Without, the base itself is published.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// Folder that PEFT saved a low-rank patch of it to.
    #[arg(long, value_name = "FOLDER", conflicts_with = "patch")]
    peft: Option<PathBuf>,
    /// File of the secret key to sign it with, which `keygen` made.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// The name of a patch's tensors, as PEFT has it.
const ADAPTER: &str = "adapter_model.safetensors";

/// Makes the registry only once there is something to publish.
pub(super) fn run(root: &Path, settings: &Settings, wish: &Publish) -> anyhow::Result<String> {
    let name: Name = wish.name.parse()?;
    let signer = wish.sign.as_deref().map(Signer::load).transpose()?;
    let saved = SavedBase::load(&wish.base)?;
    let base: Digest = saved.base.hash().parse()?;
    let about = About {
        methods: Vec::new(),
        config: serde_json::Map::new(),
        base,
        schema: saved.base.spec.schema_hash().parse()?,
        feature_spec: feature_spec(&wish.base)?,
        window: None,
        metrics: BTreeMap::new(),
        parent: None,
        created: now(),
    };
    let patch = match (&wish.patch, &wish.peft) {
        (Some(path), _) => Some(Patch::load(&saved.base, path).map_err(ExperimentError::from)?),
        (None, Some(folder)) => Some(Patch::of_peft(&saved.base, folder).map_err(ExperimentError::from)?),
        (None, None) => None,
    };
    // A server holds what it loads against these.
    let files = serving::files(&wish.base, &saved, patch.as_ref())?;
    let (mut draft, form) = match patch {
        Some(patch) => of_patch(name, about, &saved, patch)?,
        None => (of_base(name, about, &saved, &wish.base)?, String::new()),
    };
    for (name, bytes) in files {
        draft.files.insert(name.parse()?, Content::Bytes(bytes));
    }
    let registry = Registry::init(root, settings.clone())?;
    if let Some(other) = Kind::ALL.into_iter().filter(|kind| *kind != draft.kind).find(|kind| registry.names(*kind).is_ok_and(|names| names.contains(&draft.name))) {
        return Err(UsageError(format!("`{}` is a name in {}/ already; choose another, so that commands know what is meant", draft.name, other.folder())).into());
    }
    let parent = registry.versions(draft.kind, &draft.name)?.last().copied();
    let stored = registry.publish(&Draft { about: About { parent, ..draft.about }, ..draft }, signer.as_ref())?;
    let place = format!("{}/{}/{}", stored.manifest.kind.folder(), stored.manifest.name, stored.manifest.version);
    let signed = signer.map_or_else(String::new, |signer| format!(", signed by {}", signer.public()));
    Ok(format!("{place} is published{form}{signed}; nothing points to it yet. Next: acclimate registry promote {} --reason TEXT\n", stored.manifest.name))
}

/// Digest of the files of a base that say how its features are computed.
fn feature_spec(folder: &Path) -> anyhow::Result<Digest> {
    let mut bytes = Vec::new();
    for file in ["encoder.json", "sequences.json"] {
        let path = folder.join(file);
        if path.exists() {
            bytes.extend(std::fs::read(&path).with_context(|| format!("{}", path.display()))?);
        }
    }
    Ok(Digest::of(&bytes))
}

/// A base with what it takes to read requests for it: vocabularies, how it was made, and what its features know of earlier rows.
fn of_base(name: Name, about: About, saved: &SavedBase, folder: &Path) -> anyhow::Result<Draft> {
    let config = serde_json::to_value(&saved.base.spec.backbone)?;
    let kind = config.get("kind").and_then(|kind| kind.as_str()).unwrap_or("base").to_owned();
    let values: Name = "model.safetensors".parse()?;
    let mut files = BTreeMap::from([(values.clone(), Content::File(SavedBase::values_in(folder)?))]);
    for file in ["encoder.json", "run.json", "sequences.json", state::FILE] {
        if folder.join(file).exists() {
            files.insert(file.parse()?, Content::File(folder.join(file)));
        } else if file == state::FILE && saved.encoder.has_state() {
            let problem = format!("holds no {file}, and its features are made of earlier rows; make the base again with `acclimate pretrain`");
            return Err(ExperimentError::Artifact { path: folder.into(), problem }.into());
        }
    }
    let shapes = saved.base.shapes().into_iter();
    let expected = shapes.map(|(name, shape)| (name, spec(ArrayKind::Float, &shape))).collect();
    let config = config.as_object().cloned().unwrap_or_default();
    Ok(Draft { kind: Kind::Base, name, about: About { methods: vec![kind], config, ..about }, files, expected: [(values, expected)].into() })
}

/// A patch in PEFT's form where it has one, else in ours; and what is said of that.
fn of_patch(name: Name, about: About, saved: &SavedBase, mut patch: Patch) -> anyhow::Result<(Draft, String)> {
    // A file of an earlier format is published in the present one.
    patch.manifest.format = Manifest::FORMAT;
    let manifest = &patch.manifest;
    let config = serde_json::to_value(&manifest.config)?.as_object().cloned().unwrap_or_default();
    let (adapter, file, form) = match patch.to_peft(&saved.base) {
        Ok((peft, file)) => (serde_json::to_value(&peft)?, file, " for PEFT too".to_owned()),
        Err(why) => {
            let served = manifest.serve != Serve::Never;
            let adapter = serde_json::json!({
                "peft_type": "ACCLIMATE", "method": manifest.method, "config": config, "served": served, "why": why.to_string()
            });
            (adapter, patch.tensors(&saved.base), String::new())
        }
    };
    let metrics = manifest.metrics.iter().map(|(name, &value)| (name.clone(), Measured { value, floor: None })).collect();
    let about = About { methods: vec![manifest.method.clone()], config, window: manifest.window, metrics, ..about };
    let tensors: Name = ADAPTER.parse()?;
    let expected = [(tensors.clone(), layout(&file))].into();
    let files = BTreeMap::from([
        (tensors, Content::Bytes(file.to_bytes())),
        ("adapter_config.json".parse()?, Content::Bytes((serde_json::to_string_pretty(&adapter)? + "\n").into_bytes())),
    ]);
    Ok((Draft { kind: Kind::Patch, name, about, files, expected }, form))
}

/// What a patch may hold: loading it has held each tensor against the base's architecture and the method's declaration.
fn layout(file: &TensorFile) -> BTreeMap<String, TensorSpec> {
    file.layout().into_iter().map(|(name, (kind, shape))| (name, spec(kind, &shape))).collect()
}

fn spec(kind: ArrayKind, shape: &[usize]) -> TensorSpec {
    let kind = match kind {
        ArrayKind::Float => TensorType::F32,
        ArrayKind::Index => TensorType::U32,
        ArrayKind::Small => TensorType::I8,
    };
    TensorSpec { kind, shape: shape.iter().map(|&side| side as u64).collect() }
}
