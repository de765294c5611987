//! The data-set file: which tables, which columns, what they mean.

mod derived;
mod feature;
mod problem;
mod table;
mod validate;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use derived::{Condition, DerivedKeyError, Domains, Lag, Since, Span, StatisticValue};
pub use feature::{AttributeConfig, AttributeKind, FeatureConfig, FeatureKind, Origin, Scale, Transform};
pub use problem::ConfigProblem;
pub(crate) use table::FileKeys;
pub use table::{
    Decimal, DomainConfig, DomainOrigin, Format, InteractionsConfig, ItemScope, LabelConfig, LabelType, Missing, SideTableConfig,
    TableDomain, TimeConfig,
};

use crate::DataError;

/// A whole data-set file. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Name used in reports.
    pub name: String,
    /// What to do with a row that can not be used. Default: stop.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
    /// The log.
    pub interactions: InteractionsConfig,
    /// Tables with one row per user.
    #[serde(default)]
    pub users: Vec<SideTableConfig>,
    /// Tables with one row per item.
    #[serde(default)]
    pub items: Vec<SideTableConfig>,
    /// Features, in the order in which a model reads them.
    #[serde(default, rename = "feature")]
    pub features: Vec<FeatureConfig>,
    /// Values kept for splitting.
    #[serde(default, rename = "attribute")]
    pub attributes: Vec<AttributeConfig>,
    /// The file this was read from; relative paths start at its folder.
    #[serde(skip)]
    pub path: PathBuf,
}

/// What to do with a row that can not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// Stop with an error that names the row.
    #[default]
    Error,
    /// Leave the row out and count it in the report.
    Skip,
}

impl DatasetConfig {
    /// Reads and validates a data-set file.
    ///
    /// # Errors
    /// The file is missing, is not TOML, has an unknown key, or contradicts itself.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| DataError::Io { file: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Validates the text of a data-set file that lies (or would lie) at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        let other = match text.parse::<toml::Table>() {
            Ok(table) if table.contains_key("scenario") => Some("is an experiment; name the data-set file, which is the `dataset` of it"),
            Err(_) if path.extension().is_some_and(|extension| extension != "toml") => {
                Some("is no data-set file; for a table, `acclimate init` writes one")
            }
            _ => None,
        };
        if let Some(problem) = other {
            return Err(DataError::NoDataSetFile { file: path, problem });
        }
        let mut config: Self = toml::from_str(text).map_err(|source| DataError::Config { file: path.clone(), source: Box::new(source) })?;
        config.path = path;
        config.validate()?;
        Ok(config)
    }

    /// What times without an offset mean, and where a day begins.
    #[must_use]
    pub fn zone(&self) -> crate::Zone {
        self.interactions.time.as_ref().map(|time| time.zone).unwrap_or_default()
    }

    /// The folder at which a `files` entry starts, and the rest of the path: `${ACCLIMATE_DATA}` at its start is replaced by that environment
    /// variable, and a relative path starts at the folder of the data-set file.
    pub(crate) fn locate<'a>(&self, entry: &'a str) -> Result<(PathBuf, &'a str), DataError> {
        const VARIABLE: &str = "ACCLIMATE_DATA";
        if let Some(rest) = entry.strip_prefix("${ACCLIMATE_DATA}") {
            let root = std::env::var_os(VARIABLE).ok_or_else(|| DataError::MissingVariable {
                file: self.path.clone(),
                path: entry.to_owned(),
                variable: VARIABLE.to_owned(),
            })?;
            return Ok((PathBuf::from(root), rest.trim_start_matches('/')));
        }
        Ok((self.path.parent().unwrap_or(Path::new("")).to_owned(), entry))
    }
}
