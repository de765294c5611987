//! Histories and what followed them: an example is a sequence of items with a next item to learn, to be asked for, or both.

use std::sync::Arc;

use acclimate_adapt::SourceRows;
use acclimate_data::{NegativeConfig, NegativeSampler, RecentEvents, Schema};
use serde::{Deserialize, Serialize};

use super::{Draw, Preparation};
use crate::feed::{DomainSampling, Feed, Sequence, SequenceFeed};
use crate::{NextItemQuery, NextItemRanks, Scorer, TrainError};

/// Items that a network can be asked for, those of one domain say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Training events of each item, by code: code 1 first.
    pub counts: Vec<u32>,
    /// Items that training compares the next one with; without any, all of the head.
    pub negatives: Option<TrainingNegatives>,
}

/// Negatives drawn anew for each training step and shared by its positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingNegatives {
    /// How many. More approach the full softmax and cost time in proportion.
    pub count: usize,
    /// How they are drawn: `{ kind = "uniform" }` (the default) or `{ kind = "popularity", power = 0.75 }`.
    #[serde(default)]
    pub draw: NegativeConfig,
    /// Whether scores are corrected for how often an item is drawn (log-Q), as estimates of the full softmax are; default no.
    #[serde(default)]
    pub log_q: bool,
}

/// One example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Which head its targets are of.
    pub head: usize,
    /// What is learned from it.
    pub sequence: Sequence,
    /// What is asked of it; examples to learn from need not be asked.
    pub query: Option<NextItemQuery>,
}

/// Sequences of items, with heads for what comes next.
#[derive(Clone, Debug)]
pub struct Histories {
    schema: Schema,
    heads: Vec<Head>,
    examples: Vec<History>,
    /// Codes of the items that queries rank, all of one head.
    catalogue: Vec<u32>,
    window: Option<[i64; 2]>,
    /// Events of the catalogue that networks may count.
    recent: Option<Arc<RecentEvents>>,
}

impl Histories {
    /// No example yet. Queries rank the items of `catalogue`, codes of one head; `window` is the first and last time of all events, in seconds since 1970.
    #[must_use]
    pub fn new(schema: Schema, heads: Vec<Head>, catalogue: Vec<u32>, window: Option<[i64; 2]>) -> Self {
        Self { schema, heads, examples: Vec::new(), catalogue, window, recent: None }
    }

    /// The same, with events of the catalogue's items that networks may count.
    #[must_use]
    pub fn with_recent(self, recent: RecentEvents) -> Self {
        Self { recent: Some(Arc::new(recent)), ..self }
    }

    /// Events of the catalogue's items that networks may count.
    #[must_use]
    pub fn recent(&self) -> Option<&Arc<RecentEvents>> {
        self.recent.as_ref()
    }

    /// Adds examples and gives their numbers.
    pub fn extend(&mut self, examples: impl IntoIterator<Item = History>) -> Vec<u32> {
        let begin = self.examples.len() as u32;
        self.examples.extend(examples);
        (begin..self.examples.len() as u32).collect()
    }

    /// An example.
    #[must_use]
    pub fn get(&self, example: u32) -> &History {
        &self.examples[example as usize]
    }

    /// A head.
    #[must_use]
    pub fn head(&self, head: usize) -> &Head {
        &self.heads[head]
    }

    /// Codes of the items that queries rank.
    #[must_use]
    pub fn catalogue(&self) -> &[u32] {
        &self.catalogue
    }

    /// Batches of sequences that need not be among the examples, for one head.
    ///
    /// # Errors
    /// As [`feed`](Preparation::feed).
    pub fn feed_of(
        &self,
        sequences: Vec<Sequence>,
        head: usize,
        Draw { batch, seed, asking, needs, sampling, .. }: Draw<'_>,
    ) -> Result<SequenceFeed, TrainError> {
        if sampling.rule != DomainSampling::Proportional {
            return Err(TrainError::Config { key: "domain_sampling", problem: "draws labelled rows, not sequences; leave it out".into() });
        }
        if needs.source != SourceRows::None {
            let problem = "has sequences to train on, and the method needs labelled rows of the base's domains beside those of the target; use it with a network of rows";
            return Err(TrainError::Config { key: "method", problem: problem.into() });
        }
        let feed = SequenceFeed::new(sequences, batch, seed, self.window)?.with_asking(asking).with_recent(self.recent.clone());
        let Head { counts, negatives } = &self.heads[head];
        let Some(TrainingNegatives { count, draw, log_q }) = *negatives else { return Ok(feed) };
        let problem = |problem: String| TrainError::Config { key: "training_negatives", problem };
        if count == 0 {
            return Err(problem("`count` must be at least 1; leave the key out for the full softmax".into()));
        }
        let (codes, counts) = ((1..=counts.len() as u32).collect(), counts.iter().map(|&n| n.into()).collect::<Vec<u64>>());
        let sampler = NegativeSampler::new(draw, codes, &counts, seed).map_err(|e| problem(e.to_string()))?;
        Ok(feed.with_negatives(sampler, count, log_q))
    }

    /// Ranks of what followed, in the whole catalogue and among each query's own negatives. Examples that ask nothing have rank 0.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn ranks(&self, scorer: &Scorer<'_>, examples: &[u32]) -> Result<Vec<NextItemRanks>, TrainError> {
        let asked: Vec<&NextItemQuery> = examples.iter().filter_map(|&example| self.get(example).query.as_ref()).collect();
        debug_assert_eq!(asked.len(), examples.len(), "only examples with a query are asked");
        scorer.next_items(&self.catalogue, &asked, self.recent.as_ref())
    }
}

impl Preparation for Histories {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// Examples of one head; those of the first example's.
    fn feed(&self, examples: &[u32], draw: Draw<'_>) -> Result<Box<dyn Feed + '_>, TrainError> {
        let head = examples.first().map_or(0, |&first| self.get(first).head);
        let sequences = examples.iter().map(|&example| self.get(example).sequence.clone()).collect();
        Ok(Box::new(self.feed_of(sequences, head, draw)?))
    }

    fn answers(&self, scorer: &Scorer<'_>, examples: &[u32]) -> Result<Vec<f32>, TrainError> {
        Ok(self.ranks(scorer, examples)?.into_iter().map(|ranks| ranks.full as f32).collect())
    }
}
