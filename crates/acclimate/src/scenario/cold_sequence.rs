//! `cold_sequence`: users who are new to a target domain and known from a source domain by a sequence of items.
//!
//! The base learns the next source item from the source sequences of all users. It is then given a head for the target's items, whose biases
//! start at `log(1 + count)`, and every method learns the next target item from the training users. Validation and test users show source events
//! only; the positives are their first target events. This is the question of PeterRec (Yuan et al., SIGIR 2020).

mod examples;
mod floors;
mod preflight;

use std::collections::BTreeSet;
use std::sync::Arc;

use acclimate_adapt::{Adaptation, build_method};
use acclimate_data::{ExampleConfig, NegativeConfig, NegativeSampler};
use acclimate_eval::{Candidates, Entrant, EvaluationQueries, Kind, Metric, Outcome, Panel, Statistic};
use acclimate_model::{BackboneConfig, Base, BaseSpec, NextItNet, Objective, Params};
use acclimate_train::feed::{Sequence, SequenceFeed};
use acclimate_train::{NextItemRanks, Scorer, TrainError};
use examples::{Prepared, Questions};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::{TrainedBase, base_of, method_entrant, panel};
use super::groups::{Grouping, at as entrant_at};
use crate::artifact::RunRecord;
use crate::experiment::{BaseConfig, MethodEntry};
use crate::lab::{Finished, Job, Measure, Prediction, pretraining, target};
use crate::source::digest_text;
use crate::{ExperimentError, Lab, Source, artifact};

/// The setting in result records.
const SETTING: &str = "new_user";

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdSequence {
    /// Domain that every user has events in.
    pub source: String,
    /// Domain whose items are recommended.
    pub target: String,
    /// Attribute of rows that orders a user's events; default: time.
    #[serde(default)]
    pub position: Option<String>,
    /// How training examples are cut out of the training users' sequences. `length` also cuts the inputs of queries and of pre-training.
    #[serde(default)]
    pub examples: ExampleConfig,
    /// Which target events of validation and test users are asked for; default the first three after at least three source events.
    #[serde(default = "ExampleConfig::cold_queries", deserialize_with = "over_cold_queries")]
    pub queries: ExampleConfig,
    /// The fixed candidates of sampled metrics.
    #[serde(default)]
    pub negatives: Negatives,
    /// Attribute of users, rows or items (of the positive) by which the setting is also measured in groups, such as `new_user,gender=F`; default none.
    #[serde(default)]
    pub by: Option<String>,
    /// Negatives that training compares the next item with; default: every item of the head (full softmax). Large catalogues want some hundred.
    #[serde(default)]
    pub training_negatives: Option<TrainingNegatives>,
}

/// Keys that are not given keep the values of the default queries, and not those of training examples.
fn over_cold_queries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExampleConfig, D::Error> {
    let given = toml::Table::deserialize(deserializer)?;
    let ExampleConfig { max_per_user, .. } = ExampleConfig::cold_queries();
    let (length_given, most_given) = (given.contains_key("length"), given.contains_key("max_per_user"));
    let mut config: ExampleConfig = given.try_into().map_err(serde::de::Error::custom)?;
    if !length_given {
        config.length = usize::MAX;
    }
    if !most_given {
        config.max_per_user = max_per_user;
    }
    Ok(config)
}

/// Negatives drawn anew for each training step and shared by its positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingNegatives {
    /// How many. More approach the full softmax and cost time in proportion.
    pub count: usize,
    /// How they are drawn: `{ kind = "uniform" }` (the default) or `{ kind = "popularity", power = 0.75 }`.
    #[serde(default)]
    pub draw: NegativeConfig,
}

/// The candidates of sampled metrics: target items that the user never has, those with the smallest `H(salt; user, item)`. Queries with fewer of them
/// are left out of sampled metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Negatives {
    /// How many, default 99.
    pub count: usize,
    /// First argument of the hash, default 22.
    pub salt: u64,
}

impl Default for Negatives {
    fn default() -> Self {
        Self { count: 99, salt: 22 }
    }
}

