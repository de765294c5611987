//! Lists of categories as dictionary codes.

use serde::{Deserialize, Serialize};

use super::brackets::{Brackets, elements};
use crate::config::Decimal;
use crate::error::{Expected, RowFault};
use crate::source::{Cell, category, integer_of, integer_text};
use crate::strings::StringTable;

/// Any number of categories per row; empty ones are left out.
#[derive(Clone, Debug)]
pub(crate) struct ListValues {
    /// `codes[offsets[i]..offsets[i + 1]]` belongs to row `i`.
    pub(crate) offsets: Vec<u64>,
    pub(crate) codes: Vec<u32>,
    pub(crate) table: StringTable,
    /// Values that were beyond the greatest length of their list.
    pub(crate) cut: u64,
    /// Those of the last row.
    last_cut: u64,
}

/// How a column writes its lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListReading<'a> {
    pub(crate) separator: Option<&'a str>,
    pub(crate) max_length: Option<usize>,
    pub(crate) elements: Elements,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Elements {
    /// Categories, of which several spellings mean one.
    #[default]
    Categories,
    /// Ids as they are written.
    Ids,
    /// Whole numbers, however they are written.
    Integers,
}

impl Default for ListValues {
    fn default() -> Self {
        Self { offsets: vec![0], codes: Vec::new(), table: StringTable::default(), cut: 0, last_cut: 0 }
    }
}

impl ListValues {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends a list, of which the last `max_length` values are kept.
    pub(crate) fn push(&mut self, cell: &Cell<'_>, column: &str, reading: ListReading<'_>, buffer: &mut String) -> Result<(), RowFault> {
        let start = self.codes.len();
        let Self { codes, table, .. } = self;
        if let Err(fault) = each_value(cell, column, reading, buffer, &mut |text| codes.push(table.intern(text))) {
            self.codes.truncate(start);
            return Err(fault);
        }
        let surplus = reading.max_length.map_or(0, |max| (self.codes.len() - start).saturating_sub(max));
        self.codes.drain(start..start + surplus);
        self.last_cut = surplus as u64;
        self.cut += self.last_cut;
        self.offsets.push(self.codes.len() as u64);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        if rows < self.len() {
            self.cut -= std::mem::take(&mut self.last_cut);
        }
        self.offsets.truncate(rows + 1);
        self.codes.truncate(self.offsets[self.offsets.len() - 1] as usize);
    }

    /// Codes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u32] {
        &self.codes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    pub(crate) fn take(self, order: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut offsets, mut codes) = (vec![0], Vec::with_capacity(self.codes.len()));
        for row in order {
            codes.extend_from_slice(row.map_or(&[], |row| self.row(row)));
            offsets.push(codes.len() as u64);
        }
        Self { offsets, codes, ..self }
    }
}

/// Gives away the values of a list, in order and before any is cut off; empty ones are left out.
pub(crate) fn each_value(
    cell: &Cell<'_>,
    column: &str,
    reading: ListReading<'_>,
    buffer: &mut String,
    give: &mut impl FnMut(&str),
) -> Result<(), RowFault> {
    let wrong = |expected| cell.wrong(column, expected);
    match *cell {
        Cell::Missing => Ok(()),
        Cell::List(values, ref range) => {
            range.clone().try_for_each(|i| typed_value(&values.cell(i, column)?, column, reading.elements, buffer, give))
        }
        Cell::Values(values) => values.iter().try_for_each(|value| match Cell::from(value) {
            // Written as an element of a list in brackets is.
            Cell::Text(text, decimal) if written_value(text, decimal, reading.elements, buffer, give) => Ok(()),
            cell @ Cell::Text(..) => Err(cell.wrong(column, Expected::Integers)),
            cell => typed_value(&cell, column, reading.elements, buffer, give),
        }),
        Cell::Text(text, decimal) => {
            let mut is_whole = true;
            let found = elements(text, |element| is_whole &= written_value(element, decimal, reading.elements, buffer, give));
            match (found, reading.separator) {
                (Brackets::List, _) => {}
                (Brackets::None, Some(separator)) => {
                    for element in text.split(separator) {
                        is_whole &= written_value(element, decimal, reading.elements, buffer, give);
                    }
                }
                (Brackets::None, None) => return Err(wrong(Expected::BracketedList)),
                (Brackets::Broken, _) => return Err(wrong(Expected::List)),
            }
            if is_whole { Ok(()) } else { Err(wrong(Expected::Integers)) }
        }
        // Programs that write lists of one value as that value.
        _ if reading.separator.is_some() => typed_value(cell, column, reading.elements, buffer, give),
        _ => Err(wrong(Expected::BracketedList)),
    }
}

