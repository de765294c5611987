//! `z = start + x W`, for any number of rows.
//!
//! A register block of at most six rows stays in registers while it walks along the inputs. Each output is one chain of additions in the order
//! of the inputs, begun at `start`, whatever the block it is in; so its bits do not depend on how many rows there are. One or two rows take twice
//! as many columns at once, which keeps as many sums in flight as hide the latency of each.

use super::isa::by_isa;
use super::lanes::{Lanes, Scalar};
use super::{Isa, Panels, padded};

/// Inputs that are walked before the next rows' turn: that many rows of a panel stay in the first-level cache.
const DEPTH: usize = 128;
/// Rows of a register block.
const ROWS: usize = 6;

/// One product.
pub(crate) struct Product<'a> {
    /// Number of rows, M.
    pub(crate) rows: usize,
    /// `[M, depth]`, rows `stride` apart.
    pub(crate) x: &'a [f32],
    /// Of `x`.
    pub(crate) stride: usize,
    /// `[depth, columns]`.
    pub(crate) weight: Weight<'a>,
    /// Where the sums begin.
    pub(crate) start: Start<'a>,
    /// What a result is at least: 0 for ReLU.
    pub(crate) floor: f32,
    /// `[M, columns]`, rows `padded(columns)` apart; what lies behind the columns of a row may change.
    pub(crate) out: &'a mut [f32],
}

/// The weights of a product.
#[derive(Clone, Copy)]
pub(crate) enum Weight<'a> {
    /// Packed ones, for the same instructions.
    Panels(&'a Panels),
    /// Row-major ones as they are.
    Rows {
        /// `[depth, columns]`.
        values: &'a [f32],
        /// Number of columns.
        columns: usize,
    },
}

/// Where the sums of a product begin.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// At a bias: `padded(columns)` values.
    Bias(&'a [f32]),
    /// At what stands in the output.
    Out,
}

