//! `adapter_config.json`: what a patch is, as PEFT or as a program of ours reads it.
//!
//! It is written by whoever trained the patch, in any order and spacing. It passes only if it is one object, no key stands twice at any depth, and it names its
//! kind: two readers never see two things in it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::RegistryError;

/// What every `adapter_config.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterConfig {
    /// The kind, such as `LORA`; `ACCLIMATE` for what PEFT has no name for.
    pub peft_type: String,
}

impl AdapterConfig {
    /// Its file.
    pub const FILE: &str = "adapter_config.json";
    /// Most bytes of it.
    pub const LARGEST: u64 = 1 << 20;
    /// Longest name of a kind.
    const LONGEST: usize = 64;

    /// Reads the bytes; `path` is named in errors.
    ///
    /// ```
    /// use acclimate_registry::AdapterConfig;
    /// assert_eq!(AdapterConfig::read("f", br#"{"peft_type": "LORA", "r": 8}"#)?.peft_type, "LORA");
    /// assert!(AdapterConfig::read("f", br#"{"peft_type": "LORA", "r": 8, "r": 16}"#).is_err());
    /// # Ok::<(), acclimate_registry::RegistryError>(())
    /// ```
    ///
    /// # Errors
    /// [`RegistryError::Content`]: no JSON, no object, a key twice, or no kind; [`RegistryError::TooLarge`].
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let size = bytes.len() as u64;
        if size > Self::LARGEST {
            return Err(RegistryError::TooLarge { path: path.to_owned(), size, limit: Self::LARGEST });
        }
        let content = |problem: String| RegistryError::Content { path: path.to_owned(), problem };
        let read: Once = serde_json::from_slice(bytes).map_err(|error| content(error.to_string()))?;
        let Once::Object(Some(peft_type)) = read else {
            return Err(content("it is no object that names its `peft_type`, such as \"LORA\"".to_owned()));
        };
        let fits = !peft_type.is_empty() && peft_type.len() <= Self::LONGEST && !peft_type.chars().any(char::is_control);
        if fits { Ok(Self { peft_type }) } else { Err(content("its `peft_type` is no name".to_owned())) }
    }
}

/// Any JSON in which no object has a key twice. Of it only the text and, at the top, the kind is kept.
enum Once {
    Text(String),
    /// With its `peft_type`, where that is text.
    Object(Option<String>),
    Other,
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Once;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
                Ok(Once::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
                Ok(Once::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
                Ok(Once::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
                Ok(Once::Other)
            }

            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<Once, E> {
                Ok(Once::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Once, A::Error> {
                while list.next_element::<Once>()?.is_some() {}
                Ok(Once::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                let (mut keys, mut kind) = (BTreeSet::new(), None);
                while let Some(key) = map.next_key::<String>()? {
                    let value: Once = map.next_value()?;
                    if let ("peft_type", Once::Text(text)) = (key.as_str(), value) {
                        kind = Some(text);
                    }
                    // The planted fault lets a key stand twice.
                    if !cfg!(feature = "canary") && keys.contains(&key) {
                        return Err(A::Error::custom(format!("`{}` stands twice", key.chars().take(80).collect::<String>())));
                    }
                    keys.insert(key);
                }
                Ok(Once::Object(kind))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_at_any_depth_and_the_kind_is_named() {
        let read = |text: &str| AdapterConfig::read("f", text.as_bytes());
        for fine in [
            r#"{"peft_type":"LORA"}"#,
            r#" { "a": [{"b": 1.5e3}, null, true, -1], "peft_type": "ACCLIMATE", "config": {"peft_type": 1} } "#,
        ] {
            assert!(read(fine).is_ok(), "{fine}");
        }
        let wrong = [
            "",
            "[]",
            "null",
            "{}",
            r#"{"peft_type":1}"#,
            r#"{"peft_type":""}"#,
            r#"{"peft_type":"LORA"} x"#,
            r#"{"a":{"peft_type":"LORA"}}"#,
            r#"{"peft_type":"LORA","a":1,"a":1}"#,
            r#"{"peft_type":"LORA","a":[{"b":{"c":1,"c":2}}]}"#,
            r#"{"peft_type":"LORA","peft_type":"LORA"}"#,
            r#"{"peft_type":"LO\u0000RA"}"#,
        ];
        wrong.into_iter().for_each(|text| assert!(read(text).is_err(), "{text}"));
        assert!(read(&format!("{{\"peft_type\":\"{}\"}}", "x".repeat(65))).is_err());
        assert!(read(&format!("{{\"peft_type\":{}", "[".repeat(100_000))).is_err(), "depth");
        assert!(matches!(read(&" ".repeat(1 << 21)), Err(RegistryError::TooLarge { .. })));
    }
}
