//! The features of a data set that are made of earlier rows: how each is made, and the columns that it takes.

use std::sync::Arc;

use super::Known;
use super::fit::Level;
use super::key::{Column, Groups, KeyPart};
use super::list::{Listing, Within};
use super::replay::{Counting, Course};
use super::tally::{Tally, TallyKind};
use crate::config::{Condition, Domains, Since, StatisticValue};
use crate::encode::Reading;
use crate::{DataError, Lists, Log, Side, Transform, Zone};

/// Probabilities are kept this far from 0 and 1.
const EDGE: f64 = 1e-6;

/// How one feature is made of earlier rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Derived<'a> {
    History(History),
    Statistic(Statistic<'a>),
}

/// A history and the column it lists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    pub(crate) reading: Reading,
    pub(crate) within: Within,
    pub(crate) side: Side,
    /// One code for each entity.
    pub(crate) codes: Arc<Vec<u32>>,
}

/// A statistic and the columns it reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statistic<'a> {
    pub(crate) reading: Reading,
    pub(crate) within: Within,
    /// The keys towards which it is shrunk, from that of all rows to its own.
    pub(crate) keys: Vec<Vec<KeyPart<'a>>>,
    pub(crate) input: Input<'a>,
}

/// What a statistic takes of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input<'a> {
    /// Its label.
    Label,
    /// A number; NaN where it is missing.
    Number { side: Side, values: Column<'a, f64> },
    /// The hash of a value; 0 where it is missing.
    Hash { side: Side, hashes: Arc<Vec<u64>> },
}

impl History {
    pub(crate) fn run(&self, course: &Course<'_>, groups: &mut Groups<'_, '_>, name: &str) -> Result<Lists, DataError> {
        let (log, reading) = (course.log, &self.reading);
        let listing = Listing {
            lag: reading.lag.unwrap_or_default(),
            max_age: reading.max_age,
            max_length: reading.max_length.unwrap_or(usize::MAX),
            within: self.within.clone(),
            code: |row: u32| {
                let row = row as usize;
                reading.listed(self.codes[log.entity(self.side, row)], log.label[row].into())
            },
        };
        listing.run(course, groups.of(&[KeyPart::User]), name)
    }
}

impl<'a> Statistic<'a> {
    pub(crate) fn value(&self) -> StatisticValue {
        self.reading.statistic()
    }

    /// Whether it is shrunk towards the values of other keys.
    pub(crate) fn is_shrunk(&self) -> bool {
        matches!(self.value(), StatisticValue::Rate | StatisticValue::Mean)
    }

    /// What a row adds to its key: its number, 0 or 1 for a rate, or a hash; nothing where it does not count.
    pub(crate) fn bits(&self, log: &Log, row: u32) -> Option<u64> {
        let row = row as usize;
        if !self.within.has(log.domain[row]) {
            return None;
        }
        let label = f64::from(log.label[row]);
        match &self.input {
            Input::Label => self.reading.number_bits(label),
            Input::Number { side, values } => self.reading.number_bits(values[log.entity(*side, row)]),
            Input::Hash { side, hashes } => self.reading.hash_bits(hashes[log.entity(*side, row)], label),
        }
    }

    /// The value of each row, before it is scaled; NaN where nothing is known.
    pub(crate) fn run(&self, course: &Course<'_>, groups: &mut Groups<'_, 'a>, levels: &[Level]) -> Vec<f64> {
        let reading = &self.reading;
        let kind = reading.tally();
        let lag = reading.lag.unwrap_or_default();
        let mark = |row: u32| self.bits(course.log, row);
        let (of_others, of_user) = (self.within == Within::Other, self.own().contains(&KeyPart::User));
        let mut values = vec![levels.first().map_or(0.0, |level| level.value); course.log.len()];
        match self.value() {
            StatisticValue::Count => {
                let read = |tally: &Tally, _: u32, cutoff: i64, _: f64| tally.sums(kind, cutoff).0;
                Counting { kind, lag, of_others, of_user, mark, read }.run(course, groups.of(self.own()), &mut values);
            }
            StatisticValue::Distinct => {
                let read = |tally: &Tally, _: u32, _: i64, _: f64| tally.distinct();
                Counting { kind, lag, of_others, of_user, mark, read }.run(course, groups.of(self.own()), &mut values);
            }
            StatisticValue::Age => {
                let since: Since = reading.since.unwrap_or_default();
                let read = |tally: &Tally, row: u32, _: i64, _: f64| tally.age(since, course.asked(row));
                Counting { kind, lag, of_others, of_user, mark, read }.run(course, groups.of(self.own()), &mut values);
            }
            StatisticValue::Rate | StatisticValue::Mean => {
                for (keys, level) in self.keys.iter().zip(levels) {
                    let read = |tally: &Tally, _: u32, cutoff: i64, parent: f64| {
                        let (n, sum) = tally.sums(kind, cutoff);
                        level.shrunk(n, sum, parent)
                    };
                    let of_user = keys.contains(&KeyPart::User);
                    Counting { kind, lag, of_others, of_user, mark, read }.run(course, groups.of(keys), &mut values);
                }
            }
        }
        values.iter_mut().for_each(|x| *x = reading.transformed(*x));
        values
    }

    /// Its own key.
    pub(crate) fn own(&self) -> &[KeyPart<'a>] {
        self.keys.last().map(Vec::as_slice).unwrap_or_default()
    }
}

impl Reading {
    pub(crate) fn statistic(&self) -> StatisticValue {
        self.value.unwrap_or(StatisticValue::Count)
    }

    pub(crate) fn tally(&self) -> TallyKind {
        TallyKind::of(self.statistic(), self.window, self.half_life)
    }

