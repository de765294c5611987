//! `cold_start`: users, or items, with a handful of labelled rows, or none.
//!
//! Every user (with `tasks.of = "items"` every item) of a part with enough rows is a task: query rows that judge, support rows to adapt from. Items are new: none has a training row, and metrics are means over items. Methods that adapt to a support set learn
//! from the tasks of the part `train`, the base and all other methods from plain rows. Models are chosen on the tasks of the validation users only.

mod gate;
mod profiles;
mod runs;
mod setting;

use std::borrow::Cow;
use std::collections::BTreeMap;

use acclimate_data::{Dataset, Task, TaskConfig, TasksOf};
use acclimate_eval::suspicion::Parts;
use acclimate_eval::{Entrant, EvalError, Metric, Outcome, Place, Preflight, gains};
use acclimate_train::feed::SupportSize;
use serde::{Deserialize, Serialize};

use self::setting::{Half, Setting, pairs};
use super::Scenario;
use super::entrants::{TrainedBase, from_elsewhere, method_entrant};
use super::groups::{Grouping, at, row_tables};
use super::multi_domain::check_settings;
use super::rows::{Offers, check_methods, defined, learnable};
use crate::floors::{FloorQuery, FloorRows};
use crate::lab::{Finished, Measure, Prediction, evaluation_rows, evaluation_rows_of};
use crate::preflight::{OnRows, SaidOfRows};
use crate::source::digest;
use crate::state::StateMode;
use crate::{Experiment, ExperimentError, Lab, Source};

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColdStart {
    /// The parts to measure on; each is a setting. Default `new_user`, `new_item`, `both`.
    pub settings: Vec<String>,
    /// How users, or items, become tasks.
    pub tasks: TaskConfig,
    /// Whether every setting is also measured at each support size of `tasks`, as `new_user,k=5`; default true.
    pub curves: bool,
    /// What the base learns from; default the rows of the training tasks.
    pub base_rows: RowsOf,
    /// What floors learn from; default all training rows.
    pub floor_rows: RowsOf,
    /// How many support rows a task shows in training; default a random number where the method guards itself against few of them, else all.
    pub support: Option<SupportSize>,
    /// Whether support and query of a training task are drawn anew each epoch; default true.
    pub redraw: bool,
    /// Other bounds of a user's rows in single parts, by the part's name.
    pub bounds: BTreeMap<String, Bounds>,
    /// Attribute of users, rows or items by which each setting (but no curve) is also measured in groups, such as `new_user,gender=F`; default none.
    pub by: Option<String>,
    /// Whether each setting (but no curve) is also measured apart for users with few and with many support rows: up to and above the median; default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_support: bool,
    /// Categorical features of users by which each setting (but no curve) is also measured apart for minor and major users: those whose combination of values as many training users have as that of the median
    /// user or fewer, and those whose combination more have; default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_profile: Vec<String>,
}

/// How many rows a user needs, and may have, to be a task; what is not given is as in `tasks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Users with fewer rows have no task.
    pub min_rows: Option<usize>,
    /// Users with more rows have no task.
    pub max_rows: Option<usize>,
}

