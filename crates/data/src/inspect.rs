//! What was read: counts, missing values, rates and problems, for people and for JSON.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::column::Values;
use crate::error::{Position, RowFault};
use crate::{Log, Side};

/// Faults kept word for word per file; the rest are counted.
const EXAMPLES: usize = 3;
/// Share of missing values that is called a problem.
const MOSTLY: f64 = 0.5;

/// The kinds of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// The log.
    Interactions,
    /// A table of users.
    Users,
    /// A table of items.
    Items,
}

/// What reading a data set found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadReport {
    /// Name of the data set.
    pub dataset: String,
    /// Every file, in the order of reading.
    pub files: Vec<FileReport>,
    /// Rows of the log.
    pub rows: usize,
    /// Distinct users of the log.
    pub users: usize,
    /// Distinct items of the log.
    pub items: usize,
    /// Mean label.
    pub label_mean: f64,
    /// Every domain that occurs or is listed.
    pub domains: Vec<DomainReport>,
    /// First and last time, microseconds since 1970; `None` without a time column.
    pub time: Option<[i64; 2]>,
    /// Every feature.
    pub columns: Vec<ColumnReport>,
    /// What deserves a look, one sentence each.
    pub problems: Vec<String>,
}

/// Rows of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The table it belongs to.
    pub table: TableKind,
    /// The file.
    pub file: PathBuf,
    /// Rows used.
    pub rows_read: u64,
    /// Rows left out because they are bad.
    pub rows_skipped: u64,
    /// The first few reasons.
    pub faults: Vec<String>,
}

impl FileReport {
    pub(crate) fn new(table: TableKind, file: &Path) -> Self {
        Self { table, file: file.to_owned(), rows_read: 0, rows_skipped: 0, faults: Vec::new() }
    }

    pub(crate) fn skip(&mut self, position: Position, fault: &RowFault) {
        self.rows_skipped += 1;
        if self.faults.len() < EXAMPLES {
            self.faults.push(format!("{position}: {fault}"));
        }
    }
}

/// Rows and labels of one domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainReport {
    /// Name.
    pub name: String,
    /// Rows.
    pub rows: usize,
    /// Mean label: the click rate, or the mean rating. 0 without rows.
    pub label_mean: f64,
}

/// Values of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Name of the feature.
    pub feature: String,
    /// Entity that owns it; counts are over these.
    pub side: Side,
    /// Entities.
    pub values: usize,
    /// Entities without a value.
    pub missing: usize,
    /// Distinct categories; `None` for numbers.
    pub distinct: Option<usize>,
    /// Smallest and largest number after the transform; `None` for categories.
    pub range: Option<[f64; 2]>,
}

impl ColumnReport {
    pub(crate) fn new(feature: &str, side: Side, values: &Values, log: &Log) -> Self {
        let report = |values, missing, distinct, range| Self { feature: feature.to_owned(), side, values, missing, distinct, range };
        match values {
            Values::Text(text) => {
                let missing = text.codes.iter().filter(|&&code| code == 0).count();
                report(text.codes.len(), missing, Some(distinct(&text.codes, text.table.len()) - usize::from(missing > 0)), None)
            }
            Values::List(list) => {
                let missing = (0..list.len()).filter(|&i| list.row(i).is_empty()).count();
                report(list.len(), missing, Some(distinct(&list.codes, list.table.len())), None)
            }
            Values::Number(numbers) => {
                let present = || numbers.values.iter().copied().filter(|x| !x.is_nan());
                let missing = numbers.values.len() - present().count();
                let range = present().fold(None, |range: Option<[f64; 2]>, x| Some(range.map_or([x, x], |[a, b]| [a.min(x), b.max(x)])));
                report(numbers.values.len(), missing, None, range)
            }
            Values::Domain | Values::Attribute(_) => {
                let domains: Vec<u32> = log.domain.iter().map(|d| d.0).collect();
                report(log.len(), 0, Some(distinct(&domains, domains.iter().max().map_or(0, |&m| m as usize + 1))), None)
            }
        }
    }

    /// What is odd about the column.
    pub(crate) fn problem(&self) -> Option<String> {
        let name = &self.feature;
        if self.missing == self.values {
            return Some(format!("feature `{name}` has no value at all; check its column, or remove it"));
        }
        if self.missing as f64 > MOSTLY * self.values as f64 {
            return Some(format!("feature `{name}` is missing for {} of {}", self.missing, self.values));
        }
        let constant = self.missing == 0 && (self.distinct == Some(1) || self.range.is_some_and(|[min, max]| min == max));
        constant.then(|| format!("feature `{name}` has one value only, so it can not help a model"))
    }
}

/// Number of distinct codes below `size`.
fn distinct(codes: &[u32], size: usize) -> usize {
    let mut seen = vec![false; size];
    for &code in codes {
        seen[code as usize] = true;
    }
    seen.into_iter().filter(|&s| s).count()
}

impl ReadReport {
    /// Rows left out of all files.
    #[must_use]
    pub fn rows_skipped(&self) -> u64 {
        self.files.iter().map(|f| f.rows_skipped).sum()
    }
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} rows, {} users, {} items, mean label {:.4}", self.dataset, self.rows, self.users, self.items, self.label_mean)?;
        for file in &self.files {
            writeln!(f, "  {}: {} rows read, {} skipped", file.file.display(), file.rows_read, file.rows_skipped)?;
        }
        for problem in &self.problems {
            writeln!(f, "  look: {problem}")?;
        }
        Ok(())
    }
}
