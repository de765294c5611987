//! Preflight of a base that predicts the labels of rows.

use std::sync::Arc;

use acclimate_adapt::Needs;
use acclimate_data::{Dataset, LabelKind};
use acclimate_eval::suspicion::{Parts, Sign, future_rates, label_copies, sample, shared_rows};
use acclimate_eval::{EvalError, EvaluationRows, Metric, Outcome, Panel, Place, Preflight, ShuffledControl};
use acclimate_model::{Base, Params};
use acclimate_train::{Draw, Preparation, TrainConfig};

use super::checks::{Measured, Said, Shuffled, Standard};
use super::{MOST, SHUFFLES, shuffle};
use crate::experiment::BaseConfig;
use crate::lab::{Job, Prediction, evaluation_rows, pretraining};
use crate::scenario::{predict, prepared};
use crate::source::{digest, digest_text};
use crate::{ExperimentError, Lab};

/// The first base of a scenario and the rows around it.
pub(crate) struct OnRows<'a> {
    /// Begins the name of every run, such as `tab=2/`.
    pub(crate) name: &'a str,
    pub(crate) scenario: &'a str,
    pub(crate) dataset: &'a Dataset,
    pub(crate) domain_column: &'a str,
    pub(crate) config: &'a BaseConfig,
    pub(crate) base: &'a Base,
    /// Rows that it learned from.
    pub(crate) learned: &'a [u32],
    pub(crate) parts: Parts<'a>,
    /// Digest of all of these rows.
    pub(crate) inputs: String,
    pub(crate) settings: Vec<SaidOfRows<'a>>,
}

/// What the base said about the rows of one setting.
pub(crate) struct SaidOfRows<'a> {
    pub(crate) setting: &'a str,
    pub(crate) rows: &'a [u32],
    pub(crate) said: &'a [f32],
}

pub(super) struct Rows<'a>(pub(super) EvaluationRows, pub(super) &'a [Metric]);

impl Measured for Rows<'_> {
    fn metrics(&self) -> &[Metric] {
        self.1
    }

    fn measure(&self, panel: &Panel<f32>, metrics: &[Metric]) -> Result<Outcome, EvalError> {
        panel.on_rows(&self.0, metrics)
    }
}

