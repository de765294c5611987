//! `tanp`: a task-adaptive neural process: a user's ratings become a latent vector and a place among clusters, under which a decoder of its own scores items.
//!
//! With x a gathered row of the base, y a label, S the support rows of a user:
//!
//! `r_S = mean_S h([x; y])`, `a = ReLU(r_S V0 + v0)`, `μ_S = a V1 + v1`, `log σ²_S = a V2 + v2`: the latent path; h a network with ReLU inside.
//!
//! `t = mean_S m([x; y])`, `c_j ∝ 1 / (1 + |t - a_j|²)`, `o = t + Σ_j c_j a_j`: the task's identity, and its share in each of k clusters; m a second network, a_j the rows of a memory.
//!
//! `f = g([x; μ_S])`, layer by layer `ReLU(γ' ⊙ (h W + b) + β')`, then a linear map: the decoder. `γ = tanh(o Wγ)`, `β = tanh(o Wβ)`; with gates `η = tanh(o Wη)`, `δ = σ(o Wδ)`,
//! `γ' = γ ⊙ δ + η ⊙ (1 - δ)`, `β' = β ⊙ δ + η ⊙ (1 - δ)`; `γ' <- 1 + γ'` with `gain = "one_plus"`.
//!
//! The score is that of the base plus f (`score = "residual"`), or f (`"own"`); without support rows it is the base's. A score is deterministic: μ stands where the published program draws z.
//!
//! Loss: that of the query rows, `+ kl Σ_d KL(N(μ_τ, σ²_τ) | N(μ_S, σ²_S)) + clustering Σ_j d_j log(d_j / c_j)`, means over tasks, τ the rows of support and query together,
//! `d_ij ∝ c_ij² / Σ_i c_ij` (i the tasks with support rows of the batch). With `latent = "sampled"` the first part is that of all rows of τ under `z = μ_τ + σ_τ ⊙ ε` instead; ε follows from
//! the labels of the batch, so that a run repeats itself.
//!
//! Trained: networks, memory and decoder. With a residual the last map of the decoder starts at 0, so the patched network equals the base at start. The user's id is not read: that of a new user says nothing. What is served of
//! a user are μ and o.
//!
//! Deviations from the paper, in the preset `tanp_paper` too: the base's embeddings in place of embeddings of its own (`unfreeze = ["rows"]` trains them on); μ in scoring; log variances are held within 30 of 0; targets d are a
//! distribution over clusters, as the paper has it, where the program normalises over an axis of one; query rows are as many as a task shows, and support sets of any size. The preset has the published gains, a decoder in place of the base's score,
//! sampled z, and targets that are not detached; the published program's `kernel = "norm"` (the distance not squared) is a key, as is `form = "film"`, which the program has active.
//!
//! # References
//! X. Lin et al., *Task-adaptive Neural Process for User Cold-Start Recommendation*, WWW 2021.

use acclimate_data::{Batch, RandomStream, Side};
use acclimate_model::layer::product;
use acclimate_model::{Added, AfterPass, Bound, Effect, Init, Modulation, Objective, Output, ParamId, ParamSpec, SiteId, column, labels, mask, shares};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Hidden, StandIn};
use crate::method::scored_rows;
use crate::selection::{Part, heads, scope};
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Support, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<TanpConfig>("tanp", Kind::Adaptation, "a neural process of a user's ratings that corrects the base's score")
    .with_presets(&[(
        "tanp_paper",
        "score = 'own'\ngain = 'tanh'\nlatent = 'sampled'\ndetach = false\nkl = 1.0\nclustering = 1.0\nunfreeze = ['rows']",
    )])
    .tested_with(&["form = 'film'\nkernel = 'norm'\nencoder = [6]\ndecoder = [7]\nclusters = 3"]);

/// What a user's decoder gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// A correction of the base's score.
    Residual,
    /// The score.
    Own,
}

/// How the decoder's layers are modulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// By gain and shift.
    Film,
    /// By gated gain and shift.
    GatingFilm,
}

