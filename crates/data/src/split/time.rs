//! A cut along one time line: where validation and test begin, as moments or as shares of the rows.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use super::{LogView, Split, SplitError};
use crate::{TimeUnit, Zone};

/// The units that a number may be in, and their names in messages.
const UNITS: [TimeUnit; 5] = [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns, TimeUnit::DateYyyymmdd];

/// Where validation and test begin; earlier rows are training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub enum TimeCut {
    /// At these moments: keys `validation_from` and `test_from`.
    From {
        /// First moment of validation.
        validation: Moment,
        /// First moment of test.
        test: Moment,
    },
    /// Keys `validation` and `test`: of the rows in time order this share is test at the end, and this share before it validation, as far as equal
    /// times allow.
    Shares {
        /// Share of validation rows.
        validation: f64,
        /// Share of test rows.
        test: f64,
    },
}

/// A moment as an experiment writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A number in the unit in which it lies inside the log.
    Number(i64),
    /// A date with or without time and offset; without an offset in the data set's zone.
    Text(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_from: Option<toml::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_from: Option<toml::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<toml::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<toml::Value>,
}

impl TryFrom<Keys> for TimeCut {
    type Error = SplitError;

    fn try_from(keys: Keys) -> Result<Self, SplitError> {
        let missing = |setting| SplitError::Setting {
            setting,
            problem: "is missing; give `validation_from` and `test_from`, or `validation` and `test` as shares of the rows",
        };
        let both =
            |setting| SplitError::Setting { setting, problem: "excludes `validation_from` and `test_from`; give either moments or shares" };
        match keys {
            Keys { validation_from: None, test_from: None, validation: None, test: None } => Err(missing("validation_from")),
            Keys { validation_from: None, test_from: None, validation, test } => {
                let share = |key, value: Option<toml::Value>| share_of(key, &value.ok_or_else(|| missing(key))?);
                let (validation, test) = (share("validation", validation)?, share("test", test)?);
                if validation + test >= 1.0 {
                    return Err(SplitError::Setting {
                        setting: "test",
                        problem: "together with `validation` it leaves no training rows; their sum must be below 1",
                    });
                }
                Ok(Self::Shares { validation, test })
            }
            Keys { validation: Some(_), .. } => Err(both("validation")),
            Keys { test: Some(_), .. } => Err(both("test")),
            Keys { validation_from, test_from, .. } => {
                let moment = |key, value: Option<toml::Value>| Moment::of(key, &value.ok_or_else(|| missing(key))?);
                Ok(Self::From { validation: moment("validation_from", validation_from)?, test: moment("test_from", test_from)? })
            }
        }
    }
}

/// A share of the rows: above 0, below 1.
pub(super) fn share_of(key: &'static str, value: &toml::Value) -> Result<f64, SplitError> {
    let share = value.as_float().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or(SplitError::Setting { setting: key, problem: "is a share of the rows: a number above 0 and below 1, such as 0.1" })
}

impl From<TimeCut> for Keys {
    fn from(cut: TimeCut) -> Self {
        let value = |moment| match moment {
            Moment::Number(number) => toml::Value::Integer(number),
            Moment::Text(text) => toml::Value::String(text),
        };
        match cut {
            TimeCut::From { validation, test } => {
                Self { validation_from: Some(value(validation)), test_from: Some(value(test)), ..Self::default() }
            }
            TimeCut::Shares { validation, test } => {
                Self { validation: Some(validation.into()), test: Some(test.into()), ..Self::default() }
            }
        }
    }
}

impl Moment {
    /// The moment that a value of an experiment file means, as far as it can be told without the log.
    fn of(key: &'static str, value: &toml::Value) -> Result<Self, SplitError> {
        let text = match value {
            toml::Value::Integer(number) => return Ok(Self::Number(*number)),
            toml::Value::String(text) => text.clone(),
            toml::Value::Datetime(date) => date.to_string(),
            other => return Err(SplitError::NotAMoment { key, value: other.to_string() }),
        };
        match TimeUnit::Iso.parse(&text, Zone::UTC) {
            Ok(_) => Ok(Self::Text(text)),
            Err(_) => Err(SplitError::NotAMoment { key, value: value.to_string() }),
        }
    }

    /// The moment itself, written so that it means the same in any log.
    fn fixed(micros: i64) -> Self {
        let time = DateTime::from_timestamp_micros(micros).expect("times of a log lie before 2100");
        Self::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    fn micros(&self, key: &'static str, clock: &Clock<'_>) -> Result<i64, SplitError> {
        match self {
            Self::Text(text) => TimeUnit::Iso.parse(text, clock.zone).map_err(|_| SplitError::NotAMoment { key, value: text.clone() }),
            Self::Number(number) => clock.moment_of(key, *number),
        }
    }
}

/// The times of a log and how they are written in messages.
struct Clock<'a> {
    times: &'a [i64],
    zone: Zone,
    first: i64,
    last: i64,
}

