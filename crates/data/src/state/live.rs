//! The state held by key: events go in one by one, and the features of any row come out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::Level;
use super::derivation::names;
use super::key::{key_hash, name_hash};
use super::list::{Entry, span};
use super::tally::{Mark, Tally, TallyKind};
use crate::config::Span;
use crate::config::{Domains, StatisticValue};
use crate::encode::{Encoding, Reading};
use crate::{Encoder, FeatureKind, Scaler, Vocabulary, Zone};

/// A row as it comes in: what happened, or what is asked about.
///
/// Columns go by name: `user`, `item`, `domain`, a categorical feature that stands in a `by`, and the features of earlier rows themselves, whose value is that
/// of their own column. Texts are spelled as the encoder reads them.
pub trait Event {
    /// Microseconds since 1970 (UTC).
    fn time(&self) -> i64;

    /// The label; asked of what happened only.
    fn label(&self) -> f64;

    /// The text of a column; none where it is missing.
    fn text(&self, column: &str) -> Option<&str>;

    /// The number of a statistic's own column; NaN where it is missing. Asked of what happened only.
    fn number(&self, feature: &str) -> f64;
}

/// The features of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateFeatures {
    /// The codes of each history, oldest first, in the order of the encoder.
    pub lists: Vec<Vec<u32>>,
    /// Each statistic, scaled, in the order of the encoder.
    pub numbers: Vec<f32>,
}

/// What is known of a log, by key.
///
/// Loading a data set and asking this for each row give the same bits. Events may come in any order as long as none comes more than `lateness` after one of a
/// later time; one that comes later than that is left out and counted. A key of a count, rate or mean keeps 24 bytes and its map entry of 40, with a half-life
/// 32, with a window 300; distinct values at most 2 kB; a history 16 bytes for each of at most `max_length` entries; events of the last `lateness` and `lag`
/// lie beside them, 16 bytes each.
#[derive(Clone, Debug)]
pub struct FeatureState {
    pub(super) zone: Zone,
    pub(super) lateness: i64,
    pub(super) newest: i64,
    pub(super) late: u64,
    features: Vec<Feature>,
}

#[derive(Clone, Debug)]
struct Feature {
    name: String,
    reading: Reading,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    History { vocabulary: Arc<Vocabulary>, users: HashMap<u128, Apart<List>> },
    Statistic { tally: TallyKind, scaler: Scaler, steps: Vec<Step> },
}

/// One key of a statistic, from that of all rows to its own.
#[derive(Clone, Debug)]
struct Step {
    parts: Vec<String>,
    /// How it is shrunk, if it is.
    level: Option<Level>,
    keys: HashMap<u128, Apart<Line>>,
}

impl Step {
    fn key(&self, event: &impl Event) -> u128 {
        key(event, self.parts.iter().map(String::as_str))
    }
}

/// What a key keeps: of all domains together, or of each apart, in the order of their hashes.
pub(super) type Apart<T> = BTreeMap<u128, T>;

/// The last values of a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct List(Vec<Entry>);

impl List {
    /// Adds a value, and forgets those that no row from `horizon` on can see.
    fn add(&mut self, entry: Entry, reading: &Reading, horizon: i64) {
        let at = self.0.partition_point(|other| *other <= entry);
        self.0.insert(at, entry);
        let settled = self.0.partition_point(|&(time, _)| time < horizon);
        let most = reading.max_length.unwrap_or(usize::MAX);
        // Cut rarely, since that moves what stays.
        if settled > most.saturating_mul(2) {
            self.0.drain(..settled - most);
        }
    }
}

/// The rows of a key: those that no earlier one can come before any more, summed up, and the others in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    settled: Tally,
    recent: Vec<Mark>,
}

impl Line {
    fn new(kind: TallyKind) -> Self {
        Self { settled: Tally::new(kind), recent: Vec::new() }
    }

    fn add(&mut self, kind: TallyKind, mark: Mark, horizon: i64) {
        let at = self.recent.partition_point(|other| *other <= mark);
        self.recent.insert(at, mark);
        let settled = self.recent.partition_point(|mark| mark.time < horizon);
        self.recent.drain(..settled).for_each(|mark| self.settled.add(kind, mark));
    }

    /// The rows before `cutoff`, with some more.
    fn at(&self, kind: TallyKind, cutoff: i64, more: &[Mark]) -> Cow<'_, Tally> {
        let recent = self.recent.iter().filter(|mark| mark.time < cutoff);
        if more.is_empty() && recent.clone().next().is_none() {
            return Cow::Borrowed(&self.settled);
        }
        let mut tally = self.settled.clone();
        if more.is_empty() {
            recent.for_each(|&mark| tally.add(kind, mark));
        } else {
            let mut all: Vec<Mark> = recent.chain(more).copied().collect();
            all.sort_unstable();
            all.into_iter().for_each(|mark| tally.add(kind, mark));
        }
        Cow::Owned(tally)
    }
}

/// What is kept of one feature, key by key in the order of the keys, so that equal states are equal files.
#[derive(Serialize, Deserialize)]
pub(super) enum Kept {
    History(Vec<(u128, Apart<List>)>),
    Statistic(Vec<Vec<(u128, Apart<Line>)>>),
}

