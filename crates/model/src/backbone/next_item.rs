//! What networks share that read a sequence of items and name the next one: tables, input rows, head and scores.
//!
//! A batch's groups are sequences and its rows are positions, padded at the front with code 0; field 0 is the item.
//! Where `target` is not empty, positions with a target other than 0 are scored: against all items, or against `negatives` where there are any.
//! Without `target` the batch is one of queries: the last position of each group is scored. A network that sees both sides is asked at mask tokens only.
//!
//! The score of item j after position t is `<H[t], Q_j> + b_j`, H the network's last hidden states, and with half-lives h
//! `+ sum_h w_h ln((r_hj + e) / (1 / C + e))`, where `r_hj` is item j's share of all events before the day of the question, each worth `0.5^(age / h)`, C the
//! number of items and e = 1e-5: what is in fashion that day, with a learned weight, and 0 for an even share.
//!
//! The head has one row `[Q_j; b_j]` an item. Code c of its vocabulary is row c - 1: the unknown is never predicted.

use std::sync::Arc;

use acclimate_data::{Batch, RecentEvents, Schema, Side};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::{Comparison, Gathered, Output};
use crate::{
    Architecture, Ids, Init, ModelError, ParamId, ParamSpec, Pass, Pooling, Role, RowGradients, SiteId, SiteKind, Slot, Table, TableSpec,
};

const INPUT: usize = 0;
const HEAD: usize = 1;

/// What a network's config says about its two ends.
pub(super) struct Ends<'a> {
    /// The network, for errors.
    pub(super) backbone: &'static str,
    /// Width of hidden states.
    pub(super) width: usize,
    /// Vocabulary of the input items; default the first of the schema.
    pub(super) vocabulary: Option<&'a String>,
    /// Vocabulary of the items to predict; default that of the input.
    pub(super) head: Option<&'a String>,
    /// Standard deviations of the rows of input and head at start.
    pub(super) stds: [f32; 2],
    /// Half-lives in days of the fresh counts.
    pub(super) half_lives: &'a [f64],
    /// Whether the table of input items has one more row, for the mask token.
    pub(super) has_mask: bool,
}

impl Ends<'_> {
    /// Declares both tables and the site of the input rows.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a width of 0, half-lives that are none, or vocabularies that the schema does not have.
    pub(super) fn input(&self, architecture: &mut Architecture, schema: &Schema) -> Result<SiteId, ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config(self.backbone, key, problem));
        if self.width == 0 {
            return error("width", "must be at least 1");
        }
        if self.half_lives.iter().any(|h| !(h.is_finite() && *h > 0.0)) {
            return error("fresh_half_life_days", "must be numbers of days above 0");
        }
        let rows = |key: &str, name: Option<&String>| {
            let known = || schema.vocabularies.iter();
            let found = name.map_or_else(|| known().next(), |name| known().find(|v| v.name == *name));
            found.filter(|v| v.rows > 1).map(|v| v.rows).ok_or_else(|| {
                let names: Vec<_> = known().filter(|v| v.rows > 1).map(|v| v.name.as_str()).collect();
                ModelError::config(self.backbone, key, &format!("must name a vocabulary with items in it; there are: {}", names.join(", ")))
            })
        };
        let items = rows("vocabulary", self.vocabulary)?;
        let targets = rows("head", self.head.or(self.vocabulary))? - 1;
        let [init, head_init] = self.stds.map(Init::TruncatedNormal);
        let items = items + usize::from(self.has_mask);
        architecture.table(TableSpec { name: "input".into(), rows: items, d: self.width, init, zero_row: true, spared: 0 });
        architecture.table(TableSpec {
            name: "head".into(),
            rows: targets,
            d: self.width + 1,
            init: head_init,
            zero_row: false,
            spared: 1,
        });
        // A row is a position, and what stands there is an item: the first categorical feature of the schema.
        let feature = schema.categorical.first().map_or_else(|| "item".into(), |field| field.name.clone());
        architecture.slot(Slot { feature, side: Side::Item, table: Some(INPUT), columns: 0..0, pooling: Pooling::One }, self.width);
        Ok(architecture.site("input", SiteKind::Rows { d: self.width }, Role::Body))
    }

    /// Declares the head, after all that lies between.
    pub(super) fn head(&self, architecture: &mut Architecture, input: SiteId) -> NextItem {
        let head = architecture.site("head", SiteKind::Rows { d: self.width + 1 }, Role::Head);
        let fresh = (!self.half_lives.is_empty()).then(|| {
            // Together they start as the score `ln(share)`: an untrained network ranks by what is in fashion.
            let spec = ParamSpec::vector("head.fresh", 1, self.half_lives.len(), 1.0 / self.half_lives.len() as f32);
            Fresh { weight: architecture.param(spec), half_lives: self.half_lives.to_vec() }
        });
        let mask_token = self.has_mask.then(|| architecture.tables[INPUT].rows as u32 - 1);
        NextItem { width: self.width, mask_token, input, head, fresh }
    }
}

/// Both ends of a network over sequences.
#[derive(Debug)]
pub(super) struct NextItem {
    width: usize,
    mask_token: Option<u32>,
    input: SiteId,
    head: SiteId,
    fresh: Option<Fresh>,
}

impl NextItem {
    /// See [`Backbone::mask_token`](super::Backbone::mask_token).
    pub(super) fn mask_token(&self) -> Option<u32> {
        self.mask_token
    }

    /// See [`Backbone::gather`](super::Backbone::gather).
    pub(super) fn gather(tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
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
    pub(super) fn carry_over(&self, from: &[Arc<Table>], fresh: &mut [Arc<Table>]) {
        let d = self.width + 1;
        let fresh = Arc::make_mut(&mut fresh[HEAD]).values.chunks_exact_mut(d);
        fresh.zip(from[HEAD].values.chunks_exact(d)).for_each(|(to, from)| to[d - 1] = from[d - 1]);
    }

    /// See [`Backbone::reads`](super::Backbone::reads).
    pub(super) fn reads(leaf: usize, table: usize) -> bool {
        table == leaf.min(HEAD)
    }

    /// See [`Backbone::scatter`](super::Backbone::scatter).
    pub(super) fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
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

    /// The input rows `[G, L, C]` as the network reads them.
    pub(super) fn rows(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Tensor<3> {
        let ids = Ids::Codes { codes: &batch.categorical, fields: batch.fields };
        pass.modulation.rows(self.input, ids, inputs[0].clone())
    }

    /// Last hidden states `h` `[G, L, C]` beside the items that they are compared with.
    pub(super) fn output(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>], h: Tensor<3>) -> Output {
        let (device, at) = (h.device(), positions(batch));
        let p = at.len();
        let index = at.iter().map(|&i| i as i32).collect::<Vec<_>>();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [p]), &device);
        let h = h.reshape([1, batch.len(), self.width]);
        // Where every position is scored, there is nothing to pick.
        let h = if p == batch.len() { h } else { h.select(1, index) }; // [1, P, C]
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

/// Positions to score.
fn positions(batch: &Batch) -> Vec<usize> {
    match batch.target.is_empty() {
        true => (1..=batch.groups).map(|g| g * batch.rows - 1).collect(),
        false => (0..batch.len()).filter(|&i| batch.target[i] != 0).collect(),
    }
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

/// Fresh counts as an added score.
#[derive(Clone, Debug)]
struct Fresh {
    half_lives: Vec<f64>,
    /// `[1, 1, H]`.
    weight: ParamId,
}

/// Added to the share of each item, so that one without events has a score as well.
const LEAST: f32 = 1e-5;

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