impl Default for ColdStart {
    fn default() -> Self {
        Self {
            settings: ["new_user", "new_item", "both"].map(str::to_owned).to_vec(),
            tasks: TaskConfig::default(),
            curves: true,
            base_rows: RowsOf::Tasks,
            floor_rows: RowsOf::All,
            support: None,
            redraw: true,
            bounds: BTreeMap::new(),
            by: None,
            by_support: false,
            by_profile: Vec::new(),
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

/// Everything that runs of this scenario share.
struct Prepared<'a> {
    config: &'a ColdStart,
    dataset: &'a Dataset,
    /// All training rows.
    known: Vec<u32>,
    domain_column: &'a str,
    /// Tasks to meta-train on.
    train: Vec<Task>,
    base_rows: Vec<u32>,
    validation: Setting,
    settings: Vec<Setting>,
    /// Whether predictions for the validation users are wanted beside them.
    with_validation: bool,
    /// How many users each part has lost to the bounds of its tasks.
    notes: Vec<String>,
    /// What decides what is trained.
    inputs: String,
    /// What decides beside it what is predicted.
    measured: String,
}

impl Scenario for ColdStart {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        check_settings(experiment, &self.settings)?;
        self.tasks.validate().map_err(|e| experiment.problem("[scenario] tasks", e.to_string()))?;
        let known = |part: &str| ["train", "validation", "cold_validation"].contains(&part) || self.settings.iter().any(|name| name == part);
        for part in self.bounds.keys() {
            if !known(part) {
                let problem = format!("is of no part that is used here; there are train, validation, {}", self.settings.join(", "));
                return Err(experiment.problem(format!("[scenario.bounds.{part}]"), problem));
            }
            self.tasks_of(part).validate().map_err(|e| experiment.problem(format!("[scenario.bounds.{part}]"), e.to_string()))?;
        }
        Ok(())
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, Offers::Support(self.tasks.of))?;
        if source.dataset.has_state() && source.state != StateMode::Frozen {
            let problem = "of a user with a task the support is known, of all others the training rows; leave the key out";
            return Err(lab.experiment.problem("state", problem));
        }
        if source.dataset.has_state() && self.tasks.of == TasksOf::Items {
            let problem = "is \"items\", but features of earlier rows (histories and statistics) know the tasks of users alone; use a data set without them";
            return Err(lab.experiment.problem("[scenario] tasks.of", problem));
        }
        let train = source.part("train")?;
        let profiles = self.profiles(lab, &source.dataset, &train)?;
        let prepared = self.prepare(lab, source, &train)?;
        let grouping = Grouping::new(lab, prepared.dataset, self.by.as_deref())?.over(self.tasks.of);
        let floor_rows = if self.floor_rows == RowsOf::All { train.clone() } else { rows_of(&prepared.train) };
        let queries: Vec<_> =
            prepared.predicted().map(|s| FloorQuery { setting: s.name.clone(), dataset: s.dataset.clone(), support: s.support(), query: s.query() }).collect();
        let (validation, validation_support) = (prepared.validation.query(), prepared.validation.support());
        let rows =
            FloorRows { dataset: prepared.dataset, train: &floor_rows, validation: &validation, validation_support: &validation_support, of: self.tasks.of };
        let floors = lab.floors("floors", &rows, &queries)?;
        let bases = lab.experiment.bases()?.iter().map(|config| prepared.base(lab, config)).collect::<Result<Vec<_>, _>>()?;
        let runs = bases.iter().map(|base| prepared.base_runs(lab, base)).collect::<Result<Vec<_>, _>>()?;
        let preflight = prepared.preflight(lab, &bases[0], &runs[0][0], &train)?;
        let seeds = lab.seeds.len();
        let pieces = lab.side_by_side(lab.experiment.methods.len() * seeds, |piece| {
            prepared.method_run(lab, &lab.experiment.methods[piece / seeds], &bases, piece % seeds)
        })?;
        let methods: Vec<&[Finished]> = pieces.chunks(seeds.max(1)).collect();
        let ungrouped = Grouping::new(lab, prepared.dataset, None)?.over(self.tasks.of);
        let entrants_of = |at: usize| -> Result<Vec<Entrant<f32>>, ExperimentError> {
            let mut entrants: Vec<Entrant<f32>> = floors.iter().map(|f| f.entrant(at)).collect();
            entrants.extend(bases.iter().zip(&runs).map(|(base, runs)| base.entrant(lab, runs, at)));
            for (entry, runs) in lab.experiment.methods.iter().zip(&methods) {
                entrants.push(method_entrant(lab, entry, &bases, runs, at)?);
            }
            Ok(entrants)
        };
        let offsets = if lab.experiment.metrics.contains(&Metric::MaeOffset) {
            let mut known = entrants_of(prepared.settings.len())?;
            // Of predictions made elsewhere those that say something of every validation row.
            known.extend(source.scores.iter().filter_map(|scores| scores.entrant(lab.experiment, &source.dataset, &validation).ok()));
            prepared.offsets(&known)?
        } else {
            BTreeMap::new()
        };
        let mut outcomes = Vec::new();
        // The curve's point without support rows, with the part that it is of.
        let mut start: Option<(String, Place, Vec<Entrant<f32>>)> = None;
        for (at, setting) in prepared.settings.iter().enumerate() {
            let query = setting.query();
            let mut entrants = entrants_of(at)?;
            let first_method = entrants.len() - methods.len();
            entrants.splice(first_method..first_method, from_elsewhere(lab, source, &query)?);
            entrants.iter_mut().for_each(|entrant| entrant.offsets = offsets.get(&entrant.method).cloned().unwrap_or_default());
            let grouping = if setting.is_curve { &ungrouped } else { &grouping };
            outcomes.extend(row_tables(lab, source, grouping, "cold_start", &[(setting.name.clone(), &query)], &entrants)?);
            if self.by_support && !setting.is_curve {
                outcomes.extend(prepared.halves(lab, source, setting, &entrants, setting.halves())?);
            }
            if let Some(profiles) = profiles.as_ref().filter(|_| !setting.is_curve) {
                let alike: Vec<usize> = setting.tasks.iter().map(|(_, query)| profiles.alike(prepared.dataset.log.user[query[0] as usize].at())).collect();
                outcomes.extend(prepared.halves(lab, source, setting, &entrants, setting.minor_and_major(&alike))?);
            }
            if setting.is_curve {
                let place = Place { dataset: source.dataset.name.clone(), scenario: "cold_start".into(), setting: setting.name.clone() };
                if let Some((part, from, without)) = &start
                    && *part == setting.part()
                {
                    let rows = evaluation_rows(prepared.dataset, &query, &source.domain_column)?;
                    let gains = gains(lab.experiment.bootstrap, &rows, &lab.experiment.metrics, [(from, without), (&place, &entrants)])?;
                    outcomes.push(Outcome { gains, ..Outcome::default() });
                } else if setting.is_without_support() {
                    start = Some((setting.part().to_owned(), place, entrants));
                }
            }
        }
        if let Some(first) = outcomes.first_mut() {
            if self.tasks.of == TasksOf::Items {
                first.notes.push("Tasks are items: metrics are means over items, and intervals over items, where this report says users.".into());
            }
            first.notes.extend(measured_apart(&entrants_of(0)?, lab.experiment.metrics.iter().any(|metric| matches!(metric, Metric::Mae(_)))));
            first.preflight = Some(preflight);
            first.notes.extend(prepared.notes.iter().cloned());
        }
        Ok(outcomes)
    }
}

