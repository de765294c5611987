//! Measures a saved base and its patches on rows, with floors beside them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use acclimate_adapt::{Adaptation, Manifest, Patch, Serve};
use acclimate_data::LabelKind;
use acclimate_eval::floor::{Choice, FloorsConfig, Labelled, Unlabelled};
use acclimate_eval::{Bootstrap, Cost, Entrant, Environment, Kind, Metric, Panel, Place, Report};
use acclimate_train::Scorer;
use burn::tensor::Device;
use serde::Serialize;

use crate::ExperimentError;
use crate::artifact::RunRecord;
use crate::compare::now;
use crate::experiment::is_taken;
use crate::floors::{self, Inputs, Planned, SupportOf};
use crate::host;
use crate::lab::evaluation_rows;
use crate::open::{ALL, HISTORY, OpenBase, Tasks};
use crate::preflight::says;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Request {
    /// Patch files.
    pub patches: Vec<PathBuf>,
    /// Only rows of this domain.
    pub domain: Option<String>,
    /// Part of the base's split; default `test`. Data of another file has none.
    pub part: Option<String>,
    /// Metrics; empty: auc and log_loss for clicks, mae and rmse for ratings.
    pub metrics: Vec<Metric>,
    /// Rows of a user that patches and floors adapt from, the latest; see [`HISTORY`].
    pub history: usize,
    /// Whether a patch is measured everywhere, and not only where it is applied (see [`Serve`]).
    pub as_trained: bool,
    /// The command line, for the report.
    pub command: String,
}

impl Default for Request {
    fn default() -> Self {
        let (patches, metrics) = (Vec::new(), Vec::new());
        Self { patches, domain: None, part: None, metrics, history: HISTORY, as_trained: false, command: String::new() }
    }
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
    let asked: HashSet<u32> = rows.iter().copied().collect();
    let overlap = |learned: &[u32]| learned.iter().filter(|row| asked.contains(row)).count();
    let some_adapt = patches.iter().any(|(_, adaptation, _)| adapts(adaptation.as_ref()));
    let seen = Seen::of(open, rows, some_adapt, request.history, &mut notes)?;
    let (rows, support, learned) = (&seen.rows, &seen.support, seen.learned);
    let setting = request.domain.as_ref().map_or_else(|| part.to_owned(), |d| format!("{part}, {d}"));
    let place = Place { dataset: dataset.name.clone(), scenario: "evaluate".into(), setting };
    let mut panel = Panel::new(place, Bootstrap::default());
    if learned > 0 {
        let all = asked.len();
        notes.push(format!(
            "{learned} of the {all} rows of this part are training rows of the base's data, which the base or the floors have learned from: measure on \
             another part to judge them."
        ));
    }
    if open.own_data {
        notes.push(
            "This is the data set that the base was trained on, all of it: the base has learned from many of these rows. Leave out --data to measure on \
             the test part."
                .to_owned(),
        );
    }
    for (path, _, patch) in &patches {
        if let Some(learned) = patch.manifest.trained_on.as_ref().and_then(|on| on.domain.as_ref())
            && request.domain.as_ref() != Some(learned)
        {
            let here = request.domain.as_ref().map_or_else(|| "all domains".to_owned(), |d| format!("`{d}`"));
            notes.push(format!("`{}` was trained on rows of `{learned}`; it is measured here on rows of {here}.", path.display()));
        }
        let Some(on) = patch.manifest.trained_on.as_ref().filter(|on| on.dataset == dataset.name) else { continue };
        // Rows of another file of the same name can not be told apart from these.
        let seen = match open.has_parts() && on.part != ALL {
            true => open.rows(&on.part, on.domain.as_deref()).map_or(0, |rows| overlap(&rows)),
            false => asked.len(),
        };
        if seen > 0 {
            let path = path.display();
            notes.push(format!(
                "`{path}` was trained on rows that are measured here (of `{}`); its numbers say little about new rows.",
                on.dataset
            ));
        }
    }
    match floors(open, support, rows)? {
        Some(floors) => panel = floors.into_iter().fold(panel, Panel::enter),
        None => notes.push(
            "This data has no training part, so no floor could be fitted and nothing says whether a number is good; `acclimate compare` prints floors."
                .to_owned(),
        ),
    }
    let unadapted = says(base, dataset, rows)?;
    panel = panel.enter(Entrant::deterministic("base", Kind::Control, unadapted.clone()));
    for (path, adaptation, patch) in &patches {
        let predictions = seen.served(open, (path, patch, adaptation.as_ref()), &unadapted, request.as_trained, &mut notes)?;
        let mut entrant = Entrant::deterministic(patch_name(path, &request.patches), Kind::Adaptation, predictions);
        let (stored, bytes) = (patch.manifest.counts.stored() as u64, patch.bytes(&open.saved.base) as u64);
        entrant.cost = Cost { trainable_parameters: Some(stored), patch_bytes: Some(bytes), ..Cost::default() };
        panel = panel.enter(entrant);
    }
    let metrics = if request.metrics.is_empty() { defaults(dataset.label)? } else { request.metrics.clone() };
    of_predictions(&metrics)?;
    let mut report =
        Report { title: format!("{}: evaluation", dataset.name), command: request.command.clone(), notes, ..Report::default() };
    report.notes.extend(open.source.notes.iter().cloned());
    report.config = configs(&open.saved.record, patches.iter().map(|(path, _, patch)| (path.as_path(), patch)));
    report.environment = Environment { seeds: vec![open.saved.record.seed], started, ..host::environment() };
    report.extend(panel.on_rows(&evaluation_rows(dataset, rows, &open.source.domain_column)?, &metrics)?);
    report.environment.seconds = began.elapsed().as_secs_f64();
    report.environment.peak_memory_mib = host::peak_memory_mib();
    Ok(report)
}

