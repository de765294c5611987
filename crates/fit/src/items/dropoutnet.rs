//! DropoutNet: two towers that learn to do without the vectors of a factorisation, so that a new item can be scored from its content and what few ratings it has.
//!
//! U is what a factorisation ([`FoldIn`], variational) says of a user after all ratings, each entry divided by its root mean square. Beside the levels of [`ContentLevels`] ratings S of an item say
//!
//! `b(S) = (Σ_S (r - μ - b_u) + c p_i) / (n + c)`,  `V(S) = (Σ_S U Uᵀ + c_V I)⁻¹ Σ_S U (r - μ - b_u - b(S)) / s`,
//!
//! which is 0 of none and the item's own vector of all. Towers `f_u([U; 1; features])` and `f_v([V(S); 1; content])` with one hidden layer of tanh minimise half the mean of `(t_uv - f_u · f_v)²` over all pairs of the users
//! and items of a batch, `t_uv = U_u · V_v + (b_v - b_v(S)) / s` with V and b of all ratings, and half that over the ratings there are, which S does not show, themselves: `t_uv = (r - μ - b_u - b_v(S)) / s`. In one half of the
//! draws U is 0, in one half S is empty, else S is a part of the item's ratings.
//!
//! The score is `μ + b_u + b(S) + s f_u · (g_k f_v(∅) + h_k (f_v(S) - f_v(∅)))`: what content says, and what ratings add to it. The shares g and h, c_V and the number of steps are chosen on held-out
//! items, as in [`GuardedItems`](super::GuardedItems): a share
//! that is not more than two standard errors above 0 is 0, so that towers say nothing of content, or of ratings, without having been shown to be right.
//!
//! # References
//! M. Volkovs, G. Yu, T. Poutanen, *DropoutNet: Addressing Cold Start in Recommender Systems*, NeurIPS 2017.

mod descent;
mod tower;

use rayon::prelude::*;

use self::descent::Lesson;
pub use self::tower::Tower;
use super::{Fold, PLAIN, Residuals, Taste, Tastes, all_judged, are_few, bias_of, folds, held_back, levels};
use crate::cholesky::dot;
use crate::fold_in::{add_outer, with_one};
use crate::guarded::{Judged, SIZES, share, shares_of};
use crate::{Cholesky, ContentLevels, FoldIn, FoldInConfig, Held, Ratings, Row, Sparse};

/// c_V is chosen from these, and that where nobody can choose.
const LATENT_ROWS: [f64; 6] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
const PLAIN_ROWS: f64 = 30.0;
/// Towers are judged after every eighth of a pass over what can be drawn, but not before so many steps nor later than after so many, and so often at most; where nobody can judge, they take so many steps.
const EVERY: [usize; 2] = [80, 400];
const ROUNDS: usize = 15;
const PLAIN_STEPS: usize = 200;

/// Settings of [`DropoutNet`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutNetConfig {
    /// Factors of the factorisation beside the one that plays the user's level.
    pub factors: usize,
    /// Units of a tower's hidden layer.
    pub hidden: usize,
    /// Share of draws in which a vector is 0.
    pub dropout: f64,
}

/// What ratings of an item say of it: a level and a vector.
#[derive(Clone, Debug)]
pub struct Folding {
    /// μ.
    pub mean: f64,
    /// s.
    pub scale: f64,
    /// w of the bias model.
    pub level_weights: Vec<f64>,
    /// c of the bias model.
    pub level_rows: f64,
    /// c_V.
    pub latent_rows: f64,
    /// Numbers in a vector.
    pub factors: usize,
}

/// Fitted towers with their shares.
#[derive(Clone, Debug)]
pub struct DropoutNet {
    /// What ratings of an item say.
    pub folding: Folding,
    /// f_u, then f_v.
    pub towers: [Tower; 2],
    /// g, then h, at each of [`SIZES`](crate::SIZES).
    pub shares: [Vec<f64>; 2],
    /// U, `[users, factors]`.
    pub users: Vec<f64>,
    /// b_u.
    pub levels: Vec<f64>,
}

/// A user of a new item: the vector (empty: not known), the level, and the features, the first of which is 1.
pub type DropoutUser<'a> = (&'a [f64], f64, Row<'a>);

impl Folding {
    /// p of an item's content, the first column of which is 1.
    fn prior(&self, content: Row<'_>) -> f64 {
        content.0.iter().zip(content.1).map(|(&c, x)| x * self.level_weights[c as usize]).sum()
    }

    /// `b(S)` and `V(S)` of vectors of users with `r - μ - b_u`; vectors that are empty count as 0.
    fn fold<'a>(&self, prior: f64, rated: impl Iterator<Item = (&'a [f64], f64)> + Clone) -> (f64, Vec<f64>) {
        let d = self.factors;
        let mut known = Residuals::default();
        rated.clone().for_each(|(_, rest)| known.add(rest));
        let level = known.towards(prior, self.level_rows);
        let mut vector = vec![0.0; d];
        if known.n() == 0.0 {
            return (level, vector);
        }
        let mut matrix = vec![0.0; d * d];
        (0..d).for_each(|k| matrix[k * d + k] = self.latent_rows);
        for (user, rest) in rated.filter(|(user, _)| !user.is_empty()) {
            add_outer(&mut matrix, user, 1.0);
            vector.iter_mut().zip(user).for_each(|(sum, u)| *sum += u * (rest - level) / self.scale);
        }
        Cholesky::sturdy(matrix, d).solve(&mut vector);
        (level, vector)
    }
}

