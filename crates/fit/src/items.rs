//! Items that nothing is known of but their content and some ratings: folded into users that are known, by one solve.
//!
//! A factorisation ([`FoldIn`]) gives each user a Gaussian, `z_u ~ N(z̄_u, V_u)`; a new item is the ridge regression of its ratings on these, drawn towards what its content says. Two bodies:
//!
//! - *fold-in*: prior mean and strength are the factorisation's, `diag(λ_b, λ_q, ..)` ratings: see [`FoldIn::folded`];
//! - *regression*: a prior of its own with a full covariance, learned by EM on the variational factorisation: see [`ItemPrior`]; and the same reading who rated an item as well.
//!
//! The score is `bias + g_k (body - bias) + h_k (raters - body)`: the bias model of [`ContentLevels`], and the shares that pay after k ratings. Body, strengths, penalties and shares are chosen on items: a tenth of them is held out
//! of the fit, and where ratings are few another tenth, up to five times. Each shows some of its ratings, of several sizes, and is judged by others; items count by how much they are rated (at most a hundred ratings).
//! In the end everything is fitted again to all items.

mod dropoutnet;
mod levels;
mod prior;

use rayon::prelude::*;

pub use self::dropoutnet::{DropoutNet, DropoutNetConfig, DropoutUser, Folding, Tower};
pub use self::levels::{ContentLevels, Residuals};
pub use self::prior::{ItemPrior, ItemPriorConfig};
use crate::guarded::{ENOUGH, Judged, MOST_FOLDS, SIZES, held_out_with, share, shares_of};
use crate::{FoldIn, FoldInConfig, Held, Ratings, Row, Sparse};

/// λ_b and λ_q are chosen from these.
const LEVEL_ROWS: [f64; 6] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0];
const LOADING_ROWS: [f64; 5] = [5.0, 20.0, 50.0, 200.0, 1000.0];
/// n_0 of the regression's prior, its penalty, and that of the raters.
const CONTENT_ROWS: [f64; 3] = [30.0, 300.0, 3000.0];
const CONTENT_PENALTIES: [f64; 4] = [0.3, 1.0, 5.0, 30.0];
const RATER_PENALTIES: [f64; 3] = [0.3, 3.0, 30.0];
/// c and the penalty of the bias model.
const BIAS_ROWS: [f64; 7] = [0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0];
const BIAS_PENALTIES: [f64; 4] = [0.3, 1.0, 5.0, 30.0];
/// Sweeps of EM of a prior, and as many as tell one setting from another.
const SWEEPS: usize = 4;
const FEW_SWEEPS: usize = 2;
/// Those where nobody can choose.
const PLAIN: Settings = Settings { bias: [5.0, 5.0], rows: [5.0, 200.0], prior: [300.0, 5.0], raters: 3.0 };
/// Held-out ratings of an item that judge, at most.
const JUDGED: usize = 50;

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemBody {
    /// The factorisation's own prior.
    FoldIn,
    /// A prior with a full covariance, and one that reads raters.
    Regression,
}

/// Mean and covariance of a user's z.
pub type Taste = (Vec<f64>, Vec<f64>);

/// What two models say of what a held-out item of a fold is judged by; the number is the fold's.
type Said<'a> = &'a (dyn Fn(&Fold, usize, &Held) -> Vec<[f64; 2]> + Sync);

/// Users as a factorisation knows them.
#[derive(Clone, Debug)]
pub struct Tastes {
    /// Each of them.
    pub users: Vec<Taste>,
    /// Mean of the means.
    pub centre: Vec<f64>,
    /// Their root mean squares.
    pub units: Vec<f64>,
    /// Columns of content, with the 1 in front.
    pub content: usize,
}

/// What new items are folded into.
#[derive(Clone, Debug)]
pub struct ItemModel {
    /// The factorisation, for its units and what it says of users without ratings.
    pub fold_in: FoldIn,
    /// Users.
    pub tastes: Tastes,
    /// The prior of the body.
    pub prior: ItemPrior,
    /// The one that reads raters.
    pub raters: Option<ItemPrior>,
}

