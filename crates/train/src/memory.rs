//! What followed similar states: a memory beside a network that is read when it scores, without a gradient.
//!
//! ```text
//! w_e      = exp((cos(h, h_e) - 1) / T) * 0.5^((t - t_e) / half_life)   over the m nearest events e with t_e < t
//! p_mem(i) = sum of w_e over the events of item i / sum of w_e
//! p(i)     = (1 - g) softmax(s)(i) + g p_mem(i),   g = sigmoid(a conf(p_mem) - b conf(softmax(s)) + c),   conf(p) = ln(C max p)
//! ```
//! h is the state that the network makes of a history, h_e the one before event e; an event before which there was nothing has the state 0 and the cosine 0.
//! With all events and a large T the memory is the decayed count of each item, with few and a small T what followed nearly the same history. The idea is that
//! of a retrieval-augmented recommender (ReAd; the form of the gate is of this project).

mod gate;

use std::borrow::Borrow;
use std::sync::Arc;

use acclimate_data::{MICROS_PER_DAY, RecentEvents};
use acclimate_eval::rank_of;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scorer::NextItemQuery;
use crate::{Scorer, TrainError};
use gate::Case;
pub use gate::Gate;

/// Settings of a memory, to be chosen from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Events that are read, those with the most similar states; 0: all earlier ones. Default: chosen from 0 and 300.
    pub neighbours: Vec<usize>,
    /// T, above 0. Smaller reads only what is most similar. Default: chosen from 0.05, 0.1, 0.2, 0.5 and 2.
    pub temperature: Vec<f64>,
    /// Days after which an event counts half; 0: it never counts less. Default: chosen from 1, 2, 4, 7, 30 and 0.
    pub half_life_days: Vec<f64>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { neighbours: vec![0, 300], temperature: vec![0.05, 0.1, 0.2, 0.5, 2.0], half_life_days: vec![1.0, 2.0, 4.0, 7.0, 30.0, 0.0] }
    }
}

/// One choice of settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Events that are read; 0: all.
    pub neighbours: usize,
    /// T.
    pub temperature: f64,
    /// Days after which an event counts half; 0: it never counts less.
    pub half_life_days: f64,
}

/// What validation queries chose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedMemory {
    /// Which events count how much.
    pub kernel: Kernel,
    /// How much the memory is believed.
    pub gate: Gate,
}

/// Events of a catalogue's items with the states before them, in the order of time.
#[derive(Clone, Debug)]
pub struct Memory {
    width: usize,
    /// Number of items in the head.
    items: usize,
    /// `[N, width]`, of length 1 or 0.
    states: Vec<f32>,
    /// Codes of the head's vocabulary.
    codes: Vec<u32>,
    /// Microseconds since 1970 (UTC), ascending.
    times: Vec<i64>,
}

/// A fitted memory with the states of some queries.
pub(crate) struct Recall<'a> {
    memory: &'a Memory,
    fitted: FittedMemory,
    /// `[Q, width]`.
    states: Vec<f32>,
}

impl MemoryConfig {
    /// Refuses an empty list or an impossible value.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the key.
    pub fn check(&self) -> Result<(), TrainError> {
        let error = |problem: &str| Err(TrainError::Config { key: "memory", problem: problem.into() });
        if self.neighbours.is_empty() || self.temperature.is_empty() || self.half_life_days.is_empty() {
            return error("needs at least one value for each of `neighbours`, `temperature` and `half_life_days`");
        }
        if self.temperature.iter().any(|t| !(t.is_finite() && *t > 0.0)) {
            return error("`temperature` must be numbers above 0");
        }
        if self.half_life_days.iter().any(|h| !(h.is_finite() && *h >= 0.0)) {
            return error("`half_life_days` must be numbers of days, 0 or more");
        }
        Ok(())
    }

    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Vec::new();
        for &neighbours in &self.neighbours {
            for &temperature in &self.temperature {
                all.extend(self.half_life_days.iter().map(|&half_life_days| Kernel { neighbours, temperature, half_life_days }));
            }
        }
        all
    }
}

