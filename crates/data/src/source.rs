//! Tables as streams of rows, whatever their format.
//!
//! Text is cut into records one at a time, which keeps the raw text and the line of every row and needs memory for one record only; Parquet comes in
//! Arrow record batches.

mod cell;
mod files;
mod parquet;
mod refine;
mod text;

use std::path::Path;

pub(crate) use self::cell::{Cell, category, grouped, integer_of, integer_text, without_fraction};
pub(crate) use self::files::DataFile;
pub(crate) use self::parquet::ArrowColumn;
use self::parquet::ParquetFile;
use self::refine::{Plan, Refined};
use self::text::TextFile;
pub(crate) use self::text::{encoding, head};
use crate::config::{FileKeys, Format};
use crate::error::{HeaderAdvice, Place, Position, RowFault};
use crate::inspect::{FileReport, TableKind};
use crate::nearest::nearest;
use crate::{DataError, DatasetConfig, OnBadRow};

/// A row with access to the wanted columns, in the order in which they were asked for.
pub(crate) trait Row {
    /// Value of a wanted column.
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault>;
}

/// Receives each row, or why a row can not be one.
type Visit<'a> = dyn FnMut(Position, Result<&dyn Row, RowFault>) -> Result<(), DataError> + 'a;

/// A column that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// Whether one cell may hold a list, so that it is not read as a whole number by itself.
    pub(crate) may_be_list: bool,
}

impl<'a> Wanted<'a> {
    /// A column of single values.
    pub(crate) fn single(name: &'a str) -> Self {
        Self { name, may_be_list: false }
    }
}

/// The files of one table.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    kind: TableKind,
    keys: FileKeys<'a>,
    files: Vec<DataFile>,
}

impl<'a> Table<'a> {
    /// Finds the files and their formats.
    pub(crate) fn new(config: &DatasetConfig, kind: TableKind, keys: FileKeys<'a>) -> Result<Self, DataError> {
        let files = files::find(config, &keys)?;
        if files.iter().all(|file| file.format == Format::Parquet)
            && let Some(key) = keys.text_key()
        {
            return Err(DataError::TextKey { file: files[0].path.clone(), key });
        }
        Ok(Self { kind, keys, files })
    }

    /// First file: the table's name in messages.
    pub(crate) fn first_file(&self) -> &Path {
        &self.files[0].path
    }

    /// All files, in the order of reading.
    pub(crate) fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// File by position.
    pub(crate) fn file(&self, index: usize) -> &DataFile {
        &self.files[index]
    }

    /// The entry of `files` that led to a file.
    pub(crate) fn entry(&self, index: usize) -> &'a str {
        &self.keys.files[self.files[index].entry]
    }

    /// Columns of the first file, those in the names of its folders included.
    pub(crate) fn header(&self) -> Result<Vec<String>, DataError> {
        let mut header = Opened::open(&self.files[0], &self.keys)?.header().to_vec();
        header.extend(self.files[0].folders.iter().map(|(column, _)| column.clone()));
        Ok(header)
    }

    /// The error for a column that a file does not have.
    pub(crate) fn missing(&self, file: usize, column: &str, header: &[String]) -> DataError {
        let DataFile { path, format, .. } = &self.files[file];
        let advice = if *format == Format::Parquet { None } else { text::advice(*format, &self.keys, header) };
        missing_column(path, column, header, advice)
    }

    /// Reads all files in order. `row` gets the file's position in the list, the row's position in the file, and the row; rows that it refuses
    /// are an error or are skipped, as `policy` says.
    pub(crate) fn read(
        &self,
        wanted: &[Wanted<'_>],
        policy: OnBadRow,
        reports: &mut Vec<FileReport>,
        mut row: impl FnMut(usize, Position, &dyn Row) -> Result<(), RowFault>,
    ) -> Result<(), DataError> {
        let (mut rows, mut skipped) = (0, 0);
        for (index, file) in self.files.iter().enumerate() {
            let mut opened = Opened::open(file, &self.keys)?;
            let plan =
                Plan::new(wanted, opened.header(), file, &self.keys).map_err(|column| self.missing(index, column, opened.header()))?;
            let positions = self.positions(index, opened.header(), &plan.columns)?;
            let mut report = FileReport::new(self.kind, &file.path);
            let mut visit = |position, found: Result<&dyn Row, RowFault>| {
                let outcome = found.and_then(|found| match &plan.refinement {
                    None => row(index, position, found),
                    Some(refinement) => row(index, position, &Refined { row: found, refinement }),
                });
                match outcome {
                    Ok(()) => {
                        report.rows_read += 1;
                        Ok(())
                    }
                    Err(fault) if policy == OnBadRow::Skip => {
                        report.skip(position, &fault);
                        Ok(())
                    }
                    Err(fault) => Err(DataError::BadRow { place: Place { file: file.path.clone(), position }, fault: Box::new(fault) }),
                }
            };
            opened.read(&plan.columns, &positions, &mut visit)?;
            rows += report.rows_read;
            skipped += report.rows_skipped;
            reports.push(report);
        }
        if rows == 0 {
            return Err(DataError::EmptyTable { file: self.first_file().to_owned(), skipped });
        }
        Ok(())
    }

    /// Where each column stands in the header of a file.
    fn positions(&self, file: usize, header: &[String], columns: &[&str]) -> Result<Vec<usize>, DataError> {
        let position = |&column: &&str| {
            let mut found = header.iter().enumerate().filter(|(_, name)| *name == column).map(|(i, _)| i);
            let position = found.next().ok_or_else(|| self.missing(file, column, header))?;
            match found.next() {
                None => Ok(position),
                Some(_) => Err(DataError::DuplicateColumn { file: self.files[file].path.clone(), column: column.to_owned() }),
            }
        };
        columns.iter().map(position).collect()
    }
}

/// An open file of which the columns are known.
enum Opened<'a> {
    Text(Box<TextFile<'a>>),
    Parquet(ParquetFile<'a>),
}

impl<'a> Opened<'a> {
    fn open(file: &'a DataFile, keys: &FileKeys<'_>) -> Result<Self, DataError> {
        Ok(match file.format {
            Format::Csv | Format::Tsv => Self::Text(Box::new(TextFile::open(&file.path, file.format, keys)?)),
            Format::Parquet => Self::Parquet(ParquetFile::open(&file.path)?),
        })
    }

    fn header(&self) -> &[String] {
        match self {
            Self::Text(file) => &file.header,
            Self::Parquet(file) => &file.header,
        }
    }

    /// Streams the rows; `positions` are those of the columns in the header.
    fn read(&mut self, columns: &[&str], positions: &[usize], visit: &mut Visit<'_>) -> Result<(), DataError> {
        match self {
            Self::Text(file) => file.read(columns, positions, visit),
            Self::Parquet(file) => file.read(columns, positions, visit),
        }
    }
}

/// The error for a column that is not in a header.
pub(crate) fn missing_column(file: &Path, column: &str, header: &[String], advice: Option<HeaderAdvice>) -> DataError {
    DataError::MissingColumn {
        file: file.to_owned(),
        column: column.to_owned(),
        nearest: nearest(column, header.iter().map(String::as_str)).map(str::to_owned),
        available: header.to_vec(),
        advice: advice.map(Box::new),
    }
}
