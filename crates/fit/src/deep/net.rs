//! The network: `h(c) = tanh(W₂ tanh(W₁ c + b₁) + b₂)`, with τ beside it.

use crate::Sparse;
use crate::cholesky::dot;
use crate::random::normal;

/// Its parameters in one list: W₁ `[inputs, hidden]`, b₁, W₂ `[hidden, outputs]`, b₂, τ.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Numbers of the list.
    pub values: Vec<f64>,
    inputs: usize,
    hidden: usize,
    outputs: usize,
}

/// Where each part of the list begins; the last one is its end.
type Places = [usize; 6];

impl Net {
    /// Weights at random, such that what goes into each layer's tanh has variance 1 for the inputs at hand; biases 0.
    #[must_use]
    pub fn new(inputs: &Sparse, [hidden, outputs]: [usize; 2], tau: f64, seed: u64) -> Self {
        let mut net = Self { values: Vec::new(), inputs: inputs.width, hidden, outputs };
        let [_, b1, w2, b2, at_tau, end] = net.places();
        let square = inputs.values.iter().map(|x| x * x).sum::<f64>() / inputs.len().max(1) as f64;
        let scale = [1.0 / square.max(1e-9).sqrt(), 1.0 / (hidden.max(1) as f64).sqrt()];
        let draw = |at: usize| normal(seed, 1 << 40, at as u64);
        let value = |at: usize| match at {
            at if at < b1 => scale[0] * draw(at),
            at if (w2..b2).contains(&at) => scale[1] * draw(at),
            at if at >= at_tau => tau,
            _ => 0.0,
        };
        net.values = (0..end).map(value).collect();
        net
    }

    /// One with given numbers.
    ///
    /// # Panics
    /// If they are not as many as there are parameters.
    #[must_use]
    pub fn of(inputs: usize, [hidden, outputs]: [usize; 2], values: Vec<f64>) -> Self {
        let net = Self { values, inputs, hidden, outputs };
        assert_eq!(net.values.len(), net.places()[5], "as many numbers as parameters");
        net
    }

    fn places(&self) -> Places {
        let Self { inputs, hidden, outputs, .. } = self;
        let mut end = 0;
        let sizes = [0, inputs * hidden, *hidden, hidden * outputs, *outputs, *outputs];
        sizes.map(|size| {
            end += size;
            end
        })
    }

    /// τ.
    #[must_use]
    pub fn tau(&self) -> &[f64] {
        &self.values[self.places()[4]..]
    }

    /// What comes out of both layers.
    #[must_use]
    pub fn forward(&self, (columns, values): (&[u32], &[f64])) -> (Vec<f64>, Vec<f64>) {
        let [_, b1, w2, b2, at_tau, _] = self.places();
        let (m, p) = (self.hidden, self.outputs);
        let mut first = self.values[b1..w2].to_vec();
        for (&column, value) in columns.iter().zip(values) {
            first.iter_mut().zip(&self.values[column as usize * m..][..m]).for_each(|(sum, w)| *sum += value * w);
        }
        first.iter_mut().for_each(|x| *x = x.tanh());
        let mut second = self.values[b2..at_tau].to_vec();
        for (value, row) in first.iter().zip(self.values[w2..b2].chunks_exact(p.max(1))) {
            second.iter_mut().zip(row).for_each(|(sum, w)| *sum += value * w);
        }
        second.iter_mut().for_each(|x| *x = x.tanh());
        (first, second)
    }

    /// ∂L of all parameters, of what rows of inputs said and of `∂L/∂(τ ∘ h)`, `[rows, outputs]`.
    #[must_use]
    pub fn backward(&self, rows: &[(&[u32], &[f64])], said: &[(Vec<f64>, Vec<f64>)], scaled: &[f64]) -> Vec<f64> {
        let [_, b1, w2, b2, at_tau, end] = self.places();
        let (m, p) = (self.hidden, self.outputs);
        let mut gradient = vec![0.0; end];
        for (((columns, values), (first, second)), scaled) in rows.iter().zip(said).zip(scaled.chunks_exact(p.max(1))) {
            // Through the outer tanh.
            let outer: Vec<f64> = scaled.iter().zip(second).zip(self.tau()).map(|((g, h), tau)| g * tau * (1.0 - h * h)).collect();
            gradient[at_tau..].iter_mut().zip(scaled.iter().zip(second)).for_each(|(sum, (g, h))| *sum += g * h);
            gradient[b2..at_tau].iter_mut().zip(&outer).for_each(|(sum, g)| *sum += g);
            let mut inner = vec![0.0; m];
            for (j, a) in first.iter().enumerate() {
                gradient[w2 + j * p..][..p].iter_mut().zip(&outer).for_each(|(sum, g)| *sum += a * g);
                inner[j] = dot(&self.values[w2 + j * p..][..p], &outer) * (1.0 - a * a);
            }
            gradient[b1..w2].iter_mut().zip(&inner).for_each(|(sum, g)| *sum += g);
            for (&column, value) in columns.iter().zip(*values) {
                gradient[column as usize * m..][..m].iter_mut().zip(&inner).for_each(|(sum, g)| *sum += value * g);
            }
        }
        gradient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let mut inputs = Sparse::new(4);
        inputs.push([(0, 1.0), (2, -0.5)]);
        inputs.push([]);
        inputs.push([(1, 0.5), (2, 2.0), (3, 1.0)]);
        let net = Net::new(&inputs, [5, 3], 0.7, 2);
        let weights: Vec<f64> = (0..9).map(|at| normal(3, at, 0)).collect();
        let loss = |net: &Net| -> f64 {
            let of = |i: usize| net.forward(inputs.row(i)).1.iter().zip(net.tau()).map(|(h, tau)| h * tau).collect::<Vec<f64>>();
            (0..3).flat_map(of).zip(&weights).map(|(x, w)| x * w).sum()
        };
        let rows: Vec<_> = (0..3).map(|i| inputs.row(i)).collect();
        let said: Vec<_> = rows.iter().map(|row| net.forward(*row)).collect();
        for (at, found) in net.backward(&rows, &said, &weights).into_iter().enumerate() {
            let moved = |by: f64| {
                let mut moved = net.clone();
                moved.values[at] += by;
                loss(&moved)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((found - expected).abs() < 1e-8, "at {at}: {found}, differences say {expected}");
        }
    }
}