/// Around what the gains of the decoder lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// Around 1.
    OnePlus,
    /// Around 0, as published: three layers in a row shrink what they are given.
    Tanh,
}

/// Of what distance shares in clusters are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// `|t - a|²`, as the paper says.
    Squared,
    /// `|t - a|`, as its program does.
    Norm,
}

/// Which z the decoder is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latent {
    /// The mean given the support rows, as it is served.
    Mean,
    /// A draw given support and query rows, as published.
    Sampled,
}

/// Configuration of [`Tanp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TanpConfig {
    /// `residual` or `own`; default residual.
    pub score: Score,
    /// `film` or `gating_film`; default gating_film.
    pub form: Form,
    /// `one_plus` or `tanh`; default one_plus.
    pub gain: Gain,
    /// `squared` or `norm`; default squared.
    pub kernel: Kernel,
    /// `mean` or `sampled`; default mean.
    pub latent: Latent,
    /// Whether the targets of the clustering loss are constants; default true.
    pub detach: bool,
    /// Hidden widths of the latent path's network; default [32, 16].
    pub encoder: Vec<usize>,
    /// Width of the latent vector; default 32.
    pub latent_width: usize,
    /// Hidden widths of the identity's network; default [32, 32].
    pub identity: Vec<usize>,
    /// Width of the identity; default 16.
    pub identity_width: usize,
    /// Number of clusters k; default 10.
    pub clusters: usize,
    /// Hidden widths of the decoder; default [32, 32, 16].
    pub decoder: Vec<usize>,
    /// Weight of the divergence. It is a sum over the latent vector beside a mean over rows; default 0.1 (published 1).
    pub kl: f64,
    /// Weight of the clustering loss; default 0.1 (published 0.01 to 1).
    pub clustering: f64,
    /// Whether the user's id is not read; default true.
    pub hide_user: bool,
    /// Name of the feature that is the user's id; default the categorical feature of users with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Parts of the base trained beside; default none.
    pub unfreeze: Vec<Part>,
}

impl Default for TanpConfig {
    fn default() -> Self {
        Self {
            score: Score::Residual,
            form: Form::GatingFilm,
            gain: Gain::OnePlus,
            kernel: Kernel::Squared,
            latent: Latent::Mean,
            detach: true,
            encoder: vec![32, 16],
            latent_width: 32,
            identity: vec![32, 32],
            identity_width: 16,
            clusters: 10,
            decoder: vec![32, 32, 16],
            kl: 0.1,
            clustering: 0.1,
            hide_user: true,
            user: None,
            unfreeze: Vec::new(),
        }
    }
}

/// Log variances beyond have no meaning, and would overflow.
const LOG_VARIANCE: f64 = 30.0;
/// Keeps divisions and logarithms finite.
const TINY: f64 = 1e-12;

/// `x W + b`.
#[derive(Clone, Copy, Debug)]
struct Layer {
    weight: ParamId,
    bias: ParamId,
}

/// A layer of the decoder.
#[derive(Clone, Debug)]
struct Modulated {
    layer: Layer,
    /// Wγ, Wβ, and with gates Wη and Wδ.
    under: Vec<ParamId>,
}

/// The method `tanp`.
#[derive(Debug)]
pub struct Tanp {
    config: TanpConfig,
    scope: Scope,
    hidden: Option<Hidden>,
    heads: Vec<SiteId>,
    params: Vec<ParamSpec>,
    encoder: Vec<Layer>,
    /// V0, V1 and V2 with their biases.
    latent: [Layer; 3],
    identity: Vec<Layer>,
    memory: ParamId,
    decoder: Vec<Modulated>,
    head: Layer,
}

/// Declares parameters.
struct Declared(Vec<ParamSpec>);

impl Declared {
    fn add(&mut self, spec: ParamSpec) -> ParamId {
        self.0.push(spec);
        ParamId(self.0.len() - 1)
    }

