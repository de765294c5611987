//! Seeded negative sampling for training, and fixed negative sets for sampled metrics.

use serde::{Deserialize, Serialize};

use crate::stream::RandomStream;

/// How often an id is drawn as a negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum NegativeConfig {
    /// Every candidate is equally likely. The default: it makes no assumption about exposure.
    #[default]
    Uniform,
    /// In proportion to `count^power`.
    Popularity {
        /// 1 = as often as it occurs, 0 = uniform; 0.75 (the default) is customary: frequent ids, but not only these.
        #[serde(default = "default_power")]
        power: f64,
    },
}

crate::tagged!(NegativeConfig, "kind");

fn default_power() -> f64 {
    0.75
}

/// Why negatives could not be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NegativeError {
    /// Nothing to draw from.
    #[error("there is no candidate to draw negatives from; give at least one id")]
    NoCandidate,
    /// `counts` and `candidates` differ in length.
    #[error("{candidates} candidates but {counts} counts; give one count for each candidate")]
    Lengths {
        /// Number of candidates.
        candidates: usize,
        /// Number of counts.
        counts: usize,
    },
    /// A weight is not a positive finite number for any candidate.
    #[error(
        "popularity power {power} leaves no candidate with a positive finite weight; use a power between 0 and 1 and counts that are not all 0"
    )]
    Weights {
        /// The power in the config.
        power: f64,
    },
    /// Every candidate is excluded.
    #[error("all {candidates} candidates are excluded, so no negative can be drawn; exclude fewer ids")]
    AllExcluded {
        /// Number of candidates.
        candidates: usize,
    },
}

/// Draws negatives with replacement, statelessly from (seed, epoch, step).
#[derive(Clone, Debug)]
pub struct NegativeSampler {
    candidates: Vec<u32>,
    /// `None` for uniform weights.
    table: Option<AliasTable>,
    seed: u64,
}

impl NegativeSampler {
    /// A sampler over `candidates` (item indices or vocabulary rows); `counts[i]` = how often `candidates[i]` occurs, ignored when uniform.
    ///
    /// # Errors
    /// No candidate, lengths that differ, or weights that are all 0.
    pub fn new(config: NegativeConfig, candidates: Vec<u32>, counts: &[u64], seed: u64) -> Result<Self, NegativeError> {
        if candidates.is_empty() {
            return Err(NegativeError::NoCandidate);
        }
        let table = match config {
            NegativeConfig::Uniform => None,
            NegativeConfig::Popularity { power } => {
                if counts.len() != candidates.len() {
                    return Err(NegativeError::Lengths { candidates: candidates.len(), counts: counts.len() });
                }
                let weights: Vec<f64> = counts.iter().map(|&n| if n == 0 { 0.0 } else { (n as f64).powf(power) }).collect();
                let sum: f64 = weights.iter().sum();
                if !(sum.is_finite() && sum > 0.0) {
                    return Err(NegativeError::Weights { power });
                }
                Some(AliasTable::new(&weights))
            }
        };
        Ok(Self { candidates, table, seed: RandomStream::seed_for(seed, "negatives") })
    }

    /// `count` negatives for a step, with replacement.
    #[must_use]
    pub fn draw(&self, epoch: u64, step: u64, count: usize) -> Vec<u32> {
        let mut stream = RandomStream::new(self.seed, epoch, step);
        (0..count).map(|_| self.candidates[self.position(&mut stream)]).collect()
    }

    /// `count` negatives for a step, none of them in `excluded` (ascending).
    ///
    /// # Errors
    /// Every candidate that can be drawn is excluded.
    pub fn draw_excluding(&self, epoch: u64, step: u64, count: usize, excluded: &[u32]) -> Result<Vec<u32>, NegativeError> {
        debug_assert!(excluded.is_sorted(), "excluded ids are looked up by binary search");
        let mut stream = RandomStream::new(self.seed, epoch, step);
        let free = |id: u32| excluded.binary_search(&id).is_err();
        (0..count)
            .map(|_| {
                // Rejection keeps the proportions; beyond these tries nearly everything is excluded and a scan is cheaper.
                let quick = (0..32).map(|_| self.candidates[self.position(&mut stream)]).find(|&id| free(id));
                quick.map_or_else(|| self.scan(&mut stream, free), Ok)
            })
            .collect()
    }

    /// `ln` of the chance that a draw gives the candidate at a position.
    #[must_use]
    pub fn log_probability(&self, position: usize) -> f64 {
        match &self.table {
            None => -(self.candidates.len() as f64).ln(),
            Some(table) => (table.weights[position] / table.sum).ln(),
        }
    }

    fn scan(&self, stream: &mut RandomStream, free: impl Fn(u32) -> bool) -> Result<u32, NegativeError> {
        let weight = |i: usize| self.table.as_ref().map_or(1.0, |t| t.weights[i]);
        let left = || self.candidates.iter().enumerate().filter(|&(i, &id)| free(id) && weight(i) > 0.0);
        let mut rest = stream.unit() * left().map(|(i, _)| weight(i)).sum::<f64>();
        let mut last = None;
        for (i, &id) in left() {
            last = Some(id);
            rest -= weight(i);
            if rest < 0.0 {
                break;
            }
        }
        last.ok_or(NegativeError::AllExcluded { candidates: self.candidates.len() })
    }

    fn position(&self, stream: &mut RandomStream) -> usize {
        match &self.table {
            None => stream.position(self.candidates.len()),
            Some(table) => table.position(stream),
        }
    }
}

