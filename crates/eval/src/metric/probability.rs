//! Quality of predicted probabilities: log loss and calibration.

use super::{Real, assert_same_length};

/// Probabilities are kept this far from 0 and 1 before the logarithm; safe in single precision.
pub const LOG_LOSS_CLIP: f64 = 1e-7;

/// Log loss of one row, in nats: `−y ln p − (1−y) ln(1−p)` with `p` clipped to `[1e-7, 1 − 1e-7]`.
pub(crate) fn row_log_loss(label: f32, prediction: f64) -> f64 {
    let p = if prediction.is_nan() { prediction } else { prediction.clamp(LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP) };
    let y = f64::from(label);
    -y * p.ln() - (1.0 - y) * (-p).ln_1p()
}

/// Mean log loss over rows, in nats. Lower is better.
///
/// Decisions: natural logarithm; probabilities clipped to `[1e-7, 1 − 1e-7]`; `None` without rows; NaN stays NaN.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::log_loss;
/// let loss = log_loss(&[1.0, 0.0, 1.0], &[0.5_f64, 0.5, 0.5]).unwrap();
/// assert!((loss - 2_f64.ln()).abs() < 1e-12);
/// ```
#[must_use]
pub fn log_loss<P: Real>(labels: &[f32], predictions: &[P]) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    let sum: f64 = labels.iter().zip(predictions).map(|(&y, &p)| row_log_loss(y, p.into())).sum();
    (!labels.is_empty()).then(|| sum / labels.len() as f64)
}

/// Predicted over observed count: `Σp / Σy`. 1 is calibrated, above 1 promises too much.
///
/// Decisions: `None` when no label is positive.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::pcoc;
/// assert_eq!(pcoc(&[1.0, 0.0, 0.0], &[0.5_f64, 0.25, 0.5]), Some(1.25));
/// ```
#[must_use]
pub fn pcoc<P: Real>(labels: &[f32], predictions: &[P]) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    let observed: f64 = labels.iter().map(|&y| f64::from(y)).sum();
    let predicted: f64 = predictions.iter().map(|&p| p.into()).sum();
    (observed > 0.0).then(|| predicted / observed)
}
