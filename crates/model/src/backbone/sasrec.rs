//! `sasrec`: self-attention over a sequence of items, trained to name the next one, or with `causal = false` those that are hidden.
//!
//! `H_0 = E[x] + P[n]`, n the number of items that follow in the sequence (the oldest row of `P` for all that are further back); a block is
//! `U = H + Attn(LN(H))`, `H' = U + ReLU(LN(U) W1 + b1) W2 + b2`, where a position attends to itself and those before it; after the last block stands one more layer norm. The score of item j
//! after position t is `<H[t], Q_j> + b_j`, and what is in fashion (`next_item.rs`). Padding is never attended to and is not counted in n, so it changes nothing.
//!
//! Without `causal` a position attends to all of its sequence, and the table of items has one more row, for the mask token: what stands in place of an item that is asked for, at the end of a
//! history where the next item is asked for. That is BERT4Rec, with the deviations below.
//!
//! Deviations from the paper: norms stand before each sub-layer, as it says (its published code adds the normed state instead of the state itself); heads end in an output map; the
//! input is not multiplied by `sqrt(d)`, as it is in the code; input and output items have rows of their own, and each item a bias; no dropout but that of the input
//! (`input_dropout` in training); by default training is by softmax over all items, where the paper draws one negative a position.
//!
//! # References
//! W.-C. Kang and J. McAuley, *Self-Attentive Sequential Recommendation*, ICDM 2018. F. Sun et al., *BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
//! Transformer*, CIKM 2019.

use std::sync::Arc;

use acclimate_data::{Batch, Schema};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::next_item::{Ends, NextItem};
use super::{Backbone, Gathered, Output};
use crate::kernel::Seen;
use crate::{
    Activation, Architecture, Attention, Init, LayerNorm, Linear, ModelError, Objective, ParamId, ParamSpec, Pass, Role, RowGradients,
    Sight, SiteId, SiteKind, Table,
};

/// Configuration of [`SasRec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SasRecConfig {
    /// Width of embeddings and hidden states; the paper uses 50, here 64.
    pub width: usize,
    /// Whether a position sees only itself and those before it, default true. A network that sees both sides is trained to name hidden items.
    #[serde(skip_serializing_if = "super::nextitnet::is_causal")]
    pub causal: bool,
    /// Heads of each attention, which must divide the width; default 1, as published. More heads look at several places at once, each through fewer channels.
    pub heads: usize,
    /// Blocks, default 2, as published.
    pub blocks: usize,
    /// Width of the hidden layer in each block's feed-forward part; default the network's width, as published (Transformers of language take four times it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<usize>,
    /// Positions that have a row of their own, counted from the sequence's end; older ones share the last. Default 50; the paper takes 200 for long histories.
    pub length: usize,
    /// Vocabulary of the input items; default the first of the schema.
    pub vocabulary: Option<String>,
    /// Vocabulary of the items to predict; default that of the input.
    pub head: Option<String>,
    /// Added to the variance in layer norms, default 1e-8.
    pub epsilon: f64,
    /// Standard deviation of embeddings and positions at start (truncated normal), default 0.02. Matrices start Xavier-uniform.
    pub std: f32,
    /// Standard deviation of the head's rows at start (truncated normal), default 0.02.
    pub head_std: f32,
    /// Half-lives in days of the fresh counts that are added to scores, each with a weight that is learned, such as `[7]` or `[1, 7, 30]`. Default none: scores
    /// then do not depend on when they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fresh_half_life_days: Vec<f64>,
}

impl Default for SasRecConfig {
    fn default() -> Self {
        Self {
            width: 64,
            causal: true,
            heads: 1,
            blocks: 2,
            feed_forward: None,
            length: 50,
            vocabulary: None,
            head: None,
            epsilon: 1e-8,
            std: 0.02,
            head_std: 0.02,
            fresh_half_life_days: Vec::new(),
        }
    }
}

/// One block.
#[derive(Clone, Copy, Debug)]
struct Block {
    norm_attention: LayerNorm,
    attention: Attention,
    norm_feed_forward: LayerNorm,
    feed_forward: [Linear; 2],
    /// Where its output can be changed; the input there is the block's.
    end: SiteId,
}

