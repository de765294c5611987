//! One row, or some, from the values that a caller gives: the codes and numbers that reading a table gives.
//!
//! A value is read by the functions that read a cell of a file, so there is one answer to what `3.0`, `True` or `[3, 9]` means.

mod columns;
mod error;
mod event;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use columns::RowColumns;
pub use error::RowError;
pub use event::{AskedRow, AskedRows, RowEvent};

use self::event::Known;
use super::{Encoder, Encoding, FeatureEncoder};
use crate::column::{Elements, ListReading, decimal_text, each_value, moment, number, plain_text, transformed};
use crate::config::Decimal;
use crate::error::{Expected, RowFault};
use crate::source::{Cell, integer_of};
use crate::time::{Spelling, days};
use crate::{BagColumn, FeatureKind, RawValue, Scaler, StateColumns, TimeUnit, Vocabulary};

/// Encodes rows by themselves, with what an encoder knows.
///
/// A feature is given by its name, written as the base's data writes it. Where it is not given, it is what it [repeats](super::Writing): the `user`, `item`,
/// `domain` or `time` of the row, or another feature of the same column. A moment that is given as `time` is a text as in RFC 3339, or seconds since 1970.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    encoder: Arc<Encoder>,
    /// What a row may give, sorted; a slot is a position here.
    names: Arc<[String]>,
    fixed: Fixed,
    plans: Vec<Plan>,
    /// What a state reads of a row.
    known: Arc<Known>,
    fields: usize,
    numbers: usize,
    bags: usize,
}

/// The slots of the columns that every row has.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    user: usize,
    item: usize,
    domain: usize,
    time: usize,
}

/// How one feature is encoded.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Its position in the encoder.
    feature: usize,
    own: usize,
    repeats: Option<usize>,
    goes: Goes,
    /// Of a feature of earlier rows: its position among the histories or the statistics of the state.
    state: usize,
}

/// Where an encoded value goes.
#[derive(Clone, Copy, Debug)]
enum Goes {
    Nowhere,
    Field(usize),
    Number(usize),
    Bag(usize),
}

/// Encoded rows. One that is used again keeps its memory.
///
/// # Shapes
/// `codes` is `[N, F]` and `numeric` `[N, C]`, row-major; each of `bags` is `[N]` lists; in the order of the [`Schema`](crate::Schema).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedRows {
    /// N.
    pub rows: usize,
    /// F.
    pub fields: usize,
    /// Codes.
    pub codes: Vec<u32>,
    /// C.
    pub numbers: usize,
    /// Numbers; those of earlier rows are missing ones until a state fills them.
    pub numeric: Vec<f32>,
    /// Lists; those of earlier rows are empty until a state fills them.
    pub bags: Vec<BagColumn>,
    /// For each feature that is encoded, how many of its values nothing recognises; one that all rows share counts once.
    pub unknown: Vec<u64>,
}

/// Texts on their way to a code.
#[derive(Debug, Default)]
struct Buffers {
    plain: String,
    domain: String,
    changed: String,
}

impl RowEncoder {
    /// Encodes all features of an encoder.
    #[must_use]
    pub fn new(encoder: Arc<Encoder>) -> Self {
        Self::with(encoder, |_| true)
    }