    fn layer(&mut self, path: &str, [d_in, d_out]: [usize; 2], init: Init) -> Layer {
        let weight = self.add(ParamSpec::weight(format!("{path}.weight"), [1, d_in, d_out], init));
        Layer { weight, bias: self.add(ParamSpec::vector(format!("{path}.bias"), 1, d_out, 0.0)) }
    }

    /// Layers from a width through others.
    fn layers(&mut self, path: &str, from: usize, through: &[usize]) -> Vec<Layer> {
        let ends = std::iter::once(&from).chain(through).zip(through).enumerate();
        ends.map(|(i, (&d_in, &d_out))| self.layer(&format!("{path}.{i}"), [d_in, d_out], Init::KaimingUniform)).collect()
    }
}

/// The user's id among the categorical features, where the network reads it.
fn id_of_user(config: &TanpConfig, target: Target<'_>) -> Result<Option<usize>, AdaptError> {
    let schema = target.schema;
    let rows = |place: &usize| schema.vocabularies[schema.categorical[*place].vocabulary.at()].rows;
    let field = match &config.user {
        Some(name) => Some(schema.categorical.iter().position(|field| field.name == *name).ok_or_else(|| {
            let problem = format!("`{name}` is no categorical feature of the data");
            AdaptError::Value { method: METHOD.name, key: "user", problem }
        })?),
        None => (0..schema.categorical.len()).filter(|&at| schema.side(&schema.categorical[at].name) == Side::User).max_by_key(rows),
    };
    let is_read = |field: &usize| target.backbone.architecture().slots.iter().any(|slot| slot.feature == schema.categorical[*field].name);
    Ok(field.filter(|_| config.hide_user).filter(is_read))
}

impl MethodConfig for TanpConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        let lists = [("encoder", &self.encoder), ("identity", &self.identity), ("decoder", &self.decoder)];
        if let Some((key, _)) = lists.into_iter().find(|(_, widths)| widths.is_empty() || widths.contains(&0)) {
            return Err(value(key, "must be a list of widths of at least 1"));
        }
        let widths = [("latent_width", self.latent_width), ("identity_width", self.identity_width), ("clusters", self.clusters)];
        if let Some((key, _)) = widths.into_iter().find(|(_, width)| *width == 0) {
            return Err(value(key, "must be at least 1"));
        }
        for (key, weight) in [("kl", self.kl), ("clustering", self.clustering)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(value(key, "must be 0 or more"));
            }
        }
        if self.latent == Latent::Sampled && self.score == Score::Residual {
            return Err(value("latent", "draws z for a decoder that gives the score; set `score = \"own\"`, or `latent = \"mean\"`"));
        }
        scored_rows(METHOD.name, target.backbone, "scores rows under support rows")?;
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            return Err(unsupported("its loss is one of rows; use a base that is trained for `logistic` or `squared_error`"));
        }
        let Some(width) = target.backbone.architecture().slots.last().map(|slot| slot.columns.end) else {
            return Err(unsupported("the network has no gathered row that could be encoded; use `dnn`"));
        };
        let hidden = id_of_user(&self, target)?.map(|field| Hidden { field, stand_in: StandIn::Unknown });
        let (z, d) = (self.latent_width, self.identity_width);
        let mut declared = Declared(Vec::new());
        let encoder = declared.layers("encoder", width + 1, &[&self.encoder[..], &[z]].concat());
        let latent = ["latent.hidden", "latent.mean", "latent.log_variance"].map(|path| declared.layer(path, [z, z], Init::XavierUniform));
        let identity = declared.layers("identity", width + 1, &[&self.identity[..], &[d]].concat());
        let memory = declared.add(ParamSpec::weight("memory", [1, self.clusters, d], Init::XavierUniform));
        let under: &[&str] = if self.form == Form::Film { &["gain", "shift"] } else { &["gain", "shift", "eta", "delta"] };
        let decoder: Vec<_> = declared.layers("decoder", width + z, &self.decoder).into_iter().zip(&self.decoder).enumerate().collect();
        let modulated = |(i, (layer, &width)): (usize, (Layer, &usize))| {
            let map = |name: &&str| declared.add(ParamSpec::weight(format!("decoder.{i}.{name}"), [1, d, width], Init::XavierUniform));
            Modulated { layer, under: under.iter().map(map).collect() }
        };
        let decoder: Vec<_> = decoder.into_iter().map(modulated).collect();
        let end = if self.score == Score::Residual { Init::Constant(0.0) } else { Init::XavierUniform };
        let head = declared.layer("decoder.head", [*self.decoder.last().expect("a list that is not empty"), 1], end);
        Ok(Box::new(Tanp {
            scope: scope(&self.unfreeze, target.backbone),
            hidden,
            heads: heads(target.backbone),
            params: declared.0,
            encoder,
            latent,
            identity,
            memory,
            decoder,
            head,
            config: self,
        }))
    }
}

