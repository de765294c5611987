//! `partitioned_norm`: each domain has moments, gain and shift of its own at every batch norm.
//!
//! `(γ ⊙ γ_p) (z - μ_p) / sqrt(v_p + ε) + β + β_p` for a row of domain p. `γ_p` starts at 1 and `β_p` at 0; the running `μ_p` and `v_p` start at the base's, so the patched network equals the base at
//! start. Each training step normalises a domain's rows by their own mean and biased variance and moves the running moments by a tenth of the way; scoring uses the running ones. A domain with
//! fewer than 16 rows in a batch takes the running ones and moves nothing. Domains that the base does not know share a set, which is that of the base unless rows of such domains are learned.
//!
//! Trained: gains and shifts of the domains, and the head. The base's own γ, β and moments stay as they are. The norm of a domain folds into the base's.
//!
//! The same norms in a whole star topology are [`star`](crate::method::patch::star). [`WindowNorms`](crate::WindowNorms) moves the moments of one domain on to rows without labels.
//!
//! # References
//! X. Sheng et al., *One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction*, CIKM 2021.

use acclimate_model::{Bound, Modulation, ParamSpec};
use serde::{Deserialize, Serialize};

use crate::method::{PartitionedNorm, Sets};
use crate::selection::{Part, needed_batch_norms, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<PartitionedNormConfig>("partitioned_norm", Kind::Adaptation, "moments, gain and shift of each domain at every batch norm")
    .tested_with(&["unfreeze = ['all']"]);

/// Configuration of [`Partitioned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartitionedNormConfig {
    /// Patterns of the norms that are partitioned; default every one with running moments.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the domains' gains and shifts; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for PartitionedNormConfig {
    fn default() -> Self {
        Self { sites: vec!["*".into()], unfreeze: vec![Part::Head] }
    }
}

/// The method `partitioned_norm`.
#[derive(Debug)]
pub struct Partitioned {
    norms: Vec<PartitionedNorm>,
    sets: Sets,
    scope: Scope,
    params: Vec<ParamSpec>,
}

impl MethodConfig for PartitionedNormConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let found = needed_batch_norms(METHOD.name, &self.sites, target.backbone)?;
        let sets = Sets::at_sites(METHOD.name, true, target)?;
        let mut params = Vec::new();
        let norms = found.into_iter().map(|norm| PartitionedNorm::declare(&mut params, sets, norm, "partitioned")).collect();
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Partitioned { norms, sets, scope, params }))
    }
}

impl Adaptation for Partitioned {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.sets.needs()
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let chosen = self.sets.choose(context)?;
        Ok(self.norms.iter().fold(Modulation::none(), |all, norm| norm.after(all, base, own, &chosen)))
    }
}
