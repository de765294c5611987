//! A pass of support rows through a tower, forth and back.
//!
//! For `h_0 = x`, `z_l = h_{l-1} W_l + b_l`, `h_l = ReLU(z_l)`, `s = h_L W + b` and the mean loss of n rows:
//!
//! - `δ_s = 2 (s - y) / n` (squared error) or `(σ(s) - y) / n` (logistic);
//! - `∂W_l = h_{l-1}ᵀ δ_l`, `∂b_l = Σ_rows δ_l`, `δ_{l-1} = (δ_l W_lᵀ) ⊙ 1[z_{l-1} > 0]`.
//!
//! Room for everything is made once; steps allocate nothing.

use std::sync::Arc;

use super::error::{bounded, sized};
use crate::kernel::dense::{View, product, transpose};
use crate::{AdaptError, Linear, Network};

/// Support rows that are taken at most, so that the memory of a request has a bound.
pub const MOST_ROWS: usize = 1024;

/// What steps on a support set make smaller: the mean over its rows of
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// `ln(1 + exp(s)) - y s`, with s a logit.
    Logistic,
    /// `(s - y)²`.
    SquaredError,
}

/// Labels that an objective can have.
pub(super) fn labels_fit(loss: Loss, y: &[f32]) -> Result<(), AdaptError> {
    match y.iter().position(|y| loss == Loss::Logistic && !(0.0..=1.0).contains(y)) {
        None => Ok(()),
        Some(row) => Err(AdaptError::Label { row, found: y[row] }),
    }
}

/// A layer whose values may have moved.
struct Held<'a> {
    of: &'a Linear,
    /// In place of its own.
    weight: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

impl Held<'_> {
    fn weight(&self) -> &[f32] {
        self.weight.as_deref().unwrap_or(&self.of.weight)
    }

    fn bias(&self) -> &[f32] {
        self.bias.as_deref().unwrap_or(&self.of.bias)
    }
}

/// A tower from the layer on that reads the support rows, with room for what passes.
pub(super) struct Pass<'a> {
    loss: Loss,
    layers: Vec<Held<'a>>,
    x: &'a [f32],
    y: &'a [f32],
    /// `h_l`, and `s` of the head, `[n, d_l]`.
    outputs: Vec<Vec<f32>>,
    /// `δ_l`, `[n, d_l]`; empty below the lowest that is asked for.
    deltas: Vec<Vec<f32>>,
    /// `W_lᵀ` of the layer that δ goes back through.
    turned: Vec<f32>,
    /// The first layer of which δ is asked for: those below do not move.
    from: usize,
    /// The first layer whose output is not what it was.
    stale: usize,
}

/// The linear maps of a network from a layer on, the head being the last.
///
/// # Errors
/// Something else than ReLU stands between them, or their shapes do not fit.
pub(super) fn plain(network: &Network, enters: usize) -> Result<Vec<&Linear>, AdaptError> {
    let layers = network.layers.len() + 1;
    let not_plain = |layer: usize, what: &'static str| Err(AdaptError::NotPlain { layer, layers, what });
    for (l, layer) in network.layers.iter().enumerate().skip(enters) {
        if layer.norm.is_some() {
            return not_plain(l, "a norm");
        }
        if !layer.after.is_empty() {
            return not_plain(l, "something after its linear map");
        }
    }
    if !network.after.is_empty() {
        return not_plain(layers - 1, "something after its linear map");
    }
    let linears: Vec<&Linear> = network.layers.iter().map(|layer| &layer.linear).chain([&network.head]).skip(enters).collect();
    sized("outputs of the head", network.head.d_out, 1)?;
    for (l, linear) in linears.iter().enumerate() {
        sized("weights of a layer", linear.weight.len(), linear.d_in.saturating_mul(linear.d_out))?;
        sized("biases of a layer", linear.bias.len(), linear.d_out)?;
        if l > 0 {
            sized("inputs of a layer", linear.d_in, linears[l - 1].d_out)?;
        }
        if linear.weight.is_empty() {
            return not_plain(enters + l, "no weights");
        }
    }
    Ok(linears)
}

impl<'a> Pass<'a> {
    /// Checks rows `x [n, d]` and labels `y [n]` and makes room; δ can be asked for from layer `from` on. Layers are counted from the one that reads the rows.
    ///
    /// # Errors
    /// Sizes that do not fit, too many rows, or values that are no numbers.
    pub(super) fn new(loss: Loss, linears: Vec<&'a Linear>, (x, y): (&'a [f32], &'a [f32]), from: usize) -> Result<Self, AdaptError> {
        let n = y.len();
        if n > MOST_ROWS {
            return Err(AdaptError::TooMany { found: n, most: MOST_ROWS });
        }
        sized("support rows", x.len(), n * linears[0].d_in)?;
        bounded("support rows", x, f32::MAX)?;
        bounded("labels", y, f32::MAX)?;
        labels_fit(loss, y)?;
        let room = |l: usize| if l < from { Vec::new() } else { vec![0.0; n * linears[l].d_out] };
        let deltas = (0..linears.len()).map(room).collect();
        let outputs = linears.iter().map(|linear| vec![0.0; n * linear.d_out]).collect();
        let widest = linears.iter().skip(from + 1).map(|linear| linear.weight.len()).max().unwrap_or(0);
        let layers = linears.into_iter().map(|of| Held { of, weight: None, bias: None }).collect();
        Ok(Self { loss, layers, x, y, outputs, deltas, turned: vec![0.0; widest], from, stale: 0 })
    }

