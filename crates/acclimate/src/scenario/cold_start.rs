//! `cold_start`: users with a handful of labelled rows, or none.
//!
//! Every user of a part with enough rows is a task: query rows that judge, support rows to adapt from. Methods that adapt to a support set learn
//! from the tasks of the part `train`, the base and all other methods from plain rows. Models are chosen on the tasks of the validation users only.

use acclimate_adapt::{Needs, build_method};
use acclimate_data::{Dataset, Task, TaskConfig};
use acclimate_eval::{Entrant, Outcome, Panel};
use acclimate_model::{Base, Params};
use acclimate_train::feed::{Feed, SupportSize, TaskFeed};
use acclimate_train::{Scorer, TrainError};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::{TrainedBase, base_of, method_entrant, panel};
use super::rows::{check_methods, predict, row_feed, spec};
use crate::experiment::{BaseConfig, MethodEntry};
use crate::floors::{self, FloorQuery, FloorRows};
use crate::lab::{Finished, Job, Judge, Measure, Prediction, evaluation_rows, judging_rows, pretraining, target};
use crate::source::digest;
use crate::{ExperimentError, Lab, Source};

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColdStart {
    /// The parts to measure on; each is a setting. Default `new_user`, `new_item`, `both`.
    pub settings: Vec<String>,
    /// How users become tasks.
    pub tasks: TaskConfig,
    /// Whether every setting is also measured at each support size of `tasks`, as `new_user,k=5`; default true.
    pub curves: bool,
    /// What the base learns from; default the rows of the training tasks.
    pub base_rows: RowsOf,
    /// What floors learn from; default all training rows.
    pub floor_rows: RowsOf,
    /// How many support rows a task shows in training; default all.
    pub support: SupportSize,
    /// Whether support and query of a training task are drawn anew each epoch; default true.
    pub redraw: bool,
}

impl Default for ColdStart {
    fn default() -> Self {
        Self {
            settings: ["new_user", "new_item", "both"].map(str::to_owned).to_vec(),
            tasks: TaskConfig::default(),
            curves: true,
            base_rows: RowsOf::Tasks,
            floor_rows: RowsOf::All,
            support: SupportSize::Full,
            redraw: true,
        }
    }
}

/// Which training rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsOf {
    /// All of the part `train`.
    All,
    /// Those in a task.
    Tasks,
}

/// One setting: support and query rows of each task.
struct Setting {
    name: String,
    tasks: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Setting {
    fn query(&self) -> Vec<u32> {
        self.tasks.iter().flat_map(|(_, query)| query).copied().collect()
    }

    fn support(&self) -> Vec<u32> {
        self.tasks.iter().flat_map(|(support, _)| support).copied().collect()
    }
}

/// Everything that runs of this scenario share.
struct Prepared<'a> {
    config: &'a ColdStart,
    dataset: &'a Dataset,
    domain_column: &'a str,
    /// Tasks to meta-train on.
    train: Vec<Task>,
    base_rows: Vec<u32>,
    validation: Setting,
    settings: Vec<Setting>,
    /// How many users each part has lost to the bounds of its tasks.
    notes: Vec<String>,
    inputs: String,
}

impl Scenario for ColdStart {
    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, true)?;
        let train = source.part("train")?;
        let prepared = self.prepare(lab, source, &train)?;
        let floor_rows = if self.floor_rows == RowsOf::All { train } else { rows_of(&prepared.train) };
        let queries: Vec<_> =
            prepared.settings.iter().map(|s| FloorQuery { setting: s.name.clone(), support: s.support(), query: s.query() }).collect();
        let (validation, validation_support) = (prepared.validation.query(), prepared.validation.support());
        let rows =
            FloorRows { dataset: prepared.dataset, train: &floor_rows, validation: &validation, validation_support: &validation_support };
        let floors = lab.floors("floors", &rows, &queries)?;
        let bases = lab.experiment.bases()?.iter().map(|config| prepared.base(lab, config)).collect::<Result<Vec<_>, _>>()?;
        let runs = bases.iter().map(|base| prepared.base_runs(lab, base)).collect::<Result<Vec<_>, _>>()?;
        let methods = lab.experiment.methods.iter().map(|entry| prepared.method_runs(lab, entry, &bases));
        let methods = methods.collect::<Result<Vec<_>, _>>()?;
        let mut outcomes = Vec::new();
        for (at, setting) in prepared.settings.iter().enumerate() {
            let query = setting.query();
            let mut entrants: Vec<Entrant<f32>> = floors.iter().map(|f| f.entrant(at)).collect();
            entrants.extend(bases.iter().zip(&runs).map(|(base, runs)| base.entrant(lab, runs, at)));
            for (entry, runs) in lab.experiment.methods.iter().zip(&methods) {
                entrants.push(method_entrant(lab, entry, &bases, runs, at)?);
            }
            let panel = entrants.into_iter().fold(panel(lab, source, "cold_start", &setting.name, &query), Panel::enter);
            outcomes.push(panel.on_rows(&evaluation_rows(prepared.dataset, &query, prepared.domain_column)?, &lab.experiment.metrics)?);
        }
        if let Some(first) = outcomes.first_mut() {
            first.notes.extend(prepared.notes.iter().cloned());
        }
        Ok(outcomes)
    }
}

