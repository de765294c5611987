//! Named, disjoint parts of a log.

mod entity;
mod given;
mod leave_last_out;
mod propose;
mod random;
mod rule;
mod time;
mod values;

pub use entity::{Existing, ItemRule, ItemShare, ShareOf, UserRule};
pub use given::Given;
pub use leave_last_out::LeaveLastOut;
pub use propose::Proposal;
pub use random::{Random, Unit};
pub use rule::SplitConfig;
pub use time::{Moment, TimeCut};
pub use values::Values;

use crate::{Attribute, Dataset, Log, LogFile, Side, Zone};

/// What a split reads of a data set. It needs no encoded features, so it can run before the vocabularies are built from its training part.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    /// The rows.
    pub log: &'a Log,
    /// Original id of each user.
    pub users: &'a [String],
    /// Original id of each item.
    pub items: &'a [String],
    /// Original name of each domain.
    pub domains: &'a [String],
    /// Where a day begins.
    pub zone: Zone,
    /// Values kept for splitting.
    pub attributes: &'a [Attribute],
    /// The files of the log, in the order of its rows.
    pub files: &'a [LogFile],
}

impl<'a> From<&'a Dataset> for LogView<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        Self {
            log: &dataset.log,
            users: &dataset.users,
            items: &dataset.items,
            domains: &dataset.domains,
            zone: dataset.zone,
            attributes: &dataset.attributes,
            files: &dataset.files,
        }
    }
}

/// Disjoint parts of the rows of a log. Rows in no part are left out, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    total: usize,
    parts: Vec<(String, Vec<u32>)>,
    notes: Vec<String>,
}

impl Split {
    /// A split of a log of `total` rows into named parts. The order of rows inside a part is kept.
    ///
    /// # Errors
    /// A name that occurs twice, a row outside the log, or a row in two parts (or twice in one).
    pub fn new(total: usize, parts: Vec<(String, Vec<u32>)>) -> Result<Self, SplitError> {
        let mut owner = vec![u32::MAX; total];
        for (p, (name, rows)) in parts.iter().enumerate() {
            if parts[..p].iter().any(|(earlier, _)| earlier == name) {
                return Err(SplitError::DuplicatePart { part: name.clone() });
            }
            for &row in rows {
                let slot = owner.get_mut(row as usize).ok_or_else(|| SplitError::OutOfRange { row, part: name.clone(), total })?;
                if *slot != u32::MAX {
                    return Err(SplitError::Overlap { row, first: parts[*slot as usize].0.clone(), second: name.clone() });
                }
                *slot = p as u32;
            }
        }
        Ok(Self { total, parts, notes: Vec::new() })
    }

    /// The rows of a part.
    ///
    /// # Errors
    /// No part of that name.
    pub fn rows(&self, part: &str) -> Result<&[u32], SplitError> {
        self.parts
            .iter()
            .find(|(name, _)| name == part)
            .map(|(_, rows)| rows.as_slice())
            .ok_or_else(|| SplitError::UnknownPart { part: part.to_owned(), known: self.names().map(str::to_owned).collect() })
    }

    /// Names of the parts, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.parts.iter().map(|(name, _)| name.as_str())
    }

    /// Name and rows of each part, in order.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&str, &[u32])> {
        self.parts.iter().map(|(name, rows)| (name.as_str(), rows.as_slice()))
    }

    /// Number of rows in the log.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Number of rows in no part.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.total - self.parts.iter().map(|(_, rows)| rows.len()).sum::<usize>()
    }

    /// What was decided by chance or left out, one sentence each: a reader of results must know it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds what was said of the split that this one was made from.
    #[must_use]
    pub fn with_notes(mut self, notes: &[String]) -> Self {
        self.notes.extend_from_slice(notes);
        self
    }

    /// Gathers rows by the part that a rule names for each; `None` leaves a row out.
    fn by_row(total: usize, names: &[&str], part_of: impl Fn(usize) -> Option<usize>) -> Self {
        let mut parts: Vec<(String, Vec<u32>)> = names.iter().map(|&name| (name.to_owned(), Vec::new())).collect();
        for row in 0..total {
            if let Some(part) = part_of(row) {
                parts[part].1.push(row as u32);
            }
        }
        Self { total, parts, notes: Vec::new() }
    }
}

