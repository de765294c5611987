//! A base on its own: trained on an experiment's training part, measured on its validation part.

use std::path::{Path, PathBuf};

use acclimate_data::{LabelKind, MICROS_PER_SECOND};
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
        ScenarioConfig::MultiDomain(_) | ScenarioConfig::ColdSequence(_) => {}
        ScenarioConfig::ColdStart(_) => alone.scenario = ScenarioConfig::MultiDomain(MultiDomain::default()),
        // What is new to the base in the experiment stays new to it.
        ScenarioConfig::NewDomain(NewDomain { targets, .. }) => {
            alone.scenario = ScenarioConfig::MultiDomain(MultiDomain { domains: None, unseen: targets.clone() });
            let of_target = |metric: &Metric| matches!(metric.scope(), Some(Scope::Domain { value, .. }) if targets.contains(value));
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

/// An experiment for a data set without one: a plain `dnn`, and the last two tenths of the rows in time for validation and test; without time, the
/// last two rows of each user, as where there are only one or two times.
///
/// # Errors
/// The data set can not be read.
pub fn default_experiment(dataset: &Path) -> Result<Experiment, ExperimentError> {
    let (config, raw, _) = source::read(dataset)?;
    let log = &raw.dataset().log;
    let split = match time_bounds(&log.time) {
        None => "kind = \"leave_last_out\"".to_owned(),
        Some(bounds) => {
            let [validation, test] = bounds.map(|micros| micros.div_euclid(MICROS_PER_SECOND));
            format!("kind = \"global_time\"\nvalidation_from = {validation}\ntest_from = {test}")
        }
    };
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
        "name = {name}\ndataset = {:?}\nmetrics = [{metrics}]\n\n[split]\n{split}\n\n[scenario]\nkind = \"multi_domain\"\n\n[base]\n\
         backbone = {{ kind = \"dnn\" }}\ntrain = {{ epochs = 30, batch = {batch}, patience = 3, optimizer = {{ rate = {rate}, weight_decay = 1e-4 }} }}\n",
        file.display().to_string()
    );
    Experiment::parse(&text, PathBuf::from("default.toml"))
}

/// Where validation and test begin, so that the last tenth of the rows is test and the tenth before it validation, as far as equal times allow. `None`
/// where there are less than three distinct times.
fn time_bounds(times: &[i64]) -> Option<[i64; 2]> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)];
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() < 3 {
        return None;
    }
    let place = |time: i64| distinct.partition_point(|&d| d < time);
    let test = place(at(0.9)).max(2);
    let validation = place(at(0.8)).clamp(1, test - 1);
    Some([distinct[validation], distinct[test]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_default_split_has_rows() {
        let even: Vec<i64> = (0..100).collect();
        assert_eq!(time_bounds(&even), Some([80, 90]));
        let days = [vec![1; 50], vec![2; 10], vec![3; 940]].concat();
        assert_eq!(time_bounds(&days), Some([2, 3]));
        let early = [vec![1; 940], vec![2; 30], vec![3; 30]].concat();
        assert_eq!(time_bounds(&early), Some([2, 3]));
        assert_eq!(time_bounds(&[5, 5, 6]), None);
        assert_eq!(time_bounds(&[]), None);
    }
}
