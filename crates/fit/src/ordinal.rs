//! A rating of few values as it is expected: a Gaussian, cut into the values of a grid.
//!
//! With the mean f and the variance v of a fit, and grid values `y_1 < .. < y_C`:
//!
//! `P(r <= y_c) = Φ((κ_c - f) / sqrt(v))`, `c = 1 .. C - 1`, and `P(r <= y_C) = 1`.
//!
//! Each κ_c is a maximum of a likelihood in one number, that of `r <= y_c` against `r > y_c`, over ratings of users whom the fit has not seen: a concave function, whose maximum Newton's method finds between two bounds.
//! To these ratings one more is counted, of average weight and variance, half at or below y_c and half above it, with its mean midway between y_c and y_c+1: so no κ_c is infinite, and they ascend without being told to.
//!
//! The median of this distribution is what makes the expected absolute error smallest; the mean that goes with it is the Gaussian's, f.
//!
//! # References
//! P. McCullagh, *Regression Models for Ordinal Data*, JRSS B 1980.

/// Steps to a cut point at most; each at least halves where it may lie.
const STEPS: usize = 100;
/// Part of the range of a grid within which a rating is one of its values, in whatever unit both are counted.
const NEAR: f64 = 1e-5;

/// The standard deviation of what is expected of each of some rows, and the grid that ratings lie on, where there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// One for each row, in the unit of the label.
    pub deviations: Vec<f32>,
    /// The values of the grid, ascending; empty where what is expected is the Gaussian itself.
    pub grid: Vec<f32>,
    /// κ, one fewer than values.
    pub cuts: Vec<f32>,
}

impl Spread {
    /// The grid with its cut points.
    #[must_use]
    pub fn ordinal(&self) -> Option<Ordinal> {
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect();
        (!self.grid.is_empty()).then(|| Ordinal::new(wide(&self.grid), wide(&self.cuts)))
    }

    /// Deviations, with a grid or without.
    #[must_use]
    pub fn new(deviations: Vec<f32>, ordinal: Option<&Ordinal>) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect();
        let [grid, cuts] = ordinal.map_or_else(Default::default, |Ordinal { values, cuts }| [narrow(values), narrow(cuts)]);
        Self { deviations, grid, cuts }
    }
}

/// A rating of a user whom a fit has not seen, and how it was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// f.
    pub mean: f64,
    /// v.
    pub variance: f64,
    /// The rating.
    pub rating: f64,
    /// What it counts.
    pub weight: f64,
}

/// Values of a grid with the cut points between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordinal {
    /// y, ascending.
    pub values: Vec<f64>,
    /// κ, ascending, one fewer.
    pub cuts: Vec<f64>,
}

impl Ordinal {
    /// Grids of more values are taken as continuous.
    pub const MOST: usize = 21;

    /// Values with cut points; one that lies below the one before it, as rounding may leave it, is put there.
    #[must_use]
    pub fn new(values: Vec<f64>, mut cuts: Vec<f64>) -> Self {
        (1..cuts.len()).for_each(|c| cuts[c] = cuts[c].max(cuts[c - 1]));
        Self { values, cuts }
    }

    /// The distinct values of some ratings, ascending, where these are 2 to 21.
    #[must_use]
    pub fn grid(ratings: impl IntoIterator<Item = f64>) -> Option<Vec<f64>> {
        let mut values: Vec<f64> = Vec::new();
        for rating in ratings {
            if let Err(at) = values.binary_search_by(|value| value.total_cmp(&rating)) {
                values.insert(at, rating);
                if values.len() > Self::MOST {
                    return None;
                }
            }
        }
        (values.len() > 1).then_some(values)
    }

    /// Fits the cut points between the values of a grid to some ratings; `None` without one.
    #[must_use]
    pub fn fit(values: Vec<f64>, rows: &[Expected]) -> Option<Self> {
        let all: f64 = rows.iter().map(|row| row.weight).sum();
        if all <= 0.0 || values.len() < 2 {
            return None;
        }
        let variance = rows.iter().map(|row| row.weight * row.variance).sum::<f64>() / all;
        let one = all / rows.len() as f64;
        let cuts = values.windows(2).map(|pair| {
            let middle = f64::midpoint(pair[0], pair[1]);
            let half = |rating| Expected { mean: middle, variance, rating, weight: one / 2.0 };
            cut(pair[0], middle, variance.sqrt(), || rows.iter().copied().chain(pair.iter().map(|&y| half(y))))
        });
        let cuts = cuts.collect();
        Some(Self::new(values, cuts))
    }

    /// `P(r <= y_c)`, c from 0.
    fn up_to(&self, c: usize, mean: f64, deviation: f64) -> f64 {
        self.cuts.get(c).map_or(1.0, |cut| normal((cut - mean) / deviation))
    }

    /// `P(r = y)`; 0 of what is no value of the grid.
    #[must_use]
    pub fn probability(&self, rating: f64, mean: f64, deviation: f64) -> f64 {
        let near = self.near();
        let Some(c) = self.values.iter().position(|value| (value - rating).abs() <= near) else { return 0.0 };
        // Of the two tails the difference of the smaller ones is exact.
        let z = |c: usize| self.cuts.get(c).map_or(f64::INFINITY, |cut| (cut - mean) / deviation);
        let (low, high) = (if c == 0 { f64::NEG_INFINITY } else { z(c - 1) }, z(c));
        (if low > 0.0 { normal(-low) - normal(-high) } else { normal(high) - normal(low) }).max(0.0)
    }

