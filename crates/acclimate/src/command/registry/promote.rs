//! `acclimate registry promote`: asks the gate, keeps what it said, and moves the alias.

use std::path::{Path, PathBuf};

use acclimate::gate::{self, Judged, Request};
use acclimate::open::HISTORY;
use acclimate::{Metric, interrupt};
use acclimate_registry::{AliasMove, GateConfig, GateReport, Judgement, Kind, Name, Registry, RegistryError, Settings, Stored, Verdict, Version};

use super::trust::warning;
use super::{Of, Why, found, now, who};
use crate::command::shared::{UsageError, at_least_one, print};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  acclimate registry promote films-tab2 --reason 'better on all tabs' --slice tab\n\nA patch is judged on rows that neither it nor its base has learned from: \
        the part `test` of the base's own data, or the file of --data. It passes where the end of the one-sided interval of its paired gain is above minus the margin, on all rows and \
        in each protected slice. Exit code 1 says that it did not."
)]
pub(super) struct Promote {
    #[command(flatten)]
    of: Of,
    /// The alias.
    #[arg(long, default_value = "champion")]
    alias: String,
    /// Point it there though the gate has not let the patch through; recorded in the pointer. The gate is asked only where one of its settings is given.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    gate: Gate,
}

/// Settings of the gate.
#[derive(clap::Args)]
#[command(next_help_heading = "The gate")]
struct Gate {
    /// Data-set file with held-out rows, all of which judge; default the base's own data.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Data-set file with rows between the base's own and those of --data, for features of earlier rows; may be given several times.
    #[arg(long, value_name = "FILE", requires = "data")]
    context: Vec<PathBuf>,
    /// Part of the base's own data; default test.
    #[arg(long, value_name = "PART", conflicts_with = "data")]
    part: Option<String>,
    /// Only rows of this domain; default that which the patch was trained on.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// The metric that decides; default log_loss for clicks, rmse for ratings, and `mrr[full]` for a base of sequences.
    #[arg(long, value_name = "NAME")]
    metric: Option<Metric>,
    /// How much worse than the base the patch may be, in units of the metric; default 0.002.
    #[arg(long, value_name = "M")]
    margin: Option<f64>,
    /// How sure it must be that it is not; default 0.95.
    #[arg(long, value_name = "C")]
    confidence: Option<f64>,
    /// A gain above this is not believed; default 0.2.
    #[arg(long, value_name = "G")]
    most_gain: Option<f64>,
    /// Fewest users of a slice; default 30.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    least_users: Option<usize>,
    /// A protected slice: COLUMN for every value of it, COLUMN=VALUE for one; a column is the domain, an attribute or a categorical feature. May be given several times.
    #[arg(long = "slice", value_name = "COLUMN")]
    slices: Vec<String>,
    /// Rows of a user that the patch adapts from, the latest; default 50.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    history: Option<usize>,
    /// Seed of the bootstrap's draws and of the preflight's control; default 7.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Gate {
    /// Whether one of its settings was given.
    fn is_asked(&self) -> bool {
        let Self { data, context, part, domain, metric, margin, confidence, most_gain, least_users, slices, history, seed } = self;
        data.is_some()
            || !context.is_empty()
            || part.is_some()
            || domain.is_some()
            || metric.is_some()
            || [margin, confidence, most_gain].into_iter().any(Option::is_some)
            || [least_users, history].into_iter().any(Option::is_some)
            || !slices.is_empty()
            || seed.is_some()
    }

    fn request(&self) -> Request {
        let default = GateConfig::default();
        let config = GateConfig {
            margin: self.margin.unwrap_or(default.margin),
            confidence: self.confidence.unwrap_or(default.confidence),
            most_gain: self.most_gain.unwrap_or(default.most_gain),
            least_users: self.least_users.unwrap_or(default.least_users),
            seed: self.seed.unwrap_or(default.seed),
            ..default
        };
        Request {
            config,
            metric: self.metric.clone(),
            data: self.data.clone(),
            context: self.context.clone(),
            part: self.part.clone(),
            domain: self.domain.clone(),
            slices: self.slices.clone(),
            history: self.history.unwrap_or(HISTORY),
        }
    }
}