/// The backbone `sasrec`.
///
/// It reads the same batches as [`NextItNet`](super::NextItNet), and has the same head.
#[derive(Debug)]
pub struct SasRec {
    architecture: Architecture,
    ends: NextItem,
    /// `[1, length, d]`, the last position first.
    positions: ParamId,
    length: usize,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl SasRec {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for sizes of 0, heads that do not divide the width, or vocabularies that the schema does not have.
    pub fn new(config: &SasRecConfig, schema: &Schema) -> Result<Self, ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config("sasrec", key, problem));
        let hidden = config.feed_forward.unwrap_or(config.width);
        for (key, value) in [("width", config.width), ("heads", config.heads), ("feed_forward", hidden), ("length", config.length)] {
            if value == 0 {
                return error(key, "must be at least 1");
            }
        }
        let (d, heads) = (config.width, config.heads);
        if !d.is_multiple_of(heads) {
            return error("heads", &format!("must divide the width, {d}"));
        }
        let ends = Ends {
            backbone: "sasrec",
            width: d,
            vocabulary: config.vocabulary.as_ref(),
            head: config.head.as_ref(),
            stds: [config.std, config.head_std],
            half_lives: &config.fresh_half_life_days,
            has_mask: !config.causal,
        };
        let mut architecture = Architecture::default();
        let input = ends.input(&mut architecture, schema)?;
        let positions = architecture.param(ParamSpec::weight("input.positions", [1, config.length, d], Init::TruncatedNormal(config.std)));
        let blocks = (0..config.blocks).map(|i| {
            let (path, init, zero) = (format!("block.{i}"), Init::XavierUniform, Init::Constant(0.0));
            let norm_attention = architecture.layer_norm(&format!("{path}.norm_attention"), d, config.epsilon);
            let attention = architecture.attention(&format!("{path}.attention"), d, heads, init);
            let norm_feed_forward = architecture.layer_norm(&format!("{path}.norm_feed_forward"), d, config.epsilon);
            let feed_forward = [("in", [d, hidden]), ("out", [hidden, d])]
                .map(|(name, widths)| architecture.linear(&format!("{path}.feed_forward.{name}"), widths, init, zero, Role::Body));
            let end = architecture.site(path, SiteKind::Hidden { d }, Role::Body);
            Block { norm_attention, attention, norm_feed_forward, feed_forward, end }
        });
        let blocks = blocks.collect();
        let norm = architecture.layer_norm("norm", d, config.epsilon);
        let ends = ends.head(&mut architecture, input);
        Ok(Self { architecture, ends, positions, length: config.length, blocks, norm })
    }

    /// The row of `P` for each position of a batch: one list for all groups where each ends with its last real position, else one a group, `[G|1, L]`.
    fn places(&self, batch: &Batch) -> Vec<i32> {
        let place = |following: usize| following.min(self.length - 1) as i32;
        let groups = || batch.mask.chunks_exact(batch.rows.max(1));
        if groups().all(|mask| mask.is_sorted_by(|a, b| *a == 0.0 || *b != 0.0)) {
            return (0..batch.rows).map(|i| place(batch.rows - 1 - i)).collect();
        }
        let of_group = |mask: &[f32]| {
            let mut places: Vec<i32> = Vec::with_capacity(mask.len());
            let mut following = 0;
            for &real in mask.iter().rev() {
                places.push(place(following));
                following += usize::from(real != 0.0);
            }
            places.reverse();
            places
        };
        groups().flat_map(of_group).collect()
    }

    /// `P[n]` for each position, `[G|1, L, d]`.
    fn position_rows(&self, pass: &Pass<'_>, batch: &Batch) -> Tensor<3> {
        let (places, rows) = (self.places(batch), pass.params.get(self.positions));
        let (groups, d) = (places.len() / batch.rows.max(1), rows.dims()[2]);
        let index = Tensor::<1, Int>::from_data(TensorData::new(places.clone(), [places.len()]), &rows.device());
        rows.select(1, index).reshape([groups, batch.rows, d])
    }

    /// The hidden states `[G, L, C]` of a batch whose rows are `h` `[G, L, C]`.
    fn body(&self, pass: &Pass<'_>, batch: &Batch, h: Tensor<3>) -> Tensor<3> {
        let mask = batch.mask.contains(&0.0).then_some(&batch.mask[..]);
        let seen = Seen { sight: self.sight(), mask };
        let mut h = h + self.position_rows(pass, batch);
        for block in &self.blocks {
            let x = h.clone();
            let z = block.norm_attention.forward(pass, h.clone(), Activation::Identity);
            h = h + block.attention.forward(pass, z, seen);
            let z = block.norm_feed_forward.forward(pass, h.clone(), Activation::Identity);
            let [inner, outer] = block.feed_forward;
            h = h + outer.forward(pass, inner.forward(pass, z, Activation::Relu), Activation::Identity);
            h = pass.modulation.output(block.end, &x, h);
        }
        self.norm.forward(pass, h, Activation::Identity)
    }
}

impl Backbone for SasRec {
    fn name(&self) -> &'static str {
        "sasrec"
    }

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn objectives(&self) -> &'static [Objective] {
        &[Objective::Softmax, Objective::Bpr, Objective::Logistic]
    }

    fn mask_token(&self) -> Option<u32> {
        self.ends.mask_token()
    }

    fn sight(&self) -> Sight {
        if self.ends.mask_token().is_some() { Sight::All } else { Sight::Earlier }
    }

    fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
        NextItem::gather(tables, batch)
    }

    fn carry_over(&self, from: &[Arc<Table>], fresh: &mut [Arc<Table>]) {
        self.ends.carry_over(from, fresh);
    }

    fn reads(&self, leaf: usize, table: usize) -> bool {
        NextItem::reads(leaf, table)
    }

    fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
        self.ends.scatter(batch, gradients, sink);
    }

    fn forward(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Output {
        let h = self.body(pass, batch, self.ends.rows(pass, batch, inputs));
        self.ends.output(pass, batch, inputs, h)
    }
}