fn sorted<T: Clone>(keys: &HashMap<u128, Apart<T>>) -> Vec<(u128, Apart<T>)> {
    let mut sorted: Vec<_> = keys.iter().map(|(&key, kept)| (key, kept.clone())).collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted
}

impl FeatureState {
    /// Everything that is kept.
    pub(super) fn kept(&self) -> Vec<Kept> {
        let of = |feature: &Feature| match &feature.kind {
            Kind::History { users, .. } => Kept::History(sorted(users)),
            Kind::Statistic { steps, .. } => Kept::Statistic(steps.iter().map(|step| sorted(&step.keys)).collect()),
        };
        self.features.iter().map(of).collect()
    }

    /// Takes back what was kept; `false` where it is not that of these features.
    pub(super) fn restore(&mut self, kept: Vec<Kept>) -> bool {
        let fits = kept.len() == self.features.len();
        fits && self.features.iter_mut().zip(kept).all(|(feature, kept)| match (&mut feature.kind, kept) {
            (Kind::History { users, .. }, Kept::History(kept)) => {
                *users = kept.into_iter().collect();
                true
            }
            (Kind::Statistic { tally, steps, .. }, Kept::Statistic(kept)) => {
                let fits = kept.len() == steps.len()
                    && kept.iter().flatten().flat_map(|(_, lines)| lines.values()).all(|line| line.settled.is_of(*tally));
                steps.iter_mut().zip(kept).for_each(|(step, kept)| step.keys = kept.into_iter().collect());
                fits
            }
            _ => false,
        })
    }

    /// Nothing is known yet. Events may come up to `lateness` after later ones.
    #[must_use]
    pub fn new(encoder: &Encoder, zone: Zone, lateness: Option<Span>) -> Self {
        // Histories of one vocabulary share it.
        let mut shared: HashMap<usize, Arc<Vocabulary>> = HashMap::new();
        let features = encoder.features().iter().filter_map(|feature| {
            let kind = match (feature.reading.kind, feature.encoding) {
                (FeatureKind::History, Encoding::Bag(vocabulary)) => {
                    let own = || Arc::new(encoder.vocabularies()[vocabulary.at()].clone());
                    Kind::History { vocabulary: shared.entry(vocabulary.at()).or_insert_with(own).clone(), users: HashMap::new() }
                }
                (FeatureKind::Statistic, Encoding::Numeric(scaler)) => {
                    let mut keys = names(&feature.reading);
                    if feature.reading.domains == Some(Domains::Same) {
                        keys.iter_mut().for_each(|parts| parts.push("domain".to_owned()));
                    }
                    let step = |(i, parts)| Step { parts, level: feature.levels.get(i).copied(), keys: HashMap::new() };
                    Kind::Statistic { tally: feature.reading.tally(), scaler, steps: keys.into_iter().enumerate().map(step).collect() }
                }
                _ => return None,
            };
            Some(Feature { name: feature.name.clone(), reading: feature.reading.clone(), kind })
        });
        let (features, lateness) = (features.collect(), lateness.map_or(0, Span::micros));
        Self { zone, lateness, newest: i64::MIN, late: 0, features }
    }

