//! Hidden states compared with item vectors: the factors of scores.

use burn::tensor::{Tensor, TensorData};

use super::Output;
use crate::kernel;

/// Added to the score of what is no candidate.
const NO_CANDIDATE: f32 = -1e9;

/// P hidden states and the item vectors they are multiplied with.
///
/// Training never forms the `[P, K]` scores: the fused losses work on the factors.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// `[1, P, d]`.
    pub hidden: Tensor<3>,
    /// Items that all positions share: every item of the head, or sampled negatives. `[1, K, d]`.
    pub items: Tensor<3>,
    /// Each position's own next item `[1, P, d]`, where the shared items are sampled negatives.
    pub positives: Option<Tensor<3>>,
    /// Next item of each position: its position in `items`, or its row of the head where the shared items are sampled. Empty for queries.
    pub target: Vec<u32>,
    /// Rows of the head behind `items` where these are sampled; else empty.
    pub sampled: Vec<u32>,
}

impl Comparison {
    /// Mean of `-log softmax` of each position's next item among the shared items (sampled: and itself).
    ///
    /// # Panics
    /// Panics for queries, which have no next item.
    #[must_use]
    pub fn softmax_loss(&self) -> Tensor<1> {
        let weights = vec![1.0; self.target.len()];
        let (hidden, items) = (self.hidden.clone(), self.items.clone());
        match &self.positives {
            None => kernel::softmax_loss(hidden, items, None, &self.target, &weights),
            Some(positives) => {
                let (targets, sampled) = (&self.target, &self.sampled);
                let candidates = kernel::Candidates { positives: positives.clone(), negatives: items, targets, sampled };
                kernel::sampled_softmax_loss(hidden, candidates, &weights)
            }
        }
    }

    /// Scores of the shared items `[1, P, K]`.
    #[must_use]
    pub fn scores(&self) -> Tensor<3> {
        self.hidden.clone().matmul(self.items.clone().swap_dims(1, 2))
    }

    /// The scores as candidates: all items with the position of the next one among them, or the next item first and the negatives after it. A negative that is
    /// the position's own next item is none.
    #[must_use]
    pub fn candidates(&self) -> Output {
        match &self.positives {
            None => Output::Candidates { scores: self.scores(), target: self.target.clone() },
            Some(positives) => {
                let own = (self.hidden.clone() * positives.clone()).sum_dim(2); // [1, P, 1]
                let scores = Tensor::cat(vec![own, self.scores() + self.hits()], 2); // [1, P, 1 + K]
                Output::Candidates { scores, target: vec![0; self.target.len()] }
            }
        }
    }

    /// What takes negatives out that are a position's own next item, `[1, P, K]`.
    fn hits(&self) -> Tensor<3> {
        let hit = |(&target, &sampled): (&u32, &u32)| if sampled == target { NO_CANDIDATE } else { 0.0 };
        let hits =
            self.target.iter().flat_map(|target| self.sampled.iter().map(move |sampled| hit((target, sampled)))).collect::<Vec<f32>>();
        Tensor::from_data(TensorData::new(hits, [1, self.target.len(), self.sampled.len()]), &self.hidden.device())
    }
}
