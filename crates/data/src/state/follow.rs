//! A state that follows a log: what it knows before gives the features of later rows, which it may learn of as they come.

use hashbrown::HashMap;

use super::key::name_hash;
use super::met::Met;
use super::replay::begins;
use super::{Event, FeatureState, Known};
use crate::column::Values;
use crate::encode::RawFeature;
use crate::{DataError, Dataset, Encoder, FeatureKind, Lists, Log, RawDataset};

/// Rows in the order of some times.
fn by_time(times: &[i64]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..times.len() as u32).collect();
    rows.sort_by_key(|&row| times[row as usize]);
    rows
}

/// A row of a data set as it was read.
struct RawRow<'a> {
    names: &'a Names<'a>,
    row: usize,
    time: i64,
}

/// What the rows of a data set refer to, with the hashes of what stands in a key or is counted.
struct Names<'a> {
    raw: &'a RawDataset,
    users: Vec<u128>,
    items: Vec<u128>,
    domains: Vec<u128>,
    columns: HashMap<&'a str, Column<'a>>,
}

/// A feature and the hashes of its texts, by code.
struct Column<'a> {
    feature: &'a RawFeature,
    hashes: Vec<u128>,
}

impl<'a> Names<'a> {
    fn new(raw: &'a RawDataset, is_hashed: impl Fn(&str) -> bool) -> Self {
        let Dataset { users, items, domains, .. } = &raw.dataset;
        let all = |column: &str, names: &[String]| match is_hashed(column) {
            true => names.iter().map(|name| name_hash(name)).collect(),
            false => Vec::new(),
        };
        let columns = raw.features.iter().map(|feature| {
            let hashes = match &feature.values {
                Values::Text(text) if is_hashed(&feature.config.name) => {
                    std::iter::once("").chain(text.table.texts()).map(name_hash).collect()
                }
                _ => Vec::new(),
            };
            (feature.config.name.as_str(), Column { feature, hashes })
        });
        Self { raw, users: all("user", users), items: all("item", items), domains: all("domain", domains), columns: columns.collect() }
    }
}

impl RawRow<'_> {
    fn log(&self) -> &Log {
        &self.names.raw.dataset.log
    }
}

impl Event for RawRow<'_> {
    fn time(&self) -> i64 {
        self.time
    }

    fn label(&self) -> f64 {
        self.log().label[self.row].into()
    }

    fn text(&self, column: &str) -> Option<&str> {
        let Dataset { log, users, items, domains, .. } = &self.names.raw.dataset;
        match column {
            "user" => Some(&users[log.user[self.row].at()]),
            "item" => Some(&items[log.item[self.row].at()]),
            "domain" => Some(&domains[log.domain[self.row].at()]),
            name => match self.names.columns.get(name)?.feature {
                RawFeature { values: Values::Text(text), side, .. } => {
                    Some(text.table.text(text.codes[log.entity(*side, self.row)])).filter(|text| !text.is_empty())
                }
                _ => None,
            },
        }
    }

    fn text_hash(&self, column: &str) -> Option<u128> {
        let Names { users, items, domains, columns, .. } = self.names;
        let log = self.log();
        let hash = match column {
            "user" => users.get(log.user[self.row].at()),
            "item" => items.get(log.item[self.row].at()),
            "domain" => domains.get(log.domain[self.row].at()),
            name => match columns.get(name)? {
                Column { feature: RawFeature { values: Values::Text(text), side, .. }, hashes } => {
                    // Code 0 is a missing value.
                    let code = Some(text.codes[log.entity(*side, self.row)]).filter(|&code| code != 0)?;
                    hashes.get(code as usize)
                }
                _ => return None,
            },
        };
        hash.copied().or_else(|| self.text(column).map(name_hash))
    }

    fn number(&self, feature: &str) -> f64 {
        match self.names.columns.get(feature).map(|column| column.feature) {
            Some(RawFeature { values: Values::Number(numbers), side, .. }) => numbers.values[self.log().entity(*side, self.row)],
            _ => f64::NAN,
        }
    }
}

/// Columns of earlier rows, in the order of the encoder.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    pub(crate) lists: Vec<Lists>,
    pub(crate) numbers: Vec<Vec<f32>>,
}

