//! Rows of the log with and without their labels: what a floor may learn from and what it has to predict.

use acclimate_data::{Dataset, DomainIndex, Features, ItemIndex, LabelKind, Side, UserIndex};

use super::FloorError;

/// Rows of the log without their labels, addressed by position `0..len()`.
#[derive(Clone, Copy, Debug)]
pub struct Unlabelled<'a> {
    dataset: &'a Dataset,
    rows: &'a [u32],
}

impl<'a> Unlabelled<'a> {
    /// The rows `rows` of the log.
    ///
    /// # Errors
    /// A row beyond the log.
    pub fn new(dataset: &'a Dataset, rows: &'a [u32]) -> Result<Self, FloorError> {
        let len = dataset.log.len();
        match rows.iter().find(|&&row| row as usize >= len) {
            Some(&row) => Err(FloorError::RowOutOfRange { row, rows: len }),
            None => Ok(Self { dataset, rows }),
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// User of the row at position `i`.
    #[must_use]
    pub fn user(&self, i: usize) -> UserIndex {
        self.dataset.log.user[self.rows[i] as usize]
    }

    /// Item of the row at position `i`.
    #[must_use]
    pub fn item(&self, i: usize) -> ItemIndex {
        self.dataset.log.item[self.rows[i] as usize]
    }

    /// Domain of the row at position `i`.
    #[must_use]
    pub fn domain(&self, i: usize) -> DomainIndex {
        self.dataset.log.domain[self.rows[i] as usize]
    }

    /// Seconds since 1970 of the row at position `i`; `None` where the data set has no time.
    #[must_use]
    pub fn time(&self, i: usize) -> Option<i64> {
        self.dataset.log.time.get(self.rows[i] as usize).copied()
    }

    /// The entity that owns a feature of `side` in the row at position `i`.
    #[must_use]
    pub fn entity(&self, side: Side, i: usize) -> usize {
        self.dataset.entity(side, self.rows[i] as usize)
    }

    /// The encoded features of the data set.
    #[must_use]
    pub fn features(&self) -> &'a Features {
        &self.dataset.features
    }

    /// Meaning of the label.
    #[must_use]
    pub fn label_kind(&self) -> LabelKind {
        self.dataset.label
    }

    /// Number of users, items and domains of the data set.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [self.dataset.users.len(), self.dataset.items.len(), self.dataset.domains.len()]
    }
}

/// Rows of the log with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    rows: Unlabelled<'a>,
}

impl<'a> Labelled<'a> {
    /// The rows `rows` of the log and their labels.
    ///
    /// # Errors
    /// A row beyond the log or a label that is not finite.
    pub fn new(dataset: &'a Dataset, rows: &'a [u32]) -> Result<Self, FloorError> {
        let view = Unlabelled::new(dataset, rows)?;
        match rows.iter().find(|&&row| !dataset.log.label[row as usize].is_finite()) {
            Some(&row) => Err(FloorError::LabelNotFinite { row, value: dataset.log.label[row as usize] }),
            None => Ok(Self { rows: view }),
        }
    }

    /// No rows: the support of a user who has none.
    #[must_use]
    pub fn none(dataset: &'a Dataset) -> Self {
        Self { rows: Unlabelled { dataset, rows: &[] } }
    }

    /// The same rows without labels.
    #[must_use]
    pub fn rows(&self) -> Unlabelled<'a> {
        self.rows
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Label of the row at position `i`.
    #[must_use]
    pub fn label(&self, i: usize) -> f64 {
        f64::from(self.rows.dataset.log.label[self.rows.rows[i] as usize])
    }

    /// All labels, in position order.
    pub fn labels(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.len()).map(|i| self.label(i))
    }

    /// Some of these rows, given as rows of the log.
    pub(super) fn among<'b>(&self, rows: &'b [u32]) -> Labelled<'b>
    where
        'a: 'b,
    {
        Labelled { rows: Unlabelled { dataset: self.rows.dataset, rows } }
    }

    /// Row of the log at position `i`.
    pub(super) fn row(&self, i: usize) -> u32 {
        self.rows.rows[i]
    }

    /// Mean label.
    pub(super) fn mean(&self, floor: &'static str) -> Result<f64, FloorError> {
        if self.is_empty() {
            return Err(FloorError::NoTrainingRows { floor });
        }
        Ok(self.labels().sum::<f64>() / self.len() as f64)
    }
}
