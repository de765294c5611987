//! `meta_embedding` and `mwuf` against `reference/meta_embedding.py` and `reference/mwuf.py`: what is added to the rows of new items, the loss, and its gradients.
//!
//! The last of the four tasks has no support row; what stands in padding rows is no zero.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use std::sync::Arc;

use acclimate_adapt::{Context, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, Side, VocabularyIndex, VocabularySchema};
use acclimate_model::{AfterPass, Backbone, BackboneConfig, DnnConfig, Effect, Objective, Pass};
use burn::tensor::Tensor;
use golden::{Case, cases, to_vec};
use tower::bind;

#[test]
fn meta_embedding_matches_the_reference() {
    let cases = cases("meta_embedding");
    assert!(cases.len() >= 5, "the golden file lost cases");
    cases.iter().for_each(|case| check(case, "meta_embedding", true));
}

#[test]
fn mwuf_matches_the_reference() {
    let cases = cases("mwuf");
    assert!(cases.len() >= 5, "the golden file lost cases");
    cases.iter().for_each(|case| check(case, "mwuf", false));
}

/// Ids of items, kinds of items and ids of users, two columns each, then an item's age and a row's hour.
fn schema() -> Schema {
    let names = ["item", "kind", "user"];
    let field = |(i, name): (usize, &&str)| FieldSchema { name: (*name).into(), vocabulary: VocabularyIndex(i as u32) };
    let sides = [("item", Side::Item), ("kind", Side::Item), ("age", Side::Item), ("user", Side::User)];
    Schema {
        label: LabelKind::Click,
        domains: Vec::new(),
        vocabularies: names.iter().zip([9, 4, 5]).map(|(name, rows)| VocabularySchema { name: (*name).into(), rows }).collect(),
        categorical: names.iter().enumerate().map(field).collect(),
        bags: Vec::new(),
        numeric: ["age", "hour"].map(str::to_owned).to_vec(),
        sides: sides.map(|(name, side)| (name.to_owned(), side)).into(),
    }
}

fn part(case: &Case, part: &str) -> Batch {
    let mask = case.value(&format!("mask_{part}"));
    let [groups, rows] = [mask.shape[0], mask.shape[1]];
    let label = case.value(&format!("y_{part}")).f32();
    Batch { groups, rows, mask: mask.f32(), label, domain: vec![DomainIndex(0); groups * rows], ..Batch::default() }
}

fn backbone(case: &Case, schema: &Schema) -> Arc<dyn Backbone> {
    let widths = case.config["widths"].as_array().expect("`widths` is a list");
    let hidden = widths[1..widths.len() - 1].iter().map(|w| w.as_u64().expect("a width") as usize).collect();
    BackboneConfig::Dnn(DnnConfig { embedding: 2, hidden, ..DnnConfig::default() }).build(schema).expect("it fits")
}

/// `of_base`: the file has gradients of the network and of its rows as well.
fn check(case: &Case, method: &str, of_base: bool) {
    let schema = schema();
    let backbone = backbone(case, &schema);
    let objective = if case.text("loss") == "logistic" { Objective::Logistic } else { Objective::SquaredError };
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
    let adaptation = build_method(method, &case.text("keys").parse().expect("valid TOML"), target).expect("a config the network can take");
    let head = backbone.tower().expect("a tower").linears().count() - 1;
    let name = |path: &str| path.replace("head.", &format!("{head}.")).replace("tower.", "").replace("linear.", "");
    let (base, names) = bind(case, &backbone.architecture().params, name);
    let (own, own_names) = bind(case, adaptation.params(), str::to_owned);
    let (support, query) = (part(case, "support"), part(case, "query"));
    let (x_support, x_query) = (case.leaf("x_support"), case.leaf("x_query"));
    let (inputs, asked) = ([x_support.clone()], [x_query.clone()]);
    let context = Context {
        inputs: &asked,
        support: Some(Support { batch: &support, inputs: &inputs, backbone: backbone.as_ref() }),
        ..Context::new(Unlabelled::new(&query))
    };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    let [(_, Effect::Added(added))] = modulation.effects() else { panic!("{}: one effect at the gathered rows", case.name) };
    case.check("added", to_vec(added.clone()));

    let output = backbone.forward(&Pass::new(&base, &modulation), &query, &asked);
    let terms = modulation.added(&AfterPass { output: &output, batch: &query, objective, teacher: None });
    let loss = terms.into_iter().fold(objective.loss(&output, &query), |loss, term| loss + term.summands.sum());
    case.check("loss", to_vec(loss.clone()));
    let of_own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    let mut leaves: Vec<(&str, Tensor<3>)> = of_own.collect();
    if of_base {
        leaves.extend(names.iter().map(String::as_str).zip(base.tensors().iter().cloned()));
        leaves.extend([("x_support", x_support), ("x_query", x_query)]);
    }
    case.check_gradients(&loss, leaves);
}
