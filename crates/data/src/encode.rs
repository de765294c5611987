//! From values as written to embedding rows and scaled numbers, with vocabularies and constants of the training rows only.

mod derived;
mod fit;
mod items;
mod row;
mod scaler;
mod unknown;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use items::{ASKED_ITEM, ITEMS_BEFORE, ItemRows};
pub use row::{AskedRow, AskedRows, EncodedRows, RowColumns, RowEncoder, RowError, RowEvent};
pub use scaler::Scaler;
pub use unknown::UnknownShare;
pub use writing::{RowWriting, Writing};

use crate::column::{ListValues, NumberValues, TextValues, Values};
use crate::config::{Condition, Domains, Lag, Since, Span, StatisticValue};
use crate::state::{Known, Level};
use crate::{
    Bag, Categorical, DataError, Dataset, DomainIndex, FeatureConfig, FeatureKind, LabelKind, Lists, Log, Numeric, RawDataset, Scale,
    Schema, Side, TimePart, Transform, Vocabulary, VocabularyIndex,
};

/// A feature as it was written.
#[derive(Clone, Debug)]
pub(crate) struct RawFeature {
    pub(crate) config: FeatureConfig,
    pub(crate) side: Side,
    pub(crate) values: Values,
    pub(crate) writing: Writing,
}

impl RawFeature {
    /// The entity that owns the encoded feature: what is made of earlier rows belongs to the row.
    pub(crate) fn encoded_side(&self) -> Side {
        if self.config.is_derived() { Side::Row } else { self.side }
    }
}

/// Everything that turns raw values into codes and numbers. Saved with a base, it encodes later data in exactly the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// Meaning of the label.
    label: LabelKind,
    /// Domain names, in index order.
    domains: Vec<String>,
    /// Vocabularies.
    vocabularies: Vec<Vocabulary>,
    /// Features, in the order of the configuration.
    features: Vec<FeatureEncoder>,
    /// How the columns that every row has are written.
    #[serde(default, skip_serializing_if = "RowWriting::is_plain")]
    writing: RowWriting,
}

/// How one feature is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureEncoder {
    /// Name of the feature.
    pub name: String,
    /// Entity that owns it.
    pub side: Side,
    /// What it becomes.
    pub encoding: Encoding,
    /// What is done to a value before.
    pub reading: Reading,
    /// Of a statistic that is shrunk towards others: how much, from the key of all rows to its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Level>,
    /// How its values are written, where the reading leaves that open.
    #[serde(default, skip_serializing_if = "Writing::is_plain")]
    pub writing: Writing,
}

impl FeatureEncoder {
    /// The column that it reads where its own is not given: `user`, `item`, `domain`, `time` or another feature.
    #[must_use]
    pub fn repeats(&self) -> Option<&str> {
        self.writing.repeats.as_deref()
    }

    /// Whether it is made of earlier rows, and not of its own.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        matches!(self.reading.kind, FeatureKind::History | FeatureKind::Statistic)
    }
}

/// The keys of a feature that decide what its values mean. Two data sets of one base may write a feature differently (column, separator, unit of
/// time), but not read it differently: the same code or number would then stand for something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// What the column holds.
    pub kind: FeatureKind,
    /// Applied to a value before anything else.
    pub transform: Option<Transform>,
    /// How numbers are scaled.
    pub scale: Scale,
    /// What is kept of a moment.
    pub part: TimePart,
    /// How many values of a sequence are kept.
    pub max_length: Option<usize>,
    /// Whether unknown values stay in a list.
    pub keep_unknown: bool,
    /// What a statistic says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<StatisticValue>,
    /// Whether a statistic reads a column of its own, and not the label.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_column: bool,
    /// The key of a statistic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Which rows a history or statistic is made of.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// The domains whose rows it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Domains>,
    /// How far what is known lies behind a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// How old a row of a history may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// The rows of a statistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// After how long a row counts half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_life: Option<Span>,
    /// Since which row an age counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// The key towards whose value a statistic is shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Vec<String>>,
    /// How many rows that value counts for, where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
}

impl Reading {
    fn of(config: &FeatureConfig) -> Self {
        Self {
            kind: config.kind,
            transform: config.transform.clone(),
            scale: config.scale.unwrap_or_default(),
            part: config.part.unwrap_or_default(),
            max_length: config.max_length,
            keep_unknown: config.keep_unknown,
            value: config.value,
            has_column: config.value.is_some() && config.column.is_some(),
            by: config.by.clone(),
            condition: config.condition,
            domains: config.domains.clone(),
            lag: config.lag,
            max_age: config.max_age,
            window: config.window,
            half_life: config.half_life,
            since: config.since,
            parent: config.parent.clone(),
            strength: config.strength,
        }
    }

