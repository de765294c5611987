//! Dictionary coding: each distinct text once, everywhere else its number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Distinct texts in the order of their first appearance. Code 0 is the empty text, which stands for a missing value.
///
/// All texts lie in one buffer; the hash table holds codes only, so a distinct text costs its bytes plus about 16.
#[derive(Clone, Debug)]
pub(crate) struct StringTable {
    bytes: String,
    ends: Vec<usize>,
    codes: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Default for StringTable {
    fn default() -> Self {
        let mut table = Self { bytes: String::new(), ends: Vec::new(), codes: HashTable::new(), hasher: DefaultHashBuilder::default() };
        table.intern("");
        table
    }
}

impl StringTable {
    /// Number of texts, the empty one included.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Text of a code that this table gave out.
    pub(crate) fn text(&self, code: u32) -> &str {
        text(&self.bytes, &self.ends, code)
    }

    /// All texts but the empty one, in code order from 1.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        (1..self.ends.len()).map(|code| text(&self.bytes, &self.ends, code as u32))
    }

    /// Code of a text; `None` if it is not there.
    pub(crate) fn code(&self, value: &str) -> Option<u32> {
        self.codes.find(self.hasher.hash_one(value), |&code| self.text(code) == value).copied()
    }

    /// Code of a text, which is added if it is new.
    pub(crate) fn intern(&mut self, value: &str) -> u32 {
        let Self { bytes, ends, codes, hasher } = self;
        let hash = hasher.hash_one(value);
        if let Some(&code) = codes.find(hash, |&code| text(bytes, ends, code) == value) {
            return code;
        }
        let code = u32::try_from(ends.len()).expect("a table of 2^32 texts would not fit in memory before this");
        bytes.push_str(value);
        ends.push(bytes.len());
        codes.insert_unique(hash, code, |&code| hasher.hash_one(text(bytes, ends, code)));
        code
    }
}

fn text<'a>(bytes: &'a str, ends: &[usize], code: u32) -> &'a str {
    let code = code as usize;
    let start = if code == 0 { 0 } else { ends[code - 1] };
    &bytes[start..ends[code]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::StringTable;

    proptest! {
        #[test]
        fn a_code_gives_back_its_text(values in prop::collection::vec(".{0,6}", 0..200)) {
            let mut table = StringTable::default();
            let codes: Vec<u32> = values.iter().map(|v| table.intern(v)).collect();
            for (code, value) in codes.iter().zip(&values) {
                prop_assert_eq!(table.text(*code), value);
                prop_assert_eq!(table.code(value), Some(*code));
                prop_assert_eq!(*code == 0, value.is_empty());
            }
            let distinct: std::collections::HashSet<&String> = values.iter().filter(|v| !v.is_empty()).collect();
            prop_assert_eq!(table.texts().count(), distinct.len());
            prop_assert_eq!(table.len(), distinct.len() + 1);
        }
    }
}
