//! How far steps go with how many support rows.
//!
//! Every step of a task with n support rows is multiplied by `n / (n + c)`: the share that n rows have beside a prior worth c rows. One row moves a user little, a hundred nearly all the way, none not at all.
//! c is given, or learned with everything else: `c = 5 exp(3 κ)`, κ from 0. Then `n / (n + c) = σ(ln n - ln c)`, which no κ makes infinite, and gradients reach κ through the length of each step.
//! Where c is chosen, it is learned as well, and validation tasks say afterwards how much of it is right: see `dials.rs`.

use acclimate_model::{Init, ParamSpec};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::dials::Word;

/// Where a learned c starts.
const START: f64 = 5.0;
/// How far κ moves `ln c`. Optimisers such as Adam move every value by about their rate, whatever it stands for; weights are some tenths, logarithms around 1.
const GAIN: f64 = 3.0;
/// In place of ln 0.
const NO_ROWS: f32 = -1e4;

/// c.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `shrink` to be a number, 0 or more, \"learned\" or \"chosen\"")]
pub enum Shrink {
    /// Given; 0 turns this off.
    Rows(f32),
    /// Learned.
    Learned(Learned),
    /// Learned, and a share or multiple of what was learned chosen on validation tasks.
    Chosen(Word),
}

/// The word `learned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    /// The word.
    Learned,
}

impl Shrink {
    /// Learned.
    pub const LEARNED: Self = Self::Learned(Learned::Learned);

    /// Learned, then chosen.
    pub const CHOSEN: Self = Self::Chosen(Word::Chosen);

    /// Whether it is a parameter.
    #[must_use]
    pub fn is_learned(self) -> bool {
        self == Self::LEARNED || self == Self::CHOSEN
    }

    /// The given c; 0 for a learned one, which is always in range.
    #[must_use]
    pub fn given(self) -> f32 {
        match self {
            Self::Rows(c) => c,
            Self::Learned(_) | Self::Chosen(_) => 0.0,
        }
    }

    /// κ, where it is a parameter.
    pub(crate) fn spec(self) -> Option<ParamSpec> {
        self.is_learned().then(|| ParamSpec { decay: false, ..ParamSpec::weight("shrink", [1, 1, 1], Init::Constant(0.0)) })
    }

    /// The same on plain numbers: a row counts for `weight`.
    pub(crate) fn plain(self, kappa: Option<f32>, weight: f32) -> acclimate_plan::Shrink {
        match (self, kappa) {
            (Self::Learned(_) | Self::Chosen(_), Some(kappa)) => acclimate_plan::Shrink::Learned { kappa, weight },
            (Self::Rows(c), _) if c > 0.0 => acclimate_plan::Shrink::Rows { c, weight },
            _ => acclimate_plan::Shrink::None,
        }
    }

    /// What the steps of tasks with so many support rows are multiplied by, `[T, 1, 1]`; none where that is 1. `kappa` is there where it is a parameter.
    pub(crate) fn factor(self, kappa: Option<Tensor<3>>, counts: &[f32], device: &Device) -> Option<Tensor<3>> {
        let tensor = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, [counts.len(), 1, 1]), device);
        match (self, kappa) {
            (Self::Learned(_) | Self::Chosen(_), Some(kappa)) => {
                let logs = counts.iter().map(|&n| if n > 0.0 { n.ln() - START.ln() as f32 } else { NO_ROWS });
                Some(sigmoid(tensor(logs.collect()) - kappa * GAIN))
            }
            (Self::Rows(c), _) if c > 0.0 => Some(tensor(counts.iter().map(|n| n / (n + c)).collect())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use acclimate_model::kernel::to_vec;

    use super::*;

    #[test]
    fn steps_grow_with_the_rows_and_none_is_none() {
        let device = Device::flex();
        let kappa = |value: f32| Tensor::<3>::from_data(TensorData::new(vec![value], [1, 1, 1]), &device);
        let counts = [0.0, 1.0, 5.0, 95.0];
        let found = |shrink: Shrink, kappa| to_vec(shrink.factor(kappa, &counts, &device).expect("a factor"));
        let near = |a: Vec<f32>, b: [f32; 4]| assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
        near(found(Shrink::Rows(5.0), None), [0.0, 1.0 / 6.0, 0.5, 0.95]);
        near(found(Shrink::LEARNED, Some(kappa(0.0))), [0.0, 1.0 / 6.0, 0.5, 0.95]);
        // Twice as large a c, and one beyond all numbers.
        near(found(Shrink::LEARNED, Some(kappa(2f32.ln() / 3.0))), [0.0, 1.0 / 11.0, 1.0 / 3.0, 95.0 / 105.0]);
        near(found(Shrink::LEARNED, Some(kappa(1e4))), [0.0; 4]);
        assert!(Shrink::Rows(0.0).factor(None, &counts, &device).is_none());
    }

    #[test]
    fn a_word_or_a_number_and_nothing_else() {
        #[derive(Debug, Deserialize)]
        struct Keys {
            shrink: Shrink,
        }
        let read = |text: &str| toml::from_str::<Keys>(text).map(|keys| keys.shrink);
        assert_eq!((read("shrink = 'learned'"), read("shrink = 2")), (Ok(Shrink::LEARNED), Ok(Shrink::Rows(2.0))));
        assert_eq!(read("shrink = 'chosen'"), Ok(Shrink::CHOSEN));
        let error = read("shrink = 'large'").unwrap_err().to_string();
        assert!(error.contains("a number, 0 or more, \"learned\" or \"chosen\""), "{error}");
    }
}
