//! Layers of a method's own: linear maps, and attention without an output map.

use acclimate_model::kernel::{Seen, attention, linear};
use acclimate_model::{Activation, Init, ParamId, ParamSpec};
use burn::tensor::Tensor;

use super::Sets;

/// `x W + b`, declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    weight: ParamId,
    bias: Option<ParamId>,
}

/// The same with values.
#[derive(Clone, Debug)]
pub(crate) struct BoundMap {
    weight: Tensor<3>,
    bias: Option<Tensor<3>>,
}

impl Map {
    /// Declares a weight that starts as `init` and a bias that starts at 0.
    pub(crate) fn declare(params: &mut Vec<ParamSpec>, sets: Sets, path: &str, [d_in, d_out]: [usize; 2], init: Init) -> Self {
        let Self { weight, .. } = Self::without_bias(params, sets, path, [d_in, d_out], init);
        params.push(sets.declare(ParamSpec::vector(format!("{path}.bias"), sets.len(), d_out, 0.0)));
        Self { weight, bias: Some(ParamId(params.len() - 1)) }
    }

    /// Declares a weight.
    pub(crate) fn without_bias(params: &mut Vec<ParamSpec>, sets: Sets, path: &str, [d_in, d_out]: [usize; 2], init: Init) -> Self {
        params.push(sets.declare(ParamSpec::weight(format!("{path}.weight"), [sets.len(), d_in, d_out], init)));
        Self { weight: ParamId(params.len() - 1), bias: None }
    }

    /// Its tensors, `[G|1, ..]`.
    pub(crate) fn bind(self, pick: &dyn Fn(ParamId) -> Tensor<3>) -> BoundMap {
        BoundMap { weight: pick(self.weight), bias: self.bias.map(pick) }
    }
}

impl BoundMap {
    /// # Shapes
    /// `x [G, N, d_in]` to `[G, N, d_out]`.
    pub(crate) fn of(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, self.weight.clone(), self.bias.clone(), Activation::Identity)
    }
}

/// `concat_h(softmax(q_h k_h^T / sqrt(m / H)) v_h)`, q, k and v linear in x; keys have no bias, for one would add the same to all scores of a query and so change nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    maps: [Map; 3],
    heads: usize,
}

/// The same with values.
#[derive(Clone, Debug)]
pub(crate) struct BoundHeads {
    maps: [BoundMap; 3],
    heads: usize,
}

impl Heads {
    /// Declares the maps, Xavier-uniform.
    pub(crate) fn declare(params: &mut Vec<ParamSpec>, sets: Sets, path: &str, m: usize, heads: usize) -> Self {
        let query = Map::declare(params, sets, &format!("{path}.query"), [m, m], Init::XavierUniform);
        let key = Map::without_bias(params, sets, &format!("{path}.key"), [m, m], Init::XavierUniform);
        let value = Map::declare(params, sets, &format!("{path}.value"), [m, m], Init::XavierUniform);
        Self { maps: [query, key, value], heads }
    }

    /// Its tensors.
    pub(crate) fn bind(self, pick: &dyn Fn(ParamId) -> Tensor<3>) -> BoundHeads {
        BoundHeads { maps: self.maps.map(|map| map.bind(pick)), heads: self.heads }
    }
}

impl BoundHeads {
    /// # Shapes
    /// `x` and the result `[G, N, m]`.
    pub(crate) fn of(&self, x: &Tensor<3>, seen: Seen<'_>) -> Tensor<3> {
        let [query, key, value] = self.maps.each_ref().map(|map| map.of(x.clone()));
        attention(query, key, value, self.heads, seen)
    }
}
