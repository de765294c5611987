//! What is computed, as plain data: tables, slots, a tower and a head.
//!
//! For a row, `x = [slots]`; for each layer `z = x W + b`, then what stands `after` it in its order, then the norm, then `x <- ReLU(z)`; the score is
//! `unit * (x w + b)` of the head, with what stands after it.

use std::sync::Arc;

/// A network that scores rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Embedding tables.
    pub tables: Vec<Table>,
    /// What the row is made of, first column to last.
    pub slots: Vec<Slot>,
    /// Hidden layers, first to last.
    pub layers: Vec<Layer>,
    /// `[d, 1]`.
    pub head: Linear,
    /// What stands after the head.
    pub after: Vec<After>,
    /// What a score is multiplied by: the unit of the label for a rating, else 1.
    pub unit: f32,
}

/// An embedding table `[rows, d]`; row 0 is the unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Width.
    pub d: usize,
    /// Row-major.
    pub values: Arc<Vec<f32>>,
    /// What a patch changes; the rest of the table stays shared.
    pub changed: Option<Arc<Changed>>,
}

/// Rows that stand in place of those of a table, or behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// Their numbers, ascending.
    pub rows: Vec<u32>,
    /// `[rows, d]`, row-major.
    pub values: Vec<f32>,
    /// How many rows the table then has, at least its own. One behind its own that is not changed is that of the unknown in `values` of the table.
    pub total: usize,
}

impl Table {
    /// A table as it is.
    #[must_use]
    pub fn new(d: usize, values: Arc<Vec<f32>>) -> Self {
        Self { d, values, changed: None }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.changed.as_ref().map_or(self.kept(), |changed| changed.total)
    }

    /// Number of rows of its own.
    pub(crate) fn kept(&self) -> usize {
        self.values.len() / self.d.max(1)
    }
}

/// Columns of the row that come from one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where they come from.
    pub source: Source,
    /// Whether all rows of a request have the same: it is then read from [`Rows::shared`](crate::Rows::shared), else from [`Rows::own`](crate::Rows::own).
    pub shared: bool,
}

/// Where the columns of a slot come from; `column` counts within the shared columns or within the rows' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedding of a code.
    Field {
        /// Categorical column.
        column: usize,
        /// Table.
        table: usize,
    },
    /// The mean of the embeddings of a list; zeros for an empty one.
    Bag {
        /// Multi-valued column.
        column: usize,
        /// Table.
        table: usize,
    },
    /// A number.
    Number {
        /// Numeric column.
        column: usize,
    },
}

/// A hidden layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its linear map.
    pub linear: Linear,
    /// What changes its output, in this order.
    pub after: Vec<After>,
    /// Its norm.
    pub norm: Option<Norm>,
}

/// `x W + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Width of the input.
    pub d_in: usize,
    /// Width of the output.
    pub d_out: usize,
    /// `[d_in, d_out]`, row-major.
    pub weight: Arc<Vec<f32>>,
    /// `[d_out]`.
    pub bias: Arc<Vec<f32>>,
}

/// What changes the output of a linear map.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    /// `z <- z ⊙ gain + shift`.
    Scale(Scale),
    /// `z <- z + φ(r W1 + b1) W2 + b2 (+ r)`.
    Branch(Branch),
}

/// `z ⊙ gain + shift`; what is `None` changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scale {
    /// `[d_out]`.
    pub gain: Option<Arc<Vec<f32>>>,
    /// `[d_out]`.
    pub shift: Option<Arc<Vec<f32>>>,
}

/// A bottleneck beside a linear map.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// What r is.
    pub read: Read,
    /// Whether r is added as well.
    pub skip: bool,
    /// φ.
    pub activation: Activation,
    /// W1 and b1.
    pub down: Linear,
    /// W2 and b2.
    pub up: Linear,
}

/// What a branch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The output, as it is when the branch's turn comes.
    Output,
    /// The input of the linear map.
    Input,
}

/// What stands between the two maps of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)`.
    Gelu,
    /// Its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// A norm between a linear map and the activation.
#[derive(Clone, Debug, PartialEq)]
pub enum Norm {
    /// `(z - mean(z)) / sqrt(var(z) + ε) ⊙ gain + shift` over the channels of a row, the variance divided by d.
    Layer {
        /// `[d]`.
        gain: Arc<Vec<f32>>,
        /// `[d]`.
        shift: Arc<Vec<f32>>,
        /// ε.
        epsilon: f32,
    },
    /// `z ⊙ gain + shift`: batch norm with the moments of training.
    Affine {
        /// `[d]`.
        gain: Arc<Vec<f32>>,
        /// `[d]`.
        shift: Arc<Vec<f32>>,
    },
}
