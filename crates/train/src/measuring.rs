//! Moments of rows at batch norms, measured without labels: those of a method's own on the rows that it is trained on, and those of a window of traffic.

use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_adapt::selection::batch_norms;
use acclimate_adapt::{Adaptation, RowSums, Unlabelled, WindowNorms};
use acclimate_data::Batch;
use acclimate_model::{Base, Params};
use burn::tensor::Device;

use crate::feed::{Feed, Feeding};
use crate::{Scorer, TrainError};

/// A batch at a norm.
pub(crate) struct AtNorm {
    /// What goes in, `[G, N, d]`.
    pub(crate) x: Vec<f32>,
    /// Mean and variance by which the norm goes, if they are the same for all rows.
    pub(crate) moments: Option<[Vec<f32>; 2]>,
}

/// Measures what a method measures before it is trained, on the rows of the feed's first epoch: one norm after the other, each with those before it in place.
///
/// # Errors
/// A context that the method can not adapt from, or an interruption.
pub(crate) fn measure(
    (adaptation, feed): (&dyn Adaptation, &dyn Feed),
    (base, own): (&Base, &mut Params),
    (device, stop): (&Device, &AtomicBool),
) -> Result<(), TrainError> {
    for gauge in adaptation.gauges() {
        let (scorer, mut sums) = (Scorer::new(base, adaptation, own, device), gauge.sums());
        for step in 0..feed.steps(0) {
            let Feeding { query, support } = feed.batch(0, step);
            let AtNorm { x, .. } = scorer.at_norm(&query, support.as_ref(), &WindowNorms::new(adaptation), gauge.norm())?;
            gauge.add(&mut sums, Unlabelled::new(&query), &x, &base.params);
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted { epoch: 0, step: step as u64 });
            }
        }
        gauge.write(&sums, &base.params, own);
    }
    Ok(())
}

impl<'a> Scorer<'a> {
    /// What is scored with, its batch norms with the moments of a window of unlabelled rows, blended with those that they have, which count as `pseudo_count` rows: μ' and v' of
    /// [`RowSums`]. One norm after the other is measured, each with those before it in place. Without rows, or in a base without batch norms, nothing changes.
    ///
    /// The rows of a window share their moments: those of one domain for [`partitioned_norm`](acclimate_adapt::method::modulation::partitioned_norm).
    ///
    /// # Errors
    /// A pseudo count below 0, rows whose moments differ, or a context that the method can not adapt from.
    pub fn window_norms(&self, window: &[Batch], pseudo_count: f64) -> Result<WindowNorms<'a>, TrainError> {
        let problem = |key, problem: &str| TrainError::Config { key, problem: problem.into() };
        if !(pseudo_count >= 0.0 && pseudo_count.is_finite()) {
            return Err(problem("pseudo_count", "must be a number of at least 0"));
        }
        let mut window_norms = WindowNorms::new(self.adaptation);
        for norm in batch_norms(&["*".into()], self.base.backbone.as_ref()) {
            let (mut sums, mut before) = (RowSums::default(), None);
            for batch in window.iter().filter(|batch| batch.mask.iter().any(|&m| m != 0.0)) {
                let AtNorm { x, moments } = self.at_norm(batch, None, &window_norms, &norm)?;
                let shared = moments.filter(|moments| before.as_ref().is_none_or(|before| before == moments));
                let Some(moments) = shared else {
                    return Err(problem("window", "has rows whose norms have other moments; take the rows of one domain at a time"));
                };
                let real = x.chunks_exact(norm.d).zip(&batch.mask).filter(|(_, mask)| **mask != 0.0);
                real.for_each(|(x, _)| sums.add(x, &moments[0]));
                before = Some(moments);
            }
            let Some([mean, variance]) = before else { continue };
            let [of_mean, of_variance] = sums.differences(&variance, pseudo_count);
            let moved = |of: &[f32], by: &[f32]| of.iter().zip(by).map(|(of, by)| of + by).collect::<Vec<f32>>();
            let variance = moved(&variance, &of_variance).into_iter().map(|v| v.max(0.0)).collect();
            window_norms = window_norms.with(norm.site, [moved(&mean, &of_mean), variance]);
        }
        Ok(window_norms)
    }
}
