//! A data set ready for models: an interaction log in compact columns and its encoded features.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::state::{Derivation, Known, Made, Planned};
use crate::{DataError, DomainIndex, ItemIndex, LogView, UserIndex, Vocabulary, VocabularyIndex, Zone};

/// What the label column means; decides the objective's default and the metrics that apply.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LabelKind {
    /// 0 or 1.
    Click,
    /// A number in `min..=max`.
    Rating {
        /// Smallest legal rating.
        min: f32,
        /// Largest legal rating.
        max: f32,
    },
    /// Every row is a positive; negatives have to be sampled. The label is 1.
    Implicit,
}

impl LabelKind {
    /// What models count ratings in: a quarter of their range, so that 1 to 5 is counted as it stands, and learning rates mean the same on every scale. 1
    /// for clicks and positives.
    #[must_use]
    pub fn unit(self) -> f32 {
        match self {
            Self::Rating { min, max } if max > min && (max - min).is_finite() => (max - min) / 4.0,
            _ => 1.0,
        }
    }
}

/// The interaction log, one entry per row, columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// User of each row.
    pub user: Vec<UserIndex>,
    /// Item of each row.
    pub item: Vec<ItemIndex>,
    /// Domain of each row; all 0 for a data set without domains.
    pub domain: Vec<DomainIndex>,
    /// Microseconds since 1970 (UTC); empty where the data set has no time.
    pub time: Vec<i64>,
    /// Label of each row, see [`LabelKind`].
    pub label: Vec<f32>,
    /// The request that each row was shown in; empty where the data set does not say.
    pub request: Vec<u32>,
}

impl Log {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.user.len()
    }

    /// Whether the log has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// The entity that owns a feature of `side` at `row`.
    #[must_use]
    pub fn entity(&self, side: Side, row: usize) -> usize {
        match side {
            Side::Row => row,
            Side::User => self.user[row].at(),
            Side::Item => self.item[row].at(),
        }
    }

    /// How many of `rows` repeat the user and item of a row of `others`, such as the training rows.
    #[must_use]
    pub fn repeats(&self, rows: &[u32], others: &[u32]) -> usize {
        let pair = |row: &u32| (self.user[*row as usize], self.item[*row as usize]);
        let known: HashSet<_> = others.iter().map(pair).collect();
        rows.iter().filter(|row| known.contains(&pair(row))).count()
    }
}

/// Which entity a feature belongs to: a user's feature is stored once per user, not once per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// One value per row of the log.
    Row,
    /// One value per user.
    User,
    /// One value per item.
    Item,
}

/// One vocabulary index per entity. Code 0 stands for missing, rare or unseen.
#[derive(Clone, Debug, PartialEq)]
pub struct Categorical {
    /// Name of the feature.
    pub name: String,
    /// Entity that owns the value.
    pub side: Side,
    /// Vocabulary of the codes.
    pub vocabulary: VocabularyIndex,
    /// One code per entity.
    pub codes: Vec<u32>,
}

/// Any number of vocabulary indices per entity (genres, actors, the last views). Unknown values are left out unless the feature
/// keeps them as code 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Bag {
    /// Name of the feature.
    pub name: String,
    /// Entity that owns the values.
    pub side: Side,
    /// Vocabulary of the codes; may be shared with a [`Categorical`].
    pub vocabulary: VocabularyIndex,
    /// The codes, oldest first inside an entity.
    pub lists: Lists,
}

/// A list of codes for each entity.
#[derive(Clone, Debug, PartialEq)]
pub enum Lists {
    /// Each entity has its own.
    Own {
        /// `codes[offsets[i]..offsets[i + 1]]` belongs to entity `i`; one longer than the number of entities.
        offsets: Vec<u32>,
        /// All codes.
        codes: Vec<u32>,
    },
    /// Several entities see parts of the same, as the rows of a user do of what the user did before.
    Spans {
        /// `codes[span[0]..span[1]]` belongs to entity `i`.
        spans: Vec<[u32; 2]>,
        /// All codes.
        codes: Vec<u32>,
    },
}