impl ColdStart {
    /// Refuses items that training knows.
    fn check_new(&self, lab: &Lab<'_>, dataset: &Dataset, train: &[u32], (part, tasks): (&str, &[Task])) -> Result<(), ExperimentError> {
        if self.tasks.of == TasksOf::Users {
            return Ok(());
        }
        let mut is_known = vec![false; dataset.items.len()];
        train.iter().for_each(|&row| is_known[dataset.log.item[row as usize].at()] = true);
        let known: Vec<&Task> = tasks.iter().filter(|task| is_known[dataset.log.item[task.query[0] as usize].at()]).collect();
        let Some(first) = known.first() else { return Ok(()) };
        let problem = format!(
            "must be new items, but {} of {} in part `{part}` have training rows, `{}` for example; use a split of kind `cold_items`",
            known.len(),
            tasks.len(),
            dataset.items[dataset.log.item[first.query[0] as usize].at()]
        );
        Err(lab.experiment.problem("[scenario] tasks", problem))
    }

    /// How users, or items, of a part become tasks.
    fn tasks_of(&self, part: &str) -> TaskConfig {
        let Bounds { min_rows, max_rows } = self.bounds.get(part).copied().unwrap_or_default();
        let (min_rows, max_rows) = (min_rows.unwrap_or(self.tasks.min_rows), max_rows.unwrap_or(self.tasks.max_rows));
        TaskConfig { min_rows, max_rows, ..self.tasks.clone() }
    }

