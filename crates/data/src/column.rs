//! A column while it is being read: compact, appended row by row, and reordered once where a table's rows are not in entity order.

mod list;
mod number;
mod text;

pub(crate) use list::ListValues;
pub(crate) use number::NumberValues;
pub(crate) use text::TextValues;

use crate::config::{AttributeConfig, FeatureConfig, FeatureKind};
use crate::error::{Expected, RowFault};
use crate::source::Cell;
use crate::time::TimeFault;
use crate::{Side, TimeUnit};

/// Position that stands for "no row".
pub(crate) const NO_ROW: u32 = u32::MAX;

/// The values of a column, one entry per row read.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    Text(TextValues),
    List(ListValues),
    Number(NumberValues),
    /// The codes are the domains of the log; nothing is stored twice.
    Domain,
    Attribute(Vec<i64>),
}

/// A column that a feature or an attribute reads.
#[derive(Debug)]
pub(crate) struct Column<'a> {
    /// Its name in the file.
    pub(crate) source: &'a str,
    reader: Reader<'a>,
    pub(crate) values: Values,
}

#[derive(Debug)]
enum Reader<'a> {
    Feature(&'a FeatureConfig),
    Attribute(&'a AttributeConfig),
}

impl<'a> Column<'a> {
    pub(crate) fn feature(config: &'a FeatureConfig) -> Self {
        let values = match config.kind {
            FeatureKind::Categorical => Values::Text(TextValues::new(config.transform.clone())),
            FeatureKind::Timestamp if config.has_codes() => Values::Text(TextValues::new(None)),
            FeatureKind::Multi | FeatureKind::Sequence => Values::List(ListValues::default()),
            FeatureKind::Numeric | FeatureKind::Timestamp => Values::Number(NumberValues::default()),
            FeatureKind::Domain => Values::Domain,
        };
        Self { source: config.column(), reader: Reader::Feature(config), values }
    }

    pub(crate) fn attribute(config: &'a AttributeConfig) -> Self {
        Self { source: config.column(), reader: Reader::Attribute(config), values: Values::Attribute(Vec::new()) }
    }

    /// Appends one value; on a fault nothing is appended.
    pub(crate) fn push(&mut self, cell: &Cell<'_>, buffer: &mut String) -> Result<(), RowFault> {
        let source = self.source;
        match (&self.reader, &mut self.values) {
            (Reader::Attribute(config), Values::Attribute(values)) => values.push(attribute_value(cell, config, buffer)?),
            (Reader::Feature(config), values) => match (config.kind, values) {
                (FeatureKind::Timestamp, Values::Text(values)) => {
                    let seconds = seconds(cell, source, config.unit.unwrap_or(TimeUnit::S))?;
                    values.push_number(seconds.and_then(|s| config.part.unwrap_or_default().category(s)));
                }
                (FeatureKind::Timestamp, Values::Number(values)) => {
                    let seconds = seconds(cell, source, config.unit.unwrap_or(TimeUnit::S))?;
                    values.push(seconds.map(|s| s as f64 / 86_400.0));
                }
                (_, Values::Text(values)) => values.push(cell, source, buffer)?,
                (_, Values::List(values)) => {
                    let separator = config.separator.as_deref().unwrap_or(",");
                    values.push(cell, source, separator, config.max_length, buffer)?;
                }
                (_, Values::Number(values)) => values.push_cell(cell, source, config.transform.is_some())?,
                (_, Values::Domain | Values::Attribute(_)) => {}
            },
            (Reader::Attribute(_), _) => {}
        }
        Ok(())
    }

    /// Forgets all rows after the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text(values) => values.codes.truncate(rows),
            Values::List(values) => values.truncate(rows),
            Values::Number(values) => values.values.truncate(rows),
            Values::Attribute(values) => values.truncate(rows),
            Values::Domain => {}
        }
    }

    /// The same values in another order; [`NO_ROW`] gives a missing value.
    ///
    /// # Errors
    /// Position in `order` of the first attribute without a row.
    pub(crate) fn take(self, order: &[u32]) -> Result<Values, usize> {
        let pick = |row: u32| (row != NO_ROW).then_some(row as usize);
        Ok(match self.values {
            Values::Text(values) => {
                let codes = order.iter().map(|&row| pick(row).map_or(0, |row| values.codes[row])).collect();
                Values::Text(values.with_codes(codes))
            }
            Values::List(values) => Values::List(values.take(order.iter().map(|&row| pick(row)))),
            Values::Number(values) => Values::Number(NumberValues {
                values: order.iter().map(|&row| pick(row).map_or(f64::NAN, |row| values.values[row])).collect(),
            }),
            Values::Attribute(values) => {
                let picked = order.iter().enumerate().map(|(i, &row)| pick(row).map(|row| values[row]).ok_or(i));
                Values::Attribute(picked.collect::<Result<_, _>>()?)
            }
            Values::Domain => Values::Domain,
        })
    }
}

fn attribute_value(cell: &Cell<'_>, config: &AttributeConfig, buffer: &mut String) -> Result<i64, RowFault> {
    let column = config.column();
    if matches!(cell, Cell::Missing) {
        return Err(RowFault::MissingValue { column: column.to_owned() });
    }
    if config.codes.is_empty() {
        return cell
            .integer()
            .map_err(|expected| cell.wrong(column, expected))?
            .ok_or_else(|| RowFault::MissingValue { column: column.to_owned() });
    }
    let text = cell.text(buffer).map_err(|expected| cell.wrong(column, expected))?;
    config.codes.get(text).copied().ok_or_else(|| RowFault::UnlistedCode {
        column: column.to_owned(),
        attribute: config.name.clone(),
        value: text.to_owned(),
    })
}

/// The moment that a cell names, in seconds since 1970; `None` if missing.
pub(crate) fn seconds(cell: &Cell<'_>, column: &str, unit: TimeUnit) -> Result<Option<i64>, RowFault> {
    let seconds = match (cell, unit) {
        (Cell::Missing, _) => return Ok(None),
        (Cell::Seconds(seconds), _) => TimeUnit::S.seconds(*seconds),
        (Cell::Text(text), TimeUnit::Iso) => unit.parse(text),
        (cell, _) => cell.integer().ok().flatten().ok_or(TimeFault::Malformed).and_then(|value| unit.seconds(value)),
    };
    seconds.map(Some).map_err(|fault| match fault {
        TimeFault::Malformed => cell.wrong(column, Expected::Time(unit)),
        TimeFault::OutOfRange { value, likely } => RowFault::TimeOutOfRange { column: column.to_owned(), value, unit, likely },
    })
}

/// Number of entities of a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) rows: usize,
    pub(crate) users: usize,
    pub(crate) items: usize,
}

impl Counts {
    pub(crate) fn of(self, side: Side) -> usize {
        match side {
            Side::Row => self.rows,
            Side::User => self.users,
            Side::Item => self.items,
        }
    }
}
