use std::fmt;

use acclimate_data::nearest;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::shortened;

/// The keys of an object that has a fixed set of them: another one, or one twice, is refused.
pub(crate) struct Keys {
    known: &'static [&'static str],
    /// One bit for each that has come.
    seen: u32,
}

impl Keys {
    pub(crate) fn new(known: &'static [&'static str]) -> Self {
        Self { known, seen: 0 }
    }

    /// The next key.
    pub(crate) fn next<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<Option<&'static str>, A::Error> {
        let Some(index) = map.next_key_seed(KeyOf(self.known))? else { return Ok(None) };
        let (key, bit) = (self.known[index], 1_u32 << index);
        if self.seen & bit != 0 {
            return Err(A::Error::custom(format_args!("the key `{key}` is there twice")));
        }
        self.seen |= bit;
        Ok(Some(key))
    }
}

struct KeyOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KeyOf {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<usize, D::Error> {
        reader.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyOf {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<usize, E> {
        self.0.iter().position(|known| *known == key).ok_or_else(|| E::custom(unknown(key, self.0)))
    }
}

/// What to say of a key that is not known.
pub(crate) fn unknown(key: &str, known: &[&str]) -> String {
    let key = shortened(key);
    match nearest(&key, known.iter().copied()) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; known are {}", known.join(", ")),
    }
}
