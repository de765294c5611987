//! Keys of features that are made from the log itself: histories and statistics of earlier rows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{MICROS_PER_DAY, MICROS_PER_SECOND, Zone};

/// A text that is none of the values a key may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivedKeyError {
    /// No length of time.
    #[error("`{0}` is no length of time; write a whole number with its unit: `90s`, `15m`, `12h`, `7d` or `2w`")]
    Span(String),
    /// No condition.
    #[error("`{0}` is no condition; write a comparison with a number, such as `= 1`, `>= 4` or `> 0`")]
    Condition(String),
    /// No choice of domains.
    #[error("`{0}` is no choice of domains; write `all`, `same`, `other`, or a list of names")]
    Domains(String),
}

/// Serde as text.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = DerivedKeyError;

            fn try_from(text: String) -> Result<Self, DerivedKeyError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// A length of time, at least a second: `90s`, `15m`, `12h`, `7d`, `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(i64);

as_text!(Span);

/// Names of units and their seconds, longest first.
const UNITS: [(char, i64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Span {
    /// In microseconds.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// In days of 24 hours.
    #[must_use]
    pub fn days(self) -> f64 {
        self.0 as f64 / MICROS_PER_DAY as f64
    }
}

impl FromStr for Span {
    type Err = DerivedKeyError;

    fn from_str(text: &str) -> Result<Self, DerivedKeyError> {
        let parse = || {
            let unit = text.chars().last()?;
            let seconds = UNITS.iter().find(|(name, _)| *name == unit)?.1;
            let number: i64 = text[..text.len() - 1].trim_end().parse().ok()?;
            let micros = number.checked_mul(seconds)?.checked_mul(MICROS_PER_SECOND)?;
            (number > 0).then_some(Self(micros))
        };
        parse().ok_or_else(|| DerivedKeyError::Span(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / MICROS_PER_SECOND;
        let (unit, size) = UNITS.into_iter().find(|(_, size)| seconds % size == 0).unwrap_or(('s', 1));
        write!(f, "{}{unit}", seconds / size)
    }
}

/// How far what is known lies behind the moment it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Lag {
    /// Everything strictly before is known.
    #[default]
    None,
    /// What is more than this before is known.
    Span(Span),
    /// What was before the last midnight is known.
    Day,
}

as_text!(Lag);

impl Lag {
    /// The moment from which on nothing is known at `now`: rows before it are.
    #[must_use]
    pub fn cutoff(self, now: i64, zone: Zone) -> i64 {
        match self {
            Self::None => now,
            Self::Span(span) => now.saturating_sub(span.0),
            Self::Day => zone.midnight(now),
        }
    }
}

impl FromStr for Lag {
    type Err = DerivedKeyError;

    fn from_str(text: &str) -> Result<Self, DerivedKeyError> {
        match text {
            "none" => Ok(Self::None),
            "day" => Ok(Self::Day),
            other => other.parse().map(Self::Span),
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Day => f.write_str("day"),
            Self::Span(span) => span.fmt(f),
        }
    }
}

/// A comparison with a number: `= 1`, `!= 0`, `> 0`, `>= 4`, `< 3`, `<= 2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    comparison: Comparison,
    value: f64,
}

as_text!(Condition);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Longer signs first, so that `>=` is not read as `>`.
const SIGNS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("!=", Comparison::Unequal),
    ("=", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl Condition {
    /// What makes a row a positive one where nothing else is said: a number above 0.
    pub const POSITIVE: Self = Self { comparison: Comparison::Above, value: 0.0 };

    /// Whether it holds for a number; never for NaN, which is a missing one.
    #[must_use]
    pub fn holds(self, x: f64) -> bool {
        let Self { comparison, value } = self;
        match comparison {
            Comparison::Equal => x == value,
            Comparison::Unequal => x != value && !x.is_nan(),
            Comparison::Above => x > value,
            Comparison::AtLeast => x >= value,
            Comparison::Below => x < value,
            Comparison::AtMost => x <= value,
        }
    }
}

impl FromStr for Condition {
    type Err = DerivedKeyError;

    fn from_str(text: &str) -> Result<Self, DerivedKeyError> {
        let parse = || {
            let (rest, comparison) = SIGNS.iter().find_map(|&(sign, c)| Some((text.trim().strip_prefix(sign)?, c)))?;
            let value: f64 = rest.trim().parse().ok()?;
            value.is_finite().then_some(Self { comparison, value })
        };
        parse().ok_or_else(|| DerivedKeyError::Condition(text.to_owned()))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, c)| *c == self.comparison).map_or("=", |(sign, _)| sign);
        write!(f, "{sign} {}", self.value)
    }
}

/// The domains whose rows a feature is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Domains {
    /// All.
    #[default]
    All,
    /// That of the row which is scored.
    Same,
    /// All but that of the row which is scored.
    Other,
    /// Those with these names.
    Named(Vec<String>),
}

