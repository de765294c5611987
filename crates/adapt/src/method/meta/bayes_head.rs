//! `bayes_head`: every user has a head of their own, the posterior mean of a linear regression on the base's last features.
//!
//! `s = x · w_u`, `x = (1, s_base, h)` with h what goes into the base's head and s_base what it says, `w_u ~ N(m, Σ)`; m starts at the base (1 on s_base, else 0), and m, Σ and σ² are estimated by EM over the users of the training rows
//! ([`Regression`], whose fixed-feature case this is). A user of k rows costs one solve of `min(k, 2 + d)` equations: `w = m + Σ Xᵀ (X Σ Xᵀ + σ²)⁻¹ (y - X m)`. Targets of clicks have
//! the mode of a logistic regression, a few Newton steps.
//!
//! What is served is `s_base + g_k (x · w - s_base)`, with shares g_k after k rows that are chosen, as the number of EM sweeps is, on a tenth of the users that is held out: as the head's weights,
//! `W + g (W_u - W)`. Solved, not trained; the base stays as it is.
//!
//! Of ratings it also says a spread, `v + (1 - g_k)² (x · w - s_base)²` with the variance `v = xᵀ V_u x + σ²`, V_u the posterior's covariance, and where they have few values the cut points of an [`Ordinal`], which the held-out users teach.
//!
//! # References
//! B. Efron, *Large-Scale Inference*, 2010 (empirical Bayes); J. Harrison et al., *Meta-Learning Priors for Efficient Online Bayesian Regression*, WAFR 2018, for a head of this kind on learned features.

use acclimate_fit::{
    Answer, Features, Held, ItemView, Judged, Link, Ordinal, Ratings, Regression, RegressionConfig, SIZES, Sparse, Spread, Weights, held_out,
    ordinal_of, share, shares_of, spread_of,
};
use acclimate_model::{Bound, Effect, Init, Modulation, Objective, ParamId, ParamSpec, SiteId};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage, input_of};
use crate::method::{keep_ordinal, kept_ordinal};
use crate::selection::{added_to, heads};
use crate::{AdaptError, Adaptation, Context, Groups, InRequest, Kind, Method, MethodConfig, Needs, Scope, Support, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<BayesHeadConfig>("bayes_head", Kind::Adaptation, "a head for each user, by one solve on the last features")
    .tested_with(&["guard = false"]);

/// Configuration of [`BayesHead`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BayesHeadConfig {
    /// Whether a user's head is mixed with the base's where that pays for held-out users; default true.
    pub guard: bool,
}

impl Default for BayesHeadConfig {
    fn default() -> Self {
        Self { guard: true }
    }
}

/// The method `bayes_head`.
#[derive(Debug)]
pub struct BayesHead {
    config: BayesHeadConfig,
    link: Link,
    scope: Scope,
    params: Vec<ParamSpec>,
    head: SiteId,
    /// Weight and bias of the head, `[1, d, 1]` and `[1, 1, 1]`.
    weights: [ParamId; 2],
    d: usize,
}

/// μ, scale and σ², and 1 where anything was solved.
const NUMBERS: ParamId = ParamId(0);
const SHARES: ParamId = ParamId(1);
/// m, `[1, 1, 2 + d]`.
const PRIOR: ParamId = ParamId(2);
/// L of `Σ = L Lᵀ`, `[1, 2 + d, 2 + d]`.
const FACTOR: ParamId = ParamId(3);
/// A grid with its cut points, `[1, 1, 42]`; see [`keep_ordinal`].
const ORDINAL: ParamId = ParamId(4);

impl MethodConfig for BayesHeadConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        let link = match target.objective {
            Objective::SquaredError => Link::Identity,
            Objective::Logistic => Link::Logistic,
            _ => return Err(unsupported("its objective is neither logistic nor squared_error")),
        };
        let [head] = heads(target.backbone)[..] else {
            return Err(unsupported("it has not one linear head for all rows; use `dnn`"));
        };
        // Other weights of the head would leave what is added as it is, and what is said of support rows would lack it.
        if added_to(target.backbone).is_some() {
            return Err(unsupported("products of features are added to what its head says; use `dnn` without `interaction = \"fm\"`, or `acclimate_user`"));
        }
        let architecture = target.backbone.architecture();
        let path = &architecture.sites[head.0].path;
        let place = |name: &str| architecture.params.iter().position(|p| p.path == format!("{path}.{name}")).map(ParamId);
        let (Some(weight), Some(bias)) = (place("weight"), place("bias")) else { return Err(unsupported("its head has no weight and bias")) };
        let d = architecture.params[weight.0].shape[1];
        let spec = |path: &str, shape: [usize; 3]| ParamSpec::weight(path, shape, Init::Constant(0.0)).solved();
        let params = vec![
            spec("numbers", [1, 1, 4]),
            spec("shares", [1, 1, SIZES.len()]),
            spec("prior", [1, 1, d + 2]),
            spec("factor", [1, d + 2, d + 2]),
            spec("ordinal", [1, 1, 2 * Ordinal::MOST]),
        ];
        Ok(Box::new(BayesHead { config: self, link, scope: Scope::default(), params, head, weights: [weight, bias], d }))
    }
}

