//! Tables of which one key says what the others are: `{ kind = "global_time", validation_from = 1, test_from = 2 }`.
//!
//! Derived code reads such a table into a buffer first, and an error of what is read from the buffer no longer knows where it stands. Here the rest of the
//! table is read along with its path, so that every error names the kind and the key. [`tagged!`](macro@crate::tagged) makes an enum such a table.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::ser::{self, Impossible, SerializeStruct, SerializeStructVariant, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Error, Map, Value};
use serde_path_to_error::{Path, Segment, Track};

/// What a TOML date is made of where dates are not known.
const DATE: &str = "$__toml_private_datetime";

/// The rest of a table, as an enum whose variant is the value of the tag.
#[derive(Debug)]
pub struct Tagged {
    tag: &'static str,
    variant: String,
    rest: Map<String, Value>,
}

/// Reads a table whose key `tag` names the variant. `variants` reads the enum in the form in which the variant's name stands outside.
///
/// # Errors
/// No table, no tag, or what `variants` reports, with the kind and the key.
pub fn read<'de, T, D: Deserializer<'de>>(
    tag: &'static str,
    deserializer: D,
    variants: impl Fn(serde_path_to_error::Deserializer<'_, '_, Tagged>) -> Result<T, Error>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let Value::Object(mut rest) = value else {
        return Err(de::Error::custom(format!("invalid type: {}, expected a table with the key `{tag}`", described(&value))));
    };
    let named = rest.remove(tag);
    let variant = match &named {
        Some(Value::String(name)) => name.clone(),
        Some(other) => return Err(de::Error::custom(format!("`{tag}`: invalid type: {}, expected a name", described(other)))),
        // An empty name, which no variant has: the error lists those that there are.
        None => String::new(),
    };
    let mut track = Track::new();
    let table = Tagged { tag, variant: variant.clone(), rest: rest.clone() };
    let result = variants(serde_path_to_error::Deserializer::new(table, &mut track));
    result.map_err(|error| {
        let (message, mut keys) = (error.to_string(), keys(&track.path()));
        // An unknown key is no place: it lies in the table before it.
        keys.pop_if(|key| message.starts_with(&format!("unknown field `{key}`")));
        let unknown = format!("unknown variant `{variant}`");
        de::Error::custom(match message.strip_prefix(&unknown) {
            Some(known) if named.is_none() => format!("missing field `{tag}`{known}"),
            Some(known) => format!("unknown {tag} `{variant}`{known}"),
            None if keys.is_empty() => format!("{tag} `{variant}`: {message}"),
            None => format!("{tag} `{variant}`, `{}`: {}", keys.join("."), with_date(message, found(&rest, &keys))),
        })
    })
}

/// The keys of a path below the variant.
fn keys(path: &Path) -> Vec<String> {
    let below = path.iter().filter(|segment| !matches!(segment, Segment::Enum { .. } | Segment::Unknown));
    below.map(Segment::to_string).collect()
}

/// The value at some keys.
fn found<'a>(rest: &'a Map<String, Value>, keys: &[String]) -> Option<&'a Value> {
    let mut keys = keys.iter();
    let first = rest.get(keys.next()?)?;
    keys.try_fold(first, |value, key| match value {
        Value::Array(list) => list.get(key.trim_matches(['[', ']']).parse::<usize>().ok()?),
        other => other.get(key),
    })
}

/// A date is a date, not the table that stands for it.
fn with_date(message: String, value: Option<&Value>) -> String {
    match value {
        Some(value @ Value::Object(_)) if date(value).is_some() => {
            message.replacen("invalid type: map", &format!("invalid type: {}", described(value)), 1)
        }
        _ => message,
    }
}

fn date(value: &Value) -> Option<&str> {
    value.get(DATE).and_then(Value::as_str)
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("boolean `{value}`"),
        Value::Number(value) => format!("number `{value}`"),
        Value::String(value) => format!("string \"{value}\""),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => date(value).map_or_else(|| "a table".to_owned(), |date| format!("date `{date}`")),
    }
}

impl<'de> Deserializer<'de> for Tagged {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple tuple_struct
        map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.variant.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.rest.keys().next() {
            Some(key) => Err(de::Error::custom(format!("unknown field `{key}`, there are none besides `{}`", self.tag))),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Value::Object(self.rest))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        Value::Object(self.rest).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        Value::Object(self.rest).deserialize_any(visitor)
    }
}

/// Writes an enum as a table with its tag first.
#[derive(Debug)]
pub struct Writer<S> {
    tag: &'static str,
    variant: Option<&'static str>,
    inner: S,
}

impl<S: Serializer> Writer<S> {
    /// A writer of tables with this tag.
    pub fn new(tag: &'static str, inner: S) -> Self {
        Self { tag, variant: None, inner }
    }

    fn table(self, name: &'static str, variant: &'static str, fields: usize) -> Result<S::SerializeStruct, S::Error> {
        let mut table = self.inner.serialize_struct(name, fields + 1)?;
        table.serialize_field(self.tag, variant)?;
        Ok(table)
    }

    fn no_table<T>(&self) -> Result<T, S::Error> {
        Err(ser::Error::custom(format!("a table with the key `{}` holds named fields only", self.tag)))
    }
}

