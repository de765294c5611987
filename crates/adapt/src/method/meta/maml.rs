//! `maml`: a start from which a few gradient steps on a user's support set suffice.
//!
//! Inner loop (per task): `θ_{k+1} = θ_k - n / (n + c) α ⊙ ∇ L_S(θ_k)`, k = 0..K-1, over some layers of the tower, or with `adapt = "everything"` over all of them and the embedding rows that the support set reads.
//! A query row reads adapted embeddings where it shares a value with the support set, and the base's elsewhere.
//! Outer loop: `min_θ mean_i L_{Q_i}(θ_K)` over all parameters, embeddings included, through the inner steps (`order = "second"`, exact) or with
//! inner gradients as constants (`"first"`). α is one number, or trained along (`rates`): one for each weight (Meta-SGD), or one for each layer's matrix and bias in each step (MAML++).
//! With `multi_step` w the outer loss counts every step, `L_Q(θ_K) + w Σ_{k<K} L_Q(θ_k)`. With `outer = "reptile"` the adapted layers follow `mean_i (θ_K - θ)` instead, and no query row teaches them.
//!
//! | preset | keys | paper |
//! |---|---|---|
//! | `fomaml` | first order | Finn et al. 2017 |
//! | `anil`, `boil` | the head alone; everything but the head | Raghu et al. 2020; Oh et al. 2021 |
//! | `meta_sgd` | a rate for each weight | Li et al. 2017 |
//! | `maml_pp` | a rate for each layer and step, multi-step loss | Antoniou et al. 2019 |
//! | `reptile` | the mean of what tasks end at | Nichol et al. 2018 |
//! | `metacs` | everything adapted, α tied to the outer rate, `α = rho β` | Bharadhwaj 2019 |
//! | `melu` | MeLU with the settings of its second-order port; fresh start, no guards | Lee et al. 2019 |
//!
//! Guards against few rows, on unless a config has `shrink = 0.0`: n rows move a user by `n / (n + c)` of a step (`shrink`; c is learned), none not at all, and training draws support sets of any size ([`Needs::any_support`]).
//! What a config says nothing of, of rate, steps and c, is trained with one value, and chosen on validation tasks afterwards: see `inner/dials.rs`.
//!
//! The identity at start holds for an empty support set. Deviations: the guards; MAML++'s weights of earlier steps do not fall with the epoch, its order does not change, and there are no norms;
//! Reptile's embeddings and other layers, which no inner step moves, follow the query loss, its step is the optimiser's, and its c is given; how MetaCS ties its rate is our reading (`rho`).
//!
//! Served of a user: the fast weights of the adapted layers, and with `everything` as many fast rows as the support set reads values.
//!
//! # References
//! C. Finn et al., *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017.
//! A. Raghu et al., *Rapid Learning or Feature Reuse?*, ICLR 2020. J. Oh et al., *BOIL: Towards Representation Change for Few-shot Learning*, ICLR 2021.
//! Z. Li et al., *Meta-SGD: Learning to Learn Quickly for Few-Shot Learning*, 2017. A. Antoniou et al., *How to train your MAML*, ICLR 2019.
//! A. Nichol et al., *On First-Order Meta-Learning Algorithms*, 2018.
//! H. Bharadhwaj, *Meta-Learning for User Cold-Start Recommendation*, IJCNN 2019.
//! H. Lee et al., *MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation*, KDD 2019.

use std::sync::Arc;

use acclimate_model::kernel::to_vec;
use acclimate_model::{Added, Bound, Effect, Init, Linear, Modulation, Output, ParamId, ParamSpec, SiteId};
use acclimate_plan::{LayerRates, Rate, Rates as PlainRates};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::inner::{self, Dials, Fast, FastLayer, InnerLoop, Open, Order, Rates, RowMap, Shrink, StepRates, Tasks, counts, detached, forward};
use crate::method::plain_tower;
use crate::{AdaptError, Adaptation, Context, Dial, Groups, InRequest, Kind, Method, MethodConfig, Needs, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<MamlConfig>("maml", Kind::Adaptation, "a start from which a few gradient steps suffice")
    .with_presets(&[
        ("melu", "inner_steps = 5\ninner_rate = 0.01\norder = 'second'\nadapt = 'all'\nstart = 'fresh'\nshrink = 0.0"),
        ("metacs", "adapt = 'everything'\ninner_steps = 5\nrho = 1.0\nouter_rate = 1e-3"),
        ("fomaml", "order = 'first'"),
        ("anil", "adapt = 'head'"),
        ("boil", "adapt = 'body'"),
        ("meta_sgd", "rates = 'weight'"),
        ("maml_pp", "rates = 'layer_step'\ninner_steps = 5\nmulti_step = 0.2"),
        ("reptile", "outer = 'reptile'\norder = 'first'\ninner_steps = 5\nshrink = 5.0"),
    ])
    .tested_with(&[
        "order = 'first'\ninner_steps = 2",
        "adapt = 'head'\nshrink = 2.0",
        "adapt = 'last'",
        "rates = 'weight'\norder = 'first'\ninner_steps = 2",
        "adapt = 'everything'\norder = 'first'\ninner_steps = 2",
        "adapt = 'everything'\nrates = 'layer_step'\ninner_steps = 2\nmulti_step = 0.5",
    ]);

/// What the inner loop adapts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapted {
    /// Every layer, and the embedding rows that the support set reads (MetaCS).
    Everything,
    /// Every layer.
    All,
    /// The last hidden layer and the head.
    Last,
    /// The head only (ANIL).
    Head,
    /// Every layer but the head (BOIL).
    Body,
}

