//! A column while it is being read: compact, appended row by row, and reordered once where a table's rows are not in entity order.

mod attribute;
mod brackets;
mod list;
mod number;
mod text;

pub(crate) use attribute::AttributeValues;
pub(crate) use list::{Elements, ListReading, ListValues, each_value};
pub(crate) use number::{NumberValues, number};
pub(crate) use text::{TextValues, decimal_text, plain_text, transformed};

use crate::config::{AttributeConfig, FeatureConfig, FeatureKind, StatisticValue};
use crate::error::{Expected, RowFault};
use crate::source::{Cell, Wanted};
use crate::strings::StringTable;
use crate::time::{Spelling, Ticks, TimeFault, days};
use crate::{Side, TimeUnit, Zone};

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
    Attribute(AttributeValues),
    /// A statistic that reads no column of its own.
    Nothing,
}

impl Values {
    /// The dictionary of the codes, where there is one.
    pub(crate) fn table(&self) -> Option<&StringTable> {
        match self {
            Self::Text(values) => Some(&values.table),
            Self::List(values) => Some(&values.table),
            Self::Number(_) | Self::Domain | Self::Attribute(_) | Self::Nothing => None,
        }
    }
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
    /// The zone is that of the data set; values are spelled as the vocabulary's are.
    Feature(&'a FeatureConfig, Zone, Elements),
    Attribute(&'a AttributeConfig),
}

impl<'a> Column<'a> {
    pub(crate) fn feature(config: &'a FeatureConfig, zone: Zone, elements: Elements) -> Self {
        let values = match config.kind {
            FeatureKind::Categorical => Values::Text(TextValues::new(config.transform.clone())),
            FeatureKind::Timestamp if config.has_codes() => Values::Text(TextValues::new(None)),
            FeatureKind::Multi | FeatureKind::Sequence => Values::List(ListValues::default()),
            FeatureKind::Numeric | FeatureKind::Timestamp => Values::Number(NumberValues::default()),
            FeatureKind::Domain => Values::Domain,
            FeatureKind::History => Values::Text(TextValues::new(config.transform.clone())),
            FeatureKind::Statistic if config.value == Some(StatisticValue::Distinct) => Values::Text(TextValues::new(None)),
            FeatureKind::Statistic => Values::Number(NumberValues::default()),
        };
        Self { source: config.column(), reader: Reader::Feature(config, zone, elements), values }
    }

    pub(crate) fn attribute(config: &'a AttributeConfig) -> Self {
        Self { source: config.column(), reader: Reader::Attribute(config), values: Values::Attribute(AttributeValues::new(config.kind)) }
    }

    /// What to ask a table for.
    pub(crate) fn wanted(&self) -> Wanted<'a> {
        Wanted { name: self.source, may_be_list: matches!(self.values, Values::List(_)) }
    }

    /// Appends one value; on a fault nothing is appended.
    pub(crate) fn push(&mut self, cell: &Cell<'_>, buffer: &mut String) -> Result<(), RowFault> {
        let source = self.source;
        match (&self.reader, &mut self.values) {
            (Reader::Attribute(config), Values::Attribute(values)) => values.push(cell, config, buffer)?,
            (Reader::Feature(config, zone, elements), values) => match (config.kind, values) {
                (FeatureKind::Timestamp, Values::Text(values)) => {
                    let moment = moment(cell, source, &spelling(config, *zone))?;
                    values.push_number(moment.and_then(|micros| config.part.unwrap_or_default().category(micros, *zone)));
                }
                (FeatureKind::Timestamp, Values::Number(values)) => {
                    values.push(moment(cell, source, &spelling(config, *zone))?.map(days));
                }
                (_, Values::Text(values)) => values.push(cell, source, *elements, buffer)?,
                (_, Values::List(values)) => {
                    let separator = config.separator.as_deref();
                    values.push(cell, source, ListReading { separator, max_length: config.max_length, elements: *elements }, buffer)?;
                }
                (FeatureKind::Statistic, Values::Number(values)) => values.push_cell(cell, source, false)?,
                (_, Values::Number(values)) => values.push_cell(cell, source, config.transform.is_some())?,
                (_, Values::Domain | Values::Attribute(_) | Values::Nothing) => {}
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
            Values::Domain | Values::Nothing => {}
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
            Values::Attribute(values) => Values::Attribute(values.take(order.iter().map(|&row| pick(row)))?),
            Values::Domain => Values::Domain,
            Values::Nothing => Values::Nothing,
        })
    }
}

fn spelling(config: &FeatureConfig, zone: Zone) -> Spelling<'_> {
    Spelling { unit: config.unit.unwrap_or_default(), format: config.format.as_deref(), zone }
}

/// The moment that a cell names, in microseconds since 1970; `None` if missing.
pub(crate) fn moment(cell: &Cell<'_>, column: &str, spelling: &Spelling<'_>) -> Result<Option<i64>, RowFault> {
    let Spelling { unit, format, zone } = *spelling;
    let micros = match (cell, unit) {
        (Cell::Missing, _) => return Ok(None),
        (Cell::Moment { micros, is_local }, _) => spelling.typed(*micros, *is_local),
        (Cell::Text(text, _), _) => spelling.parse(text),
        (cell, unit) => ticks(cell).filter(|_| format.is_none()).ok_or(TimeFault::Malformed).and_then(|ticks| unit.moment(ticks, zone)),
    };
    micros.map(Some).map_err(|fault| match (fault, format) {
        (TimeFault::Malformed, Some(format)) => cell.wrong_time(column, format),
        (TimeFault::Malformed, None) => {
            let likely = ticks(cell).filter(|_| unit == TimeUnit::Iso).and_then(|ticks| TimeUnit::plausible(ticks.whole()).next());
            match likely {
                Some(likely) => RowFault::TimeIsNumber { column: column.to_owned(), value: cell.display(), likely },
                None => cell.wrong(column, Expected::Time(unit)),
            }
        }
        (TimeFault::OutOfRange { value, likely }, _) => RowFault::TimeOutOfRange { column: column.to_owned(), value, unit, likely },
    })
}

/// A cell as a number that counts some unit of time.
pub(crate) fn ticks(cell: &Cell<'_>) -> Option<Ticks> {
    match *cell {
        Cell::Integer(value) => Some(value.into()),
        Cell::Single(value) => Ticks::from_float(value.into()),
        Cell::Number(value) => Ticks::from_float(value),
        Cell::Text(text, _) => Ticks::parse(text.trim()),
        _ => None,
    }
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