impl Lists {
    /// The codes of an entity.
    #[must_use]
    pub fn of(&self, entity: usize) -> &[u32] {
        let (begin, end, codes) = match self {
            Self::Own { offsets, codes } => (offsets[entity], offsets[entity + 1], codes),
            Self::Spans { spans, codes } => (spans[entity][0], spans[entity][1], codes),
        };
        &codes[begin as usize..end as usize]
    }

    /// Number of entities.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Own { offsets, .. } => offsets.len().saturating_sub(1),
            Self::Spans { spans, .. } => spans.len(),
        }
    }

    /// Whether there is no entity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lists of all entities, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|entity| self.of(entity))
    }
}

/// One number per entity, already normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Numeric {
    /// Name of the feature.
    pub name: String,
    /// Entity that owns the value.
    pub side: Side,
    /// One value per entity.
    pub values: Vec<f32>,
    /// The value of an entity of which nothing is known: that of a missing number, or of a statistic without a row.
    pub unknown: f32,
}

/// One value per entity that no model sees: what splits, sort orders and groups are made from (a date, a year, a position, the name of a part).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name of the attribute.
    pub name: String,
    /// Entity that owns the value.
    pub side: Side,
    /// One whole number per entity: the value itself, or the position of its text in `labels`.
    pub values: Vec<i64>,
    /// The distinct texts of an attribute of kind `text`, sorted by their UTF-8 bytes; `None` for whole numbers.
    pub labels: Option<Vec<String>>,
}

impl Attribute {
    /// The text of an entity; `None` for an attribute of whole numbers.
    #[must_use]
    pub fn text(&self, entity: usize) -> Option<&str> {
        let label = usize::try_from(self.values[entity]).ok()?;
        self.labels.as_ref()?.get(label).map(String::as_str)
    }
}

/// A file of the log and where its rows begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The entry of `[interactions] files` that led to it, as written.
    pub entry: String,
    /// The file.
    pub path: PathBuf,
    /// Its first row in the log; its rows end where those of the next file begin.
    pub first_row: u32,
}

/// The encoded features, in the order in which a model reads them. Copies share their columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Vocabularies, each built from training rows only.
    pub vocabularies: Arc<Vec<Vocabulary>>,
    /// Single-valued features.
    pub categorical: Vec<Arc<Categorical>>,
    /// Multi-valued features.
    pub bags: Vec<Arc<Bag>>,
    /// Numeric features.
    pub numeric: Vec<Arc<Numeric>>,
    /// How features of earlier rows are made, where there are any.
    pub(crate) derivation: Option<Arc<Derivation>>,
    /// What they were made of, in a log without time, where it can be drawn anew.
    pub(crate) known: Option<Arc<Known>>,
}

impl Features {
    /// Makes the columns of earlier rows, but for those of statistics where they are there already.
    pub(crate) fn derive(&mut self, log: &Log, domains: &[String], known: &Known, ready: Vec<Vec<f32>>) -> Result<(), DataError> {
        let Some(derivation) = self.derivation.clone() else { return Ok(()) };
        for (feature, made) in derivation.features.iter().zip(derivation.run(log, domains, known, ready)?) {
            self.put(feature, made);
        }
        self.known = log.time.is_empty().then(|| Arc::new(known.clone()));
        Ok(())
    }
}

impl Features {
    /// Takes the columns of earlier rows from a state that has followed the log.
    pub(crate) fn follow(&mut self, followed: crate::Followed) {
        let Some(derivation) = self.derivation.take() else { return };
        let (mut lists, mut numbers) = (followed.lists.into_iter(), followed.numbers.into_iter());
        for feature in &derivation.features {
            let made = if feature.is_list() { lists.next().map(Made::Lists) } else { numbers.next().map(Made::Numbers) };
            self.put(feature, made.expect("a state has a column for every feature of its encoder"));
        }
    }

