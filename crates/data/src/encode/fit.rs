//! Learning an encoder from training rows.

use super::{Encoder, Encoding, FeatureEncoder, RawFeature, Reading, Scaler, derived};
use crate::column::Values;
use crate::state::{Course, Derived, Groups, Known, Level, levels};
use crate::strings::StringTable;
use crate::{DataError, FeatureKind, RawDataset, Side, Vocabulary, VocabularyIndex};

/// An encoder, and what was made on the way to it.
pub(super) struct Fitted {
    pub(super) encoder: Encoder,
    /// The column of each statistic as it is encoded, if it was to be kept.
    pub(super) statistics: Vec<Vec<f32>>,
}

pub(super) fn fit<'a>(raw: &'a RawDataset, train_rows: &[u32], known: &'a Known, keeps: bool) -> Result<Fitted, DataError> {
    if train_rows.is_empty() {
        return Err(DataError::NoTrainingRows { dataset: raw.dataset.name.clone() });
    }
    let weights = Weights::new(raw, train_rows)?;
    let mut vocabularies = Vec::new();
    let mut owners = Vec::new();
    for feature in raw.features.iter().filter(|f| owns_vocabulary(f)) {
        owners.push(feature.config.name.as_str());
        vocabularies.push(Vocabulary::new(&feature.config.name, values(raw, feature, &weights).into_iter().map(str::to_owned)));
    }
    let vocabulary = |feature: &RawFeature| {
        let name = feature.config.vocabulary.as_ref().unwrap_or(&feature.config.name);
        let position = owners.iter().position(|owner| owner == name).expect("a valid configuration shares only vocabularies that exist");
        VocabularyIndex(position as u32)
    };
    let course = Statistics::course(raw, known);
    let mut statistics = course.as_ref().map(|course| Statistics::new(raw, course, train_rows));
    let mut kept = Vec::new();
    let encoder = |feature: &'a RawFeature| {
        let scaler = |values: &[f64], side| Scaler::fit(feature.config.scale.unwrap_or_default(), values, weights.of(side));
        let mut levels = Vec::new();
        let encoding = match (feature.config.kind, &feature.values) {
            (FeatureKind::History, _) | (_, Values::List(_)) => Encoding::Bag(vocabulary(feature)),
            (FeatureKind::Statistic, _) => {
                let (values, fitted) = statistics.as_mut().and_then(|statistics| statistics.of(feature)).unwrap_or_default();
                levels = fitted;
                let scaler = scaler(&values, Side::Row);
                kept.extend(keeps.then(|| scaler.column(&values)));
                Encoding::Numeric(scaler)
            }
            (_, Values::Number(numbers)) => Encoding::Numeric(scaler(&numbers.values, feature.side)),
            _ => Encoding::Categorical(vocabulary(feature)),
        };
        FeatureEncoder {
            name: feature.config.name.clone(),
            side: feature.encoded_side(),
            reading: Reading::of(&feature.config),
            encoding,
            levels,
            writing: feature.writing.clone(),
        }
    };
    let features = raw.features.iter().map(encoder).collect();
    let domains = raw.dataset.domains.clone();
    let encoder = Encoder { label: raw.dataset.label, domains, vocabularies, features, writing: raw.writing.clone() };
    Ok(Fitted { encoder, statistics: kept })
}

/// What fitting statistics takes; the order of time is found once.
struct Statistics<'c, 'a> {
    raw: &'a RawDataset,
    course: &'c Course<'a>,
    groups: Groups<'c, 'a>,
    train: Vec<bool>,
}

impl<'c, 'a> Statistics<'c, 'a> {
    /// The order of time, if a statistic asks for it.
    fn course(raw: &'a RawDataset, known: &'a Known) -> Option<Course<'a>> {
        let any = raw.features.iter().any(|feature| feature.config.kind == FeatureKind::Statistic);
        any.then(|| Course::new(&raw.dataset.log, &raw.dataset.domains, raw.dataset.zone, known))
    }

    fn new(raw: &'a RawDataset, course: &'c Course<'a>, train_rows: &[u32]) -> Self {
        let mut train = vec![false; raw.dataset.log.len()];
        train_rows.iter().for_each(|&row| train[row as usize] = true);
        Self { raw, course, groups: Groups::new(course), train }
    }

    /// The values of a statistic before scaling, and how it is shrunk.
    fn of(&mut self, feature: &'a RawFeature) -> Option<(Vec<f64>, Vec<Level>)> {
        let derived = derived::derived(&self.raw.dataset, &self.raw.features, feature, None);
        let Some(Derived::Statistic(statistic)) = derived else { return None };
        let Self { course, groups, train, .. } = self;
        let levels = if statistic.is_shrunk() { levels(&statistic, course, groups, train) } else { Vec::new() };
        Some((statistic.run(course, groups, &levels), levels))
    }
}

