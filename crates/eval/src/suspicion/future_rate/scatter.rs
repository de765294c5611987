//! How far label sums of neighbours are apart, beside what chance in the measured labels alone makes of it.

use super::{ERRORS, KNOWN};

/// Rows at the prior that are added to a rate: each stands for values up to half as large again.
const SMOOTHING: [f64; 24] = [
    0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 85.0, 100.0, 120.0, 140.0, 170.0, 200.0, 300.0,
    500.0, 1000.0,
];
/// These are tried first. A rate with a smoothing between two of them still shows part of what it knows; nothing honest shows this much.
const COARSE: [f64; 9] = [0.0, 3.0, 10.0, 30.0, 60.0, 100.0, 300.0, 500.0, 1000.0];
const WORTH_A_CLOSER_LOOK: f64 = 0.15;

/// Rows of each group and the sum of their labels.
#[derive(PartialEq)]
pub(super) struct Sums {
    pub(super) rows: Vec<f64>,
    pub(super) labels: Vec<f64>,
}

impl Sums {
    pub(super) fn new(groups: usize) -> Self {
        Self { rows: vec![0.0; groups], labels: vec![0.0; groups] }
    }

    pub(super) fn add(&mut self, group: u32, label: f64) {
        self.rows[group as usize] += 1.0;
        self.labels[group as usize] += label;
    }
}

/// The share of chance that a feature knows.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) known: f64,
    pub(super) threshold: f64,
}

impl Found {
    pub(super) fn by_closeness(a: &Self, b: &Self) -> std::cmp::Ordering {
        (a.known / a.threshold).total_cmp(&(b.known / b.threshold))
    }
}

/// Groups in the order of a feature.
pub(super) struct Order {
    groups: Vec<usize>,
    /// Of each group but the first and the last: the weights of its two neighbours.
    weights: Vec<[f64; 2]>,
    /// Measured rows of each group, in this order.
    measured: Vec<f64>,
    /// Variance of their labels' sum by chance.
    chance: Vec<f64>,
    /// Excess kurtosis of that sum.
    excess: Vec<f64>,
}

impl Order {
    /// `None` with less than three groups.
    pub(super) fn new(groups: &[usize], values: &[f64], measured: &[f64], variance: &[f64], kurtosis: f64) -> Option<Self> {
        if groups.len() < 3 {
            return None;
        }
        let weights = groups.windows(3).map(|w| {
            let [before, own, after] = [values[w[0]], values[w[1]], values[w[2]]];
            let second = if after > before { (own - before) / (after - before) } else { 0.5 };
            [1.0 - second, second]
        });
        Some(Self {
            weights: weights.collect(),
            measured: groups.iter().map(|&g| measured[g]).collect(),
            chance: groups.iter().map(|&g| measured[g] * variance[g]).collect(),
            excess: groups.iter().map(|&g| kurtosis.max(0.0) / measured[g]).collect(),
            groups: groups.to_vec(),
        })
    }

    /// The closest that sums over one set of rows come to the threshold, as rates and as sums.
    pub(super) fn closest(&self, sums: &Sums, priors: [f64; 3]) -> Option<Found> {
        let rows: Vec<f64> = self.groups.iter().map(|&g| sums.rows[g]).collect();
        let labels: Vec<f64> = self.groups.iter().map(|&g| sums.labels[g]).collect();
        let rate = |(a, p): (f64, f64)| {
            let scale: Vec<f64> = rows.iter().map(|n| 1.0 / (n + a)).collect();
            let rates: Vec<f64> = labels.iter().zip(&scale).map(|(s, scale)| (s + a * p) * scale).collect();
            self.known(&rates, &scale)
        };
        // Without smoothing there is no prior.
        let with_priors = |a: f64| priors[..if a == 0.0 { 1 } else { 3 }].iter().map(move |&p| (a, p));
        let as_sums = self.known(&labels, &vec![1.0; rows.len()]);
        let coarse = COARSE.into_iter().flat_map(with_priors).filter_map(rate);
        let found = coarse.chain(as_sums).max_by(Found::by_closeness)?;
        if found.known < WORTH_A_CLOSER_LOOK {
            return Some(found);
        }
        SMOOTHING.into_iter().flat_map(with_priors).filter_map(rate).chain([found]).max_by(Found::by_closeness)
    }

    /// With `x` the statistic of each group and `scale` how much one label moves it. `None` where too few groups have chance in their labels.
    fn known(&self, x: &[f64], scale: &[f64]) -> Option<Found> {
        let [mut distance, mut chance, mut chance_squares] = [0.0; 3];
        for (i, &[before, after]) in self.weights.iter().enumerate() {
            let squares = [before * before, 1.0, after * after];
            let [mut size, mut variance, mut excess] = [0.0; 3];
            for (j, square) in squares.into_iter().enumerate() {
                let square = square * scale[i + j] * scale[i + j];
                let own = square * self.chance[i + j];
                size += square * self.measured[i + j];
                variance += own;
                excess += own * own * self.excess[i + j];
            }
            let difference = x[i + 1] - before * x[i] - after * x[i + 2];
            distance += difference * difference / size;
            chance += variance / size;
            chance_squares += (variance * variance + 0.5 * excess) / (size * size);
        }
        // Squares of neighbours overlap: 3 in place of 2 in the variance of a mean of squares.
        let threshold = KNOWN.max(ERRORS * (3.0 * chance_squares).sqrt() / chance);
        (chance > 0.0 && threshold <= 1.0).then(|| Found { known: 1.0 - distance / chance, threshold })
    }
}
