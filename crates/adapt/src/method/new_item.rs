//! What methods for new items share: where the item's id stands in the gathered row, what else of the row is the item's, and gradient steps on the id's part alone.

use std::ops::Range;

use acclimate_data::{Schema, Side};
use acclimate_model::{Bound, Effect, Linear, Modulation, Objective, Pooling, SiteId, SiteKind};
use burn::tensor::Tensor;

use crate::adaptation::{Hidden, StandIn};
use crate::inner::{Backward, FastLayer, Rows, Shrink, counts};
use crate::method::plain_tower;
use crate::{AdaptError, Support, Target};

/// A network's parts for new items.
#[derive(Debug)]
pub(crate) struct NewItem {
    objective: Objective,
    /// The gathered rows that enter the network.
    site: SiteId,
    layers: Vec<Linear>,
    /// The id's place among the categorical features.
    field: usize,
    /// Its columns in the gathered row, and those of the item's other features.
    pub(crate) id: Range<usize>,
    features: Vec<Range<usize>>,
}

/// Where the id's part of the support rows went: `Δ [T, 1, d]`, none without support rows.
pub(crate) type Steps = Option<Tensor<3>>;

impl NewItem {
    /// The parts of a network; `item` names the feature that is the item's id, default the categorical feature of items with the most values.
    pub(crate) fn new(method: &'static str, item: Option<&String>, target: Target<'_>) -> Result<Self, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method, problem: problem.into() };
        let layers = plain_tower(method, target.backbone)?.linears().copied().collect();
        let (architecture, schema) = (target.backbone.architecture(), target.schema);
        let Some(field) = item_of(schema, item) else {
            return Err(match item {
                Some(name) => AdaptError::Value { method, key: "item", problem: format!("`{name}` is no categorical feature of the data") },
                None => unsupported("the data has no categorical feature of items; add the item's id as a feature"),
            });
        };
        let name = &schema.categorical[field].name;
        let Some(id) = architecture.slots.iter().find(|slot| slot.feature == *name && slot.pooling == Pooling::One) else {
            return Err(unsupported(
                "the network does not read the item's id; take it out of `without`, or start from a base that reads it",
            ));
        };
        let of_item = |slot: &&acclimate_model::Slot| slot.side == Side::Item && slot.feature != *name;
        let features: Vec<_> = architecture.slots.iter().filter(of_item).map(|slot| slot.columns.clone()).collect();
        if features.is_empty() {
            return Err(unsupported("the network reads nothing of an item but its id; add features of items"));
        }
        let site = architecture.sites.iter().position(|site| matches!(site.kind, SiteKind::Rows { .. })).map(SiteId);
        let site = site.ok_or_else(|| unsupported("it has no site of gathered rows; use `dnn`"))?;
        Ok(Self { objective: target.objective, site, layers, field, id: id.columns.clone(), features })
    }

    /// Width of the id's row.
    pub(crate) fn d(&self) -> usize {
        self.id.len()
    }

    /// Width of the item's features.
    pub(crate) fn width(&self) -> usize {
        self.features.iter().map(ExactSizeIterator::len).sum()
    }

    /// That the id is not read, and what stands in its place.
    pub(crate) fn hidden(&self, stand_in: StandIn) -> Option<Hidden> {
        Some(Hidden { field: self.field, stand_in })
    }

    /// What the rows `[G, N, w]` say of their items, `[G, N, f]`.
    pub(crate) fn features(&self, x: &Tensor<3>) -> Tensor<3> {
        Tensor::cat(self.features.iter().map(|columns| of_columns(x, columns)).collect(), 2)
    }

    /// `[G, N, d]` in the id's columns of rows like `x [G, N, w]`, else 0.
    pub(crate) fn padded(&self, v: Tensor<3>, x: &Tensor<3>) -> Tensor<3> {
        let [g, n, w] = x.dims();
        let zeros = |width: usize| Tensor::<3>::zeros([g, n, width], &x.device());
        let parts = [
            (self.id.start > 0).then(|| zeros(self.id.start)),
            Some(v.expand([g, n, self.d()])),
            (self.id.end < w).then(|| zeros(w - self.id.end)),
        ];
        Tensor::cat(parts.into_iter().flatten().collect(), 2) // [G, N, w]
    }

    /// Adds to the id's row of what is scored.
    pub(crate) fn added(&self, v: Tensor<3>, x: &Tensor<3>) -> Modulation<'static> {
        Modulation::none().with(self.site, Effect::Added(self.padded(v, x)))
    }

    /// The layers of the tower.
    pub(crate) fn layers(&self, base: &Bound) -> Vec<FastLayer> {
        self.layers.iter().map(|l| FastLayer { weight: base.get(l.weight), bias: base.get(l.bias) }).collect()
    }

    /// `Δ_0 = 0`, `Δ_{k+1} = Δ_k - α n / (n + shrink) ∂l_S / ∂v`: steps on the id's row alone, `l_S` the mean over the task's support rows `x [T, S, w]`. The id's part reaches the first layer as `v W_id`.
    pub(crate) fn steps(
        &self,
        layers: &[FastLayer],
        x: &Tensor<3>,
        support: &Support<'_>,
        (steps, rate, shrink): (usize, f64, f32),
    ) -> Steps {
        if support.batch.is_empty() {
            return None;
        }
        let tasks = support.batch.groups;
        let device = x.device();
        let rows = Rows::new(support.batch, &device);
        let factor = Shrink::Rows(shrink).factor(None, &counts(support.batch), &device);
        let rate = factor.unwrap_or_else(|| Tensor::ones([tasks, 1, 1], &device)) * rate; // [T, 1, 1]
        let w = layers[0].weight.clone().slice([0..1, self.id.clone(), 0..layers[0].weight.dims()[2]]); // [1, d, d_1]
        let w = w.expand([tasks, self.d(), layers[0].weight.dims()[2]]);
        let mut moved = Tensor::<3>::zeros([tasks, 1, self.d()], &x.device()); // [T, 1, d]
        for _ in 0..steps {
            let shift = moved.clone().matmul(w.clone()); // [T, 1, d_1]
            let delta = Backward::new(self.objective, layers, x.clone(), Some(&shift), &rows, 0).delta(0).sum_dim(1); // [T, 1, d_1]
            moved = moved - delta.matmul(w.clone().transpose()) * rate.clone();
        }
        Some(moved)
    }
}

/// Some columns of `[G, N, w]`.
pub(crate) fn of_columns(x: &Tensor<3>, columns: &Range<usize>) -> Tensor<3> {
    let [g, n, _] = x.dims();
    x.clone().slice([0..g, 0..n, columns.clone()])
}

/// The categorical feature called so; without a name that of items with the most values.
fn item_of(schema: &Schema, name: Option<&String>) -> Option<usize> {
    let rows = |place: &usize| schema.vocabularies[schema.categorical[*place].vocabulary.at()].rows;
    match name {
        Some(name) => schema.categorical.iter().position(|field| field.name == *name),
        None => (0..schema.categorical.len()).filter(|&place| schema.side(&schema.categorical[place].name) == Side::Item).max_by_key(rows),
    }
}
