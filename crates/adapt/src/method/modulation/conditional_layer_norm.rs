//! `conditional_layer_norm`: gain and shift of every layer norm under a condition.
//!
//! At layer norm l of the base, with its gain g_l and shift b_l: `y = g_l ⊙ (1 + e_c W_l^γ) ⊙ (x - mean) / sqrt(var + ε) + b_l + e_c W_l^β`, `e_c` the method's own embedding of the
//! condition c (`condition.rs`).
//!
//! Trained: embedding and maps, nothing else. W starts at 0, so the patched network equals the base at start, to rounding where conditions differ in a batch. Of a condition, what is served are the
//! products: 2 d values a norm. A condition that all rows share folds into the norms.
//!
//! On sequences `levels` add to the rows `x_t` that enter the network:
//!
//! | level | added at position t | at start |
//! |---|---|---|
//! | `condition` | `e_c U` | `U = 0` |
//! | `session` | `mean_s ReLU(x_s V1 + c1) V2`, s the position t and those before it, at most `window` in all | `V2 = 0` |
//!
//! What a position adds depends on nothing after it; in a network that sees both sides the mean is over all of the sequence.
//!
//! Deviations from the paper: gain and shift of the base stay and are changed, instead of being replaced; maps have no bias, for the common part of `e_c` is one. Levels stand at the network's input, where
//! the paper adds them between encoder and decoder; a session is read by one map a position instead of two convolutions over a reference. Positions of sequences hold items alone, so the condition there is
//! `item`, and two levels are not here: that of a user or domain, and that of single positions, a code of what is measured there with a predictor of it.
//!
//! # References
//! M. Chen et al., *AdaSpeech: Adaptive Text to Speech for Custom Voice*, ICLR 2021.

use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, NormChange, ParamId, ParamSpec, Sight, SiteId, SiteKind};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::method::{Condition, Earlier, Features, Widths};
use crate::selection::{Part, layer_norms, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<ConditionalLayerNormConfig>(
    "conditional_layer_norm",
    Kind::Adaptation,
    "gain and shift of layer norms under a condition, and what a session adds to a sequence",
)
.tested_with(&[
    "condition = 'segment'",
    "condition = ['tags', 'user_trait_0']\nembedding = 4\nunfreeze = ['head']",
    "condition = 'item'",
    "condition = 'item'\nlevels = ['condition', 'session']",
    "condition = 'item'\nlevels = ['session']\nwindow = 3\nunfreeze = ['rows']",
]);

/// What is added to the rows of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A vector of the condition.
    Condition,
    /// What the sequence has held so far.
    Session,
}

/// Configuration of [`ConditionalLayerNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionalLayerNormConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Width of each feature's embedding; default 8. The maps grow with it times the widths of all norms.
    pub embedding: usize,
    /// Patterns of the layer norms that are changed; default all of the body.
    pub sites: Vec<String>,
    /// What is added to the rows of a sequence: `condition`, `session`, or both; default nothing.
    pub levels: Vec<Level>,
    /// Width of what is read of each position of a session; default 16.
    pub hidden: usize,
    /// Positions of a session, counted back from the current one; default all. Shorter ones say what is sought now, longer ones what a user likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Parts of the base trained beside; default none, as published.
    pub unfreeze: Vec<Part>,
}

impl Default for ConditionalLayerNormConfig {
    fn default() -> Self {
        Self {
            condition: Features::default(),
            embedding: 8,
            sites: vec!["*".into()],
            levels: Vec::new(),
            hidden: 16,
            window: None,
            unfreeze: Vec::new(),
        }
    }
}

/// The method `conditional_layer_norm`.
#[derive(Debug)]
pub struct ConditionalLayerNorm {
    condition: Condition,
    /// `[W_1^γ, W_1^β, W_2^γ, ..]`.
    maps: ParamId,
    /// The site of gathered rows, and U.
    level: Option<(SiteId, ParamId)>,
    session: Option<Session>,
    scope: Scope,
    params: Vec<ParamSpec>,
    sites: Widths,
}

/// The level of sessions.
#[derive(Clone, Copy, Debug)]
struct Session {
    site: SiteId,
    v1: ParamId,
    c1: ParamId,
    v2: ParamId,
    sight: Sight,
    window: Option<usize>,
}

