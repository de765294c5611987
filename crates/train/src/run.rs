//! One run: epochs, early stopping, checkpoints.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use acclimate_adapt::{Adaptation, Stage, StageNote};
use acclimate_data::{Dataset, RandomStream};
use acclimate_model::{Base, Objective, Params};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Place};
use crate::config::Keep;
use crate::feed::Feed;
use crate::hide::CodeCounts;
use crate::solving::Rows;
use crate::{EpochReport, Observer, Scorer, StepReport, TrainConfig, TrainError, Trainee};

/// Judges a model on validation rows; higher is better.
pub type Validate<'a> = dyn FnMut(&Base, &Params) -> Result<f64, TrainError> + 'a;

/// Everything a run needs. The base is only read.
pub struct Run<'a> {
    /// Where it starts, or whose shape it takes.
    pub base: &'a Base,
    /// What is trained.
    pub adaptation: &'a dyn Adaptation,
    /// What it is trained on.
    pub feed: &'a dyn Feed,
    /// How.
    pub config: &'a TrainConfig,
    /// Seed of every random choice.
    pub seed: u64,
    /// Device of the tensors.
    pub device: &'a Device,
    /// Rows for the exact intercept, when the config asks for it.
    pub intercept: Option<(&'a Dataset, &'a [u32])>,
    /// Early stopping; without it the last epoch's values are the result.
    pub validate: Option<&'a mut Validate<'a>>,
    /// Who hears of progress.
    pub observer: &'a mut dyn Observer,
    /// Where checkpoints go and how often they are written. The last one stays when the run ends: remove it once the result is saved.
    pub checkpoint: Option<(PathBuf, Duration)>,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Epochs begun.
    pub epochs: u64,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Rows read, those of support sets included and padding left out.
    pub rows: u64,
    /// Seconds of training, validation and checkpoints left out. Not part of what a resumed run reproduces.
    pub seconds: f64,
    /// Best validation metric.
    pub best: Option<f64>,
    /// Its epoch, from 0.
    pub best_epoch: u64,
    /// Values training may change.
    pub trainable: usize,
    /// What was kept of a method that is trained in stages, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageNote>,
}

/// The result: the base's copy with trained values in place, the method's own parameters, and what was done.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Patched copy of the base.
    pub base: Base,
    /// Own parameters.
    pub own: Params,
    /// What the run did.
    pub summary: Summary,
}

/// Trains.
///
/// # Errors
/// A config out of range, a loss or value that is no number, a checkpoint of another run, or an interruption (the checkpoint then holds everything).
pub fn train(run: Run<'_>) -> Result<Trained, TrainError> {
    match run.adaptation.stages() {
        None => train_from(run, None),
        Some(stages) => crate::stages::train(run, stages),
    }
}

/// Trains from values other than the method's own start, such as those of a patch of near domains; they must follow from what identifies the run.
///
/// # Errors
/// As [`train`], and a method that is trained in stages, which start from the base.
pub fn train_from_values(run: Run<'_>, base: Base, own: Params) -> Result<Trained, TrainError> {
    if run.adaptation.stages().is_some() {
        return Err(TrainError::Config {
            key: "method",
            problem: "is trained in stages, which start from the base; list its methods in a `stack` that trains them together".into(),
        });
    }
    train_from(run, Some((base, own)))
}

