//! What can be wrong with the input of a floor.

use thiserror::Error;

/// Why a floor could not be fitted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FloorError {
    /// Nothing to learn from.
    #[error("floor `{floor}`: there are no training rows; check the split's training part")]
    NoTrainingRows {
        /// The floor.
        floor: &'static str,
    },
    /// A row number beyond the log.
    #[error("row {row} is not in the log, which has {rows} rows; rows and data set must come from the same split")]
    RowOutOfRange {
        /// The row.
        row: u32,
        /// Rows in the log.
        rows: usize,
    },
    /// A label that is NaN or infinite.
    #[error("row {row} has the label {value}, which is not a finite number; correct or drop the row")]
    LabelNotFinite {
        /// The row.
        row: u32,
        /// Its label.
        value: f32,
    },
    /// A label other than 0 or 1 where only clicks make sense.
    #[error("floor `{floor}` needs labels 0 or 1, but row {row} has {value}; leave the floor out for ratings")]
    LabelNotBinary {
        /// The floor.
        floor: &'static str,
        /// The row.
        row: u32,
        /// Its label.
        value: f32,
    },
    /// A choice between settings without anything to choose by.
    #[error(
        "floor `{floor}` has to choose `{setting}` from {candidates} values but got no validation data; give validation data or a single value"
    )]
    NoValidation {
        /// The floor.
        floor: &'static str,
        /// The open setting.
        setting: &'static str,
        /// How many values it may take.
        candidates: usize,
    },
    /// A setting outside its range.
    #[error("floor `{floor}`: `{setting}` is {value}, expected {expected}")]
    Setting {
        /// The floor.
        floor: &'static str,
        /// The setting.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Bags of items and classes that do not belong together.
    #[error("there are {rows} rows with items but {classes} classes; give one class for each row")]
    ClassLength {
        /// Rows with items.
        rows: usize,
        /// Classes.
        classes: usize,
    },
    /// A class beyond the number of classes.
    #[error("row {row} has class {class}, but there are {classes} classes; classes are counted from 0")]
    ClassOutOfRange {
        /// Position of the row.
        row: usize,
        /// Its class.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Nothing to rank.
    #[error("the candidate catalogue is empty; check that the target domain has training events")]
    EmptyCatalogue,
    /// A catalogue that is not strictly ascending.
    #[error("item {item} of the candidate catalogue follows an equal or larger one; sort the catalogue and drop repeated items")]
    CatalogueOrder {
        /// Index of the item.
        item: u32,
    },
    /// An item that the data set does not have.
    #[error("item {item} is beyond the {items} items of the data set; events, catalogue and item count must come from the same data set")]
    ItemOutOfRange {
        /// Index of the item.
        item: u32,
        /// Number of items.
        items: usize,
    },
}

/// Refuses a number that is not finite or below `least`.
pub(crate) fn at_least(
    floor: &'static str,
    setting: &'static str,
    value: f64,
    least: f64,
    expected: &'static str,
) -> Result<(), FloorError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(FloorError::Setting { floor, setting, value: value.to_string(), expected })
}
