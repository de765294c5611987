//! Values of rows, as their file types them.

use std::fmt::Write;

use super::ArrowColumn;
use crate::RawValue;
use crate::config::Decimal;
use crate::error::{Expected, RowFault};

/// The largest whole number up to which floats hold every one.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'a> {
    /// Empty text or null.
    Missing,
    /// Text as written, and what stands before the fraction if it is a number.
    Text(&'a str, Decimal),
    /// A typed yes or no.
    Boolean(bool),
    /// A typed whole number.
    Integer(i64),
    /// A typed whole number beyond the signed ones.
    Unsigned(u64),
    /// A typed number of 32 bits, which has other decimal digits than one of 64.
    Single(f32),
    /// A typed number.
    Number(f64),
    /// A typed date or timestamp, microseconds since 1970: in UTC, or as a clock on the wall shows it.
    Moment { micros: i64, is_local: bool },
    /// A typed list: these positions of the column.
    List(&'a ArrowColumn, std::ops::Range<usize>),
    /// The list of a caller.
    Values(&'a [RawValue]),
}

impl<'a> From<&'a RawValue> for Cell<'a> {
    fn from(value: &'a RawValue) -> Self {
        match value {
            RawValue::Missing => Cell::Missing,
            RawValue::Bool(value) => Cell::Boolean(*value),
            RawValue::Integer(value) => Cell::Integer(*value),
            RawValue::Unsigned(value) => Cell::Unsigned(*value),
            RawValue::Number(value) => Cell::Number(*value),
            // As in a file of text.
            RawValue::Text(text) if text.is_empty() => Cell::Missing,
            RawValue::Text(text) => Cell::Text(text, Decimal::Point),
            RawValue::List(values) => Cell::Values(values),
        }
    }
}

impl<'a> Cell<'a> {
    /// The cell as the text of an id; a missing value is the empty text. Text is kept as written; typed numbers are written in decimal, whole ones
    /// without a fraction.
    pub(crate) fn text<'b>(&self, buffer: &'b mut String) -> Result<&'b str, Expected>
    where
        'a: 'b,
    {
        buffer.clear();
        match *self {
            Cell::Missing => Ok(()),
            Cell::Text(text, _) => return Ok(text),
            Cell::Boolean(value) => write!(buffer, "{value}"),
            Cell::Integer(value) => write!(buffer, "{value}"),
            Cell::Unsigned(value) => write!(buffer, "{value}"),
            Cell::Single(value) => match whole(value.into()) {
                Some(value) => write!(buffer, "{value}"),
                None => write!(buffer, "{value:?}"),
            },
            Cell::Number(value) => match whole(value) {
                Some(value) => write!(buffer, "{value}"),
                None => write!(buffer, "{value:?}"),
            },
            Cell::Moment { .. } | Cell::List(..) | Cell::Values(_) => return Err(Expected::Text),
        }
        .expect("writing to a String can not fail");
        Ok(buffer)
    }

    /// The cell as the text of a category: as [`text`](Self::text), but `True` and `TRUE` are `true`, and `3.0` is `3`, so that typed and written
    /// values are one category.
    pub(crate) fn category<'b>(&self, buffer: &'b mut String) -> Result<&'b str, Expected>
    where
        'a: 'b,
    {
        match *self {
            Cell::Text(text, decimal) => Ok(category(text, decimal)),
            _ => self.text(buffer),
        }
    }

    /// The cell as a finite number; `None` if missing. Yes is 1 and no is 0.
    pub(crate) fn number(&self) -> Result<Option<f64>, Expected> {
        let value = match *self {
            Cell::Missing => return Ok(None),
            Cell::Text(text, decimal) => number(text, decimal)?,
            Cell::Boolean(value) => f64::from(u8::from(value)),
            Cell::Integer(value) => value as f64,
            Cell::Unsigned(value) => value as f64,
            Cell::Single(value) => value.into(),
            Cell::Number(value) => value,
            Cell::Moment { .. } | Cell::List(..) | Cell::Values(_) => return Err(Expected::Number),
        };
        // Values are stored in 32 bits.
        if value.is_finite() && value.abs() <= f64::from(f32::MAX) { Ok(Some(value)) } else { Err(Expected::Number) }
    }

    /// The cell as a whole number; `None` if missing. `3.0` counts as whole, because tools that know no missing integers write it so.
    pub(crate) fn integer(&self) -> Result<Option<i64>, Expected> {
        match *self {
            Cell::Missing => Ok(None),
            Cell::Boolean(value) => Ok(Some(value.into())),
            Cell::Integer(value) => Ok(Some(value)),
            Cell::Text(text, decimal) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => number(text, decimal).ok().and_then(whole).map(Some).ok_or(Expected::Integer),
            },
            Cell::Single(value) => whole_single(value).map(Some).ok_or(Expected::Integer),
            Cell::Number(value) => whole(value).map(Some).ok_or(Expected::Integer),
            Cell::Unsigned(_) | Cell::Moment { .. } | Cell::List(..) | Cell::Values(_) => Err(Expected::Integer),
        }
    }

    /// The cell for a message.
    pub(crate) fn display(&self) -> String {
        match self {
            Cell::List(..) | Cell::Values(_) => "a list".to_owned(),
            Cell::Moment { micros, .. } => format!("the timestamp {}", crate::date(*micros)),
            other => other.text(&mut String::new()).unwrap_or_default().to_owned(),
        }
    }

    /// The fault of a cell that is not written in a format.
    pub(crate) fn wrong_time(&self, column: &str, format: &str) -> RowFault {
        RowFault::TimeFormat { column: column.to_owned(), value: self.display(), format: format.to_owned() }
    }

    /// The fault of a cell that is not as expected.
    pub(crate) fn wrong(&self, column: &str, expected: Expected) -> RowFault {
        let expected = match (self, expected) {
            (Cell::Text(_, Decimal::Comma), Expected::Number) => Expected::CommaNumber,
            (_, expected) => expected,
        };
        RowFault::WrongType { column: column.to_owned(), value: self.display(), expected }
    }
}

