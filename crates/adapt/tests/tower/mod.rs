//! The `dnn` of a golden case: numeric features only, so that what enters the tower is the case's `x`.
#![allow(dead_code, unreachable_pub, reason = "a module of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{LabelKind, Schema};
use acclimate_model::{Backbone, BackboneConfig, Bound, DnnConfig, InputNorm, Norm, ParamSpec};

use crate::golden::Case;

/// A backbone and the schema it was built for.
pub struct Network {
    pub backbone: Arc<dyn Backbone>,
    pub schema: Schema,
}

/// A tower of the case's `widths` (input first; a width-1 head follows).
pub fn network(case: &Case, layer_norm: bool, domains: usize) -> Network {
    let widths = case.config["widths"].as_array().expect("`widths` is a list").iter();
    let mut widths: Vec<usize> = widths.map(|w| w.as_u64().expect("a width") as usize).collect();
    // Some programs list the head's width, some do not.
    if widths.last() == Some(&1) {
        widths.pop();
    }
    let input_norm = if case.config.get("input_norm").is_some() { InputNorm::Batch } else { InputNorm::None };
    let config = config(&widths, layer_norm);
    let norm = if case.config.get("norm").is_some_and(|norm| norm == "batch") { Norm::Batch } else { config.norm };
    with(DnnConfig { input_norm, norm, ..config }, widths[0], domains)
}

/// A tower of these widths, input first; a head of width 1 follows.
pub fn dnn(widths: &[usize], layer_norm: bool, domains: usize) -> Network {
    with(config(widths, layer_norm), widths[0], domains)
}

fn config(widths: &[usize], layer_norm: bool) -> DnnConfig {
    let norm = if layer_norm { Norm::Layer } else { Norm::None };
    DnnConfig { hidden: widths[1..].to_vec(), norm, ..DnnConfig::default() }
}

fn with(config: DnnConfig, width: usize, domains: usize) -> Network {
    let numeric = (0..width).map(|i| format!("x{i}")).collect();
    let domains = (0..domains).map(|i| format!("d{i}")).collect();
    let (categorical, bags, sides) = (Vec::new(), Vec::new(), BTreeMap::new());
    let schema = Schema { label: LabelKind::Click, domains, vocabularies: Vec::new(), categorical, bags, numeric, sides };
    Network { backbone: BackboneConfig::Dnn(config).build(&schema).expect("numbers are features"), schema }
}

/// Parameters with the case's values, as leaves with gradient, and their names in the case.
pub fn bind(case: &Case, specs: &[ParamSpec], name: impl Fn(&str) -> String) -> (Bound, Vec<String>) {
    let names: Vec<_> = specs.iter().map(|spec| name(&spec.path)).collect();
    let tensors: Vec<_> =
        specs.iter().zip(&names).map(|(spec, name)| case.value(name).constant().reshape(spec.shape).require_grad()).collect();
    (tensors.into(), names)
}