impl Scenario for ColdSequence {
    fn train_settings(&self) -> Vec<String> {
        vec![SETTING.to_owned()]
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        let metrics = [self.metrics(lab, false)?, self.metrics(lab, true)?];
        let prepared = Prepared::new(self, lab, source)?;
        prepared.check_methods(lab)?;
        let (part, asked) = if lab.measure == Measure::Test { ("test", &prepared.test) } else { ("validation", &prepared.validation) };
        // Sampled metrics are those of queries that have as many candidates as their names say.
        let every: Vec<usize> = (0..asked.queries.len()).collect();
        let places = [&every, &asked.complete];
        let select_is_sampled = lab.experiment.select.as_ref().and_then(|m| is_sampled(m, self.negatives.count)) == Some(true);
        for (part, asked, is_used) in [(part, asked, !metrics[1].is_empty()), ("validation", &prepared.validation, select_is_sampled)] {
            if is_used {
                self.check_negatives(lab, part, asked, prepared.catalogue.len())?;
            }
        }
        let grouping = Grouping::new(lab, &source.dataset, self.by.as_deref())?;
        let floors = prepared.floors(lab, asked)?;
        let bases = lab.experiment.bases()?.iter().map(|config| prepared.base(lab, config)).collect::<Result<Vec<_>, _>>()?;
        let base_runs = bases.iter().map(|trained| prepared.base_runs(lab, trained, asked)).collect::<Result<Vec<_>, _>>()?;
        let popularity = floors.iter().find(|(name, _)| *name == "popularity").map(|(_, floor)| floor);
        let preflight = prepared.preflight(lab, source, (&bases[0].seeds[0].0, &base_runs[0][0]), popularity, (asked, &metrics))?;
        let entries = &lab.experiment.methods;
        let method_runs = entries.iter().map(|entry| prepared.method_runs(lab, entry, &bases, asked)).collect::<Result<Vec<_>, _>>()?;
        let mut outcomes = Vec::new();
        for (at, metrics) in metrics.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
            let floor = |(name, f): &(&str, Finished)| {
                Entrant::deterministic(*name, Kind::Floor, f.predictions[at].values.clone()).with_settings(vec![f.settings.clone()])
            };
            let mut entrants: Vec<Entrant<f32>> = floors.iter().map(floor).collect();
            entrants.extend(bases.iter().zip(&base_runs).map(|(base, runs)| base.entrant(lab, runs, at)));
            for scores in &source.scores {
                let ranks = prepared.ranks_from_elsewhere(lab, scores, asked)?;
                entrants.push(Entrant::deterministic(&scores.name, Kind::Control, predictions(&ranks)[at].values.clone()));
            }
            for (entry, runs) in entries.iter().zip(&method_runs) {
                entrants.push(method_entrant(lab, entry, &bases, runs, at)?);
            }
            let rows: Vec<u32> = places[at].iter().map(|&place| asked.queries[place].row).collect();
            outcomes.extend(grouping.tables(lab, SETTING, &rows, |setting, among| {
                let places: Vec<usize> = among.iter().map(|&place| places[at][place]).collect();
                let panel = entrants.iter().map(|entrant| entrant_at(entrant, &places)).fold(panel(lab, source, "cold_sequence", setting, &[]), Panel::enter);
                Ok(panel.on_ranks(&EvaluationQueries::new(&asked.users(&places))?, metrics)?)
            })?);
        }
        if let Some(first) = outcomes.first_mut() {
            first.preflight = Some(preflight);
            let (kept, all) = (asked.queries.len(), asked.all);
            first.notes.push(format!("{kept} of {all} positives are in the catalogue of {} items; the others are left out.", prepared.catalogue.len()));
            let (short, count) = (kept - asked.complete.len(), self.negatives.count);
            if short > 0 && !metrics[1].is_empty() {
                first.notes.push(format!(
                    "Metrics of [sampled={count}] leave out {short} of {kept} queries: their users have so many items that fewer than {count} others are in the catalogue."
                ));
            }
        }
        Ok(outcomes)
    }
}

/// Whether a metric ranks among the sampled negatives; `None` if it needs no ranks or other candidates.
fn is_sampled(metric: &Metric, count: usize) -> Option<bool> {
    match metric {
        Metric::Ndcg { candidates, .. } | Metric::HitRate { candidates, .. } | Metric::Mrr { candidates, .. } | Metric::Precision { candidates, .. } => {
            match candidates {
                Candidates::Full => Some(false),
                Candidates::Sampled(n) if *n == count => Some(true),
                _ => None,
            }
        }
        _ => None,
    }
}

impl ColdSequence {
    /// The experiment's metrics of one kind of candidates.
    fn metrics(&self, lab: &Lab<'_>, sampled: bool) -> Result<Vec<Metric>, ExperimentError> {
        let count = self.negatives.count;
        let unfit = |m: &&Metric| is_sampled(m, count).is_none();
        if let Some(metric) = lab.experiment.metrics.iter().chain(&lab.experiment.select).find(unfit) {
            let problem = format!("`{metric}` can not be measured here; rank among [full] or [sampled={count}], such as `mrr[full]`");
            return Err(lab.experiment.problem("metrics", problem));
        }
        Ok(lab.experiment.metrics.iter().filter(|m| is_sampled(m, count) == Some(sampled)).cloned().collect())
    }

