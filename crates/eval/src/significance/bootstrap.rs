//! Draws of users, percentiles, paired differences.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Statistic;
use crate::EvalError;
use crate::metric::Goal;

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Number of times the users are drawn. More makes the ends of an interval steadier: 1,000 moves them by about 3 % of its width.
    pub draws: usize,
    /// Seed of the draws; the same seed gives the same draws for every metric and method.
    pub seed: u64,
    /// Share of draws inside an interval, for example 0.95.
    pub level: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: 1000, seed: 7, level: 0.95 }
    }
}

/// One method on one metric: a statistic for each training seed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name of the method.
    pub method: String,
    /// One statistic a training seed; deterministic methods have one.
    pub seeds: Vec<Statistic>,
}

/// A value with its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Name of the method.
    pub method: String,
    /// Mean over seeds on the full sample; `None` when the metric is undefined.
    pub value: Option<f64>,
    /// Lower end of the interval; `None` when undefined or with a single user.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// The value of each seed.
    pub per_seed: Vec<Option<f64>>,
    /// Draws on which the metric was undefined (a single class, say); they are left out of the interval.
    pub undefined_draws: usize,
}

/// A paired difference, method minus reference, with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Difference on the full sample.
    pub value: f64,
    /// Lower end of the interval; `None` with a single user.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
}

/// All methods of one metric, measured on the same draws.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Estimates in the order of the samples.
    pub estimates: Vec<Estimate>,
    /// Domains that a macro mean left out, the same for all samples: position of the name, whether on the full sample (then in every draw), and in how many
    /// draws.
    pub(crate) left_out: Vec<(usize, bool, usize)>,
    /// `[method][draw]`; NaN where undefined.
    draws: Vec<Vec<f64>>,
    level: f64,
}

impl Bootstrap {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`EvalError::Bootstrap`] when a field is outside its range.
    pub fn validate(&self) -> Result<(), EvalError> {
        if self.draws < 20 {
            return Err(EvalError::Bootstrap { what: "draws", value: self.draws as f64, allowed: "20 and more" });
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(EvalError::Bootstrap { what: "level", value: self.level, allowed: "between 0 and 1, both excluded" });
        }
        Ok(())
    }

    /// Measures every sample on the full users and on the same draws of users.
    ///
    /// The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`EvalError::Bootstrap`] for settings outside their range, [`EvalError::Empty`] without samples or seeds,
    /// [`EvalError::Length`] when samples cover different numbers of users.
    pub fn compare(&self, samples: &[Sample]) -> Result<Comparison, EvalError> {
        self.validate()?;
        let users = samples.first().and_then(|sample| sample.seeds.first()).ok_or(EvalError::Empty { what: "methods" })?.users();
        for sample in samples {
            if sample.seeds.is_empty() {
                return Err(EvalError::Empty { what: "training seeds" });
            }
            if let Some(other) = sample.seeds.iter().find(|statistic| statistic.users() != users) {
                return Err(EvalError::Length { what: format!("users of `{}`", sample.method), expected: users, found: other.users() });
            }
        }
        let first = &samples[0].seeds[0];
        let by_draw: Vec<(Vec<f64>, Vec<bool>)> = (0..self.draws)
            .into_par_iter()
            .map_init(
                || vec![0; users],
                |weights, draw| {
                    self.weights_into(draw, weights);
                    let values = samples.iter().map(|sample| mean_over_seeds(sample, weights).unwrap_or(f64::NAN)).collect();
                    (values, first.left_out(weights))
                },
            )
            .collect();
        let draws: Vec<Vec<f64>> = (0..samples.len()).map(|method| by_draw.iter().map(|draw| draw.0[method]).collect()).collect();
        let on_sample = first.left_out(&vec![1; users]);
        let domains = first.domains().iter().zip(on_sample).enumerate();
        let left_out = domains.map(|(part, (&domain, always))| (domain, always, by_draw.iter().filter(|draw| draw.1[part]).count()));
        let left_out = left_out.filter(|&(_, always, draws)| always || draws > 0).collect();
        let estimates = samples.iter().zip(&draws).map(|(sample, draws)| estimate(sample, draws, users, self.level)).collect();
        Ok(Comparison { estimates, left_out, draws, level: self.level })
    }

    /// How often each user is drawn in draw number `draw`: as many draws as users, with replacement.
    ///
    /// Each draw has its own random stream, so that it does not depend on the others.
    fn weights_into(&self, draw: usize, weights: &mut [u32]) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(draw as u64);
        weights.fill(0);
        // 32-bit bounds make the draws equal on machines of either word size.
        let users = u32::try_from(weights.len()).expect("evaluations hold at most 2^30 users");
        for _ in 0..users {
            weights[random.random_range(0..users) as usize] += 1;
        }
    }
}

