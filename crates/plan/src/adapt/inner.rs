//! Gradient steps on a support set: `θ_{k+1} = θ_k - f(n) α ⊙ ∇ L_S(θ_k)`, k = 0..K-1, over some layers of a tower.
//!
//! This is what the methods `maml` (MAML, ANIL, BOIL, Meta-SGD, MAML++, Reptile) and, with a rate of the user's own ([`UserRate`](crate::UserRate)), `paml` serve of a user: first and second order differ in training alone.
//! `pass.rs` has the gradients. A step needs no room that the first has not had.
//!
//! Exact but for rounding; deterministic; the order of the rows changes nothing beyond rounding. K passes over the rows, forth and back.
//!
//! # References
//! C. Finn, P. Abbeel, S. Levine, *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017.

use std::ops::Range;
use std::sync::Arc;

use super::error::sized;
use super::pass::{Loss, Pass, plain};
use super::{AdaptError, Shrink};
use crate::{Network, Personal};

/// How a tower is adapted to a support set.
#[derive(Clone, Debug, PartialEq)]
pub struct InnerLoop {
    /// What the steps make smaller.
    pub loss: Loss,
    /// K; 0 leaves the network as it is.
    pub steps: usize,
    /// The layers that move, hidden ones first to last, then the head: all of them `0..L + 1`, the body `0..L` (BOIL), the head `L..L + 1` (ANIL).
    pub adapted: Range<usize>,
    /// α.
    pub rates: Rates,
    /// f.
    pub shrink: Shrink,
}

/// The learning rates.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// α, for all.
    One(f32),
    /// Of each step, or of all alike where there is one entry; each has those of the adapted layers in their order. Steps beyond the last have those of the last.
    Learned(Vec<Vec<LayerRates>>),
}

/// Learned rates of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRates {
    /// Of its matrix.
    pub weight: Rate,
    /// Of its bias.
    pub bias: Rate,
}

/// A learned rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// For all values.
    One(f32),
    /// For each, in their layout.
    Each(Arc<Vec<f32>>),
}

/// What came of a support set.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// Weights in place of the network's; none without a step.
    pub personal: Personal,
    /// Steps that were taken.
    pub steps: usize,
}

impl Rates {
    /// A rate for each value (Meta-SGD): of each adapted layer those of its matrix and of its bias, in their layouts, all times `times`, which validation tasks have chosen or is 1.
    #[must_use]
    pub fn of_values(layers: &[[&[f32]; 2]], times: f32) -> Self {
        let each = |rates: &[f32]| Rate::Each(Arc::new(rates.iter().map(|rate| rate * times).collect()));
        Self::Learned(vec![layers.iter().map(|[weight, bias]| LayerRates { weight: each(weight), bias: each(bias) }).collect()])
    }

    /// A rate for each step and matrix or bias (MAML++): of each adapted layer `[K]` of its matrix and of its bias, all times `times`.
    ///
    /// # Errors
    /// Rates of different numbers of steps.
    pub fn of_steps(layers: &[[&[f32]; 2]], times: f32) -> Result<Self, AdaptError> {
        let steps = layers.first().map_or(0, |[weight, _]| weight.len());
        layers.iter().flatten().try_for_each(|rates| sized("learned rates of steps", rates.len(), steps))?;
        let of_step = |k: usize| {
            let one = |rates: &[f32]| Rate::One(rates[k] * times);
            layers.iter().map(|[weight, bias]| LayerRates { weight: one(weight), bias: one(bias) }).collect()
        };
        Ok(Self::Learned((0..steps).map(of_step).collect()))
    }
}

impl Rate {
    /// `x <- x - f α ⊙ gradient`.
    fn step(&self, x: &mut [f32], gradient: &[f32], factor: f32) {
        match self {
            Self::One(rate) => x.iter_mut().zip(gradient).for_each(|(x, g)| *x -= g * rate * factor),
            Self::Each(rates) => x.iter_mut().zip(gradient).zip(&rates[..]).for_each(|((x, g), rate)| *x -= g * rate * factor),
        }
    }

    fn check(&self, what: &'static str, expected: usize) -> Result<(), AdaptError> {
        match self {
            Self::One(_) => Ok(()),
            Self::Each(rates) => sized(what, rates.len(), expected),
        }
    }
}

