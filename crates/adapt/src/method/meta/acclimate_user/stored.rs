//! A fitted model as the method's own parameters, and back.

use acclimate_fit::{FoldIn, Guarded, Link, Ordinal, Regression, UserModel};
use acclimate_model::{Bound, ParamId};

use super::AcclimateUser;
use crate::method::columns::width;
use crate::method::{keep_ordinal, kept_ordinal};

/// Numbers in front: μ, scale, σ² of the factorisation, what unseen items add to it, σ² of the regression, the body (from 1), s_u of the bias model, and 1 with the passes in which features were learned, 0 before anything was solved.
pub(super) const NUMBERS: usize = 8;

/// Its own parameters, in their order.
#[derive(Clone, Copy)]
pub(super) enum Own {
    Numbers,
    Shares,
    /// `(b, q)`, the level of the bias model, and 1 for an item that was rated; at code 0 the level of all that have no code.
    Items,
    Content,
    People,
    /// A grid with its cut points; see [`keep_ordinal`].
    Ordinal,
    /// Prior of the regression: of people, then of sets.
    Prior,
    /// L of the regression's covariance.
    Factor,
    /// Root mean squares of the loadings.
    Units,
    /// The kernel's features, then learned ones; 0 where none are.
    Kernel,
}

/// What is read of the parameters to adapt.
pub(super) struct Fitted {
    pub(super) numbers: Vec<f64>,
    pub(super) shares: Vec<f64>,
    pub(super) model: UserModel,
    pub(super) units: Vec<f64>,
    pub(super) items: Vec<f64>,
    pub(super) kernel: Vec<f64>,
    pub(super) ordinal: Option<Ordinal>,
}

impl AcclimateUser {
    /// Writes a fitted model into the parameters.
    pub(super) fn write(&self, own: &mut [Vec<f32>], Guarded { model, levels, shares, passes, .. }: &Guarded, ordinal: Option<&Ordinal>) {
        let narrowed = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let UserModel { fold_in, regression, .. } = model;
        let body = match regression {
            None => 1.0,
            Some(fit) if fit.sets.is_empty() => 2.0,
            Some(_) => 3.0,
        };
        let noise = regression.as_ref().map_or(0.0, |fit| fit.noise);
        own[Own::Numbers as usize] = narrowed(&[fold_in.mean, fold_in.scale, fold_in.noise, fold_in.unseen_noise, noise, body, levels.user_shrink, 1.0 + *passes as f64]);
        own[Own::Shares as usize] = narrowed(shares);
        keep_ordinal(&mut own[Own::Ordinal as usize], ordinal);
        let item = |i: usize| {
            let known = if fold_in.counts[i] > 0 { 1.0 } else { 0.0 };
            fold_in.item(i).values.iter().copied().chain([levels.items[i], known]).map(|x| x as f32).collect::<Vec<_>>()
        };
        own[Own::Items as usize] = (0..self.item.1).flat_map(item).collect();
        own[Own::Content as usize] = narrowed(&fold_in.content);
        own[Own::People as usize] = narrowed(&fold_in.people);
        let Some(fit) = regression else {
            own.iter_mut().skip(Own::Prior as usize).for_each(|values| values.fill(0.0));
            return;
        };
        let core = fit.core;
        let prior: Vec<f64> = fit.people.chunks_exact(fit.width).flat_map(|row| row[..core].to_vec()).collect();
        own[Own::Prior as usize].fill(0.0);
        own[Own::Prior as usize][..prior.len()].copy_from_slice(&narrowed(&prior));
        own[Own::Factor as usize] = narrowed(&fit.factor());
        own[Own::Units as usize] = narrowed(&model.units());
        own[Own::Kernel as usize].fill(0.0);
        if fit.width > core {
            let rows = own[Own::Kernel as usize].chunks_exact_mut(self.config.rank());
            rows.zip(fit.features.chunks_exact(fit.width)).for_each(|(own, row)| own.iter_mut().zip(&row[core..]).for_each(|(own, x)| *own = *x as f32));
        }
    }

    /// The model that the parameters hold; none before it was solved for.
    pub(super) fn fitted(&self, own: &Bound) -> Option<Fitted> {
        let values = |own: &Bound, of: Own| -> Vec<f64> {
            own.get(ParamId(of as usize)).into_data().iter::<f32>().map(f64::from).collect()
        };
        let numbers = values(own, Own::Numbers);
        let [mean, scale, noise, unseen_noise, regression_noise, body, _, solved] = numbers[..] else { return None };
        if solved == 0.0 {
            return None;
        }
        let [noise, regression_noise, scale] = [noise, regression_noise, scale].map(|x| x.abs().max(1e-6));
        let unseen_noise = unseen_noise.max(0.0);
        let d = self.config.factors + 1;
        let fold_in = FoldIn {
            mean,
            scale,
            width: d,
            items: Vec::new(),
            counts: Vec::new(),
            noise,
            unseen_noise,
            content: values(own, Own::Content),
            people: values(own, Own::People),
            covariances: Vec::new(),
        };
        let (mut regression, mut units, mut kernel) = (None, Vec::new(), Vec::new());
        if body > 1.0 {
            let is_plus = body > 2.0;
            let core = self.params[Own::Factor as usize].shape[1];
            let people_width = width(&self.people, 1);
            let prior = values(own, Own::Prior);
            let rows = if is_plus { prior.len() / core } else { people_width };
            let rank = if is_plus { self.config.rank() } else { 0 };
            let prior: Vec<f64> =
                prior.chunks_exact(core).take(rows).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, rank))).collect();
            regression = Some(Regression::restored(
                (Link::Identity, mean, scale, regression_noise),
                (prior, people_width),
                &values(own, Own::Factor),
                (core, core + rank),
                if is_plus { d } else { 0 },
            ));
            if is_plus {
                (units, kernel) = (values(own, Own::Units), values(own, Own::Kernel));
            }
        }
        let model = UserModel { fold_in, regression, narrow: self.narrow };
        let ordinal = kept_ordinal(&values(own, Own::Ordinal));
        Some(Fitted { numbers, shares: values(own, Own::Shares), model, units, items: values(own, Own::Items), kernel, ordinal })
    }
}
