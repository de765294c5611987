//! Declared input slots are what is gathered: they cover the row once, in order, and each holds the rows of its table.

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{BagColumn, Batch, DomainIndex, FieldSchema, LabelKind, Schema, Side, VocabularyIndex, VocabularySchema};
use acclimate_model::{
    BackboneConfig, Base, BaseSpec, DnnConfig, Interaction, MmoeConfig, NextItNetConfig, Objective, Pooling, RowGradients,
};

fn schema() -> Schema {
    let vocabulary = |name: &str, rows| VocabularySchema { name: name.into(), rows };
    let field = |name: &str, i| FieldSchema { name: name.into(), vocabulary: VocabularyIndex(i) };
    let side = |name: &str, side| (name.to_owned(), side);
    Schema {
        label: LabelKind::Click,
        domains: vec!["a".into(), "b".into()],
        vocabularies: vec![vocabulary("item", 7), vocabulary("user", 5), vocabulary("tag", 4)],
        categorical: vec![field("before", 0), field("item", 0), field("user", 1)],
        bags: vec![field("clicked", 0), field("tags", 2)],
        numeric: vec!["age".into(), "hour".into()],
        sides: BTreeMap::from([
            side("item", Side::Item),
            side("user", Side::User),
            side("clicked", Side::User),
            side("tags", Side::Item),
            side("age", Side::User),
        ]),
    }
}

fn batch() -> Batch {
    let bag = |lists: &[&[u32]]| {
        let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
        for list in lists {
            bag.codes.extend_from_slice(list);
            bag.offsets.push(bag.codes.len() as u32);
        }
        bag
    };
    Batch {
        groups: 2,
        rows: 2,
        mask: vec![1.0, 1.0, 1.0, 0.0],
        label: vec![0.0, 1.0, 1.0, 0.0],
        row: vec![0, 1, 2, u32::MAX],
        domain: [0, 0, 1, 0].map(DomainIndex).to_vec(),
        fields: 3,
        categorical: vec![1, 3, 4, 0, 6, 2, 2, 5, 1, 0, 0, 0],
        numbers: 2,
        numeric: vec![0.5, 9.0, -1.5, 10.0, 2.5, 11.0, 0.0, 0.0],
        unknown: vec![0.0; 2],
        bags: vec![bag(&[&[1, 2, 2], &[], &[6], &[]]), bag(&[&[3], &[1, 2], &[], &[]])],
        ..Batch::default()
    }
}

/// Networks that score rows, each with another set of features or another way to pool them.
fn of_rows() -> Vec<BackboneConfig> {
    let dnn = DnnConfig { embedding: 3, embedding_std: 1.0, hidden: vec![4], ..DnnConfig::default() };
    vec![
        BackboneConfig::Dnn(dnn.clone()),
        BackboneConfig::Dnn(DnnConfig { without: vec!["item".into(), "tags".into(), "age".into()], ..dnn.clone() }),
        BackboneConfig::Dnn(DnnConfig { interaction: Interaction::Fm, attention: vec!["clicked".into()], ..dnn }),
        BackboneConfig::Mmoe(MmoeConfig {
            embedding: 3,
            embedding_std: 1.0,
            expert: vec![4],
            without: vec!["before".into()],
            ..MmoeConfig::default()
        }),
    ]
}

fn base(backbone: BackboneConfig, objective: Objective) -> Base {
    Base::init(BaseSpec { backbone, schema: schema(), objective }, 3).expect("a valid config")
}

#[test]
fn slots_cover_the_row_once_and_in_order() {
    let nextitnet = BackboneConfig::NextItNet(NextItNetConfig { width: 6, ..NextItNetConfig::default() });
    let networks = of_rows().into_iter().map(|config| base(config, Objective::Logistic)).chain([base(nextitnet, Objective::Softmax)]);
    for base in networks {
        let slots = &base.backbone.architecture().slots;
        let width = base.backbone.gather(&base.tables, &batch())[0].shape[2];
        let ends: Vec<usize> = slots.iter().map(|slot| slot.columns.end).collect();
        let begins: Vec<usize> = slots.iter().map(|slot| slot.columns.start).collect();
        assert_eq!(begins[0], 0);
        assert_eq!(begins[1..], ends[..ends.len() - 1]);
        assert_eq!(ends.last(), Some(&width));
    }
}

#[test]
fn a_slot_holds_what_it_says() {
    let (schema, batch) = (schema(), batch());
    for config in of_rows() {
        let base = base(config.clone(), Objective::Logistic);
        let gathered = base.backbone.gather(&base.tables, &batch);
        let width = gathered[0].shape[2];
        for slot in &base.backbone.architecture().slots {
            assert!(!config.without().contains(&slot.feature));
            assert_eq!(slot.side, schema.side(&slot.feature), "{}", slot.feature);
            for i in (0..batch.len()).filter(|&i| batch.mask[i] != 0.0) {
                let found = &gathered[0].values[i * width..][slot.columns.clone()];
                let rows = |codes: &[u32]| -> Vec<f32> {
                    let table: &Arc<_> = &base.tables[slot.table.expect("an embedded feature has a table")];
                    let sum = |column| codes.iter().map(|&code| table.row(code)[column]).sum::<f32>() / codes.len().max(1) as f32;
                    (0..table.d).map(sum).collect()
                };
                let at = |fields: &[FieldSchema]| fields.iter().position(|f| f.name == slot.feature).expect("a feature of the schema");
                let expected = match slot.pooling {
                    Pooling::One => rows(&[batch.categorical[i * batch.fields + at(&schema.categorical)]]),
                    Pooling::Mean | Pooling::Attention => {
                        let bag = &batch.bags[at(&schema.bags)];
                        rows(&bag.codes[bag.offsets[i] as usize..bag.offsets[i + 1] as usize])
                    }
                    Pooling::Number => {
                        let number = schema.numeric.iter().position(|n| *n == slot.feature).expect("a number of the schema");
                        vec![batch.numeric[i * batch.numbers + number]]
                    }
                };
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{}: {found:?} {expected:?}", slot.feature);
            }
        }
    }
}