    fn put(&mut self, feature: &Planned, made: Made) {
        match made {
            Made::Lists(lists) => {
                let bag = &self.bags[feature.column];
                self.bags[feature.column] = Arc::new(Bag { name: bag.name.clone(), side: bag.side, vocabulary: bag.vocabulary, lists });
            }
            Made::Numbers(values) => {
                self.numeric[feature.column] =
                    Arc::new(Numeric { name: feature.name.clone(), side: Side::Row, values, unknown: feature.unknown() });
            }
        }
    }
}

/// A data set ready for models and floors. Copies share the log, the names and the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Name from the data-set file.
    pub name: String,
    /// Meaning of the label.
    pub label: LabelKind,
    /// The rows.
    pub log: Arc<Log>,
    /// Original id of each user.
    pub users: Arc<Vec<String>>,
    /// Original id of each item.
    pub items: Arc<Vec<String>>,
    /// Original name of each domain; one entry named `all` where there are no domains.
    pub domains: Vec<String>,
    /// Where a day begins.
    pub zone: Zone,
    /// Values kept for splitting.
    pub attributes: Vec<Attribute>,
    /// The files of the log, in the order of its rows; none for a simulation.
    pub files: Vec<LogFile>,
    /// Encoded features.
    pub features: Features,
}

/// Magnitude of an encoded number beyond which training easily fails.
pub(crate) const EXTREME: f32 = 1e4;

/// A numeric feature that a model can hardly read.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtremeColumn {
    /// Name of the feature.
    pub feature: String,
    /// Its largest magnitude as a model reads it.
    pub largest: f32,
}

impl Dataset {
    /// The numeric features with values beyond 10,000 as a model reads them, largest first: what to suspect when a loss is no number any more.
    #[must_use]
    pub fn extreme_columns(&self) -> Vec<ExtremeColumn> {
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let columns = self.features.numeric.iter().map(|n| ExtremeColumn { feature: n.name.clone(), largest: largest(&n.values) });
        let mut extreme: Vec<ExtremeColumn> = columns.filter(|column| column.largest > EXTREME).collect();
        extreme.sort_by(|a, b| b.largest.total_cmp(&a.largest));
        extreme
    }

    /// The same data with other rows known to the features that are made of earlier rows; everything else is shared.
    ///
    /// # Errors
    /// A history of more than 2^32 values.
    pub fn knowing(&self, known: &Known) -> Result<Self, DataError> {
        let mut dataset = self.clone();
        dataset.features.derive(&dataset.log, &dataset.domains, known, Vec::new())?;
        Ok(dataset)
    }

    /// In a log without time: the same data with another order of the known rows drawn, so that each knows another random part of the others. `None` where
    /// nothing depends on that: features of earlier rows are not made anew, or the log has time.
    #[must_use]
    pub fn redrawn(&self, draw: u64) -> Option<Self> {
        let known = self.features.derivation.as_ref().and(self.features.known.as_ref())?;
        Some(self.knowing(&Known::clone(known).drawn(draw)).expect("as large as before"))
    }

