//! From raw values to embedding rows.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

/// Maps a raw value to a row. Row 0 is shared by missing, rare and unseen values; known values start at 1.
///
/// A vocabulary is built from training rows only and may [grow](Vocabulary::grow) later: new values take the next rows, old rows never move.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Vocabulary {
    name: String,
    values: Vec<String>,
    /// Positions of the values, by their hashes.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.values == other.values
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
        self.values.len() + 1
    }

    /// Row of `value`, 0 if unknown.
    #[must_use]
    pub fn row(&self, value: &str) -> u32 {
        let hash = self.hasher.hash_one(value);
        self.places.find(hash, |&place| self.values[place as usize] == value).map_or(0, |place| place + 1)
    }

    /// Value of a row; `None` for row 0 and beyond the end.
    #[must_use]
    pub fn value(&self, row: u32) -> Option<&str> {
        (row as usize).checked_sub(1).and_then(|i| self.values.get(i)).map(String::as_str)
    }

    /// Row of `value`, which is added if it is new.
    pub fn grow(&mut self, value: &str) -> u32 {
        let Self { values, places, hasher, .. } = self;
        let hash = hasher.hash_one(value);
        if let Some(place) = places.find(hash, |&place| values[place as usize] == value) {
            return place + 1;
        }
        values.push(value.to_owned());
        let row = u32::try_from(values.len()).expect("a vocabulary holds fewer than 2^32 values");
        places.insert_unique(hash, row - 1, |&place| hasher.hash_one(values[place as usize].as_str()));
        row
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
        Self { name: vocabulary.name, values: vocabulary.values }
    }
}

impl TryFrom<Written> for Vocabulary {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let (count, name) = (written.values.len(), written.name.clone());
        let vocabulary = Self::new(written.name, written.values);
        if vocabulary.values.len() == count {
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
}
