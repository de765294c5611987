//! The state of a run: working values, optimiser moments, and one optimiser step.

use std::sync::Arc;

use acclimate_adapt::{Adaptation, Context, Declared, Needs, Start, Support, Unlabelled, logit_offset};
use acclimate_data::{Batch, RandomStream};
use acclimate_model::kernel::{leaf, take_gradient, to_vec};
use acclimate_model::{
    Added, AfterPass, Backbone, Base, Estimate, Moved, Objective, ParamId, ParamSpec, Params, Pass, RowGradients, Table,
};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use crate::feed::Feeding;
use crate::hide::{CodeCounts, hide, seen, tables};
use crate::teacher::Teacher;
use crate::{Moments, TrainConfig, TrainError};

/// Gradients of one optimiser step, possibly summed over several batches.
struct Gradients {
    /// Own parameters, then the scope's.
    dense: Vec<Gradient>,
    rows: Vec<Option<RowGradients>>,
}

/// Gradient of one parameter.
enum Gradient {
    Whole(Vec<f32>),
    /// Of a grouped parameter: its blocks are rows of a table.
    Blocks(RowGradients),
}

impl Gradient {
    fn zeros(spec: &ParamSpec) -> Self {
        match spec.grouping {
            None => Self::Whole(vec![0.0; spec.len()]),
            Some(_) => Self::Blocks(RowGradients::new(spec.shape[0], spec.block())),
        }
    }

    /// Adds what one batch gives; `is_first` of those held, what is there from before is forgotten.
    fn add(&mut self, gradient: Option<Vec<f32>>, touched: Option<&[u32]>, is_first: bool) {
        match (self, gradient) {
            (Self::Whole(sum), Some(gradient)) if is_first => *sum = gradient,
            (Self::Whole(sum), Some(gradient)) => sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g),
            (Self::Whole(sum), None) if is_first => sum.fill(0.0),
            (Self::Blocks(sum), Some(gradient)) => {
                let touched = touched.expect("a step binds grouped parameters by their blocks");
                let block = gradient.len() / touched.len();
                touched.iter().zip(gradient.chunks_exact(block)).for_each(|(&row, gradient)| sum.add(row, gradient, 1.0));
            }
            (Self::Whole(_) | Self::Blocks(_), None) => {}
        }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Whole(values) => values,
            Self::Blocks(rows) => rows.sums_mut(),
        }
    }
}

/// Working copies of everything a run trains. The base it started from is not touched.
pub struct Trainee<'a> {
    /// The base with the trained values in place.
    pub base: Base,
    /// The method's own parameters.
    pub own: Params,
    pub(crate) adaptation: &'a dyn Adaptation,
    pub(crate) dense_moments: Vec<Moments>,
    pub(crate) table_moments: Vec<Moments>,
    gradients: Gradients,
    /// Batches in `gradients`.
    held: u64,
    /// Optimiser steps taken.
    pub(crate) taken: u64,
    /// The base before training, for a method whose loss compares with it.
    teacher: Option<Teacher>,
    /// Training rows of codes that are hidden by them.
    pub(crate) counts: CodeCounts,
    device: Device,
}

