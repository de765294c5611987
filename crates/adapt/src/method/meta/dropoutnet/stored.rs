//! Fitted towers as the method's own parameters, and back.

use acclimate_fit::{DropoutNet as Fit, Folding, Tower};
use acclimate_model::{Bound, ParamId};

use super::DropoutNet;

/// Numbers in front: μ, s, c of the bias model, c_V, and whether anything was solved.
pub(super) const NUMBERS: usize = 5;

/// Its own parameters, in their order.
#[derive(Clone, Copy)]
enum Own {
    Numbers,
    /// g, then h.
    Shares,
    /// Of each code U, the level, and 1 for a user with ratings.
    Users,
    /// w of the bias model.
    Level,
    UserFirst,
    UserLast,
    ItemFirst,
    ItemLast,
}

/// What is read of the parameters to adapt.
pub(super) struct Fitted {
    pub(super) fit: Fit,
    users: Vec<f32>,
}

impl DropoutNet {
    /// Writes what was fitted into the parameters.
    pub(super) fn write(&self, own: &mut [Vec<f32>], fit: &Fit, codes: &[usize]) {
        let narrowed = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let Fit { folding, towers: [user, item], shares, users, levels } = fit;
        own[Own::Numbers as usize] = narrowed(&[folding.mean, folding.scale, folding.level_rows, folding.latent_rows, 1.0]);
        own[Own::Shares as usize] = narrowed(&shares.concat());
        own[Own::Users as usize].fill(0.0);
        let d = folding.factors;
        for ((&code, vector), level) in codes.iter().zip(users.chunks_exact(d)).zip(levels) {
            let values = vector.iter().copied().chain([*level, 1.0]);
            own[Own::Users as usize][code * (d + 2)..][..d + 2].iter_mut().zip(values).for_each(|(into, x)| *into = x as f32);
        }
        own[Own::Level as usize] = narrowed(&folding.level_weights);
        for (tower, [first, last]) in [(user, [Own::UserFirst, Own::UserLast]), (item, [Own::ItemFirst, Own::ItemLast])] {
            own[first as usize] = narrowed(&tower.first);
            own[last as usize] = narrowed(&tower.last);
        }
    }

    /// The towers that the parameters hold; none before they were solved for.
    pub(super) fn fitted(&self, own: &Bound) -> Option<Fitted> {
        let narrow = |of: Own| -> Vec<f32> { own.get(ParamId(of as usize)).into_data().iter::<f32>().collect() };
        let values = |of: Own| -> Vec<f64> { narrow(of).into_iter().map(f64::from).collect() };
        let numbers = values(Own::Numbers);
        let [mean, scale, level_rows, latent_rows, solved] = numbers[..] else { return None };
        if solved == 0.0 {
            return None;
        }
        let (factors, hidden) = (self.config.factors + 1, self.config.hidden);
        let tower = |[first, last]: [Own; 2]| Tower { factors, hidden, first: values(first), last: values(last) };
        let folding = Folding {
            mean,
            scale: scale.abs().max(1e-6),
            level_weights: values(Own::Level),
            level_rows: level_rows.max(0.0),
            latent_rows: latent_rows.max(1e-6),
            factors,
        };
        let towers = [tower([Own::UserFirst, Own::UserLast]), tower([Own::ItemFirst, Own::ItemLast])];
        let shares = values(Own::Shares);
        let (g, h) = shares.split_at(shares.len() / 2);
        let fit = Fit { folding, towers, shares: [g.to_vec(), h.to_vec()], users: Vec::new(), levels: Vec::new() };
        Some(Fitted { fit, users: narrow(Own::Users) })
    }
}

impl Fitted {
    /// U and the level of the user with a code; of one without ratings none, and 0.
    pub(super) fn user(&self, code: usize) -> (Vec<f64>, f64) {
        let d = self.fit.folding.factors;
        let of_code = self.users.get(code * (d + 2)..(code + 1) * (d + 2)).filter(|of| of[d + 1] > 0.0);
        of_code.map_or((Vec::new(), 0.0), |of| (of[..d].iter().copied().map(f64::from).collect(), f64::from(of[d])))
    }
}
