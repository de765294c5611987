//! Parts that somebody else has made: a column of the log names them, or each has its own files.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::values::{find, text_of};
use super::{LogView, Split, SplitConfig, SplitError};
use crate::{Attribute, AttributeConfig, AttributeKind, DatasetConfig, Origin, Side};

/// Distinct values that may each be a part; a column with more is hardly one of parts.
const MOST_PARTS: usize = 50;

/// Where the part of a row stands. Part names are free; a scenario needs some of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub enum Given {
    /// In a column of the log, or an attribute.
    Column {
        /// Name of the column.
        column: String,
        /// The values of each part; rows with others are left out, and counted. Empty: every value is a part of that name.
        parts: BTreeMap<String, Vec<String>>,
    },
    /// In the files: the entries of `[interactions] files` of each part; rows of others are left out, and counted.
    Files(BTreeMap<String, Vec<String>>),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, Vec<String>>,
}

impl TryFrom<Keys> for Given {
    type Error = SplitError;

    fn try_from(Keys { column, parts, files }: Keys) -> Result<Self, SplitError> {
        let setting = |setting, problem| Err(SplitError::Setting { setting, problem });
        for (key, parts) in [("parts", &parts), ("files", &files)] {
            let mut seen = BTreeSet::new();
            for (part, entries) in parts {
                if entries.is_empty() {
                    return Err(SplitError::NoEntry { key, part: part.clone() });
                }
                if let Some(entry) = entries.iter().find(|entry| !seen.insert(*entry)) {
                    return Err(SplitError::EntryTwice { key, entry: entry.clone() });
                }
            }
        }
        match (column, files.is_empty()) {
            (None, true) => setting("column", "is missing; name the column that holds the parts, or give `files`"),
            (Some(_), false) => setting("files", "excludes `column`; give one of them"),
            (None, false) if !parts.is_empty() => setting("parts", "goes with `column`, not with `files`; remove it"),
            (None, false) => Ok(Self::Files(files)),
            (Some(column), true) => Ok(Self::Column { column, parts }),
        }
    }
}

impl From<Given> for Keys {
    fn from(given: Given) -> Self {
        match given {
            Given::Column { column, parts } => Self { column: Some(column), parts, ..Self::default() },
            Given::Files(files) => Self { files, ..Self::default() },
        }
    }
}

impl SplitConfig {
    /// Makes the reader keep what the split reads of the log beside the attributes of the data-set file: a column of `given` becomes a text attribute
    /// of that name, unless there is one.
    pub fn add_columns(&self, config: &mut DatasetConfig) {
        match self {
            Self::Given(Given::Column { column, .. }) if !config.attributes.iter().any(|a| a.name == *column) => {
                config.attributes.push(AttributeConfig {
                    name: column.clone(),
                    from: Origin::Interactions,
                    table: None,
                    column: None,
                    kind: AttributeKind::Text,
                    codes: BTreeMap::new(),
                });
            }
            Self::HeldOutDomain { then, .. } => then.add_columns(config),
            _ => {}
        }
    }
}

impl Given {
    pub(super) fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        match self {
            Self::Column { column, parts } => by_column(view, column, parts),
            Self::Files(files) => by_files(view, files),
        }
    }
}

fn by_column(view: LogView<'_>, column: &str, parts: &BTreeMap<String, Vec<String>>) -> Result<Split, SplitError> {
    let attribute = find(view, column)?;
    let distinct: BTreeSet<i64> = attribute.values.iter().copied().collect();
    let texts: BTreeMap<String, i64> = distinct.iter().map(|&value| (text_of(attribute, value), value)).collect();
    let own: BTreeMap<String, Vec<String>>;
    let parts = if parts.is_empty() {
        if texts.len() > MOST_PARTS {
            return Err(SplitError::ManyParts { column: column.to_owned(), values: texts.len() });
        }
        own = texts.keys().map(|text| (text.clone(), vec![text.clone()])).collect();
        &own
    } else {
        parts
    };
    let (names, of_text) = numbered(parts);
    let unknown = |text: &str| SplitError::UnknownValue {
        key: "parts",
        value: text.to_owned(),
        attribute: column.to_owned(),
        known: texts.keys().take(MOST_PARTS).cloned().collect(),
    };
    let part_of = of_text.into_iter().map(|(text, part)| Ok((*texts.get(text).ok_or_else(|| unknown(text))?, part)));
    let part_of = part_of.collect::<Result<BTreeMap<i64, usize>, SplitError>>()?;
    let value = |row: usize| attribute.values[entity(view, attribute, row)];
    let mut split = Split::by_row(view.log.len(), &names, |row| part_of.get(&value(row)).copied());
    let mut others: BTreeMap<i64, usize> = BTreeMap::new();
    (0..view.log.len()).map(value).filter(|value| !part_of.contains_key(value)).for_each(|value| *others.entry(value).or_default() += 1);
    let counts = others.iter().map(|(&value, &rows)| (text_of(attribute, value), rows));
    split.notes.extend(left_out(&format!("values of `{column}`"), counts));
    Ok(split)
}

