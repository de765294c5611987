//! A user's vector in the target, `û = f(u)`, from the vector u in the source. Both factorisations stay as they are; only f is learned, from shared people.
//!
//! | [`Map`] | f |
//! |---|---|
//! | `Linear` | `W [u; 1]` |
//! | `Network` | `W₂ tanh(W₁ [u; 1]) + b₂` |
//! | `Personal` | `M u`, `M = reshape(W₂ relu(W₁ [p; 1]) + b₂)`, `p = Σ_j a_j v_j` over the person's best liked source items, `a = softmax(w₂ᵀ relu(A v_j + b))` (PTUPCDR) |
//!
//! | [`Lesson`] | loss of a person with target items S |
//! |---|---|
//! | `Vectors` | `|û - u_target|²`, `u_target` being the person's vector in the target |
//! | `Rows` | `1/|S| (a |Y û|² + Σ_S (1 - a) (yᵀû)² - 2 r yᵀû + r²)`: the squared error of the target's own factorisation, what was not observed included |
//!
//! Every loss is quadratic in û, so that the meta step of TMCDR, `W' = W - λ ∇L_a(W)`, then `W <- W - β (I - λ ∇²L_a) ∇L_b(W')`, is exact for a linear f.
//!
//! # References
//! T. Man et al., *Cross-Domain Recommendation: An Embedding and Mapping Approach* (EMCDR), IJCAI 2017; Y. Zhu et al., *Transfer-Meta Framework for Cross-domain Recommendation to
//! Cold-Start Users* (TMCDR), SIGIR 2021; Y. Zhu et al., *Personalized Transfer of User Preferences for Cross-domain Recommendation* (PTUPCDR), WSDM 2022.

use rayon::prelude::*;

use super::{Bridge, Factors, Known, Pair};
use crate::cholesky::{Cholesky, dot};
use crate::random;

/// The form of f.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// A matrix and a vector.
    Linear,
    /// One hidden layer of so many units.
    Network(usize),
    /// A matrix for each person, from the items of the source; its network has a hidden layer of so many units.
    Personal(usize),
}

/// What f learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// The vectors of shared people in the target.
    Vectors,
    /// Their rows there.
    Rows,
}

/// How f is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MappingConfig {
    /// Its form.
    pub map: Map,
    /// What it learns from.
    pub lesson: Lesson,
    /// The inner step λ of TMCDR, which must be linear; without it, plain descent.
    pub inner_rate: Option<f64>,
    /// Passes over shared people at most; the best of them counts, by a tenth of the people that is not learned from.
    pub epochs: usize,
    /// Learning rate of Adam.
    pub rate: f64,
    /// Seed of starting values and orders.
    pub seed: u64,
}

/// A learned f between two factorisations.
#[derive(Clone, Debug)]
pub struct Mapped {
    shape: Shape,
    values: Vec<f64>,
    source: Factors,
    target: Factors,
    /// Mean values of source items, from which on a person likes one; 0 for clicks.
    liked: f64,
}

/// Items that a personal map reads, at most.
const HISTORY: usize = 20;
const BATCH: usize = 64;
/// People whose gradients are summed one after the other; the sums of such groups are added in order, so that threads change nothing.
const GROUP: usize = 8;
/// A solve of a linear map tries these shares of the mean square of its inputs.
const RIDGES: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// What f reads of a person.
struct Input {
    vector: Vec<f64>,
    /// Vectors of the liked source items, `[n, d]`; read by a personal map only.
    history: Vec<f64>,
}

/// The quadratic loss of a person: `ûᵀ(a G + (1-a) Σ y yᵀ)û - 2 û·Σ r y`, over n, or the distance to a vector.
enum Goal<'a> {
    Vector(Vec<f64>),
    Rows { target: &'a Factors, items: &'a [u32], values: Vec<f64>, constant: f64 },
}

