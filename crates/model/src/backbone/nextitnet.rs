//! `nextitnet`: dilated convolutions over a sequence of items, trained to name the next one, or with `causal = false` those that are hidden.
//!
//! `H_0 = E[x]`; a block is `Z = ReLU(LN(conv_d(H)))`, `H' = H + ReLU(LN(conv_2d(Z)))`; the score of item j after position t is
//! `<H[t], Q_j> + b_j`, and with half-lives h `+ sum_h w_h ln((r_hj + e) / (1 / C + e))`, where `r_hj` is item j's share of all events before the day of
//! the question, each worth `0.5^(age / h)`, C the number of items and e = 1e-5: what is in fashion that day, with a learned weight, and 0 for an even share. Positions outside a sequence are zero at every layer, so padding changes nothing.
//!
//! A causal convolution sees a position and those before it. Without `causal` it sees as many on both sides, and the table of items has one more row, for the mask token:
//! what stands in place of an item that is asked for. Then t is the position of such a token, at the end of a history where the next item is asked for.
//!
//! # References
//! F. Yuan et al., *A Simple Convolutional Generative Network for Next Item Recommendation*, WSDM 2019: residual block (b). Its second ReLU
//! stands before the skip addition, as in the published code of PeterRec (SIGIR 2020). The network that sees both sides is the encoder of F. Yuan et al., *Future Data Helps Training: Modeling Future Contexts
//! for Session-based Recommendation* (GRec), WWW 2020, without its decoder.

use std::sync::Arc;

use acclimate_data::{Batch, RecentEvents, Schema};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Backbone, Comparison, Gathered, Output};
use crate::kernel::Taps;
use crate::{
    Activation, Architecture, Conv, Ids, Init, LayerNorm, ModelError, Objective, ParamId, ParamSpec, Pass, Role, RowGradients, SiteId,
    SiteKind, Table, TableSpec,
};

const INPUT: usize = 0;
const HEAD: usize = 1;

/// Configuration of [`NextItNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NextItNetConfig {
    /// Channels: width of embeddings and of every convolution. The paper uses 256, its code 64 (the default).
    pub width: usize,
    /// Positions a convolution looks at, default 3.
    pub kernel: usize,
    /// Whether a position sees only itself and those before it, default true. A network that sees both sides is trained to name hidden items.
    #[serde(skip_serializing_if = "is_causal")]
    pub causal: bool,
    /// One entry a block, whose two convolutions have dilation d and 2 d. The default `[1, 4]` four times sees 121 positions; shorter histories
    /// need fewer blocks.
    pub dilations: Vec<usize>,
    /// Vocabulary of the input items; default the first of the schema.
    pub vocabulary: Option<String>,
    /// Vocabulary of the items to predict; default that of the input.
    pub head: Option<String>,
    /// Added to the variance in layer norms, default 1e-8.
    pub epsilon: f64,
    /// Standard deviation of embeddings and convolutions at start (truncated normal), default 0.02.
    pub std: f32,
    /// Standard deviation of the head's rows at start (truncated normal), default 0.02.
    pub head_std: f32,
    /// Half-lives in days of the fresh counts that are added to scores, each with a weight that is learned, such as `[7]` or `[1, 7, 30]`. Default none: scores
    /// then do not depend on when they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fresh_half_life_days: Vec<f64>,
}

impl Default for NextItNetConfig {
    fn default() -> Self {
        Self {
            width: 64,
            kernel: 3,
            causal: true,
            dilations: [1, 4].repeat(4),
            vocabulary: None,
            head: None,
            epsilon: 1e-8,
            std: 0.02,
            head_std: 0.02,
            fresh_half_life_days: Vec::new(),
        }
    }
}

fn is_causal(causal: &bool) -> bool {
    *causal
}

impl NextItNetConfig {
    /// Positions that the last hidden state depends on.
    #[must_use]
    pub fn receptive_field(&self) -> usize {
        1 + self.dilations.iter().map(|d| 3 * d * self.kernel.saturating_sub(1)).sum::<usize>()
    }
}

/// One residual block.
#[derive(Clone, Copy, Debug)]
struct Block {
    halves: [(Conv, LayerNorm); 2],
    /// Where its output can be changed; the input there is the block's.
    end: SiteId,
}

