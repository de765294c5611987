//! Floors for an attribute of users, one of C classes, told from the items that they had.
//!
//! A row is the bag of item codes of one user: any numbers, in any order, repeats allowed. A [`ClassFloor`] is fitted on rows with known classes and then gives
//! every row a probability for each class. Settings that the config leaves open are chosen by log loss on validation rows; where there are none, the first value
//! of each list is taken.
//!
//! ```
//! use acclimate_eval::floor::classes::{ClassFloor, ClassHistory, ClassRows, Majority};
//! let (items, classes) = ([vec![3, 8], vec![8], vec![]], [1, 1, 0]);
//! let history = ClassHistory { train: ClassRows { items: &items, classes: &classes }, validation: ClassRows::NONE, classes: 2 };
//! let fitted = Majority.fit(&history)?;
//! assert_eq!(fitted.score(&[vec![5]]), [0.4, 0.6]);
//! # Ok::<(), acclimate_eval::floor::FloorError>(())
//! ```
//!
//! To add a floor: one file in `floor/classes/`, one line in [`ClassFloorsConfig::floors`], and a field there if it has settings.

mod bags;
mod config;
mod logistic_regression;
mod majority;
mod smoothed_item_rate;

pub use config::ClassFloorsConfig;
pub use logistic_regression::{LogisticRegression, LogisticRegressionConfig};
pub use majority::Majority;
pub use smoothed_item_rate::{SmoothedItemRate, SmoothedItemRateConfig};

use super::{Chosen, FloorError};
use crate::metric::class_log_loss;

/// Bags of items with their classes.
#[derive(Clone, Copy, Debug)]
pub struct ClassRows<'a> {
    /// Item codes of each row.
    pub items: &'a [Vec<u32>],
    /// Class of each row.
    pub classes: &'a [u32],
}

impl ClassRows<'_> {
    /// No rows.
    pub const NONE: ClassRows<'static> = ClassRows { items: &[], classes: &[] };
}

/// What a class floor is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct ClassHistory<'a> {
    /// Rows to learn from.
    pub train: ClassRows<'a>,
    /// Rows that choose between open settings, and teach nothing else.
    pub validation: ClassRows<'a>,
    /// Number of classes C; every class is below it.
    pub classes: usize,
}

impl ClassHistory<'_> {
    /// Refuses a history without training rows, and rows whose classes do not fit.
    fn check(&self, floor: &'static str) -> Result<(), FloorError> {
        for rows in [self.train, self.validation] {
            if rows.items.len() != rows.classes.len() {
                return Err(FloorError::ClassLength { rows: rows.items.len(), classes: rows.classes.len() });
            }
            if let Some((row, &class)) = rows.classes.iter().enumerate().find(|&(_, &class)| class as usize >= self.classes) {
                return Err(FloorError::ClassOutOfRange { row, class, classes: self.classes });
            }
        }
        if self.train.classes.is_empty() { Err(FloorError::NoTrainingRows { floor }) } else { Ok(()) }
    }

    /// `p_c = (n_c + 1) / (n + C)`
    fn shares(&self) -> Vec<f64> {
        let mut counts = vec![1.0; self.classes];
        self.train.classes.iter().for_each(|&class| counts[class as usize] += 1.0);
        let total = (self.train.classes.len() + self.classes) as f64;
        counts.iter().map(|count| count / total).collect()
    }

    /// Mean log loss of `[R x C]` probabilities of the validation rows; 0 without any.
    fn loss(&self, probabilities: &[f32]) -> f64 {
        class_log_loss(self.validation.classes, probabilities, self.classes).unwrap_or(0.0)
    }
}

/// A baseline that predicts a class from items.
///
/// Its debug form names its settings, all of them: what was computed with others is told apart by it.
pub trait ClassFloor: std::fmt::Debug + Send + Sync {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    fn check(&self) -> Result<(), FloorError> {
        Ok(())
    }

    /// Learns from the training rows of `history`; its validation rows choose between the settings that the config leaves open.
    ///
    /// # Errors
    /// No training row, rows and classes that do not fit, or a setting outside its range.
    fn fit(&self, history: &ClassHistory<'_>) -> Result<Box<dyn FittedClasses>, FloorError>;
}

/// A fitted [`ClassFloor`].
pub trait FittedClasses: Send + Sync {
    /// The probability of each class for each row; items that training did not have say nothing.
    ///
    /// # Shapes
    /// `[R x C]` for R bags, the classes of a row side by side; rows sum to 1.
    fn score(&self, items: &[Vec<u32>]) -> Vec<f32>;

    /// Number of fitted numbers.
    fn parameters(&self) -> usize;

    /// The value of each setting.
    fn chosen(&self) -> Vec<Chosen> {
        Vec::new()
    }
}

/// Turns the scores of one row into probabilities: `exp(s_c) / sum(exp(s))`.
fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_gives_distributions_and_scores_rows_alone_as_together() {
        let items: Vec<Vec<u32>> = (0..40u32).map(|row| (0..row % 4).map(|at| 1000 * ((row * 7 + at * at) % 9)).collect()).collect();
        let classes: Vec<u32> = (0..40u32).map(|row| (row * row / 3) % 3).collect();
        let (train, validation) =
            (ClassRows { items: &items[..30], classes: &classes[..30] }, ClassRows { items: &items[30..], classes: &classes[30..] });
        for validation in [validation, ClassRows::NONE] {
            for floor in ClassFloorsConfig::default().floors() {
                let fitted = floor.fit(&ClassHistory { train, validation, classes: 4 }).unwrap();
                let mut asked = items[25..].to_vec();
                asked.push(vec![5, u32::MAX, 3000, 3000]);
                let together = fitted.score(&asked);
                let alone: Vec<f32> = asked.iter().flat_map(|bag| fitted.score(std::slice::from_ref(bag))).collect();
                assert_eq!(together, alone, "{}", floor.name());
                for row in together.chunks_exact(4) {
                    assert!(
                        (row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row.iter().all(|p| (0.0..=1.0).contains(p)),
                        "{}: {row:?}",
                        floor.name()
                    );
                }
                assert!(fitted.parameters() > 0 && fitted.chosen().iter().all(|chosen| chosen.from.contains(&chosen.value)));
            }
        }
    }

    #[test]
    fn unfit_histories_are_refused() {
        let bags = [vec![1], vec![2]];
        let rows = |classes| ClassRows { items: &bags, classes };
        for floor in ClassFloorsConfig::default().floors() {
            let fit = |train, validation| floor.fit(&ClassHistory { train, validation, classes: 2 }).err();
            assert_eq!(fit(ClassRows::NONE, ClassRows::NONE), Some(FloorError::NoTrainingRows { floor: floor.name() }));
            assert_eq!(fit(rows(&[0]), ClassRows::NONE), Some(FloorError::ClassLength { rows: 2, classes: 1 }));
            assert_eq!(fit(rows(&[0, 1]), rows(&[0, 2])), Some(FloorError::ClassOutOfRange { row: 1, class: 2, classes: 2 }));
        }
    }
}
