//! A comparison on sequences: bases and methods learn next items, and all rank the same candidates for the same queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use acclimate_adapt::{Adaptation, Needs, build_method, resolve_config};
use acclimate_eval::{Candidates, Entrant, EvaluationQueries, Kind, Metric, Outcome, Panel, Statistic};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Objective, Params};
use acclimate_train::{Draw, MemoryConfig, NextItemRanks, Preparation, Scorer, TrainConfig, TrainError};

use super::memory::WITH_MEMORY;
use super::prepared::{Prepared, Questions, SOURCE_HEAD, TARGET_HEAD};
use super::{Learned, Plan, Rows};
use crate::artifact::RunRecord;
use crate::experiment::{BaseConfig, MethodEntry};
use crate::lab::{Finished, Job, Measure, Prediction, pretraining, target};
use crate::scenario::entrants::{TrainedBase, base_of, method_entrant, panel};
use crate::scenario::groups::{Grouping, at as entrant_at};
use crate::source::digest_text;
use crate::{Experiment, ExperimentError, Lab, Source, artifact};

/// The two heads by the names of their vocabularies.
pub(super) const HEADS: [&str; 2] = ["source_item", "target_item"];

/// Refuses a plan that contradicts itself.
pub(crate) fn check(experiment: &Experiment, plan: &Plan) -> Result<(), ExperimentError> {
    let problem = |key: &str, problem: &str| Err(experiment.problem(format!("[scenario] {key}"), problem));
    if plan.source.as_ref() == Some(&plan.target) {
        return problem("source", "must differ from `target`");
    }
    if plan.source.is_none() && plan.pretraining.on == Learned::Source {
        return problem("pretraining", "learns the source, but there is none; name a `source`, or say `on = \"target\"`");
    }
    for (key, cut) in [("examples", &plan.examples), ("queries", &plan.queries)] {
        if cut.length == 0 || cut.min_input == 0 || cut.max_per_user == 0 {
            return problem(key, "needs `length`, `min_input` and `max_per_user` of at least 1");
        }
    }
    Ok(())
}

/// What a comparison shows beside the networks themselves.
pub(crate) struct Table<'a> {
    /// Attribute by which the setting is also measured in groups.
    pub(crate) by: Option<&'a str>,
    /// Settings of the memory with which every network is measured a second time.
    pub(crate) memory: Option<&'a MemoryConfig>,
}

