//! Everything that can be wrong with a data set, said so that the reader can repair it.

mod row;

use std::fmt;
use std::path::PathBuf;

pub(crate) use row::means_missing;
pub use row::{Expected, Place, Position, RowFault, TimeReading};

use crate::Side;
use crate::config::ConfigProblem;

/// Anything that keeps a data set from being read or encoded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The data-set file is not the TOML that is expected: syntax, an unknown key, a missing key, a value of the wrong type.
    #[error("{}: {source}", .file.display())]
    Config {
        /// The data-set file.
        file: PathBuf,
        /// Line, column and what is expected there.
        source: Box<toml::de::Error>,
    },
    /// A file that is something else than a data-set file.
    #[error("{} {problem}", .file.display())]
    NoDataSetFile {
        /// The file.
        file: PathBuf,
        /// What it is, and what to do.
        problem: &'static str,
    },
    /// The entries of the data-set file contradict each other.
    #[error("{}: {entry}: {problem}", .file.display())]
    InvalidConfig {
        /// The data-set file.
        file: PathBuf,
        /// The entry, such as "feature `genre`".
        entry: String,
        /// What is wrong with it.
        problem: Box<ConfigProblem>,
    },
    /// A path starts with an environment variable that is not set.
    #[error("{}: the path `{path}` needs the environment variable {variable}, which is not set; set it to the folder with the data sets", .file.display())]
    MissingVariable {
        /// The data-set file.
        file: PathBuf,
        /// The path as written.
        path: String,
        /// The variable.
        variable: String,
    },
    /// A named file does not exist.
    #[error("{} does not exist; correct `files` in {}", .file.display(), .named_in.display())]
    MissingFile {
        /// The file.
        file: PathBuf,
        /// Where it was named.
        named_in: PathBuf,
    },
    /// A path that was given to guess from, and not in a data-set file, leads to nothing.
    #[error("{} {problem}; give a file, a folder or a glob of files", .path.display())]
    NotThere {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file can not be read.
    #[error("can not read {}: {source}; check that it is a file you may read", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The format can not be told from the file's name.
    #[error("can not tell the format of {}: its name ends in none of .csv, .tsv, .parquet (or .csv.gz, .csv.zst and the like); set `format`, or `delimiter` for text", .file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
    },
    /// A folder or glob without a file.
    #[error("`{entry}` finds no file: looked for {}, without names that start with `.` or `_`; correct `files` in {}", .searched.display(), .named_in.display())]
    NothingFound {
        /// The entry of `files`.
        entry: String,
        /// Where it was looked for.
        searched: PathBuf,
        /// Where it was named.
        named_in: PathBuf,
    },
    /// A file that no separator makes a table of.
    #[error("{}: {problem}", .file.display())]
    NoTable {
        /// The file.
        file: PathBuf,
        /// Why, and what to do.
        problem: crate::NoTable,
    },
    /// A log without two columns that could be ids.
    #[error("{}: no two columns look like the ids of users and items (there are: {}); describe the data set by hand", .file.display(), .columns.join(", "))]
    NoIds {
        /// First file of the log.
        file: PathBuf,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A file that two entries name.
    #[error("{} is found by `{}` and by `{}`, so its rows would count twice; name it once in `files`", .file.display(), .entries[0], .entries[1])]
    FileTwice {
        /// The file.
        file: PathBuf,
        /// The entries of `files`.
        entries: [String; 2],
    },
    /// A key of text files for a table of Parquet files.
    #[error("the key `{key}` is for text, but {} is a Parquet file; remove it", .file.display())]
    TextKey {
        /// The first file of the table.
        file: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// A file that is no text, though it should be.
    #[error("{} is {found}", .file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        found: Container,
    },
    /// A compressed stream ends too early.
    #[error("{}: the {compression} stream ends too early, after {rows} whole rows; the file is truncated: copy or download it again", .file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// How it is compressed.
        compression: Compression,
        /// Rows read before the end.
        rows: u64,
    },
    /// A compressed stream is damaged.
    #[error("{}: the {compression} stream is damaged after {rows} whole rows ({source}); copy or download it again", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// How it is compressed.
        compression: Compression,
        /// Rows read before the damage.
        rows: u64,
        /// What the decoder says.
        source: std::io::Error,
    },
    /// Bytes that are not in the encoding named.
    #[error("{}: after {rows} whole rows there are bytes that are not {encoding}; correct `encoding`, or the file", .file.display())]
    Undecodable {
        /// The file.
        file: PathBuf,
        /// The encoding.
        encoding: &'static str,
        /// Rows read before them.
        rows: u64,
    },
    /// A line that goes on and on.
    #[error("{}, line {line}: the line has no end within 64 MiB; check that it is a text table", .file.display())]
    EndlessLine {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
    },
    /// A header is not UTF-8.
    #[error("{}: the header is not UTF-8; if the file is written in another encoding, say so: `encoding = \"{likely}\"`", .file.display())]
    HeaderNotUtf8 {
        /// The file.
        file: PathBuf,
        /// The encoding that it may be.
        likely: &'static str,
    },
    /// A Parquet file can not be opened or decoded.
    #[error("{}: not a readable Parquet file ({source}); write it again, or set `format`", .file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// What the decoder says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A Parquet column has a type that can not become what the data-set file asks for.
    #[error("{}: column `{column}` has the type {found}, which can not be read here; store it as {allowed}", .file.display())]
    UnsupportedType {
        /// The file.
        file: PathBuf,
        /// Column.
        column: String,
        /// Its type.
        found: String,
        /// What can be read.
        allowed: &'static str,
    },
    /// A named column does not exist.
    #[error("{}: there is no column `{column}`{}", .file.display(), columns_hint(.nearest.as_deref(), .available, .advice.as_deref()))]
    MissingColumn {
        /// The file, or the files searched.
        file: PathBuf,
        /// Column.
        column: String,
        /// The most similar name.
        nearest: Option<String>,
        /// All columns.
        available: Vec<String>,
        /// What the header of a text file lets one guess.
        advice: Option<Box<HeaderAdvice>>,
    },
    /// A column occurs twice in a header.
    #[error("{}: the header names column `{column}` twice; rename one of them", .file.display())]
    DuplicateColumn {
        /// The file.
        file: PathBuf,
        /// Column.
        column: String,
    },
    /// A column occurs in several tables of the same side.
    #[error(
        "column `{column}` is in {} and in {}; say which one is meant: give the tables a `name` and set `table` in the entry that uses the column", .first.display(), .second.display())]
    AmbiguousColumn {
        /// Column.
        column: String,
        /// A file that has it.
        first: PathBuf,
        /// Another file that has it.
        second: PathBuf,
    },
    /// A table without rows.
    #[error("{}: the table has no rows{}", .file.display(), skipped_note(*.skipped))]
    EmptyTable {
        /// First file of the table.
        file: PathBuf,
        /// Rows that were skipped as bad.
        skipped: u64,
    },
    /// A row can not be used.
    #[error("{place}: {fault}")]
    BadRow {
        /// Where.
        place: Place,
        /// Why.
        fault: Box<RowFault>,
    },
    /// One column holds timestamps of two units.
    #[error("time column `{column}` mixes units: {fits}, but {suspect}; write all timestamps in one unit")]
    MixedTime {
        /// Column.
        column: String,
        /// A value that fits the declared unit.
        fits: Box<TimeReading>,
        /// A value that seems to have another unit.
        suspect: Box<TimeReading>,
    },
    /// A user or item of the log has no row in a side table.
    #[error("{side} `{id}` of the interactions has no row in {} ({count} such {side}s); add the rows, or set `missing = \"allow\"` for that table", .file.display())]
    MissingReference {
        /// "user" or "item".
        side: &'static str,
        /// The first id without a row.
        id: String,
        /// How many ids have none.
        count: usize,
        /// First file of the side table.
        file: PathBuf,
    },
    /// Users or items of the log stand in a side table in another spelling.
    #[error("{0}")]
    SpelledOtherwise(Box<IdSpelling>),
    /// Items of a domain for which there is no table.
    #[error(
        "no [[items]] table is for domain `{domain}`, which has {items} items; add one with `domain = {{ value = \"{domain}\" }}`, or set `missing = \"allow\"` for all of them"
    )]
    DomainWithoutTable {
        /// The domain.
        domain: String,
        /// Items of the log that it has.
        items: usize,
    },
    /// A domain that can not be joined with ids.
    #[error("`item_scope = \"domain\"` names items `domain/id`, but the domain `{domain}` holds a `/` itself; rename it")]
    SlashInDomain {
        /// The domain.
        domain: String,
    },
    /// An attribute has no value for some user or item.
    #[error("attribute `{attribute}` has no value for {side} `{id}`; attributes need a value everywhere: fill in column `{column}`")]
    MissingAttribute {
        /// Attribute.
        attribute: String,
        /// "user" or "item".
        side: &'static str,
        /// The id.
        id: String,
        /// Column.
        column: String,
    },
    /// There is no row to learn vocabularies and scales from.
    #[error("data set `{dataset}`: there is no training row to learn vocabularies from; check the split")]
    NoTrainingRows {
        /// Data set.
        dataset: String,
    },
    /// A training row beyond the end of the log.
    #[error("data set `{dataset}`: training row {row} is beyond the log's {rows} rows; the split belongs to other data")]
    RowOutOfRange {
        /// Data set.
        dataset: String,
        /// The row.
        row: u32,
        /// Rows of the log.
        rows: usize,
    },
    /// The encoder was fitted to features that differ from the data set's.
    #[error(
        "data set `{dataset}`: the saved encoder expects {expected}, but the data-set file gives {found}; use the data-set file of the base"
    )]
    EncoderMismatch {
        /// Data set.
        dataset: String,
        /// What the encoder holds.
        expected: String,
        /// What the data set holds.
        found: String,
    },
    /// More than 2^32 values where 32-bit positions are used.
    #[error("`{what}` has more than 2^32 - 1 values; split the data, or lower `max_length`")]
    TooLarge {
        /// Column, or "rows".
        what: String,
    },
    /// A file that should hold what is known of a log.
    #[error("{}: {problem}; make it again with `acclimate pretrain`", .file.display())]
    State {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

impl DataError {
    /// "user", "item" or "row".
    pub(crate) fn side_name(side: Side) -> &'static str {
        match side {
            Side::Row => "row",
            Side::User => "user",
            Side::Item => "item",
        }
    }
}

