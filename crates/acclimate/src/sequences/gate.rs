//! Preflight of a saved base of sequences on the questions that a patch of it is judged by.

use std::sync::atomic::AtomicBool;

use acclimate_adapt::Needs;
use acclimate_eval::floor::FloorsConfig;
use acclimate_eval::suspicion::{Parts, sample, shared_rows};
use acclimate_eval::{Bootstrap, EvaluationQueries, Metric, Place, Preflight};
use acclimate_model::{Base, Params};
use acclimate_train::feed::Sequence;
use acclimate_train::{Preparation, Run, Scorer, TrainConfig, train};
use burn::tensor::Device;

use super::comparison::{draw, start_biases};
use super::open::OpenSequences;
use super::preflight::Ranked;
use super::prepared::{Questions, TARGET_HEAD};
use crate::ExperimentError;
use crate::lab::pretraining;
use crate::preflight::{Checks, MOST, Said, shuffle};

impl OpenSequences {
    /// Checks the base on some questions, which it has answered twice with `ranks`. A control learns from the training examples of the data, and where it has none from the questions themselves, in an order that says nothing.
    ///
    /// # Errors
    /// Ranks that can not be repeated, anything training may report, or an interruption.
    pub(crate) fn preflight(
        &mut self,
        (asked, ranks): (&Questions, [&[f32]; 2]),
        metric: &Metric,
        bootstrap: Bootstrap,
        stop: &AtomicBool,
    ) -> Result<Preflight, ExperimentError> {
        let name = "base";
        let constant = if self.has_parts() { self.popularity(asked)? } else { None };
        let metrics = std::slice::from_ref(metric);
        let users = EvaluationQueries::new(&asked.owners().0)?;
        let on = Ranked(&users, metrics);
        let place = Place { dataset: self.source.dataset.name.clone(), scenario: "gate".into(), setting: "held-out rows".into() };
        let [base, again] = ranks.map(<[f32]>::to_vec);
        let said = Said { base, again, constant };
        let checks = Checks { bootstrap, metric };
        let mut check = checks.setting(&place, name, &said, &on)?;
        check.control = checks.controls(&place, name, (&said, &on), |seed| self.shuffled_control(asked, seed, stop))?;
        let (dataset, scenario) = (place.dataset, place.scenario);
        let mut preflight = Preflight { dataset, scenario, base: name.into(), settings: vec![check], ..Preflight::default() };
        if self.has_parts() {
            let (train, measured) = (self.rows("train")?, asked.owners().1);
            let parts = Parts { train: &train, measured: &measured, ..Parts::default() };
            preflight.take(shared_rows(&self.source.dataset, &parts).into_iter().collect());
        }
        Ok(preflight)
    }

    /// The ranks of the floor that knows no user from another.
    fn popularity(&mut self, asked: &Questions) -> Result<Option<(String, Vec<f32>)>, ExperimentError> {
        let rows = self.rows("validation")?;
        let validation = self.prepared.questions(&rows);
        let floors = self.prepared.ranking_floors(&FloorsConfig::default());
        let Some(floor) = floors.iter().find(|floor| floor.name() == "popularity") else { return Ok(None) };
        let mut finished = self.prepared.floor(floor.as_ref(), &validation, asked)?;
        Ok(Some(("floor `popularity`".into(), finished.predictions.swap_remove(0).values)))
    }

    /// What the base's network says after one epoch on histories whose next items are those of others, and the number of these.
    fn shuffled_control(&self, asked: &Questions, seed: u64, stop: &AtomicBool) -> Result<(usize, Vec<f32>), ExperimentError> {
        let (base, prepared, device) = (&self.saved.base, &self.prepared, Device::flex());
        let examples = if prepared.examples.is_empty() { &asked.examples } else { &prepared.examples };
        let learned = sample(examples, MOST);
        let mut sequences: Vec<Sequence> = learned.iter().map(|&example| prepared.histories.get(example).sequence.clone()).collect();
        let mut targets: Vec<u32> = sequences.iter().flat_map(|s| &s.target).copied().filter(|&target| target != 0).collect();
        let rows = targets.len();
        shuffle(seed, &mut targets);
        let places = sequences.iter_mut().flat_map(|s| &mut s.target).filter(|target| **target != 0);
        places.zip(targets).for_each(|(place, target)| *place = target);
        let mut start = Base::init(base.spec.clone(), seed)?;
        start_biases(&mut start, &prepared.histories.head(TARGET_HEAD).counts);
        let config = TrainConfig { epochs: 1, ..TrainConfig::default() };
        let feed = prepared.histories.feed_of(sequences, TARGET_HEAD, draw(&start, &config, seed, Needs::default()))?;
        let trained = train(Run {
            base: &start,
            adaptation: pretraining(&start)?.as_ref(),
            feed: &feed,
            config: &config.with_intercept_for(start.spec.objective, true),
            seed,
            device: &device,
            intercept: None,
            validate: None,
            observer: &mut (),
            checkpoint: None,
            stop,
        });
        let trained = trained.map_err(|error| ExperimentError::of_run("the shuffled control", error))?;
        let adaptation = pretraining(&trained.base)?;
        let scorer = Scorer::new(&trained.base, adaptation.as_ref(), &Params::default(), &device);
        Ok((rows, prepared.histories.answers(&scorer, &asked.examples)?))
    }
}