/// Runs the comparison.
pub(crate) fn compare(lab: &Lab<'_>, source: &Source, plan: &Plan, table: &Table<'_>) -> Result<Vec<Outcome>, ExperimentError> {
    let complain = |key: &str, problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
    let metrics = [wanted(lab, plan, false)?, wanted(lab, plan, true)?];
    let mut prepared = Prepared::new(plan, source, None, &complain)?;
    prepared.check_examples(&complain)?;
    let mut question = |part: &str| {
        let asked = prepared.questions(&source.part(part)?);
        if asked.queries.is_empty() {
            return Err(complain("queries", format!("leaves no query in part `{part}`; lower `min_input` or change [split]")));
        }
        Ok(asked)
    };
    let (validation, test) = (question("validation")?, question("test")?);
    let (learned, stops) = (prepared.pretraining(), prepared.source_questions(&source.part("validation")?));
    check_methods(lab, &prepared)?;
    let (part, asked) = if lab.measure == Measure::Test { ("test", &test) } else { ("validation", &validation) };
    // Sampled metrics are those of queries that have as many candidates as their names say.
    let places = [&asked.places(), &asked.complete];
    let count = plan.negatives.count;
    let select_is_sampled = lab.experiment.select.as_ref().and_then(|m| is_sampled(m, count)) == Some(true);
    for (part, asked, is_used) in [(part, asked, !metrics[1].is_empty()), ("validation", &validation, select_is_sampled)] {
        if is_used {
            check_negatives(lab, &prepared, part, asked)?;
        }
    }
    if table.memory.is_some() && prepared.histories.recent().is_none() {
        return Err(complain("memory", "needs a time of each row, which this log has not".into()));
    }
    let grouping = Grouping::new(lab, &source.dataset, table.by)?;
    let floors = prepared.floors(lab, &validation, asked)?;
    let stage = Stage { lab, prepared: &prepared, learned, stops, validation: &validation, memory: table.memory };
    let bases = lab.experiment.bases()?.iter().map(|config| stage.base(config)).collect::<Result<Vec<_>, _>>()?;
    let base_runs = bases.iter().map(|trained| stage.base_runs(trained, asked)).collect::<Result<Vec<_>, _>>()?;
    let popularity = floors.iter().find(|(name, _)| *name == "popularity").map(|(_, floor)| floor);
    let preflight = stage.preflight(source, (&bases[0].seeds[0].0, &base_runs[0][0]), popularity, (asked, &metrics))?;
    let entries = &lab.experiment.methods;
    let method_runs = entries.iter().map(|entry| stage.method_runs(entry, &bases, asked)).collect::<Result<Vec<_>, _>>()?;
    let mut outcomes = Vec::new();
    for (at, metrics) in metrics.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
        let floor = |(name, f): &(&str, Finished)| {
            Entrant::deterministic(*name, Kind::Floor, f.predictions[at].values.clone()).with_settings(vec![f.settings.clone()])
        };
        let mut entrants: Vec<Entrant<f32>> = floors.iter().map(floor).collect();
        for (base, runs) in bases.iter().zip(&base_runs) {
            entrants.extend(again_with_memory(runs, at).map(|(at, more)| named(base.entrant(lab, runs, at), more)));
        }
        for scores in &source.scores {
            let ranks = prepared.ranks_from_elsewhere(lab, scores, asked)?;
            entrants.push(Entrant::deterministic(&scores.name, Kind::Control, predictions(&ranks)[at].values.clone()));
        }
        for (entry, runs) in entries.iter().zip(&method_runs) {
            for (at, more) in again_with_memory(runs, at) {
                entrants.push(named(method_entrant(lab, entry, &bases, runs, at)?, more));
            }
        }
        let rows: Vec<u32> = places[at].iter().map(|&place| asked.queries[place].row).collect();
        outcomes.extend(grouping.tables(lab, &plan.setting, &rows, |setting, among| {
            let places: Vec<usize> = among.iter().map(|&place| places[at][place]).collect();
            let entrants = entrants.iter().map(|entrant| entrant_at(entrant, &places));
            let panel = entrants.fold(panel(lab, source, &plan.scenario, setting, &[]), Panel::enter);
            Ok(panel.on_ranks(&EvaluationQueries::new(&asked.users(&places))?, metrics)?)
        })?);
    }
    if let Some(first) = outcomes.first_mut() {
        first.preflight = Some(preflight);
        let (kept, all) = (asked.queries.len(), asked.all);
        first.notes.push(format!(
            "{kept} of {all} positives are in the catalogue of {} items; the others are left out.",
            prepared.catalogue.len()
        ));
        let short = kept - asked.complete.len();
        if short > 0 && !metrics[1].is_empty() {
            first.notes.push(format!(
                "Metrics of [sampled={count}] leave out {short} of {kept} queries: their users have so many items that fewer than {count} others are in the catalogue."
            ));
        }
    }
    Ok(outcomes)
}

