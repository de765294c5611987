//! Tasks of rows with codes, as `reference/inner.py` draws them, and the `dnn` that reads them.
#![allow(dead_code, unreachable_pub, reason = "a module of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_adapt::{Adaptation, Context, Support, Unlabelled};
use acclimate_data::{BagColumn, Batch, DomainIndex, FieldSchema, LabelKind, Schema, Side, VocabularyIndex, VocabularySchema};
use acclimate_model::{AfterPass, Backbone, BackboneConfig, Bound, DnnConfig, Modulation, Objective, Output, Pass, RowGradients, Table};
use burn::tensor::Tensor;

use crate::golden::{Case, device, to_vec};

/// Width of the embeddings.
const D: usize = 3;

/// A case with everything bound: base and own parameters, tables, gathered rows.
pub struct Coded {
    pub backbone: Arc<dyn Backbone>,
    pub schema: Schema,
    pub objective: Objective,
    pub query: Batch,
    pub support: Batch,
    tables: Vec<Arc<Table>>,
    pub base: Bound,
    pub x_query: Vec<Tensor<3>>,
    pub x_support: Vec<Tensor<3>>,
}

fn schema() -> Schema {
    let field = |name: &str, vocabulary| FieldSchema { name: name.into(), vocabulary: VocabularyIndex(vocabulary) };
    let sides = [("user_id", Side::User), ("clicked", Side::User), ("item_id", Side::Item)];
    Schema {
        label: LabelKind::Click,
        domains: vec!["all".into()],
        vocabularies: [("item", 5), ("user", 4), ("tag", 4)].map(|(name, rows)| VocabularySchema { name: name.into(), rows }).into(),
        categorical: vec![field("user_id", 1), field("item_id", 0)],
        bags: vec![field("clicked", 0), field("tags", 2)],
        numeric: vec!["age".into(), "hour".into()],
        sides: sides.map(|(name, side)| (name.to_owned(), side)).into_iter().collect::<BTreeMap<_, _>>(),
    }
}

fn batch(case: &Case, part: &str, schema: &Schema) -> Batch {
    let mask = case.value(&format!("mask.{part}"));
    let [groups, rows] = [mask.shape[0], mask.shape[1]];
    let bag = |field: &FieldSchema| {
        let (ids, mask) = (case.value(&format!("list.{}.{part}", field.name)), case.value(&format!("mask.{}.{part}", field.name)).u32());
        let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
        for (ids, mask) in ids.u32().chunks_exact(ids.shape[2]).zip(mask.chunks_exact(ids.shape[2])) {
            bag.codes.extend(ids.iter().zip(mask).filter(|&(_, &m)| m == 1).map(|(&id, _)| id));
            bag.offsets.push(bag.codes.len() as u32);
        }
        bag
    };
    Batch {
        groups,
        rows,
        mask: mask.f32(),
        label: case.value(&format!("y.{part}")).f32(),
        domain: vec![DomainIndex(0); groups * rows],
        fields: schema.categorical.len(),
        categorical: case.value(&format!("codes.{part}")).u32(),
        numbers: schema.numeric.len(),
        numeric: case.value(&format!("numbers.{part}")).f32(),
        bags: schema.bags.iter().map(bag).collect(),
        ..Batch::default()
    }
}

