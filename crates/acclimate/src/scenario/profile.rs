//! `profile`: an attribute of users, told from the items that they met.
//!
//! The base learns the next item from the sequences of all users. It is then given a head for the values of the attribute, whose biases start at
//! `log(1 + count)`, and every method learns the attribute from n labelled users. The attribute is what is predicted, so it is never an input: all that is
//! read of a user is the sequence. This is the second question of PeterRec (Yuan et al., SIGIR 2020).

mod labels;

use std::collections::BTreeSet;

use acclimate_adapt::{Adaptation, Needs, build_method};
use acclimate_eval::floor::FloorsConfig;
use acclimate_eval::floor::classes::{ClassFloorsConfig, ClassHistory, ClassRows};
use acclimate_eval::{Entrant, Kind, Metric, Outcome, Panel, Scope};
use acclimate_model::{Base, BaseSpec, Objective, Params};
use acclimate_train::{Draw, NextItemQuery, Preparation, Scorer, TrainError};
use labels::Labelled;
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::{TrainedBase, base_of, method_entrant, panel};
use super::new_domain::{All, Size};
use crate::experiment::{BaseConfig, MethodEntry};
use crate::lab::{Finished, Job, Measure, Prediction, pretraining, target};
use crate::sequences::{Rows, network, start_biases};
use crate::source::digest_text;
use crate::{Experiment, ExperimentError, Lab, Source};

/// The two heads.
const ITEMS: usize = 0;
const CLASSES: usize = 1;
const HEADS: [&str; 2] = ["item", "class"];

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Attribute of users that is predicted.
    pub attribute: String,
    /// Feature of users that holds their items, oldest first (`kind = "sequence"`); default none: the events of the log.
    #[serde(default)]
    pub sequence: Option<String>,
    /// Attribute of rows that orders a user's events where they come from the log; default: time.
    #[serde(default)]
    pub position: Option<String>,
    /// Values that fewer of the training users have become one, `other`; default 0: none.
    #[serde(default)]
    pub merge_below: usize,
    /// Labelled users to learn from: numbers, or "all" (the default). Seed s takes the first n in the order of SHA-256 of `s:number`.
    #[serde(default = "every_user")]
    pub sizes: Vec<Size>,
    /// Items of a user that are read, the latest; default 50.
    #[serde(default = "length")]
    pub length: usize,
    /// Whose sequences the base learns from; default everybody's, for they need no label.
    #[serde(default)]
    pub pretraining: Rows,
}

fn every_user() -> Vec<Size> {
    vec![Size::Named(All::All)]
}

fn length() -> usize {
    50
}

impl Scenario for Profile {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        if self.sizes.is_empty() || self.length == 0 {
            return Err(experiment.problem("[scenario]", "needs at least one entry in `sizes`, and a `length` of at least 1"));
        }
        if self.sizes.contains(&Size::Rows(0)) {
            return Err(experiment.problem("[scenario] sizes", "holds 0: a head for an attribute needs labelled users"));
        }
        let unfit = |m: &&Metric| !matches!(m, Metric::Accuracy | Metric::MacroF1 | Metric::LogLoss(Scope::Pooled));
        if let Some(metric) = experiment.metrics.iter().chain(&experiment.select).find(unfit) {
            return Err(experiment.problem("metrics", format!("`{metric}` can not be measured here; use accuracy, macro_f1 or log_loss")));
        }
        if experiment.select.as_ref().is_some_and(|m| !matches!(m, Metric::LogLoss(_))) {
            return Err(experiment.problem("select", "early stopping looks at `log_loss` here; leave the key out"));
        }
        let floors = &experiment.floors;
        let known: Vec<&str> = ClassFloorsConfig::default().floors().iter().map(|floor| floor.name()).collect();
        if let Some(name) = floors.unknown(&known) {
            let problem = format!("names no floor `{name}` of this scenario; there are {}", known.join(", "));
            return Err(experiment.problem("[floors] only", problem));
        }
        if *floors != (FloorsConfig { only: floors.only.clone(), ..FloorsConfig::default() }) {
            return Err(experiment.problem("[floors]", "has settings of floors that this scenario does not have; leave all but `only` out"));
        }
        if !experiment.entrants.is_empty() {
            return Err(experiment.problem("[[entrant]]", "has one score a row, but here each user has a probability of every value; remove it"));
        }
        Ok(())
    }

    fn train_settings(&self) -> Vec<String> {
        self.sizes.iter().map(|size| size.setting()).collect()
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        let labelled = Labelled::new(self, lab, source)?;
        check_methods(lab, &labelled)?;
        let bases = lab.experiment.bases()?.iter().map(|config| base(lab, &labelled, config)).collect::<Result<Vec<_>, _>>()?;
        let outcomes = self.sizes.iter().map(|&size| self.one_size(lab, source, &labelled, &bases, size));
        let mut outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
        if let Some(first) = outcomes.first_mut() {
            first.notes.extend(labelled.notes.iter().cloned());
        }
        Ok(outcomes)
    }
}

