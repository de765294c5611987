//! Methods that are solved from rows with codes, and then asked for the scores of tasks.
#![allow(dead_code, unreachable_pub, reason = "a module of tests")]

use acclimate_adapt::{Answered, Context, Stage, Support, Target, Unlabelled, build_method};
use acclimate_data::{BagColumn, Batch, DomainIndex, FieldSchema, LabelKind, Schema, Side, VocabularyIndex, VocabularySchema};
use acclimate_model::kernel::leaf;
use acclimate_model::{BackboneConfig, Base, BaseSpec, Bound, DnnConfig, Objective, Output, Params, Pass};
use burn::tensor::Tensor;

use crate::golden::{Case, device, to_vec};

/// The features of a file, in its order, each with a vocabulary of its own; the list is last.
pub type Features = [(&'static str, Side); 7];

fn schema(case: &Case, features: &Features) -> Schema {
    let rows: Vec<usize> = case.config["rows"].as_array().expect("a list").iter().map(|n| n.as_u64().expect("a size") as usize).collect();
    let field = |at: usize| FieldSchema { name: features[at].0.into(), vocabulary: VocabularyIndex(at as u32) };
    let clicks = case.text("loss") == "logistic";
    Schema {
        label: if clicks { LabelKind::Click } else { LabelKind::Rating { min: 1.0, max: 5.0 } },
        domains: Vec::new(),
        vocabularies: features.iter().zip(rows).map(|((name, _), rows)| VocabularySchema { name: (*name).into(), rows }).collect(),
        categorical: (0..6).map(field).collect(),
        bags: vec![field(6)],
        numeric: Vec::new(),
        sides: features.iter().filter(|(_, side)| *side != Side::Row).map(|(name, side)| ((*name).into(), *side)).collect(),
    }
}

fn genres(case: &Case, part: &str) -> BagColumn {
    BagColumn { offsets: case.value(&format!("{part}genres_offsets")).u32(), codes: case.value(&format!("{part}genres")).u32() }
}

fn batch(case: &Case, part: &str) -> Batch {
    let value = |name: &str| case.value(&format!("{part}{name}"));
    let [groups, rows] = value("mask").shape[..] else { panic!("a mask has two sizes") };
    Batch {
        groups,
        rows,
        mask: value("mask").f32(),
        label: value("labels").f32(),
        domain: vec![DomainIndex(0); groups * rows],
        fields: 6,
        categorical: value("codes").u32(),
        bags: vec![genres(case, part)],
        ..Batch::default()
    }
}

/// Solves from the rows of a case and compares the scores of its tasks.
pub fn check(case: &Case, features: &Features) {
    let schema = schema(case, features);
    let objective = if case.text("loss") == "logistic" { Objective::Logistic } else { Objective::SquaredError };
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 2, hidden: vec![3], ..DnnConfig::default() });
    let base = Base::init(BaseSpec { backbone, schema: schema.clone(), objective }, 1).expect("it fits");
    let backbone = base.backbone.as_ref();
    let target = Target { backbone, schema: &schema, objective };
    let adaptation = build_method(case.text("method"), &case.text("keys").parse().expect("valid TOML"), target).expect("a valid config");

    let (labels, codes, tasks, bags) =
        (case.value("labels").f32(), case.value("codes").u32(), case.value("tasks").u32(), [genres(case, "")]);
    let (mut scores, domains) = (vec![0.0; labels.len()], vec![DomainIndex(0); labels.len()]);
    let mut own = Params::init(adaptation.params(), 1);
    let mut answered = Answered {
        scores: &mut scores,
        labels: &labels,
        domains: &domains,
        codes: &codes,
        fields: 6,
        bags: &bags,
        tasks: &tasks,
        ..Answered::default()
    };
    adaptation.solve(&mut own.values, &mut answered, Stage::After);

    let (support, query) = (batch(case, "support_"), batch(case, "query_"));
    let rows_of = |batch: &Batch| -> Vec<Tensor<3>> {
        base.backbone.gather(&base.tables, batch).into_iter().map(|g| leaf(g.values, g.shape, &device(), false)).collect()
    };
    let (support_inputs, query_inputs) = (rows_of(&support), rows_of(&query));
    let (bound, own): (Bound, Bound) = (base.params.bind(&device(), |_| false), own.bind(&device(), |_| false));
    let context =
        Context { support: Some(Support { batch: &support, inputs: &support_inputs, backbone }), ..Context::new(Unlabelled::new(&query)) };
    let modulation = adaptation.adapt(&bound, &own, &context).expect("the context is complete");
    let Output::Rows(scores) = backbone.forward(&Pass::new(&bound, &modulation), &query, &query_inputs) else {
        panic!("a tower scores rows")
    };
    let real = to_vec(scores).into_iter().zip(&query.mask).filter(|(_, mask)| **mask != 0.0).map(|(score, _)| score);
    case.check("scores", real.collect());
}
