//! How far unlabelled estimates were off, as labels tell afterwards.

use super::{Verdict, sigmoid};

/// Steps of Newton's method.
const STEPS: usize = 30;
/// Precision of the prior of an offset around 0: it keeps an offset of labels that are all alike finite.
const PRECISION: f64 = 1e-2;

/// The offset that labels ask for, `argmin Σ loss(z + δ, y) + λ/2 δ²`, with its standard error; rows are logits and labels.
#[must_use]
pub fn labelled_offset(rows: &[(f64, f64)]) -> (f64, f64) {
    let (mut offset, mut curvature) = (0.0, PRECISION);
    for _ in 0..STEPS {
        let (mut slope, mut sum) = (PRECISION * offset, PRECISION);
        for &(z, y) in rows {
            let p = sigmoid(z + offset);
            (slope, sum) = (slope + p - y, sum + p * (1.0 - p));
        }
        let step = (slope / sum).clamp(-2.0, 2.0);
        (offset, curvature) = (offset - step, sum);
        if step.abs() < 1e-10 {
            break;
        }
    }
    (offset, curvature.sqrt().recip())
}

/// The error of unlabelled estimates beyond their standard errors, over windows whose labels have come in.
///
/// `ω² = max(0, mean((δ_u - δ_l)² - se_u² - se_l²))`, with δ_u what a window asked for without labels and δ_l what its labels ask for beside calibrated logits. Where traffic changes in other ways than its share of positives, ω says so:
/// an offset is held to its standard error and ω together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Track {
    sum: f64,
    windows: usize,
}

impl Track {
    /// Adds a window: what it asked for, and its rows, [calibrated](super::PriorShift::calibrated) logits with labels.
    pub fn learn(&mut self, asked: &Verdict, rows: &[(f64, f64)]) {
        let (offset, error) = labelled_offset(rows);
        self.sum += (asked.estimate - offset).powi(2) - asked.error.powi(2) - error.powi(2);
        self.windows += 1;
    }

    /// ω; 0 before the first window.
    #[must_use]
    pub fn excess(&self) -> f64 {
        if self.windows == 0 { 0.0 } else { (self.sum / self.windows as f64).max(0.0).sqrt() }
    }

    /// Windows so far.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labelled_offset_makes_the_mean_the_rate() {
        let rows: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i % 31) / 10.0 - 2.0, f64::from(u8::from(i % 3 == 0)))).collect();
        let (offset, error) = labelled_offset(&rows);
        let mean = rows.iter().map(|&(z, _)| sigmoid(z + offset)).sum::<f64>() / 1000.0;
        assert!((mean - 0.334).abs() < 1e-4 && error > 0.05 && error < 0.1, "{mean} {error}");
    }

    #[test]
    fn estimates_that_labels_confirm_leave_no_excess() {
        let rows: Vec<(f64, f64)> = (0..1000).map(|i| (-1.0, f64::from(u8::from(i % 4 == 0)))).collect();
        let (offset, _) = labelled_offset(&rows);
        let asked = |estimate| Verdict { offset: estimate, estimate, error: 0.05, share: 0.25, rows: 1000, abstains: None };
        let mut track = Track::default();
        assert_eq!(track.excess(), 0.0);
        track.learn(&asked(offset + 0.02), &rows);
        assert_eq!((track.excess(), track.windows()), (0.0, 1));
        track.learn(&asked(offset + 0.5), &rows);
        assert!((0.25..0.45).contains(&track.excess()), "{}", track.excess());
    }
}
