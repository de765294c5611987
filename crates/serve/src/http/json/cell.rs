use std::fmt;

use acclimate_data::RawValue;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// Reads the value of a column: text, a number, true or false, null for nothing, or a list of those.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    /// Most entries of a list.
    pub(crate) list: usize,
}

impl<'de> DeserializeSeed<'de> for Cell {
    type Value = RawValue;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<RawValue, D::Error> {
        reader.deserialize_any(CellVisitor { list: Some(self.list) })
    }
}

/// Reads a list, such as a tensor of text holds in each of its cells.
pub(crate) fn list_cell(text: &str, list: usize) -> Result<RawValue, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = reader.deserialize_seq(CellVisitor { list: Some(list) })?;
    reader.end().map(|()| value)
}

struct CellVisitor {
    /// `None` inside a list.
    list: Option<usize>,
}

impl<'de> Visitor<'de> for CellVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if self.list.is_some() {
            "text, a number, true, false, null or a list of them"
        } else {
            "text, a number, true, false or null inside a list"
        })
    }

    fn visit_unit<E: Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Missing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<RawValue, E> {
        // As a number with a fraction it would lose its last digits, and an id would become another one.
        let fits = i64::try_from(value).map(RawValue::Integer);
        fits.map_err(|_| E::custom(format_args!("{value} is above {}; write whole numbers of that size as text", i64::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let Some(most) = self.list else { return Err(A::Error::invalid_type(Unexpected::Seq, &self)) };
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(Entry)? {
            if list.len() == most {
                return Err(A::Error::custom(format_args!("a list of more than {most} entries; send fewer, the newest are enough")));
            }
            list.push(entry);
        }
        Ok(RawValue::List(list))
    }
}

struct Entry;

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = RawValue;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<RawValue, D::Error> {
        reader.deserialize_any(CellVisitor { list: None })
    }
}