/// Why a log could not be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A row in two parts.
    #[error("row {row} is in part `{first}` and in part `{second}`; parts must not share rows, so take it out of one")]
    Overlap {
        /// The row.
        row: u32,
        /// Part that held it first.
        first: String,
        /// Part that claims it as well.
        second: String,
    },
    /// A row that the log does not have.
    #[error("part `{part}` names row {row}, but the log has only {total} rows, counted from 0; check which log the split was made for")]
    OutOfRange {
        /// The row.
        row: u32,
        /// The part that names it.
        part: String,
        /// Number of rows in the log.
        total: usize,
    },
    /// Two parts of one name.
    #[error("two parts are named `{part}`; give each part its own name")]
    DuplicatePart {
        /// The name.
        part: String,
    },
    /// A part that the split does not have.
    #[error("the split has no part `{part}`; its parts are: {}", known.join(", "))]
    UnknownPart {
        /// Name asked for.
        part: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// An attribute that the data set does not have.
    #[error("the split needs the attribute `{attribute}`, which the data set does not have (it has: {}); list the column as an attribute in the data-set file", known.join(", "))]
    UnknownAttribute {
        /// Name asked for.
        attribute: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// An attribute of the wrong entity.
    #[error("the {0} rule needs an attribute of {0}s, but `{attribute}` belongs to another entity; use a column of the {0} table", crate::DataError::side_name(*side))]
    NotAnAttributeOf {
        /// The entity.
        side: Side,
        /// Name of the attribute.
        attribute: String,
    },
    /// A listed value that nothing has.
    #[error("`{key}` lists the value `{value}`, which attribute `{attribute}` never has; it has: {}", known.join(", "))]
    UnknownValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Name of the attribute.
        attribute: String,
        /// Some values that it has.
        known: Vec<String>,
    },
    /// A given part without values or files.
    #[error("`{key}` gives nothing for part `{part}`; name at least one, or remove the part")]
    NoEntry {
        /// The key.
        key: &'static str,
        /// The part.
        part: String,
    },
    /// A value or file of two given parts.
    #[error("`{key}` names `{entry}` twice; a row can be in one part only")]
    EntryTwice {
        /// The key.
        key: &'static str,
        /// The value or file.
        entry: String,
    },
    /// A file that the log does not have.
    #[error("the split names `{entry}`, which is no entry of `[interactions] files`; there are: {}", known.join(", "))]
    UnknownFile {
        /// The entry.
        entry: String,
        /// Entries there are.
        known: Vec<String>,
    },
    /// A column with too many values to be one of parts.
    #[error("column `{column}` has {values} values, too many to be parts of the log; say with `parts` which values belong to which part")]
    ManyParts {
        /// The column.
        column: String,
        /// Number of values.
        values: usize,
    },
    /// A part of a split by chance without rows.
    #[error(
        "part `{part}` has no rows: its share of the {rows} rows of the log is too small for chance to give it one; raise the share, or change `salt`"
    )]
    EmptyShare {
        /// The part.
        part: String,
        /// Rows of the log.
        rows: usize,
    },
    /// A domain that the data set does not have.
    #[error("the held-out domain `{domain}` is not in the data set (it has: {}); check the spelling", known.join(", "))]
    UnknownDomain {
        /// Name asked for.
        domain: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// A split by time of a data set without time.
    #[error("a split by time needs a time column, and the data set has none; name one in the data-set file or choose another split")]
    NoTime,
    /// A bound of a split by time that is no moment.
    #[error(
        "split setting `{key}` = {value} is no moment; write a date such as \"2022-05-05\" or \"2022-05-05 12:00\", or a whole number of unit s, ms, us, \
         ns or date_yyyymmdd"
    )]
    NotAMoment {
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// A number that is a date in no unit.
    #[error(
        "split setting `{key}` = {number} is a date in none of the units s, ms, us, ns and date_yyyymmdd; the log goes from {range}: write a date inside it, \
         as in {key} = \"{example}\""
    )]
    NoDate {
        /// The key.
        key: &'static str,
        /// The number.
        number: i64,
        /// First and last time of the log.
        range: String,
        /// A moment inside the log.
        example: String,
    },
    /// A number that lies inside the log in several units.
    #[error(
        "split setting `{key}` = {number} may be {meanings}, all inside the log, which goes from {range}; write a date, as in {key} = \"2022-05-05 12:00\""
    )]
    SeveralUnits {
        /// The key.
        key: &'static str,
        /// The number.
        number: i64,
        /// The dates that it may mean.
        meanings: String,
        /// First and last time of the log.
        range: String,
    },
    /// A part of a split by time without rows.
    #[error(
        "part `{part}` has no rows: validation begins at {validation} and test at {test}, and the log goes from {range}; move `validation_from` or `test_from`"
    )]
    EmptyPart {
        /// The part.
        part: String,
        /// Where validation begins.
        validation: String,
        /// Where test begins.
        test: String,
        /// First and last time of the log.
        range: String,
    },
    /// Less than three times in a log that is cut by shares.
    #[error(
        "a split by time needs three distinct times, one for each part, and the log has fewer ({range}); use kind `random` or `leave_last_out`"
    )]
    FewTimes {
        /// First and last time of the log.
        range: String,
    },
    /// An id that the integer hash can not read.
    #[error("the residue rule hashes whole numbers, but {entity} id `{id}` is not one; use the rank rule, which hashes text")]
    NotANumber {
        /// `user` or `item`.
        entity: &'static str,
        /// The id.
        id: String,
    },
    /// A setting that contradicts itself.
    #[error("split setting `{setting}`: {problem}")]
    Setting {
        /// Name of the field in the config.
        setting: &'static str,
        /// What is wrong and what to do.
        problem: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(name: &str, rows: &[u32]) -> (String, Vec<u32>) {
        (name.to_owned(), rows.to_vec())
    }

    #[test]
    fn overlap_names_the_row_and_both_parts() {
        let error = Split::new(5, vec![part("train", &[0, 1, 2]), part("test", &[4, 1])]).unwrap_err();
        assert_eq!(error, SplitError::Overlap { row: 1, first: "train".into(), second: "test".into() });
        assert_eq!(error.to_string(), "row 1 is in part `train` and in part `test`; parts must not share rows, so take it out of one");
        assert!(matches!(Split::new(5, vec![part("a", &[3, 3])]), Err(SplitError::Overlap { row: 3, .. })));
    }

    #[test]
    fn bad_rows_and_names_are_refused() {
        assert!(matches!(Split::new(3, vec![part("a", &[3])]), Err(SplitError::OutOfRange { row: 3, total: 3, .. })));
        assert!(matches!(Split::new(3, vec![part("a", &[0]), part("a", &[1])]), Err(SplitError::DuplicatePart { .. })));
        let split = Split::new(4, vec![part("a", &[2, 0])]).unwrap();
        assert_eq!((split.rows("a").unwrap(), split.left_out(), split.total()), (&[2u32, 0][..], 2, 4));
        assert_eq!(split.rows("b").unwrap_err().to_string(), "the split has no part `b`; its parts are: a");
    }

    proptest! {
        #[test]
        fn accepted_exactly_when_disjoint(a in proptest::collection::vec(0u32..30, 0..12), b in proptest::collection::vec(0u32..30, 0..12)) {
            let all: std::collections::BTreeSet<u32> = a.iter().chain(&b).copied().collect();
            let split = Split::new(30, vec![part("a", &a), part("b", &b)]);
            prop_assert_eq!(split.is_ok(), all.len() == a.len() + b.len());
            if let Ok(split) = split {
                prop_assert_eq!(split.left_out(), 30 - all.len());
            }
        }
    }
}
