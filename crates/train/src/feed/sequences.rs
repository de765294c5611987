//! Item sequences: next item at every position, or one target after a history.

use std::sync::Arc;

use acclimate_data::{Batch, DomainIndex, EpochRows, NegativeSampler, RandomStream, RecentEvents, RowOrder};

use super::asking::Asked;
use super::{Asking, EpochCache, Feed, Feeding, Half};
use crate::TrainError;

/// Input items and what followed each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Codes of the input vocabulary, oldest first.
    pub input: Vec<u32>,
    /// Code of the head's vocabulary at each position; 0: nothing to predict there.
    pub target: Vec<u32>,
    /// When each target happened, in microseconds since 1970 (UTC); empty where nobody knows or asks.
    pub time: Vec<i64>,
    /// Of a history of which everything is learned, the last target's code in the input vocabulary; `None`: one target after a history.
    pub after: Option<u32>,
}

impl Sequence {
    /// The next item at every position of a history, cut to its last `length` positions. `items` and `targets` are the codes of the same
    /// events in the two vocabularies.
    #[must_use]
    pub fn everywhere(items: &[u32], targets: &[u32], length: usize) -> Self {
        let end = items.len().saturating_sub(1);
        let start = end.saturating_sub(length);
        let after = items.last().copied().filter(|_| end > 0);
        Self { input: items[start..end].to_vec(), target: targets.get(start + 1..).unwrap_or_default().to_vec(), time: Vec::new(), after }
    }

    /// One target after the last `length` items of a history.
    #[must_use]
    pub fn last(items: &[u32], target: u32, length: usize) -> Self {
        let input = items[items.len().saturating_sub(length)..].to_vec();
        let mut targets = vec![0; input.len()];
        if let Some(last) = targets.last_mut() {
            *last = target;
        }
        Self { input, target: targets, time: Vec::new(), after: None }
    }

    /// The same, with the time of its targets.
    #[must_use]
    pub fn at(self, time: i64) -> Self {
        Self { time: vec![time; self.input.len()], ..self }
    }

    fn targets(&self) -> usize {
        self.target.iter().filter(|&&t| t != 0).count()
    }
}

/// Sequences in seeded order, padded at the front to the longest of their batch.
pub struct SequenceFeed {
    sequences: Vec<Sequence>,
    order: RowOrder,
    asking: Asking,
    seed: u64,
    negatives: Option<(NegativeSampler, usize, bool)>,
    recent: Option<Arc<RecentEvents>>,
    rows: usize,
    window: Option<[i64; 2]>,
    epoch: EpochCache<EpochRows>,
}

impl SequenceFeed {
    /// Batches of `batch` sequences; those without a target are left out. `window` is the first and last time of their events, in whole seconds since 1970.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without a target, [`TrainError::Config`] for a batch of 0.
    pub fn new(sequences: Vec<Sequence>, batch: usize, seed: u64, window: Option<[i64; 2]>) -> Result<Self, TrainError> {
        if batch == 0 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 1".into() });
        }
        let mut sequences = sequences;
        sequences.retain(|s| s.targets() > 0);
        if sequences.is_empty() {
            return Err(TrainError::Nothing { what: "sequence" });
        }
        let order = RowOrder::new((0..sequences.len() as u32).collect(), batch, seed);
        let rows = sequences.iter().map(Sequence::targets).sum();
        let (asking, epoch) = (Asking::default(), EpochCache::default());
        Ok(Self { sequences, order, asking, seed, negatives: None, recent: None, rows, window, epoch })
    }

    /// Asks in another way than a causal network is asked. Hidden items are drawn anew each epoch.
    #[must_use]
    pub fn with_asking(self, asking: Asking) -> Self {
        Self { asking, ..self }
    }

    /// Trains against `count` negatives drawn anew for each step instead of against all items. With `log_q` their scores are corrected for how often they are
    /// drawn, so that the loss estimates that against all items; the sampler's candidates must then be the codes 1, 2 and so on.
    #[must_use]
    pub fn with_negatives(mut self, sampler: NegativeSampler, count: usize, log_q: bool) -> Self {
        self.negatives = Some((sampler, count, log_q));
        self
    }

    /// Puts these events beside each batch, for networks that count them.
    #[must_use]
    pub fn with_recent(mut self, recent: Option<Arc<RecentEvents>>) -> Self {
        self.recent = recent;
        self
    }
}

