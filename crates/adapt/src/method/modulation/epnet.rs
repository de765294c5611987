//! `epnet`: gates on the gathered embeddings, from the domain.
//!
//! `x' = δ ⊙ x`, `δ = 2 σ(ReLU([sg(x); e_c] V1 + c1) V2 + c2)`, x the row that enters the network, numbers included, e_c the method's own embedding of the condition c: the row's domain or
//! features ([`Features`]). sg stops the gradient: the gate reads the embeddings and does not move them. Trained: embedding, gate and the head. V2 and c2 start at 0, where δ is 1, so the patched
//! network equals the base at start. A list under target attention is read as its mean, and gated as it enters the network.
//!
//! # References
//! J. Chang et al., *PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior Information*, KDD 2023.

use acclimate_model::{Bound, Effect, Modulation, ParamSpec, Role, Scale, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use crate::method::gate::{moves_rows, read};
use crate::method::{Condition, Features, Gate};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<EpnetConfig>("epnet", Kind::Adaptation, "gates on the gathered embeddings, from a condition")
    .tested_with(&["condition = ['segment', 'tags']\nunfreeze = ['head', 'rows']", "condition = 'item'"]);

/// Configuration of [`Epnet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpnetConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Width of each feature's embedding; default 8.
    pub embedding: usize,
    /// Width of the gate's hidden layer; default 16.
    pub hidden: usize,
    /// Parts of the base trained beside the gate; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for EpnetConfig {
    fn default() -> Self {
        Self { condition: Features::default(), embedding: 8, hidden: 16, unfreeze: vec![Part::Head] }
    }
}

/// The method `epnet`.
#[derive(Debug)]
pub struct Epnet {
    condition: Condition,
    gate: Gate,
    site: SiteId,
    is_exact: bool,
    scope: Scope,
    params: Vec<ParamSpec>,
}

impl MethodConfig for EpnetConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        if self.hidden == 0 {
            return Err(AdaptError::Value { method: METHOD.name, key: "hidden", problem: "must be at least 1".into() });
        }
        let sites = target.backbone.architecture().sites.iter().enumerate();
        let found = sites.filter(|(_, site)| site.role == Role::Body).find_map(|(id, site)| match site.kind {
            SiteKind::Rows { d } => Some((SiteId(id), d)),
            _ => None,
        });
        let Some((site, d)) = found else {
            let problem = "it has no site of gathered rows; use `dnn`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        };
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let gate = Gate::declare(&mut params, "input.gate", [d + condition.width(), self.hidden, d]);
        let scope = scope(&self.unfreeze, target.backbone);
        let is_exact = !moves_rows(&scope.tables, target);
        Ok(Box::new(Epnet { condition, gate, site, is_exact, scope, params }))
    }
}

impl Adaptation for Epnet {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let z = read(METHOD.name, &self.condition, own, context)?;
        Ok(Modulation::none().with(self.site, Effect::Output(Scale { gain: Some(self.gate.of(own, &z)), shift: None })))
    }
}