impl Memory {
    /// A memory of events: the input before each, its item as `positive` and its time; other keys are not read. `items` is the size of the head.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn new(scorer: &Scorer<'_>, mut events: Vec<NextItemQuery>, items: usize) -> Result<Self, TrainError> {
        events.sort_by_key(|event| event.time);
        let (codes, times) = events.iter().map(|e| (e.positive, e.time)).unzip();
        let states = scorer.states(&events)?;
        Ok(Self { width: states.len() / events.len().max(1), items, states, codes, times })
    }

    /// Chooses for a network: the gate of each combination of settings by the likelihood of what followed the validation queries (those before every event
    /// say nothing), then the settings by their mean reciprocal rank in the catalogue.
    ///
    /// The cost is two passes over the earlier events and the catalogue for each query and each combination of settings.
    ///
    /// # Errors
    /// Settings that are impossible, or a context that the method can not adapt from.
    pub fn fit(
        &self,
        config: &MemoryConfig,
        scorer: &Scorer<'_>,
        catalogue: &[u32],
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
    ) -> Result<FittedMemory, TrainError> {
        config.check()?;
        let kernels = config.kernels();
        let states = scorer.states(queries)?;
        let mut of_network = vec![(0.0, 0.0); queries.len()];
        let positive_and_confidence = |_: usize, query: &NextItemQuery, scores: &mut [f32]| {
            softmax(scores, catalogue, &query.excluded);
            (scores[query.positive as usize - 1], confidence(scores))
        };
        scorer.each_query(queries, recent, positive_and_confidence, |q, found| of_network[q] = found)?;
        let of_memory: Vec<Vec<Option<(f32, f32)>>> = (0..queries.len())
            .into_par_iter()
            .map_init(Vec::new, |into: &mut Vec<f32>, q| {
                let query = queries[q].borrow();
                let mut said = Vec::with_capacity(kernels.len());
                let says = |says: bool, p: &[f32]| said.push(says.then(|| (p[query.positive as usize - 1], confidence(p))));
                self.each_kernel(config, &states[q * self.width..][..self.width], query, into, says);
                said
            })
            .collect();
        let gates: Vec<FittedMemory> = kernels
            .par_iter()
            .enumerate()
            .map(|(k, &kernel)| {
                let cases = of_network.iter().zip(&of_memory).filter_map(|(&network, memory)| Some(Case::new(network, memory[k]?)));
                FittedMemory { kernel, gate: Gate::fit(&cases.collect::<Vec<_>>()) }
            })
            .collect();
        let reciprocal_ranks = |q: usize, query: &NextItemQuery, scores: &mut [f32]| {
            softmax(scores, catalogue, &query.excluded);
            let (mut mixed, mut found) = (vec![0.0; scores.len()], Vec::with_capacity(gates.len()));
            let by_rank = |says: bool, p: &[f32]| {
                let g = if says { gates[found.len()].gate.weight(confidence(p), confidence(scores)) as f32 } else { 0.0 };
                mixed.iter_mut().zip(&*scores).zip(p).for_each(|((to, s), m)| *to = (1.0 - g) * s + g * m);
                // Items that are no candidates have probability 0.
                let positive = mixed[query.positive as usize - 1];
                found.push(1.0 / (rank_of(positive, mixed.iter().copied()) - 0.5));
            };
            self.each_kernel(config, &states[q * self.width..][..self.width], query, &mut Vec::new(), by_rank);
            found
        };
        let mut reached = vec![0.0; gates.len()];
        let add = |_: usize, found: Vec<f64>| reached.iter_mut().zip(found).for_each(|(sum, value)| *sum += value);
        scorer.each_query(queries, recent, reciprocal_ranks, add)?;
        let best = (0..gates.len()).reduce(|best, other| if reached[other] > reached[best] { other } else { best });
        Ok(gates[best.expect("there is a setting")])
    }

    /// The memory as it is read for some queries.
    pub(crate) fn recalled<'a>(
        &'a self,
        fitted: FittedMemory,
        scorer: &Scorer<'_>,
        queries: &[impl Borrow<NextItemQuery> + Sync],
    ) -> Result<Recall<'a>, TrainError> {
        Ok(Recall { memory: self, fitted, states: scorer.states(queries)? })
    }

    /// Cosines of a state with those of all events before `time`.
    fn cosines(&self, state: &[f32], time: i64) -> Vec<f32> {
        let earlier = self.times.partition_point(|&t| t < time);
        self.states[..earlier * self.width].chunks_exact(self.width.max(1)).map(|other| dot(state, other)).collect()
    }

    /// `exp((cos - 1) / T)` of the nearest events, by ascending time.
    fn similar(neighbours: usize, temperature: f64, cosines: &[f32]) -> Vec<(u32, f32)> {
        let least = if neighbours == 0 || neighbours >= cosines.len() {
            f32::MIN
        } else {
            let mut order = cosines.to_vec();
            *order.select_nth_unstable_by(neighbours - 1, |a, b| b.total_cmp(a)).1
        };
        let steepness = (1.0 / temperature) as f32;
        let near = (0..).zip(cosines).filter(|(_, cosine)| **cosine >= least);
        near.map(|(e, cosine)| (e, ((cosine - 1.0) * steepness).exp())).collect()
    }

    /// `p_mem` over the items of the head, without those that a query excludes; whether there is anything to remember.
    fn recall(&self, half_life_days: f64, similar: &[(u32, f32)], query: &NextItemQuery, into: &mut Vec<f32>) -> bool {
        into.clear();
        into.resize(self.items, 0.0);
        let first = similar.partition_point(|(e, _)| is_forgotten(half_life_days, query.time - self.times[*e as usize]));
        // Events come in the order of time: one power for each time, not for each event.
        let (mut time, mut weight) = (i64::MIN, 0.0);
        for &(e, similarity) in &similar[first..] {
            let e = e as usize;
            if self.times[e] != time {
                time = self.times[e];
                weight = decay(half_life_days, query.time - time);
            }
            into[self.codes[e] as usize - 1] += similarity * weight;
        }
        query.excluded.iter().for_each(|&code| into[code as usize - 1] = 0.0);
        let total: f32 = into.iter().sum();
        if total > 0.0 {
            into.iter_mut().for_each(|p| *p /= total);
        }
        total > 0.0
    }

    /// What is remembered with each combination of settings, in the order of [`MemoryConfig::kernels`].
    fn each_kernel(
        &self,
        config: &MemoryConfig,
        state: &[f32],
        query: &NextItemQuery,
        into: &mut Vec<f32>,
        mut read: impl FnMut(bool, &[f32]),
    ) {
        let cosines = self.cosines(state, query.time);
        for &neighbours in &config.neighbours {
            for &temperature in &config.temperature {
                let similar = Self::similar(neighbours, temperature, &cosines);
                for &half_life in &config.half_life_days {
                    let says = self.recall(half_life, &similar, query, into);
                    read(says, into);
                }
            }
        }
    }
}