/// A chosen model with its shares.
#[derive(Clone, Debug)]
pub struct GuardedItems {
    /// The model.
    pub model: ItemModel,
    /// Levels of users.
    pub users: Vec<f64>,
    /// w of the bias model.
    pub level_weights: Vec<f64>,
    /// c of the bias model.
    pub level_rows: f64,
    /// g, then h, at each of [`SIZES`].
    pub shares: [Vec<f64>; 2],
}

/// What is chosen.
#[derive(Clone, Copy, Debug)]
struct Settings {
    bias: [f64; 2],
    rows: [f64; 2],
    prior: [f64; 2],
    raters: f64,
}

/// A user of a new item: what is known of z, and the level.
pub type Rater<'a> = (&'a Taste, f64);

impl Tastes {
    /// Users after all of their ratings.
    fn new(fit: &FoldIn, ratings: &Ratings) -> Self {
        let posterior = |u: usize| {
            let (items, values) = ratings.rated.row(u);
            let known = items.iter().zip(values).map(|(&i, &r)| (fit.item(i as usize), r));
            let posterior = fit.posterior(&fit.prior_of(&ratings.people, u), known);
            let covariance = posterior.precision.inverse();
            (posterior.mean, covariance)
        };
        let users: Vec<_> = (0..ratings.rated.len()).into_par_iter().map(posterior).collect();
        let n = users.len().max(1) as f64;
        let mean = |k: usize, p: i32| users.iter().map(|(z, _): &Taste| z[k].powi(p)).sum::<f64>() / n;
        let centre = (0..fit.width).map(|k| mean(k, 1)).collect();
        let units = (0..fit.width).map(|k| mean(k, 2).sqrt().max(1e-9)).collect();
        Self { users, centre, units, content: 1 + ratings.content.width }
    }

    /// Numbers of z.
    #[must_use]
    pub fn width(&self) -> usize {
        self.centre.len()
    }
}

impl ItemModel {
    /// What the body says of an item, and what the prior that reads raters says; the same where there is none.
    #[must_use]
    pub fn answer(&self, content: Row<'_>, rated: &[(Rater<'_>, f64)], asked: &[Rater<'_>]) -> Vec<[f64; 2]> {
        let FoldIn { mean, scale, .. } = self.fold_in;
        let known: Vec<_> = rated.iter().map(|((user, _), r)| (*user, (r - mean) / scale)).collect();
        let said = |prior: &ItemPrior| -> Vec<f64> {
            let item = prior.vector(&self.tastes, content, &known);
            asked.iter().map(|((z, _), _)| mean + scale * (item[0] + item[1..].iter().zip(z).map(|(q, z)| q * z).sum::<f64>())).collect()
        };
        let body = said(&self.prior);
        let raters = self.raters.as_ref().map_or_else(|| body.clone(), said);
        body.into_iter().zip(raters).map(|(body, raters)| [body, raters]).collect()
    }
}

impl GuardedItems {
    /// The expected ratings of an item by users.
    #[must_use]
    pub fn answer(&self, content: Row<'_>, rated: &[(Rater<'_>, f64)], asked: &[Rater<'_>]) -> Vec<f64> {
        let of = |(&c, &x): (&u32, &f64)| x * self.level_weights[1 + c as usize];
        let prior = self.level_weights[0] + content.0.iter().zip(content.1).map(of).sum::<f64>();
        let mut known = Residuals::default();
        let mean = self.model.fold_in.mean;
        rated.iter().for_each(|((_, level), r)| known.add(r - mean - level));
        let level = mean + known.towards(prior, self.level_rows);
        let [g, h] = self.shares.each_ref().map(|shares| share(shares, rated.len()));
        let answers = self.model.answer(content, rated, asked);
        asked.iter().zip(answers).map(|((_, user), [body, raters])| mixed(level + user, g, body) + h * (raters - body)).collect()
    }
}

