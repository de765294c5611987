//! The list of scenarios: what is adapted to, and how that is trained and measured. A scenario is one file and one line here.

pub(crate) mod entrants;
pub(crate) mod groups;
pub(crate) mod newcomers;
mod rows;

use acclimate_eval::Outcome;
pub(crate) use rows::{predict, prepared, values_digest};
use serde::{Deserialize, Serialize};

use crate::{Experiment, ExperimentError, Lab, Source};

/// A way to compare methods: it prepares parts, trains a base for each seed, trains every method on it, and measures all of them on the same rows.
pub trait Scenario {
    /// Checks the config against the rest of the experiment, before any data is read.
    ///
    /// # Errors
    /// Entries that contradict each other.
    fn check(&self, _experiment: &Experiment) -> Result<(), ExperimentError> {
        Ok(())
    }

    /// The settings in which methods are trained apart, which `train_by_size` may name.
    fn train_settings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether methods start from a network, which `[base]` describes.
    fn needs_base(&self) -> bool {
        true
    }

    /// Runs the whole comparison.
    ///
    /// # Errors
    /// A config that does not fit the data, anything training or measuring reports, or an interruption.
    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError>;
}

macro_rules! scenarios {
    ($($file:ident => $name:ident),* $(,)?) => {
        $(pub mod $file;)*
        /// Configuration of a scenario: `kind = "..."` and its fields.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(remote = "Self", rename_all = "snake_case")]
        pub enum ScenarioConfig {
            $(
                #[doc = concat!("See [`", stringify!($file), "`].")]
                $name($file::$name),
            )*
        }
        acclimate_data::tagged!(ScenarioConfig, "kind");

        impl ScenarioConfig {
            /// The scenario itself.
            #[must_use]
            pub fn scenario(&self) -> &dyn Scenario {
                match self {
                    $(Self::$name(scenario) => scenario,)*
                }
            }

            /// Name in configs and result records.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($file),)*
                }
            }
        }
    };
}

scenarios! {
    bridge => Bridge,
    cold_sequence => ColdSequence,
    cold_start => ColdStart,
    fresh_users => FreshUsers,
    multi_domain => MultiDomain,
    new_domain => NewDomain,
    next_item => NextItem,
    online => Online,
    profile => Profile,
}