/// Trains all at once, from a start other than the method's own if there is one.
pub(crate) fn train_from(mut run: Run<'_>, start: Option<(Base, Params)>) -> Result<Trained, TrainError> {
    run.config.check(run.base.spec.objective, &run.base.spec.schema)?;
    let mut trainee = Trainee::new(run.base, run.adaptation, run.seed, run.device)?;
    if let Some((base, own)) = start {
        (trainee.base, trainee.own.values) = (base, own.values);
    }
    if run.base.spec.objective == Objective::Bpr && run.base.backbone.scores_rows() && !run.feed.is_paired() {
        let problem = "`bpr` compares a positive row with negatives in its group; train it on a `PairFeed`".into();
        return Err(TrainError::Config { key: "objective", problem });
    }
    trainee.counts = counted(&run)?;
    let mut place = Place::default();
    let fingerprint = if run.checkpoint.is_some() { fingerprint(&run) } else { String::new() };
    let resumed = match &run.checkpoint {
        Some((path, _)) if path.exists() => {
            place = Checkpoint { path, fingerprint: &fingerprint }.restore(&mut trainee)?;
            true
        }
        _ => false,
    };
    if !resumed && !run.adaptation.gauges().is_empty() {
        measure(&run, &mut trainee)?;
    }
    if run.config.intercept == Some(true) && !resumed {
        fit_intercept(&run, &mut trainee)?;
    }
    let solves = run.adaptation.solves();
    let epochs = if solves && run.adaptation.is_solved() { 0 } else { run.config.epochs };
    if solves && epochs > 0 && !resumed {
        solve(&run, &trainee.base, &mut trainee.own, Stage::Before)?;
    }
    let mut saved = Instant::now();
    let stop_at = run.config.steps.unwrap_or(u64::MAX);
    let steps = (run.feed.steps(0) as u64).div_ceil(run.config.accumulate) * epochs;
    let steps = steps.min(stop_at);
    // An epoch that was begun is ended, validation included, also when its checkpoint was written after the last step allowed.
    while place.epoch < epochs && (trainee.taken < stop_at || place.step > 0) && !place.stopped {
        let count = run.feed.steps(place.epoch);
        let (began, rows_before) = (Instant::now(), place.summary.rows);
        while place.step < count && trainee.taken < stop_at {
            let end = (place.step + run.config.accumulate as usize).min(count);
            let mut loss = 0.0;
            let mut rows = 0;
            for step in place.step..end {
                let feeding = run.feed.batch(place.epoch, step);
                let read = std::iter::once(&feeding.query).chain(&feeding.support);
                rows += read.flat_map(|batch| &batch.mask).filter(|&&m| m != 0.0).count();
                let key = RandomStream::seed_for(run.seed, "step");
                let mut stream = RandomStream::new(key, place.epoch, step as u64);
                let batch_loss = trainee.accumulate(feeding, run.config, &mut stream)?;
                if !batch_loss.is_finite() {
                    return Err(TrainError::Diverged { loss: batch_loss, epoch: place.epoch, step: step as u64 });
                }
                loss += f64::from(batch_loss) / (end - place.step) as f64;
            }
            let schedule = run.config.schedule.factor(trainee.taken, steps);
            trainee.step(run.config, schedule);
            place.loss += loss * (end - place.step) as f64;
            place.step = end;
            place.summary.rows += rows as u64;
            run.observer.step(&StepReport {
                epoch: place.epoch,
                step: trainee.taken,
                steps,
                rows,
                loss: loss as f32,
                rate: run.config.optimizer.rate * schedule,
            });
            if let Some((path, every)) = &run.checkpoint {
                let interrupted = run.stop.load(Ordering::Relaxed);
                if interrupted || saved.elapsed() >= *every {
                    // The last good checkpoint is not replaced by one that nothing can go on from.
                    finite(&trainee, &place)?;
                    place.summary.seconds += began.elapsed().as_secs_f64();
                    Checkpoint { path, fingerprint: &fingerprint }.save(&trainee, &place)?;
                    place.summary.seconds -= began.elapsed().as_secs_f64();
                    saved = Instant::now();
                }
            }
            if run.stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted { epoch: place.epoch, step: place.step as u64 });
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        place.summary.seconds += seconds;
        finite(&trainee, &place)?;
        let validation = run.validate.as_mut().map(|judge| judge(&trainee.base, &trainee.own)).transpose()?;
        let keeps_last = run.config.keep == Keep::Last;
        let best = keeps_last || validation.is_none_or(|v| place.summary.best.is_none_or(|b| v > b));
        run.observer.epoch(&EpochReport {
            epoch: place.epoch,
            loss: place.loss / place.step.max(1) as f64,
            validation,
            best,
            rows_per_second: (place.summary.rows - rows_before) as f64 / seconds.max(1e-9),
        });
        if best {
            place.summary.best = validation;
            place.summary.best_epoch = place.epoch;
            place.best = validation.filter(|_| !keeps_last).map(|_| (trainee.base.clone(), trainee.own.clone()));
        } else {
            place.stopped = place.epoch - place.summary.best_epoch >= run.config.patience;
        }
        place.epoch += 1;
        place.step = 0;
        place.loss = 0.0;
    }
    let trainable = trainee.trainable();
    let summary = Summary { epochs: place.epoch, steps: trainee.taken, trainable, ..place.summary };
    let (base, mut own) = place.best.unwrap_or((trainee.base, trainee.own));
    let began = Instant::now();
    if solves {
        solve(&run, &base, &mut own, Stage::After)?;
    }
    let summary = Summary { seconds: summary.seconds + began.elapsed().as_secs_f64(), ..summary };
    Ok(Trained { base, own, summary })
}