impl InnerLoop {
    /// Bytes that it keeps in memory: rates of values are as many as weights that move.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rate = |rate: &Rate| match rate {
            Rate::One(_) => 0,
            Rate::Each(rates) => 4 * rates.len(),
        };
        let rates: usize = match &self.rates {
            Rates::One(_) => 0,
            Rates::Learned(steps) => {
                steps.iter().flatten().map(|layer| size_of::<LayerRates>() + rate(&layer.weight) + rate(&layer.bias)).sum()
            }
        };
        size_of::<Self>() + rates
    }

    /// Adapts a network to support rows, with `budget` asked before each step whether it may be taken; it is told how many have been.
    ///
    /// # Shapes
    /// `x [n, d]`, gathered rows as the first layer reads them; `y [n]`, in units of the label.
    ///
    /// # Errors
    /// A network that is more than linear maps with ReLU between them, layers or rates that do not fit it, rows that do not, and steps that lead nowhere.
    pub fn run(&self, network: &Network, x: &[f32], y: &[f32], budget: &mut dyn FnMut(usize) -> bool) -> Result<Adapted, AdaptError> {
        self.run_from(0, network, x, y, budget)
    }

    /// The same of rows that enter at a later layer: of hidden states where only layers above these move. What stands below may be anything.
    ///
    /// # Shapes
    /// `x [n, d]`, what goes into layer `enters`, the head being the last; `y [n]`.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_from(
        &self,
        enters: usize,
        network: &Network,
        x: &[f32],
        y: &[f32],
        budget: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Adapted, AdaptError> {
        let (layers, Range { start, end }) = (network.layers.len() + 1, self.adapted.clone());
        if enters >= layers || start < enters || end > layers || start >= end {
            return Err(AdaptError::Layers { start, end, enters, layers });
        }
        let adapted = start - enters..end - enters;
        let mut pass = Pass::new(self.loss, plain(network, enters)?, (x, y), adapted.start)?;
        self.check(&pass, adapted.clone())?;
        let factor = self.shrink.factor(y.len());
        let (mut steps, mut room) = (0, Vec::new());
        // A factor of 0 is no step at all.
        while !y.is_empty() && factor != 0.0 && steps < self.steps && budget(steps) {
            pass.run();
            for (i, l) in adapted.clone().enumerate() {
                let [d_in, d_out] = pass.shape(l);
                room.resize(room.len().max((d_in + 1) * d_out), 0.0);
                let (weight, bias) = room[..(d_in + 1) * d_out].split_at_mut(d_in * d_out);
                pass.gradient(l, weight, bias);
                let [of_weight, of_bias] = pass.moved(l);
                match &self.rates {
                    Rates::One(rate) => {
                        let rate = Rate::One(*rate);
                        rate.step(of_weight, weight, factor);
                        rate.step(of_bias, bias, factor);
                    }
                    Rates::Learned(of_steps) => {
                        let rates = &of_steps[steps.min(of_steps.len() - 1)][i];
                        rates.weight.step(of_weight, weight, factor);
                        rates.bias.step(of_bias, bias, factor);
                    }
                }
            }
            steps += 1;
        }
        let mut personal = Personal::default();
        if steps > 0 {
            personal.layers = vec![None; if start < layers - 1 { layers - 1 } else { 0 }];
            for l in adapted {
                let linear = pass.taken(l, steps)?;
                match personal.layers.get_mut(enters + l) {
                    Some(layer) => *layer = linear,
                    None => personal.head = linear,
                }
            }
        }
        Ok(Adapted { personal, steps })
    }

    /// Whether learned rates fit the adapted layers.
    fn check(&self, pass: &Pass<'_>, adapted: Range<usize>) -> Result<(), AdaptError> {
        let Rates::Learned(of_steps) = &self.rates else { return Ok(()) };
        if of_steps.is_empty() {
            return Err(AdaptError::Size { what: "learned rates of steps", found: 0, expected: self.steps });
        }
        for rates in of_steps {
            sized("learned rates of layers", rates.len(), adapted.len())?;
            for (rates, l) in rates.iter().zip(adapted.clone()) {
                let [d_in, d_out] = pass.shape(l);
                rates.weight.check("learned rates of weights", d_in * d_out)?;
                rates.bias.check("learned rates of a bias", d_out)?;
            }
        }
        Ok(())
    }
}