impl Goal<'_> {
    fn loss(&self, x: &[f64]) -> f64 {
        match self {
            Self::Vector(t) => x.iter().zip(t).map(|(x, t)| (x - t).powi(2)).sum(),
            Self::Rows { items, values, constant, target } => {
                let a = target.unobserved();
                let seen = |(&item, r): (&u32, &f64)| {
                    let said = dot(target.item(item as usize), x);
                    (1.0 - a) * said * said - 2.0 * r * said
                };
                (dot(&target.pull(x), x) + items.iter().zip(values).map(seen).sum::<f64>() + constant) / items.len() as f64
            }
        }
    }

    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Self::Vector(t) => x.iter().zip(t).map(|(x, t)| 2.0 * (x - t)).collect(),
            Self::Rows { values, .. } => self.rows_gradient(x, values),
        }
    }

    /// The Hessian times a vector.
    fn curvature(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Self::Vector(_) => x.iter().map(|x| 2.0 * x).collect(),
            Self::Rows { values, .. } => self.rows_gradient(x, &vec![0.0; values.len()]),
        }
    }

    fn rows_gradient(&self, x: &[f64], values: &[f64]) -> Vec<f64> {
        let Self::Rows { target, items, .. } = self else { unreachable!("asked of rows only") };
        let a = target.unobserved();
        let mut sum = target.pull(x);
        for (&item, r) in items.iter().zip(values) {
            let y = target.item(item as usize);
            let error = (1.0 - a) * dot(y, x) - r;
            sum.iter_mut().zip(y).for_each(|(sum, y)| *sum += error * y);
        }
        let scale = 2.0 / items.len() as f64;
        sum.into_iter().map(|g| scale * g).collect()
    }
}

/// The form of f with its sizes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    map: Map,
    /// Numbers in a source vector and in a target vector.
    from: usize,
    to: usize,
}

/// `W [x; 1]` with W row by row, `[out, in + 1]`.
fn affine(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len() + 1).map(|row| dot(&row[..x.len()], x) + row[x.len()]).collect()
}

/// Adds the gradient of `W [x; 1]`; gives that of x.
fn affine_back(w: &[f64], x: &[f64], g: &[f64], into: &mut [f64]) -> Vec<f64> {
    let n = x.len();
    let mut of_x = vec![0.0; n];
    for ((row, sum), g) in w.chunks_exact(n + 1).zip(into.chunks_exact_mut(n + 1)).zip(g) {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += g * x);
        sum[n] += g;
        of_x.iter_mut().zip(row).for_each(|(of_x, w)| *of_x += g * w);
    }
    of_x
}

impl Shape {
    /// Sizes `[out, in + 1]` of its affine layers, in the order in which their values lie.
    fn layers(&self) -> Vec<[usize; 2]> {
        let Self { map, from, to } = *self;
        match map {
            Map::Linear => vec![[to, from + 1]],
            Map::Network(hidden) => vec![[hidden, from + 1], [to, hidden + 1]],
            // Attention [d, d], its weights [1, d], the network of the matrix.
            Map::Personal(hidden) => vec![[from, from + 1], [1, from + 1], [hidden, from + 1], [to * from, hidden + 1]],
        }
    }

    fn size(&self) -> usize {
        self.layers().iter().map(|[out, into]| out * into).sum()
    }

