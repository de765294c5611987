//! Random effects against their reference program: what is solved for, and what it adds to scores.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use std::collections::BTreeMap;

use acclimate_adapt::{Answered, Stage, Target, build_method};
use acclimate_data::{DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{BackboneConfig, DnnConfig, Objective, Params};
use golden::cases;

/// Features of these sizes, and nothing else.
fn schema(sizes: &[usize]) -> Schema {
    let names = || (0..sizes.len()).map(|f| format!("feature{f}"));
    Schema {
        label: LabelKind::Click,
        domains: Vec::new(),
        vocabularies: names().zip(sizes).map(|(name, &rows)| VocabularySchema { name, rows }).collect(),
        categorical: names().enumerate().map(|(f, name)| FieldSchema { name, vocabulary: VocabularyIndex(f as u32) }).collect(),
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}

#[test]
fn effects_match_their_reference() {
    let cases = cases("random_effects");
    assert!(cases.len() >= 4, "the golden file lost cases");
    for case in &cases {
        let sizes: Vec<usize> =
            case.config["sizes"].as_array().expect("a list").iter().map(|n| n.as_u64().expect("a size") as usize).collect();
        let schema = schema(&sizes);
        let backbone =
            BackboneConfig::Dnn(DnnConfig { embedding: 2, hidden: vec![3], ..DnnConfig::default() }).build(&schema).expect("it fits");
        let objective = if case.text("objective") == "logistic" { Objective::Logistic } else { Objective::SquaredError };
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
        let adaptation = build_method("random_effects", &case.text("keys").parse().expect("valid TOML"), target).expect("a valid config");
        let (scores, labels, codes) = (case.value("scores").f32(), case.value("labels").f32(), case.value("codes").u32());
        let mut own = Params::init(adaptation.params(), 1);
        let mut now = scores.clone();
        // Solved again with the effects in the scores, they stay where they are.
        for _ in 0..2 {
            let (fields, domains) = (sizes.len(), vec![DomainIndex(0); scores.len()]);
            let mut answered =
                Answered { scores: &mut now, labels: &labels, domains: &domains, codes: &codes, fields, ..Answered::default() };
            adaptation.solve(&mut own.values, &mut answered, Stage::After);
            own.specs.iter().zip(&own.values).for_each(|(spec, values)| case.check(&spec.path, values.clone()));
            for (row, codes) in codes.chunks_exact(fields).enumerate() {
                let added = own.values[0][0] + codes.iter().enumerate().map(|(f, &code)| own.values[1 + f][code as usize]).sum::<f32>();
                assert!((now[row] - scores[row] - added).abs() < 1e-5, "{}: the score of row {row} is another one", case.name);
            }
        }
    }
}

#[test]
fn nothing_is_solved_before_training() {
    let schema = schema(&[4]);
    let backbone = BackboneConfig::Dnn(DnnConfig::default()).build(&schema).expect("it fits");
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let adaptation = build_method("random_effects", &toml::Table::new(), target).expect("the default config");
    let mut own = Params::init(adaptation.params(), 1);
    let start = own.clone();
    let mut scores = [0.0; 4];
    let mut answered = Answered {
        scores: &mut scores,
        labels: &[1.0; 4],
        domains: &[DomainIndex(0); 4],
        codes: &[0, 1, 2, 3],
        fields: 1,
        ..Answered::default()
    };
    adaptation.solve(&mut own.values, &mut answered, Stage::Before);
    assert_eq!(own, start);
}
