//! Tables of a data-set file.

use serde::{Deserialize, Serialize};

use crate::time::Spelling;
use crate::{LabelKind, RequestConfig, TimeUnit, Zone};

/// The keys that say how the files of a table are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKeys<'a> {
    pub(crate) files: &'a [String],
    pub(crate) format: Option<Format>,
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) quoting: Option<bool>,
    pub(crate) columns: &'a [String],
    pub(crate) null_values: &'a [String],
    pub(crate) comment: Option<&'a str>,
    pub(crate) encoding: Option<&'a str>,
    pub(crate) decimal: Decimal,
    pub(crate) integer_columns: &'a [String],
}

/// Takes the keys out of a table that has them.
macro_rules! file_keys {
    ($table:expr) => {
        FileKeys {
            files: &$table.files,
            format: $table.format,
            delimiter: $table.delimiter.as_deref(),
            quoting: $table.quoting,
            columns: &$table.columns,
            null_values: &$table.null_values,
            comment: $table.comment.as_deref(),
            encoding: $table.encoding.as_deref(),
            decimal: $table.decimal,
            integer_columns: &$table.integer_columns,
        }
    };
}

impl FileKeys<'_> {
    /// The first key that only text files know, if one is given.
    pub(crate) fn text_key(&self) -> Option<&'static str> {
        let given = [
            ("delimiter", self.delimiter.is_some()),
            ("quoting", self.quoting.is_some()),
            ("columns", !self.columns.is_empty()),
            ("comment", self.comment.is_some()),
            ("encoding", self.encoding.is_some()),
            ("decimal", self.decimal != Decimal::Point),
        ];
        given.into_iter().find(|&(_, given)| given).map(|(key, _)| key)
    }
}

/// The log: one row per interaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InteractionsConfig {
    /// Files, read one after the other; all need the columns named here.
    pub files: Vec<String>,
    /// Format of the files. Default: told by each file's name.
    pub format: Option<Format>,
    /// Text: what stands between two fields, of any length. Default: a comma, or a tab for `tsv`.
    pub delimiter: Option<String>,
    /// Text: whether fields may be quoted with `"`. `false`: quotes are ordinary characters. `true`: a quoted text may run over lines even where its
    /// lines look like rows, which is an error by default.
    pub quoting: Option<bool>,
    /// Text: the columns of files without a header.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Texts that stand for a missing value, as the empty one does.
    #[serde(default)]
    pub null_values: Vec<String>,
    /// Text: lines that start with this are left out.
    pub comment: Option<String>,
    /// Text: how characters are written: `utf-8`, `latin-1` or another name of the WHATWG encoding standard. Default UTF-8, or UTF-16 where a
    /// byte-order mark says so.
    pub encoding: Option<String>,
    /// Text: what stands before the fraction of a number.
    #[serde(default)]
    pub decimal: Decimal,
    /// Columns that hold whole numbers though written otherwise: `5863.0` or `05863` is `5863`.
    #[serde(default)]
    pub integer_columns: Vec<String>,
    /// Column with the user's id.
    pub user: String,
    /// Column with the item's id.
    pub item: String,
    /// Where an item's id means one item. Default: everywhere.
    #[serde(default)]
    pub item_scope: ItemScope,
    /// Time of the interaction.
    pub time: Option<TimeConfig>,
    /// Domain of the interaction. Default: one domain named `all`.
    pub domain: Option<DomainConfig>,
    /// Which rows are one request. Default: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestConfig>,
    /// What is predicted.
    pub label: LabelConfig,
}

impl InteractionsConfig {
    pub(crate) fn file_keys(&self) -> FileKeys<'_> {
        file_keys!(self)
    }
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

/// Where an item's id means one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemScope {
    /// Everywhere.
    #[default]
    All,
    /// Inside its domain. The item is then named `domain/id`.
    Domain,
}

/// Where the domain of an interaction stands: in a column, or in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Column. Excludes `from`.
    pub column: Option<String>,
    /// What tells the domain if no column does.
    pub from: Option<DomainOrigin>,
    /// With `from`: the domain of each entry of `files`. Default: the file's name up to its first dot.
    #[serde(default)]
    pub names: Vec<String>,
    /// With `from`: what metrics call the domain. Default `domain`.
    pub name: Option<String>,
    /// Domains in the order of their indices, whether they occur or not. Domains that are not listed follow, sorted by their UTF-8 bytes.
    #[serde(default)]
    pub order: Vec<String>,
}

impl DomainConfig {
    /// What metrics call the domain.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().or(self.column.as_deref()).unwrap_or("domain")
    }
}

/// What tells the domain if no column does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainOrigin {
    /// The file of the row.
    File,
}

/// The domain of the rows of an item table, where ids mean one item inside their domain only. One of the two is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDomain {
    /// Column with the domain.
    pub column: Option<String>,
    /// The domain of all rows. Tables for one domain each are read as one table.
    pub value: Option<String>,
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
    /// The value that counts as 1, where every other one counts as 0; `click` only.
    pub positive: Option<String>,
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
    /// Text: what stands between two fields, of any length. Default: a comma, or a tab for `tsv`.
    pub delimiter: Option<String>,
    /// Text: whether fields may be quoted with `"`. `false`: quotes are ordinary characters. `true`: a quoted text may run over lines even where its
    /// lines look like rows, which is an error by default.
    pub quoting: Option<bool>,
    /// Text: the columns of files without a header.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Texts that stand for a missing value, as the empty one does.
    #[serde(default)]
    pub null_values: Vec<String>,
    /// Text: lines that start with this are left out.
    pub comment: Option<String>,
    /// Text: how characters are written: `utf-8`, `latin-1` or another name of the WHATWG encoding standard. Default UTF-8, or UTF-16 where a
    /// byte-order mark says so.
    pub encoding: Option<String>,
    /// Text: what stands before the fraction of a number.
    #[serde(default)]
    pub decimal: Decimal,
    /// Columns that hold whole numbers though written otherwise: `5863.0` or `05863` is `5863`.
    #[serde(default)]
    pub integer_columns: Vec<String>,
    /// Column with the id; each id once.
    pub key: String,
    /// Domain of the items, where `item_scope = "domain"`.
    pub domain: Option<TableDomain>,
    /// Whether a user or item of the log may lack a row here. Its features are then missing. Default: an error.
    #[serde(default)]
    pub missing: Missing,
}

impl SideTableConfig {
    pub(crate) fn file_keys(&self) -> FileKeys<'_> {
        file_keys!(self)
    }
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

/// What stands before the fraction of a number in text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decimal {
    /// `3.14`.
    #[default]
    #[serde(rename = ".")]
    Point,
    /// `3,14`.
    #[serde(rename = ",")]
    Comma,
}

/// Format of a table's files. Text may be compressed with gzip or zstd, which is seen from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text with a header row, separated by commas where `delimiter` says nothing else, and RFC 4180 quoting.
    Csv,
    /// The same with tabs.
    Tsv,
    /// Apache Parquet.
    Parquet,
}
