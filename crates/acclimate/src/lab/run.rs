//! One training run, from its key to what is kept of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use acclimate_adapt::{AdaptError, Adaptation, Patch, Start, resolve_config};
use acclimate_data::Dataset;
use acclimate_eval::floor::Chosen;
use acclimate_eval::{Cost, Goal, Metric, Spread};
use acclimate_model::{Base, BaseSpec, Params, TensorFile};
use acclimate_train::feed::Feed;
use acclimate_train::{Observer, PatchNotes, Run, Summary, TrainConfig, TrainError, Trained, train, train_from_values};
use serde::{Deserialize, Serialize};

use super::{Lab, pretraining};
use crate::artifact::RunRecord;
use crate::experiment::{BaseConfig, MethodEntry};
use crate::log::RunLog;
use crate::open::stored;
use crate::tune::{Tuning, served};
use crate::{ExperimentError, artifact, source};

/// Seconds between two checkpoints of a run.
const CHECKPOINT: Duration = Duration::from_secs(20);

/// Judges a model on validation rows.
pub type Validator<'a> = dyn FnMut(&Base, &Params) -> Result<f64, TrainError> + 'a;

/// One training run.
pub struct Job<'a> {
    /// Name for people, files and logs, such as `n=100/adapter-seed1`.
    pub name: String,
    /// Everything else that decides what is trained: rows to learn from, rows that choose, metric.
    pub inputs: String,
    /// What decides beside it what is predicted: the rows that are measured.
    pub measured: String,
    /// What it trains on.
    pub feed: &'a dyn Feed,
    /// How.
    pub config: &'a TrainConfig,
    /// Seed.
    pub seed: u64,
    /// Rows for the exact intercept.
    pub intercept: Option<(&'a Dataset, &'a [u32])>,
    /// Early stopping: the metric, for the record, and who measures it.
    pub validate: Option<(Metric, &'a mut Validator<'a>)>,
    /// Domains that a base must not know, for its record.
    pub unseen: Vec<String>,
    /// A patch whose values training starts from, in place of the method's own start.
    pub start: Option<&'a Patch>,
    /// Validation tasks that choose what training leaves open; without them it stays as it was trained.
    pub tuning: Option<&'a Tuning<'a>>,
}

impl<'a> Job<'a> {
    /// A run that learns for as long as its config says, and is measured nowhere.
    #[must_use]
    pub fn new(name: String, inputs: String, feed: &'a dyn Feed, config: &'a TrainConfig, seed: u64) -> Self {
        let (measured, unseen) = (String::new(), Vec::new());
        Self { name, inputs, measured, feed, config, seed, intercept: None, validate: None, unseen, start: None, tuning: None }
    }
}

/// What a model said in one setting: one prediction for each test row (or a rank for each query).
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The setting.
    pub setting: String,
    /// In the order of the rows.
    pub values: Vec<f32>,
    /// The spread of what is expected, where the model says one.
    pub spread: Option<Spread>,
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// What it said about the rows it is measured on.
    pub predictions: Vec<Prediction>,
    /// What it cost.
    pub cost: Cost,
    /// Settings of a floor.
    pub settings: Vec<Chosen>,
}

/// How a kept patch came about.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchRecord {
    key: String,
    cost: Cost,
    /// What validation tasks have chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chosen: Vec<Chosen>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    cost: Cost,
    settings: Vec<(String, usize)>,
    #[serde(default)]
    chosen: Vec<Chosen>,
    /// The number of grid values of each prediction's spread, where it has one.
    #[serde(default)]
    grids: Vec<Option<usize>>,
}

