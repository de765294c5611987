//! Methods that are trained in stages, each with those before it in place and frozen.
//!
//! With cross-fitting the examples are split in two halves. Both halves train a stage, each from what it has kept so far, and each half is scored by what the other has trained: after each
//! epoch, or under each choice that a solved stage has. What has the smallest mean loss is compared with the stages before. A trained stage, which moves by small steps from where
//! the network stands, is kept for so many epochs unless the loss is shown to rise (by more than its standard error); a solved one, which jumps, only if it is shown to fall. The first
//! stage is always kept. What is kept is then trained on all examples. Where there are no halves nothing can be shown, and the first stage alone is kept. Everything follows from the
//! run's seed: a run that was cut off makes the same comparisons again, and goes on in the checkpoint of its stage.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use acclimate_adapt::{Adaptation, Stage, StageNote, Staged, Stages};
use acclimate_model::{Base, Params};
use burn::tensor::Device;

use crate::config::Keep;
use crate::feed::{Feed, Half};
use crate::run;
use crate::solving::Rows;
use crate::{EpochReport, Observer, Run, Scorer, StepReport, Summary, TrainConfig, TrainError, Trained, Trainee};

/// By how many standard errors the loss must fall.
const ERRORS: f64 = 1.0;
/// Examples scored at once; of networks over sequences, whose loss is that of a batch, as many as make one value.
const SCORED: usize = 256;

/// Values on their way through the stages.
type Values = (Base, Params);

/// What all stages of a run share.
struct Course<'a> {
    base: &'a Base,
    adaptation: &'a dyn Adaptation,
    feed: &'a dyn Feed,
    seed: u64,
    device: &'a Device,
    observer: &'a mut dyn Observer,
    checkpoint: Option<(PathBuf, Duration)>,
    stop: &'a AtomicBool,
    total: Summary,
}

/// A stage with its training.
struct Step<'a> {
    stage: &'a Staged,
    config: TrainConfig,
}

/// Counts steps and epochs on from those of the stages before.
struct Onward<'a> {
    observer: &'a mut dyn Observer,
    steps: u64,
    epochs: u64,
}

impl Observer for Onward<'_> {
    fn step(&mut self, report: &StepReport) {
        let (epoch, step) = (self.epochs + report.epoch, self.steps + report.step);
        self.observer.step(&StepReport { epoch, step, steps: self.steps + report.steps, ..*report });
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.observer.epoch(&EpochReport { epoch: self.epochs + report.epoch, ..*report });
    }
}

impl Step<'_> {
    fn is_solved(&self) -> bool {
        self.stage.adaptation.solves() && self.stage.adaptation.is_solved()
    }
}

/// What becomes of a stage.
struct Decision {
    kept: bool,
    /// How long it is trained, where that was asked.
    epochs: Option<u64>,
    choice: Option<usize>,
    change: Option<f64>,
    error: Option<f64>,
}

impl Decision {
    const UNASKED: Self = Self { kept: true, epochs: None, choice: None, change: None, error: None };
}

/// Trains the stages.
pub(crate) fn train(run: Run<'_>, stages: &Stages) -> Result<Trained, TrainError> {
    let steps = stages.list.iter().map(|stage| Ok(Step { stage, config: config(run.config, stage)? }));
    let steps = steps.collect::<Result<Vec<_>, TrainError>>()?;
    let trainee = Trainee::new(run.base, run.adaptation, run.seed, run.device)?;
    let total = Summary { trainable: trainee.trainable(), ..Summary::default() };
    let mut values = (trainee.base, trainee.own);
    let Run { base, adaptation, feed, seed, device, observer, checkpoint, stop, validate, .. } = run;
    let mut course = Course { base, adaptation, feed, seed, device, observer, checkpoint, stop, total };
    let decisions = match stages.cross_fitted {
        true => course.cross_fit(&steps, &values)?,
        false => steps.iter().map(|_| Decision::UNASKED).collect(),
    };
    for (i, (step, decision)) in steps.iter().zip(&decisions).enumerate().filter(|(_, (_, decision))| decision.kept) {
        let redrawn = feed.redrawn(None, step.config.batch)?;
        let feed = redrawn.as_deref().unwrap_or(feed);
        match decision.choice {
            Some(choice) => {
                let rows = course.rows(step, feed, &values)?;
                rows.solve(step.stage.adaptation.as_ref(), &mut values.1, Stage::Choice(choice));
            }
            None => {
                let config = TrainConfig { epochs: decision.epochs.unwrap_or(step.config.epochs), ..step.config.clone() };
                values = course.one(step, &config, feed, values, &format!("stage{i}"), None)?;
            }
        }
    }
    let mut summary = course.total;
    let said = |(step, decision): (&Step<'_>, &Decision)| {
        let Decision { kept, epochs, change, error, .. } = *decision;
        StageNote { name: step.stage.name.clone(), kept, epochs: epochs.filter(|_| kept), change, error }
    };
    summary.stages = steps.iter().zip(&decisions).map(said).collect();
    summary.best = validate.map(|judge| judge(&values.0, &values.1)).transpose()?;
    let own = Params { specs: adaptation.params().to_vec(), ..values.1 };
    Ok(Trained { base: values.0, own, summary })
}