/// What the header of a text file lets one guess if a column is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderAdvice {
    /// A separator that stands in the names.
    pub separator: Option<&'static str>,
    /// If names look like values: how many there are.
    pub unnamed: Option<usize>,
}

impl fmt::Display for HeaderAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(separator) = self.separator {
            write!(f, "; if fields are separated by {separator:?}, set `delimiter = {separator:?}`")?;
        }
        match self.unnamed {
            Some(count) => write!(f, "; if the file has no header, name its {count} columns: `columns = [...]`"),
            None => Ok(()),
        }
    }
}

/// Ids that the log and a side table spell differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdSpelling {
    /// "user" or "item".
    pub side: &'static str,
    /// An id of the log without a row.
    pub id: String,
    /// What the table has instead.
    pub alike: String,
    /// How many ids without a row are there in another spelling.
    pub count: usize,
    /// How many ids have no row.
    pub missing: usize,
    /// How many ids the log has.
    pub total: usize,
    /// First file of the side table.
    pub file: PathBuf,
    /// What to do.
    pub remedy: IdRemedy,
}

/// How two spellings become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdRemedy {
    /// By reading a column as whole numbers.
    Integers {
        /// The entry of the data-set file.
        table: &'static str,
        /// The column.
        column: String,
    },
    /// By taking blanks away.
    Blanks,
    /// By upper or lower case.
    Case,
    /// By hand.
    Both,
}

