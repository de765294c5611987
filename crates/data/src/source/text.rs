//! Comma- and tab-separated text, plain or gzip-compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;

use super::{Cell, Row, Visit, positions};
use crate::DataError;
use crate::error::{Position, RowFault};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Large enough that decompression and parsing alternate rarely.
const BUFFER: usize = 1 << 18;

struct TextRow<'a> {
    record: &'a ByteRecord,
    columns: &'a [&'a str],
    positions: &'a [usize],
}

impl Row for TextRow<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault> {
        let bytes = &self.record[self.positions[column]];
        match std::str::from_utf8(bytes) {
            Ok("") => Ok(Cell::Missing),
            Ok(text) => Ok(Cell::Text(text)),
            Err(_) => {
                Err(RowFault::NotUtf8 { column: self.columns[column].to_owned(), value: String::from_utf8_lossy(bytes).into_owned() })
            }
        }
    }
}

/// Column names of a text file.
pub(super) fn header(file: &Path, delimiter: u8) -> Result<Vec<String>, DataError> {
    let (mut reader, gzip) = open(file, delimiter)?;
    read_header(file, &mut reader, gzip)
}

/// Streams the rows of a text file.
pub(super) fn read(file: &Path, delimiter: u8, columns: &[&str], visit: &mut Visit<'_>) -> Result<(), DataError> {
    let (mut reader, gzip) = open(file, delimiter)?;
    let header = read_header(file, &mut reader, gzip)?;
    let positions = positions(file, &header, columns)?;
    let mut record = ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record).map_err(|error| broken(file, rows, gzip, error))? {
        rows += 1;
        let line = record.position().map_or(0, csv::Position::line);
        let swallowed = swallowed(&record, delimiter, header.len());
        if swallowed > 0 {
            return Err(DataError::OpenQuote { file: file.to_owned(), line, rows: swallowed });
        }
        let row = TextRow { record: &record, columns, positions: &positions };
        let found: Result<&dyn Row, RowFault> = if record.len() == header.len() {
            Ok(&row)
        } else {
            Err(RowFault::UnequalFields { found: record.len() as u64, expected: header.len() as u64 })
        };
        visit(Position::Line(line), found)?;
    }
    Ok(())
}

/// Lines inside fields of a record that have the delimiters of a whole row: what a quote that nobody closed has swallowed. Text of several lines is
/// legal.
fn swallowed(record: &ByteRecord, delimiter: u8, columns: usize) -> usize {
    if columns < 2 || !record.as_slice().contains(&b'\n') {
        return 0;
    }
    let is_row = |line: &[u8]| line.iter().filter(|&&b| b == delimiter).count() + 1 >= columns;
    record.iter().flat_map(|field| field.split(|&b| b == b'\n').skip(1)).filter(|line| is_row(line)).count()
}

type Reader = csv::Reader<Box<dyn Read>>;

fn open(file: &Path, delimiter: u8) -> Result<(Reader, bool), DataError> {
    let io = |source| DataError::Io { file: file.to_owned(), source };
    let mut buffered = BufReader::with_capacity(BUFFER, File::open(file).map_err(io)?);
    let gzip = buffered.fill_buf().map_err(io)?.starts_with(&GZIP_MAGIC);
    let source: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(buffered)) } else { Box::new(buffered) };
    // Rows of unequal length are told apart here and not by the reader, so that they can be skipped.
    Ok((csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(BUFFER).from_reader(source), gzip))
}

fn read_header(file: &Path, reader: &mut Reader, gzip: bool) -> Result<Vec<String>, DataError> {
    let record = reader.byte_headers().map_err(|error| broken(file, 0, gzip, error))?;
    if record.is_empty() {
        return Err(DataError::EmptyTable { file: file.to_owned(), skipped: 0 });
    }
    record
        .iter()
        .map(|name| std::str::from_utf8(name).map(str::to_owned).map_err(|_| DataError::HeaderNotUtf8 { file: file.to_owned() }))
        .collect()
}

/// A reader that accepts rows of any length and bytes of any encoding can fail by input and output only.
fn broken(file: &Path, rows: u64, gzip: bool, error: csv::Error) -> DataError {
    let file = file.to_owned();
    let source = match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        kind => io::Error::other(format!("{kind:?}")),
    };
    match source.kind() {
        io::ErrorKind::UnexpectedEof if gzip => DataError::TruncatedGzip { file, rows },
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if gzip => DataError::CorruptGzip { file, rows, source },
        _ => DataError::Io { file, source },
    }
}