/// Vose's alias method: one draw costs one column and one comparison, however uneven the weights.
#[derive(Clone, Debug)]
struct AliasTable {
    /// Chance of staying in a column.
    stay: Vec<f64>,
    alias: Vec<u32>,
    weights: Vec<f64>,
    sum: f64,
}

impl AliasTable {
    fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        let sum = weights.iter().sum::<f64>();
        let scale = n as f64 / sum;
        let mut stay: Vec<f64> = weights.iter().map(|w| w * scale).collect();
        // A column left over by rounding must not fall back on an id of weight 0.
        let heaviest = (0..n).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
        let mut alias = vec![heaviest as u32; n];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| stay[i] < 1.0);
        while let (Some(&s), Some(&l)) = (small.last(), large.last()) {
            small.pop();
            alias[s] = l as u32;
            stay[l] -= 1.0 - stay[s];
            if stay[l] < 1.0 {
                large.pop();
                small.push(l);
            }
        }
        // What is left differs from 1 by rounding only, except weight 0, which must stay impossible.
        for i in small.into_iter().chain(large).filter(|&i| weights[i] > 0.0) {
            stay[i] = 1.0;
        }
        Self { stay, alias, weights: weights.to_vec(), sum }
    }

    fn position(&self, stream: &mut RandomStream) -> usize {
        let column = stream.position(self.stay.len());
        if stream.unit() < self.stay[column] { column } else { self.alias[column] as usize }
    }
}

/// The positions of the `n` smallest `key`s among `0..len`, ascending by key (ties by position): a fixed negative set without replacement, the same for every method.
#[must_use]
pub fn smallest_by_key(len: usize, n: usize, key: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = (0..len).map(|i| (key(i), i)).collect();
    if n < keyed.len() && n > 0 {
        keyed.select_nth_unstable(n - 1);
    }
    keyed.truncate(n);
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(draws: &[u32], n: usize) -> Vec<f64> {
        let mut count = vec![0.0; n];
        draws.iter().for_each(|&d| count[d as usize] += 1.0 / draws.len() as f64);
        count
    }

    #[test]
    fn popularity_draws_in_proportion() {
        let counts = [0, 1, 16, 81, 2];
        let sampler = NegativeSampler::new(NegativeConfig::Popularity { power: 0.5 }, (0..5).collect(), &counts, 3).unwrap();
        let share = shares(&sampler.draw(0, 0, 200_000), 5);
        let sum: f64 = counts.iter().map(|&c| (c as f64).sqrt()).sum();
        for (i, &c) in counts.iter().enumerate() {
            assert!((share[i] - (c as f64).sqrt() / sum).abs() < 0.005, "id {i}: {share:?}");
        }
        assert_eq!(share[0], 0.0);
    }

    #[test]
    fn exclusion_keeps_the_proportions_of_the_rest() {
        let sampler = NegativeSampler::new(NegativeConfig::Popularity { power: 1.0 }, (0..4).collect(), &[1000, 1, 3, 0], 3).unwrap();
        let share = shares(&sampler.draw_excluding(0, 0, 20_000, &[0]).unwrap(), 4);
        assert!((share[1] - 0.25).abs() < 0.02 && share[0] == 0.0 && share[3] == 0.0, "{share:?}");
        assert_eq!(sampler.draw_excluding(0, 0, 1, &[0, 1, 2]), Err(NegativeError::AllExcluded { candidates: 4 }));
    }

    #[test]
    fn steps_are_independent_of_each_other() {
        let sampler = NegativeSampler::new(NegativeConfig::Uniform, (0..1000).collect(), &[], 3).unwrap();
        assert_eq!(sampler.draw(2, 5, 50), sampler.draw(2, 5, 50));
        assert_ne!(sampler.draw(2, 5, 50), sampler.draw(2, 6, 50));
        assert_eq!(sampler.draw(2, 5, 50)[..20], sampler.draw(2, 5, 20));
    }

    #[test]
    fn config_defaults_and_refuses_unknown_keys() {
        let config: NegativeConfig = serde_json::from_str(r#"{"kind":"popularity"}"#).unwrap();
        assert_eq!(config, NegativeConfig::Popularity { power: 0.75 });
        assert!(serde_json::from_str::<NegativeConfig>(r#"{"kind":"popularity","pow":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn excluded_ids_never_come_back(excluded in proptest::collection::btree_set(0u32..40, 0..39), seed in any::<u64>()) {
            let excluded: Vec<u32> = excluded.into_iter().collect();
            let counts: Vec<u64> = (0..40).map(|i| i * i + 1).collect();
            for config in [NegativeConfig::Uniform, NegativeConfig::Popularity { power: 1.0 }] {
                let sampler = NegativeSampler::new(config, (0..40).collect(), &counts, seed).unwrap();
                let drawn = sampler.draw_excluding(0, 0, 30, &excluded).unwrap();
                prop_assert_eq!(drawn.len(), 30);
                prop_assert!(drawn.iter().all(|d| !excluded.contains(d)));
            }
        }

        #[test]
        fn smallest_keys_equal_a_full_sort(keys in proptest::collection::vec(0u64..50, 0..60), n in 0usize..70) {
            let mut all: Vec<usize> = (0..keys.len()).collect();
            all.sort_by_key(|&i| (keys[i], i));
            all.truncate(n);
            prop_assert_eq!(smallest_by_key(keys.len(), n, |i| keys[i]), all);
        }
    }
}
