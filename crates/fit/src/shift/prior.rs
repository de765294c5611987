//! The offset of the logit for a changed share of positives, without labels and guarded.
//!
//! On validation rows of one domain scores are calibrated, `q_i = σ(a z_i + b)`, and counted by class in B bins between quantiles of q: `h1`, `h0`. With the share p_s of positives
//! there and a window of n unlabelled logits, the share p of the window is the fixed point of
//!
//! ```text
//! w_i = (p/p_s) q_i / ( (p/p_s) q_i + ((1-p)/(1-p_s)) (1-q_i) )
//! p   = (κ p_s + Σ w_i) / (κ + n)
//! δ   = clip(logit p - logit p_s, ±1) n / (n + κ2)
//! score = z + δ
//! ```
//!
//! It abstains, `δ = 0`, and says why:
//! - the window tells the classes apart too little: `n (TPR - FPR)² < 25` at the threshold p_s;
//! - its scores are no mixture of the two classes', `Σ_b (h_b - m_b)² / v_b > χ²`, `m = p h1 + (1-p) h0`, at 1 % with B - 2 degrees of freedom: the inputs have changed and not the prior. `v_b = m_b/n + p² h1_b/n1 + (1-p)² h0_b/n0`, for the histograms of validation are estimates too;
//! - the share by counts at the threshold, `(mean[q > t] - FPR) / (TPR - FPR)`, is more than two standard errors from p, in logits;
//! - δ is inside two of its own standard errors, `se = sqrt(n V + n² (v - V) / n_s) / (n V + κ v)` times the same shrinkage, with `V = Var w`, `v = p (1 - p)` and n_s validation rows: below the root stands what the window draws, then what the calibration does.
//!
//! Where labels have come in for earlier windows, the standard error that δ is held to is `sqrt(se² + ω²)`, ω by how much more than se estimates were off there ([`Track`](super::Track)).
//!
//! The patch is one number and what abstains equals the base; the published form scores with `a z + b + δ`, which moves calibration as well.
//!
//! # References
//! M. Saerens et al., *Adjusting the Outputs of a Classifier to New a Priori Probabilities*, Neural Computation 2002 (EM); A. Alexandari et al., *Maximum Likelihood with
//! Bias-Corrected Calibration is Hard-to-Beat at Label Shift Adaptation*, ICML 2020; Z. Lipton et al., *Detecting and Correcting for Label Shift with Black Box Predictors*, ICML 2018.

use std::fmt;

use super::{Calibration, logit};
use crate::chi_squared;

/// Rounds of EM at most, and where they end.
const ROUNDS: usize = 200;
const CLOSE: f64 = 1e-8;
/// Of a normal distribution, the 99 % quantile: the level of the test of the histogram.
const NORMAL_99: f64 = 2.326_347_874;
/// Validation rows of each class, below which there is nothing to compare with.
const FEWEST: usize = 30;

/// Settings. None of them was chosen on data: they are the numbers of the tests they belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftSettings {
    /// κ, rows of prior weight in p; default 200.
    pub prior_rows: f64,
    /// κ2, rows at which δ is halved; default 200.
    pub shrink_rows: f64,
    /// δ at most; default 1.
    pub largest: f64,
    /// B; default 20.
    pub bins: usize,
    /// `n (TPR - FPR)²` at least; default 25.
    pub power: f64,
    /// Whether the tests are asked; without them it is the plain correction, a control.
    pub guarded: bool,
}

impl Default for ShiftSettings {
    fn default() -> Self {
        Self { prior_rows: 200.0, shrink_rows: 200.0, largest: 1.0, bins: 20, power: 25.0, guarded: true }
    }
}

/// Why nothing can be estimated for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShiftError {
    /// Fewer than 30 validation rows of one class.
    FewRows {
        /// Positives.
        positives: usize,
        /// Negatives.
        negatives: usize,
    },
    /// Every validation row has the same score.
    OneScore,
}

impl fmt::Display for ShiftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewRows { positives, negatives } => {
                write!(f, "validation has {positives} positives and {negatives} negatives, and each needs {FEWEST}")
            }
            Self::OneScore => f.write_str("all validation rows have the same score"),
        }
    }
}

impl std::error::Error for ShiftError {}

/// Which test has fired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Abstention {
    /// The window tells the classes apart too little: `n (TPR - FPR)²`.
    Power(f64),
    /// Its scores are no mixture of the classes': the statistic, and its limit.
    Inputs(f64, f64),
    /// Counts disagree with the likelihood: by so many standard errors.
    Disagreement(f64),
    /// δ is inside two standard errors: by so many.
    Noise(f64),
    /// On the last window with labels the offset cost something.
    Replay,
}

impl Abstention {
    /// Name of the test in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Power(_) => "power",
            Self::Inputs(..) => "inputs",
            Self::Disagreement(_) => "disagreement",
            Self::Noise(_) => "noise",
            Self::Replay => "replay",
        }
    }
}

