//! Categories as dictionary codes.

use std::fmt::Write;

use super::Elements;
use crate::config::{Decimal, Transform};
use crate::error::{Expected, RowFault};
use crate::source::Cell;
use crate::strings::StringTable;

/// One category per row. Code 0 is a missing value.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextValues {
    pub(crate) codes: Vec<u32>,
    pub(crate) table: StringTable,
    transform: Option<Memo>,
}

/// A transform and its results: each distinct text is transformed once.
#[derive(Clone, Debug)]
struct Memo {
    transform: Transform,
    inputs: StringTable,
    /// Code of the result for each input code.
    results: Vec<u32>,
}

impl TextValues {
    pub(crate) fn new(transform: Option<Transform>) -> Self {
        let transform = transform.map(|transform| Memo { transform, inputs: StringTable::default(), results: vec![0] });
        Self { codes: Vec::new(), table: StringTable::default(), transform }
    }

    /// One row for each text of a table, in its order: the ids of users or items.
    pub(crate) fn identity(table: StringTable) -> Self {
        Self { codes: (1..table.len() as u32).collect(), table, transform: None }
    }

    /// Other rows of the same dictionary.
    pub(crate) fn with_codes(self, codes: Vec<u32>) -> Self {
        Self { codes, ..self }
    }

    pub(crate) fn push(&mut self, cell: &Cell<'_>, column: &str, elements: Elements, buffer: &mut String) -> Result<(), RowFault> {
        let text = plain_text(cell, column, elements, buffer)?;
        let decimal = if let Cell::Text(_, decimal) = cell { *decimal } else { Decimal::Point };
        let code = match &mut self.transform {
            None => self.table.intern(text),
            Some(memo) => memo.code(text, decimal, &mut self.table).map_err(|expected| cell.wrong(column, expected))?,
        };
        self.codes.push(code);
        Ok(())
    }

    /// A whole number as a category.
    pub(crate) fn push_number(&mut self, value: Option<u32>) {
        let code = value.map_or(0, |value| self.table.intern(&value.to_string()));
        self.codes.push(code);
    }
}

impl Memo {
    fn code(&mut self, text: &str, decimal: Decimal, table: &mut StringTable) -> Result<u32, Expected> {
        if let Some(known) = self.inputs.code(text) {
            return Ok(self.results[known as usize]);
        }
        let code = table.intern(transformed(&self.transform, text, decimal, &mut String::new())?);
        self.inputs.intern(text);
        self.results.push(code);
        Ok(code)
    }
}

/// A category after its transform; a missing one stays missing.
pub(crate) fn transformed<'b>(transform: &Transform, text: &'b str, decimal: Decimal, buffer: &'b mut String) -> Result<&'b str, Expected> {
    let value = match transform {
        _ if text.is_empty() => return Ok(text),
        Transform::First(separator) => return Ok(text.split(separator.as_str()).next().unwrap_or(text)),
        Transform::Prefix(length) => return Ok(text.char_indices().nth(*length).map_or(text, |(end, _)| &text[..end])),
        Transform::Log1p | Transform::Logit => return Ok(text),
        Transform::Log2(scale) => doubling_bucket(&Cell::Text(text, decimal), *scale)?,
        Transform::Divide(divisor) => Cell::Text(text, decimal).integer()?.ok_or(Expected::Integer)?.div_euclid(*divisor),
    };
    Ok(decimal_text(value, buffer))
}

/// A whole number in a buffer.
pub(crate) fn decimal_text(value: i64, buffer: &mut String) -> &str {
    buffer.clear();
    write!(buffer, "{value}").expect("writing to a String can not fail");
    buffer
}

/// The category of a cell before any transform; empty if missing.
pub(crate) fn plain_text<'a: 'b, 'b>(
    cell: &Cell<'a>,
    column: &str,
    elements: Elements,
    buffer: &'b mut String,
) -> Result<&'b str, RowFault> {
    let text = if elements == Elements::Ids { cell.text(buffer) } else { cell.category(buffer) };
    text.map_err(|expected| cell.wrong(column, expected))
}

/// floor(log2(1 + x / scale)).
fn doubling_bucket(cell: &Cell<'_>, scale: f64) -> Result<i64, Expected> {
    let value = cell.number()?.ok_or(Expected::Number)?;
    if value < 0.0 {
        return Err(Expected::NotNegative);
    }
    Ok((1.0 + value / scale).log2().floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(transform: Transform, input: &str) -> Result<String, RowFault> {
        let mut values = TextValues::new(Some(transform));
        let cell = if input.is_empty() { Cell::Missing } else { Cell::Text(input, Decimal::Point) };
        for _ in 0..2 {
            values.push(&cell, "c", Elements::Categories, &mut String::new())?;
        }
        assert_eq!(values.codes[0], values.codes[1], "remembered results agree");
        Ok(values.table.text(values.codes[0]).to_owned())
    }

    #[test]
    fn transforms() {
        let first = || Transform::First(",".to_owned());
        for (transform, input, result) in [
            (first(), "12,7", "12"),
            (first(), "12", "12"),
            (first(), ",7", ""),
            (Transform::Prefix(5), "98107-2117", "98107"),
            (Transform::Prefix(2), "äöü", "äö"),
            (Transform::Prefix(5), "981", "981"),
            (Transform::Log2(1000.0), "0.0", "0"),
            (Transform::Log2(1000.0), "999.0", "0"),
            (Transform::Log2(1000.0), "1000.0", "1"),
            (Transform::Log2(1000.0), "87433.0", "6"),
            (Transform::Log2(1000.0), "", ""),
            (Transform::Divide(100), "2359", "23"),
            (Transform::Divide(100), "5", "0"),
            (Transform::Divide(100), "-1", "-1"),
        ] {
            assert_eq!(apply(transform.clone(), input).as_deref(), Ok(result), "{transform:?} of {input:?}");
        }
    }

    #[test]
    fn transforms_of_nonsense_are_faults() {
        for (transform, input, expected) in [
            (Transform::Log2(1.0), "-3", Expected::NotNegative),
            (Transform::Log2(1.0), "long", Expected::Number),
            (Transform::Divide(10), "1.5", Expected::Integer),
        ] {
            let fault = RowFault::WrongType { column: "c".to_owned(), value: input.to_owned(), expected };
            assert_eq!(apply(transform, input), Err(fault));
        }
    }
}
