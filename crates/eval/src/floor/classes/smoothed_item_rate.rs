//! The classes of the rows that had each item, shrunk and multiplied up.

use serde::{Deserialize, Serialize};

use super::bags::{Bags, Columns};
use super::{ClassFloor, ClassHistory, FittedClasses, softmax};
use crate::floor::{Chosen, FloorError, Grid};

const NAME: &str = "smoothed_item_rate";

/// Settings of [`SmoothedItemRate`]; where a list holds more than one value, validation log loss chooses the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothedItemRateConfig {
    /// Rows at the overall class shares that are added to each item. Raising it trusts rare items less. Default: chosen from 1 to 200; 10 without validation.
    pub shrink: Grid,
    /// How much less each item says where a row has many: 0 takes the items for independent (naive Bayes), 1 takes their mean. Default: chosen from 0 to 1; 0.5
    /// without validation.
    pub exponent: Grid,
}

impl Default for SmoothedItemRateConfig {
    fn default() -> Self {
        Self { shrink: [10.0, 1.0, 2.0, 5.0, 20.0, 50.0, 100.0, 200.0].into(), exponent: [0.5, 0.0, 0.25, 0.75, 1.0].into() }
    }
}

/// Smoothed naive Bayes over the items of a row.
///
/// With p_c the share of class c (one row added to each class), n_ic the training rows of class c that have item i, and s = `shrink`:
///
/// - `r_ic = (n_ic + s p_c) / (n_i + s)`, the classes of an item;
/// - `q_c = p_c * product over the m distinct known items of the row of (r_ic / p_c)^(m^-exponent)`, divided by the sum over c.
///
/// Exponent 0 is naive Bayes, exponent 1 the geometric mean of what the items say. A row without known items gets p.
#[derive(Clone, Debug, Default)]
pub struct SmoothedItemRate {
    /// Settings.
    pub config: SmoothedItemRateConfig,
}

struct Fitted {
    columns: Columns,
    /// `ln p_c`, `[C]`.
    prior: Vec<f64>,
    /// `ln(r_ic / p_c)`, `[I x C]`.
    ratios: Vec<f64>,
    shrink: f64,
    exponent: f64,
    config: SmoothedItemRateConfig,
}

impl ClassFloor for SmoothedItemRate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        self.config.shrink.check(NAME, "shrink", f64::MIN_POSITIVE, "a number of rows above 0")?;
        self.config.exponent.check(NAME, "exponent", 0.0, "a number, 0 or more")
    }

    fn fit(&self, history: &ClassHistory<'_>) -> Result<Box<dyn FittedClasses>, FloorError> {
        self.check()?;
        history.check(NAME)?;
        let columns = Columns::new(history.train.items, 1);
        let shares = history.shares();
        let count = shares.len();
        let mut counts = vec![0.0; columns.len() * count];
        for (row, &class) in columns.of(history.train.items).rows().zip(history.train.classes) {
            row.iter().for_each(|&(column, _)| counts[column as usize * count + class as usize] += 1.0);
        }
        let prior: Vec<f64> = shares.iter().map(|share| share.ln()).collect();
        let validation = columns.of(history.validation.items);
        let mut best: Option<(f64, Fitted)> = None;
        for &shrink in self.config.shrink.values() {
            let ratios = ratios(&counts, &shares, shrink);
            let sums = sums(&validation, &ratios, count);
            for &exponent in self.config.exponent.values() {
                let loss = history.loss(&probabilities(&validation, &sums, &prior, exponent));
                if best.as_ref().is_none_or(|(lowest, _)| loss < *lowest) {
                    let (columns, prior, ratios) = (columns.clone(), prior.clone(), ratios.clone());
                    best = Some((loss, Fitted { columns, prior, ratios, shrink, exponent, config: self.config.clone() }));
                }
            }
        }
        let (_, fitted) = best.expect("at least one pair of settings, checked above");
        Ok(Box::new(fitted))
    }
}

/// `ln(r_ic / p_c)` from `[I x C]` counts.
fn ratios(counts: &[f64], shares: &[f64], shrink: f64) -> Vec<f64> {
    let of_item = |counts: &[f64]| {
        let total = counts.iter().sum::<f64>() + shrink;
        let ratio = |(count, share): (&f64, &f64)| ((count + shrink * share) / (total * share)).ln();
        counts.iter().zip(shares).map(ratio).collect::<Vec<f64>>()
    };
    counts.chunks_exact(shares.len()).flat_map(of_item).collect()
}