impl Profile {
    fn one_size(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        labelled: &Labelled,
        bases: &[TrainedBase],
        size: Size,
    ) -> Result<Outcome, ExperimentError> {
        let setting = size.setting();
        let asked = if lab.measure == Measure::Test { &labelled.test } else { &labelled.validation };
        if let Size::Rows(n) = size
            && n > labelled.train.len()
        {
            let problem = format!("{setting}: there are only {} training users; choose fewer, or \"all\"", labelled.train.len());
            return Err(lab.experiment.problem("[scenario] sizes", problem));
        }
        let stage = Stage { lab, labelled, setting: &setting, asked };
        let learned: Vec<Vec<u32>> = lab.seeds.iter().map(|&seed| size.of(&labelled.train, seed)).collect();
        let mut entrants = stage.floors(&learned)?;
        // The unadapted base: its own network under a head that knows how common each value is.
        let with_heads = bases.iter().map(|trained| {
            let seeds = trained.seeds.iter().zip(&lab.seeds).zip(&learned);
            let seeds = seeds.map(|(((base, cost), &seed), rows)| Ok((with_class_head(labelled, base, seed, rows)?, *cost)));
            Ok(TrainedBase { name: trained.name.clone(), seeds: seeds.collect::<Result<_, ExperimentError>>()?, reads: BTreeSet::new() })
        });
        let with_heads = with_heads.collect::<Result<Vec<_>, ExperimentError>>()?;
        for trained in &with_heads {
            let runs = trained.seeds.iter().map(|(base, cost)| {
                let values = stage.probabilities(base, pretraining(base)?.as_ref(), &Params::default(), asked)?;
                Ok(Finished { predictions: vec![Prediction { setting: setting.clone(), values, spread: None }], cost: *cost, settings: Vec::new() })
            });
            entrants.push(trained.entrant(lab, &runs.collect::<Result<Vec<_>, ExperimentError>>()?, 0));
        }
        for entry in &lab.experiment.methods {
            entrants.push(stage.method(entry, &with_heads, &learned)?);
        }
        let panel = entrants.into_iter().fold(panel(lab, source, "profile", &setting, &[]), Panel::enter);
        Ok(panel.on_classes(&labelled.judged(asked)?, &lab.experiment.metrics)?)
    }
}

/// One number of labelled users.
struct Stage<'a> {
    lab: &'a Lab<'a>,
    labelled: &'a Labelled,
    setting: &'a str,
    asked: &'a [u32],
}

impl Stage<'_> {
    /// Every floor, fitted on the labelled users of each seed.
    fn floors(&self, learned: &[Vec<u32>]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let (lab, labelled) = (self.lab, self.labelled);
        let mut distinct: Vec<(u64, &Vec<u32>)> = lab.seeds.iter().copied().zip(learned).collect();
        distinct.dedup_by(|a, b| a.1 == b.1);
        let wanted = ClassFloorsConfig::default().floors().into_iter().filter(|floor| lab.experiment.floors.wants(floor.name()));
        let entrants = wanted.map(|floor| {
            let (mut runs, mut settings) = (Vec::new(), Vec::new());
            for &(seed, rows) in &distinct {
                let (items, classes) = (labelled.bags(rows), labelled.classes(rows));
                let (held_items, held_classes) = (labelled.bags(&labelled.validation), labelled.classes(&labelled.validation));
                let (train, validation) = (ClassRows { items: &items, classes: &classes }, ClassRows { items: &held_items, classes: &held_classes });
                let fitted = floor.fit(&ClassHistory { train, validation, classes: labelled.names.len() })?;
                runs.push((seed, fitted.score(&labelled.bags(self.asked))));
                settings.push(fitted.chosen());
            }
            let entrant = match runs.len() {
                1 => Entrant::deterministic(floor.name(), Kind::Floor, runs.swap_remove(0).1),
                _ => Entrant::trained(floor.name(), Kind::Floor, runs, acclimate_eval::Cost::default()),
            };
            Ok(entrant.with_settings(settings))
        });
        entrants.collect()
    }

    fn method(&self, entry: &MethodEntry, bases: &[TrainedBase], learned: &[Vec<u32>]) -> Result<Entrant<f32>, ExperimentError> {
        let (lab, labelled) = (self.lab, self.labelled);
        let config = lab.experiment.train_config(entry, self.setting)?;
        let runs = lab.seeds.iter().zip(learned).zip(&base_of(entry, bases).seeds).map(|((&seed, rows), (base, _))| {
            let adaptation = build_method(&entry.name, &entry.config, target(base))?;
            let adaptation = adaptation.as_ref();
            let feed = labelled.histories.feed(rows, Draw::of_sequences(base.backbone.as_ref(), &config, seed, adaptation.needs()))?;
            let mut validate = |base: &Base, own: &Params| {
                let said = self.probabilities(base, adaptation, own, &labelled.validation)?;
                Ok(-labelled.log_loss(&said, &labelled.validation))
            };
            let inputs = digest_text(&format!("{}|{rows:?}|{}", labelled.inputs, self.setting));
            let job = Job {
                measured: format!("{:?}", lab.measure),
                validate: Some((Metric::LogLoss(Scope::Pooled), &mut validate)),
                ..Job::new(format!("{}/{}-seed{seed}", self.setting, entry.label()), inputs, feed.as_ref(), &config, seed)
            };
            lab.method(base, entry, adaptation, job, |patched, own| {
                let values = self.probabilities(patched, adaptation, own, self.asked)?;
                Ok(vec![Prediction { setting: self.setting.to_owned(), values, spread: None }])
            })
        });
        method_entrant(lab, entry, bases, &runs.collect::<Result<Vec<_>, _>>()?, 0)
    }

    /// Probabilities of each value for some users, one user after the other.
    fn probabilities(&self, base: &Base, adaptation: &dyn Adaptation, own: &Params, users: &[u32]) -> Result<Vec<f32>, TrainError> {
        let queries: Vec<NextItemQuery> = users.iter().map(|&user| self.labelled.question(user)).collect();
        let scores = Scorer::new(base, adaptation, own, &self.lab.device).head_scores(&queries)?;
        Ok(scores.into_iter().flat_map(softmax).collect())
    }
}