    /// The first key in which two readings differ, with both values as a data-set file writes them.
    fn difference(&self, other: &Self) -> Option<(String, [String; 2])> {
        let table = |reading: &Self| toml::Table::try_from(reading).expect("a reading is plain data");
        let (mine, theirs) = (table(self), table(other));
        let key = mine.keys().chain(theirs.keys()).find(|&key| mine.get(key) != theirs.get(key))?;
        let written = |table: &toml::Table| table.get(key).map_or_else(|| "none".to_owned(), toml::Value::to_string);
        Some((key.clone(), [written(&mine), written(&theirs)]))
    }
}

/// What a feature becomes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One code per entity.
    Categorical(VocabularyIndex),
    /// Any number of codes per entity.
    Bag(VocabularyIndex),
    /// A scaled number per entity.
    Numeric(Scaler),
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Categorical(_) => "categorical",
            Self::Bag(_) => "multi-valued",
            Self::Numeric(_) => "numeric",
        }
    }
}

impl Encoder {
    /// Learns vocabularies and scales from the training rows of a data set.
    ///
    /// A vocabulary holds the values that occur in at least `min_count` training rows (a user's value counts once per training row of that user,
    /// a list's values each time they occur in it), sorted by their UTF-8 bytes and numbered from 1. Everything else is row 0.
    ///
    /// # Errors
    /// No training row, or one beyond the log.
    pub fn fit(raw: &RawDataset, train_rows: &[u32]) -> Result<Self, DataError> {
        Self::fit_knowing(raw, train_rows, &Known::all())
    }

    /// As [`fit`](Self::fit), where not every row is known to the later ones.
    ///
    /// # Errors
    /// As there.
    pub fn fit_knowing(raw: &RawDataset, train_rows: &[u32], known: &Known) -> Result<Self, DataError> {
        Ok(fit::fit(raw, train_rows, known, false)?.encoder)
    }

    /// Adds the values of other rows to the vocabularies, after the known ones and sorted by their UTF-8 bytes; known values keep their rows.
    /// Domains that are new get the next indices. Scales stay.
    ///
    /// # Errors
    /// A row beyond the log, or features that differ from the encoder's.
    pub fn grow(&mut self, raw: &RawDataset, rows: &[u32]) -> Result<(), DataError> {
        fit::grow(self, raw, rows)
    }

    /// How the columns that every row has are written.
    #[must_use]
    pub fn writing(&self) -> &RowWriting {
        &self.writing
    }

    /// The same with more values in its vocabularies, by name; known values keep their rows.
    #[must_use]
    pub fn with_values(&self, values: &BTreeMap<String, Vec<String>>) -> Self {
        let mut grown = self.clone();
        for vocabulary in &mut grown.vocabularies {
            values.get(vocabulary.name()).into_iter().flatten().for_each(|value| _ = vocabulary.grow(value));
        }
        grown
    }

