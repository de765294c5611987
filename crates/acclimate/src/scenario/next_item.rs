//! `next_item`: what a user takes next in a domain, from what the same user took before, there and in a source domain.
//!
//! The base learns the next target item from the training rows (or, with `pretraining = { on = "source" }`, the next source item, and methods the target's).
//! Asked for are target events of the other parts, after all events that came strictly before them, whatever their part: `leave_last_out` gives
//! leave-one-out protocols, `global_time` a model that stays as it was while its inputs move on.

use acclimate_data::{ExampleConfig, InputEvents};
use acclimate_eval::Outcome;
use acclimate_train::{MemoryConfig, TrainingNegatives};
use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::sequences::{self, Table, Learned, Negatives, Plan, Pretraining, Rows};
use crate::{Experiment, ExperimentError, Lab, Source};

/// The setting in result records.
const SETTING: &str = "next_item";

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextItem {
    /// Domain whose items are recommended.
    pub target: String,
    /// Domain that is read beside it; default none.
    #[serde(default)]
    pub source: Option<String>,
    /// Attribute of rows that orders a user's events; default: time.
    #[serde(default)]
    pub position: Option<String>,
    /// How training examples are cut out of the training rows; default every event of the target after one event or more of both domains. `length` also cuts
    /// the inputs of queries and of pre-training.
    #[serde(default = "every_event", deserialize_with = "over_every_event")]
    pub examples: ExampleConfig,
    /// Which target events of the other parts are asked for: `"last"` of a user's (the default), `"first"`, or a table.
    #[serde(default = "ExampleConfig::last_query", deserialize_with = "over_last_query")]
    pub queries: ExampleConfig,
    /// The fixed candidates of sampled metrics.
    #[serde(default)]
    pub negatives: Negatives,
    /// Attribute of users, rows or items (of the positive) by which the setting is also measured in groups, such as `next_item,gender=F`; default none.
    #[serde(default)]
    pub by: Option<String>,
    /// Measures every network a second time with a memory of what followed similar states, fitted on validation queries: `true`, or a table of the settings
    /// to choose from (`neighbours`, `temperature`, `half_life_days`). Default no.
    #[serde(default, deserialize_with = "sequences::memory_choice")]
    pub memory: Option<MemoryConfig>,
    /// Negatives that training compares the next item with; default: every item of the head (full softmax). Large catalogues want some hundred.
    #[serde(default)]
    pub training_negatives: Option<TrainingNegatives>,
    /// What the base learns; default the target.
    #[serde(default = "of_target")]
    pub pretraining: Pretraining,
}

fn every_event() -> ExampleConfig {
    ExampleConfig { input: InputEvents::Both, min_input: 1, ..ExampleConfig::default() }
}

fn over_every_event<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExampleConfig, D::Error> {
    sequences::examples_over(deserializer, every_event())
}

fn over_last_query<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExampleConfig, D::Error> {
    sequences::examples_over(deserializer, ExampleConfig::last_query())
}

fn of_target() -> Pretraining {
    Pretraining { on: Learned::Target, rows: Rows::Train, training_negatives: None }
}

impl NextItem {
    fn plan(&self) -> Plan {
        Plan {
            scenario: "next_item".into(),
            setting: SETTING.into(),
            source: self.source.clone(),
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

impl Scenario for NextItem {
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
