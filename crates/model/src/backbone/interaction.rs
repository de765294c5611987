//! Products of features beside the tower: a factorisation machine or a cross network.
//!
//! - `fm`: `s += Σ_f w_f + <v, x_numbers> + Σ_{f < g} <e_f, e_g>`, the last by `½ Σ_d ((Σ_f e_f)² - Σ_f e_f²)`, over the embedded features (of a list its pooled vector, and the mean of
//!   its weights). `w` has a table of width 1 a vocabulary, which starts at 0. Numbers have first-order weights v and no vector.
//! - `cross`: `x_{l+1} = x_0 ⊙ (x_l W_l + b_l) + x_l`, with a rank `W_l = U_l V_l`, where U has a bias as well. `parallel`: the head reads `[x_L; h]`, h the tower's hidden state; `stacked`: the tower
//!   reads `x_L`.
//!
//! # References
//! H. Guo et al., *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, IJCAI 2017.
//! R. Wang et al., *DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems*, WWW 2021.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::input::Input;
use crate::{Activation, Architecture, Init, Linear, Pass, Role};

/// What stands beside the tower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interaction {
    /// Nothing.
    #[default]
    None,
    /// A factorisation machine (with the tower: `DeepFM`).
    Fm,
    /// A cross network (`DCN-v2`).
    Cross,
}

/// Where the cross network stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossForm {
    /// Beside the tower; the head reads both.
    #[default]
    Parallel,
    /// Before the tower.
    Stacked,
}

/// A factorisation machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fm {
    /// v, where there are numbers.
    numbers: Option<Linear>,
}

impl Fm {
    pub(super) fn new(architecture: &mut Architecture, input: &Input) -> Self {
        let zero = Init::Constant(0.0);
        let linear = |n: usize| architecture.linear("first.numbers", [n, 1], zero, zero, Role::Side);
        Self { numbers: Some(input.numbers()).filter(|&n| n > 0).map(linear) }
    }

    /// What is added to the score.
    ///
    /// # Shapes
    /// `x [G, N, F * d + C]` and the summed first-order weights `[G, N, 1]` to `[G, N, 1]`.
    pub(super) fn forward(&self, pass: &Pass<'_>, input: &Input, x: &Tensor<3>, first_order: Tensor<3>) -> Tensor<3> {
        let ([g, n, width], fields) = (x.dims(), input.embedded());
        let embedded = width - input.numbers();
        let mut score = first_order;
        if let Some(linear) = &self.numbers {
            score = score + linear.forward(pass, x.clone().slice([0..g, 0..n, embedded..width]), Activation::Identity);
        }
        if fields < 2 {
            return score;
        }
        let e = x.clone().slice([0..g, 0..n, 0..embedded]).reshape([g * n, fields, embedded / fields]);
        let pairs = e.clone().sum_dim(1).square() - e.square().sum_dim(1); // [G N, 1, d]
        score + (pairs.sum_dim(2) * 0.5).reshape([g, n, 1])
    }
}

/// The layers of a cross network, each one map or two of a lower rank.
#[derive(Clone, Debug)]
pub(super) struct Cross {
    layers: Vec<Vec<Linear>>,
    pub(super) form: CrossForm,
}

impl Cross {
    pub(super) fn new(architecture: &mut Architecture, width: usize, layers: usize, rank: Option<usize>, form: CrossForm) -> Self {
        let mut linear = |path: String, widths| architecture.linear(&path, widths, Init::XavierUniform, Init::Constant(0.0), Role::Body);
        let layers = (0..layers).map(|i| match rank {
            None => vec![linear(format!("cross.{i}"), [width, width])],
            Some(r) => vec![linear(format!("cross.{i}.down"), [width, r]), linear(format!("cross.{i}.up"), [r, width])],
        });
        Self { layers: layers.collect(), form }
    }

    /// # Shapes
    /// `x0 [G, N, width]` to the same.
    pub(super) fn forward(&self, pass: &Pass<'_>, x0: &Tensor<3>) -> Tensor<3> {
        self.layers.iter().fold(x0.clone(), |x, maps| {
            let y = maps.iter().fold(x.clone(), |y, linear| linear.forward(pass, y, Activation::Identity));
            x0.clone() * y + x
        })
    }
}
