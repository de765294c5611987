//! Time zones: what a date without an offset means, and where a day begins.

use std::fmt;
use std::str::FromStr;

use chrono::offset::LocalResult;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::MICROS_PER_DAY;

/// A time zone: a fixed offset such as `+08:00`, or a name of the IANA database such as `Europe/Berlin`, which knows about summer time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fixed(i32),
    Named(Tz),
}

/// A text that names no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone; write an offset such as `+08:00`, `UTC`, or a name such as `Europe/Berlin`")]
pub struct ZoneError(String);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Kind::Fixed(0));

    /// Microseconds since 1970 (UTC) of a local time. A time that a clock shows twice is its first; one that is skipped is the moment of the jump
    /// counted on.
    pub(crate) fn moment(self, local: NaiveDateTime) -> Option<i64> {
        Some(match self.0 {
            Kind::Fixed(seconds) => local.and_utc().timestamp_micros() - i64::from(seconds) * super::MICROS_PER_SECOND,
            Kind::Named(zone) => match zone.from_local_datetime(&local) {
                LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.timestamp_micros(),
                LocalResult::None => {
                    // An hour earlier the old offset still holds.
                    let before = zone.from_local_datetime(&(local - chrono::TimeDelta::hours(25))).earliest()?;
                    (before + chrono::TimeDelta::hours(25)).timestamp_micros()
                }
            },
        })
    }

    /// The local time of a moment, in microseconds since 1970 (UTC); `None` beyond the calendar.
    pub(crate) fn local(self, micros: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_micros(micros)?;
        Some(match self.0 {
            Kind::Fixed(seconds) => utc.with_timezone(&FixedOffset::east_opt(seconds)?).naive_local(),
            Kind::Named(zone) => utc.with_timezone(&zone).naive_local(),
        })
    }

    /// Number of the local day of a moment, 0 for 1970-01-01.
    #[must_use]
    pub fn day(self, micros: i64) -> i64 {
        if self == Self::UTC {
            return micros.div_euclid(MICROS_PER_DAY);
        }
        self.local(micros).map_or(micros, |time| time.and_utc().timestamp_micros()).div_euclid(MICROS_PER_DAY)
    }

    /// The local date of a moment as YYYYMMDD; the number of the day where the calendar ends.
    #[must_use]
    pub fn calendar_day(self, micros: i64) -> String {
        self.local(micros).map_or_else(|| self.day(micros).to_string(), |time| time.format("%Y%m%d").to_string())
    }

    /// The moment at which the local day of a moment began.
    #[must_use]
    pub fn midnight(self, micros: i64) -> i64 {
        match self.0 {
            Kind::Fixed(seconds) => {
                let offset = i64::from(seconds) * super::MICROS_PER_SECOND;
                (micros + offset).div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY - offset
            }
            Kind::Named(_) => {
                let begin = self.local(micros).and_then(|time| time.date().and_hms_opt(0, 0, 0)).and_then(|local| self.moment(local));
                begin.map_or(micros, |begin| begin.min(micros))
            }
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

/// Seconds east of Greenwich of `+08:00`, `+0800`, `+08` and the like.
pub(super) fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let number = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = match (digits.len(), digits.split_once(':')) {
        (5, Some((hours, minutes))) => (number(hours)?, number(minutes)?),
        (4, None) if digits.is_ascii() => (number(&digits[..2])?, number(&digits[2..])?),
        (2, None) => (number(digits)?, 0),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        if matches!(text, "UTC" | "GMT" | "Z") {
            return Ok(Self::UTC);
        }
        if let Some(seconds) = offset(text) {
            return Ok(Self(Kind::Fixed(seconds)));
        }
        text.parse().map(|zone| Self(Kind::Named(zone))).map_err(|_| ZoneError(text.to_owned()))
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(text: String) -> Result<Self, ZoneError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Fixed(0) => f.write_str("UTC"),
            Kind::Fixed(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60)
            }
            Kind::Named(zone) => write!(f, "{zone}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(zone: &str, local: &str) -> i64 {
        let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").unwrap();
        zone.parse::<Zone>().unwrap().moment(local).unwrap() / 1_000_000
    }

    /// Seconds from `TZ=... date -d ... +%s`.
    #[test]
    fn local_times_become_moments() {
        assert_eq!(moment("UTC", "2022-04-25 00:00"), 1_650_844_800);
        assert_eq!(moment("+08:00", "2022-04-25 00:00"), 1_650_844_800 - 8 * 3600);
        assert_eq!(moment("-0330", "2022-04-25 00:00"), 1_650_844_800 + 12_600);
        assert_eq!(moment("Europe/Berlin", "2022-01-25 00:00"), 1_643_065_200);
        assert_eq!(moment("Europe/Berlin", "2022-04-25 00:00"), 1_650_837_600);
        // The clock goes from 2:00 to 3:00 on 2022-03-27 and from 3:00 to 2:00 on 2022-10-30.
        assert_eq!(moment("Europe/Berlin", "2022-03-27 02:30"), moment("Europe/Berlin", "2022-03-27 03:30"));
        assert_eq!(moment("Europe/Berlin", "2022-10-30 02:30"), 1_667_089_800);
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let evening = 1_650_844_800_000_000 - 1;
        let day = |zone: &str, micros| zone.parse::<Zone>().unwrap().day(micros);
        assert_eq!(day("UTC", evening) + 1, day("UTC", evening + 1));
        assert_eq!(day("+08:00", evening), day("+08:00", evening + 1));
        assert_eq!(day("Asia/Shanghai", evening), day("+08:00", evening));
        assert_eq!(day("UTC", -1), -1);
        let midnight = |zone: &str, local: &str| zone.parse::<Zone>().unwrap().midnight(moment(zone, local) * 1_000_000) / 1_000_000;
        for zone in ["UTC", "+08:00", "-0330", "Europe/Berlin"] {
            for day in ["2022-04-25", "2022-03-27", "2022-10-30"] {
                assert_eq!(midnight(zone, &format!("{day} 21:05")), moment(zone, &format!("{day} 00:00")), "{zone} {day}");
                assert_eq!(midnight(zone, &format!("{day} 00:00")), moment(zone, &format!("{day} 00:00")), "{zone} {day}");
            }
        }
    }

    #[test]
    fn zones_print_as_they_parse_and_nonsense_is_refused() {
        for text in ["UTC", "+08:00", "-03:30", "Europe/Berlin"] {
            assert_eq!(text.parse::<Zone>().unwrap().to_string(), text);
        }
        for text in ["", "Berlin time", "+8", "+25:00", "08:00"] {
            assert_eq!(text.parse::<Zone>(), Err(ZoneError(text.to_owned())));
        }
    }
}