impl Lab<'_> {
    /// Trains a base, or loads it when it was trained before.
    ///
    /// # Errors
    /// Anything training may report, or an interruption.
    pub fn base(&self, config: &BaseConfig, spec: BaseSpec, job: Job<'_>) -> Result<(Base, Cost), ExperimentError> {
        self.base_from(config, Base::init(spec, job.seed)?, job)
    }

    /// As [`base`](Self::base), from values other than those drawn for the seed. They must follow from the job's inputs and seed.
    ///
    /// # Errors
    /// Anything training may report, or an interruption.
    pub fn base_from(&self, config: &BaseConfig, start: Base, job: Job<'_>) -> Result<(Base, Cost), ExperimentError> {
        self.check_stop()?;
        // Other names of the same codes, or other domains that are unknown to it, make another base: later data would be read otherwise.
        let encoder = self.encoder.map(artifact::digest).unwrap_or_default();
        let what = format!("{}|{}|{encoder}|{:?}", plain(config), start.spec.schema_hash(), job.unseen);
        let key = self.key(&what, &job);
        let folder = self.folder.join("bases").join(super::file_name(&job.name));
        if let Some(found) = artifact::load_keyed(&folder, &key).map_err(ExperimentError::advising_removal)? {
            self.progress.kept(&job.name);
            self.complete_base(&folder)?;
            return Ok(found);
        }
        let adaptation = pretraining(&start)?;
        let record =
            RunRecord { name: job.name.clone(), key: key.clone(), unseen: job.unseen.clone(), seed: job.seed, ..RunRecord::default() };
        let trained = self.train(&start, adaptation.as_ref(), job, &key, true)?;
        let cost = cost(&trained.summary, trained.base.count(), None);
        let epochs = trained.summary.best.is_some().then_some(trained.summary.best_epoch + 1);
        artifact::save_keyed(&folder, &trained.base, RunRecord { cost, epochs, ..record })?;
        self.complete_base(&folder)?;
        self.forget_checkpoint(&key);
        Ok((trained.base, cost))
    }

    /// For how many epochs a base of this run has learned, where validation rows have chosen.
    ///
    /// # Errors
    /// Its record can not be read.
    pub fn epochs_of_base(&self, name: &str) -> Result<Option<u64>, ExperimentError> {
        let record = self.folder.join("bases").join(super::file_name(name)).join(artifact::RUN);
        Ok(artifact::read_json::<RunRecord>(&record)?.epochs)
    }

    /// Puts what `adapt` and `evaluate` need beside a base of this run.
    ///
    /// # Errors
    /// A file can not be read or written.
    pub fn complete_base(&self, folder: &Path) -> Result<(), ExperimentError> {
        let Some(encoder) = self.encoder else { return Ok(()) };
        let experiment = self.experiment;
        let dataset = experiment.dataset.as_ref().map(|file| experiment.path.parent().map_or_else(|| file.clone(), |at| at.join(file)));
        artifact::complete(folder, encoder, |record| {
            record.dataset = dataset.map(|d| std::path::absolute(&d).unwrap_or(d));
            record.split = self.split.cloned();
            record.state = experiment.state;
        })
    }

    /// As [`method_with`](Self::method_with), for predictions that add nothing to the cost.
    ///
    /// # Errors
    /// As there.
    pub fn method(
        &self,
        base: &Base,
        entry: &MethodEntry,
        adaptation: &dyn Adaptation,
        job: Job<'_>,
        predict: impl FnOnce(&Base, &Params) -> Result<Vec<Prediction>, ExperimentError>,
    ) -> Result<Finished, ExperimentError> {
        self.method_with(base, entry, adaptation, job, |patched, patch, _| predict(patched, &patch.own))
    }

    /// Trains a method on a base and lets it predict, or loads what it predicted before. The patch is kept beside: other rows are predicted without
    /// training it again. `predict` gets the base with the patch applied, the patch, and the cost, to add what it measures.
    ///
    /// # Errors
    /// Anything training or scoring may report, or an interruption.
    pub fn method_with(
        &self,
        base: &Base,
        entry: &MethodEntry,
        adaptation: &dyn Adaptation,
        job: Job<'_>,
        predict: impl FnOnce(&Base, &Patch, &mut Cost) -> Result<Vec<Prediction>, ExperimentError>,
    ) -> Result<Finished, ExperimentError> {
        self.check_stop()?;
        // Resolved: another preset or default of the program is another method.
        let config = resolve_config(&entry.name, &entry.config)?;
        let key = self.method_key(base, entry, &config, &job);
        let (name, measured) = (job.name.clone(), source::digest_text(&format!("{key}|{}", job.measured)));
        self.kept(&name, &measured, || {
            let (patch, mut cost, settings) = match self.kept_patch(base, &name, &key)? {
                Some(kept) => kept,
                None => self.patch(base, entry, adaptation, job, &key)?,
            };
            // What is measured is what is stored: the patch applied to the base.
            let predictions = predict(&patch.apply(base)?, &patch, &mut cost)?;
            Ok(Finished { predictions, cost, settings })
        })
    }

    /// The patch of a method, trained or kept from before, with what it cost.
    ///
    /// # Errors
    /// Anything training may report, or an interruption.
    pub fn trained_patch(
        &self,
        base: &Base,
        entry: &MethodEntry,
        adaptation: &dyn Adaptation,
        job: Job<'_>,
    ) -> Result<(Patch, Cost), ExperimentError> {
        self.check_stop()?;
        let key = self.method_key(base, entry, &resolve_config(&entry.name, &entry.config)?, &job);
        let (patch, cost, _) = match self.kept_patch(base, &job.name.clone(), &key)? {
            Some(kept) => kept,
            None => self.patch(base, entry, adaptation, job, &key)?,
        };
        Ok((patch, cost))
    }

    fn method_key(&self, base: &Base, entry: &MethodEntry, config: &toml::Table, job: &Job<'_>) -> String {
        // Without these keys it is the key of an entry that has none.
        let stored = if entry.compact || entry.budget.is_some() { format!("|{} {:?}", entry.compact, entry.budget) } else { String::new() };
        self.key(&format!("{}|{}|{}{stored}", base.hash(), entry.name, plain(config)), job)
    }

    /// Trains a method and keeps its patch.
    fn patch(
        &self,
        base: &Base,
        entry: &MethodEntry,
        adaptation: &dyn Adaptation,
        job: Job<'_>,
        key: &str,
    ) -> Result<(Patch, Cost, Vec<Chosen>), ExperimentError> {
        let notes = PatchNotes {
            method: entry.name.clone(),
            config: entry.config.clone(),
            window: job.feed.window(),
            rows: job.feed.rows(),
            seed: job.seed,
            ..PatchNotes::default()
        };
        let (name, metric) = (job.name.clone(), job.validate.as_ref().map(|(metric, _)| metric.clone()));
        let fresh = adaptation.start() == Start::Fresh && !adaptation.needs().groups.are_tasks();
        let tuning = job.tuning;
        let mut trained = self.train(base, adaptation, job, key, fresh)?;
        let (mut best, mut chosen) = (trained.summary.best, Vec::new());
        if let Some(tuning) = tuning.filter(|_| !adaptation.dials().is_empty()) {
            let turned = tuning.turn(adaptation, &trained.base, &mut trained.own, self.stop)?;
            RunLog::open(&self.folder, &super::file_name(&name))?.tried(&turned.tried);
            (best, chosen) = (turned.quality.or(best), turned.chosen);
        }
        let metrics = metric.zip(best).map(|(metric, quality)| validated(&metric, quality)).into_iter().collect();
        let mut patch = stored(trained.patch(base, adaptation, PatchNotes { metrics, ..notes }), base, entry.compact, entry.budget)?;
        // Whoever starts from fresh values owes the base nothing, and papers guard nobody.
        if let Some(tuning) = tuning.filter(|_| adaptation.needs().any_support && adaptation.start() == Start::Base) {
            patch.manifest.serve = tuning.serve(base, &patch)?;
            chosen.extend(served(patch.manifest.serve));
        }
        let cost = cost(&trained.summary, patch.manifest.counts.stored(), Some(patch.bytes(base)));
        let [file, record] = self.patch_files(&name);
        // A record never stands beside a patch that it does not describe, whenever this is cut off.
        let _ = std::fs::remove_file(&record);
        patch.save(base, &file)?;
        artifact::write_json(&record, &PatchRecord { key: key.to_owned(), cost, chosen: chosen.clone() })?;
        self.forget_checkpoint(key);
        Ok((patch, cost, chosen))
    }

    /// The patch that a run of this key has left, with what it cost.
    fn kept_patch(&self, base: &Base, name: &str, key: &str) -> Result<Option<(Patch, Cost, Vec<Chosen>)>, ExperimentError> {
        let [file, record] = self.patch_files(name);
        if !record.exists() {
            return Ok(None);
        }
        let PatchRecord { key: found, cost, chosen } = artifact::read_json(&record)?;
        if found != key {
            return Ok(None);
        }
        let patch = Patch::load(base, &file).map_err(|error| match error {
            AdaptError::File(error) => ExperimentError::File(error).advising_removal(),
            other => other.into(),
        })?;
        self.progress.kept(&format!("{name} (trained before)"));
        Ok(Some((patch, cost, chosen)))
    }

    /// The patch of a run, and the record of how it came about.
    fn patch_files(&self, name: &str) -> [PathBuf; 2] {
        ["safetensors", "json"].map(|extension| self.path("patches", name, extension))
    }

    /// Trains a network that is only measured: of it, only what it says is kept.
    ///
    /// # Errors
    /// Anything training or scoring may report, or an interruption.
    pub(crate) fn control(
        &self,
        start: &Base,
        job: Job<'_>,
        predict: impl FnOnce(&Base) -> Result<Vec<Prediction>, ExperimentError>,
    ) -> Result<Finished, ExperimentError> {
        self.check_stop()?;
        let key = self.key(&format!("control|{}", start.hash()), &job);
        let measured = source::digest_text(&format!("{key}|{}", job.measured));
        let finished = self.kept(&job.name.clone(), &measured, || {
            let trained = self.train(start, pretraining(start)?.as_ref(), job, &key, true)?;
            Ok(Finished { predictions: predict(&trained.base)?, cost: Cost::default(), settings: Vec::new() })
        })?;
        self.forget_checkpoint(&key);
        Ok(finished)
    }

    /// The result stored under a key, or the result of `work`, which is stored then.
    ///
    /// # Errors
    /// What `work` reports, a damaged store, or an interruption.
    pub fn kept(
        &self,
        name: &str,
        key: &str,
        work: impl FnOnce() -> Result<Finished, ExperimentError>,
    ) -> Result<Finished, ExperimentError> {
        self.check_stop()?;
        let path = self.path("finished", &format!("{name}-{}", &key[..12]), "safetensors");
        if path.exists() {
            self.progress.kept(name);
            return read_finished(&path).map_err(ExperimentError::advising_removal);
        }
        let finished = work()?;
        let settings = finished.predictions.iter().map(|p| (p.setting.clone(), p.values.len())).collect();
        let grids = finished.predictions.iter().map(|p| p.spread.as_ref().map(|spread| spread.grid.len())).collect();
        let mut file =
            TensorFile::new(&Manifest { name: name.to_owned(), cost: finished.cost, settings, chosen: finished.settings.clone(), grids });
        for (i, prediction) in finished.predictions.iter().enumerate() {
            file.put(format!("prediction.{i}"), &[prediction.values.len()], &prediction.values);
            if let Some(Spread { deviations, grid, cuts }) = &prediction.spread {
                let all = [&deviations[..], grid, cuts].concat();
                file.put(format!("spread.{i}"), &[all.len()], &all);
            }
        }
        file.write(&path)?;
        Ok(finished)
    }

    fn train(&self, base: &Base, adaptation: &dyn Adaptation, job: Job<'_>, key: &str, fresh: bool) -> Result<Trained, ExperimentError> {
        let checkpoint = self.checkpoint(key);
        let log = RunLog::open(&self.folder, &super::file_name(&job.name))?;
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(self.progress.bar(&job.name)), Box::new(log)];
        let Job { name, feed, config, seed, intercept, validate, start, .. } = job;
        let config = &config.with_intercept_for(base.spec.objective, fresh && intercept.is_some());
        // Shortens the life of the closure's type to that of this call.
        let validate = validate.map(|(_, judge)| judge as &mut Validator<'_>);
        let run = Run {
            base,
            adaptation,
            feed,
            config,
            seed,
            device: &self.device,
            intercept,
            validate,
            observer: &mut observers,
            checkpoint: Some((checkpoint, CHECKPOINT)),
            stop: self.stop,
        };
        let trained = match start {
            None => train(run),
            Some(start) => train_from_values(run, start.apply(base)?, start.own.clone()),
        };
        trained.map_err(|error| {
            let error = ExperimentError::of_run(name, error).advising_removal();
            match intercept {
                Some((dataset, _)) => error.naming_extremes(dataset),
                None => error,
            }
        })
    }

    fn checkpoint(&self, key: &str) -> PathBuf {
        self.path("checkpoints", &key[..24], "safetensors")
    }

    /// Called when the result is saved: until then a run that is cut off goes on from its checkpoint.
    fn forget_checkpoint(&self, key: &str) {
        let checkpoint = self.checkpoint(key);
        let _ = std::fs::remove_file(&checkpoint);
        // A method that is trained in stages has one for each.
        let stem = checkpoint.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let beside = checkpoint.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        for entry in beside.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{stem}."))) {
            let _ = std::fs::remove_file(entry.path());
        }
    }

    /// Digest of everything that decides what is trained, and of nothing else: measured rows have no part in it.
    fn key(&self, what: &str, job: &Job<'_>) -> String {
        let parts = [env!("CARGO_PKG_VERSION"), what, &plain(job.config), &job.seed.to_string(), &job.inputs];
        source::digest_text(&parts.join("|"))
    }
}

