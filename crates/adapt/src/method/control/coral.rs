//! `coral`: the base's own parameters trained on source and target, whose hidden states are to vary alike.
//!
//! `L = (L_S + L_T) / 2 + λ |C_S - C_T|_F² / (4 d²)`, `C = Σ_i (h_i - h̄) (h_i - h̄)ᵀ / (n - 1)`
//!
//! over the rows of a batch, half of which are of the source and half of the target; L_S and L_T are their mean losses, h the d features that the head reads, n the number of rows of either half, λ the
//! weight. A half of fewer than two rows has no covariance, and then there is no such term.
//!
//! Trained: what `scope` names, starting as the base. It is the identity at start, adds nothing to the network, and needs the rows of the base's domains ([`SourceRows::Beside`]). Through
//! the closure that reads the hidden states it does not fold into the weights.
//!
//! Deviations from the paper: there the target has no labels and its loss is that of the source alone; here both have labels, and both losses count.
//!
//! # Shapes
//! - hidden states `[G, N, d]`, the first half of the groups of the source
//!
//! # References
//! B. Sun and K. Saenko, *Deep CORAL: Correlation Alignment for Deep Domain Adaptation*, ECCV 2016 workshops.

use std::sync::{Arc, Mutex, PoisonError};

use acclimate_data::Batch;
use acclimate_model::layer::product;
use acclimate_model::{Added, Bound, Effect, Modulation, Objective, SiteId, mask};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::fine_tune::checked_scope;
use crate::method::scored_rows;
use crate::selection::{Part, heads};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, SourceRows, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<CoralConfig>("coral", Kind::Control, "trains on source and target, whose hidden states are to vary alike")
        .tested_with(&["scope = ['last', 'rows']\nweight = 10.0"]);

/// Configuration of [`Coral`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoralConfig {
    /// Parts of the base to train, as in `fine_tune`; default all.
    pub scope: Vec<Part>,
    /// λ, how much the distance of the covariances counts beside the losses; 0 is fine-tuning on both. Default 1.
    pub weight: f64,
}

impl Default for CoralConfig {
    fn default() -> Self {
        Self { scope: vec![Part::All], weight: 1.0 }
    }
}

/// The method `coral`.
#[derive(Debug)]
pub struct Coral {
    scope: Scope,
    weight: f64,
    head: SiteId,
}

impl MethodConfig for CoralConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| Err(AdaptError::Unsupported { method: METHOD.name, problem: problem.into() });
        scored_rows(METHOD.name, target.backbone, "trains on labelled rows of the base's domains as well")?;
        if target.objective == Objective::Bpr {
            return unsupported("it is trained for `bpr`, whose groups are pairs and not source and target; train it for `logistic` or `squared_error`");
        }
        let &[head] = &heads(target.backbone)[..] else {
            return unsupported("it needs one linear head that the rows of all domains go through; use `dnn`");
        };
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return Err(AdaptError::Value { method: METHOD.name, key: "weight", problem: "must be 0 or more".into() });
        }
        Ok(Box::new(Coral { scope: checked_scope(METHOD.name, &self.scope, target)?, weight: self.weight, head }))
    }
}

/// The covariance of the real rows of some groups, `[1, d, d]`; `None` of fewer than two.
fn covariance(h: &Tensor<3>, batch: &Batch, groups: std::ops::Range<usize>) -> Option<Tensor<3>> {
    let [_, n, d] = h.dims();
    let rows = batch.mask[groups.start * n..groups.end * n].iter().filter(|&&m| m != 0.0).count();
    if rows < 2 {
        return None;
    }
    let all = groups.len() * n;
    let real = mask(batch, &h.device()).slice([groups.clone(), 0..n, 0..1]).reshape([1, all, 1]); // [1, G N, 1]
    let h = h.clone().slice([groups, 0..n, 0..d]).reshape([1, all, d]); // [1, G N, d]
    let mean = (h.clone() * real.clone()).sum_dim(1) / rows as f64; // [1, 1, d]
    let centred = (h - mean) * real; // [1, G N, d]
    Some(product(centred.clone().swap_dims(1, 2), centred) / (rows - 1) as f64)
}

impl Coral {
    /// `λ (C_S - C_T)² / (4 d²)`, `[1, d, d]`.
    fn distance(&self, h: &Tensor<3>, batch: &Batch) -> Option<Tensor<3>> {
        let [groups, _, d] = h.dims();
        let source = covariance(h, batch, 0..groups / 2)?;
        let target = covariance(h, batch, groups / 2..groups)?;
        Some((source - target).square() * (self.weight / (4 * d * d) as f64))
    }
}

impl Adaptation for Coral {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { source: SourceRows::Beside, ..Needs::default() }
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let read: Arc<Mutex<Option<Tensor<3>>>> = Arc::default();
        let kept = read.clone();
        // A panic elsewhere leaves no state half written.
        let keep = move |x: &Tensor<3>, y| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(x.clone());
            y
        };
        let all = Modulation::none().with(self.head, Effect::opaque(keep));
        Ok(all.with_term(move |after| {
            let h = read.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            self.distance(&h, after.batch).map(Added::new)
        }))
    }
}
