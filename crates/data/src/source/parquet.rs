//! Apache Parquet through Arrow record batches.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, TimeUnit as ArrowUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::{Cell, Row, Visit, positions};
use crate::DataError;
use crate::MICROS_PER_DAY;
use crate::error::{Expected, Position, RowFault};

const BATCH_ROWS: usize = 8192;
const ALLOWED: &str = "text, a whole number, a float, a boolean, a date, a timestamp, or a list of text or whole numbers";

/// One column of a record batch.
#[derive(Debug)]
pub(crate) enum ArrowColumn {
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
    F32(Float32Array),
    F64(Float64Array),
    /// Dates and timestamps in microseconds; whether they are those of a clock on the wall.
    Moment(Int64Array, bool),
    List(ListArray, Box<ArrowColumn>),
}

impl ArrowColumn {
    fn new(array: &ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::Binary => Self::Bytes(array.as_binary().clone()),
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Int8 => Self::I8(array.as_primitive::<Int8Type>().clone()),
            DataType::Int16 => Self::I16(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Self::I32(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().clone()),
            DataType::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().clone()),
            DataType::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().clone()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float32 => Self::F32(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Self::F64(array.as_primitive::<Float64Type>().clone()),
            DataType::Date32 => Self::Moment(array.as_primitive::<Date32Type>().unary(|days| i64::from(days) * MICROS_PER_DAY), true),
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
                Self::List(list.clone(), Box::new(Self::new(list.values())?))
            }
            _ => return None,
        })
    }

    /// Whether [`new`](Self::new) knows the type.
    fn knows(data_type: &DataType) -> bool {
        match data_type {
            DataType::List(field) => !matches!(field.data_type(), DataType::List(_)) && Self::knows(field.data_type()),
            DataType::Utf8 | DataType::Binary | DataType::Boolean | DataType::Date32 | DataType::Timestamp(..) => true,
            other => other.is_integer() || matches!(other, DataType::Float32 | DataType::Float64),
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
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
            Self::F32(a) => a,
            Self::F64(a) => a,
            Self::List(a, _) => a,
        }
    }

    /// Value at a position; `name` is the column, for messages.
    pub(crate) fn cell(&self, i: usize, name: &str) -> Result<Cell<'_>, RowFault> {
        if self.array().is_null(i) {
            return Ok(Cell::Missing);
        }
        Ok(match self {
            Self::Text(a) => text(a.value(i)),
            Self::Bytes(a) => text(
                std::str::from_utf8(a.value(i))
                    .map_err(|_| RowFault::NotUtf8 { column: name.to_owned(), value: String::from_utf8_lossy(a.value(i)).into_owned() })?,
            ),
            Self::Boolean(a) => Cell::Integer(i64::from(a.value(i))),
            Self::I8(a) => Cell::Integer(a.value(i).into()),
            Self::I16(a) => Cell::Integer(a.value(i).into()),
            Self::I32(a) => Cell::Integer(a.value(i).into()),
            Self::I64(a) => Cell::Integer(a.value(i)),
            Self::U8(a) => Cell::Integer(a.value(i).into()),
            Self::U16(a) => Cell::Integer(a.value(i).into()),
            Self::U32(a) => Cell::Integer(a.value(i).into()),
            Self::U64(a) => Cell::Integer(i64::try_from(a.value(i)).map_err(|_| RowFault::WrongType {
                column: name.to_owned(),
                value: a.value(i).to_string(),
                expected: Expected::Integer,
            })?),
            Self::F32(a) => Cell::Number(a.value(i).into()),
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
    if value.is_empty() { Cell::Missing } else { Cell::Text(value) }
}

struct ParquetRow<'a> {
    columns: &'a [&'a str],
    values: &'a [ArrowColumn],
    /// Position of each wanted column in `values`.
    order: &'a [usize],
    row: usize,
}

impl Row for ParquetRow<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault> {
        self.values[self.order[column]].cell(self.row, self.columns[column])
    }
}

/// Column names of a Parquet file.
pub(super) fn header(file: &Path) -> Result<Vec<String>, DataError> {
    Ok(names(&open(file)?))
}

/// Streams the rows of a Parquet file; only the wanted columns are decoded.
pub(super) fn read(file: &Path, columns: &[&str], visit: &mut Visit<'_>) -> Result<(), DataError> {
    let builder = open(file)?;
    let positions = positions(file, &names(&builder), columns)?;
    for (&position, &column) in positions.iter().zip(columns) {
        let found = builder.schema().field(position).data_type();
        if !ArrowColumn::knows(found) {
            return Err(unsupported(file, column, found));
        }
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), positions.iter().copied());
    let mut kept = positions.clone();
    kept.sort_unstable();
    kept.dedup();
    let order: Vec<usize> = positions.iter().map(|p| kept.binary_search(p).expect("every position was kept")).collect();
    let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|error| broken(file, error))?;
    let mut first = 1;
    for batch in batches {
        let batch = batch.map_err(|error| broken(file, error))?;
        let values = batch
            .columns()
            .iter()
            .zip(batch.schema_ref().fields())
            .map(|(array, field)| ArrowColumn::new(array).ok_or_else(|| unsupported(file, field.name(), field.data_type())))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            visit(Position::Row(first + row as u64), Ok(&ParquetRow { columns, values: &values, order: &order, row }))?;
        }
        first += batch.num_rows() as u64;
    }
    Ok(())
}

fn open(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, DataError> {
    let source = File::open(file).map_err(|source| DataError::Io { file: file.to_owned(), source })?;
    // Without the embedded Arrow schema, each Parquet type has one Arrow type (no dictionaries, views or large offsets).
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(source, options).map_err(|error| broken(file, error))
}

fn names(builder: &ParquetRecordBatchReaderBuilder<File>) -> Vec<String> {
    builder.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn broken(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> DataError {
    DataError::Parquet { file: file.to_owned(), source: Box::new(error) }
}

fn unsupported(file: &Path, column: &str, found: &DataType) -> DataError {
    DataError::UnsupportedType { file: file.to_owned(), column: column.to_owned(), found: found.to_string(), allowed: ALLOWED }
}