/// The backbone `nextitnet`.
///
/// It reads batches whose groups are sequences and whose rows are positions, padded at the front with code 0; field 0 is the item.
/// Where `target` is not empty, positions with a target other than 0 are scored: against all items, or against `negatives` where there are any.
/// Without `target` the batch is one of queries: the last position of each group is scored. A network that sees both sides is asked at mask tokens only.
///
/// The head has one row `[Q_j; b_j]` an item. Code c of its vocabulary is row c - 1: the unknown is never predicted.
#[derive(Debug)]
pub struct NextItNet {
    architecture: Architecture,
    width: usize,
    mask_token: Option<u32>,
    input: SiteId,
    head: SiteId,
    blocks: Vec<Block>,
    fresh: Option<Fresh>,
}

/// Fresh counts as an added score.
#[derive(Clone, Debug)]
struct Fresh {
    half_lives: Vec<f64>,
    /// `[1, 1, H]`.
    weight: ParamId,
}

/// Added to the share of each item, so that one without events has a score as well.
const LEAST: f32 = 1e-5;

impl NextItNet {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for sizes of 0 or vocabularies that the schema does not have.
    pub fn new(config: &NextItNetConfig, schema: &Schema) -> Result<Self, ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config("nextitnet", key, problem));
        for (key, value) in [("width", config.width), ("kernel", config.kernel)] {
            if value == 0 {
                return error(key, "must be at least 1");
            }
        }
        if !config.causal && config.kernel.is_multiple_of(2) {
            return error("kernel", "must be odd where `causal = false`: as many positions before as after the current one");
        }
        if config.fresh_half_life_days.iter().any(|h| !(h.is_finite() && *h > 0.0)) {
            return error("fresh_half_life_days", "must be numbers of days above 0");
        }
        if config.dilations.contains(&0) {
            return error("dilations", "must be at least 1 each");
        }
        let rows = |key: &str, name: Option<&String>| {
            let known = || schema.vocabularies.iter();
            let found = name.map_or_else(|| known().next(), |name| known().find(|v| v.name == *name));
            found.filter(|v| v.rows > 1).map(|v| v.rows).ok_or_else(|| {
                let names: Vec<_> = known().filter(|v| v.rows > 1).map(|v| v.name.as_str()).collect();
                ModelError::config("nextitnet", key, &format!("must name a vocabulary with items in it; there are: {}", names.join(", ")))
            })
        };
        let items = rows("vocabulary", config.vocabulary.as_ref())?;
        let targets = rows("head", config.head.as_ref().or(config.vocabulary.as_ref()))? - 1;
        let (c, init) = (config.width, Init::TruncatedNormal(config.std));
        let mut architecture = Architecture::default();
        let mask_token = (!config.causal).then_some(items as u32);
        let taps = if config.causal { Taps::causal } else { Taps::centred };
        let rows = items + usize::from(mask_token.is_some());
        architecture.table(TableSpec { name: "input".into(), rows, d: c, init, zero_row: true, spared: 0 });
        let head_init = Init::TruncatedNormal(config.head_std);
        architecture.table(TableSpec { name: "head".into(), rows: targets, d: c + 1, init: head_init, zero_row: false, spared: 1 });
        let input = architecture.site("input", SiteKind::Rows { d: c }, Role::Body);
        let half = |architecture: &mut Architecture, block: usize, name: &str, dilation: usize| {
            let conv = architecture.conv(&format!("block.{block}.conv_{name}"), [config.kernel, c, c], taps(config.kernel, dilation), init);
            (conv, architecture.layer_norm(&format!("block.{block}.norm_{name}"), c, config.epsilon))
        };
        let dilations = config.dilations.iter().enumerate();
        let blocks = dilations.map(|(i, &d)| {
            let halves = [half(&mut architecture, i, "a", d), half(&mut architecture, i, "b", 2 * d)];
            Block { halves, end: architecture.site(format!("block.{i}"), SiteKind::Hidden { d: c }, Role::Body) }
        });
        let blocks = blocks.collect();
        let head = architecture.site("head", SiteKind::Rows { d: c + 1 }, Role::Head);
        let half_lives = config.fresh_half_life_days.clone();
        let fresh = (!half_lives.is_empty()).then(|| {
            // Together they start as the score `ln(share)`: an untrained network ranks by what is in fashion.
            let spec = ParamSpec::vector("head.fresh", 1, half_lives.len(), 1.0 / half_lives.len() as f32);
            Fresh { weight: architecture.param(spec), half_lives }
        });
        Ok(Self { architecture, width: c, mask_token, input, head, blocks, fresh })
    }

    /// Starts the biases of a head table at `log(1 + count)`, `counts` being the training events of each row's item.
    ///
    /// Before training the network then ranks nearly by popularity.
    ///
    /// # Panics
    /// Panics unless there is one count a row.
    pub fn start_biases(head: &mut Table, counts: &[u32]) {
        assert_eq!(head.rows(), counts.len(), "one count for each item of the head");
        for (row, &count) in head.values.chunks_exact_mut(head.d).zip(counts) {
            row[head.d - 1] = (count as f32).ln_1p();
        }
    }

    /// The hidden states `[G, L, C]` of a batch whose gathered rows are `x` `[G, L, C]`.
    fn body(&self, pass: &Pass<'_>, batch: &Batch, x: Tensor<3>) -> Tensor<3> {
        let mask = batch.mask.contains(&0.0).then(|| crate::mask(batch, &x.device())); // [G, L, 1]
        let ids = Ids::Codes { codes: &batch.categorical, fields: batch.fields };
        let mut h = pass.modulation.rows(self.input, ids, x);
        // What a modulation adds to padding must not reach other positions.
        if let Some(mask) = &mask {
            h = h * mask.clone();
        }
        for block in &self.blocks {
            let (x, mut z) = (h.clone(), h.clone());
            for (conv, norm) in &block.halves {
                z = norm.forward(pass, conv.forward(pass, z), Activation::Relu);
                if let Some(mask) = &mask {
                    z = z * mask.clone();
                }
            }
            h = h + z;
            if pass.modulation.changes_output(block.end) {
                h = pass.modulation.output(block.end, &x, h);
                if let Some(mask) = &mask {
                    h = h * mask.clone();
                }
            }
        }
        h
    }
}

