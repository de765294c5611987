//! The types in which columns of a Parquet file are read.

use std::fs::File;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{LogicalType, Type};
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

/// Reads the metadata of a file.
///
/// Types follow from the Parquet schema and not from the Arrow schema that some programs embed, so that each has one form (no dictionaries, views or large
/// offsets). Only what Parquet has no type for is taken from there: timestamps in seconds, and dates as milliseconds.
pub(super) fn load(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let plain = ArrowReaderMetadata::load(file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    let embedded = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), ArrowReaderOptions::new()).ok();
    let fields: Vec<FieldRef> = plain
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(root, field)| {
            let written = embedded.as_ref().and_then(|embedded| embedded.schema().fields().get(root)).map(|field| field.data_type());
            let data_type = written.map_or_else(|| field.data_type().clone(), |written| with_times(field.data_type(), written));
            let data_type = if is_int96(plain.parquet_schema(), root) { with_instants(&data_type) } else { data_type };
            Arc::new(field.as_ref().clone().with_data_type(data_type))
        })
        .collect();
    let schema = Schema::new_with_metadata(fields, plain.schema().metadata().clone());
    if schema == **plain.schema() {
        return Ok(plain);
    }
    ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

/// Whether a column holds UUIDs.
pub(super) fn is_uuid(schema: &SchemaDescriptor, root: usize) -> bool {
    leaves(schema, root).any(|leaf| schema.column(leaf).logical_type_ref() == Some(&LogicalType::Uuid))
}

/// Timestamps of the kind that Spark and Hive wrote for long.
fn is_int96(schema: &SchemaDescriptor, root: usize) -> bool {
    leaves(schema, root).any(|leaf| schema.column(leaf).physical_type() == Type::INT96)
}

fn leaves(schema: &SchemaDescriptor, root: usize) -> impl Iterator<Item = usize> {
    (0..schema.num_columns()).filter(move |&leaf| schema.get_column_root_idx(leaf) == root)
}

/// A type with the times of the type that was written.
fn with_times(plain: &DataType, written: &DataType) -> DataType {
    match (plain, written) {
        (_, DataType::Dictionary(_, written)) => with_times(plain, written),
        (DataType::Int64 | DataType::Date32, DataType::Date64) | (DataType::Int64, DataType::Timestamp(TimeUnit::Second, _)) => {
            written.clone()
        }
        (DataType::List(plain), DataType::List(written) | DataType::LargeList(written) | DataType::FixedSizeList(written, _)) => {
            DataType::List(retyped(plain, with_times(plain.data_type(), written.data_type())))
        }
        _ => plain.clone(),
    }
}

/// A type in which times of 96 bits are moments in UTC, as Spark means them, with microseconds, because nanoseconds end in 2262.
fn with_instants(plain: &DataType) -> DataType {
    match plain {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::List(field) => DataType::List(retyped(field, with_instants(field.data_type()))),
        _ => plain.clone(),
    }
}

fn retyped(field: &Field, data_type: DataType) -> FieldRef {
    Arc::new(field.clone().with_data_type(data_type))
}
