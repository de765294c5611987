//! Where runs happen: one output folder, training with progress, logs and checkpoints, and a store of finished runs.
//!
//! A finished run is kept under a key made of everything that decides its result. The same command after an interruption finds what was done,
//! resumes what was begun from its checkpoint, and ends with the same numbers.

mod run;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use acclimate_adapt::{Adaptation, Target};
use acclimate_data::{Dataset, Encoder, SplitConfig, TasksOf};
use acclimate_eval::{EvaluationRows, LabelRange, Metric, Statistic};
use acclimate_model::{Base, Objective};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

pub(crate) use run::validated;
pub use run::{Finished, Job, Prediction, Validator};

use crate::progress::Progress;
use crate::{Experiment, ExperimentError};

/// On which rows methods are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The test part: for reporting.
    #[default]
    Test,
    /// The validation part: for choosing settings without looking at the test part.
    Validation,
}

/// What all runs of an experiment share.
pub struct Lab<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// The output folder.
    pub folder: PathBuf,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// On which rows methods are measured.
    pub measure: Measure,
    /// Device of the tensors.
    pub device: Device,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
    /// Who shows progress.
    pub progress: &'a Progress,
    /// What encoded the rows, for the bases' folders; the simulator has none.
    pub encoder: Option<&'a Encoder>,
    /// The split with bounds that mean the same in a log which has grown, for the bases' folders; the simulator has none.
    pub split: Option<&'a SplitConfig>,
}

impl Lab<'_> {
    /// Results of independent pieces of work, in order, several at a time where there are several threads: small networks do not fill a machine by themselves. Each piece has a thread of its own beside those
    /// that compute, so that none waits inside another. The first error in order is that of all; what was begun is ended.
    ///
    /// # Errors
    /// That of a piece.
    pub(crate) fn side_by_side<T: Send>(
        &self,
        pieces: usize,
        work: impl Fn(usize) -> Result<T, ExperimentError> + Sync,
    ) -> Result<Vec<T>, ExperimentError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done: Mutex<Vec<(usize, Result<T, ExperimentError>)>> = Mutex::new(Vec::new());
        let worker = || {
            while !failed.load(Ordering::Relaxed) {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    return;
                }
                let result = work(piece);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((piece, result));
            }
        };
        let threads = rayon::current_num_threads().min(pieces);
        if threads <= 1 {
            worker();
        } else {
            std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(worker))));
        }
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(piece, _)| *piece);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Gives up when asked to stop.
    ///
    /// # Errors
    /// [`ExperimentError::Interrupted`].
    pub fn check_stop(&self) -> Result<(), ExperimentError> {
        if self.stop.load(Ordering::Relaxed) { Err(ExperimentError::Interrupted) } else { Ok(()) }
    }

    /// The metric that early stopping looks at.
    #[must_use]
    pub fn select(&self, dataset: &Dataset) -> Metric {
        let default = if dataset.label == acclimate_data::LabelKind::Click { "auc" } else { "rmse" };
        self.experiment.select.clone().unwrap_or_else(|| default.parse().expect("a metric's own name"))
    }

    /// A path inside the output folder.
    #[must_use]
    pub fn path(&self, folder: &str, name: &str, extension: &str) -> PathBuf {
        self.folder.join(folder).join(format!("{}.{extension}", file_name(name)))
    }
}

/// A name that is safe as a file name: `n=100/adapter` becomes `n=100,adapter`.
pub(crate) fn file_name(name: &str) -> String {
    let legal = |c: char| c.is_alphanumeric() || "=-_.@[]+".contains(c);
    name.chars().map(|c| if legal(c) { c } else { ',' }).collect()
}

/// Measures one model on rows; higher is better whatever the metric.
pub struct Judge {
    rows: EvaluationRows,
    metric: Metric,
    objective: Objective,
}

impl Judge {
    /// A judge by `metric` on these rows.
    #[must_use]
    pub fn new(rows: EvaluationRows, metric: Metric, objective: Objective) -> Self {
        Self { rows, metric, objective }
    }

