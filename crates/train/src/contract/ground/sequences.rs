//! Sequences of items around a circle.

use std::collections::BTreeMap;

use acclimate_data::{
    FieldSchema, LabelKind, MICROS_PER_DAY, NegativeConfig, RecentEvents, Schema, VocabularyIndex, VocabularySchema, Zone,
};
use acclimate_model::Objective;

use super::{Judged, Material};
use crate::feed::Sequence;
use crate::{Head, Histories, History, TrainingNegatives};

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
/// one and accepts the backbone fails with its error about missing context. Short runs draw negatives: a resumed one has to draw the same.
pub(super) fn draw() -> Material {
    let schema = Schema {
        label: LabelKind::Implicit,
        // Batches of sequences name none.
        domains: Vec::new(),
        vocabularies: vec![VocabularySchema { name: "item".into(), rows: ITEMS as usize + 1 }],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    };
    let rules = [(SOURCE_STEP, 0..80), (TARGET_STEP, 0..80), (TARGET_STEP, 80..110)];
    let [sources, target, later] = rules.map(|(step, starts)| starts.map(|i| next_items(step, i)).collect::<Vec<_>>());
    // One target a group, so that every group has as many scores.
    let last = |s: &Sequence| Sequence::last(&s.input, s.target[s.target.len() - 1], LENGTH).at(s.time[s.time.len() - 1]);
    let probe: Vec<Sequence> = sources[..4].iter().chain(&later[..4]).map(last).collect();
    let prepared = |negatives| {
        let head = Head { counts: vec![1; ITEMS as usize], negatives };
        // Most items each day, others the next: what is in fashion differs from position to position, and not so much that nothing else counts.
        let met = |day: u32| (0..ITEMS).filter(move |item| !(day + 7 * item).is_multiple_of(5));
        let events = (0..ITEMS).flat_map(|day| met(day).map(move |item| (i64::from(day) * MICROS_PER_DAY, item)));
        let catalogue = (1..=ITEMS).collect();
        let mut histories =
            Histories::new(schema.clone(), vec![head], catalogue, None).with_recent(RecentEvents::new(Zone::UTC, ITEMS as usize, events));
        let example = |sequence: &Sequence| History { head: 0, sequence: sequence.clone(), query: None };
        let parts = [&sources, &target, &later, &probe].map(|part| histories.extend(part.iter().map(example)));
        (histories, parts)
    };
    let (histories, [of_sources, of_target, held_out, probe]) = prepared(None);
    let (varied, _) = prepared(Some(TrainingNegatives { count: 5, draw: NegativeConfig::default(), log_q: true }));
    Material {
        objective: Objective::Softmax,
        everywhere: [of_sources.as_slice(), &of_target].concat(),
        few: [0; 3].map(|_| of_target[..16].to_vec()),
        few_sources: of_sources[..16].to_vec(),
        sources: of_sources,
        target: of_target,
        batch: [[BATCH, 3]; 2],
        schema,
        judged: Judged::Examples { held_out, probe },
        preparation: Box::new(histories),
        varied: Box::new(varied),
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
    let sequence = Sequence::everywhere(&events, &events, LENGTH);
    let time = (0..sequence.target.len() as i64).map(|position| (i64::from(index % 20) + position + 1) * MICROS_PER_DAY).collect();
    Sequence { time, ..sequence }
}
