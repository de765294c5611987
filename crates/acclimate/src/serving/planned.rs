//! Scoring with a compiled plan.

use std::sync::Arc;

use acclimate_adapt::{InRequest, Serve};
use acclimate_model::Objective;
use acclimate_plan::{
    ContextLoop, HeadParams, HeadSolver, InnerLoop, Linear, Loss, Network, Personal, Plan, Query, Rates, Rows, Scratch, UserRate,
};
use acclimate_serve::engine::{Adapted, Ask, Change, Model, ModelError, Support, Unfit};

/// A base, or a base with a patch, as plans: one for all rows, or one for each domain.
pub(super) struct PlannedModel {
    pub(super) plans: Vec<Arc<Plan>>,
    pub(super) objective: Objective,
    pub(super) kind: &'static str,
    pub(super) serve: Serve,
    pub(super) bytes: usize,
    /// How it adapts to one user, if it does.
    pub(super) adapter: Option<Adapter>,
}

/// How a patch adapts to one user.
pub(super) enum Adapter {
    /// Gradient steps on its network, at a rate of the user's own where there is one to be told.
    Steps(InnerLoop, Option<UserRate>, Box<Network>),
    /// Gradient steps on a context vector of its network.
    Context(ContextLoop, Box<Network>),
    /// A head by one solve, and the head of somebody of whom nothing is known.
    Head(Box<HeadSolver>, Personal),
}

impl Adapter {
    /// What a method says, for its network.
    pub(super) fn new(method: InRequest, network: &Network, objective: Objective) -> Result<Self, acclimate_plan::AdaptError> {
        // Gradients are taken of gathered rows: no table is held for them.
        let layers = || Box::new(Network { tables: Vec::new(), slots: Vec::new(), ..network.clone() });
        Ok(match method {
            InRequest::Steps(steps, rate) => Self::Steps(steps, rate, layers()),
            InRequest::Context(steps) => Self::Context(steps, layers()),
            InRequest::Head { numbers, shares, prior, factor } => {
                let loss = if objective == Objective::Logistic { Loss::Logistic } else { Loss::SquaredError };
                let params = HeadParams { numbers: &numbers, shares: &shares, prior: &prior, factor: &factor };
                let solver = HeadSolver::new(loss, &network.head, params)?;
                let nobody = solver.solve(&[], &[])?;
                Self::Head(Box::new(solver), nobody)
            }
        })
    }

    /// Bytes that it keeps beside the plan and the base: weights are kept as they are as well where gradients are taken of them.
    pub(super) fn bytes(&self, base: &Network) -> usize {
        let layers = |network: &Network| {
            let of_base: Vec<&Arc<Vec<f32>>> = linears(base).flat_map(|linear| [&linear.weight, &linear.bias]).collect();
            let own = linears(network).flat_map(|linear| [&linear.weight, &linear.bias]);
            let own = own.filter(|own| !of_base.iter().any(|of_base| Arc::ptr_eq(of_base, own)));
            size_of::<Network>() + own.map(|values| 4 * values.len()).sum::<usize>()
        };
        match self {
            Self::Steps(inner, rate, network) => inner.bytes() + rate.as_ref().map_or(0, UserRate::bytes) + layers(network),
            Self::Context(inner, network) => 4 * inner.context.len() + layers(network),
            Self::Head(solver, nobody) => solver.bytes() + nobody.bytes(),
        }
    }
}

/// The linear maps of a network.
fn linears(network: &Network) -> impl Iterator<Item = &Linear> {
    network.layers.iter().map(|layer| &layer.linear).chain([&network.head])
}