    /// What a row with this number adds to its key: the number, or 0 or 1 for a rate; nothing where it does not count.
    pub(crate) fn number_bits(&self, number: f64) -> Option<u64> {
        if number.is_nan() {
            return None;
        }
        if self.statistic() == StatisticValue::Rate {
            let succeeds = self.condition.unwrap_or(Condition::POSITIVE).holds(number);
            return Some(f64::from(u8::from(succeeds)).to_bits());
        }
        self.counts(number).then_some(number.to_bits())
    }

    /// Whether a row with this label or number counts.
    pub(crate) fn counts(&self, number: f64) -> bool {
        self.condition.is_none_or(|condition| condition.holds(number))
    }

    /// What a row with this value adds to a count of distinct values; 0 is a missing value.
    pub(crate) fn hash_bits(&self, hash: u64, label: f64) -> Option<u64> {
        (hash != 0 && self.counts(label)).then_some(hash)
    }

    /// The code that a row leaves in a history; nothing where it does not count.
    pub(crate) fn listed(&self, code: u32, label: f64) -> Option<u32> {
        (self.counts(label) && (code != 0 || self.keep_unknown)).then_some(code)
    }

    pub(crate) fn transformed(&self, x: f64) -> f64 {
        match self.transform {
            Some(Transform::Log1p) => x.ln_1p(),
            Some(Transform::Logit) => {
                let p = x.clamp(EDGE, 1.0 - EDGE);
                (p / (1.0 - p)).ln()
            }
            _ => x,
        }
    }
}

/// The keys towards which a statistic is shrunk, from that of all rows to its own.
pub(crate) fn names(reading: &Reading) -> Vec<Vec<String>> {
    let own = reading.by.clone();
    if !matches!(reading.statistic(), StatisticValue::Rate | StatisticValue::Mean) {
        return vec![own];
    }
    let shorter = |names: &Vec<String>| names.split_last().map(|(_, rest)| rest.to_vec());
    let parent = reading.parent.clone().filter(|parent| parent.len() < own.len()).or_else(|| shorter(&own));
    let mut keys: Vec<Vec<String>> = std::iter::successors(parent, shorter).collect();
    keys.reverse();
    keys.push(own);
    keys
}

/// The domains of a choice, by index.
pub(crate) fn within(domains: Option<&Domains>, names: &[String]) -> Within {
    match domains {
        None | Some(Domains::All) => Within::All(None),
        Some(Domains::Same) => Within::Same,
        Some(Domains::Other) => Within::Other,
        Some(Domains::Named(wanted)) => Within::All(Some(names.iter().map(|name| wanted.contains(name)).collect())),
    }
}

/// Everything that it takes to make the features of earlier rows again, when other rows are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Derivation {
    pub(crate) zone: Zone,
    pub(crate) features: Vec<Planned>,
}

/// One feature: how it is made, and the column that it becomes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) derived: Derived<'static>,
    /// Of a statistic that is shrunk.
    pub(crate) levels: Vec<Level>,
    pub(crate) scaler: crate::Scaler,
    /// Its position among the bags, or among the numbers.
    pub(crate) column: usize,
}

/// A column made of earlier rows.
pub(crate) enum Made {
    Lists(Lists),
    Numbers(Vec<f32>),
}

impl Planned {
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.derived, Derived::History(_))
    }

    /// The number of a row of which nothing is known.
    pub(crate) fn unknown(&self) -> f32 {
        let Derived::Statistic(statistic) = &self.derived else { return 0.0 };
        let value = match statistic.value() {
            StatisticValue::Count | StatisticValue::Distinct => 0.0,
            StatisticValue::Age => f64::NAN,
            StatisticValue::Rate | StatisticValue::Mean => self.levels.first().map_or(0.0, |level| level.value),
        };
        self.scaler.apply(statistic.reading.transformed(value))
    }

    /// Its own key.
    fn key(&self) -> &[KeyPart<'static>] {
        match &self.derived {
            Derived::History(_) => &[KeyPart::User],
            Derived::Statistic(statistic) => statistic.own(),
        }
    }

    fn run(&self, course: &Course<'_>, groups: &mut Groups<'_, 'static>) -> Result<Made, DataError> {
        Ok(match &self.derived {
            Derived::History(history) => Made::Lists(history.run(course, groups, &self.name)?),
            Derived::Statistic(statistic) => {
                let values = statistic.run(course, groups, &self.levels);
                Made::Numbers(self.scaler.column(&values))
            }
        })
    }
}

impl Derivation {
    /// Makes every column anew, but for numbers that are there already: those of all statistics, in their order, or none.
    pub(crate) fn run(&self, log: &Log, domains: &[String], known: &Known, ready: Vec<Vec<f32>>) -> Result<Vec<Made>, DataError> {
        let mut ready = ready.into_iter();
        let mut made: Vec<Option<Made>> = Vec::new();
        made.extend(self.features.iter().map(|feature| if feature.is_list() { None } else { ready.next().map(Made::Numbers) }));
        let mut missing: Vec<usize> = (0..made.len()).filter(|&i| made[i].is_none()).collect();
        // Features of one key follow each other, so that rows are grouped by it once.
        missing.sort_by_key(|&i| self.features.iter().position(|other| other.key() == self.features[i].key()));
        if !missing.is_empty() {
            let course = Course::new(log, domains, self.zone, known);
            let mut groups = Groups::new(&course);
            for i in missing {
                made[i] = Some(self.features[i].run(&course, &mut groups)?);
            }
        }
        Ok(made.into_iter().flatten().collect())
    }
}
