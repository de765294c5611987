//! Input slots: what a gathered row is made of, declared by the backbone.

use std::ops::Range;

use acclimate_data::Side;

/// How the values of a feature become its part of a gathered row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The table's row of the one value.
    One,
    /// The mean of the table's rows of all values; zero for none.
    Mean,
    /// Gathered as the mean, in whose place the network puts a sum weighted by a target.
    Attention,
    /// The number itself.
    Number,
}

/// One feature's part of a gathered row (of the first leaf that a backbone gathers). The slots of a backbone follow each other and cover the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Name of the feature.
    pub feature: String,
    /// Whether it is the user's, the item's or the row's.
    pub side: Side,
    /// Position of its table; none for a number.
    pub table: Option<usize>,
    /// Its columns in the gathered row.
    pub columns: Range<usize>,
    /// How it got there.
    pub pooling: Pooling,
}
