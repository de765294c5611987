//! A value as a caller writes it.

/// A value of a column that comes with a request and not from a table.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum RawValue {
    /// Nothing.
    Missing,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond the signed ones.
    Unsigned(u64),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// Several values, the oldest first.
    List(Vec<Self>),
}