/// Whether a metric ranks among the sampled negatives; `None` if it needs no ranks or other candidates.
pub(crate) fn is_sampled(metric: &Metric, count: usize) -> Option<bool> {
    match metric {
        Metric::Ndcg { candidates, .. }
        | Metric::HitRate { candidates, .. }
        | Metric::Mrr { candidates, .. }
        | Metric::Precision { candidates, .. } => match candidates {
            Candidates::Full => Some(false),
            Candidates::Sampled(n) if *n == count => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// The experiment's metrics of one kind of candidates.
fn wanted(lab: &Lab<'_>, plan: &Plan, sampled: bool) -> Result<Vec<Metric>, ExperimentError> {
    let count = plan.negatives.count;
    let unfit = |m: &&Metric| is_sampled(m, count).is_none();
    if let Some(metric) = lab.experiment.metrics.iter().chain(&lab.experiment.select).find(unfit) {
        let problem = format!("`{metric}` can not be measured here; rank among [full] or [sampled={count}], such as `mrr[full]`");
        return Err(lab.experiment.problem("metrics", problem));
    }
    Ok(lab.experiment.metrics.iter().filter(|m| is_sampled(m, count) == Some(sampled)).cloned().collect())
}

/// Refuses sampled metrics where fewer than half of the queries have all their negatives.
fn check_negatives(lab: &Lab<'_>, prepared: &Prepared, part: &str, asked: &Questions) -> Result<(), ExperimentError> {
    let (all, complete) = (asked.queries.len(), asked.complete.len());
    if complete > 0 && 2 * complete >= all {
        return Ok(());
    }
    let query = |&example: &u32| prepared.histories.get(example).query.as_ref().map_or(0, |q| q.negatives.len());
    let mut found: Vec<usize> = asked.examples.iter().map(query).collect();
    found.sort_unstable();
    let (count, least, half, catalogue) = (prepared.plan.negatives.count, found[0], found[all / 2], prepared.catalogue.len());
    let problem = format!(
        "`count` = {count} is more than there are: of {all} queries of part `{part}` only {complete} have so many, for the catalogue has {catalogue} items and a \
         user's own are no negatives. Every query has {least} or more, half of them {half} or more: use such a count here and in [sampled=N], or rank among [full]"
    );
    Err(lab.experiment.problem("[scenario] negatives", problem))
}

/// The network of a base, which must be one that reads sequences.
pub(crate) fn network(lab: &Lab<'_>, config: &BaseConfig) -> Result<BackboneConfig, ExperimentError> {
    if !config.backbone.reads_sequences() {
        let problem = "reads no sequences; use `backbone = { kind = \"nextitnet\" }` or `{ kind = \"sasrec\" }`";
        return Err(lab.experiment.problem(format!("base `{}`", config.name), problem));
    }
    Ok(config.backbone.clone())
}

/// The network of a base with one of the heads.
pub(super) fn spec(lab: &Lab<'_>, prepared: &Prepared, config: &BaseConfig, head: usize) -> Result<BaseSpec, ExperimentError> {
    let net = network(lab, config)?;
    if !net.fresh_half_life_days().is_empty() && prepared.histories.recent().is_none() {
        let problem = "counts fresh events, but the log has no time; leave `fresh_half_life_days` out";
        return Err(lab.experiment.problem(format!("base `{}`", config.name), problem));
    }
    let objective = config.objective.unwrap_or(Objective::Softmax);
    Ok(BaseSpec { backbone: net.with_items("item", HEADS[head]), schema: prepared.histories.schema(), objective })
}

fn check_methods(lab: &Lab<'_>, prepared: &Prepared) -> Result<(), ExperimentError> {
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
    for config in &configs {
        spec(lab, prepared, config, TARGET_HEAD)?;
    }
    for entry in &lab.experiment.methods {
        let config = configs.iter().find(|c| Some(&c.name) == entry.base.as_ref()).unwrap_or(&configs[0]);
        let base = Base::init(spec(lab, prepared, config, TARGET_HEAD)?, 0)?;
        let problem = |problem: String| lab.experiment.problem(format!("method `{}`", entry.label()), problem);
        let adaptation = build_method(&entry.name, &entry.config, target(&base));
        let adaptation = adaptation.map_err(|e| lab.experiment.problem(entry.entry(), e.to_string()))?;
        if adaptation.needs().groups.are_tasks() {
            return Err(problem("adapts to labelled rows of a user, which users of sequences have not".into()));
        }
        if lab.experiment.train_config(entry, &prepared.plan.setting)?.intercept == Some(true) {
            return Err(problem(no_intercept.into()));
        }
    }
    Ok(())
}

/// The config of a method, which trains the rows of target items unless it says otherwise: where inputs hold such items and the base has not learned them,
/// their rows are still as they were drawn.
pub(super) fn with_target_rows(plan: &Plan, name: &str, config: &toml::Table) -> toml::Table {
    let are_random = plan.pretraining.on == Learned::Source && plan.examples.input != acclimate_data::InputEvents::Source;
    let mut config = config.clone();
    if are_random
        && !config.contains_key("unfreeze")
        && let Some(toml::Value::Array(mut parts)) = resolve_config(name, &config).ok().and_then(|mut whole| whole.remove("unfreeze"))
    {
        parts.push("rows".into());
        config.insert("unfreeze".into(), parts.into());
    }
    config
}

/// What the runs of a comparison share.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab<'a>,
    pub(super) prepared: &'a Prepared,
    /// Examples of the source that bases learn.
    pub(super) learned: Vec<u32>,
    /// Source items that tell when to stop; empty where everybody's events are learned.
    stops: Vec<u32>,
    pub(super) validation: &'a Questions,
    memory: Option<&'a MemoryConfig>,
}

impl Stage<'_> {
    /// Trains a base for each seed: on the target, or on the source and then with a fresh head for the target.
    fn base(&self, config: &BaseConfig) -> Result<TrainedBase, ExperimentError> {
        let runs = self.lab.seeds.iter().map(|&seed| match self.prepared.plan.pretraining.on {
            Learned::Target => self.base_of_target(config, seed),
            Learned::Source => self.base_of_source(config, seed),
        });
        Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads: BTreeSet::new() })
    }

    fn base_of_target(&self, config: &BaseConfig, seed: u64) -> Result<(Base, acclimate_eval::Cost), ExperimentError> {
        let (lab, prepared) = (self.lab, self.prepared);
        let mut start = Base::init(spec(lab, prepared, config, TARGET_HEAD)?, seed)?;
        start_biases(&mut start, &prepared.histories.head(TARGET_HEAD).counts);
        let feed = prepared
            .histories
            .feed(&prepared.examples, draw(&start, &config.train, seed, Needs::default()))
            .map_err(|e| self.naming_negatives(e))?;
        let plain = pretraining(&start)?;
        let (select, judge) = self.judge()?;
        let mut validate = |base: &Base, own: &Params| judge(&Scorer::new(base, plain.as_ref(), own, &lab.device));
        let name = format!("{}-seed{seed}", config.name);
        // By which metric it stopped has a part in what it is.
        let inputs = format!("{}|{select}", prepared.inputs);
        let job = Job { validate: Some((select, &mut validate)), ..Job::new(name.clone(), inputs, feed.as_ref(), &config.train, seed) };
        let trained = lab.base_from(config, start, job)?;
        artifact::complete_sequences(&lab.folder.join("bases").join(&name), &prepared.file)?;
        Ok(trained)
    }

    fn base_of_source(&self, config: &BaseConfig, seed: u64) -> Result<(Base, acclimate_eval::Cost), ExperimentError> {
        let (lab, prepared) = (self.lab, self.prepared);
        let mut start = Base::init(spec(lab, prepared, config, SOURCE_HEAD)?, seed)?;
        let head = prepared.histories.head(SOURCE_HEAD);
        start_biases(&mut start, &head.counts);
        let feed = prepared
            .histories
            .feed(&self.learned, draw(&start, &config.train, seed, Needs::default()))
            .map_err(|e| self.naming_negatives(e))?;
        let plain = pretraining(&start)?;
        let asked: Vec<_> = self.stops.iter().filter_map(|&example| prepared.histories.get(example).query.clone()).collect();
        let catalogue: Vec<u32> = (1..=head.counts.len() as u32).collect();
        let mut validate = |base: &Base, own: &Params| {
            let ranks = Scorer::new(base, plain.as_ref(), own, &lab.device).next_items(&catalogue, &asked, None)?;
            Ok(ranks.iter().map(|r| 1.0 / r.full).sum::<f64>() / ranks.len() as f64)
        };
        let can_stop = prepared.plan.pretraining.rows == Rows::Train && !asked.is_empty();
        let name = format!("{}-source-seed{seed}", config.name);
        let job = Job {
            validate: can_stop.then_some((Metric::Mrr { k: None, candidates: Candidates::Full }, &mut validate as _)),
            ..Job::new(name, prepared.inputs.clone(), feed.as_ref(), &config.train, seed)
        };
        let (learned, cost) = lab.base_from(config, start, job)?;
        let base = self.with_target_head(config, seed, &learned)?;
        let name = format!("{}-seed{seed}", config.name);
        let folder = lab.folder.join("bases").join(&name);
        artifact::save_keyed(&folder, &base, RunRecord { name, key: digest_text(&base.hash()), cost, seed, ..RunRecord::default() })?;
        lab.complete_base(&folder)?;
        artifact::complete_sequences(&folder, &prepared.file)?;
        Ok((base, cost))
    }

    /// A network that was trained on the source, with a head for the target.
    pub(super) fn with_target_head(&self, config: &BaseConfig, seed: u64, learned: &Base) -> Result<Base, ExperimentError> {
        let mut base = Base::init(spec(self.lab, self.prepared, config, TARGET_HEAD)?, seed)?;
        base.params.clone_from(&learned.params);
        base.tables[0] = learned.tables[0].clone();
        start_biases(&mut base, &self.prepared.histories.head(TARGET_HEAD).counts);
        Ok(base)
    }

    /// The metric that tells when to stop, and who measures it on the validation queries.
    #[expect(clippy::type_complexity, reason = "a metric and a closure")]
    fn judge(&self) -> Result<(Metric, Box<dyn Fn(&Scorer<'_>) -> Result<f64, TrainError> + '_>), ExperimentError> {
        let (prepared, validation) = (self.prepared, self.validation);
        let select = self.lab.experiment.select.clone().unwrap_or(Metric::Mrr { k: None, candidates: Candidates::Full });
        let sampled = is_sampled(&select, prepared.plan.negatives.count) == Some(true);
        let places = if sampled { validation.complete.clone() } else { validation.places() };
        let users = EvaluationQueries::new(&validation.users(&places))?;
        let (metric, examples): (_, Vec<u32>) = (select.clone(), places.iter().map(|&place| validation.examples[place]).collect());
        let judge = move |scorer: &Scorer<'_>| {
            let problem = |problem: String| TrainError::Config { key: "select", problem };
            let ranks = prepared.histories.ranks(scorer, &examples)?;
            let ranks: Vec<f64> = ranks.iter().map(|r| if sampled { r.sampled } else { r.full }).collect();
            let statistic = Statistic::of_ranks(&metric, &users, "validation", &ranks).map_err(|e| problem(e.to_string()))?;
            statistic.value().ok_or_else(|| problem(format!("`{metric}` is undefined on the validation queries")))
        };
        Ok((select, Box::new(judge)))
    }

    /// What an error of training says of the scenario's keys.
    pub(super) fn naming_negatives(&self, error: TrainError) -> ExperimentError {
        match error {
            TrainError::Config { key: "training_negatives", problem } => {
                self.lab.experiment.problem("[scenario] training_negatives", problem)
            }
            other => other.into(),
        }
    }

    fn base_runs(&self, trained: &TrainedBase, asked: &Questions) -> Result<Vec<Finished>, ExperimentError> {
        let runs = trained.seeds.iter().map(|(base, cost)| {
            let predictions = self.all_predictions(&trained.name, base, pretraining(base)?.as_ref(), &Params::default(), asked)?;
            Ok(Finished { predictions, cost: *cost, settings: Vec::new() })
        });
        runs.collect()
    }

    fn method_runs(&self, entry: &MethodEntry, bases: &[TrainedBase], asked: &Questions) -> Result<Vec<Finished>, ExperimentError> {
        let (lab, prepared) = (self.lab, self.prepared);
        let config = lab.experiment.train_config(entry, &prepared.plan.setting)?;
        let entry = MethodEntry { config: with_target_rows(&prepared.plan, &entry.name, &entry.config), ..entry.clone() };
        let (select, judge) = self.judge()?;
        let runs = lab.seeds.iter().zip(&base_of(&entry, bases).seeds).map(|(&seed, (base, _))| {
            let adaptation = build_method(&entry.name, &entry.config, target(base))?;
            let adaptation = adaptation.as_ref();
            let feed = prepared
                .histories
                .feed(&prepared.examples, draw(base, &config, seed, adaptation.needs()))
                .map_err(|e| self.naming_negatives(e))?;
            let mut validate = |base: &Base, own: &Params| judge(&Scorer::new(base, adaptation, own, &lab.device));
            let job = Job {
                measured: format!("{:?}{:?}", lab.measure, self.memory),
                validate: Some((select.clone(), &mut validate)),
                ..Job::new(format!("{}-seed{seed}", entry.label()), format!("{}|{select}", prepared.inputs), feed.as_ref(), &config, seed)
            };
            lab.method(base, &entry, adaptation, job, |patched, own| self.all_predictions(entry.label(), patched, adaptation, own, asked))
        });
        runs.collect()
    }

    /// Ranks in the whole catalogue and among the sampled negatives, and both again with a memory where one is wanted.
    fn all_predictions(
        &self,
        name: &str,
        base: &Base,
        adaptation: &dyn Adaptation,
        own: &Params,
        asked: &Questions,
    ) -> Result<Vec<Prediction>, ExperimentError> {
        let scorer = Scorer::new(base, adaptation, own, &self.lab.device);
        let mut said = predictions(&self.prepared.histories.ranks(&scorer, &asked.examples)?);
        if let Some(memory) = self.memory {
            said.extend(predictions(&self.ranks_with_memory(name, memory, &scorer, asked)?));
        }
        Ok(said)
    }
}

