//! `joint`: the base's network trained from a fresh start on the rows of the base's domains and those of the target, pooled.
//!
//! `min_θ (Σ_{i in S} l(y_i, f_θ(x_i)) + Σ_{i in T} l(y_i, f_θ(x_i))) / (|S| + |T|)`, S the rows that the base was trained on, T those of the target. A row of either counts the same.
//!
//! Trained: everything. What an adaptation costs in quality against training again with all there is shows against it, and so does what it saves in time.
//!
//! # References
//! The upper reference of Z. Li and D. Hoiem, *Learning without Forgetting*, IEEE TPAMI 2017 (joint training); in multi-task learning R. Caruana, *Multitask Learning*, Machine Learning 1997.

use acclimate_model::{Bound, Modulation};
use serde::{Deserialize, Serialize};

use crate::method::scored_rows;
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, SourceRows, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<JointConfig>("joint", Kind::Control, "the same network, trained on the base's rows and the target's together");

/// Configuration of [`Joint`]; it has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointConfig {}

/// The method `joint`.
#[derive(Debug)]
pub struct Joint {
    scope: Scope,
}

impl MethodConfig for JointConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        scored_rows(METHOD.name, target.backbone, "trains on labelled rows of the base's domains as well")?;
        Ok(Box::new(Joint { scope: Scope::all(target.backbone) }))
    }
}

impl Adaptation for Joint {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn start(&self) -> Start {
        Start::Fresh
    }

    fn needs(&self) -> Needs {
        Needs { source: SourceRows::Pooled, ..Needs::default() }
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none())
    }
}
