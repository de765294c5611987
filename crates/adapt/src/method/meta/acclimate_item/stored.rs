//! A fitted model as the method's own parameters, and back.

use acclimate_fit::{Cholesky, FoldIn, GuardedItems, ItemModel, ItemPrior, Taste, Tastes};
use acclimate_model::{Bound, ParamId};

use super::AcclimateItem;

/// Numbers in front: μ, scale, c of the bias model, whether there is a prior that reads raters, and whether anything was solved.
pub(super) const NUMBERS: usize = 5;

/// Its own parameters, in their order.
#[derive(Clone, Copy)]
enum Own {
    Numbers,
    /// g, then h.
    Shares,
    /// Of each code the mean of z, the factor L of its covariance `L Lᵀ` row by row, the level, and 1 for a user with ratings.
    Users,
    /// D: what is said of a user without.
    People,
    /// w of the bias model.
    Level,
    /// C of the body's prior.
    Content,
    /// L of its `R = L Lᵀ`.
    Factor,
    /// Mean and root mean square of z over users.
    Tastes,
    RaterContent,
    RaterFactor,
}

/// What is read of the parameters to adapt.
pub(super) struct Fitted {
    pub(super) model: GuardedItems,
    users: Vec<f32>,
}

/// The square matrix `L Lᵀ` of a lower factor, stored row by row without its zeros, or whole.
fn squared(factor: &[f64], n: usize, start: impl Fn(usize) -> usize) -> Vec<f64> {
    let row = |i: usize| &factor[start(i)..=start(i) + i];
    let entry = |at: usize| row(at / n).iter().zip(row(at % n)).map(|(a, b)| a * b).sum();
    (0..n * n).map(entry).collect()
}

impl AcclimateItem {
    /// Writes a fitted model into the parameters.
    pub(super) fn write(&self, own: &mut [Vec<f32>], fitted: &GuardedItems, codes: &[usize]) {
        let narrowed = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let GuardedItems { model, users, level_weights, level_rows, shares } = fitted;
        let ItemModel { fold_in, tastes, prior, raters } = model;
        let d = fold_in.width;
        let has_raters = if raters.is_some() { 1.0 } else { 0.0 };
        own[Own::Numbers as usize] = narrowed(&[fold_in.mean, fold_in.scale, *level_rows, has_raters, 1.0]);
        own[Own::Shares as usize] = narrowed(&shares.concat());
        own[Own::Users as usize].fill(0.0);
        let size = own[Own::Users as usize].len() / self.rows.user.1;
        for ((&code, (mean, covariance)), level) in codes.iter().zip(&tastes.users).zip(users) {
            let factor = Cholesky::sturdy(covariance.clone(), d).lower();
            let lower = (0..d).flat_map(|i| factor[i * d..=i * d + i].to_vec());
            let values = mean.iter().copied().chain(lower).chain([*level, 1.0]);
            own[Own::Users as usize][code * size..][..size].iter_mut().zip(values).for_each(|(into, x)| *into = x as f32);
        }
        own[Own::People as usize] = narrowed(&fold_in.people);
        own[Own::Level as usize] = narrowed(level_weights);
        let mut write = |prior: &ItemPrior, [content, factor]: [Own; 2]| {
            own[content as usize] = narrowed(&prior.weights);
            own[factor as usize] = narrowed(&Cholesky::sturdy(prior.rows.clone(), d + 1).lower());
        };
        write(prior, [Own::Content, Own::Factor]);
        if let Some(raters) = raters {
            write(raters, [Own::RaterContent, Own::RaterFactor]);
            own[Own::Tastes as usize] = narrowed(&[&tastes.centre[..], &tastes.units].concat());
        }
    }

    /// The model that the parameters hold; none before it was solved for.
    pub(super) fn fitted(&self, own: &Bound) -> Option<Fitted> {
        let values = |of: Own| -> Vec<f64> { own.get(ParamId(of as usize)).into_data().iter::<f32>().map(f64::from).collect() };
        let numbers = values(Own::Numbers);
        let [mean, scale, level_rows, has_raters, solved] = numbers[..] else { return None };
        if solved == 0.0 {
            return None;
        }
        let (d, m) = (self.config.factors + 1, self.config.factors + 2);
        let prior = |[content, factor]: [Own; 2]| ItemPrior { weights: values(content), rows: squared(&values(factor), m, |i| i * m) };
        let fold_in = FoldIn {
            mean,
            scale: scale.abs().max(1e-6),
            width: d,
            items: Vec::new(),
            counts: Vec::new(),
            noise: 1.0,
            unseen_noise: 0.0,
            content: Vec::new(),
            people: values(Own::People),
            covariances: Vec::new(),
        };
        let level_weights = values(Own::Level);
        let mut tastes = Tastes { users: Vec::new(), centre: vec![0.0; d], units: vec![1.0; d], content: level_weights.len() };
        let mut raters = None;
        if has_raters != 0.0 && self.params.len() > Own::RaterFactor as usize {
            let of_users = values(Own::Tastes);
            tastes.centre = of_users[..d].to_vec();
            tastes.units = of_users[d..].iter().map(|x| x.abs().max(1e-9)).collect();
            raters = Some(prior([Own::RaterContent, Own::RaterFactor]));
        }
        let shares = values(Own::Shares);
        let (g, h) = shares.split_at(shares.len() / 2);
        let model = GuardedItems {
            model: ItemModel { fold_in, tastes, prior: prior([Own::Content, Own::Factor]), raters },
            users: Vec::new(),
            level_weights,
            level_rows: level_rows.max(0.0),
            shares: [g.to_vec(), h.to_vec()],
        };
        let users = own.get(ParamId(Own::Users as usize)).into_data().iter::<f32>().collect();
        Some(Fitted { model, users })
    }
}

impl Fitted {
    /// Mean and covariance of z, and the level, of the user with a code; of one without ratings what features say.
    pub(super) fn rater(&self, code: usize, people: &[(u32, f64)]) -> (Taste, f64) {
        let FoldIn { width: d, people: of_people, .. } = &self.model.model.fold_in;
        let d = *d;
        let size = d + d * (d + 1) / 2 + 2;
        let of_code = self.users.get(code * size..(code + 1) * size).filter(|of| of[size - 1] > 0.0);
        let Some(of_code) = of_code else {
            let mut mean = of_people[..d].to_vec();
            for (column, value) in people {
                mean.iter_mut().zip(&of_people[*column as usize * d..]).for_each(|(sum, x)| *sum += value * x);
            }
            let covariance = (0..d * d).map(|at| if at.is_multiple_of(d + 1) { 1.0 } else { 0.0 }).collect();
            return ((mean, covariance), 0.0);
        };
        let of_code: Vec<f64> = of_code.iter().copied().map(f64::from).collect();
        let covariance = squared(&of_code[d..size - 2], d, |i| i * (i + 1) / 2);
        ((of_code[..d].to_vec(), covariance), of_code[size - 2])
    }
}