impl<'a> Trainee<'a> {
    /// The state before the first step: the base (or fresh values of its shape) and the method's own start.
    ///
    /// # Errors
    /// A base whose config can not be built again.
    pub fn new(base: &Base, adaptation: &'a dyn Adaptation, seed: u64, device: &Device) -> Result<Self, TrainError> {
        let device = device.clone().autodiff();
        let teacher = adaptation.needs().teacher.then(|| Teacher::new(base, &device));
        let base = match adaptation.start() {
            Start::Base => base.clone(),
            Start::Fresh => {
                let mut fresh = Base::init(base.spec.clone(), seed).map_err(acclimate_adapt::AdaptError::from)?;
                base.backbone.carry_over(&base.tables, &mut fresh.tables);
                fresh
            }
        };
        let own = Params::init(adaptation.params(), seed);
        let scope = adaptation.scope();
        let sizes = own.values.iter().map(Vec::len).chain(scope.params.iter().map(|id| base.params.values[id.0].len()));
        let dense_moments: Vec<_> = sizes.map(Moments::zeros).collect();
        let table_moments = base
            .tables
            .iter()
            .enumerate()
            .map(|(i, t)| Moments::zeros(if scope.tables.contains(&i) { t.values.len() } else { 0 }))
            .collect();
        let rows = base.tables.iter().enumerate();
        let rows = rows.map(|(i, t)| scope.tables.contains(&i).then(|| RowGradients::new(t.rows(), t.d))).collect();
        let specs = own.specs.iter().chain(scope.params.iter().map(|id| &base.params.specs[id.0]));
        let gradients = Gradients { dense: specs.map(Gradient::zeros).collect(), rows };
        Ok(Self {
            base,
            own,
            adaptation,
            dense_moments,
            table_moments,
            gradients,
            held: 0,
            taken: 0,
            teacher,
            counts: CodeCounts::default(),
            device,
        })
    }

    /// Values that training may change, embedding rows counted in full.
    #[must_use]
    pub fn trainable(&self) -> usize {
        let rows = self.table_moments.iter().map(|m| m.first.len()).sum::<usize>();
        self.dense_moments.iter().map(|m| m.first.len()).sum::<usize>() + rows
    }

    /// Whether gradients train anything. Where all is solved for, a step takes nothing but the loss.
    fn has_gradients(&self) -> bool {
        let scope = self.adaptation.scope();
        let specs = self.own.specs.iter().chain(scope.params.iter().map(|id| &self.base.params.specs[id.0]));
        !scope.tables.is_empty() || specs.into_iter().any(|spec| !spec.solved && !spec.moment)
    }

    /// Whether every trained value and every moment is a number.
    pub(crate) fn is_finite(&self) -> bool {
        let scope = self.adaptation.scope();
        let dense = scope.params.iter().map(|id| &self.base.params.values[id.0]);
        let rows = scope.tables.iter().map(|&table| &self.base.tables[table].values);
        let moments = self.dense_moments.iter().chain(&self.table_moments).flat_map(|m| [&m.first, &m.second]);
        self.own.values.iter().chain(dense).chain(rows).chain(moments).all(|values| values.iter().all(|x| x.is_finite()))
    }

