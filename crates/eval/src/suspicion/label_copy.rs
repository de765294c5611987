//! A feature that tells the label of its own row.

use acclimate_data::{Bag, Categorical, Dataset, LabelKind, Numeric};
use rayon::prelude::*;

use super::{Leak, Parts, Sign, sample};
use crate::metric::gauc;

/// Most rows that a feature's rates are learned from, and that they are judged on.
const LEARNED: usize = 50_000;
const JUDGED: usize = 10_000;
/// Quantiles of a number.
const QUANTILES: usize = 64;
/// Rows at the mean label that are added to each value's rate.
const SHRINK: f64 = 10.0;
/// How many rows of each class (or with a differing label) must stand in mixed groups, so that a grouping judges.
const MIXED: usize = 50;
/// Suspicious from here: a copy of the label in which every seventh is wrong.
const AUC: f64 = 0.85;
/// The same for ratings, as the explained share of variance. The best models of rating data explain less than half.
const EXPLAINED: f64 = 0.6;

/// How well each feature alone tells the label, beyond what it says of the row's domain, user and item.
///
/// A feature's values (of a number: its quantiles, and single values that many rows share, as a missing one) are given the mean label that they have in
/// training rows; on validation rows, then on measured rows, these predictions are compared with the labels: by AUC for clicks, by the squared
/// correlation for ratings. The statistic is the smallest of four: over all rows, and inside domains, users and items (by rows, as in `gauc`; of ratings
/// after the group's means are taken away), each where labels differ inside enough groups. What describes an item or a user is constant there; what
/// describes a row and is known beforehand is far from this on any log that was looked at. A history is also judged by whether it holds the value that
/// the row itself has in the same vocabulary.
///
/// One sign for each feature, in the order of the data set; none for labels that do not differ.
#[must_use]
pub fn label_copies(dataset: &Dataset, parts: &Parts<'_>) -> Vec<Sign> {
    if dataset.label == LabelKind::Implicit || parts.train.is_empty() {
        return Vec::new();
    }
    let (measure, threshold) = if dataset.label == LabelKind::Click { ("AUC", AUC) } else { ("explained share", EXPLAINED) };
    let learned = sample(parts.train, LEARNED);
    let judges = [("validation", parts.validation), ("measured", parts.measured)];
    let judges: Vec<Judge> = judges.into_iter().map(|(part, rows)| Judge::new(dataset, part, sample(rows, JUDGED))).collect();
    let signs = columns(dataset).into_par_iter().filter_map(|column| {
        let rates = Rates::learn(dataset, &column, &learned);
        let mut found: Option<(&Judge, f64)> = None;
        for judge in &judges {
            // The measured rows are asked only where the validation rows know nothing.
            if found.is_some_and(|(_, statistic)| statistic >= threshold) {
                break;
            }
            let statistic = judge.statistic(dataset, &column, &rates);
            found = statistic.map(|statistic| (judge, statistic)).filter(|new| found.is_none_or(|old| new.1 > old.1)).or(found);
        }
        found.map(|(judge, statistic)| Sign {
            leak: Leak::LabelCopy,
            feature: Some(column.name().to_owned()),
            of: column.of(),
            part: judge.part.to_owned(),
            measure: measure.to_owned(),
            statistic,
            threshold,
            count: judge.rows.len(),
        })
    });
    signs.collect()
}

/// One feature, as the values whose rates are learned.
enum Column<'a> {
    Codes(&'a Categorical),
    Number(&'a Numeric),
    List(&'a Bag),
    /// Whether a list holds the row's own value of another feature.
    Holds(&'a Bag, &'a Categorical),
}

fn columns(dataset: &Dataset) -> Vec<Column<'_>> {
    let features = &dataset.features;
    let codes = features.categorical.iter().map(|feature| Column::Codes(feature));
    let lists = features.bags.iter().map(|feature| Column::List(feature));
    let holds = features.bags.iter().flat_map(|list| {
        let own = features.categorical.iter().filter(|own| own.vocabulary == list.vocabulary);
        own.map(move |own| Column::Holds(list, own))
    });
    codes.chain(features.numeric.iter().map(|feature| Column::Number(feature))).chain(lists).chain(holds).collect()
}

impl Column<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Codes(feature) => &feature.name,
            Self::Number(feature) => &feature.name,
            Self::List(feature) | Self::Holds(feature, _) => &feature.name,
        }
    }

    fn of(&self) -> Option<String> {
        match self {
            Self::Holds(_, own) => Some(own.name.clone()),
            _ => None,
        }
    }

    /// Hands each value of a row to `each`; an empty list has one value of its own.
    fn values(&self, dataset: &Dataset, quantiles: &[f32], row: usize, mut each: impl FnMut(usize)) {
        match self {
            Self::Codes(feature) => each(feature.codes[dataset.entity(feature.side, row)] as usize),
            Self::Number(feature) => {
                let value = feature.values[dataset.entity(feature.side, row)];
                let below = quantiles.partition_point(|&q| q < value);
                // Values between two quantiles share one rate; a quantile itself has its own, since many rows may share it.
                each(2 * below + usize::from(quantiles.get(below) == Some(&value)));
            }
            Self::List(feature) => match feature.lists.of(dataset.entity(feature.side, row)) {
                [] => each(0),
                codes => codes.iter().for_each(|&code| each(code as usize + 1)),
            },
            Self::Holds(feature, own) => {
                let code = own.codes[dataset.entity(own.side, row)];
                each(usize::from(code != 0 && feature.lists.of(dataset.entity(feature.side, row)).contains(&code)));
            }
        }
    }
}

