//! Ranks of next items in a catalogue.

use acclimate_eval::rank_of;
use acclimate_model::Output;
use acclimate_model::kernel::to_vec;
use rayon::prelude::*;

use super::Scorer;
use crate::TrainError;
use crate::feed::pad;

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
    pub fn next_items(&self, catalogue: &[u32], queries: &[NextItemQuery]) -> Result<Vec<NextItemRanks>, TrainError> {
        // Histories of similar length together: padding is work.
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|&q| queries[q].input.len());
        let ranked: Result<Vec<_>, TrainError> = order.par_chunks(CHUNK).map(|chunk| self.chunk(catalogue, queries, chunk)).collect();
        let mut ranks = vec![NextItemRanks::default(); queries.len()];
        for (q, found) in order.iter().zip(ranked?.into_iter().flatten()) {
            ranks[*q] = found;
        }
        Ok(ranks)
    }

    fn chunk(&self, catalogue: &[u32], queries: &[NextItemQuery], chunk: &[usize]) -> Result<Vec<NextItemRanks>, TrainError> {
        let inputs: Vec<&[u32]> = chunk.iter().map(|&q| queries[q].input.as_slice()).collect();
        let scores = match self.forward(&pad(&inputs), None)? {
            Output::Rows(scores) | Output::Candidates { scores, .. } => scores,
            Output::Comparison(comparison) => comparison.scores(),
        };
        let items = scores.dims()[2];
        let scores = to_vec(scores);
        let ranks = chunk.iter().zip(scores.chunks_exact(items)).map(|(&q, scores)| {
            let query = &queries[q];
            let score = |code: u32| scores[code as usize - 1];
            let others = catalogue.iter().filter(|&&code| code != query.positive && query.excluded.binary_search(&code).is_err());
            let positive = score(query.positive);
            let full = rank_of(positive, others.map(|&code| score(code)));
            NextItemRanks { full, sampled: rank_of(positive, query.negatives.iter().map(|&code| score(code))) }
        });
        Ok(ranks.collect())
    }
}
