//! The loops, each written once over [`lanes::Lanes`] or as plain code and compiled for every instruction set.
//!
//! A value never depends on which rows stand beside it: a sum over inputs is one chain in their order, and a sum over the channels of a row is
//! made in lanes that only its width decides.

mod buffer;
pub(crate) mod dense;
mod gemm;
mod isa;
mod lanes;
mod panels;
mod pointwise;

pub(crate) use buffer::{Buffer, padded};
pub(crate) use gemm::{Product, Start, Weight, product};
pub use isa::Isa;
pub(crate) use isa::Kernels;
pub(crate) use panels::Panels;
pub(crate) use pointwise::{add_rows, add_scaled, add_three, affine, copy_rows, dot, gelu, gelu_tanh, layer_norm, prefetch, relu};
