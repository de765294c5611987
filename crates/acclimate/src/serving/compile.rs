//! From a base with a modulation to the network that a plan computes.

use std::sync::Arc;

use acclimate_adapt::{AdaptError, Adaptation, Context, Groups, Patch, RowPatch, Unlabelled};
use acclimate_data::{Batch, Encoder};
use acclimate_model::kernel::{leaf, to_vec};
use acclimate_model::{
    Affine, Base, Bound, Branch, BranchActivation, Effect, LayerNorm, Linear, Modulation, Moments, Objective, Pooling, Read, Scale, SiteId,
    SiteKind, Table, TowerNorm, Weights,
};
use acclimate_plan as plan;
use acclimate_serve::layout::Layout;
use acclimate_train::Bindings;
use burn::tensor::{Device, Tensor};

use super::probe::Probe;

/// The tables of a base as a plan holds them, made once and shared by the plans of all its patches.
pub(super) fn tables(base: &Base) -> Vec<plan::Table> {
    base.tables.iter().map(|table| plan::Table::new(table.d, Arc::new(table.values.clone()))).collect()
}

/// Tables of a base with a patch's rows beside theirs.
pub(super) fn changed(base: &Base, patch: &Patch, tables: &[plan::Table]) -> Vec<plan::Table> {
    let one = |((table, RowPatch { rows, values, .. }), total): ((&plan::Table, &RowPatch), usize)| {
        let is_changed = !rows.is_empty() || total > table.rows();
        let changed = is_changed.then(|| Arc::new(plan::Changed { rows: rows.clone(), values: values.clone(), total }));
        plan::Table { changed, ..table.clone() }
    };
    tables.iter().zip(&patch.rows).zip(patch.table_rows(base)).map(one).collect()
}

/// The slots of a base; `None` where its row is not made of embeddings, means and numbers alone, or a tower does not stand alone on it.
pub(super) fn slots(base: &Base, layout: &Layout) -> Option<Vec<plan::Slot>> {
    base.backbone.tower()?;
    let schema = &base.spec.schema;
    let architecture = base.backbone.architecture();
    let slot = |slot: &acclimate_model::Slot| {
        let is_it = |name: &String| *name == slot.feature;
        let (place, source) = match (slot.pooling, slot.table) {
            (Pooling::One, Some(table)) => {
                let place = layout.categorical[schema.categorical.iter().position(|f| is_it(&f.name))?];
                (place, plan::Source::Field { column: place.column, table })
            }
            (Pooling::Mean, Some(table)) => {
                let place = layout.bags[schema.bags.iter().position(|f| is_it(&f.name))?];
                (place, plan::Source::Bag { column: place.column, table })
            }
            (Pooling::Number, None) => {
                let place = layout.numeric[schema.numeric.iter().position(is_it)?];
                (place, plan::Source::Number { column: place.column })
            }
            _ => return None,
        };
        Some(plan::Slot { source, shared: place.shared })
    };
    architecture.slots.iter().map(slot).collect()
}

/// What a modulation depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependence {
    /// On nothing: it is the same for every row.
    Nothing,
    /// On the domain of the rows alone.
    Domain,
    /// On more than that.
    Rows,
}

/// What a method does to rows of each domain, and what that depends on: two batches of random rows tell. `rows` are those of its patch.
///
/// # Errors
/// The method can not be applied.
pub(super) fn dependence<'a>(
    (base, rows): (&Base, &[RowPatch]),
    adaptation: &'a dyn Adaptation,
    bindings: &Bindings,
    encoder: &Encoder,
    device: &Device,
) -> Result<(Dependence, Option<Modulation<'a>>), AdaptError> {
    let needs = adaptation.needs();
    let reads_all = needs.hidden.is_none() && !needs.token && !needs.strange_sets;
    if !reads_all || !matches!(needs.groups, Groups::Any | Groups::Domain) {
        return Ok((Dependence::Rows, None));
    }
    let probe = Probe { base, encoder, wild: false };
    // At least two groups, so that what is of a group shows.
    let groups = base.spec.schema.domains.len().max(2);
    let modulation = |seed: u64| -> Result<Modulation<'a>, AdaptError> {
        let batch = probe.batch(seed, groups, 3);
        let inputs = gathered((base, rows), &batch, device);
        let [bound, own] = bindings.values();
        adaptation.adapt(bound, own, &Context { inputs: &inputs, ..Context::new(Unlabelled::new(&batch)) })
    };
    let (first, second) = (modulation(1)?, modulation(2)?);
    let same = first.effects().len() == second.effects().len()
        && first.effects().iter().zip(second.effects()).all(|((a, x), (b, y))| a == b && is_same(x, y));
    let dims: Vec<[usize; 3]> = first.effects().iter().flat_map(|(_, effect)| effect.tensors().into_iter().map(Tensor::dims)).collect();
    let sites = &base.backbone.architecture().sites;
    let weights = |effect: &Effect<'_>| {
        matches!(effect, Effect::Replace { .. } | Effect::Multiply { .. } | Effect::LowRank { .. } | Effect::Branch(_))
    };
    let of_rows = first.effects().iter().any(|(_, effect)| !weights(effect) && effect.tensors().into_iter().any(|t| t.dims()[1] != 1));
    let is_known = first.effects().iter().all(|(at, effect)| knows(effect, sites[at.0].kind));
    if !same || of_rows || !is_known {
        return Ok((Dependence::Rows, None));
    }
    let of_groups = dims.iter().any(|dims| dims[0] == groups);
    Ok((if of_groups { Dependence::Domain } else { Dependence::Nothing }, Some(first)))
}