    /// The values that its vocabularies have beyond those of another encoder, from which it has grown.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> BTreeMap<String, Vec<String>> {
        let new = self.vocabularies.iter().zip(&other.vocabularies).map(|(now, before)| {
            let values = (before.rows()..now.rows()).filter_map(|row| now.value(row as u32)).map(str::to_owned);
            (now.name().to_owned(), values.collect::<Vec<_>>())
        });
        new.filter(|(_, values)| !values.is_empty()).collect()
    }

    /// Vocabularies.
    #[must_use]
    pub fn vocabularies(&self) -> &[Vocabulary] {
        &self.vocabularies
    }

    /// Whether a feature is made of earlier rows.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.features.iter().any(FeatureEncoder::is_derived)
    }

    /// Domain names, in index order.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Features, in the order of the configuration.
    #[must_use]
    pub fn features(&self) -> &[FeatureEncoder] {
        &self.features
    }

    /// The shape of every data set encoded with this, but for domains that are new there.
    #[must_use]
    pub fn schema(&self) -> Schema {
        let fields = |bag: bool| {
            let field = move |feature: &FeatureEncoder| match feature.encoding {
                Encoding::Categorical(vocabulary) if !bag => Some(crate::FieldSchema { name: feature.name.clone(), vocabulary }),
                Encoding::Bag(vocabulary) if bag => Some(crate::FieldSchema { name: feature.name.clone(), vocabulary }),
                _ => None,
            };
            self.features.iter().filter_map(field).collect()
        };
        let size = |v: &Vocabulary| crate::VocabularySchema { name: v.name().to_owned(), rows: v.rows() };
        Schema {
            label: self.label,
            domains: self.domains.clone(),
            vocabularies: self.vocabularies.iter().map(size).collect(),
            categorical: fields(false),
            bags: fields(true),
            numeric: self.features.iter().filter(|f| matches!(f.encoding, Encoding::Numeric(_))).map(|f| f.name.clone()).collect(),
            sides: Schema::sides(self.features.iter().map(|f| (&f.name, f.side))),
        }
    }

    /// The encoder's features are the data set's.
    pub(crate) fn check(&self, raw: &RawDataset) -> Result<(), DataError> {
        let mismatch =
            |expected: String, found: String| Err(DataError::EncoderMismatch { dataset: raw.dataset.name.clone(), expected, found });
        if self.label != raw.dataset.label {
            return mismatch(format!("the label {:?}", self.label), format!("{:?}", raw.dataset.label));
        }
        let describe = |name: &str, side: Side, kind: &str| format!("the {kind} {} feature `{name}`", DataError::side_name(side));
        let raw_kind = |feature: &RawFeature| match (feature.config.kind, &feature.values) {
            (FeatureKind::History, _) | (_, Values::List(_)) => "multi-valued",
            (FeatureKind::Statistic, _) | (_, Values::Number(_)) => "numeric",
            _ => "categorical",
        };
        for i in 0..self.features.len().max(raw.features.len()) {
            let expected = self.features.get(i).map_or("no further feature".to_owned(), |f| describe(&f.name, f.side, f.encoding.name()));
            let found =
                raw.features.get(i).map_or("no further feature".to_owned(), |f| describe(&f.config.name, f.encoded_side(), raw_kind(f)));
            if expected != found {
                return mismatch(expected, found);
            }
            if let (Some(encoder), Some(raw)) = (self.features.get(i), raw.features.get(i))
                && let Some((key, [expected, found])) = encoder.reading.difference(&Reading::of(&raw.config))
            {
                return mismatch(format!("`{key}` = {expected} for the feature `{}`", encoder.name), found);
            }
        }
        Ok(())
    }
}

impl RawDataset {
    /// Fits an [`Encoder`] to the training rows and applies it. To keep the encoder, call [`fit_encode`](Self::fit_encode).
    ///
    /// # Errors
    /// As there.
    pub fn encode(self, train_rows: &[u32]) -> Result<Dataset, DataError> {
        Ok(self.fit_encode(train_rows, &Known::all())?.1)
    }

    /// As [`Encoder::fit_knowing`] and then [`encode_knowing`](Self::encode_knowing), but statistics run through the log once: what they were fitted on is kept,
    /// 4 bytes a row and statistic that are needed in the end anyhow.
    ///
    /// # Errors
    /// As those two.
    pub fn fit_encode(self, train_rows: &[u32], known: &Known) -> Result<(Encoder, Dataset), DataError> {
        let fit::Fitted { encoder, statistics } = fit::fit(&self, train_rows, known, true)?;
        let mut dataset = self.encode_own(&encoder)?;
        dataset.features.derive(&dataset.log, &dataset.domains, known, statistics)?;
        Ok((encoder, dataset))
    }

    /// Encodes every feature, in place where possible (which is why it takes the raw data; clone it to encode it twice).
    /// Values that the encoder does not know become row 0, or are left out of lists; domains that it does not know get indices after its own.
    ///
    /// # Errors
    /// The features differ from the encoder's, or a list column has more than 2^32 values.
    pub fn encode_with(self, encoder: &Encoder) -> Result<Dataset, DataError> {
        self.encode_knowing(encoder, &Known::all())
    }

    /// As [`encode_with`](Self::encode_with), where not every row is known to the later ones.
    ///
    /// # Errors
    /// As there.
    pub fn encode_knowing(self, encoder: &Encoder, known: &Known) -> Result<Dataset, DataError> {
        let mut dataset = self.encode_own(encoder)?;
        dataset.features.derive(&dataset.log, &dataset.domains, known, Vec::new())?;
        Ok(dataset)
    }

    /// As [`encode_with`](Self::encode_with), with features of earlier rows from a state that has followed this log. They are what they are: no other rows
    /// can become known.
    ///
    /// # Errors
    /// As there.
    pub fn encode_following(self, encoder: &Encoder, followed: crate::Followed) -> Result<Dataset, DataError> {
        let mut dataset = self.encode_own(encoder)?;
        dataset.features.follow(followed);
        Ok(dataset)
    }