/// What a window asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// δ; 0 where a test has fired.
    pub offset: f64,
    /// δ without the tests.
    pub estimate: f64,
    /// Its standard error.
    pub error: f64,
    /// p.
    pub share: f64,
    /// Rows of the window.
    pub rows: usize,
    /// The first test that has fired.
    pub abstains: Option<Abstention>,
}

/// What validation rows of one domain say of scores and classes.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorShift {
    settings: ShiftSettings,
    calibration: Calibration,
    /// p_s.
    share: f64,
    /// Upper bounds of the bins but the last.
    edges: Vec<f64>,
    /// h1, h0.
    classes: [Vec<f64>; 2],
    /// n1, n0.
    counts: [f64; 2],
    /// TPR, FPR.
    rates: [f64; 2],
}

impl PriorShift {
    /// From validation rows, logits and labels of 0 or 1.
    ///
    /// # Errors
    /// Too few rows of a class, or scores that are all alike.
    pub fn fit(logits: &[f32], labels: &[f32], settings: ShiftSettings) -> Result<Self, ShiftError> {
        let rows: Vec<(f64, f64)> = logits.iter().zip(labels).map(|(&z, &y)| (f64::from(z), f64::from(y))).collect();
        let positives = rows.iter().filter(|(_, y)| *y > 0.5).count();
        let negatives = rows.len() - positives;
        if positives < FEWEST || negatives < FEWEST {
            return Err(ShiftError::FewRows { positives, negatives });
        }
        let calibration = Calibration::fit(&rows);
        let share = positives as f64 / rows.len() as f64;
        let mut said: Vec<(f64, bool)> = rows.iter().map(|&(z, y)| (calibration.probability(z), y > 0.5)).collect();
        said.sort_by(|a, b| a.0.total_cmp(&b.0));
        if said.first().map(|first| first.0) == said.last().map(|last| last.0) {
            return Err(ShiftError::OneScore);
        }
        let mut edges: Vec<f64> = (1..settings.bins).map(|b| said[b * said.len() / settings.bins].0).collect();
        edges.dedup();
        // A bin below the lowest score would be empty, and one row in it beyond all expectation.
        edges.retain(|&edge| edge > said[0].0);
        let mut classes = [vec![0.0; edges.len() + 1], vec![0.0; edges.len() + 1]];
        let counts = [positives as f64, negatives as f64];
        let mut above = [0.0; 2];
        for &(q, positive) in &said {
            let class = usize::from(!positive);
            classes[class][bin(&edges, q)] += 1.0 / counts[class];
            above[class] += f64::from(u8::from(q > share)) / counts[class];
        }
        Ok(Self { settings, calibration, share, edges, classes, counts, rates: above })
    }

    /// A calibrated logit, `a z + b`: what labels of a window are held against.
    #[must_use]
    pub fn calibrated(&self, logit: f32) -> f64 {
        self.calibration.slope * f64::from(logit) + self.calibration.offset
    }

    /// What the logits of a window ask for. With none of them it abstains.
    #[must_use]
    pub fn window(&self, logits: &[f32]) -> Verdict {
        self.window_with(logits, 0.0)
    }

    /// The same, where windows with labels have shown estimates to be off by [`excess`](super::Track::excess) beyond their standard errors.
    #[must_use]
    pub fn window_with(&self, logits: &[f32], excess: f64) -> Verdict {
        let n = logits.len() as f64;
        let q: Vec<f64> = logits.iter().map(|&z| self.calibration.probability(f64::from(z)).clamp(1e-12, 1.0 - 1e-12)).collect();
        let (source, kappa) = (self.share, self.settings.prior_rows);
        let weights = |p: f64| {
            let (up, down) = (p / source, (1.0 - p) / (1.0 - source));
            q.iter().map(move |&q| up * q / (up * q + down * (1.0 - q)))
        };
        let mut p = source;
        for _ in 0..ROUNDS {
            let next = (kappa * source + weights(p).sum::<f64>()) / (kappa + n);
            let moved = (next - p).abs();
            p = next;
            if moved < CLOSE {
                break;
            }
        }
        let bound = self.settings.largest;
        let shift = logit(p) - logit(source);
        let shrink = n / (n + self.settings.shrink_rows);
        let estimate = shift.clamp(-bound, bound) * shrink;
        let (sum, squares) = weights(p).fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
        let variance = (squares / n.max(1.0) - (sum / n.max(1.0)).powi(2)).max(1e-12);
        let whole = p * (1.0 - p);
        let of_source = n * n * (whole - variance).max(0.0) / (self.counts[0] + self.counts[1]);
        let error = (n * variance + of_source).sqrt() / (n * variance + kappa * whole) * shrink;
        let abstains = self.settings.guarded.then(|| self.first_test(&q, p, (estimate, error.hypot(excess)))).flatten();
        Verdict { offset: if abstains.is_some() { 0.0 } else { estimate }, estimate, error, share: p, rows: logits.len(), abstains }
    }

