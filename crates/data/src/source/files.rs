//! From the entries of `files` to files: single ones, folders and globs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};

use crate::config::FileKeys;
use crate::{DataError, DatasetConfig, Format};

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataFile {
    /// The position in `files` of the entry that led to it.
    pub(crate) entry: usize,
    pub(crate) path: PathBuf,
    /// The folder that the entry names or matches, if it is one.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) format: Format,
    /// Columns that stand in the names of its folders, as in `shop=books/part-0.parquet`, with their one value.
    pub(crate) folders: Vec<(String, String)>,
}

/// What a null is called in the name of a folder.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// Finds the files of a table, in the order of the entries and by name inside each.
pub(super) fn find(config: &DatasetConfig, keys: &FileKeys<'_>) -> Result<Vec<DataFile>, DataError> {
    let mut files = Vec::new();
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    for (entry, text) in keys.files.iter().enumerate() {
        let (root, rest) = config.locate(text)?;
        for (path, folder) in paths(config, &root, text, rest)? {
            let identity = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if let Some(first) = seen.insert(identity, entry) {
                return Err(DataError::FileTwice { file: path, entries: [first, entry].map(|entry| keys.files[entry].clone()) });
            }
            let format = keys.format.or_else(|| format_of(&path)).or_else(|| format_of(Path::new(text)));
            // Only text has a separator.
            let format = format.or(keys.delimiter.map(|_| Format::Csv)).ok_or_else(|| DataError::UnknownFormat { file: path.clone() })?;
            let folders = folders(path.strip_prefix(&root).unwrap_or(&path));
            files.push(DataFile { entry, path, folder, format, folders });
        }
    }
    Ok(files)
}

/// The files that an entry means, and the folder that each was found in, if that is what the entry means.
fn paths(config: &DatasetConfig, root: &Path, entry: &str, rest: &str) -> Result<Vec<(PathBuf, Option<PathBuf>)>, DataError> {
    let path = root.join(rest);
    let nothing = || DataError::NothingFound { entry: entry.to_owned(), searched: path.clone(), named_in: config.path.clone() };
    let mut found = Vec::new();
    if path.is_dir() {
        walk(&path, &path, &mut found)?;
    } else if path.exists() {
        return Ok(vec![(path, None)]);
    } else if !rest.contains(['*', '?', '[']) {
        return Err(DataError::MissingFile { file: path, named_in: config.path.clone() });
    } else {
        for path in matches(root, rest).ok_or_else(nothing)?? {
            if path.is_dir() { walk(&path, &path, &mut found)? } else { found.push((path, None)) }
        }
    }
    if found.is_empty() { Err(nothing()) } else { Ok(found) }
}

/// The files and folders that match a glob, by name, without hidden ones; `None` if it is none, an error where a folder can not be looked into.
fn matches(root: &Path, glob: &str) -> Option<Result<Vec<PathBuf>, DataError>> {
    let options = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let pattern = match root.to_str()? {
        _ if Path::new(glob).is_absolute() => glob.to_owned(),
        "" => glob.to_owned(),
        root => format!("{}/{glob}", Pattern::escape(root)),
    };
    let found = glob_with(&pattern, options).ok()?;
    let found = found.map(|path| path.map_err(|error| DataError::Io { file: error.path().to_owned(), source: error.into() }));
    Some(found.filter(|path| path.as_ref().map_or(true, |path| is_visible(path))).collect::<Result<Vec<_>, _>>().map(|mut found| {
        found.sort();
        found
    }))
}

/// All visible files of a folder and of the folders in it, by name.
fn walk(top: &Path, folder: &Path, found: &mut Vec<(PathBuf, Option<PathBuf>)>) -> Result<(), DataError> {
    let io = |source| DataError::Io { file: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>().map_err(io)?;
    paths.sort();
    for path in paths.into_iter().filter(|path| is_visible(path)) {
        if path.is_dir() { walk(top, &path, found)? } else { found.push((path, Some(top.to_owned()))) }
    }
    Ok(())
}

/// Programs mark what is not data (`_SUCCESS`, `.part-0.crc`) by its first character.
fn is_visible(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_none_or(|name| !name.starts_with(['.', '_']))
}

/// The columns in the names of the folders on a path.
fn folders(path: &Path) -> Vec<(String, String)> {
    let names = path.parent().into_iter().flat_map(Path::components).filter_map(|component| match component {
        Component::Normal(name) => name.to_str()?.split_once('='),
        _ => None,
    });
    names.map(|(column, value)| (unescape(column), if value == NULL_FOLDER { String::new() } else { unescape(value) })).collect()
}

/// Undoes `%20` and the like, with which the names of folders write other characters.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        let (byte, after) = match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (byte, &after[2..]),
            None => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn format_of(file: &Path) -> Option<Format> {
    let name = file.file_name()?.to_str()?.to_ascii_lowercase();
    let unpacked = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    match unpacked.rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "tsv" => Some(Format::Tsv),
        "parquet" if unpacked == name => Some(Format::Parquet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_from_names() {
        for (name, format) in [
            ("a.csv", Some(Format::Csv)),
            ("a.TSV.gz", Some(Format::Tsv)),
            ("a.csv.zst", Some(Format::Csv)),
            ("part.snappy.parquet", Some(Format::Parquet)),
            ("a.parquet.gz", None),
            ("ratings.dat", None),
            ("csv", None),
        ] {
            assert_eq!(format_of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn folders_name_columns() {
        let found = folders(Path::new("log/shop=books%20%26%20maps/day=__HIVE_DEFAULT_PARTITION__/part=0.parquet"));
        assert_eq!(found, [("shop", "books & maps"), ("day", "")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(unescape("100%, 5%2"), "100%, 5%2");
    }
}