    /// Encodes some features of an encoder. Two of one encoder read the same columns, so that what rows share can be encoded apart from what is their own.
    #[must_use]
    pub fn with(encoder: Arc<Encoder>, keep: impl Fn(&FeatureEncoder) -> bool) -> Self {
        let fixed = ["user", "item", "domain", "time"];
        let mut names: Vec<String> = encoder.features.iter().map(|f| f.name.clone()).chain(fixed.map(str::to_owned)).collect();
        names.sort_unstable();
        names.dedup();
        let slot = |name: &str| names.binary_search_by(|other| other.as_str().cmp(name)).ok();
        let [user, item, domain, time] = fixed.map(|name| slot(name).expect("it was just put there"));
        let next = |count: &mut usize| std::mem::replace(count, *count + 1);
        let (mut plans, mut all, [mut fields, mut numbers, mut bags]) = (Vec::new(), Vec::new(), [0; 3]);
        let [mut histories, mut statistics] = [0; 2];
        for (i, feature) in encoder.features.iter().enumerate() {
            let own = if feature.reading.kind == FeatureKind::Domain { domain } else { slot(&feature.name).expect("it was put there too") };
            let repeats = feature.writing.repeats.as_deref().and_then(slot).filter(|&repeated| repeated != own);
            let state = match feature.reading.kind {
                FeatureKind::History => next(&mut histories),
                FeatureKind::Statistic => next(&mut statistics),
                _ => 0,
            };
            let plan = Plan { feature: i, own, repeats, goes: Goes::Nowhere, state };
            all.push(plan);
            if !keep(feature) {
                continue;
            }
            let goes = match feature.encoding {
                Encoding::Categorical(_) => Goes::Field(next(&mut fields)),
                Encoding::Numeric(_) => Goes::Number(next(&mut numbers)),
                Encoding::Bag(_) => Goes::Bag(next(&mut bags)),
            };
            plans.push(Plan { goes, ..plan });
        }
        let known = Arc::new(Known::new(&encoder, &all));
        Self { known, fixed: Fixed { user, item, domain, time }, names: names.into(), plans, fields, numbers, bags, encoder }
    }

    /// What it encodes with.
    #[must_use]
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The features that it encodes, in the order of [`EncodedRows::unknown`].
    pub fn features(&self) -> impl ExactSizeIterator<Item = &FeatureEncoder> {
        self.plans.iter().map(|plan| &self.encoder.features[plan.feature])
    }

