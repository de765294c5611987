//! Small files in JSON: one way to write them, and no other is read.
//!
//! A key twice, an unknown key, another order or spacing is refused: two readers of a file never see two things in it, and what was signed is what is read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RegistryError;

/// The bytes of a value.
pub(crate) fn written(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("values of the registry are plain data with string keys");
    bytes.push(b'\n');
    bytes
}

/// The value of bytes that [`written`] gives; `path` is named in errors.
pub(crate) fn read<T: Serialize + DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, RegistryError> {
    let content = |problem: String| RegistryError::Content { path: path.to_owned(), problem };
    let value: T = serde_json::from_slice(bytes).map_err(|error| content(error.to_string()))?;
    if written(&value) == bytes { Ok(value) } else { Err(content("it is not written as the registry writes it".to_owned())) }
}

/// Most bytes of a JSON file that somebody else writes.
pub(crate) const LARGEST: u64 = 64 << 20;

/// Whether a file that somebody else writes is JSON.
pub(crate) fn is_json(path: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let read = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
    read.map(drop).map_err(|error| RegistryError::Draft { what: format!("`{path}`"), problem: format!("it is no JSON: {error}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_file_that_could_be_read_in_two_ways_is_refused() {
        let map = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let bytes = written(&map);
        assert_eq!(read::<BTreeMap<String, i32>>("f", &bytes).unwrap(), map);
        for other in ["{\n  \"a\": 1,\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\"a\":1,\"b\":2}", "{\n  \"b\": 2,\n  \"a\": 1\n}\n"] {
            assert!(read::<BTreeMap<String, i32>>("f", other.as_bytes()).is_err(), "{other}");
        }
    }
}
