//! Encoders of networks over sequences: what a request for such a network gives.

use super::{Encoder, Encoding, FeatureEncoder, Reading, Writing};
use crate::config::Domains;
use crate::state::FeatureState;
use crate::{Dataset, FeatureKind, Scale, Side, StateEvent, TimePart, Vocabulary, VocabularyIndex};

/// Name of the categorical feature that is the item asked for.
pub const ASKED_ITEM: &str = "item";
/// Name of the history that is the sequence before it.
pub const ITEMS_BEFORE: &str = "history";

/// What a network over sequences reads of a user, and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRows {
    /// Ids of the items that it can be asked for, in the order of their codes.
    pub asked: Vec<String>,
    /// Ids of the items that it reads, in the order of their codes.
    pub read: Vec<String>,
    /// Domains whose events it reads; none for those of all.
    pub domains: Option<Vec<String>>,
    /// Latest items of a user that it reads, at most.
    pub length: usize,
}

impl Encoder {
    /// An encoder for the same log, whose rows are an item ([`ASKED_ITEM`]) and the items of its user that came strictly before it in time, the latest last ([`ITEMS_BEFORE`]). Items that nobody
    /// knows stand in the history as the unknown.
    #[must_use]
    pub fn of_items(&self, rows: &ItemRows) -> Self {
        let reading = |kind: FeatureKind| Reading {
            kind,
            transform: None,
            scale: Scale::default(),
            part: TimePart::default(),
            max_length: None,
            keep_unknown: false,
            value: None,
            has_column: false,
            by: Vec::new(),
            condition: None,
            domains: None,
            lag: None,
            max_age: None,
            window: None,
            half_life: None,
            since: None,
            parent: None,
            strength: None,
        };
        let feature = |name: &str, side: Side, encoding: Encoding, reading: Reading| FeatureEncoder {
            name: name.to_owned(),
            side,
            encoding,
            reading,
            levels: Vec::new(),
            writing: Writing { repeats: Some("item".to_owned()), is_id: true, ..Writing::default() },
        };
        let history = Reading {
            max_length: Some(rows.length),
            keep_unknown: true,
            domains: rows.domains.clone().map(Domains::Named),
            ..reading(FeatureKind::History)
        };
        let vocabulary = |name: &str, ids: &[String]| Vocabulary::new(name, ids.iter().cloned());
        Self {
            label: self.label,
            domains: self.domains.clone(),
            vocabularies: vec![vocabulary(ASKED_ITEM, &rows.asked), vocabulary(ITEMS_BEFORE, &rows.read)],
            features: vec![
                feature(ASKED_ITEM, Side::Item, Encoding::Categorical(VocabularyIndex(0)), reading(FeatureKind::Categorical)),
                feature(ITEMS_BEFORE, Side::Row, Encoding::Bag(VocabularyIndex(1)), history),
            ],
            writing: self.writing.clone(),
        }
    }
}

/// A row of a data set as a state of [`Encoder::of_items`] learns of it.
struct Happened<'a> {
    dataset: &'a Dataset,
    row: usize,
}

impl StateEvent for Happened<'_> {
    fn time(&self) -> i64 {
        self.dataset.log.time[self.row]
    }

    fn label(&self) -> f64 {
        self.dataset.log.label[self.row].into()
    }

    fn text(&self, column: &str) -> Option<&str> {
        let Dataset { users, items, domains, log, .. } = self.dataset;
        match column {
            "user" => Some(&users[log.user[self.row].at()]),
            "item" | ITEMS_BEFORE => Some(&items[log.item[self.row].at()]),
            "domain" => Some(&domains[log.domain[self.row].at()]),
            _ => None,
        }
    }

    fn number(&self, _: &str) -> f64 {
        f64::NAN
    }
}

impl FeatureState {
    /// What an encoder of [`Encoder::of_items`] knows after some rows of a log; none for a log without time.
    #[must_use]
    pub fn after_items(encoder: &Encoder, dataset: &Dataset, rows: &[u32]) -> Option<Self> {
        if dataset.log.time.len() != dataset.log.len() {
            return None;
        }
        let mut state = Self::new(encoder, dataset.zone, None);
        let mut order = rows.to_vec();
        order.sort_by_key(|&row| dataset.log.time[row as usize]);
        order.iter().for_each(|&row| state.update(&Happened { dataset, row: row as usize }));
        Some(state)
    }
}
