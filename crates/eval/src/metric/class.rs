//! Quality of an answer among several classes, given as a probability for each of them.

use super::{Real, assert_same_length};

/// The probability of the true class is kept this far from 0 before the logarithm.
pub const CLASS_LOG_LOSS_CLIP: f64 = 1e-15;

/// The class with the highest probability, the lowest of equals.
pub(crate) fn answer<P: Real>(row: &[P]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Log loss of one row, in nats: `-ln max(p_true / sum(p), 1e-15)`.
pub(crate) fn row_class_log_loss<P: Real>(class: u32, row: &[P]) -> f64 {
    let sum: f64 = row.iter().map(|&p| p.into()).sum();
    let share = row[class as usize].into() / sum;
    if share.is_nan() { share } else { -share.max(CLASS_LOG_LOSS_CLIP).ln() }
}

/// Macro F1 from how often each true class got each answer, `[C x C]`.
pub(crate) fn macro_f1_of(confusion: &[u64], count: usize) -> Option<f64> {
    let (mut sum, mut present) = (0.0, 0);
    for class in 0..count {
        let is_true: u64 = confusion[class * count..(class + 1) * count].iter().sum();
        if is_true > 0 {
            let answered: u64 = confusion[class..].iter().step_by(count).sum();
            sum += 2.0 * confusion[class * count + class] as f64 / (is_true + answered) as f64;
            present += 1;
        }
    }
    (present > 0).then(|| sum / f64::from(present))
}

fn rows<'a, P: Real>(classes: &'a [u32], probabilities: &'a [P], count: usize) -> impl Iterator<Item = (u32, &'a [P])> {
    assert_same_length(classes.len() * count, probabilities.len());
    assert!(classes.iter().all(|&class| (class as usize) < count), "every class is below the number of classes");
    classes.iter().copied().zip(probabilities.chunks_exact(count.max(1)))
}

/// Share of rows whose most probable class is the true one. Higher is better.
///
/// Decisions: the lowest class wins ties; `None` without rows; only the order inside a row counts, so rows need not sum to 1.
/// Tested against NumPy.
///
/// # Shapes
/// `classes` is `[R]`, `probabilities` is `[R x C]` with C = `count`.
///
/// # Panics
/// When the slices do not fit, or a class is not below `count`.
///
/// ```
/// use acclimate_eval::metric::accuracy;
/// // The tie of the second row goes to class 0, which is wrong.
/// let probabilities = [0.1_f32, 0.2, 0.7, 0.4, 0.4, 0.2, 0.6, 0.4, 0.0];
/// assert_eq!(accuracy(&[2, 1, 0], &probabilities, 3), Some(2.0 / 3.0));
/// ```
#[must_use]
pub fn accuracy<P: Real>(classes: &[u32], probabilities: &[P], count: usize) -> Option<f64> {
    let right = rows(classes, probabilities, count).filter(|(class, row)| answer(row) == *class as usize).count();
    (!classes.is_empty()).then(|| right as f64 / classes.len() as f64)
}

/// Unweighted mean of `F1 = 2 tp / (2 tp + fp + fn)` over the classes that are true for at least one row. Higher is better.
///
/// Decisions: answers as in [`accuracy`]; a class that is never true has no F1 of its own, but answers of it miss the true ones; `None` without rows.
/// Tested against NumPy.
///
/// # Shapes
/// `classes` is `[R]`, `probabilities` is `[R x C]` with C = `count`.
///
/// # Panics
/// When the slices do not fit, or a class is not below `count`.
///
/// ```
/// use acclimate_eval::metric::macro_f1;
/// // Answers 0, 2, 1 to 0, 0, 1: F1 of class 0 is 2/3, of class 1 is 1; class 2 is never true.
/// let probabilities = [0.8_f32, 0.1, 0.1, 0.2, 0.2, 0.6, 0.0, 1.0, 0.0];
/// assert_eq!(macro_f1(&[0, 0, 1], &probabilities, 3), Some((2.0 / 3.0 + 1.0) / 2.0));
/// ```
#[must_use]
pub fn macro_f1<P: Real>(classes: &[u32], probabilities: &[P], count: usize) -> Option<f64> {
    let mut confusion = vec![0; count * count];
    rows(classes, probabilities, count).for_each(|(class, row)| confusion[class as usize * count + answer(row)] += 1);
    macro_f1_of(&confusion, count)
}

/// Mean over rows of `-ln max(p_true, 1e-15)`, in nats, each row divided by its sum first. Lower is better.
///
/// Decisions: natural logarithm; `None` without rows; NaN stays NaN. With two classes it differs from [`log_loss`](super::log_loss) in the clip only.
/// Tested against NumPy.
///
/// # Shapes
/// `classes` is `[R]`, `probabilities` is `[R x C]` with C = `count`.
///
/// # Panics
/// When the slices do not fit, or a class is not below `count`.
///
/// ```
/// use acclimate_eval::metric::class_log_loss;
/// let loss = class_log_loss(&[0, 2, 1], &[0.5_f64, 0.25, 0.25, 0.25, 0.25, 0.5, 0.0, 0.5, 0.5], 3).unwrap();
/// assert!((loss - 2_f64.ln()).abs() < 1e-12);
/// ```
#[must_use]
pub fn class_log_loss<P: Real>(classes: &[u32], probabilities: &[P], count: usize) -> Option<f64> {
    let sum: f64 = rows(classes, probabilities, count).map(|(class, row)| row_class_log_loss(class, row)).sum();
    (!classes.is_empty()).then(|| sum / classes.len() as f64)
}