impl<'a> Clock<'a> {
    fn of(view: LogView<'a>) -> Result<Self, SplitError> {
        let times = &view.log.time[..];
        let (Some(&first), Some(&last)) = (times.iter().min(), times.iter().max()) else { return Err(SplitError::NoTime) };
        if times.len() != view.log.len() {
            return Err(SplitError::NoTime);
        }
        Ok(Self { times, zone: view.zone, first, last })
    }

    fn date(&self, micros: i64) -> String {
        self.zone.local(micros).map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%d %H:%M").to_string())
    }

    /// First and last time, with the zone.
    fn range(&self) -> String {
        format!("{} to {} ({})", self.date(self.first), self.date(self.last), self.zone)
    }

    /// Rows before a moment.
    fn before(&self, micros: i64) -> usize {
        self.times.iter().filter(|&&time| time < micros).count()
    }

    /// A number in the unit in which it lies inside the log; outside of it in the unit in which it is a date of our days.
    fn moment_of(&self, key: &'static str, number: i64) -> Result<i64, SplitError> {
        let read = |unit: TimeUnit| unit.moment(number, self.zone).ok().map(|micros| (unit, micros));
        let inside = |(_, micros): &(TimeUnit, i64)| (self.first..=self.last).contains(micros);
        let found: Vec<(TimeUnit, i64)> = UNITS.into_iter().filter_map(read).filter(inside).collect();
        let Some(&(_, micros)) = found.first() else {
            let plausible = TimeUnit::plausible(number).find_map(read).map(|(_, micros)| micros);
            return plausible.ok_or_else(|| SplitError::NoDate { key, number, range: self.range(), example: self.date(self.last) });
        };
        // Two readings that no row lies between are one cut.
        if found[1..].iter().any(|&(_, other)| self.before(other) != self.before(micros)) {
            let meanings = found.iter().map(|(unit, micros)| format!("{} in unit `{unit}`", self.date(*micros)));
            let meanings = meanings.collect::<Vec<_>>().join(", ");
            return Err(SplitError::SeveralUnits { key, number, meanings, range: self.range() });
        }
        Ok(micros)
    }
}

impl TimeCut {
    /// First moments of validation and test.
    fn bounds(&self, clock: &Clock<'_>) -> Result<[i64; 2], SplitError> {
        match self {
            Self::From { validation, test } => {
                let bounds = [validation.micros("validation_from", clock)?, test.micros("test_from", clock)?];
                if bounds[0] > bounds[1] {
                    return Err(SplitError::Setting { setting: "test_from", problem: "lies before validation_from; swap them" });
                }
                Ok(bounds)
            }
            Self::Shares { validation, test } => {
                share_bounds(clock.times, [*validation, *test]).ok_or_else(|| SplitError::FewTimes { range: clock.range() })
            }
        }
    }

    /// The same cut at moments that mean the same in any log.
    pub(super) fn fixed(&self, view: LogView<'_>) -> Result<Self, SplitError> {
        let [validation, test] = self.bounds(&Clock::of(view)?)?.map(Moment::fixed);
        Ok(Self::From { validation, test })
    }

    pub(super) fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        let clock = Clock::of(view)?;
        let [validation, test] = self.bounds(&clock)?;
        let part = |time: i64| usize::from(time >= validation) + usize::from(time >= test);
        let split = Split::by_row(clock.times.len(), &super::rule::THREE, |row| Some(part(clock.times[row])));
        if let Some((part, _)) = split.parts().find(|(_, rows)| rows.is_empty()) {
            return Err(SplitError::EmptyPart {
                part: part.to_owned(),
                validation: clock.date(validation),
                test: clock.date(test),
                range: clock.range(),
            });
        }
        Ok(split)
    }
}

