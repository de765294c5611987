//! `nextitnet` and its adapters against `reference/layers.py` and `reference/adapter.py`, through the backbone itself.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use std::collections::BTreeMap;

use acclimate_adapt::{Adaptation, Context, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{Backbone, Bound, NextItNet, NextItNetConfig, Objective, Output, ParamSpec, Pass};
use burn::tensor::Tensor;
use golden::{Case, cases, device, to_vec};

fn schema() -> Schema {
    Schema {
        label: LabelKind::Implicit,
        domains: vec!["all".into()],
        vocabularies: vec![VocabularySchema { name: "item".into(), rows: 3 }],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}

/// `block.0.conv_a.weight` is `conv1.weight` there, `block.0.norm_b.gain` is `norm2.gain`.
fn base_name(path: &str) -> String {
    let path = path.trim_start_matches("block.0.");
    path.replace("_a.", "1.").replace("_b.", "2.")
}

/// `block.0.conv_a.w1` is `adapter.1.w1` there.
fn own_name(path: &str) -> String {
    path.replace("block.0.conv_a", "adapter.1").replace("block.0.conv_b", "adapter.2")
}

fn bind(case: &Case, specs: &[ParamSpec], name: impl Fn(&str) -> String) -> (Bound, Vec<String>) {
    let names: Vec<_> = specs.iter().map(|spec| name(&spec.path)).collect();
    let tensors: Vec<_> =
        specs.iter().zip(&names).map(|(spec, name)| case.value(name).constant().reshape(spec.shape).require_grad()).collect();
    (tensors.into(), names)
}

fn adapter(case: &Case, net: &NextItNet, schema: &Schema) -> Box<dyn Adaptation> {
    let gelu = if case.text("gelu") == "gelu" { "exact" } else { "tanh" };
    let config = format!("bottleneck = {}\nform = '{}'\ngelu = '{gelu}'", case.number("bottleneck"), case.text("form"));
    let target = Target { backbone: net, schema, objective: Objective::Softmax };
    build_method("adapter", &config.parse().expect("valid TOML"), target).expect("convolutions are linear sites")
}

fn peterrec(case: &Case, net: &NextItNet, schema: &Schema) -> Box<dyn Adaptation> {
    let target = Target { backbone: net, schema, objective: Objective::Softmax };
    build_method("peterrec", &case.text("block_keys").parse().expect("valid TOML"), target).expect("a network of residual blocks")
}

fn check(case: &Case) {
    let schema = schema();
    let x = case.leaf("x");
    let [g, n, width] = x.dims();
    let config = NextItNetConfig {
        width,
        dilations: vec![case.config["dilations"][0].as_u64().expect("a dilation") as usize],
        epsilon: case.number("eps"),
        causal: case.config.get("causal").is_none_or(|causal| causal.as_bool().expect("true or false")),
        ..NextItNetConfig::default()
    };
    let net = NextItNet::new(&config, &schema).expect("a legal config");
    let adaptation = case.config.get("form").map(|_| adapter(case, &net, &schema));
    let adaptation = adaptation.or_else(|| case.config.get("block_keys").map(|_| peterrec(case, &net, &schema)));
    let (base, base_names) = bind(case, &net.architecture().params, base_name);
    let (own, own_names) = bind(case, adaptation.as_ref().map_or(&[], |a| a.params()), |path| match case.config.get("form") {
        Some(_) => own_name(path),
        None => path.to_owned(),
    });

    // Every position is scored, so the hidden states come back in order.
    let (domain, mask, target) = (vec![DomainIndex(0); g * n], vec![1.0; g * n], vec![1; g * n]);
    let codes = case.config.get("codes").and_then(|codes| codes.as_array());
    let categorical = codes.map_or_else(|| vec![0; g * n], |codes| codes.iter().map(|c| c.as_u64().expect("a code") as u32).collect());
    let batch = Batch { groups: g, rows: n, mask, domain, target, fields: 1, categorical, ..Batch::default() };
    let context = Context::new(Unlabelled::new(&batch));
    let modulation = adaptation.as_ref().map(|a| a.adapt(&base, &own, &context).expect("the context is complete"));
    let pass = match &modulation {
        Some(modulation) => Pass::new(&base, modulation),
        None => Pass::plain(&base),
    };
    let head = Tensor::zeros([1, 2, width + 1], &device());
    let Output::Comparison(found) = net.forward(&pass, &batch, &[x.clone(), head]) else { panic!("items are compared") };
    let y = found.hidden.slice([0..1, 0..g * n, 0..width]).reshape([g, n, width]);

    case.check("y", to_vec(y.clone()));
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    case.check_gradients(&(y * case.value("cotangent").constant()).sum(), base.chain(own).chain([("x", x)]));
}

#[test]
fn the_block_matches_the_reference() {
    let cases = cases("layers");
    let blocks: Vec<_> = cases.iter().filter(|c| c.name.starts_with("nextitnet_block")).collect();
    assert!(blocks.len() >= 4, "the golden file lost cases");
    blocks.into_iter().for_each(check);
}

#[test]
fn serial_and_parallel_adapters_match_the_reference() {
    let cases = cases("adapter");
    let blocks: Vec<_> = cases.iter().filter(|c| c.name.starts_with("nextitnet")).collect();
    assert!(blocks.len() >= 4, "the golden file lost cases");
    blocks.into_iter().for_each(check);
}

#[test]
fn every_insertion_of_peterrec_matches_the_reference() {
    let cases = cases("peterrec");
    assert!(cases.len() >= 10, "the golden file lost cases");
    cases.iter().for_each(check);
}
