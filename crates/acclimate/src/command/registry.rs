//! `acclimate registry`: bases and patches as versions that never change, and aliases that point to them.

mod audit;
mod promote;
mod publish;
mod trust;
mod users;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use acclimate_registry::{
    Collection, Kind, Listed, Name, Registry, RegistryError, Route, Stored, Version,
};

pub(super) use trust::Trusting;

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
    #[command(flatten)]
    trusting: trust::Trusting,
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
    Publish(publish::Publish),
    /// Point an alias to a version; what serves takes a patch only once the gate has let it through
    Promote(Box<promote::Promote>),
    /// Point an alias to what it named before
    Rollback(Rollback),
    /// What a patch gives each user of its base's data, published beside it for users who bring nothing
    Users(users::Users),
    /// Send a domain's requests to an alias of a patch, or nowhere
    Route(Routing),
    /// Who has moved what, and whether that log is whole
    Audit(audit::Audit),
    /// A key to sign versions with
    Keygen(trust::Keygen),
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

pub(crate) fn run(_: &Global, Args { root, trusting, wish }: Args) -> anyhow::Result<()> {
    let settings = trusting.settings(&root)?;
    let open = || Registry::open(&root, settings.clone());
    let text = match wish {
        Wish::Publish(wish) => publish::run(&root, &settings, &wish)?,
        Wish::List => list(&open()?)?,
        Wish::Show(of) => show(&open()?, &of)?,
        Wish::Promote(wish) => return promote::run(&root, (&open()?, &settings), &wish),
        Wish::Rollback(wish) => rollback(&open()?, &wish)?,
        Wish::Route(wish) => route(&open()?, &wish)?,
        Wish::Gc(wish) => collect(&open()?, &wish)?,
        Wish::Users(wish) => users::run(&open()?, &settings, &wish)?,
        Wish::Audit(wish) => audit::run(&open()?, &wish)?,
        Wish::Keygen(wish) => trust::keygen(&wish)?,
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
        keys.insert("trust".into(), trust::said(stored.trust).into());
        keys.insert("judged".into(), serde_json::to_value(registry.judged(kind, &name, version)?)?);
    }
    Ok(serde_json::to_string_pretty(&shown)? + "\n")
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