/// Where validation and test begin, so that the last rows are test and those before them validation. `None` where there are less than three distinct
/// times.
fn share_bounds(times: &[i64], shares: [f64; 2]) -> Option<[i64; 2]> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() < 3 {
        return None;
    }
    // The place of the first time of the last so many rows.
    let place = |share: f64| {
        let rows = (sorted.len() as f64 * share).round() as usize;
        let time = sorted[sorted.len() - rows.clamp(1, sorted.len())];
        distinct.partition_point(|&d| d < time)
    };
    let test = place(shares[1]).max(2);
    let validation = place(shares[0] + shares[1]).clamp(1, test - 1);
    Some([distinct[validation], distinct[test]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, Log, MICROS_PER_SECOND, UserIndex};
    use proptest::prelude::*;

    /// 2023-11-14 22:13:20.
    const START: i64 = 1_700_000_000;

    fn log(micros: &[i64]) -> Log {
        let n = micros.len();
        Log {
            user: vec![UserIndex(0); n],
            item: vec![ItemIndex(0); n],
            domain: vec![DomainIndex(0); n],
            time: micros.to_vec(),
            label: vec![1.0; n],
            request: Vec::new(),
        }
    }

    fn view(log: &Log, zone: Zone) -> LogView<'_> {
        LogView { log, users: &[], items: &[], domains: &[], zone, attributes: &[], files: &[] }
    }

    /// One row an hour for ten days.
    fn hourly() -> Log {
        log(&(0..240).map(|hour| (START + hour * 3600) * MICROS_PER_SECOND).collect::<Vec<_>>())
    }

    fn cut(keys: &str) -> Result<TimeCut, String> {
        toml::from_str(keys).map_err(|e: toml::de::Error| e.message().to_owned())
    }

    /// Sizes of the three parts of ten days.
    fn sizes(keys: &str, zone: &str) -> [usize; 3] {
        let split = cut(keys).unwrap().split(view(&hourly(), zone.parse().unwrap())).unwrap();
        ["train", "validation", "test"].map(|part| split.rows(part).unwrap().len())
    }

    fn refused(keys: &str) -> String {
        cut(keys).unwrap().split(view(&hourly(), Zone::UTC)).unwrap_err().to_string()
    }

    /// 2023-11-16 00:00 is 25.78 hours after the first row, 2023-11-20 12:00 is 133.78.
    #[test]
    fn every_spelling_of_a_moment_cuts_at_the_same_row() {
        let expected = [26, 108, 106];
        for [validation, test] in [
            ["1700092800", "1700481600"],
            ["1700092800000", "1700481600000"],
            ["1700092800000000", "1700481600000000"],
            ["1700092800000000000", "1700481600000000000"],
            ["20231116", "1700481600"],
            ["'2023-11-16'", "'2023-11-20 12:00'"],
            ["2023-11-16", "2023-11-20T12:00:00"],
            ["2023-11-16T00:00:00Z", "2023-11-20T13:00:00+01:00"],
            ["'2023/11/16 00:00:00 UTC'", "'2023-11-20 12:00:00.000'"],
        ] {
            assert_eq!(sizes(&format!("validation_from = {validation}\ntest_from = {test}"), "UTC"), expected, "{validation} {test}");
        }
        // Midnight comes seven hours later in the west, and where an offset is written it counts.
        assert_eq!(sizes("validation_from = 20231116\ntest_from = '2023-11-20 12:00Z'", "-07:00"), [33, 101, 106]);
    }

    #[test]
    fn a_number_outside_the_log_is_refused_with_what_it_means() {
        let log = "2023-11-14 22:13 to 2023-11-24 21:13 (UTC)";
        for (keys, part, date) in [
            ("validation_from = 1700092800\ntest_from = 1800000000", "test", "2027-01-15 08:00"),
            ("validation_from = 1600000000000\ntest_from = 1700092800", "train", "2020-09-13 12:26"),
            ("validation_from = 20231125\ntest_from = 20231126", "validation", "2023-11-25 00:00"),
        ] {
            let said = refused(keys);
            assert!(said.contains(&format!("part `{part}` has no rows")) && said.contains(date) && said.contains(log), "{said}");
        }
        let said = refused("validation_from = 7\ntest_from = 8");
        for part in ["`validation_from` = 7 is a date in none of the units", log, "validation_from = \"2023-11-24 21:13\""] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn a_number_of_two_units_is_refused_unless_both_cut_alike() {
        let seconds = |times: &[i64]| log(&times.iter().map(|s| s * MICROS_PER_SECOND).collect::<Vec<_>>());
        let keys = cut("validation_from = 5000\ntest_from = '1970-01-01 02:00'").unwrap();
        let wide = seconds(&[0, 10, 6000, 8000]);
        let said = keys.split(view(&wide, Zone::UTC)).unwrap_err().to_string();
        assert!(said.contains("1970-01-01 01:23 in unit `s`, 1970-01-01 00:00 in unit `ms`"), "{said}");
        let gap = seconds(&[0, 6000, 8000]);
        assert_eq!(keys.split(view(&gap, Zone::UTC)).unwrap().rows("validation").unwrap(), [1]);
    }

    #[test]
    fn a_part_without_rows_is_named_with_the_bounds_and_the_log() {
        let said = refused("validation_from = '2023-11-16'\ntest_from = '2024-01-01'");
        assert!(
            said.contains("part `test` has no rows") && said.contains("2023-11-16 00:00") && said.contains("2024-01-01 00:00"),
            "{said}"
        );
        assert!(said.contains("2023-11-14 22:13 to 2023-11-24 21:13"), "{said}");
        assert!(refused("validation_from = '2023-11-01'\ntest_from = '2023-11-16'").contains("part `train` has no rows"));
        assert!(refused("validation_from = '2023-11-16'\ntest_from = '2023-11-16'").contains("part `validation` has no rows"));
        assert!(refused("validation_from = '2023-11-17'\ntest_from = '2023-11-16'").contains("swap them"));
    }

    #[test]
    fn what_is_no_cut_names_its_key() {
        for (keys, expected) in [
            ("validation_from = 'soon'\ntest_from = 1", "`validation_from` = \"soon\""),
            ("validation_from = 1\ntest_from = 12:00:00", "`test_from` = 12:00:00"),
            ("validation_from = 1\ntest_from = 1.5", "`test_from` = 1.5"),
            ("validation_from = 1", "`test_from`: is missing"),
            ("", "`validation_from`: is missing"),
            ("validation_from = 1\ntest_from = 2\ntest = 0.1", "`test`: excludes"),
            ("validation = 0.1", "`test`: is missing"),
            ("validation = 0.1\ntest = 10", "`test`: is a share"),
            ("validation = 0.5\ntest = 0.5", "leaves no training rows"),
            ("validation = 0.5\ntests = 0.5", "unknown field `tests`"),
        ] {
            let said = cut(keys).unwrap_err();
            assert!(said.contains(expected), "{keys}: {said}");
        }
    }

    #[test]
    fn shares_are_met_as_far_as_equal_times_allow() {
        let bounds = |times: &[i64]| share_bounds(times, [0.1, 0.1]);
        let even: Vec<i64> = (0..100).collect();
        assert_eq!(bounds(&even), Some([80, 90]));
        assert_eq!(share_bounds(&even, [0.2, 0.3]), Some([50, 70]));
        let days = [vec![1; 50], vec![2; 10], vec![3; 940]].concat();
        assert_eq!(bounds(&days), Some([2, 3]));
        let early = [vec![1; 940], vec![2; 30], vec![3; 30]].concat();
        assert_eq!(bounds(&early), Some([2, 3]));
        assert_eq!((bounds(&[5, 5, 6]), bounds(&[])), (None, None));
        assert_eq!(bounds(&[1, 2, 3]), Some([2, 3]));
        let twice = log(&[5, 5, 6]);
        assert!(cut("validation = 0.1\ntest = 0.1").unwrap().split(view(&twice, Zone::UTC)).unwrap_err().to_string().contains("three"));
    }

    proptest! {
        #[test]
        fn shares_leave_no_part_empty_and_order_decides(times in proptest::collection::vec(0i64..40, 3..80), validation in 0.01f64..0.5, test in 0.01f64..0.49) {
            let log = log(&times);
            match (TimeCut::Shares { validation, test }).split(view(&log, Zone::UTC)) {
                Ok(split) => {
                    let ends = |part| {
                        let times = split.rows(part).unwrap().iter().map(|&row| times[row as usize]);
                        (times.clone().min().unwrap(), times.max().unwrap())
                    };
                    let (train, validation, test) = (ends("train"), ends("validation"), ends("test"));
                    prop_assert!(train.1 < validation.0 && validation.1 < test.0);
                    prop_assert_eq!(split.left_out(), 0);
                }
                Err(error) => {
                    let distinct: std::collections::BTreeSet<_> = times.iter().collect();
                    prop_assert!(distinct.len() < 3, "{}", error);
                }
            }
        }

        /// Rows that come later leave the rows of today where they are.
        #[test]
        fn a_fixed_cut_cuts_a_longer_log_in_the_same_places(
            times in proptest::collection::btree_set(0i64..4_000_000_000_000_000, 3..40),
            more in proptest::collection::vec(0i64..4_000_000_000_000_000, 0..20),
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let short = log(&times);
            let shares = TimeCut::Shares { validation: 0.2, test: 0.2 };
            let fixed = shares.fixed(view(&short, Zone::UTC)).unwrap();
            let (json, text) = (serde_json::to_string(&fixed).unwrap(), toml::to_string(&fixed).unwrap());
            prop_assert_eq!(&serde_json::from_str::<TimeCut>(&json).unwrap(), &fixed);
            prop_assert_eq!(&toml::from_str::<TimeCut>(&text).unwrap(), &fixed);
            let long = log(&[times.clone(), more].concat());
            let zone = "+09:00".parse().unwrap();
            let (before, after) = (shares.split(view(&short, Zone::UTC)).unwrap(), fixed.split(view(&long, zone)).unwrap());
            for part in ["train", "validation", "test"] {
                let kept: Vec<u32> = after.rows(part).unwrap().iter().copied().filter(|&row| (row as usize) < times.len()).collect();
                prop_assert_eq!(before.rows(part).unwrap(), kept);
            }
        }
    }
}