/// Positions to score.
fn positions(batch: &Batch) -> Vec<usize> {
    match batch.target.is_empty() {
        true => (1..=batch.groups).map(|g| g * batch.rows - 1).collect(),
        false => (0..batch.len()).filter(|&i| batch.target[i] != 0).collect(),
    }
}

impl Backbone for NextItNet {
    fn name(&self) -> &'static str {
        "nextitnet"
    }

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn mask_token(&self) -> Option<u32> {
        self.mask_token
    }

    fn objectives(&self) -> &'static [Objective] {
        &[Objective::Softmax, Objective::Bpr, Objective::Logistic]
    }

    fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
        let rows = |table: &Table, rows: &mut dyn Iterator<Item = u32>, shape: [usize; 2]| {
            let mut values = Vec::with_capacity(shape[0] * shape[1] * table.d);
            rows.for_each(|row| values.extend_from_slice(table.row(row)));
            Gathered { shape: [shape[0], shape[1], table.d], values }
        };
        let codes = &mut batch.categorical.iter().step_by(batch.fields.max(1)).copied();
        let input = rows(&tables[INPUT], codes, [batch.groups, batch.rows]);
        let head = &tables[HEAD];
        if batch.negatives.is_empty() {
            return vec![input, Gathered { shape: [1, head.rows(), head.d], values: head.values.clone() }];
        }
        let negatives = rows(head, &mut batch.negatives.iter().map(|n| n - 1), [1, batch.negatives.len()]);
        let targets: Vec<u32> = batch.target.iter().filter(|&&t| t != 0).map(|t| t - 1).collect();
        match targets.is_empty() {
            true => vec![input, negatives],
            false => vec![input, negatives, rows(head, &mut targets.iter().copied(), [1, targets.len()])],
        }
    }

    /// The head's biases: how common each item is.
    fn carry_over(&self, from: &[Arc<Table>], fresh: &mut [Arc<Table>]) {
        let d = self.width + 1;
        let fresh = Arc::make_mut(&mut fresh[HEAD]).values.chunks_exact_mut(d);
        fresh.zip(from[HEAD].values.chunks_exact(d)).for_each(|(to, from)| to[d - 1] = from[d - 1]);
    }

    fn reads(&self, leaf: usize, table: usize) -> bool {
        table == leaf.min(HEAD)
    }

    fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
        if let Some(rows) = &mut sink[INPUT] {
            for (i, gradient) in gradients[0].chunks_exact(self.width).enumerate() {
                let code = batch.categorical[i * batch.fields];
                if batch.mask[i] != 0.0 && code != 0 {
                    rows.add(code, gradient, 1.0);
                }
            }
        }
        let Some(rows) = &mut sink[HEAD] else { return };
        let mut add = |items: &mut dyn Iterator<Item = u32>, gradients: &[f32]| {
            items.zip(gradients.chunks_exact(self.width + 1)).for_each(|(row, gradient)| rows.add(row, gradient, 1.0));
        };
        if batch.negatives.is_empty() {
            return add(&mut (0..), &gradients[1]);
        }
        add(&mut batch.negatives.iter().map(|n| n - 1), &gradients[1]);
        if let Some(positives) = gradients.get(2) {
            add(&mut batch.target.iter().filter(|&&t| t != 0).map(|t| t - 1), positives);
        }
    }

    fn forward(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Output {
        let h = self.body(pass, batch, inputs[0].clone());
        let (device, at) = (h.device(), positions(batch));
        let p = at.len();
        let index = at.iter().map(|&i| i as i32).collect::<Vec<_>>();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [p]), &device);
        let h = h.reshape([1, batch.len(), self.width]).select(1, index); // [1, P, C]
        let hidden = Tensor::cat(vec![h, ones(p, &device)], 2); // [1, P, C + 1]
        let target: Vec<u32> = if batch.target.is_empty() { Vec::new() } else { at.iter().map(|&i| batch.target[i] - 1).collect() };
        let sampled: Vec<u32> = batch.negatives.iter().map(|n| n - 1).collect();
        let ids = if sampled.is_empty() { Ids::WholeHead } else { Ids::Head(&sampled) };
        let mut items = pass.modulation.rows(self.head, ids, inputs[1].clone());
        if !batch.log_q.is_empty() {
            // The last value of a row is added to its score.
            let zeros = Tensor::<3>::zeros([1, sampled.len(), self.width], &device);
            let last = Tensor::from_data(TensorData::new(batch.log_q.clone(), [1, sampled.len(), 1]), &device);
            items = items + Tensor::cat(vec![zeros, last], 2);
        }
        let positives = inputs.get(2).map(|x| pass.modulation.rows(self.head, Ids::Head(&target), x.clone()));
        let comparison = Comparison { hidden, items, positives, target, sampled };
        match (&self.fresh, &batch.recent) {
            (Some(fresh), Some(recent)) if !batch.asked_at.is_empty() => {
                let times: Vec<i64> = at.iter().map(|&i| batch.asked_at[i]).collect();
                fresh.add(comparison, pass.params.get(fresh.weight), recent, &times)
            }
            // Where nobody knows of events, nothing is in fashion.
            _ => Output::Comparison(Box::new(comparison)),
        }
    }
}