    /// Adds the gradients of one batch and returns its loss.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub(crate) fn accumulate(&mut self, mut feeding: Feeding, config: &TrainConfig, stream: &mut RandomStream) -> Result<f32, TrainError> {
        let mut batches: Vec<&mut Batch> = std::iter::once(&mut feeding.query).chain(feeding.support.as_mut()).collect();
        hide(&self.base.spec.schema, config, &self.counts, &mut batches, stream);
        let needs = self.adaptation.needs();
        let reading = self.adaptation.reading(&self.own.values);
        for batch in batches.iter_mut().filter(|_| needs.hidden.is_some() || reading.is_some()) {
            **batch = seen(batch, needs, reading.as_ref()).into_owned();
        }
        let scope = self.adaptation.scope();
        let moment = |id: &ParamId| self.base.params.specs[id.0].moment;
        let bound = self.base.params.bind(&self.device, |id| scope.params.contains(&id) && !moment(&id));
        let own = self.own.bind_touched(&self.device, &feeding.query);
        let query = Leaves::gather(self, &feeding.query, config, stream);
        let support = feeding.support.as_ref().map(|batch| Leaves::gather(self, batch, config, stream));
        let beside = support.as_ref().zip(feeding.support.as_ref()).map(|(s, batch)| (batch, s.tensors.as_slice()));
        let context = context((&feeding.query, &query.tensors), beside, needs, self.base.backbone.as_ref());
        let modulation = self.adaptation.adapt(&bound, &own, &context)?;
        let estimate = estimate(&self.base.params, self.adaptation, &feeding.query, &self.device);
        let pass = Pass { estimate: estimate.as_ref(), ..Pass::new(&bound, &modulation) };
        let output = self.base.backbone.forward(&pass, &feeding.query, &query.tensors);
        let mut loss = self.base.spec.objective.loss(&output, &feeding.query);
        if let Some(penalty) = modulation.penalty() {
            loss = loss + penalty;
        }
        let teacher = self.teacher.as_ref().map(|teacher| teacher.says(&feeding.query));
        let objective = self.base.spec.objective;
        let added = modulation.added(&AfterPass { output: &output, batch: &feeding.query, objective, teacher: teacher.as_ref() });
        let mut moved = Vec::new();
        for Added { summands, moved: values } in added {
            loss = loss + summands.sum();
            moved.extend(values);
        }
        drop(modulation);
        if !self.has_gradients() {
            return Ok(to_vec(loss.inner())[0]);
        }
        let mut gradients = loss.backward();
        let trained = (0..self.own.len()).map(|i| (own.get(ParamId(i)), own.touched(ParamId(i))));
        let trained = trained.chain(scope.params.iter().map(|id| (bound.get(*id), None)));
        for (sum, (tensor, touched)) in self.gradients.dense.iter_mut().zip(trained) {
            sum.add(take_gradient(&tensor, &mut gradients), touched, self.held == 0);
        }
        if !scope.tables.is_empty() {
            for (leaves, batch) in [Some((query, &feeding.query)), support.zip(feeding.support.as_ref())].into_iter().flatten() {
                if let Some(gradients) = leaves.gradients(&mut gradients) {
                    self.base.backbone.scatter(batch, &gradients, &mut self.gradients.rows);
                }
            }
        }
        if let Some(estimate) = estimate {
            estimate.update(&mut self.base.params, &mut self.own);
        }
        for Moved { param, block, values } in moved {
            let spec = &self.own.specs[param.0];
            // What is frozen in this stage stays.
            if spec.moment && !spec.solved {
                self.own.values[param.0][block as usize * spec.block()..][..spec.block()].copy_from_slice(&values);
            }
        }
        self.held += 1;
        Ok(to_vec(loss.inner())[0])
    }

    /// One optimiser step with the gradients held.
    pub(crate) fn step(&mut self, config: &TrainConfig, schedule: f64) {
        self.taken += 1;
        let optimizer = &config.optimizer;
        self.scale_and_clip(config);
        let dense = optimizer.dense(self.taken, schedule);
        let own = self.own.values.len();
        for (i, (gradient, moments)) in self.gradients.dense.iter_mut().zip(&mut self.dense_moments).enumerate() {
            let (params, at) = match i.checked_sub(own) {
                None => (&mut self.own, i),
                Some(k) => (&mut self.base.params, self.adaptation.scope().params[k].0),
            };
            let (spec, values) = (&params.specs[at], &mut params.values[at]);
            if spec.solved {
                continue;
            }
            match gradient {
                Gradient::Whole(gradient) => dense.dense(values, gradient, moments, spec.decay),
                Gradient::Blocks(gradients) => {
                    let spared = if spec.decay { 0 } else { spec.block() };
                    let mut blocks = Table { d: spec.block(), values: std::mem::take(values) };
                    dense.rows(&mut blocks, spared, gradients, moments);
                    *values = blocks.values;
                    gradients.clear();
                }
            }
        }
        let architecture = self.base.backbone.architecture();
        let (specs, heads) = (&architecture.tables, architecture.head_tables().collect::<Vec<_>>());
        let input = optimizer.rows(self.taken, schedule);
        // Threads own tables, so that the result does not depend on their number.
        let state = self.base.tables.par_iter_mut().zip(&mut self.table_moments);
        self.gradients.rows.par_iter_mut().zip(state).enumerate().for_each(|(i, (sink, (table, moments)))| {
            let Some(gradients) = sink.as_mut().filter(|g| !g.rows().is_empty()) else { return };
            let table = Arc::make_mut(table);
            // A head is a layer that happens to have rows: it learns at the rate of layers.
            let rows = if heads.contains(&i) { dense } else { input };
            rows.rows(table, specs[i].spared, gradients, moments);
            if specs[i].zero_row {
                table.values[..table.d].fill(0.0);
            }
            gradients.clear();
        });
        self.held = 0;
    }

    /// Averages over the batches held, then clips.
    fn scale_and_clip(&mut self, config: &TrainConfig) {
        let scale = 1.0 / self.held.max(1) as f32;
        let limit = config.optimizer.clip_value.unwrap_or(f32::INFINITY);
        let mut buffers: Vec<&mut [f32]> = self.gradients.dense.iter_mut().map(Gradient::values_mut).collect();
        buffers.extend(self.gradients.rows.iter_mut().flatten().map(RowGradients::sums_mut));
        if scale != 1.0 || limit.is_finite() {
            buffers.iter_mut().for_each(|b| b.iter_mut().for_each(|g| *g = (*g * scale).clamp(-limit, limit)));
        }
        if let Some(limit) = config.optimizer.clip_norm {
            let norm = buffers.iter().flat_map(|b| b.iter()).map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
            if norm > limit {
                let scale = (limit / norm) as f32;
                buffers.iter_mut().for_each(|b| b.iter_mut().for_each(|g| *g *= scale));
            }
        }
    }

    /// Moves the head's bias to the exact maximum of the rows' likelihood under a normal prior of sd 3, given the current scores.
    pub(crate) fn fit_intercept(&mut self, scores: &[f32], labels: &[f32]) -> Result<(), TrainError> {
        let architecture = self.base.backbone.architecture();
        // Of several heads the score is a mean with weights that add up to 1: an offset of all is one of the score.
        let heads = architecture.linear_sites().filter(|(_, s, _)| s.role == acclimate_model::Role::Head).map(|(id, ..)| id);
        let biases = heads.flat_map(|id| architecture.params_of(id).filter(|p| architecture.params[p.0].path.ends_with(".bias")));
        let biases: Vec<ParamId> = biases.filter(|b| self.adaptation.scope().params.contains(b)).collect();
        if biases.is_empty() {
            let problem = "needs the head's bias among the trained parameters; add `head` to `unfreeze` of an adapter, or choose a `fine_tune` that trains the head".into();
            return Err(TrainError::Config { key: "intercept", problem });
        }
        let offset = match self.base.spec.objective {
            Objective::SquaredError => mean_intercept(scores, labels, 3.0),
            _ => newton_intercept(scores, labels, 3.0),
        };
        biases.iter().for_each(|bias| self.base.params.values[bias.0][0] += offset);
        Ok(())
    }
}

