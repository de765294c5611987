//! A linear map with what stands after it.

use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::kernel::{Buffer, Kernels, Panels, Product, Start, Weight, affine, gelu, gelu_tanh, layer_norm, padded, product, relu};
use crate::{Activation, Read, Scale};

/// A hidden layer, or the head.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) d_in: usize,
    pub(crate) d_out: usize,
    pub(super) map: Map,
    /// Gain and shift that are folded into the map.
    pub(super) folded: Option<Affine>,
    pub(super) steps: Vec<Step>,
    pub(super) relu: bool,
}

/// `z ⊙ gain + shift`.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) gain: Arc<Vec<f32>>,
    pub(super) shift: Arc<Vec<f32>>,
}

/// Its linear map.
#[derive(Debug)]
pub(super) enum Map {
    /// The first one, which is a sum over slots.
    First,
    /// A product.
    Panels {
        packed: Packed,
        /// The bias.
        start: Buffer,
    },
    /// One output.
    Dot { weight: Arc<Vec<f32>>, bias: f32 },
}

/// Packed weights and what they were made of.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) weight: Weak<Vec<f32>>,
    pub(super) gain: Option<Weak<Vec<f32>>>,
    /// Rows of the weight.
    pub(super) picks: Vec<Range<usize>>,
    pub(super) panels: Arc<Panels>,
}

/// What stands after a map.
#[derive(Debug)]
pub(super) enum Step {
    Scale(Scale),
    Branch(Box<Beside>),
    Norm { gain: Arc<Vec<f32>>, shift: Arc<Vec<f32>>, epsilon: f32 },
}

/// A branch.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) read: Read,
    pub(super) skip: bool,
    pub(super) activation: Activation,
    pub(super) down: Packed,
    pub(super) up: Packed,
    /// Their biases.
    pub(super) starts: [Buffer; 2],
    /// Width inside.
    pub(super) inner: usize,
}

/// Rows that lie `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct RowsOf<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl Stage {
    /// Whether ReLU may be part of the product.
    pub(super) fn fused(&self) -> bool {
        self.relu && self.steps.is_empty()
    }

    /// Whether a branch reads the input of the map.
    pub(super) fn reads_input(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Branch(beside) if beside.read == Read::Input))
    }

    /// Everything that stands after the map, and ReLU.
    ///
    /// # Shapes
    /// - `x` `[rows, d_in]`; read only if a branch reads it
    /// - `z` `[rows, d_out]`, rows `padded(d_out)` apart
    /// - room for rows inside a branch, for what it adds, and for rows in half the bits
    pub(super) fn after(&self, kernels: Kernels, rows: usize, x: RowsOf<'_>, z: &mut [f32], [inner, beside, room]: [&mut [f32]; 3]) {
        let (d, stride) = (self.d_out, padded(self.d_out));
        for step in &self.steps {
            match step {
                Step::Scale(scale) => scaled(kernels, z, d, scale),
                Step::Norm { gain, shift, epsilon } => {
                    z.chunks_exact_mut(stride).for_each(|z| layer_norm(kernels, &mut z[..d], gain, shift, *epsilon));
                }
                Step::Branch(branch) => {
                    let read = match branch.read {
                        Read::Output => RowsOf { values: z, stride },
                        Read::Input => x,
                    };
                    branch.run(kernels, rows, read, [&mut *inner, &mut *beside, &mut *room]);
                    for (r, u) in beside.chunks_exact(stride).take(rows).enumerate() {
                        let z = &mut z[r * stride..][..d];
                        if branch.skip && branch.read == Read::Output {
                            z.iter_mut().zip(u).for_each(|(z, u)| *z = *z + u + *z);
                        } else if branch.skip {
                            let x = &x.values[r * x.stride..][..d];
                            z.iter_mut().zip(u).zip(x).for_each(|((z, u), x)| *z = *z + u + x);
                        } else {
                            z.iter_mut().zip(u).for_each(|(z, u)| *z += u);
                        }
                    }
                }
            }
        }
        if self.relu {
            relu(kernels, z);
        }
    }
}

/// `z <- z ⊙ gain + shift` of all rows.
pub(super) fn scaled(kernels: Kernels, z: &mut [f32], d: usize, scale: &Scale) {
    let (gain, shift) = (scale.gain.as_ref().map(|v| &v[..]), scale.shift.as_ref().map(|v| &v[..]));
    z.chunks_exact_mut(padded(d)).for_each(|z| affine(kernels, &mut z[..d], gain, shift));
}

impl Beside {
    /// `φ(r W1 + b1) W2 + b2`.
    fn run(&self, kernels: Kernels, rows: usize, read: RowsOf<'_>, [inner, out, room]: [&mut [f32]; 3]) {
        let down = Weight::Panels(&self.down.panels);
        let floor = if self.activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY };
        let start = Start::Bias(&self.starts[0]);
        product(
            kernels,
            Product { rows, x: read.values, stride: read.stride, weight: down, start, floor, room: &mut *room, out: &mut *inner },
        );
        let stride = padded(self.inner);
        let phi = match self.activation {
            Activation::Gelu => Some(gelu as fn(Kernels, &mut [f32])),
            Activation::GeluTanh => Some(gelu_tanh as fn(Kernels, &mut [f32])),
            Activation::Relu => None,
        };
        if let Some(phi) = phi {
            inner.chunks_exact_mut(stride).take(rows).for_each(|r| phi(kernels, &mut r[..self.inner]));
        }
        let (up, start) = (Weight::Panels(&self.up.panels), Start::Bias(&self.starts[1]));
        product(kernels, Product { rows, x: inner, stride, weight: up, start, floor: f32::NEG_INFINITY, room, out });
    }
}