    fn prepare<'a>(&'a self, lab: &Lab<'_>, source: &'a Source, train: &[u32]) -> Result<Prepared<'a>, ExperimentError> {
        let dataset = &source.dataset;
        let tasks = |part: &str, rows: &[u32]| self.tasks_of(part).tasks(dataset.into(), rows);
        let none = |part: &str, what: &str| {
            let TaskConfig { min_rows, max_rows, .. } = self.tasks_of(part);
            let one = self.tasks.of.one();
            let problem = format!("leave part `{part}` without {what}: no {one} has {min_rows} to {max_rows} rows there; change `min_rows` or `max_rows`");
            lab.experiment.problem("[scenario] tasks and bounds", problem)
        };
        // Where a split keeps cold users for model choice apart from warm validation rows, those are meant.
        let validation_part = if source.split.names().any(|n| n == "cold_validation") { "cold_validation" } else { "validation" };
        let setting = |name: String, tasks, is_curve| Setting::new(name, tasks, is_curve, dataset, train);
        let validation = tasks(validation_part, &source.part(validation_part)?)?;
        if validation.tasks.is_empty() {
            return Err(none(validation_part, &format!("{} to choose models by", one(self.tasks.of))));
        }
        self.check_new(lab, dataset, train, (validation_part, &validation.tasks))?;
        let train_tasks = tasks("train", train)?.tasks;
        if train_tasks.is_empty() {
            return Err(none("train", "a task"));
        }
        learnable(lab, source, ("train", ""), train)?;
        let base_rows = if self.base_rows == RowsOf::All { train.to_vec() } else { rows_of(&train_tasks) };
        let validation_names = ["validation".to_owned()];
        let parts = if lab.measure == Measure::Test { &self.settings[..] } else { &validation_names };
        let (mut settings, mut notes) = (Vec::new(), Vec::new());
        for part in parts {
            let measured = if lab.measure == Measure::Test { part } else { validation_part };
            let set = tasks(measured, &source.part(measured)?)?;
            if set.tasks.is_empty() {
                return Err(none(part, &format!("{} to measure", one(self.tasks.of))));
            }
            self.check_new(lab, dataset, train, (part, &set.tasks))?;
            let (kept, TaskConfig { min_rows, max_rows, .. }) = (set.tasks.len(), self.tasks_of(measured));
            let (too_few, too_many, curve) = (set.too_few, set.too_many, set.on_curve().count());
            let who = self.tasks.of.name();
            notes.push(format!(
                "{part}: {kept} {who} are measured, {curve} of them at every support size; {too_few} with fewer than {min_rows} rows and {too_many} with more than {max_rows} are left out."
            ));
            if set.tied > 0 {
                let tied = set.tied;
                notes.push(format!("{part}: for {tied} of {kept} {who} support and query meet at one time; the order of the files decides which rows are which."));
            }
            settings.push(setting(part.clone(), pairs(set.tasks.iter(), usize::MAX), false)?);
            if self.curves && set.on_curve().next().is_some() {
                for &k in &self.tasks.support_sizes {
                    settings.push(setting(format!("{part},k={k}"), pairs(set.on_curve(), k), true)?);
                }
            }
        }
        let validation = setting("validation".into(), pairs(validation.tasks.iter(), usize::MAX), false)?;
        defined(lab, source, (validation_part, " (queries of its tasks)"), &validation.query(), ("select", [&lab.select(dataset)]))?;
        for setting in settings.iter().filter(|setting| !setting.is_curve) {
            defined(lab, source, (&setting.name, " (queries of its tasks)"), &setting.query(), ("metrics", &lab.experiment.metrics))?;
        }
        // What is measured, and at which support sizes, has no part in what is trained.
        let decisive = Self { settings: Vec::new(), curves: false, by: None, by_support: false, by_profile: Vec::new(), ..self.clone() };
        let mut inputs = vec![serde_json::to_string(&decisive).expect("configs are plain data"), digest(dataset, &base_rows)];
        inputs.extend([digest(dataset, &rows_of(&train_tasks)), validation.digest(dataset)]);
        let inputs = format!("{}|{}", inputs.join("|"), lab.select(dataset));
        let with_validation = lab.experiment.metrics.contains(&Metric::MaeOffset);
        let measured = settings.iter().map(|s| s.digest(dataset)).collect::<Vec<_>>().join("|");
        let measured = format!("{measured}|spread{}", if with_validation { "|validation" } else { "" });
        Ok(Prepared {
            config: self,
            dataset,
            known: train.to_vec(),
            domain_column: &source.domain_column,
            train: train_tasks,
            base_rows,
            validation,
            settings,
            with_validation,
            notes,
            inputs,
            measured,
        })
    }
}