    /// The smallest value with `P(r <= y) >= share`.
    #[must_use]
    pub fn quantile(&self, share: f64, mean: f64, deviation: f64) -> f64 {
        let c = (0..self.cuts.len()).find(|&c| self.up_to(c, mean, deviation) >= share);
        self.values[c.unwrap_or(self.cuts.len())]
    }

    /// Whether a rating lies in the central interval of a share, between the quantiles at `(1 - share) / 2` and `(1 + share) / 2`, both included: of few values it holds more than the share.
    #[must_use]
    pub fn covers(&self, share: f64, rating: f64, mean: f64, deviation: f64) -> bool {
        let [low, high] = [1.0 - share, 1.0 + share].map(|twice| self.quantile(twice / 2.0, mean, deviation));
        low - self.near() <= rating && rating <= high + self.near()
    }

    fn near(&self) -> f64 {
        NEAR * (self.values[self.values.len() - 1] - self.values[0])
    }

    /// The smallest value that at least half lies at or below.
    #[must_use]
    pub fn median(&self, mean: f64) -> f64 {
        self.values[self.cuts.iter().position(|&cut| cut >= mean).unwrap_or(self.cuts.len())]
    }
}

/// Where the likelihood of `r <= y` against `r > y` is largest: the root of its falling slope.
fn cut<I: Iterator<Item = Expected>>(y: f64, start: f64, width: f64, rows: impl Fn() -> I) -> f64 {
    let slope = |at: f64| {
        rows().fold((0.0, 0.0), |(first, second), Expected { mean, variance, rating, weight }| {
            let (deviation, sign) = (variance.sqrt(), if rating <= y { 1.0 } else { -1.0 });
            let z = sign * (at - mean) / deviation;
            let hazard = hazard(z);
            (first + weight * sign * hazard / deviation, second - weight * hazard * (z + hazard) / variance)
        })
    };
    let (mut low, mut high) = (start, start);
    let mut step = width;
    while slope(low).0 < 0.0 {
        low -= step;
        step *= 2.0;
    }
    step = width;
    while slope(high).0 > 0.0 {
        high += step;
        step *= 2.0;
    }
    let mut at = f64::midpoint(low, high);
    for _ in 0..STEPS {
        let (first, second) = slope(at);
        if first > 0.0 {
            low = at
        } else {
            high = at
        }
        let newton = at - first / second;
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        if (next - at).abs() <= 1e-12 * width {
            return next;
        }
        at = next;
    }
    at
}

/// `φ(z) = exp(-z² / 2) / sqrt(2 π)`.
fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

/// Mills' ratio `Φ(-z) / φ(z)` of a z from 3 on, by its continued fraction `1 / (z + 1 / (z + 2 / (z + ..)))`.
fn mills(z: f64) -> f64 {
    1.0 / (1..=60).rev().fold(z, |below, n| z + f64::from(n) / below)
}

/// `Φ(z)`: by its series around 0 and by Mills' ratio in the tails.
#[must_use]
pub fn normal(z: f64) -> f64 {
    if z <= -3.0 {
        return if z < -40.0 { 0.0 } else { density(z) * mills(-z) };
    }
    if z >= 3.0 {
        return 1.0 - normal(-z);
    }
    // φ(z) (z + z³ / 3 + z⁵ / (3 · 5) + ..).
    let (mut term, mut sum, mut n) = (z, z, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        n += 2.0;
        term *= z * z / n;
        sum += term;
    }
    0.5 + density(z) * sum
}

/// `φ(z) / Φ(z)`.
fn hazard(z: f64) -> f64 {
    if z <= -3.0 { 1.0 / mills(-z) } else { density(z) / normal(z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_probabilities_are_those_of_tables() {
        let known = [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_543),
            (-1.959_963_984_540_054, 0.025),
            (-3.0, 1.349_898_031_630_094_5e-3),
            (-10.0, 7.619_853_024_160_527e-24),
        ];
        for (z, p) in known {
            assert!((normal(z) / p - 1.0).abs() < 1e-13, "{z}: {}", normal(z));
            assert!((normal(-z) - (1.0 - p)).abs() < 1e-14, "{z}");
        }
        assert!((hazard(-3.0 - 1e-9) - hazard(-3.0 + 1e-9)).abs() < 1e-8, "both forms meet");
    }

    #[test]
    fn a_grid_has_two_values_at_least_and_twenty_one_at_most() {
        let grid = |n: u32| Ordinal::grid((0..3 * n).map(|i| f64::from(i % n) / 2.0));
        assert_eq!(grid(3), Some(vec![0.0, 0.5, 1.0]));
        assert!(grid(1).is_none() && grid(21).is_some() && grid(22).is_none());
    }

    #[test]
    fn a_value_that_nobody_was_seen_to_give_has_a_finite_cut_and_a_chance() {
        let rows: Vec<Expected> =
            (0..50).map(|i| Expected { mean: 3.0, variance: 1.0, rating: f64::from(3 + i % 2), weight: 1.0 }).collect();
        let ordinal = Ordinal::fit(vec![1.0, 2.0, 3.0, 4.0, 5.0], &rows).unwrap();
        assert!(ordinal.cuts.windows(2).all(|pair| pair[0] < pair[1]) && ordinal.cuts.iter().all(|cut| cut.is_finite()), "{ordinal:?}");
        let chances: Vec<f64> = ordinal.values.iter().map(|&y| ordinal.probability(y, 3.0, 1.0)).collect();
        assert!(chances.iter().all(|p| *p > 0.0) && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{chances:?}");
        assert_eq!(ordinal.probability(2.5, 3.0, 1.0), 0.0);
        assert!(Ordinal::fit(vec![1.0, 2.0], &[]).is_none());
    }
}
