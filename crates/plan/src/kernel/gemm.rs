//! `z = start + x W`, for any number of rows.
//!
//! A register block of at most six rows stays in registers while it walks along the inputs. Each output is one chain of additions in the order
//! of the inputs, begun at `start`, whatever the block it is in; so its bits do not depend on how many rows there are. One or two rows take twice
//! as many columns at once, which keeps as many sums in flight as hide the latency of each.
//!
//! Weights of half the bits are multiplied in pairs of inputs: two of them lie where one of full width does, and the rows are rounded to the same form
//! first.

use super::isa::by_isa;
use super::lanes::{Lanes, Scalar};
use super::{Isa, Kernels, Panels, padded};

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
    /// Room for the rows in half the bits: `M` times half of `depth`, rounded up; nothing for weights of full width.
    pub(crate) room: &'a mut [f32],
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

/// Computes a product.
pub(crate) fn product(kernels: Kernels, product: Product<'_>) {
    let pairs = matches!(product.weight, Weight::Panels(panels) if panels.pairs());
    #[cfg(target_arch = "x86_64")]
    if pairs && kernels.multiplies_pairs() {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
        fn in_one_instruction(product: Product<'_>) {
            product_with::<super::lanes::Avx512Pairs, true>(product);
        }
        // SAFETY: these `Kernels` say that the instructions were detected.
        #[allow(unsafe_code)]
        return unsafe { in_one_instruction(product) };
    }
    if pairs { of_pairs(kernels, product) } else { of_values(kernels, product) }
}

