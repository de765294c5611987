//! `paml`: a few gradient steps at a rate of each user's own. Personalized Adaptive Meta Learning, not *Preference-Adaptive Meta-Learning* of the same initials.
//!
//! h is what the gathered row says of the user: the embeddings of the user's features, the mean over the support rows. With α_0 = `inner_rate`:
//!
//! - rate net: `α'(h) = α_0 · 2 σ(w · tanh(V h) + b)`;
//! - similar users: `α̃ = Σ_j S_j α_j / Σ_j S_j` over the users of the memory nearest to h, `S_j = exp(-|h - h_j|² / r²) - exp(-1)`, r the distance of the (m + 1)-th: whoever comes near enough to have a say begins with none, so that α̃ has no jumps; α_j is what the rate net said of them in training;
//! - `α(h) = (α'(h) + α̃) / 2` with a memory that has somebody in it, else `α'(h)`; not below `least_rate`, and never above 2 α_0;
//! - inner: `θ_{k+1} = θ_k - n / (n + c) α(h) ∇ L_S(θ_k)` over every layer of the tower, as `maml` does it, exact or first order; what of α_0, K and c is not given is chosen on validation tasks as there, α_0 for all users alike;
//! - without a memory, γ times the mean of `S_ij ((α(h_i) - α(h_j)) / α_0)²` over pairs of a batch's users is added to the loss: similar users, similar rates, and nothing to be kept.
//!
//! The memory is a ring of the last `memory_size` users that training has seen, searched by a tree that is built whenever it is read; it is part of the patch.
//!
//! Trained: everything of the base, V, w and b. w and b start at 0, so all users start at α_0. Without support rows a user has the base's scores exactly.
//!
//! Deviations: the paper's sum of both rates is their mean here, so that α_0 is where rates start with and without a memory; widths of S, the bound of rates and the form of the penalty are our reading.
//!
//! # References
//! R. Yu et al., *Personalized Adaptive Meta Learning for Cold-start User Preference Prediction*, AAAI 2021.

use std::ops::Range;
use std::sync::Arc;

use acclimate_data::Side;
use acclimate_model::kernel::to_vec;
use acclimate_model::{Added, Bound, Init, Linear, Modulation, Moved, ParamId, ParamSpec};
use acclimate_plan::UserRate;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::inner::{self, BallTree, Dials, InnerLoop, Open, Order, Rates, Rows, Shrink, Tasks, counts};
use crate::method::meta::maml::{RATE, STEPS};
use crate::method::plain_tower;
use crate::{AdaptError, Adaptation, Context, Dial, Groups, InRequest, Kind, Method, MethodConfig, Needs, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<PamlConfig>("paml", Kind::Adaptation, "gradient steps at a rate of each user's own")
    .tested_with(&["memory = 'none'\ngamma = 1.0\nwidth = 3", "order = 'first'\nmemory_size = 30\nneighbours = 3\nshrink = 2.0"]);

/// Where the rates of training users are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// In a memory that a tree searches.
    Tree,
    /// Nowhere.
    None,
}

/// Configuration of [`Paml`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PamlConfig {
    /// Gradient steps K on a support set. Default `chosen`: trained with 1, and 1, 2 or 5 chosen on validation tasks.
    pub inner_steps: Open<usize>,
    /// α_0, where the rates of all users start. Default `chosen`: trained with 0.05, and from a quarter to four times of it chosen on validation tasks.
    pub inner_rate: Open<f64>,
    /// A rate is never below this; default 0.
    pub least_rate: f64,
    /// First or second order; default second.
    pub order: Order,
    /// Width of the rate net's hidden layer; default 16.
    pub width: usize,
    /// Whether similar users have a say; default `tree`.
    pub memory: Memory,
    /// How many users the memory holds; default 1024. As many vectors h are saved with the patch.
    pub memory_size: usize,
    /// m, how many similar users have a say; default 8.
    pub neighbours: usize,
    /// γ of the penalty on different rates of similar users; for `memory = "none"`, default 0.
    pub gamma: f64,
    /// c: steps scale with n / (n + c) for n support rows; 0 is off, as published; `learned` with everything else, from 5 rows on.
    /// Default `chosen`: learned, and from half to four times that chosen on validation tasks, or no step at all.
    pub shrink: Shrink,
    /// Whether meta-training starts from the base or from fresh values; default base.
    pub start: Start,
}

