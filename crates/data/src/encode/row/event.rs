//! Rows as a state reads them: what happened, and what is asked about.

use hashbrown::HashMap;

use super::{Buffers, Encoder, FeatureKind, Plan, RowColumns, RowEncoder, RowError, cell, whole};
use crate::column::number;
use crate::config::StatisticValue;
use crate::error::RowFault;
use crate::state::name_hash;
use crate::{LabelKind, StateEvent};

/// What a state may read of a row.
#[derive(Debug)]
pub(super) struct Known {
    /// Columns of text.
    texts: Vec<Text>,
    /// Statistics that read numbers of their own.
    numbers: Vec<(String, Plan)>,
}

#[derive(Debug)]
struct Text {
    name: String,
    of: Of,
    /// Whether it is read of what happened only.
    is_counted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    User,
    Item,
    Domain,
    Feature(Plan),
}

impl Known {
    /// `plans` are those of all features.
    pub(super) fn new(encoder: &Encoder, plans: &[Plan]) -> Self {
        let text = |name: &str, of: Of, is_counted: bool| Text { name: name.to_owned(), of, is_counted };
        let mut texts = vec![text("user", Of::User, false), text("item", Of::Item, false), text("domain", Of::Domain, false)];
        let mut numbers = Vec::new();
        for (feature, &plan) in encoder.features.iter().zip(plans).filter(|(feature, _)| feature.is_derived()) {
            let reading = &feature.reading;
            for name in reading.by.iter().chain(reading.parent.iter().flatten()) {
                let of = encoder.features.iter().position(|other| other.name == *name);
                if let (Some(of), false) = (of, texts.iter().any(|text| text.name == *name)) {
                    texts.push(text(name, Of::Feature(plans[of]), false));
                }
            }
            match (reading.kind, reading.statistic()) {
                // A state asks for `user` and the like first, which a feature of that name repeats.
                _ if texts.iter().any(|text| text.name == feature.name) => {}
                (FeatureKind::History, _) | (_, StatisticValue::Distinct) => texts.push(text(&feature.name, Of::Feature(plan), true)),
                _ if reading.has_column => numbers.push((feature.name.clone(), plan)),
                _ => {}
            }
        }
        Self { texts, numbers }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct RowEvent {
    time: i64,
    label: f64,
    /// Texts by name; those that are missing are left out.
    texts: Vec<(String, String)>,
    numbers: Vec<(String, f64)>,
}

impl RowEvent {
    /// Appends bytes that are the same for equal events only, as if it had happened at `time`.
    pub fn write(&self, time: i64, bytes: &mut Vec<u8>) {
        let Self { label, texts, numbers, .. } = self;
        let word = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend(time.to_le_bytes());
        bytes.extend(label.to_bits().to_le_bytes());
        bytes.extend((texts.len() as u64).to_le_bytes());
        for (name, text) in texts {
            word(bytes, name);
            word(bytes, text);
        }
        bytes.extend((numbers.len() as u64).to_le_bytes());
        for (name, number) in numbers {
            word(bytes, name);
            bytes.extend(number.to_bits().to_le_bytes());
        }
    }
}

impl StateEvent for RowEvent {
    fn time(&self) -> i64 {
        self.time
    }

    fn label(&self) -> f64 {
        self.label
    }

    fn text(&self, column: &str) -> Option<&str> {
        self.texts.iter().find(|(name, _)| name == column).map(|(_, text)| text.as_str())
    }

    fn number(&self, feature: &str) -> f64 {
        self.numbers.iter().find(|(name, _)| name == feature).map_or(f64::NAN, |&(_, number)| number)
    }
}

/// Rows that are asked about at one time. What they share was looked up once.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedRows {
    rows: usize,
    time: i64,
    /// The hashes of a text, of every row or of all.
    hashes: Vec<(String, Vec<Option<u128>>)>,
    /// The domain, of every row or of all.
    domains: Vec<String>,
}

impl AskedRows {
    /// Each row.
    #[must_use]
    pub fn rows(&self) -> Vec<AskedRow<'_>> {
        (0..self.rows).map(|row| AskedRow { all: self, row }).collect()
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct AskedRow<'a> {
    all: &'a AskedRows,
    row: usize,
}

/// That of a row among those of all or of each.
fn of<T>(values: &[T], row: usize) -> Option<&T> {
    if let [only] = values { Some(only) } else { values.get(row) }
}

impl StateEvent for AskedRow<'_> {
    fn time(&self) -> i64 {
        self.all.time
    }

    fn label(&self) -> f64 {
        f64::NAN
    }

    fn text(&self, column: &str) -> Option<&str> {
        if column == "domain" { of(&self.all.domains, self.row).map(String::as_str) } else { None }
    }

    fn text_hash(&self, column: &str) -> Option<u128> {
        let (_, hashes) = self.all.hashes.iter().find(|(name, _)| name == column)?;
        of(hashes, self.row).copied().flatten()
    }

    fn number(&self, _feature: &str) -> f64 {
        f64::NAN
    }
}