impl ConditionalLayerNormConfig {
    /// The rows that levels are added to, with their width.
    fn input(&self, target: Target<'_>) -> Result<Option<(SiteId, usize)>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if (1..self.levels.len()).any(|i| self.levels[..i].contains(&self.levels[i])) {
            return Err(value("levels", "names one level twice"));
        }
        if self.hidden == 0 {
            return Err(value("hidden", "must be at least 1"));
        }
        if self.window == Some(0) {
            return Err(value("window", "must be at least 1: a position and those before it"));
        }
        if self.window.is_some() && !self.levels.contains(&Level::Session) {
            return Err(value("window", "counts the positions of a session; add `session` to `levels`, or leave it out"));
        }
        if self.window.is_some() && target.backbone.sight() == Sight::All {
            return Err(value("window", "counts back from a position, and the network sees both sides; leave it out"));
        }
        if self.levels.is_empty() {
            return Ok(None);
        }
        if target.backbone.sight() == Sight::Itself {
            return Err(value("levels", "adds to the positions of a sequence, and this is a network of rows; leave it out"));
        }
        let sites = &target.backbone.architecture().sites;
        let mut rows = sites.iter().enumerate().filter_map(|(id, site)| if let SiteKind::Rows { d } = site.kind { Some((SiteId(id), d)) } else { None });
        rows.next().map(Some).ok_or_else(|| value("levels", "adds to gathered rows, and the network has no site of any; leave it out"))
    }
}

impl MethodConfig for ConditionalLayerNormConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        if layer_norms(&["*".into()], target.backbone).is_empty() {
            let problem = "its body has no layer norm; use a base with `norm = \"layer\"`, `sasrec` or `nextitnet`, or `film`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let norms = layer_norms(&self.sites, target.backbone);
        if norms.is_empty() {
            return Err(AdaptError::Value { method: METHOD.name, key: "sites", problem: "matches no layer norm of the backbone's body".into() });
        }
        let (sites, input) = (Widths::side_by_side(norms), self.input(target)?);
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let mut add = |spec: ParamSpec| {
            params.push(spec);
            ParamId(params.len() - 1)
        };
        let zero = Init::Constant(0.0);
        let maps = add(ParamSpec::weight("norms.weight", [1, condition.width(), 2 * sites.sum()], zero));
        let with = |level: Level| input.filter(|_| self.levels.contains(&level));
        let level = with(Level::Condition).map(|(site, d)| (site, add(ParamSpec::weight("condition.level.weight", [1, condition.width(), d], zero))));
        let session = with(Level::Session).map(|(site, d)| Session {
            site,
            v1: add(ParamSpec::weight("session.0.weight", [1, d, self.hidden], Init::KaimingUniform)),
            c1: add(ParamSpec::vector("session.0.bias", 1, self.hidden, 0.0)),
            v2: add(ParamSpec::weight("session.1.weight", [1, self.hidden, d], zero)),
            sight: target.backbone.sight(),
            window: self.window,
        });
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(ConditionalLayerNorm { condition, maps, level, session, scope, params, sites }))
    }
}

impl Session {
    /// What is added to each position, `[G, L, d]`.
    fn of(&self, own: &Bound, context: &Context<'_>) -> Result<Tensor<3>, AdaptError> {
        let x = context.inputs.first().ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "gathered rows" })?;
        let read = relu(product(x.clone(), own.get(self.v1)) + own.get(self.c1)); // [G, L, h]
        let mean = Earlier::new(context.query, self.sight, self.window, &x.device()).mean(read);
        Ok(product(mean, own.get(self.v2)))
    }
}

impl Adaptation for ConditionalLayerNorm {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    // Norms with a gain and a shift of each row add up in another order than those with one.
    fn rounds_at_start(&self) -> bool {
        true
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let conditions = self.condition.embed(own, context);
        let of_conditions = |map: ParamId| conditions.spread(product(conditions.values.clone(), own.get(map)));
        let mut all = Modulation::none();
        if let Some((site, map)) = self.level {
            all = all.with(site, Effect::Added(of_conditions(map)));
        }
        if let Some(session) = &self.session {
            all = all.with(session.site, Effect::Added(session.of(own, context)?));
        }
        let of_each = product(conditions.values.clone(), own.get(self.maps)); // [1, U, 2 Σ d]
        Ok(self.sites.parts(&of_each, 2).fold(all, |all, (site, part)| {
            let (times, shift) = (conditions.spread(part(0) + 1.0), conditions.spread(part(1))); // [G|1, N|1, d]
            let change = NormChange { times: Some(times), shift: Some(shift), ..NormChange::default() };
            all.with(site, Effect::Norm(change))
        }))
    }
}
