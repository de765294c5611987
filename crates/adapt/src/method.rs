//! The list of methods. A method is one file and one line here.

mod answers;
pub(crate) mod columns;
pub(crate) mod condition;
mod earlier;
pub(crate) mod gate;
mod item_rows;
mod maps;
mod new_item;
mod partitioned;
mod requests;
mod sets;
mod widths;

use acclimate_model::Backbone;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{AdaptError, Adaptation, Target};

/// Whether a method adapts or is what adaptations are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A baseline that everybody compares with.
    Control,
    /// An adaptation method.
    Adaptation,
}

/// The configuration of a method: plain data that builds it.
pub trait MethodConfig: Serialize + DeserializeOwned + Default {
    /// Checks the config against a network and declares the method.
    ///
    /// # Errors
    /// A value out of range, or a backbone that the method can not change.
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError>;
}

/// An entry of the list.
#[derive(Clone, Copy)]
pub struct Method {
    /// Name in configs and reports.
    pub name: &'static str,
    /// Control or adaptation.
    pub kind: Kind,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Named configs of it: name, and the keys (TOML) it sets.
    pub presets: &'static [(&'static str, &'static str)],
    /// Configs (TOML) that take other paths through it than its defaults and presets; the contract suite tries them all.
    pub tested: &'static [&'static str],
    build: fn(toml::Table, Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError>,
    defaults: fn() -> toml::Table,
}

impl Method {
    /// An entry for the method configured by `C`.
    #[must_use]
    pub const fn new<C: MethodConfig>(name: &'static str, kind: Kind, summary: &'static str) -> Self {
        Self { name, kind, summary, presets: &[], tested: &[], build: build::<C>, defaults: defaults::<C> }
    }

    /// Adds named configs.
    #[must_use]
    pub const fn with_presets(mut self, presets: &'static [(&'static str, &'static str)]) -> Self {
        self.presets = presets;
        self
    }

    /// Adds configs that the contract suite tries.
    #[must_use]
    pub const fn tested_with(mut self, tested: &'static [&'static str]) -> Self {
        self.tested = tested;
        self
    }

    /// Its config keys with their defaults.
    #[must_use]
    pub fn defaults(&self) -> toml::Table {
        (self.defaults)()
    }
}

fn defaults<C: MethodConfig>() -> toml::Table {
    toml::Table::try_from(C::default()).expect("configs are plain data")
}

fn build<C: MethodConfig>(config: toml::Table, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
    let config: C = config.try_into().map_err(|e: toml::de::Error| AdaptError::Config { method: String::new(), problem: e.to_string() })?;
    config.build(target)
}

/// Finds a method or preset by name and builds it with the given keys.
///
/// # Errors
/// An unknown name, an unknown key, a value out of range, or a backbone it can not change.
pub fn build_method(name: &str, config: &toml::Table, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
    let (method, preset) = find_method(name)?;
    let mut table: toml::Table = preset.parse().expect("presets are valid TOML, which a test checks");
    table.extend(config.clone());
    (method.build)(table, target).map_err(|error| match error {
        AdaptError::Config { problem, .. } => AdaptError::Config { method: name.into(), problem: problem.trim().into() },
        other => other,
    })
}

/// Every key of a method's config: those given, then those of the preset, then the defaults. What a patch stores, so that a later change of a
/// default does not change what it computes.
///
/// # Errors
/// [`AdaptError::UnknownMethod`].
pub fn resolve_config(name: &str, keys: &toml::Table) -> Result<toml::Table, AdaptError> {
    let (method, preset) = find_method(name)?;
    let mut config = method.defaults();
    config.extend(preset.parse::<toml::Table>().expect("presets are valid TOML, which a test checks"));
    config.extend(keys.clone());
    // A list of methods holds configs of its own.
    if let Some(toml::Value::Array(methods)) = config.get_mut("methods") {
        for method in methods.iter_mut().filter_map(toml::Value::as_table_mut) {
            let Some(name) = method.remove("name") else { continue };
            if let Some(known) = name.as_str() {
                *method = resolve_config(known, method)?;
            }
            method.insert("name".into(), name);
        }
    }
    Ok(config)
}

/// The method or preset called `name`, and the keys the preset sets.
///
/// # Errors
/// [`AdaptError::UnknownMethod`] with the names that exist.
pub fn find_method(name: &str) -> Result<(&'static Method, &'static str), AdaptError> {
    let named = METHODS.iter().flat_map(|m| [(m.name, (m, ""))].into_iter().chain(m.presets.iter().map(move |&(n, keys)| (n, (m, keys)))));
    named.clone().find(|(n, _)| *n == name).map(|(_, found)| found).ok_or_else(|| {
        let known = named.map(|(n, _)| n).collect::<Vec<_>>().join(", ");
        AdaptError::UnknownMethod { name: name.into(), known }
    })
}

