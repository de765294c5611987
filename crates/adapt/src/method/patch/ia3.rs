//! `ia3`: one factor for each hidden feature.
//!
//! In a tower `y = (l ⊙ x) W + b` at every linear site but the first, `l [d_x]` starting at 1: the output of each hidden layer is scaled before the next one reads it. Of a
//! convolution the channels are scaled. In a Transformer the published places: keys `l_k ⊙ k`, values `l_v ⊙ v` and the hidden state of each feed-forward part `(l_ff ⊙ z) W2 + b2`. Trained: the factors, and the parts
//! in `unfreeze`. It folds into the weights.
//!
//! # References
//! H. Liu et al., *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning*, NeurIPS 2022.

use acclimate_model::{Backbone, Bound, Effect, Modulation, ParamId, ParamSpec, Scale, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use crate::selection::{Part, attention_sites, scope};
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
    sites: Vec<(SiteId, Place)>,
}

/// What of a site is scaled.
#[derive(Clone, Copy, Debug)]
enum Place {
    Input,
    Output,
}

/// The published places in a network with attention, else the input of every linear site but the first.
fn places(backbone: &dyn Backbone) -> Vec<(SiteId, Place)> {
    let attention: Vec<&str> = attention_sites(backbone).collect();
    let sites = backbone.architecture().linear_sites();
    if attention.is_empty() {
        // What the first layer reads are the inputs, not hidden features.
        return sites.skip(1).map(|(id, ..)| (id, Place::Input)).collect();
    }
    let place = |path: &str| match path.rsplit_once('.') {
        Some((of, "key" | "value")) if attention.contains(&of) => Some(Place::Output),
        _ => path.ends_with(".feed_forward.out").then_some(Place::Input),
    };
    sites.filter_map(|(id, site, _)| place(&site.path).map(|place| (id, place))).collect()
}

impl MethodConfig for Ia3Config {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let sites = places(target.backbone);
        let spec = |&(id, place): &(SiteId, Place)| {
            let site = &target.backbone.architecture().sites[id.0];
            let width = match (place, site.kind) {
                (Place::Output, SiteKind::Linear { d_out, .. }) => d_out,
                _ => site.d_x,
            };
            ParamSpec::vector(format!("{}.ia3", site.path), 1, width, 1.0)
        };
        let params = sites.iter().map(spec).collect();
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
        let scaled = |i: usize, place: Place| {
            let scale = Scale { gain: Some(own.get(ParamId(i))), shift: None };
            match place {
                Place::Input => Effect::Input(scale),
                Place::Output => Effect::Output(scale),
            }
        };
        Ok(self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &(site, place))| all.with(site, scaled(i, place))))
    }
}
