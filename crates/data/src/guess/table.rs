//! The files of one table: how they are written, and what all of their columns hold.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::column::{Kind, Profile};
use super::dialect::Dialect;
use super::feature::quoted;
use super::write::list;
use crate::config::Format;
use crate::inspect::TableKind;
use crate::source;
use crate::{DataError, DatasetConfig, OnBadRow};

/// Bytes of a file that tell how it is written.
const HEAD: usize = 1 << 20;

/// A table whose columns have been counted.
#[derive(Debug)]
pub(super) struct Table {
    /// The entries of `files`.
    pub(super) entries: Vec<String>,
    /// How the text is written; `None` for Parquet.
    pub(super) dialect: Option<Dialect>,
    pub(super) columns: Vec<Profile>,
    /// Rows with too many or too few fields.
    pub(super) bad_rows: u64,
    /// The first file, for messages.
    pub(super) first_file: PathBuf,
    source: source::Table,
}

impl Table {
    /// Reads all rows of the files that `files` of a data-set file at `path` would name.
    pub(super) fn count(kind: TableKind, entries: &[String], path: &Path) -> Result<Self, DataError> {
        let config = empty_config(path);
        let first_file = source::Table::new(&config, kind, entries, Some(Format::Csv))?.first_file().to_owned();
        let (head, is_whole) = head(&first_file)?;
        let dialect = if head.starts_with(b"PAR1") {
            None
        } else {
            let problem = |problem| DataError::NoTable { file: first_file.clone(), problem };
            Some(Dialect::detect(&head, is_whole).map_err(problem)?)
        };
        let format = if dialect.is_none() { Format::Parquet } else { Format::Csv };
        let source = source::Table::new(&config, kind, entries, Some(format))?;
        let header = source.header()?;
        let names: Vec<&str> = header.iter().map(String::as_str).filter(|name| header.iter().filter(|n| n == name).count() == 1).collect();
        let mut columns: Vec<Profile> = names.iter().copied().map(Profile::new).collect();
        let (mut reports, mut buffer) = (Vec::new(), String::new());
        source.read(&names, OnBadRow::Skip, &mut reports, |_, _, row| {
            for (i, column) in columns.iter_mut().enumerate() {
                column.push(&row.cell(i)?, &mut buffer);
            }
            Ok(())
        })?;
        let bad_rows = reports.iter().map(|report| report.rows_skipped).sum();
        Ok(Self { entries: entries.to_owned(), dialect, columns, bad_rows, first_file, source })
    }

    /// Calls `row` with the texts of some columns of each row, and the position of the row's entry.
    pub(super) fn each(&self, columns: &[usize], mut row: impl FnMut(usize, &[String])) -> Result<(), DataError> {
        let names: Vec<&str> = columns.iter().map(|&column| self.columns[column].name.as_str()).collect();
        let mut texts = vec![String::new(); names.len()];
        let mut buffer = String::new();
        self.source.read(&names, OnBadRow::Skip, &mut Vec::new(), |file, _, cells| {
            for (i, text) in texts.iter_mut().enumerate() {
                text.clear();
                text.push_str(cells.cell(i)?.text(&mut buffer).unwrap_or_default());
            }
            let entry = self.entries.iter().position(|entry| entry == self.source.entry(file)).unwrap_or(0);
            row(entry, &texts);
            Ok(())
        })
    }

    /// The names of all columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Whether the names of the columns were made up.
    pub(super) fn is_nameless(&self) -> bool {
        self.dialect.as_ref().is_some_and(|dialect| dialect.header.is_none())
    }

    pub(super) fn rows(&self) -> u64 {
        self.columns.first().map_or(0, Profile::rows)
    }

    /// Whether numbers have a decimal comma. Between commas that separate, a comma inside a number is a list.
    pub(super) fn decimal_comma(&self) -> bool {
        let separated_by_comma = self.dialect.as_ref().is_none_or(|dialect| dialect.delimiter.starts_with(','));
        !separated_by_comma && self.columns.iter().any(|column| column.has_commas() && column.kind(true) == Kind::Number)
    }

    /// The column of that name.
    pub(super) fn column(&self, name: &str) -> Option<&Profile> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The keys of the data-set file that say how the table is read.
    pub(super) fn keys(&self, whole: &[String]) -> Vec<(&'static str, String)> {
        let mut keys = vec![("files", list(&self.entries))];
        if let Some(dialect) = &self.dialect {
            keys.extend(dialect.keys(&self.entries[0]));
            if self.is_nameless() {
                keys.push(("columns", list(&self.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>())));
            }
        }
        if self.decimal_comma() {
            keys.push(("decimal", quoted(",")));
        }
        let mut nulls: Vec<String> = self.columns.iter().flat_map(|column| column.null_values(self.decimal_comma())).collect();
        nulls.sort_unstable();
        nulls.dedup();
        if !nulls.is_empty() {
            keys.push(("null_values", list(&nulls)));
        }
        if !whole.is_empty() {
            keys.push(("integer_columns", list(whole)));
        }
        keys
    }
}

/// A data-set file with nothing in it but its place.
fn empty_config(path: &Path) -> DatasetConfig {
    let text = "name = 'x'\n[interactions]\nfiles = []\nuser = 'u'\nitem = 'i'\nlabel = { kind = 'implicit' }\n";
    let mut config: DatasetConfig = toml::from_str(text).expect("the text is a data-set file");
    config.path = path.to_owned();
    config
}

/// The first bytes of a file, decompressed, and whether there are no more.
fn head(file: &Path) -> Result<(Vec<u8>, bool), DataError> {
    let io = |source| DataError::Io { file: file.to_owned(), source };
    let mut magic = Vec::new();
    File::open(file).and_then(|opened| opened.take(2).read_to_end(&mut magic)).map_err(io)?;
    let opened = File::open(file).map_err(io)?;
    let source: Box<dyn Read> = if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
    let mut bytes = Vec::new();
    source.take(HEAD as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let is_whole = bytes.len() <= HEAD;
    bytes.truncate(HEAD);
    Ok((bytes, is_whole))
}
