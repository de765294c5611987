//! Gates between 0 and 2, computed from what a row holds and a condition.

use acclimate_model::kernel::{gate, linear};
use acclimate_model::layer::product;
use acclimate_model::{Activation, Bound, Init, ParamId, ParamSpec};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::Condition;
use super::condition::Embedded;
use crate::{AdaptError, Context, Target};

/// `δ = 2 σ(ReLU(z V1 + c1) V2 + c2)`, declared; V2 and c2 start at 0, where δ is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    first: usize,
}

impl Gate {
    /// Declares `PATH.0` and `PATH.1` from a width over a hidden one to that of what is gated.
    pub(crate) fn declare(params: &mut Vec<ParamSpec>, path: &str, [d_in, hidden, d_out]: [usize; 3]) -> Self {
        let first = params.len();
        params.extend([
            ParamSpec::weight(format!("{path}.0.weight"), [1, d_in, hidden], Init::KaimingUniform),
            ParamSpec::vector(format!("{path}.0.bias"), 1, hidden, 0.0),
            ParamSpec::weight(format!("{path}.1.weight"), [1, hidden, d_out], Init::Constant(0.0)),
            ParamSpec::vector(format!("{path}.1.bias"), 1, d_out, 0.0),
        ]);
        Self { first }
    }

    /// # Shapes
    /// `[G, N, d_out]`, z what was [read](Read).
    pub(crate) fn of(self, own: &Bound, z: &Read) -> Tensor<3> {
        let [v1, c1, v2, c2] = [0, 1, 2, 3].map(|i| own.get(ParamId(self.first + i)));
        // z V1 in two parts, of the row and of the condition; the latter once a condition.
        let ([_, d_in, h], d) = (v1.dims(), z.x.dims()[2]);
        let of_condition = product(z.condition.values.clone(), v1.clone().slice([0..1, d..d_in, 0..h])) + c1; // [1, U, h]
        let v1 = v1.slice([0..1, 0..d, 0..h]);
        let hidden = match z.condition.spread(of_condition) {
            one if one.dims()[..2] == [1, 1] => linear(z.x.clone(), v1, Some(one), Activation::Relu), // [G, N, h]
            rows => relu(product(z.x.clone(), v1) + rows),
        };
        gate(linear(hidden, v2, Some(c2), Activation::Identity))
    }
}

/// `z = [sg(x); e_c]`: the row that was gathered, through which no gradient goes back, `[G, N, d_x]`, and its condition.
pub(crate) struct Read {
    x: Tensor<3>,
    condition: Embedded,
}

/// What gates read of a context.
pub(crate) fn read(method: &'static str, condition: &Condition, own: &Bound, context: &Context<'_>) -> Result<Read, AdaptError> {
    let x = context.inputs.first().ok_or(AdaptError::MissingContext { method, missing: "gathered rows" })?;
    Ok(Read { x: x.clone().detach(), condition: condition.embed(own, context) })
}

/// Whether training moves what `sg` holds fast, so that its gradient is not the derivative of the loss.
pub(crate) fn moves_rows(tables: &[usize], target: Target<'_>) -> bool {
    tables.iter().any(|&table| target.backbone.reads(0, table))
}
