//! Text tables: fields between separators, plain or compressed.

mod decode;
mod dialect;
mod quoted;
mod records;

use std::io::Read;
use std::path::Path;

pub(crate) use self::decode::encoding;
use self::decode::{broken, open};
use self::dialect::{Dialect, Quoting};
use self::quoted::QuoteFault;
use self::records::Records;
use super::{Cell, Row, Visit};
use crate::config::{Decimal, FileKeys};
use crate::error::{Compression, HeaderAdvice, Place, Position, RowFault};
use crate::time::looks_like_time;
use crate::{DataError, Format};

/// Large enough that decompression and parsing alternate rarely.
const BUFFER: usize = 1 << 18;
/// Separators that are proposed where a header is one long name, in this order.
const SEPARATORS: [&str; 5] = ["\t", "::", ";", "|", ","];

/// An open text file.
pub(super) struct TextFile<'a> {
    file: &'a Path,
    records: Records<Box<dyn Read>>,
    compression: Option<Compression>,
    decimal: Decimal,
    pub(super) header: Vec<String>,
}

impl<'a> TextFile<'a> {
    /// Opens a file and reads its header.
    pub(super) fn open(file: &'a Path, format: Format, keys: &FileKeys<'_>) -> Result<Self, DataError> {
        let text = open(file, keys.encoding.and_then(encoding))?;
        let quoting = match keys.quoting {
            None => Quoting::Careful,
            Some(true) => Quoting::Trusted,
            Some(false) => Quoting::Off,
        };
        let mut records = Records::new(text.source, Dialect::new(delimiter(format, keys), quoting, keys.comment), BUFFER);
        let header = if keys.columns.is_empty() { read_header(file, &mut records, text.compression)? } else { keys.columns.to_vec() };
        records.expect(header.len());
        Ok(Self { file, records, compression: text.compression, decimal: keys.decimal, header })
    }

    /// Streams the rows.
    pub(super) fn read(&mut self, columns: &[&str], positions: &[usize], visit: &mut Visit<'_>) -> Result<(), DataError> {
        let Self { file, ref mut records, compression, decimal, ref header } = *self;
        let mut rows = 0;
        while let Some((line, record)) = records.advance().map_err(|error| broken(file, rows, compression, error))? {
            rows += 1;
            let row = TextRow { records, columns, positions, decimal };
            let found: Result<&dyn Row, RowFault> = match record {
                Err(fault) => Err(fault.named(header)),
                Ok(()) if records.len() == header.len() => Ok(&row),
                Ok(()) => Err(RowFault::UnequalFields { found: records.len(), expected: header.len() }),
            };
            visit(Position::Line(line), found)?;
        }
        Ok(())
    }
}

struct TextRow<'a> {
    records: &'a Records<Box<dyn Read>>,
    columns: &'a [&'a str],
    positions: &'a [usize],
    decimal: Decimal,
}

impl Row for TextRow<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault> {
        let bytes = self.records.field(self.positions[column]);
        match std::str::from_utf8(bytes) {
            Ok("") => Ok(Cell::Missing),
            Ok(text) => Ok(Cell::Text(text, self.decimal)),
            Err(_) => {
                Err(RowFault::NotUtf8 { column: self.columns[column].to_owned(), value: String::from_utf8_lossy(bytes).into_owned() })
            }
        }
    }
}

/// The first bytes of a text file, unpacked, and whether there are no more. Only a byte-order mark tells an encoding here.
pub(crate) fn head(file: &Path, most: usize) -> Result<(Vec<u8>, bool), DataError> {
    let text = open(file, None)?;
    let mut bytes = Vec::new();
    text.source.take(most as u64 + 1).read_to_end(&mut bytes).map_err(|error| broken(file, 0, text.compression, error))?;
    let is_whole = bytes.len() <= most;
    bytes.truncate(most);
    Ok((bytes, is_whole))
}

fn delimiter<'a>(format: Format, keys: &FileKeys<'a>) -> &'a str {
    keys.delimiter.unwrap_or(if format == Format::Tsv { "\t" } else { "," })
}

fn read_header(file: &Path, records: &mut Records<Box<dyn Read>>, compression: Option<Compression>) -> Result<Vec<String>, DataError> {
    let found = records.advance().map_err(|error| broken(file, 0, compression, error))?;
    let Some((line, record)) = found else { return Err(DataError::EmptyTable { file: file.to_owned(), skipped: 0 }) };
    record.map_err(|fault| DataError::BadRow {
        place: Place { file: file.to_owned(), position: Position::Line(line) },
        fault: Box::new(fault.named(&[])),
    })?;
    let name = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(name) if !name.contains('\0') => Ok(name.to_owned()),
        Ok(name) => Err(if name.starts_with('\0') { "utf-16be" } else { "utf-16le" }),
        Err(_) => Err("latin-1"),
    };
    let names = (0..records.len()).map(|i| name(records.field(i))).collect::<Result<Vec<_>, _>>();
    names.map_err(|likely| DataError::HeaderNotUtf8 { file: file.to_owned(), likely })
}

/// What a header in which a column is missing lets one guess: another separator, or no header at all.
pub(super) fn advice(format: Format, keys: &FileKeys<'_>, header: &[String]) -> Option<HeaderAdvice> {
    if !keys.columns.is_empty() {
        return None;
    }
    let used = delimiter(format, keys);
    let held = |separator: &&&str| **separator != used && header.iter().any(|name| name.contains(**separator));
    let separator = SEPARATORS.iter().find(held).copied();
    let mut names = header.iter().flat_map(|name| name.split(separator.unwrap_or(used)));
    let is_data = |name: &str| name.trim().parse::<f64>().is_ok() || looks_like_time(name);
    let fields = names.clone().count();
    let has_no_header = names.any(is_data);
    (separator.is_some() || has_no_header).then_some(HeaderAdvice { separator, unnamed: has_no_header.then_some(fields) })
}

impl QuoteFault {
    /// The fault with the column's name, where it is known.
    fn named(self, header: &[String]) -> RowFault {
        let column = |field: usize| header.get(field).map_or_else(|| format!("field {}", field + 1), |name| format!("column `{name}`"));
        match self {
            Self::GoesOn { field, text } => RowFault::TextAfterQuote { column: column(field), value: text },
            Self::Open { field, text } => RowFault::OpenQuote { column: column(field), value: text },
            Self::Rows { field, lines } => RowFault::QuotedRows { column: column(field), lines },
        }
    }
}
