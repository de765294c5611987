//! `nextitnet`: dilated convolutions over a sequence of items, trained to name the next one, or with `causal = false` those that are hidden.
//!
//! `H_0 = E[x]`; a block is `Z = ReLU(LN(conv_d(H)))`, `H' = H + ReLU(LN(conv_2d(Z)))`; the score of item j after position t is `<H[t], Q_j> + b_j`, and what is in
//! fashion (`next_item.rs`). Positions outside a sequence are zero at every layer, so padding changes nothing.
//!
//! A causal convolution sees a position and those before it. Without `causal` it sees as many on both sides, and the table of items has one more row, for the mask token:
//! what stands in place of an item that is asked for. Then t is the position of such a token, at the end of a history where the next item is asked for.
//!
//! # References
//! F. Yuan et al., *A Simple Convolutional Generative Network for Next Item Recommendation*, WSDM 2019: residual block (b). Its second ReLU
//! stands before the skip addition, as in the published code of PeterRec (SIGIR 2020). The network that sees both sides is the encoder of F. Yuan et al., *Future Data Helps Training: Modeling Future Contexts
//! for Session-based Recommendation* (GRec), WWW 2020, without its decoder.

use std::sync::Arc;

use acclimate_data::{Batch, Schema};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::next_item::{Ends, NextItem};
use super::{Backbone, Gathered, Output};
use crate::kernel::Taps;
use crate::{
    Activation, Architecture, Conv, Init, LayerNorm, ModelError, Objective, Pass, Role, RowGradients, Sight, SiteId, SiteKind, Table,
};

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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
pub(super) fn is_causal(causal: &bool) -> bool {
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
    ends: NextItem,
    blocks: Vec<Block>,
}

impl NextItNet {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for sizes of 0 or vocabularies that the schema does not have.
    pub fn new(config: &NextItNetConfig, schema: &Schema) -> Result<Self, ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config("nextitnet", key, problem));
        if config.kernel == 0 {
            return error("kernel", "must be at least 1");
        }
        if !config.causal && config.kernel.is_multiple_of(2) {
            return error("kernel", "must be odd where `causal = false`: as many positions before as after the current one");
        }
        if config.dilations.contains(&0) {
            return error("dilations", "must be at least 1 each");
        }
        let ends = Ends {
            backbone: "nextitnet",
            width: config.width,
            vocabulary: config.vocabulary.as_ref(),
            head: config.head.as_ref(),
            stds: [config.std, config.head_std],
            half_lives: &config.fresh_half_life_days,
            has_mask: !config.causal,
        };
        let (c, init) = (config.width, Init::TruncatedNormal(config.std));
        let mut architecture = Architecture::default();
        let input = ends.input(&mut architecture, schema)?;
        let taps = if config.causal { Taps::causal } else { Taps::centred };
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
        let ends = ends.head(&mut architecture, input);
        Ok(Self { architecture, ends, blocks })
    }

    /// The hidden states `[G, L, C]` of a batch whose rows are `h` `[G, L, C]`.
    fn body(&self, pass: &Pass<'_>, batch: &Batch, mut h: Tensor<3>) -> Tensor<3> {
        let mask = batch.mask.contains(&0.0).then(|| crate::mask(batch, &h.device())); // [G, L, 1]
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

impl Backbone for NextItNet {
    fn name(&self) -> &'static str {
        "nextitnet"
    }

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn mask_token(&self) -> Option<u32> {
        self.ends.mask_token()
    }

    fn objectives(&self) -> &'static [Objective] {
        &[Objective::Softmax, Objective::Bpr, Objective::Logistic]
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