impl Fresh {
    /// The candidates of a comparison with the fresh counts of each at the times of the questions.
    ///
    /// # Shapes
    /// `weight` is `[1, 1, H]`, `times` are P.
    fn add(&self, comparison: Comparison, weight: Tensor<3>, recent: &RecentEvents, times: &[i64]) -> Output {
        let device = weight.device();
        let Output::Candidates { scores, target } = comparison.candidates() else { unreachable!("a comparison has candidates") };
        let [_, p, k] = scores.dims();
        let columns = (!comparison.sampled.is_empty()).then_some((&comparison.target[..], &comparison.sampled[..]));
        let fresh = self.shares(recent, times, columns);
        let fresh = Tensor::<3>::from_data(TensorData::new(fresh, [1, self.half_lives.len(), p * k]), &device);
        let scores = scores + weight.matmul(fresh).reshape([1, p, k]);
        Output::Candidates { scores, target }
    }

    /// `ln((r + LEAST) / (1 / C + LEAST))` of each half-life, position and candidate: every item, or each position's own and then the sampled ones.
    fn shares(&self, recent: &RecentEvents, times: &[i64], columns: Option<(&[u32], &[u32])>) -> Vec<f32> {
        let items = recent.items();
        let mut days: Vec<i64> = times.iter().map(|&time| recent.day(time)).collect();
        days.sort_unstable();
        days.dedup();
        let mut out = Vec::new();
        for &half_life in &self.half_lives {
            let of_day: Vec<Vec<f32>> = days
                .par_iter()
                .map(|&day| {
                    let mut counts = vec![0.0; items];
                    recent.counts(day, half_life, &mut counts);
                    let total = counts.iter().sum::<f32>();
                    if total == 0.0 {
                        return counts;
                    }
                    let even = 1.0 / items as f32 + LEAST;
                    let none = (LEAST / even).ln();
                    counts.iter_mut().for_each(|c| *c = if *c == 0.0 { none } else { ((*c / total + LEAST) / even).ln() });
                    counts
                })
                .collect();
            for (position, &time) in times.iter().enumerate() {
                let counts = &of_day[days.binary_search(&recent.day(time)).expect("every day is there")];
                match columns {
                    None => out.extend_from_slice(counts),
                    Some((targets, sampled)) => {
                        out.push(counts[targets[position] as usize]);
                        out.extend(sampled.iter().map(|&s| counts[s as usize]));
                    }
                }
            }
        }
        out
    }
}

fn ones(p: usize, device: &Device) -> Tensor<3> {
    Tensor::ones([1, p, 1], device)
}
