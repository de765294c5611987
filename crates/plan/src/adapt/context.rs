//! Gradient steps on a context vector alone: what the method `cavia` serves of a user.
//!
//! `c_0 = 0`, `c_{k+1} = c_k - f(n) α ∂L_S / ∂c`, k = 0..K-1; the context reaches the first layer as `z_1 = x W_1 + b_1 + c P`, so that with `δ_1` of `pass.rs` `∂L_S / ∂c = Σ_rows δ_1 Pᵀ`.
//! A user is one shift of the first layer.
//!
//! Exact but for rounding; deterministic; the order of the rows changes nothing beyond rounding. K passes over the rows, forth and back.
//!
//! # References
//! L. Zintgraf et al., *Fast Context Adaptation via Meta-Learning*, ICML 2019.

use std::sync::Arc;

use super::error::{bounded, sized};
use super::pass::{Pass, plain};
use crate::{AdaptError, Adapted, Linear, Loss, Network, Personal, Scale, Shrink};

/// How a context is adapted to a support set.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextLoop {
    /// What the steps make smaller.
    pub loss: Loss,
    /// K.
    pub steps: usize,
    /// α.
    pub rate: f32,
    /// f.
    pub shrink: Shrink,
    /// P, `[width, d_1]`, row-major.
    pub context: Arc<Vec<f32>>,
}

impl ContextLoop {
    /// Adapts to support rows, with `budget` asked before each step whether it may be taken; it is told how many have been.
    ///
    /// # Shapes
    /// `x [n, d]`, gathered rows as the first layer reads them; `y [n]`, in units of the label.
    ///
    /// # Errors
    /// A network that is more than linear maps with ReLU between them, a P or rows that do not fit it, and steps that lead nowhere.
    pub fn run(&self, network: &Network, x: &[f32], y: &[f32], budget: &mut dyn FnMut(usize) -> bool) -> Result<Adapted, AdaptError> {
        let linears = plain(network, 0)?;
        let (first, d) = (linears[0], linears[0].d_out);
        sized("context of the patch", self.context.len(), self.context.len().next_multiple_of(d))?;
        bounded("context of the patch", &self.context, f32::MAX)?;
        let mut pass = Pass::new(self.loss, linears, (x, y), 0)?;
        let factor = self.shrink.factor(y.len()) * self.rate;
        let (mut c, mut shift, mut delta) = (vec![0.0; self.context.len() / d], vec![0.0; d], vec![0.0; d]);
        let mut steps = 0;
        while !y.is_empty() && factor != 0.0 && steps < self.steps && budget(steps) {
            pass.run();
            pass.sum(0, &mut delta);
            shift.fill(0.0);
            for (c, p) in c.iter_mut().zip(self.context.chunks_exact(d)) {
                *c -= factor * p.iter().zip(&delta).map(|(p, delta)| p * delta).sum::<f32>();
                shift.iter_mut().zip(p).for_each(|(sum, p)| *sum += *c * p);
            }
            let bias = pass.moved_bias(0);
            bias.iter_mut().zip(&first.bias[..]).zip(&shift).for_each(|((sum, b), shift)| *sum = b + shift);
            steps += 1;
        }
        if steps == 0 {
            return Ok(Adapted { personal: Personal::default(), steps });
        }
        if shift.iter().any(|x| !x.is_finite()) {
            return Err(AdaptError::Diverged { steps });
        }
        let mut personal = Personal::default();
        if network.layers.is_empty() {
            let bias = first.bias.iter().zip(&shift).map(|(b, shift)| b + shift).collect();
            personal.head = Some(Linear { bias: Arc::new(bias), ..first.clone() });
        } else {
            personal.scales = vec![None; network.layers.len()];
            personal.scales[0] = Some(Scale { gain: None, shift: Some(Arc::new(shift)) });
        }
        Ok(Adapted { personal, steps })
    }
}