/// `x W + b`.
fn linear(own: &Bound, layer: Layer, x: Tensor<3>) -> Tensor<3> {
    product(x, own.get(layer.weight)) + own.get(layer.bias)
}

/// Of some rows of each task: sums of what a network says of them, and how many there are.
#[derive(Clone, Debug)]
struct Summed {
    /// `[T, 1, d]`.
    sum: Tensor<3>,
    /// `[T, 1, 1]`.
    count: Tensor<3>,
}

impl Summed {
    /// Sums over the real rows of `network([x; y])`, with ReLU between its layers.
    fn of(own: &Bound, network: &[Layer], x: &Tensor<3>, batch: &Batch) -> Self {
        let device = x.device();
        let d = own.get(network[network.len() - 1].bias).dims()[2];
        if batch.is_empty() {
            return Self { sum: Tensor::zeros([batch.groups, 1, d], &device), count: Tensor::zeros([batch.groups, 1, 1], &device) };
        }
        let real = mask(batch, &device);
        let mut h = Tensor::cat(vec![x.clone(), labels(batch, &device)], 2); // [T, S, w + 1]
        for (i, &layer) in network.iter().enumerate() {
            h = linear(own, layer, h);
            h = if i + 1 < network.len() { relu(h) } else { h };
        }
        Self { sum: (h * real.clone()).sum_dim(1), count: real.sum_dim(1) }
    }

    fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, count: self.count + other.count }
    }

    /// `[T, 1, d]`; 0 of no row.
    fn mean(&self) -> Tensor<3> {
        self.sum.clone() / self.count.clone().clamp_min(1.0)
    }
}

/// A normal distribution of the latent vector, `[T, 1, z]` each.
#[derive(Clone, Debug)]
struct Normal {
    mean: Tensor<3>,
    log_variance: Tensor<3>,
}

impl Normal {
    /// `KL(self | prior)`, `[T, 1, 1]`.
    fn divergence(&self, prior: &Self) -> Tensor<3> {
        let apart = (self.mean.clone() - prior.mean.clone()).square();
        let ratio = (self.log_variance.clone() - prior.log_variance.clone()).exp() + apart / prior.log_variance.clone().exp();
        ((ratio - 1.0 + prior.log_variance.clone() - self.log_variance.clone()) * 0.5).sum_dim(2)
    }

    /// `μ + σ ⊙ ε`.
    fn drawn(&self, noise: Tensor<3>) -> Tensor<3> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }
}

/// Standard normal values that follow from the labels of a batch.
fn noise(batches: [&Batch; 2], count: usize) -> Vec<f32> {
    let fold = |key: u64, bits: u32| RandomStream::new(key, u64::from(bits), 0).bits();
    let values = batches.into_iter().flat_map(|batch| batch.label.iter().chain(&batch.mask));
    let key = values.fold(0, |key, value| fold(key, value.to_bits()));
    let mut stream = RandomStream::new(key, 0, 0);
    (0..count).map(|_| stream.normal() as f32).collect()
}