    /// Refuses sampled metrics where fewer than half of the queries have all their negatives.
    fn check_negatives(&self, lab: &Lab<'_>, part: &str, asked: &Questions, catalogue: usize) -> Result<(), ExperimentError> {
        let (all, complete) = (asked.queries.len(), asked.complete.len());
        if complete > 0 && 2 * complete >= all {
            return Ok(());
        }
        let mut found: Vec<usize> = asked.coded.iter().map(|query| query.negatives.len()).collect();
        found.sort_unstable();
        let (count, least, half) = (self.negatives.count, found[0], found[all / 2]);
        let problem = format!(
            "`count` = {count} is more than there are: of {all} queries of part `{part}` only {complete} have so many, for the catalogue has {catalogue} items and a \
             user's own are no negatives. Every query has {least} or more, half of them {half} or more: use such a count here and in [sampled=N], or rank among [full]"
        );
        Err(lab.experiment.problem("[scenario] negatives", problem))
    }
}

impl Prepared<'_> {
    /// The network of a base with a head for the items of one domain.
    fn spec(&self, lab: &Lab<'_>, config: &BaseConfig, head: &str) -> Result<BaseSpec, ExperimentError> {
        let BackboneConfig::NextItNet(net) = &config.backbone else {
            return Err(lab.experiment.problem(format!("base `{}`", config.name), "reads no sequences; use `backbone = { kind = \"nextitnet\" }`"));
        };
        let mut net = net.clone();
        (net.vocabulary, net.head) = (Some("item".into()), Some(head.into()));
        let objective = config.objective.unwrap_or(Objective::Softmax);
        Ok(BaseSpec { backbone: BackboneConfig::NextItNet(net), schema: self.schema.clone(), objective })
    }

    fn check_methods(&self, lab: &Lab<'_>) -> Result<(), ExperimentError> {
        crate::floors::check(lab, true)?;
        if lab.experiment.floors.without_features.is_some() {
            let problem = "is for floors that read features; the floors of sequences read none: remove it";
            return Err(lab.experiment.problem("[floors] without_features", problem));
        }
        let configs = lab.experiment.bases()?;
        let no_intercept = "training: `intercept` needs labelled rows, which sequences have not; remove it";
        if let Some(config) = configs.iter().find(|c| c.train.intercept == Some(true)) {
            return Err(lab.experiment.problem(format!("base `{}`", config.name), no_intercept));
        }
        for entry in &lab.experiment.methods {
            let config = configs.iter().find(|c| Some(&c.name) == entry.base.as_ref()).unwrap_or(&configs[0]);
            let base = Base::init(self.spec(lab, config, "target_item")?, 0)?;
            let problem = |problem: String| lab.experiment.problem(format!("method `{}`", entry.label()), problem);
            let adaptation = build_method(&entry.name, &entry.config, target(&base));
            let adaptation = adaptation.map_err(|e| lab.experiment.problem(entry.entry(), e.to_string()))?;
            if adaptation.needs().support {
                return Err(problem("adapts to labelled rows of a user, which cold users have not".into()));
            }
            if lab.experiment.train_config(entry, SETTING)?.intercept == Some(true) {
                return Err(problem(no_intercept.into()));
            }
        }
        Ok(())
    }

    /// Pre-trains on the source and gives the result a head for the target, once for each seed.
    fn base(&self, lab: &Lab<'_>, config: &BaseConfig) -> Result<TrainedBase, ExperimentError> {
        let runs = lab.seeds.iter().map(|&seed| {
            let mut start = Base::init(self.spec(lab, config, "source_item")?, seed)?;
            start_biases(&mut start, &self.source_counts);
            let feed = self.feed(lab, self.pretraining(), &self.source_counts, config.train.batch, seed)?;
            let name = format!("{}-source-seed{seed}", config.name);
            let job =
                Job {
                    name,
                    inputs: self.inputs.clone(),
                    measured: String::new(),
                    feed: &feed,
                    config: &config.train,
                    seed,
                    intercept: None,
                    validate: None,
                    unseen: Vec::new(),
                };
            let (learned, cost) = lab.base_from(config, start, job)?;
            let base = self.with_target_head(lab, config, seed, &learned)?;
            let name = format!("{}-seed{seed}", config.name);
            let folder = lab.folder.join("bases").join(&name);
            artifact::save_keyed(&folder, &base, RunRecord { name, key: digest_text(&base.hash()), cost, seed, ..RunRecord::default() })?;
            lab.complete_base(&folder)?;
            Ok((base, cost))
        });
        Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads: BTreeSet::new() })
    }

    /// A network that was trained on the source, with a head for the target.
    fn with_target_head(&self, lab: &Lab<'_>, config: &BaseConfig, seed: u64, learned: &Base) -> Result<Base, ExperimentError> {
        let mut base = Base::init(self.spec(lab, config, "target_item")?, seed)?;
        base.params.clone_from(&learned.params);
        base.tables[0] = learned.tables[0].clone();
        start_biases(&mut base, &self.target_counts);
        Ok(base)
    }

    /// Sequences to train on, against every item of a head or against negatives; `counts` are the events of each of the head's items.
    fn feed(&self, lab: &Lab<'_>, sequences: Vec<Sequence>, counts: &[u32], batch: usize, seed: u64) -> Result<SequenceFeed, ExperimentError> {
        let feed = SequenceFeed::new(sequences, batch, seed, self.window)?;
        let Some(TrainingNegatives { count, draw }) = self.config.training_negatives else { return Ok(feed) };
        let problem = |problem: String| lab.experiment.problem("[scenario] training_negatives", problem);
        if count == 0 {
            return Err(problem("`count` must be at least 1; leave the key out for the full softmax".into()));
        }
        let (codes, counts) = ((1..=counts.len() as u32).collect(), counts.iter().map(|&n| n.into()).collect::<Vec<u64>>());
        let sampler = NegativeSampler::new(draw, codes, &counts, seed).map_err(|e| problem(e.to_string()))?;
        Ok(feed.with_negatives(sampler, count))
    }

    fn base_runs(&self, lab: &Lab<'_>, trained: &TrainedBase, asked: &Questions) -> Result<Vec<Finished>, ExperimentError> {
        let runs = trained.seeds.iter().map(|(base, cost)| {
            let ranks = self.ranks(lab, base, pretraining(base)?.as_ref(), &Params::default(), asked)?;
            Ok(Finished { predictions: predictions(&ranks), cost: *cost, settings: Vec::new() })
        });
        runs.collect()
    }

    fn method_runs(
        &self,
        lab: &Lab<'_>,
        entry: &MethodEntry,
        bases: &[TrainedBase],
        asked: &Questions,
    ) -> Result<Vec<Finished>, ExperimentError> {
        let config = lab.experiment.train_config(entry, SETTING)?;
        let select = lab.experiment.select.clone().unwrap_or(Metric::Mrr { k: None, candidates: Candidates::Full });
        let sampled = is_sampled(&select, self.config.negatives.count) == Some(true);
        let places: Vec<usize> = if sampled { self.validation.complete.clone() } else { (0..self.validation.queries.len()).collect() };
        let users = EvaluationQueries::new(&self.validation.users(&places))?;
        let runs = lab.seeds.iter().zip(&base_of(entry, bases).seeds).map(|(&seed, (base, _))| {
            let adaptation = build_method(&entry.name, &entry.config, target(base))?;
            let adaptation = adaptation.as_ref();
            let feed = self.feed(lab, self.examples(), &self.target_counts, config.batch, seed)?;
            let problem = |problem: String| TrainError::Config { key: "select", problem };
            let mut validate = |base: &Base, own: &Params| {
                let ranks = self.ranks(lab, base, adaptation, own, &self.validation)?;
                let ranks: Vec<f64> = places.iter().map(|&place| if sampled { ranks[place].sampled } else { ranks[place].full }).collect();
                let statistic = Statistic::of_ranks(&select, &users, "validation", &ranks).map_err(|e| problem(e.to_string()))?;
                statistic.value().ok_or_else(|| problem(format!("`{select}` is undefined on the validation queries")))
            };
            let job = Job {
                name: format!("{}-seed{seed}", entry.label()),
                inputs: format!("{}|{select}", self.inputs),
                measured: format!("{:?}", lab.measure),
                feed: &feed,
                config: &config,
                seed,
                intercept: None,
                validate: Some((select.clone(), &mut validate)),
                unseen: Vec::new(),
            };
            lab.method(base, entry, adaptation, job, |patched, own| {
                Ok(predictions(&self.ranks(lab, patched, adaptation, own, asked)?))
            })
        });
        runs.collect()
    }

    fn ranks(
        &self,
        lab: &Lab<'_>,
        base: &Base,
        adaptation: &dyn Adaptation,
        own: &Params,
        asked: &Questions,
    ) -> Result<Vec<NextItemRanks>, TrainError> {
        Scorer::new(base, adaptation, own, &lab.device).next_items(&self.candidates, &asked.coded)
    }
}

/// Ranks in the whole catalogue, then among the sampled negatives.
fn predictions(ranks: &[NextItemRanks]) -> Vec<Prediction> {
    let values = |of: fn(&NextItemRanks) -> f64| ranks.iter().map(|r| of(r) as f32).collect();
    vec![
        Prediction { setting: "full".into(), values: values(|r| r.full) },
        Prediction { setting: "sampled".into(), values: values(|r| r.sampled) },
    ]
}

fn start_biases(base: &mut Base, counts: &[u32]) {
    let head = base.backbone.architecture().head_tables().next().expect("nextitnet has a head");
    NextItNet::start_biases(Arc::make_mut(&mut base.tables[head]), counts);
}