    /// Value of a model with these scores.
    ///
    /// # Errors
    /// The metric does not apply to the rows, is undefined there, or a score is not finite.
    pub fn value(&self, scores: &[f32]) -> Result<f64, acclimate_train::TrainError> {
        let problem = |problem: String| acclimate_train::TrainError::Config { key: "select", problem };
        let value = self
            .statistic(scores)?
            .value()
            .ok_or_else(|| problem(format!("`{}` is undefined on the validation rows; choose another", self.metric)))?;
        Ok(-self.metric.goal().badness(value))
    }

    /// The metric user by user, for what is compared in pairs.
    ///
    /// # Errors
    /// The metric does not apply to the rows, or a score is not finite.
    pub fn statistic(&self, scores: &[f32]) -> Result<Statistic, acclimate_train::TrainError> {
        let problem = |problem: String| acclimate_train::TrainError::Config { key: "select", problem };
        let predictions: Vec<f32> = scores.iter().map(|&s| self.objective.predict(s)).collect();
        Statistic::of_rows(&self.metric, &self.rows, "validation", &predictions).map_err(|e| problem(e.to_string()))
    }
}

/// Rows to measure on, with domains and the label's range, into which predictions are clipped.
///
/// # Errors
/// No row.
pub fn evaluation_rows(dataset: &Dataset, rows: &[u32], domain_column: &str) -> Result<EvaluationRows, ExperimentError> {
    evaluation_rows_of(TasksOf::Users, dataset, rows, domain_column)
}

/// The same, where metrics are means over users or over items, and intervals with them.
///
/// # Errors
/// No row.
pub fn evaluation_rows_of(of: TasksOf, dataset: &Dataset, rows: &[u32], domain_column: &str) -> Result<EvaluationRows, ExperimentError> {
    let rows = judging_rows_of(of, dataset, rows, domain_column)?;
    Ok(match dataset.label {
        acclimate_data::LabelKind::Rating { min, max } => rows.with_label_range(LabelRange { low: min.into(), high: max.into() }),
        _ => rows,
    })
}

/// The same for early stopping, without clipping: a model whose predictions are all beyond the range would seem to stand still.
///
/// # Errors
/// No row.
pub fn judging_rows(dataset: &Dataset, rows: &[u32], domain_column: &str) -> Result<EvaluationRows, ExperimentError> {
    judging_rows_of(TasksOf::Users, dataset, rows, domain_column)
}

/// The same, where the metric is a mean over users or over items.
///
/// # Errors
/// No row.
pub fn judging_rows_of(of: TasksOf, dataset: &Dataset, rows: &[u32], domain_column: &str) -> Result<EvaluationRows, ExperimentError> {
    let log = &dataset.log;
    let users: Vec<u32> = rows.iter().map(|&r| of.of_row(log, r)).collect();
    let labels: Vec<f32> = rows.iter().map(|&r| log.label[r as usize]).collect();
    let domains: Vec<u32> = rows.iter().map(|&r| log.domain[r as usize].0).collect();
    Ok(EvaluationRows::new(&users, &labels)?.with_domains(domain_column, &domains, &dataset.domains)?)
}

/// What methods are built for.
#[must_use]
pub fn target(base: &Base) -> Target<'_> {
    Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective }
}

/// Training of the base itself: every parameter, nothing added.
///
/// # Errors
/// A backbone without parameters.
pub fn pretraining(base: &Base) -> Result<Box<dyn Adaptation>, ExperimentError> {
    Ok(acclimate_adapt::build_method("fine_tune_all", &toml::Table::new(), target(base))?)
}

/// Creates a folder and those above it.
///
/// # Errors
/// The system refuses.
pub fn create_folder(path: &Path) -> Result<(), ExperimentError> {
    std::fs::create_dir_all(path).map_err(|source| ExperimentError::Io { path: path.into(), source })
}