fn mixed(bias: f64, share: f64, body: f64) -> f64 {
    bias + share * (body - bias)
}

/// Items that are held out, and what is left to fit to.
struct Fold {
    held: Vec<Held>,
    rest: Ratings,
    levels: ContentLevels,
}

impl Fold {
    fn new(ratings: &Ratings, number: usize) -> Self {
        let held = held_out_with(&ratings.rated.transposed(), number, JUDGED);
        let mut seen = vec![true; ratings.rated.width];
        held.iter().for_each(|h| seen[h.user] = false);
        let mut rated = Sparse::new(ratings.rated.width);
        for u in 0..ratings.rated.len() {
            let (items, values) = ratings.rated.row(u);
            rated.push(items.iter().copied().zip(values.iter().copied()).filter(|(i, _)| seen[*i as usize]));
        }
        let rest = Ratings { rated, ..ratings.clone() };
        Self { held, levels: levels(&rest), rest }
    }

    /// Of each held-out item that has so much to show what two models say, the first in place of the other.
    fn judged(&self, size: usize, said: impl Fn(&Held) -> Vec<[f64; 2]> + Sync) -> Vec<Judged> {
        let held: Vec<&Held> = self.held.iter().filter(|h| h.shown.len() >= size).collect();
        let of_item = |h: &&Held| -> Vec<Judged> {
            let rows = h.judged.iter().zip(said(h));
            rows.map(|(&(_, rating), [plain, model])| Judged { plain, model, variance: 0.0, rating, weight: h.weight() }).collect()
        };
        held.par_iter().flat_map_iter(of_item).collect()
    }

    /// What the bias model says of an item.
    fn bias(&self, (weights, rows): (&[f64], f64), held: &Held, size: usize) -> Vec<f64> {
        let mut known = Residuals::default();
        held.shown.iter().take(size).for_each(|&(u, r)| known.add(r - self.levels.mean - self.levels.users[u as usize]));
        let level = self.levels.mean + known.towards(self.levels.prior(weights, held.user), rows);
        held.judged.iter().map(|&(u, _)| level + self.levels.users[u as usize]).collect()
    }

    fn said(&self, model: &ItemModel, held: &Held, size: usize) -> Vec<[f64; 2]> {
        let rater = |&(u, _): &(u32, f64)| (&model.tastes.users[u as usize], self.levels.users[u as usize]);
        let rated: Vec<_> = held.shown.iter().take(size).map(|row| (rater(row), row.1)).collect();
        model.answer(self.rest.content.row(held.user), &rated, &held.judged.iter().map(rater).collect::<Vec<_>>())
    }
}

/// A tenth of the items, and where ratings are few up to five.
fn folds(ratings: &Ratings) -> Vec<Fold> {
    let folds = (ENOUGH / ratings.rated.values.len().max(1)).clamp(1, MOST_FOLDS);
    (0..folds).map(|fold| Fold::new(ratings, fold)).filter(|fold| !fold.rest.rated.values.is_empty()).collect()
}

/// Whether so few items are held out that nothing is chosen by them.
fn are_few(folds: &[Fold]) -> bool {
    folds.iter().map(|fold| fold.held.len()).sum::<usize>() < 10
}

/// Shares where nobody can choose.
fn held_back() -> Vec<f64> {
    SIZES.iter().map(|&k| k as f64 / (k as f64 + 5.0)).collect()
}

/// What is said of the held-out items of all folds.
fn all_judged(folds: &[Fold], size: usize, said: Said<'_>) -> Vec<Judged> {
    folds.iter().enumerate().flat_map(|(n, fold)| fold.judged(size, |held| said(fold, n, held))).collect()
}

