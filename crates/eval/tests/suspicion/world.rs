//! A click log with known qualities of items and users, to which tests add features.

use std::sync::Arc;

use acclimate_data::{
    Categorical, Dataset, DomainIndex, Features, ItemIndex, LabelKind, Log, Numeric, RandomStream, Side, UserIndex, Vocabulary,
    VocabularyIndex, Zone,
};
use acclimate_eval::suspicion::{Parts, Sign, future_rates, label_copies, shared_rows};

/// Sizes and seed.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) seed: u64,
    pub(crate) users: usize,
    pub(crate) items: usize,
    pub(crate) rows: usize,
}

pub(crate) const SIZES: Sizes = Sizes { seed: 1, users: 400, items: 250, rows: 20_000 };

pub(crate) struct World {
    pub(crate) data: Dataset,
    /// Chance of a click (or the mean rating) of each item, over all users.
    pub(crate) quality: Vec<f64>,
    pub(crate) train: Vec<u32>,
    pub(crate) validation: Vec<u32>,
    pub(crate) test: Vec<u32>,
    pub(crate) stream: RandomStream,
}

impl World {
    /// Rows in the order of time, the last tenth for test, the tenth before for validation.
    pub(crate) fn clicks(sizes: Sizes) -> Self {
        Self::new(sizes, LabelKind::Click)
    }

    /// The same with ratings from 1 to 5.
    pub(crate) fn ratings(sizes: Sizes) -> Self {
        Self::new(sizes, LabelKind::Rating { min: 1.0, max: 5.0 })
    }

    fn new(Sizes { seed, users, items, rows }: Sizes, label: LabelKind) -> Self {
        let mut stream = RandomStream::new(seed, 0, 0);
        let liking: Vec<f64> = (0..items).map(|_| stream.normal() - 0.7).collect();
        let bias: Vec<f64> = (0..users).map(|_| 0.6 * stream.normal()).collect();
        let mut log = Log::default();
        for row in 0..rows {
            // Some items are shown far more often than others.
            let (user, item) = (stream.position(users), (stream.unit().powi(2) * items as f64) as usize);
            let utility = liking[item] + bias[user];
            log.user.push(UserIndex(user as u32));
            log.item.push(ItemIndex(item as u32));
            log.domain.push(DomainIndex(stream.position(2) as u32));
            log.time.push(1_000_000 * row as i64);
            log.label.push(match label {
                LabelKind::Rating { .. } => (3.5 + 0.6 * utility + stream.normal()).round().clamp(1.0, 5.0) as f32,
                _ => f32::from(stream.unit() < 1.0 / (1.0 + (-utility).exp())),
            });
        }
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let data = Dataset {
            name: "world".into(),
            label,
            log: Arc::new(log),
            users: Arc::new(names(users)),
            items: Arc::new(names(items)),
            domains: names(2),
            zone: Zone::UTC,
            files: Vec::new(),
            attributes: Vec::new(),
            features: Features::default(),
        };
        let quality = liking.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        let part = |from: usize, to: usize| (from as u32..to as u32).collect();
        let (train, validation, test) = (part(0, rows * 8 / 10), part(rows * 8 / 10, rows * 9 / 10), part(rows * 9 / 10, rows));
        Self { data, quality, train, validation, test, stream }
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        (0..self.data.log.len() as u32).collect()
    }

    pub(crate) fn number(&mut self, name: &str, side: Side, values: impl IntoIterator<Item = f64>) {
        let values = values.into_iter().map(|x| x as f32).collect();
        self.data.features.numeric.push(Arc::new(Numeric { name: name.into(), side, values, unknown: 0.0 }));
    }

    pub(crate) fn text(&mut self, name: &str, side: Side, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        let mut sorted = values.clone();
        sorted.sort();
        let vocabulary = Vocabulary::new(name, sorted);
        let codes = values.iter().map(|value| vocabulary.row(value)).collect();
        let index = VocabularyIndex(self.data.features.vocabularies.len() as u32);
        Arc::make_mut(&mut self.data.features.vocabularies).push(vocabulary);
        self.data.features.categorical.push(Arc::new(Categorical { name: name.into(), side, vocabulary: index, codes }));
    }

    /// Mean label of each item or user over some rows, with `smoothing` rows at their mean.
    pub(crate) fn rate(&self, side: Side, rows: &[u32], smoothing: f64) -> Vec<f64> {
        let log = &self.data.log;
        let mean = rows.iter().map(|&r| f64::from(log.label[r as usize])).sum::<f64>() / rows.len() as f64;
        let entities = if side == Side::Item { self.data.items.len() } else { self.data.users.len() };
        let mut sums = vec![(0.0, 0.0); entities];
        for &row in rows {
            let sum = &mut sums[self.data.entity(side, row as usize)];
            *sum = (sum.0 + 1.0, sum.1 + f64::from(log.label[row as usize]));
        }
        sums.into_iter().map(|(n, sum)| if n + smoothing > 0.0 { (sum + smoothing * mean) / (n + smoothing) } else { mean }).collect()
    }

    /// The labels, each by the chance `wrong` another row's.
    pub(crate) fn copies(&mut self, wrong: f64) -> Vec<f64> {
        let label = self.data.log.label.clone();
        label
            .iter()
            .map(|&own| f64::from(if self.stream.unit() < wrong { label[self.stream.position(label.len())] } else { own }))
            .collect()
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts { train: &self.train, validation: &self.validation, support: &[], measured: &self.test }
    }

    /// Every sign, suspicious or not.
    pub(crate) fn signs(&self) -> Vec<Sign> {
        let parts = self.parts();
        let mut signs = label_copies(&self.data, &parts);
        signs.extend(future_rates(&self.data, &parts));
        signs.extend(shared_rows(&self.data, &parts));
        signs
    }

    /// What is marked.
    pub(crate) fn marked(&self) -> Vec<Sign> {
        self.signs().into_iter().filter(Sign::is_suspicious).collect()
    }
}