impl Recall<'_> {
    /// Turns the scores of a query into logarithms of the mixed distribution.
    pub(crate) fn mix(&self, q: usize, query: &NextItemQuery, catalogue: &[u32], scores: &mut [f32]) {
        let memory = self.memory;
        let FittedMemory { kernel, gate } = &self.fitted;
        let cosines = memory.cosines(&self.states[q * memory.width..][..memory.width], query.time);
        let similar = Memory::similar(kernel.neighbours, kernel.temperature, &cosines);
        softmax(scores, catalogue, &query.excluded);
        let mut remembered = Vec::new();
        if memory.recall(kernel.half_life_days, &similar, query, &mut remembered) {
            let g = gate.weight(confidence(&remembered), confidence(scores)) as f32;
            scores.iter_mut().zip(&remembered).for_each(|(p, m)| *p = (1.0 - g) * *p + g * m);
        }
        scores.iter_mut().for_each(|p| *p = p.max(f32::MIN_POSITIVE).ln());
    }
}

/// `0.5^(age / half_life)`, the age in microseconds; a half-life of 0 days never halves.
fn decay(half_life_days: f64, age: i64) -> f32 {
    if half_life_days == 0.0 { 1.0 } else { (-(age as f64) / MICROS_PER_DAY as f64 / half_life_days).exp2() as f32 }
}

/// Whether an event weighs less than a millionth of a new one.
fn is_forgotten(half_life_days: f64, age: i64) -> bool {
    half_life_days != 0.0 && age as f64 > 20.0 * half_life_days * MICROS_PER_DAY as f64
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums beside each other, which the compiler can keep in one register.
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0f32; 8];
    a.zip(b).for_each(|(a, b)| (0..8).for_each(|i| sums[i] += a[i] * b[i]));
    sums.iter().sum::<f32>() + rest
}

/// `softmax(s)` over the catalogue without some codes (ascending); 0 elsewhere.
fn softmax(scores: &mut [f32], catalogue: &[u32], excluded: &[u32]) {
    let free = || catalogue.iter().filter(|code| excluded.binary_search(code).is_err()).map(|&code| code as usize - 1);
    let largest = free().map(|i| scores[i]).fold(f32::MIN, f32::max);
    let mut p = vec![0.0; scores.len()];
    let mut total = 0.0;
    free().for_each(|i| {
        p[i] = (scores[i] - largest).exp();
        total += p[i];
    });
    scores.iter_mut().zip(p).for_each(|(s, p)| *s = p / total);
}