/// What a method may look at: rows to be scored, and what stands beside them, which is labelled rows to adapt from, or of methods of requests the declared sets.
pub(crate) fn context<'a>(
    (query, inputs): (&'a Batch, &'a [Tensor<3>]),
    beside: Option<(&'a Batch, &'a [Tensor<3>])>,
    needs: Needs,
    backbone: &'a dyn Backbone,
) -> Context<'a> {
    let plain = Context { inputs, ..Context::new(Unlabelled::new(query)) };
    match beside {
        Some((batch, inputs)) if needs.groups.are_requests() => Context { declared: Some(Declared::new(batch, inputs, backbone)), ..plain },
        Some((batch, inputs)) => Context { support: Some(Support { batch, inputs, backbone }), ..plain },
        None => plain,
    }
}

/// What batch norms see in a pass over `batch`, where training moves running moments, of the base or of the method.
pub(crate) fn estimate(base: &Params, adaptation: &dyn Adaptation, batch: &Batch, device: &Device) -> Option<Estimate> {
    let moved: Vec<ParamId> = adaptation.scope().params.iter().copied().filter(|id| base.specs[id.0].moment).collect();
    let has_own = adaptation.params().iter().any(|spec| spec.moment);
    (has_own || !moved.is_empty()).then(|| Estimate::new(batch, moved, device))
}

