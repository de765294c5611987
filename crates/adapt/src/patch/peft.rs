//! A patch as PEFT has it: `adapter_config.json` and the tensors beside it.
//!
//! `y = x W + b + (α / r) x A B` is PEFT's `LoraLayer` with `lora_A.weight = Aᵀ`, `lora_B.weight = Bᵀ`, `lora_alpha = α`. A linear layer of the base that is trained itself is one
//! of `modules_to_save`: its `weight` is turned too, `[d_out, d_in]`. Module names are site paths. All of it stands in the file, where our own form leaves out what is as it began.
//! The manifest stays in the file's metadata, which PEFT does not read, so the file is a patch as before.

use std::collections::BTreeMap;
use std::path::Path;

use acclimate_model::{Base, ParamSpec, Role, SiteKind, TensorFile};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::file::Name;
use super::{Counts, Manifest, Patch, Serve, Storage};
use crate::{AdaptError, find_method, resolve_config};

/// `adapter_config.json` of a low-rank patch: every key that decides what PEFT computes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeftConfig {
    /// `LORA`.
    pub peft_type: &'static str,
    /// SHA-256 of the base.
    pub base_model_name_or_path: String,
    /// Rank.
    pub r: i64,
    /// α.
    pub lora_alpha: f64,
    /// Sites with an addition.
    pub target_modules: Vec<String>,
    /// Linear layers of the base that are trained themselves.
    pub modules_to_save: Option<Vec<String>>,
    /// `none`: biases of the base stay, but for those of `modules_to_save`.
    pub bias: &'static str,
    /// 0: nothing is dropped when it serves.
    pub lora_dropout: f64,
    /// Weights are `[d_out, d_in]`.
    pub fan_in_fan_out: bool,
    /// The scale is `α / r`.
    pub use_rslora: bool,
    /// No magnitudes beside the matrices.
    pub use_dora: bool,
    /// It serves.
    pub inference_mode: bool,
    /// None of PEFT's own.
    pub task_type: Option<String>,
}

/// Why a patch has no form in PEFT.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotPeft {
    /// Another method.
    #[error("`{0}` is not `lora`")]
    Method(String),
    /// An own parameter that PEFT does not have.
    #[error("`{0}` has no place in PEFT's LoRA")]
    Own(String),
    /// Trained embedding rows, or ids that the base does not know.
    #[error("it holds embedding rows")]
    Rows,
    /// A trained parameter of the base that belongs to no linear layer.
    #[error("`{0}` is trained and belongs to no linear layer")]
    Dense(String),
    /// A layer that would be in both lists.
    #[error("`{0}` is trained itself and has an addition")]
    Both(String),
    /// A name that PEFT would take for that of another layer as well.
    #[error("PEFT would take `{name}` for `{other}` as well")]
    Name {
        /// The layer.
        name: String,
        /// Another.
        other: String,
    },
}

/// What is read of an `adapter_config.json` that PEFT wrote: what decides what it computes.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Written {
    peft_type: String,
    r: i64,
    lora_alpha: f64,
    target_modules: serde_json::Value,
    modules_to_save: Option<Vec<String>>,
    bias: String,
    fan_in_fan_out: bool,
    use_rslora: bool,
    use_dora: bool,
    lora_bias: bool,
    rank_pattern: BTreeMap<String, serde_json::Value>,
    alpha_pattern: BTreeMap<String, serde_json::Value>,
    layers_to_transform: serde_json::Value,
    exclude_modules: serde_json::Value,
}

impl Default for Written {
    /// PEFT's own defaults.
    fn default() -> Self {
        Self {
            peft_type: String::new(),
            r: 8,
            lora_alpha: 8.0,
            target_modules: serde_json::Value::Null,
            modules_to_save: None,
            bias: "none".into(),
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            layers_to_transform: serde_json::Value::Null,
            exclude_modules: serde_json::Value::Null,
        }
    }
}

/// Most bytes of an `adapter_config.json`.
const LARGEST: u64 = 1 << 20;