    /// Uniform by the number of inputs, biases at 0.
    fn start(&self, seed: u64) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.size());
        for (layer, [out, into]) in self.layers().into_iter().enumerate() {
            let bound = 1.0 / ((into - 1) as f64).sqrt();
            let value = |at: usize| (2.0 * random::uniform(seed, layer as u64 + 1, at as u64) - 1.0) * bound;
            values.extend((0..out * into).map(|at| if at % into == into - 1 { 0.0 } else { value(at) }));
        }
        values
    }

    fn split<'a>(&self, values: &'a [f64]) -> Vec<&'a [f64]> {
        let mut rest = values;
        let cut = |[out, into]: [usize; 2]| {
            let (layer, after) = rest.split_at(out * into);
            rest = after;
            layer
        };
        self.layers().into_iter().map(cut).collect()
    }

    fn apply(&self, values: &[f64], input: &Input) -> Vec<f64> {
        let layers = self.split(values);
        match self.map {
            Map::Linear => affine(layers[0], &input.vector),
            Map::Network(_) => affine(layers[1], &tanh(affine(layers[0], &input.vector))),
            Map::Personal(_) => {
                let matrix = affine(layers[3], &relu(affine(layers[2], &self.taste(&layers, input).0)));
                matrix.chunks_exact(self.from).map(|row| dot(row, &input.vector)).collect()
            }
        }
    }

    /// `p`, the attention and the hidden values of each item of the history.
    fn taste(&self, layers: &[&[f64]], input: &Input) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
        let hidden: Vec<Vec<f64>> = input.history.chunks_exact(self.from).map(|v| relu(affine(layers[0], v))).collect();
        let logits: Vec<f64> = hidden.iter().map(|h| affine(layers[1], h)[0]).collect();
        let most = logits.iter().copied().fold(f64::MIN, f64::max);
        let mut attention: Vec<f64> = logits.iter().map(|l| (l - most).exp()).collect();
        let sum: f64 = attention.iter().sum();
        attention.iter_mut().for_each(|a| *a /= sum);
        let mut taste = vec![0.0; self.from];
        for (v, a) in input.history.chunks_exact(self.from).zip(&attention) {
            taste.iter_mut().zip(v).for_each(|(sum, v)| *sum += a * v);
        }
        (taste, attention, hidden)
    }

    /// Adds the gradient of a loss whose gradient in û is `g`.
    fn back(&self, values: &[f64], input: &Input, g: &[f64], into: &mut [f64]) {
        let layers = self.split(values);
        match self.map {
            Map::Linear => drop(affine_back(layers[0], &input.vector, g, into)),
            Map::Network(_) => {
                let (first, second) = into.split_at_mut(layers[0].len());
                let hidden = tanh(affine(layers[0], &input.vector));
                let of_hidden = affine_back(layers[1], &hidden, g, second);
                let of_hidden: Vec<f64> = of_hidden.iter().zip(&hidden).map(|(g, h)| g * (1.0 - h * h)).collect();
                affine_back(layers[0], &input.vector, &of_hidden, first);
            }
            Map::Personal(_) => {
                let (attend, rest) = into.split_at_mut(layers[0].len());
                let (weigh, rest) = rest.split_at_mut(layers[1].len());
                let (first, second) = rest.split_at_mut(layers[2].len());
                let (taste, attention, of_items) = self.taste(&layers, input);
                let hidden = relu(affine(layers[2], &taste));
                let of_matrix: Vec<f64> = g.iter().flat_map(|g| input.vector.iter().map(move |u| g * u)).collect();
                let of_hidden = affine_back(layers[3], &hidden, &of_matrix, second);
                let of_taste = affine_back(layers[2], &taste, &through(&of_hidden, &hidden), first);
                let of_attention: Vec<f64> = input.history.chunks_exact(self.from).map(|v| dot(&of_taste, v)).collect();
                let mean = dot(&of_attention, &attention);
                for (at, v) in input.history.chunks_exact(self.from).enumerate() {
                    let of_logit = [attention[at] * (of_attention[at] - mean)];
                    let of_item = affine_back(layers[1], &of_items[at], &of_logit, weigh);
                    affine_back(layers[0], v, &through(&of_item, &of_items[at]), attend);
                }
            }
        }
    }
}

fn tanh(mut x: Vec<f64>) -> Vec<f64> {
    x.iter_mut().for_each(|x| *x = x.tanh());
    x
}

fn relu(mut x: Vec<f64>) -> Vec<f64> {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
    x
}

/// A gradient through a rectifier that gave `out`.
fn through(g: &[f64], out: &[f64]) -> Vec<f64> {
    g.iter().zip(out).map(|(g, out)| if *out > 0.0 { *g } else { 0.0 }).collect()
}

impl Mapped {
    /// Learns f from the shared people of a pair. The two factorisations are those of its domains.
    ///
    /// # Panics
    /// With an inner rate and a map that is not linear.
    #[must_use]
    pub fn fit(pair: &Pair, source: &Factors, target: &Factors, config: MappingConfig) -> Self {
        assert!(config.inner_rate.is_none() || config.map == Map::Linear, "the meta step is exact for a linear map");
        let shape = Shape { map: config.map, from: source.factors(), to: target.factors() };
        let liked =
            if source.unobserved() > 0.0 { 0.0 } else { pair.source.values.iter().sum::<f64>() / pair.source.values.len().max(1) as f64 };
        let mut mapped = Self { shape, values: shape.start(config.seed), source: source.clone(), target: target.clone(), liked };
        let mut people = pair.shared();
        people.sort_by(|&a, &b| random::uniform(config.seed, a as u64, 7).total_cmp(&random::uniform(config.seed, b as u64, 7)));
        let held = people.len() / 10;
        let (held, learned) = people.split_at(held);
        let known = |people: &[usize]| -> Vec<(Input, Goal<'_>)> {
            people.par_iter().map(|&u| (mapped.input(pair.source.row(u)), goal(target, pair.target.row(u), config.lesson))).collect()
        };
        let (held, learned) = (known(held), known(learned));
        mapped.values = match (config.map, config.lesson, config.inner_rate) {
            (Map::Linear, Lesson::Vectors, None) => solved(&shape, &learned, &held),
            _ => descended(&shape, mapped.values.clone(), &learned, &held, &config),
        };
        mapped
    }