impl ColdStart {
    fn prepare<'a>(&'a self, lab: &Lab<'_>, source: &'a Source, train: &[u32]) -> Result<Prepared<'a>, ExperimentError> {
        let dataset = &source.dataset;
        let tasks = |rows: &[u32]| self.tasks.tasks(dataset.into(), rows);
        // Where a split keeps cold users for model choice apart from warm validation rows, those are meant.
        let validation_part = if source.split.names().any(|n| n == "cold_validation") { "cold_validation" } else { "validation" };
        let validation = tasks(&source.part(validation_part)?)?;
        if validation.tasks.is_empty() {
            let TaskConfig { min_rows, max_rows, .. } = &self.tasks;
            let problem = format!("leaves part `{validation_part}` without a user to choose models by: none has {min_rows} to {max_rows} rows there");
            return Err(lab.experiment.problem("[scenario.tasks]", problem));
        }
        let train_tasks = tasks(train)?.tasks;
        if train_tasks.is_empty() {
            let TaskConfig { min_rows, max_rows, .. } = &self.tasks;
            let problem = format!("leaves part `train` without a task: no user has {min_rows} to {max_rows} rows there");
            return Err(lab.experiment.problem("[scenario.tasks]", problem));
        }
        let base_rows = if self.base_rows == RowsOf::All { train.to_vec() } else { rows_of(&train_tasks) };
        let validation_names = ["validation".to_owned()];
        let parts = if lab.measure == Measure::Test { &self.settings[..] } else { &validation_names };
        let (mut settings, mut notes) = (Vec::new(), Vec::new());
        for part in parts {
            let rows = source.part(if lab.measure == Measure::Test { part } else { validation_part })?;
            let set = tasks(&rows)?;
            if set.tasks.is_empty() {
                let problem = format!("part `{part}` has no user with {} to {} rows; change [scenario.tasks]", self.tasks.min_rows, self.tasks.max_rows);
                return Err(lab.experiment.problem("[scenario] settings", problem));
            }
            let (kept, TaskConfig { min_rows, max_rows, .. }) = (set.tasks.len(), &self.tasks);
            let (too_few, too_many, curve) = (set.too_few, set.too_many, set.on_curve().count());
            notes.push(format!(
                "{part}: {kept} users are measured, {curve} of them at every support size; {too_few} with fewer than {min_rows} rows and {too_many} with more than {max_rows} are left out."
            ));
            settings.push(Setting { name: part.clone(), tasks: pairs(set.tasks.iter(), usize::MAX) });
            if self.curves && set.on_curve().next().is_some() {
                let curve = |&k: &usize| Setting { name: format!("{part},k={k}"), tasks: pairs(set.on_curve(), k) };
                settings.extend(self.tasks.support_sizes.iter().map(curve));
            }
        }
        let validation = Setting { name: "validation".into(), tasks: pairs(validation.tasks.iter(), usize::MAX) };
        let mut inputs = vec![serde_json::to_string(self).expect("configs are plain data"), digest(dataset, &base_rows)];
        inputs.push(digest(dataset, &rows_of(&train_tasks)));
        inputs.extend(settings.iter().chain([&validation]).flat_map(|s| [digest(dataset, &s.support()), digest(dataset, &s.query())]));
        let inputs = format!("{}|{}", inputs.join("|"), lab.select(dataset));
        Ok(Prepared {
            config: self,
            dataset,
            domain_column: &source.domain_column,
            train: train_tasks,
            base_rows,
            validation,
            settings,
            notes,
            inputs,
        })
    }
}

