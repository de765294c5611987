//! Which class floors there are, and their settings.

use serde::{Deserialize, Serialize};

use super::{ClassFloor, LogisticRegression, LogisticRegressionConfig, Majority, SmoothedItemRate, SmoothedItemRateConfig};
use crate::floor::FloorError;

/// Settings of the class floors. Default: chosen on validation rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassFloorsConfig {
    /// Settings of [`SmoothedItemRate`].
    pub smoothed_item_rate: SmoothedItemRateConfig,
    /// Settings of [`LogisticRegression`].
    pub logistic_regression: LogisticRegressionConfig,
}

impl ClassFloorsConfig {
    /// Every class floor, in report order.
    #[must_use]
    pub fn floors(&self) -> Vec<Box<dyn ClassFloor>> {
        vec![
            Box::new(Majority),
            Box::new(SmoothedItemRate { config: self.smoothed_item_rate.clone() }),
            Box::new(LogisticRegression { config: self.logistic_regression.clone() }),
        ]
    }

    /// Checks the settings of all floors.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<(), FloorError> {
        self.floors().iter().try_for_each(|floor| floor.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_floor_and_are_checked() {
        let config: ClassFloorsConfig = toml::from_str("smoothed_item_rate.shrink = 3").unwrap();
        assert!(format!("{:?}", config.floors()).contains("shrink: Grid([3.0])"));
        assert_eq!(config.validate(), Ok(()));
        for (text, part) in [
            ("smoothed_item_rate.shrink = 0", "floor `smoothed_item_rate`: `shrink` is 0"),
            ("smoothed_item_rate.exponent = []", "`exponent` is [], expected at least one value"),
            ("logistic_regression.l2 = [1, 0]", "`l2` is 0, expected a strength above 0"),
            ("logistic_regression.tolerance = 0.0", "`tolerance` is 0"),
        ] {
            let error = toml::from_str::<ClassFloorsConfig>(text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(toml::from_str::<ClassFloorsConfig>("majority = 1").is_err());
    }
}
