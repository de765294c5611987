//! Error of predicted ratings: MAE and RMSE, pooled over rows or averaged over users.

use serde::{Deserialize, Serialize};

use super::{Real, assert_same_length};

/// The range of the labels; predictions are clipped to it before an error is measured.
///
/// Ranking metrics never clip: it would create ties that the method did not give.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRange {
    /// Smallest label, for example 1 star.
    pub low: f64,
    /// Largest label, for example 5 stars.
    pub high: f64,
}

impl LabelRange {
    /// No clipping.
    pub const UNBOUNDED: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// The prediction inside the range; NaN stays NaN.
    #[must_use]
    pub fn clip(self, prediction: f64) -> f64 {
        if prediction < self.low {
            self.low
        } else if prediction > self.high {
            self.high
        } else {
            prediction
        }
    }
}

/// Mean absolute error pooled over rows. Lower is better.
///
/// Decisions: predictions are clipped to `range` first; `None` without rows. The mean over users is [`mean_by_user`] of this.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{LabelRange, mae};
/// let stars = LabelRange { low: 1.0, high: 5.0 };
/// // Errors 1, 0 (6 is clipped to 5) and 2.
/// assert_eq!(mae(&[4.0, 5.0, 1.0], &[3.0_f32, 6.0, 3.0], stars), Some(1.0));
/// ```
#[must_use]
pub fn mae<P: Real>(labels: &[f32], predictions: &[P], range: LabelRange) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    let sum: f64 = labels.iter().zip(predictions).map(|(&y, &p)| (range.clip(p.into()) - f64::from(y)).abs()).sum();
    (!labels.is_empty()).then(|| sum / labels.len() as f64)
}

/// Root of the mean squared error pooled over rows. Lower is better.
///
/// Decisions: predictions are clipped to `range` first; the root is taken once, after the mean over rows; `None` without rows.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{LabelRange, rmse};
/// // Squared errors 1, 0 and 2 * 2, without clipping.
/// let value = rmse(&[4.0, 5.0, 1.0], &[3.0_f32, 5.0, 3.0], LabelRange::UNBOUNDED).unwrap();
/// assert!((value - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
/// ```
#[must_use]
pub fn rmse<P: Real>(labels: &[f32], predictions: &[P], range: LabelRange) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    let sum: f64 = labels.iter().zip(predictions).map(|(&y, &p)| (range.clip(p.into()) - f64::from(y)).powi(2)).sum();
    (!labels.is_empty()).then(|| (sum / labels.len() as f64).sqrt())
}

/// Applies a list metric to each user's rows and takes the unweighted mean over users.
///
/// Decisions: a user for whom the metric is undefined is left out; `None` when that holds for all.
/// For RMSE this is the mean of each user's root, which is smaller than the pooled root.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{LabelRange, mae, mean_by_user};
/// // User 0 has errors 1 and 3 (mean 2), user 4 has error 0: mean over users 1, pooled 4/3.
/// let value = mean_by_user(&[0, 0, 4], &[1.0, 1.0, 5.0], &[2.0_f32, 4.0, 5.0], |labels, predictions| {
///     mae(labels, predictions, LabelRange::UNBOUNDED)
/// });
/// assert_eq!(value, Some(1.0));
/// ```
#[must_use]
pub fn mean_by_user<P: Real>(
    users: &[u32],
    labels: &[f32],
    predictions: &[P],
    metric: impl Fn(&[f32], &[P]) -> Option<f64>,
) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    assert_same_length(labels.len(), users.len());
    let mut order: Vec<usize> = (0..users.len()).collect();
    order.sort_by_key(|&row| users[row]);
    let (mut user_labels, mut user_predictions) = (Vec::new(), Vec::new());
    let (mut sum, mut defined) = (0.0, 0_usize);
    for rows in order.chunk_by(|&a, &b| users[a] == users[b]) {
        user_labels.clear();
        user_labels.extend(rows.iter().map(|&row| labels[row]));
        user_predictions.clear();
        user_predictions.extend(rows.iter().map(|&row| predictions[row]));
        if let Some(value) = metric(&user_labels, &user_predictions) {
            sum += value;
            defined += 1;
        }
    }
    (defined > 0).then(|| sum / defined as f64)
}
