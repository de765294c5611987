//! What a run tells while it goes.

use serde::Serialize;

/// One optimiser step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepReport {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Optimiser steps taken in the run.
    pub step: u64,
    /// Optimiser steps the run takes at most.
    pub steps: u64,
    /// Rows in the batch, padding left out.
    pub rows: usize,
    /// Training loss of the batch.
    pub loss: f32,
    /// Learning rate of dense parameters.
    pub rate: f64,
}

/// One epoch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EpochReport {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Mean training loss over the epoch's batches.
    pub loss: f64,
    /// Validation metric, if there is validation; higher is better.
    pub validation: Option<f64>,
    /// Whether it is the best so far.
    pub best: bool,
    /// Training rows per second in this epoch, validation left out.
    pub rows_per_second: f64,
}

/// Hears of steps and epochs. Several can be put in a tuple.
pub trait Observer {
    /// After each optimiser step.
    fn step(&mut self, _report: &StepReport) {}

    /// After each epoch.
    fn epoch(&mut self, _report: &EpochReport) {}
}

impl Observer for () {}

impl Observer for Vec<Box<dyn Observer>> {
    fn step(&mut self, report: &StepReport) {
        self.iter_mut().for_each(|o| o.step(report));
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.iter_mut().for_each(|o| o.epoch(report));
    }
}