impl Prepared<'_> {
    fn base(&self, lab: &Lab<'_>, config: &BaseConfig) -> Result<TrainedBase, ExperimentError> {
        let query = self.validation.query();
        let runs = lab.seeds.iter().map(|&seed| {
            let spec = spec(config, self.dataset);
            let feed = row_feed(self.dataset, &self.base_rows, config.train.batch, seed, (spec.objective, Needs::default()))?;
            let judge = self.judge(lab, spec.objective)?;
            let mut validate = |base: &Base, own: &Params| {
                let adaptation = pretraining(base).expect("every backbone has parameters");
                judge.value(&Scorer::new(base, adaptation.as_ref(), own, &lab.device).rows(self.dataset, &query)?)
            };
            let job = Job {
                name: format!("{}-seed{seed}", config.name),
                inputs: self.inputs.clone(),
                feed: feed.as_ref(),
                config: &config.train,
                seed,
                intercept: Some((self.dataset, &self.base_rows)),
                validate: Some((lab.select(self.dataset), &mut validate)),
                unseen: Vec::new(),
            };
            lab.base(config, spec, job)
        });
        let reads = floors::reads(config, self.dataset);
        Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads })
    }

    /// The unadapted base says the same whatever the support.
    fn base_runs(&self, lab: &Lab<'_>, trained: &TrainedBase) -> Result<Vec<Finished>, ExperimentError> {
        let runs = trained.seeds.iter().map(|(base, cost)| {
            let adaptation = pretraining(base)?;
            let predictions = self.settings.iter().map(|setting| {
                let values = predict(lab, base, adaptation.as_ref(), &Params::default(), self.dataset, &setting.query())?;
                Ok(Prediction { setting: setting.name.clone(), values })
            });
            Ok(Finished { predictions: predictions.collect::<Result<_, ExperimentError>>()?, cost: *cost, settings: Vec::new() })
        });
        runs.collect()
    }

    fn method_runs(&self, lab: &Lab<'_>, entry: &MethodEntry, bases: &[TrainedBase]) -> Result<Vec<Finished>, ExperimentError> {
        let config = lab.experiment.train_config(entry, "")?;
        let runs = lab.seeds.iter().zip(&base_of(entry, bases).seeds).map(|(&seed, (base, _))| {
            let adaptation = build_method(&entry.name, &entry.config, target(base))?;
            let adaptation = adaptation.as_ref();
            let feed: Box<dyn Feed> = if adaptation.needs().support {
                let size = entry.support.unwrap_or(self.config.support);
                Box::new(TaskFeed::new(self.dataset, &self.train, config.batch, self.config.redraw, size, seed)?)
            } else {
                row_feed(self.dataset, &self.base_rows, config.batch, seed, (base.spec.objective, adaptation.needs()))?
            };
            let judge = self.judge(lab, base.spec.objective)?;
            let mut validate = |base: &Base, own: &Params| {
                let scores = Scorer::new(base, adaptation, own, &lab.device).tasks(self.dataset, &self.validation.tasks)?;
                judge.value(&scores.concat())
            };
            let job = Job {
                name: format!("{}-seed{seed}", entry.label()),
                inputs: format!("{}|{:?}", self.inputs, entry.support),
                feed: feed.as_ref(),
                config: &config,
                seed,
                intercept: Some((self.dataset, &self.base_rows)),
                validate: Some((lab.select(self.dataset), &mut validate)),
                unseen: Vec::new(),
            };
            lab.method(base, entry, adaptation, job, |trained| {
                let scorer = Scorer::new(&trained.base, adaptation, &trained.own, &lab.device);
                let predictions = self.settings.iter().map(|setting| {
                    let scores = scorer.tasks(self.dataset, &setting.tasks)?.concat();
                    let values = scores.into_iter().map(|s| base.spec.objective.predict(s)).collect();
                    Ok(Prediction { setting: setting.name.clone(), values })
                });
                predictions.collect::<Result<_, TrainError>>().map_err(Into::into)
            })
        });
        runs.collect()
    }

    fn judge(&self, lab: &Lab<'_>, objective: acclimate_model::Objective) -> Result<Judge, ExperimentError> {
        let rows = judging_rows(self.dataset, &self.validation.query(), self.domain_column)?;
        Ok(Judge::new(rows, lab.select(self.dataset), objective))
    }
}

fn pairs<'a>(tasks: impl Iterator<Item = &'a Task>, k: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    tasks.map(|task| (task.support(k).to_vec(), task.query.clone())).collect()
}

/// All rows of some tasks, in the order of the log.
fn rows_of(tasks: &[Task]) -> Vec<u32> {
    let mut rows: Vec<u32> = tasks.iter().flat_map(|t| t.support.iter().chain(&t.query)).copied().collect();
    rows.sort_unstable();
    rows
}
