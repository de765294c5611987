//! A model that is chosen, and held back where it is not better than levels, on users that it has not seen.
//!
//! A tenth of the users is held out, and where ratings are few another tenth, up to five times, so that there are enough to choose by. Each of them is shown a part of their ratings, of several sizes k, and judged by others; users count by how much they rate (at most a hundred ratings), as they come back.
//! First the bias model `μ + b_i + b_u`, with `b_i = Σ (r - μ) / (n + s_i)` and `b_u = Σ (r - μ - b_i) / (n + s_u)`, gets the shrinkages with the smallest squared error over all sizes. Then of the
//! candidates that is taken which, mixed with it as `bias + g_k (model - bias)`, has the smallest; `g_k = Σ (y - bias)(model - bias) / Σ (model - bias)²`, held to 0..1, is the best share at that size.
//! In the end everything is fitted again to all users, and what the chosen model said of the held-out users tells the cut points of an [`Ordinal`]. With 0 or 1 ratings a model that knows tastes may have little to say: there g says so.

use rayon::prelude::*;

use crate::fold_in::units;
use crate::random::uniform;
use crate::{Answer, Deep, DeepConfig, Expected, FoldIn, FoldInConfig, Item, Ordinal, Ratings, RegressionConfig, Sparse, UserModel};

/// Support sizes at which shares are estimated.
pub const SIZES: [usize; 7] = [0, 1, 3, 5, 10, 20, 50];
/// Held-out ratings at which a share estimated from them counts half against the next smaller size's.
const SHARE_ROWS: f64 = 50.0;
/// What the shrinkages of levels are chosen from.
const SHRINKS: [f64; 7] = [0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0];
/// Those where nobody can choose.
const PLAIN: [f64; 2] = [10.0, 5.0];
/// Ratings from which one tenth of the users is enough to choose by.
pub(crate) const ENOUGH: usize = 500_000;
/// Tenths at most.
pub(crate) const MOST_FOLDS: usize = 5;
/// Ratings from which a held-out user counts no more.
const MOST: f64 = 100.0;

/// The bias model `μ + b_i + b_u`.
#[derive(Clone, Debug)]
pub struct Levels {
    /// μ.
    pub mean: f64,
    /// b of each item, `[items]`.
    pub items: Vec<f64>,
    /// s_u.
    pub user_shrink: f64,
}

/// Sums of ratings beyond the mean, and counts, of each item.
struct Sums {
    mean: f64,
    items: Vec<(f64, f64)>,
}

impl Sums {
    fn new(rated: &Sparse) -> Self {
        let (mean, _) = units(rated);
        let mut items = vec![(0.0, 0.0); rated.width];
        for (&item, rating) in rated.columns.iter().zip(&rated.values) {
            let (sum, n) = &mut items[item as usize];
            (*sum, *n) = (*sum + rating - mean, *n + 1.0);
        }
        Self { mean, items }
    }

    fn levels(&self, [item_shrink, user_shrink]: [f64; 2]) -> Levels {
        Levels { mean: self.mean, items: self.items.iter().map(|(sum, n)| sum / (n + item_shrink)).collect(), user_shrink }
    }
}

impl Levels {
    /// With the shrinkages of the published protocol, 10 and 5.
    #[must_use]
    pub fn fit(rated: &Sparse) -> Self {
        Sums::new(rated).levels(PLAIN)
    }

    /// b of a user, of ratings with their items' levels.
    #[must_use]
    pub fn user(&self, rated: impl IntoIterator<Item = (f64, f64)>) -> f64 {
        let (sum, n) = rated.into_iter().fold((0.0, 0.0), |(sum, n), (level, rating)| (sum + rating - self.mean - level, n + 1.0));
        sum / (n + self.user_shrink)
    }

