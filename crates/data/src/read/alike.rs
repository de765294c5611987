//! Ids that two tables spell differently: `5829.0` and `5829`, `07` and `7`, ` a` and `a`, `A7` and `a7`.

use std::collections::HashMap;

use crate::config::Decimal;
use crate::source::without_fraction;
use crate::strings::StringTable;

/// An id of the log that a table lacks and the one that is meant there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alike {
    pub(super) log: String,
    pub(super) table: String,
    /// How many of the missing ids are there in another spelling.
    pub(super) count: usize,
    is_scoped: bool,
}

/// How two spellings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// In the way a whole number is written; which of them is the unusual one.
    Number { in_log: bool },
    /// In blanks around it.
    Blanks,
    /// In upper and lower case.
    Case,
    /// In more than one way.
    Several,
}

impl Alike {
    /// Looks for missing ids in other spellings; `None` if there are none.
    pub(super) fn find(missing: &[&str], keys: &StringTable, is_scoped: bool) -> Option<Self> {
        let mut wanted: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, id) in missing.iter().enumerate() {
            wanted.entry(normal(id, is_scoped)).or_default().push(i);
        }
        let mut found: Vec<(usize, &str)> = Vec::new();
        for key in keys.texts() {
            let ids = wanted.remove(&normal(key, is_scoped));
            found.extend(ids.into_iter().flatten().map(|i| (i, key)));
        }
        let &(first, key) = found.iter().min()?;
        Some(Self { log: missing[first].to_owned(), table: key.to_owned(), count: found.len(), is_scoped })
    }

    /// How the two spellings differ.
    pub(super) fn difference(&self) -> Difference {
        let (log, table) = (parts(&self.log, self.is_scoped).1, parts(&self.table, self.is_scoped).1);
        let number = |id: &str| without_zeros(without_fraction(id, Decimal::Point)).to_owned();
        if log.trim() == table.trim() {
            Difference::Blanks
        } else if log.to_lowercase() == table.to_lowercase() {
            Difference::Case
        } else if number(log.trim()) == number(table.trim()) {
            Difference::Number { in_log: number(log) != log }
        } else {
            Difference::Several
        }
    }
}

/// The domain, if ids have one, and the id inside it.
fn parts(id: &str, is_scoped: bool) -> (&str, &str) {
    if is_scoped { id.split_once('/').unwrap_or(("", id)) } else { ("", id) }
}

/// The form that all spellings of an id share.
fn normal(id: &str, is_scoped: bool) -> String {
    let (domain, id) = parts(id, is_scoped);
    let id = id.trim().to_lowercase();
    format!("{domain}/{}", without_zeros(without_fraction(&id, Decimal::Point)))
}

/// `7` for `007`; texts other than whole numbers stay.
fn without_zeros(id: &str) -> &str {
    match id.trim_start_matches('0') {
        _ if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) => id,
        "" => "0",
        digits => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(missing: &[&str], keys: &[&str], is_scoped: bool) -> Option<(String, String, usize, Difference)> {
        let mut table = StringTable::default();
        keys.iter().for_each(|key| _ = table.intern(key));
        Alike::find(missing, &table, is_scoped).map(|alike| (alike.log.clone(), alike.table.clone(), alike.count, alike.difference()))
    }

    #[test]
    fn spellings_of_one_id_are_found_and_told_apart() {
        for (log, table, difference) in [
            ("5829.0", "5829", Difference::Number { in_log: true }),
            ("5829", "5829.0", Difference::Number { in_log: false }),
            ("07", "7", Difference::Number { in_log: true }),
            ("7", "007.0", Difference::Number { in_log: false }),
            ("0", "00", Difference::Number { in_log: false }),
            (" a", "a", Difference::Blanks),
            ("A7", "a7", Difference::Case),
            (" A7", "a7", Difference::Several),
        ] {
            let found = find(&["x", log], &["y", table], false);
            assert_eq!(found, Some((log.to_owned(), table.to_owned(), 1, difference)), "{log} and {table}");
        }
        assert_eq!(find(&["07x", "1.5"], &["7x", "1"], false), None);
    }

    #[test]
    fn ids_of_other_domains_are_not_alike() {
        assert_eq!(find(&["books/5.0"], &["music/5"], true), None);
        let found = find(&["books/6.0", "books/5.0"], &["books/5", "music/5", "books/6"], true);
        assert_eq!(found, Some(("books/6.0".to_owned(), "books/6".to_owned(), 2, Difference::Number { in_log: true })));
    }
}