/// Whether a plan has a form of an effect.
fn knows(effect: &Effect<'_>, kind: SiteKind) -> bool {
    match effect {
        Effect::Replace { .. }
        | Effect::Multiply { .. }
        | Effect::LowRank { .. }
        | Effect::Input(_)
        | Effect::Output(_)
        | Effect::Branch(_) => {
            matches!(kind, SiteKind::Linear { .. })
        }
        Effect::Norm(_) => matches!(kind, SiteKind::Norm { .. }),
        Effect::Prefix(_) | Effect::Added(_) | Effect::Opaque(_) => false,
    }
}

fn is_same(a: &Effect<'_>, b: &Effect<'_>) -> bool {
    let (a, b) = (a.tensors(), b.tensors());
    let bits = |tensor: &Tensor<3>| to_vec(tensor.clone()).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    a.len() == b.len() && a.into_iter().zip(b).all(|(a, b)| a.dims() == b.dims() && bits(a) == bits(b))
}

/// Gathered rows as tensors, a patch's in place of the base's.
fn gathered((base, rows): (&Base, &[RowPatch]), batch: &Batch, device: &Device) -> Vec<Tensor<3>> {
    let leaves = |tables: &[Arc<Table>], batch: &Batch| -> Vec<Tensor<3>> {
        let gathered = base.backbone.gather(tables, batch).into_iter();
        gathered.map(|g| leaf(g.values, g.shape, device, false)).collect()
    };
    if rows.iter().all(|patch| patch.rows.is_empty()) {
        return leaves(&base.tables, batch);
    }
    let (tables, batch) = few((base, rows), batch);
    leaves(&tables, &batch)
}

/// The rows that a batch reads as tables of their own, and the batch with the codes that they have there; the unknown stays 0. No table is copied for a few of its rows.
fn few((base, rows): (&Base, &[RowPatch]), batch: &Batch) -> (Vec<Arc<Table>>, Batch) {
    let schema = &base.spec.schema;
    let mut codes: Vec<Vec<u32>> = vec![vec![0]; schema.vocabularies.len()];
    for (f, field) in schema.categorical.iter().enumerate() {
        codes[field.vocabulary.at()].extend(batch.categorical.iter().skip(f).step_by(batch.fields.max(1)));
    }
    for (bag, field) in batch.bags.iter().zip(&schema.bags) {
        codes[field.vocabulary.at()].extend(&bag.codes);
    }
    for codes in &mut codes {
        codes.sort_unstable();
        codes.dedup();
    }
    let place = |vocabulary: usize, code: u32| codes[vocabulary].binary_search(&code).map_or(0, |place| place as u32);
    let mut of_few = batch.clone();
    for (i, code) in of_few.categorical.iter_mut().enumerate() {
        *code = place(schema.categorical[i % batch.fields.max(1)].vocabulary.at(), *code);
    }
    for (bag, field) in of_few.bags.iter_mut().zip(&schema.bags) {
        bag.codes.iter_mut().for_each(|code| *code = place(field.vocabulary.at(), *code));
    }
    let mut tables = base.tables.clone();
    for slot in &base.backbone.architecture().slots {
        let field = schema.categorical.iter().chain(&schema.bags).find(|field| field.name == slot.feature);
        let (Some(t), Some(field)) = (slot.table, field) else { continue };
        let (whole, d) = (&base.tables[t], base.tables[t].d);
        let known = |code: u32| whole.row(if (code as usize) < whole.rows() { code } else { 0 });
        let row = |&code: &u32| rows.get(t).and_then(|patch| patch.row(code, d)).unwrap_or_else(|| known(code));
        tables[t] = Arc::new(Table { d, values: codes[field.vocabulary.at()].iter().flat_map(row).copied().collect() });
    }
    (tables, of_few)
}