impl DropoutNet {
    /// The expected ratings of an item, with its content (the first column is 1) and ratings, by users.
    #[must_use]
    pub fn answer(&self, content: Row<'_>, rated: &[(&[f64], f64, f64)], asked: &[DropoutUser<'_>]) -> Vec<f64> {
        let Folding { mean, scale, .. } = self.folding;
        let known = rated.iter().map(|(user, level, r)| (*user, r - mean - level));
        let (level, vector) = self.folding.fold(self.folding.prior(content), known);
        let [g, h] = self.shares.each_ref().map(|shares| share(shares, rated.len()));
        let without = self.towers[1].apply(&[], content);
        let with = if rated.is_empty() { without.clone() } else { self.towers[1].apply(&vector, content) };
        let item: Vec<f64> = without.iter().zip(&with).map(|(without, with)| g * without + h * (with - without)).collect();
        let of = |(vector, b, features): &DropoutUser<'_>| mean + b + level + scale * dot(&self.towers[0].apply(vector, *features), &item);
        asked.iter().map(of).collect()
    }
}

/// Users as a factorisation knows them, and what the bias model leaves over.
struct Ground<'a> {
    ratings: &'a Ratings,
    folding: Folding,
    levels: &'a ContentLevels,
    /// `[users, factors]`.
    users: Vec<f64>,
    /// `r - μ - b_u`, `[items, users]`.
    rest: Sparse,
    content: Sparse,
}

impl<'a> Ground<'a> {
    fn new((ratings, levels): (&'a Ratings, &'a ContentLevels), [level_rows, penalty]: [f64; 2], factors: usize) -> Self {
        let (mean, scale) = ratings.units();
        let level_weights = levels.weights(level_rows, penalty);
        let fold_in = FoldIn::fit(ratings, &FoldInConfig { factors, variational: true, ..FoldInConfig::default() });
        let tastes = Tastes::new(&fold_in, ratings);
        let scaled = |(z, _): &Taste| z.iter().zip(&tastes.units).map(|(z, unit)| z / unit).collect::<Vec<f64>>();
        let users = tastes.users.iter().flat_map(scaled).collect();
        let factors = tastes.width();
        let mut rest = ratings.rated.transposed();
        rest.values.iter_mut().zip(&rest.columns).for_each(|(r, &u)| *r -= mean + levels.users[u as usize]);
        let folding = Folding { mean, scale, level_weights, level_rows, latent_rows: PLAIN_ROWS, factors };
        Self { ratings, folding, levels, users, rest, content: with_one(&ratings.content) }
    }

    fn user(&self, u: u32) -> &[f64] {
        &self.users[u as usize * self.folding.factors..][..self.folding.factors]
    }

    /// `b` and `V` of every item after all of its ratings.
    fn items(&self) -> Vec<(f64, Vec<f64>)> {
        let of_item = |i: usize| {
            let (users, rest) = self.rest.row(i);
            self.folding.fold(self.folding.prior(self.content.row(i)), users.iter().map(|&u| self.user(u)).zip(rest.iter().copied()))
        };
        (0..self.rest.len()).into_par_iter().map(of_item).collect()
    }

    /// What the bias model says of what a held-out item is judged by, and V of the item.
    fn shown(&self, held: &Held, size: usize) -> (Vec<f64>, Vec<f64>) {
        let shown = held.shown.iter().take(size).map(|&(u, r)| (self.user(u), r - self.folding.mean - self.levels.users[u as usize]));
        let (level, vector) = self.folding.fold(self.folding.prior(self.content.row(held.user)), shown);
        (held.judged.iter().map(|&(u, _)| self.folding.mean + level + self.levels.users[u as usize]).collect(), vector)
    }

    /// What the bias model says of a held-out item, and with what the factorisation adds.
    fn said_of_vectors(&self, held: &Held, size: usize) -> Vec<[f64; 2]> {
        let (bias, vector) = self.shown(held, size);
        let with = |(bias, &(u, _)): (f64, &(u32, f64))| [bias, bias + self.folding.scale * dot(self.user(u), &vector)];
        bias.into_iter().zip(&held.judged).map(with).collect()
    }

    /// The same with what towers add without ratings, and what ratings add to that; `users` are the f_u of all.
    fn said_of_towers(&self, (tower, users): (&Tower, &[f64]), held: &Held, size: usize) -> Vec<[f64; 3]> {
        let (bias, vector) = self.shown(held, size);
        let side = self.content.row(held.user);
        let without = tower.apply(&[], side);
        let with = if size == 0 { without.clone() } else { tower.apply(&vector, side) };
        let of = |(bias, &(u, _)): (f64, &(u32, f64))| {
            let user = &users[u as usize * with.len()..][..with.len()];
            let [without, with] = [&without, &with].map(|item| self.folding.scale * dot(user, item));
            [bias, without, with - without]
        };
        bias.into_iter().zip(&held.judged).map(of).collect()
    }

