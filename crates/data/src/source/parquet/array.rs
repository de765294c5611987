//! Columns of a record batch as cells.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    ListArray, PrimitiveArray, StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, TimeUnit as ArrowUnit};

use super::super::Cell;
use crate::MICROS_PER_DAY;
use crate::config::Decimal;
use crate::error::RowFault;

pub(super) const ALLOWED: &str = "text, a whole number, a decimal, a float, a boolean, a date, a timestamp, or a list of these";

/// One column of a record batch.
#[derive(Debug)]
pub(crate) enum ArrowColumn {
    /// Nothing but nulls.
    Null,
    /// Text; decimals and UUIDs are written out.
    Text(StringArray),
    Bytes(BinaryArray),
    Boolean(BooleanArray),
    I8(Int8Array),
    I16(Int16Array),
    I32(Int32Array),
    I64(Int64Array),
    U8(UInt8Array),
    U16(UInt16Array),
    U32(UInt32Array),
    U64(UInt64Array),
    F16(Float16Array),
    F32(Float32Array),
    F64(Float64Array),
    /// Dates and timestamps in microseconds; whether they are those of a clock on the wall.
    Moment(Int64Array, bool),
    List(ListArray, Box<ArrowColumn>),
}

impl ArrowColumn {
    pub(super) fn new(array: &ArrayRef, is_uuid: bool) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::Binary => Self::Bytes(array.as_binary().clone()),
            DataType::FixedSizeBinary(_) if is_uuid => {
                Self::Text(array.as_fixed_size_binary().iter().map(|bytes| bytes.map(uuid)).collect())
            }
            DataType::FixedSizeBinary(_) => Self::Bytes(array.as_fixed_size_binary().iter().collect()),
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Int8 => Self::I8(array.as_primitive::<Int8Type>().clone()),
            DataType::Int16 => Self::I16(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Self::I32(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().clone()),
            DataType::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().clone()),
            DataType::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().clone()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float16 => Self::F16(array.as_primitive::<Float16Type>().clone()),
            DataType::Float32 => Self::F32(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Self::F64(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(..) => Self::Text(decimals(array.as_primitive::<Decimal128Type>())),
            DataType::Decimal256(..) => Self::Text(decimals(array.as_primitive::<Decimal256Type>())),
            DataType::Date32 => Self::Moment(array.as_primitive::<Date32Type>().unary(|days| i64::from(days) * MICROS_PER_DAY), true),
            DataType::Date64 => Self::Moment(array.as_primitive::<Date64Type>().unary(|millis: i64| millis.saturating_mul(1_000)), true),
            DataType::Timestamp(unit, zone) => {
                let micros = match unit {
                    ArrowUnit::Second => array.as_primitive::<TimestampSecondType>().unary(|t: i64| t.saturating_mul(1_000_000)),
                    ArrowUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().unary(|t: i64| t.saturating_mul(1_000)),
                    ArrowUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().unary(|t: i64| t),
                    ArrowUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().unary(|t: i64| t.div_euclid(1_000)),
                };
                Self::Moment(micros, zone.is_none())
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.clone(), Box::new(Self::new(list.values(), is_uuid)?))
            }
            _ => return None,
        })
    }

    /// Whether [`new`](Self::new) knows the type.
    pub(super) fn knows(data_type: &DataType) -> bool {
        match data_type {
            DataType::List(field) => !matches!(field.data_type(), DataType::List(_)) && Self::knows(field.data_type()),
            DataType::Null | DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Boolean => true,
            DataType::Decimal128(..) | DataType::Decimal256(..) => true,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => true,
            other => other.is_integer() || other.is_floating(),
        }
    }

    fn array(&self) -> Option<&dyn Array> {
        Some(match self {
            Self::Null => return None,
            Self::Text(a) => a,
            Self::Bytes(a) => a,
            Self::Boolean(a) => a,
            Self::I8(a) => a,
            Self::I16(a) => a,
            Self::I32(a) => a,
            Self::I64(a) | Self::Moment(a, _) => a,
            Self::U8(a) => a,
            Self::U16(a) => a,
            Self::U32(a) => a,
            Self::U64(a) => a,
            Self::F16(a) => a,
            Self::F32(a) => a,
            Self::F64(a) => a,
            Self::List(a, _) => a,
        })
    }

    /// Value at a position; `name` is the column, for messages. A float that is not a number is a missing value.
    pub(crate) fn cell(&self, i: usize, name: &str) -> Result<Cell<'_>, RowFault> {
        if self.array().is_none_or(|array| array.is_null(i)) {
            return Ok(Cell::Missing);
        }
        Ok(match self {
            Self::Null => Cell::Missing,
            Self::Text(a) => text(a.value(i)),
            Self::Bytes(a) => text(
                std::str::from_utf8(a.value(i))
                    .map_err(|_| RowFault::NotText { column: name.to_owned(), value: String::from_utf8_lossy(a.value(i)).into_owned() })?,
            ),
            Self::Boolean(a) => Cell::Boolean(a.value(i)),
            Self::I8(a) => Cell::Integer(a.value(i).into()),
            Self::I16(a) => Cell::Integer(a.value(i).into()),
            Self::I32(a) => Cell::Integer(a.value(i).into()),
            Self::I64(a) => Cell::Integer(a.value(i)),
            Self::U8(a) => Cell::Integer(a.value(i).into()),
            Self::U16(a) => Cell::Integer(a.value(i).into()),
            Self::U32(a) => Cell::Integer(a.value(i).into()),
            Self::U64(a) => i64::try_from(a.value(i)).map_or(Cell::Unsigned(a.value(i)), Cell::Integer),
            Self::F16(a) => single(a.value(i).to_f32()),
            Self::F32(a) => single(a.value(i)),
            Self::F64(a) if a.value(i).is_nan() => Cell::Missing,
            Self::F64(a) => Cell::Number(a.value(i)),
            Self::Moment(a, is_local) => Cell::Moment { micros: a.value(i), is_local: *is_local },
            Self::List(a, values) => {
                let offsets = a.value_offsets();
                Cell::List(values, offsets[i] as usize..offsets[i + 1] as usize)
            }
        })
    }
}

fn text(value: &str) -> Cell<'_> {
    if value.is_empty() { Cell::Missing } else { Cell::Text(value, Decimal::Point) }
}

fn single(value: f32) -> Cell<'static> {
    if value.is_nan() { Cell::Missing } else { Cell::Single(value) }
}

/// Decimals as text; whole ones without a fraction, as whole floats are read.
fn decimals<T: DecimalType>(array: &PrimitiveArray<T>) -> StringArray {
    let written = |i: usize| {
        let text = array.value_as_string(i);
        match text.split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole.to_owned(),
            _ => text,
        }
    };
    (0..array.len()).map(|i| array.is_valid(i).then(|| written(i))).collect()
}

/// The usual spelling of a UUID.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("writing to a String can not fail");
    }
    text
}