impl fmt::Display for IdSpelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, id, alike, count, missing, total, file, remedy } = self;
        write!(f, "{side} `{id}` of the interactions has no row in {}, where `{alike}` stands; ", file.display())?;
        write!(f, "{missing} of {total} {side}s have no row, {count} of them stand there in another spelling: ")?;
        match remedy {
            IdRemedy::Integers { table, column } => {
                write!(f, "set `integer_columns = [\"{column}\"]` in {table}, so that the column is read as whole numbers")
            }
            IdRemedy::Blanks => f.write_str("take away the blanks around ids"),
            IdRemedy::Case => f.write_str("write ids in the same upper or lower case"),
            IdRemedy::Both => f.write_str("write ids alike in both"),
        }
    }
}

/// How a text file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Files that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A zip archive, as spreadsheets are.
    Zip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Apache Parquet.
    Parquet,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
            Self::Bzip2 => "compressed with bzip2; unpack it, or compress it with gzip or zstd",
            Self::Xz => "compressed with xz; unpack it, or compress it with gzip or zstd",
            Self::Parquet => "a Parquet file; set `format = \"parquet\"`",
        })
    }
}

fn columns_hint(nearest: Option<&str>, available: &[String], advice: Option<&HeaderAdvice>) -> String {
    match (nearest, advice) {
        (Some(name), _) => format!("; did you mean `{name}`?"),
        (None, Some(advice)) => format!("; there are: {}{advice}", available.join(", ")),
        (None, None) => format!("; there are: {}", available.join(", ")),
    }
}

fn skipped_note(skipped: u64) -> String {
    match skipped {
        0 => "; check that it is the right file".to_owned(),
        n => format!("; all {n} were bad and skipped: set `on_bad_row = \"error\"` to see the first"),
    }
}
