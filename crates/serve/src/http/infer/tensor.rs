use std::fmt;

use acclimate_data::RawValue;

use crate::api::Refusal;
use crate::http::Limits;
use crate::http::json::shortened;

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    /// True or false, one byte.
    Bool,
    /// Whole numbers.
    Int {
        /// Bytes of one.
        width: usize,
        /// Whether it may be below 0.
        signed: bool,
    },
    /// Numbers of 4 or 8 bytes.
    Float {
        /// Bytes of one.
        width: usize,
    },
    /// Text: four bytes of length, then UTF-8.
    Bytes,
}

impl Datatype {
    const NAMED: [(&str, Self); 12] = [
        ("BOOL", Self::Bool),
        ("INT8", Self::Int { width: 1, signed: true }),
        ("INT16", Self::Int { width: 2, signed: true }),
        ("INT32", Self::Int { width: 4, signed: true }),
        ("INT64", Self::Int { width: 8, signed: true }),
        ("UINT8", Self::Int { width: 1, signed: false }),
        ("UINT16", Self::Int { width: 2, signed: false }),
        ("UINT32", Self::Int { width: 4, signed: false }),
        ("UINT64", Self::Int { width: 8, signed: false }),
        ("FP32", Self::Float { width: 4 }),
        ("FP64", Self::Float { width: 8 }),
        ("BYTES", Self::Bytes),
    ];

    /// The type of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, datatype)| *datatype)
    }

    /// The names of all types.
    pub(crate) fn names() -> String {
        Self::NAMED.map(|(name, _)| name).join(", ")
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMED.iter().find(|(_, datatype)| datatype == self).map_or("", |(name, _)| name))
    }
}

/// An input: a column of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name of the feature.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Rows.
    pub rows: usize,
    /// Elements of a row where it has a second dimension.
    pub columns: Option<usize>,
    /// The elements, row after row.
    pub cells: Vec<RawValue>,
}

/// Rows and columns of a shape `[N]` or `[N, L]`.
pub(crate) fn rows_and_columns(name: &str, shape: &[u64], limits: &Limits) -> Result<(usize, Option<usize>), Refusal> {
    let what = || format!("inputs.{}.shape", shortened(name));
    let (rows, columns) = match shape {
        [rows] => (*rows, None),
        [rows, columns] => (*rows, Some(*columns)),
        _ => return Err(Refusal::invalid(what(), format!("it has {} dimensions; give [N] or [N, L]", shape.len()))),
    };
    let within = |what: String, found: u64, limit: usize| match usize::try_from(found) {
        Ok(found) if found <= limit => Ok(found),
        _ => Err(Refusal::TooLarge { what, found, limit: limit as u64 }),
    };
    let rows = within(format!("rows of {}", what()), rows, limits.rows)?;
    Ok((rows, columns.map(|columns| within(format!("columns of {}", what()), columns, limits.list)).transpose()?))
}

/// Elements from JSON: as a flat list, or as one list for each row.
pub(crate) fn from_json(
    name: &str,
    datatype: Datatype,
    rows: usize,
    columns: Option<usize>,
    data: Vec<RawValue>,
) -> Result<Vec<RawValue>, Refusal> {
    let what = format!("inputs.{}.data", shortened(name));
    let nested = data.iter().any(|cell| matches!(cell, RawValue::List(_)));
    let width = columns.unwrap_or(1);
    let cells = if nested {
        let Some(width) = columns.filter(|_| data.len() == rows) else {
            return Err(Refusal::invalid(what, format!("it is a list of {} lists, and the shape says otherwise", data.len())));
        };
        let mut cells = Vec::with_capacity(data.len());
        for (row, entry) in data.into_iter().enumerate() {
            match entry {
                RawValue::List(list) if list.len() == width => cells.extend(list),
                _ => return Err(Refusal::invalid(format!("{what}[{row}]"), format!("it is no list of {width}, as the shape says"))),
            }
        }
        cells
    } else {
        data
    };
    if cells.len() != rows * width {
        return Err(Refusal::invalid(what, format!("it has {} elements, and the shape says {}", cells.len(), rows * width)));
    }
    let typed = cells.into_iter().enumerate().map(|(index, cell)| {
        of_type(datatype, cell).ok_or_else(|| Refusal::invalid(format!("{what}[{index}]"), format!("it is no {datatype}")))
    });
    typed.collect()
}

/// An element as its type has it; nothing if it is of another.
fn of_type(datatype: Datatype, cell: RawValue) -> Option<RawValue> {
    match (datatype, cell) {
        (Datatype::Bool, cell @ RawValue::Bool(_)) | (Datatype::Bytes, cell @ RawValue::Text(_)) => Some(cell),
        (Datatype::Int { width, signed }, RawValue::Integer(value)) => {
            let bits = 8 * width as u32;
            let fits = match (signed, bits) {
                (true, 64) => true,
                (false, 64) => value >= 0,
                (true, _) => (-(1_i64 << (bits - 1))..1 << (bits - 1)).contains(&value),
                (false, _) => (0..1_i64 << bits).contains(&value),
            };
            fits.then_some(RawValue::Integer(value))
        }
        (Datatype::Float { .. }, RawValue::Integer(value)) => Some(RawValue::Number(value as f64)),
        (Datatype::Float { width }, RawValue::Number(value)) => {
            (width == 8 || (value as f32).is_finite()).then_some(RawValue::Number(value))
        }
        _ => None,
    }
}
