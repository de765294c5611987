//! From raw values to embedding rows.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

/// Maps a raw value to a row. Row 0 is shared by missing, rare and unseen values; known values start at 1.
///
/// A vocabulary is built from training rows only and may [grow](Vocabulary::grow) later: new values take the next rows, old rows never move. Copies share what they have in common: one that
/// grows keeps its new values alone, so that a thousand patches with some ids each hold the base's once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Vocabulary {
    name: String,
    shared: Arc<Values>,
    /// What was added while others had the same.
    own: Values,
}

/// Values by place, and places by value.
#[derive(Clone, Debug, Default)]
struct Values {
    values: Vec<String>,
    /// Positions of the values, by their hashes.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Values {
    fn place(&self, value: &str) -> Option<u32> {
        if self.values.is_empty() {
            return None;
        }
        self.places.find(self.hasher.hash_one(value), |&place| self.values[place as usize] == value).copied()
    }

    /// Adds a value that is not there.
    fn push(&mut self, value: &str) {
        let Self { values, places, hasher } = self;
        let place = u32::try_from(values.len()).expect("a vocabulary holds fewer than 2^32 values");
        values.push(value.to_owned());
        places.insert_unique(hasher.hash_one(value), place, |&place| hasher.hash_one(values[place as usize].as_str()));
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.values().eq(other.values())
    }
}

impl Eq for Vocabulary {}

impl Vocabulary {
    /// A vocabulary whose first value gets row 1. Repeated values keep their first row.
    #[must_use]
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = String>) -> Self {
        let mut vocabulary = Self { name: name.into(), ..Self::default() };
        for value in values {
            vocabulary.grow(&value);
        }
        vocabulary
    }

    /// Name: the feature it was built for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows, row 0 included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shared.values.len() + self.own.values.len() + 1
    }

    /// Row of `value`, 0 if unknown.
    #[must_use]
    pub fn row(&self, value: &str) -> u32 {
        match self.shared.place(value) {
            Some(place) => place + 1,
            None => self.own.place(value).map_or(0, |place| self.shared.values.len() as u32 + place + 1),
        }
    }

    /// Value of a row; `None` for row 0 and beyond the end.
    #[must_use]
    pub fn value(&self, row: u32) -> Option<&str> {
        let place = (row as usize).checked_sub(1)?;
        let shared = &self.shared.values;
        shared.get(place).or_else(|| self.own.values.get(place.checked_sub(shared.len())?)).map(String::as_str)
    }

    /// Row of `value`, which is added if it is new.
    pub fn grow(&mut self, value: &str) -> u32 {
        let found = self.row(value);
        if found > 0 {
            return found;
        }
        match Arc::get_mut(&mut self.shared) {
            Some(shared) if self.own.values.is_empty() => shared.push(value),
            _ => self.own.push(value),
        }
        u32::try_from(self.rows() - 1).expect("a vocabulary holds fewer than 2^32 values")
    }

    fn values(&self) -> impl Iterator<Item = &String> {
        self.shared.values.iter().chain(&self.own.values)
    }
}

/// A vocabulary in a file: the values in row order, from row 1.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    values: Vec<String>,
}

impl From<Vocabulary> for Written {
    fn from(vocabulary: Vocabulary) -> Self {
        Self { values: vocabulary.values().cloned().collect(), name: vocabulary.name }
    }
}

impl TryFrom<Written> for Vocabulary {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let (count, name) = (written.values.len(), written.name.clone());
        let vocabulary = Self::new(written.name, written.values);
        if vocabulary.rows() == count + 1 {
            Ok(vocabulary)
        } else {
            Err(format!("vocabulary `{name}` holds a value twice, so its rows are not what they were; the file is damaged"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_rows_and_refuses_repetitions() {
        let v = Vocabulary::new("item", ["b".to_owned(), "a".to_owned()]);
        let text = serde_json::to_string(&v).unwrap();
        assert_eq!(text, r#"{"name":"item","values":["b","a"]}"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&text).unwrap(), v);
        let error = serde_json::from_str::<Vocabulary>(r#"{"name":"item","values":["b","b"]}"#).unwrap_err();
        assert!(error.to_string().contains("`item` holds a value twice"), "{error}");
    }

    #[test]
    fn growing_never_moves_a_row() {
        let mut v = Vocabulary::new("item", ["b".to_owned(), "a".to_owned(), "b".to_owned()]);
        assert_eq!((v.rows(), v.row("b"), v.row("a"), v.row("x")), (3, 1, 2, 0));
        assert_eq!(v.grow("x"), 3);
        assert_eq!((v.row("b"), v.row("a"), v.value(3), v.value(0), v.value(4)), (1, 2, Some("x"), None, None));
    }
    #[test]
    fn copies_that_grow_are_apart_and_hold_what_they_have_in_common_once() {
        let base = Vocabulary::new("item", (0..1000).map(|i| i.to_string()));
        let (mut one, mut other) = (base.clone(), base.clone());
        assert_eq!([one.grow("a"), one.grow("b"), one.grow("a"), one.grow("7")], [1001, 1002, 1001, 8]);
        assert_eq!(other.grow("b"), 1001);
        assert_eq!((base.rows(), one.rows(), other.rows()), (1001, 1003, 1002));
        assert_eq!((base.row("b"), one.row("b"), other.row("b"), other.row("a")), (0, 1002, 1001, 0));
        assert_eq!((base.value(1001), one.value(1002), one.value(1003), other.value(1001)), (None, Some("b"), None, Some("b")));
        assert!(Arc::ptr_eq(&one.shared, &base.shared) && Arc::ptr_eq(&other.shared, &base.shared));
        assert_eq!(one.own.values.len(), 2);
        // What is the same is equal, whatever way it came about, and is written alike.
        let written = Vocabulary::new("item", (0..1000).map(|i| i.to_string()).chain(["a".to_owned(), "b".to_owned()]));
        assert_eq!(one, written);
        assert_ne!(one, base);
        assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&written).unwrap());
        // Alone, it grows in place.
        drop((base, other));
        let mut alone = Vocabulary::new("item", ["x".to_owned()]);
        alone.grow("y");
        assert!(alone.own.values.is_empty());
        let copy = one.clone();
        assert_eq!((one.grow("c"), copy.row("c"), copy.row("b")), (1003, 0, 1002));
    }
}
