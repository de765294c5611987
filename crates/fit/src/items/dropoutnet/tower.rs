//! `f(x) = W₂ [tanh(W₁ x); 1]` of a vector, which may be missing, and sparse columns beside it.

use crate::Row;
use crate::random::uniform;

/// A tower with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    /// Numbers in the vector.
    pub factors: usize,
    /// Units of the hidden layer.
    pub hidden: usize,
    /// W₁ by input, `[factors + columns, hidden]`.
    pub first: Vec<f64>,
    /// W₂ by hidden unit, that of the constant last, `[hidden + 1, out]`.
    pub last: Vec<f64>,
}

/// Adds `x` times a row to a sum.
pub(super) fn add(sum: &mut [f64], x: f64, row: &[f64]) {
    sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * w);
}

impl Tower {
    /// What reads the vector is uniform up to `1 / √factors`, what reads hidden units up to `1 / √hidden`. All else is 0: what no item of the fit has stays so, and says nothing.
    pub(super) fn start(factors: usize, hidden: usize, columns: usize, seed: u64) -> Self {
        let uniform = |layer: u64, n: usize| move |at: usize| (2.0 * uniform(seed, layer, at as u64) - 1.0) / (n as f64).sqrt();
        let mut first: Vec<f64> = (0..factors * hidden).map(uniform(0, factors)).collect();
        first.resize((factors + columns) * hidden, 0.0);
        let out = factors + 1;
        let mut last: Vec<f64> = (0..hidden * out).map(uniform(1, hidden)).collect();
        last.resize((hidden + 1) * out, 0.0);
        Self { factors, hidden, first, last }
    }

    /// As many weights, all 0.
    pub(super) fn zeros(&self) -> Self {
        Self { first: vec![0.0; self.first.len()], last: vec![0.0; self.last.len()], ..*self }
    }

    /// Rows of W₁ that an input reads, with the input's values.
    fn inputs<'a>(&self, vector: &'a [f64], side: Row<'a>) -> impl Iterator<Item = (usize, f64)> + 'a {
        let factors = self.factors;
        vector.iter().copied().enumerate().chain(side.0.iter().zip(side.1).map(move |(&c, &x)| (factors + c as usize, x)))
    }

    pub(super) fn hidden(&self, vector: &[f64], side: Row<'_>) -> Vec<f64> {
        let mut sum = vec![0.0; self.hidden];
        self.inputs(vector, side).for_each(|(at, x)| add(&mut sum, x, &self.first[at * self.hidden..][..self.hidden]));
        sum.iter_mut().for_each(|x| *x = x.tanh());
        sum
    }

    pub(super) fn out(&self, hidden: &[f64]) -> Vec<f64> {
        let out = self.last.len() / (self.hidden + 1);
        let mut sum = self.last[self.hidden * out..].to_vec();
        hidden.iter().zip(self.last.chunks_exact(out)).for_each(|(h, row)| add(&mut sum, *h, row));
        sum
    }

    /// Of a vector, empty where there is none, and columns.
    #[must_use]
    pub fn apply(&self, vector: &[f64], side: Row<'_>) -> Vec<f64> {
        self.out(&self.hidden(vector, side))
    }

    /// Adds the gradient of a loss whose gradient in f is `g`.
    pub(super) fn back(&self, (vector, side): (&[f64], Row<'_>), hidden: &[f64], g: &[f64], into: &mut Self) {
        let out = g.len();
        let mut of_hidden = Vec::with_capacity(self.hidden);
        for (at, h) in hidden.iter().enumerate() {
            add(&mut into.last[at * out..][..out], *h, g);
            let of_h: f64 = self.last[at * out..][..out].iter().zip(g).map(|(w, g)| w * g).sum();
            of_hidden.push(of_h * (1.0 - h * h));
        }
        add(&mut into.last[self.hidden * out..], 1.0, g);
        self.inputs(vector, side).for_each(|(at, x)| add(&mut into.first[at * self.hidden..][..self.hidden], x, &of_hidden));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_differences() {
        let mut tower = Tower::start(2, 3, 4, 5);
        tower.first.iter_mut().enumerate().for_each(|(at, w)| *w += 0.1 * at as f64 - 0.7);
        let side: Row<'_> = (&[0, 2], &[1.0, 0.5]);
        let (vector, g) = ([0.7, -1.1], [0.3, -0.8, 0.5]);
        let loss = |tower: &Tower| tower.apply(&vector, side).iter().zip(g).map(|(f, g)| f * g).sum::<f64>();
        let mut found = tower.zeros();
        tower.back((&vector, side), &tower.hidden(&vector, side), &g, &mut found);
        for at in 0..tower.first.len() + tower.last.len() {
            let n = tower.first.len();
            let weight = |tower: &mut Tower, by: f64| if at < n { tower.first[at] += by } else { tower.last[at - n] += by };
            weight(&mut tower, 1e-6);
            let above = loss(&tower);
            weight(&mut tower, -2e-6);
            let difference = (above - loss(&tower)) / 2e-6;
            weight(&mut tower, 1e-6);
            let found = if at < n { found.first[at] } else { found.last[at - n] };
            assert!((difference - found).abs() < 1e-8, "{at}: {difference} {found}");
        }
    }
}