/// The training of a stage: its own keys, or those of the run.
fn config(of_run: &TrainConfig, stage: &Staged) -> Result<TrainConfig, TrainError> {
    if stage.train.is_empty() {
        return Ok(TrainConfig { intercept: Some(false), ..of_run.clone() });
    }
    let problem = |e: toml::de::Error| {
        let problem = format!("have a `train` for `{}` that is none: {}", stage.name, e.message());
        TrainError::Config { key: "methods", problem }
    };
    stage.train.clone().try_into::<TrainConfig>().map_err(problem)
}

impl Course<'_> {
    /// Trains one stage from the values so far; a comparison judges the values after each epoch.
    fn one(
        &mut self,
        step: &Step<'_>,
        config: &TrainConfig,
        feed: &dyn Feed,
        values: Values,
        name: &str,
        judge: Option<&mut run::Validate<'_>>,
    ) -> Result<Values, TrainError> {
        let checkpoint = self.checkpoint.as_ref().map(|(path, every)| (path.with_extension(format!("{name}.safetensors")), *every));
        // A comparison keeps every epoch, which no checkpoint holds.
        let checkpoint = checkpoint.filter(|_| judge.is_none());
        // Shortens the life of the closure's type to that of this call.
        let validate = judge.map(|judge| judge as &mut run::Validate<'_>);
        let mut onward = Onward { observer: &mut *self.observer, steps: self.total.steps, epochs: self.total.epochs };
        let sub = Run {
            base: self.base,
            adaptation: step.stage.adaptation.as_ref(),
            feed,
            config,
            seed: self.seed,
            device: self.device,
            intercept: None,
            validate,
            observer: &mut onward,
            checkpoint,
            stop: self.stop,
        };
        let Trained { base, own, summary } = run::train_from(sub, Some(values))?;
        self.total.epochs += summary.epochs;
        self.total.steps += summary.steps;
        self.total.rows += summary.rows;
        self.total.seconds += summary.seconds;
        Ok((base, own))
    }

    /// What the network says of the rows that a solved stage is fitted to.
    fn rows(&self, step: &Step<'_>, feed: &dyn Feed, values: &Values) -> Result<Rows, TrainError> {
        Rows::score((step.stage.adaptation.as_ref(), feed), (&values.0, &values.1), (self.device, self.stop))
    }

    /// What becomes of each stage.
    fn cross_fit(&mut self, steps: &[Step<'_>], start: &Values) -> Result<Vec<Decision>, TrainError> {
        let feed = self.feed;
        let mut halves = [start.clone(), start.clone()];
        let mut best = self.losses(&halves)?;
        let mut decisions = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let feeds = [half(feed, Half::First, step.config.batch)?, half(feed, Half::Second, step.config.batch)?];
            let [Some(first), Some(second)] = &feeds else {
                return Ok((0..steps.len()).map(|i| Decision { kept: i == 0, ..Decision::UNASKED }).collect());
            };
            let mut tried = self.alternatives(step, [first.as_ref(), second.as_ref()], &halves)?;
            let least = (0..tried.len()).min_by(|&a, &b| mean(&tried[a].losses).total_cmp(&mean(&tried[b].losses)));
            let Some(at) = least else {
                decisions.push(Decision { kept: false, ..Decision::UNASKED });
                continue;
            };
            let Alternative { halves: values, losses } = tried.swap_remove(at);
            let is_solved = step.is_solved();
            let (change, error) = paired(&best, &losses);
            let kept = i == 0 || if is_solved { change + ERRORS * error < 0.0 } else { change <= ERRORS * error };
            let epochs = (!is_solved).then_some(at as u64 + 1);
            let choice = (is_solved && step.stage.adaptation.choices() > 0).then_some(at);
            if kept {
                (halves, best) = (values, losses);
            }
            decisions.push(Decision { kept, epochs, choice, change: Some(change), error: Some(error) });
        }
        Ok(decisions)
    }

    /// What a stage may become: after each epoch, or under each choice, those in the order in which they trust the rows more; of both halves. A half goes on for as
    /// long as its patience lets it while the loss of the other's examples does not fall.
    fn alternatives(&mut self, step: &Step<'_>, feeds: [&dyn Feed; 2], halves: &[Values; 2]) -> Result<Vec<Alternative>, TrainError> {
        let mut of_halves: [Vec<(Values, Vec<f64>)>; 2] = [Vec::new(), Vec::new()];
        for (((found, feed), values), unseen) in of_halves.iter_mut().zip(feeds).zip(halves).zip([Half::Second, Half::First]) {
            if step.is_solved() {
                let adaptation = step.stage.adaptation.as_ref();
                let rows = self.rows(step, feed, values)?;
                // Each choice starts from what the one before has found.
                let mut own = values.1.clone();
                for choice in 0..adaptation.choices() {
                    rows.solve(adaptation, &mut own, Stage::Choice(choice));
                    let values = (values.0.clone(), own.clone());
                    let losses = self.half_losses(&values, unseen)?;
                    let rises = found.last().is_some_and(|(_, before)| mean(&losses) > mean(before));
                    found.push((values, losses));
                    if rises {
                        break;
                    }
                }
                if found.is_empty() {
                    let solved = self.one(step, &step.config, feed, values.clone(), "", Some(&mut |_, _| Ok(0.0)))?;
                    let losses = self.half_losses(&solved, unseen)?;
                    found.push((solved, losses));
                }
            } else {
                let config = TrainConfig { keep: Keep::Best, ..step.config.clone() };
                let held_out = (self.feed, self.adaptation, self.device);
                let mut judge = |base: &Base, own: &Params| {
                    let losses = losses_of(held_out, (base, own), unseen)?;
                    let quality = -mean(&losses);
                    found.push(((base.clone(), own.clone()), losses));
                    Ok(quality)
                };
                self.one(step, &config, feed, values.clone(), "", Some(&mut judge))?;
            }
        }
        let [first, second] = of_halves;
        let both = |((first, of_second), (second, of_first)): ((Values, Vec<f64>), (Values, Vec<f64>))| Alternative {
            halves: [first, second],
            losses: [of_second, of_first].concat(),
        };
        Ok(first.into_iter().zip(second).map(both).collect())
    }

    /// The loss of each example under what the half that it is not in has trained.
    fn losses(&self, halves: &[Values; 2]) -> Result<Vec<f64>, TrainError> {
        let [first, second] = halves;
        Ok([self.half_losses(first, Half::Second)?, self.half_losses(second, Half::First)?].concat())
    }

    /// The loss of each example of one half.
    fn half_losses(&self, (base, own): &Values, half: Half) -> Result<Vec<f64>, TrainError> {
        losses_of((self.feed, self.adaptation, self.device), (base, own), half)
    }
}