impl Default for PamlConfig {
    fn default() -> Self {
        Self {
            inner_steps: Open::CHOSEN,
            inner_rate: Open::CHOSEN,
            least_rate: 0.0,
            order: Order::Second,
            width: 16,
            memory: Memory::Tree,
            memory_size: 1024,
            neighbours: 8,
            gamma: 0.0,
            shrink: Shrink::CHOSEN,
            start: Start::Base,
        }
    }
}

/// The method `paml`.
#[derive(Debug)]
pub struct Paml {
    config: PamlConfig,
    scope: Scope,
    inner: InnerLoop,
    layers: Vec<Linear>,
    /// Columns of the gathered row that are the user's.
    columns: Vec<Range<usize>>,
    /// Width of h.
    d: usize,
    params: Vec<ParamSpec>,
    /// κ of a learned c.
    kappa: Option<ParamId>,
    /// `[h_j, α_j / α_0]` of each place, and how many users were ever written.
    memory: Option<[ParamId; 2]>,
    /// α_0 of training.
    rate: f64,
    dials: Dials,
}

/// V, w and b.
const V: ParamId = ParamId(0);
const W: ParamId = ParamId(1);
const B: ParamId = ParamId(2);
/// Where all users are one.
const TINY: f64 = 1e-12;
/// What the furthest counts for, who may be the only one.
const LEAST: f64 = 1e-6;

impl MethodConfig for PamlConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        let (steps, alpha) = (self.inner_steps.or(STEPS), self.inner_rate.or(RATE));
        inner::check(METHOD.name, target.objective, (steps, alpha, self.shrink))?;
        if !(0.0..=alpha).contains(&self.least_rate) {
            return Err(value("least_rate", "must be from 0 to `inner_rate`"));
        }
        for (key, count) in [("width", self.width), ("memory_size", self.memory_size), ("neighbours", self.neighbours)] {
            if count == 0 {
                return Err(value(key, "must be at least 1"));
            }
        }
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            return Err(value("gamma", "must be 0 or more"));
        }
        if self.gamma > 0.0 && self.memory == Memory::Tree {
            return Err(value("gamma", "is for training without a memory; set `memory = \"none\"`, or remove it"));
        }
        let layers: Vec<_> = plain_tower(METHOD.name, target.backbone)?.linears().copied().collect();
        let architecture = target.backbone.architecture();
        let of_user = architecture.slots.iter().filter(|slot| target.schema.side(&slot.feature) == Side::User);
        let columns: Vec<_> = of_user.map(|slot| slot.columns.clone()).collect();
        let d: usize = columns.iter().map(Range::len).sum();
        if d == 0 {
            let problem = "it reads no feature of the user, on which rates could depend; add one, or use `maml`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let mut params = vec![
            ParamSpec::weight("rate.hidden", [1, d, self.width], Init::KaimingUniform),
            ParamSpec::weight("rate.weight", [1, self.width, 1], Init::Constant(0.0)),
            ParamSpec::vector("rate.bias", 1, 1, 0.0),
        ];
        let mut add = |spec: ParamSpec| {
            params.push(spec);
            ParamId(params.len() - 1)
        };
        let kappa = self.shrink.spec().map(&mut add);
        let memory = (self.memory == Memory::Tree).then(|| {
            let users = ParamSpec { shape: [self.memory_size, 1, d + 1], ..ParamSpec::moment("memory.users", d + 1, 0.0) };
            [add(users), add(ParamSpec::moment("memory.written", 1, 0.0))]
        });
        let [open_rate, open_steps] = [self.inner_rate.is_open(), self.inner_steps.is_open()];
        let dials = Dials::new(&mut params, open_rate.then_some(("inner_rate", alpha)), open_steps.then_some(steps), self.shrink);
        let inner = InnerLoop { objective: target.objective, order: self.order, steps, adapted: 0..layers.len() };
        Ok(Box::new(Paml { scope: Scope::all(target.backbone), inner, layers, columns, d, params, kappa, memory, rate: alpha, dials, config: self }))
    }
}

