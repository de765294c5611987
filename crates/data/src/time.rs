//! Timestamps of several spellings, all brought to microseconds since 1970 (UTC).

mod text;
mod zone;

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};
use serde::{Deserialize, Serialize};

pub(crate) use text::is_time_format;
pub use zone::{Zone, ZoneError};

/// Microseconds in a second: the unit of [`Log::time`](crate::Log::time).
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in a day of 24 hours.
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// 2100-01-01 in microseconds: the end of the dates that are believed.
const LATEST: i64 = 4_102_444_800 * MICROS_PER_SECOND;
/// 1990-01-01 in microseconds: numbers that mean an earlier date in their unit are suspected of another unit.
const PLAUSIBLE: i64 = 631_152_000 * MICROS_PER_SECOND;

/// How a column writes time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since 1970 (UTC), with or without a fraction.
    S,
    /// Milliseconds since 1970 (UTC).
    Ms,
    /// Microseconds since 1970 (UTC).
    Us,
    /// Nanoseconds since 1970 (UTC), cut off at microseconds.
    Ns,
    /// A day as a number, `20220425`; its midnight in the data set's zone is taken.
    DateYyyymmdd,
    /// Year first, as in ISO 8601 and its relatives: `2022-04-25`, `2022-04-25 13:05`, `2022/04/25 13:05:41.5`, `2022-04-25T13:05:41Z`,
    /// `2022-04-25 13:05:41 UTC`, `2022-04-25 13:05:41 +0800`. Where no offset is written, the data set's zone is meant.
    #[default]
    Iso,
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
            Self::DateYyyymmdd => "date_yyyymmdd",
            Self::Iso => "iso",
        })
    }
}

/// How a column writes time: a unit, or a format in its place, and the zone of times without an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spelling<'a> {
    pub(crate) unit: TimeUnit,
    pub(crate) format: Option<&'a str>,
    pub(crate) zone: Zone,
}

impl Spelling<'_> {
    /// Microseconds of a text.
    pub(crate) fn parse(&self, text: &str) -> Result<i64, TimeFault> {
        match self.format {
            Some(format) => text::by_format(text, format, self.zone).ok_or(TimeFault::Malformed).and_then(in_range),
            None => self.unit.parse(text, self.zone),
        }
    }

    /// Microseconds of a typed date or timestamp: of UTC, or of a clock on the wall.
    pub(crate) fn typed(&self, micros: i64, is_local: bool) -> Result<i64, TimeFault> {
        let local = || DateTime::from_timestamp_micros(micros).and_then(|time| self.zone.moment(time.naive_utc()));
        let moment = if is_local && self.zone != Zone::UTC { local() } else { Some(micros) };
        moment.ok_or(TimeFault::Malformed).and_then(in_range)
    }
}

/// Why a timestamp was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeFault {
    /// Not a timestamp of this unit at all.
    Malformed,
    /// A moment outside 1970..2100, and the unit in which its number would be between 1990 and 2100.
    OutOfRange { value: i64, likely: Option<TimeUnit> },
}

/// A number as it stands in a column: its whole part, and the millionths behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    whole: i64,
    millionths: i64,
}

impl From<i64> for Ticks {
    fn from(whole: i64) -> Self {
        Self { whole, millionths: 0 }
    }
}

impl Ticks {
    /// Reads a decimal number without rounding it through a float.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse() {
            return Some(Self { whole, millionths: 0 });
        }
        let (whole, fraction) = text.split_once(['.', ','])?;
        if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            // An exponent, as spreadsheets write large numbers.
            return Self::from_float(text.parse().ok()?);
        }
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
        let millionths: i64 = digits.parse().ok()?;
        let negative = whole.starts_with('-');
        let whole = if matches!(whole, "" | "-") { 0 } else { whole.parse().ok()? };
        Some(if negative { Self { whole, millionths: -millionths } } else { Self { whole, millionths } })
    }

    /// A typed float; `None` if it is no number or has lost its last digit before the point.
    pub(crate) fn from_float(value: f64) -> Option<Self> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        (value.is_finite() && value.abs() <= EXACT)
            .then(|| Self { whole: value.trunc() as i64, millionths: (value.fract() * 1e6).round() as i64 })
    }

    /// The whole part, for messages and for telling units apart.
    pub(crate) fn whole(self) -> i64 {
        self.whole
    }
}

