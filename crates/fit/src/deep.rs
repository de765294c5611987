//! Learned features under the regression: a network says what else of items users differ in, and is learned by an outer loop through the solve that adapts.
//!
//! `r_ui = x_i · w_u + h(c_i) · v_u + ε`, `v_u ~ N(0, diag τ²)`, x and w of a fitted [`Regression`] with its kernel, and c_i the content of the item and its features x:
//!
//! `h(c) = tanh(W₂ tanh(W₁ c + b₁) + b₂)`, τ at first 1e-3 for all, so that it starts as the regression.
//!
//! *Adapting*: τ ∘ h are further features of weight 1, so a user costs the same solve as before, and no network. An item that nobody has rated has none of them.
//!
//! *Learning*: a user shows k ratings, `1 + k` log-uniform up to `1 + most_shown`, and is asked for some others; minus the logarithm of their predictive density goes through the
//! solve ([`density`]) and the network to Adam. Every user stands on a regression that was fitted to other users, one of `parts`: a fit has seen too much of those it was fitted to, and what
//! is left over of them is not what will be left over of anybody else.
//!
//! # References
//! A. G. Wilson et al., *Deep Kernel Learning*, AISTATS 2016; M. Patacchiola et al., *Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels*, NeurIPS 2020, for the outer loop.

mod density;
mod net;

use rayon::prelude::*;

pub use self::density::density;
pub use self::net::Net;
use crate::cholesky::dot;
use crate::random::uniform;
use crate::{FoldIn, FoldInConfig, ItemView, Ratings, Regression, RegressionConfig, Sparse, UserModel};

/// How features are learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeepConfig {
    /// Width of the hidden layer, default 64.
    pub hidden: usize,
    /// Learned features, default 32.
    pub features: usize,
    /// Where τ starts, default 1e-3.
    pub start: f64,
    /// Of Adam, default 1e-3.
    pub rate: f64,
    /// Users a step, default 32.
    pub batch: usize,
    /// Ratings that a training user shows at most, default 64.
    pub most_shown: usize,
    /// Ratings that a training user is asked for at most, default 32.
    pub queries: usize,
    /// Regressions to stand on, each fitted without its share of the users, default 4; 1: one that is fitted to all, and sees those it is judged by.
    pub parts: usize,
    /// Passes over the users at most, default 30.
    pub epochs: usize,
    /// Passes without a gain for held-out users after which learning ends, default 4.
    pub patience: usize,
    /// Of all draws.
    pub seed: u64,
}

impl Default for DeepConfig {
    fn default() -> Self {
        Self {
            hidden: 64,
            features: 32,
            start: 1e-3,
            rate: 1e-3,
            batch: 32,
            most_shown: 64,
            queries: 32,
            parts: 4,
            epochs: 30,
            patience: 4,
            seed: 0,
        }
    }
}

/// What users of one part stand on.
#[derive(Clone, Debug)]
struct Ground {
    regression: Regression,
    /// z of each item, such that features i and j go together by `z_i · z_j` before any rating; `[items, m]`.
    roots: Vec<f64>,
}

impl Ground {
    fn new(regression: Regression) -> Self {
        let (m, core, factor) = (regression.width, regression.core, regression.factor());
        // Lᵀ x of the core; the kernel's weights have variance 1.
        let root = |x: &[f64]| -> Vec<f64> {
            let mut z = vec![0.0; core];
            for (row, x) in factor.chunks_exact(core).zip(x) {
                z.iter_mut().zip(row).for_each(|(sum, l)| *sum += x * l);
            }
            z.extend_from_slice(&x[core..]);
            z
        };
        let roots = regression.features.par_chunks(m).flat_map_iter(root).collect();
        Self { regression, roots }
    }
}

/// A network that is being learned.
#[derive(Clone, Debug)]
pub struct Deep {
    config: DeepConfig,
    /// c of each item.
    inputs: Sparse,
    counts: Vec<usize>,
    net: Net,
    /// Moments of Adam, and its steps.
    moments: [Vec<f64>; 2],
    steps: i32,
    grounds: Vec<Ground>,
    epoch: usize,
}