    /// The first test that fires.
    fn first_test(&self, q: &[f64], p: f64, (shift, error): (f64, f64)) -> Option<Abstention> {
        // Comparisons with what is no number are false, and would let it pass.
        if !(p.is_finite() && shift.is_finite() && error.is_finite()) {
            return Some(Abstention::Noise(f64::NAN));
        }
        let n = q.len() as f64;
        let [tpr, fpr] = self.rates;
        let apart = tpr - fpr;
        let power = n * apart * apart;
        if apart <= 0.0 || power < self.settings.power {
            return Some(Abstention::Power(power));
        }
        let mut found = vec![0.0; self.edges.len() + 1];
        q.iter().for_each(|&q| found[bin(&self.edges, q)] += 1.0 / n);
        let bins = found.iter().zip(self.classes[0].iter().zip(&self.classes[1]));
        let terms = bins.map(|(h, (&h1, &h0))| {
            let m = p * h1 + (1.0 - p) * h0;
            let v = m / n + p * p * h1 / self.counts[0] + (1.0 - p).powi(2) * h0 / self.counts[1];
            if v > 0.0 { (h - m).powi(2) / v } else { f64::from(u8::from(*h > 0.0)) * n }
        });
        let (statistic, limit) = (terms.sum::<f64>(), chi_squared((self.edges.len() as f64 - 1.0).max(1.0), NORMAL_99));
        if statistic > limit {
            return Some(Abstention::Inputs(statistic, limit));
        }
        let above = q.iter().filter(|&&q| q > self.share).count() as f64 / n;
        let counted = (above - fpr) / apart;
        let of_rates =
            counted * counted * tpr * (1.0 - tpr) / self.counts[0] + (1.0 - counted).powi(2) * fpr * (1.0 - fpr) / self.counts[1];
        let noise = ((above * (1.0 - above) / n + of_rates).sqrt() / apart).max(1e-12);
        // In units of shares near the ends, where a logit of the counted share would be none.
        let inside = counted.clamp(0.5 / n, 1.0 - 0.5 / n);
        let deviation = (logit(inside) - logit(p)).abs() / (noise / (inside * (1.0 - inside))).hypot(error);
        if deviation > 2.0 {
            return Some(Abstention::Disagreement(deviation));
        }
        let deviations = shift.abs() / error;
        (deviations < 2.0).then_some(Abstention::Noise(deviations))
    }
}

/// The bin of a calibrated score.
fn bin(edges: &[f64], q: f64) -> usize {
    edges.partition_point(|&edge| edge <= q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_abstains() {
        let logits: Vec<f32> = (0..200).map(|i| i as f32 / 50.0 - 2.0).collect();
        let labels: Vec<f32> = (0..200).map(|i| f32::from(u8::from(i % 3 == 0 || i > 150))).collect();
        let shift = PriorShift::fit(&logits, &labels, ShiftSettings::default()).unwrap();
        let verdict = shift.window(&[&logits[..], &[f32::NAN]].concat());
        assert!(verdict.abstains.is_some() && verdict.offset == 0.0, "{verdict:?}");
    }

    /// Half of the rows have the lowest score: no bin lies below it, in which a single row would be beyond all expectation.
    #[test]
    fn ties_at_the_lowest_score_leave_no_empty_bin() {
        let logits: Vec<f32> = (0..400).map(|i| (i as f32 / 100.0 - 2.0).max(0.0)).collect();
        let labels: Vec<f32> = (0..400).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
        let shift = PriorShift::fit(&logits, &labels, ShiftSettings::default()).unwrap();
        assert!(shift.classes.iter().flatten().all(|&share| share > 0.0), "{:?}", shift.classes);
    }

    #[test]
    fn an_empty_window_abstains() {
        let rows: Vec<f32> = (0..200).map(|i| (i % 20) as f32 / 10.0 - 1.0).collect();
        let labels: Vec<f32> = (0..200).map(|i| f32::from(u8::from(i % 3 == 0 && i % 20 > 6))).collect();
        let fitted = PriorShift::fit(&rows, &labels, ShiftSettings::default()).unwrap();
        let verdict = fitted.window(&[]);
        assert_eq!((verdict.offset, verdict.rows), (0.0, 0));
        assert!(matches!(verdict.abstains, Some(Abstention::Power(_))));
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let settings = ShiftSettings::default();
        assert_eq!(PriorShift::fit(&[0.0; 100], &[0.0; 100], settings), Err(ShiftError::FewRows { positives: 0, negatives: 100 }));
        let labels: Vec<f32> = (0..100).map(|i| f32::from(u8::from(i % 2 == 0))).collect();
        assert_eq!(PriorShift::fit(&[0.5; 100], &labels, settings), Err(ShiftError::OneScore));
    }
}
