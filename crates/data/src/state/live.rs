//! The state held by key: events go in one by one, and the features of any row come out.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Level;
use super::derivation::names;
use super::key::name_hash;
use super::line::{Held, Kept, Line, List};
use super::list::{Entry, span};
use super::met::{Keys, Met, value_hash};
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

    /// The hash of that text: the first 16 bytes of its SHA-256, the highest first. Who meets the same texts again and again may remember it.
    fn text_hash(&self, column: &str) -> Option<u128> {
        self.text(column).map(name_hash)
    }

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
/// later time; one that comes later than that is left out and counted.
///
/// A key of some columns costs 16 bytes and 6 to 11 of a hash table, whichever features share it. For each of its keys, also of those that it is shrunk
/// towards, a statistic keeps 56 bytes, its newest row among them: all there is of a count, rate or mean without a window, and of an age. A window adds 24
/// bytes for each twenty-fourth of it that has rows, at most 768 in all; distinct values 8 each, at most 2 kB. A history keeps 24 bytes for each user and 16
/// for each of at most `2 max_length` values. With `domains = "other"`, and in a history of the `"same"`, all this is kept for each domain of a key, 16 bytes
/// more each. A key's rows of the last `lateness` and `lag`, if there are several, take 16 bytes each. Lists grow by doubling, and so hold room for up to as
/// much again.
#[derive(Clone, Debug)]
pub struct FeatureState {
    pub(super) zone: Zone,
    pub(super) lateness: i64,
    pub(super) newest: i64,
    pub(super) late: u64,
    /// Events before it are late, whatever the lateness.
    floor: i64,
    /// Columns that stand in a key.
    columns: Vec<String>,
    pub(super) keys: Vec<Keys>,
    /// Whether something is kept by domain.
    is_apart: bool,
    pub(super) features: Vec<Feature>,
}

#[derive(Clone, Debug)]
pub(super) struct Feature {
    name: String,
    reading: Reading,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    History { vocabulary: Arc<Vocabulary>, keys: usize, lists: Kept<List> },
    Statistic { tally: TallyKind, scaler: Scaler, steps: Vec<Step> },
}

/// One key of a statistic, from that of all rows to its own.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Position among the keys of the state.
    pub(super) keys: usize,
    /// How it is shrunk, if it is.
    level: Option<Level>,
    pub(super) lines: Kept<Line>,
}