/// What one user is asked in a step: items, shown ones first, and of each what its rating differs by from what is expected before any is seen.
struct Episode {
    ground: usize,
    items: Vec<usize>,
    left: Vec<f64>,
    shown: usize,
}

impl Deep {
    /// Before the first pass: a network for the items of a fitted model, and regressions of the same settings, each fitted without a part of the users.
    #[must_use]
    pub fn new(model: &UserModel, ratings: &Ratings, fold_in: &FoldInConfig, regression: &RegressionConfig, config: DeepConfig) -> Self {
        let parts = config.parts.max(1);
        let of_part = |part: usize| {
            let others = ratings.of_users(|u| parts == 1 || part_of(u, parts) != part);
            if others.rated.values.is_empty() {
                return model.regression.clone();
            }
            UserModel::on(FoldIn::fit(&others, fold_in).without_covariances(), &others, Some(regression), None).regression
        };
        let grounds = match parts {
            1 => model.regression.iter().cloned().map(Ground::new).collect(),
            _ => (0..parts).filter_map(of_part).map(Ground::new).collect(),
        };
        let inputs = inputs(model, &ratings.content);
        let net = Net::new(&inputs, [config.hidden, config.features], config.start, config.seed);
        let moments = [vec![0.0; net.values.len()], vec![0.0; net.values.len()]];
        Self { config, inputs, counts: model.fold_in.counts.clone(), net, moments, steps: 0, grounds, epoch: 0 }
    }

    /// One pass over the users; the mean of their losses.
    pub fn pass(&mut self, ratings: &Ratings) -> f64 {
        let DeepConfig { seed, batch, .. } = self.config;
        let mut order: Vec<usize> = (0..ratings.rated.len()).filter(|&u| ratings.rated.row(u).0.len() >= 2).collect();
        let place = (1 << 48) + self.epoch as u64;
        order.sort_by_cached_key(|&u| (uniform(seed, place, u as u64) * 1e15) as u64);
        let (mut sum, users) = (0.0, order.len().max(1));
        for users in order.chunks(batch.max(1)) {
            let episodes: Vec<Episode> = users.par_iter().map(|&u| self.episode(ratings, u)).collect();
            sum += self.step(&episodes);
        }
        self.epoch += 1;
        sum / users as f64
    }

    /// τ ∘ h of every item, `[items, features]`.
    #[must_use]
    pub fn features(&self) -> Vec<f64> {
        let tau = self.net.tau();
        let of_item = |i: usize| -> Vec<f64> {
            let (_, h) = self.net.forward(self.inputs.row(i));
            h.iter().zip(tau).map(|(h, tau)| if self.counts[i] > 0 { h * tau } else { 0.0 }).collect()
        };
        (0..self.inputs.len()).into_par_iter().flat_map_iter(of_item).collect()
    }

    /// A model with what has been learned.
    #[must_use]
    pub fn on(&self, model: &UserModel) -> UserModel {
        model.with_features(&self.features(), self.config.features)
    }

