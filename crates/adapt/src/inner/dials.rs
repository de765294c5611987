//! What gradients do not choose: validation tasks do, once training is done.
//!
//! The inner loop `θ_{k+1} = θ_k - n / (n + c) α ∇ L_S(θ_k)`, k = 0..K-1, is trained with one α, K and c. Which of them serve users best is seen on users who have not been learned from:
//!
//! - rate: α becomes `m α`, m of 1/4, 1/2, 1, 2, 4; whatever α is, one number, a tensor of learned ones, or a user's own;
//! - steps: K of 1, 2, 5; not where each step has rates of its own;
//! - row weight: c becomes `c / w`, w of 2, 1, 1/2, 1/4, 0, so that n rows count as w n: `w n / (w n + c)`. 0 is no step at all.
//!
//! Each is a value of the patch that training leaves alone, at the m = 1, K and w = 1 that training had. A key that a config gives has no such value.

use acclimate_model::kernel::to_vec;
use acclimate_model::{Bound, Init, ParamId, ParamSpec};
use serde::{Deserialize, Serialize};

use super::Shrink;
use crate::Dial;

/// Multiples of the trained rate.
const RATES: [f32; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Numbers of steps.
const STEPS: [f32; 3] = [1.0, 2.0, 5.0];
/// What a support row counts for.
const WEIGHTS: [f32; 5] = [0.0, 0.25, 0.5, 1.0, 2.0];

/// A number that a config gives, or leaves to validation tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or \"chosen\"")]
pub enum Open<T> {
    /// Given.
    Given(T),
    /// Chosen on validation tasks.
    Chosen(Word),
}

/// The word `chosen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The word.
    Chosen,
}

impl<T: Copy> Open<T> {
    /// Left open.
    pub const CHOSEN: Self = Self::Chosen(Word::Chosen);

    /// Whether it is left open.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Chosen(_))
    }

    /// What is given, or what training has in its place.
    #[must_use]
    pub fn or(self, trained: T) -> T {
        match self {
            Self::Given(value) => value,
            Self::Chosen(_) => trained,
        }
    }
}

/// The dials of an inner loop, in the order rate, steps, row weight.
#[derive(Debug)]
pub(crate) struct Dials {
    list: Vec<Dial>,
    rate: Option<ParamId>,
    steps: Option<ParamId>,
    weight: Option<ParamId>,
}

/// What they are turned to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turned {
    /// m.
    pub(crate) rate: f64,
    /// K.
    pub(crate) steps: usize,
    /// w.
    pub(crate) weight: f32,
}

impl Dials {
    /// Adds a value to `params` for each setting that is open; `rate` and `steps` are those of training, the rate with its name in reports.
    pub(crate) fn new(params: &mut Vec<ParamSpec>, rate: Option<(&'static str, f64)>, steps: Option<usize>, shrink: Shrink) -> Self {
        let mut list = Vec::new();
        let mut dial = |name: &'static str, trained: f32, values: &[f32], unit: f64| {
            params.push(
                ParamSpec { decay: false, ..ParamSpec::weight(format!("chosen.{name}"), [1, 1, 1], Init::Constant(trained)) }.solved(),
            );
            let param = ParamId(params.len() - 1);
            list.push(Dial { name, param, values: values.to_vec(), unit, ends_below: [0.0, 1.0].contains(&values[0]) });
            param
        };
        let rate = rate.map(|(name, rate)| dial(name, 1.0, &RATES, rate));
        let steps = steps.map(|steps| dial("inner_steps", steps as f32, &STEPS, 1.0));
        let weight = (shrink == Shrink::CHOSEN).then(|| dial("row_weight", 1.0, &WEIGHTS, 1.0));
        Self { list, rate, steps, weight }
    }

    pub(crate) fn list(&self) -> &[Dial] {
        &self.list
    }

    /// Reads them; `steps` are those of training.
    pub(crate) fn read(&self, own: &Bound, steps: usize) -> Turned {
        let value = |id: Option<ParamId>| id.map(|id| to_vec(own.get(id).detach())[0]);
        Turned {
            rate: value(self.rate).map_or(1.0, f64::from),
            // Of merged patches it is a mean.
            steps: value(self.steps).map_or(steps, |steps| steps.round().max(1.0) as usize),
            weight: value(self.weight).unwrap_or(1.0),
        }
    }
}

impl Turned {
    /// `w n`.
    pub(crate) fn weighed(self, counts: &[f32]) -> Vec<f32> {
        counts.iter().map(|n| n * self.weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use acclimate_model::Params;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn only_what_is_open_has_a_dial_and_each_says_what_it_is_turned_to() {
        let mut params = vec![ParamSpec::vector("first", 1, 2, 0.5)];
        let dials = Dials::new(&mut params, Some(("inner_rate", 0.05)), None, Shrink::CHOSEN);
        let names: Vec<_> = dials.list().iter().map(|dial| (dial.name, dial.param)).collect();
        assert_eq!(names, [("inner_rate", ParamId(1)), ("row_weight", ParamId(2))]);
        let mut own = Params::init(&params, 1);
        let read = |own: &Params| dials.read(&own.bind(&Device::flex(), |_| false), 3);
        let Turned { rate, steps, weight } = read(&own);
        assert_eq!((rate, steps, weight), (1.0, 3, 1.0), "as in training");
        (own.values[1][0], own.values[2][0]) = (4.0, 0.25);
        let turned = read(&own);
        assert_eq!((turned.rate, turned.weighed(&[0.0, 8.0])), (4.0, vec![0.0, 2.0]));
        assert!(Dials::new(&mut params, None, None, Shrink::LEARNED).list().is_empty());
    }

    #[test]
    fn a_number_or_the_word() {
        #[derive(Debug, Deserialize)]
        struct Keys {
            steps: Open<usize>,
            rate: Open<f64>,
        }
        let read = |text: &str| toml::from_str::<Keys>(text).map(|keys| (keys.steps.or(7), keys.rate.or(0.5)));
        assert_eq!(read("steps = 2\nrate = 1"), Ok((2, 1.0)));
        assert_eq!(read("steps = 'chosen'\nrate = 'chosen'"), Ok((7, 0.5)));
        let error = read("steps = -1\nrate = 1").unwrap_err().to_string();
        assert!(error.contains("a number, or \"chosen\""), "{error}");
    }
}