pub(crate) use answers::{keep_ordinal, kept_ordinal, logit_of, replaced};
pub(crate) use condition::Condition;
pub use condition::Features;
pub(crate) use earlier::Earlier;
pub(crate) use gate::Gate;
pub(crate) use maps::{BoundHeads, BoundMap, Heads, Map};
pub(crate) use new_item::{NewItem, of_columns};
pub(crate) use partitioned::PartitionedNorm;
pub use requests::SetOf;
pub(crate) use requests::{Gathered, of_requests};
pub(crate) use sets::Sets;
pub(crate) use widths::Widths;

macro_rules! methods {
    ($($(#[$doc:meta])* $family:ident { $($file:ident),* $(,)? })*) => {
        $($(#[$doc])* pub mod $family { $(pub mod $file;)* })*
        /// Every method.
        pub const METHODS: &[Method] = &[$($($family::$file::METHOD),*),*];
    };
}

methods! {
    /// What adaptations are compared with.
    control { coral, distillation, fine_tune, group_dro, joint, scratch }
    /// New parameters beside those of the network.
    patch { adapter, ia3, intercept, k_adapter, lora, pals, peterrec, prefix, random_effects, stack, star }
    /// Hidden features changed under a condition.
    modulation {
        conditional_batch_norm, conditional_layer_norm, dynamic_instance_norm, epnet, film, gating_film, hyperformer, partitioned_norm, ppnet,
        rare_ids, request_norm, request_set, tanp,
    }
    /// A start from which little data suffices.
    meta { acclimate_item, acclimate_user, bayes_head, cavia, dropoutnet, maml, meta_embedding, mwuf, paml }
}

/// Refuses a backbone whose output is no score a row; `why` says what the method does with them.
pub(crate) fn scored_rows(method: &'static str, backbone: &dyn Backbone, why: &str) -> Result<(), AdaptError> {
    if backbone.scores_rows() {
        return Ok(());
    }
    Err(AdaptError::Unsupported {
        method,
        problem: format!("it scores candidates, and the method {why}; use a network of rows, such as `dnn`"),
    })
}

/// Whether the backbone has the closed-form tower that gradient-based methods need.
pub(crate) fn plain_tower<'a>(method: &'static str, backbone: &'a dyn Backbone) -> Result<&'a acclimate_model::Tower, AdaptError> {
    let unsupported = |problem: &str| AdaptError::Unsupported { method, problem: problem.into() };
    let tower = backbone.tower().ok_or_else(|| {
        unsupported(
            "no tower of linear layers stands alone on its gathered row; use a `dnn` without `input_norm`, `interaction` and `attention`",
        )
    })?;
    if tower.has_norm() {
        return Err(unsupported("its tower has norms; set `norm = \"none\"`"));
    }
    Ok(tower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_presets_parse() {
        let mut names = std::collections::HashSet::new();
        for method in METHODS {
            assert!(names.insert(method.name));
            for (name, keys) in method.presets {
                assert!(names.insert(name));
                let table: toml::Table = keys.parse().unwrap();
                assert!(table.keys().all(|k| method.defaults().contains_key(k)), "{name}");
            }
        }
    }

    /// Numbers of an independent program stand behind every adaptation.
    #[test]
    fn every_adaptation_has_a_golden_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference");
        for method in METHODS.iter().filter(|m| m.kind == Kind::Adaptation) {
            for file in [format!("{folder}/golden/{}.json", method.name), format!("{folder}/{}.py", method.name)] {
                assert!(std::path::Path::new(&file).exists(), "`{}` has no {file}", method.name);
            }
        }
    }

    #[test]
    fn resolved_keys_hold_defaults_and_presets() {
        let keys = "inner_steps = 3".parse().unwrap();
        let config = resolve_config("melu", &keys).unwrap();
        assert_eq!((config["inner_steps"].as_integer(), config["inner_rate"].as_float()), (Some(3), Some(0.01)));
        assert_eq!(config.len(), find_method("maml").unwrap().0.defaults().len());
    }

    #[test]
    fn an_unknown_name_lists_the_known() {
        let error = find_method("adaptor").err().unwrap().to_string();
        assert!(error.contains("`adaptor`") && error.contains("adapter"), "{error}");
    }
}
