//! Measures a saved base and its patches on rows, with floors beside them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use acclimate_adapt::{Patch, TrainedOn};
use acclimate_data::LabelKind;
use acclimate_eval::floor::{Labelled, Unlabelled, pointwise_floors};
use acclimate_eval::{Bootstrap, Cost, Entrant, Environment, Kind, Metric, Panel, Place, Report};
use acclimate_model::Params;
use acclimate_train::Scorer;
use burn::tensor::Device;

use crate::ExperimentError;
use crate::artifact::RunRecord;
use crate::compare::now;
use crate::lab::{evaluation_rows, pretraining};
use crate::open::{ALL, OpenBase};

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Patch files.
    pub patches: Vec<PathBuf>,
    /// Only rows of this domain.
    pub domain: Option<String>,
    /// Part of the base's split; default `test`. Data of another file has none.
    pub part: Option<String>,
    /// Metrics; empty: auc and log_loss for clicks, mae and rmse for ratings.
    pub metrics: Vec<Metric>,
    /// The command line, for the report.
    pub command: String,
}

/// Measures the base, its patches, and every floor that can be fitted on the base's training rows.
///
/// # Errors
/// A patch of another base, a part without rows or without users that a patch could adapt to, or a metric that does not apply.
pub fn evaluate(open: &OpenBase, request: &Request) -> Result<Report, ExperimentError> {
    let (began, started) = (Instant::now(), now());
    let (base, dataset) = (&open.saved.base, &open.source.dataset);
    let part = if open.has_parts() { request.part.as_deref().unwrap_or("test") } else { ALL };
    let rows = open.rows(part, request.domain.as_deref())?;
    let patches = request.patches.iter().map(|path| {
        let patch = open.patch(path)?;
        Ok((path, patch.adaptation(base)?, patch))
    });
    let patches = patches.collect::<Result<Vec<_>, ExperimentError>>()?;
    let mut notes = Vec::new();
    // What is known of the users beforehand. Rows that are measured are not among it: parts overlap where one is a share of another.
    let measured: HashSet<u32> = rows.iter().copied().collect();
    let of_domain = |row: u32| request.domain.as_ref().is_none_or(|d| dataset.domains[dataset.log.domain[row as usize].at()] == *d);
    let train = open.source.part("train").unwrap_or_default();
    let history: Vec<u32> = train.into_iter().filter(|&row| of_domain(row) && !measured.contains(&row)).collect();
    let mut support = dataset.rows_of_users(&history, &rows);
    // Where a patch adapts to a user's rows, all are measured on the same rows, in the order of the tasks.
    let tasks = match patches.iter().any(|(_, adaptation, _)| adaptation.needs().support) {
        false => None,
        true => Some(match open.after(&history, &rows) {
            Some(tasks) => {
                let (with, n) = (tasks.iter().filter(|(support, _)| !support.is_empty()).count(), tasks.len());
                notes
                    .push(format!("Patches that adapt to a user see the latest training rows of the user; {with} of {n} users have some."));
                tasks
            }
            None => {
                let tasks = open.tasks(&rows)?;
                let (n, queries) = (tasks.len(), tasks.iter().map(|(_, query)| query.len()).sum::<usize>());
                support = tasks.iter().flat_map(|(support, _)| support).copied().collect();
                let why =
                    if part == "train" { "Rows that were learned from can not be measured" } else { "These users have no training rows" };
                notes.push(format!(
                    "{why}: all methods are measured on {queries} rows of {n} users; patches and floors that adapt to a user see \
                     {} other rows of these users.",
                    support.len()
                ));
                tasks
            }
        }),
    };
    let rows = tasks.as_ref().map_or(rows, |tasks| tasks.iter().flat_map(|(_, query)| query).copied().collect());
    let setting = request.domain.as_ref().map_or_else(|| part.to_owned(), |d| format!("{part}, {d}"));
    let place = Place { dataset: dataset.name.clone(), scenario: "evaluate".into(), setting };
    let mut panel = Panel::new(place, Bootstrap::default());
    if part == "train" {
        notes.push("The base and the floors have learned from these rows: measure on another part to judge them.".to_owned());
    }
    for (path, _, patch) in &patches {
        let same = |on: &TrainedOn| {
            on.dataset == dataset.name
                && on.part == part
                && (on.domain == request.domain || on.domain.is_none() || request.domain.is_none())
        };
        if part != "train" && patch.manifest.trained_on.as_ref().is_some_and(same) {
            notes.push(format!("`{}` was trained on rows that are measured here; its numbers say nothing about new rows.", path.display()));
        }
    }
    match floors(open, &support, &rows)? {
        Some(floors) => panel = floors.into_iter().fold(panel, Panel::enter),
        None => notes.push(
            "This data has no training part, so no floor could be fitted and nothing says whether a number is good; `acclimate compare` prints floors."
                .to_owned(),
        ),
    }
    let predict = |scores: Vec<f32>| scores.into_iter().map(|s| base.spec.objective.predict(s)).collect();
    let device = Device::flex();
    let plain = pretraining(base)?;
    let scores = Scorer::new(base, plain.as_ref(), &Params::default(), &device).rows(dataset, &rows)?;
    panel = panel.enter(Entrant::deterministic("base", Kind::Control, predict(scores)));
    for (path, adaptation, patch) in &patches {
        let patched = patch.apply(base)?;
        let scorer = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device);
        let scores = match &tasks {
            Some(tasks) if adaptation.needs().support => scorer.tasks(dataset, tasks)?.concat(),
            _ => scorer.rows(dataset, &rows)?,
        };
        let mut entrant = Entrant::deterministic(name(path, &request.patches), Kind::Adaptation, predict(scores));
        let (stored, bytes) = (patch.manifest.counts.stored() as u64, patch.bytes() as u64);
        entrant.cost = Cost { trainable_parameters: Some(stored), patch_bytes: Some(bytes), ..Cost::default() };
        panel = panel.enter(entrant);
    }
    let metrics = if request.metrics.is_empty() { defaults(dataset.label)? } else { request.metrics.clone() };
    let mut report =
        Report { title: format!("{}: evaluation", dataset.name), command: request.command.clone(), notes, ..Report::default() };
    report.notes.extend(open.source.notes.iter().cloned());
    report.config = configs(&open.saved.record, patches.iter().map(|(path, _, patch)| (path.as_path(), patch)));
    report.environment = Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        seeds: vec![open.saved.record.seed],
        threads: rayon::current_num_threads(),
        device: "cpu".into(),
        started,
        ..Environment::default()
    };
    report.extend(panel.on_rows(&evaluation_rows(dataset, &rows, &open.source.domain_column)?, &metrics)?);
    report.environment.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Floors fitted on the training part, chosen on the validation part; `None` for data without parts.