/// Whether inner learning rates are trained, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnedRates {
    /// One, given.
    None,
    /// One for each adapted weight.
    Weight,
    /// One for each adapted layer's matrix and bias in each step.
    LayerStep,
}

/// What the outer loop follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outer {
    /// The loss on query rows.
    Query,
    /// What tasks end at.
    Reptile,
}

/// Configuration of [`Maml`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MamlConfig {
    /// Gradient steps K on a support set. More adapt further and cost more. Default `chosen`: trained with 1, and 1, 2 or 5 chosen on validation tasks.
    pub inner_steps: Open<usize>,
    /// Inner learning rate α, where learned ones start. Far below 0.01 nothing adapts, whatever the log says. Default `chosen`: trained with 0.05, and from a quarter to four times what
    /// training has chosen on validation tasks.
    pub inner_rate: Open<f64>,
    /// Whether rates are trained; default none.
    pub rates: LearnedRates,
    /// First or second order; default second.
    pub order: Order,
    /// What is adapted; default all layers.
    pub adapt: Adapted,
    /// Where above 0: `inner_rate` is `rho * outer_rate`, at most 1 times that; default 0, not tied.
    pub rho: f64,
    /// β, the outer rate that `rho` is a share of: the rate of the run's optimiser. Default 0: there must be one where `rho` is given.
    pub outer_rate: f64,
    /// What the outer loop follows; default the query loss.
    pub outer: Outer,
    /// Weight of the query loss after each step but the last; default 0.
    pub multi_step: f64,
    /// c: steps scale with n / (n + c) for n support rows, so that one row moves a user less than twenty; 0 is off, as published; `learned` with everything else, from 5 rows on.
    /// Default `chosen`: learned, and from half to four times that chosen on validation tasks, or no step at all.
    pub shrink: Shrink,
    /// Whether meta-training starts from the base or from fresh values; default base.
    pub start: Start,
}

/// What training has where the config leaves it open.
pub(super) const STEPS: usize = 1;
pub(super) const RATE: f64 = 0.05;

impl Default for MamlConfig {
    fn default() -> Self {
        Self {
            inner_steps: Open::CHOSEN,
            inner_rate: Open::CHOSEN,
            rates: LearnedRates::None,
            order: Order::Second,
            adapt: Adapted::All,
            rho: 0.0,
            outer_rate: 0.0,
            outer: Outer::Query,
            multi_step: 0.0,
            shrink: Shrink::CHOSEN,
            start: Start::Base,
        }
    }
}

/// The method `maml`.
#[derive(Debug)]
pub struct Maml {
    config: MamlConfig,
    scope: Scope,
    inner: InnerLoop,
    layers: Vec<Linear>,
    /// Where embedding rows move: how gathered rows are made of them, and where they go in.
    rows: Option<(RowMap, SiteId)>,
    /// Learned rates: of each adapted layer its matrix, then its bias; then that of embedding rows, κ of a learned c, and the dials.
    params: Vec<ParamSpec>,
    /// α of training.
    rate: f64,
    /// κ of a learned c.
    kappa: Option<ParamId>,
    dials: Dials,
}

impl MamlConfig {
    /// Checks what no inner loop of another method has.
    fn check(&self) -> Result<(), AdaptError> {
        let value = |key, problem: &str| Err(AdaptError::Value { method: METHOD.name, key, problem: problem.into() });
        if !(self.multi_step >= 0.0 && self.multi_step.is_finite()) {
            return value("multi_step", "must be 0 or more");
        }
        if !(0.0..=1.0).contains(&self.rho) {
            return value("rho", "must be from 0 (not tied) to 1: a step of the inner loop is at most as long as one of the outer");
        }
        if !(self.outer_rate >= 0.0 && self.outer_rate.is_finite()) || (self.rho > 0.0) != (self.outer_rate > 0.0) {
            return value("outer_rate", "must be the rate of the run's optimiser where `rho` is above 0, and 0 where it is 0");
        }
        if self.adapt == Adapted::Everything && self.rates == LearnedRates::Weight {
            return value("rates", "`weight` would be a rate for each value of every embedding; use `layer_step` with `adapt = \"everything\"`");
        }
        if self.outer == Outer::Reptile {
            if self.rates != LearnedRates::None || self.multi_step > 0.0 {
                return value("outer", "`reptile` has no query loss that learned rates or several steps could follow; remove `rates` and `multi_step`");
            }
            if self.shrink.is_learned() {
                return value("shrink", "is learned from the query loss, which `reptile` does not follow; give a number, such as 5");
            }
            if self.adapt == Adapted::Everything {
                return value("adapt", "`everything` has embedding rows follow the query loss, and `reptile` has none; use `all`");
            }
        }
        Ok(())
    }
}

