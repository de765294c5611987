//! Moments written as text.

use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::zone::offset;
use super::{MICROS_PER_SECOND, Zone};

/// Microseconds of `YYYY-MM-DD`, or with `/` between, alone or followed by a blank or `T`, `HH:MM`, seconds with or without a fraction, and an
/// offset (`Z`, `UTC`, `GMT`, `+08:00`, `+0800`, `+08`). `zone` is meant where none is written.
pub(super) fn by_year_first(text: &str, zone: Zone) -> Option<i64> {
    let mut rest = Scanner(text);
    let year = rest.digits(4)?;
    let between = rest.any(&['-', '/'])?;
    let month = rest.digits(2)?;
    rest.one(between)?;
    let date = NaiveDate::from_ymd_opt(year as i32, month, rest.digits(2)?)?;
    if rest.0.is_empty() {
        return zone.moment(date.and_time(NaiveTime::MIN));
    }
    rest.any(&[' ', 'T', 't'])?;
    let hour = rest.digits(2)?;
    rest.one(':')?;
    let minute = rest.digits(2)?;
    let (second, micros) = match rest.one(':') {
        Some(()) => (rest.digits(2)?, rest.fraction()?),
        None => (0, 0),
    };
    let local = date.and_time(NaiveTime::from_hms_micro_opt(hour, minute, second, micros)?);
    match rest.0.trim_start() {
        "" => zone.moment(local),
        "Z" | "z" | "UTC" | "GMT" => Zone::UTC.moment(local),
        written => Some(Zone::UTC.moment(local)? - i64::from(offset(written)?) * MICROS_PER_SECOND),
    }
}

/// What is left of a text.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    fn one(&mut self, wanted: char) -> Option<()> {
        self.0 = self.0.strip_prefix(wanted)?;
        Some(())
    }

    fn any(&mut self, wanted: &[char]) -> Option<char> {
        let found = self.0.chars().next().filter(|c| wanted.contains(c))?;
        self.0 = &self.0[found.len_utf8()..];
        Some(found)
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    }

    /// Microseconds behind a point or comma; further digits are cut off.
    fn fraction(&mut self) -> Option<u32> {
        if self.any(&['.', ',']).is_none() {
            return Some(0);
        }
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (written, rest) = self.0.split_at(digits);
        self.0 = rest;
        (digits > 0).then(|| written.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    }
}

/// Microseconds of a text in a format of `strftime`, such as `%d.%m.%Y %H:%M`; a format without a time of day means midnight, one of hours alone means
/// their beginning.
pub(crate) fn by_format(text: &str, format: &str, zone: Zone) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_str(text, format) {
        return Some(time.timestamp_micros());
    }
    if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
        return zone.moment(local);
    }
    // Parsing a date alone would pass over hours and offsets.
    if has_time_of_day(format) {
        let (text, format) = (format!("{text} 00"), format!("{format} %M"));
        return match DateTime::parse_from_str(&text, &format) {
            Ok(time) => Some(time.timestamp_micros()),
            Err(_) => zone.moment(NaiveDateTime::parse_from_str(&text, &format).ok()?),
        };
    }
    zone.moment(NaiveDate::parse_from_str(text, format).ok()?.and_time(NaiveTime::MIN))
}

/// Whether a format has fields beside those of a date.
fn has_time_of_day(format: &str) -> bool {
    StrftimeItems::new(format).any(|item| match item {
        Item::Numeric(field, _) => {
            use Numeric::{Hour, Hour12, Minute, Nanosecond, Second};
            matches!(field, Hour | Hour12 | Minute | Second | Nanosecond)
        }
        Item::Fixed(field) => {
            !matches!(field, Fixed::ShortMonthName | Fixed::LongMonthName | Fixed::ShortWeekdayName | Fixed::LongWeekdayName)
        }
        _ => false,
    })
}

