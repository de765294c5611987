//! How much a key's parent counts: empirical Bayes on training rows.

use serde::{Deserialize, Serialize};

use super::derivation::Statistic;
use super::key::Groups;
use super::replay::Course;
use crate::config::StatisticValue;
use crate::hash::mix;

/// One step of shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// How many rows the parent's value counts for.
    pub strength: f64,
    /// Of the first level: the parent's value, that of all training rows.
    pub value: f64,
}

impl Level {
    /// `(sum + m p) / (n + m)`.
    pub(crate) fn shrunk(self, n: f64, sum: f64, parent: f64) -> f64 {
        (sum + self.strength * parent) / (n + self.strength)
    }
}

/// Keys that a strength is fitted on; of more, those with the smallest hashes.
const KEYS: usize = 50_000;

/// Strengths that are thought of.
const STRENGTHS: [f64; 2] = [0.1, 1e6];

/// Steps of the search: the strength is told within 2 %.
const SEARCH: usize = 40;

/// The levels of a statistic that is shrunk, from training rows.
///
/// Level by level, `m` is what makes the keys' rows most likely where each key's rate has a beta distribution of mean `p` (its parent's value) and
/// strength `m`: the beta-binomial likelihood of `s` successes in `n` rows. For a mean, `m = within / between`, the ratio of the variances by moments.
pub(crate) fn levels<'a>(statistic: &Statistic<'a>, course: &Course<'a>, groups: &mut Groups<'_, 'a>, train: &[bool]) -> Vec<Level> {
    let log = course.log;
    let number = |row: u32| train[row as usize].then(|| statistic.bits(log, row)).flatten().map(f64::from_bits);
    let total = course.by_time.iter().filter_map(|&row| number(row)).fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + x));
    let value = if total.0 > 0.0 { total.1 / total.0 } else { 0.0 };
    // The value of all rows stands in for what no row says yet.
    let mut levels = vec![Level { strength: 1.0, value }];
    // The value of each row's key on the level before; empty: that of all rows.
    let mut prior: Vec<f64> = Vec::new();
    for (level, keys) in statistic.keys.iter().enumerate().skip(1) {
        let grouped = groups.of(keys);
        let sums = |rows: &[u32]| {
            let numbers = || rows.iter().filter_map(|&row| number(row));
            let (n, sum) = numbers().fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + x));
            let mean = sum / f64::max(n, 1.0);
            let scatter = numbers().map(|x| (x - mean).powi(2)).sum();
            Sums { n, sum, scatter, prior: rows.first().and_then(|&row| prior.get(row as usize)).copied().unwrap_or(value) }
        };
        let strength = statistic.reading.strength.unwrap_or_else(|| {
            let kept = kept(grouped.keys().zip(grouped.numbers()).map(|(rows, number)| (number, sums(rows))));
            match statistic.value() {
                StatisticValue::Rate => of_rates(&kept),
                _ => of_means(&kept),
            }
        });
        levels.push(Level { strength, value });
        if level + 1 < statistic.keys.len() {
            let mut values = vec![value; log.len()];
            for rows in grouped.keys() {
                let Sums { n, sum, prior, .. } = sums(rows);
                let shrunk = (sum + strength * prior) / (n + strength);
                rows.iter().for_each(|&row| values[row as usize] = shrunk);
            }
            prior = values;
        }
    }
    levels
}

/// The keys with training rows that a strength is fitted on, by number, or by hash where some are left out.
fn kept(all: impl Iterator<Item = (u32, Sums)>) -> Vec<Sums> {
    let cut = |kept: &mut Vec<(u64, u32, Sums)>| {
        if kept.len() > KEYS {
            kept.select_nth_unstable_by_key(KEYS, |(hash, ..)| *hash);
            kept.truncate(KEYS);
        }
    };
    let (mut kept, mut total) = (Vec::new(), 0);
    for (number, sums) in all.filter(|(_, sums)| sums.n > 0.0) {
        total += 1;
        kept.push((mix(number.into()), number, sums));
        // Cut now and then, so that it stays small.
        if kept.len() > 2 * KEYS {
            cut(&mut kept);
        }
    }
    cut(&mut kept);
    kept.sort_unstable_by_key(|&(hash, number, _)| if total > KEYS { hash } else { number.into() });
    kept.into_iter().map(|(.., sums)| sums).collect()
}

/// Rows of a key, with its parent's value.
#[derive(Clone, Copy, Debug)]
struct Sums {
    n: f64,
    sum: f64,
    /// Sum of squared distances from the key's mean.
    scatter: f64,
    prior: f64,
}

/// The strength of the highest beta-binomial likelihood, by golden sections of its logarithm.
fn of_rates(keys: &[Sums]) -> f64 {
    let likelihood = |ln_m: f64| {
        let m = ln_m.exp();
        let of_key = |&Sums { n, sum: s, prior, .. }: &Sums| {
            let (a, b) = (m * prior.clamp(1e-6, 1.0 - 1e-6), m * (1.0 - prior.clamp(1e-6, 1.0 - 1e-6)));
            ln_rising(a, s) + ln_rising(b, n - s) - ln_rising(m, n)
        };
        keys.iter().map(of_key).sum::<f64>()
    };
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let [mut low, mut high] = STRENGTHS.map(f64::ln);
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_left, mut at_right) = (likelihood(left), likelihood(right));
    for _ in 0..SEARCH {
        if at_left >= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - ratio * (high - low);
            at_left = likelihood(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + ratio * (high - low);
            at_right = likelihood(right);
        }
    }
    f64::midpoint(low, high).exp()
}