    fn input(&self, row: (&[u32], &[f64])) -> Input {
        let vector = self.source.fold(row);
        if !matches!(self.shape.map, Map::Personal(_)) {
            return Input { vector, history: Vec::new() };
        }
        let mut items: Vec<(u32, f64)> = row.0.iter().copied().zip(row.1.iter().copied()).filter(|(_, r)| *r >= self.liked).collect();
        items.sort_by(|a, b| random::uniform(42, u64::from(a.0), 0).total_cmp(&random::uniform(42, u64::from(b.0), 0)));
        items.truncate(HISTORY);
        // Without a liked item there is one of zeros, which says nothing.
        let history = if items.is_empty() {
            vec![0.0; self.shape.from]
        } else {
            items.iter().flat_map(|(i, _)| self.source.item(*i as usize).iter().copied()).collect()
        };
        Input { vector, history }
    }

    /// The vector in the target that f gives a person.
    #[must_use]
    pub fn vector(&self, person: &Known<'_>) -> Vec<f64> {
        self.shape.apply(&self.values, &self.input(person.source))
    }
}

impl Mapped {
    /// The product of a vector with an item's but for its first entry, where that is a level.
    pub(super) fn taste(&self, vector: &[f64], item: usize) -> f64 {
        dot(&vector[1..], &self.target.item(item)[1..])
    }
}

impl Bridge for Mapped {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        self.target.score(&self.vector(person), scores);
    }

    fn parameters(&self) -> usize {
        self.values.len() + self.source.parameters() + self.target.parameters()
    }
}

