//! Networks that score rows against their reference programs: scores, and gradients of every parameter and every table.

mod golden;

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{BagColumn, Batch, DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{BackboneConfig, Bound, Output, Pass, RowGradients, Table};
use golden::{Case, cases, device, to_vec};
use serde_json::Value;

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("a name").to_owned()).collect()
}

fn schema(case: &Case) -> Schema {
    let vocabularies = case.config["vocabularies"].as_array().expect("a list");
    let vocabularies: Vec<_> = vocabularies
        .iter()
        .map(|v| VocabularySchema { name: v[0].as_str().expect("a name").into(), rows: v[1].as_u64().expect("a size") as usize })
        .collect();
    let fields = |key: &str| {
        let pairs = case.config[key].as_array().expect("a list").iter().map(texts);
        let of_name = |name: &String| vocabularies.iter().position(|v| v.name == *name).expect("a vocabulary of the case") as u32;
        pairs.map(|pair| FieldSchema { name: pair[0].clone(), vocabulary: VocabularyIndex(of_name(&pair[1])) }).collect()
    };
    Schema {
        label: LabelKind::Click,
        domains: texts(&case.config["domains"]),
        categorical: fields("fields"),
        bags: fields("lists"),
        numeric: texts(&case.config["numbers"]),
        sides: BTreeMap::new(),
        vocabularies,
    }
}

fn batch(case: &Case, schema: &Schema) -> Batch {
    let codes = case.value("codes");
    let [all, fields] = codes.shape[..] else { panic!("codes are [R, F]") };
    let bag = |field: &FieldSchema| {
        let (ids, mask) = (case.value(&format!("list.{}", field.name)), case.value(&format!("mask.{}", field.name)).u32());
        let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
        for (ids, mask) in ids.u32().chunks_exact(ids.shape[1]).zip(mask.chunks_exact(ids.shape[1])) {
            bag.codes.extend(ids.iter().zip(mask).filter(|&(_, &m)| m == 1).map(|(&id, _)| id));
            bag.offsets.push(bag.codes.len() as u32);
        }
        bag
    };
    let domain = case.inputs.get("domain").map_or(vec![0; all], golden::Array::u32).into_iter().map(DomainIndex).collect();
    let groups = case.number("groups") as usize;
    Batch {
        groups,
        rows: all / groups,
        mask: vec![1.0; all],
        domain,
        fields,
        categorical: codes.u32(),
        numbers: schema.numeric.len(),
        numeric: case.value("numbers").f32(),
        bags: schema.bags.iter().map(bag).collect(),
        ..Batch::default()
    }
}

fn check(case: &Case) {
    let schema = schema(case);
    let config: BackboneConfig = serde_json::from_value(case.config["backbone"].clone()).expect("the config of a backbone");
    let backbone = config.build(&schema).expect("a config that fits the schema");
    let architecture = backbone.architecture();
    let params: Vec<_> =
        architecture.params.iter().map(|spec| case.value(&spec.path).constant().reshape(spec.shape).require_grad()).collect();
    let bound = Bound::from(params.clone());
    let name = |table: &str| if table.starts_with("first.") { table.to_owned() } else { format!("table.{table}") };
    let tables: Vec<_> =
        architecture.tables.iter().map(|spec| Arc::new(Table { d: spec.d, values: case.value(&name(&spec.name)).f32() })).collect();
    let batch = batch(case, &schema);
    let inputs: Vec<_> = backbone.gather(&tables, &batch).into_iter().map(|leaf| leaf.into_tensor(&device(), true)).collect();
    let Output::Rows(y) = backbone.forward(&Pass::plain(&bound), &batch, &inputs) else { panic!("a network that scores rows") };
    case.check("y", to_vec(y.clone()));

    let gradients = (y * case.value("cotangent").constant()).sum().backward();
    for (spec, tensor) in architecture.params.iter().zip(&params) {
        case.check_gradient(&spec.path, tensor.grad(&gradients).map(to_vec));
    }
    let leaves = inputs.iter().map(|leaf| leaf.grad(&gradients).map_or_else(|| vec![0.0; leaf.shape().num_elements()], to_vec));
    let mut sink: Vec<_> = tables.iter().map(|table| Some(RowGradients::new(table.rows(), table.d))).collect();
    backbone.scatter(&batch, &leaves.collect::<Vec<_>>(), &mut sink);
    for ((spec, table), rows) in architecture.tables.iter().zip(&tables).zip(&sink) {
        let mut gradient = vec![0.0; table.values.len()];
        for (row, g) in rows.as_ref().expect("a sink was given").iter() {
            gradient[row as usize * table.d..][..table.d].copy_from_slice(g);
        }
        case.check_gradient(&name(&spec.name), Some(gradient));
    }
    let known: usize = architecture.params.len() + tables.len();
    assert_eq!(case.parameters.len(), known, "{}: the reference has other parameters", case.name);
}

/// Golden files, and how many cases each has at least.
const FILES: &[(&str, usize)] = &[("deepfm", 1), ("dcn", 3), ("din", 1), ("multi_domain", 5)];

#[test]
fn networks_match_their_references() {
    for (file, least) in FILES {
        let cases = cases(file);
        assert!(cases.len() >= *least, "`{file}` lost cases");
        cases.iter().for_each(check);
    }
}