impl Coded {
    pub fn new(case: &Case) -> Self {
        let schema = schema();
        let hidden = case.config["hidden"].as_array().expect("a list").iter().map(|w| w.as_u64().expect("a width") as usize).collect();
        let config = DnnConfig { embedding: D, hidden, ..DnnConfig::default() };
        let backbone = BackboneConfig::Dnn(config).build(&schema).expect("a config that fits the schema");
        let architecture = backbone.architecture();
        let base = architecture.params.iter().map(|spec| case.value(&spec.path).constant().reshape(spec.shape).require_grad());
        let table = |name: &str| Arc::new(Table { d: D, values: case.value(&format!("table.{name}")).f32() });
        let tables: Vec<_> = architecture.tables.iter().map(|spec| table(&spec.name)).collect();
        let (query, support) = (batch(case, "query", &schema), batch(case, "support", &schema));
        let leaves = |batch: &Batch| backbone.gather(&tables, batch).into_iter().map(|leaf| leaf.into_tensor(&device(), true)).collect();
        let (x_query, x_support) = (leaves(&query), leaves(&support));
        let objective = if case.text("loss") == "logistic" { Objective::Logistic } else { Objective::SquaredError };
        let base = base.collect::<Vec<_>>().into();
        Self { schema, objective, query, support, base, x_query, x_support, tables, backbone }
    }

    /// Values of the method's own parameters, as leaves.
    pub fn own(case: &Case, adaptation: &dyn Adaptation) -> Bound {
        let leaf = |spec: &acclimate_model::ParamSpec| {
            let tensor = case.value(&spec.path).constant().reshape(spec.shape);
            if spec.moment { tensor } else { tensor.require_grad() }
        };
        adaptation.params().iter().map(leaf).collect::<Vec<_>>().into()
    }

    pub fn modulation<'a>(&self, adaptation: &'a dyn Adaptation, own: &Bound) -> Modulation<'a> {
        let support = Support { batch: &self.support, inputs: &self.x_support, backbone: self.backbone.as_ref() };
        let context = Context { inputs: &self.x_query, support: Some(support), ..Context::new(Unlabelled::new(&self.query)) };
        adaptation.adapt(&self.base, own, &context).expect("the context is complete")
    }

    /// The training loss, and what training moves.
    pub fn loss(&self, modulation: &Modulation<'_>) -> (Tensor<1>, Vec<acclimate_model::Moved>) {
        let output = self.backbone.forward(&Pass::new(&self.base, modulation), &self.query, &self.x_query);
        assert!(matches!(output, Output::Rows(_)));
        let mut loss = self.objective.loss(&output, &self.query);
        if let Some(penalty) = modulation.penalty() {
            loss = loss + penalty;
        }
        let mut moved = Vec::new();
        for added in modulation.added(&AfterPass { output: &output, batch: &self.query, objective: self.objective, teacher: None }) {
            loss = loss + added.summands.sum();
            moved.extend(added.moved);
        }
        (loss, moved)
    }

    /// Gradients of every dense parameter, of own ones and of whole tables.
    pub fn check_gradients(&self, case: &Case, loss: &Tensor<1>, adaptation: &dyn Adaptation, own: &Bound) {
        let gradients = loss.backward();
        let architecture = self.backbone.architecture();
        let dense = architecture.params.iter().zip(self.base.tensors()).chain(adaptation.params().iter().zip(own.tensors()));
        for (spec, tensor) in dense.filter(|(spec, _)| !spec.moment) {
            case.check_gradient(&spec.path, tensor.grad(&gradients).map(to_vec));
        }
        let mut sink: Vec<_> = self.tables.iter().map(|table| Some(RowGradients::new(table.rows(), table.d))).collect();
        for (leaves, batch) in [(&self.x_query, &self.query), (&self.x_support, &self.support)] {
            let of_leaf = |leaf: &Tensor<3>| leaf.grad(&gradients).map_or_else(|| vec![0.0; leaf.shape().num_elements()], to_vec);
            self.backbone.scatter(batch, &leaves.iter().map(of_leaf).collect::<Vec<_>>(), &mut sink);
        }
        for ((spec, table), rows) in architecture.tables.iter().zip(&self.tables).zip(&sink) {
            let mut gradient = vec![0.0; table.values.len()];
            for (row, g) in rows.as_ref().expect("a sink was given").iter() {
                gradient[row as usize * table.d..][..table.d].copy_from_slice(g);
            }
            case.check_gradient(&format!("table.{}", spec.name), Some(gradient));
        }
    }
}