pub(super) fn run(root: &Path, (registry, settings): (&Registry, &Settings), wish: &Promote) -> anyhow::Result<()> {
    let (kind, name, version) = found(registry, &wish.of)?;
    let alias: Name = wish.alias.parse()?;
    let expected = registry.alias(kind, &name, &alias)?.map_or(0, |pointer| pointer.generation);
    let (by, reason) = (who(&wish.why), wish.why.reason.clone());
    if kind != Kind::Patch && wish.gate.is_asked() {
        return Err(UsageError(format!("`{name}` is no patch, and the gate judges patches only: leave its settings out")).into());
    }
    if let Some(warning) = warning(settings, &registry.show(kind, &name, version)?) {
        print(warning)?;
    }
    let gated = kind == Kind::Patch && (wish.gate.is_asked() || (!wish.force && registry.serves(kind, &name, &alias)?));
    let mut verdict = Verdict::Ungated;
    if gated {
        let stored = registry.verify(kind, &name, version)?;
        let judged = judge(root, registry, &stored, &wish.gate.request())?;
        print(table(&judged))?;
        verdict = judged.report.verdict;
        let why = why_not(&judged.report);
        let Judged { report, rows, notes } = judged;
        let base = stored.manifest.about.base;
        registry.record(kind, &name, version, Judgement { at: now(), by: by.clone(), digest: stored.digest, base, rows, report, notes })?;
        if verdict != Verdict::Promoted && !wish.force {
            anyhow::bail!("{name}/{alias} stays where it is: the gate says `{verdict}` of {version}: {why}");
        }
    }
    let moved = AliasMove { kind, name: name.clone(), alias: alias.clone(), version, expected, by, reason, verdict, force: wish.force };
    let pointer = registry.move_alias(&moved)?;
    let forced = if pointer.target.forced { ", by force" } else { "" };
    Ok(print(format_args!("{name}/{alias} points to {version}{forced} (generation {})\n", pointer.generation))?)
}

/// Judges a published patch by the published base, both of which are hashed first.
fn judge(root: &Path, registry: &Registry, patch: &Stored, request: &Request) -> anyhow::Result<Judged> {
    let about = &patch.manifest.about;
    let base = registry.base_of(about.base)?.ok_or_else(|| RegistryError::Unknown {
        what: "base",
        name: about.base.to_string(),
        known: "none of this identity; publish it".into(),
    })?;
    registry.verify(Kind::Base, &base.manifest.name, base.manifest.version)?;
    let folder = folder_of(root, Kind::Base, &base.manifest.name, base.manifest.version);
    let file = folder_of(root, Kind::Patch, &patch.manifest.name, patch.manifest.version).join("adapter_model.safetensors");
    let stop = interrupt::stop_flag()?;
    Ok(gate::judge(&folder, &file, request, &stop)?)
}

fn folder_of(root: &Path, kind: Kind, name: &Name, version: Version) -> PathBuf {
    root.join(kind.folder()).join(name.as_str()).join(version.to_string())
}

/// The report as a table.
fn table(judged: &Judged) -> String {
    let GateReport { config, slices, doubts, .. } = &judged.report;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:+.4}"));
    let width = slices.iter().map(|slice| slice.slice.chars().count()).max().unwrap_or(0).max(5);
    let mut said = format!(
        "Gain of the patch over its base, {} on {}; at least {:+.4} with confidence {}.\n\n{:width$}  {:>8}  {:>7}  {:>8}  {:>8}  verdict\n",
        config.metric, judged.rows, -config.margin, config.confidence, "slice", "rows", "users", "gain", "low"
    );
    for slice in slices {
        let (gain, low) = (number(slice.gain), number(slice.low));
        said += &format!("{:width$}  {:>8}  {:>7}  {gain:>8}  {low:>8}  {}\n", slice.slice, slice.rows, slice.users, slice.verdict);
    }
    doubts.iter().for_each(|doubt| said += &format!("doubt: {doubt}\n"));
    judged.notes.iter().for_each(|note| said += &format!("note: {note}\n"));
    said + "\n"
}

/// Why the gate does not promote.
fn why_not(report: &GateReport) -> String {
    let slices = report.slices.iter().filter(|slice| slice.verdict != Verdict::Promoted);
    let reasons = slices.map(|slice| format!("`{}`: {}", slice.slice, slice.reason.as_deref().unwrap_or("no reason is given")));
    reasons.chain(report.doubts.iter().cloned()).collect::<Vec<_>>().join("; ")
}