impl MethodConfig for MamlConfig {
    fn build(mut self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        self.check()?;
        if self.rho > 0.0 {
            self.inner_rate = Open::Given(self.rho * self.outer_rate);
        }
        let (steps, alpha) = (self.inner_steps.or(STEPS), self.inner_rate.or(RATE));
        inner::check(METHOD.name, target.objective, (steps, alpha, self.shrink))?;
        let layers: Vec<_> = plain_tower(METHOD.name, target.backbone)?.linears().copied().collect();
        let adapted = match self.adapt {
            Adapted::Everything | Adapted::All => 0..layers.len(),
            Adapted::Last => layers.len().saturating_sub(2)..layers.len(),
            Adapted::Head => layers.len() - 1..layers.len(),
            Adapted::Body if layers.len() == 1 => return Err(value("adapt", "`body` needs a hidden layer, and this tower is a head alone")),
            Adapted::Body => 0..layers.len() - 1,
        };
        let architecture = target.backbone.architecture();
        let rows = (self.adapt == Adapted::Everything).then(|| RowMap::new(architecture, target.schema)).filter(|map| !map.is_empty());
        let rows = rows.and_then(|map| Some((map, architecture.find_site("input")?)));
        let rate = |path: String, shape: [usize; 3]| ParamSpec { decay: false, ..ParamSpec::weight(path, shape, Init::Constant(alpha as f32)) };
        let shapes = |l: usize| [layers[l].weight, layers[l].bias].map(|id| architecture.params[id.0].shape);
        let mut params: Vec<ParamSpec> = match self.rates {
            LearnedRates::None => Vec::new(),
            LearnedRates::Weight => adapted
                .clone()
                .flat_map(|l| {
                    let [weight, bias] = shapes(l);
                    [rate(format!("rate.{l}.weight"), weight), rate(format!("rate.{l}.bias"), bias)]
                })
                .collect(),
            LearnedRates::LayerStep => {
                let of_step = |path: String| rate(path, [1, 1, steps]);
                let of_layer = |l| ["weight", "bias"].map(|of| of_step(format!("rate.{l}.{of}")));
                adapted.clone().flat_map(of_layer).chain(rows.is_some().then(|| of_step("rate.rows".into()))).collect()
            }
        };
        params.extend(self.shrink.spec());
        let kappa = self.shrink.is_learned().then(|| ParamId(params.len() - 1));
        // A step that has rates of its own can not be left out, nor taken once more.
        let open_steps = self.inner_steps.is_open() && self.rates != LearnedRates::LayerStep;
        let rate = if self.rates == LearnedRates::None { ("inner_rate", alpha) } else { ("times_learned_rates", 1.0) };
        let dials = Dials::new(&mut params, self.inner_rate.is_open().then_some(rate), open_steps.then_some(steps), self.shrink);
        let inner = InnerLoop { objective: target.objective, order: self.order, steps, adapted };
        Ok(Box::new(Maml { scope: Scope::all(target.backbone), inner, layers, rows, params, rate: alpha, kappa, dials, config: self }))
    }
}

impl Maml {
    /// `m α`.
    fn rates(&self, own: &Bound, m: f64) -> Rates {
        let of = |i: usize| [own.get(ParamId(2 * i)), own.get(ParamId(2 * i + 1))].map(|rate| rate * m);
        let layers = 0..self.inner.adapted.len();
        match self.config.rates {
            LearnedRates::None => Rates::One(m * self.rate),
            LearnedRates::Weight => {
                let layer = |i| {
                    let [weight, bias] = of(i);
                    FastLayer { weight, bias }
                };
                Rates::Learned(vec![StepRates { layers: layers.map(layer).collect(), rows: None }])
            }
            LearnedRates::LayerStep => {
                let step = |k: usize| {
                    let of_step = move |rate: Tensor<3>| rate.slice([0..1, 0..1, k..k + 1]);
                    let at = move |i: usize| {
                        let [weight, bias] = of(i).map(of_step);
                        FastLayer { weight, bias }
                    };
                    let rows = self.rows.is_some().then(|| of_step(own.get(ParamId(2 * layers.len())) * m));
                    StepRates { layers: layers.clone().map(at).collect(), rows }
                };
                Rates::Learned((0..self.inner.steps).map(step).collect())
            }
        }
    }
}