    fn episode(&self, ratings: &Ratings, user: usize) -> Episode {
        let DeepConfig { seed, most_shown, queries, .. } = self.config;
        let (columns, values) = ratings.rated.row(user);
        let place = (1 << 32) + (self.epoch * ratings.rated.len() + user) as u64;
        let sizes = ((1 + most_shown) as f64).ln();
        let shown = ((uniform(seed, place, 0) * sizes).exp() as usize - 1).min(columns.len() - 1);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_cached_key(|&at| (uniform(seed, place, 1 + at as u64) * 1e15) as u64);
        order.truncate(shown + queries.max(1));
        let ground = part_of(user, self.grounds.len());
        let of = &self.grounds[ground].regression;
        let known: Vec<(ItemView<'_>, f64)> = order[..shown].iter().map(|&at| (of.item(columns[at] as usize), values[at])).collect();
        let prior = of.prior(ratings.people.row(user), &known);
        let left = |&at: &usize| (values[at] - of.mean) / of.scale - dot(of.item(columns[at] as usize).features, &prior);
        Episode { ground, items: order.iter().map(|&at| columns[at] as usize).collect(), left: order.iter().map(left).collect(), shown }
    }

    /// One step of Adam on the mean loss of some users; the sum of these.
    fn step(&mut self, episodes: &[Episode]) -> f64 {
        let p = self.config.features;
        let mut touched: Vec<usize> = episodes.iter().flat_map(|episode| episode.items.iter().copied()).collect();
        touched.sort_unstable();
        touched.dedup();
        let said: Vec<(Vec<f64>, Vec<f64>)> = touched.par_iter().map(|&i| self.net.forward(self.inputs.row(i))).collect();
        let at = |item: usize| touched.binary_search(&item).expect("every item of an episode");
        let tau = self.net.tau();
        let of_episode = |episode: &Episode| {
            let Ground { regression, roots } = &self.grounds[episode.ground];
            let width = regression.width + p;
            let mut rows = Vec::with_capacity(episode.items.len() * width);
            for &item in &episode.items {
                rows.extend_from_slice(&roots[item * regression.width..][..regression.width]);
                rows.extend(said[at(item)].1.iter().zip(tau).map(|(h, tau)| h * tau));
            }
            let noise: Vec<f64> = episode.items.iter().map(|&item| regression.noise + regression.more_noise[item]).collect();
            density(&rows, [width, p], &noise, &episode.left, episode.shown)
        };
        let asked: Vec<(f64, Vec<f64>)> = episodes.par_iter().map(of_episode).collect();
        // ∂L/∂(τ ∘ h) of each item, in the order of the users.
        let mut scaled = vec![0.0; touched.len() * p];
        for (episode, (_, gradient)) in episodes.iter().zip(&asked) {
            for (&item, row) in episode.items.iter().zip(gradient.chunks_exact(p)) {
                scaled[at(item) * p..][..p].iter_mut().zip(row).for_each(|(sum, x)| *sum += x / episodes.len() as f64);
            }
        }
        let rows: Vec<_> = touched.iter().map(|&i| self.inputs.row(i)).collect();
        let gradient = self.net.backward(&rows, &said, &scaled);
        self.steps += 1;
        let [first, second] = &mut self.moments;
        let correction = [1.0 - 0.9f64.powi(self.steps), 1.0 - 0.999f64.powi(self.steps)];
        for ((x, g), (m, v)) in self.net.values.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
            (*m, *v) = (0.9 * *m + 0.1 * g, 0.999 * *v + 0.001 * g * g);
            *x -= self.config.rate * (*m / correction[0]) / ((*v / correction[1]).sqrt() + 1e-8);
        }
        asked.iter().map(|(loss, _)| loss).sum()
    }
}

fn part_of(user: usize, parts: usize) -> usize {
    (uniform(13, user as u64, 0) * parts as f64) as usize
}

/// c: the content of an item, then `(b, q)` in units of their root mean squares.
fn inputs(model: &UserModel, content: &Sparse) -> Sparse {
    let fold_in = &model.fold_in;
    let known: Vec<usize> = (0..content.len()).filter(|&i| fold_in.counts[i] > 0).collect();
    let square = |k: usize| known.iter().map(|&i| fold_in.item(i).values[k].powi(2)).sum::<f64>() / known.len().max(1) as f64;
    let units: Vec<f64> = (0..=fold_in.width).map(|k| square(k).sqrt().max(1e-9)).collect();
    let mut inputs = Sparse::new(content.width + units.len());
    for i in 0..content.len() {
        let (columns, values) = content.row(i);
        let vector = fold_in.item(i).values.iter().zip(&units).enumerate().map(|(k, (x, unit))| ((content.width + k) as u32, x / unit));
        inputs.push(columns.iter().copied().zip(values.iter().copied()).chain(vector));
    }
    inputs
}
