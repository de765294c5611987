//! `acclimate registry`: bases and patches as versions that never change, and aliases that point to them.

mod promote;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use acclimate::Patch;
use acclimate::artifact::SavedBase;
use acclimate_adapt::Serve;
use acclimate_registry::{
    About, Collection, Content, Digest, Draft, Kind, Listed, Measured, Name, Registry, RegistryError, Route, Settings, Stored, Version,
};
use anyhow::Context;

use super::Global;
use super::shared::{UsageError, print};

/// Keep bases and patches as versions, and say which of them serve
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate registry publish films --base base\n  acclimate registry publish films-tab2 --base base --patch tab2.safetensors\n  acclimate registry promote films-tab2 --reason 'trial'  --alias challenger\n  \
        acclimate registry list\n  acclimate registry rollback films-tab2 --alias challenger --reason 'it was slower'\n\n\
        What serves is the alias `champion` and every alias that a route names: there `promote` compares a patch with its base first. --force goes past that and is recorded."
)]
pub(crate) struct Args {
    /// Folder of the registry; `publish` makes it.
    #[arg(long, default_value = "registry", value_name = "FOLDER", global = true)]
    root: PathBuf,
    #[command(subcommand)]
    wish: Wish,
}

#[derive(clap::Subcommand)]
enum Wish {
    /// Every version with its aliases
    List,
    /// The manifest of a version and what the gate said of it, as JSON
    Show(Of),
    /// A base, or a patch of one, as the next version of a name
    Publish(Publish),
    /// Point an alias to a version; what serves takes a patch only once the gate has let it through
    Promote(Box<promote::Promote>),
    /// Point an alias to what it named before
    Rollback(Rollback),
    /// Send a domain's requests to an alias of a patch, or nowhere
    Route(Routing),
    /// Hash every file of every version, and check what points to them
    Verify,
    /// Remove versions that nothing names or can go back to
    Gc(Gc),
}

