//! Ranks of next items in a catalogue.

use std::borrow::Borrow;
use std::sync::Arc;

use acclimate_data::RecentEvents;
use acclimate_eval::rank_of;
use acclimate_model::Output;
use acclimate_model::kernel::to_vec;
use rayon::prelude::*;

use super::Scorer;
use crate::TrainError;
use crate::feed::pad;
use crate::memory::{FittedMemory, Memory};

/// Queries scored in one pass: with 10,000 items their scores take 2.5 MiB a thread.
const CHUNK: usize = 64;

/// A history and the item that followed it. Items to rank are codes of the head's vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextItemQuery {
    /// Codes of the input vocabulary, oldest first; at least one.
    pub input: Vec<u32>,
    /// The item that followed.
    pub positive: u32,
    /// Items that are no candidates here, ascending: those of the input.
    pub excluded: Vec<u32>,
    /// The fixed candidates of the sampled metrics; may be empty.
    pub negatives: Vec<u32>,
    /// When it is asked for, in microseconds since 1970 (UTC).
    pub time: i64,
}

/// Ranks of a query's positive, from 1; ties take the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NextItemRanks {
    /// Among the whole catalogue.
    pub full: f64,
    /// Among the sampled negatives.
    pub sampled: f64,
}

impl Scorer<'_> {
    /// Ranks each query's positive among the `catalogue` (codes of the head's vocabulary) without the excluded items, and among its negatives.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn next_items(
        &self,
        catalogue: &[u32],
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
    ) -> Result<Vec<NextItemRanks>, TrainError> {
        let mut ranks = vec![NextItemRanks::default(); queries.len()];
        let rank = |_: usize, query: &NextItemQuery, scores: &mut [f32]| ranks_by(scores, catalogue, query);
        self.each_query(queries, recent, rank, |q, found| ranks[q] = found)?;
        Ok(ranks)
    }

    /// As [`next_items`](Self::next_items), with what a memory says mixed in.
    ///
    /// # Errors
    /// As there.
    pub fn next_items_with(
        &self,
        catalogue: &[u32],
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
        (memory, fitted): (&Memory, FittedMemory),
    ) -> Result<Vec<NextItemRanks>, TrainError> {
        let recall = memory.recalled(fitted, self, queries)?;
        let mut ranks = vec![NextItemRanks::default(); queries.len()];
        let rank = |q: usize, query: &NextItemQuery, scores: &mut [f32]| {
            recall.mix(q, query, catalogue, scores);
            ranks_by(scores, catalogue, query)
        };
        self.each_query(queries, recent, rank, |q, found| ranks[q] = found)?;
        Ok(ranks)
    }

    /// What the network makes of each query's input before it looks at items, of length 1: `[Q, d]`; zeros where there is no input.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub(crate) fn states(&self, queries: &[impl Borrow<NextItemQuery> + Sync]) -> Result<Vec<f32>, TrainError> {
        let mut order: Vec<usize> = (0..queries.len()).filter(|&q| !queries[q].borrow().input.is_empty()).collect();
        order.sort_by_key(|&q| queries[q].borrow().input.len());
        let asking = self.asking();
        let chunks: Result<Vec<(usize, Vec<f32>)>, TrainError> = order
            .par_chunks(CHUNK)
            .map(|chunk| {
                let inputs: Vec<_> = chunk.iter().map(|&q| asking.history(&queries[q].borrow().input)).collect();
                let Output::Comparison(comparison) = self.forward(&pad(&inputs), None)? else {
                    return Err(TrainError::Config {
                        key: "memory",
                        problem: "needs a network whose scores are products of a state".into(),
                    });
                };
                // The last value multiplies the bias of an item.
                let d = comparison.hidden.dims()[2] - 1;
                Ok((d, to_vec(comparison.hidden.slice_dim(2, 0..d))))
            })
            .collect();
        let chunks = chunks?;
        let d = chunks.first().map_or(0, |(d, _)| *d);
        let mut states = vec![0.0; queries.len() * d];
        let found = chunks.iter().flat_map(|(_, values)| values.chunks_exact(d.max(1)));
        for (&q, state) in order.iter().zip(found) {
            let length = state.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            states[q * d..][..d].iter_mut().zip(state).for_each(|(to, v)| *to = v / length);
        }
        Ok(states)
    }

    /// The `most` items of the `catalogue` with the highest scores for each query, best first, without the excluded ones; equal scores by code.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn top_items(
        &self,
        catalogue: &[u32],
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
        most: usize,
    ) -> Result<Vec<Vec<(u32, f32)>>, TrainError> {
        let mut top = vec![Vec::new(); queries.len()];
        let best = |_: usize, query: &NextItemQuery, scores: &mut [f32]| {
            let free = catalogue.iter().filter(|code| query.excluded.binary_search(code).is_err());
            let mut scored: Vec<(u32, f32)> = free.map(|&code| (code, scores[code as usize - 1])).collect();
            let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if most < scored.len() {
                scored.select_nth_unstable_by(most, order);
                scored.truncate(most);
            }
            scored.sort_unstable_by(order);
            scored
        };
        self.each_query(queries, recent, best, |q, found| top[q] = found)?;
        Ok(top)
    }

    /// What the network makes of a history, `[d]`, and the rows of the head for some `items` of it (at least one), `[K, d]`, as the method changes them: the score of an item is their product.
    ///
    /// # Errors
    /// A context that the method can not adapt from, or a network whose scores are no products.
    pub fn compared(&self, input: &[u32], items: &[u32]) -> Result<[Vec<f32>; 2], TrainError> {
        let mut batch = pad(&[self.asking().history(input)]);
        batch.negatives = items.to_vec();
        let Output::Comparison(comparison) = self.forward(&batch, None)? else {
            return Err(TrainError::Config { key: "backbone", problem: "must be a network whose scores are products of a state".into() });
        };
        Ok([to_vec(comparison.hidden), to_vec(comparison.items)])
    }

    /// The scores of every item of the head, for each query.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn head_scores(&self, queries: &[impl Borrow<NextItemQuery> + Sync]) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut all = vec![Vec::new(); queries.len()];
        self.each_query(queries, None, |_, _, scores| scores.to_vec(), |q, found| all[q] = found)?;
        Ok(all)
    }

    /// Reads the scores of the head for each query by its number, many at once.
    pub(crate) fn each_query<T: Send>(
        &self,
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
        read: impl Fn(usize, &NextItemQuery, &mut [f32]) -> T + Sync,
        mut keep: impl FnMut(usize, T),
    ) -> Result<(), TrainError> {
        // Histories of similar length together: padding is work.
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|&q| queries[q].borrow().input.len());
        let found: Result<Vec<Vec<T>>, TrainError> = order
            .par_chunks(CHUNK)
            .map(|chunk| {
                let (items, mut scores) = self.chunk(queries, recent, chunk)?;
                Ok(chunk.iter().zip(scores.chunks_exact_mut(items)).map(|(&q, scores)| read(q, queries[q].borrow(), scores)).collect())
            })
            .collect();
        order.iter().zip(found?.into_iter().flatten()).for_each(|(&q, found)| keep(q, found));
        Ok(())
    }

    /// The number of items in the head, and their scores for each query of a chunk.
    fn chunk(
        &self,
        queries: &[impl Borrow<NextItemQuery> + Sync],
        recent: Option<&Arc<RecentEvents>>,
        chunk: &[usize],
    ) -> Result<(usize, Vec<f32>), TrainError> {
        let asking = self.asking();
        let inputs: Vec<_> = chunk.iter().map(|&q| asking.history(&queries[q].borrow().input)).collect();
        let mut batch = pad(&inputs);
        batch.asked_at = chunk.iter().flat_map(|&q| std::iter::repeat_n(queries[q].borrow().time, batch.rows)).collect();
        batch.recent = recent.cloned();
        let scores = match self.forward(&batch, None)? {
            Output::Rows(scores) | Output::Candidates { scores, .. } => scores,
            Output::Comparison(comparison) => comparison.scores(),
        };
        Ok((scores.dims()[2], to_vec(scores)))
    }
}

/// Ranks of a query's positive by the scores of the head.
fn ranks_by(scores: &[f32], catalogue: &[u32], query: &NextItemQuery) -> NextItemRanks {
    let score = |code: u32| scores[code as usize - 1];
    let others = catalogue.iter().filter(|&&code| code != query.positive && query.excluded.binary_search(&code).is_err());
    let positive = score(query.positive);
    let full = rank_of(positive, others.map(|&code| score(code)));
    NextItemRanks { full, sampled: rank_of(positive, query.negatives.iter().map(|&code| score(code))) }
}
