//! Order of one user's labelled list: nDCG with named gain and precision at k.

use serde::{Deserialize, Serialize};

use super::{Real, assert_same_length};

/// Predictions closer than this are one tie: they are rounded to multiples of it before sorting.
pub const TIE_WIDTH: f64 = 1e-7;

/// What a label is worth in nDCG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// `g = r`.
    Linear,
    /// `g = 2^r − 1`.
    Exponential,
}

impl Gain {
    /// The gain of a label.
    #[must_use]
    pub fn of(self, label: f32) -> f64 {
        match self {
            Self::Linear => f64::from(label),
            Self::Exponential => f64::from(label).exp2() - 1.0,
        }
    }
}

/// Normalised discounted cumulative gain of the first `k` positions of one list. Higher is better.
///
/// `DCG = Σ_{rank ≤ k} g / log2(rank + 1)`, divided by the DCG of the order by label.
///
/// Decisions: predictions are rounded to 1e-7, and every position of a tied group gets the group's mean gain, so that a constant
/// prediction scores the expected value of a random order; a list shorter than `k` uses its length on both sides;
/// `None` when the ideal DCG is not positive (empty list, `k = 0`, all gains 0); a NaN prediction makes the result NaN.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{Gain, ndcg_at};
/// // The two best are tied: position 1 gets the mean gain (5 + 1) / 2 of an ideal 5.
/// assert_eq!(ndcg_at(1, Gain::Linear, &[5.0, 1.0, 3.0], &[4.0_f32, 4.0, 2.0]), Some(0.6));
/// ```
#[must_use]
pub fn ndcg_at<P: Real>(k: usize, gain: Gain, labels: &[f32], predictions: &[P]) -> Option<f64> {
    let mut ideal: Vec<f64> = labels.iter().map(|&label| gain.of(label)).collect();
    ideal.sort_unstable_by(|a, b| b.total_cmp(a));
    let best: f64 = ideal.iter().take(k).enumerate().map(|(at, g)| g * discount(at + 1)).sum();
    let dcg = sum_over_ties(k, labels, predictions, |label| gain.of(label), discount);
    (best > 0.0).then(|| dcg / best)
}

/// Share of the first `k` positions of one list that hold a relevant row. Higher is better.
///
/// Decisions: a row is relevant when its label is at least `relevant`; the divisor is `k` even when the list is shorter;
/// positions of a tied group (predictions rounded to 1e-7) share its relevant rows evenly; `None` for an empty list or `k = 0`.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::precision_at;
/// assert_eq!(precision_at(2, 4.0, &[5.0, 1.0, 3.0], &[4.0_f32, 3.0, 2.0]), Some(0.5));
/// ```
#[must_use]
pub fn precision_at<P: Real>(k: usize, relevant: f32, labels: &[f32], predictions: &[P]) -> Option<f64> {
    let hits = sum_over_ties(k, labels, predictions, |label| f64::from(u8::from(label >= relevant)), |_| 1.0);
    (k > 0 && !labels.is_empty()).then(|| hits / k as f64)
}

/// `1 / log2(rank + 1)`.
pub(crate) fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).log2()
}

/// `Σ_{rank ≤ k} weight(rank) · mean worth of the tied group at that rank`.
fn sum_over_ties<P: Real>(k: usize, labels: &[f32], predictions: &[P], worth: impl Fn(f32) -> f64, weight: impl Fn(usize) -> f64) -> f64 {
    assert_same_length(labels.len(), predictions.len());
    let mut rows: Vec<(f64, f64)> = labels.iter().zip(predictions).map(|(&y, &p)| (rounded(p.into()), worth(y))).collect();
    if rows.iter().any(|row| row.0.is_nan()) {
        return f64::NAN;
    }
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)));
    let (mut sum, mut rank) = (0.0, 1);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        if rank > k {
            break;
        }
        let mean = tied.iter().map(|row| row.1).sum::<f64>() / tied.len() as f64;
        sum += mean * (rank..=k.min(rank + tied.len() - 1)).map(&weight).sum::<f64>();
        rank += tied.len();
    }
    sum
}

/// In units of [`TIE_WIDTH`]; adding 0 turns −0 into 0, so that the sort sees one value.
fn rounded(prediction: f64) -> f64 {
    (prediction / TIE_WIDTH).round() + 0.0
}