/// The rows of each task, those of its support set first: masks and labels alone.
fn joined(support: &Batch, query: &Batch) -> Batch {
    let both = |of: fn(&Batch) -> &Vec<f32>| {
        let part = |batch: &Batch, g: usize| of(batch)[g * batch.rows..(g + 1) * batch.rows].to_vec();
        (0..query.groups).flat_map(|g| [part(support, g), part(query, g)].concat()).collect()
    };
    Batch { groups: query.groups, rows: support.rows + query.rows, mask: both(|batch| &batch.mask), label: both(|batch| &batch.label), ..Batch::default() }
}

/// Each task's share in the mean over those for which `counts` says 1, `[T, 1, 1]`.
fn of_tasks(counts: Vec<f32>, like: &Tensor<3>) -> Tensor<3> {
    let all = counts.iter().sum::<f32>().max(1.0);
    let tasks = counts.len();
    Tensor::from_data(TensorData::new(counts.into_iter().map(|n| n / all).collect::<Vec<_>>(), [tasks, 1, 1]), &like.device())
}

/// 1 for a task with a real row, else 0.
fn any_row(batch: &Batch) -> Vec<f32> {
    (0..batch.groups).map(|g| batch.mask[g * batch.rows..(g + 1) * batch.rows].iter().fold(0.0, |any: f32, &m| any.max(m))).collect()
}

impl Tanp {
    /// The latent path from the mean of what is encoded.
    fn latent(&self, own: &Bound, rows: &Summed) -> Normal {
        let [hidden, mean, log_variance] = self.latent;
        let a = relu(linear(own, hidden, rows.mean()));
        Normal { mean: linear(own, mean, a.clone()), log_variance: linear(own, log_variance, a).clamp(-LOG_VARIANCE, LOG_VARIANCE) }
    }

    /// c, `[T, 1, k]`, of identities `[T, 1, d]`.
    fn shares(&self, memory: &Tensor<3>, t: &Tensor<3>) -> Tensor<3> {
        let squared = (t.clone() - memory.clone()).square().sum_dim(2).swap_dims(1, 2); // [T, 1, k]
        let distance = match self.config.kernel {
            Kernel::Squared => squared,
            Kernel::Norm => (squared + TINY).sqrt(),
        };
        let c = (distance + 1.0).recip();
        c.clone() / c.sum_dim(2)
    }

    /// f, `[T, N, 1]`, of rows `[T, N, w]` under z and o `[T, 1, ..]`.
    fn decode(&self, own: &Bound, x: &Tensor<3>, z: &Tensor<3>, o: &Tensor<3>) -> Tensor<3> {
        let [tasks, rows, _] = x.dims();
        let mut h = Tensor::cat(vec![x.clone(), z.clone().expand([tasks, rows, self.config.latent_width])], 2);
        for Modulated { layer, under } in &self.decoder {
            let under: Vec<_> = under.iter().map(|&id| product(o.clone(), own.get(id))).collect(); // [T, 1, d] each
            let (mut gain, mut shift) = (under[0].clone().tanh(), under[1].clone().tanh());
            if let [_, _, eta, delta] = &under[..] {
                let delta = sigmoid(delta.clone());
                let rest = eta.clone().tanh() * (-delta.clone() + 1.0);
                (gain, shift) = (gain * delta.clone() + rest.clone(), shift * delta + rest);
            }
            let gain = if self.config.gain == Gain::OnePlus { gain + 1.0 } else { gain };
            h = relu(linear(own, *layer, h) * gain + shift);
        }
        linear(own, self.head, h)
    }

    /// `Σ_j d_j log(d_j / c_j)` of each task, `[T, 1, 1]`; those with support rows are 1 in `any`.
    fn clustering(&self, c: &Tensor<3>, any: &Tensor<3>) -> Tensor<3> {
        let f = (c.clone() * any.clone()).sum_dim(0); // [1, 1, k]
        let d = c.clone().square() / (f + TINY);
        let d = d.clone() / (d.sum_dim(2) + TINY);
        let d = if self.config.detach { d.detach() } else { d };
        (d.clone() * ((d + TINY).log() - (c.clone() + TINY).log())).sum_dim(2)
    }

