//! One method of an experiment.

use std::collections::BTreeMap;

use acclimate_train::feed::SupportSize;
use serde::{Deserialize, Serialize};

use crate::scenario::cold_start::RowsOf;

/// An entry `[[method]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodEntry {
    /// Name of the method or of a named config of it.
    pub name: String,
    /// Name in reports; default the method's. Needed where a method is listed twice.
    pub label: Option<String>,
    /// The base it starts from; default the first.
    pub base: Option<String>,
    /// Its config keys.
    #[serde(default)]
    pub config: toml::Table,
    /// Training keys that differ from `[train]`.
    #[serde(default)]
    pub train: toml::Table,
    /// Training keys for single settings, such as `"n=100"`: small data wants fewer steps.
    #[serde(default)]
    pub train_by_size: BTreeMap<String, toml::Table>,
    /// Whether each domain gets a patch of its own, trained on its rows alone; default one for all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each_domain: bool,
    /// Domains, or `"all"`, whose patches are averaged as a start for a target of `new_domain`: each is trained on rows of the base's. Without target rows the mean is what is measured;
    /// with some, training goes on from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// Whether embedding rows are stored, and measured, in a byte a value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compact: bool,
    /// Bytes that a patch may take; of the embedding rows those stay that training has changed most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// How many support rows a task shows in training, where the scenario has tasks; default the scenario's choice.
    pub support: Option<SupportSize>,
    /// Which training rows its tasks are made of, in scenario `cold_start`: those of users with a task, or `all`; default `all` for a method that is solved, else `tasks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsOf>,
}

/// Whose patches are averaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a list of domains, or \"all\"")]
pub enum Merge {
    /// Those of every domain that the base knows.
    Every(Every),
    /// Those of these domains; one that is the target is left out there.
    Of(Vec<String>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// The word.
    All,
}

impl MethodEntry {
    /// The entry in messages that name the method themselves.
    #[must_use]
    pub fn entry(&self) -> String {
        self.label.as_ref().map_or_else(|| "[[method]]".to_owned(), |label| format!("[[method]] with label `{label}`"))
    }

    /// Name in reports.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}