impl TimeUnit {
    /// A timestamp in this unit, for messages.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::S => "such as 1650812741 or 1650812741.436",
            Self::Ms => "such as 1650812741436",
            Self::Us => "such as 1650812741436000",
            Self::Ns => "such as 1650812741436000000",
            Self::DateYyyymmdd => "such as 20220425",
            Self::Iso => {
                "such as 2022-04-25, 2022-04-25 13:05, 2022/04/25 13:05:41.436, 2022-04-25T13:05:41Z, 2022-04-25 13:05:41 UTC or \
                 2022-04-25 13:05:41 +0800; for another spelling give the column a `format` such as \"%d.%m.%Y %H:%M\""
            }
        }
    }

    /// Microseconds that one step is, as numerator and denominator; `None` for calendar units.
    fn step(self) -> Option<[i64; 2]> {
        match self {
            Self::S => Some([1_000_000, 1]),
            Self::Ms => Some([1_000, 1]),
            Self::Us => Some([1, 1]),
            Self::Ns => Some([1, 1_000]),
            Self::DateYyyymmdd | Self::Iso => None,
        }
    }

    /// A number in this unit as microseconds, rounded towards the past; `None` where it is no moment or far outside the calendar.
    fn scaled(self, ticks: Ticks, zone: Zone) -> Option<i64> {
        let Some([over, under]) = self.step() else {
            return (self == Self::DateYyyymmdd && ticks.millionths == 0).then(|| midnight(ticks.whole, zone)).flatten();
        };
        let micros = ticks.whole.checked_mul(over)?.div_euclid(under);
        micros.checked_add((ticks.millionths * over).div_euclid(under * MICROS_PER_SECOND))
    }

    /// Microseconds of a number in this unit.
    pub(crate) fn moment(self, ticks: impl Into<Ticks>, zone: Zone) -> Result<i64, TimeFault> {
        let ticks = ticks.into();
        if self == Self::Iso {
            return Err(TimeFault::Malformed);
        }
        match self.scaled(ticks, zone) {
            Some(micros) => in_range(micros).map_err(|_| self.out_of_range(ticks.whole)),
            None => Err(self.out_of_range(ticks.whole)),
        }
    }

    fn out_of_range(self, value: i64) -> TimeFault {
        TimeFault::OutOfRange { value, likely: Self::likely(value, self) }
    }

    /// Microseconds of a text in this unit.
    pub(crate) fn parse(self, text: &str, zone: Zone) -> Result<i64, TimeFault> {
        let text = text.trim();
        match self {
            Self::Iso => text::by_year_first(text, zone).ok_or(TimeFault::Malformed).and_then(in_range),
            unit => unit.moment(Ticks::parse(text).ok_or(TimeFault::Malformed)?, zone),
        }
    }

    /// For a number that is legal in this unit but means a date before 1990: the coarser unit it probably has.
    pub(crate) fn suspect(self, value: i64) -> Option<Self> {
        self.step()?;
        if self.scaled(value.into(), Zone::UTC).is_none_or(|micros| micros >= PLAUSIBLE) {
            return None;
        }
        let coarser = [Self::DateYyyymmdd, Self::S, Self::Ms, Self::Us].into_iter().take_while(|&unit| unit != self);
        coarser.into_iter().find(|unit| unit.is_plausible(value))
    }

    /// The unit in which a number is a plausible date, other than the declared one.
    fn likely(value: i64, declared: Self) -> Option<Self> {
        Self::plausible(value).find(|&unit| unit != declared)
    }

    /// Every unit in which a number is a date from 1990 to 2100; there is one at most for a number of usual size.
    pub(crate) fn plausible(value: i64) -> impl Iterator<Item = Self> {
        [Self::DateYyyymmdd, Self::S, Self::Ms, Self::Us, Self::Ns].into_iter().filter(move |unit| unit.is_plausible(value))
    }

    fn is_plausible(self, value: i64) -> bool {
        self.scaled(value.into(), Zone::UTC).is_some_and(|micros| (PLAUSIBLE..LATEST).contains(&micros))
    }
}

