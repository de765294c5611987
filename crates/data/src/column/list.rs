//! Lists of categories as dictionary codes.

use crate::error::RowFault;
use crate::source::Cell;
use crate::strings::StringTable;

/// Any number of categories per row; empty ones are left out.
#[derive(Clone, Debug)]
pub(crate) struct ListValues {
    /// `codes[offsets[i]..offsets[i + 1]]` belongs to row `i`.
    pub(crate) offsets: Vec<u64>,
    pub(crate) codes: Vec<u32>,
    pub(crate) table: StringTable,
}

impl Default for ListValues {
    fn default() -> Self {
        Self { offsets: vec![0], codes: Vec::new(), table: StringTable::default() }
    }
}

impl ListValues {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Appends a list, of which the last `max_length` values are kept.
    pub(crate) fn push(
        &mut self,
        cell: &Cell<'_>,
        column: &str,
        separator: &str,
        max_length: Option<usize>,
        buffer: &mut String,
    ) -> Result<(), RowFault> {
        let start = self.codes.len();
        let result = match cell {
            Cell::List(values, range) => range.clone().try_for_each(|i| {
                let cell = values.cell(i, column)?;
                let text = cell.text(buffer).map_err(|expected| cell.wrong(column, expected))?;
                self.push_value(text);
                Ok(())
            }),
            cell => cell.text(buffer).map_err(|expected| cell.wrong(column, expected)).map(|text| {
                for value in text.split(separator) {
                    self.push_value(value);
                }
            }),
        };
        if let Err(fault) = result {
            self.codes.truncate(start);
            return Err(fault);
        }
        let surplus = max_length.map_or(0, |max| (self.codes.len() - start).saturating_sub(max));
        self.codes.drain(start..start + surplus);
        self.offsets.push(self.codes.len() as u64);
        Ok(())
    }

    fn push_value(&mut self, text: &str) {
        if !text.is_empty() {
            let code = self.table.intern(text);
            self.codes.push(code);
        }
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
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
        Self { offsets, codes, table: self.table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_values() {
        let mut lists = ListValues::default();
        for text in ["7 8 9 8", "", "5", " 6  7 "] {
            let cell = if text.is_empty() { Cell::Missing } else { Cell::Text(text) };
            lists.push(&cell, "c", " ", Some(3), &mut String::new()).unwrap();
        }
        let row = |lists: &ListValues, i| lists.row(i).iter().map(|&c| lists.table.text(c).to_owned()).collect::<Vec<_>>().join(" ");
        assert_eq!([0, 1, 2, 3].map(|i| row(&lists, i)), ["8 9 8", "", "5", "6 7"]);
        lists.truncate(3);
        let lists = lists.take([Some(2), None, Some(0)].into_iter());
        assert_eq!([0, 1, 2].map(|i| row(&lists, i)), ["5", "", "8 9 8"]);
    }
}