    /// What it says of what a held-out user is judged by.
    fn said(&self, held: &Held, size: usize) -> impl Iterator<Item = f64> {
        let user = self.user(held.shown.iter().take(size).map(|&(i, r)| (self.items[i as usize], r)));
        held.judged.iter().map(move |&(i, _)| self.mean + self.items[i as usize] + user)
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
    /// How the ratings of held-out users were met, at each of [`SIZES`]; empty where there were too few.
    pub judged: Vec<Vec<Judged>>,
    /// Passes over the users in which features were learned; 0: none were asked for, or none were better for held-out users.
    pub passes: usize,
}

/// The variance of a rating around what is said of it, `bias + g (model - bias)`, where the model is right: its own, and by how much what is said departs from it.
#[must_use]
pub fn spread_of(answer: Answer, plain: f64, share: f64) -> f64 {
    answer.variance + ((1.0 - share) * (answer.mean - plain)).powi(2)
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

/// A rating that a held-out user is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// What stands in for the model.
    pub plain: f64,
    /// What the model says.
    pub model: f64,
    /// The variance that it expects; 0 where it was not asked for.
    pub variance: f64,
    /// The rating.
    pub rating: f64,
    /// What it counts.
    pub weight: f64,
}

/// The share at each of [`SIZES`] and the sum over them of the weighted mean squared error with it.
pub fn shares_of(judged: impl Fn(usize) -> Vec<Judged>) -> (Vec<f64>, f64) {
    let (mut shares, mut loss) = (Vec::new(), 0.0);
    for size in SIZES {
        let rows = judged(size);
        let (mut cross, mut square) = (0.0, 0.0);
        for Judged { plain, model, rating, weight, .. } in &rows {
            cross += weight * (rating - plain) * (model - plain);
            square += weight * (model - plain).powi(2);
        }
        let best = if square > 0.0 { (cross / square).clamp(0.0, 1.0) } else { 1.0 };
        let before = shares.last().copied().unwrap_or(best);
        let trust = rows.len() as f64 / (rows.len() as f64 + SHARE_ROWS);
        let share = trust * best + (1.0 - trust) * before;
        loss += mean_square(rows.iter().map(|row| (row.plain + share * (row.model - row.plain) - row.rating, row.weight)));
        shares.push(share);
    }
    (shares, loss)
}

/// The weighted mean of squares; 0 for none.
fn mean_square(errors: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, weights) = errors.fold((0.0, 0.0), |(sum, all), (error, weight)| (sum + weight * error * error, all + weight));
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// What a held-out user is shown, in order, and judged by: items with ratings.
#[derive(Clone, Debug)]
pub struct Held {
    /// The user.
    pub user: usize,
    /// Ratings to adapt from.
    pub shown: Vec<(u32, f64)>,
    /// Some others.
    pub judged: Vec<(u32, f64)>,
}

/// A tenth of the users who rate at least two items, by a hash of their number: tenth `fold` of ten.
#[must_use]
pub fn held_out(rated: &Sparse, fold: usize) -> Vec<Held> {
    held_out_with(rated, fold, 10)
}

/// The same with so many ratings that judge, at most.
pub(crate) fn held_out_with(rated: &Sparse, fold: usize, judged: usize) -> Vec<Held> {
    let of_user = |user: usize| {
        let (items, ratings) = rated.row(user);
        let mut rows: Vec<(u32, f64)> = items.iter().copied().zip(ratings.iter().copied()).collect();
        if rows.len() < 2 || (uniform(11, user as u64, 0) * 10.0) as usize != fold {
            return None;
        }
        rows.sort_by_cached_key(|(item, _)| (uniform(12, user as u64, u64::from(*item)) * 1e12) as u64);
        let shown = rows.split_off((rows.len() / 2).min(judged));
        Some(Held { user, shown, judged: rows })
    };
    (0..rated.len()).filter_map(of_user).collect()
}

impl Held {
    /// What each of the judged ratings counts.
    #[must_use]
    pub fn weight(&self) -> f64 {
        ((self.shown.len() + self.judged.len()) as f64).min(MOST) / self.judged.len() as f64
    }
}

/// What levels and a model say, for the first so many ratings shown.
fn said(model: &UserModel, levels: &Levels, people: &Sparse, held: &Held, size: usize) -> Vec<Judged> {
    let known: Vec<(Item<'_>, f64)> = held.shown.iter().take(size).map(|&(i, r)| (model.item(i as usize), r)).collect();
    let asked: Vec<Item<'_>> = held.judged.iter().map(|&(i, _)| model.item(i as usize)).collect();
    let answers = model.answer(people.row(held.user), &known, &asked, true);
    let judged = held.judged.iter().zip(answers).zip(levels.said(held, size));
    let of = |((&(_, rating), Answer { mean, variance }), plain)| Judged { plain, model: mean, variance, rating, weight: held.weight() };
    judged.map(of).collect()
}

/// Judged ratings as they were expected with a share of the model.
fn with_share(rows: &[Judged], share: f64) -> impl Iterator<Item = Expected> {
    rows.iter().map(move |&Judged { plain, model, variance, rating, weight }| {
        let answer = Answer { mean: model, variance };
        Expected { mean: plain + share * (model - plain), variance: spread_of(answer, plain, share), rating, weight }
    })
}

/// The folds by which something is chosen: a tenth, and where ratings are few up to five.
fn folds(ratings: &Ratings) -> Vec<Fold> {
    let folds = (ENOUGH / ratings.rated.values.len().max(1)).clamp(1, MOST_FOLDS);
    (0..folds).map(|fold| Fold::new(ratings, fold)).filter(|fold| !fold.rest.rated.values.is_empty()).collect()
}

/// How ratings of users that are held out are met by a model that is fitted to the others, at each of [`SIZES`].
#[must_use]
pub fn judged(ratings: &Ratings, fold_in: &FoldInConfig, regression: Option<&RegressionConfig>) -> Vec<Vec<Judged>> {
    let mut judged: Vec<Vec<Judged>> = vec![Vec::new(); SIZES.len()];
    for fold in folds(ratings) {
        let (model, levels) = (UserModel::fit(&fold.rest, fold_in, regression, None), fold.sums.levels(PLAIN));
        judged.iter_mut().zip(SIZES).for_each(|(all, size)| all.extend(fold.judged(&model, &levels, &ratings.people, size)));
    }
    judged
}

/// The grid that ratings lie on, with cut points that users who were held out have taught, with such shares of the model; `None` for ratings of many values, and where nobody can teach them.
#[must_use]
pub fn ordinal_of(ratings: &Ratings, judged: &[Vec<Judged>], shares: &[f64]) -> Option<Ordinal> {
    let rows: Vec<Expected> = judged.iter().zip(shares).flat_map(|(rows, &share)| with_share(rows, share)).collect();
    Ordinal::grid(ratings.rated.values.iter().copied()).and_then(|grid| Ordinal::fit(grid, &rows))
}

/// Users that are held out, and what is left to fit to.
struct Fold {
    held: Vec<Held>,
    rest: Ratings,
    sums: Sums,
}

impl Fold {
    fn new(ratings: &Ratings, number: usize) -> Self {
        let held = held_out(&ratings.rated, number);
        let mut seen = vec![true; ratings.rated.len()];
        held.iter().for_each(|h| seen[h.user] = false);
        let rest = ratings.of_users(|u| seen[u]);
        Self { held, sums: Sums::new(&rest.rated), rest }
    }

    /// Those that have so much to show; all of them where everything is shown.
    fn of_size(&self, size: usize) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(move |h| size == usize::MAX || h.shown.len() >= size)
    }

    /// What levels and a model say of them.
    fn judged(&self, model: &UserModel, levels: &Levels, people: &Sparse, size: usize) -> Vec<Judged> {
        let users: Vec<&Held> = self.of_size(size).collect();
        users.par_iter().flat_map_iter(|h| said(model, levels, people, h, size)).collect()
    }
}

/// A factorisation, and the regressions on it that are tried (`None`: the factorisation alone).
pub type Candidate = (FoldInConfig, Vec<Option<RegressionConfig>>);

/// A candidate that held-out users have judged.
struct Tried {
    loss: f64,
    fold_in: FoldInConfig,
    config: Option<RegressionConfig>,
    shares: Vec<f64>,
    judged: Vec<Vec<Judged>>,
    /// The model of each fold.
    models: Vec<UserModel>,
}

impl Guarded {
    /// Fits to ratings, of which there is at least one, and chooses one of the candidates, of which there is at least one.
    #[must_use]
    pub fn fit(ratings: &Ratings, candidates: &[Candidate]) -> Self {
        Self::fit_deep(ratings, candidates, None)
    }