    /// f_u of every user.
    fn through(&self, tower: &Tower) -> Vec<f64> {
        let users = 0..self.ratings.rated.len();
        users.into_par_iter().flat_map_iter(|u| tower.apply(self.user(u as u32), self.ratings.people.row(u))).collect()
    }

    /// Towers after so many rounds of steps, and before.
    fn learn(&self, config: &DropoutNetConfig, rounds: usize, steps: usize) -> Vec<[Tower; 2]> {
        let mut lesson = Lesson::new(self, config);
        let round = |_| {
            lesson.steps(steps);
            lesson.towers()
        };
        (0..rounds).map(round).collect()
    }
}

/// Shares that are more than two standard errors above 0, and 0 in place of the others; of a size that nobody judges by, what holds of the size before.
fn proven(shares: Vec<f64>, judged: impl Fn(usize) -> Vec<Judged>) -> Vec<f64> {
    let mut is_proven = false;
    let of = |(size, share): (usize, f64)| {
        let (mut cross, mut square) = (0.0, 0.0);
        for Judged { plain, model, rating, weight, .. } in judged(size) {
            let of_row = weight * (model - plain);
            cross += of_row * (rating - plain);
            square += (of_row * (rating - plain - share * (model - plain))).powi(2);
        }
        if square > 0.0 {
            is_proven = cross > 2.0 * square.sqrt();
        }
        if is_proven { share } else { 0.0 }
    };
    SIZES.into_iter().zip(shares).map(of).collect()
}

impl DropoutNet {
    /// Fits to ratings, of which there is at least one. The ratings' `people` are users, their `content` is that of items.
    #[must_use]
    pub fn fit(ratings: &Ratings, config: &DropoutNetConfig) -> Self {
        let folds = folds(ratings);
        // Too few to choose by: as is, held back until an item has shown something.
        if are_few(&folds) {
            return Self::with(ratings, config, (PLAIN.bias, PLAIN_ROWS, PLAIN_STEPS), [held_back(), held_back()]);
        }
        let bias = bias_of(&folds);
        let mut grounds: Vec<Ground<'_>> =
            folds.iter().map(|Fold { rest, levels, .. }| Ground::new((rest, levels), bias, config.factors)).collect();
        let mut found = (f64::INFINITY, PLAIN_ROWS);
        for latent_rows in LATENT_ROWS {
            grounds.iter_mut().for_each(|ground| ground.folding.latent_rows = latent_rows);
            let (_, loss) = shares_of(|size| all_judged(&folds, size, &|_, n, held| grounds[n].said_of_vectors(held, size)));
            if loss < found.0 {
                found = (loss, latent_rows);
            }
        }
        let (_, latent_rows) = found;
        grounds.iter_mut().for_each(|ground| ground.folding.latent_rows = latent_rows);
        let every = (descent::passes(&ratings.rated) / 8).clamp(EVERY[0], EVERY[1]);
        let learned: Vec<Vec<[Tower; 2]>> = grounds.par_iter().map(|ground| ground.learn(config, ROUNDS, every)).collect();
        let judged = |round: usize| {
            let users: Vec<Vec<f64>> = grounds.iter().zip(&learned).map(|(ground, towers)| ground.through(&towers[round][0])).collect();
            let said = |n: usize, held: &Held, size| grounds[n].said_of_towers((&learned[n][round][1], &users[n]), held, size);
            let content = |size| {
                let of = |[bias, content, _]: [f64; 3]| [bias, bias + content];
                all_judged(&folds, size, &|_, n, held| said(n, held, size).into_iter().map(of).collect())
            };
            let g = proven(shares_of(content).0, content);
            let more = |size| {
                let g = share(&g, size);
                let of = |[bias, content, more]: [f64; 3]| [bias + g * content, bias + g * content + more];
                all_judged(&folds, size, &|_, n, held| said(n, held, size).into_iter().map(of).collect())
            };
            let (h, loss) = shares_of(more);
            let h = proven(h, more);
            ([g, h], loss)
        };
        let rounds = (0..ROUNDS).map(|round| (round, judged(round)));
        let (round, (shares, _)) = rounds.min_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b)).expect("there are rounds");
        Self::with(ratings, config, (bias, latent_rows, (round + 1) * every), shares)
    }

    fn with(
        ratings: &Ratings,
        config: &DropoutNetConfig,
        (bias, latent_rows, steps): ([f64; 2], f64, usize),
        shares: [Vec<f64>; 2],
    ) -> Self {
        let levels = levels(ratings);
        let mut ground = Ground::new((ratings, &levels), bias, config.factors);
        ground.folding.latent_rows = latent_rows;
        let towers = ground.learn(config, 1, steps).remove(0);
        let Ground { folding, users, .. } = ground;
        Self { folding, towers, shares, users, levels: levels.users }
    }
}