/// `argmax_b -Σ (y - s - b)² / 2 - b² / (2 sd²)`: the mean residual, shrunk by `1 / sd²` rows at 0.
fn mean_intercept(scores: &[f32], labels: &[f32], sd: f64) -> f32 {
    let sum: f64 = scores.iter().zip(labels).map(|(&s, &y)| f64::from(y) - f64::from(s)).sum();
    (sum / (scores.len() as f64 + 1.0 / (sd * sd))) as f32
}

/// `argmax_b Σ log p(y | s + b) - b² / (2 sd²)`.
fn newton_intercept(logits: &[f32], labels: &[f32], sd: f64) -> f32 {
    let rows = logits.iter().zip(labels).map(|(&s, &y)| (f64::from(s), f64::from(y)));
    logit_offset(rows, 1.0 / (sd * sd)).0 as f32
}

/// Gathered rows of a batch as leaf tensors.
struct Leaves {
    tensors: Vec<Tensor<3>>,
    /// Factor on each value of the first leaf, where dropout is on.
    keep: Option<Vec<f32>>,
}

impl Leaves {
    fn gather(trainee: &Trainee<'_>, batch: &Batch, config: &TrainConfig, stream: &mut RandomStream) -> Self {
        let mut gathered = trainee.base.backbone.gather(&tables(&trainee.base, trainee.adaptation.needs()), batch);
        let keep = (config.input_dropout > 0.0).then(|| {
            let scale = 1.0 / (1.0 - config.input_dropout);
            let values = &mut gathered[0].values;
            let keep: Vec<f32> = values.iter().map(|_| if stream.unit() < f64::from(config.input_dropout) { 0.0 } else { scale }).collect();
            values.iter_mut().zip(&keep).for_each(|(x, k)| *x *= k);
            keep
        });
        let trained = &trainee.adaptation.scope().tables;
        let tracked = |i: usize| trained.iter().any(|&table| trainee.base.backbone.reads(i, table));
        let tensors = gathered.into_iter().enumerate().map(|(i, g)| leaf(g.values, g.shape, &trainee.device, tracked(i))).collect();
        Self { tensors, keep }
    }

    /// `None` where the loss reaches none of them: such rows are not touched (a support set under first-order steps, for example).
    fn gradients(self, gradients: &mut burn::tensor::Gradients) -> Option<Vec<Vec<f32>>> {
        let found: Vec<_> = self.tensors.iter().map(|t| take_gradient(t, gradients)).collect();
        if found.iter().all(Option::is_none) {
            return None;
        }
        let sizes = self.tensors.iter().map(|t| t.shape().num_elements());
        let mut out: Vec<Vec<f32>> = found.into_iter().zip(sizes).map(|(g, n)| g.unwrap_or_else(|| vec![0.0; n])).collect();
        if let Some(keep) = self.keep {
            out[0].iter_mut().zip(keep).for_each(|(g, k)| *g *= k);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{mean_intercept, newton_intercept};

    #[test]
    fn the_intercept_of_ratings_is_the_mean_residual() {
        let b = mean_intercept(&[0.5; 900], &[4.0; 900], 3.0);
        assert!((b - 3.5).abs() < 1e-3, "{b}");
        assert!(mean_intercept(&[0.0], &[5.0], 3.0) < 5.0 && mean_intercept(&[], &[], 3.0) == 0.0);
    }

    #[test]
    fn the_intercept_matches_the_base_rate() {
        let labels: Vec<f32> = (0..1000).map(|i| f32::from(u8::from(i % 10 == 0))).collect();
        let b = newton_intercept(&vec![0.0; 1000], &labels, 1e6);
        assert!((b - (0.1f32 / 0.9).ln()).abs() < 1e-4, "{b}");
    }

    #[test]
    fn one_class_stays_finite_under_the_prior() {
        let b = newton_intercept(&[0.0; 5], &[1.0; 5], 3.0);
        assert!(b > 0.5 && b < 9.0, "{b}");
    }
}