/// A moment in the years that are believed. The fault names it in seconds.
pub(crate) fn in_range(micros: i64) -> Result<i64, TimeFault> {
    let out = TimeFault::OutOfRange { value: micros.div_euclid(MICROS_PER_SECOND), likely: None };
    if (0..LATEST).contains(&micros) { Ok(micros) } else { Err(out) }
}

fn midnight(yyyymmdd: i64, zone: Zone) -> Option<i64> {
    let (year, month, day) = (yyyymmdd / 10_000, yyyymmdd / 100 % 100, yyyymmdd % 100);
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    zone.moment(date.and_time(NaiveTime::MIN))
}

/// Whether a text is a date or a moment in a usual spelling.
pub(crate) fn looks_like_time(text: &str) -> bool {
    text::by_year_first(text.trim(), Zone::UTC).is_some()
}

/// What a timestamp feature keeps of a timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimePart {
    /// Days since 1970 (UTC), with fraction: a number.
    #[default]
    Days,
    /// Hour of the day in the data set's zone, `0` to `23`: a category.
    Hour,
    /// Day of the week in the data set's zone, `1` (Monday) to `7`: a category.
    Weekday,
}

impl TimePart {
    /// Whether the part is a category and not a number.
    pub(crate) fn is_category(self) -> bool {
        self != Self::Days
    }

    /// The category of a moment; `None` for a number.
    pub(crate) fn category(self, micros: i64, zone: Zone) -> Option<u32> {
        let time = zone.local(micros)?;
        match self {
            Self::Days => None,
            Self::Hour => Some(time.hour()),
            Self::Weekday => Some(time.weekday().number_from_monday()),
        }
    }
}

/// Days since 1970 with fraction; whole seconds give the same bits whatever the unit they were written in.
pub(crate) fn days(micros: i64) -> f64 {
    let (seconds, rest) = (micros.div_euclid(MICROS_PER_SECOND), micros.rem_euclid(MICROS_PER_SECOND));
    (seconds as f64 + rest as f64 * 1e-6) / 86_400.0
}

