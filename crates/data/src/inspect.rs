//! What was read: counts, missing values, rates and problems, for people and for JSON.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::column::Values;
use crate::error::{Position, RowFault, means_missing};
use crate::strings::StringTable;
use crate::{FeatureConfig, Log, Scale, Side};

/// Faults kept word for word per file; the rest are counted.
const EXAMPLES: usize = 3;
/// Share of missing values that is called a problem.
const MOSTLY: f64 = 0.5;
/// How many times the usual magnitude the largest number may be.
const SPREAD: f64 = 1e6;
/// Numbers of which the usual magnitude is taken.
const SAMPLE: usize = 100_000;

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
    /// Rows that repeat a pair of user and item.
    pub repeats: RepeatReport,
    /// Rows whose order nothing but their place in the files tells.
    pub ties: TieReport,
    /// Every feature.
    pub columns: Vec<ColumnReport>,
    /// What deserves a look, one sentence each.
    pub problems: Vec<String>,
}

/// Rows whose user and item stand in another row before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatReport {
    /// Rows.
    pub rows: usize,
    /// Those that have the same time as well; 0 without a time column.
    pub same_time: usize,
}

/// Rows that have the time of another row of their user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TieReport {
    /// Rows.
    pub rows: usize,
    /// Users who have some.
    pub users: usize,
}

impl RepeatReport {
    pub(crate) fn problem(&self, rows: usize) -> Option<String> {
        let same_time = if self.same_time > 0 { format!(" ({} of them at the same time)", self.same_time) } else { String::new() };
        (self.rows > 0).then(|| {
            format!(
                "{} of {rows} rows repeat a user and item that stand before{same_time}; a split can put such a pair into two parts",
                self.rows
            )
        })
    }
}

impl TieReport {
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { rows, users } = self;
        (*rows > 0)
            .then(|| format!("{rows} rows of {users} users have the time of another row of their user; their order is that of the files"))
    }
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
    /// Median magnitude of the numbers other than 0 (of a sample, where there are many); `None` for categories.
    pub typical: Option<f64>,
    /// Values of lists that were left out because a list was longer than `max_length`.
    pub cut: u64,
    /// Texts that programs write for a missing value and that count as categories here, with the number of each.
    pub markers: Vec<(String, usize)>,
}

impl ColumnReport {
    pub(crate) fn new(feature: &str, side: Side, values: &Values, log: &Log) -> Self {
        let report = Self {
            feature: feature.to_owned(),
            side,
            values: 0,
            missing: 0,
            distinct: None,
            range: None,
            typical: None,
            cut: 0,
            markers: Vec::new(),
        };
        match values {
            Values::Text(text) => {
                let missing = text.codes.iter().filter(|&&code| code == 0).count();
                let distinct = distinct(&text.codes, text.table.len()) - usize::from(missing > 0);
                let markers = markers(&text.table, &text.codes);
                Self { values: text.codes.len(), missing, distinct: Some(distinct), markers, ..report }
            }
            Values::List(list) => {
                let missing = (0..list.len()).filter(|&i| list.row(i).is_empty()).count();
                let (distinct, markers) = (distinct(&list.codes, list.table.len()), markers(&list.table, &list.codes));
                Self { values: list.len(), missing, distinct: Some(distinct), cut: list.cut, markers, ..report }
            }
            Values::Number(numbers) => {
                let present = || numbers.values.iter().copied().filter(|x| !x.is_nan());
                let missing = numbers.values.len() - present().count();
                let range = present().fold(None, |range: Option<[f64; 2]>, x| Some(range.map_or([x, x], |[a, b]| [a.min(x), b.max(x)])));
                Self { values: numbers.values.len(), missing, range, typical: typical(&numbers.values), ..report }
            }
            Values::Nothing => report,
            Values::Domain | Values::Attribute(_) => {
                let domains: Vec<u32> = log.domain.iter().map(|d| d.0).collect();
                let distinct = distinct(&domains, domains.iter().max().map_or(0, |&m| m as usize + 1));
                Self { values: log.len(), distinct: Some(distinct), ..report }
            }
        }
    }

    /// What is odd about the column.
    pub(crate) fn problems(&self, config: &FeatureConfig) -> Vec<String> {
        let name = &self.feature;
        if self.missing == self.values && self.values > 0 {
            return vec![format!("feature `{name}` has no value at all; check its column, or remove it")];
        }
        let mut problems = Vec::new();
        if self.missing as f64 > MOSTLY * self.values as f64 {
            problems.push(format!("feature `{name}` is missing for {} of {}", self.missing, self.values));
        }
        if self.missing == 0 && (self.distinct == Some(1) || self.range.is_some_and(|[min, max]| min == max)) {
            problems.push(format!("feature `{name}` has one value only, so it can not help a model"));
        }
        if self.cut > 0 {
            problems.push(format!("feature `{name}`: {} values are beyond `max_length` and left out", self.cut));
        }
        problems.extend(self.markers.iter().map(|(text, count)| {
            format!("feature `{name}` holds {text:?} {count} times as a category; if it stands for a missing value, set `null_values = [{text:?}]`")
        }));
        problems.extend(self.extreme(config));
        problems
    }

    /// Numbers that a model can hardly read.
    fn extreme(&self, config: &FeatureConfig) -> Option<String> {
        let ([min, max], typical) = (self.range?, self.typical?);
        let (name, largest) = (&self.feature, min.abs().max(max.abs()));
        let is_unscaled = config.scale.unwrap_or_default() == Scale::None;
        let or_log = if config.transform.is_none() && min > -1.0 { " or `transform = \"log1p\"`" } else { "" };
        if largest > SPREAD * typical {
            let then = if is_unscaled { "training can fail" } else { "scaled by it, all others are nearly one number" };
            return Some(format!(
                "feature `{name}` goes up to {largest:.4e} where {typical:.4} is usual: {then}; correct the value{}",
                if or_log.is_empty() { "" } else { ", or set `transform = \"log1p\"`" }
            ));
        }
        (is_unscaled && largest > f64::from(crate::dataset::EXTREME)).then(|| {
            format!(
                "feature `{name}` goes up to {largest:.4e} and is not scaled, so that training can fail; set `scale = \"standard\"`{or_log}"
            )
        })
    }
}

/// Median magnitude of the numbers other than 0, of a sample that is spread evenly.
fn typical(values: &[f64]) -> Option<f64> {
    let step = values.len().div_ceil(SAMPLE).max(1);
    let mut sample: Vec<f64> = values.iter().step_by(step).map(|x| x.abs()).filter(|x| *x > 0.0).collect();
    let middle = sample.len() / 2;
    (!sample.is_empty()).then(|| *sample.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The texts of a dictionary that usually stand for a missing value, and how often each occurs.
fn markers(table: &StringTable, codes: &[u32]) -> Vec<(String, usize)> {
    let suspects = table.texts().zip(1_u32..).filter(|(text, _)| means_missing(text));
    suspects.map(|(text, code)| (text.to_owned(), codes.iter().filter(|&&c| c == code).count())).filter(|&(_, count)| count > 0).collect()
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