/// `ln(C max p)`: 0 for a distribution that says nothing.
fn confidence(p: &[f32]) -> f32 {
    (p.iter().copied().fold(f32::MIN_POSITIVE, f32::max) * p.len() as f32).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let states = vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
        let day = |d: i64| d * MICROS_PER_DAY;
        Memory { width: 2, items: 3, states, codes: vec![1, 2, 3, 2], times: vec![day(0), day(2), day(4), day(4)] }
    }

    fn asked(day: i64) -> NextItemQuery {
        NextItemQuery { positive: 1, time: day * MICROS_PER_DAY, ..NextItemQuery::default() }
    }

    #[test]
    fn what_followed_similar_states_lately_counts_most_and_nothing_later_counts() {
        let (memory, mut p) = (memory(), Vec::new());
        let similar = |near: &[f32]| Memory::similar(0, 0.5, near);
        let near = memory.cosines(&[1.0, 0.0], asked(4).time);
        assert_eq!(near, [1.0, 0.0], "events of day 4 are not earlier than day 4");
        assert!(memory.recall(2.0, &similar(&near), &asked(4), &mut p));
        let (a, b) = (0.25, (-2.0f32).exp() * 0.5);
        let expected = [a / (a + b), b / (a + b), 0.0];
        p.iter().zip(expected).for_each(|(p, e)| assert!((p - e).abs() < 1e-6, "{p} {e}"));
        assert!(!memory.recall(2.0, &similar(&memory.cosines(&[1.0, 0.0], asked(0).time)), &asked(0), &mut p));
        assert!(!memory.recall(2.0, &similar(&memory.cosines(&[1.0, 0.0], asked(99).time)), &asked(99), &mut p), "all is forgotten");
    }

    #[test]
    fn with_all_events_and_a_large_temperature_it_counts_events() {
        let (memory, mut p) = (memory(), Vec::new());
        let mut said = |neighbours: usize, state: [f32; 2], query: &NextItemQuery| {
            memory.recall(0.0, &Memory::similar(neighbours, 1e6, &memory.cosines(&state, query.time)), query, &mut p);
            p.clone()
        };
        let is = |p: Vec<f32>, expected: [f32; 3]| p.iter().zip(expected).for_each(|(p, e)| assert!((p - e).abs() < 1e-5, "{p} {e}"));
        is(said(0, [0.6, 0.8], &asked(9)), [0.25, 0.5, 0.25]);
        is(said(1, [0.1, 0.9], &asked(9)), [0.0, 1.0, 0.0]);
        is(said(0, [0.6, 0.8], &NextItemQuery { excluded: vec![2], ..asked(9) }), [0.5, 0.0, 0.5]);
    }

    #[test]
    fn a_gate_that_is_shut_leaves_the_order_of_the_network_and_an_open_one_that_of_the_memory() {
        let memory = memory();
        let kernel = Kernel { neighbours: 0, temperature: 0.5, half_life_days: 0.0 };
        let order = |c: f64, query: &NextItemQuery| {
            let recall =
                Recall { memory: &memory, fitted: FittedMemory { kernel, gate: Gate { a: 0.0, b: 0.0, c } }, states: vec![0.0, 1.0] };
            let mut scores = [0.1, -3.0, 2.0];
            recall.mix(0, query, &[1, 2, 3], &mut scores);
            let mut order = [0, 1, 2];
            order.sort_by(|&a: &usize, &b| scores[b].total_cmp(&scores[a]));
            order
        };
        assert_eq!(order(-60.0, &asked(9)), [2, 0, 1]);
        assert_eq!(order(60.0, &asked(9))[0], 1);
        assert_eq!(order(60.0, &asked(0)), [2, 0, 1], "before the first event only the network speaks");
    }

    #[test]
    fn settings_that_can_not_be_are_refused() {
        let config = MemoryConfig::default;
        assert!(config().check().is_ok());
        for (wrong, key) in [
            (MemoryConfig { neighbours: vec![], ..config() }, "neighbours"),
            (MemoryConfig { temperature: vec![0.0], ..config() }, "temperature"),
            (MemoryConfig { half_life_days: vec![-1.0], ..config() }, "half_life_days"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains(key));
        }
    }
}
