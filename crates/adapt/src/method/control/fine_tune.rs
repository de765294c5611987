//! `fine_tune`: trains parameters of the base itself, the control that every patch is compared with.
//!
//! Trained: what `scope` names, starting as the base. Nothing is added to the network, so it is the identity at start.
//!
//! # References
//! `fine_last1` (the same as `fine_tune_last`) and `fine_last2`, FineLast1 and FineLast2 in F. Yuan et al. (PeterRec), SIGIR 2020: the head with the last one or two convolutions
//! of the last residual block, here with their norms. There `fine_tune_head` is FineCLS, `scratch` FineZero, `fine_tune_all` FineAll.
//! `bitfit`: E. Ben Zaken et al., *BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models*, ACL 2022. `ln_tuning`: gains and
//! shifts of all norms, as the norm-only part of N. Houlsby et al., ICML 2019. Both with the head, which a new task needs. `fpt`: norms, positions, input rows and head of a frozen
//! Transformer, whose attention and feed-forward matrices stay; its biases of linear layers stay as well, as published. K. Lu et al., *Pretrained Transformers as Universal Computation
//! Engines*, AAAI 2022. There the input is a new linear map; here it is the rows that training touches.

use acclimate_model::{Bound, Modulation};
use serde::{Deserialize, Serialize};

use crate::selection::{Part, last_block, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<FineTuneConfig>("fine_tune", Kind::Control, "trains the base's own parameters").with_presets(&[
    ("fine_tune_all", "scope = ['all']"),
    ("fine_tune_last", "scope = ['last']"),
    ("fine_last1", "scope = ['last']"),
    ("fine_last2", "scope = ['last_block']"),
    ("fine_tune_head", "scope = ['head']"),
    ("fine_tune_rows", "scope = ['rows']"),
    ("bitfit", "scope = ['biases', 'head']"),
    ("ln_tuning", "scope = ['norms', 'head']"),
    ("fpt", "scope = ['norms', 'positions', 'rows', 'head']"),
]);

/// Configuration of [`FineTune`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuneConfig {
    /// Parts of the base to train: `all`, `last`, `last_block` (of networks of residual blocks), `head`, `head_rows`, `norms`, `biases`, `positions`, `rows`, in any combination.
    /// Default `all`.
    pub scope: Vec<Part>,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self { scope: vec![Part::All] }
    }
}

/// The method `fine_tune`.
#[derive(Debug)]
pub struct FineTune {
    scope: Scope,
}

impl MethodConfig for FineTuneConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        Ok(Box::new(FineTune { scope: checked_scope(METHOD.name, &self.scope, target)? }))
    }
}

/// The scope of these parts, for any control with a key `scope`.
///
/// # Errors
/// Parts of which the backbone has none.
pub(super) fn checked_scope(method: &'static str, parts: &[Part], target: Target<'_>) -> Result<Scope, AdaptError> {
    if parts.contains(&Part::LastBlock) && last_block(target.backbone.architecture()).is_none() {
        let problem = "it has no residual blocks, which `last_block` needs; use `last`".into();
        return Err(AdaptError::Unsupported { method, problem });
    }
    let scope = scope(parts, target.backbone);
    if scope == Scope::default() {
        return Err(AdaptError::Value { method, key: "scope", problem: "names nothing that this backbone has".into() });
    }
    Ok(scope)
}

impl Adaptation for FineTune {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none())
    }
}