impl FeatureState {
    /// Nothing is known yet. Events may come up to `lateness` after later ones.
    #[must_use]
    pub fn new(encoder: &Encoder, zone: Zone, lateness: Option<Span>) -> Self {
        // Histories of one vocabulary share it.
        let mut shared: HashMap<usize, Arc<Vocabulary>> = HashMap::new();
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        let mut keys_of = |parts: &[String]| {
            let parts: Vec<usize> = parts.iter().map(|part| position(&mut columns, |column| column == part, || part.clone())).collect();
            position(&mut keys, |keys: &Keys| keys.parts == parts, || Keys::new(parts.clone()))
        };
        let mut features = Vec::new();
        for feature in encoder.features() {
            let kind = match (feature.reading.kind, feature.encoding) {
                (FeatureKind::History, Encoding::Bag(vocabulary)) => {
                    let own = || Arc::new(encoder.vocabularies()[vocabulary.at()].clone());
                    Kind::History {
                        vocabulary: shared.entry(vocabulary.at()).or_insert_with(own).clone(),
                        keys: keys_of(&["user".to_owned()]),
                        lists: Kept::new(is_apart(&feature.reading)),
                    }
                }
                (FeatureKind::Statistic, Encoding::Numeric(scaler)) => {
                    let mut names = names(&feature.reading);
                    if feature.reading.domains == Some(Domains::Same) {
                        names.iter_mut().for_each(|parts| parts.push("domain".to_owned()));
                    }
                    let lines = || Kept::new(is_apart(&feature.reading));
                    let step = |(i, parts): (usize, &Vec<String>)| Step {
                        keys: keys_of(parts),
                        level: feature.levels.get(i).copied(),
                        lines: lines(),
                    };
                    Kind::Statistic { tally: feature.reading.tally(), scaler, steps: names.iter().enumerate().map(step).collect() }
                }
                _ => continue,
            };
            features.push(Feature { name: feature.name.clone(), reading: feature.reading.clone(), kind });
        }
        let is_apart = features.iter().any(|feature| is_apart(&feature.reading));
        let lateness = lateness.map_or(0, Span::micros);
        Self { zone, lateness, newest: i64::MIN, late: 0, floor: i64::MIN, columns, keys, is_apart, features }
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

    /// From now on events may come up to `lateness` after later ones, but none before `floor`: what is summed up stays so. `floor` is no part of its bytes.
    pub fn expect(&mut self, lateness: Span, floor: i64) {
        (self.lateness, self.floor) = (lateness.micros(), floor);
    }

    /// Learns of an event.
    pub fn update(&mut self, event: &impl Event) {
        let met = self.meet(event);
        self.learn_of(&met);
    }

    /// The features of a row at its time, as if `overlay` had happened as well; the state is not changed.
    #[must_use]
    pub fn features<E: Event, O: Event>(&self, row: &E, overlay: &[O]) -> StateFeatures {
        self.features_of(&self.meet(row), &overlay.iter().map(|event| self.meet(event)).collect::<Vec<_>>())
    }

    /// Whether the texts of a column are hashed.
    pub(super) fn hashes(&self, column: &str) -> bool {
        let counts = |feature: &Feature| feature.name == column && feature.reading.statistic() == StatisticValue::Distinct;
        self.columns.iter().any(|name| name == column) || column == "domain" && self.is_apart || self.features.iter().any(counts)
    }

    /// Looks up what an event says, for both of the above.
    pub(super) fn meet<'a, E: Event>(&self, event: &'a E) -> Met<'a, E> {
        Met::new(event, self.is_apart, &self.columns, &self.keys)
    }

    pub(super) fn learn_of<E: Event>(&mut self, met: &Met<'_, E>) {
        let time = met.time;
        let horizon = self.newest.max(time).saturating_sub(self.lateness).max(self.floor);
        if time < horizon {
            self.late += 1;
            return;
        }
        self.newest = self.newest.max(time);
        let label = met.event.label();
        let mut numbers: Vec<Option<u32>> = vec![None; self.keys.len()];
        for Feature { name, reading, kind } in &mut self.features {
            if !reads(reading, met.domain) {
                continue;
            }
            let horizon = reading.lag.unwrap_or_default().cutoff(horizon, self.zone);
            let mut number = |keys: usize| *numbers[keys].get_or_insert_with(|| self.keys[keys].number(met.keys[keys]));
            match kind {
                Kind::History { vocabulary, keys, lists } => {
                    let Some(code) = listed(name, reading, vocabulary, met.event, label) else { continue };
                    lists.reach(number(*keys), met.place, List::default).add((time, code), reading, horizon);
                }
                Kind::Statistic { tally, steps, .. } => {
                    let Some(bits) = bits(name, reading, met.event) else { continue };
                    for Step { keys, lines, .. } in steps {
                        let line = lines.reach(number(*keys), met.place, || Line::new(*tally));
                        line.add(*tally, Mark { time, bits }, horizon);
                    }
                }
            }
        }
    }

    pub(super) fn features_of<E: Event, O: Event>(&self, row: &Met<'_, E>, overlay: &[Met<'_, O>]) -> StateFeatures {
        let mut made = StateFeatures::default();
        let numbers = self.numbers(row);
        for feature in &self.features {
            match self.value(feature, row, &numbers, overlay, &mut Vec::new()) {
                Value::List(codes) => made.lists.push(codes),
                Value::Number(number) => made.numbers.push(number),
            }
        }
        made
    }

    /// The number of each key of a row, where it is known.
    pub(super) fn numbers<E: Event>(&self, row: &Met<'_, E>) -> Vec<Option<u32>> {
        self.keys.iter().zip(&row.keys).map(|(keys, &key)| keys.find(key)).collect()
    }

    /// One feature of a row whose keys have these numbers. `sums` are those of the row before, whose keys may be the same; they are only used without overlay.
    pub(super) fn value<E: Event, O: Event>(
        &self,
        feature: &Feature,
        row: &Met<'_, E>,
        numbers: &[Option<u32>],
        overlay: &[Met<'_, O>],
        sums: &mut Vec<Option<Sums>>,
    ) -> Value {
        let Feature { name, reading, kind } = feature;
        let now = row.time;
        let cutoff = reading.lag.unwrap_or_default().cutoff(now, self.zone);
        // Whether what is kept of a domain is read.
        let is_read = |place: u128| match (reading.kind, &reading.domains) {
            (_, Some(Domains::Other)) => place != row.place,
            (FeatureKind::History, Some(Domains::Same)) => place == row.place,
            _ => true,
        };
        let more = overlay.iter().filter(|met| met.time < cutoff && reads(reading, met.domain) && is_read(met.place));
        match kind {
            Kind::History { vocabulary, keys, lists } => {
                let more = more.filter(|met| met.keys[*keys] == row.keys[*keys]);
                let more = more.filter_map(|met| Some((met.time, listed(name, reading, vocabulary, met.event, met.event.label())?)));
                let list = list(lists.of(numbers[*keys]), is_read, more.collect());
                let [begin, end] = span(&list, reading.max_length.unwrap_or(usize::MAX), reading.max_age, now, cutoff);
                Value::List(list[begin..end].iter().map(|&(_, code)| code).collect())
            }
            Kind::Statistic { tally: kind, scaler, steps } => {
                let mark = |met: &Met<'_, O>| Some(Mark { time: met.time, bits: bits(name, reading, met.event)? });
                let more: Vec<(&Met<'_, O>, Mark)> = more.filter_map(|met| Some((met, mark(met)?))).collect();
                let mut value = f64::NAN;
                sums.resize(steps.len(), None);
                for (i, step) in steps.iter().enumerate() {
                    let key = (numbers[step.keys], row.place, now);
                    if let (Some(level), Some(met), true) = (step.level, sums[i], overlay.is_empty())
                        && met.key == key
                    {
                        value = level.shrunk(met.n, met.sum, if i == 0 { level.value } else { value });
                        continue;
                    }
                    let more = more.iter().filter(|(met, _)| met.keys[step.keys] == row.keys[step.keys]);
                    let more = more.map(|(met, mark)| (met.place, *mark)).collect();
                    let tally = tally(*kind, step.lines.of(numbers[step.keys]), cutoff, is_read, more);
                    let (n, sum) = tally.sums(*kind, cutoff);
                    sums[i] = Some(Sums { key, n, sum });
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
                Value::Number(scaler.apply(reading.transformed(value)))
            }
        }
    }
}

/// What a key of a statistic sums up to, by its number, the domain and the moment that it was asked about.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    key: (Option<u32>, u128, i64),
    n: f64,
    sum: f64,
}

/// What a feature of a row is.
pub(super) enum Value {
    List(Vec<u32>),
    Number(f32),
}

impl Feature {
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::History { .. })
    }

    /// Whether a feature of two rows is the same because it reads the same of both: their moment, and what is kept of their keys and domains.
    pub(super) fn is_alike<E: Event>(&self, a: (&Met<'_, E>, &[Option<u32>]), b: (&Met<'_, E>, &[Option<u32>])) -> bool {
        let same = |keys: usize| a.1[keys] == b.1[keys];
        let same_keys = match &self.kind {
            Kind::History { keys, .. } => same(*keys),
            Kind::Statistic { steps, .. } => steps.iter().all(|step| same(step.keys)),
        };
        same_keys && a.0.time == b.0.time && a.0.place == b.0.place
    }
}

