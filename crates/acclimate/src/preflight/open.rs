//! Preflight of a saved base on the rows that a patch of it is judged by.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::Needs;
use acclimate_data::Dataset;
use acclimate_eval::suspicion::{Parts, future_rates, label_copies, sample, shared_rows};
use acclimate_eval::{Bootstrap, Metric, Place, Preflight};
use acclimate_model::{Base, Params};
use acclimate_train::{Draw, Preparation, Run, Scorer, TrainConfig, train};
use burn::tensor::Device;

use super::checks::{Checks, Said};
use super::rows::{Rows, constant};
use super::{MOST, shuffle};
use crate::ExperimentError;
use crate::lab::{evaluation_rows, pretraining};
use crate::open::OpenBase;

/// Checks a base on rows of its own data or of other data. A control learns from the base's training rows, and where the data has none from the measured ones,
/// whose shuffled labels say as little.
///
/// # Errors
/// Scores that can not be repeated, anything training may report, or an interruption.
pub(crate) fn of_open(
    open: &OpenBase,
    rows: &[u32],
    metric: &Metric,
    bootstrap: Bootstrap,
    stop: &AtomicBool,
) -> Result<Preflight, ExperimentError> {
    let (base, dataset) = (&open.saved.base, &open.source.dataset);
    let measured = sample(rows, MOST);
    let part = |name: &str| open.source.part(name).unwrap_or_default();
    let (train_rows, validation) = if open.has_parts() { (part("train"), part("validation")) } else { (Vec::new(), Vec::new()) };
    let learned = sample(if train_rows.is_empty() { rows } else { &train_rows }, MOST);
    let metrics = std::slice::from_ref(metric);
    let on = Rows(evaluation_rows(dataset, &measured, &open.source.domain_column)?, metrics);
    let place = Place { dataset: dataset.name.clone(), scenario: "gate".into(), setting: "held-out rows".into() };
    let name = "base";
    let said = Said {
        base: says(base, dataset, &measured)?,
        again: says(base, dataset, &measured)?,
        constant: constant(metric, dataset, &learned, measured.len()),
    };
    let checks = Checks { bootstrap, metric };
    let mut check = checks.setting(&place, name, &said, &on)?;
    check.control = checks
        .controls(&place, name, (&said, &on), |seed| Ok((learned.len(), shuffled(base, dataset, (&learned, &measured), seed, stop)?)))?;
    let features = dataset.features.categorical.len() + dataset.features.bags.len() + dataset.features.numeric.len();
    let (dataset_name, scenario) = (place.dataset, place.scenario);
    let mut preflight =
        Preflight { dataset: dataset_name, scenario, base: name.into(), features, settings: vec![check], ..Preflight::default() };
    if train_rows.is_empty() {
        // Nothing is known of what was learned from: only copies of the labels can be looked for.
        preflight.take(label_copies(dataset, &Parts { train: rows, validation: &[], support: &[], measured: rows }));
        return Ok(preflight);
    }
    let parts = Parts { train: &train_rows, validation: &validation, support: &[], measured: rows };
    preflight.take(label_copies(dataset, &parts));
    preflight.take(future_rates(dataset, &parts));
    preflight.take(shared_rows(dataset, &parts).into_iter().collect());
    Ok(preflight)
}

/// What a base says of rows.
pub(crate) fn says(base: &Base, dataset: &Dataset, rows: &[u32]) -> Result<Vec<f32>, ExperimentError> {
    let device = Device::flex();
    let (plain, own) = (pretraining(base)?, Params::default());
    let scores = Scorer::new(base, plain.as_ref(), &own, &device).rows(dataset, rows)?;
    Ok(scores.into_iter().map(|score| base.spec.objective.predict(score)).collect())
}

/// What the base's network says after one epoch on shuffled labels.
fn shuffled(
    base: &Base,
    dataset: &Dataset,
    (learned, measured): (&[u32], &[u32]),
    seed: u64,
    stop: &AtomicBool,
) -> Result<Vec<f32>, ExperimentError> {
    let mut dataset = dataset.clone();
    let mut labels: Vec<f32> = learned.iter().map(|&row| dataset.log.label[row as usize]).collect();
    shuffle(seed, &mut labels);
    let log = Arc::make_mut(&mut dataset.log);
    learned.iter().zip(labels).for_each(|(&row, label)| log.label[row as usize] = label);
    let start = Base::init(base.spec.clone(), seed)?.grown(&dataset.schema());
    let config = TrainConfig { epochs: 1, ..TrainConfig::default() };
    let rows = crate::scenario::prepared(&dataset, start.spec.objective);
    let feed = rows.feed(learned, Draw::new(&config, seed, Needs::default()))?;
    let trained = train(Run {
        base: &start,
        adaptation: pretraining(&start)?.as_ref(),
        feed: feed.as_ref(),
        config: &config.with_intercept_for(start.spec.objective, true),
        seed,
        device: &Device::flex(),
        intercept: Some((&dataset, learned)),
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop,
    });
    let trained = trained.map_err(|error| ExperimentError::of_run("the shuffled control", error).naming_extremes(&dataset))?;
    says(&trained.base, &dataset, measured)
}
