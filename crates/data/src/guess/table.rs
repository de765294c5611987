//! The files of one table: how they are written, and what all of their columns hold.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::column::{Kind, Profile};
use super::dialect::Dialect;
use super::feature::quoted;
use super::write::list;
use crate::config::SideTableConfig;
use crate::inspect::TableKind;
use crate::source::{self, Wanted, head};
use crate::{DataError, DatasetConfig, OnBadRow};

/// Bytes of a file that tell how it is written.
const HEAD: usize = 1 << 20;

/// A table whose columns have been counted.
#[derive(Debug)]
pub(super) struct Table {
    kind: TableKind,
    /// A data-set file with nothing in it but its place.
    config: DatasetConfig,
    /// The entries of `files`.
    pub(super) entries: Vec<String>,
    /// The first file, for messages.
    pub(super) first_file: PathBuf,
    /// How the text is written; `None` for Parquet.
    pub(super) dialect: Option<Dialect>,
    /// Keys by which the files are read, as TOML.
    keys: Vec<(&'static str, String)>,
    pub(super) columns: Vec<Profile>,
    /// Names that stand twice in the header, of which no column is read.
    pub(super) twice: Vec<String>,
    /// Rows that can not be read: too many or too few fields, quotes that are not closed.
    pub(super) bad_rows: u64,
}

impl Table {
    /// Reads all rows of the files that `files` of a data-set file at `path` would name.
    pub(super) fn count(kind: TableKind, entries: &[String], path: &Path) -> Result<Self, DataError> {
        let config = empty_config(path);
        let files = ("files", list(entries));
        let any = side_table(&[files.clone(), ("format", quoted("csv"))]);
        let first_file = source::Table::new(&config, kind, any.file_keys())?.first_file().to_owned();
        let name = first_file.to_str().unwrap_or_default();
        let (dialect, mut keys) = if is_parquet(&first_file)? {
            let keys = if name.ends_with(".parquet") { Vec::new() } else { vec![("format", quoted("parquet"))] };
            (None, keys)
        } else {
            let (head, is_whole) = head(&first_file, HEAD)?;
            let problem = |problem| DataError::NoTable { file: first_file.clone(), problem };
            let dialect = Dialect::detect(&head, is_whole).map_err(problem)?;
            let keys = dialect.keys(name);
            (Some(dialect), keys)
        };
        keys.insert(0, files);
        if let Some(Dialect { header: None, fields, .. }) = &dialect {
            keys.push(("columns", list(&(1..=*fields).map(|i| format!("column_{i}")).collect::<Vec<_>>())));
        }
        let mut table = Self {
            kind,
            config,
            entries: entries.to_owned(),
            first_file,
            dialect,
            keys,
            columns: Vec::new(),
            twice: Vec::new(),
            bad_rows: 0,
        };
        table.read()?;
        table.read_otherwise()?;
        Ok(table)
    }

    /// Counts all columns anew.
    fn read(&mut self) -> Result<(), DataError> {
        let side = side_table(&self.keys);
        let source = source::Table::new(&self.config, self.kind, side.file_keys())?;
        let header = source.header()?;
        let is_unique = |name: &&String| header.iter().filter(|other| other == name).count() == 1;
        let names: Vec<&String> = header.iter().filter(is_unique).collect();
        let wanted: Vec<Wanted<'_>> = names.iter().map(|name| Wanted { name, may_be_list: true }).collect();
        let mut columns: Vec<Profile> = names.iter().map(|name| Profile::new(name.as_str())).collect();
        let (mut reports, mut buffer) = (Vec::new(), String::new());
        source.read(&wanted, OnBadRow::Skip, &mut reports, |_, _, row| {
            // A row counts as a whole or not at all.
            (0..columns.len()).try_for_each(|i| row.cell(i).map(drop))?;
            for (i, column) in columns.iter_mut().enumerate() {
                column.push(&row.cell(i)?, &mut buffer);
            }
            Ok(())
        })?;
        self.bad_rows = reports.iter().map(|report| report.rows_skipped).sum();
        self.columns = columns;
        self.twice = header.iter().filter(|name| !is_unique(name)).cloned().collect::<BTreeSet<_>>().into_iter().collect();
        Ok(())
    }

    /// Where the beginning of a file did not show what is in its middle: characters that are not UTF-8, quotes that are none.
    fn read_otherwise(&mut self) -> Result<(), DataError> {
        for (key, value) in [("encoding", quoted("latin-1")), ("quoting", "false".to_owned())] {
            let is_open = self.dialect.is_some() && !self.keys.iter().any(|(given, _)| *given == key);
            if self.bad_rows == 0 || !is_open {
                continue;
            }
            let (keys, bad_rows, columns) = (self.keys.clone(), self.bad_rows, self.columns.clone());
            self.keys.push((key, value));
            let is_worse = self.read().is_err() || self.bad_rows >= bad_rows;
            if is_worse {
                (self.keys, self.bad_rows, self.columns) = (keys, bad_rows, columns);
            }
        }
        Ok(())
    }

    /// Calls `row` with the texts of some columns of each row, and the position of the row's entry.
    pub(super) fn each(&self, columns: &[usize], mut row: impl FnMut(usize, &[String])) -> Result<(), DataError> {
        let side = side_table(&self.keys);
        let source = source::Table::new(&self.config, self.kind, side.file_keys())?;
        let wanted: Vec<Wanted<'_>> = columns.iter().map(|&column| Wanted::single(&self.columns[column].source)).collect();
        let mut texts = vec![String::new(); wanted.len()];
        let mut buffer = String::new();
        source.read(&wanted, OnBadRow::Skip, &mut Vec::new(), |file, _, cells| {
            for (i, text) in texts.iter_mut().enumerate() {
                text.clear();
                text.push_str(cells.cell(i)?.text(&mut buffer).unwrap_or_default());
            }
            row(source.file(file).entry, &texts);
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

    /// Whether the characters were taken for those of an encoding that knows every byte.
    pub(super) fn is_latin(&self) -> bool {
        self.keys.iter().any(|(key, value)| *key == "encoding" && value.contains("latin-1"))
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

    /// The keys of the data-set file that say how the table is read; `whole` are columns of whole numbers.
    pub(super) fn keys(&self, whole: &[String]) -> Vec<(&'static str, String)> {
        let mut keys = self.keys.clone();
        for (key, value) in &mut keys {
            if *key == "columns" {
                *value = list(&self.names());
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

/// The table that the keys of a data-set file describe.
fn side_table(keys: &[(&'static str, String)]) -> SideTableConfig {
    let text: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    toml::from_str(&format!("{text}key = 'id'\n")).expect("the keys are those of a table")
}

fn empty_config(path: &Path) -> DatasetConfig {
    let text = "name = 'x'\n[interactions]\nfiles = []\nuser = 'u'\nitem = 'i'\nlabel = { kind = 'implicit' }\n";
    let mut config: DatasetConfig = toml::from_str(text).expect("the text is a data-set file");
    config.path = path.to_owned();
    config
}

fn is_parquet(file: &Path) -> Result<bool, DataError> {
    let mut magic = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(4).read_to_end(&mut magic));
    read.map_err(|source| DataError::Io { file: file.to_owned(), source })?;
    Ok(magic == b"PAR1")
}