fn goal<'a>(target: &'a Factors, row: (&'a [u32], &[f64]), lesson: Lesson) -> Goal<'a> {
    match lesson {
        Lesson::Vectors => Goal::Vector(target.fold(row)),
        Lesson::Rows => {
            let values: Vec<f64> = row.0.iter().zip(row.1).map(|(&i, r)| r - target.offset(i as usize)).collect();
            let constant = values.iter().map(|r| r * r).sum();
            Goal::Rows { target, items: row.0, values, constant }
        }
    }
}

fn loss_of(shape: &Shape, values: &[f64], people: &[(Input, Goal<'_>)]) -> f64 {
    let losses: Vec<f64> = people.par_iter().map(|(input, goal)| goal.loss(&shape.apply(values, input))).collect();
    losses.iter().sum::<f64>() / people.len().max(1) as f64
}

/// A linear map by ridge regression; the ridge is the one that held-out people are best served by.
fn solved(shape: &Shape, learned: &[(Input, Goal<'_>)], held: &[(Input, Goal<'_>)]) -> Vec<f64> {
    let n = shape.from + 1;
    let (mut gram, mut products) = (vec![0.0; n * n], vec![vec![0.0; n]; shape.to]);
    for (input, goal) in learned {
        let Goal::Vector(wanted) = goal else { unreachable!("a linear map of vectors") };
        let x: Vec<f64> = input.vector.iter().copied().chain([1.0]).collect();
        for (i, x_i) in x.iter().enumerate() {
            gram[i * n..(i + 1) * n].iter_mut().zip(&x).for_each(|(sum, x_j)| *sum += x_i * x_j);
        }
        for (sums, t) in products.iter_mut().zip(wanted) {
            sums.iter_mut().zip(&x).for_each(|(sum, x)| *sum += t * x);
        }
    }
    // The constant is not drawn to 0.
    let size = (0..n - 1).map(|i| gram[i * n + i]).sum::<f64>() / (n - 1).max(1) as f64;
    let with = |ridge: f64| {
        let mut matrix = gram.clone();
        (0..n - 1).for_each(|i| matrix[i * n + i] += ridge * size);
        let factor = Cholesky::sturdy(matrix, n);
        products
            .iter()
            .flat_map(|row| {
                let mut w = row.clone();
                factor.solve(&mut w);
                w
            })
            .collect::<Vec<f64>>()
    };
    let maps = RIDGES.map(with);
    let losses = maps.each_ref().map(|map| loss_of(shape, map, held));
    let best = (0..maps.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).expect("some ridge");
    maps[best].clone()
}

/// Mean gradient over people.
fn gradient(shape: &Shape, values: &[f64], people: &[&(Input, Goal<'_>)], of: impl Fn(&Goal<'_>, Vec<f64>) -> Vec<f64> + Sync) -> Vec<f64> {
    let groups: Vec<Vec<f64>> = people
        .par_chunks(GROUP)
        .map(|group| {
            let mut sum = vec![0.0; values.len()];
            group.iter().for_each(|(input, goal)| shape.back(values, input, &of(goal, shape.apply(values, input)), &mut sum));
            sum
        })
        .collect();
    let mut sum = vec![0.0; values.len()];
    groups.iter().for_each(|group| sum.iter_mut().zip(group).for_each(|(sum, g)| *sum += g / people.len() as f64));
    sum
}

/// Adam over batches of people; the values after the epoch with the smallest loss of held-out people.
fn descended(
    shape: &Shape,
    mut values: Vec<f64>,
    learned: &[(Input, Goal<'_>)],
    held: &[(Input, Goal<'_>)],
    config: &MappingConfig,
) -> Vec<f64> {
    let judged = |values: &[f64]| loss_of(shape, values, if held.is_empty() { learned } else { held });
    let (mut first, mut second) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    let mut best = (judged(&values), values.clone());
    let (mut step, mut since) = (0, 0);
    for epoch in 0..config.epochs {
        let mut order: Vec<&(Input, Goal<'_>)> = learned.iter().collect();
        let places: Vec<f64> = (0..order.len()).map(|i| random::uniform(config.seed, epoch as u64 + 100, i as u64)).collect();
        let mut at: Vec<usize> = (0..order.len()).collect();
        at.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
        order = at.into_iter().map(|i| order[i]).collect();
        for batch in order.chunks(BATCH) {
            let g = match config.inner_rate {
                None => gradient(shape, &values, batch, |goal, x| goal.gradient(&x)),
                Some(rate) => meta_gradient(shape, &values, batch, rate),
            };
            step += 1;
            for (at, g) in g.into_iter().enumerate() {
                first[at] = 0.9 * first[at] + 0.1 * g;
                second[at] = 0.999 * second[at] + 0.001 * g * g;
                let (m, v) = (first[at] / (1.0 - 0.9f64.powi(step)), second[at] / (1.0 - 0.999f64.powi(step)));
                values[at] -= config.rate * m / (v.sqrt() + 1e-8);
            }
        }
        let loss = judged(&values);
        if loss < best.0 {
            best = (loss, values.clone());
            since = 0;
        } else {
            since += 1;
            if since == PATIENCE {
                break;
            }
        }
    }
    best.1
}

/// Epochs without a better loss of held-out people after which learning ends.
const PATIENCE: usize = 4;

/// `(I - λ ∇²L_a) ∇L_b(W - λ ∇L_a(W))` for the two halves a and b of a batch.
fn meta_gradient(shape: &Shape, values: &[f64], batch: &[&(Input, Goal<'_>)], rate: f64) -> Vec<f64> {
    let (a, b) = batch.split_at(batch.len() / 2);
    if a.is_empty() {
        return gradient(shape, values, b, |goal, x| goal.gradient(&x));
    }
    let inner = gradient(shape, values, a, |goal, x| goal.gradient(&x));
    let stepped: Vec<f64> = values.iter().zip(&inner).map(|(w, g)| w - rate * g).collect();
    let outer = gradient(shape, &stepped, b, |goal, x| goal.gradient(&x));
    // û is linear in W, so the Hessian times a direction is the gradient with that direction for W, of the quadratic part.
    let curved = gradient(shape, &outer, a, |goal, x| goal.curvature(&x));
    outer.iter().zip(&curved).map(|(g, h)| g - rate * h).collect()
}