/// The position of an element, which is added if it is new.
fn position<T>(of: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    of.iter().position(is_it).unwrap_or_else(|| {
        of.push(new());
        of.len() - 1
    })
}

/// Whether what a key keeps is kept for each domain; the key of a statistic of its own domain holds the domain.
fn is_apart(reading: &Reading) -> bool {
    matches!((&reading.domains, reading.kind), (Some(Domains::Other), _) | (Some(Domains::Same), FeatureKind::History))
}

/// Whether rows of a domain count at all.
fn reads(reading: &Reading, domain: &str) -> bool {
    match &reading.domains {
        Some(Domains::Named(names)) => names.iter().any(|name| name == domain),
        _ => true,
    }
}

/// What an event leaves in a history.
fn listed(name: &str, reading: &Reading, vocabulary: &Vocabulary, event: &impl Event, label: f64) -> Option<u32> {
    // Looked up only where it counts.
    if !reading.counts(label) {
        return None;
    }
    reading.listed(event.text(name).map_or(0, |text| vocabulary.row(text)), label)
}

/// What an event adds to a statistic.
fn bits(name: &str, reading: &Reading, event: &impl Event) -> Option<u64> {
    match (reading.statistic(), reading.has_column) {
        (StatisticValue::Distinct, _) => reading.hash_bits(value_hash(event.text_hash(name)), event.label()),
        (_, true) => reading.number_bits(event.number(name)),
        (_, false) => reading.number_bits(event.label()),
    }
}

/// The values of a user in the domains that are read, with some more.
fn list<'a>(held: Held<'a, List>, is_read: impl Fn(u128) -> bool, mut more: Vec<Entry>) -> Cow<'a, [Entry]> {
    match held {
        Held::Whole(Some(list)) if more.is_empty() => return Cow::Borrowed(&list.0),
        Held::Whole(list) => more.extend(list.into_iter().flat_map(|list| &list.0)),
        Held::Apart(places) => more.extend(places.iter().filter(|(place, _)| is_read(*place)).flat_map(|(_, list)| &list.0)),
    }
    more.sort_unstable();
    Cow::Owned(more)
}

/// The rows of a key before `cutoff` in the domains that are read, with some more, given with the hashes of their domains.
fn tally<'a>(
    kind: TallyKind,
    held: Held<'a, Line>,
    cutoff: i64,
    is_read: impl Fn(u128) -> bool,
    more: Vec<(u128, Mark)>,
) -> Cow<'a, Tally> {
    match held {
        Held::Whole(line) => {
            let more: Vec<Mark> = more.into_iter().map(|(_, mark)| mark).collect();
            line.map_or_else(|| Cow::Owned(Line::new(kind).at(kind, cutoff, &more).into_owned()), |line| line.at(kind, cutoff, &more))
        }
        Held::Apart(lines) => {
            let mut places: Vec<u128> = lines.iter().map(|(place, _)| *place).filter(|place| is_read(*place)).collect();
            places.extend(more.iter().map(|(place, _)| *place));
            places.sort_unstable();
            places.dedup();
            let (mut all, none) = (Tally::new(kind), Line::new(kind));
            for place in places {
                let line = lines.binary_search_by_key(&place, |(place, _)| *place).map_or(&none, |at| &lines[at].1);
                let more: Vec<Mark> = more.iter().filter(|(of, _)| *of == place).map(|(_, mark)| *mark).collect();
                all.merge(kind, &line.at(kind, cutoff, &more), cutoff);
            }
            Cow::Owned(all)
        }
    }
}