/// Whether a method adapts to a user's rows.
fn adapts(adaptation: &dyn Adaptation) -> bool {
    adaptation.needs().groups.are_tasks()
}

/// The rows that are measured, and what methods that adapt to a user see of that user.
pub(crate) struct Seen {
    /// The rows, in the order in which all are measured: where a patch adapts to a user's rows, that of the tasks.
    pub(crate) rows: Vec<u32>,
    /// Everything that somebody adapts from.
    pub(crate) support: Vec<u32>,
    /// How many of the rows that were asked for the base has learned from.
    pub(crate) learned: usize,
    /// Training rows of these users, without those that are asked for.
    history: Vec<u32>,
    /// Rows to adapt from among those that were asked for, where there are no others.
    within: Option<Tasks>,
    /// Most rows of a user.
    most: usize,
}

impl Seen {
    /// What is seen of `rows` when patches, some of which adapt to users, are measured on them.
    ///
    /// # Errors
    /// No user has enough rows to adapt from and to judge by.
    pub(crate) fn of(
        open: &OpenBase,
        rows: Vec<u32>,
        some_adapt: bool,
        most: usize,
        notes: &mut Vec<String>,
    ) -> Result<Self, ExperimentError> {
        let dataset = &open.source.dataset;
        let asked: HashSet<u32> = rows.iter().copied().collect();
        // What is known of the users beforehand: their training rows, without those that are asked for.
        let train = open.source.part("train").unwrap_or_default();
        let learned = train.iter().filter(|row| asked.contains(row)).count();
        let mut history = dataset.rows_of_users(&train, &rows);
        history.retain(|row| !asked.contains(row));
        let within = if some_adapt && history.is_empty() { Some(open.tasks(&rows, most)?) } else { None };
        let of_tasks = |tasks: &Tasks| -> (Vec<u32>, Vec<u32>) {
            let rows = tasks.iter().flat_map(|(_, query)| query).copied().collect();
            (rows, tasks.iter().flat_map(|(support, _)| support).copied().collect())
        };
        let (rows, support) = match (&within, some_adapt) {
            (Some(tasks), _) => {
                let (rows, support) = of_tasks(tasks);
                let why = if learned > 0 { "These rows were learned from" } else { "These users have no training rows" };
                notes.push(format!(
                    "{why}: all methods are measured on {} rows of {} users; patches and floors that adapt to a user see {} other rows of these users.",
                    rows.len(),
                    tasks.len(),
                    support.len()
                ));
                (rows, support)
            }
            (None, true) => {
                let (rows, support) = of_tasks(&open.after(&history, &rows, most));
                let order = if dataset.log.time.is_empty() { "chosen by a hash, since there is no time" } else { "the latest" };
                let (shown, known) = (support.len(), history.len());
                notes.push(format!(
                    "Patches and floors that adapt to a user see at most {most} training rows of each user, {order}: {shown} of {known} rows (`--history` changes it)."
                ));
                (rows, support)
            }
            (None, false) => (rows, history.clone()),
        };
        Ok(Self { rows, support, learned, history, within, most })
    }

