//! What models read: which columns become features, of which kind, and which are left out for which reason.
//!
//! - A column with one value, or with nothing, is no feature. A text that is nearly unique, such as a title, is left out.
//! - Few different values, codes, booleans: `categorical`; rare values of long vocabularies are the unknown (`min_count = 2`).
//! - Other numbers: `numeric` with scale `standard`, after `log1p` where they spread over orders of magnitude.
//! - Dates: `timestamp`. Lists: `multi`. A list of items is a history and is left out: it may reach into the time that is measured.
//! - A column of the log besides ids, time and domain is a feature only if it is text; numbers, and text that is named like an outcome, may be known
//!   only after the event and are left out.

use super::column::{Clock, Kind, Profile};
use super::distinct::Distinct;
use super::role;
use crate::config::Origin;

/// Whole numbers with at most so many values are categories.
const FEW: usize = 32;
/// Categories from which on rare ones share the row of the unknown.
const MANY: usize = 50;

/// An entry of the file, commented out where there is a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) from: Origin,
    pub(super) table: Option<String>,
    pub(super) column: String,
    pub(super) kind: &'static str,
    /// Further keys, written as TOML.
    pub(super) keys: Vec<(&'static str, String)>,
    pub(super) left_out: Option<String>,
}

/// A text as TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The keys that say how a column writes time.
pub(super) fn clock_key(clock: Clock) -> Option<(&'static str, String)> {
    match clock {
        Clock::Unit(unit) => Some(("unit", quoted(&unit.to_string()))),
        Clock::Format(format) => Some(("format", quoted(format))),
        Clock::Typed => None,
    }
}

/// What a column of the data set is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) profile: &'a Profile,
    pub(super) from: Origin,
    pub(super) decimal_comma: bool,
    /// The items of the log, to tell histories.
    pub(super) items: &'a Profile,
}

/// The feature that a column gives; `None` for nothing worth a line.
pub(super) fn feature(asked: Asked<'_>) -> Option<Feature> {
    let Asked { profile, from, decimal_comma, .. } = asked;
    let kind = profile.kind(decimal_comma);
    let distinct = profile.distinct.count();
    if kind == Kind::Empty || profile.counts_rows() || profile.name.is_empty() {
        return None;
    }
    let mut feature = Feature {
        name: profile.name.clone(),
        from,
        table: None,
        column: profile.name.clone(),
        kind: "categorical",
        keys: Vec::new(),
        left_out: (distinct == 1).then(|| "one value only".to_owned()),
    };
    match &kind {
        Kind::Empty => return None,
        Kind::Time(clock) => feature.time(*clock),
        Kind::Number => feature.number(profile),
        Kind::Boolean => {}
        Kind::List(separator) => feature.list(profile, separator, asked.items),
        Kind::Text => feature.category(profile),
    }
    if from == Origin::Interactions && feature.left_out.is_none() {
        let late = kind == Kind::Number || kind == Kind::Boolean || role::is_outcome(&profile.name);
        feature.left_out = late.then(|| "known only after the event? remove the # if not".to_owned());
    }
    Some(feature)
}

impl Feature {
    fn time(&mut self, clock: Clock) {
        self.kind = "timestamp";
        self.keys.push(clock_key(clock).unwrap_or(("unit", quoted("iso"))));
        self.keys.push(("scale", quoted("standard")));
    }

    fn number(&mut self, profile: &Profile) {
        let distinct = profile.distinct.count();
        if let Some(time) = profile.time().filter(|_| role::is_time(&self.name)) {
            return self.time(time.clock);
        }
        let is_code = profile.is_whole() && (profile.has_leading_zeros() || role::is_code(&self.name) || profile.range()[1] > 1e7);
        if profile.is_whole() && distinct <= FEW {
            return;
        }
        if is_code {
            return self.category(profile);
        }
        self.kind = "numeric";
        if profile.is_skewed() {
            self.keys.push(("transform", quoted("log1p")));
        }
        self.keys.push(("scale", quoted("standard")));
    }

    fn list(&mut self, profile: &Profile, separator: &str, items: &Profile) {
        self.kind = "multi";
        let of_items = |parts: &Distinct| parts.count() > FEW && parts.share_in(&items.distinct) > 0.5;
        if self.from == Origin::Users && profile.parts(separator).is_some_and(of_items) {
            self.kind = "sequence";
            self.left_out = Some("a history of items: remove the # if it ends before the rows that are predicted".to_owned());
            self.keys.push(("max_length", "50".to_owned()));
            self.keys.push(("vocabulary", quoted(&items.name)));
        }
        self.keys.insert(0, ("separator", quoted(separator)));
    }

    /// A category, if its values repeat.
    fn category(&mut self, profile: &Profile) {
        let distinct = profile.distinct.count();
        if distinct > MANY {
            self.keys.push(("min_count", "2".to_owned()));
            if (distinct as u64) * 3 > profile.values * 2 {
                self.left_out = Some(format!("nearly every value is another: {distinct} of {}", profile.values));
            }
        } else if distinct as u64 == profile.values && distinct > 3 {
            self.left_out = Some("every value is another".to_owned());
        }
    }
}