/// The places of a run's predictions of one kind of candidates, with what is added to its name: as it is, and with a memory.
fn again_with_memory(runs: &[Finished], at: usize) -> impl Iterator<Item = (usize, &'static str)> {
    let is_there = runs.first().is_some_and(|run| run.predictions.len() > 2);
    [(at, ""), (at + 2, WITH_MEMORY)].into_iter().take(1 + usize::from(is_there))
}

fn named(mut entrant: Entrant<f32>, more: &str) -> Entrant<f32> {
    entrant.method.push_str(more);
    entrant
}

/// How sequences are drawn for a base, to learn it or to adapt it by a method with needs.
pub(super) fn draw(base: &Base, config: &TrainConfig, seed: u64, needs: Needs) -> Draw<'static> {
    Draw::of_sequences(base.backbone.as_ref(), config, seed, needs)
}

/// Ranks in the whole catalogue, then among the sampled negatives.
pub(super) fn predictions(ranks: &[NextItemRanks]) -> Vec<Prediction> {
    let values = |of: fn(&NextItemRanks) -> f64| ranks.iter().map(|r| of(r) as f32).collect();
    vec![
        Prediction { setting: "full".into(), values: values(|r| r.full), spread: None },
        Prediction { setting: "sampled".into(), values: values(|r| r.sampled), spread: None },
    ]
}

/// Starts the biases of a head at how common its items are.
pub(crate) fn start_biases(base: &mut Base, counts: &[u32]) {
    let head = base.backbone.architecture().head_tables().next().expect("a network over sequences has a head");
    acclimate_model::start_biases(Arc::make_mut(&mut base.tables[head]), counts);
}