impl RowEncoder {
    /// What happened, as a state learns of it: a row of `columns` at `time` with a label in the units of the data.
    ///
    /// # Errors
    /// No user, item or domain (where there are several), a label that the data can not have, or a value that its feature can not have.
    pub fn event(&self, columns: &RowColumns<'_>, row: usize, time: i64, label: f64) -> Result<RowEvent, RowError> {
        let at = (columns.rows() > 1).then_some(row);
        let label = self.label(label).map_err(|fault| RowError::value("label", at, fault))?;
        let (mut texts, mut numbers, mut buffers) = (Vec::new(), Vec::new(), Buffers::default());
        for Text { name, of, .. } in &self.known.texts {
            let failed = |fault| RowError::value(name, at, fault);
            let text = self.text_of(*of, columns, row, &mut buffers).map_err(failed)?;
            if !text.is_empty() {
                texts.push((name.clone(), text.to_owned()));
            } else if matches!(of, Of::User | Of::Item | Of::Domain) {
                return Err(failed(RowFault::MissingValue { column: name.clone() }));
            }
        }
        for (name, plan) in &self.known.numbers {
            let writing = &self.encoder.features[plan.feature].writing;
            let value = cell(self.value(plan, columns, row).0);
            let found = whole(value, name, writing.elements).and_then(|cell| number(&cell, name, false));
            let found = found.map_err(|fault| RowError::value(name, at, fault))?;
            numbers.extend(found.map(|number| (name.clone(), number)));
        }
        Ok(RowEvent { time, label, texts, numbers })
    }

    /// The rows of `columns` at one time, as a state is asked about them.
    ///
    /// # Errors
    /// A value that its feature can not have.
    pub fn asked(&self, columns: &RowColumns<'_>, time: i64) -> Result<AskedRows, RowError> {
        let (rows, mut buffers) = (columns.rows(), Buffers::default());
        let mut asked = AskedRows { rows, time, hashes: Vec::new(), domains: Vec::new() };
        for Text { name, of, .. } in self.known.texts.iter().filter(|text| !text.is_counted) {
            let is_shared = self.shares_text(*of, columns);
            let many = if is_shared { rows.min(1) } else { rows };
            let mut hashes = Vec::with_capacity(many);
            // The same items come again and again in a request of several users.
            let mut met: HashMap<String, u128> = HashMap::new();
            for row in 0..many {
                let text = self.text_of(*of, columns, row, &mut buffers);
                let text = text.map_err(|fault| RowError::value(name, (!is_shared).then_some(row), fault))?;
                hashes.push((!text.is_empty()).then(|| match met.get(text) {
                    Some(&hash) => hash,
                    None => *met.entry(text.to_owned()).or_insert(name_hash(text)),
                }));
                if matches!(of, Of::Domain) {
                    asked.domains.push(text.to_owned());
                }
            }
            asked.hashes.push((name.clone(), hashes));
        }
        Ok(asked)
    }

    fn text_of<'b, 'v: 'b>(&'b self, of: Of, columns: &RowColumns<'v>, row: usize, buffers: &'b mut Buffers) -> Result<&'b str, RowFault> {
        let value = |slot: usize| columns.value(slot, row);
        match of {
            Of::User => self.user("user", value(self.fixed.user), buffers),
            Of::Item => self.item("item", value(self.fixed.item), value(self.fixed.domain), buffers),
            // A base without domain features is asked without a domain.
            Of::Domain if value(self.fixed.domain).is_none() => Ok(self.only_domain()),
            Of::Domain => self.domain(value(self.fixed.domain), &mut buffers.domain),
            Of::Feature(plan) => self.text(&plan, columns, row, buffers),
        }
    }

    fn only_domain(&self) -> &str {
        if let [only] = &self.encoder.domains[..] { only } else { "" }
    }

    fn shares_text(&self, of: Of, columns: &RowColumns<'_>) -> bool {
        let is_shared = |slot: usize| !columns.is_each(slot);
        match of {
            Of::User => is_shared(self.fixed.user),
            Of::Item => is_shared(self.fixed.item) && (is_shared(self.fixed.domain) || !self.encoder.writing.scoped_items),
            Of::Domain => is_shared(self.fixed.domain),
            Of::Feature(plan) => self.shares(&plan, columns),
        }
    }

    /// A label as the log of a data set keeps it.
    fn label(&self, label: f64) -> Result<f64, RowFault> {
        let (min, max) = match self.encoder.label {
            LabelKind::Click => (0.0, 1.0),
            LabelKind::Rating { min, max } => (min, max),
            LabelKind::Implicit => (1.0, 1.0),
        };
        let kept = label as f32;
        let is_whole = matches!(self.encoder.label, LabelKind::Rating { .. }) || label.fract() == 0.0;
        if (min..=max).contains(&kept) && is_whole {
            return Ok(kept.into());
        }
        Err(RowFault::LabelOutOfRange { column: "label".to_owned(), value: label, min: min.into(), max: max.into() })
    }
}
