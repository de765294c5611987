//! Sequences of items around a circle.

use acclimate_adapt::Needs;
use acclimate_data::{FieldSchema, LabelKind, NegativeSampler, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::Objective;

use super::{Material, Part, SEED};
use crate::TrainError;
use crate::feed::{Feed, Feeding, Sequence, SequenceFeed};

/// Items on the circle; their codes are 1 to this.
const ITEMS: u32 = 30;
/// Sequences in a training batch.
const BATCH: usize = 8;
/// Positions of the longest sequence.
const LENGTH: usize = 8;
/// In the sources the item after c stands this many places further on the circle.
const SOURCE_STEP: u32 = 1;
/// The same in the target: what the base has learned to follow is wrong there.
const TARGET_STEP: u32 = 7;

/// Source sequences of one rule and target sequences of another. Batches of sequences have one domain and no support set; a method that needs
/// one and accepts the backbone fails with its error about missing context.
pub(super) struct Sequences {
    sources: Vec<Sequence>,
    target: Vec<Sequence>,
    held_out: Vec<Sequence>,
}

impl Sequences {
    pub(super) fn draw() -> Self {
        let histories = |step: u32, starts: std::ops::Range<u32>| starts.map(|i| next_items(step, i)).collect();
        let (sources, target) = (histories(SOURCE_STEP, 0..80), histories(TARGET_STEP, 0..80));
        Self { sources, target, held_out: histories(TARGET_STEP, 80..110) }
    }
}

impl Material for Sequences {
    fn schema(&self) -> Schema {
        Schema {
            label: LabelKind::Implicit,
            // Batches of sequences name none.
            domains: Vec::new(),
            vocabularies: vec![VocabularySchema { name: "item".into(), rows: ITEMS as usize + 1 }],
            categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
            bags: Vec::new(),
            numeric: Vec::new(),
        }
    }

    fn objective(&self) -> Objective {
        Objective::Softmax
    }

    /// The short run draws negatives: a resumed one has to draw the same.
    fn feed(&self, part: Part, _: Needs, seed: u64) -> Result<Box<dyn Feed + '_>, TrainError> {
        let (sequences, batch) = match part {
            Part::Sources => (self.sources.clone(), BATCH),
            Part::Target => (self.target.clone(), BATCH),
            Part::Everywhere => ([self.sources.as_slice(), &self.target].concat(), BATCH),
            Part::Short => (self.target[..16].to_vec(), 3),
        };
        let feed = SequenceFeed::new(sequences, batch, seed, None)?;
        if part != Part::Short {
            return Ok(Box::new(feed));
        }
        let sampler = NegativeSampler::new(Default::default(), (1..=ITEMS).collect(), &[], seed).expect("items to draw from");
        Ok(Box::new(feed.with_negatives(sampler, 5)))
    }

    fn held_out(&self) -> Vec<Feeding> {
        vec![batch(&self.held_out)]
    }

    /// One target a group, so that every group has as many scores.
    fn probe(&self) -> Feeding {
        let last = |s: &Sequence| Sequence::last(&s.input, s.target[s.target.len() - 1], LENGTH);
        batch(&self.sources[..4].iter().chain(&self.held_out[..4]).map(last).collect::<Vec<_>>())
    }
}

/// A history of this rule, of a length that differs from those of its neighbours; every fifth item is any other one.
fn next_items(step: u32, index: u32) -> Sequence {
    let mut item = index * 11 % ITEMS;
    let length = LENGTH as u32 - index % 4;
    let events: Vec<u32> = (0..=length)
        .map(|position| {
            let jump = if (index + position).is_multiple_of(5) { 1 + (index * 13 + position * 17) % ITEMS } else { step };
            item = (item + jump) % ITEMS;
            1 + item
        })
        .collect();
    Sequence::everywhere(&events, &events, LENGTH)
}

/// All of them in one batch.
fn batch(sequences: &[Sequence]) -> Feeding {
    let feed = SequenceFeed::new(sequences.to_vec(), sequences.len(), SEED, None).expect("sequences with targets");
    feed.batch(0, 0)
}