fn by_files(view: LogView<'_>, parts: &BTreeMap<String, Vec<String>>) -> Result<Split, SplitError> {
    let (names, of_entry) = numbered(parts);
    if let Some(entry) = of_entry.keys().find(|entry| !view.files.iter().any(|file| file.entry == **entry)) {
        let mut known: Vec<String> = view.files.iter().map(|file| file.entry.clone()).collect();
        known.dedup();
        return Err(SplitError::UnknownFile { entry: (*entry).to_owned(), known });
    }
    let part = |row: usize| {
        let after = view.files.partition_point(|file| file.first_row as usize <= row);
        of_entry.get(view.files[after - 1].entry.as_str()).copied()
    };
    let mut split = Split::by_row(view.log.len(), &names, part);
    let ends = view.files.iter().skip(1).map(|file| file.first_row as usize).chain([view.log.len()]);
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for (file, end) in view.files.iter().zip(ends).filter(|(file, _)| !of_entry.contains_key(file.entry.as_str())) {
        *others.entry(file.entry.clone()).or_default() += end - file.first_row as usize;
    }
    split.notes.extend(left_out("files", others.into_iter()));
    Ok(split)
}

/// Names of the parts, `train`, `validation` and `test` first, and for each of their entries the number of its part.
fn numbered(parts: &BTreeMap<String, Vec<String>>) -> (Vec<&str>, BTreeMap<&str, usize>) {
    let mut names: Vec<&str> = parts.keys().map(String::as_str).collect();
    names.sort_by_key(|name| super::rule::THREE.iter().position(|known| known == name).unwrap_or(usize::MAX));
    let entries = names.iter().enumerate().flat_map(|(at, &name)| parts[name].iter().map(move |entry| (entry.as_str(), at)));
    let entries = entries.collect();
    (names, entries)
}

/// Which rows are in no part, the most frequent kinds first.
fn left_out(what: &str, counts: impl Iterator<Item = (String, usize)>) -> Option<String> {
    const SHOWN: usize = 5;
    let mut counts: Vec<(String, usize)> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rows: usize = counts.iter().map(|(_, rows)| rows).sum();
    let mut named: Vec<String> = counts.iter().take(SHOWN).map(|(name, rows)| format!("`{name}` ({rows})")).collect();
    if counts.len() > SHOWN {
        named.push(format!("{} others", counts.len() - SHOWN));
    }
    (rows > 0).then(|| format!("{rows} rows are left out, for these {what} are in no part of the split: {}.", named.join(", ")))
}