/// Whether a format has only fields that `strftime` knows, one at least, and says which moment it means: no name of a zone (`%Z`), which says no offset,
/// no hour of twelve without `%p`, and no minutes without hours.
pub(crate) fn is_time_format(format: &str) -> bool {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let numeric = |wanted: Numeric| items.iter().any(|item| matches!(item, Item::Numeric(field, _) if *field == wanted));
    let fixed = |wanted: Fixed| items.iter().any(|item| matches!(item, Item::Fixed(field) if *field == wanted));
    let has_half = fixed(Fixed::LowerAmPm) || fixed(Fixed::UpperAmPm);
    let has_hour = numeric(Numeric::Hour) || (numeric(Numeric::Hour12) && has_half);
    let needs_hour = numeric(Numeric::Minute) || numeric(Numeric::Second) || numeric(Numeric::Hour12) || has_half;
    let needs_minute = numeric(Numeric::Second);
    items.iter().all(|item| !matches!(item, Item::Error))
        && items.iter().any(|item| matches!(item, Item::Numeric(..) | Item::Fixed(_)))
        && !fixed(Fixed::TimezoneName)
        && (has_hour || !needs_hour)
        && (numeric(Numeric::Minute) || !needs_minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROS: i64 = 1_650_891_941_000_000;

    #[test]
    fn usual_spellings_mean_one_moment() {
        for text in [
            "2022-04-25T13:05:41Z",
            "2022-04-25 13:05:41",
            "2022-04-25 13:05:41 UTC",
            "2022-04-25 13:05:41.000 GMT",
            "2022/04/25 13:05:41",
            "2022-04-25 13:05:41+0000",
            "2022-04-25 13:05:41 +00",
            "2022-04-25T21:05:41+08:00",
            "2022-04-25 08:05:41 -0500",
        ] {
            assert_eq!(by_year_first(text, Zone::UTC), Some(MICROS), "{text}");
        }
        assert_eq!(by_year_first("2022-04-25 13:05:41.25", Zone::UTC), Some(MICROS + 250_000));
        assert_eq!(by_year_first("2022-04-25 13:05:41,0000019", Zone::UTC), Some(MICROS + 1));
        assert_eq!(by_year_first("2022-04-25 13:05", Zone::UTC), Some(MICROS - 41_000_000));
        assert_eq!(by_year_first("2022-04-25", Zone::UTC), Some(MICROS - (13 * 3600 + 5 * 60 + 41) * 1_000_000));
    }

    #[test]
    fn a_format_means_the_moment_that_it_names() {
        let at = |text: &str, format: &str| by_format(text, format, Zone::UTC).map(|micros| (micros - MICROS) / 1_000_000);
        // 2022-04-25 13:05:41 is the moment 0.
        assert_eq!(at("25.04.2022 13:05", "%d.%m.%Y %H:%M"), Some(-41));
        assert_eq!(at("2022-04-25 13", "%Y-%m-%d %H"), Some(-341));
        assert_eq!(at("2022-04-25T13+0200", "%Y-%m-%dT%H%z"), Some(-341 - 7200));
        assert_eq!(at("04/25/2022 01 PM", "%m/%d/%Y %I %p"), Some(-341));
        assert_eq!(at("25.04.2022", "%d.%m.%Y"), Some(-(13 * 3600 + 5 * 60 + 41)));
        assert_eq!(at("2022-04-25 x", "%Y-%m-%d %H"), None);
        for format in ["%d.%m.%Y %H:%M", "%Y-%m-%d %H", "%m/%d/%Y %I:%M %p", "%d.%m.%Y", "%s", "%Y-%m-%dT%T%z", "%+"] {
            assert!(is_time_format(format), "{format}");
        }
        for format in ["", "day", "%Q", "%d.%m.%Y %I:%M", "%d.%m.%Y %M", "%a %b %d %H:%M:%S %Z %Y", "%Y-%m-%d %H %S"] {
            assert!(!is_time_format(format), "{format}");
        }
    }

    #[test]
    fn a_zone_counts_only_where_no_offset_is_written() {
        let zone = "+08:00".parse().unwrap();
        assert_eq!(by_year_first("2022-04-25 21:05:41", zone), Some(MICROS));
        assert_eq!(by_year_first("2022-04-25 13:05:41 UTC", zone), Some(MICROS));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2022",
            "2022-4-25",
            "2022-13-01",
            "2022-02-30",
            "2022-04/25",
            "2022-04-25 25:00",
            "2022-04-25 13:05:41 CEST",
            "2022-04-25 13:05:41.",
            "2022-04-25x",
        ] {
            assert_eq!(by_year_first(text, Zone::UTC), None, "{text}");
        }
    }

    #[test]
    fn formats_read_other_orders() {
        assert_eq!(by_format("25.04.2022 13:05:41", "%d.%m.%Y %H:%M:%S", Zone::UTC), Some(MICROS));
        assert_eq!(by_format("04/25/2022 01:05 PM", "%m/%d/%Y %I:%M %p", Zone::UTC), Some(MICROS - 41_000_000));
        assert_eq!(by_format("25.04.2022", "%d.%m.%Y", "+08:00".parse().unwrap()), Some(MICROS - (21 * 3600 + 5 * 60 + 41) * 1_000_000));
        assert_eq!(by_format("2022-04-25 15:05:41 +0200", "%Y-%m-%d %H:%M:%S %z", Zone::UTC), Some(MICROS));
        assert_eq!(by_format("25.04.22", "%Y-%m-%d", Zone::UTC), None);
        assert!(is_time_format("%d.%m.%Y") && !is_time_format("%Q") && !is_time_format("today"));
    }
}