pub(super) fn grow(encoder: &mut Encoder, raw: &RawDataset, rows: &[u32]) -> Result<(), DataError> {
    encoder.check(raw)?;
    let weights = Weights::new(raw, rows)?;
    for feature in raw.features.iter().filter(|f| owns_vocabulary(f)) {
        let vocabulary =
            encoder.vocabularies.iter_mut().find(|v| v.name() == feature.config.name).ok_or_else(|| DataError::EncoderMismatch {
                dataset: raw.dataset.name.clone(),
                expected: "no such vocabulary".to_owned(),
                found: format!("the vocabulary `{}`", feature.config.name),
            })?;
        for value in values(raw, feature, &weights) {
            vocabulary.grow(value);
        }
    }
    for domain in &raw.dataset.domains {
        if !encoder.domains.contains(domain) {
            encoder.domains.push(domain.clone());
        }
    }
    Ok(())
}

fn owns_vocabulary(feature: &RawFeature) -> bool {
    feature.config.has_codes() && feature.config.vocabulary.is_none()
}

/// How many training rows each entity has.
pub(super) struct Weights {
    rows: Vec<u32>,
    users: Vec<u32>,
    items: Vec<u32>,
}

impl Weights {
    pub(super) fn new(raw: &RawDataset, train_rows: &[u32]) -> Result<Self, DataError> {
        let (log, counts) = (&raw.dataset.log, raw.counts());
        let mut weights =
            Self { rows: vec![0; counts.of(Side::Row)], users: vec![0; counts.of(Side::User)], items: vec![0; counts.of(Side::Item)] };
        for &row in train_rows {
            let out_of_range = || DataError::RowOutOfRange { dataset: raw.dataset.name.clone(), row, rows: log.len() };
            *weights.rows.get_mut(row as usize).ok_or_else(out_of_range)? += 1;
            weights.users[log.user[row as usize].at()] += 1;
            weights.items[log.item[row as usize].at()] += 1;
        }
        Ok(weights)
    }

    pub(super) fn of(&self, side: Side) -> &[u32] {
        match side {
            Side::Row => &self.rows,
            Side::User => &self.users,
            Side::Item => &self.items,
        }
    }
}

/// The values of a feature that get a row of their own, in row order.
fn values<'a>(raw: &'a RawDataset, feature: &'a RawFeature, weights: &Weights) -> Vec<&'a str> {
    let min_count = u64::from(feature.config.min_count.unwrap_or(1));
    let weights = weights.of(feature.side);
    match &feature.values {
        Values::Text(text) => frequent(&text.table, &code_counts(raw, feature, weights), min_count),
        Values::List(list) => frequent(&list.table, &code_counts(raw, feature, weights), min_count),
        Values::Domain => domains(raw, feature, weights),
        Values::Number(_) | Values::Attribute(_) | Values::Nothing => Vec::new(),
    }
}

/// How often each code of a feature occurs where each entity counts `weights` times: codes of its dictionary, or domains.
pub(super) fn code_counts(raw: &RawDataset, feature: &RawFeature, weights: &[u32]) -> Vec<u64> {
    match &feature.values {
        Values::Text(text) => {
            let mut counts = vec![0_u64; text.table.len()];
            for (&code, &weight) in text.codes.iter().zip(weights) {
                counts[code as usize] += u64::from(weight);
            }
            counts
        }
        Values::List(list) => {
            let mut counts = vec![0_u64; list.table.len()];
            for (i, &weight) in weights.iter().enumerate().filter(|&(_, &weight)| weight > 0) {
                for &code in list.row(i) {
                    counts[code as usize] += u64::from(weight);
                }
            }
            counts
        }
        Values::Domain => {
            let mut counts = vec![0_u64; raw.dataset.domains.len()];
            for (domain, &weight) in raw.dataset.log.domain.iter().zip(weights) {
                counts[domain.at()] += u64::from(weight);
            }
            counts
        }
        Values::Number(_) | Values::Attribute(_) | Values::Nothing => Vec::new(),
    }
}

/// Texts that occur often enough, sorted by their bytes (which is how `str` compares).
fn frequent<'a>(table: &'a StringTable, counts: &[u64], min_count: u64) -> Vec<&'a str> {
    let mut kept: Vec<&str> = table.texts().zip(&counts[1..]).filter(|&(_, &count)| count >= min_count).map(|(text, _)| text).collect();
    kept.sort_unstable();
    kept
}

/// The listed domains or, if none are listed, those of the training rows (domains are sorted when they are not listed).
fn domains<'a>(raw: &'a RawDataset, feature: &RawFeature, weights: &[u32]) -> Vec<&'a str> {
    let names = &raw.dataset.domains;
    if raw.listed_domains > 0 {
        return names[..raw.listed_domains].iter().map(String::as_str).collect();
    }
    let counts = code_counts(raw, feature, weights);
    names.iter().zip(counts).filter(|&(_, count)| count > 0).map(|(name, _)| name.as_str()).collect()
}