fn softmax(scores: Vec<f32>) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f32> = scores.iter().map(|s| (s - most).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// The network of a base with one of the heads.
fn spec(lab: &Lab<'_>, labelled: &Labelled, config: &BaseConfig, head: usize) -> Result<BaseSpec, ExperimentError> {
    let problem = |problem: &str| lab.experiment.problem(format!("base `{}`", config.name), problem);
    let net = network(lab, config)?;
    if !net.fresh_half_life_days().is_empty() {
        return Err(problem("counts fresh events, which say nothing of a user's attribute; leave `fresh_half_life_days` out"));
    }
    if config.objective.is_some_and(|objective| objective != Objective::Softmax) {
        return Err(problem("must be trained for `softmax`: what is asked for are probabilities"));
    }
    let backbone = net.with_items(HEADS[ITEMS], HEADS[head]);
    Ok(BaseSpec { backbone, schema: labelled.histories.schema(), objective: Objective::Softmax })
}

fn check_methods(lab: &Lab<'_>, labelled: &Labelled) -> Result<(), ExperimentError> {
    let configs = lab.experiment.bases()?;
    let no_intercept = "training: `intercept` needs clicks or ratings, which an attribute is not; remove it";
    for config in &configs {
        spec(lab, labelled, config, CLASSES)?;
        if config.train.intercept == Some(true) {
            return Err(lab.experiment.problem(format!("base `{}`", config.name), no_intercept));
        }
    }
    let settings: Vec<String> = lab.experiment.scenario.scenario().train_settings();
    for entry in &lab.experiment.methods {
        let config = configs.iter().find(|c| Some(&c.name) == entry.base.as_ref()).unwrap_or(&configs[0]);
        let base = Base::init(spec(lab, labelled, config, CLASSES)?, 0)?;
        let problem = |problem: String| lab.experiment.problem(format!("method `{}`", entry.label()), problem);
        let adaptation = build_method(&entry.name, &entry.config, target(&base));
        let adaptation = adaptation.map_err(|e| lab.experiment.problem(entry.entry(), e.to_string()))?;
        if adaptation.needs().groups.are_tasks() {
            return Err(problem("adapts to labelled rows of a user, which sequences have not".into()));
        }
        for setting in &settings {
            if lab.experiment.train_config(entry, setting)?.intercept == Some(true) {
                return Err(problem(no_intercept.into()));
            }
        }
    }
    Ok(())
}

/// Learns the next item of every user's sequence, once for each seed.
fn base(lab: &Lab<'_>, labelled: &Labelled, config: &BaseConfig) -> Result<TrainedBase, ExperimentError> {
    let runs = lab.seeds.iter().map(|&seed| {
        let mut start = Base::init(spec(lab, labelled, config, ITEMS)?, seed)?;
        start_biases(&mut start, &labelled.histories.head(ITEMS).counts);
        let feed = labelled.histories.feed(&labelled.unlabelled, Draw::of_sequences(start.backbone.as_ref(), &config.train, seed, Needs::default()))?;
        let job = Job::new(format!("{}-seed{seed}", config.name), labelled.inputs.clone(), feed.as_ref(), &config.train, seed);
        lab.base_from(config, start, job)
    });
    Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads: BTreeSet::new() })
}

/// The network of a base with a head for the attribute that knows how common each value is among some labelled users.
fn with_class_head(labelled: &Labelled, learned: &Base, seed: u64, rows: &[u32]) -> Result<Base, ExperimentError> {
    let mut spec = learned.spec.clone();
    spec.backbone = spec.backbone.with_items(HEADS[ITEMS], HEADS[CLASSES]);
    let mut base = Base::init(spec, seed)?;
    base.params.clone_from(&learned.params);
    base.tables[0] = learned.tables[0].clone();
    let mut counts = vec![0; labelled.names.len()];
    labelled.classes(rows).into_iter().for_each(|class| counts[class as usize] += 1);
    start_biases(&mut base, &counts);
    Ok(base)
}
