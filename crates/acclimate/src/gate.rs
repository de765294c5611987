//! The rows by which the gate judges a published patch, and what base and patch say of them; of a base of sequences, the ranks of what followed.
//!
//! The patch is measured as it is served: where its own manifest leaves a row to the base, the base's score stands; where it adapts to a user, it adapts from
//! training rows of that user first. It fails closed: rows that the base or the patch may have learned from are no rows to judge by.

mod sequences;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Patch, Serve};
use acclimate_data::{Attribute, Dataset, LabelKind};
use acclimate_eval::{Bootstrap, Metric, Preflight};
use acclimate_registry::{GateConfig, GateReport, Paired};

use crate::evaluate::{Seen, of_predictions};
use crate::open::{HISTORY, OpenBase};
use crate::preflight::{of_open, says};
use crate::{ExperimentError, Source};

/// Most protected slices: each costs a bootstrap, and each must pass.
pub const MOST_SLICES: usize = 64;

/// What is asked of the gate.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the patch must show; its metric is that of [`metric`](Self::metric).
    pub config: GateConfig,
    /// The metric that decides; unless named, log loss for clicks, RMSE for ratings, and the reciprocal rank for a base of sequences.
    pub metric: Option<Metric>,
    /// Data-set file with held-out rows; the base's own data unless named.
    pub data: Option<PathBuf>,
    /// Data-set files with rows between the base's own and those of `data`.
    pub context: Vec<PathBuf>,
    /// Part of the base's own data; `test`, or where there is none `validation`, unless named.
    pub part: Option<String>,
    /// Only rows of this domain; that which the patch was trained on unless named.
    pub domain: Option<String>,
    /// Protected slices: `COLUMN` for every value of it, `COLUMN=VALUE` for one.
    pub slices: Vec<String>,
    /// Rows of a user that a patch adapts from, the latest.
    pub history: usize,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            config: GateConfig::default(),
            metric: None,
            data: None,
            context: Vec::new(),
            part: None,
            domain: None,
            slices: Vec::new(),
            history: HISTORY,
        }
    }
}

/// What the gate found, and on what.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The report.
    pub report: GateReport,
    /// The rows, in words.
    pub rows: String,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Judges a patch of the base in `folder`.
///
/// # Errors
/// No rows that neither the base nor the patch has learned from, a metric or slice that they do not have, settings out of their range, or an interruption.
pub fn judge(folder: &Path, patch: &Path, request: &Request, stop: &AtomicBool) -> Result<Judged, ExperimentError> {
    if let Some(judged) = sequences::judge(folder, patch, request, stop)? {
        return Ok(judged);
    }
    let open = match OpenBase::open_with(folder, request.data.as_deref(), &request.context, crate::open::Labels::Read) {
        Err(error) if request.data.is_none() => {
            return Err(no_rows(folder, format!("the data that the base was trained on can not be read ({error})")));
        }
        open => open?,
    };
    let (path, patch) = (patch, open.patch(patch)?);
    let rows = |part: &str, domain: Option<&str>| open.rows(part, domain);
    let data = HeldData { source: &open.source, own_data: open.own_data, has_parts: open.has_parts(), rows: &rows };
    let held_out = HeldOut::of(&data, &patch, request)?;
    let dataset = &open.source.dataset;
    let metric = match (&request.metric, dataset.label) {
        (Some(metric), _) => metric.clone(),
        (None, LabelKind::Rating { .. }) => named("rmse"),
        (None, LabelKind::Click) => named("log_loss"),
        (None, LabelKind::Implicit) => {
            return Err(no_rows(Path::new(&dataset.name), "holds positives only, and no score is right or wrong by them".into()));
        }
    };
    of_predictions(std::slice::from_ref(&metric))?;
    let config = GateConfig { metric, ..request.config.clone() };
    config.validate()?;
    let adaptation = patch.adaptation(&open.saved.base)?;
    let mut notes = held_out.notes;
    let some_adapt = adaptation.needs().groups.are_tasks();
    let seen = Seen::of(&open, held_out.rows, some_adapt, request.history, &mut notes)?;
    let slices = slices(&open.source, &seen.rows, &request.slices)?;
    let base = says(&open.saved.base, dataset, &seen.rows)?;
    let base_again = says(&open.saved.base, dataset, &seen.rows)?;
    let served = seen.served(&open, (path, &patch, adaptation.as_ref()), &base, false, &mut notes)?;
    if patch.manifest.serve == Serve::Never {
        notes.push("The patch itself is never applied: what passes here is its base.".into());
    }
    let bootstrap = Bootstrap { draws: config.draws, seed: config.seed, ..Bootstrap::default() };
    let mut preflight = of_open(&open, &seen.rows, &config.metric, bootstrap, stop)?;
    without_undefined(&mut preflight, &config.metric, &mut notes);
    let labels: Vec<f32> = seen.rows.iter().map(|&row| dataset.log.label[row as usize]).collect();
    let users: Vec<u32> = seen.rows.iter().map(|&row| dataset.log.user[row as usize].0).collect();
    let within = |scores: Vec<f32>| in_range(dataset.label, scores);
    let (base, base_again, served) = (within(base), within(base_again), within(served));
    let rows = Paired { base: &base, base_again: &base_again, patch: &served, labels: Some(&labels), users: &users, slices: &slices };
    let report = config.judge(&rows, Some(&preflight))?;
    Ok(Judged { report, rows: held_out.said, notes })
}

