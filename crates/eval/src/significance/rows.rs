//! What methods are measured on: labelled rows, or queries with one positive each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::metric::{LabelRange, MAX_USERS, Real, best_offset};

/// Users renumbered to `0..count` in ascending order of their index.
#[derive(Clone, Debug)]
pub(crate) struct CompactUsers {
    pub(crate) of_row: Vec<u32>,
    pub(crate) count: usize,
}

impl CompactUsers {
    pub(crate) fn new(users: &[u32]) -> Result<Self, EvalError> {
        if users.is_empty() {
            return Err(EvalError::Empty { what: "rows" });
        }
        let mut positions: BTreeMap<u32, u32> = users.iter().map(|&user| (user, 0)).collect();
        for (position, value) in positions.values_mut().zip(0..) {
            *position = value;
        }
        let count = positions.len();
        assert!(count < MAX_USERS, "at most 2^30 users can be evaluated at once");
        Ok(Self { of_row: users.iter().map(|user| positions[user]).collect(), count })
    }
}

/// Names and indices of the domains of the rows.
#[derive(Clone, Debug)]
pub(crate) struct Domains {
    pub(crate) column: String,
    pub(crate) of_row: Vec<u32>,
    pub(crate) names: Vec<String>,
}

/// The measured rows of one domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSize {
    /// The domain as metrics name it, such as `tab=1`.
    pub domain: String,
    /// Number of rows.
    pub rows: u64,
    /// Number of users with rows.
    pub users: u64,
    /// Number of rows with label 1, where all labels of the evaluation are 0 or 1.
    pub positives: Option<u64>,
}

/// The labelled rows that all methods of a comparison are scored on.
///
/// ```
/// use acclimate_eval::{EvaluationRows, LabelRange};
/// let rows = EvaluationRows::new(&[4, 4, 9], &[1.0, 0.0, 1.0])?
///     .with_domains("tab", &[0, 0, 1], &["1".to_owned(), "2".to_owned()])?
///     .with_label_range(LabelRange { low: 0.0, high: 1.0 });
/// assert_eq!((rows.len(), rows.users()), (3, 2));
/// # Ok::<(), acclimate_eval::EvalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EvaluationRows {
    pub(crate) users: CompactUsers,
    pub(crate) labels: Vec<f32>,
    pub(crate) domains: Option<Domains>,
    pub(crate) range: LabelRange,
}

impl EvaluationRows {
    /// Rows of these users (any indices) with these labels.
    ///
    /// # Errors
    /// [`EvalError::Empty`] without rows, [`EvalError::Length`] when the columns differ in length, [`EvalError::NotFinite`] for a NaN or infinite label.
    pub fn new(users: &[u32], labels: &[f32]) -> Result<Self, EvalError> {
        check_length("labels", users.len(), labels.len())?;
        check_finite("labels", labels.iter().map(|&label| f64::from(label)))?;
        Ok(Self { users: CompactUsers::new(users)?, labels: labels.to_vec(), domains: None, range: LabelRange::UNBOUNDED })
    }

    /// Adds the domain of each row, as positions in `names`; `column` is the name metrics use for it, for example `tab`.
    ///
    /// # Errors
    /// [`EvalError::Length`] when the column differs in length, [`EvalError::DomainIndex`] when a domain has no name.
    pub fn with_domains(mut self, column: &str, domains: &[u32], names: &[String]) -> Result<Self, EvalError> {
        check_length("domains", self.len(), domains.len())?;
        if let Some((row, &index)) = domains.iter().enumerate().find(|&(_, &index)| index as usize >= names.len()) {
            return Err(EvalError::DomainIndex { row, index, names: names.len() });
        }
        self.domains = Some(Domains { column: column.to_owned(), of_row: domains.to_vec(), names: names.to_vec() });
        Ok(self)
    }

    /// Clips predictions to this range in MAE and RMSE; without it nothing is clipped.
    #[must_use]
    pub fn with_label_range(mut self, range: LabelRange) -> Self {
        self.range = range;
        self
    }

    /// Positions of the names of domains with rows, ascending.
    pub(crate) fn domains_with_rows(&self) -> Vec<usize> {
        let Some(domains) = &self.domains else { return Vec::new() };
        let mut found = vec![false; domains.names.len()];
        domains.of_row.iter().for_each(|&domain| found[domain as usize] = true);
        (0..found.len()).filter(|&at| found[at]).collect()
    }

    /// Metrics' name of a domain, such as `tab=1`.
    pub(crate) fn domain_name(&self, at: usize) -> String {
        self.domains.as_ref().map_or_else(String::new, |domains| format!("{}={}", domains.column, domains.names[at]))
    }

    /// What each domain with rows holds.
    #[must_use]
    pub fn domain_sizes(&self) -> Vec<DomainSize> {
        let Some(domains) = &self.domains else { return Vec::new() };
        let clicks = self.labels.iter().all(|&label| label == 0.0 || label == 1.0);
        let mut sizes: BTreeMap<u32, (u64, u64, Vec<u32>)> = BTreeMap::new();
        for (row, &domain) in domains.of_row.iter().enumerate() {
            let (rows, positives, users) = sizes.entry(domain).or_default();
            *rows += 1;
            *positives += u64::from(self.labels[row] == 1.0);
            users.push(self.users.of_row[row]);
        }
        let size = |(domain, (rows, positives, mut users)): (u32, (u64, u64, Vec<u32>))| {
            users.sort_unstable();
            users.dedup();
            let domain = self.domain_name(domain as usize);
            DomainSize { domain, rows, users: users.len() as u64, positives: clicks.then_some(positives) }
        };
        sizes.into_iter().map(size).collect()
    }

    /// The constant that suits some predictions of the rows: see [`best_offset`](crate::metric::best_offset).
    ///
    /// # Errors
    /// [`EvalError::Length`] and [`EvalError::NotFinite`] for unfit predictions.
    pub fn best_offset<P: Real>(&self, method: &str, predictions: &[P]) -> Result<f64, EvalError> {
        check_length(method, self.len(), predictions.len())?;
        check_finite(method, predictions.iter().map(|&p| p.into()))?;
        Ok(best_offset(&self.users.of_row, &self.labels, predictions, self.range))
    }

    /// Number of rows; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an evaluation without rows can not be made")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Number of distinct users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.count
    }
}

/// Queries with one positive each; methods give a rank (see [`rank_of`](crate::metric::rank_of)) for every query.
///
/// Values are averaged inside each user first, then over users.
#[derive(Clone, Debug)]
pub struct EvaluationQueries {
    pub(crate) users: CompactUsers,
}

impl EvaluationQueries {
    /// Queries of these users (any indices).
    ///
    /// # Errors
    /// [`EvalError::Empty`] without queries.
    pub fn new(users: &[u32]) -> Result<Self, EvalError> {
        Ok(Self { users: CompactUsers::new(users)? })
    }

    /// Number of queries; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an evaluation without queries can not be made")]
    pub fn len(&self) -> usize {
        self.users.of_row.len()
    }

    /// Number of distinct users.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.count
    }
}

pub(crate) fn check_length(what: &str, expected: usize, found: usize) -> Result<(), EvalError> {
    if expected == found { Ok(()) } else { Err(EvalError::Length { what: what.to_owned(), expected, found }) }
}

pub(crate) fn check_finite(what: &str, values: impl Iterator<Item = f64>) -> Result<(), EvalError> {
    for (row, value) in values.enumerate() {
        if !value.is_finite() {
            return Err(EvalError::NotFinite { what: what.to_owned(), row, value });
        }
    }
    Ok(())
}
