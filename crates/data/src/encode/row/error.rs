//! What can be wrong with a row that comes by itself.

use crate::error::RowFault;

/// A row that can not be encoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A value that its feature can not have.
    #[error("{}`{feature}`: {fault}", at(*.row))]
    Value {
        /// The feature, or `user`, `item`, `domain`, `time`.
        feature: String,
        /// The row, from 0; none for a value that all rows share.
        row: Option<usize>,
        /// What is wrong.
        fault: Box<RowFault>,
    },
    /// A column that nothing reads.
    #[error("{}`{column}` is no column of this base{}; leave it out, or correct its name", at(*.row), meant(.nearest.as_deref()))]
    UnknownColumn {
        /// Its name, or the beginning of it.
        column: String,
        /// The row, from 0; none for one that all rows share.
        row: Option<usize>,
        /// A column with nearly that name.
        nearest: Option<String>,
    },
    /// Lists beyond what a batch can number.
    #[error("the lists of `{feature}` hold more than 2^32 values; send fewer rows at once")]
    TooLarge {
        /// The feature.
        feature: String,
    },
}

/// Characters of a value that a message shows.
const SHOWN: usize = 100;

impl RowError {
    pub(super) fn value(feature: &str, row: Option<usize>, mut fault: RowFault) -> Self {
        if let RowFault::WrongType { value, .. } | RowFault::TimeFormat { value, .. } | RowFault::TimeIsNumber { value, .. } = &mut fault {
            *value = beginning(value);
        }
        Self::Value { feature: feature.to_owned(), row, fault: Box::new(fault) }
    }
}

/// The beginning of a text that somebody else wrote.
pub(super) fn beginning(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn at(row: Option<usize>) -> String {
    row.map_or_else(String::new, |row| format!("row {row}, "))
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (there is `{name}`)"))
}
