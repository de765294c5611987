//! Quality of what is expected with a spread: coverage of intervals, density of what came; and the constant that mends a median.

use acclimate_fit::Ordinal;

use super::{LOG_LOSS_CLIP, LabelRange, Real, assert_same_length};

/// Whether a label lies in the central interval of a share of what was expected, `mean` with a standard deviation.
///
/// Decisions: both ends belong to it. With a grid its ends are quantiles of the ordinal distribution, which are values of the grid, so that it covers more than the share where values are few; without one they are those of the Gaussian.
/// No prediction is clipped. Tested against SciPy's normal distribution.
///
/// ```
/// use acclimate_eval::metric::covers;
/// // The half of a Gaussian within 0.674 deviations.
/// assert!(covers(0.5, 4.0, (3.4, 1.0), None) && !covers(0.5, 4.0, (3.3, 1.0), None));
/// ```
#[must_use]
pub fn covers(share: f64, label: f32, (mean, deviation): (f64, f64), ordinal: Option<&Ordinal>) -> bool {
    let label = f64::from(label);
    match ordinal {
        Some(ordinal) => ordinal.covers(share, label, mean, deviation),
        None => 2.0 * acclimate_fit::normal((label - mean).abs() / deviation) - 1.0 <= share,
    }
}

/// Negative log density of a label, in nats: `ln(sd sqrt(2 π)) + (y - mean)² / (2 sd²)`; with a grid the negative log probability of its value, held to 1e-7 from below.
///
/// A density is counted for the unit of the label, a probability has none: the two are not to be compared.
///
/// ```
/// use acclimate_eval::metric::negative_log_density;
/// assert!((negative_log_density(3.0, (3.0, 1.0), None) - 0.918_938_533_204_672_7).abs() < 1e-15);
/// ```
#[must_use]
pub fn negative_log_density(label: f32, (mean, deviation): (f64, f64), ordinal: Option<&Ordinal>) -> f64 {
    let label = f64::from(label);
    match ordinal {
        Some(ordinal) => -ordinal.probability(label, mean, deviation).max(LOG_LOSS_CLIP).ln(),
        None => 0.5 * ((label - mean) / deviation).powi(2) + (deviation * std::f64::consts::TAU.sqrt()).ln(),
    }
}

/// The constant that, added to all predictions before they are clipped, makes the mean absolute error over users smallest; 0 without rows.
///
/// Decisions: the error is a piecewise linear function of the constant with corners where a prediction meets its label or an end of the range; of corners with the same error the one nearest to 0 is taken, and 0 itself where no other is better.
/// Tested against a search over all corners.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{LabelRange, best_offset};
/// // One user errs by 1, 1 and -2: the median mends it.
/// assert_eq!(best_offset(&[0, 0, 0], &[4.0, 4.0, 2.0], &[3.0_f32, 3.0, 4.0], LabelRange::UNBOUNDED), 1.0);
/// ```
#[must_use]
pub fn best_offset<P: Real>(users: &[u32], labels: &[f32], predictions: &[P], range: LabelRange) -> f64 {
    assert_same_length(labels.len(), predictions.len());
    assert_same_length(labels.len(), users.len());
    let mut counts = std::collections::HashMap::new();
    users.iter().for_each(|user| *counts.entry(user).or_insert(0.0) += 1.0);
    // By how much the slope changes at each corner; left of all, no prediction moves, or each comes nearer by 1.
    let (mut corners, mut slope, mut error) = (vec![(0.0, 0.0)], 0.0, 0.0);
    for ((user, &label), &prediction) in users.iter().zip(labels).zip(predictions) {
        let (weight, label, prediction): (f64, f64, f64) = (1.0 / counts[user], label.into(), prediction.into());
        corners.push((label - prediction, 2.0 * weight));
        let mut end = |at: f64| {
            if at.is_finite() {
                corners.push((at - prediction, -weight))
            }
        };
        end(range.low);
        end(range.high);
        if range.low.is_infinite() {
            slope -= weight;
        }
    }
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut best, mut last): (Option<(f64, f64)>, f64) = (None, corners[0].0);
    for (at, change) in corners {
        error += slope * (at - last);
        (slope, last) = (slope + change, at);
        let better = |(lowest, offset): (f64, f64)| error < lowest - ROUNDING || (error < lowest + ROUNDING && at.abs() < f64::abs(offset));
        if best.is_none_or(better) {
            best = Some((error, at));
        }
    }
    best.map_or(0.0, |(_, offset)| offset)
}

/// Errors that are no further apart are the same.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{mae, mean_by_user};

    #[test]
    fn the_offset_is_the_best_of_all_corners_and_none_where_medians_agree() {
        let stars = LabelRange { low: 1.0, high: 5.0 };
        for seed in 0..40_u32 {
            let n = 12 + seed % 5;
            let place =
                |i: u32, k: u32| f64::from((i * 7919 + seed * 104_729 + k * 31).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
            let users: Vec<u32> = (0..n).map(|i| i % 4).collect();
            let labels: Vec<f32> = (0..n).map(|i| (1.0 + 4.0 * place(i, 0)).round() as f32).collect();
            let said: Vec<f64> = (0..n).map(|i| 0.5 + 6.0 * place(i, 1)).collect();
            let error = |offset: f64| {
                let moved: Vec<f64> = said.iter().map(|p| p + offset).collect();
                mean_by_user(&users, &labels, &moved, |y, p| mae(y, p, stars)).unwrap()
            };
            let offset = best_offset(&users, &labels, &said, stars);
            let corners = said.iter().zip(&labels).flat_map(|(p, &y)| [f64::from(y) - p, 1.0 - p, 5.0 - p]);
            let lowest = corners.chain([0.0]).map(error).fold(f64::INFINITY, f64::min);
            assert!((error(offset) - lowest).abs() < 1e-9, "{seed}: {} at {offset} against {lowest}", error(offset));
        }
        let (users, labels) = ([0, 0, 0, 1, 1], [1.0, 3.0, 4.0, 2.0, 5.0]);
        assert_eq!(best_offset(&users, &labels, &[3.0; 5], stars), 0.0, "the median is 3");
        assert_eq!(best_offset(&users, &labels, &[3.5; 5], stars), -0.5);
        assert_eq!(best_offset::<f32>(&[], &[], &[], stars), 0.0);
    }
}
