//! Tables as streams of rows, whatever their format.
//!
//! Text comes through the `csv` crate one record at a time, because it keeps the raw text and the line of every row and needs memory for one
//! record only; Parquet comes in Arrow record batches.

mod parquet;
mod text;

use std::path::{Path, PathBuf};

pub(crate) use self::parquet::ArrowColumn;
use crate::config::Format;
use crate::error::{Expected, Place, Position, RowFault};
use crate::inspect::{FileReport, TableKind};
use crate::nearest::nearest;
use crate::{DataError, DatasetConfig, OnBadRow};

/// One value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'a> {
    /// Empty text or null.
    Missing,
    /// Text as written.
    Text(&'a str),
    /// A typed whole number.
    Integer(i64),
    /// A typed number.
    Number(f64),
    /// A typed date or timestamp, microseconds since 1970: in UTC, or as a clock on the wall shows it.
    Moment { micros: i64, is_local: bool },
    /// A typed list: these positions of the column.
    List(&'a ArrowColumn, std::ops::Range<usize>),
}

impl<'a> Cell<'a> {
    /// The cell as category text; a missing value is the empty text. Numbers are written in decimal, with `.0` if they are floating-point.
    pub(crate) fn text<'b>(&self, buffer: &'b mut String) -> Result<&'b str, Expected>
    where
        'a: 'b,
    {
        use std::fmt::Write;
        buffer.clear();
        match *self {
            Cell::Missing => {}
            Cell::Text(text) => return Ok(text),
            Cell::Integer(value) => write!(buffer, "{value}").expect("writing to a String can not fail"),
            Cell::Number(value) => write!(buffer, "{value:?}").expect("writing to a String can not fail"),
            Cell::Moment { .. } | Cell::List(..) => return Err(Expected::Text),
        }
        Ok(buffer)
    }

    /// The cell as a finite number; `None` if missing.
    pub(crate) fn number(&self) -> Result<Option<f64>, Expected> {
        let value = match *self {
            Cell::Missing => return Ok(None),
            Cell::Text(text) => text.parse().map_err(|_| Expected::Number)?,
            Cell::Integer(value) => value as f64,
            Cell::Number(value) => value,
            Cell::Moment { .. } | Cell::List(..) => return Err(Expected::Number),
        };
        // Values are stored in 32 bits.
        if value.is_finite() && value.abs() <= f64::from(f32::MAX) { Ok(Some(value)) } else { Err(Expected::Number) }
    }

    /// The cell as a whole number; `None` if missing. `3.0` counts as whole, because tools that know no missing integers write it so.
    pub(crate) fn integer(&self) -> Result<Option<i64>, Expected> {
        match *self {
            Cell::Missing => Ok(None),
            Cell::Integer(value) => Ok(Some(value)),
            Cell::Text(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => text.parse().ok().and_then(whole).map(Some).ok_or(Expected::Integer),
            },
            Cell::Number(value) => whole(value).map(Some).ok_or(Expected::Integer),
            Cell::Moment { .. } | Cell::List(..) => Err(Expected::Integer),
        }
    }

    /// The cell for a message.
    pub(crate) fn display(&self) -> String {
        match self {
            Cell::List(..) => "a list".to_owned(),
            Cell::Moment { micros, .. } => format!("the timestamp {}", crate::date(*micros)),
            other => other.text(&mut String::new()).unwrap_or_default().to_owned(),
        }
    }

    /// The fault of a cell that is not written in a format.
    pub(crate) fn wrong_time(&self, column: &str, format: &str) -> RowFault {
        RowFault::TimeFormat { column: column.to_owned(), value: self.display(), format: format.to_owned() }
    }

    /// The fault of a cell that is not as expected.
    pub(crate) fn wrong(&self, column: &str, expected: Expected) -> RowFault {
        RowFault::WrongType { column: column.to_owned(), value: self.display(), expected }
    }
}

/// A float that is a whole number no larger than 2^53, beyond which floats skip integers.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

/// A row with access to the wanted columns, in the order in which they were asked for.
pub(crate) trait Row {
    /// Value of a wanted column.
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault>;
}

/// Receives each row, or why a row can not be one.
type Visit<'a> = dyn FnMut(Position, Result<&dyn Row, RowFault>) -> Result<(), DataError> + 'a;

