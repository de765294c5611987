//! Timestamps of several units, all brought to seconds since 1970 (UTC).

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use serde::{Deserialize, Serialize};

/// 2100-01-01 in seconds: the end of the dates that are believed.
const LATEST: i64 = 4_102_444_800;
/// 1990-01-01 in seconds: numbers that mean an earlier date in their unit are suspected of another unit.
const PLAUSIBLE: i64 = 631_152_000;

/// How a column writes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since 1970 (UTC).
    S,
    /// Milliseconds since 1970 (UTC).
    Ms,
    /// Microseconds since 1970 (UTC).
    Us,
    /// A day as a number, `20220425`; its midnight (UTC) is taken.
    DateYyyymmdd,
    /// ISO 8601: `2022-04-25`, `2022-04-25 13:05:00`, `2022-04-25T13:05:00.5+08:00`; UTC where no offset is written.
    Iso,
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::DateYyyymmdd => "date_yyyymmdd",
            Self::Iso => "iso",
        })
    }
}

/// Why a timestamp was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeFault {
    /// Not a timestamp of this unit at all.
    Malformed,
    /// A number outside 1970..2100, and the unit in which it would be between 1990 and 2100.
    OutOfRange { value: i64, likely: Option<TimeUnit> },
}

impl TimeUnit {
    /// A timestamp in this unit, for messages.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::S => "such as 1650812741",
            Self::Ms => "such as 1650812741436",
            Self::Us => "such as 1650812741436000",
            Self::DateYyyymmdd => "such as 20220425",
            Self::Iso => "such as 2022-04-25T13:05:41Z",
        }
    }

    /// Parts of a second that one step is; 0 for calendar units.
    fn per_second(self) -> i64 {
        match self {
            Self::S => 1,
            Self::Ms => 1_000,
            Self::Us => 1_000_000,
            Self::DateYyyymmdd | Self::Iso => 0,
        }
    }

    /// Seconds of a number in this unit, rounded towards the past.
    pub(crate) fn seconds(self, value: i64) -> Result<i64, TimeFault> {
        let seconds = match self {
            Self::Iso => return Err(TimeFault::Malformed),
            Self::DateYyyymmdd => midnight(value),
            unit => Some(value.div_euclid(unit.per_second())),
        };
        match seconds {
            Some(seconds) if (0..LATEST).contains(&seconds) => Ok(seconds),
            _ => Err(TimeFault::OutOfRange { value, likely: Self::likely(value, self) }),
        }
    }

    /// Seconds of a text in this unit.
    pub(crate) fn parse(self, text: &str) -> Result<i64, TimeFault> {
        if self == Self::Iso {
            let seconds = parse_iso(text).ok_or(TimeFault::Malformed)?;
            return if (0..LATEST).contains(&seconds) { Ok(seconds) } else { Err(TimeFault::OutOfRange { value: seconds, likely: None }) };
        }
        self.seconds(text.parse().map_err(|_| TimeFault::Malformed)?)
    }

    /// For a number that is legal in this unit but means a date before 1990: the coarser unit it probably has.
    pub(crate) fn suspect(self, value: i64) -> Option<Self> {
        let per_second = self.per_second();
        if per_second == 0 || value >= PLAUSIBLE.saturating_mul(per_second) {
            return None;
        }
        [Self::DateYyyymmdd, Self::S, Self::Ms]
            .into_iter()
            .filter(|unit| unit.per_second() < per_second)
            .find(|unit| unit.is_plausible(value))
    }

    fn likely(value: i64, declared: Self) -> Option<Self> {
        [Self::DateYyyymmdd, Self::S, Self::Ms, Self::Us].into_iter().filter(|&unit| unit != declared).find(|unit| unit.is_plausible(value))
    }

    fn is_plausible(self, value: i64) -> bool {
        let seconds = match self {
            Self::DateYyyymmdd => midnight(value).unwrap_or(0),
            unit => value.div_euclid(unit.per_second()),
        };
        (PLAUSIBLE..LATEST).contains(&seconds)
    }
}