/// What a stage may become, of both halves, and the loss of each example under what the half that it is not in has trained.
struct Alternative {
    halves: [Values; 2],
    losses: Vec<f64>,
}

/// The loss of each example of one half.
fn losses_of(
    (feed, adaptation, device): (&dyn Feed, &dyn Adaptation, &Device),
    (base, own): (&Base, &Params),
    half: Half,
) -> Result<Vec<f64>, TrainError> {
    let Some(feed) = self::half(feed, half, SCORED)? else { return Ok(Vec::new()) };
    let scorer = Scorer::new(base, adaptation, own, device);
    let mut losses = Vec::new();
    for step in 0..feed.steps(0) {
        let feeding = feed.batch(0, step);
        losses.extend(scorer.losses(&feeding.query, feeding.support.as_ref())?);
    }
    Ok(losses)
}

/// One half of the examples; `None` where there is no telling halves apart, or it has no example.
fn half(feed: &dyn Feed, half: Half, batch: usize) -> Result<Option<Box<dyn Feed + '_>>, TrainError> {
    match feed.redrawn(Some(half), batch) {
        Err(TrainError::Nothing { .. }) => Ok(None),
        redrawn => redrawn,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Mean difference of two lists of losses, and its standard error.
fn paired(before: &[f64], after: &[f64]) -> (f64, f64) {
    let differences: Vec<f64> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    let (n, mean) = (differences.len() as f64, mean(&differences));
    let variance = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n.max(1.0)).sqrt())
}
