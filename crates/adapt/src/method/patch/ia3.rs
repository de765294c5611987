//! `ia3`: one factor for each hidden feature.
//!
//! `y = (l ⊙ x) W + b` at every linear site but the first, `l [d_x]` starting at 1: the output of each hidden layer is scaled before the next one reads it. Of a
//! convolution the channels are scaled. The published form scales keys, values and the hidden state of the feed-forward layers of a Transformer; in a tower that
//! last one is what there is. Trained: the factors, and the parts in `unfreeze`. It folds into the weights.
//!
//! # References
//! H. Liu et al., *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning*, NeurIPS 2022.

use acclimate_model::{Bound, Effect, Modulation, ParamId, ParamSpec, Scale, SiteId};
use serde::{Deserialize, Serialize};

use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<Ia3Config>("ia3", Kind::Adaptation, "one factor for each hidden feature").tested_with(&["unfreeze = ['rows']"]);

/// Configuration of [`Ia3`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ia3Config {
    /// Parts of the base trained beside the factors; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for Ia3Config {
    fn default() -> Self {
        Self { unfreeze: vec![Part::Head] }
    }
}

/// The method `ia3`.
#[derive(Debug)]
pub struct Ia3 {
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Where each factor stands.
    sites: Vec<SiteId>,
}

impl MethodConfig for Ia3Config {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        // What the first layer reads are the inputs, not hidden features.
        let linear = target.backbone.architecture().linear_sites().skip(1);
        let (sites, params): (Vec<_>, Vec<_>) =
            linear.map(|(id, site, _)| (id, ParamSpec::vector(format!("{}.ia3", site.path), 1, site.d_x, 1.0))).unzip();
        if sites.is_empty() {
            return Err(AdaptError::Unsupported { method: METHOD.name, problem: "its backbone has no hidden layer".into() });
        }
        Ok(Box::new(Ia3 { scope: scope(&self.unfreeze, target.backbone), params, sites }))
    }
}

impl Adaptation for Ia3 {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let scaled = |i: usize| Effect::Input(Scale { gain: Some(own.get(ParamId(i))), shift: None });
        Ok(self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &site)| all.with(site, scaled(i))))
    }
}