/// The same in 32 bits, which skip integers from 2^24 on.
fn whole_single(value: f32) -> Option<i64> {
    (value.abs() <= 16_777_216.0).then(|| whole(value.into()))?
}

/// A float that is a whole number no larger than 2^53, beyond which floats skip integers.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn number(text: &str, decimal: Decimal) -> Result<f64, Expected> {
    let parsed = match decimal {
        Decimal::Point => text.parse(),
        Decimal::Comma if text.contains('.') => return grouped(text, '.', ',').ok_or(Expected::Number),
        Decimal::Comma => text.replacen(',', ".", 1).parse(),
    };
    if let (Decimal::Point, true) = (decimal, text.contains(',')) {
        return grouped(text, ',', '.').ok_or(Expected::Number);
    }
    parsed.or_else(|_| truth(text).map(|truth| f64::from(u8::from(truth))).ok_or(Expected::Number))
}

/// A number whose thousands are set apart, such as `1.518,60` with a decimal comma. Without a fraction it could be another number written the other way, and
/// is none.
pub(crate) fn grouped(text: &str, group: char, point: char) -> Option<f64> {
    let (whole, fraction) = text.split_once(point)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.strip_prefix(['-', '+']).unwrap_or(whole).split(group);
    let first = groups.next()?;
    let is_grouped = (1..=3).contains(&first.len()) && digits(first) && whole.contains(group);
    if !(is_grouped && groups.all(|group| group.len() == 3 && digits(group)) && digits(fraction)) {
        return None;
    }
    format!("{}.{fraction}", whole.replace(group, "")).parse().ok()
}

/// Yes or no as programs write them.
fn truth(text: &str) -> Option<bool> {
    match text.len() {
        4 if text.eq_ignore_ascii_case("true") => Some(true),
        5 if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The spelling under which a text counts as a category.
pub(crate) fn category(text: &str, decimal: Decimal) -> &str {
    match truth(text) {
        Some(true) => "true",
        Some(false) => "false",
        None => without_fraction(text, decimal),
    }
}

/// `3` for `3.0` and `3.00`; any other text as it is.
pub(crate) fn without_fraction(text: &str, decimal: Decimal) -> &str {
    let point = match decimal {
        Decimal::Point => '.',
        Decimal::Comma => ',',
    };
    let Some(number) = text.strip_suffix('0').and_then(|text| text.trim_end_matches('0').strip_suffix(point)) else { return text };
    let digits = number.strip_prefix('-').unwrap_or(number);
    match digits {
        "0" => digits,
        _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => number,
        _ => text,
    }
}

/// The cell of a column of whole numbers, however it is written: `5863.0`, `05863`, ` 5863 `, `5.863e3`. `None` if it holds no whole number.
pub(crate) fn integer_of<'a>(cell: &Cell<'a>) -> Option<Cell<'a>> {
    Some(match *cell {
        Cell::Text(text, decimal) => integer_text(text, decimal)?,
        Cell::Single(value) => Cell::Integer(whole_single(value)?),
        Cell::Number(value) => Cell::Integer(whole(value)?),
        Cell::Missing => Cell::Missing,
        Cell::Integer(value) => Cell::Integer(value),
        Cell::Unsigned(value) => Cell::Unsigned(value),
        Cell::Boolean(_) | Cell::Moment { .. } | Cell::List(..) | Cell::Values(_) => return None,
    })
}

