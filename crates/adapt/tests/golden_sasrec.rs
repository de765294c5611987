//! `sasrec` and the methods on it against `reference/sasrec.py` and the methods' own programs: scores of all items, and gradients of every parameter, of the
//! input rows and of the head.
//!
//! A case of a method is read here if it says `sequence_keys`, the method's config; parameters have the product's names.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use acclimate_adapt::{Context, METHODS, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{Backbone, Bound, Objective, Output, ParamSpec, Pass, SasRec, SasRecConfig};
use golden::{Case, cases, to_vec};

/// The last of a case's domains is one that the base does not know.
fn schema(case: &Case) -> Schema {
    let known = case.config.get("domains").map_or(1, |d| d.as_u64().expect("a number") - 1);
    Schema {
        label: LabelKind::Implicit,
        domains: (0..known).map(|d| format!("d{d}")).collect(),
        vocabularies: vec![VocabularySchema { name: "item".into(), rows: 1 + case.value("head").shape[0] }],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: std::collections::BTreeMap::new(),
    }
}

fn bind(case: &Case, specs: &[ParamSpec]) -> Bound {
    let tensors: Vec<_> = specs.iter().map(|spec| case.value(&spec.path).constant().reshape(spec.shape).require_grad()).collect();
    tensors.into()
}

fn check(case: &Case, method: Option<&str>) {
    let (schema, [x, head]) = (schema(case), ["x", "head"].map(|name| case.leaf(name)));
    let [g, n, width] = x.dims();
    let size = |key: &str| case.number(key) as usize;
    let (heads, blocks, length, feed_forward) = (size("heads"), size("blocks"), size("length"), Some(size("feed_forward")));
    let config = SasRecConfig { width, heads, blocks, length, feed_forward, ..SasRecConfig::default() };
    let net = SasRec::new(&config, &schema).expect("a legal config");
    let target = Target { backbone: &net, schema: &schema, objective: Objective::Softmax };
    let adaptation = method.map(|name| {
        let keys = case.text("sequence_keys").parse().expect("valid TOML");
        build_method(name, &keys, target).unwrap_or_else(|e| panic!("{}: {e}", case.name))
    });
    let own_specs = adaptation.as_ref().map_or(&[][..], |a| a.params());
    let (base, own) = (bind(case, &net.architecture().params), bind(case, own_specs));

    let mask = case.value("mask").u32();
    let domain = case.inputs.get("domain").map_or(vec![0; g], golden::Array::u32);
    let batch = Batch {
        groups: g,
        rows: n,
        mask: mask.iter().map(|&m| m as f32).collect(),
        domain: domain.iter().flat_map(|&d| vec![DomainIndex(d); n]).collect(),
        fields: 1,
        categorical: mask.clone(),
        // Every real position is scored.
        target: mask,
        ..Batch::default()
    };
    let inputs = [x, head];
    let context = Context { inputs: &inputs, ..Context::new(Unlabelled::new(&batch)) };
    let modulation = adaptation.as_ref().map(|a| a.adapt(&base, &own, &context).expect("the context is complete"));
    let pass = modulation.as_ref().map_or_else(|| Pass::plain(&base), |modulation| Pass::new(&base, modulation));
    if let Some(modulation) = &modulation {
        assert!(
            modulation.misplaced(&net.architecture().sites).is_none(),
            "{}: {:?}",
            case.name,
            modulation.misplaced(&net.architecture().sites)
        );
    }
    let Output::Comparison(found) = net.forward(&pass, &batch, &inputs) else { panic!("items are compared") };
    let y = found.scores();

    case.check("y", to_vec(y.clone()));
    let of_base = net.architecture().params.iter().zip(base.tensors());
    let of_own = own_specs.iter().zip(own.tensors());
    let dense = of_base.chain(of_own).map(|(spec, tensor)| (spec.path.as_str(), tensor.clone()));
    let [x, head] = inputs;
    let loss = (y * case.value("cotangent").constant()).sum();
    case.check_gradients(&loss, dense.chain([("x", x), ("head", head)]));
}

#[test]
fn the_network_matches_the_reference() {
    let cases = cases("sasrec");
    assert!(cases.len() >= 3, "the golden file lost cases");
    cases.iter().for_each(|case| check(case, None));
}

#[test]
fn methods_match_their_references() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden");
    let mut tried = 0;
    for method in METHODS.iter().filter(|m| std::path::Path::new(&format!("{folder}/{}.json", m.name)).exists()) {
        for case in cases(method.name).iter().filter(|case| case.config.get("sequence_keys").is_some()) {
            check(case, Some(method.name));
            tried += 1;
        }
    }
    assert!(tried >= METHOD_CASES, "the golden files lost cases: {tried}");
}

/// Cases of methods on this network.
const METHOD_CASES: usize = 18;