    /// What the loss of all rows under a drawn z has more than that of the pass, summand by summand, `[1, .., 1]`.
    fn redrawn(&self, after: &AfterPass<'_>, all: &Batch, drawn: Tensor<3>) -> Option<Tensor<3>> {
        let Output::Rows(said) = after.output else { return None };
        let device = said.device();
        let flat = |losses: Tensor<3>, batch: &Batch| (losses * column(shares(batch), batch, &device)).reshape([1, batch.len(), 1]);
        let under_drawn = flat(after.objective.of_rows(drawn, labels(all, &device))?, all);
        let of_pass = flat(after.objective.of_rows(said.clone(), labels(after.batch, &device))?, after.batch);
        Some(Tensor::cat(vec![under_drawn, -of_pass], 1))
    }
}

impl Adaptation for Tanp {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::User, any_support: true, hidden: self.hidden, ..Needs::default() }
    }

    // The gradient of detached targets is left out.
    fn is_exact(&self) -> bool {
        !self.config.detach || self.config.clustering == 0.0
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let Support { batch: support, inputs, .. } = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let (of_support, query) = (inputs[0].clone(), context.inputs[0].clone());
        let encoded = Summed::of(own, &self.encoder, &of_support, support);
        let prior = self.latent(own, &encoded);
        let t = Summed::of(own, &self.identity, &of_support, support).mean();
        let memory = own.get(self.memory);
        let c = self.shares(&memory, &t);
        let o = t + product(c.clone(), memory);
        let has_rows = any_row(support);
        let any = Tensor::<3>::from_data(TensorData::new(has_rows.clone(), [support.groups, 1, 1]), &query.device());
        let f = self.decode(own, &query, &prior.mean, &o) * any.clone(); // [T, N, 1]
        let effect = || match self.config.score {
            Score::Residual => Effect::offset(f.clone()),
            Score::Own => Effect::scaled(-any.clone() + 1.0, f.clone()),
        };
        let modulation = self.heads.iter().fold(Modulation::none(), |all, head| all.with(*head, effect()));
        let (own, support) = (own.clone(), support.clone());
        Ok(modulation.with_term(move |after| {
            let all = encoded.clone().and(Summed::of(&own, &self.encoder, &query, after.batch));
            let posterior = self.latent(&own, &all);
            let tasks = of_tasks(any_row(after.batch), &query);
            let divergence = posterior.divergence(&prior) * tasks * self.config.kl;
            let clustering = self.clustering(&c, &any) * of_tasks(has_rows.clone(), &query) * self.config.clustering;
            let summed = divergence + clustering;
            let mut summands = vec![summed.clone().reshape([1, summed.dims()[0], 1])];
            if self.config.latent == Latent::Sampled {
                let [count, _, width] = prior.mean.dims();
                let noise = TensorData::new(noise([&support, after.batch], count * width), [count, 1, width]);
                let z = posterior.drawn(Tensor::from_data(noise, &query.device()));
                let rows = if support.is_empty() { query.clone() } else { Tensor::cat(vec![of_support.clone(), query.clone()], 1) };
                let drawn = self.decode(&own, &rows, &z, &o);
                summands.push(self.redrawn(after, &joined(&support, after.batch), drawn)?);
            }
            Some(Added::new(Tensor::cat(summands, 1)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_follows_from_the_labels() {
        let batch = |label: f32| Batch { groups: 1, rows: 2, mask: vec![1.0; 2], label: vec![label, 0.5], ..Batch::default() };
        let (one, other) = (noise([&batch(1.0), &batch(0.0)], 4000), noise([&batch(0.0), &batch(1.0)], 4000));
        assert_eq!(one, noise([&batch(1.0), &batch(0.0)], 4000));
        assert_ne!(one, other);
        let variance = one.iter().map(|e| e * e).sum::<f32>() / one.len() as f32;
        assert!((variance - 1.0).abs() < 0.1, "{variance}");
    }
}
