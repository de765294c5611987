//! The compiled plan.
//!
//! `x W` of the first layer is a sum over slots. What all rows of a request share is summed once for them, a table with few rows is kept as `E W` so
//! that its part is one addition, and only the other own columns go through a product for each row:
//!
//! `z = (b + Σ_shared folded + x_shared W_shared) + Σ_own folded + x_own W_own`, from left to right.
//!
//! A block of rows then goes through all layers before the next one does.

mod compile;
mod first;
mod run;
mod scratch;
mod stage;
mod table;

use crate::Isa;
use crate::check::Placed;
use crate::kernel::Kernels;
use crate::query::Needs;
use first::First;
pub use scratch::Scratch;
use stage::Stage;
use table::Kept;

/// Rows that go through all layers together.
const BLOCK: usize = 48;

/// How a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A table of at most that many rows is kept multiplied with its part of the first layer. More make scoring faster and plans larger: a row takes
    /// as many values as the first layer is wide. Default 2,048, about what a second-level cache holds for a layer of 256.
    pub fold_rows: usize,
    /// The instructions; default those of `ACCLIMATE_ISA`, else the best that the machine has.
    pub isa: Option<Isa>,
    /// How weights are kept; default `F32`.
    pub precision: Precision,
}

/// How the weights of layers and branches are kept. Tables, what is folded, the head and personal weights have full width always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// In half the bits, and multiplied with rows rounded likewise: panels take half the memory, and less time where the machine multiplies pairs
    /// (`avx512_bf16`; slower elsewhere). Scores differ in the third digit: ask [`Plan::check`] whether that is near enough.
    Bf16,
}

impl Default for Options {
    fn default() -> Self {
        Self { fold_rows: 2048, isa: None, precision: Precision::F32 }
    }
}

/// A network made ready to score: immutable, and shared by any number of threads, each with its own [`Scratch`].
///
/// A row's score has the same bits alone, in any request, in any batch of requests and in any order, for one set of instructions.
#[derive(Debug)]
pub struct Plan {
    pub(crate) kernels: Kernels,
    pub(crate) tables: Vec<Kept>,
    pub(crate) slots: Vec<Placed>,
    /// Of the shared and of the own columns.
    pub(crate) needs: [Needs; 2],
    /// Width of x.
    pub(crate) width: usize,
    pub(crate) first: First,
    /// The hidden layers and the head.
    pub(crate) stages: Vec<Stage>,
    pub(crate) unit: f32,
    bytes: usize,
}

impl Plan {
    /// Width of what [`Plan::inputs`] gives.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Width of what [`Plan::hidden`] gives.
    #[must_use]
    pub fn hidden_width(&self) -> usize {
        self.stages[self.stages.len() - 1].d_in
    }

    /// The instructions it runs.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Bytes that it keeps in memory beyond what it shares with the plan that it was compiled like.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
