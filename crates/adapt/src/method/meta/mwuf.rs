//! `mwuf`: the embedding of a new item is warmed up: scaled as its features say and shifted as the users say who rated it.
//!
//! `v_cold` starts at the mean of all items' rows and takes K gradient steps on the item's support rows, `v_cold <- v_cold - α ∂l_S / ∂v`: the cold loss, in which nothing else moves.
//! `v = v_cold ⊙ s(x_item) + t(ū)`, `s = 1 + S_2 ReLU(S_1 x + b_S)`, `t = T_2 ReLU(T_1 ū + b_T)`, ū the mean of the rows of the users in the support (t = 0 without any). s and t follow the warm loss, that of the
//! query rows with v in place. The base is frozen. A new item is served with v, one row of the id's table.
//!
//! In training every item is as good as new: its own row is not read. S_2 and T_2 start at 0, so the base's score of an item with the mean row is where it begins.
//!
//! # References
//! Y. Zhu et al., *Learning to Warm Up Cold Item Embeddings for Cold-start Recommendation with Meta Scaling and Shifting Networks*, SIGIR 2021.

use std::ops::Range;

use acclimate_data::{Batch, Side};
use acclimate_model::layer::product;
use acclimate_model::{Bound, Init, Modulation, ParamId, ParamSpec, Pooling};
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::adaptation::StandIn;
use crate::inner;
use crate::method::{NewItem, of_columns};
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<MwufConfig>("mwuf", Kind::Adaptation, "a new item's embedding, scaled by its features and shifted by its users")
    .tested_with(&["inner_steps = 3\nshrink = 2.0\nhidden = 5"]);

/// Configuration of [`Mwuf`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MwufConfig {
    /// Name of the feature that is the item's id; default the categorical feature of items with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Name of the feature that is the user's id; default the categorical feature of users with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Width of the hidden layer of both nets; default 16.
    pub hidden: usize,
    /// Gradient steps K on the cold loss; default 1.
    pub inner_steps: usize,
    /// Their learning rate α; default 0.1.
    pub inner_rate: f64,
    /// Steps scale with n / (n + shrink) for n support rows; default 0 (off).
    pub shrink: f32,
}

impl Default for MwufConfig {
    fn default() -> Self {
        Self { item: None, user: None, hidden: 16, inner_steps: 1, inner_rate: 0.1, shrink: 0.0 }
    }
}

/// The method `mwuf`.
#[derive(Debug)]
pub struct Mwuf {
    config: MwufConfig,
    network: NewItem,
    /// Columns of the user's id in the gathered row.
    user: Range<usize>,
    scope: Scope,
    /// First layer, its bias and second layer of the scale, then of the shift.
    params: Vec<ParamSpec>,
}

impl MethodConfig for MwufConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        if self.hidden == 0 {
            return Err(AdaptError::Value { method: METHOD.name, key: "hidden", problem: "must be at least 1".into() });
        }
        inner::check(METHOD.name, target.objective, (self.inner_steps, self.inner_rate, inner::Shrink::Rows(self.shrink)))?;
        let network = NewItem::new(METHOD.name, self.item.as_ref(), target)?;
        let (architecture, schema) = (target.backbone.architecture(), target.schema);
        let rows = |slot: &&acclimate_model::Slot| slot.table.map_or(0, |table| architecture.tables[table].rows);
        let slots = || architecture.slots.iter().filter(|slot| slot.pooling == Pooling::One);
        let user = match &self.user {
            Some(name) if !schema.categorical.iter().any(|field| field.name == *name) => {
                let problem = format!("`{name}` is no categorical feature of the data");
                return Err(AdaptError::Value { method: METHOD.name, key: "user", problem });
            }
            Some(name) => slots().find(|slot| slot.feature == *name),
            None => slots().filter(|slot| slot.side == Side::User).max_by_key(rows),
        };
        let Some(user) = user else {
            let problem = "the network reads no id of the user; add it as a feature, or start from a base that reads it".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        };
        let user = user.columns.clone();
        let (d, h) = (network.d(), self.hidden);
        let net = |name: &str, d_in: usize| {
            [
                ParamSpec::weight(format!("{name}.0.weight"), [1, d_in, h], Init::KaimingUniform),
                ParamSpec::vector(format!("{name}.0.bias"), 1, h, 0.0),
                ParamSpec::weight(format!("{name}.1.weight"), [1, h, d], Init::Constant(0.0)),
            ]
        };
        let params = [net("scale", network.width()), net("shift", user.len())].concat();
        Ok(Box::new(Mwuf { config: self, network, user, scope: Scope::default(), params }))
    }
}

/// `W_2 ReLU(W_1 x + b)` of the net whose parameters begin at `first`.
fn net(own: &Bound, first: usize, x: Tensor<3>) -> Tensor<3> {
    let [w1, b, w2] = [0, 1, 2].map(|i| own.get(ParamId(first + i)));
    product(relu(product(x, w1) + b), w2)
}

/// Of each group 1/n for its n real rows, `[T, S, 1]`, and whether there is one, `[T, 1, 1]`.
fn weights(batch: &Batch, x: &Tensor<3>) -> [Tensor<3>; 2] {
    let counts: Vec<f32> = batch.mask.chunks_exact(batch.rows).map(|mask| mask.iter().sum()).collect();
    let shares = batch.mask.iter().enumerate().map(|(i, mask)| mask / counts[i / batch.rows].max(1.0)).collect::<Vec<f32>>();
    let any: Vec<f32> = counts.iter().map(|n| n.min(1.0)).collect();
    let tensor = |values: Vec<f32>, rows: usize| Tensor::<3>::from_data(TensorData::new(values, [batch.groups, rows, 1]), &x.device());
    [tensor(shares, batch.rows), tensor(any, 1)]
}

impl Adaptation for Mwuf {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Item, hidden: self.network.hidden(StandIn::Mean), ..Needs::default() }
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let MwufConfig { inner_steps, inner_rate, shrink, .. } = self.config;
        let query = &context.inputs[0];
        let [g, n, _] = query.dims();
        let scale = net(own, 0, self.network.features(query)); // s - 1, [G, N, d]
        let mean = of_columns(query, &self.network.id);
        if support.batch.is_empty() {
            return Ok(self.network.added(mean * scale, query));
        }
        let x = &support.inputs[0];
        // What is stepped on is the base alone: nothing here is trained.
        let moved = self.network.steps(&self.network.layers(base), x, &support, (inner_steps, inner_rate, shrink));
        let moved = moved.expect("there is a support row").expand([g, n, self.network.d()]); // [G, N, d]
        let [share, any] = weights(support.batch, x);
        let users = (of_columns(x, &self.user) * share).sum_dim(1); // ū, [T, 1, d_u]
        let shift = net(own, 3, users) * any; // [T, 1, d]
        // v - mean = mean (s - 1) + Δ s + t
        Ok(self.network.added((mean + moved.clone()) * scale + moved + shift, query))
    }
}
