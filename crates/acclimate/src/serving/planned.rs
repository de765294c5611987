//! Scoring with a compiled plan.

use std::sync::Arc;

use acclimate_adapt::Serve;
use acclimate_model::Objective;
use acclimate_plan::{Plan, Query, Scratch};
use acclimate_serve::engine::{Adapted, Ask, Change, Model, ModelError, Support};

/// A base, or a base with a patch, as plans: one for all rows, or one for each domain.
pub(super) struct PlannedModel {
    pub(super) plans: Vec<Arc<Plan>>,
    pub(super) objective: Objective,
    pub(super) kind: &'static str,
    pub(super) serve: Serve,
    pub(super) bytes: usize,
}

impl PlannedModel {
    fn plan(&self, domain: u32) -> Result<&Plan, ModelError> {
        match &self.plans[..] {
            [one] => Ok(one),
            plans => plans.get(domain as usize).map(AsRef::as_ref).ok_or_else(|| {
                ModelError("the patch treats each domain in its own way, and the request's is none that it knows; give `domain`".into())
            }),
        }
    }
}

impl Model for PlannedModel {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn adapts(&self) -> bool {
        false
    }

    fn applies(&self, support_rows: usize) -> bool {
        self.serve.applies(support_rows)
    }

    fn adapt(&self, _: &mut Scratch, _: Support, _: &mut dyn FnMut(u32) -> bool) -> Result<Adapted, ModelError> {
        Ok(Adapted { change: Change::None, form: "none", steps: 0 })
    }

    fn score(&self, scratch: &mut Scratch, asks: &[Ask<'_>], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let begin = out.len();
        let query = |ask: &Ask<'_>| Query { rows: ask.rows, personal: ask.adapted.and_then(|adapted| adapted.change.personal()) };
        let wrong = |error: acclimate_plan::PlanError| ModelError(error.to_string());
        // One plan scores all requests at once; plans of several domains score each request by its own.
        if let [plan] = &self.plans[..] {
            let queries: Vec<Query<'_>> = asks.iter().map(query).collect();
            plan.score(scratch, &queries, out).map_err(wrong)?;
        } else {
            for ask in asks {
                self.plan(ask.domain)?.score(scratch, &[query(ask)], out).map_err(wrong)?;
            }
        }
        out[begin..].iter_mut().for_each(|score| *score = self.objective.predict(*score));
        Ok(())
    }
}