/// A step whose loss was a number can still leave values that are none.
fn finite(trainee: &Trainee<'_>, place: &Place) -> Result<(), TrainError> {
    match trainee.is_finite() {
        true => Ok(()),
        false => Err(TrainError::Diverged { loss: f32::NAN, epoch: place.epoch, step: place.step.saturating_sub(1) as u64 }),
    }
}

fn fit_intercept(run: &Run<'_>, trainee: &mut Trainee<'_>) -> Result<(), TrainError> {
    let problem = |problem: &str| TrainError::Config { key: "intercept", problem: problem.into() };
    let (dataset, rows) = run.intercept.ok_or_else(|| problem("needs labelled rows, not tasks or sequences"))?;
    let mut scores = Scorer::new(&trainee.base, run.adaptation, &trainee.own, run.device).rows(dataset, rows)?;
    let unit = dataset.label.unit();
    if run.base.spec.objective == Objective::SquaredError {
        scores.iter_mut().for_each(|score| *score /= unit);
    }
    let labels: Vec<f32> = rows.iter().map(|&r| dataset.log.label[r as usize] / unit).collect();
    trainee.fit_intercept(&scores, &labels)
}

/// Training rows of the codes that are hidden by them. They follow from the feed, so that a resumed run counts the same.
fn counted(run: &Run<'_>) -> Result<CodeCounts, TrainError> {
    if !run.config.hide.values().any(|hide| hide.counts()) {
        return Ok(CodeCounts::default());
    }
    // Every row once, whatever share of the steps its domain has.
    let plain = run.feed.redrawn(None, run.config.batch)?;
    CodeCounts::of(&run.base.spec.schema, run.config, plain.as_deref().unwrap_or(run.feed), run.stop)
}

/// Measures what is measured before training, on the rows of the feed's first epoch.
fn measure(run: &Run<'_>, trainee: &mut Trainee<'_>) -> Result<(), TrainError> {
    // Every row once, whatever share of the steps its domain has.
    let plain = run.feed.redrawn(None, run.config.batch)?;
    let feed = plain.as_deref().unwrap_or(run.feed);
    crate::measuring::measure((run.adaptation, feed), (&trainee.base, &mut trainee.own), (run.device, run.stop))
}

/// Solves what is solved for, on the rows of the feed's first epoch.
fn solve(run: &Run<'_>, base: &Base, own: &mut Params, stage: Stage) -> Result<(), TrainError> {
    // Every row once, whatever share of the steps its domain has.
    let plain = run.feed.redrawn(None, run.config.batch)?;
    let feed = plain.as_deref().unwrap_or(run.feed);
    Rows::score((run.adaptation, feed), (base, own), (run.device, run.stop))?.solve(run.adaptation, own, stage);
    Ok(())
}

/// What must agree between a checkpoint and the run that resumes it.
fn fingerprint(run: &Run<'_>) -> String {
    let config = serde_json::to_string(run.config).expect("configs are plain data");
    let scope = run.adaptation.scope();
    let own: Vec<_> = run.adaptation.params().iter().map(|p| (&p.path, p.shape)).collect();
    let data = (run.feed.rows(), run.feed.steps(0), run.feed.window());
    format!("{}|{config}|{}|{data:?}|{own:?} {:?}|{scope:?}", run.base.hash(), run.seed, run.adaptation)
}
