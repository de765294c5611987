//! `group_dro`: the base's network trained for the domain where it does worst.
//!
//! Each step, with l_g the mean loss of the batch's rows of domain g:
//!
//! `q_g <- q_g exp(η l_g)`, `L = Σ_g q_g l_g / Σ_g q_g`, both over the domains in the batch; gradients take q as given.
//!
//! Dividing by the sum leaves the ratios of q as they are, so q is kept as logarithms that are never scaled: 0 at start, a block a domain, saved with the patch. Domains that the base does not know are one. They have no part in scoring.
//!
//! Trained: everything, from a fresh start as published, or from the base. Use it where the worst domain counts and not the mean over rows. The gradient is not the derivative of L, for q moves with
//! the losses before it is used.
//!
//! Deviations from the paper: rows come as the log has them and not uniformly by group, so that l_g of a small domain rests on few rows; q of domains that are not in the batch stays, and they take no part in the sum; no adjustment by group
//! size and no strong penalty of its own (`weight_decay` of the training is one).
//!
//! In a `stack` with methods that need groups of one domain, a batch may hold a single domain, where nothing is weighed.
//!
//! # References
//! S. Sagawa, P. W. Koh, T. B. Hashimoto and P. Liang, *Distributionally Robust Neural Networks for Group Shifts*, ICLR 2020, algorithm 1.

use std::collections::BTreeMap;

use acclimate_model::kernel::to_vec;
use acclimate_model::{Added, AfterPass, Bound, Modulation, Moved, Objective, Output, ParamId, ParamSpec, column, labels, shares};
use serde::{Deserialize, Serialize};

use crate::method::{Sets, scored_rows};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<GroupDroConfig>("group_dro", Kind::Control, "the same network, trained for the domain where it does worst")
    .tested_with(&["start = 'base'\nrate = 0.3"]);

/// Configuration of [`GroupDro`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupDroConfig {
    /// η, how fast the weight of a domain with a large loss grows; 0 weighs all domains alike. Default 0.01, as published.
    pub rate: f64,
    /// Where training starts, `base` or `fresh`; default fresh.
    pub start: Start,
}

impl Default for GroupDroConfig {
    fn default() -> Self {
        Self { rate: 0.01, start: Start::Fresh }
    }
}

/// The method `group_dro`.
#[derive(Debug)]
pub struct GroupDro {
    scope: Scope,
    params: Vec<ParamSpec>,
    sets: Sets,
    rate: f64,
    start: Start,
}

impl MethodConfig for GroupDroConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        scored_rows(METHOD.name, target.backbone, "weighs the losses of rows by their domain")?;
        if target.objective == Objective::Bpr {
            let problem = "it is trained for `bpr`, whose loss is of pairs and not of rows; train it for `logistic` or `squared_error`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        if !(self.rate >= 0.0 && self.rate.is_finite()) {
            return Err(AdaptError::Value { method: METHOD.name, key: "rate", problem: "must be 0 or more".into() });
        }
        let sets = Sets::new(METHOD.name, true, target.schema)?;
        let log_q = ParamSpec { shape: [sets.len(), 1, 1], ..ParamSpec::moment("dro.log_q", 1, 0.0) };
        Ok(Box::new(GroupDro {
            scope: Scope::all(target.backbone),
            params: vec![sets.declare(log_q)],
            sets,
            rate: self.rate,
            start: self.start,
        }))
    }
}

/// `log q`.
const LOG_Q: ParamId = ParamId(0);

impl GroupDro {
    /// `Σ_i (q_g(i) / n_g(i) - share_i) l_i`: what makes of the objective's loss the one above.
    fn term(&self, own: &Bound, after: &AfterPass<'_>) -> Option<Added> {
        let AfterPass { output: Output::Rows(scores), batch, objective, .. } = *after else { return None };
        let device = scores.device();
        let losses = objective.of_rows(scores.clone(), labels(batch, &device))?; // [G, N, 1]
        let of_rows = to_vec(losses.clone().detach());
        let group = |i: usize| self.sets.of(batch.domain[i].0) as u32;
        let real = || (0..batch.len()).filter(|&i| batch.mask[i] != 0.0);
        // Rows of each domain, and the sum of their losses.
        let mut groups: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for i in real() {
            let (rows, sum) = groups.entry(group(i)).or_default();
            (*rows, *sum) = (*rows + 1.0, *sum + f64::from(of_rows[i]));
        }
        if groups.is_empty() {
            return None;
        }
        let present: Vec<u32> = groups.keys().copied().collect();
        let before = to_vec(own.blocks(LOG_Q, &present).detach());
        let log_q: Vec<f64> = groups.values().zip(before).map(|((rows, sum), before)| f64::from(before) + self.rate * sum / rows).collect();
        let largest = log_q.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = log_q.iter().map(|log| (log - largest).exp()).sum();
        let weight: BTreeMap<u32, f64> =
            groups.iter().zip(&log_q).map(|((&g, (rows, _)), log)| (g, (log - largest).exp() / (total * rows))).collect();
        let mut weights: Vec<f32> = shares(batch).into_iter().map(|share| -share).collect();
        real().for_each(|i| weights[i] += weight[&group(i)] as f32);
        let param = own.place(LOG_Q);
        let moved = present.iter().zip(&log_q).map(|(&block, &log)| Moved { param, block, values: vec![log as f32] });
        Some(Added { summands: losses * column(weights, batch, &device), moved: moved.collect() })
    }
}

impl Adaptation for GroupDro {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn start(&self) -> Start {
        self.start
    }

    fn is_exact(&self) -> bool {
        self.rate == 0.0
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let own = own.clone();
        Ok(Modulation::none().with_term(move |after| self.term(&own, after)))
    }
}
