//! Tables of a data-set file.

use serde::{Deserialize, Serialize};

use crate::time::Spelling;
use crate::{LabelKind, TimeUnit, Zone};

/// The log: one row per interaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InteractionsConfig {
    /// Files, read one after the other; all need the columns named here.
    pub files: Vec<String>,
    /// Format of the files. Default: told by each file's name.
    pub format: Option<Format>,
    /// Column with the user's id.
    pub user: String,
    /// Column with the item's id.
    pub item: String,
    /// Time of the interaction.
    pub time: Option<TimeConfig>,
    /// Domain of the interaction. Default: one domain named `all`.
    pub domain: Option<DomainConfig>,
    /// What is predicted.
    pub label: LabelConfig,
}

/// Where the time of an interaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// Column.
    pub column: String,
    /// How it is written. Default `iso`. Dates and timestamps of a Parquet file need none.
    pub unit: Option<TimeUnit>,
    /// How text is written where `unit` has no name for it, in the fields of `strftime`: `%d.%m.%Y %H:%M`. Excludes `unit`.
    pub format: Option<String>,
    /// What times without an offset mean, and where a day begins. Default UTC.
    #[serde(default)]
    pub zone: Zone,
}

impl TimeConfig {
    /// How values are read.
    pub(crate) fn spelling(&self) -> Spelling<'_> {
        Spelling { unit: self.unit.unwrap_or_default(), format: self.format.as_deref(), zone: self.zone }
    }
}

/// Where the domain of an interaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Column.
    pub column: String,
    /// Domains in the order of their indices, whether they occur or not. Domains that are not listed follow, sorted by their UTF-8 bytes.
    #[serde(default)]
    pub order: Vec<String>,
}

/// What is predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelConfig {
    /// Column; not allowed for `implicit`, where every row is a positive.
    pub column: Option<String>,
    /// Meaning of the column.
    pub kind: LabelType,
    /// Smallest legal rating; `rating` only.
    pub min: Option<f32>,
    /// Largest legal rating; `rating` only.
    pub max: Option<f32>,
}

/// Meaning of a label column, see [`LabelKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelType {
    /// 0 or 1.
    Click,
    /// A number in `min..=max`.
    Rating,
    /// Every row is a positive.
    Implicit,
}

impl LabelConfig {
    /// The label's meaning. Missing bounds of a rating, which validation refuses, become 0 and 1.
    #[must_use]
    pub fn kind(&self) -> LabelKind {
        match self.kind {
            LabelType::Click => LabelKind::Click,
            LabelType::Rating => LabelKind::Rating { min: self.min.unwrap_or(0.0), max: self.max.unwrap_or(1.0) },
            LabelType::Implicit => LabelKind::Implicit,
        }
    }
}

/// A table with one row per user or per item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideTableConfig {
    /// Name by which a feature's `table` refers to it; needed only where two tables share a column name.
    pub name: Option<String>,
    /// Files, read one after the other.
    pub files: Vec<String>,
    /// Format of the files. Default: told by each file's name.
    pub format: Option<Format>,
    /// Column with the id; each id once.
    pub key: String,
    /// Whether a user or item of the log may lack a row here. Its features are then missing. Default: an error.
    #[serde(default)]
    pub missing: Missing,
}

/// What a user or item without a row in a side table means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// An error that names the id.
    #[default]
    Error,
    /// Missing features, counted in the report.
    Allow,
}

/// Format of a table's files. Text may be gzip-compressed, which is seen from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated text with a header row and RFC 4180 quoting.
    Csv,
    /// The same with tabs.
    Tsv,
    /// Apache Parquet.
    Parquet,
}