by_isa! {
    fn of_values(product: Product<'_>) = values_with
}

by_isa! {
    fn of_pairs(product: Product<'_>) = pairs_with
}

#[inline(always)]
fn values_with<S: Lanes>(product: Product<'_>) {
    product_with::<S, false>(product);
}

#[inline(always)]
fn pairs_with<S: Lanes>(product: Product<'_>) {
    product_with::<S, true>(product);
}

/// Two values in the bits of one: the first above, the second below, each rounded to its upper half.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) | rounded(second) >> 16)
}

/// The nearest value whose lower 16 bits are 0, the even one of two; not a number stays one.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let up = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000;
    if value.is_nan() { 0x7FC0_0000 } else { up }
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
fn product_with<S: Lanes, const PAIRS: bool>(product: Product<'_>) {
    let Product { rows, x, stride, weight, start, floor, room, out } = product;
    let (tile, lanes) = (S::VECTORS * S::WIDTH, S::WIDTH);
    let (values, depth, columns, packed) = match weight {
        Weight::Panels(panels) => {
            assert_eq!(tile_columns(panels.kernels.isa()), (tile, lanes), "packed for these instructions");
            assert_eq!(panels.pairs(), PAIRS, "packed in this form");
            (&panels.values[..], panels.depth, panels.columns, true)
        }
        Weight::Rows { values, columns } => (values, values.len() / columns.max(1), columns, false),
    };
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(depth == 0 || x.len() >= (rows - 1) * stride + depth, "the input is whole");
    let (x, stride, depth) = match PAIRS {
        true => {
            let half = depth.div_ceil(2);
            assert!(room.len() >= rows * half, "there is room for the rows");
            for (row, to) in room.chunks_exact_mut(half.max(1)).take(rows).enumerate() {
                let (pairs, odd) = x[row * stride..][..depth].as_chunks::<2>();
                to.iter_mut().zip(pairs).for_each(|(to, &[first, second])| *to = pair(first, second));
                if let [last] = odd {
                    to[half - 1] = pair(*last, 0.0);
                }
            }
            (&*room, half, half)
        }
        false => (x, stride, depth),
    };
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
                        dispatch::<S, false, PAIRS>(block, height, vectors);
                    } else {
                        dispatch::<S, true, PAIRS>(block, height, vectors);
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
unsafe fn dispatch<S: Lanes, const MASKED: bool, const PAIRS: bool>(block: Block, rows: usize, vectors: usize) {
    macro_rules! tiles {
        ($v:literal: $($r:literal)*) => {
            // SAFETY: passed on from the caller.
            unsafe {
                match rows {
                    $($r => tile::<S, $r, $v, MASKED, PAIRS>(block),)*
                    _ => tile::<S, 1, $v, MASKED, PAIRS>(block),
                }
            }
        };
    }
    // Two tiles at once are two whole ones, of two rows at most.
    match vectors {
        8 if S::VECTORS == 4 => tiles!(8: 2),
        4 if S::VECTORS == 2 => tiles!(4: 2),
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
unsafe fn tile<S: Lanes, const R: usize, const V: usize, const MASKED: bool, const PAIRS: bool>(block: Block) {
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
                    sum[v] = match PAIRS {
                        true => S::multiply_add_pairs(factor, columns[v], sum[v]),
                        false => S::multiply_add(factor, columns[v], sum[v]),
                    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    /// Numbers of a linear congruence, -1 to 1.
    fn draw(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Every kernel that is here says what a sum in `f64` says, of packed and of row-major weights, of full width and of half the bits.
    #[test]
    fn every_kernel_is_the_scalar_product() {
        let half = |value: f32| f64::from(f32::from_bits(rounded(value)));
        for (isa, precision) in Isa::ALL.into_iter().flat_map(|isa| [(isa, Precision::F32), (isa, Precision::Bf16)]) {
            let Ok(kernels) = Kernels::pick(Some(isa), precision) else { continue };
            for (rows, depth, columns) in [1, 2, 3, 6, 7, 14].into_iter().flat_map(|rows| {
                let sizes = [(0, 5), (1, 1), (7, 16), (16, 17), (33, 64), (128, 65), (129, 100), (260, 128), (300, 150)];
                sizes.map(|(depth, columns)| (rows, depth, columns))
            }) {
                let (x, weight, bias) = (draw(rows * depth, 1), draw(depth * columns, 2), draw(columns, 3));
                let panels = Panels::pack(kernels, &weight, columns, &[0..depth / 2, depth / 2..depth], None);
                let start = super::super::Buffer::copied(&bias);
                for packed in [true, false] {
                    let seen = |value: f32| if packed && precision == Precision::Bf16 { half(value) } else { f64::from(value) };
                    let weight_of = if packed { Weight::Panels(&panels) } else { Weight::Rows { values: &weight, columns } };
                    let mut out = vec![f32::NAN; rows * padded(columns)];
                    let mut room = vec![0.0; rows * depth.div_ceil(2)];
                    let (room, start, floor) = (&mut room[..], Start::Bias(&start), -0.25);
                    product(kernels, Product { rows, x: &x, stride: depth, weight: weight_of, start, floor, room, out: &mut out });
                    for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                        let sum: f64 = (0..depth).map(|p| seen(x[r * depth + p]) * seen(weight[p * columns + c])).sum();
                        let (found, expected) = (f64::from(out[r * padded(columns) + c]), (f64::from(bias[c]) + sum).max(-0.25));
                        let near = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                        assert!(near, "{isa} {precision:?} packed={packed} {rows}x{depth}x{columns} at {r},{c}: {found} and {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn half_the_bits_are_the_nearest() {
        let upper = |value: f32| f32::from_bits(rounded(value));
        assert_eq!(upper(1.0), 1.0);
        assert_eq!(upper(1.0 + 1.0 / 256.0), 1.0, "half way goes to the even one");
        assert_eq!(upper(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(upper(-1.0 - 1.1 / 256.0), -1.0 - 2.0 / 256.0);
        assert_eq!(upper(f32::INFINITY), f32::INFINITY);
        assert!(upper(f32::from_bits(0x7F80_0001)).is_nan());
        assert_eq!(pair(1.0, -2.0).to_bits(), 0x3F80_C000);
    }
}