impl PlannedModel {
    /// A request with what is its own. Somebody of whom nothing is known has the head of nobody.
    fn query<'q>(&'q self, ask: &Ask<'q>) -> Query<'q> {
        let nobody = match &self.adapter {
            Some(Adapter::Head(_, nobody)) => Some(nobody),
            _ => None,
        };
        Query { rows: ask.rows, personal: ask.adapted.map_or(nobody, |adapted| adapted.change.personal()) }
    }

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
        self.adapter.is_some()
    }

    fn applies(&self, support_rows: usize) -> bool {
        self.serve.applies(support_rows)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn accepts(&self, _: &Rows, domain: Option<u32>) -> Result<(), Unfit> {
        // Of a single domain none need be named.
        let domain = domain.unwrap_or(if self.plans.len() == 1 { 0 } else { u32::MAX });
        self.plan(domain).map(|_| ()).map_err(|error| Unfit { what: "domain", problem: error.to_string() })
    }

    fn adapt(&self, scratch: &mut Scratch, support: Support, go_on: &mut dyn FnMut(u32) -> bool) -> Result<Adapted, ModelError> {
        let wrong = |error: acclimate_plan::PlanError| ModelError(error.to_string());
        let refused = |error: acclimate_plan::AdaptError| ModelError(error.to_string());
        let plan = self.plan(support.domains.first().copied().unwrap_or(0))?;
        let queries: Vec<Query<'_>> = support.rows.iter().map(|rows| Query { rows, personal: None }).collect();
        // What the first layer reads of each support row.
        let gathered = || {
            let (mut x, mut row) = (Vec::new(), Vec::new());
            for rows in &support.rows {
                plan.inputs(rows, &mut row).map_err(wrong)?;
                x.extend_from_slice(&row);
            }
            Ok(x)
        };
        let mut budget = |step: usize| go_on(step as u32);
        let stepped = |found: acclimate_plan::Adapted, most: usize| {
            // Without a step the start of meta-training answers: it needs one pass.
            let form = if found.steps == 0 && most > 0 && !support.labels.is_empty() { "amortised" } else { "inner_steps" };
            Adapted { change: Change::Personal(found.personal), form, steps: found.steps as u32 }
        };
        match &self.adapter {
            None => Ok(Adapted { change: Change::None, form: "none", steps: 0 }),
            Some(Adapter::Steps(inner, rate, network)) => {
                let layers = network.layers.len();
                let own = match (rate, &inner.rates) {
                    (Some(rate), Rates::One(all)) if !support.labels.is_empty() => {
                        let x: Vec<f32> = gathered()?;
                        let times = rate.of(&x, x.len() / support.labels.len()).map_err(refused)?;
                        Some(InnerLoop { rates: Rates::One(all * times), ..inner.clone() })
                    }
                    _ => None,
                };
                let inner = own.as_ref().unwrap_or(inner);
                // Where the head alone moves, the states before it are all that is needed.
                let (enters, x) = if inner.adapted.start == layers {
                    let mut states = Vec::new();
                    plan.hidden(scratch, &queries, &mut states).map_err(wrong)?;
                    (layers, states)
                } else {
                    (0, gathered()?)
                };
                let found = inner.run_from(enters, network, &x, &support.labels, &mut budget).map_err(refused)?;
                Ok(stepped(found, inner.steps))
            }
            Some(Adapter::Context(inner, network)) => {
                let found = inner.run(network, &gathered()?, &support.labels, &mut budget).map_err(refused)?;
                Ok(stepped(found, inner.steps))
            }
            Some(Adapter::Head(solver, _)) => {
                let mut states = Vec::new();
                plan.hidden(scratch, &queries, &mut states).map_err(wrong)?;
                let personal = solver.solve(&states, &support.labels).map_err(refused)?;
                Ok(Adapted { change: Change::Personal(personal), form: "closed_form", steps: 0 })
            }
        }
    }

    fn score(&self, scratch: &mut Scratch, asks: &[Ask<'_>], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let wrong = |error: acclimate_plan::PlanError| ModelError(error.to_string());
        // One plan scores all requests at once; plans of several domains score each request by its own.
        let mut scores = Vec::new();
        if let [plan] = &self.plans[..] {
            let queries: Vec<Query<'_>> = asks.iter().map(|ask| self.query(ask)).collect();
            plan.score(scratch, &queries, &mut scores).map_err(wrong)?;
            out.extend(scores.iter().map(|&score| self.objective.predict(score)));
        } else {
            for ask in asks {
                self.plan(ask.domain)?.score(scratch, &[self.query(ask)], &mut scores).map_err(wrong)?;
                out.extend(scores.iter().map(|&score| self.objective.predict(score)));
            }
        }
        Ok(())
    }
}
