//! Methods that change norms or normalise: nothing of a later position reaches an earlier one, what is served of a condition is small, and a wrong config is an error that says what to do.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_adapt::{AdaptError, Adaptation, Context, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{
    Backbone, BackboneConfig, DnnConfig, Modulation, NextItNetConfig, Norm, Objective, Output, Params, Pass, SasRecConfig,
};
use burn::tensor::{Tensor, TensorData};
use golden::{device, to_vec};
use tower::Network;

const ITEMS: u32 = 5;
const WIDTH: usize = 4;

fn sequence_schema() -> Schema {
    Schema {
        label: LabelKind::Implicit,
        domains: vec!["d0".into(), "d1".into()],
        vocabularies: vec![VocabularySchema { name: "item".into(), rows: 1 + ITEMS as usize }],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}

fn sequence_networks() -> Vec<Arc<dyn Backbone>> {
    let sasrec = SasRecConfig { width: WIDTH, blocks: 2, length: 6, ..SasRecConfig::default() };
    let nextitnet = NextItNetConfig { width: WIDTH, dilations: vec![1], std: 0.5, ..NextItNetConfig::default() };
    let configs = [BackboneConfig::SasRec(sasrec), BackboneConfig::NextItNet(nextitnet)];
    configs.map(|config| config.build(&sequence_schema()).expect("a legal config")).into()
}

fn build(method: &str, keys: &str, backbone: &dyn Backbone, schema: &Schema) -> Result<Box<dyn Adaptation>, AdaptError> {
    let target = Target { backbone, schema, objective: if backbone.scores_rows() { Objective::Logistic } else { Objective::Softmax } };
    build_method(method, &keys.parse().expect("valid TOML"), target)
}

/// Values off the start, where nothing is 0.
fn moved(params: Params) -> Params {
    let mut params = params;
    params.values.iter_mut().flatten().zip(1..).for_each(|(value, i)| *value += 0.4 * (f64::from(i) * 0.7).sin() as f32);
    params
}

const CASES: &[(&str, &str)] = &[
    ("conditional_layer_norm", "condition = 'item'\nlevels = ['condition', 'session']"),
    ("conditional_layer_norm", "levels = ['session']\nwindow = 2"),
    ("dynamic_instance_norm", "condition = 'item'"),
    ("dynamic_instance_norm", "kernel = 1"),
];

const LENGTH: usize = 6;
/// Padding in front of the second of two sequences.
const PADDING: usize = 2;

/// Scores of all items at each real position, in their order.
fn scores(adaptation: &dyn Adaptation, backbone: &dyn Backbone, codes: &[u32]) -> Vec<Vec<f32>> {
    let mask: Vec<f32> = (0..2 * LENGTH).map(|i| f32::from(u8::from(!(LENGTH..LENGTH + PADDING).contains(&i)))).collect();
    let codes: Vec<u32> = codes.iter().zip(&mask).map(|(&code, &m)| if m == 0.0 { 0 } else { code }).collect();
    // What stands for an item is its row.
    let rows = codes.iter().zip(&mask).flat_map(|(&code, &m)| (0..WIDTH).map(move |i| m * (f64::from(code) * 1.3 + i as f64).sin() as f32));
    let head = (0..ITEMS as usize * (WIDTH + 1)).map(|i| (i as f64 * 0.9).cos() as f32).collect::<Vec<_>>();
    let inputs = [
        Tensor::<3>::from_data(TensorData::new(rows.collect::<Vec<_>>(), [2, LENGTH, WIDTH]), &device()),
        Tensor::<3>::from_data(TensorData::new(head, [1, ITEMS as usize, WIDTH + 1]), &device()),
    ];
    let batch = Batch {
        groups: 2,
        rows: LENGTH,
        domain: vec![DomainIndex(0); 2 * LENGTH],
        fields: 1,
        categorical: codes,
        target: mask.iter().map(|&m| m as u32).collect(),
        mask,
        ..Batch::default()
    };
    let base = moved(Params::init(&backbone.architecture().params, 3)).bind(&device(), |_| false);
    let own = moved(Params::init(adaptation.params(), 3)).bind(&device(), |_| false);
    let context = Context { inputs: &inputs, ..Context::new(Unlabelled::new(&batch)) };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    assert!(modulation.misplaced(&backbone.architecture().sites).is_none());
    let plain = Modulation::none();
    let of = |modulation: &Modulation<'_>| {
        let Output::Comparison(found) = backbone.forward(&Pass::new(&base, modulation), &batch, &inputs) else {
            panic!("items are compared")
        };
        to_vec(found.scores()).chunks(ITEMS as usize).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    assert_ne!(of(&modulation), of(&plain), "nothing is changed");
    of(&modulation)
}

#[test]
fn a_later_position_reaches_no_earlier_one() {
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for backbone in sequence_networks() {
        for (method, keys) in CASES {
            let adaptation = build(method, keys, backbone.as_ref(), &sequence_schema()).expect("a config the network can take");
            let codes: Vec<u32> = (0..2 * LENGTH as u32).map(|i| 1 + i * 3 % ITEMS).collect();
            let before = scores(adaptation.as_ref(), backbone.as_ref(), &codes);
            for changed in (0..LENGTH).chain(LENGTH + PADDING..2 * LENGTH) {
                let mut other = codes.clone();
                other[changed] = 1 + other[changed] % ITEMS;
                let after = scores(adaptation.as_ref(), backbone.as_ref(), &other);
                let at = if changed < LENGTH { changed } else { changed - PADDING };
                for (position, (a, b)) in before.iter().zip(&after).enumerate() {
                    let (name, of_other) = (backbone.name(), (position < LENGTH) != (changed < LENGTH));
                    if position < at || of_other {
                        assert!(apart(a, b) <= 1e-6, "{method} ({keys}) on {name}: {changed} reaches {position}, {}", apart(a, b));
                    } else if position == at {
                        assert!(apart(a, b) > 1e-4, "{method} ({keys}) on {name}: {changed} changes nothing at {position}");
                    }
                }
            }
        }
    }
}

/// Of one condition there are a gain and a shift of each norm, and nothing else.
#[test]
fn of_a_condition_two_vectors_a_norm_are_served() {
    let network = tower::dnn(&[4, 5, 3], true, 2);
    let sequence = sequence_schema();
    // Two norms in each of two blocks, and one behind them; two in a block of convolutions.
    let of_sequences = sequence_networks();
    let of_sequences = of_sequences.iter().zip([5 * WIDTH, 2 * WIDTH]).map(|(network, sum)| (network.as_ref(), &sequence, sum));
    let of_rows: (&dyn Backbone, &Schema, usize) = (network.backbone.as_ref(), &network.schema, 5 + 3);
    let all = std::iter::once(of_rows).chain(of_sequences);
    for (backbone, schema, sum) in all {
        let adaptation = build("conditional_layer_norm", "", backbone, schema).expect("a config the network can take");
        let bind = |specs: &[acclimate_model::ParamSpec]| Params::init(specs, 1).bind(&device(), |_| false);
        let (base, own) = (bind(&backbone.architecture().params), bind(adaptation.params()));
        let served = |domains: [u32; 4]| {
            let batch = Batch { groups: 2, rows: 2, mask: vec![1.0; 4], domain: domains.map(DomainIndex).into(), ..Batch::default() };
            let modulation = adaptation.adapt(&base, &own, &Context::new(Unlabelled::new(&batch))).expect("the context is complete");
            (size_of::<f32>() * modulation.values(), modulation.is_foldable(&backbone.architecture().sites))
        };
        let bytes = size_of::<f32>() * 2 * sum;
        assert_eq!(served([1, 1, 1, 1]), (bytes, true), "{}", backbone.name());
        assert_eq!(served([0, 0, 1, 1]), (2 * bytes, false), "{}", backbone.name());
        assert!(adaptation.scope().params.is_empty() && adaptation.scope().tables.is_empty(), "something of the base is trained");
    }
}

#[test]
fn a_wrong_config_says_what_to_do() {
    let says = |method: &str, keys: &str, backbone: &dyn Backbone, schema: &Schema| {
        build(method, keys, backbone, schema).map(|_| ()).expect_err("a refusal").to_string()
    };
    let with = tower::dnn(&[4, 3], true, 2);
    let bare = tower::dnn(&[4, 3], false, 2);
    let batch_norm = DnnConfig { hidden: vec![3], norm: Norm::Batch, ..DnnConfig::default() };
    let batch_norm = Network {
        backbone: BackboneConfig::Dnn(batch_norm).build(&bare.schema).expect("numbers are features"),
        schema: bare.schema.clone(),
    };
    for Network { backbone, schema } in [&bare, &batch_norm] {
        let found = says("conditional_layer_norm", "", backbone.as_ref(), schema);
        assert!(found.contains("no layer norm") && found.contains("norm = \"layer\""), "{found}");
    }
    let (sequence, networks) = (sequence_schema(), sequence_networks());
    for (method, keys, expected) in [
        ("conditional_layer_norm", "levels = ['session']", "`levels` adds to the positions of a sequence, and this is a network of rows"),
        ("conditional_layer_norm", "sites = ['head']", "`sites` matches no layer norm"),
        ("conditional_layer_norm", "embedding = 0", "`embedding` must be at least 1"),
        ("conditional_layer_norm", "levels = ['position']", "unknown variant `position`"),
        ("dynamic_instance_norm", "kernel = 3", "`kernel` must be 1 on a network of rows"),
        ("dynamic_instance_norm", "kernel = 0", "`kernel` must be at least 1"),
        ("dynamic_instance_norm", "hidden = 0", "`hidden` must be at least 1"),
        ("dynamic_instance_norm", "sites = ['head']", "`sites` matches no linear layer"),
    ] {
        let found = says(method, keys, with.backbone.as_ref(), &with.schema);
        assert!(found.contains(expected) && found.contains(method), "{found}");
    }
    for (method, keys, expected) in [
        ("conditional_layer_norm", "levels = ['session', 'session']", "`levels` names one level twice"),
        ("conditional_layer_norm", "window = 0", "`window` must be at least 1"),
        ("conditional_layer_norm", "window = 3", "`window` counts the positions of a session"),
        ("conditional_layer_norm", "hidden = 0", "`hidden` must be at least 1"),
        ("dynamic_instance_norm", "sites = ['x']", "`sites` matches no end of a block"),
    ] {
        let found = says(method, keys, networks[0].as_ref(), &sequence);
        assert!(found.contains(expected) && found.contains(method), "{found}");
    }
}