/// `exp(-distance / scale)`, both squared.
fn similarity(distances: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    (-(distances / (scale + TINY))).exp()
}

impl Paml {
    /// h of each task, `[T, 1, d]`.
    fn users(&self, x: &Tensor<3>, rows: &Rows) -> Tensor<3> {
        let [tasks, n, _] = x.dims();
        let parts = self.columns.iter().map(|columns| x.clone().slice([0..tasks, 0..n, columns.clone()]));
        rows.mean(Tensor::cat(parts.collect(), 2))
    }

    /// `α' / α_0`, `[T, 1, 1]`.
    fn net(&self, own: &Bound, h: &Tensor<3>) -> Tensor<3> {
        let each = |id: ParamId| {
            let tensor = own.get(id);
            let [_, rows, columns] = tensor.dims();
            tensor.expand([h.dims()[0], rows, columns])
        };
        let hidden = h.clone().matmul(each(V)).tanh();
        sigmoid(hidden.matmul(each(W)) + own.get(B)) * 2.0
    }

    /// Places of the memory that hold somebody, from how many were ever written.
    fn kept(&self, written: &[f32]) -> usize {
        (written[0].round().max(0.0) as usize).min(self.config.memory_size)
    }

    /// `α̃ / α_0`, `[T, 1, 1]`; none while nobody is in the memory.
    fn similar(&self, own: &Bound, [users, written]: [ParamId; 2], h: &Tensor<3>) -> Option<Tensor<3>> {
        let device = h.device();
        let kept = self.kept(&to_vec(own.get(written).detach()));
        let (d, m, tasks) = (self.d, (self.config.neighbours + 1).min(kept), h.dims()[0]);
        if m == 0 {
            return None;
        }
        let memory = to_vec(own.get(users).detach());
        let of_user = |place: usize| memory[place * (d + 1)..][..d + 1].split_at(d);
        let points: Vec<f32> = (0..kept).flat_map(|place| of_user(place).0).copied().collect();
        let tree = BallTree::new(&points, d);
        let (mut near, mut rates) = (Vec::with_capacity(tasks * m * d), Vec::with_capacity(tasks * m));
        for h in to_vec(h.clone().detach()).chunks_exact(d) {
            for place in tree.nearest(h, m) {
                let (point, rate) = of_user(place as usize);
                near.extend_from_slice(point);
                rates.extend_from_slice(rate);
            }
        }
        let near = Tensor::<3>::from_data(TensorData::new(near, [tasks, m, d]), &device);
        let rates = Tensor::<3>::from_data(TensorData::new(rates, [tasks, m, 1]), &device);
        let distances = (h.clone() - near).powf_scalar(2.0).sum_dim(2); // [T, m, 1]
        let edge = distances.clone().slice([0..tasks, m - 1..m, 0..1]); // [T, 1, 1]
        let shares = similarity(distances, edge) - (-1.0f64).exp() + LEAST;
        Some((shares.clone() * rates).sum_dim(1) / shares.sum_dim(1))
    }

    /// The mean of `S_ij ((α_i - α_j) / α_0)²` over pairs of tasks with support rows.
    fn apart(h: &Tensor<3>, rate: &Tensor<3>, counts: &[f32]) -> Tensor<1> {
        let (tasks, d, device) = (counts.len(), h.dims()[2], h.device());
        let counted: Vec<f32> = counts.iter().flat_map(|&a| counts.iter().map(move |&b| f32::from(u8::from(a > 0.0 && b > 0.0)))).collect();
        let pairs = f64::from(counted.iter().sum::<f32>()).max(1.0);
        let counted = Tensor::<3>::from_data(TensorData::new(counted, [tasks, tasks, 1]), &device);
        let differences = |x: &Tensor<3>, d: usize| (x.clone() - x.clone().reshape([1, tasks, d])).powf_scalar(2.0);
        let distances = differences(h, d).sum_dim(2) * counted.clone(); // [T, T, 1]
        let mean = (distances.clone().sum() / pairs).reshape([1, 1, 1]);
        (similarity(distances, mean) * counted * differences(rate, 1)).sum() / pairs
    }
}

impl Adaptation for Paml {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn start(&self) -> Start {
        self.config.start
    }