/// The same for text. Numbers above zero keep their digits, however many there are.
pub(crate) fn integer_text(text: &str, decimal: Decimal) -> Option<Cell<'_>> {
    let text = without_fraction(text.trim(), decimal);
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let value = number(text, decimal).ok().filter(|_| truth(text).is_none())?;
        return whole(value).map(Cell::Integer);
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(Cell::Integer(0));
    }
    if text.starts_with('-') { text.parse().ok().map(Cell::Integer) } else { Some(Cell::Text(digits, decimal)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_and_written_values_are_one_category() {
        let category = |cell: Cell<'_>| cell.category(&mut String::new()).unwrap().to_owned();
        for (cell, expected) in [
            (Cell::Boolean(true), "true"),
            (Cell::Text("True", Decimal::Point), "true"),
            (Cell::Text("FALSE", Decimal::Point), "false"),
            (Cell::Number(3.0), "3"),
            (Cell::Single(-3.0), "-3"),
            (Cell::Number(-0.0), "0"),
            (Cell::Text("3.0", Decimal::Point), "3"),
            (Cell::Text("-3.00", Decimal::Point), "-3"),
            (Cell::Text("-0.0", Decimal::Point), "0"),
            (Cell::Text("3,0", Decimal::Comma), "3"),
            (Cell::Single(0.1), "0.1"),
            (Cell::Text("0.1", Decimal::Point), "0.1"),
            (Cell::Unsigned(u64::MAX), "18446744073709551615"),
            (Cell::Text("3.0", Decimal::Comma), "3.0"),
            (Cell::Text("1.2.0", Decimal::Point), "1.2.0"),
            (Cell::Text(".0", Decimal::Point), ".0"),
            (Cell::Text("v3.0", Decimal::Point), "v3.0"),
            (Cell::Text("007", Decimal::Point), "007"),
            (Cell::Text("10", Decimal::Point), "10"),
            (Cell::Text("true story", Decimal::Point), "true story"),
        ] {
            assert_eq!(category(cell.clone()), expected, "{cell:?}");
        }
        assert_eq!(Cell::Text("3.0", Decimal::Point).text(&mut String::new()), Ok("3.0"), "an id stays as written");
    }

    #[test]
    fn numbers_with_a_decimal_comma() {
        let number = |text| Cell::Text(text, Decimal::Comma).number();
        assert_eq!((number("3,25"), number("-1e3"), number("7")), (Ok(Some(3.25)), Ok(Some(-1000.0)), Ok(Some(7.0))));
        assert_eq!((number("3.25"), number("1.234,5"), number("1,2,3")), (Err(Expected::Number), Ok(Some(1234.5)), Err(Expected::Number)));
        assert_eq!(Cell::Text("3,25", Decimal::Point).number(), Err(Expected::Number));
        assert_eq!(Cell::Text("4,0", Decimal::Comma).integer(), Ok(Some(4)));
        assert_eq!(Cell::Text("True", Decimal::Point).number(), Ok(Some(1.0)));
    }

    #[test]
    fn whole_numbers_keep_all_their_digits() {
        for (text, expected) in [
            ("5863.0", Some("5863")),
            ("05863", Some("5863")),
            (" -7.000 ", Some("-7")),
            ("+7", Some("7")),
            ("000", Some("0")),
            ("-0", Some("0")),
            ("123456789012345678901234567890.0", Some("123456789012345678901234567890")),
            ("5.863e3", Some("5863")),
            ("5863.5", None),
            ("A7", None),
            ("true", None),
            ("", None),
            ("-", None),
            ("nan", None),
        ] {
            let found = integer_text(text, Decimal::Point).map(|cell| cell.text(&mut String::new()).unwrap().to_owned());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
