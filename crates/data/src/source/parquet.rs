//! Apache Parquet through Arrow record batches.

mod array;
mod schema;

use std::fs::File;
use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use self::array::ALLOWED;
pub(crate) use self::array::ArrowColumn;
use super::{Cell, Row, Visit};
use crate::DataError;
use crate::error::{Position, RowFault};

const BATCH_ROWS: usize = 8192;

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

/// An open Parquet file.
pub(super) struct ParquetFile<'a> {
    path: &'a Path,
    file: File,
    metadata: ArrowReaderMetadata,
    pub(super) header: Vec<String>,
}

impl<'a> ParquetFile<'a> {
    /// Opens a file and reads its schema.
    pub(super) fn open(path: &'a Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { file: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = schema::load(&file).map_err(|error| broken(path, error))?;
        let header = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self { path, file, metadata, header })
    }

    /// Streams the rows; only the wanted columns are decoded.
    pub(super) fn read(&mut self, columns: &[&str], positions: &[usize], visit: &mut Visit<'_>) -> Result<(), DataError> {
        let path = self.path;
        let unsupported = |column: &str, found: &arrow_schema::DataType| DataError::UnsupportedType {
            file: path.to_owned(),
            column: column.to_owned(),
            found: found.to_string(),
            allowed: ALLOWED,
        };
        for (&position, &column) in positions.iter().zip(columns) {
            let found = self.metadata.schema().field(position).data_type();
            if !ArrowColumn::knows(found) {
                return Err(unsupported(column, found));
            }
        }
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), positions.iter().copied());
        let mut kept = positions.to_vec();
        kept.sort_unstable();
        kept.dedup();
        let order: Vec<usize> = positions.iter().map(|p| kept.binary_search(p).expect("every position was kept")).collect();
        let is_uuid: Vec<bool> = kept.iter().map(|&root| schema::is_uuid(self.metadata.parquet_schema(), root)).collect();
        let file = self.file.try_clone().map_err(|source| DataError::Io { file: path.to_owned(), source })?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|error| broken(path, error))?;
        let mut first = 1;
        for batch in batches {
            let batch = batch.map_err(|error| broken(path, error))?;
            let arrays = batch.columns().iter().zip(batch.schema_ref().fields()).zip(&is_uuid);
            let values = arrays
                .map(|((array, field), &is_uuid)| {
                    ArrowColumn::new(array, is_uuid).ok_or_else(|| unsupported(field.name(), field.data_type()))
                })
                .collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                visit(Position::Row(first + row as u64), Ok(&ParquetRow { columns, values: &values, order: &order, row }))?;
            }
            first += batch.num_rows() as u64;
        }
        Ok(())
    }
}

fn broken(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> DataError {
    DataError::Parquet { file: file.to_owned(), source: Box::new(error) }
}