/// Sum of the ratios of each row's items, `[R x C]`.
fn sums(bags: &Bags, ratios: &[f64], count: usize) -> Vec<f64> {
    let mut sums = vec![0.0; bags.len() * count];
    for (row, sums) in bags.rows().zip(sums.chunks_exact_mut(count)) {
        for &(column, _) in row {
            let of_item = &ratios[column as usize * count..][..count];
            sums.iter_mut().zip(of_item).for_each(|(sum, ratio)| *sum += ratio);
        }
    }
    sums
}

/// `[R x C]` probabilities from the sums.
fn probabilities(bags: &Bags, sums: &[f64], prior: &[f64], exponent: f64) -> Vec<f32> {
    let mut all = Vec::with_capacity(sums.len());
    for (row, sums) in bags.rows().zip(sums.chunks_exact(prior.len())) {
        let weight = (row.len().max(1) as f64).powf(-exponent);
        let mut scores: Vec<f64> = prior.iter().zip(sums).map(|(prior, sum)| prior + weight * sum).collect();
        softmax(&mut scores);
        all.extend(scores.into_iter().map(|p| p as f32));
    }
    all
}

impl FittedClasses for Fitted {
    fn score(&self, items: &[Vec<u32>]) -> Vec<f32> {
        let bags = self.columns.of(items);
        probabilities(&bags, &sums(&bags, &self.ratios, self.prior.len()), &self.prior, self.exponent)
    }

    fn parameters(&self) -> usize {
        self.prior.len() + self.ratios.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let SmoothedItemRateConfig { shrink, exponent } = &self.config;
        vec![
            shrink.chosen("shrink", self.shrink, |_| false),
            exponent.chosen("exponent", self.exponent, |exponent| exponent == 0.0 || exponent == 1.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::classes::ClassRows;

    fn floor(shrink: f64, exponent: impl Into<Grid>) -> SmoothedItemRate {
        SmoothedItemRate { config: SmoothedItemRateConfig { shrink: shrink.into(), exponent: exponent.into() } }
    }

    const CLASSES: [u32; 4] = [0, 0, 1, 1];

    fn bags() -> Vec<Vec<u32>> {
        vec![vec![1, 1, 2], vec![1], vec![2], vec![2, 3]]
    }

    #[test]
    fn items_multiply_up() {
        // p = (1/2, 1/2). Item 1 has two rows of class 0, item 2 one of 0 and two of 1; with shrink 2 the classes are (3/4, 1/4) and (2/5, 3/5).
        let (items, validation) = (bags(), ClassRows::NONE);
        let history = ClassHistory { train: ClassRows { items: &items, classes: &CLASSES }, validation, classes: 2 };
        let score = |exponent: f64, bag: &[u32]| floor(2.0, exponent).fit(&history).unwrap().score(&[bag.to_vec()])[0];
        let odds = |odds: f64| (odds / (1.0 + odds)) as f32;
        for (exponent, bag, expected) in [
            (0.0, &[1, 1, 9][..], odds(3.0)),
            (0.0, &[2, 1], odds(3.0 * 2.0 / 3.0)),
            (1.0, &[1, 2, 1], odds((3.0f64 * 2.0 / 3.0).sqrt())),
            (0.5, &[1, 2], odds((3.0f64 * 2.0 / 3.0).powf(0.5f64.sqrt()))),
            (0.0, &[9], 0.5),
        ] {
            assert!((score(exponent, bag) - expected).abs() < 1e-6, "{exponent} {bag:?}: {} against {expected}", score(exponent, bag));
        }
    }

    #[test]
    fn validation_chooses_and_without_it_the_first_counts() {
        // Items 1 and 3 say opposite things, 1 the louder. Where class 0 always follows both, all that they say counts; where it does not, little does.
        let items = bags();
        let (asked, mixed) = (vec![vec![1, 3]; 5], [1, 0, 1, 0, 1]);
        let chosen = |classes: &[u32]| {
            let validation = ClassRows { items: &asked[..classes.len()], classes };
            let history = ClassHistory { train: ClassRows { items: &items, classes: &CLASSES }, validation, classes: 2 };
            floor(1.0, [0.5, 0.0, 2.0]).fit(&history).unwrap().chosen()[1].value
        };
        assert_eq!((chosen(&[]), chosen(&[0, 0, 0])), (0.5, 0.0));
        assert_eq!(chosen(&mixed), 2.0);
    }
}