    /// Looks up which columns some rows give: those that all share, and those of each.
    ///
    /// # Errors
    /// A column that no feature reads.
    pub fn columns<'v>(
        &self,
        shared: &'v BTreeMap<String, RawValue>,
        rows: impl ExactSizeIterator<Item = &'v BTreeMap<String, RawValue>>,
    ) -> Result<RowColumns<'v>, RowError> {
        RowColumns::new(self.names.clone(), shared, rows)
    }

    /// Whether all rows share a feature, by its position in [`features`](Self::features).
    #[must_use]
    pub fn is_shared(&self, feature: usize, columns: &RowColumns<'_>) -> bool {
        self.plans.get(feature).is_none_or(|plan| self.shares(plan, columns))
    }

    /// Encodes rows.
    ///
    /// # Errors
    /// A value that its feature can not have.
    pub fn encode(&self, columns: &RowColumns<'_>, out: &mut EncodedRows) -> Result<(), RowError> {
        let rows = columns.rows();
        self.clear(rows, out);
        if rows == 0 {
            return Ok(());
        }
        let mut buffers = Buffers::default();
        for (plan, unknown) in self.plans.iter().zip(&mut out.unknown) {
            let feature = &self.encoder.features[plan.feature];
            let is_shared = self.shares(plan, columns);
            let many = if is_shared { rows.min(1) } else { rows };
            let failed = |row: usize| {
                let row = (!is_shared).then_some(row);
                move |fault| RowError::value(&feature.name, row, fault)
            };
            match (plan.goes, feature.encoding) {
                (Goes::Field(at), Encoding::Categorical(vocabulary)) => {
                    let vocabulary = &self.encoder.vocabularies[vocabulary.at()];
                    let mut cells = out.codes[at..].iter_mut().step_by(self.fields);
                    let mut last = 0;
                    for (row, cell) in (0..many).zip(&mut cells) {
                        let text = self.text(plan, columns, row, &mut buffers).map_err(failed(row))?;
                        last = known(vocabulary, text, unknown);
                        *cell = last;
                    }
                    cells.for_each(|cell| *cell = last);
                }
                (Goes::Number(at), Encoding::Numeric(scaler)) => {
                    let mut cells = out.numeric[at..].iter_mut().step_by(self.numbers);
                    let mut last = 0.0;
                    for (row, cell) in (0..many).zip(&mut cells) {
                        last = self.number(plan, scaler, columns, row).map_err(failed(row))?;
                        *cell = last;
                    }
                    cells.for_each(|cell| *cell = last);
                }
                (Goes::Bag(at), Encoding::Bag(vocabulary)) => {
                    let bag = &mut out.bags[at];
                    let vocabulary = &self.encoder.vocabularies[vocabulary.at()];
                    for row in 0..many {
                        let fill = self.list(plan, vocabulary, columns, row, bag, unknown, &mut buffers.plain);
                        fill.map_err(failed(row))?;
                        end(bag, &feature.name)?;
                    }
                    for _ in many..rows {
                        bag.codes.extend_from_within(..bag.offsets[1] as usize);
                        end(bag, &feature.name)?;
                    }
                }
                _ => unreachable!("a plan follows its encoding"),
            }
        }
        Ok(())
    }

    /// Puts the features of earlier rows in their places; the state is one of this encoder, and was asked about the same rows.
    pub fn fill(&self, made: &StateColumns, out: &mut EncodedRows) {
        for plan in self.plans.iter().filter(|plan| self.encoder.features[plan.feature].is_derived()) {
            match plan.goes {
                Goes::Number(at) => {
                    let values = made.numbers.iter().skip(plan.state).step_by(made.statistics.max(1));
                    out.numeric.iter_mut().skip(at).step_by(self.numbers).zip(values).for_each(|(cell, value)| *cell = *value);
                }
                Goes::Bag(at) => out.bags[at].clone_from(&made.lists[plan.state]),
                Goes::Field(_) | Goes::Nowhere => {}
            }
        }
    }

    /// The values that nothing recognised, by feature.
    #[must_use]
    pub fn unknown(&self, rows: &EncodedRows) -> BTreeMap<String, u64> {
        let counted = self.features().zip(&rows.unknown).filter(|&(_, &count)| count > 0);
        counted.map(|(feature, &count)| (feature.name.clone(), count)).collect()
    }

    /// The moment of a row, in microseconds since 1970 (UTC): a text as in RFC 3339, or seconds; none where it is not given.
    ///
    /// # Errors
    /// No moment.
    pub fn time(&self, columns: &RowColumns<'_>, row: usize) -> Result<Option<i64>, RowError> {
        let value = columns.value(self.fixed.time, row);
        self.moment(value).map_err(|fault| RowError::value("time", columns.is_each(self.fixed.time).then_some(row), fault))
    }

    /// The same of a value by itself.
    ///
    /// # Errors
    /// As there.
    pub fn moment_of(&self, value: &RawValue) -> Result<Option<i64>, RowError> {
        self.moment(Some(value)).map_err(|fault| RowError::value("time", None, fault))
    }

    /// The text by which a user is known to histories, statistics and whatever else is kept of users; empty for none.
    ///
    /// # Errors
    /// A value that no user can have.
    pub fn user_of(&self, value: &RawValue) -> Result<String, RowError> {
        let user = self.user("user", Some(value), &mut Buffers::default()).map(str::to_owned);
        user.map_err(|fault| RowError::value("user", None, fault))
    }

    fn moment(&self, value: Option<&RawValue>) -> Result<Option<i64>, RowFault> {
        let unit = if let Some(RawValue::Text(_)) = value { TimeUnit::Iso } else { TimeUnit::S };
        moment(&cell(value), "time", &Spelling { unit, format: None, zone: self.encoder.writing.zone })
    }

    fn clear(&self, rows: usize, out: &mut EncodedRows) {
        let EncodedRows { codes, numeric, bags, unknown, .. } = out;
        codes.clear();
        codes.resize(rows * self.fields, 0);
        numeric.clear();
        numeric.resize(rows * self.numbers, 0.0);
        bags.resize_with(self.bags, BagColumn::default);
        for BagColumn { offsets, codes } in bags {
            codes.clear();
            offsets.clear();
            offsets.push(0);
        }
        unknown.clear();
        unknown.resize(self.plans.len(), 0);
        (out.rows, out.fields, out.numbers) = (rows, self.fields, self.numbers);
    }

    fn shares(&self, plan: &Plan, columns: &RowColumns<'_>) -> bool {
        let writing = &self.encoder.features[plan.feature].writing;
        let needs_domain = writing.is_id && self.encoder.writing.scoped_items && writing.repeats.as_deref() == Some("item");
        let is_given = columns.shared(plan.own).is_some();
        let repeated = plan.repeats.filter(|_| !is_given);
        let mut read = [Some(plan.own), repeated, needs_domain.then_some(self.fixed.domain)].into_iter().flatten();
        self.encoder.features[plan.feature].is_derived() || !read.any(|slot| columns.is_each(slot))
    }

    /// The value of a feature, and whether it is the moment of the row.
    fn value<'v>(&self, plan: &Plan, columns: &RowColumns<'v>, row: usize) -> (Option<&'v RawValue>, bool) {
        let repeats_time = self.encoder.features[plan.feature].writing.repeats.as_deref() == Some("time");
        match (columns.value(plan.own, row), plan.repeats) {
            (None, Some(repeated)) => (columns.value(repeated, row), repeated == self.fixed.time),
            (value, _) => (value, repeats_time && plan.own == self.fixed.time),
        }
    }

    /// The text whose code a row has; empty where it is missing.
    fn text<'b, 'v: 'b>(
        &'b self,
        plan: &Plan,
        columns: &RowColumns<'v>,
        row: usize,
        buffers: &'b mut Buffers,
    ) -> Result<&'b str, RowFault> {
        let FeatureEncoder { name, reading, writing, .. } = &self.encoder.features[plan.feature];
        let (value, is_time) = self.value(plan, columns, row);
        if writing.is_id {
            return match writing.repeats.as_deref() {
                Some("item") => self.item(name, value, columns.value(self.fixed.domain, row), buffers),
                _ => self.user(name, value, buffers),
            };
        }
        let Buffers { plain, changed, .. } = buffers;
        if reading.kind == FeatureKind::Domain {
            return self.domain(value, changed);
        }
        if reading.kind == FeatureKind::Timestamp {
            let zone = self.encoder.writing.zone;
            let moment = if is_time { self.moment(value)? } else { moment(&cell(value), name, &writing.spelling(zone))? };
            let category = moment.and_then(|micros| reading.part.category(micros, zone));
            return Ok(category.map_or("", |category| decimal_text(category.into(), changed)));
        }
        let cell = whole(cell(value), name, writing.elements)?;
        let text = plain_text(&cell, name, writing.elements, plain)?;
        match &reading.transform {
            None => Ok(text),
            Some(transform) => transformed(transform, text, Decimal::Point, changed).map_err(|expected| cell.wrong(name, expected)),
        }
    }

    /// The id of a user; empty where it is missing.
    fn user<'b, 'v: 'b>(&self, name: &str, value: Option<&'v RawValue>, buffers: &'b mut Buffers) -> Result<&'b str, RowFault> {
        id(&cell(value), name, self.encoder.writing.whole_users, &mut buffers.plain)
    }

    /// The id of an item, with its domain where it means one there only; empty where it is missing.
    fn item<'b, 'v: 'b>(
        &self,
        name: &str,
        value: Option<&'v RawValue>,
        domain: Option<&'v RawValue>,
        buffers: &'b mut Buffers,
    ) -> Result<&'b str, RowFault> {
        let Buffers { plain, domain: scope, changed } = buffers;
        let text = id(&cell(value), name, self.encoder.writing.whole_items, plain)?;
        if !self.encoder.writing.scoped_items || text.is_empty() {
            return Ok(text);
        }
        changed.clear();
        changed.extend([self.domain(domain, scope)?, "/", text]);
        Ok(changed)
    }

    /// The domain of a row; where a base knows one only, it need not be given.
    fn domain<'e: 'b, 'b, 'v: 'b>(&'e self, value: Option<&'v RawValue>, buffer: &'b mut String) -> Result<&'b str, RowFault> {
        let text = id(&cell(value), "domain", self.encoder.writing.whole_domains, buffer)?;
        match (text, &self.encoder.domains[..]) {
            ("", [only]) => Ok(only),
            ("", _) => Err(RowFault::MissingValue { column: "domain".to_owned() }),
            (text, _) => Ok(text),
        }
    }

    fn number(&self, plan: &Plan, scaler: Scaler, columns: &RowColumns<'_>, row: usize) -> Result<f32, RowFault> {
        let FeatureEncoder { name, reading, writing, .. } = &self.encoder.features[plan.feature];
        let (value, is_time) = self.value(plan, columns, row);
        let found = match reading.kind {
            FeatureKind::Statistic => None,
            FeatureKind::Timestamp if is_time => self.moment(value)?.map(days),
            FeatureKind::Timestamp => moment(&cell(value), name, &writing.spelling(self.encoder.writing.zone))?.map(days),
            _ => number(&whole(cell(value), name, writing.elements)?, name, reading.transform.is_some())?,
        };
        Ok(scaler.apply(found.unwrap_or(f64::NAN)))
    }

    /// Appends the codes of a list.
    #[allow(clippy::too_many_arguments)]
    fn list(
        &self,
        plan: &Plan,
        vocabulary: &Vocabulary,
        columns: &RowColumns<'_>,
        row: usize,
        bag: &mut BagColumn,
        unknown: &mut u64,
        buffer: &mut String,
    ) -> Result<(), RowFault> {
        let FeatureEncoder { name, reading, writing, .. } = &self.encoder.features[plan.feature];
        if reading.kind == FeatureKind::History {
            return Ok(());
        }
        let (value, start) = (self.value(plan, columns, row).0, bag.codes.len());
        let codes = &mut bag.codes;
        let separator = writing.separator.as_deref();
        let written = ListReading { separator, max_length: reading.max_length, elements: writing.elements };
        each_value(&cell(value), name, written, buffer, &mut |text| codes.push(vocabulary.row(text)))?;
        let surplus = reading.max_length.map_or(0, |most| (codes.len() - start).saturating_sub(most));
        codes.drain(start..start + surplus);
        *unknown += codes[start..].iter().filter(|&&code| code == 0).count() as u64;
        if !reading.keep_unknown {
            let mut kept = start;
            for i in start..codes.len() {
                if codes[i] != 0 {
                    codes[kept] = codes[i];
                    kept += 1;
                }
            }
            codes.truncate(kept);
        }
        Ok(())
    }
}

