//! Answers of a method's own in place of the network's.

use acclimate_fit::Ordinal;
use acclimate_model::{Effect, Modulation, SiteId};
use burn::tensor::{Device, Tensor, TensorData};

/// The logit of a click's mean, held to a tenth of the overall rate from below and from above: the mean of a click is no number that a score can be far from without harm.
pub(crate) fn logit_of(mean: f32, rate: f64) -> f32 {
    let rate = rate.clamp(1e-3, 1.0 - 1e-3) as f32;
    let p = mean.clamp(0.1 * rate, 1.0 - 0.1 * (1.0 - rate));
    (p / (1.0 - p)).ln()
}

/// Scores `[T, N]` in place of what comes out of sites, those of the [whole score](crate::selection::whole_score).
pub(crate) fn replaced(sites: &[SiteId], scores: Vec<f32>, [tasks, rows]: [usize; 2], device: &Device) -> Modulation<'static> {
    let shift = Tensor::<3>::from_data(TensorData::new(scores, [tasks, rows, 1]), device); // [T, N, 1]
    let gain = Tensor::<3>::zeros([1, 1, 1], device);
    sites.iter().fold(Modulation::none(), |all, site| all.with(*site, Effect::scaled(gain.clone(), shift.clone())))
}

/// Writes a grid and its cut points into a parameter of `2 * Ordinal::MOST` values: the number of grid values, these, and the cut points between them; 0 without a grid.
pub(crate) fn keep_ordinal(kept: &mut [f32], ordinal: Option<&Ordinal>) {
    kept.fill(0.0);
    if let Some(Ordinal { values, cuts }) = ordinal {
        let of = std::iter::once(values.len() as f64).chain(values.iter().copied()).chain(cuts.iter().copied());
        kept.iter_mut().zip(of).for_each(|(kept, x)| *kept = x as f32);
    }
}

/// What [`keep_ordinal`] wrote.
pub(crate) fn kept_ordinal(kept: &[f64]) -> Option<Ordinal> {
    let grid = (kept[0].round().max(0.0) as usize).min(Ordinal::MOST);
    (grid > 1).then(|| Ordinal::new(kept[1..=grid].to_vec(), kept[grid + 1..2 * grid].to_vec()))
}