/// The mean label of each value.
struct Rates {
    quantiles: Vec<f32>,
    mean: f64,
    /// Empty entries of values that were not met have the mean as well.
    rates: Vec<f64>,
}

impl Rates {
    fn learn(dataset: &Dataset, column: &Column<'_>, rows: &[u32]) -> Self {
        let quantiles = match column {
            Column::Number(feature) => quantiles(rows.iter().map(|&row| feature.values[dataset.entity(feature.side, row as usize)])),
            _ => Vec::new(),
        };
        let mean = rows.iter().map(|&row| f64::from(dataset.log.label[row as usize])).sum::<f64>() / rows.len() as f64;
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for &row in rows {
            let label = f64::from(dataset.log.label[row as usize]);
            column.values(dataset, &quantiles, row as usize, |value| {
                if value >= sums.len() {
                    sums.resize(value + 1, (0.0, 0.0));
                }
                sums[value].0 += 1.0;
                sums[value].1 += label;
            });
        }
        let rates = sums.into_iter().map(|(rows, labels)| (labels + SHRINK * mean) / (rows + SHRINK)).collect();
        Self { quantiles, mean, rates }
    }

    /// What the feature says of a row: the mean rate of its values.
    fn predict(&self, dataset: &Dataset, column: &Column<'_>, row: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        column.values(dataset, &self.quantiles, row, |value| {
            sum += self.rates.get(value).copied().unwrap_or(self.mean);
            count += 1.0;
        });
        sum / count
    }
}

/// Distinct quantiles, ascending.
fn quantiles(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sorted: Vec<f32> = values.collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut quantiles: Vec<f32> = (0..=QUANTILES).map(|i| sorted[i * (sorted.len() - 1) / QUANTILES]).collect();
    quantiles.dedup();
    quantiles
}

/// Rows on which predictions are compared with labels.
struct Judge {
    part: &'static str,
    rows: Vec<u32>,
    labels: Vec<f32>,
    /// A group of each row: all one, domains, users, items; those that judge.
    groupings: Vec<Vec<u32>>,
    is_click: bool,
}

impl Judge {
    fn new(dataset: &Dataset, part: &'static str, rows: Vec<u32>) -> Self {
        let log = &dataset.log;
        let labels: Vec<f32> = rows.iter().map(|&row| log.label[row as usize]).collect();
        let is_click = dataset.label == LabelKind::Click;
        let group = |of: &dyn Fn(usize) -> u32| rows.iter().map(|&row| of(row as usize)).collect::<Vec<u32>>();
        let all = [group(&|_| 0), group(&|row| log.domain[row].0), group(&|row| log.user[row].0), group(&|row| log.item[row].0)];
        let groupings = all.into_iter().filter(|groups| mixed(groups, &labels, is_click) >= MIXED).collect();
        Self { part, rows, labels, groupings, is_click }
    }

    /// The smallest over the groupings; `None` where labels differ nowhere enough.
    fn statistic(&self, dataset: &Dataset, column: &Column<'_>, rates: &Rates) -> Option<f64> {
        let predictions: Vec<f64> = self.rows.iter().map(|&row| rates.predict(dataset, column, row as usize)).collect();
        let of = |groups: &Vec<u32>| {
            if self.is_click { gauc(groups, &self.labels, &predictions) } else { explained(groups, &self.labels, &predictions) }
        };
        self.groupings.iter().filter_map(of).min_by(f64::total_cmp)
    }
}

/// Rows by which groups are mixed: of clicks, the smaller class of each; of ratings, all rows of groups of two and more.
fn mixed(groups: &[u32], labels: &[f32], is_click: bool) -> usize {
    let mut counts = std::collections::HashMap::<u32, [usize; 2]>::new();
    for (&group, &label) in groups.iter().zip(labels) {
        counts.entry(group).or_default()[usize::from(label > 0.5)] += 1;
    }
    let of_group = |[no, yes]: &[usize; 2]| match is_click {
        true => *no.min(yes),
        false if no + yes > 1 => no + yes,
        false => 0,
    };
    counts.values().map(of_group).sum()
}

/// Squared correlation of labels and predictions after the means of their group are taken from both; `None` where either does not vary.
fn explained(groups: &[u32], labels: &[f32], predictions: &[f64]) -> Option<f64> {
    let mut means = std::collections::HashMap::<u32, [f64; 3]>::new();
    for ((&group, &label), &prediction) in groups.iter().zip(labels).zip(predictions) {
        let sums = means.entry(group).or_default();
        *sums = [sums[0] + 1.0, sums[1] + f64::from(label), sums[2] + prediction];
    }
    let [mut yy, mut xx, mut xy] = [0.0; 3];
    for ((group, &label), &prediction) in groups.iter().zip(labels).zip(predictions) {
        let [n, label_sum, prediction_sum] = means[group];
        let (y, x) = (f64::from(label) - label_sum / n, prediction - prediction_sum / n);
        (yy, xx, xy) = (yy + y * y, xx + x * x, xy + x * y);
    }
    // A prediction that is constant in each group differs from its mean by rounding only.
    if yy <= 0.0 {
        return None;
    }
    Some(if xx <= 1e-12 * predictions.len() as f64 { 0.0 } else { xy * xy / (xx * yy) })
}
