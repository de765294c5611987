//! What methods that answer with a class are measured on.

use std::collections::BTreeMap;

use super::rows::{CompactUsers, check_length};
use crate::EvalError;
use crate::metric::{Real, answer, macro_f1_of};

/// How far the probabilities of a row may be from a sum of 1.
const SUM_WIDTH: f64 = 1e-3;

/// Rows with one true class each; methods give a probability for every class.
///
/// ```
/// use acclimate_eval::EvaluationClasses;
/// let names = ["18-24", "25-34", "35-"].map(str::to_owned);
/// let rows = EvaluationClasses::new(&[4, 9], &[2, 0], &names)?;
/// assert_eq!((rows.len(), rows.users(), rows.names().len()), (2, 2, 3));
/// # Ok::<(), acclimate_eval::EvalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EvaluationClasses {
    pub(crate) users: CompactUsers,
    pub(crate) classes: Vec<u32>,
    names: Vec<String>,
}

impl EvaluationClasses {
    /// Rows of these users (any indices) whose true classes are these positions in `names`.
    ///
    /// # Errors
    /// [`EvalError::Empty`] without rows, [`EvalError::Length`] when the columns differ in length, [`EvalError::ClassIndex`] for a class without a name.
    pub fn new(users: &[u32], classes: &[u32], names: &[String]) -> Result<Self, EvalError> {
        check_length("classes", users.len(), classes.len())?;
        if let Some((row, &index)) = classes.iter().enumerate().find(|&(_, &index)| index as usize >= names.len()) {
            return Err(EvalError::ClassIndex { row, index, names: names.len() });
        }
        Ok(Self { users: CompactUsers::new(users)?, classes: classes.to_vec(), names: names.to_vec() })
    }

    /// Number of rows R; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an evaluation without rows can not be made")]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Number of distinct users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.count
    }

    /// The names of the C classes.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Refuses answers that are not `[R x C]`, or a row that is no distribution over the classes.
    pub(crate) fn check<P: Real>(&self, method: &str, probabilities: &[P]) -> Result<(), EvalError> {
        let count = self.names.len();
        check_length(&format!("{method} (probabilities of {count} classes a row)"), self.len() * count, probabilities.len())?;
        for (row, of_row) in probabilities.chunks_exact(count).enumerate() {
            let mut sum = 0.0;
            for (&p, class) in of_row.iter().zip(&self.names) {
                let value: f64 = p.into();
                if !(0.0..=1.0).contains(&value) {
                    return Err(EvalError::NotAProbability { method: method.to_owned(), row, class: class.clone(), value });
                }
                sum += value;
            }
            if (sum - 1.0).abs() > SUM_WIDTH {
                return Err(EvalError::ProbabilitySum { method: method.to_owned(), row, sum });
            }
        }
        Ok(())
    }
}

/// How often each user has each pair of true class and answer, so that an F1 under new weights costs one pass.
#[derive(Clone, Debug)]
pub(crate) struct Confusion {
    /// User, `true class * C + answer`, and number of rows.
    cells: Vec<(u32, u32, u32)>,
    count: usize,
}

impl Confusion {
    pub(crate) fn new<P: Real>(rows: &EvaluationClasses, probabilities: &[P]) -> Self {
        let count = rows.names.len();
        let mut cells: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for ((&user, &class), of_row) in rows.users.of_row.iter().zip(&rows.classes).zip(probabilities.chunks_exact(count)) {
            *cells.entry((user, class * count as u32 + answer(of_row) as u32)).or_default() += 1;
        }
        Self { cells: cells.into_iter().map(|((user, cell), rows)| (user, cell, rows)).collect(), count }
    }

    /// Exact in integers up to the last division.
    pub(crate) fn macro_f1(&self, weights: &[u32]) -> Option<f64> {
        let mut confusion = vec![0; self.count * self.count];
        for &(user, cell, rows) in &self.cells {
            confusion[cell as usize] += u64::from(weights[user as usize]) * u64::from(rows);
        }
        macro_f1_of(&confusion, self.count)
    }
}
