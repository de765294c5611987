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
    /// A finite number with a decimal comma.
    CommaNumber,
    /// A whole number of at most 64 bits.
    Integer,
    /// Whole numbers in a list.
    Integers,
    /// A list with brackets.
    List,
    /// The same, where no separator is given.
    BracketedList,
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
            Self::CommaNumber => f.write_str("a finite number with a decimal comma, as `decimal = \",\"` says"),
            Self::Integer => f.write_str("a whole number"),
            Self::Integers => f.write_str("whole numbers, as `integer_columns` says"),
            Self::List => f.write_str("a list whose brackets and quotes are closed, such as [3, 9] or ['a', 'b'], without lists inside"),
            Self::BracketedList => f.write_str(
                "a list such as [3, 9] or ['a', 'b']; where another text stands between the values, give the feature a `separator`",
            ),
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
    #[error("column `{column}` holds `{value}`, expected {expected}; {}", value_advice(.value, *.expected))]
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
        "label column `{column}` holds {value}, {}; correct it, or change `kind`, `min` and `max` of [interactions] label", not_within(*value, *min, *max)
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
    /// Bytes of a text file that are not UTF-8.
    #[error("column `{column}` is not UTF-8 (`{value}`); if the file is written in another encoding, say so: `encoding = \"latin-1\"`")]
    NotUtf8 {
        /// Column.
        column: String,
        /// The cell, wrong bytes replaced.
        value: String,
    },
    /// Bytes of a binary table that are no text.
    #[error("column `{column}` holds bytes that are no text (`{value}`); store them as text or numbers")]
    NotText {
        /// Column.
        column: String,
        /// The cell, wrong bytes replaced.
        value: String,
    },
    /// A row with too many or too few fields.
    #[error("the row has {found} fields, expected {expected} as there are columns; look for a missing quote or separator")]
    UnequalFields {
        /// Fields in the row.
        found: usize,
        /// Columns.
        expected: usize,
    },
    /// A quoted field that goes on after its closing quote.
    #[error(
        "{column} begins with a quote and goes on after the closing one (`{value}`); double the quotes inside it, or set `quoting = false` if the file has no quoting"
    )]
    TextAfterQuote {
        /// Column, or the number of the field.
        column: String,
        /// Beginning of the field.
        value: String,
    },
    /// A field that begins with a quote that is not closed.
    #[error(
        "{column} begins with a quote that is not closed before the next field (`{value}`); close it, or set `quoting = false` if the file has no quoting"
    )]
    OpenQuote {
        /// Column, or the number of the field.
        column: String,
        /// Beginning of the field.
        value: String,
    },
    /// A quoted field whose lines look like rows.
    #[error(
        "{column} begins with a quote that is closed {lines} lines later, and the lines between look like rows; close it, set `quoting = false` if the \
         file has no quoting, or `quoting = true` if this is one text"
    )]
    QuotedRows {
        /// Column, or the number of the field.
        column: String,
        /// Line ends inside the field.
        lines: usize,
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

/// Spellings of a missing value that programs use.
const MISSING: [&str; 14] = ["na", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "none", "nil", "undefined", "\\n", "-", "--", "?"];

/// Whether a text is one that programs write for a missing value.
pub(crate) fn means_missing(text: &str) -> bool {
    MISSING.iter().any(|marker| text.eq_ignore_ascii_case(marker))
}

/// Why a label can not be: it is outside of its range, or one of the two that a click can be is not it.
fn not_within(value: f64, min: f64, max: f64) -> String {
    if (min..=max).contains(&value) { format!("expected {min} or {max}") } else { format!("outside {min}..={max}") }
}

/// What to do about a value of the wrong type.
fn value_advice(value: &str, expected: Expected) -> String {
    let is_comma = |value: &str| value.contains(',') && !value.contains('.') && value.replacen(',', ".", 1).parse::<f64>().is_ok();
    match expected {
        Expected::Text => "store the column as text or whole numbers".to_owned(),
        _ if means_missing(value) => format!("if it stands for a missing value, set `null_values = [{value:?}]`"),
        Expected::Number | Expected::Integer | Expected::AboveMinusOne | Expected::NotNegative if is_comma(value) => {
            "if it is written with a decimal comma, set `decimal = \",\"`".to_owned()
        }
        _ => "correct it, or give the column another kind".to_owned(),
    }
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
