//! `request_norm`: hidden features standardised over the rows of a request.
//!
//! For the M rows j of a row's request, x_j as it was gathered (no gradient goes back into it) and h_j what layer l of the body gives before norm and activation:
//!
//! ```text
//! μ, v  = mean and variance of h_j over j
//! r     = ReLU(mean_j x_j V + b)                                      [k]
//! γ, β  = 1 + r W_γ, r W_β                                            W = 0 at start
//! h_j <- h_j + g ⊙ (γ ⊙ (h_j - μ) / sqrt(v + ε) + β - h_j) * t        g = 0 at start, t = (M - 1) / (M - 1 + κ)
//! ```
//!
//! A row that is alone in its request stays as it is. What all candidates of a request share, its user and its context, standardisation takes away, so the method ranks within requests; g decides per
//! feature how far. The network itself stays as it is (`unfreeze = []`). `set = "another"` is a control, as in `request_set`.
//!
//! # References
//! The form is this project's; normalisation of a list of candidates is D. Ulyanov et al., *Instance Normalization*, 2016, over the rows of a request in place of the places of an image.

use acclimate_model::kernel::group_moments;
use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec, SiteId};
use burn::tensor::activation::relu;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

use crate::method::{Gathered, SetOf, Widths, of_requests};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<RequestNormConfig>("request_norm", Kind::Adaptation, "hidden features standardised over the rows of a request")
    .tested_with(&["set = 'another'", "unfreeze = ['head']"]);

/// Added to variances.
const EPSILON: f32 = 1e-3;

/// Configuration of [`RequestNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestNormConfig {
    /// Width k of a request's summary; default 16.
    pub width: usize,
    /// κ: a request of so many rows beside the first is trusted by half; default 4.
    pub shrink: f32,
    /// The request's `own` set (default), or that of `another`, as a control.
    pub set: SetOf,
    /// Patterns of the sites that are standardised; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside them; default none.
    pub unfreeze: Vec<Part>,
}

impl Default for RequestNormConfig {
    fn default() -> Self {
        Self { width: 16, shrink: 4.0, set: SetOf::Own, sites: vec!["*".into()], unfreeze: Vec::new() }
    }
}

/// The method `request_norm`.
#[derive(Debug)]
pub struct RequestNorm {
    scope: Scope,
    /// `V`, `b`, `W = [W_γ; W_β of each site]`, `g` of all sites.
    params: Vec<ParamSpec>,
    sites: Widths,
    shrink: f32,
    set: SetOf,
}

impl MethodConfig for RequestNormConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let d_x = of_requests(METHOD.name, (self.width, self.shrink), target)?;
        let sites = Widths::of_body(METHOD.name, &self.sites, target.backbone)?;
        let params = vec![
            ParamSpec::weight("summary.weight", [1, d_x, self.width], Init::KaimingUniform),
            ParamSpec::vector("summary.bias", 1, self.width, 0.0),
            ParamSpec::weight("generator.weight", [1, self.width, 2 * sites.sum()], Init::Constant(0.0)),
            ParamSpec::vector("gate", 1, sites.sum(), 0.0),
        ];
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(RequestNorm { scope, params, sites, shrink: self.shrink, set: self.set }))
    }
}

/// Mean and variance of what comes out at a site, `[G, 1, d]` each.
type Seen = [Tensor<3>; 2];

/// What is kept of the sites that a set's pass comes by.
type Kept = Arc<Mutex<Vec<(SiteId, Seen)>>>;

fn moments(set: &Gathered, h: &Tensor<3>) -> Seen {
    group_moments(h, &set.share)
}

impl RequestNorm {
    /// What happens at each site, with moments that `moments` gives of what comes out there.
    fn modulation<'a>(
        &'a self,
        own: &Bound,
        (generated, trust): (&Tensor<3>, &Tensor<3>),
        moments: impl Fn(SiteId, &Tensor<3>) -> Option<Seen> + Clone + Send + Sync + 'a,
    ) -> Modulation<'a> {
        let gates = own.get(ParamId(3));
        let gates: Vec<Tensor<3>> = self.sites.parts(&gates, 1).map(|(_, part)| part(0)).collect();
        self.sites.parts(generated, 2).zip(gates).fold(Modulation::none(), |all, ((site, part), g)| {
            let (gamma, beta, g, moments) = (part(0) + 1.0, part(1), g * trust.clone(), moments.clone());
            all.with(
                site,
                Effect::opaque(move |_, h| {
                    let Some([mean, variance]) = moments(site, &h) else { return h };
                    // One scale and shift of each request: h (1 - g + g γ / s) + g (β - μ γ / s), s the root.
                    let scale = gamma.clone() / (variance + EPSILON).sqrt(); // [G, 1, d]
                    let shift = (beta.clone() - mean * scale.clone()) * g.clone();
                    h * (g.clone() * (scale - 1.0) + 1.0) + shift
                }),
            )
        })
    }
}

impl Adaptation for RequestNorm {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.set.needs()
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let Some(set) = Gathered::of(METHOD.name, context)? else { return Ok(Modulation::none()) };
        let others = |rows: f32| (rows - 1.0).max(0.0);
        let trust = set.column(|rows| others(rows) / (others(rows) + self.shrink).max(f32::MIN_POSITIVE));
        let r = relu(product(set.mean(set.x.clone()), own.get(ParamId(0))) + own.get(ParamId(1))); // [G, 1, k]
        let generated = product(r, own.get(ParamId(2))); // [G, 1, 2 Σ d]
        let Some(declared) = context.declared else {
            return Ok(self.modulation(own, (&generated, &trust), move |_, h| Some(moments(&set, h))));
        };
        // The set goes first, and what it shows at each site is what the query is standardised by.
        let kept: Kept = Arc::default();
        let keep = Arc::clone(&kept);
        let reading = self.modulation(own, (&generated, &trust), move |site, h| {
            let seen = moments(&set, h);
            keep.lock().unwrap_or_else(PoisonError::into_inner).push((site, seen.clone()));
            Some(seen)
        });
        declared.pass(base, &reading);
        drop(reading);
        let of_site = move |site: SiteId, _: &Tensor<3>| {
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            // A set without a row of a domain does not come by that domain's tower.
            kept.iter().find(|(at, _)| *at == site).map(|(_, seen)| seen.clone())
        };
        Ok(self.modulation(own, (&generated, &trust), of_site))
    }
}
