//! Feature and attribute columns of a data-set file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Condition, Domains, Lag, Since, Span, StatisticValue};
use crate::{Side, TimePart, TimeUnit};

/// The tables in which a column is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The log: one value per row. The user and item columns of the log count as features of the user and the item.
    #[default]
    Interactions,
    /// The user tables.
    Users,
    /// The item tables.
    Items,
}

impl Origin {
    /// The entity that owns a column from here.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::Interactions => Side::Row,
            Self::Users => Side::User,
            Self::Items => Side::Item,
        }
    }
}

/// One feature. Which keys are allowed depends on `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureConfig {
    /// Name, unique among the features.
    pub name: String,
    /// What the column holds.
    pub kind: FeatureKind,
    /// Where the column is. Default: the log.
    #[serde(default)]
    pub from: Origin,
    /// Name of the side table, where several have the column.
    pub table: Option<String>,
    /// Column. Default: the feature's name.
    pub column: Option<String>,
    /// `multi`, `sequence`: text between two values. Not needed for typed lists and lists in brackets.
    pub separator: Option<String>,
    /// `sequence`, `history`: how many values are kept, counted from the end (the latest).
    pub max_length: Option<usize>,
    /// `multi`, `sequence`, `history`: whether values without an embedding row stay in the list as the unknown (row 0) instead of being left out. A mean over
    /// the list is then drawn towards the unknown where little is known. Default false.
    #[serde(default)]
    pub keep_unknown: bool,
    /// `categorical`, `multi`, `sequence`, `history`, `timestamp` as a category: the feature whose vocabulary (and embedding rows) this one uses; its own values then count for nothing.
    pub vocabulary: Option<String>,
    /// `categorical`, `multi`, `sequence`, `history`, `timestamp` as a category: how many training rows a value needs to get its own embedding row. Default 1; raising it makes rare values unknown.
    pub min_count: Option<u32>,
    /// Applied to a value before anything else.
    pub transform: Option<Transform>,
    /// `numeric`, `statistic`, `timestamp` (`days`): how numbers are scaled with constants of the training rows. Default: not.
    pub scale: Option<Scale>,
    /// `timestamp`: how the column writes time.
    pub unit: Option<TimeUnit>,
    /// `timestamp`: how text is written where `unit` has no name for it, as in [`TimeConfig`](crate::TimeConfig). Excludes `unit`.
    pub format: Option<String>,
    /// `timestamp`: what is kept of it. Default: `days`.
    pub part: Option<TimePart>,
    /// `statistic`: what it says of the earlier rows with the same key.
    pub value: Option<StatisticValue>,
    /// `statistic`: the key: `user`, `item`, `domain`, or names of categorical features. None: all rows have the same.
    #[serde(default)]
    pub by: Vec<String>,
    /// `history`, `statistic`: which rows it is made of, by their label; of a `rate`, which rows succeed. With a `column` (of a statistic), by its number.
    /// Default: all; of a `rate`, those with a number above 0.
    #[serde(rename = "where")]
    pub condition: Option<Condition>,
    /// `history`, `statistic`: the domains whose rows it is made of. Default: all.
    pub domains: Option<Domains>,
    /// `history`, `statistic`: how far what is known lies behind the row: a length of time, or `day`, up to midnight in the zone of the data set.
    /// Default: every row of an earlier time is known.
    pub lag: Option<Lag>,
    /// `history`: rows that are older are left out. Default: none is.
    pub max_age: Option<Span>,
    /// `statistic`: only rows of this length of time before the moment of what is known, in 24 steps. Excludes `half_life`.
    pub window: Option<Span>,
    /// `statistic`: after how long a row counts half. Default: rows count alike for ever.
    pub half_life: Option<Span>,
    /// `statistic`, `age`: since which row. Default: the last.
    pub since: Option<Since>,
    /// `statistic`, `rate` and `mean`: the key towards whose value it is shrunk, part of `by`; none: all rows. Default: `by` without its last entry.
    pub parent: Option<Vec<String>>,
    /// `statistic`, `rate` and `mean`: how many rows the parent's value counts for. Default: what fits the training rows best (empirical Bayes).
    pub strength: Option<f64>,
}

impl FeatureConfig {
    /// The column it reads.
    #[must_use]
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }

    /// Whether it is made of earlier rows, and not of its own.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        matches!(self.kind, FeatureKind::History | FeatureKind::Statistic)
    }

    /// Whether the feature becomes codes, and not numbers.
    #[must_use]
    pub fn has_codes(&self) -> bool {
        match self.kind {
            FeatureKind::Categorical | FeatureKind::Multi | FeatureKind::Sequence | FeatureKind::Domain | FeatureKind::History => true,
            FeatureKind::Numeric | FeatureKind::Statistic => false,
            FeatureKind::Timestamp => self.part.unwrap_or_default().is_category(),
        }
    }
}

/// What a feature's column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// One category. Its text is kept as written, but for `True` and `1.0`, which are `true` and `1`; `01` is another.
    Categorical,
    /// A set of categories with a separator.
    Multi,
    /// A list of categories, oldest first, of which the last are kept.
    Sequence,
    /// A number. A missing one takes the mean of the training rows.
    Numeric,
    /// A moment.
    Timestamp,
    /// The domain of the row as a category. The domains of `[interactions] domain` have their rows in that order (without `order`: those of the
    /// training rows, sorted); row 0 is the unknown domain, which a model can be trained for.
    Domain,
    /// The last values of a categorical column in earlier rows of the same user, oldest first.
    History,
    /// A number that sums up earlier rows with the same key.
    Statistic,
}

/// A change of the value before it is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Categorical: the text before the first occurrence of this separator.
    First(String),
    /// Categorical: at most the first so many characters.
    Prefix(usize),
    /// Categorical: floor(log2(1 + x / scale)) as decimal text: a bucket that doubles in width.
    Log2(f64),
    /// Categorical: floor(x / divisor) of a whole number, as decimal text.
    Divide(i64),
    /// Numeric, statistic: ln(1 + x).
    Log1p,
    /// Statistic: ln(x / (1 - x)) of a rate.
    Logit,
}

/// Scaling with constants of the training rows; nothing is clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As it is.
    #[default]
    None,
    /// Smallest training value to 0, largest to 1.
    MinMax,
    /// Mean 0, population standard deviation 1.
    Standard,
}

/// A column that splits, orders and groups may use and no model sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeConfig {
    /// Name, unique among the attributes.
    pub name: String,
    /// Where the column is. Default: the log.
    #[serde(default)]
    pub from: Origin,
    /// Name of the side table, where several have the column.
    pub table: Option<String>,
    /// Column. Default: the attribute's name.
    pub column: Option<String>,
    /// What the column holds. Default: whole numbers.
    #[serde(default)]
    pub kind: AttributeKind,
    /// For a text column: the number that stands for each text. Other texts are an error.
    #[serde(default)]
    pub codes: BTreeMap<String, i64>,
}

/// What an attribute's column holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// Whole numbers, or texts that `codes` lists.
    #[default]
    Integer,
    /// Any text.
    Text,
}

impl AttributeConfig {
    /// The column it reads.
    #[must_use]
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}