    /// `[d_in, d_out]` of a layer.
    pub(super) fn shape(&self, layer: usize) -> [usize; 2] {
        [self.layers[layer].of.d_in, self.layers[layer].of.d_out]
    }

    /// The values of a layer, to be moved.
    pub(super) fn moved(&mut self, layer: usize) -> [&mut Vec<f32>; 2] {
        let Held { of, weight, bias } = &mut self.layers[layer];
        [weight.get_or_insert_with(|| of.weight.to_vec()), bias.get_or_insert_with(|| of.bias.to_vec())]
    }

    /// The same of a bias alone.
    pub(super) fn moved_bias(&mut self, layer: usize) -> &mut Vec<f32> {
        let Held { of, bias, .. } = &mut self.layers[layer];
        bias.get_or_insert_with(|| of.bias.to_vec())
    }

    /// A layer as it has become; none where nothing moved.
    ///
    /// # Errors
    /// A value that is no number.
    pub(super) fn taken(&mut self, layer: usize, steps: usize) -> Result<Option<Linear>, AdaptError> {
        let Held { of, weight, bias } = &mut self.layers[layer];
        if weight.iter().chain(bias.iter()).flatten().any(|x| !x.is_finite()) {
            return Err(AdaptError::Diverged { steps });
        }
        if weight.is_none() && bias.is_none() {
            return Ok(None);
        }
        let value = |moved: &mut Option<Vec<f32>>, own: &Arc<Vec<f32>>| moved.take().map_or_else(|| Arc::clone(own), Arc::new);
        Ok(Some(Linear { d_in: of.d_in, d_out: of.d_out, weight: value(weight, &of.weight), bias: value(bias, &of.bias) }))
    }

    /// Forth and back; forth only from the first layer on that moves, after the first time.
    pub(super) fn run(&mut self) {
        let last = self.layers.len() - 1;
        for l in self.stale..=last {
            let (below, here) = self.outputs.split_at_mut(l);
            let (held, out) = (&self.layers[l], &mut here[0]);
            let (d_in, d_out) = (held.of.d_in, held.of.d_out);
            product(View::rows(below.last().map_or(self.x, Vec::as_slice), d_in), held.weight(), out, d_out);
            for row in out.chunks_exact_mut(d_out) {
                if l < last {
                    // What is no number stays so.
                    row.iter_mut().zip(held.bias()).for_each(|(z, b)| *z = if *z + b <= 0.0 { 0.0 } else { *z + b });
                } else {
                    row.iter_mut().zip(held.bias()).for_each(|(z, b)| *z += b);
                }
            }
        }
        self.stale = self.from;
        let share = 1.0 / self.y.len() as f32;
        for ((delta, s), y) in self.deltas[last].iter_mut().zip(&self.outputs[last]).zip(self.y) {
            let error = match self.loss {
                Loss::Logistic => 1.0 / (1.0 + (-s).exp()) - y,
                Loss::SquaredError => 2.0 * (s - y),
            };
            *delta = error * share;
        }
        for l in (self.from..last).rev() {
            let [d_in, d_out] = self.shape(l + 1);
            let turned = &mut self.turned[..d_in * d_out];
            transpose(self.layers[l + 1].weight(), d_out, turned);
            let (here, above) = self.deltas.split_at_mut(l + 1);
            product(View::rows(&above[0], d_out), turned, &mut here[l], d_in);
            here[l].iter_mut().zip(&self.outputs[l]).for_each(|(delta, h)| *delta = if *h > 0.0 { *delta } else { 0.0 });
        }
    }

    /// `∂W` and `∂b` of a layer after [`run`](Self::run), into room of their sizes.
    pub(super) fn gradient(&self, layer: usize, weight: &mut [f32], bias: &mut [f32]) {
        let [d_in, d_out] = self.shape(layer);
        let input = if layer == 0 { self.x } else { &self.outputs[layer - 1] };
        product(View::columns(input, d_in), &self.deltas[layer], weight, d_out);
        self.sum(layer, bias);
    }

    /// `Σ_rows δ_l`.
    pub(super) fn sum(&self, layer: usize, out: &mut [f32]) {
        out.fill(0.0);
        for row in self.deltas[layer].chunks_exact(out.len()) {
            out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}