/// `ln(x (x + 1) ... (x + n - 1)) = ln Γ(x + n) - ln Γ(x)`; directly for few factors, by Stirling's series for many.
fn ln_rising(x: f64, n: f64) -> f64 {
    if n <= 16.0 {
        return (0..n as u32).map(|i| x + f64::from(i)).product::<f64>().ln();
    }
    ln_gamma(x + n) - ln_gamma(x)
}

/// `ln Γ(x)` for `x > 0`: the recurrence up to 8, then Stirling's series; relative error below 1e-12.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 1.0;
    while x < 8.0 {
        shift *= x;
        x += 1.0;
    }
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift.ln()
}

/// `within / between` by moments: `within = Σ scatter / (N - K)`, `between = max(0, Σ n (mean - prior)^2 - K within) / N`.
fn of_means(keys: &[Sums]) -> f64 {
    let (n, k) = (keys.iter().map(|s| s.n).sum::<f64>(), keys.len() as f64);
    let within = keys.iter().map(|s| s.scatter).sum::<f64>() / (n - k).max(1.0);
    let apart = keys.iter().map(|s| s.n * (s.sum / s.n - s.prior).powi(2)).sum::<f64>();
    let between = (apart - k * within).max(0.0) / n.max(1.0);
    let [low, high] = STRENGTHS;
    if within == 0.0 { low } else { (within / between).clamp(low, high) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RandomStream;

    #[test]
    fn of_many_keys_those_with_the_smallest_hashes_are_kept() {
        let sums = |i: u32| Sums { n: f64::from(u8::from(!i.is_multiple_of(5))), sum: f64::from(i), scatter: 0.0, prior: 0.0 };
        for count in [1000, 62_501, 300_000] {
            let found: Vec<f64> = kept((0..count).rev().map(|i| (i, sums(i)))).iter().map(|s| s.sum).collect();
            let mut expected: Vec<u32> = (0..count).filter(|i| !i.is_multiple_of(5)).collect();
            if expected.len() > KEYS {
                expected.sort_unstable_by_key(|&i| mix(i.into()));
                expected.truncate(KEYS);
            }
            assert_eq!(found, expected.into_iter().map(f64::from).collect::<Vec<_>>(), "of {count}");
        }
    }

    #[test]
    fn gamma_functions() {
        // From Python's math.lgamma.
        for (x, expected) in [(0.1, 2.252_712_651_734_206), (1.0, 0.0), (2.5, 0.284_682_870_472_919_2), (100.5, 361.435_540_467_777_5)] {
            assert!((ln_gamma(x) - expected).abs() < 1e-10, "{x}: {}", ln_gamma(x));
        }
        for n in [0.0, 1.0, 7.0, 16.0, 17.0, 300.0] {
            assert!((ln_rising(3.7, n) - (ln_gamma(3.7 + n) - ln_gamma(3.7))).abs() < 1e-9);
        }
    }

    /// Keys whose rates are drawn from a beta distribution of a known strength, as the urn scheme of Polya makes them.
    #[test]
    fn the_strength_of_drawn_rates_is_found_again() {
        for strength in [2.0, 20.0, 200.0] {
            let mut stream = RandomStream::new(7, 0, strength as u64);
            let keys: Vec<Sums> = (0..5000)
                .map(|i| {
                    let (rows, prior) = (5 + i % 60, if i % 2 == 0 { 0.2 } else { 0.4 });
                    let sum = (0..rows).fold(0.0, |s, n| {
                        let p = (s + strength * prior) / (f64::from(n) + strength);
                        s + f64::from(u8::from(stream.unit() < p))
                    });
                    Sums { n: f64::from(rows), sum, scatter: 0.0, prior }
                })
                .collect();
            let found = of_rates(&keys);
            assert!((found / strength).ln().abs() < 0.25, "{strength}: {found}");
        }
    }

    #[test]
    fn the_strength_of_drawn_means_is_found_again() {
        let mut stream = RandomStream::new(8, 0, 0);
        // Sums of twelve uniform numbers: variance 1.
        let mut normal = || (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0;
        let keys: Vec<Sums> = (0..5000)
            .map(|i| {
                let (n, effect) = (5 + i % 20, normal() * 0.5);
                let numbers: Vec<f64> = (0..n).map(|_| 3.0 + effect + normal() * 2.0).collect();
                let (sum, mean) = (numbers.iter().sum(), numbers.iter().sum::<f64>() / f64::from(n));
                Sums { n: f64::from(n), sum, scatter: numbers.iter().map(|x| (x - mean).powi(2)).sum(), prior: 3.0 }
            })
            .collect();
        let found = of_means(&keys);
        assert!((found / 16.0).ln().abs() < 0.15, "{found}");
    }
}
