//! A first data-set file for files that nobody has described: what `acclimate init` writes.
//!
//! - All rows are read once, with memory that does not grow with them: counts of different values are exact up to 131,072 and estimates beyond.
//! - How text files are written: see `dialect.rs`. What a column holds: see `column.rs`. What the columns of the log mean: see `role.rs`. What models
//!   read: see `feature.rs`.
//! - The key of a table of users or items is the column that has most of the log's ids. Where it lacks some, they are allowed to miss.
//! - Several files of a log are its parts if their names differ in digits only, parts of a split if they are named like one (`train`, `test`), and else
//!   one domain each.
//! - Items are numbered apart in each domain (`item_scope = "domain"`) if their ids are whole numbers that leave few gaps in every domain, and the
//!   domains have different numbers of them.
//!
//! What is uncertain is said in [`Guess::checks`].

mod column;
mod dialect;
mod distinct;
mod draft;
mod feature;
mod files;
mod role;
mod table;
mod write;

use std::path::Path;

use column::{Clock, Profile};
pub use dialect::NoTable;
use draft::Draft;
use feature::Feature;
use role::{Context, Label, roles};
use table::Table;

use crate::inspect::TableKind;
use crate::{DataError, Side};

/// What the guessing starts from: entries of `files` as they will stand in the data-set file.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The log.
    pub log: Vec<String>,
    /// Tables of users, one entry each.
    pub users: Vec<String>,
    /// Tables of items, one entry each.
    pub items: Vec<String>,
}

/// A guessed data set.
#[derive(Clone, Debug)]
pub struct Guess {
    /// Name in reports.
    pub name: String,
    /// What was found, one sentence each.
    pub found: Vec<String>,
    /// What should be checked, one sentence each.
    pub checks: Vec<String>,
    /// Parts that the data brings: a column of the log, or its files.
    pub split: Option<GivenSplit>,
    log: TableGuess,
    user: String,
    item: String,
    time: Option<(String, Option<Clock>)>,
    domain: Option<Domain>,
    has_domain_items: bool,
    label: Option<(String, Label)>,
    /// The value of the label that counts as 1, where it is not 1 itself.
    positive: Option<String>,
    other_labels: Vec<String>,
    users: Vec<SideGuess>,
    items: Vec<SideGuess>,
    features: Vec<Feature>,
    skips: Option<String>,
}

/// How a table is read: keys and their values as TOML.
#[derive(Clone, Debug)]
struct TableGuess {
    keys: Vec<(&'static str, String)>,
}

/// A table of users or items.
#[derive(Clone, Debug)]
struct SideGuess {
    name: Option<String>,
    table: TableGuess,
    key: String,
    /// Where the ids' domain is, as TOML.
    domain: Option<String>,
    /// Why ids of the log may be missing.
    missing: Option<String>,
}

/// Where the domain of a row stands.
#[derive(Clone, Debug)]
enum Domain {
    Column(String),
    Files(Vec<String>),
}

/// Parts that the data brings: what belongs to train, validation and test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenSplit {
    /// A column of the log; `None` where the files are the parts.
    pub column: Option<String>,
    /// Values of the column, or entries of `files`, by part.
    pub parts: [(&'static str, Vec<String>); 3],
}

impl GivenSplit {
    fn new(column: Option<String>, [train, validation, test]: [Vec<String>; 3]) -> Self {
        Self { column, parts: [("train", train), ("validation", validation), ("test", test)] }
    }

    /// Whether no part is missing.
    fn is_whole(&self) -> bool {
        self.parts.iter().all(|(_, values)| !values.is_empty())
    }
}

impl Guess {
    /// Leaves bad rows out instead of stopping at them.
    pub fn skip_bad_rows(&mut self, reason: String) {
        self.skips.get_or_insert(reason);
    }
}

/// Guesses the data-set file that would lie at `path`.
///
/// # Errors
/// Files that are not there, can not be read or are no tables, files of one table with different columns, or a log without columns for user and item.
pub fn guess(files: &Files, path: &Path, name: &str) -> Result<Guess, DataError> {
    from_files(files, path, name).map_err(|error| match error {
        // There is no data-set file yet in which they could be corrected.
        DataError::MissingFile { file, .. } => DataError::NotThere { path: file, problem: "does not exist" },
        DataError::NothingFound { searched, .. } => {
            DataError::NotThere { path: searched, problem: "holds no file (names that start with `.` or `_` do not count)" }
        }
        other => other,
    })
}

fn from_files(files: &Files, path: &Path, name: &str) -> Result<Guess, DataError> {
    let log = Table::count(TableKind::Interactions, &files.log, path)?;
    let count = |kind, entries: &[String]| {
        entries.iter().map(|entry| Table::count(kind, std::slice::from_ref(entry), path)).collect::<Result<Vec<_>, _>>()
    };
    let (users, items) = (count(TableKind::Users, &files.users)?, count(TableKind::Items, &files.items)?);
    if let Some(column) = log.twice.iter().find(|name| role::is_known(name)) {
        return Err(DataError::DuplicateColumn { file: log.first_file.clone(), column: column.clone() });
    }
    let keys = keyed(&log, &users, &items);
    let context = Context { decimal_comma: log.decimal_comma(), is_nameless: log.is_nameless(), keys: &keys };
    let roles = roles(&log.columns, context).ok_or_else(|| DataError::NoIds { file: log.first_file.clone(), columns: log.names() })?;
    Draft::new(log, users, items, roles).finish(name)
}

/// For each column of the log, the kind of tables that have its values as keys.
fn keyed(log: &Table, users: &[Table], items: &[Table]) -> Vec<Option<Side>> {
    let mut keys = vec![None; log.columns.len()];
    for (side, tables) in [(Side::User, users), (Side::Item, items)] {
        for column in tables.iter().flat_map(|table| &table.columns).filter(|column| column.distinct.repeats(column.values) == 0) {
            // Ids that are numbered from 1 are in many columns; the right one leaves few keys over.
            let fit = |ids: &Profile| ids.distinct.share_in(&column.distinct).min(column.distinct.share_in(&ids.distinct));
            let best = log.columns.iter().enumerate().map(|(i, ids)| (fit(ids), i)).max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, i)) = best.filter(|(share, _)| *share > 0.5) {
                keys[i] = Some(side);
            }
        }
    }
    keys
}
