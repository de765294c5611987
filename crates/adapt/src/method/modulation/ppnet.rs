//! `ppnet`: gates on what each layer of the tower reads, from who and what a row is of.
//!
//! `h_{l+1} = φ((δ_l ⊙ h_l) W_l + b_l)` at every linear layer, the head included, `δ_l = 2 σ(ReLU([sg(x); e_c] V1 + c1) V2 + c2)` with matrices of the layer's own; x is the row that was gathered,
//! `h_0` what the tower reads of it, e_c the method's own embedding of the condition c: the row's domain or features ([`Features`]); published are the ids of user, item and author. sg stops the
//! gradient: gates read the embeddings and do not move them, while the tower does (a public port feeds the tower with what was detached, so that embeddings learn nothing). Trained: embedding,
//! gates and the head. V2 and c2 start at 0, where δ is 1, so the patched network equals the base at start. `epnet` and `ppnet` as one patch (`stack`) are PEPNet, but that both read x
//! as it was before either.
//!
//! # References
//! J. Chang et al., *PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior Information*, KDD 2023.

use acclimate_model::{Bound, Effect, Modulation, ParamSpec, Role, Scale, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use crate::method::gate::{moves_rows, read};
use crate::method::{Condition, Features, Gate};
use crate::selection::{Part, matches, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<PpnetConfig>("ppnet", Kind::Adaptation, "gates on what each layer reads, from a condition")
    .tested_with(&["condition = ['segment', 'tags']\nunfreeze = ['head', 'rows']", "condition = 'item'"]);

/// Configuration of [`Ppnet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpnetConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Width of each feature's embedding; default 8.
    pub embedding: usize,
    /// Width of each gate's hidden layer; default 16.
    pub hidden: usize,
    /// Patterns of the layers whose input is gated; default every linear layer of the body, and the head.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the gates; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for PpnetConfig {
    fn default() -> Self {
        Self { condition: Features::default(), embedding: 8, hidden: 16, sites: vec!["*".into()], unfreeze: vec![Part::Head] }
    }
}

/// The method `ppnet`.
#[derive(Debug)]
pub struct Ppnet {
    condition: Condition,
    gates: Vec<(SiteId, Gate)>,
    is_exact: bool,
    scope: Scope,
    params: Vec<ParamSpec>,
}

impl MethodConfig for PpnetConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        if self.hidden == 0 {
            return Err(AdaptError::Value { method: METHOD.name, key: "hidden", problem: "must be at least 1".into() });
        }
        let architecture = target.backbone.architecture();
        let rows = architecture.sites.iter().find_map(|site| match site.kind {
            SiteKind::Rows { d } if site.role == Role::Body => Some(d),
            _ => None,
        });
        let Some(rows) = rows else {
            let problem = "it has no site of gathered rows; use `dnn`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        };
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let is_named = |path: &str| self.sites.iter().any(|pattern| matches(pattern, path));
        let named = architecture.linear_sites().filter(|(_, site, _)| site.role != Role::Side && is_named(&site.path));
        let gates = named.map(|(id, site, _)| {
            let widths = [rows + condition.width(), self.hidden, site.d_x];
            (id, Gate::declare(&mut params, &format!("{}.gate", site.path), widths))
        });
        let gates: Vec<_> = gates.collect();
        if gates.is_empty() {
            let problem = "matches no linear layer of the backbone's body or head".into();
            return Err(AdaptError::Value { method: METHOD.name, key: "sites", problem });
        }
        let scope = scope(&self.unfreeze, target.backbone);
        let is_exact = !moves_rows(&scope.tables, target);
        Ok(Box::new(Ppnet { condition, gates, is_exact, scope, params }))
    }
}

impl Adaptation for Ppnet {
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
        let gated = |gate: Gate| Effect::Input(Scale { gain: Some(gate.of(own, &z)), shift: None });
        Ok(self.gates.iter().fold(Modulation::none(), |all, &(site, gate)| all.with(site, gated(gate))))
    }
}
