//! Numbers.

use crate::error::{Expected, RowFault};
use crate::source::Cell;

/// One number per row; NaN is a missing value. 64 bits, because a difference of two large numbers (times, counts) would lose its digits in 32.
#[derive(Clone, Debug, Default)]
pub(crate) struct NumberValues {
    pub(crate) values: Vec<f64>,
}

impl NumberValues {
    pub(crate) fn push(&mut self, value: Option<f64>) {
        self.values.push(value.unwrap_or(f64::NAN));
    }

    pub(crate) fn push_cell(&mut self, cell: &Cell<'_>, column: &str, log1p: bool) -> Result<(), RowFault> {
        self.push(number(cell, column, log1p)?);
        Ok(())
    }
}

/// The number of a cell; none if missing.
pub(crate) fn number(cell: &Cell<'_>, column: &str, log1p: bool) -> Result<Option<f64>, RowFault> {
    let value = cell.number().map_err(|expected| cell.wrong(column, expected))?;
    if log1p && value.is_some_and(|x| x <= -1.0) {
        return Err(cell.wrong(column, Expected::AboveMinusOne));
    }
    Ok(value.map(|x| if log1p { x.ln_1p() } else { x }))
}