/// A metric on validation rows under the name it has in manifests; `quality` is higher for better.
pub(crate) fn validated(metric: &Metric, quality: f64) -> (String, f64) {
    match metric.goal() {
        Goal::Higher => (format!("validation {metric}"), quality),
        Goal::Lower => (format!("validation {metric}"), -quality),
        Goal::One => (format!("validation |{metric} - 1|"), -quality),
        Goal::Percent(percent) => (format!("validation |{metric} - {percent} %|"), -quality),
    }
}

fn plain(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("configs are plain data")
}

fn cost(summary: &Summary, trained: usize, patch: Option<usize>) -> Cost {
    Cost {
        trainable_parameters: Some(trained as u64),
        patch_bytes: patch.map(|b| b as u64),
        train_seconds: Some(summary.seconds),
        rows_per_second: Some(summary.rows as f64 / summary.seconds.max(1e-9)),
        ..Cost::default()
    }
}

fn read_finished(path: &Path) -> Result<Finished, ExperimentError> {
    let mut file = TensorFile::read(path)?;
    let manifest: Manifest = file.manifest(path)?;
    let mut predictions = Vec::new();
    for (i, (setting, len)) in manifest.settings.into_iter().enumerate() {
        let values = file.take(path, &format!("prediction.{i}"), &[len])?;
        let mut of_grid = |n: usize| -> Result<Spread, ExperimentError> {
            let mut deviations = file.take(path, &format!("spread.{i}"), &[len + n + n.saturating_sub(1)])?;
            let mut grid = deviations.split_off(len);
            let cuts = grid.split_off(n);
            Ok(Spread { deviations, grid, cuts })
        };
        let spread = manifest.grids.get(i).copied().flatten().map(&mut of_grid).transpose()?;
        predictions.push(Prediction { setting, values, spread });
    }
    file.finish(path)?;
    Ok(Finished { predictions, cost: manifest.cost, settings: manifest.chosen })
}