/// c and the penalty of the bias model that serve held-out items best.
fn bias_of(folds: &[Fold]) -> [f64; 2] {
    let loss = |[rows, penalty]: [f64; 2]| {
        let weights: Vec<Vec<f64>> = folds.iter().map(|fold| fold.levels.weights(rows, penalty)).collect();
        // The same in both places: the share does not matter.
        let said =
            |fold: &Fold, n: usize, held: &Held, size| fold.bias((&weights[n], rows), held, size).into_iter().map(|x| [x, x]).collect();
        shares_of(|size| all_judged(folds, size, &|fold, n, held| said(fold, n, held, size))).1
    };
    best(pairs(BIAS_ROWS, BIAS_PENALTIES), loss).expect("there are settings")
}

fn levels(ratings: &Ratings) -> ContentLevels {
    let (mean, _) = ratings.units();
    let rows = (0..ratings.rated.len()).flat_map(|u| {
        let (items, values) = ratings.rated.row(u);
        items.iter().zip(values).map(move |(&i, &r)| (u, i as usize, r))
    });
    ContentLevels::fit(mean, ratings.rated.len(), rows, &ratings.content)
}

/// A factorisation with its users and the ratings of items in its units.
struct Ground<'a> {
    ratings: &'a Ratings,
    fit: FoldIn,
    tastes: Tastes,
    by_item: Sparse,
}

impl<'a> Ground<'a> {
    fn new(ratings: &'a Ratings, body: ItemBody, factors: usize) -> Self {
        let config = FoldInConfig { factors, variational: body == ItemBody::Regression, ..FoldInConfig::default() };
        let fit = FoldIn::fit(ratings, &config);
        let tastes = Tastes::new(&fit, ratings);
        let mut by_item = ratings.rated.transposed();
        by_item.values.iter_mut().for_each(|r| *r = (*r - fit.mean) / fit.scale);
        Self { ratings, fit: fit.without_covariances(), tastes, by_item }
    }

    fn prior(&self, [content_rows, content_penalty]: [f64; 2], rater_penalty: Option<f64>, sweeps: usize) -> ItemPrior {
        let config = ItemPriorConfig { content_rows, content_penalty, rater_penalty, sweeps };
        ItemPrior::fit((&self.by_item, &self.ratings.content), &self.tastes, &self.fit, &config)
    }

    fn model(&self, prior: ItemPrior, raters: Option<ItemPrior>) -> ItemModel {
        ItemModel { fold_in: self.fit.clone(), tastes: self.tastes.clone(), prior, raters }
    }

    /// The prior of the factorisation itself.
    fn own(&self, [level, loading]: [f64; 2]) -> ItemPrior {
        let m = self.fit.width + 1;
        let rows = |at: usize| {
            if at == 0 {
                level
            } else if at.is_multiple_of(m + 1) {
                loading
            } else {
                0.0
            }
        };
        ItemPrior { weights: self.fit.content.clone(), rows: (0..m * m).map(rows).collect() }
    }

    fn with(&self, body: ItemBody, settings: &Settings) -> ItemModel {
        match body {
            ItemBody::FoldIn => self.model(self.own(settings.rows), None),
            ItemBody::Regression => {
                let raters = self.prior(settings.prior, Some(settings.raters), SWEEPS);
                self.model(self.prior(settings.prior, None, SWEEPS), Some(raters))
            }
        }
    }
}

/// The first of the smallest.
fn best<T: Copy>(of: impl Iterator<Item = T>, loss: impl Fn(T) -> f64) -> Option<T> {
    of.map(|t| (loss(t), t)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, t)| t)
}

fn pairs<const A: usize, const B: usize>(a: [f64; A], b: [f64; B]) -> impl Iterator<Item = [f64; 2]> {
    a.into_iter().flat_map(move |x| b.into_iter().map(move |y| [x, y]))
}

