//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Factor on the learning rate over a run of known length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// Rises from 0 over the first `warmup` share of the steps, then falls linearly to 0.
    Linear {
        /// Share of the steps, 0 to 1.
        warmup: f64,
    },
    /// The same rise, then half a cosine down to `floor`.
    Cosine {
        /// Share of the steps, 0 to 1.
        warmup: f64,
        /// Factor at the end, 0 to 1.
        floor: f64,
    },
}

acclimate_data::tagged!(Schedule, "kind");

impl Schedule {
    /// Checks that shares are shares.
    pub(crate) fn validate(self) -> Result<(), TrainError> {
        let (warmup, floor) = match self {
            Self::Constant => return Ok(()),
            Self::Linear { warmup } => (warmup, 0.0),
            Self::Cosine { warmup, floor } => (warmup, floor),
        };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        if share(warmup) && share(floor) {
            return Ok(());
        }
        Err(TrainError::Config { key: "schedule", problem: "takes a `warmup` and a `floor` from 0 to 1".into() })
    }

    /// The factor at `step` (from 0) of `steps`.
    #[must_use]
    pub fn factor(self, step: u64, steps: u64) -> f64 {
        let (warmup, floor, cosine) = match self {
            Self::Constant => return 1.0,
            Self::Linear { warmup } => (warmup, 0.0, false),
            Self::Cosine { warmup, floor } => (warmup, floor, true),
        };
        let rise = warmup * steps as f64;
        let at = step as f64 + 1.0;
        if at <= rise {
            return at / rise;
        }
        let left = ((steps as f64 - step as f64) / (steps as f64 - rise).max(1.0)).clamp(0.0, 1.0);
        if cosine { floor + (1.0 - floor) * 0.5 * (1.0 - (std::f64::consts::PI * left).cos()) } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_rises_then_falls() {
        let linear = Schedule::Linear { warmup: 0.1 };
        assert_eq!((linear.factor(0, 100), linear.factor(9, 100)), (0.1, 1.0));
        assert!((linear.factor(55, 100) - 0.5).abs() < 1e-9);
        let cosine = Schedule::Cosine { warmup: 0.0, floor: 0.1 };
        assert!((cosine.factor(0, 10) - 1.0).abs() < 1e-9 && cosine.factor(10, 10) - 0.1 < 1e-9);
        assert_eq!(Schedule::Constant.factor(7, 9), 1.0);
    }
}
