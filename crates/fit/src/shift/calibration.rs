//! Scores made probabilities: `q = σ(a z + b)`.

use super::sigmoid;

/// Steps of Newton's method.
const STEPS: usize = 50;
/// Precision of the prior of a around 1 and of b around 0: it keeps both finite where scores part the labels.
const PRECISION: f64 = 1e-2;

/// Platt's map of logits, with the shape of its likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// a.
    pub slope: f64,
    /// b.
    pub offset: f64,
}

impl Calibration {
    /// Changes nothing.
    pub const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// `argmin Σ loss(a z + b, y) + λ/2 ((a - 1)² + b²)`, by Newton's method with halved steps.
    #[must_use]
    pub fn fit(rows: &[(f64, f64)]) -> Self {
        let value = |Self { slope, offset }: Self| {
            let prior = PRECISION / 2.0 * ((slope - 1.0).powi(2) + offset * offset);
            rows.iter().map(|&(z, y)| super::loss(slope * z + offset, y)).sum::<f64>() + prior
        };
        let mut at = Self::IDENTITY;
        let mut best = value(at);
        for _ in 0..STEPS {
            let (mut ga, mut gb) = (PRECISION * (at.slope - 1.0), PRECISION * at.offset);
            let (mut haa, mut hab, mut hbb) = (PRECISION, 0.0, PRECISION);
            for &(z, y) in rows {
                let q = sigmoid(at.slope * z + at.offset);
                let (error, weight) = (q - y, q * (1.0 - q));
                (ga, gb) = (ga + error * z, gb + error);
                (haa, hab, hbb) = (haa + weight * z * z, hab + weight * z, hbb + weight);
            }
            let determinant = haa * hbb - hab * hab;
            let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
            let (mut step, mut moved) = (1.0, false);
            while step > 1e-6 {
                let next = Self { slope: at.slope - step * da, offset: at.offset - step * db };
                let found = value(next);
                if found < best {
                    (at, best, moved) = (next, found, true);
                    break;
                }
                step /= 2.0;
            }
            if !moved || (da.abs() + db.abs()) * step < 1e-10 {
                break;
            }
        }
        at
    }

    /// q.
    #[must_use]
    pub fn probability(&self, z: f64) -> f64 {
        sigmoid(self.slope * z + self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_minimum_the_mean_is_the_rate() {
        let rows: Vec<(f64, f64)> = (0..400).map(|i| (f64::from(i % 40) / 10.0 - 2.0, f64::from(u8::from(i % 7 < 2)))).collect();
        let fitted = Calibration::fit(&rows);
        let mean = rows.iter().map(|&(z, _)| fitted.probability(z)).sum::<f64>() / 400.0;
        let rate = rows.iter().map(|&(_, y)| y).sum::<f64>() / 400.0;
        assert!((mean - rate).abs() < 1e-4, "{mean} {rate} {fitted:?}");
    }

    #[test]
    fn labels_that_scores_part_leave_it_finite() {
        let rows: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i) - 19.5, f64::from(u8::from(i > 19)))).collect();
        let fitted = Calibration::fit(&rows);
        assert!(fitted.slope.is_finite() && fitted.slope > 0.0 && fitted.offset.abs() < 1.0, "{fitted:?}");
    }
}
