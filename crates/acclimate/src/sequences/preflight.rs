//! Preflight of a base that ranks items.

use acclimate_adapt::Needs;
use acclimate_data::DomainIndex;
use acclimate_eval::suspicion::{Parts, sample, shared_rows};
use acclimate_eval::{EvalError, EvaluationQueries, Metric, Outcome, Panel, Place, Preflight, SettingCheck, ShuffledControl};
use acclimate_model::{Base, Params};
use acclimate_train::feed::Sequence;
use acclimate_train::{Scorer, TrainConfig};

use super::Learned;
use super::comparison::{Stage, draw, predictions, spec, start_biases};
use super::prepared::{Questions, SOURCE_HEAD, TARGET_HEAD};
use crate::experiment::BaseConfig;
use crate::lab::{Finished, Job, Measure, Prediction, pretraining};
use crate::preflight::{MOST, Measured, SHUFFLES, Said, Shuffled, shuffle};
use crate::{ExperimentError, Source};

pub(super) struct Ranked<'a>(pub(super) &'a EvaluationQueries, pub(super) &'a [Metric]);

impl Measured for Ranked<'_> {
    fn metrics(&self) -> &[Metric] {
        self.1
    }

    fn measure(&self, panel: &Panel<f32>, metrics: &[Metric]) -> Result<Outcome, EvalError> {
        panel.on_ranks(self.0, metrics)
    }
}

impl Stage<'_> {
    /// Checks the first base: `said` are its ranks, `popularity` those of the floor, both by kind of candidates, as the metrics are.
    pub(super) fn preflight(
        &self,
        source: &Source,
        (base, said): (&Base, &Finished),
        popularity: Option<&Finished>,
        (asked, metrics): (&Questions, &[Vec<Metric>; 2]),
    ) -> Result<Preflight, ExperimentError> {
        let (lab, prepared) = (self.lab, self.prepared);
        lab.progress.say("preflight");
        let config = &lab.experiment.base;
        let chosen = sample(&(0..asked.examples.len() as u32).collect::<Vec<_>>(), MOST);
        let examples: Vec<u32> = chosen.iter().map(|&q| asked.examples[q as usize]).collect();
        let users: Vec<u32> = chosen.iter().map(|&q| asked.queries[q as usize].user.0).collect();
        let queries = EvaluationQueries::new(&users)?;
        let ranks = |base: &Base| {
            let ranks =
                prepared.histories.ranks(&Scorer::new(base, pretraining(base)?.as_ref(), &Params::default(), &lab.device), &examples)?;
            Ok::<Vec<Prediction>, ExperimentError>(predictions(&ranks))
        };
        let of_chosen = |all: &Finished, at: usize| chosen.iter().map(|&q| all.predictions[at].values[q as usize]).collect::<Vec<f32>>();
        let first = if chosen.len() == asked.examples.len() { said.predictions.clone() } else { ranks(base)? };
        let mut preflight = Preflight {
            dataset: prepared.dataset.name.clone(),
            scenario: prepared.plan.scenario.clone(),
            base: config.name.clone(),
            ..Preflight::default()
        };
        let place = Place {
            dataset: prepared.dataset.name.clone(),
            scenario: prepared.plan.scenario.clone(),
            setting: prepared.plan.setting.clone(),
        };
        let again = ranks(base)?;
        let mut whole: Option<SettingCheck> = None;
        for (at, metrics) in metrics.iter().enumerate().filter(|(_, metrics)| !metrics.is_empty()) {
            lab.check_stop()?;
            let constant = popularity.map(|floor| ("floor `popularity`".to_owned(), of_chosen(floor, at)));
            let said = Said { base: first[at].values.clone(), again: again[at].values.clone(), constant };
            let on = Ranked(&queries, metrics);
            let mut check = lab.checks().setting(&place, &config.name, &said, &on)?;
            if metrics.contains(&lab.experiment.metrics[0]) {
                for shuffles in 1..=SHUFFLES {
                    let (rows, mut finished) = self.shuffled(config, shuffles, ranks)?;
                    let control = Shuffled { shuffles: shuffles as usize, rows, said: finished.predictions.swap_remove(at).values };
                    check.control = lab.checks().control(&place, &config.name, (&said, &control), &on)?;
                    if !check.control.as_ref().is_some_and(ShuffledControl::wins) {
                        break;
                    }
                }
            }
            whole = Some(match whole {
                None => check,
                Some(other) => SettingCheck { metrics: other.metrics + check.metrics, control: other.control.or(check.control), ..other },
            });
        }
        preflight.settings.extend(whole);
        lab.check_stop()?;
        let part = |name: &str, domains: &[Option<DomainIndex>]| {
            let rows = source.part(name)?.into_iter().filter(|&row| domains.contains(&Some(prepared.dataset.log.domain[row as usize])));
            Ok::<Vec<u32>, ExperimentError>(rows.collect())
        };
        let train = part("train", &[prepared.pair.source, Some(prepared.pair.target)])?;
        let measured = part(if lab.measure == Measure::Test { "test" } else { "validation" }, &[Some(prepared.pair.target)])?;
        let parts = Parts { train: &train, measured: &measured, ..Parts::default() };
        preflight.take(shared_rows(&prepared.dataset, &parts).into_iter().collect());
        Ok(preflight)
    }

    /// What the base's network says after one epoch on source sequences whose next items are those of others, and the number of these; each shuffle has a
    /// seed of its own.
    fn shuffled(
        &self,
        config: &BaseConfig,
        shuffles: u64,
        ranks: impl Fn(&Base) -> Result<Vec<Prediction>, ExperimentError>,
    ) -> Result<(usize, Finished), ExperimentError> {
        let (lab, prepared) = (self.lab, self.prepared);
        let seed = lab.seeds[0].wrapping_add(shuffles - 1);
        let (all, head) = match prepared.plan.pretraining.on {
            Learned::Source => (&self.learned, SOURCE_HEAD),
            Learned::Target => (&prepared.examples, TARGET_HEAD),
        };
        let mut left = MOST;
        let mut sequences: Vec<Sequence> = Vec::new();
        for example in sample(all, MOST) {
            let sequence = &prepared.histories.get(example).sequence;
            if sequence.target.len() <= left {
                left -= sequence.target.len();
                sequences.push(sequence.clone());
            }
        }
        let targets = |sequences: &[Sequence]| sequences.iter().flat_map(|s| &s.target).copied().filter(|&t| t != 0).collect::<Vec<u32>>();
        let mut shuffled = targets(&sequences);
        let learned = shuffled.len();
        shuffle(seed, &mut shuffled);
        let places = sequences.iter_mut().flat_map(|s| &mut s.target).filter(|t| **t != 0);
        places.zip(shuffled).for_each(|(place, target)| *place = target);
        let mut start = Base::init(spec(lab, prepared, config, head)?, seed)?;
        start_biases(&mut start, &prepared.histories.head(head).counts);
        let feed = prepared
            .histories
            .feed_of(sequences, head, draw(&start, &config.train, seed, Needs::default()))
            .map_err(|e| self.naming_negatives(e))?;
        let train = TrainConfig { epochs: 1, ..config.train.clone() };
        let job = Job {
            measured: format!("{:?}", lab.measure),
            ..Job::new(format!("preflight/shuffled-seed{seed}"), prepared.inputs.clone(), &feed, &train, seed)
        };
        let finished = lab.control(&start, job, |learned| match head {
            SOURCE_HEAD => ranks(&self.with_target_head(config, seed, learned)?),
            _ => ranks(learned),
        })?;
        Ok((learned, finished))
    }
}