#[derive(clap::Args)]
struct Of {
    /// Name of the base or patch.
    name: String,
    /// Its version; default the latest.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

#[derive(clap::Args)]
struct Publish {
    /// Name: lower-case letters, digits, dots, dashes and underscores.
    name: String,
    /// Folder of the base that `pretrain` wrote.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// A patch of it. Without, the base itself is published.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Why {
    /// Why, for whoever reads the pointer.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who; default the user of the system.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

#[derive(clap::Args)]
struct Rollback {
    /// Name of the base or patch.
    name: String,
    /// The alias.
    #[arg(long, default_value = "champion")]
    alias: String,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
struct Routing {
    /// The domain.
    domain: String,
    /// The patch; without, the domain's route is removed.
    patch: Option<String>,
    /// Its alias.
    #[arg(long, default_value = "champion")]
    alias: String,
    #[command(flatten)]
    why: Why,
}

#[derive(clap::Args)]
struct Gc {
    /// Versions younger than this stay, such as `7d` or `12h`.
    #[arg(long, default_value = "7d", value_name = "SPAN")]
    grace: acclimate_data::Span,
    /// Say only what would go.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(_: &Global, Args { root, wish }: Args) -> anyhow::Result<()> {
    let open = || Registry::open(&root, Settings::default());
    let text = match wish {
        Wish::Publish(wish) => publish(&root, &wish)?,
        Wish::List => list(&open()?)?,
        Wish::Show(of) => show(&open()?, &of)?,
        Wish::Promote(wish) => return promote::run(&root, &open()?, &wish),
        Wish::Rollback(wish) => rollback(&open()?, &wish)?,
        Wish::Route(wish) => route(&open()?, &wish)?,
        Wish::Gc(wish) => collect(&open()?, &wish)?,
        Wish::Verify => verify(&open()?)?,
    };
    Ok(print(text)?)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn who(why: &Why) -> String {
    why.by.clone().or_else(|| std::env::var("USER").ok()).filter(|who| !who.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// The kind that a name is of, and the version that is meant.
fn found(registry: &Registry, of: &Of) -> anyhow::Result<(Kind, Name, Version)> {
    let name: Name = of.name.parse()?;
    let kind = kind_of(registry, &name)?;
    let latest = || registry.versions(kind, &name).map(|versions| versions.last().copied());
    let version = match of.version {
        Some(number) => Version::new(number).ok_or_else(|| UsageError("--version 0 is none; versions begin with 1".into()))?,
        None => latest()?.ok_or_else(|| UsageError(format!("`{name}` has no version")))?,
    };
    Ok((kind, name, version))
}

fn kind_of(registry: &Registry, name: &Name) -> anyhow::Result<Kind> {
    for kind in Kind::ALL {
        if registry.names(kind)?.contains(name) {
            return Ok(kind);
        }
    }
    Err(UsageError(format!("nothing called `{name}` is published; `acclimate registry list` says what is")).into())
}

fn list(registry: &Registry) -> Result<String, RegistryError> {
    let line = |Listed { stored, kind, name, version, aliases }: Listed| {
        let aliases: Vec<String> = aliases.iter().map(ToString::to_string).collect();
        let what = match stored {
            Ok(Stored { manifest, digest, .. }) => format!("{} {}", manifest.about.methods.join("+"), &digest.to_string()[..12]),
            Err(problem) => format!("unreadable: {problem}"),
        };
        format!("{}/{name}/{version}  {what}  {}\n", kind.folder(), aliases.join(" "))
    };
    let lines: String = registry.list()?.into_iter().map(line).collect();
    let routes = registry.routes()?;
    let routes: String =
        routes.domains.iter().map(|(domain, route)| format!("route {domain} -> {}/{}\n", route.patch, route.alias)).collect();
    Ok(if lines.is_empty() { "nothing is published yet; see `acclimate registry publish --help`\n".into() } else { lines + &routes })
}

fn show(registry: &Registry, of: &Of) -> anyhow::Result<String> {
    let (kind, name, version) = found(registry, of)?;
    let stored = registry.show(kind, &name, version)?;
    let mut shown = serde_json::to_value(&stored.manifest)?;
    if let Some(keys) = shown.as_object_mut() {
        keys.insert("digest".into(), serde_json::to_value(stored.digest)?);
        keys.insert("judged".into(), serde_json::to_value(registry.judged(kind, &name, version)?)?);
    }
    Ok(serde_json::to_string_pretty(&shown)? + "\n")
}

/// Makes the registry only once there is something to publish.
fn publish(root: &Path, wish: &Publish) -> anyhow::Result<String> {
    let name: Name = wish.name.parse()?;
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
    let draft = match &wish.patch {
        Some(path) => of_patch(name, about, &Patch::load(&saved.base, path)?, path)?,
        None => of_base(name, about, &saved, &wish.base)?,
    };
    let registry = Registry::init(root, Settings::default())?;
    if let Some(other) = Kind::ALL.into_iter().filter(|kind| *kind != draft.kind).find(|kind| registry.names(*kind).is_ok_and(|names| names.contains(&draft.name))) {
        return Err(UsageError(format!("`{}` is a name in {}/ already; choose another, so that commands know what is meant", draft.name, other.folder())).into());
    }
    let parent = registry.versions(draft.kind, &draft.name)?.last().copied();
    let stored = registry.publish(&Draft { about: About { parent, ..draft.about }, ..draft }, None)?;
    let place = format!("{}/{}/{}", stored.manifest.kind.folder(), stored.manifest.name, stored.manifest.version);
    Ok(format!("{place} is published; nothing points to it yet. Next: acclimate registry promote {} --reason TEXT\n", stored.manifest.name))
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

fn of_base(name: Name, about: About, saved: &SavedBase, folder: &Path) -> anyhow::Result<Draft> {
    let config = serde_json::to_value(&saved.base.spec.backbone)?;
    let kind = config.get("kind").and_then(|kind| kind.as_str()).unwrap_or("base").to_owned();
    let mut files = BTreeMap::from([("model.safetensors".parse()?, Content::File(folder.join("base.safetensors")))]);
    for file in ["encoder.json", "run.json", "sequences.json"] {
        if folder.join(file).exists() {
            files.insert(file.parse()?, Content::File(folder.join(file)));
        }
    }
    let config = config.as_object().cloned().unwrap_or_default();
    Ok(Draft { kind: Kind::Base, name, about: About { methods: vec![kind], config, ..about }, files, expected: BTreeMap::new() })
}

fn of_patch(name: Name, about: About, patch: &Patch, path: &Path) -> anyhow::Result<Draft> {
    let manifest = &patch.manifest;
    let config = serde_json::to_value(&manifest.config)?.as_object().cloned().unwrap_or_default();
    let adapter = serde_json::json!({ "peft_type": "ACCLIMATE", "method": manifest.method, "config": config, "served": manifest.serve != Serve::Never });
    let files = BTreeMap::from([
        ("adapter_model.safetensors".parse()?, Content::File(path.to_owned())),
        ("adapter_config.json".parse()?, Content::Bytes((serde_json::to_string_pretty(&adapter)? + "\n").into_bytes())),
    ]);
    let metrics = manifest.metrics.iter().map(|(name, &value)| (name.clone(), Measured { value, floor: None })).collect();
    let about = About { methods: vec![manifest.method.clone()], config, window: manifest.window, metrics, ..about };
    Ok(Draft { kind: Kind::Patch, name, about, files, expected: BTreeMap::new() })
}

fn rollback(registry: &Registry, wish: &Rollback) -> anyhow::Result<String> {
    let (name, alias): (Name, Name) = (wish.name.parse()?, wish.alias.parse()?);
    let kind = kind_of(registry, &name)?;
    let expected = registry.alias(kind, &name, &alias)?.map_or(0, |pointer| pointer.generation);
    let pointer = registry.rollback(kind, &name, &alias, expected, (&who(&wish.why), &wish.why.reason))?;
    Ok(format!("{name}/{alias} points to {} again (generation {})\n", pointer.target.version, pointer.generation))
}

fn route(registry: &Registry, wish: &Routing) -> anyhow::Result<String> {
    let to = match &wish.patch {
        Some(patch) => Some(Route { patch: patch.parse()?, alias: wish.alias.parse()? }),
        None => None,
    };
    let expected = registry.routes()?.generation;
    registry.set_route(&wish.domain, to, expected, (&who(&wish.why), &wish.why.reason))?;
    Ok(match &wish.patch {
        Some(patch) => format!("requests of domain `{}` go to {patch}/{}\n", wish.domain, wish.alias),
        None => format!("domain `{}` has no route\n", wish.domain),
    })
}

fn verify(registry: &Registry) -> anyhow::Result<String> {
    let findings = registry.verify_all()?;
    if findings.is_empty() {
        return Ok(format!("{} versions, all whole\n", registry.list()?.len()));
    }
    let lines: Vec<String> = findings.iter().map(|finding| format!("  {}: {}", finding.path, finding.error)).collect();
    anyhow::bail!("the registry is not whole; what is damaged is refused until it is published anew:\n{}", lines.join("\n"))
}

fn collect(registry: &Registry, wish: &Gc) -> Result<String, RegistryError> {
    let grace = wish.grace.micros() / 1_000_000;
    let found = registry.collect(Collection { now: now(), grace, dry_run: wish.dry_run })?;
    let verb = if wish.dry_run { "would go" } else { "gone" };
    let mut lines: String = found.versions.iter().map(|(kind, name, version)| format!("{verb}: {}/{name}/{version}\n", kind.folder())).collect();
    lines.extend(found.leftovers.iter().map(|path| format!("{verb}: {path}\n")));
    lines.extend(found.unreadable.iter().map(|(kind, name, version)| format!("unreadable, kept: {}/{name}/{version}\n", kind.folder())));
    Ok(if lines.is_empty() { "nothing to collect\n".into() } else { lines })
}
