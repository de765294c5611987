//! A model that is chosen, and held back where it is not better than levels, on users that it has not seen.
//!
//! A tenth of the users is held out. Each of them is shown a part of their ratings, of several sizes k, and judged by others. Of the candidates that has the smallest squared error which, mixed
//! with the bias model `μ + b_i + b_u` as `bias + g_k (model - bias)`, has the smallest over all sizes; `g_k = Σ (y - bias)(model - bias) / Σ (model - bias)²`, held to 0..1, is the best share at that size.
//! Then everything is fitted again to all users. With 0 or 1 ratings a model that knows tastes may have little to say: there g says so.

use rayon::prelude::*;

use crate::fold_in::units;
use crate::random::uniform;
use crate::{Answer, FoldIn, FoldInConfig, Item, Ratings, RegressionConfig, Sparse, UserModel};

/// Support sizes at which shares are estimated.
pub const SIZES: [usize; 7] = [0, 1, 3, 5, 10, 20, 50];
/// Held-out ratings at which a share estimated from them counts half against the next smaller size's.
const SHARE_ROWS: f64 = 50.0;
/// Ratings added to an item's level, and to a user's.
const LEVEL_ROWS: [f64; 2] = [10.0, 5.0];

/// The bias model `μ + b_i + b_u`.
#[derive(Clone, Debug)]
pub struct Levels {
    /// μ.
    pub mean: f64,
    /// b of each item, `[items]`.
    pub items: Vec<f64>,
}

impl Levels {
    /// `b_i = Σ (r - μ) / (n + 10)`.
    #[must_use]
    pub fn fit(rated: &Sparse) -> Self {
        let (mean, _) = units(rated);
        let (mut sums, mut counts) = (vec![0.0; rated.width], vec![0.0; rated.width]);
        for (&item, rating) in rated.columns.iter().zip(&rated.values) {
            sums[item as usize] += rating - mean;
            counts[item as usize] += 1.0;
        }
        let items = sums.iter().zip(&counts).map(|(sum, n)| sum / (n + LEVEL_ROWS[0])).collect();
        Self { mean, items }
    }

    /// `b_u = Σ (r - μ - b_i) / (n + 5)` of ratings with their items' levels.
    #[must_use]
    pub fn user(&self, rated: impl IntoIterator<Item = (f64, f64)>) -> f64 {
        let (sum, n) = rated.into_iter().fold((0.0, 0.0), |(sum, n), (level, rating)| (sum + rating - self.mean - level, n + 1.0));
        sum / (n + LEVEL_ROWS[1])
    }
}

/// A chosen model with its shares.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The model.
    pub model: UserModel,
    /// What it is mixed with.
    pub levels: Levels,
    /// Its share at each of [`SIZES`].
    pub shares: Vec<f64>,
    /// The candidate that was chosen.
    pub chosen: usize,
}

/// The share after so many ratings: between two sizes linear in `ln(1 + k)`.
#[must_use]
pub fn share(shares: &[f64], ratings: usize) -> f64 {
    let at = |k: usize| (k as f64).ln_1p();
    let above = SIZES.iter().position(|&size| size >= ratings);
    match above {
        None => shares[SIZES.len() - 1],
        Some(i) if SIZES[i] == ratings => shares[i],
        Some(i) => {
            let t = (at(ratings) - at(SIZES[i - 1])) / (at(SIZES[i]) - at(SIZES[i - 1]));
            shares[i - 1] + t * (shares[i] - shares[i - 1])
        }
    }
}

/// The share at each of [`SIZES`] and the sum of the mean squared errors with it, from `(bias, model, rating)` of what held-out users are judged by at a size.
pub fn shares_of(judged: impl Fn(usize) -> Vec<[f64; 3]>) -> (Vec<f64>, f64) {
    let (mut shares, mut loss) = (Vec::new(), 0.0);
    for size in SIZES {
        let rows = judged(size);
        let (mut cross, mut square) = (0.0, 0.0);
        for [bias, said, r] in &rows {
            cross += (r - bias) * (said - bias);
            square += (said - bias).powi(2);
        }
        let best = if square > 0.0 { (cross / square).clamp(0.0, 1.0) } else { 1.0 };
        let before = shares.last().copied().unwrap_or(best);
        let trust = rows.len() as f64 / (rows.len() as f64 + SHARE_ROWS);
        let share = trust * best + (1.0 - trust) * before;
        let squares = rows.iter().map(|[bias, said, r]| (bias + share * (said - bias) - r).powi(2)).sum::<f64>();
        loss += squares / rows.len().max(1) as f64;
        shares.push(share);
    }
    (shares, loss)
}