    fn needs(&self) -> Needs {
        let any_support = self.config.shrink != Shrink::Rows(0.0);
        Needs { groups: Groups::Task, any_support, ..Needs::default() }
    }

    fn is_exact(&self) -> bool {
        self.inner.order == Order::Second
    }

    fn dials(&self) -> &[Dial] {
        self.dials.list()
    }

    fn in_request(&self, own: &Bound) -> Option<InRequest> {
        let turned = self.dials.read(own, self.inner.steps);
        let alpha = turned.rate * self.rate;
        let plain = |id: ParamId| to_vec(own.get(id).detach());
        let memory = self.memory.map_or_else(Vec::new, |[users, written]| {
            let mut memory = plain(users);
            memory.truncate(self.kept(&plain(written)) * (self.d + 1));
            memory
        });
        let rate = UserRate {
            columns: self.columns.clone(),
            hidden: Arc::new(plain(V)),
            weight: Arc::new(plain(W)),
            bias: plain(B)[0],
            memory: Arc::new(memory),
            neighbours: self.config.neighbours,
            least: if alpha > 0.0 { (self.config.least_rate / alpha) as f32 } else { 0.0 },
        };
        let shrink = self.config.shrink.plain(self.kappa.map(|id| plain(id)[0]), turned.weight);
        let (loss, rates) = (inner::plain_loss(self.inner.objective), acclimate_plan::Rates::One(alpha as f32));
        let inner = acclimate_plan::InnerLoop { loss, steps: turned.steps, adapted: self.inner.adapted.clone(), rates, shrink };
        Some(InRequest::Steps(inner, Some(rate)))
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        if support.batch.is_empty() {
            return Ok(Modulation::none());
        }
        let (x, counts) = (&support.inputs[0], counts(support.batch));
        let h = self.users(x, &Rows::new(support.batch, &x.device()));
        let said = self.net(own, &h);
        let similar = self.memory.and_then(|memory| self.similar(own, memory, &h));
        let rate = similar.map_or_else(|| said.clone(), |similar| (said.clone() + similar) * 0.5);
        let turned = self.dials.read(own, self.inner.steps);
        let alpha = turned.rate * self.rate;
        let rate = rate.clamp_min(self.config.least_rate / alpha);
        let mut modulation = Modulation::none();
        if self.config.gamma > 0.0 {
            modulation = modulation.penalised(Self::apart(&h, &rate, &counts) * self.config.gamma);
        }
        let factor = self.config.shrink.factor(self.kappa.map(|id| own.get(id)), &turned.weighed(&counts), &x.device());
        let factor = factor.map_or_else(|| rate.clone(), |factor| factor * rate.clone());
        let tasks = Tasks { factor: Some(&factor), ..Tasks::new(x, support.batch) };
        let inner = InnerLoop { steps: turned.steps, ..self.inner.clone() };
        let fast = inner.adapt(&inner::bound(&self.layers, base), &Rates::One(alpha), tasks);
        if let Some([users, written]) = self.memory {
            let own = own.clone();
            let seen = Tensor::cat(vec![h, said], 2).detach(); // [T, 1, d + 1]
            modulation = modulation.with_term(move |_| {
                let before = to_vec(own.get(written).detach())[0].round().max(0.0);
                let seen = to_vec(seen.clone());
                let real = seen.chunks_exact(self.d + 1).zip(&counts).filter(|(_, n)| **n > 0.0);
                let place = |i: usize| ((before as usize + i) % self.config.memory_size) as u32;
                let mut moved: Vec<_> = real
                    .enumerate()
                    .map(|(i, (user, _))| Moved { param: own.place(users), block: place(i), values: user.to_vec() })
                    .collect();
                // From when on the ring is full, only where it goes on matters: the count stays a small number.
                let (size, after) = (self.config.memory_size as f32, before + moved.len() as f32);
                let after = if after >= 2.0 * size { size + after % size } else { after };
                moved.push(Moved { param: own.place(written), block: 0, values: vec![after] });
                Some(Added { summands: Tensor::zeros([1, 1, 1], &own.get(written).device()), moved })
            });
        }
        Ok(self.inner.replace(modulation, &self.layers, fast.layers))
    }
}