impl Patch {
    /// A patch that PEFT trained on a twin of the base and saved in a folder. It serves everybody, and does not say which rows it was trained on.
    ///
    /// # Errors
    /// [`AdaptError::Peft`]: a kind or a setting that `lora` does not have, sites that the base does not have; a damaged file, or tensors that do not fit.
    pub fn of_peft(base: &Base, folder: &Path) -> Result<Self, AdaptError> {
        let path = folder.join("adapter_config.json");
        let wrong = |problem: String| AdaptError::Peft { path: path.clone(), problem };
        if std::fs::metadata(&path).is_ok_and(|file| file.len() > LARGEST) {
            return Err(wrong(format!("has more than {LARGEST} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let written: Written = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let config = written.config(base).map_err(wrong)?;
        let manifest = Manifest {
            format: Manifest::FORMAT,
            method: "lora".into(),
            config: resolve_config("lora", &config)?,
            base: base.hash(),
            schema: base.spec.schema_hash(),
            window: None,
            seed: 0,
            trained_rows: 0,
            trained_on: None,
            serve: Serve::Always,
            metrics: BTreeMap::new(),
            stages: Vec::new(),
            ids: BTreeMap::new(),
            storage: Storage::Full,
            counts: Counts::default(),
        };
        let path = folder.join("adapter_model.safetensors");
        let file = TensorFile::read_foreign(&path, &manifest)?;
        let held = file.layout();
        let mut patch = Self::of_file((base, &base.hash()), file, &path)?;
        // What is not in the file would be what a seed draws.
        let architecture = base.backbone.architecture();
        let missing = patch.own.specs.iter().map(|spec| Name::of(spec, architecture).name).find(|name| !held.contains_key(name));
        if let Some(tensor) = missing {
            return Err(AdaptError::Peft { path, problem: format!("does not hold `{tensor}`") });
        }
        patch.manifest.counts = Counts {
            own: patch.own.count(),
            unfrozen: patch.dense.iter().map(|(_, values)| values.len()).sum(),
            rows: 0,
            base_dense: base.params.count(),
            base_rows: base.tables.iter().map(|table| table.values.len()).sum(),
        };
        Ok(patch)
    }

    /// Config and tensors as PEFT has them.
    ///
    /// # Errors
    /// [`NotPeft`]: then the patch has our own form only.
    pub fn to_peft(&self, base: &Base) -> Result<(PeftConfig, TensorFile), NotPeft> {
        let manifest = &self.manifest;
        let other = || NotPeft::Method(manifest.method.clone());
        if find_method(&manifest.method).map_err(|_| other())?.0.name != "lora" {
            return Err(other());
        }
        if !manifest.ids.is_empty() || self.rows.iter().any(|patch| !patch.rows.is_empty()) {
            return Err(NotPeft::Rows);
        }
        let architecture = base.backbone.architecture();
        let linear: Vec<&str> =
            architecture.sites.iter().filter(|site| matches!(site.kind, SiteKind::Linear { .. })).map(|site| site.path.as_str()).collect();
        let mut file = TensorFile::new(manifest);
        let mut targets = Vec::new();
        for (spec, values) in self.own.specs.iter().zip(&self.own.values) {
            let site = ["lora_a", "lora_b"].iter().find_map(|kind| spec.path.strip_suffix(kind)?.strip_suffix('.'));
            let Some(site) = site.filter(|site| spec.shape[0] == 1 && linear.contains(site)) else {
                return Err(NotPeft::Own(spec.path.clone()));
            };
            targets.push(site.to_owned());
            let name = Name::of(spec, architecture);
            file.put(&name.name, &name.shape, &name.laid_out(values, [spec.shape[1], spec.shape[2]]));
        }
        targets.dedup();
        let mut saved = Vec::new();
        for (at, values) in &self.dense {
            let spec = &base.params.specs[*at];
            let site = spec.path.rsplit_once('.').map(|(site, _)| site).filter(|site| linear.contains(site));
            match (site, Name::of_dense(spec)) {
                (Some(site), Some(name)) => {
                    saved.push(site.to_owned());
                    file.put(&name.name, &name.shape, &name.laid_out(values, [spec.shape[1], spec.shape[2]]));
                }
                // What is trained and has not moved is the base's.
                _ if same(values, &base.params.values[*at]) => {}
                _ => return Err(NotPeft::Dense(spec.path.clone())),
            }
        }
        saved.dedup();
        check_names(&linear, &targets, &saved)?;
        let number =
            |key: &str| manifest.config.get(key).and_then(|value| value.as_float().or_else(|| value.as_integer().map(|n| n as f64)));
        let (Some(r), Some(alpha)) = (manifest.config.get("rank").and_then(toml::Value::as_integer), number("alpha")) else {
            return Err(other());
        };
        let config = PeftConfig {
            peft_type: "LORA",
            base_model_name_or_path: manifest.base.clone(),
            r,
            lora_alpha: alpha,
            target_modules: targets,
            modules_to_save: (!saved.is_empty()).then_some(saved),
            bias: "none",
            lora_dropout: 0.0,
            fan_in_fan_out: false,
            use_rslora: false,
            use_dora: false,
            inference_mode: true,
            task_type: None,
        };
        Ok((config, file))
    }
}

impl Written {
    /// The keys of `lora` that say the same of this base, or why there are none.
    fn config(&self, base: &Base) -> Result<toml::Table, String> {
        let other = [
            (self.peft_type != "LORA", "`peft_type` is not LORA"),
            (self.bias != "none", "`bias` is not none"),
            (self.fan_in_fan_out, "`fan_in_fan_out` is set"),
            (self.use_rslora, "`use_rslora` is set"),
            (self.use_dora, "`use_dora` is set"),
            (self.lora_bias, "`lora_bias` is set"),
            (!self.rank_pattern.is_empty() || !self.alpha_pattern.is_empty(), "layers have ranks or alphas of their own"),
            (!self.layers_to_transform.is_null() || !self.exclude_modules.is_null(), "layers are chosen by more than `target_modules`"),
        ];
        if let Some((_, why)) = other.iter().find(|(is_other, _)| *is_other) {
            return Err(format!("{why}, which the method `lora` does not have"));
        }
        let names: Vec<String> = serde_json::from_value(self.target_modules.clone())
            .map_err(|_| "`target_modules` is no list of names; name each layer".to_owned())?;
        let linear = |role: Role| base.backbone.architecture().linear_sites().filter(move |(_, site, _)| site.role == role);
        let is_named = |path: &str, name: &str| path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        let body: Vec<&str> = linear(Role::Body).map(|(_, site, _)| site.path.as_str()).collect();
        if let Some(unknown) = names.iter().find(|name| !body.iter().any(|path| is_named(path, name))) {
            return Err(format!("`{unknown}` is no linear layer of the base's body; there are {}", body.join(", ")));
        }
        let sites: Vec<toml::Value> =
            body.iter().filter(|path| names.iter().any(|name| is_named(path, name))).map(|&path| path.into()).collect();
        let saved = self.modules_to_save.clone().unwrap_or_default();
        let heads: Vec<&str> = linear(Role::Head).map(|(_, site, _)| site.path.as_str()).collect();
        let unfreeze: Vec<toml::Value> = match saved.is_empty() {
            true => Vec::new(),
            false if saved.iter().map(String::as_str).eq(heads.iter().copied()) => vec!["head".into()],
            false => return Err(format!("`modules_to_save` may name the head only: {}", heads.join(", "))),
        };
        Ok(toml::Table::from_iter([
            ("rank".to_owned(), self.r.into()),
            ("alpha".to_owned(), self.lora_alpha.into()),
            ("sites".to_owned(), sites.into()),
            ("unfreeze".to_owned(), unfreeze.into()),
        ]))
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// PEFT finds targets by the end of a path after a dot, and modules to save by any end.
fn check_names(linear: &[&str], targets: &[String], saved: &[String]) -> Result<(), NotPeft> {
    if let Some(site) = targets.iter().find(|site| saved.contains(site)) {
        return Err(NotPeft::Both(site.clone()));
    }
    let clash = |names: &[String], taken: &dyn Fn(&str, &str) -> bool| {
        names.iter().find_map(|name| {
            let other = linear.iter().find(|other| !names.iter().any(|name| name == *other) && taken(other, name))?;
            Some(NotPeft::Name { name: name.clone(), other: (*other).to_owned() })
        })
    };
    let of_targets = clash(targets, &|other, name| other.strip_suffix(name).is_some_and(|before| before.ends_with('.')));
    let of_saved = clash(saved, &|other, name| other.ends_with(name));
    of_targets.or(of_saved).map_or(Ok(()), Err)
}

impl Name {
    /// The name of a trained parameter of a linear layer; `None` for one that is no weight or bias.
    pub(super) fn of_dense(spec: &ParamSpec) -> Option<Self> {
        let (site, kind) = spec.path.rsplit_once('.')?;
        let [groups, rows, columns] = spec.shape;
        let name = format!("base_model.model.{site}.{kind}");
        match kind {
            "weight" if groups == 1 => Some(Self { name, shape: vec![columns, rows], turned: true }),
            "bias" if groups == 1 && rows == 1 => Some(Self { name, shape: vec![columns], turned: false }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_peft_would_take_for_another_is_refused() {
        let linear = ["tower.0.linear", "deep.tower.0.linear", "head", "forehead"];
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let checked = |targets: &[&str], saved: &[&str]| check_names(&linear, &names(targets), &names(saved));
        assert!(matches!(checked(&["tower.0.linear"], &[]), Err(NotPeft::Name { other, .. }) if other == "deep.tower.0.linear"));
        assert_eq!(checked(&["tower.0.linear", "deep.tower.0.linear"], &[]), Ok(()));
        assert_eq!(checked(&["head"], &[]), Ok(()), "targets end after a dot");
        assert!(matches!(checked(&[], &["head"]), Err(NotPeft::Name { other, .. }) if other == "forehead"));
        assert_eq!(checked(&["head"], &["head"]), Err(NotPeft::Both("head".to_owned())));
    }
}
