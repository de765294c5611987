//! A base on its own: trained on an experiment's training part, measured on its validation part.

use std::path::Path;

use acclimate_data::{LabelKind, Proposal};
use acclimate_eval::{Metric, Report, Scope};

use crate::artifact::SavedBase;
use crate::scenario::{ScenarioConfig, multi_domain::MultiDomain, new_domain::NewDomain};
use crate::{Experiment, ExperimentError, Measure, Setup, compare, source};

/// Trains the base of an experiment for the first seed of `setup` and measures it and the floors on validation rows.
///
/// # Errors
/// As [`compare`]; [`ExperimentError::Config`] for simulated data, which has no data set to read again.
pub fn pretrain(experiment: &Experiment, setup: Setup<'_>) -> Result<(SavedBase, Report), ExperimentError> {
    if experiment.dataset.is_none() {
        return Err(experiment.problem("dataset", "is missing: a base of simulated rows could not be used again; name a data-set file"));
    }
    let mut alone = experiment.clone();
    alone.methods.clear();
    alone.variants.clear();
    match &experiment.scenario {
        ScenarioConfig::MultiDomain(_) | ScenarioConfig::ColdSequence(_) | ScenarioConfig::NextItem(_) => {}
        ScenarioConfig::Profile(_) => {
            let problem =
                "`profile` trains bases for heads that each number of labelled users has of its own, inside `acclimate compare`; use that";
            return Err(experiment.problem("[scenario]", problem));
        }
        ScenarioConfig::Bridge(_) => {
            let problem = "`bridge` has no base: its methods are fitted to both domains, inside `acclimate compare`; use that";
            return Err(experiment.problem("[scenario]", problem));
        }
        ScenarioConfig::FreshUsers(_) => {
            let problem = "`fresh_users` has no base: its methods are fitted to rows of users, inside `acclimate compare`; use that";
            return Err(experiment.problem("[scenario]", problem));
        }
        ScenarioConfig::Online(online) => {
            alone.scenario = ScenarioConfig::MultiDomain(MultiDomain { domains: online.domains.clone(), ..MultiDomain::default() });
        }
        ScenarioConfig::ColdStart(_) => alone.scenario = ScenarioConfig::MultiDomain(MultiDomain::default()),
        // What is new to the base in the experiment stays new to it.
        ScenarioConfig::NewDomain(NewDomain { targets, .. }) => {
            let names: Vec<String> = targets.iter().flat_map(|goal| goal.domains()).cloned().collect();
            alone.scenario = ScenarioConfig::MultiDomain(MultiDomain { unseen: names.clone(), ..MultiDomain::default() });
            let of_target = |metric: &Metric| matches!(metric.scope(), Some(Scope::Domain { value, .. }) if names.contains(value));
            alone.metrics.retain(|metric| !of_target(metric));
            alone.select = alone.select.filter(|metric| !of_target(metric));
            if alone.metrics.is_empty() {
                let pooled: Vec<Metric> = experiment.metrics.iter().map(Metric::pooled).collect();
                alone.metrics = pooled.iter().enumerate().filter(|(i, m)| !pooled[..*i].contains(m)).map(|(_, m)| m.clone()).collect();
            }
        }
    }
    let seed = setup.seeds.first().copied().unwrap_or(1);
    let folder = setup.folder.join("bases").join(format!("{}-seed{seed}", alone.base.name));
    let report = compare(&alone, Setup { measure: Measure::Validation, seeds: vec![seed], ..setup })?;
    Ok((SavedBase::load(&folder)?, report))
}

/// An experiment for a data set without one: a plain `dnn`, and the split that its log proposes.
///
/// # Errors
/// The data set can not be read, or is too small to be split.
pub fn default_experiment(dataset: &Path) -> Result<Experiment, ExperimentError> {
    let (config, raw, _) = source::read(dataset, None)?;
    let log = &raw.dataset().log;
    let split = Proposal::of(raw.view(), raw.dataset().label).ok_or_else(|| ExperimentError::Config {
        file: dataset.into(),
        entry: "[interactions]".into(),
        problem: "the log can not be split into parts that all have rows, and rows of both labels for clicks; write an experiment file with a `[split]`".into(),
    })?;
    let metrics = match raw.dataset().label {
        LabelKind::Rating { .. } => "\"mae\", \"rmse\"",
        _ => "\"auc\", \"log_loss\"",
    };
    // Small data wants small batches: some fifty steps an epoch, as long as a batch is worth its name.
    let batch = (log.len() / 64).clamp(64, 1024);
    let rate = if batch == 1024 { "3e-4" } else { "1e-3" };
    let name = format!("{:?}", config.name.replace(['/', '\\'], "-"));
    let file = std::path::absolute(dataset).map_err(|source| ExperimentError::Io { path: dataset.into(), source })?;
    let text = format!(
        "name = {name}\ndataset = {:?}\nmetrics = [{metrics}]\n\n{}\n[scenario]\nkind = \"multi_domain\"\n\n[base]\n\
         backbone = {{ kind = \"dnn\" }}\ntrain = {{ epochs = 30, batch = {batch}, patience = 3, optimizer = {{ rate = {rate}, weight_decay = 1e-4 }} }}\n",
        file.display().to_string(),
        split.to_toml()
    );
    // What is wrong with it follows from the data set, which is the only file that its reader has.
    Experiment::parse(&text, dataset)
}