/// What becomes of the values of one group.
struct Group {
    group: usize,
}

impl Group {
    fn of(&self, tensor: &Tensor<3>) -> Tensor<3> {
        match tensor.dims() {
            [1, ..] => tensor.clone(),
            [_, n, d] => tensor.clone().slice([self.group..self.group + 1, 0..n, 0..d]),
        }
    }

    fn values(&self, tensor: &Tensor<3>) -> Arc<Vec<f32>> {
        Arc::new(to_vec(self.of(tensor)))
    }

    fn scale(&self, scale: &Scale) -> Scale {
        Scale { gain: scale.gain.as_ref().map(|gain| self.of(gain)), shift: scale.shift.as_ref().map(|shift| self.of(shift)) }
    }

    /// The effect on this group alone.
    fn effect(&self, effect: &Effect<'_>) -> Option<Effect<'static>> {
        let of = |tensor: &Option<Tensor<3>>| tensor.as_ref().map(|tensor| self.of(tensor));
        Some(match effect {
            Effect::Replace { weight, bias } => Effect::Replace { weight: self.of(weight), bias: of(bias) },
            Effect::Multiply { weight, bias } => Effect::Multiply { weight: self.of(weight), bias: of(bias) },
            Effect::LowRank { a, b, bias } => Effect::LowRank { a: self.of(a), b: self.of(b), bias: of(bias) },
            Effect::Input(scale) => Effect::Input(self.scale(scale)),
            Effect::Output(scale) => Effect::Output(self.scale(scale)),
            Effect::Branch(Branch { read, skip, activation, w1, b1, w2, b2 }) => {
                let [w1, b1, w2, b2] = [w1, b1, w2, b2].map(|tensor| self.of(tensor));
                Effect::Branch(Branch { read: *read, skip: *skip, activation: *activation, w1, b1, w2, b2 })
            }
            Effect::Norm(change) => Effect::Norm(acclimate_model::NormChange {
                times: of(&change.times),
                plus: of(&change.plus),
                shift: of(&change.shift),
                moments: change.moments.as_ref().map(|m| Moments { mean: self.of(&m.mean), variance: self.of(&m.variance) }),
                own: None,
            }),
            Effect::Prefix(_) | Effect::Added(_) | Effect::Opaque(_) => return None,
        })
    }
}

/// The network of one group: the base's tower with everything that the modulation does there. `true` beside it: everything could be written into the weights.
///
/// `bound` are the parameters of `base`; `tables` and `slots` stand for its rows.
pub(super) fn network(
    (base, bound): (&Base, &Bound),
    (tables, slots): (Vec<plan::Table>, Vec<plan::Slot>),
    modulation: &Modulation<'_>,
    group: usize,
) -> Option<(plan::Network, bool)> {
    let tower = base.backbone.tower()?;
    let of = Group { group };
    let effects = modulation.effects().iter().map(|(site, effect)| Some((*site, of.effect(effect)?)));
    let modulation =
        effects.collect::<Option<Vec<_>>>()?.into_iter().fold(Modulation::none(), |all, (site, effect)| all.with(site, effect));
    let mut merged = true;
    let mut linear = |linear: &Linear| -> Option<(plan::Linear, Vec<plan::After>)> {
        let own = Weights { weight: bound.get(linear.weight), bias: Some(bound.get(linear.bias)), low_rank: None };
        let has_branch = modulation.at(linear.site).any(|effect| matches!(effect, Effect::Branch(_)));
        let (weights, after) = if has_branch {
            merged = false;
            if modulation.at(linear.site).any(|effect| matches!(effect, Effect::Input(_))) {
                return None;
            }
            (modulation.weights(linear.site, own), after(&of, &modulation, linear.site))
        } else {
            (modulation.folded(linear.site, own), Vec::new())
        };
        let bias = to_vec(weights.bias.clone()?);
        let full = weights.full();
        let [_, d_in, d_out] = full.dims();
        Some((plan::Linear { d_in, d_out, weight: Arc::new(to_vec(full)), bias: Arc::new(bias) }, after))
    };
    let mut layers = Vec::new();
    for hidden in &tower.hidden {
        let (linear, after) = linear(&hidden.linear)?;
        let norm = hidden.norm.as_ref().map(|norm| of_norm(bound, &modulation, norm));
        layers.push(plan::Layer { linear, after, norm });
    }
    let (head, after) = linear(&tower.head)?;
    let label = &base.spec.schema.label;
    let unit = if base.spec.objective == Objective::SquaredError { label.unit() } else { 1.0 };
    Some((plan::Network { tables, slots, layers, head, after, unit }, merged))
}

/// What stands after a linear map, in its order.
fn after(of: &Group, modulation: &Modulation<'_>, site: SiteId) -> Vec<plan::After> {
    let linear = |weight: &Tensor<3>, bias: &Tensor<3>| {
        let [_, d_in, d_out] = weight.dims();
        plan::Linear { d_in, d_out, weight: of.values(weight), bias: of.values(bias) }
    };
    let after = |effect: &Effect<'_>| match effect {
        Effect::Output(Scale { gain, shift }) => {
            let values = |tensor: &Option<Tensor<3>>| tensor.as_ref().map(|tensor| of.values(tensor));
            Some(plan::After::Scale(plan::Scale { gain: values(gain), shift: values(shift) }))
        }
        Effect::Branch(branch) => Some(plan::After::Branch(plan::Branch {
            read: if branch.read == Read::Output { plan::Read::Output } else { plan::Read::Input },
            skip: branch.skip,
            activation: match branch.activation {
                BranchActivation::Gelu => plan::Activation::Gelu,
                BranchActivation::GeluTanh => plan::Activation::GeluTanh,
                BranchActivation::Relu => plan::Activation::Relu,
            },
            down: linear(&branch.w1, &branch.b1),
            up: linear(&branch.w2, &branch.b2),
        })),
        _ => None,
    };
    modulation.at(site).filter_map(after).collect()
}