/// A moment as its date and minute in UTC; seconds since 1970 where the calendar ends.
#[must_use]
pub fn date(micros: i64) -> String {
    let written = DateTime::from_timestamp_micros(micros).map(|t| t.format("%Y-%m-%d %H:%M").to_string());
    written.unwrap_or_else(|| micros.div_euclid(MICROS_PER_SECOND).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2022-04-25T13:05:41Z, from `date -u -d @1650891941`.
    const SECONDS: i64 = 1_650_891_941;

    #[test]
    fn units_agree_on_one_moment() {
        let parse = |unit: TimeUnit, text: &str| unit.parse(text, Zone::UTC);
        let micros = SECONDS * MICROS_PER_SECOND;
        assert_eq!(parse(TimeUnit::S, "1650891941"), Ok(micros));
        assert_eq!(parse(TimeUnit::S, "1650891941.037"), Ok(micros + 37_000));
        assert_eq!(parse(TimeUnit::S, "1650891941,5"), Ok(micros + 500_000));
        assert_eq!(parse(TimeUnit::Ms, "1650891941999"), Ok(micros + 999_000));
        assert_eq!(parse(TimeUnit::Ms, "1650891941999.25"), Ok(micros + 999_250));
        assert_eq!(parse(TimeUnit::Us, "1650891941000001"), Ok(micros + 1));
        assert_eq!(parse(TimeUnit::Ns, "1650891941000001999"), Ok(micros + 1), "nanoseconds are cut off");
        let midnight = micros - (13 * 3600 + 5 * 60 + 41) * MICROS_PER_SECOND;
        assert_eq!(parse(TimeUnit::DateYyyymmdd, "20220425"), Ok(midnight));
        assert_eq!(TimePart::Hour.category(micros, Zone::UTC), Some(13));
        assert_eq!(TimePart::Weekday.category(micros, Zone::UTC), Some(1), "a Monday");
        assert_eq!(date(micros), "2022-04-25 13:05");
    }

    #[test]
    fn floats_keep_their_fraction_and_refuse_what_they_have_lost() {
        assert_eq!(Ticks::from_float(1_650_891_941.25), Some(Ticks { whole: SECONDS, millionths: 250_000 }));
        assert_eq!(Ticks::from_float(f64::NAN), None);
        assert_eq!(Ticks::from_float(1e17), None);
        assert_eq!(Ticks::parse("1.650891941e9"), Some(Ticks { whole: SECONDS, millionths: 0 }));
        assert_eq!(Ticks::parse("-0.25"), Some(Ticks { whole: 0, millionths: -250_000 }));
        assert_eq!((Ticks::parse("1."), Ticks::parse("soon")), (Ticks::from_float(1.0), None));
    }

    #[test]
    fn refuses_other_units_and_names_the_likely_one() {
        let likely = |unit: TimeUnit, value: i64| match unit.moment(value, Zone::UTC) {
            Err(TimeFault::OutOfRange { likely, .. }) => likely,
            other => panic!("{other:?}"),
        };
        assert_eq!(likely(TimeUnit::S, SECONDS * 1_000), Some(TimeUnit::Ms));
        assert_eq!(likely(TimeUnit::Ms, SECONDS * 1_000_000), Some(TimeUnit::Us));
        assert_eq!(likely(TimeUnit::Us, SECONDS * 1_000_000_000), Some(TimeUnit::Ns));
        assert_eq!(likely(TimeUnit::DateYyyymmdd, 20_221_301), None);
        assert_eq!(likely(TimeUnit::DateYyyymmdd, SECONDS), Some(TimeUnit::S));
        assert_eq!(likely(TimeUnit::S, -5), None);
        assert_eq!(TimeUnit::S.parse("soon", Zone::UTC), Err(TimeFault::Malformed));
        assert_eq!(TimeUnit::Iso.parse("25.04.2022", Zone::UTC), Err(TimeFault::Malformed));
    }

    #[test]
    fn seconds_among_milliseconds_are_suspected() {
        assert_eq!(TimeUnit::Ms.suspect(SECONDS), Some(TimeUnit::S));
        assert_eq!(TimeUnit::Ms.suspect(SECONDS * 1_000), None);
        assert_eq!(TimeUnit::Us.suspect(SECONDS * 1_000), Some(TimeUnit::Ms));
        assert_eq!(TimeUnit::Ns.suspect(SECONDS * 1_000_000), Some(TimeUnit::Us));
        assert_eq!(TimeUnit::S.suspect(20_220_425), Some(TimeUnit::DateYyyymmdd));
        assert_eq!(TimeUnit::S.suspect(5), None);
    }

    #[test]
    fn days_of_whole_seconds_have_the_bits_of_seconds_over_86400() {
        for seconds in [0, 1, SECONDS, 4_102_444_799] {
            assert_eq!(days(seconds * MICROS_PER_SECOND).to_bits(), (seconds as f64 / 86_400.0).to_bits());
        }
        assert!(days(SECONDS * MICROS_PER_SECOND + 500_000) > days(SECONDS * MICROS_PER_SECOND));
    }
}