    /// The same; the chosen model gets learned features where they are better for held-out users, as [`Guarded::passes`] tells.
    #[must_use]
    pub fn fit_deep(ratings: &Ratings, candidates: &[Candidate], deep: Option<&DeepConfig>) -> Self {
        let folds = folds(ratings);
        // Too few to choose by: the first, held back until a user has shown something.
        if folds.iter().map(|fold| fold.held.len()).sum::<usize>() < 10 {
            let (fold_in, regressions) = &candidates[0];
            let model = UserModel::on(FoldIn::fit(ratings, fold_in).without_covariances(), ratings, regressions[0].as_ref(), None);
            let shares = SIZES.iter().map(|&k| k as f64 / (k as f64 + 5.0)).collect();
            return Self { model, levels: Levels::fit(&ratings.rated), shares, judged: Vec::new(), passes: 0 };
        }
        let loss = |shrinks: [f64; 2]| -> f64 {
            let levels: Vec<Levels> = folds.iter().map(|fold| fold.sums.levels(shrinks)).collect();
            let of_user = |h: &Held, levels: &Levels, size| {
                h.judged.iter().zip(levels.said(h, size)).map(|((_, r), said)| (said - r, h.weight())).collect::<Vec<_>>()
            };
            let of_size = |&size: &usize| {
                let users = folds.iter().zip(&levels).flat_map(|(fold, levels)| fold.of_size(size).map(move |h| (h, levels)));
                mean_square(users.flat_map(|(h, levels)| of_user(h, levels, size)))
            };
            SIZES.par_iter().map(of_size).collect::<Vec<f64>>().iter().sum()
        };
        let pairs = SHRINKS.iter().flat_map(|&item| SHRINKS.map(|user| [item, user]));
        let shrinks = pairs.map(|pair| (loss(pair), pair)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(PLAIN, |(_, pair)| pair);
        let mut best: Option<Tried> = None;
        for (fold_in, regressions) in candidates {
            let bodies: Vec<FoldIn> = folds.iter().map(|fold| FoldIn::fit(&fold.rest, fold_in).without_covariances()).collect();
            for config in regressions {
                let (mut models, mut sweeps) = (Vec::new(), 0);
                for (fold, body) in folds.iter().zip(&bodies) {
                    let levels = fold.sums.levels(shrinks);
                    let errors = |model: &UserModel, size: usize| fold.judged(model, &levels, &ratings.people, size);
                    let full =
                        |model: &UserModel| mean_square(errors(model, usize::MAX).iter().map(|row| (row.model - row.rating, row.weight)));
                    let model = UserModel::on(body.clone(), &fold.rest, config.as_ref(), config.is_some().then_some(&full));
                    sweeps += model.regression.as_ref().map_or(0, |fit| fit.sweeps);
                    models.push(model);
                }
                let judged = judged_of(&folds, &models, shrinks, &ratings.people);
                let (shares, loss) = shares_of(|size| judged[SIZES.iter().position(|&s| s == size).unwrap_or(0)].clone());
                if best.as_ref().is_none_or(|best| loss < best.loss) {
                    let sweeps = (sweeps + folds.len() / 2) / folds.len();
                    let config = config.map(|config| RegressionConfig { sweeps: sweeps.max(1), ..config });
                    best = Some(Tried { loss, fold_in: *fold_in, config, shares, judged, models });
                }
            }
        }
        let mut best = best.expect("there is a candidate");
        let passes = deep.map_or(0, |deep| best.learn(&folds, shrinks, ratings, deep));
        let Tried { fold_in, config, shares, judged, .. } = best;
        let mut model = UserModel::on(FoldIn::fit(ratings, &fold_in).without_covariances(), ratings, config.as_ref(), None);
        if let (Some(config), Some(deep), true) = (&config, deep, passes > 0) {
            let mut learned = Deep::new(&model, ratings, &fold_in, config, *deep);
            (0..passes).for_each(|_| _ = learned.pass(ratings));
            model = learned.on(&model);
        }
        Self { model, levels: Sums::new(&ratings.rated).levels(shrinks), shares, judged, passes }
    }
}

impl Tried {
    /// Learns features for the models of all folds side by side, and keeps those after the pass with the smallest loss, if that is smaller than without them by more than its standard error over
    /// held-out users: the number of that pass, or 0.
    fn learn(&mut self, folds: &[Fold], shrinks: [f64; 2], ratings: &Ratings, deep: &DeepConfig) -> usize {
        let Some(config) = self.config else { return 0 };
        let of_fold = |(model, fold): (&UserModel, &Fold)| Deep::new(model, &fold.rest, &self.fold_in, &config, *deep);
        let mut learned: Vec<Deep> = self.models.iter().zip(folds).map(of_fold).collect();
        let before = of_users(folds, &self.judged, &self.shares);
        let (mut best, mut lowest) = (None, self.loss);
        for pass in 1..=deep.epochs {
            learned.iter_mut().zip(folds).for_each(|(deep, fold)| _ = deep.pass(&fold.rest));
            let models: Vec<UserModel> = learned.iter().zip(&self.models).map(|(deep, model)| deep.on(model)).collect();
            let judged = judged_of(folds, &models, shrinks, &ratings.people);
            let (shares, loss) = shares_of(|size| judged[SIZES.iter().position(|&s| s == size).unwrap_or(0)].clone());
            if loss < lowest {
                (best, lowest) = (Some((pass, shares, judged)), loss);
            } else if pass >= best.as_ref().map_or(0, |(pass, ..)| *pass) + deep.patience {
                break;
            }
        }
        let Some((pass, shares, judged)) = best else { return 0 };
        let gains: Vec<f64> = before.iter().zip(of_users(folds, &judged, &shares)).map(|(before, after)| before - after).collect();
        let n = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / n;
        let error = (gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n * (n - 1.0).max(1.0))).sqrt();
        if mean <= error {
            return 0;
        }
        (self.shares, self.judged, self.loss) = (shares, judged, lowest);
        pass
    }
}

/// What models, one of each fold, say of those who are held out of it, at each of [`SIZES`].
fn judged_of(folds: &[Fold], models: &[UserModel], shrinks: [f64; 2], people: &Sparse) -> Vec<Vec<Judged>> {
    let mut judged: Vec<Vec<Judged>> = vec![Vec::new(); SIZES.len()];
    for (fold, model) in folds.iter().zip(models) {
        let levels = fold.sums.levels(shrinks);
        judged.iter_mut().zip(SIZES).for_each(|(all, size)| all.extend(fold.judged(model, &levels, people, size)));
    }
    judged
}

/// The weighted squared error of each held-out user, summed over [`SIZES`].
fn of_users(folds: &[Fold], judged: &[Vec<Judged>], shares: &[f64]) -> Vec<f64> {
    let users: Vec<&Held> = folds.iter().flat_map(|fold| &fold.held).collect();
    let mut sums = vec![0.0; users.len()];
    for ((size, rows), share) in SIZES.into_iter().zip(judged).zip(shares) {
        let mut rows = rows.iter();
        for (sum, held) in sums.iter_mut().zip(&users).filter(|(_, held)| held.shown.len() >= size) {
            let square = |row: &Judged| row.weight * (row.plain + share * (row.model - row.plain) - row.rating).powi(2);
            *sum += rows.by_ref().take(held.judged.len()).map(square).sum::<f64>();
        }
    }
    sums
}