/// A table's rows move the leaves that it is said to be read for, and no others.
#[test]
fn a_leaf_reads_the_tables_that_it_names() {
    let batch = batch();
    for config in of_rows() {
        let base = base(config, Objective::Logistic);
        let before = base.backbone.gather(&base.tables, &batch);
        for table in 0..base.tables.len() {
            let mut tables = base.tables.clone();
            Arc::make_mut(&mut tables[table]).values.iter_mut().for_each(|x| *x += 1.0);
            for (leaf, (a, b)) in before.iter().zip(&base.backbone.gather(&tables, &batch)).enumerate() {
                assert_eq!(a.values != b.values, base.backbone.reads(leaf, table), "leaf {leaf}, table {table}");
            }
        }
    }
}

/// Gathering is linear in the tables; scattering is its transpose.
#[test]
fn scatter_is_the_transpose_of_gather() {
    let batch = batch();
    for config in of_rows() {
        let base = base(config, Objective::Logistic);
        let mut at = 0.0f32;
        let mut cotangent = |n: usize| (0..n).map(|_| (at += 0.7, at.sin()).1).collect::<Vec<f32>>();
        let leaves = base.backbone.gather(&base.tables, &batch);
        let cotangents: Vec<Vec<f32>> = leaves.iter().map(|leaf| cotangent(leaf.values.len())).collect();
        // Padding has code 0 everywhere, and sends nothing back.
        let real = |leaf: &acclimate_model::Gathered, k: usize| batch.mask[k / (leaf.values.len() / batch.len())] != 0.0;
        let product = |leaves: &[acclimate_model::Gathered]| -> f64 {
            let of_leaf = |(leaf, c): (&acclimate_model::Gathered, &Vec<f32>)| {
                let values = leaf.values.iter().zip(c).enumerate().filter(|(k, _)| real(leaf, *k));
                values.map(|(_, (x, c))| f64::from(*x) * f64::from(*c)).sum::<f64>()
            };
            leaves.iter().zip(&cotangents).map(of_leaf).sum()
        };
        let mut sink: Vec<_> = base.tables.iter().map(|t| Some(RowGradients::new(t.rows(), t.d))).collect();
        base.backbone.scatter(&batch, &cotangents, &mut sink);
        for (table, rows) in sink.iter().enumerate() {
            let mut tables = base.tables.clone();
            let mut expected = 0.0;
            for (row, gradient) in rows.as_ref().expect("a sink was given").iter() {
                let d = gradient.len();
                let values = &mut Arc::make_mut(&mut tables[table]).values[row as usize * d..][..d];
                values.iter_mut().enumerate().for_each(|(k, x)| *x += (k + 1) as f32);
                expected += gradient.iter().enumerate().map(|(k, g)| f64::from(*g) * (k + 1) as f64).sum::<f64>();
            }
            let found = product(&base.backbone.gather(&tables, &batch)) - product(&leaves);
            assert!((found - expected).abs() < 1e-4 * (1.0 + expected.abs()), "table {table}: {found} {expected}");
        }
    }
}

/// Bases of before name no sides: theirs is the hash that they had.
#[test]
fn sides_have_no_say_in_the_hash_of_a_schema() {
    let old = Schema { sides: BTreeMap::new(), ..schema() };
    let text = serde_json::to_string(&old).expect("plain data");
    assert!(!text.contains("sides"), "{text}");
    assert_eq!(serde_json::from_str::<Schema>(&text).expect("a schema of before"), old);
    let hash = |schema: Schema| {
        let backbone = BackboneConfig::Dnn(DnnConfig::default());
        BaseSpec { backbone, schema, objective: Objective::Logistic }.schema_hash()
    };
    assert_eq!(hash(old), hash(schema()));
}

#[test]
fn keys_at_their_default_are_not_written() {
    let text = serde_json::to_string(&DnnConfig::default()).expect("plain data");
    for key in ["input_norm", "interaction", "cross", "attention"] {
        assert!(!text.contains(key), "a base of before would get another hash: {text}");
    }
}

#[test]
fn a_list_without_a_target_is_an_error_that_says_so() {
    let attention = |list: &str, on: &[(&str, &str)]| {
        let attention_on = on.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let config = DnnConfig { attention: vec![list.into()], attention_on, ..DnnConfig::default() };
        BackboneConfig::Dnn(config).build(&schema()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(attention("clicked", &[]), "");
    assert_eq!(attention("clicked", &[("clicked", "before")]), "");
    assert!(attention("tags", &[]).contains("same vocabulary"));
    assert!(attention("clicked", &[("clicked", "user")]).contains("before, item"));
    assert!(attention("user", &[]).contains("clicked, tags"));
    assert!(attention("clicked", &[("tags", "item")]).contains("`tags`"));
}
