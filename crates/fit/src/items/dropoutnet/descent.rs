//! How towers learn: batches of ratings, all pairs of whose users and items are scored, by Adam (0.9, 0.999).
//!
//! An item is drawn by its ratings, which count up to a hundred, then a rater. Of an item that shows ratings a run of them is taken, in an order that depends on nothing but their place.

use super::tower::Tower;
use super::{DropoutNetConfig, Ground};
use crate::Sparse;
use crate::cholesky::dot;
use crate::random::uniform;

const BATCH: usize = 64;
const RATE: f64 = 1e-3;
/// How many ratings an item shows that shows some.
const SHOWN: [usize; 8] = [1, 3, 5, 10, 20, 30, 50, usize::MAX];
/// Ratings from which an item is drawn no oftener.
const MOST: usize = 100;
/// Seeds of the towers' start, of the order of ratings and of draws.
const SEEDS: [u64; 4] = [21, 22, 23, 24];

/// Steps that draw as often as there are ratings to draw, `[users, items]`.
pub(super) fn passes(rated: &Sparse) -> usize {
    let rows = rated.transposed();
    (0..rows.len()).map(|i| rows.row(i).0.len().min(MOST)).sum::<usize>() / BATCH
}

/// Weights with the means that Adam keeps.
struct Learned {
    tower: Tower,
    gradient: Tower,
    means: [Vec<f64>; 2],
}

/// Towers in training.
pub(super) struct Lesson<'a, 'b> {
    ground: &'a Ground<'b>,
    dropout: f64,
    /// b and V of all ratings.
    items: Vec<(f64, Vec<f64>)>,
    /// Root mean squares of the entries of V.
    units: Vec<f64>,
    /// Items as they are drawn.
    draws: Vec<u32>,
    /// The raters of each item in the order in which they are shown: places in its row.
    orders: Vec<Vec<usize>>,
    learned: [Learned; 2],
    step: usize,
}

/// One side of a drawn rating.
struct Side {
    at: usize,
    vector: Vec<f64>,
    hidden: Vec<f64>,
    out: Vec<f64>,
}

/// A drawn rating.
struct Draw {
    user: Side,
    item: Side,
    /// `(b - b(S)) / s`, and the same with the rating less the user's level in place of b.
    level: f64,
    rating: f64,
}

impl Learned {
    fn new(tower: Tower) -> Self {
        let n = tower.first.len() + tower.last.len();
        Self { gradient: tower.zeros(), tower, means: [vec![0.0; n], vec![0.0; n]] }
    }

    /// A step along the gradient, which is 0 again.
    fn descend(&mut self, step: usize) {
        let corrections = [0.9f64, 0.999].map(|decay| 1.0 - decay.powi(step as i32));
        let weights = self.tower.first.iter_mut().chain(&mut self.tower.last);
        let gradients = self.gradient.first.iter_mut().chain(&mut self.gradient.last);
        let [first, second] = &mut self.means;
        for (((w, g), m), v) in weights.zip(gradients).zip(first).zip(second) {
            *m = 0.9 * *m + 0.1 * *g;
            *v = 0.999 * *v + 0.001 * *g * *g;
            *w -= RATE * (*m / corrections[0]) / ((*v / corrections[1]).sqrt() + 1e-8);
            *g = 0.0;
        }
    }
}

impl<'a, 'b> Lesson<'a, 'b> {
    pub(super) fn new(ground: &'a Ground<'b>, config: &DropoutNetConfig) -> Self {
        let items = ground.items();
        let rated: Vec<usize> = (0..items.len()).filter(|&i| !ground.rest.row(i).0.is_empty()).collect();
        let unit = |k: usize| (rated.iter().map(|&i| items[i].1[k].powi(2)).sum::<f64>() / rated.len().max(1) as f64).sqrt();
        let units = (0..ground.folding.factors).map(unit).map(|unit| if unit > 1e-6 { unit } else { 1.0 }).collect();
        let draws = rated.iter().flat_map(|&i| std::iter::repeat_n(i as u32, ground.rest.row(i).0.len().min(MOST))).collect();
        let order = |i: usize| {
            let mut order: Vec<usize> = (0..ground.rest.row(i).0.len()).collect();
            order.sort_by_cached_key(|&at| (uniform(SEEDS[2], i as u64, at as u64) * 1e12) as u64);
            order
        };
        let tower = |columns: usize, seed| Learned::new(Tower::start(ground.folding.factors, config.hidden, columns, seed));
        let learned = [tower(ground.ratings.people.width, SEEDS[0]), tower(ground.content.width, SEEDS[1])];
        Self { ground, dropout: config.dropout, orders: (0..items.len()).map(order).collect(), items, units, draws, learned, step: 0 }
    }