/// Gives away a value that has a type.
fn typed_value(
    cell: &Cell<'_>,
    column: &str,
    elements: Elements,
    buffer: &mut String,
    give: &mut impl FnMut(&str),
) -> Result<(), RowFault> {
    let whole = (elements == Elements::Integers).then(|| integer_of(cell).ok_or_else(|| cell.wrong(column, Expected::Integers)));
    let whole = whole.transpose()?;
    let text = match (elements, &whole) {
        (_, Some(whole)) => whole.text(buffer),
        (Elements::Ids, None) => cell.text(buffer),
        (Elements::Categories | Elements::Integers, None) => cell.category(buffer),
    };
    give_filled(text.map_err(|expected| cell.wrong(column, expected))?, give);
    Ok(())
}

/// Gives away a written value; false if a whole number is wanted and this is none.
fn written_value(text: &str, decimal: Decimal, elements: Elements, buffer: &mut String, give: &mut impl FnMut(&str)) -> bool {
    match elements {
        Elements::Categories => give_filled(category(text, decimal), give),
        Elements::Ids => give_filled(text, give),
        Elements::Integers if text.is_empty() => {}
        Elements::Integers => match integer_text(text, decimal) {
            Some(cell) => give_filled(cell.text(buffer).expect("a whole number has a text"), give),
            None => return false,
        },
    }
    true
}

fn give_filled(text: &str, give: &mut impl FnMut(&str)) {
    if !text.is_empty() {
        give(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: ListReading<'_> = ListReading { separator: Some(" "), max_length: None, elements: Elements::Categories };

    fn row(lists: &ListValues, i: usize) -> String {
        lists.row(i).iter().map(|&c| lists.table.text(c).to_owned()).collect::<Vec<_>>().join(" ")
    }

    fn push(lists: &mut ListValues, text: &str, reading: ListReading<'_>) -> Result<(), RowFault> {
        let cell = if text.is_empty() { Cell::Missing } else { Cell::Text(text, Decimal::Point) };
        lists.push(&cell, "c", reading, &mut String::new())
    }

    #[test]
    fn keeps_the_latest_values_and_counts_the_others() {
        let mut lists = ListValues::default();
        for text in ["7 8 9 8", "", "5", " 6  7 ", "1 2 3 4 5"] {
            push(&mut lists, text, ListReading { max_length: Some(3), ..READING }).unwrap();
        }
        assert_eq!([0, 1, 2, 3, 4].map(|i| row(&lists, i)), ["8 9 8", "", "5", "6 7", "3 4 5"]);
        assert_eq!(lists.cut, 3);
        lists.truncate(4);
        assert_eq!(lists.cut, 1, "a row that is taken back has lost nothing");
        lists.truncate(3);
        let lists = lists.take([Some(2), None, Some(0)].into_iter());
        assert_eq!([0, 1, 2].map(|i| row(&lists, i)), ["5", "", "8 9 8"]);
    }

    #[test]
    fn brackets_are_read_whatever_the_separator() {
        for reading in [READING, ListReading { separator: None, ..READING }] {
            let mut lists = ListValues::default();
            for text in ["[3, 9.0]", "['a b', 'TRUE']", "[]"] {
                push(&mut lists, text, reading).unwrap();
            }
            assert_eq!([0, 1, 2].map(|i| row(&lists, i)), ["3 9", "a b true", ""]);
            let fault = push(&mut lists, "[3, 9", reading);
            assert!(matches!(fault, Err(RowFault::WrongType { expected: Expected::List, .. })), "{fault:?}");
            assert_eq!((lists.len(), lists.codes.len()), (3, 4), "a fault leaves nothing behind");
        }
        let fault = push(&mut ListValues::default(), "3 9", ListReading { separator: None, ..READING });
        assert!(matches!(fault, Err(RowFault::WrongType { expected: Expected::BracketedList, .. })), "{fault:?}");
    }

    #[test]
    fn ids_stay_as_written_unless_they_are_whole_numbers() {
        for (elements, expected) in [(Elements::Categories, "7 07"), (Elements::Ids, "7.0 07"), (Elements::Integers, "7 7")] {
            let mut lists = ListValues::default();
            push(&mut lists, "7.0 07", ListReading { elements, ..READING }).unwrap();
            assert_eq!(row(&lists, 0), expected, "{elements:?}");
        }
        let fault = push(&mut ListValues::default(), "7 x", ListReading { elements: Elements::Integers, ..READING });
        assert!(matches!(fault, Err(RowFault::WrongType { expected: Expected::Integers, .. })), "{fault:?}");
    }
}