/// The entity of an attribute that a row belongs to.
pub(super) fn entity(view: LogView<'_>, attribute: &Attribute, row: usize) -> usize {
    match attribute.side {
        Side::Row => row,
        Side::User => view.log.user[row].at(),
        Side::Item => view.log.item[row].at(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, Log, LogFile, UserIndex, Zone};

    /// Eight rows with these texts, from three files of three, four and one rows.
    fn split(texts: [&str; 8], toml: &str) -> Result<Split, SplitError> {
        let log = Log {
            user: vec![UserIndex(0); 8],
            item: (0..8).map(ItemIndex).collect(),
            domain: vec![DomainIndex(0); 8],
            time: Vec::new(),
            label: vec![1.0; 8],
            request: Vec::new(),
        };
        let labels: BTreeSet<&str> = texts.into();
        let values = texts.iter().map(|text| labels.iter().position(|label| label == text).unwrap() as i64).collect();
        let attributes = [
            Attribute { name: "split".into(), side: Side::Row, values, labels: Some(labels.iter().map(|&text| text.to_owned()).collect()) },
            Attribute { name: "fold".into(), side: Side::Item, values: vec![0, 1, 2, 0, 1, 2, 0, 1], labels: None },
            Attribute { name: "id".into(), side: Side::Row, values: (0..8).map(|row| row * 1000).collect(), labels: None },
        ];
        let file = |entry: &str, first_row| LogFile { entry: entry.into(), path: entry.into(), first_row };
        let files = [file("a.csv", 0), file("more", 3), file("more", 5), file("b.csv", 7)];
        let config: SplitConfig = toml::from_str(&format!("kind = 'given'\n{toml}")).unwrap();
        assert_eq!(toml::from_str::<SplitConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(serde_json::from_str::<SplitConfig>(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        config.split(LogView { log: &log, users: &[], items: &[], domains: &[], zone: Zone::UTC, attributes: &attributes, files: &files })
    }

    fn parts(split: &Split) -> Vec<(&str, Vec<u32>)> {
        split.parts().map(|(name, rows)| (name, rows.to_vec())).collect()
    }

    const TEXTS: [&str; 8] = ["train", "cold", "valid", "train", "odd", "cold", "warm", "train"];

    #[test]
    fn without_names_every_value_is_a_part() {
        let all = split(TEXTS, "column = 'split'").unwrap();
        let expected = [("train", vec![0, 3, 7]), ("cold", vec![1, 5]), ("odd", vec![4]), ("valid", vec![2]), ("warm", vec![6])];
        assert_eq!((parts(&all), all.left_out(), all.notes().len()), (expected.to_vec(), 0, 0));
        let folds = split(TEXTS, "column = 'fold'").unwrap();
        assert_eq!(parts(&folds), [("0", vec![0, 3, 6]), ("1", vec![1, 4, 7]), ("2", vec![2, 5])], "whole numbers of items");
    }

    #[test]
    fn values_are_renamed_and_joined_and_others_counted() {
        let some =
            split(TEXTS, "column = 'split'\nparts = { test = ['cold', 'warm'], train = ['train'], validation = ['valid'] }").unwrap();
        assert_eq!(parts(&some), [("train", vec![0, 3, 7]), ("validation", vec![2]), ("test", vec![1, 5, 6])]);
        assert_eq!(some.left_out(), 1);
        assert_eq!(some.notes(), ["1 rows are left out, for these values of `split` are in no part of the split: `odd` (1)."]);
    }

    #[test]
    fn files_are_parts() {
        let some = split(TEXTS, "files = { train = ['a.csv'], test = ['b.csv'] }").unwrap();
        assert_eq!((parts(&some), some.left_out()), (vec![("train", vec![0, 1, 2]), ("test", vec![7])], 4));
        assert_eq!(some.notes(), ["4 rows are left out, for these files are in no part of the split: `more` (4)."]);
        let all = split(TEXTS, "files = { train = ['more', 'a.csv'], test = ['b.csv'] }").unwrap();
        assert_eq!((parts(&all), all.notes().len()), (vec![("train", (0..7).collect()), ("test", vec![7])], 0));
    }

    #[test]
    fn mistakes_are_named() {
        for (toml, expected) in [
            ("column = 'spilt'", "needs the attribute `spilt`"),
            (
                "column = 'split'\nparts = { train = ['trian'] }",
                "`trian`, which attribute `split` never has; it has: cold, odd, train, valid, warm",
            ),
            ("files = { train = ['c.csv'] }", "names `c.csv`, which is no entry of `[interactions] files`; there are: a.csv, more, b.csv"),
        ] {
            let said = split(TEXTS, toml).unwrap_err().to_string();
            assert!(said.contains(expected), "{toml}: {said}");
        }
        for (toml, expected) in [
            ("", "`column`: is missing"),
            ("column = 'a'\nfiles = { train = ['a.csv'] }", "`files`: excludes `column`"),
            ("files = { train = ['a.csv'] }\nparts = { train = ['a'] }", "`parts`: goes with `column`"),
            ("column = 'a'\nparts = { train = ['a'], test = ['b', 'a'] }", "`parts` names `a` twice"),
            ("files = { train = [] }", "`files` gives nothing for part `train`"),
            ("column = 'a'\npart = 1", "unknown field `part`"),
        ] {
            let said = toml::from_str::<SplitConfig>(&format!("kind = 'given'\n{toml}")).unwrap_err();
            assert!(said.message().contains(expected), "{toml}: {}", said.message());
        }
    }

    #[test]
    fn a_column_of_ids_is_no_column_of_parts() {
        let many: Vec<String> = (0..60).map(|i| i.to_string()).collect();
        let log = Log {
            user: vec![UserIndex(0); 60],
            item: vec![ItemIndex(0); 60],
            domain: vec![DomainIndex(0); 60],
            time: vec![],
            label: vec![1.0; 60],
            request: Vec::new(),
        };
        let attributes = [Attribute { name: "user".into(), side: Side::Row, values: (0..60).collect(), labels: Some(many) }];
        let view = LogView { log: &log, users: &[], items: &[], domains: &[], zone: Zone::UTC, attributes: &attributes, files: &[] };
        let config: SplitConfig = toml::from_str("kind = 'given'\ncolumn = 'user'").unwrap();
        assert!(config.split(view).unwrap_err().to_string().contains("column `user` has 60 values"));
    }

    #[test]
    fn the_reader_keeps_the_column() {
        let text = "name = 'd'\n[interactions]\nfiles = ['a.csv']\nuser = 'u'\nitem = 'i'\nlabel = { kind = 'implicit' }\n";
        let mut config = DatasetConfig::parse(text, "d.toml").unwrap();
        let split: SplitConfig =
            toml::from_str("kind = 'held_out_domain'\ndomains = []\nthen = { kind = 'given', column = 'part' }").unwrap();
        split.add_columns(&mut config);
        split.add_columns(&mut config);
        assert_eq!(config.attributes.iter().map(|a| (a.name.as_str(), a.kind)).collect::<Vec<_>>(), [("part", AttributeKind::Text)]);
        config.validate().unwrap();
    }
}