/// Says what a preflight found; one without a control is none.
fn without_undefined(preflight: &mut Preflight, metric: &Metric, notes: &mut Vec<String>) {
    if preflight.warnings().is_empty() {
        notes.push(preflight.summary());
    }
    if preflight.settings.iter().any(|setting| setting.control.is_none()) {
        notes.push(format!("`{metric}` is undefined for a control on these rows, so no preflight could be made."));
        preflight.settings.clear();
    }
}

/// Predictions as metrics of ratings read them; what is no number stays for the gate to refuse.
fn in_range(label: LabelKind, mut scores: Vec<f32>) -> Vec<f32> {
    if let LabelKind::Rating { min, max } = label {
        scores.iter_mut().filter(|score| score.is_finite()).for_each(|score| *score = score.clamp(min, max));
    }
    scores
}

fn named(metric: &str) -> Metric {
    metric.parse().expect("a metric's own name")
}

fn no_rows(path: &Path, problem: String) -> ExperimentError {
    let problem =
        format!("{problem}: the gate needs rows that neither the base nor the patch has learned from; name a data-set file with --data");
    ExperimentError::Artifact { path: path.into(), problem }
}

/// Rows that neither the base nor the patch has learned from.
struct HeldOut {
    rows: Vec<u32>,
    /// What they are, in words.
    said: String,
    notes: Vec<String>,
}

/// Finds the rows of a part, of one domain if one is named.
type RowsOf<'a> = dyn Fn(&str, Option<&str>) -> Result<Vec<u32>, ExperimentError> + 'a;

/// Data in which rows to judge by are looked for.
struct HeldData<'a> {
    source: &'a Source,
    /// Whether it is the base's own, named apart.
    own_data: bool,
    has_parts: bool,
    rows: &'a RowsOf<'a>,
}

