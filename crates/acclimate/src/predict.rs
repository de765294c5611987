//! Scores of rows with a saved base and patches: no labels are read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use acclimate_adapt::{Patch, Serve};
use acclimate_data::{Dataset, OutColumn, write_table};
use acclimate_model::Params;
use acclimate_train::Scorer;
use burn::tensor::Device;

use crate::ExperimentError;
use crate::evaluate::patch_name;
use crate::lab::pretraining;
use crate::open::{ALL, HISTORY, OpenBase, Tasks};

/// Columns that stand beside the scores.
const IDS: [&str; 4] = ["user", "item", "time", "domain"];

/// What is scored.
#[derive(Clone, Debug)]
pub struct Request {
    /// Patch files.
    pub patches: Vec<PathBuf>,
    /// Only rows of this domain.
    pub domain: Option<String>,
    /// Part of the base's split; default `test`. Data of another file has none.
    pub part: Option<String>,
    /// Rows of a user that patches adapt from, the latest; see [`HISTORY`].
    pub history: usize,
    /// Whether a patch is applied everywhere, and not only where validation rows have shown it to be better than its base (see [`Serve`]).
    pub as_trained: bool,
    /// Why there are no rows to adapt from, where they were looked for.
    pub without_known: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self { patches: Vec::new(), domain: None, part: None, history: HISTORY, as_trained: false, without_known: None }
    }
}

/// Predictions of a base and its patches, in the unit of the label.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// The rows, in the order of the log.
    pub rows: Vec<u32>,
    /// Name and one prediction a row: `base`, then each patch.
    pub scores: Vec<(String, Vec<f32>)>,
    /// What a reader must know: rows that the base serves, users without rows to adapt from.
    pub notes: Vec<String>,
}

/// Scores rows of `open`. Patches that adapt to users adapt from the labelled rows of the same users in `known`, another opening of the same base;
/// without it, from their training rows in `open`.
///
/// # Errors
/// A patch of another base, or a part or domain that is not there.
pub fn predict(open: &OpenBase, known: Option<&OpenBase>, request: &Request) -> Result<Predicted, ExperimentError> {
    let (base, dataset, device) = (&open.saved.base, &open.source.dataset, Device::flex());
    let part = if open.has_parts() { request.part.as_deref().unwrap_or("test") } else { ALL };
    let mut rows = open.rows(part, request.domain.as_deref())?;
    rows.sort_unstable();
    let predict = |scores: Vec<f32>| scores.into_iter().map(|s| base.spec.objective.predict(s)).collect::<Vec<f32>>();
    let plain = pretraining(base)?;
    let unadapted = predict(Scorer::new(base, plain.as_ref(), &Params::default(), &device).rows(dataset, &rows)?);
    let mut predicted = Predicted { rows, scores: vec![("base".to_owned(), unadapted)], notes: Vec::new() };
    for path in &request.patches {
        let patch = open.patch(path)?;
        let (adaptation, patched) = (patch.adaptation(base)?, patch.apply(base)?);
        let scorer = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device);
        // The rows are the same; ids that only the patch knows have codes.
        let opened = open.knowing(&patch)?;
        let dataset = opened.as_ref().map_or(dataset, |open| &open.source.dataset);
        let serve = if request.as_trained { Serve::Always } else { patch.manifest.serve };
        let (rows, of_base) = (&predicted.rows, &predicted.scores[0].1);
        let (scores, shown) = if adaptation.needs().groups.are_tasks() {
            let (tasks, from) = tasks(open, known, &patch, rows, request.history);
            let scores = scorer.tasks_from(from, dataset, &tasks)?.concat();
            let shown: Vec<usize> = tasks.iter().map(|(support, _)| support.len()).collect();
            // Tasks are by user; rows are in the order of the log.
            let order = tasks.iter().enumerate().flat_map(|(task, (_, query))| query.iter().map(move |&row| (row, task)));
            let mut placed: Vec<(u32, f32, usize)> =
                order.zip(predict(scores)).map(|((row, task), score)| (row, score, shown[task])).collect();
            placed.sort_unstable_by_key(|&(row, ..)| row);
            let without = tasks.iter().filter(|(support, _)| support.is_empty()).count();
            if without > 0 {
                let (path, all) = (path.display(), tasks.len());
                let reason = request.without_known.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                predicted.notes.push(format!("`{path}`: {without} of {all} users have no known rows to adapt from{reason}."));
            }
            placed.into_iter().map(|(_, score, size)| (score, size)).unzip()
        } else {
            (predict(scorer.rows(dataset, rows)?), vec![0; rows.len()])
        };
        let mut by_base = 0;
        let served = scores.into_iter().zip(of_base).zip(&shown).map(|((score, &of_base), &size)| {
            by_base += usize::from(!serve.applies(size));
            if serve.applies(size) { score } else { of_base }
        });
        let served = served.collect();
        predicted.notes.extend(crate::evaluate::served_by_base(&path.display().to_string(), serve, [by_base, rows.len()]));
        let name = Some(patch_name(path, &request.patches)).filter(|name| !IDS.contains(&name.as_str()));
        predicted.scores.push((name.unwrap_or_else(|| path.display().to_string()), served));
    }
    Ok(predicted)
}