    /// Whether a feature is made of earlier rows, so that it depends on which of them are known.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.features.derivation.is_some()
    }

    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// Those of `rows` whose user has a row in `others`, in the order of `rows`.
    #[must_use]
    pub fn rows_of_users(&self, rows: &[u32], others: &[u32]) -> Vec<u32> {
        let mut wanted = vec![false; self.users.len()];
        others.iter().for_each(|&row| wanted[self.log.user[row as usize].at()] = true);
        rows.iter().copied().filter(|&row| wanted[self.log.user[row as usize].at()]).collect()
    }

    /// The latest `most` of each user's `rows`, by user, oldest first: by time, equal times by row. Where the log has no time, they follow from a hash of
    /// user and item, repeated pairs by row, so that the order of the files does not choose.
    #[must_use]
    pub fn latest_rows(&self, rows: &[u32], most: usize) -> Vec<u32> {
        let (user, time) = (|row: u32| self.log.user[row as usize], &self.log.time);
        let mut sorted = rows.to_vec();
        if time.len() == self.log.len() {
            sorted.sort_unstable_by_key(|&row| (user(row), time[row as usize], row));
        } else {
            sorted.sort_by_cached_key(|&row| (user(row), LogView::from(self).row_hash(row), row));
        }
        let of_users = sorted.chunk_by(|&a, &b| user(a) == user(b));
        of_users.flat_map(|rows| &rows[rows.len().saturating_sub(most)..]).copied().collect()
    }

    /// The entity that owns a feature of `side` at `row`.
    #[must_use]
    pub fn entity(&self, side: Side, row: usize) -> usize {
        self.log.entity(side, row)
    }

    /// What a model needs to know of this data set's shape.
    #[must_use]
    pub fn schema(&self) -> Schema {
        let features = &self.features;
        Schema {
            label: self.label,
            domains: self.domains.clone(),
            vocabularies: features.vocabularies.iter().map(|v| VocabularySchema { name: v.name().to_owned(), rows: v.rows() }).collect(),
            categorical: features.categorical.iter().map(|c| FieldSchema::new(&c.name, c.vocabulary)).collect(),
            bags: features.bags.iter().map(|b| FieldSchema::new(&b.name, b.vocabulary)).collect(),
            numeric: features.numeric.iter().map(|n| n.name.clone()).collect(),
            sides: Schema::sides(
                (features.categorical.iter().map(|c| (&c.name, c.side)))
                    .chain(features.bags.iter().map(|b| (&b.name, b.side)))
                    .chain(features.numeric.iter().map(|n| (&n.name, n.side))),
            ),
        }
    }
}

/// The shape of a data set: what base and patch must agree on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Meaning of the label.
    pub label: LabelKind,
    /// Domain names, in index order.
    pub domains: Vec<String>,
    /// Vocabularies with their number of rows (row 0 = unknown).
    pub vocabularies: Vec<VocabularySchema>,
    /// Single-valued features, in model order.
    pub categorical: Vec<FieldSchema>,
    /// Multi-valued features, in model order.
    pub bags: Vec<FieldSchema>,
    /// Numeric features, in model order.
    pub numeric: Vec<String>,
    /// Features of users and of items, by name; all others are those of a row. Files of before name none, so it has no say in whether two schemas agree.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sides: BTreeMap<String, Side>,
}

impl Schema {
    /// What [`sides`](Self::sides) holds of features with their sides.
    pub(crate) fn sides<'a>(features: impl Iterator<Item = (&'a String, Side)>) -> BTreeMap<String, Side> {
        features.filter(|(_, side)| *side != Side::Row).map(|(name, side)| (name.clone(), side)).collect()
    }

    /// The side of a feature.
    #[must_use]
    pub fn side(&self, feature: &str) -> Side {
        self.sides.get(feature).copied().unwrap_or(Side::Row)
    }

    /// The same without sides: what base, patch and data must agree on, and what the schema's hash is made of.
    #[must_use]
    pub fn sideless(&self) -> Self {
        Self { sides: BTreeMap::new(), ..self.clone() }
    }
}

/// Name and size of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularySchema {
    /// Name.
    pub name: String,
    /// Rows an embedding table needs, with row 0.
    pub rows: usize,
}

/// Name and vocabulary of a categorical or multi-valued feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSchema {
    /// Name of the feature.
    pub name: String,
    /// Its vocabulary.
    pub vocabulary: VocabularyIndex,
}

impl FieldSchema {
    fn new(name: &str, vocabulary: VocabularyIndex) -> Self {
        Self { name: name.to_owned(), vocabulary }
    }
}