impl Lab<'_> {
    /// Checks a base on rows.
    ///
    /// # Errors
    /// Scores that can not be repeated, anything training may report, or an interruption.
    pub(crate) fn preflight(&self, on: &OnRows<'_>) -> Result<Preflight, ExperimentError> {
        self.progress.say(&format!("{}preflight", on.name));
        let measured: Vec<Vec<u32>> = on.settings.iter().map(|setting| sample(setting.rows, MOST)).collect();
        let learned = sample(on.learned, MOST);
        let mut preflight = Preflight {
            dataset: on.dataset.name.clone(),
            scenario: on.scenario.into(),
            base: on.config.name.clone(),
            features: on.dataset.features.categorical.len() + on.dataset.features.bags.len() + on.dataset.features.numeric.len(),
            ..Preflight::default()
        };
        let mut all = Vec::new();
        for (setting, rows) in on.settings.iter().zip(&measured) {
            self.check_stop()?;
            let say = || predict(self, on.base, pretraining(on.base)?.as_ref(), &Params::default(), on.dataset, rows);
            // Rows are scored in batches; the same batches, or bits may differ for no reason.
            let base = if rows.len() == setting.rows.len() { setting.said.to_vec() } else { say()? };
            let said = Said { base, again: say()?, constant: self.constant(on, rows.len()) };
            let place = Place { dataset: on.dataset.name.clone(), scenario: on.scenario.into(), setting: setting.setting.into() };
            let measured = Rows(evaluation_rows(on.dataset, rows, on.domain_column)?, &self.experiment.metrics);
            preflight.settings.push(self.checks().setting(&place, &on.config.name, &said, &measured)?);
            all.push((place, said, measured));
        }
        let mut open: Vec<usize> = (0..all.len()).collect();
        for shuffles in 1..=SHUFFLES {
            if open.is_empty() {
                break;
            }
            let mut controls = self.shuffled(on, shuffles, &learned, &measured)?;
            for &at in &open {
                let (place, said, measured) = &all[at];
                let control = Shuffled { shuffles: shuffles as usize, rows: learned.len(), said: std::mem::take(&mut controls[at].values) };
                preflight.settings[at].control = self.checks().control(place, &on.config.name, (said, &control), measured)?;
            }
            open.retain(|&at| preflight.settings[at].control.as_ref().is_some_and(ShuffledControl::wins));
        }
        let looks: [&dyn Fn() -> Vec<Sign>; 3] =
            [&|| label_copies(on.dataset, &on.parts), &|| future_rates(on.dataset, &on.parts), &|| {
                shared_rows(on.dataset, &on.parts).into_iter().collect()
            }];
        for look in looks {
            self.check_stop()?;
            preflight.take(look());
        }
        Ok(preflight)
    }

    /// What the base's network says after one epoch on shuffled labels, for each setting; each shuffle has a seed of its own.
    fn shuffled(&self, on: &OnRows<'_>, shuffles: u64, learned: &[u32], measured: &[Vec<u32>]) -> Result<Vec<Prediction>, ExperimentError> {
        let seed = self.seeds[0].wrapping_add(shuffles - 1);
        let mut dataset = on.dataset.clone();
        let mut labels: Vec<f32> = learned.iter().map(|&row| dataset.log.label[row as usize]).collect();
        shuffle(seed, &mut labels);
        let log = Arc::make_mut(&mut dataset.log);
        learned.iter().zip(labels).for_each(|(&row, label)| log.label[row as usize] = label);
        let start = Base::init(on.base.spec.clone(), seed)?;
        let config = TrainConfig { epochs: 1, ..on.config.train.clone() };
        let rows = prepared(&dataset, start.spec.objective);
        let feed = rows.feed(learned, Draw::new(&config, seed, Needs::default()))?;
        let job = Job {
            name: format!("{}preflight/shuffled-seed{seed}", on.name),
            inputs: digest_text(&on.inputs),
            measured: on.settings.iter().zip(measured).map(|(s, rows)| format!("{}|{}", s.setting, digest(on.dataset, rows))).collect(),
            feed: feed.as_ref(),
            config: &config,
            seed,
            intercept: Some((&dataset, learned)),
            validate: None,
            unseen: Vec::new(),
            start: None,
            tuning: None,
        };
        let finished = self.control(&start, job, |control| {
            let adaptation = pretraining(control)?;
            let predictions = on.settings.iter().zip(measured).map(|(setting, rows)| {
                let values = predict(self, control, adaptation.as_ref(), &Params::default(), on.dataset, rows)?;
                Ok(Prediction { setting: setting.setting.into(), values, spread: None })
            });
            predictions.collect()
        })?;
        Ok(finished.predictions)
    }

    fn constant(&self, on: &OnRows<'_>, rows: usize) -> Option<Standard> {
        constant(&self.experiment.metrics[0], on.dataset, on.learned, rows)
    }
}

/// The constant that is best by a metric on the labels of `learned`, where one is.
pub(super) fn constant(metric: &Metric, dataset: &Dataset, learned: &[u32], rows: usize) -> Option<Standard> {
    let labels = || learned.iter().map(|&row| dataset.log.label[row as usize]);
    let (name, value) = match (metric, dataset.label) {
        (Metric::Mae(_), _) => {
            let mut sorted: Vec<f32> = labels().collect();
            sorted.sort_unstable_by(f32::total_cmp);
            ("median of the training labels", *sorted.get(sorted.len() / 2)?)
        }
        (Metric::Rmse(_), _) | (Metric::LogLoss(_), LabelKind::Click) => {
            let sum: f64 = labels().map(f64::from).sum();
            ("mean of the training labels", (sum / learned.len() as f64) as f32)
        }
        _ => return None,
    };
    Some((name.into(), vec![value; rows]))
}
