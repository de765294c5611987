//! Values for splits, orders and groups.

use crate::AttributeKind;
use crate::config::AttributeConfig;
use crate::error::RowFault;
use crate::source::Cell;
use crate::strings::StringTable;

/// One value per row: a whole number, or the code of a text.
#[derive(Clone, Debug)]
pub(crate) struct AttributeValues {
    values: Vec<i64>,
    texts: Option<StringTable>,
}

impl AttributeValues {
    pub(crate) fn new(kind: AttributeKind) -> Self {
        Self { values: Vec::new(), texts: (kind == AttributeKind::Text).then(StringTable::default) }
    }

    pub(crate) fn push(&mut self, cell: &Cell<'_>, config: &AttributeConfig, buffer: &mut String) -> Result<(), RowFault> {
        let column = config.column();
        if matches!(cell, Cell::Missing) {
            return Err(RowFault::MissingValue { column: column.to_owned() });
        }
        let text = |buffer| cell.category(buffer).map_err(|expected| cell.wrong(column, expected));
        let value = if let Some(texts) = &mut self.texts {
            i64::from(texts.intern(text(buffer)?))
        } else if config.codes.is_empty() {
            let value = cell.integer().map_err(|expected| cell.wrong(column, expected))?;
            value.ok_or_else(|| RowFault::MissingValue { column: column.to_owned() })?
        } else {
            let text = text(buffer)?;
            config.codes.get(text).copied().ok_or_else(|| RowFault::UnlistedCode {
                column: column.to_owned(),
                attribute: config.name.clone(),
                value: text.to_owned(),
            })?
        };
        self.values.push(value);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
    }

    /// The values of other rows; the error is the first position without a row.
    pub(crate) fn take(self, order: impl Iterator<Item = Option<usize>>) -> Result<Self, usize> {
        let picked = order.enumerate().map(|(i, row)| row.map(|row| self.values[row]).ok_or(i));
        Ok(Self { values: picked.collect::<Result<_, _>>()?, texts: self.texts })
    }

    /// The values, and for texts their labels: those that occur, sorted by their UTF-8 bytes.
    pub(crate) fn finish(self) -> (Vec<i64>, Option<Vec<String>>) {
        let Self { mut values, texts } = self;
        let Some(texts) = texts else { return (values, None) };
        let mut codes: Vec<i64> = values.clone();
        codes.sort_unstable();
        codes.dedup();
        codes.sort_unstable_by_key(|&code| texts.text(code as u32));
        let mut positions = vec![0; texts.len()];
        codes.iter().enumerate().for_each(|(position, &code)| positions[code as usize] = position as i64);
        values.iter_mut().for_each(|code| *code = positions[*code as usize]);
        (values, Some(codes.into_iter().map(|code| texts.text(code as u32).to_owned()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_that_occur_in_the_order_of_their_bytes() {
        let config = AttributeConfig {
            name: "part".to_owned(),
            from: crate::Origin::default(),
            table: None,
            column: None,
            kind: AttributeKind::Text,
            codes: std::collections::BTreeMap::new(),
        };
        let mut values = AttributeValues::new(AttributeKind::Text);
        for text in ["train", "test", "spare", "train"] {
            values.push(&Cell::Text(text, crate::Decimal::Point), &config, &mut String::new()).unwrap();
        }
        let fault = values.push(&Cell::Missing, &config, &mut String::new());
        assert_eq!(fault, Err(RowFault::MissingValue { column: "part".to_owned() }));
        assert_eq!(values.clone().take([Some(0), None].into_iter()).err(), Some(1));
        let (values, labels) = values.take([3, 1, 0].map(Some).into_iter()).unwrap().finish();
        assert_eq!((values, labels), (vec![1, 0, 1], Some(vec!["test".to_owned(), "train".to_owned()])));
    }
}