fn midnight(yyyymmdd: i64) -> Option<i64> {
    let (year, month, day) = (yyyymmdd / 10_000, yyyymmdd / 100 % 100, yyyymmdd % 100);
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp())
}

fn parse_iso(text: &str) -> Option<i64> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp());
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| time.and_utc().timestamp())
}

/// What a timestamp feature keeps of a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimePart {
    /// Days since 1970, with fraction: a number.
    #[default]
    Days,
    /// Hour of the day in UTC, `0` to `23`: a category.
    Hour,
    /// Day of the week in UTC, `1` (Monday) to `7`: a category.
    Weekday,
}

impl TimePart {
    /// Whether the part is a category and not a number.
    pub(crate) fn is_category(self) -> bool {
        self != Self::Days
    }

    /// The category of a moment; `None` for a number.
    pub(crate) fn category(self, seconds: i64) -> Option<u32> {
        let time = DateTime::from_timestamp(seconds, 0)?;
        match self {
            Self::Days => None,
            Self::Hour => Some(time.hour()),
            Self::Weekday => Some(time.weekday().number_from_monday()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_agree_on_one_moment() {
        // 2022-04-25T13:05:41Z, from `date -u -d @1650891941`.
        let seconds = 1_650_891_941;
        assert_eq!(TimeUnit::S.parse("1650891941"), Ok(seconds));
        assert_eq!(TimeUnit::Ms.parse("1650891941999"), Ok(seconds));
        assert_eq!(TimeUnit::Us.parse("1650891941000001"), Ok(seconds));
        for text in ["2022-04-25T13:05:41Z", "2022-04-25 13:05:41", "2022-04-25T21:05:41.25+08:00"] {
            assert_eq!(TimeUnit::Iso.parse(text), Ok(seconds), "{text}");
        }
        let midnight = seconds - (13 * 3600 + 5 * 60 + 41);
        assert_eq!(TimeUnit::DateYyyymmdd.parse("20220425"), Ok(midnight));
        assert_eq!(TimeUnit::Iso.parse("2022-04-25"), Ok(midnight));
        assert_eq!(TimePart::Hour.category(seconds), Some(13));
        assert_eq!(TimePart::Weekday.category(seconds), Some(1), "a Monday");
    }

    #[test]
    fn refuses_other_units_and_names_the_likely_one() {
        let likely = |unit: TimeUnit, value| match unit.seconds(value) {
            Err(TimeFault::OutOfRange { likely, .. }) => likely,
            other => panic!("{other:?}"),
        };
        assert_eq!(likely(TimeUnit::S, 1_650_891_941_000), Some(TimeUnit::Ms));
        assert_eq!(likely(TimeUnit::Ms, 1_650_891_941_000_000), Some(TimeUnit::Us));
        assert_eq!(likely(TimeUnit::DateYyyymmdd, 20_221_301), None);
        assert_eq!(likely(TimeUnit::DateYyyymmdd, 1_650_891_941), Some(TimeUnit::S));
        assert_eq!(likely(TimeUnit::S, -5), None);
        assert_eq!(TimeUnit::S.parse("soon"), Err(TimeFault::Malformed));
        assert_eq!(TimeUnit::Iso.parse("25.04.2022"), Err(TimeFault::Malformed));
    }

    #[test]
    fn seconds_among_milliseconds_are_suspected() {
        assert_eq!(TimeUnit::Ms.suspect(1_650_891_941), Some(TimeUnit::S));
        assert_eq!(TimeUnit::Ms.suspect(1_650_891_941_000), None);
        assert_eq!(TimeUnit::Us.suspect(1_650_891_941_000), Some(TimeUnit::Ms));
        assert_eq!(TimeUnit::S.suspect(5), None);
    }
}
