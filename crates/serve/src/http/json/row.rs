use std::fmt;

use acclimate_data::RawValue;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Cell, shortened};
use crate::api::{Given, SupportRow};
use crate::http::Limits;

/// Reads the columns of a row: an object of values, none of them twice.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a>(pub(crate) &'a Limits);

impl Columns<'_> {
    /// Adds the value of a key to a row.
    pub(crate) fn add<'de, A: MapAccess<'de>>(self, given: &mut Given, key: String, map: &mut A) -> Result<(), A::Error> {
        if given.contains_key(&key) {
            return Err(A::Error::custom(format_args!("the key `{}` is there twice", shortened(&key))));
        }
        if given.len() == self.0.columns {
            return Err(A::Error::custom(format_args!("more than {} columns in a row", self.0.columns)));
        }
        given.insert(key, map.next_value_seed(Cell { list: self.0.list })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Columns<'_> {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Given, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of features and their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut given = Given::new();
        while let Some(key) = map.next_key::<String>()? {
            self.add(&mut given, key, &mut map)?;
        }
        Ok(given)
    }
}

/// A row that is named by the id of its item alone.
fn named(id: RawValue) -> Given {
    let mut given = Given::new();
    given.insert("item".to_owned(), id);
    given
}

/// Reads a row to score: the id of an item, or an object of its columns.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a>(pub(crate) &'a Limits);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Given, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an item: its id, or an object such as {\"item\": \"i1\"}")
    }

    fn visit_str<E: Error>(self, id: &str) -> Result<Given, E> {
        Ok(named(RawValue::Text(id.to_owned())))
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<Given, E> {
        Ok(named(RawValue::Integer(id)))
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Given, E> {
        let fits = i64::try_from(id);
        fits.map_err(|_| E::custom(format_args!("{id} is above {}; write ids of that size as text", i64::MAX)))
            .and_then(|id| self.visit_i64(id))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Given, A::Error> {
        Columns(self.0).visit_map(map)
    }
}

/// Reads a row of a support set: its columns and its label.
#[derive(Clone, Copy)]
pub(crate) struct Labelled<'a>(pub(crate) &'a Limits);

impl<'de> DeserializeSeed<'de> for Labelled<'_> {
    type Value = SupportRow;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<SupportRow, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Labelled<'_> {
    type Value = SupportRow;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a row with its label, such as {\"item\": \"i1\", \"label\": 1}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SupportRow, A::Error> {
        let (mut given, mut label) = (Given::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            if key != "label" {
                Columns(self.0).add(&mut given, key, &mut map)?;
            } else if label.is_some() {
                return Err(A::Error::custom("the key `label` is there twice"));
            } else {
                label = Some(map.next_value::<Label>()?.0 as f32);
            }
        }
        let label: f32 = label.ok_or_else(|| A::Error::custom("the row has no `label`"))?;
        if label.is_finite() { Ok(SupportRow { given, label }) } else { Err(A::Error::custom("`label` is too large for a label")) }
    }
}

/// A number; true and false are 1 and 0.
pub(crate) struct Label(pub(crate) f64);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number, true or false")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Label, E> {
                Ok(Label(f64::from(u8::from(value))))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Label, E> {
                Ok(Label(value as f64))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Label, E> {
                Ok(Label(value as f64))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Label, E> {
                Ok(Label(value))
            }
        }
        reader.deserialize_any(Number)
    }
}

/// Reads a list; what is above the limit is counted and not kept.
#[derive(Clone, Copy)]
pub(crate) struct AtMost<S> {
    pub(crate) seed: S,
    pub(crate) limit: usize,
    /// What the list is, for messages.
    pub(crate) what: &'static str,
}

/// The first entries of a list.
pub(crate) struct Counted<T> {
    pub(crate) kept: Vec<T>,
    /// How many there were.
    pub(crate) found: usize,
}

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for AtMost<S> {
    type Value = Counted<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for AtMost<S> {
    type Value = Counted<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of {}", self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.limit {
            match entries.next_element_seed(self.seed)? {
                Some(entry) => kept.push(entry),
                None => return Ok(Counted { found: kept.len(), kept }),
            }
        }
        let mut found = kept.len();
        while entries.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
        }
        Ok(Counted { kept, found })
    }
}
