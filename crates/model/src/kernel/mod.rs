//! Fused differentiable operations for the CPU backend, each with a composed twin for every other device.
//!
//! Burn's CPU backend runs element-wise operations, slices and concatenations one after the other on one thread, and each of
//! them is a node of the autodiff graph. The functions here do in one pass what a layer needs and are one node each. They
//! run on rows split into parts whose number follows from the shapes alone (`parts.rs`), so the result does not depend
//! on the number of threads.
//!
//! Where a tensor lives on another device, has another element type, or a shape the kernel does not take (weights per group),
//! the same function is composed from ordinary tensor operations. Gradients of constants are never computed.
//!
//! **To add an operation**: one file with a type that implements `fused::FusedOp` (forward and backward as loops over slices)
//! and a public function that calls `fused::apply` and composes the function from tensor operations when that gives
//! `None`; a test through `testing::compare`, which checks values and all gradients against the composed twin.

mod adam;
mod affine;
mod attention;
mod branch;
mod convolution;
mod fused;
mod gemm;
mod host;
mod layer_norm;
mod linear;
mod logistic;
mod parts;
mod pointwise;
mod simd;
mod softmax;
mod spread;
#[cfg(test)]
mod testing;

pub use adam::{AdamStep, AdamTable, adam, adam_rows};
pub use affine::{blended_rows, group_moments};
pub(crate) use affine::{centred_scaled, scaled_linear};
pub use attention::{Seen, attention};
pub(crate) use branch::branch;
pub use convolution::{Taps, convolution};
pub use host::{leaf, take_gradient, to_vec};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use logistic::logistic_loss;
pub use pointwise::{gate, tanh};
pub(crate) use simd::prefetch;
pub use softmax::{Candidates, sampled_softmax_loss, softmax_loss};