    /// How many events came too late and were left out.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// The time of the newest event; none before the first.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        (self.newest > i64::MIN).then_some(self.newest)
    }

    /// Learns of an event.
    pub fn update(&mut self, event: &impl Event) {
        let time = event.time();
        let horizon = self.newest.max(time).saturating_sub(self.lateness);
        if time < horizon {
            self.late += 1;
            return;
        }
        self.newest = self.newest.max(time);
        let (label, domain) = (event.label(), event.text("domain").unwrap_or_default());
        for Feature { name, reading, kind } in &mut self.features {
            if !reads(reading, domain) {
                continue;
            }
            let horizon = reading.lag.unwrap_or_default().cutoff(horizon, self.zone);
            let place = place(reading, domain);
            match kind {
                Kind::History { vocabulary, users } => {
                    let code = event.text(name).map_or(0, |text| vocabulary.row(text));
                    let Some(code) = reading.listed(code, label) else { continue };
                    let list = users.entry(key(event, ["user"])).or_default().entry(place).or_default();
                    list.add((time, code), reading, horizon);
                }
                Kind::Statistic { tally, steps, .. } => {
                    let Some(bits) = bits(name, reading, event) else { continue };
                    for step in steps {
                        let key = step.key(event);
                        let line = step.keys.entry(key).or_default().entry(place).or_insert_with(|| Line::new(*tally));
                        line.add(*tally, Mark { time, bits }, horizon);
                    }
                }
            }
        }
    }

    /// The features of a row at its time, as if `overlay` had happened as well; the state is not changed.
    #[must_use]
    pub fn features<E: Event, O: Event>(&self, row: &E, overlay: &[O]) -> StateFeatures {
        let mut made = StateFeatures::default();
        let (now, domain) = (row.time(), row.text("domain").unwrap_or_default());
        for Feature { name, reading, kind } in &self.features {
            let cutoff = reading.lag.unwrap_or_default().cutoff(now, self.zone);
            let more = || {
                let known = overlay.iter().filter(move |event| event.time() < cutoff);
                known.filter(|event| reads(reading, event.text("domain").unwrap_or_default()))
            };
            let own = place(reading, domain);
            let is_read = |place: u128| match reading.domains {
                Some(Domains::Same) => place == own,
                Some(Domains::Other) => place != own,
                _ => true,
            };
            match kind {
                Kind::History { vocabulary, users } => {
                    let user = key(row, ["user"]);
                    let known = users.get(&user).into_iter().flatten().filter(|(place, _)| is_read(**place));
                    let mut list: Vec<Entry> = known.flat_map(|(_, list)| &list.0).copied().collect();
                    list.extend(more().filter(|event| key(*event, ["user"]) == user).filter_map(|event| {
                        let place = self::place(reading, event.text("domain").unwrap_or_default());
                        let code = event.text(name).map_or(0, |text| vocabulary.row(text));
                        Some((event.time(), reading.listed(code, event.label())?)).filter(|_| is_read(place))
                    }));
                    list.sort_unstable();
                    let [begin, end] = span(&list, reading.max_length.unwrap_or(usize::MAX), reading.max_age, now, cutoff);
                    made.lists.push(list[begin..end].iter().map(|&(_, code)| code).collect());
                }
                Kind::Statistic { tally: kind, scaler, steps } => {
                    let mut value = f64::NAN;
                    for (i, step) in steps.iter().enumerate() {
                        let own = step.key(row);
                        // Marks of the overlay by place, as the key's own.
                        let mut marks: Apart<Vec<Mark>> = Apart::new();
                        for event in more().filter(|event| step.key(*event) == own) {
                            let place = self::place(reading, event.text("domain").unwrap_or_default());
                            let mark = bits(name, reading, event).map(|bits| Mark { time: event.time(), bits });
                            marks.entry(place).or_default().extend(mark);
                        }
                        let empty = Apart::new();
                        let lines = step.keys.get(&own).unwrap_or(&empty);
                        let mut places: Vec<u128> = lines.keys().chain(marks.keys()).copied().filter(|place| is_read(*place)).collect();
                        places.sort_unstable();
                        places.dedup();
                        let at = |place: &u128| {
                            let more = marks.get(place).map(Vec::as_slice).unwrap_or_default();
                            match lines.get(place) {
                                Some(line) => line.at(*kind, cutoff, more),
                                None => Cow::Owned(Line::new(*kind).at(*kind, cutoff, more).into_owned()),
                            }
                        };
                        let tally = if reading.domains == Some(Domains::Other) {
                            let mut all = Tally::new(*kind);
                            places.iter().for_each(|place| all.merge(*kind, &at(place), cutoff));
                            Cow::Owned(all)
                        } else {
                            places.first().map_or_else(|| Cow::Owned(Tally::new(*kind)), at)
                        };
                        let (n, sum) = tally.sums(*kind, cutoff);
                        value = match (reading.statistic(), step.level) {
                            (StatisticValue::Count, _) => n,
                            (StatisticValue::Distinct, _) => tally.distinct(),
                            (StatisticValue::Age, _) => tally.age(reading.since.unwrap_or_default(), now),
                            (StatisticValue::Rate | StatisticValue::Mean, Some(level)) => {
                                level.shrunk(n, sum, if i == 0 { level.value } else { value })
                            }
                            (StatisticValue::Rate | StatisticValue::Mean, None) => value,
                        };
                    }
                    made.numbers.push(scaler.apply(reading.transformed(value)));
                }
            }
        }
        made
    }
}

/// Whether rows of a domain count at all.
fn reads(reading: &Reading, domain: &str) -> bool {
    match &reading.domains {
        Some(Domains::Named(names)) => names.iter().any(|name| name == domain),
        _ => true,
    }
}

/// Where a row is kept under its key.
fn place(reading: &Reading, domain: &str) -> u128 {
    match (&reading.domains, reading.kind) {
        (Some(Domains::Other), _) | (Some(Domains::Same), FeatureKind::History) => name_hash(domain),
        // The key of a statistic of its own domain holds the domain.
        _ => 0,
    }
}

fn key<'a>(event: &impl Event, parts: impl IntoIterator<Item = &'a str>) -> u128 {
    key_hash(parts.into_iter().map(|part| event.text(part).map_or(0, name_hash)))
}

/// What an event adds to a statistic.
fn bits(name: &str, reading: &Reading, event: &impl Event) -> Option<u64> {
    match (reading.statistic(), reading.has_column) {
        (StatisticValue::Distinct, _) => reading.hash_bits(event.text(name).map_or(0, value_hash), event.label()),
        (_, true) => reading.number_bits(event.number(name)),
        (_, false) => reading.number_bits(event.label()),
    }
}

/// The hash by which distinct values are counted; 0 is a missing value.
pub(crate) fn value_hash(text: &str) -> u64 {
    if text.is_empty() { 0 } else { ((name_hash(text) >> 64) as u64).max(1) }
}
