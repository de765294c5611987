//! The header of a tensor file, read so that no entry stands twice.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::TensorProblem;

/// Type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "they are the names of the format")]
pub enum TensorType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I8,
    U64,
    U32,
    U8,
}

impl TensorType {
    /// Bytes of a value.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// Whether values are real numbers.
    pub(crate) fn is_real(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// A real value from its bytes; 0 for whole numbers, which can not be unfit.
    pub(crate) fn value(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Self::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).into(),
            (Self::BF16, &[a, b]) => f32::from_le_bytes([0, 0, a, b]).into(),
            (Self::F16, &[a, b]) => half(u16::from_le_bytes([a, b])),
            _ => 0.0,
        }
    }
}

/// The value of a 16-bit number: sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        0 => fraction * 2.0_f64.powi(-24),
        _ => (1024.0 + fraction) * 2.0_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -value } else { value }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A tensor as the header lists it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) dtype: TensorType,
    pub(super) shape: Vec<u64>,
    pub(super) data_offsets: [u64; 2],
}

/// Tensors in the order of the header.
pub(super) struct Header {
    pub(super) tensors: Vec<(String, Listed)>,
}

const LONGEST: usize = 512;
const METADATA: &str = "__metadata__";

impl Header {
    pub(super) fn read(bytes: &[u8], most: usize) -> Result<Self, TensorProblem> {
        if bytes.first() != Some(&b'{') {
            return Err(TensorProblem::Header("it does not begin with {".to_owned()));
        }
        let header: Self = serde_json::from_slice(bytes).map_err(|error| TensorProblem::Header(error.to_string()))?;
        if header.tensors.len() > most {
            return Err(TensorProblem::Count { limit: most });
        }
        let unfit = |name: &str| name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control);
        match header.tensors.iter().find(|(name, _)| unfit(name)) {
            None => Ok(header),
            Some((name, _)) => Err(TensorProblem::Name { bytes: name.len() }),
        }
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let (mut tensors, mut names) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom("an entry stands twice"));
                    }
                    if name == METADATA {
                        map.next_value::<Metadata>()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Header { tensors })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Text by name; it is looked at by whoever reads the file's meaning.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Metadata, M::Error> {
                let mut names = HashSet::new();
                while let Some((name, _)) = map.next_entry::<String, String>()? {
                    if !names.insert(name) {
                        return Err(M::Error::custom("metadata stand twice"));
                    }
                }
                Ok(Metadata)
            }
        }

        deserializer.deserialize_map(Texts)
    }
}
