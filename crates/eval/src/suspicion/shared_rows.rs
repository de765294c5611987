//! Measured rows that were learned from.

use std::collections::HashMap;

use acclimate_data::{Dataset, Side, hash64};

use super::{Leak, Parts, Sign};

/// Fewer rows are no sign, whatever their share.
const FEWEST: usize = 10;
/// Smallest threshold.
const LOWEST: f64 = 0.01;
/// Largest threshold: where each row names its time, and where it does not.
const HIGHEST: [f64; 2] = [0.1, 0.5];
/// How much more often a measured row stands in `train` than a training row stands there twice.
const FACTOR: f64 = 3.0;

/// The share of measured rows that are learned from: the same user, item, domain, time and label stands among the rows of `train` or `support`. Where the
/// log has no time, all features of the row count as well, since a user may meet an item again.
///
/// Logs repeat rows on their own. So the threshold is three times the share of training rows that are there twice, between 1 % and 10 % (without time
/// 50 %), and less than 10 rows are never a sign. `None` without measured or training rows.
#[must_use]
pub fn shared_rows(dataset: &Dataset, parts: &Parts<'_>) -> Option<Sign> {
    let mut known: HashMap<u64, u32> = HashMap::with_capacity(parts.train.len());
    for &row in parts.train {
        *known.entry(identity(dataset, row as usize)).or_default() += 1;
    }
    let repeated: u32 = known.values().filter(|&&n| n > 1).sum();
    for &row in parts.support {
        *known.entry(identity(dataset, row as usize)).or_default() += 1;
    }
    if parts.train.is_empty() || parts.measured.is_empty() {
        return None;
    }
    let shared = parts.measured.iter().filter(|&&row| known.contains_key(&identity(dataset, row as usize))).count();
    let highest = HIGHEST[usize::from(dataset.log.time.is_empty())];
    let threshold = (FACTOR * f64::from(repeated) / parts.train.len() as f64).clamp(LOWEST, highest);
    let count = parts.measured.len();
    Some(Sign {
        leak: Leak::SharedRows,
        feature: None,
        of: None,
        part: "measured".into(),
        measure: "learned from:".into(),
        statistic: if shared < FEWEST { 0.0 } else { shared as f64 / count as f64 },
        threshold,
        count,
    })
}

/// A number that equal rows share; different rows share one by chance in less than one of 10^6 logs of 10^6 rows.
fn identity(dataset: &Dataset, row: usize) -> u64 {
    let log = &dataset.log;
    let mut key = hash64(u64::from(log.user[row].0), u64::from(log.item[row].0), u64::from(log.domain[row].0));
    key = hash64(key, u64::from(log.label[row].to_bits()), 0);
    if let Some(&time) = log.time.get(row) {
        return hash64(key, time as u64, 0);
    }
    let features = &dataset.features;
    for column in features.categorical.iter().filter(|c| c.side == Side::Row) {
        key = hash64(key, u64::from(column.codes[row]), 1);
    }
    for column in features.numeric.iter().filter(|c| c.side == Side::Row) {
        key = hash64(key, u64::from(column.values[row].to_bits()), 2);
    }
    for bag in features.bags.iter().filter(|c| c.side == Side::Row) {
        let codes = bag.lists.of(row);
        key = codes.iter().fold(hash64(key, codes.len() as u64, 3), |key, &code| hash64(key, u64::from(code), 4));
    }
    key
}