by_isa! {
    /// Computes a product.
    pub(crate) fn product(product: Product<'_>) = product_with
}

/// Columns of a register block, and of one of its vectors.
pub(super) fn tile_columns(isa: Isa) -> (usize, usize) {
    fn of<S: Lanes>() -> (usize, usize) {
        (S::VECTORS * S::WIDTH, S::WIDTH)
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => of::<super::lanes::Avx512>(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => of::<super::lanes::Avx2>(),
        _ => of::<Scalar>(),
    }
}

/// Pointers and strides of one register block.
#[derive(Clone, Copy)]
struct Block {
    x: *const f32,
    stride: usize,
    weight: *const f32,
    /// Between rows of the weight.
    weight_stride: usize,
    /// From the first vectors to those beyond a panel.
    second: usize,
    depth: usize,
    start: *const f32,
    start_stride: usize,
    floor: f32,
    out: *mut f32,
    out_stride: usize,
    /// Columns of the last vector.
    last: usize,
}

#[inline(always)]
#[allow(unsafe_code)]
fn product_with<S: Lanes>(product: Product<'_>) {
    let Product { rows, x, stride, weight, start, floor, out } = product;
    let (tile, lanes) = (S::VECTORS * S::WIDTH, S::WIDTH);
    let (values, depth, columns, packed) = match weight {
        Weight::Panels(panels) => {
            assert_eq!(tile_columns(panels.kernels.isa()), (tile, lanes), "packed for these instructions");
            (&panels.values[..], panels.depth, panels.columns, true)
        }
        Weight::Rows { values, columns } => (values, values.len() / columns.max(1), columns, false),
    };
    if rows == 0 || columns == 0 {
        return;
    }
    let out_stride = padded(columns);
    let needed = if packed { depth * columns.next_multiple_of(lanes) } else { depth * columns };
    assert!(values.len() >= needed, "the weight is whole");
    assert!(depth == 0 || x.len() >= (rows - 1) * stride + depth, "the input is whole");
    assert!(out.len() >= rows * out_stride, "the output is whole");
    let out = out.as_mut_ptr();
    let (begin, begin_stride) = match start {
        Start::Bias(bias) => {
            assert!(bias.len() >= out_stride, "the bias is whole");
            (bias.as_ptr(), 0)
        }
        Start::Out => (out.cast_const(), out_stride),
    };
    let deep = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1);
    let mut column = 0;
    while column < columns {
        let tiles = if rows <= 2 && columns - column >= 2 * tile { 2 } else { 1 };
        let span = (tiles * tile).min(columns - column);
        let vectors = span.div_ceil(lanes);
        let last = span - (vectors - 1) * lanes;
        let (offset, weight_stride, second) = match packed {
            true => (column * depth, vectors.min(S::VECTORS) * lanes, tile * depth),
            false => (column, columns, tile),
        };
        let mut from = 0;
        loop {
            let count = deep.min(depth - from);
            let mut row = 0;
            while row < rows {
                let height = ROWS.min(rows - row);
                // SAFETY: rows `row..row + height`, inputs `from..from + count` and columns `column..column + span` exist in each of the slices, as
                // was asserted above; packed panels, biases and outputs hold whole vectors, and of the others `last` values of the last are read.
                unsafe {
                    let out = out.add(row * out_stride + column);
                    let block = Block {
                        x: x.as_ptr().wrapping_add(row * stride + from),
                        stride,
                        weight: values.as_ptr().wrapping_add(offset + from * weight_stride),
                        weight_stride,
                        second,
                        depth: count,
                        start: if from == 0 { begin.add(row * begin_stride + column) } else { out.cast_const() },
                        start_stride: if from == 0 { begin_stride } else { out_stride },
                        floor: if from + count == depth { floor } else { f32::NEG_INFINITY },
                        out,
                        out_stride,
                        last,
                    };
                    if packed || last == lanes {
                        dispatch::<S, false>(block, height, vectors);
                    } else {
                        dispatch::<S, true>(block, height, vectors);
                    }
                }
                row += height;
            }
            from += count;
            if from == depth {
                break;
            }
        }
        column += span;
    }
}

/// # Safety
/// See [`tile`].
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn dispatch<S: Lanes, const MASKED: bool>(block: Block, rows: usize, vectors: usize) {
    macro_rules! tiles {
        ($v:literal: $($r:literal)*) => {
            // SAFETY: passed on from the caller.
            unsafe {
                match rows {
                    $($r => tile::<S, $r, $v, MASKED>(block),)*
                    _ => tile::<S, 1, $v, MASKED>(block),
                }
            }
        };
    }
    match vectors {
        8 if S::VECTORS == 4 => tiles!(8: 2),
        7 if S::VECTORS == 4 => tiles!(7: 2),
        6 if S::VECTORS == 4 => tiles!(6: 2),
        5 if S::VECTORS == 4 => tiles!(5: 2),
        4 if S::VECTORS == 2 => tiles!(4: 2),
        3 if S::VECTORS == 2 => tiles!(3: 2),
        4 if S::VECTORS == 4 => tiles!(4: 6 5 4 3 2),
        3 if S::VECTORS == 4 => tiles!(3: 6 5 4 3 2),
        2 if S::VECTORS == 1 => tiles!(2: 2),
        2 => tiles!(2: 6 5 4 3 2),
        _ => tiles!(1: 6 5 4 3 2),
    }
}

/// One register block of `R` rows and `V` vectors of columns, of which the last has `last` columns if `MASKED`.
///
/// # Safety
/// The instructions must be there. `R` rows of `depth` inputs, `depth` rows of the weight, and `R` rows of whole vectors of `start` and `out` must
/// exist; if `MASKED`, only `last` values of the last vector of the weight.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn tile<S: Lanes, const R: usize, const V: usize, const MASKED: bool>(block: Block) {
    // SAFETY of what follows: the caller's promise bounds every index. (Loops and no closures: a closure need not be inlined.)
    let zero = unsafe { S::splat(0.0) };
    let mut sums = [[zero; V]; R];
    for (r, sum) in sums.iter_mut().enumerate() {
        for (v, values) in sum.iter_mut().enumerate() {
            *values = unsafe { S::load(block.start.add(r * block.start_stride + v * S::WIDTH)) };
        }
    }
    let mut weight = block.weight;
    for p in 0..block.depth {
        let mut columns = [zero; V];
        for (v, values) in columns.iter_mut().enumerate() {
            let at = weight.wrapping_add(if v < S::VECTORS { v * S::WIDTH } else { block.second + (v - S::VECTORS) * S::WIDTH });
            *values = unsafe { if MASKED && v == V - 1 { S::load_first(at, block.last) } else { S::load(at) } };
        }
        for (r, sum) in sums.iter_mut().enumerate() {
            unsafe {
                let factor = S::splat(*block.x.add(r * block.stride + p));
                for v in 0..V {
                    sum[v] = S::multiply_add(factor, columns[v], sum[v]);
                }
            }
        }
        weight = weight.wrapping_add(block.weight_stride);
    }
    unsafe {
        let floor = S::splat(block.floor);
        for (r, sum) in sums.iter().enumerate() {
            for (v, &values) in sum.iter().enumerate() {
                S::store(block.out.add(r * block.out_stride + v * S::WIDTH), S::maximum(floor, values));
            }
        }
    }
}