fn of_norm(bound: &Bound, modulation: &Modulation<'_>, norm: &TowerNorm) -> plan::Norm {
    match norm {
        TowerNorm::Layer(LayerNorm { site, gain, shift, epsilon }) => {
            let own = Affine { gain: bound.get(*gain), shift: bound.get(*shift), moments: None, own: None };
            let Affine { gain, shift, .. } = modulation.norm(*site, own);
            plan::Norm::Layer { gain: Arc::new(to_vec(gain)), shift: Arc::new(to_vec(shift)), epsilon: *epsilon as f32 }
        }
        TowerNorm::Batch(norm) => {
            let running = Moments { mean: bound.get(norm.mean), variance: bound.get(norm.variance) };
            let own = Affine { gain: bound.get(norm.gain), shift: bound.get(norm.shift), moments: Some(running.clone()), own: None };
            let Affine { gain, shift, moments, .. } = modulation.norm(norm.site, own);
            let Moments { mean, variance } = moments.unwrap_or(running);
            let scale = gain / (variance + norm.epsilon).sqrt();
            let shift = shift - mean * scale.clone();
            plan::Norm::Affine { gain: Arc::new(to_vec(scale)), shift: Arc::new(to_vec(shift)) }
        }
    }
}

/// Lets a network hold the buffers of another wherever the values are the same, so that their plans share what is made of them.
pub(super) fn share(network: &mut plan::Network, base: &plan::Network) {
    let same = |own: &mut Arc<Vec<f32>>, other: &Arc<Vec<f32>>| {
        if own.len() == other.len() && own.iter().zip(other.iter()).all(|(a, b)| a.to_bits() == b.to_bits()) {
            own.clone_from(other);
        }
    };
    let linear = |own: &mut plan::Linear, other: &plan::Linear| {
        same(&mut own.weight, &other.weight);
        same(&mut own.bias, &other.bias);
    };
    for (own, other) in network.layers.iter_mut().zip(&base.layers) {
        linear(&mut own.linear, &other.linear);
        if let (
            Some(plan::Norm::Layer { gain, shift, .. } | plan::Norm::Affine { gain, shift }),
            Some(plan::Norm::Layer { gain: of_gain, shift: of_shift, .. } | plan::Norm::Affine { gain: of_gain, shift: of_shift }),
        ) = (&mut own.norm, &other.norm)
        {
            same(gain, of_gain);
            same(shift, of_shift);
        }
    }
    linear(&mut network.head, &base.head);
}
