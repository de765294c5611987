//! Hand-made data sets for the tests of floors.

use std::sync::Arc;

use acclimate_data::{Dataset, DomainIndex, Features, ItemIndex, LabelKind, Log, Sequences, UserIndex};

use super::{RankingFloor, RankingHistory, RankingQuery};

/// `(user, item, domain, label)` per row.
pub(super) fn ratings(rows: &[(u32, u32, u32, f32)]) -> Dataset {
    dataset(LabelKind::Rating { min: 1.0, max: 5.0 }, rows)
}

/// `(user, item, domain, 0 or 1)` per row.
pub(super) fn clicks(rows: &[(u32, u32, u32, f32)]) -> Dataset {
    dataset(LabelKind::Click, rows)
}

fn dataset(label: LabelKind, rows: &[(u32, u32, u32, f32)]) -> Dataset {
    let names = |largest: Option<u32>| (0..=largest.unwrap_or(0)).map(|i| i.to_string()).collect();
    let log = Log {
        user: rows.iter().map(|r| UserIndex(r.0)).collect(),
        item: rows.iter().map(|r| ItemIndex(r.1)).collect(),
        domain: rows.iter().map(|r| DomainIndex(r.2)).collect(),
        time: Vec::new(),
        label: rows.iter().map(|r| r.3).collect(),
        request: Vec::new(),
    };
    Dataset {
        name: "hand-made".to_owned(),
        label,
        users: Arc::new(names(rows.iter().map(|r| r.0).max())),
        items: Arc::new(names(rows.iter().map(|r| r.1).max())),
        domains: names(rows.iter().map(|r| r.2).max()),
        zone: acclimate_data::Zone::UTC,
        log: Arc::new(log),
        attributes: Vec::new(),
        files: Vec::new(),
        features: Features::default(),
    }
}

/// Event sequences from `(user, item, time)` rows.
pub(super) struct Events(Sequences);

impl Events {
    pub(super) fn new(rows: &[(u32, u32, i64)]) -> Self {
        let log = Log {
            user: rows.iter().map(|r| UserIndex(r.0)).collect(),
            item: rows.iter().map(|r| ItemIndex(r.1)).collect(),
            domain: vec![DomainIndex(0); rows.len()],
            time: rows.iter().map(|r| r.2).collect(),
            label: vec![1.0; rows.len()],
            request: Vec::new(),
        };
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        Self(Sequences::new(&log, &all, None).unwrap())
    }

    pub(super) fn sequences(&self) -> &Sequences {
        &self.0
    }
}

pub(super) fn catalogue(items: &[u32]) -> Vec<ItemIndex> {
    items.iter().copied().map(ItemIndex).collect()
}

pub(super) fn query(input: &[ItemIndex], time: i64) -> RankingQuery<'_> {
    RankingQuery { user: UserIndex(0), input, time }
}

/// Fits on the events without validation and scores one query.
pub(super) fn scores(floor: &dyn RankingFloor, events: &Events, candidates: &[u32], input: &[u32], time: i64) -> Vec<f32> {
    let (catalogue, input) = (catalogue(candidates), catalogue(input));
    let history = RankingHistory {
        sequences: events.sequences(),
        counted: events.sequences(),
        items: 10,
        catalogue: &catalogue,
        validation: &[],
        zone: acclimate_data::Zone::UTC,
    };
    let fitted = floor.fit(&history).unwrap();
    let mut scores = vec![f32::NAN; fitted.candidates()];
    fitted.score(&query(&input, time), &mut scores);
    scores
}
