//! Answers of a method's own in place of the network's.

use acclimate_model::{Effect, Modulation, SiteId};
use burn::tensor::{Device, Tensor, TensorData};

/// The logit of a click's mean, held to a tenth of the overall rate from below and from above: the mean of a click is no number that a score can be far from without harm.
pub(crate) fn logit_of(mean: f32, rate: f64) -> f32 {
    let rate = rate.clamp(1e-3, 1.0 - 1e-3) as f32;
    let p = mean.clamp(0.1 * rate, 1.0 - 0.1 * (1.0 - rate));
    (p / (1.0 - p)).ln()
}

/// Scores `[T, N]` where the network's heads would say something.
pub(crate) fn replaced(heads: &[SiteId], scores: Vec<f32>, [tasks, rows]: [usize; 2], device: &Device) -> Modulation<'static> {
    let shift = Tensor::<3>::from_data(TensorData::new(scores, [tasks, rows, 1]), device); // [T, N, 1]
    let gain = Tensor::<3>::zeros([1, 1, 1], device);
    heads.iter().fold(Modulation::none(), |all, head| all.with(*head, Effect::scaled(gain.clone(), shift.clone())))
}