/// The rows of each user with those to adapt from, and the data set that the latter are of. None of the rows that are scored is among them.
fn tasks<'a>(open: &'a OpenBase, known: Option<&'a OpenBase>, patch: &Patch, rows: &[u32], most: usize) -> (Tasks, &'a Dataset) {
    let only = patch.manifest.trained_on.as_ref().and_then(|on| on.domain.as_ref());
    let from = known.unwrap_or(open);
    let data = &from.source.dataset;
    let wanted = |row: &u32| only.is_none_or(|d| data.domains[data.log.domain[*row as usize].at()] == *d);
    let part = if from.has_parts() { "train" } else { ALL };
    let mut history: Vec<u32> = match (known, from.has_parts()) {
        // Unlabelled rows are nothing to adapt from.
        (None, false) => Vec::new(),
        _ => from.source.part(part).unwrap_or_default(),
    };
    history.retain(wanted);
    let Some(known) = known else {
        let asked: std::collections::HashSet<u32> = rows.iter().copied().collect();
        history.retain(|row| !asked.contains(row));
        return (open.after(&history, rows, most), data);
    };
    let number: HashMap<&str, u32> = data.users.iter().map(String::as_str).zip(0..).collect();
    let mut of_user: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in known.source.dataset.latest_rows(&history, most) {
        of_user.entry(data.log.user[row as usize].0).or_default().push(row);
    }
    let support = |user: &str| number.get(user).and_then(|user| of_user.get(user)).cloned().unwrap_or_default();
    let users = &open.source.dataset.users;
    let asked = open.after(&[], rows, 0).into_iter();
    let user = |query: &[u32]| users[open.source.dataset.log.user[query[0] as usize].at()].as_str();
    (asked.map(|(_, query)| (support(user(&query)), query)).collect(), data)
}

impl Predicted {
    /// Writes user, item, time and domain as far as the data has them, and the scores, as CSV or Parquet.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn write(&self, open: &OpenBase, file: &Path) -> Result<(), ExperimentError> {
        let (dataset, log) = (&open.source.dataset, &open.source.dataset.log);
        let text = |names, of_row: &dyn Fn(usize) -> u32| OutColumn::Text {
            names,
            of_row: self.rows.iter().map(|&r| of_row(r as usize)).collect(),
        };
        let mut columns =
            vec![("user", text(&dataset.users, &|row| log.user[row].0)), ("item", text(&dataset.items, &|row| log.item[row].0))];
        if !log.time.is_empty() {
            columns.push(("time", OutColumn::Time(self.rows.iter().map(|&row| log.time[row as usize]).collect())));
        }
        if dataset.domains.len() > 1 {
            columns.push(("domain", text(&dataset.domains, &|row| log.domain[row].0)));
        }
        columns.extend(self.scores.iter().map(|(name, values)| (name.as_str(), OutColumn::Number(values.clone()))));
        Ok(write_table(file, &columns)?)
    }
}