/// The files of one table.
#[derive(Debug)]
pub(crate) struct Table {
    kind: TableKind,
    files: Vec<DataFile>,
}

#[derive(Debug)]
struct DataFile {
    /// The entry of `files` that led to it.
    entry: String,
    path: PathBuf,
    format: Format,
}

impl Table {
    /// Resolves paths and formats and checks that every file exists.
    pub(crate) fn new(config: &DatasetConfig, kind: TableKind, files: &[String], format: Option<Format>) -> Result<Self, DataError> {
        let files = files
            .iter()
            .map(|entry| {
                let path = config.resolve(entry)?;
                if !path.exists() {
                    return Err(DataError::MissingFile { file: path, named_in: config.path.clone() });
                }
                let format = format.or_else(|| format_of(&path)).ok_or_else(|| DataError::UnknownFormat { file: path.clone() })?;
                Ok(DataFile { entry: entry.clone(), path, format })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { kind, files })
    }

    /// First file: the table's name in messages.
    pub(crate) fn first_file(&self) -> &Path {
        &self.files[0].path
    }

    /// File by position.
    pub(crate) fn file(&self, index: usize) -> &Path {
        &self.files[index].path
    }

    /// The entry of `files` that led to a file.
    pub(crate) fn entry(&self, index: usize) -> &str {
        &self.files[index].entry
    }

    /// Columns of the first file.
    pub(crate) fn header(&self) -> Result<Vec<String>, DataError> {
        let DataFile { path: file, format, .. } = &self.files[0];
        match format {
            Format::Csv => text::header(file, b','),
            Format::Tsv => text::header(file, b'\t'),
            Format::Parquet => parquet::header(file),
        }
    }

    /// Reads all files in order. `row` gets the file's position in the list, the row's position in the file, and the row; rows that it refuses
    /// are an error or are skipped, as `policy` says.
    pub(crate) fn read(
        &self,
        columns: &[&str],
        policy: OnBadRow,
        reports: &mut Vec<FileReport>,
        mut row: impl FnMut(usize, Position, &dyn Row) -> Result<(), RowFault>,
    ) -> Result<(), DataError> {
        let (mut rows, mut skipped) = (0, 0);
        for (index, DataFile { path: file, format, .. }) in self.files.iter().enumerate() {
            let mut report = FileReport::new(self.kind, file);
            let mut visit = |position, found: Result<&dyn Row, RowFault>| match found.and_then(|found| row(index, position, found)) {
                Ok(()) => {
                    report.rows_read += 1;
                    Ok(())
                }
                Err(fault) if policy == OnBadRow::Skip => {
                    report.skip(position, &fault);
                    Ok(())
                }
                Err(fault) => Err(DataError::BadRow { place: Place { file: file.clone(), position }, fault: Box::new(fault) }),
            };
            match format {
                Format::Csv => text::read(file, b',', columns, &mut visit)?,
                Format::Tsv => text::read(file, b'\t', columns, &mut visit)?,
                Format::Parquet => parquet::read(file, columns, &mut visit)?,
            }
            rows += report.rows_read;
            skipped += report.rows_skipped;
            reports.push(report);
        }
        if rows == 0 {
            return Err(DataError::EmptyTable { file: self.first_file().to_owned(), skipped });
        }
        Ok(())
    }
}

fn format_of(file: &Path) -> Option<Format> {
    let name = file.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "parquet" if !name.ends_with(".gz") => Some(Format::Parquet),
        _ => None,
    }
}

/// Where each wanted column stands in a header.
fn positions(file: &Path, header: &[String], columns: &[&str]) -> Result<Vec<usize>, DataError> {
    columns
        .iter()
        .map(|&column| {
            let mut found = header.iter().enumerate().filter(|(_, name)| *name == column).map(|(i, _)| i);
            let position = found.next().ok_or_else(|| missing_column(file, column, header))?;
            match found.next() {
                None => Ok(position),
                Some(_) => Err(DataError::DuplicateColumn { file: file.to_owned(), column: column.to_owned() }),
            }
        })
        .collect()
}

/// The error for a column that is not in a header.
pub(crate) fn missing_column(file: &Path, column: &str, header: &[String]) -> DataError {
    DataError::MissingColumn {
        file: file.to_owned(),
        column: column.to_owned(),
        nearest: nearest(column, header.iter().map(String::as_str)).map(str::to_owned),
        available: header.to_vec(),
    }
}