impl Feed for SequenceFeed {
    fn steps(&self, _: u64) -> usize {
        self.order.steps()
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        let sequences: Vec<_> = self.epoch.with(
            epoch,
            || self.order.epoch(epoch),
            |order| {
                let chosen = order.batch(step).expect("a step below `steps` has rows");
                chosen.iter().map(|&s| &self.sequences[s as usize]).collect()
            },
        );
        let mut stream = RandomStream::new(RandomStream::seed_for(self.seed, "hidden items"), epoch, step as u64);
        let sequences: Vec<Asked<'_>> = sequences.into_iter().map(|s| self.asking.sequence(s, &mut stream)).collect();
        let mut query = pad(&sequences.iter().map(|s| &s.input[..]).collect::<Vec<_>>());
        query.target = vec![0; query.len()];
        for (row, sequence) in query.target.chunks_exact_mut(query.rows).zip(&sequences) {
            row[query.rows - sequence.target.len()..].copy_from_slice(&sequence.target);
        }
        if sequences.iter().all(|s| !s.time.is_empty()) {
            query.asked_at = vec![0; query.len()];
            for (row, sequence) in query.asked_at.chunks_exact_mut(query.rows).zip(&sequences) {
                row[query.rows - sequence.time.len()..].copy_from_slice(&sequence.time);
            }
            query.recent.clone_from(&self.recent);
        }
        if let Some((sampler, count, log_q)) = &self.negatives {
            query.negatives = sampler.draw(epoch, step as u64, *count);
            let correction = |&code: &u32| (-(*count as f64).ln() - sampler.log_probability(code as usize - 1)) as f32;
            query.log_q = if *log_q { query.negatives.iter().map(correction).collect() } else { Vec::new() };
        }
        Feeding { query, support: None }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn redrawn(&self, half: Option<Half>, batch: usize) -> Result<Option<Box<dyn Feed + '_>>, TrainError> {
        let wanted = |i: usize| half.is_none_or(|half| Half::of(i as u32) == half);
        let sequences = self.sequences.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, sequence)| sequence.clone());
        let feed = Self::new(sequences.collect(), batch, self.seed, self.window)?;
        let (asking, negatives, recent) = (self.asking, self.negatives.clone(), self.recent.clone());
        Ok(Some(Box::new(Self { asking, negatives, recent, ..feed })))
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}

/// A batch of queries: one group a history, padded at the front.
pub(crate) fn pad(inputs: &[impl AsRef<[u32]>]) -> Batch {
    let inputs: Vec<&[u32]> = inputs.iter().map(AsRef::as_ref).collect();
    let (groups, rows) = (inputs.len(), inputs.iter().map(|i| i.len()).max().unwrap_or(0));
    let n = groups * rows;
    let (mut mask, mut categorical) = (vec![0.0; n], vec![0; n]);
    for (g, input) in inputs.iter().enumerate() {
        let own = (g + 1) * rows - input.len()..(g + 1) * rows;
        mask[own.clone()].fill(1.0);
        categorical[own].copy_from_slice(input);
    }
    let (label, row, domain) = (vec![0.0; n], vec![u32::MAX; n], vec![DomainIndex(0); n]);
    Batch { groups, rows, mask, label, row, domain, fields: 1, categorical, ..Batch::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_an_item_stands_at_that_item() {
        // Items 1, 2, .. of one sequence and 11, 12, 13 of a shorter one; the head counts from 100 on.
        let sequence = |items: &[u32]| Sequence::everywhere(items, &items.iter().map(|item| item + 100).collect::<Vec<_>>(), 10);
        let feed = SequenceFeed::new(vec![sequence(&[1, 2, 3, 4, 5]), sequence(&[11, 12, 13])], 2, 1, None).expect("two sequences");
        let query = feed.batch(0, 0).query;
        assert_eq!((query.groups, query.rows, feed.rows()), (2, 4, 6));
        for ((&item, &target), &mask) in query.categorical.iter().zip(&query.target).zip(&query.mask) {
            assert_eq!(target, if mask == 0.0 { 0 } else { item + 101 });
        }
        let padded: Vec<usize> = query.mask.chunks_exact(4).map(|mask| mask.iter().filter(|&&m| m == 0.0).count()).collect();
        assert!(padded == [0, 2] || padded == [2, 0], "{padded:?}");
    }
}