/// The fields of a variant.
#[derive(Debug)]
pub struct Fields<S>(S);

impl<S: SerializeStruct> SerializeStructVariant for Fields<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), S::Error> {
        self.0.serialize_field(key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

/// Refuses values that are no table.
macro_rules! no_tables {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, S::Error> {
            self.no_table()
        })*
    };
}

impl<S: Serializer> Serializer for Writer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = S::SerializeStruct;
    type SerializeStructVariant = Fields<S::SerializeStruct>;

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.table(name, variant, 0)?.end()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(Self { variant: Some(variant), ..self })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        fields: usize,
    ) -> Result<Fields<S::SerializeStruct>, S::Error> {
        self.table(name, variant, fields).map(Fields)
    }

    fn serialize_struct(self, name: &'static str, fields: usize) -> Result<S::SerializeStruct, S::Error> {
        match self.variant {
            Some(variant) => self.table(name, variant, fields),
            None => self.no_table(),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    no_tables! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_char(char) -> S::Ok;
        serialize_str(&str) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(&'static str) -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
    }
}

/// Makes an enum with derived, externally tagged forms of its own (`#[serde(remote = "Self")]`) a table with a key that names the variant.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// #[derive(Debug, Deserialize, Serialize)]
/// #[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
/// enum Rule {
///     First { rows: usize },
/// }
/// acclimate_data::tagged!(Rule, "kind");
/// let error = toml::from_str::<Rule>("kind = 'first'\nrows = 'ten'").unwrap_err();
/// assert!(error.message().starts_with("kind `first`, `rows`: invalid type: string"));
/// assert_eq!(toml::to_string(&Rule::First { rows: 10 }).unwrap(), "kind = \"first\"\nrows = 10\n");
/// ```
#[macro_export]
macro_rules! tagged {
    ($type:ty, $tag:literal) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, $crate::tagged::Writer::new($tag, serializer))
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::tagged::read($tag, deserializer, |variants| <$type>::deserialize(variants))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
    enum Rule {
        Plain,
        Range { from: i64, to: Option<i64> },
        Nested(Nested),
        Then { then: Box<Rule> },
    }
    crate::tagged!(Rule, "kind");

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        deep: Deep,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Deep {
        sizes: Vec<usize>,
        #[serde(default)]
        rule: Option<Box<Rule>>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct File {
        split: Rule,
    }

    #[test]
    fn what_is_written_is_read_again() {
        let deep = |rule| Rule::Nested(Nested { deep: Deep { sizes: vec![1, 2], rule } });
        for rule in [
            Rule::Plain,
            Rule::Range { from: -3, to: None },
            Rule::Range { from: -3, to: Some(9) },
            deep(None),
            deep(Some(Box::new(Rule::Plain))),
            Rule::Then { then: Box::new(deep(None)) },
        ] {
            let file = File { split: rule };
            let json = serde_json::to_string(&file).unwrap();
            assert_eq!(serde_json::from_str::<File>(&json).unwrap(), file, "{json}");
            let text = toml::to_string(&file).unwrap();
            assert_eq!(toml::from_str::<File>(&text).unwrap(), file, "{text}");
        }
        assert_eq!(serde_json::to_string(&Rule::Range { from: 1, to: Some(2) }).unwrap(), r#"{"kind":"range","from":1,"to":2}"#);
        assert_eq!(serde_json::to_string(&deep(None)).unwrap(), r#"{"kind":"nested","deep":{"sizes":[1,2],"rule":null}}"#);
    }

    #[test]
    fn errors_name_the_kind_and_the_key() {
        for (text, expected) in [
            ("{ kind = 'range', from = 'x' }", "kind `range`, `from`: invalid type: string \"x\", expected i64"),
            ("{ kind = 'range', from = 2023-11-16 }", "kind `range`, `from`: invalid type: date `2023-11-16`, expected i64"),
            ("{ kind = 'range' }", "kind `range`: missing field `from`"),
            ("{ kind = 'range', from = 1, until = 2 }", "kind `range`: unknown field `until`, expected `from` or `to`"),
            ("{ kind = 'plain', from = 1 }", "kind `plain`: unknown field `from`, there are none besides `kind`"),
            ("{ kind = 'rage' }", "unknown kind `rage`, expected one of `plain`, `range`, `nested`, `then`"),
            ("{ from = 1 }", "missing field `kind`, expected one of `plain`, `range`, `nested`, `then`"),
            ("{ kind = 3 }", "`kind`: invalid type: number `3`, expected a name"),
            ("'range'", "invalid type: string \"range\", expected a table with the key `kind`"),
            (
                "{ kind = 'nested', deep = { sizes = [1, 'x'] } }",
                "kind `nested`, `deep.sizes.[1]`: invalid type: string \"x\", expected usize",
            ),
            ("{ kind = 'nested', deep = { size = 1 } }", "kind `nested`, `deep`: unknown field `size`, expected `sizes` or `rule`"),
            (
                "{ kind = 'then', then = { kind = 'range', from = 1.5 } }",
                "kind `then`, `then`: kind `range`, `from`: invalid type: floating point `1.5`, expected i64",
            ),
        ] {
            let error = toml::from_str::<File>(&format!("split = {text}")).unwrap_err();
            assert_eq!(error.message(), expected, "{text}");
        }
    }
}