    /// What is served for the rows with a patch, of which `unadapted` is the base's.
    ///
    /// # Errors
    /// A patch of another base.
    pub(crate) fn served(
        &self,
        open: &OpenBase,
        (path, patch, adaptation): (&Path, &Patch, &dyn Adaptation),
        unadapted: &[f32],
        as_trained: bool,
        notes: &mut Vec<String>,
    ) -> Result<Vec<f32>, ExperimentError> {
        let (base, device) = (&open.saved.base, Device::flex());
        let patched = patch.apply(base)?;
        // The rows are the same; ids that only the patch knows have codes.
        let opened = open.knowing(patch)?;
        let dataset = opened.as_ref().map_or(&open.source.dataset, |open| &open.source.dataset);
        let scorer = Scorer::new(&patched, adaptation, &patch.own, &device);
        // Beside the scores: of each row, how many rows of its user the patch has adapted from.
        let (scores, shown) = match (adapts(adaptation), &self.within) {
            (false, _) => (scorer.rows(dataset, &self.rows)?, vec![0; self.rows.len()]),
            (true, Some(tasks)) => (scorer.tasks(dataset, tasks)?.concat(), support_sizes(tasks)),
            // A patch that was made in one domain knows users by their rows there.
            (true, None) => {
                let only = patch.manifest.trained_on.as_ref().and_then(|on| on.domain.as_ref());
                let wanted = |row: &u32| only.is_none_or(|d| dataset.domains[dataset.log.domain[*row as usize].at()] == *d);
                let known: Vec<u32> = self.history.iter().copied().filter(wanted).collect();
                let tasks = open.after(&known, &self.rows, self.most);
                let with = tasks.iter().filter(|(support, _)| !support.is_empty()).count();
                if with < tasks.len() {
                    let of = only.map_or_else(String::new, |d| format!(" in `{d}`"));
                    notes.push(format!("`{}`: {with} of {} users have training rows{of}.", path.display(), tasks.len()));
                }
                (scorer.tasks(dataset, &tasks)?.concat(), support_sizes(&tasks))
            }
        };
        let mut predictions: Vec<f32> = scores.into_iter().map(|score| base.spec.objective.predict(score)).collect();
        let serve = if as_trained { Serve::Always } else { patch.manifest.serve };
        let mut by_base = 0;
        let rows_of_base = predictions.iter_mut().zip(unadapted).zip(&shown).filter(|(_, size)| !serve.applies(**size));
        for ((prediction, of_base), _) in rows_of_base {
            *prediction = *of_base;
            by_base += 1;
        }
        notes.extend(served_by_base(&path.display().to_string(), serve, [by_base, self.rows.len()]));
        Ok(predictions)
    }
}

