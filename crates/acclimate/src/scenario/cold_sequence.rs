//! `cold_sequence`: users who are new to a target domain and known from a source domain by a sequence of items.
//!
//! The base learns the next source item from the source sequences of all users. It is then given a head for the target's items, whose biases
//! start at `log(1 + count)`, and every method learns the next target item from the training users. Validation and test users show source events
//! only; the positives are their first target events. This is the question of PeterRec (Yuan et al., SIGIR 2020).

use acclimate_data::ExampleConfig;
use acclimate_eval::Outcome;
use acclimate_train::{MemoryConfig, TrainingNegatives};
use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::sequences::{self, Table, Learned, Negatives, Plan, Pretraining, Rows};
use crate::{Experiment, ExperimentError, Lab, Source};

/// The setting in result records.
const SETTING: &str = "new_user";

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdSequence {
    /// Domain that every user has events in.
    pub source: String,
    /// Domain whose items are recommended.
    pub target: String,
    /// Attribute of rows that orders a user's events; default: time.
    #[serde(default)]
    pub position: Option<String>,
    /// How training examples are cut out of the training users' sequences. `length` also cuts the inputs of queries and of pre-training.
    #[serde(default)]
    pub examples: ExampleConfig,
    /// Which target events of validation and test users are asked for; default the first three after at least three source events.
    #[serde(default = "ExampleConfig::cold_queries", deserialize_with = "over_cold_queries")]
    pub queries: ExampleConfig,
    /// The fixed candidates of sampled metrics.
    #[serde(default)]
    pub negatives: Negatives,
    /// Attribute of users, rows or items (of the positive) by which the setting is also measured in groups, such as `new_user,gender=F`; default none.
    #[serde(default)]
    pub by: Option<String>,
    /// Measures every network a second time with a memory of what followed similar states, fitted on validation queries: `true`, or a table of the settings
    /// to choose from (`neighbours`, `temperature`, `half_life_days`). Default no.
    #[serde(default, deserialize_with = "sequences::memory_choice")]
    pub memory: Option<MemoryConfig>,
    /// Negatives that training compares the next item with; default: every item of the head (full softmax). Large catalogues want some hundred.
    #[serde(default)]
    pub training_negatives: Option<TrainingNegatives>,
    /// What the base learns; default the source, from everybody's events.
    #[serde(default = "of_source")]
    pub pretraining: Pretraining,
}

fn of_source() -> Pretraining {
    Pretraining { on: Learned::Source, rows: Rows::All, training_negatives: None }
}

fn over_cold_queries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExampleConfig, D::Error> {
    sequences::examples_over(deserializer, ExampleConfig::cold_queries())
}

impl ColdSequence {
    fn plan(&self) -> Plan {
        Plan {
            scenario: "cold_sequence".into(),
            setting: SETTING.into(),
            source: Some(self.source.clone()),
            target: self.target.clone(),
            position: self.position.clone(),
            examples: self.examples,
            queries: self.queries,
            negatives: self.negatives,
            training_negatives: self.training_negatives,
            pretraining: self.pretraining,
        }
    }
}

impl Scenario for ColdSequence {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        if let Some(Err(error)) = self.memory.as_ref().map(MemoryConfig::check) {
            return Err(experiment.problem("[scenario] memory", error.to_string()));
        }
        sequences::check(experiment, &self.plan())
    }

    fn train_settings(&self) -> Vec<String> {
        vec![SETTING.to_owned()]
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        let table = Table { by: self.by.as_deref(), memory: self.memory.as_ref() };
        sequences::compare(lab, source, &self.plan(), &table)
    }
}