impl Prepared<'_> {
    /// What is predicted: every setting, and after them where it is wanted the validation users.
    fn predicted(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().chain(self.with_validation.then_some(&self.validation))
    }

    /// Of each entrant, by its predictions for the validation users, the constant that `mae[offset]` adds to those of each seed.
    fn offsets(&self, entrants: &[Entrant<f32>]) -> Result<BTreeMap<String, Vec<f64>>, ExperimentError> {
        let rows = evaluation_rows_of(self.config.tasks.of, self.dataset, &self.validation.query(), self.domain_column)?;
        let of = |entrant: &Entrant<f32>| {
            let offsets = entrant.outputs.iter().map(|output| rows.best_offset(&entrant.method, output));
            Ok((entrant.method.clone(), offsets.collect::<Result<_, EvalError>>()?))
        };
        entrants.iter().map(of).collect()
    }

    /// Checks the first base in every setting but those of curves, whose rows are among the others; where features depend on what a task knows, in the first
    /// setting. `train`: everything that is learned from.
    fn preflight(&self, lab: &Lab<'_>, trained: &TrainedBase, said: &Finished, train: &[u32]) -> Result<Preflight, ExperimentError> {
        let most = if self.dataset.has_state() { 1 } else { usize::MAX };
        let whole = |(setting, _): &(&Setting, &Prediction)| !setting.is_curve;
        let settings = || self.settings.iter().zip(&said.predictions).filter(whole).take(most);
        let dataset = settings().next().and_then(|(setting, _)| setting.dataset.as_ref()).unwrap_or(self.dataset);
        let queries: Vec<Vec<u32>> = settings().map(|(setting, _)| setting.query()).collect();
        let support: Vec<u32> = settings().flat_map(|(setting, _)| setting.support()).collect();
        let (measured, validation) = (queries.concat(), self.validation.query());
        let said = settings().zip(&queries);
        lab.preflight(&OnRows {
            name: "",
            scenario: "cold_start",
            dataset,
            domain_column: self.domain_column,
            config: &lab.experiment.base,
            base: &trained.seeds[0].0,
            learned: &self.rows(lab.experiment.base.rows),
            parts: Parts { train, validation: &validation, support: &support, measured: &measured },
            inputs: self.inputs.clone(),
            settings: said.map(|((setting, said), rows)| SaidOfRows { setting: &setting.name, rows, said: &said.values }).collect(),
        })
    }

    /// The tables of two kinds of users, with one sentence on how they are told apart.
    fn halves(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        setting: &Setting,
        entrants: &[Entrant<f32>],
        (halves, note): (Vec<Half>, String),
    ) -> Result<Vec<Outcome>, ExperimentError> {
        let query = setting.query();
        let ungrouped = Grouping::new(lab, self.dataset, None)?.over(self.config.tasks.of);
        let mut outcomes = vec![Outcome { notes: vec![note], ..Outcome::default() }];
        for Half { setting, places } in halves {
            let rows: Vec<u32> = places.iter().map(|&place| query[place]).collect();
            let entrants: Vec<_> = entrants.iter().map(|entrant| at(entrant, &places)).collect();
            outcomes.extend(row_tables(lab, source, &ungrouped, "cold_start", &[(setting, &rows)], &entrants)?);
        }
        Ok(outcomes)
    }

    /// Training rows to learn from; by default those that the scenario names.
    fn rows(&self, of: Option<RowsOf>) -> Cow<'_, [u32]> {
        match of {
            None => Cow::Borrowed(&self.base_rows),
            Some(RowsOf::All) => Cow::Borrowed(&self.known),
            Some(RowsOf::Tasks) => Cow::Owned(rows_of(&self.train)),
        }
    }
}

/// Says which entrants' absolute errors are measured of another number than all else.
fn measured_apart(entrants: &[Entrant<f32>], is_asked: bool) -> Option<String> {
    let names: Vec<&str> = entrants.iter().filter(|entrant| is_asked && entrant.has_median()).map(|entrant| entrant.method.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "mae is measured of the median, all other metrics of predictions of the mean, of what these expect of a rating: {}. Their median is a value of the ratings' grid.",
            names.join(", ")
        )
    })
}

/// One of them, in messages.
fn one(of: TasksOf) -> &'static str {
    match of {
        TasksOf::Users => "a user",
        TasksOf::Items => "an item",
    }
}

/// All rows of some tasks, in the order of the log.
fn rows_of(tasks: &[Task]) -> Vec<u32> {
    let mut rows: Vec<u32> = tasks.iter().flat_map(|t| t.support.iter().chain(&t.query)).copied().collect();
    rows.sort_unstable();
    rows
}
