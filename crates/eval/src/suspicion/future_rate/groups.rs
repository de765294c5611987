//! Groups of rows and the sums of their labels.

use std::collections::HashMap;

use acclimate_data::Dataset;

use super::super::{Parts, sample};
use super::scatter::{Found, Order, Sums};

/// Most groups that are looked at: those with the most measured rows.
const MOST: usize = 1000;
/// Most rows on which a feature must be constant inside each group, beside those of `measured`.
const LOOKED: usize = 100_000;
/// A value that more groups share than this, and more than this share of them, is one that stands for many: a missing one, a default.
const SHARED: (usize, f64) = (5, 0.02);
/// Features with fewer values make too few groups.
const FEWEST: usize = 48;
/// Where chance makes less than this of what it should, groups are not looked at.
const LEVEL: f64 = 0.1;
/// What names no group.
const NONE: u32 = u32::MAX;

const TRAIN: u8 = 1;
const VALIDATION: u8 = 2;
const SUPPORT: u8 = 4;
const MEASURED: u8 = 8;
/// Rows that rates are commonly taken over, beside the whole log.
const WINDOWS: [u8; 4] =
    [TRAIN | VALIDATION | SUPPORT | MEASURED, TRAIN | SUPPORT | MEASURED, SUPPORT | MEASURED, VALIDATION | SUPPORT | MEASURED];

/// The parts that each row of the log is in.
pub(super) struct Marks(Vec<u8>);

impl Marks {
    pub(super) fn new(dataset: &Dataset, parts: &Parts<'_>) -> Self {
        let mut marks = vec![0; dataset.log.len()];
        for (rows, mark) in [(parts.train, TRAIN), (parts.validation, VALIDATION), (parts.support, SUPPORT), (parts.measured, MEASURED)] {
            rows.iter().for_each(|&row| marks[row as usize] |= mark);
        }
        Self(marks)
    }
}

/// What makes groups of rows.
pub(super) struct Key {
    /// `item`, `user`, these inside a domain, or a feature.
    pub(super) name: String,
    /// Group of each row of the log.
    of_row: Vec<u32>,
    count: usize,
}

impl Key {
    /// Items, users, both inside domains, and the features that group rows otherwise.
    pub(super) fn all(dataset: &Dataset) -> Vec<Self> {
        let log = &dataset.log;
        let (users, items) = (dataset.users.len(), dataset.items.len());
        let item: Vec<u32> = log.item.iter().map(|i| i.0).collect();
        let user: Vec<u32> = log.user.iter().map(|u| u.0).collect();
        let mut keys = Vec::new();
        if dataset.domains.len() > 1 {
            let inside = |of: &[u32]| numbered(of.iter().zip(&log.domain).map(|(&key, domain)| (key, domain.0)));
            for (name, of) in [("item in a domain", &item), ("user in a domain", &user)] {
                let (of_row, count) = inside(of);
                keys.push(Self { name: name.into(), of_row, count });
            }
        }
        for feature in &dataset.features.categorical {
            let count = feature.codes.iter().max().map_or(0, |&most| most as usize + 1);
            let mut met = vec![false; count];
            feature.codes.iter().for_each(|&code| met[code as usize] = true);
            let distinct = met.iter().skip(1).filter(|met| **met).count();
            let known = feature.codes.iter().filter(|code| **code != 0).count();
            // A feature with a value of its own for each entity groups as the entity does.
            if distinct >= FEWEST && distinct < known {
                let code = |row: usize| feature.codes[dataset.entity(feature.side, row)];
                let of_row = (0..log.len()).map(|row| if code(row) == 0 { NONE } else { code(row) }).collect();
                keys.push(Self { name: format!("`{}`", feature.name), of_row, count });
            }
        }
        keys.insert(0, Self { name: "user".into(), of_row: user, count: users });
        keys.insert(0, Self { name: "item".into(), of_row: item, count: items });
        keys
    }
}

/// Pairs numbered in the order in which they are met.
fn numbered(pairs: impl Iterator<Item = (u32, u32)>) -> (Vec<u32>, usize) {
    let mut known: HashMap<(u32, u32), u32> = HashMap::new();
    let numbers = pairs.map(|pair| {
        let next = known.len() as u32;
        *known.entry(pair).or_insert(next)
    });
    let numbers = numbers.collect();
    (numbers, known.len())
}

/// How far the measured label means of groups are apart, beside what chance makes of it, and at most 1. Drawing as many positives as negatives for each user
/// leaves nothing to chance, and nothing for a feature to know.
fn level(measured: &Sums, variance: &[f64]) -> f64 {
    let mean = measured.labels.iter().sum::<f64>() / measured.rows.iter().sum::<f64>();
    let apart: f64 = measured.rows.iter().zip(&measured.labels).map(|(n, sum)| (sum - n * mean).powi(2) / n).sum();
    let chance: f64 = variance.iter().sum();
    if chance > 0.0 { (apart / chance).min(1.0) } else { 0.0 }
}

