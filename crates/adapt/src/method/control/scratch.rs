//! `scratch`: the base's network trained from a fresh start on the target's rows only. What adaptation is worth shows against it.

use acclimate_model::{Bound, Modulation};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<ScratchConfig>("scratch", Kind::Control, "the same network, trained on the target's rows only");

/// Configuration of [`Scratch`]; it has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchConfig {}

/// The method `scratch`.
#[derive(Debug)]
pub struct Scratch {
    scope: Scope,
}

impl MethodConfig for ScratchConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        Ok(Box::new(Scratch { scope: Scope::all(target.backbone) }))
    }
}

impl Adaptation for Scratch {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn start(&self) -> Start {
        Start::Fresh
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none())
    }
}