    /// The towers, f_v reading V itself.
    pub(super) fn towers(&self) -> [Tower; 2] {
        let mut towers = self.learned.each_ref().map(|learned| learned.tower.clone());
        let hidden = towers[1].hidden;
        self.units.iter().zip(towers[1].first.chunks_exact_mut(hidden)).for_each(|(unit, row)| row.iter_mut().for_each(|w| *w /= unit));
        towers
    }

    fn side(&self, which: usize, at: usize, vector: Vec<f64>) -> Side {
        let side = if which == 0 { self.ground.ratings.people.row(at) } else { self.ground.content.row(at) };
        let tower = &self.learned[which].tower;
        let hidden = tower.hidden(&vector, side);
        Side { at, vector, out: tower.out(&hidden), hidden }
    }

    fn draw(&self, j: usize) -> Draw {
        let ground = self.ground;
        let random = |of: usize| uniform(SEEDS[3], self.step as u64, (5 * j + of) as u64);
        let place = |of: usize, n: usize| (random(of) * n as f64) as usize;
        let item = self.draws[place(0, self.draws.len())] as usize;
        let (raters, rest) = ground.rest.row(item);
        let at = place(1, raters.len());
        let user = raters[at];
        let of_user = if random(2) < self.dropout { Vec::new() } else { ground.user(user).to_vec() };
        let whole = self.items[item].0;
        let prior = ground.folding.prior(ground.content.row(item));
        let kept = (random(3) - self.dropout) / (1.0 - self.dropout);
        let (shown, mut vector) = if kept < 0.0 {
            (ground.folding.fold(prior, std::iter::empty()).0, Vec::new())
        } else {
            // Never the rating that is to be told.
            let n = SHOWN[(kept * SHOWN.len() as f64) as usize].min(raters.len() - 1);
            let run = self.orders[item].iter().cycle().skip(place(4, raters.len())).filter(|other| **other != at).take(n);
            ground.folding.fold(prior, run.map(|&at| (ground.user(raters[at]), rest[at])))
        };
        vector.iter_mut().zip(&self.units).for_each(|(v, unit)| *v /= unit);
        let [level, rating] = [whole, rest[at]].map(|of| (of - shown) / ground.folding.scale);
        Draw { user: self.side(0, user as usize, of_user), item: self.side(1, item, vector), level, rating }
    }

    /// So many steps.
    pub(super) fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            let draws: Vec<Draw> = (0..BATCH).map(|j| self.draw(j)).collect();
            let out = self.learned[0].tower.factors + 1;
            let mut gradients = [vec![0.0; BATCH * out], vec![0.0; BATCH * out]];
            for (i, user) in draws.iter().map(|draw| &draw.user).enumerate() {
                for (j, Draw { item, level, rating, .. }) in draws.iter().enumerate() {
                    let wanted = level + dot(self.ground.user(user.at as u32), &self.items[item.at].1);
                    let said = dot(&user.out, &item.out);
                    let observed = if i == j { (said - rating) / BATCH as f64 } else { 0.0 };
                    let error = (said - wanted) / (BATCH * BATCH) as f64 + observed;
                    super::tower::add(&mut gradients[0][i * out..][..out], error, &item.out);
                    super::tower::add(&mut gradients[1][j * out..][..out], error, &user.out);
                }
            }
            for (j, draw) in draws.iter().enumerate() {
                for (which, side) in [&draw.user, &draw.item].into_iter().enumerate() {
                    let columns = if which == 0 { self.ground.ratings.people.row(side.at) } else { self.ground.content.row(side.at) };
                    let Learned { tower, gradient, .. } = &mut self.learned[which];
                    tower.back((&side.vector, columns), &side.hidden, &gradients[which][j * out..][..out], gradient);
                }
            }
            self.step += 1;
            let step = self.step;
            self.learned.iter_mut().for_each(|learned| learned.descend(step));
        }
    }
}