impl Comparison {
    /// Paired difference `a − b` of two methods, given by position.
    ///
    /// For a goal that is a value (1 for PCOC) it is the difference of the distances to it. `None` when one of them is undefined.
    #[must_use]
    pub fn difference(&self, a: usize, b: usize, goal: Goal) -> Option<Difference> {
        let of = |value: f64| if goal.is_a_value() { goal.badness(value) } else { value };
        let value = of(self.estimates[a].value?) - of(self.estimates[b].value?);
        let draws: Vec<f64> = self.draws[a].iter().zip(&self.draws[b]).map(|(&a, &b)| of(a) - of(b)).collect();
        let single_user = self.estimates[a].ci_low.is_none() || self.estimates[b].ci_low.is_none();
        let [ci_low, ci_high] = if single_user { [None; 2] } else { interval(&draws, self.level) };
        Some(Difference { value, ci_low, ci_high })
    }
}

fn mean_over_seeds(sample: &Sample, weights: &[u32]) -> Option<f64> {
    let mut sum = 0.0;
    for statistic in &sample.seeds {
        sum += statistic.weighted(weights)?;
    }
    Some(sum / sample.seeds.len() as f64)
}

fn estimate(sample: &Sample, draws: &[f64], users: usize, level: f64) -> Estimate {
    let per_seed: Vec<Option<f64>> = sample.seeds.iter().map(Statistic::value).collect();
    let value = per_seed.iter().copied().sum::<Option<f64>>().map(|sum| sum / per_seed.len() as f64);
    let [ci_low, ci_high] = if users < 2 || value.is_none() { [None; 2] } else { interval(draws, level) };
    let undefined_draws = draws.iter().filter(|draw| draw.is_nan()).count();
    Estimate { method: sample.method.clone(), value, ci_low, ci_high, per_seed, undefined_draws }
}

/// Percentile interval over the defined draws, interpolated linearly between order statistics.
fn interval(draws: &[f64], level: f64) -> [Option<f64>; 2] {
    let mut sorted: Vec<f64> = draws.iter().copied().filter(|draw| !draw.is_nan()).collect();
    if sorted.is_empty() {
        return [None; 2];
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    [Some(quantile(&sorted, tail)), Some(quantile(&sorted, 1.0 - tail))]
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_interpolates_like_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 1.0), 8.0);
        assert!((quantile(&sorted, 0.4) - 2.4).abs() < 1e-12);
    }

    #[test]
    fn a_draw_takes_as_many_users_as_there_are_and_depends_on_its_number_only() {
        let bootstrap = Bootstrap::default();
        let (mut first, mut again, mut other) = (vec![0; 50], vec![9; 50], vec![0; 50]);
        bootstrap.weights_into(3, &mut first);
        bootstrap.weights_into(3, &mut again);
        bootstrap.weights_into(4, &mut other);
        assert_eq!(first.iter().sum::<u32>(), 50);
        assert_eq!(first, again);
        assert_ne!(first, other);
    }
}