/// Refuses metrics that need more of a method than predictions.
pub(crate) fn of_predictions(metrics: &[Metric]) -> Result<(), ExperimentError> {
    let Some(metric) = metrics.iter().find(|metric| metric.is_of_some()) else { return Ok(()) };
    let problem = format!("`{metric}` is measured by `acclimate compare` in scenario `cold_start` only; remove it");
    Err(ExperimentError::Artifact { path: "--metrics".into(), problem })
}

/// Of each query row, how many rows of its user there are to adapt from.
fn support_sizes(tasks: &Tasks) -> Vec<usize> {
    tasks.iter().flat_map(|(support, query)| std::iter::repeat_n(support.len(), query.len())).collect()
}

/// What is said of rows that the base serves in a patch's place: `[by_base, all]`.
pub(crate) fn served_by_base(path: &str, serve: Serve, [by_base, all]: [usize; 2]) -> Option<String> {
    let why = match serve {
        Serve::Never => "validation rows have not shown it to be better than its base".to_owned(),
        Serve::From(least) => format!("validation rows have shown it to be better than its base for users with {least} rows or more"),
        Serve::Always => return None,
    };
    (by_base > 0)
        .then(|| format!("`{path}`: {why}, so the base serves {by_base} of these {all} rows; `--as-trained` measures the patch alone."))
}

/// Floors fitted on the training part, chosen on the validation part; `None` for data without parts.
fn floors(open: &OpenBase, support: &[u32], rows: &[u32]) -> Result<Option<Vec<Entrant<f32>>>, ExperimentError> {
    let dataset = &open.source.dataset;
    let (Ok(train), Ok(validation)) = (open.source.part("train"), open.source.part("validation")) else { return Ok(None) };
    let known = dataset.rows_of_users(&train, &validation);
    let train = Labelled::new(dataset, &train)?;
    let choice = Choice { support: Labelled::new(dataset, &known)?, rows: Labelled::new(dataset, &validation)? };
    // Patches read what their base reads.
    let inputs = [Inputs::all_but(open.saved.base.spec.backbone.without())];
    let known = if support.is_empty() { SupportOf::Nobody } else { SupportOf::Users };
    let planned = floors::planned(&FloorsConfig::default(), dataset, known, &inputs);
    let entrants = planned.into_iter().map(|Planned { name, floor, .. }| {
        let fitted = floor.fit(train, choice)?;
        let values = fitted.score(Labelled::new(dataset, support)?, Unlabelled::new(dataset, rows)?);
        Ok(Entrant::deterministic(name, Kind::Floor, values).with_settings(vec![fitted.chosen()]))
    });
    entrants.collect::<Result<_, ExperimentError>>().map(Some)
}

/// How the base was made, and the manifest of each patch, as TOML.
pub(crate) fn configs<'a>(record: &RunRecord, patches: impl Iterator<Item = (&'a Path, &'a Patch)>) -> String {
    #[derive(Serialize)]
    struct Named<'a> {
        file: String,
        manifest: &'a Manifest,
    }
    #[derive(Serialize)]
    struct Configs<'a> {
        base: &'a RunRecord,
        patch: Vec<Named<'a>>,
    }
    let patch = patches.map(|(path, patch)| Named { file: path.display().to_string(), manifest: &patch.manifest }).collect();
    toml::to_string(&Configs { base: record, patch }).unwrap_or_else(|error| format!("# {error}"))
}

/// The file's stem; the whole path where two files share it, or where it is the name of the base or of a floor.
pub(crate) fn patch_name(path: &Path, all: &[PathBuf]) -> String {
    let unique = all.iter().filter(|p| p.file_stem() == path.file_stem()).count() == 1;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).filter(|s| unique && s != "base" && !is_taken(s));
    stem.unwrap_or_else(|| path.display().to_string())
}

fn defaults(label: LabelKind) -> Result<Vec<Metric>, ExperimentError> {
    let names = if matches!(label, LabelKind::Rating { .. }) { ["mae", "rmse"] } else { ["auc", "log_loss"] };
    Ok(names.map(str::parse).into_iter().collect::<Result<_, _>>()?)
}