impl HeldOut {
    fn of(open: &HeldData<'_>, patch: &Patch, request: &Request) -> Result<Self, ExperimentError> {
        let name = open.source.dataset.name.clone();
        let lacks = |problem: String| Err(no_rows(Path::new(&name), problem));
        if open.own_data {
            return lacks("is the data set that the base was trained on, all of it (leave --data out to take its held-out part)".into());
        }
        if request.data.is_none() && !open.has_parts {
            return lacks("is the data set that the base was trained on, and has no held-out part".into());
        }
        let on = patch.manifest.trained_on.as_ref();
        let domain = request.domain.clone().or_else(|| on.and_then(|on| on.domain.clone()));
        let has = |part: &str| open.source.split.names().any(|name| name == part);
        let part = match &request.part {
            Some(part) => part.as_str(),
            None if open.has_parts && !has("test") => "validation",
            None => "test",
        };
        let rows = (open.rows)(part, domain.as_deref())?;
        let mut notes = open.source.notes.clone();
        let asked: HashSet<u32> = rows.iter().copied().collect();
        let overlap = |learned: &[u32]| learned.iter().filter(|row| asked.contains(row)).count();
        let learned = overlap(&open.source.part("train").unwrap_or_default());
        if learned > 0 {
            return lacks(format!("holds {learned} training rows of the base in part `{part}`"));
        }
        match on {
            None if request.data.is_none() => {
                return lacks("can not be used, since the patch does not say which rows it was trained on".into());
            }
            None => notes.push("The patch does not say which rows it was trained on: that it has not seen these is taken on trust.".into()),
            Some(on) if on.dataset != name => {
                notes.push(format!(
                    "The patch was trained on rows of `{}`: that none of them is among these is taken on trust.",
                    on.dataset
                ));
            }
            // Rows of another file of the same name can not be told apart from these.
            Some(on) if !open.has_parts || !has(&on.part) => {
                return lacks(format!("has the name of the data set that the patch was trained on, `{}`", on.dataset));
            }
            Some(on) => {
                let seen = (open.rows)(&on.part, on.domain.as_deref()).map_or(0, |rows| overlap(&rows));
                if seen > 0 {
                    return lacks(format!("holds {seen} rows in part `{part}` that the patch was trained on"));
                }
            }
        }
        if open.has_parts && part == "validation" {
            notes.push("These are validation rows: they have chosen how long base and patch were trained, and flatter both.".into());
        }
        let of = if open.has_parts { format!("part `{part}` of `{name}`") } else { format!("all rows of `{name}`") };
        let said = domain.map_or_else(|| of.clone(), |domain| format!("{of}, domain `{domain}`"));
        Ok(Self { rows, said, notes })
    }
}

/// A column by whose values rows are told apart.
struct Column<'a> {
    name: &'a str,
    value: Box<dyn Fn(u32) -> String + 'a>,
}

/// The domain, categorical features and attributes, by name.
fn columns<'a>(dataset: &'a Dataset, domain: &'a str) -> Vec<Column<'a>> {
    let log = &dataset.log;
    let mut columns: Vec<Column<'a>> =
        vec![Column { name: domain, value: Box::new(|row| dataset.domains[log.domain[row as usize].at()].clone()) }];
    columns.extend(dataset.attributes.iter().map(|attribute| Column {
        name: &attribute.name,
        value: Box::new(move |row| of_attribute(attribute, log.entity(attribute.side, row as usize))),
    }));
    columns.extend(dataset.features.categorical.iter().map(|feature| {
        let vocabulary = &dataset.features.vocabularies[feature.vocabulary.at()];
        let value = move |row: u32| {
            let code = feature.codes[log.entity(feature.side, row as usize)];
            vocabulary.value(code).unwrap_or("unknown").to_owned()
        };
        Column { name: &feature.name, value: Box::new(value) }
    }));
    columns
}

fn of_attribute(attribute: &Attribute, entity: usize) -> String {
    attribute.text(entity).map_or_else(|| attribute.values[entity].to_string(), str::to_owned)
}

/// Protected slices of rows: a name, and whether each row is in it.
fn slices(source: &Source, rows: &[u32], wanted: &[String]) -> Result<Vec<(String, Vec<bool>)>, ExperimentError> {
    let columns = columns(&source.dataset, &source.domain_column);
    let problem = |problem: String| Err(ExperimentError::Artifact { path: "--slice".into(), problem });
    let mut slices: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for wish in wanted {
        let (name, only) = wish.split_once('=').map_or((wish.as_str(), None), |(name, value)| (name, Some(value)));
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            let mut known: Vec<&str> = Vec::new();
            columns.iter().map(|column| column.name).for_each(|name| {
                if !known.contains(&name) {
                    known.push(name)
                }
            });
            let known = known.join(", ");
            return problem(format!("there is no column `{name}` to cut slices by; there are {known}"));
        };
        let mut found = false;
        for (at, &row) in rows.iter().enumerate() {
            let value = (column.value)(row);
            if only.is_some_and(|only| only != value) {
                continue;
            }
            found = true;
            let slice = format!("{name}={value}");
            if slices.len() == MOST_SLICES && !slices.contains_key(&slice) {
                return problem(format!(
                    "`{wish}` has more values than the {MOST_SLICES} slices that can be protected; name those that matter, as {name}=VALUE"
                ));
            }
            slices.entry(slice).or_insert_with(|| vec![false; rows.len()])[at] = true;
        }
        if !found {
            return problem(format!("no held-out row is in `{wish}`; a slice that can not be judged protects nobody"));
        }
    }
    Ok(slices.into_iter().collect())
}