impl FeatureState {
    /// What is known after some rows of a data set.
    ///
    /// # Errors
    /// The features differ from the encoder's.
    pub fn after(encoder: &Encoder, raw: &RawDataset, known: &Known) -> Result<Self, DataError> {
        let mut state = Self::new(encoder, raw.dataset.zone, None);
        state.learn(encoder, raw, known)?;
        Ok(state)
    }

    /// Learns of the known rows of a data set, in the order of their times; those that are older than what it knows already are left out and counted.
    ///
    /// # Errors
    /// The features differ from the encoder's.
    pub fn learn(&mut self, encoder: &Encoder, raw: &RawDataset, known: &Known) -> Result<(), DataError> {
        let mut times = known.times(&raw.dataset.log);
        if let (true, Some(newest)) = (raw.dataset.log.time.is_empty(), self.newest()) {
            // Without time, what is read later is later; the places that are drawn keep their order.
            times = times.iter().map(|time| newest + 1 + (time >> 12)).collect();
        }
        self.run(encoder, raw, &times, |state, row, event| {
            if known.holds(row) {
                state.update(event);
            }
        })
    }

    /// The features of every row of a data set from what is known before it; with `learns`, rows are known to those of a later time. Rows of a request are asked for when it begins.
    ///
    /// # Errors
    /// The features differ from the encoder's, or a history of more than 2^32 values.
    pub fn follow(&mut self, encoder: &Encoder, raw: &RawDataset, learns: bool) -> Result<Followed, DataError> {
        let rows = raw.dataset.log.len();
        let has = |kind: FeatureKind| encoder.features().iter().filter(|feature| feature.reading.kind == kind).count();
        let mut spans = vec![vec![[0, 0]; rows]; has(FeatureKind::History)];
        let mut codes: Vec<Vec<u32>> = vec![Vec::new(); spans.len()];
        let mut followed = Followed { lists: Vec::new(), numbers: vec![vec![0.0; rows]; has(FeatureKind::Statistic)] };
        let nothing = Known::only(&[], rows);
        let times = nothing.times(&raw.dataset.log);
        // Rows of a request are asked for when it begins, and learned of when they happen.
        let begins = begins(&raw.dataset.log, &times);
        let asked = if begins.is_empty() { &times[..] } else { &begins[..] };
        encoder.check(raw)?;
        let names = Names::new(raw, |column| self.hashes(column));
        let (mut happened, mut next) = (by_time(&times), 0);
        if !learns {
            happened.clear();
        }
        for row in by_time(asked) {
            let at = row as usize;
            // A row of the same time is not seen: it lies before nothing but later times.
            while let Some(&before) = happened.get(next).filter(|&&before| times[before as usize] < asked[at]) {
                self.update(&RawRow { names: &names, row: before as usize, time: times[before as usize] });
                next += 1;
            }
            let event = RawRow { names: &names, row: at, time: asked[at] };
            let made = self.features_of(&self.meet(&event), &[] as &[Met<'_, RawRow<'_>>]);
            for ((spans, codes), list) in spans.iter_mut().zip(&mut codes).zip(made.lists) {
                let begin = codes.len() as u32;
                codes.extend(list);
                spans[at] = [begin, codes.len() as u32];
            }
            followed.numbers.iter_mut().zip(made.numbers).for_each(|(column, value)| column[at] = value);
        }
        for &row in &happened[next..] {
            self.update(&RawRow { names: &names, row: row as usize, time: times[row as usize] });
        }
        if let Some(codes) = codes.iter().find(|codes| u32::try_from(codes.len()).is_err()) {
            return Err(DataError::TooLarge { what: format!("histories of {} values", codes.len()) });
        }
        followed.lists = spans.into_iter().zip(codes).map(|(spans, codes)| Lists::Spans { spans, codes }).collect();
        Ok(followed)
    }

    fn run(
        &mut self,
        encoder: &Encoder,
        raw: &RawDataset,
        times: &[i64],
        mut each: impl FnMut(&mut Self, u32, &RawRow<'_>),
    ) -> Result<(), DataError> {
        encoder.check(raw)?;
        let names = Names::new(raw, |column| self.hashes(column));
        for row in by_time(times) {
            each(self, row, &RawRow { names: &names, row: row as usize, time: times[row as usize] });
        }
        Ok(())
    }
}
