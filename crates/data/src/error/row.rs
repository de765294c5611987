//! What can be wrong with one row, and where a row is.

use std::fmt;
use std::path::PathBuf;

use crate::TimeUnit;

/// A row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The row inside it.
    pub position: Position,
}

/// Where a row starts inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Line of a text file; the header is line 1.
    Line(u64),
    /// Row of a binary table; the first is row 1.
    Row(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.file.display(), self.position)
    }
}

/// What a cell should have held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Text.
    Text,
    /// A finite number.
    Number,
    /// A whole number of at most 64 bits.
    Integer,
    /// A number above -1, the domain of `log1p`.
    AboveMinusOne,
    /// A number that is not negative, the domain of the transform `log2`.
    NotNegative,
    /// A timestamp in this unit.
    Time(TimeUnit),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Number => f.write_str("a finite number"),
            Self::Integer => f.write_str("a whole number"),
            Self::AboveMinusOne => f.write_str("a number above -1 (transform `log1p`)"),
            Self::NotNegative => f.write_str("a number that is not negative"),
            Self::Time(unit) => write!(f, "a timestamp in unit `{unit}` ({})", unit.example()),
        }
    }
}

/// What is wrong with one row. These, and only these, may be skipped with `on_bad_row = "skip"`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RowFault {
    /// A cell that must have a value is empty.
    #[error("column `{column}` is empty, but needs a value; fill it in")]
    MissingValue {
        /// Column.
        column: String,
    },
    /// A cell can not be read as its column's type.
    #[error("column `{column}` holds `{value}`, expected {expected}; correct it, or give the column another kind")]
    WrongType {
        /// Column.
        column: String,
        /// The cell.
        value: String,
        /// What would be right.
        expected: Expected,
    },
    /// A label outside its range.
    #[error(
        "label column `{column}` holds {value}, outside {min}..={max}; correct it, or change `kind`, `min` and `max` of [interactions] label"
    )]
    LabelOutOfRange {
        /// Column.
        column: String,
        /// The label.
        value: f64,
        /// Smallest legal label.
        min: f64,
        /// Largest legal label.
        max: f64,
    },
    /// A number where text is expected.
    #[error("time column `{column}` holds the number {value}, which looks like unit `{likely}`: set `unit = \"{likely}\"`")]
    TimeIsNumber {
        /// Column.
        column: String,
        /// The cell.
        value: String,
        /// The unit in which it is a plausible date.
        likely: TimeUnit,
    },
    /// A text that is not written in the format given.
    #[error("time column `{column}` holds `{value}`, which is not written as its `format = \"{format}\"` says; correct either")]
    TimeFormat {
        /// Column.
        column: String,
        /// The cell.
        value: String,
        /// The format.
        format: String,
    },
    /// A timestamp before 1970 or after 2100 in the declared unit.
    #[error("time column `{column}` holds {value}, outside the years 1970..2100 in unit `{unit}`{}", likely_unit(.likely.as_ref()))]
    TimeOutOfRange {
        /// Column.
        column: String,
        /// The timestamp.
        value: i64,
        /// Declared unit.
        unit: TimeUnit,
        /// A unit in which the value would be a date between 1990 and 2100.
        likely: Option<TimeUnit>,
    },
    /// Bytes that are not UTF-8.
    #[error("column `{column}` is not UTF-8 (`{value}`); convert the file, for example with `iconv -f latin1 -t utf-8`")]
    NotUtf8 {
        /// Column.
        column: String,
        /// The cell, wrong bytes replaced.
        value: String,
    },
    /// A row with too many or too few fields.
    #[error("the row has {found} fields, the header {expected}; look for a missing quote or separator")]
    UnequalFields {
        /// Fields in the row.
        found: u64,
        /// Fields in the header.
        expected: u64,
    },
    /// A second row for the same key of a user or item table.
    #[error("key `{value}` of column `{column}` was already given in {first}; keep one row for each key")]
    DuplicateKey {
        /// Key column.
        column: String,
        /// The key.
        value: String,
        /// Where it was first.
        first: Place,
    },
    /// A value that the attribute's `codes` do not list.
    #[error("column `{column}` holds `{value}`, which the `codes` of attribute `{attribute}` do not list; add it there")]
    UnlistedCode {
        /// Column.
        column: String,
        /// Attribute.
        attribute: String,
        /// The cell.
        value: String,
    },
}

fn likely_unit(unit: Option<&TimeUnit>) -> String {
    match unit {
        Some(unit) => format!("; it looks like unit `{unit}`: set `unit = \"{unit}\"`"),
        None => "; correct it, or set another `unit`".to_owned(),
    }
}

/// A timestamp and the unit that it seems to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeReading {
    /// The number as written.
    pub value: i64,
    /// The unit in which it is a plausible date.
    pub unit: TimeUnit,
    /// Where it is.
    pub place: Place,
}

impl fmt::Display for TimeReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} looks like unit `{}`", self.value, self.place, self.unit)
    }
}
