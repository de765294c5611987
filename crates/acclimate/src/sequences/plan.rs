//! What a scenario says about how its log is read.

use acclimate_data::{ExampleConfig, Take};
use acclimate_train::TrainingNegatives;
use serde::{Deserialize, Serialize};

/// How a log becomes sequences, examples and queries. Saved with a base, so that later data is read alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The scenario, for reports.
    pub scenario: String,
    /// The setting in reports.
    pub setting: String,
    /// Domain that is read beside the target.
    pub source: Option<String>,
    /// Domain whose items are recommended.
    pub target: String,
    /// Attribute of rows that orders a user's events; without it, time.
    pub position: Option<String>,
    /// How training examples are cut out.
    pub examples: ExampleConfig,
    /// Which events are asked for.
    pub queries: ExampleConfig,
    /// The fixed candidates of sampled metrics.
    pub negatives: Negatives,
    /// Negatives that methods are trained against.
    pub training_negatives: Option<TrainingNegatives>,
    /// What bases learn.
    pub pretraining: Pretraining,
}

/// What a base learns before methods start from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretraining {
    /// Whose next items it learns.
    pub on: Learned,
    /// Whose events it learns from, where it learns the source.
    #[serde(default)]
    pub rows: Rows,
    /// Negatives that it is trained against; default those of the scenario.
    #[serde(default)]
    pub training_negatives: Option<TrainingNegatives>,
}

/// Whose next items a base learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    /// The source's, at every position; methods start with a head for the target.
    Source,
    /// The target's, from the training examples: the base is a recommender by itself.
    Target,
}

/// Whose events a base learns the source from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Everybody's, those of validation and test users included: what a cold user is known by is there before the target is.
    #[default]
    All,
    /// Training rows only. The last source item of each validation user then tells when to stop.
    Train,
}

/// The candidates of sampled metrics: target items that the user never has, those with the smallest `H(salt; user, item)`. Queries with fewer of them
/// are left out of sampled metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Negatives {
    /// How many, default 99.
    pub count: usize,
    /// First argument of the hash, default 22.
    pub salt: u64,
    /// What stands for an item in the hash.
    pub by: NegativeHash,
}

/// What stands for an item in the hash that chooses negatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativeHash {
    /// Eight bytes of the SHA-256 of its id, whatever other items there are. The default.
    #[default]
    Id,
    /// The rank of its id among those of its domain, as published protocols have it: a new item moves the others.
    Rank,
}

impl Default for Negatives {
    fn default() -> Self {
        Self { count: 99, salt: 22, by: NegativeHash::Id }
    }
}

/// Reads how examples are cut: a table whose missing keys are those of `default`, or in short `"first"` or `"last"` for one a user.
pub(crate) fn examples_over<'de, D: serde::Deserializer<'de>>(deserializer: D, default: ExampleConfig) -> Result<ExampleConfig, D::Error> {
    let error = |problem: &str| serde::de::Error::custom(problem.to_owned());
    let given = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(word) => {
            let take = match word.as_str() {
                "first" => Take::First,
                "last" => Take::Last,
                _ => return Err(error("expected \"first\", \"last\", or a table such as { input = \"both\", min_input = 1 }")),
            };
            return Ok(ExampleConfig { take, max_per_user: 1, ..default });
        }
        toml::Value::Table(given) => given,
        _ => return Err(error("expected \"first\", \"last\", or a table such as { input = \"both\", min_input = 1 }")),
    };
    let said: ExampleConfig = given.clone().try_into().map_err(serde::de::Error::custom)?;
    let is = |key: &str| given.contains_key(key);
    Ok(ExampleConfig {
        input: if is("input") { said.input } else { default.input },
        length: if is("length") { said.length } else { default.length },
        min_input: if is("min_input") { said.min_input } else { default.min_input },
        max_per_user: if is("max_per_user") { said.max_per_user } else { default.max_per_user },
        take: if is("take") { said.take } else { default.take },
    })
}