fn floors(open: &OpenBase, support: &[u32], rows: &[u32]) -> Result<Option<Vec<Entrant<f32>>>, ExperimentError> {
    let dataset = &open.source.dataset;
    let (Ok(train), Ok(validation)) = (open.source.part("train"), open.source.part("validation")) else { return Ok(None) };
    let (train, validation) = (Labelled::new(dataset, &train)?, Labelled::new(dataset, &validation)?);
    let applies = pointwise_floors().into_iter().filter(|f| f.applies_to(dataset) && (!support.is_empty() || f.name() != "support_mean"));
    let entrants = applies.map(|floor| {
        let fitted = floor.fit(train, validation)?;
        let values = fitted.score(Labelled::new(dataset, support)?, Unlabelled::new(dataset, rows)?);
        Ok(Entrant::deterministic(floor.name(), Kind::Floor, values))
    });
    entrants.collect::<Result<_, ExperimentError>>().map(Some)
}

/// How the base was made, and the manifest of each patch, as TOML.
fn configs<'a>(record: &RunRecord, patches: impl Iterator<Item = (&'a Path, &'a Patch)>) -> String {
    let toml = |value: toml::Value| toml::to_string(&value).unwrap_or_default();
    let mut text = format!("[base]\n{}", toml::Value::try_from(record).map(toml).unwrap_or_default());
    for (path, patch) in patches {
        let manifest = toml::Value::try_from(&patch.manifest).map(toml).unwrap_or_default();
        text += &format!("\n# {}\n{manifest}", path.display());
    }
    text
}

/// The file's stem; the whole path where two files share it.
fn name(path: &Path, all: &[PathBuf]) -> String {
    let unique = all.iter().filter(|p| p.file_stem() == path.file_stem()).count() == 1;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).filter(|s| unique && s != "base");
    stem.unwrap_or_else(|| path.display().to_string())
}

fn defaults(label: LabelKind) -> Result<Vec<Metric>, ExperimentError> {
    let names = if matches!(label, LabelKind::Rating { .. }) { ["mae", "rmse"] } else { ["auc", "log_loss"] };
    Ok(names.map(str::parse).into_iter().collect::<Result<_, _>>()?)
}