impl Adaptation for Maml {
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
        // Whoever turns the shrinking off wants the published form.
        let any_support = self.config.shrink != Shrink::Rows(0.0);
        Needs { groups: Groups::Task, any_support, ..Needs::default() }
    }

    fn is_exact(&self) -> bool {
        self.inner.order == Order::Second && self.config.outer == Outer::Query
    }

    fn is_downhill(&self) -> bool {
        self.config.outer == Outer::Query
    }

    fn dials(&self) -> &[Dial] {
        self.dials.list()
    }

    fn in_request(&self, own: &Bound) -> Option<InRequest> {
        if self.rows.is_some() {
            return None;
        }
        let turned = self.dials.read(own, self.inner.steps);
        let plain = |tensor: &Tensor<3>| match &to_vec(tensor.clone())[..] {
            [one] => Rate::One(*one),
            each => Rate::Each(Arc::new(each.to_vec())),
        };
        let layer = |layer: &FastLayer| LayerRates { weight: plain(&layer.weight), bias: plain(&layer.bias) };
        let rates = match self.rates(own, turned.rate) {
            Rates::One(rate) => PlainRates::One(rate as f32),
            Rates::Learned(steps) => PlainRates::Learned(steps.iter().map(|step| step.layers.iter().map(layer).collect()).collect()),
        };
        let kappa = self.kappa.map(|id| to_vec(own.get(id))[0]);
        let loss = inner::plain_loss(self.inner.objective);
        let shrink = self.config.shrink.plain(kappa, turned.weight);
        let inner = acclimate_plan::InnerLoop { loss, steps: turned.steps, adapted: self.inner.adapted.clone(), rates, shrink };
        Some(InRequest::Steps(inner, None))
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        if support.batch.is_empty() {
            return Ok(Modulation::none());
        }
        let x = &support.inputs[0];
        let layers = inner::bound(&self.layers, base);
        let turned = self.dials.read(own, self.inner.steps);
        let counts = turned.weighed(&counts(support.batch));
        let factor = self.config.shrink.factor(self.kappa.map(|id| own.get(id)), &counts, &x.device());
        let touched = self.rows.as_ref().map(|(map, _)| map.touched(support.batch, context.query, &x.device()));
        let tasks = Tasks { factor: factor.as_ref(), touched: touched.as_ref(), ..Tasks::new(x, support.batch) };
        let inner = InnerLoop { steps: turned.steps, ..self.inner.clone() };
        let mut steps = inner.trajectory(&layers, &self.rates(own, turned.rate), tasks);
        let Fast { layers: mut last, rows } = steps.pop().expect("there is a step");
        let mut modulation = Modulation::none();
        if self.config.outer == Outer::Reptile {
            last = detached(&last);
            // Its gradient is θ less the mean of what tasks end at.
            let half = |a: &FastLayer, b: &FastLayer| {
                let square = |a: &Tensor<3>, b: &Tensor<3>| {
                    let tasks = b.dims()[0] as f64;
                    (a.clone() - b.clone()).powf_scalar(2.0).sum() * (0.5 / tasks)
                };
                square(&a.weight, &b.weight) + square(&a.bias, &b.bias)
            };
            let pulls = self.inner.adapted.clone().map(|l| half(&layers[l], &last[l]));
            modulation = pulls.fold(modulation, Modulation::penalised);
        }
        // What is added to the gathered rows of the query, `[T, N, d]`.
        let shifted = |rows: &[Tensor<3>]| touched.as_ref().map(|touched| touched.query(rows));
        if self.config.multi_step > 0.0 && !steps.is_empty() {
            let (weight, objective) = (self.config.multi_step, self.inner.objective);
            let query = |rows: &[Tensor<3>]| shifted(rows).map_or_else(|| context.inputs[0].clone(), |shift| context.inputs[0].clone() + shift);
            let steps: Vec<_> = steps.into_iter().map(|fast| (query(&fast.rows), fast.layers)).collect();
            modulation = modulation.with_term(move |after| {
                let loss = |(query, layers): &(Tensor<3>, Vec<FastLayer>)| objective.loss(&Output::Rows(forward(layers, query)), after.batch).reshape([1, 1, 1]);
                let sum = steps.iter().map(loss).reduce(|a, b| a + b)?;
                Some(Added::new(sum * weight))
            });
        }
        if let Some((&(_, site), shift)) = self.rows.as_ref().zip(shifted(&rows)) {
            modulation = modulation.with(site, Effect::Added(shift));
        }
        Ok(self.inner.replace(modulation, &self.layers, last))
    }
}