/// Some groups of one key, and what their labels come to.
pub(super) struct Groups<'a> {
    pub(super) dataset: &'a Dataset,
    /// Rows on which features must be constant, each with its group.
    pub(super) looked: Vec<(u32, u32)>,
    /// Measured rows of each group.
    measured: Vec<f64>,
    /// Variance of labels inside each group over the whole log, or less where measured labels of groups differ less than chance would have it.
    variance: Vec<f64>,
    /// Excess kurtosis of labels inside groups.
    kurtosis: f64,
    /// Sums over each set of rows that rates are commonly taken over.
    windows: Vec<Sums>,
    /// What rates are drawn towards.
    priors: [f64; 3],
}

impl<'a> Groups<'a> {
    /// `None` without a group that has measured rows, or where chance has no part in their labels.
    pub(super) fn new(dataset: &'a Dataset, parts: &Parts<'_>, marks: &Marks, key: &Key) -> Option<Self> {
        let label = |row: usize| f64::from(dataset.log.label[row]);
        let mut measured = vec![0_u32; key.count];
        for &row in parts.measured {
            if let Some(count) = measured.get_mut(key.of_row[row as usize] as usize) {
                *count += 1;
            }
        }
        let mut chosen: Vec<u32> = (0..key.count as u32).filter(|&group| measured[group as usize] > 0).collect();
        chosen.sort_unstable_by_key(|&group| (std::cmp::Reverse(measured[group as usize]), group));
        chosen.truncate(MOST);
        if chosen.is_empty() {
            return None;
        }
        let mut place = vec![NONE; key.count];
        chosen.iter().zip(0..).for_each(|(&group, at)| place[group as usize] = at);
        let place = |row: usize| place.get(key.of_row[row] as usize).copied().unwrap_or(NONE);
        let rows = || (0..dataset.log.len()).filter_map(|row| Some((row, place(row))).filter(|(_, at)| *at != NONE));

        let mut all = Sums::new(chosen.len());
        let mut squares = vec![0.0; chosen.len()];
        for (row, at) in rows() {
            all.add(at, label(row));
            squares[at as usize] += label(row) * label(row);
        }
        let spread = |at: usize| (squares[at] - all.labels[at] * all.labels[at] / all.rows[at]).max(0.0);
        let mut variance: Vec<f64> =
            (0..chosen.len()).map(|at| if all.rows[at] > 1.0 { spread(at) / (all.rows[at] - 1.0) } else { 0.0 }).collect();
        let [mut second, mut fourth] = [0.0; 2];
        for (row, at) in rows() {
            let square = (label(row) - all.labels[at as usize] / all.rows[at as usize]).powi(2);
            (second, fourth) = (second + square, fourth + square * square);
        }
        let kurtosis = if second > 0.0 { fourth * all.rows.iter().sum::<f64>() / (second * second) - 3.0 } else { 0.0 };

        let sums = |of: u8| {
            let mut sums = Sums::new(chosen.len());
            rows().filter(|(row, _)| marks.0[*row] & of != 0).for_each(|(row, at)| sums.add(at, label(row)));
            sums
        };
        let mut windows = vec![all];
        for window in WINDOWS {
            let window = sums(window);
            if !windows.contains(&window) {
                windows.push(window);
            }
        }
        let looked = parts.measured.iter().copied().chain(sample(parts.train, LOOKED)).chain(sample(parts.validation, LOOKED));
        let looked = looked.map(|row| (place(row as usize), row)).filter(|(at, _)| *at != NONE).collect();
        let of_measured = sums(MEASURED);
        let level = level(&of_measured, &variance);
        if level < LEVEL {
            return None;
        }
        variance.iter_mut().for_each(|v| *v *= level);
        let total: f64 = windows[0].labels.iter().sum();
        Some(Self {
            dataset,
            looked,
            measured: of_measured.rows,
            variance,
            kurtosis,
            priors: [total / windows[0].rows.iter().sum::<f64>(), 0.5, 0.0],
            windows,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.measured.len()
    }

    /// The closest that a feature with these values comes to its threshold, and the number of groups; `None` with too few of them.
    pub(super) fn known(&self, values: &[f64]) -> Option<(Found, usize)> {
        let mut order: Vec<usize> = (0..self.len()).filter(|&at| !values[at].is_nan()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
        let most = SHARED.0.max((SHARED.1 * order.len() as f64) as usize);
        let equal = order.chunk_by(|&a, &b| values[a] == values[b]);
        let distinct: Vec<usize> = equal.filter(|groups| groups.len() <= most).flatten().copied().collect();
        let both = if distinct.len() == order.len() { vec![order] } else { vec![order, distinct] };
        let found = both.into_iter().filter_map(|order| {
            let count = order.len();
            let order = Order::new(&order, values, &self.measured, &self.variance, self.kurtosis)?;
            let found = self.windows.iter().filter_map(|sums| order.closest(sums, self.priors)).max_by(Found::by_closeness);
            found.map(|found| (found, count))
        });
        found.max_by(|a, b| Found::by_closeness(&a.0, &b.0))
    }
}