/// A choice of domains in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    List(Vec<String>),
}

impl TryFrom<Written> for Domains {
    type Error = DerivedKeyError;

    fn try_from(written: Written) -> Result<Self, DerivedKeyError> {
        match written {
            Written::List(names) => Ok(Self::Named(names)),
            Written::Word(word) => match word.as_str() {
                "all" => Ok(Self::All),
                "same" => Ok(Self::Same),
                "other" => Ok(Self::Other),
                _ => Err(DerivedKeyError::Domains(word)),
            },
        }
    }
}

impl From<Domains> for Written {
    fn from(domains: Domains) -> Self {
        match domains {
            Domains::All => Self::Word("all".into()),
            Domains::Same => Self::Word("same".into()),
            Domains::Other => Self::Word("other".into()),
            Domains::Named(names) => Self::List(names),
        }
    }
}

/// What a statistic says of the earlier rows with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatisticValue {
    /// How many there are.
    Count,
    /// The share of those where the condition holds, shrunk towards that of the parent key.
    Rate,
    /// The mean of a number, shrunk towards that of the parent key.
    Mean,
    /// How many distinct values of a column they hold: exact up to 255, beyond it an estimate that is off by about 6 %.
    Distinct,
    /// Days since one of them.
    Age,
}

/// Since which row an age counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// The latest.
    #[default]
    Last,
    /// The earliest.
    First,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_they_are_read() {
        for (text, seconds, written) in
            [("90s", 90, "90s"), ("15m", 900, "15m"), ("24h", 86_400, "1d"), ("14 d", 1_209_600, "2w"), ("3d", 259_200, "3d")]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.micros(), span.to_string().as_str()), (seconds * MICROS_PER_SECOND, written));
        }
        for text in ["", "7", "d", "0d", "-1d", "1.5h", "7 days", "99999999999999w", "7ü"] {
            assert_eq!(text.parse::<Span>(), Err(DerivedKeyError::Span(text.to_owned())));
        }
    }

    #[test]
    fn conditions_compare() {
        let holds = |text: &str| [0.0, 1.0, 4.0, f64::NAN].map(|x| text.parse::<Condition>().unwrap().holds(x));
        assert_eq!(holds("= 1"), [false, true, false, false]);
        assert_eq!(holds("!=1"), [true, false, true, false]);
        assert_eq!(holds("> 0"), [false, true, true, false]);
        assert_eq!(holds(">= 1"), [false, true, true, false]);
        assert_eq!(holds("<1"), [true, false, false, false]);
        assert_eq!(holds("<= 1"), [true, true, false, false]);
        assert_eq!(">=4".parse::<Condition>().unwrap().to_string(), ">= 4");
        for text in ["1", "= x", "=> 1", "= nan", ""] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_known_ends_at_the_cutoff() {
        let zone: Zone = "+08:00".parse().unwrap();
        // 1970-01-02 01:00 in the zone.
        let now = 17 * 3600 * MICROS_PER_SECOND;
        assert_eq!(Lag::None.cutoff(now, zone), now);
        assert_eq!("2h".parse::<Lag>().unwrap().cutoff(now, zone), 15 * 3600 * MICROS_PER_SECOND);
        assert_eq!(Lag::Day.cutoff(now, zone), 16 * 3600 * MICROS_PER_SECOND);
        assert_eq!(Lag::Day.cutoff(now, Zone::UTC), 0);
    }
}
