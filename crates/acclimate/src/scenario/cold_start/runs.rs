//! What is trained: bases, and methods on them.

use std::borrow::Cow;
use std::time::Instant;

use acclimate_adapt::{Needs, Start, build_method};
use acclimate_data::Dataset;
use acclimate_model::{Base, Objective, Params};
use acclimate_train::feed::{Feed, SupportSize, TaskFeed};
use acclimate_train::{Draw, Preparation, Scorer, TrainError};

use super::gate::served;
use super::{Prepared, RowsOf};
use crate::experiment::{BaseConfig, Choose, MethodEntry};
use crate::floors;
use crate::lab::{Finished, Job, Judge, Prediction, judging_rows_of, pretraining, target};
use crate::open::everybody;
use crate::scenario::entrants::{TrainedBase, base_of};
use crate::scenario::rows::{predict, prepared as prepared_rows, spec};
use crate::state::of_tasks;
use crate::tune::Tuning;
use crate::{ExperimentError, Lab};

impl Prepared<'_> {
    pub(super) fn base(&self, lab: &Lab<'_>, config: &BaseConfig) -> Result<TrainedBase, ExperimentError> {
        let (query, validation) = (self.validation.query(), self.validation.dataset(self.dataset));
        let runs = lab.seeds.iter().map(|&seed| {
            let spec = spec(config, self.dataset);
            let rows = prepared_rows(self.dataset, spec.objective);
            let learned = self.rows(config.rows);
            let feed = rows.feed(&learned, Draw::new(&config.train, seed, Needs::default()))?;
            let judge = self.judge(lab, spec.objective)?;
            let first = self.chooser(lab, config)?;
            let mut validate = |base: &Base, own: &Params| {
                let Some(entry) = first else {
                    let adaptation = pretraining(base).expect("every backbone has parameters");
                    return judge.value(&Scorer::new(base, adaptation.as_ref(), own, &lab.device).rows(validation, &query)?);
                };
                let adaptation = build_method(&entry.name, &entry.config, target(base))?;
                let own = Params::init(adaptation.params(), seed);
                judge.value(&Scorer::new(base, adaptation.as_ref(), &own, &lab.device).tasks(validation, &self.validation.tasks)?.concat())
            };
            let job = Job {
                name: format!("{}-seed{seed}", config.name),
                inputs: format!("{}{}|{:?}", self.inputs, named(config.rows), first.map(|entry| (&entry.name, entry.config.to_string()))),
                measured: String::new(),
                feed: feed.as_ref(),
                config: &config.train,
                seed,
                intercept: Some((self.dataset, &learned)),
                validate: Some((lab.select(self.dataset), &mut validate)),
                unseen: Vec::new(),
                start: None,
                tuning: None,
            };
            lab.base(config, spec, job)
        });
        let reads = floors::reads(config, self.dataset);
        Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads })
    }

    /// The method whose adapted error chooses a base's best epoch, where that is asked for.
    fn chooser<'e>(&self, lab: &Lab<'e>, config: &BaseConfig) -> Result<Option<&'e MethodEntry>, ExperimentError> {
        if config.choose == Choose::Unadapted {
            return Ok(None);
        }
        let starts_here = |entry: &&MethodEntry| entry.base.as_ref().unwrap_or(&lab.experiment.base.name) == &config.name;
        let shape = Base::init(spec(config, self.dataset), 0)?;
        for entry in lab.experiment.methods.iter().filter(starts_here) {
            let method = build_method(&entry.name, &entry.config, target(&shape))?;
            if method.needs().groups.are_tasks() && method.start() == Start::Base {
                return Ok(Some(entry));
            }
        }
        let problem = "`adapted` needs a method that starts from this base and adapts to support rows, such as `maml`; add one, or remove the key";
        Err(lab.experiment.problem(format!("base `{}`, choose", config.name), problem))
    }

    /// The unadapted base says the same whatever the support, unless features tell it.
    pub(super) fn base_runs(&self, lab: &Lab<'_>, trained: &TrainedBase) -> Result<Vec<Finished>, ExperimentError> {
        let runs = trained.seeds.iter().map(|(base, cost)| {
            let adaptation = pretraining(base)?;
            let predictions = self.predicted().map(|setting| {
                let values = predict(lab, base, adaptation.as_ref(), &Params::default(), setting.dataset(self.dataset), &setting.query())?;
                Ok(Prediction { setting: setting.name.clone(), values, spread: None })
            });
            Ok(Finished { predictions: predictions.collect::<Result<_, ExperimentError>>()?, cost: *cost, settings: Vec::new() })
        });
        runs.collect()
    }

    /// A method's run of one seed.
    pub(super) fn method_run(&self, lab: &Lab<'_>, entry: &MethodEntry, bases: &[TrainedBase], at: usize) -> Result<Finished, ExperimentError> {
        let config = lab.experiment.train_config(entry, "")?;
        let (seed, base) = (lab.seeds[at], &base_of(entry, bases).seeds[at].0);
        let adaptation = build_method(&entry.name, &entry.config, target(base))?;
        let adaptation = adaptation.as_ref();
        let rows = prepared_rows(self.dataset, base.spec.objective);
        let learned = self.rows(entry.rows);
        let feed: Box<dyn Feed> = if adaptation.needs().groups.are_tasks() {
            let size = self.support_size(entry, adaptation.needs());
            let default = if adaptation.is_solved() { RowsOf::All } else { RowsOf::Tasks };
            let tasks = match entry.rows.unwrap_or(default) {
                RowsOf::Tasks => Cow::Borrowed(&self.train[..]),
                RowsOf::All => Cow::Owned(everybody(self.config.tasks.of, self.dataset, &self.known)?),
            };
            let feed = TaskFeed::new(self.dataset, tasks, config.batch, self.config.redraw, size, seed)?;
            // What is solved for reads every row.
            let most = if adaptation.is_solved() || self.config.tasks.support.is_none() { usize::MAX } else { self.config.tasks.query };
            let feed = feed.with_most(most);
            let view = |epoch, tasks: &[(Vec<u32>, Vec<u32>)]| of_tasks(self.dataset, &self.known, tasks, epoch).expect("as large as before");
            Box::new(if self.dataset.has_state() { feed.with_view(Box::new(view)) } else { feed })
        } else {
            rows.feed(&learned, Draw::new(&config, seed, adaptation.needs()))?
        };
        let judge = self.judge(lab, base.spec.objective)?;
        let mut validate = |base: &Base, own: &Params| {
            let validation = self.validation.dataset(self.dataset);
            let scores = Scorer::new(base, adaptation, own, &lab.device).tasks(validation, &self.validation.tasks)?;
            judge.value(&scores.concat())
        };
        let dataset = self.validation.dataset(self.dataset);
        let tuning = Tuning { dataset, domain_column: self.domain_column, tasks: &self.validation.tasks, of: self.config.tasks.of, metric: lab.select(self.dataset) };
        let guarded = if adaptation.needs().any_support { "|guarded" } else { "" };
        let job = Job {
            name: format!("{}-seed{seed}", entry.label()),
            inputs: format!("{}|{:?}{}{guarded}", self.inputs, self.support_size(entry, adaptation.needs()), named(entry.rows)),
            measured: self.measured.clone(),
            feed: feed.as_ref(),
            config: &config,
            seed,
            intercept: Some((self.dataset, &learned)),
            validate: Some((lab.select(self.dataset), &mut validate)),
            unseen: Vec::new(),
            start: None,
            tuning: Some(&tuning),
        };
        lab.method_with(base, entry, adaptation, job, |patched, patch, cost| {
            let scorer = Scorer::new(patched, adaptation, &patch.own, &lab.device);
            if adaptation.needs().groups.are_tasks() {
                let setting = &self.settings[0];
                let [one, thousand] = time_to_adapt(&scorer, setting.dataset(self.dataset), &setting.tasks)?;
                (cost.adapt_one_seconds, cost.adapt_thousand_seconds) = (Some(one), Some(thousand));
            }
            let predictions = self.predicted().map(|setting| {
                let dataset = setting.dataset(self.dataset);
                let scores = served((&scorer, patch.manifest.serve), (base, &lab.device), dataset, &setting.tasks)?;
                let values = scores.concat().into_iter().map(|s| base.spec.objective.predict(s)).collect();
                Ok(Prediction { setting: setting.name.clone(), values, spread: scorer.spread(dataset, &setting.tasks)? })
            });
            predictions.collect::<Result<_, TrainError>>().map_err(Into::into)
        })
    }

    /// How many support rows a training task shows to a method.
    fn support_size(&self, entry: &MethodEntry, needs: Needs) -> SupportSize {
        let guarded = if needs.any_support { SupportSize::Random } else { SupportSize::Full };
        entry.support.or(self.config.support).unwrap_or(guarded)
    }

    fn judge(&self, lab: &Lab<'_>, objective: Objective) -> Result<Judge, ExperimentError> {
        let rows = judging_rows_of(self.config.tasks.of, self.dataset, &self.validation.query(), self.domain_column)?;
        Ok(Judge::new(rows, lab.select(self.dataset), objective))
    }
}

/// Seconds to adapt to one user of a setting and score the query rows, the median over some of them, and to a thousand users together; where there are fewer
/// they come again.
fn time_to_adapt(scorer: &Scorer<'_>, dataset: &Dataset, tasks: &[(Vec<u32>, Vec<u32>)]) -> Result<[f64; 2], TrainError> {
    /// Users that are adapted to alone.
    const ALONE: usize = 21;
    let seconds = |tasks: &[(&[u32], &[u32])]| {
        let began = Instant::now();
        scorer.tasks(dataset, tasks).map(|_| began.elapsed().as_secs_f64())
    };
    let task = |at: usize| (&tasks[at % tasks.len()].0[..], &tasks[at % tasks.len()].1[..]);
    let mut alone = (0..ALONE).map(|at| seconds(&[task(at * tasks.len() / ALONE)])).collect::<Result<Vec<_>, _>>()?;
    alone.sort_by(f64::total_cmp);
    Ok([alone[ALONE / 2], seconds(&(0..1000).map(task).collect::<Vec<_>>())?])
}

/// A choice of rows as far as it decides what is trained.
fn named(rows: Option<RowsOf>) -> String {
    rows.map_or_else(String::new, |rows| format!("|{rows:?}"))
}