fn cell(value: Option<&RawValue>) -> Cell<'_> {
    value.map_or(Cell::Missing, Cell::from)
}

/// A cell of a column that may be one of whole numbers.
fn whole<'v>(cell: Cell<'v>, name: &str, elements: Elements) -> Result<Cell<'v>, RowFault> {
    if elements == Elements::Integers { integer_of(&cell).ok_or_else(|| cell.wrong(name, Expected::Integer)) } else { Ok(cell) }
}

/// The text of an id.
fn id<'v: 'b, 'b>(cell: &Cell<'v>, name: &str, is_whole: bool, buffer: &'b mut String) -> Result<&'b str, RowFault> {
    let whole = if is_whole { integer_of(cell).ok_or_else(|| cell.wrong(name, Expected::Integer))? } else { cell.clone() };
    whole.text(buffer).map_err(|expected| cell.wrong(name, expected))
}

/// The code of a text; one that is there and has none is counted.
fn known(vocabulary: &Vocabulary, text: &str, unknown: &mut u64) -> u32 {
    let code = if text.is_empty() { 0 } else { vocabulary.row(text) };
    *unknown += u64::from(code == 0 && !text.is_empty());
    code
}

/// Ends the list of a row.
fn end(bag: &mut BagColumn, feature: &str) -> Result<(), RowError> {
    let end = u32::try_from(bag.codes.len()).map_err(|_| RowError::TooLarge { feature: feature.to_owned() })?;
    bag.offsets.push(end);
    Ok(())
}