    /// Encodes what does not depend on earlier rows.
    fn encode_own(self, encoder: &Encoder) -> Result<Dataset, DataError> {
        encoder.check(&self)?;
        let Self { mut dataset, features, .. } = self;
        adopt_domains(&mut dataset, &encoder.domains);
        let derivation = derived::plan(&dataset, &features, encoder);
        for (feature, FeatureEncoder { name, side, encoding, .. }) in features.into_iter().zip(&encoder.features) {
            let (name, side) = (name.clone(), *side);
            match (feature.values, *encoding) {
                // What is made of earlier rows is filled in below.
                (_, Encoding::Bag(vocabulary)) if feature.config.is_derived() => {
                    let lists = Lists::Spans { spans: Vec::new(), codes: Vec::new() };
                    dataset.features.bags.push(Arc::new(Bag { name, side, vocabulary, lists }));
                }
                (_, Encoding::Numeric(_)) if feature.config.is_derived() => {
                    dataset.features.numeric.push(Arc::new(Numeric { name, side, values: Vec::new(), unknown: 0.0 }));
                }
                (Values::Text(values), Encoding::Categorical(vocabulary)) => {
                    let codes = text_codes(values, &encoder.vocabularies[vocabulary.at()]);
                    dataset.features.categorical.push(Arc::new(Categorical { name, side, vocabulary, codes }));
                }
                (Values::Domain, Encoding::Categorical(vocabulary)) => {
                    let codes = domain_codes(&dataset.log, &dataset.domains, &encoder.vocabularies[vocabulary.at()]);
                    dataset.features.categorical.push(Arc::new(Categorical { name, side, vocabulary, codes }));
                }
                (Values::List(values), Encoding::Bag(vocabulary)) => {
                    let (offsets, codes) = list_codes(values, &encoder.vocabularies[vocabulary.at()], &feature.config)?;
                    let lists = Lists::Own { offsets, codes };
                    dataset.features.bags.push(Arc::new(Bag { name, side, vocabulary, lists }));
                }
                (Values::Number(NumberValues { values }), Encoding::Numeric(scaler)) => {
                    let values = scaler.column(&values);
                    let unknown = scaler.apply(f64::NAN);
                    dataset.features.numeric.push(Arc::new(Numeric { name, side, values, unknown }));
                }
                _ => unreachable!("the encoder was checked against the features"),
            }
        }
        dataset.features.vocabularies = Arc::new(encoder.vocabularies.clone());
        dataset.features.derivation = (!derivation.features.is_empty()).then(|| Arc::new(derivation));
        Ok(dataset)
    }
}

/// Row of each text of a dictionary.
fn rows_of<'a>(texts: impl Iterator<Item = &'a str>, vocabulary: &Vocabulary) -> Vec<u32> {
    std::iter::once(0).chain(texts.map(|text| vocabulary.row(text))).collect()
}

fn text_codes(values: TextValues, vocabulary: &Vocabulary) -> Vec<u32> {
    let rows = rows_of(values.table.texts(), vocabulary);
    let mut codes = values.codes;
    for code in &mut codes {
        *code = rows[*code as usize];
    }
    codes
}

fn domain_codes(log: &Log, domains: &[String], vocabulary: &Vocabulary) -> Vec<u32> {
    let rows: Vec<u32> = domains.iter().map(|name| vocabulary.row(name)).collect();
    log.domain.iter().map(|domain| rows[domain.at()]).collect()
}

fn list_codes(values: ListValues, vocabulary: &Vocabulary, config: &FeatureConfig) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    let rows = rows_of(values.table.texts(), vocabulary);
    let ListValues { offsets, mut codes, .. } = values;
    let (mut new_offsets, mut kept) = (Vec::with_capacity(offsets.len()), 0);
    new_offsets.push(0);
    for bounds in offsets.windows(2) {
        for i in bounds[0] as usize..bounds[1] as usize {
            let row = rows[codes[i] as usize];
            if row != 0 || config.keep_unknown {
                codes[kept] = row;
                kept += 1;
            }
        }
        new_offsets.push(u32::try_from(kept).map_err(|_| DataError::TooLarge { what: config.name.clone() })?);
    }
    codes.truncate(kept);
    Ok((new_offsets, codes))
}

/// Gives the encoder's domains their indices and the others the next ones.
fn adopt_domains(dataset: &mut Dataset, known: &[String]) {
    let mut domains = known.to_vec();
    let moved: Vec<u32> = dataset
        .domains
        .iter()
        .map(|name| {
            let index = domains.iter().position(|known| known == name).unwrap_or_else(|| {
                domains.push(name.clone());
                domains.len() - 1
            });
            index as u32
        })
        .collect();
    for DomainIndex(index) in &mut Arc::make_mut(&mut dataset.log).domain {
        *index = moved[*index as usize];
    }
    dataset.domains = domains;
}