fn values(own: &Bound, id: ParamId) -> Vec<f64> {
    own.get(id).into_data().iter::<f32>().map(f64::from).collect()
}

/// `(1, s_base, h)` in the units of a fit.
fn features(said: f64, h: &[f32], (mean, scale): (f64, f64)) -> impl Iterator<Item = f64> {
    [1.0, (said - mean) / scale].into_iter().chain(h.iter().map(|h| f64::from(*h)))
}

/// What a regression makes of the rows that a held-out user is judged by, beside what the base says; probabilities for clicks.
fn judged(fit: &Regression, held: &Held, size: usize) -> Vec<Judged> {
    let known: Vec<(ItemView<'_>, f64)> = held.shown.iter().take(size).map(|&(i, r)| (fit.item(i as usize), r)).collect();
    let weights = fit.weights(&fit.prior((&[0], &[1.0]), &known), &known);
    let of_clicks = |x: f64| if fit.link == Link::Logistic { 1.0 / (1.0 + (-x).exp()) } else { x };
    let answer = |&(i, rating): &(u32, f64)| {
        let x = fit.item(i as usize).features;
        let [plain, model] = [fit.mean + fit.scale * x[1], fit.rating(x, &weights.mean)].map(of_clicks);
        let variance = if fit.link == Link::Identity { fit.variance(x, 0.0, &weights) } else { 0.0 };
        Judged { plain, model, variance, rating, weight: held.weight() }
    };
    held.judged.iter().map(answer).collect()
}

/// The regression that the parameters hold, and what it is mixed with: the base's head.
struct Fitted {
    fit: Regression,
    shares: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Fitted {
    /// x of a row whose last features are h, and what the base says of it.
    fn features(&self, h: &[f32]) -> (Vec<f64>, f64) {
        let said = self.bias[0] + h.iter().zip(&self.weight).map(|(h, w)| f64::from(*h) * w).sum::<f64>();
        (features(said, h, (self.fit.mean, self.fit.scale)).collect(), said)
    }
}

impl BayesHead {
    /// What the parameters hold; none before it was solved for.
    fn fitted(&self, base: &Bound, own: &Bound) -> Option<Fitted> {
        let numbers = values(own, NUMBERS);
        let [mean, scale, noise, solved] = numbers[..] else { return None };
        if solved == 0.0 {
            return None;
        }
        let ([scale, noise], m) = ([scale, noise].map(|x| x.abs().max(1e-6)), self.d + 2);
        let fit = Regression::restored((self.link, mean, scale, noise), (values(own, PRIOR), 1), &values(own, FACTOR), (m, m), 0);
        let [weight, bias] = self.weights.map(|id| values(base, id));
        Some(Fitted { fit, shares: values(own, SHARES), weight, bias })
    }

    /// The weights of each task after its support rows, and their share.
    fn users(&self, fitted: &Fitted, base: &Bound, support: Support<'_>) -> Vec<(Weights, f64)> {
        let (batch, d, prior) = (support.batch, self.d, fitted.fit.prior((&[0], &[1.0]), &[]));
        let states: Vec<f32> = match batch.is_empty() {
            true => Vec::new(),
            false => input_of(support.backbone, base, (batch, support.inputs), self.head).0.into_data().iter::<f32>().collect(),
        };
        let of_task = |task: usize| {
            let rows = (task * batch.rows..(task + 1) * batch.rows).filter(|&i| batch.mask[i] != 0.0);
            let known: Vec<(Vec<f64>, f64)> = rows.map(|i| (fitted.features(&states[i * d..][..d]).0, f64::from(batch.label[i]))).collect();
            let known: Vec<_> = known.iter().map(|(x, r)| (ItemView { features: x, more_noise: 0.0, set: &[] }, *r)).collect();
            (fitted.fit.weights(&prior, &known), share(&fitted.shares, known.len()))
        };
        (0..batch.groups).map(of_task).collect()
    }
}

impl Adaptation for BayesHead {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Task, states: Some(self.head), ..Needs::default() }
    }

    fn solves(&self) -> bool {
        true
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        if stage == Stage::Before || rows.labels.is_empty() {
            return;
        }
        let (d, tasks) = (self.d, rows.tasks.iter().max().map_or(0, |last| *last as usize + 1));
        let mut of_task = vec![Vec::new(); tasks];
        rows.tasks.iter().zip(rows.labels).enumerate().for_each(|(i, (&task, &label))| of_task[task as usize].push((i as u32, f64::from(label))));
        let ratings = |keep: &dyn Fn(usize) -> bool| {
            let (mut rated, mut people) = (Sparse::new(rows.labels.len()), Sparse::new(1));
            for (_, of_task) in of_task.iter().enumerate().filter(|(task, _)| keep(*task)) {
                rated.push(of_task.iter().copied());
                people.push([(0, 1.0)]);
            }
            Ratings { rated, content: Sparse::new(0), narrow: 0, people }
        };
        let all = ratings(&|_| true);
        let units = match self.link {
            Link::Identity => all.units(),
            Link::Logistic => (0.0, 1.0),
        };
        let of_rows = || Features {
            values: rows.scores.iter().zip(rows.states.chunks_exact(d)).flat_map(|(said, h)| features(f64::from(*said), h, units)).collect(),
            level: 1,
            more_noise: vec![0.0; rows.labels.len()],
            noise: 0.6,
            sets: Vec::new(),
        };
        let config = RegressionConfig { link: self.link, units: Some(units), ..RegressionConfig::default() };
        let held = held_out(&all.rated, 0);
        let mut judged_at: Vec<Vec<Judged>> = Vec::new();
        let (mut sweeps, mut shares) = (config.sweeps, SIZES.iter().map(|&k| k as f64 / (k as f64 + 5.0)).collect::<Vec<_>>());
        if held.len() >= 10 {
            let mut is_held = vec![false; tasks];
            held.iter().for_each(|h| is_held[h.user] = true);
            let errors = |fit: &Regression, size: usize| -> Vec<Judged> {
                held.iter().filter(|h| size == usize::MAX || h.shown.len() >= size).flat_map(|h| judged(fit, h, size)).collect()
            };
            let full = |fit: &Regression| errors(fit, usize::MAX).iter().map(|row| row.weight * (row.model - row.rating).powi(2)).sum::<f64>();
            let fit = Regression::fit(&ratings(&|task| !is_held[task]), of_rows(), &config, Some(&full));
            judged_at = SIZES.iter().map(|&size| errors(&fit, size)).collect();
            (sweeps, (shares, _)) = (fit.sweeps, shares_of(|size| judged_at[SIZES.iter().position(|&s| s == size).unwrap_or(0)].clone()));
        }
        let shares = if self.config.guard { shares } else { vec![1.0; SIZES.len()] };
        let ordinal = ordinal_of(&all, &judged_at, &shares).filter(|_| self.link == Link::Identity);
        let fit = Regression::fit(&all, of_rows(), &RegressionConfig { sweeps, ..config }, None);
        let narrowed = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        own[NUMBERS.0] = narrowed(&[fit.mean, fit.scale, fit.noise, 1.0]);
        own[SHARES.0] = narrowed(&shares);
        own[PRIOR.0] = narrowed(&fit.people);
        own[FACTOR.0] = narrowed(&fit.factor());
        keep_ordinal(&mut own[ORDINAL.0], ordinal.as_ref());
    }

    fn in_request(&self, own: &Bound) -> Option<InRequest> {
        let [numbers, shares, prior, factor] = [NUMBERS, SHARES, PRIOR, FACTOR].map(|id| own.get(id).into_data().iter::<f32>().collect());
        Some(InRequest::Head { numbers, shares, prior, factor })
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(base, own) else { return Ok(Modulation::none()) };
        let (d, groups) = (self.d, context.query.shape()[0]);
        let Fitted { fit, weight, bias, .. } = &fitted;
        let (mean, scale) = (fit.mean, fit.scale);
        let (mut heads, mut offsets) = (Vec::with_capacity(groups * d), Vec::with_capacity(groups));
        for (w, g) in self.users(&fitted, base, support) {
            let w = w.mean;
            // μ + scale (w_0 + w_1 (s - μ) / scale + w_h · h), s = W h + b, mixed with s.
            heads.extend((0..d).map(|k| (weight[k] + g * (w[1] * weight[k] + scale * w[2 + k] - weight[k])) as f32));
            offsets.push((bias[0] + g * (mean + scale * w[0] + w[1] * (bias[0] - mean) - bias[0])) as f32);
        }
        let device = own.get(NUMBERS).device();
        let weight = Tensor::<3>::from_data(TensorData::new(heads, [groups, d, 1]), &device); // [T, d, 1]
        let bias = Tensor::<3>::from_data(TensorData::new(offsets, [groups, 1, 1]), &device); // [T, 1, 1]
        Ok(Modulation::none().with(self.head, Effect::Replace { weight, bias: Some(bias) }))
    }

    fn spread(&self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Option<Spread>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(base, own).filter(|_| self.link == Link::Identity) else { return Ok(None) };
        let rows = context.query.shape()[1];
        let mut deviations = Vec::with_capacity(context.query.mask().len());
        if !context.query.mask().is_empty() {
            let states: Vec<f32> = context.query.input_of((support.backbone, base), context.inputs, self.head).into_data().iter::<f32>().collect();
            for ((weights, share), states) in self.users(&fitted, base, support).iter().zip(states.chunks_exact(rows * self.d)) {
                for h in states.chunks_exact(self.d) {
                    let (x, said) = fitted.features(h);
                    let answer = Answer { mean: fitted.fit.rating(&x, &weights.mean), variance: fitted.fit.variance(&x, 0.0, weights) };
                    deviations.push(spread_of(answer, said, *share).sqrt() as f32);
                }
            }
        }
        Ok(Some(Spread::new(deviations, kept_ordinal(&values(own, ORDINAL)).as_ref())))
    }
}