impl GuardedItems {
    /// Fits to ratings, of which there is at least one, and chooses one of the bodies, of which there is at least one. The ratings' `people` are users, their `content` is that of items.
    #[must_use]
    pub fn fit(ratings: &Ratings, bodies: &[ItemBody], factors: usize) -> Self {
        let folds = folds(ratings);
        // Too few to choose by: the first, held back until an item has shown something.
        if are_few(&folds) {
            return Self::with(ratings, bodies[0], factors, &PLAIN, [held_back(), held_back()]);
        }
        let all = |size: usize, said: Said<'_>| all_judged(&folds, size, said);
        let mut settings = Settings { bias: bias_of(&folds), ..PLAIN };
        let [rows, penalty] = settings.bias;
        let weights: Vec<Vec<f64>> = folds.iter().map(|fold| fold.levels.weights(rows, penalty)).collect();
        let against_bias = |models: &[ItemModel]| {
            shares_of(|size| {
                all(size, &|fold, n, held| {
                    let bias = fold.bias((&weights[n], rows), held, size);
                    bias.into_iter().zip(fold.said(&models[n], held, size)).map(|(bias, [body, _])| [bias, body]).collect()
                })
            })
        };
        let mut found: Option<(f64, ItemBody, Settings, [Vec<f64>; 2])> = None;
        for &body in bodies {
            let grounds: Vec<Ground<'_>> = folds.iter().map(|fold| Ground::new(&fold.rest, body, factors)).collect();
            let models = |settings: &Settings| -> Vec<ItemModel> { grounds.iter().map(|ground| ground.with(body, settings)).collect() };
            let mut shares = [vec![0.0; SIZES.len()], vec![0.0; SIZES.len()]];
            let loss;
            match body {
                ItemBody::FoldIn => {
                    let with = |rows: [f64; 2]| against_bias(&models(&Settings { rows, ..settings }));
                    settings.rows = best(pairs(LEVEL_ROWS, LOADING_ROWS), |rows| with(rows).1).expect("there are settings");
                    (shares[0], loss) = with(settings.rows);
                }
                ItemBody::Regression => {
                    let prior = |prior: [f64; 2], sweeps: usize| -> Vec<ItemModel> {
                        grounds.iter().map(|ground| ground.model(ground.prior(prior, None, sweeps), None)).collect()
                    };
                    let loss_of = |pair: [f64; 2]| against_bias(&prior(pair, FEW_SWEEPS)).1;
                    settings.prior = best(pairs(CONTENT_ROWS, CONTENT_PENALTIES), loss_of).expect("there are settings");
                    (shares[0], _) = against_bias(&prior(settings.prior, SWEEPS));
                    let raters = |raters: f64| {
                        let models = models(&Settings { raters, ..settings });
                        shares_of(|size| {
                            let g = share(&shares[0], size);
                            all(size, &|fold, n, held| {
                                let bias = fold.bias((&weights[n], rows), held, size);
                                // Where h is 1 the raters' prior stands in place of the body's.
                                let mixed =
                                    |(bias, [body, raters]): (f64, [f64; 2])| [mixed(bias, g, body), mixed(bias, g, body) + raters - body];
                                bias.into_iter().zip(fold.said(&models[n], held, size)).map(mixed).collect()
                            })
                        })
                    };
                    settings.raters = best(RATER_PENALTIES.into_iter(), |penalty| raters(penalty).1).expect("there are settings");
                    (shares[1], loss) = raters(settings.raters);
                }
            }
            if found.as_ref().is_none_or(|(lowest, ..)| loss < *lowest) {
                found = Some((loss, body, settings, shares));
            }
        }
        let (_, body, settings, shares) = found.expect("there is a body");
        Self::with(ratings, body, factors, &settings, shares)
    }

    fn with(ratings: &Ratings, body: ItemBody, factors: usize, settings: &Settings, shares: [Vec<f64>; 2]) -> Self {
        let (levels, [level_rows, penalty]) = (levels(ratings), settings.bias);
        let level_weights = levels.weights(level_rows, penalty);
        Self { model: Ground::new(ratings, body, factors).with(body, settings), users: levels.users, level_weights, level_rows, shares }
    }
}