/// What a held-out user is shown, in order, and judged by: items with ratings.
#[derive(Clone, Debug)]
pub struct Held {
    /// The user.
    pub user: usize,
    /// Ratings to adapt from.
    pub shown: Vec<(u32, f64)>,
    /// At most ten others.
    pub judged: Vec<(u32, f64)>,
}

/// A tenth of the users who rate at least two items, by a hash of their number.
#[must_use]
pub fn held_out(rated: &Sparse) -> Vec<Held> {
    let of_user = |user: usize| {
        let (items, ratings) = rated.row(user);
        let mut rows: Vec<(u32, f64)> = items.iter().copied().zip(ratings.iter().copied()).collect();
        if rows.len() < 2 || uniform(11, user as u64, 0) >= 0.1 {
            return None;
        }
        rows.sort_by_cached_key(|(item, _)| (uniform(12, user as u64, u64::from(*item)) * 1e12) as u64);
        let shown = rows.split_off((rows.len() / 2).min(10));
        Some(Held { user, shown, judged: rows })
    };
    (0..rated.len()).filter_map(of_user).collect()
}

/// `(bias, model, rating)` of what is judged, for the first so many ratings shown.
fn said(model: &UserModel, levels: &Levels, people: &Sparse, held: &Held, size: usize) -> Vec<[f64; 3]> {
    let shown = &held.shown[..size.min(held.shown.len())];
    let known: Vec<(Item<'_>, f64)> = shown.iter().map(|&(i, r)| (model.item(i as usize), r)).collect();
    let asked: Vec<Item<'_>> = held.judged.iter().map(|&(i, _)| model.item(i as usize)).collect();
    let user = levels.user(shown.iter().map(|&(i, r)| (levels.items[i as usize], r)));
    let answers = model.answer(people.row(held.user), &known, &asked, false);
    let judged = held.judged.iter().zip(answers);
    judged.map(|(&(i, r), Answer { mean, .. })| [levels.mean + levels.items[i as usize] + user, mean, r]).collect()
}

impl Guarded {
    /// Fits to ratings, of which there is at least one: a factorisation, and each of the regressions that stand on it (`None`: the factorisation alone), of which one is chosen.
    #[must_use]
    pub fn fit(ratings: &Ratings, fold_in: &FoldInConfig, candidates: &[Option<RegressionConfig>]) -> Self {
        let held = held_out(&ratings.rated);
        let mut seen = vec![true; ratings.rated.len()];
        held.iter().for_each(|h| seen[h.user] = false);
        let some = |rows: &Sparse| {
            let mut kept = Sparse::new(rows.width);
            for u in (0..rows.len()).filter(|&u| seen[u]) {
                let (columns, values) = rows.row(u);
                kept.push(columns.iter().copied().zip(values.iter().copied()));
            }
            kept
        };
        let levels = Levels::fit(&ratings.rated);
        let rest = Ratings { rated: some(&ratings.rated), people: some(&ratings.people), ..ratings.clone() };
        // Too few to choose by: the factorisation, held back until a user has shown something.
        if held.len() < 10 || rest.rated.values.is_empty() {
            let model = UserModel::on(FoldIn::fit(ratings, fold_in), ratings, None, None);
            let shares = SIZES.iter().map(|&k| k as f64 / (k as f64 + 5.0)).collect();
            return Self { model, levels, shares, chosen: candidates.iter().position(Option::is_none).unwrap_or(0) };
        }
        let body = FoldIn::fit(&rest, fold_in);
        let levels_of_rest = Levels::fit(&rest.rated);
        let errors = |model: &UserModel, size: usize| -> Vec<[f64; 3]> {
            held.par_iter()
                .filter(|h| size == usize::MAX || h.shown.len() >= size)
                .flat_map_iter(|h| said(model, &levels_of_rest, &ratings.people, h, size))
                .collect()
        };
        let full = |model: &UserModel| errors(model, usize::MAX).iter().map(|[_, said, r]| (said - r).powi(2)).sum::<f64>();
        let tried = candidates.iter().enumerate().map(|(number, config)| {
            let model = UserModel::on(body.clone(), &rest, config.as_ref(), config.is_some().then_some(&full));
            let (shares, loss) = shares_of(|size| errors(&model, size));
            (loss, number, model.regression.map(|fit| fit.sweeps), shares)
        });
        let best = tried.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a candidate");
        let (_, chosen, sweeps, shares) = best;
        let config = candidates[chosen].map(|config| RegressionConfig { sweeps: sweeps.unwrap_or(config.sweeps), ..config });
        let model = UserModel::on(FoldIn::fit(ratings, fold_in), ratings, config.as_ref(), None);
        Self { model, levels, shares, chosen }
    }
}
