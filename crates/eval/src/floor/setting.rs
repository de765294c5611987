//! Settings of floors: given, or chosen on validation rows.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::FloorError;
use super::error::at_least;

/// Numbers of rows that shrunken means are chosen from by default: from "trust a single row" to "trust nothing but the mean".
pub(super) const SHRINKS: [f64; 11] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// A setting of a floor: one value, which is taken as it is, or several, from which validation chooses. A number or a list in a file.
///
/// ```
/// use acclimate_eval::floor::Grid;
/// assert_eq!(Grid::from(5.0).values(), [5.0]);
/// assert_eq!(Grid::from([1.0, 5.0, 25.0]).values().len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid(Vec<f64>);

impl From<f64> for Grid {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl<const N: usize> From<[f64; N]> for Grid {
    fn from(values: [f64; N]) -> Self {
        Self(values.to_vec())
    }
}

impl Grid {
    /// The values, in the order given.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Refuses a list without values, and values that are not finite or below `least`.
    pub(super) fn check(&self, floor: &'static str, setting: &'static str, least: f64, expected: &'static str) -> Result<(), FloorError> {
        if self.0.is_empty() {
            return Err(FloorError::Setting { floor, setting, value: "[]".to_owned(), expected: "at least one value" });
        }
        self.0.iter().try_for_each(|&value| at_least(floor, setting, value, least, expected))
    }

    /// The same for whole numbers from 1 on.
    pub(super) fn check_whole(&self, floor: &'static str, setting: &'static str) -> Result<(), FloorError> {
        const EXPECTED: &str = "a whole number of events, 1 or more";
        self.check(floor, setting, 1.0, EXPECTED)?;
        match self.0.iter().find(|value| value.fract() != 0.0) {
            Some(value) => Err(FloorError::Setting { floor, setting, value: value.to_string(), expected: EXPECTED }),
            None => Ok(()),
        }
    }

    /// What was chosen. Values for which `is_last` holds end the scale itself: nothing better can lie beyond them.
    pub(crate) fn chosen(&self, setting: &str, value: f64, is_last: impl Fn(f64) -> bool) -> Chosen {
        let mut from = self.0.clone();
        from.sort_unstable_by(f64::total_cmp);
        let at_end = from.len() > 1 && (from.first() == Some(&value) || from.last() == Some(&value)) && !is_last(value);
        Chosen { setting: setting.to_owned(), value, from, at_end }
    }
}

impl Serialize for Grid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0[..] {
            [value] => serializer.serialize_f64(value),
            _ => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Grid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Grid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a list of numbers to choose from")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Grid, E> {
                Ok(Grid::from(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Grid, E> {
                Ok(Grid::from(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Grid, E> {
                Ok(Grid::from(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Grid, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(values)).map(Grid)
            }
        }
        deserializer.deserialize_any(Values)
    }
}

/// The value of one setting of a fitted floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Name of the setting.
    pub setting: String,
    /// Its value.
    pub value: f64,
    /// The values that validation chose from, ascending; a single one was given and not chosen.
    pub from: Vec<f64>,
    /// Whether the value is the smallest or largest of several and the scale goes on beyond it: a wider grid may hold a better one.
    pub at_end: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Table {
        shrink: Grid,
    }

    #[test]
    fn a_number_and_a_list_are_read_and_written_as_they_were() {
        for (text, values) in [("shrink = 5", vec![5.0]), ("shrink = 0.5", vec![0.5]), ("shrink = [1, 2.5]", vec![1.0, 2.5])] {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!(table.shrink.values(), values);
            let again: Table = toml::from_str(&toml::to_string(&table).unwrap()).unwrap();
            assert_eq!(again.shrink, table.shrink);
        }
        let error = toml::from_str::<Table>("shrink = 'five'").unwrap_err();
        assert!(error.message().contains("a number, or a list of numbers"), "{error}");
    }

    #[test]
    fn ends_are_told_except_where_the_scale_ends() {
        let grid = Grid::from([0.0, 4.0, 1.0]);
        let at_end = |value| grid.chosen("x", value, |v| v == 0.0).at_end;
        assert_eq!([0.0, 1.0, 4.0].map(at_end), [false, false, true]);
        assert!(!Grid::from(4.0).chosen("x", 4.0, |_| false).at_end, "a given value was not chosen");
    }

    #[test]
    fn values_are_checked() {
        let error = |grid: Grid| grid.check_whole("markov", "back").unwrap_err().to_string();
        assert_eq!(error([1.0, 2.5].into()), "floor `markov`: `back` is 2.5, expected a whole number of events, 1 or more");
        assert_eq!(error([].into()), "floor `markov`: `back` is [], expected at least one value");
        assert!(error(f64::NAN.into()).contains("NaN"));
    }
}
