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

    /// Factors at every step of a run of ten, rounded to four digits.
    fn run(schedule: Schedule) -> Vec<f64> {
        (0..10).map(|step| (schedule.factor(step, 10) * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn a_schedule_rises_then_falls() {
        assert_eq!(run(Schedule::Constant), [1.0; 10]);
        // Two steps up to 1, then eight down; the step after the last would have 0.
        assert_eq!(run(Schedule::Linear { warmup: 0.2 }), [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
        assert_eq!(run(Schedule::Linear { warmup: 0.0 }), [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]);
        assert_eq!(run(Schedule::Linear { warmup: 1.0 })[8..], [0.9, 1.0]);
        assert_eq!(Schedule::Linear { warmup: 0.2 }.factor(10, 10), 0.0);
        // 0.2 + 0.8 (1 - cos(π left)) / 2 with left = 1, 7/8, .., 1/8.
        let cosine = [0.5, 1.0, 1.0, 0.9696, 0.8828, 0.7531, 0.6, 0.4469, 0.3172, 0.2304];
        assert_eq!(run(Schedule::Cosine { warmup: 0.2, floor: 0.2 }), cosine);
        assert_eq!(Schedule::Cosine { warmup: 0.2, floor: 0.2 }.factor(10, 10), 0.2);
    }
}
