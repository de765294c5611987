//! Scaling of numbers.

use serde::{Deserialize, Serialize};

use crate::config::Scale;

/// `(x - shift) / scale`, computed in 64 bits and stored in 32; nothing is clipped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaler {
    /// Smallest training value, training mean, or 0.
    pub shift: f64,
    /// Range or population standard deviation of the training values, or 1; 1 also where all training values are equal.
    pub scale: f64,
    /// Mean of the training values, before scaling: what a missing value becomes.
    pub missing: f64,
}

impl Scaler {
    /// Leaves a number as it is.
    pub(crate) const NONE: Self = Self { shift: 0.0, scale: 1.0, missing: 0.0 };

    /// Constants of values that occur `weight` times each; NaN is a missing value. Without any value: shift 0, scale 1, missing 0.
    #[must_use]
    pub fn fit(kind: Scale, values: &[f64], weights: &[u32]) -> Self {
        let present = || values.iter().zip(weights).filter(|&(x, &w)| w > 0 && !x.is_nan()).map(|(&x, &w)| (x, f64::from(w)));
        let total: f64 = present().map(|(_, w)| w).sum();
        if total == 0.0 {
            return Self { shift: 0.0, scale: 1.0, missing: 0.0 };
        }
        let mean = present().map(|(x, w)| x * w).sum::<f64>() / total;
        let (min, max) = present().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), (x, _)| (x.min(min), x.max(max)));
        let (shift, scale) = match kind {
            Scale::None => (0.0, 1.0),
            // The mean of equal values may differ from them by rounding, and their deviation from 0.
            _ if min == max => (min, 1.0),
            Scale::MinMax => (min, max - min),
            // Two passes: the one-pass formula cancels for values far from 0.
            Scale::Standard => (mean, (present().map(|(x, w)| w * (x - mean).powi(2)).sum::<f64>() / total).sqrt()),
        };
        Self { shift, scale: if scale > 0.0 { scale } else { 1.0 }, missing: mean }
    }

    /// The scaled value; NaN is a missing value.
    #[must_use]
    pub fn apply(&self, x: f64) -> f32 {
        let x = if x.is_nan() { self.missing } else { x };
        ((x - self.shift) / self.scale) as f32
    }

    /// The scaled values of a column. It has a place of its own: in that of the 64-bit numbers it would keep twice the memory.
    pub(crate) fn column(&self, values: &[f64]) -> Vec<f32> {
        values.iter().map(|&x| self.apply(x)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_by_training_rows_only() {
        let (values, weights) = ([1.0, f64::NAN, 3.0, 100.0], [3, 5, 1, 0]);
        let min_max = Scaler::fit(Scale::MinMax, &values, &weights);
        assert_eq!([1.0, 3.0, 5.0].map(|x| min_max.apply(x)), [0.0, 1.0, 2.0], "not clipped");
        assert_eq!(min_max.apply(f64::NAN), 0.25, "the mean of 1, 1, 1, 3");
        // Mean 1.5, variance (3 * 0.25 + 2.25) / 4 = 0.75.
        let standard = Scaler::fit(Scale::Standard, &values, &weights);
        assert_eq!((standard.shift, standard.scale), (1.5, 0.75_f64.sqrt()));
        assert_eq!(Scaler::fit(Scale::None, &values, &weights).apply(7.0), 7.0);
    }

    #[test]
    fn a_scaled_column_takes_no_more_than_its_values() {
        let values = vec![1.0; 1000];
        assert_eq!(Scaler::NONE.column(&values).capacity(), 1000);
    }

    #[test]
    fn constant_and_empty_columns_stay_finite() {
        assert_eq!(Scaler::fit(Scale::Standard, &[4.0, 4.0], &[1, 1]).apply(4.0), 0.0);
        let tenths = Scaler::fit(Scale::Standard, &[0.1; 1000], &[1; 1000]);
        assert_eq!((tenths.apply(0.1), tenths.scale), (0.0, 1.0));
        assert_eq!(Scaler::fit(Scale::MinMax, &[f64::NAN], &[1]).apply(f64::NAN), 0.0);
    }
}
