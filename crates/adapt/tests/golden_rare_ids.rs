//! Rare ids against `reference/rare_ids.py`: what is counted, and what is read; and what a config may not say.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use std::sync::Arc;

use acclimate_adapt::{Answered, Reading, Stage, Target, build_method};
use acclimate_data::{Batch, FieldSchema, LabelKind, Schema, Side, VocabularyIndex, VocabularySchema};
use acclimate_model::{Backbone, BackboneConfig, DnnConfig, Objective, Params};
use golden::{Case, cases};

/// A network of the categorical features of a file.
fn network(sizes: &[(String, usize)], without: &[&str]) -> (Arc<dyn Backbone>, Schema) {
    let schema = Schema {
        label: LabelKind::Click,
        domains: Vec::new(),
        vocabularies: sizes.iter().map(|(name, rows)| VocabularySchema { name: name.clone(), rows: *rows }).collect(),
        categorical: (0..sizes.len()).map(|at| FieldSchema { name: sizes[at].0.clone(), vocabulary: VocabularyIndex(at as u32) }).collect(),
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: [("user_id", Side::User), ("segment", Side::User), ("item_id", Side::Item)]
            .map(|(name, side)| (name.to_owned(), side))
            .into(),
    };
    let without = without.iter().map(|&name| name.to_owned()).collect();
    let config = BackboneConfig::Dnn(DnnConfig { embedding: 2, hidden: vec![3], without, ..DnnConfig::default() });
    (config.build(&schema).expect("it fits"), schema)
}

fn of_case(case: &Case) -> (Arc<dyn Backbone>, Schema) {
    let list = |key: &str| case.config[key].as_array().expect("a list").clone();
    let names = list("fields").into_iter().map(|name| name.as_str().expect("a name").to_owned());
    let sizes = list("sizes").into_iter().map(|size| size.as_u64().expect("a size") as usize);
    network(&names.zip(sizes).collect::<Vec<_>>(), &[])
}

/// What a method reads by, solved from rows.
fn reading(keys: &str, (backbone, schema): &(Arc<dyn Backbone>, Schema), codes: &[u32]) -> (Params, Reading) {
    let target = Target { backbone: backbone.as_ref(), schema, objective: Objective::Logistic };
    let method = build_method("rare_ids", &keys.parse().expect("valid TOML"), target).expect("a valid config");
    let mut own = Params::init(method.params(), 1);
    // Solved again it is the same.
    for _ in 0..2 {
        let mut answered = Answered { codes, fields: schema.categorical.len(), ..Answered::default() };
        method.solve(&mut own.values, &mut answered, Stage::After);
    }
    let reading = method.reading(&own.values).expect("it says how rows are read");
    (own, reading)
}

fn batch(codes: &[u32], fields: usize) -> Batch {
    let rows = codes.len() / fields;
    Batch { groups: 1, rows, mask: vec![1.0; rows], fields, categorical: codes.to_vec(), ..Batch::default() }
}

#[test]
fn what_is_counted_and_read_matches_the_reference() {
    let cases = cases("rare_ids");
    assert!(cases.len() >= 6, "the golden file lost cases");
    for case in &cases {
        let network = of_case(case);
        let (own, reading) = reading(case.text("keys"), &network, &case.value("train").u32());
        own.specs.iter().zip(&own.values).for_each(|(spec, values)| case.check(&spec.path, values.clone()));
        let read = reading.read(&batch(&case.value("query").u32(), 3)).into_owned();
        case.check("read", read.categorical.iter().map(|&code| code as f32).collect());
        assert_eq!(reading.paths.as_ref().map_or(0.0, |paths| f64::from(paths.count)), case.number("paths"));
        if let Some(paths) = &reading.paths {
            let rows = || read.categorical.chunks_exact(3);
            case.check("rarity", rows().map(|codes| reading.rarity(codes) as f32).collect());
            case.check("taken", rows().map(|codes| f32::from(u8::from(reading.takes_paths(codes)))).collect());
            let dropped = |(codes, path)| {
                let fields: Vec<usize> = reading.dropped(codes, path).collect();
                (0..3).map(move |field| f32::from(u8::from(fields.contains(&field))))
            };
            let of_row = |codes| (0..paths.count).map(move |path| (codes, path));
            case.check("dropped", rows().flat_map(of_row).flat_map(dropped).collect());
            case.check("mean", case.value("z").f32().chunks_exact(paths.count as usize).map(|z| paths.mean(z)).collect());
        }
    }
}

/// Before rows are counted nothing is rare; a code that nobody has counted is.
#[test]
fn without_rows_every_code_is_read() {
    let network = of_case(&cases("rare_ids")[0]);
    let query = batch(&[8, 6, 3, 1, 1, 1], 3);
    let (_, nothing) = reading("least = 1", &network, &[]);
    assert_eq!(*nothing.read(&query), query);
    let (_, one) = reading("least = 1", &network, &[1, 1, 1]);
    assert_eq!(one.read(&query).categorical, [0, 0, 3, 1, 1, 1]);
    assert!(one.is_unread(0, 100) && !one.is_unread(2, 100), "codes that came later, and a feature that is not counted");
}

/// By default the id of users and that of items, which are the features with the most values.
#[test]
fn the_ids_are_found_and_wrong_features_are_refused() {
    let sizes = [("segment", 4), ("user_id", 9), ("hour", 24), ("item_id", 7)].map(|(name, rows)| (name.to_owned(), rows));
    let places = |without: &[&str]| {
        let (_, reading) = reading("", &network(&sizes, without), &[]);
        reading.counted.iter().map(|counted| counted.field).collect::<Vec<_>>()
    };
    assert_eq!(places(&[]), [1, 3]);
    assert_eq!(places(&["user_id"]), [3], "a feature of few values is no id");
    let says = |keys: &str, without: &[&str]| {
        let (backbone, schema) = network(&sizes, without);
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
        build_method("rare_ids", &keys.parse().expect("valid TOML"), target).expect_err("a wrong config").to_string()
    };
    for (keys, without, expected) in [
        ("features = ['colour']", &[][..], "names no categorical feature `colour`; there are segment, user_id, hour, item_id"),
        ("features = ['user_id']", &["user_id"], "names `user_id`, which the network does not read"),
        ("features = ['user_id', 'user_id']", &[], "names a feature twice"),
        ("", &["user_id", "item_id"], "it reads no id of users or items; name what is to be counted as `features`"),
        ("least = -1", &[], "least"),
        ("paths = 9", &[], "`paths` must be at most 8"),
        ("threshold = 1.1", &[], "`threshold` must be from 0 to 1"),
        ("drop = -0.1", &[], "`drop` must be from 0 to 1"),
        ("known = 0.0", &[], "`known` must be a number above 0"),
        ("fade = nan", &[], "`fade` must be a number above 0"),
        ("spread = inf", &[], "`spread` must be a number above 0"),
        ("methods = 1", &[], "unknown field"),
        ("features = ['hour']\nleast = 1.5", &[], "invalid type"),
    ] {
        let found = says(keys, without);
        assert!(found.contains(expected) && found.contains("rare_ids"), "{found}");
    }
}
