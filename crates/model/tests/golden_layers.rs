//! Layers against `reference/layers.py`: values, and gradients of `sum(y * cotangent)`.

mod golden;

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{BagColumn, Batch, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::kernel::{Seen, Taps, convolution, layer_norm, linear};
use acclimate_model::{
    Activation, Architecture, Backbone, Bound, Dnn, DnnConfig, Estimate, Init, Params, Pass, RowGradients, Sight, Table,
};
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, gelu_approximate, sigmoid, softplus, tanh};
use golden::{Case, cases, to_vec};

fn check(case: &Case, leaves: Vec<(&str, Tensor<3>)>, y: &Tensor<3>) {
    case.check("y", to_vec(y.clone()));
    case.check_gradients(&(y.clone() * case.value("cotangent").constant()).sum(), leaves);
}

#[test]
fn layers_match_the_reference() {
    let cases = cases("layers");
    assert!(cases.len() >= 25, "the golden file lost cases");
    for case in &cases {
        match case.name.as_str() {
            name if name.starts_with("linear") => affine(case),
            name if name.starts_with("layer_norm") => norm(case),
            name if name.starts_with("batch_norm") => batch_norm(case),
            name if name.contains("_conv_") => dilated(case),
            name if name.starts_with("nextitnet_block") => block(case),
            name if name.starts_with("activation_") => activation(case, &name["activation_".len()..]),
            "mean_pooling" => mean_pooling(case),
            "attention_causal" => attention(case),
            name => panic!("no test for `{name}`"),
        }
    }
}

fn affine(case: &Case) {
    let [x, weight, bias] = ["x", "weight", "bias"].map(|n| case.leaf(n));
    let y = linear(x.clone(), weight.clone(), Some(bias.clone()), Activation::Identity);
    check(case, vec![("x", x), ("weight", weight), ("bias", bias)], &y);
}

fn norm(case: &Case) {
    let [x, gain, shift] = ["x", "gain", "shift"].map(|n| case.leaf(n));
    let y = layer_norm(x.clone(), gain.clone(), shift.clone(), case.number("eps"), Activation::Identity);
    check(case, vec![("x", x), ("gain", gain), ("shift", shift)], &y);
}

/// With the stored moments, or in training (cases with a mask) with those of the real rows, which then move the stored ones.
fn batch_norm(case: &Case) {
    let mut architecture = Architecture::default();
    let d = case.value("gain").shape[0];
    let norm = architecture.batch_norm("norm", d, case.number("eps"));
    let names = ["gain", "shift", "mean", "variance"];
    let values = names.map(|name| case.value(name).f32()).to_vec();
    let mut params = Params { specs: architecture.params, values };
    let [x, gain, shift, mean, variance] = ["x", "gain", "shift", "mean", "variance"].map(|n| case.leaf(n));
    let bound = Bound::from(vec![gain.clone(), shift.clone(), mean.clone(), variance.clone()]);
    let Some(mask) = case.inputs.get("mask") else {
        let y = norm.forward(&Pass::plain(&bound), x.clone(), Activation::Identity);
        return check(case, vec![("x", x), ("gain", gain), ("shift", shift), ("mean", mean), ("variance", variance)], &y);
    };
    let batch = Batch { groups: 2, rows: 4, mask: mask.f32(), ..Batch::default() };
    let estimate = Estimate::new(&batch, vec![norm.mean, norm.variance], &golden::device());
    let y = norm.forward(&Pass::plain(&bound).estimating(&estimate), x.clone(), Activation::Identity);
    estimate.update(&mut params, &mut Params::default());
    check(case, vec![("x", x), ("gain", gain), ("shift", shift)], &y);
    case.check("mean", params.values[norm.mean.0].clone());
    case.check("variance", params.values[norm.variance.0].clone());
}

/// `[k, c_in, c_out]` to `[1, k * c_in, c_out]`, which is the same buffer.
fn taps(weight: Tensor<3>) -> Tensor<3> {
    let [k, c_in, c_out] = weight.dims();
    weight.reshape([1, k * c_in, c_out])
}

/// Of a case with three taps.
fn taps_of(case: &Case, dilation: usize) -> Taps {
    match case.config.get("causal").is_none_or(|causal| causal.as_bool().expect("true or false")) {
        true => Taps::causal(3, dilation),
        false => Taps::centred(3, dilation),
    }
}

fn dilated(case: &Case) {
    let [x, weight, bias] = ["x", "weight", "bias"].map(|n| case.leaf(n));
    let y = convolution(x.clone(), taps(weight.clone()), bias.clone(), taps_of(case, case.number("dilation") as usize));
    check(case, vec![("x", x), ("weight", weight), ("bias", bias)], &y);
}

fn block(case: &Case) {
    let (x, eps) = (case.leaf("x"), case.number("eps"));
    let mut leaves = vec![("x", x.clone())];
    let mut z = x.clone();
    for (half, names) in
        [["conv1.weight", "conv1.bias", "norm1.gain", "norm1.shift"], ["conv2.weight", "conv2.bias", "norm2.gain", "norm2.shift"]]
            .into_iter()
            .enumerate()
    {
        let [weight, bias, gain, shift] = names.map(|n| case.leaf(n));
        let dilation = case.config["dilations"][half].as_u64().expect("two dilations") as usize;
        z = convolution(z, taps(weight.clone()), bias.clone(), taps_of(case, dilation));
        z = layer_norm(z, gain.clone(), shift.clone(), eps, Activation::Relu);
        leaves.extend(names.into_iter().zip([weight, bias, gain, shift]));
    }
    check(case, leaves, &(x + z));
}

fn attention(case: &Case) {
    let (x, mask) = (case.leaf("x"), case.value("mask").u32());
    let mut architecture = Architecture::default();
    let layer = architecture.attention("", x.dims()[2], case.number("heads") as usize, Init::Constant(0.0));
    let names: Vec<_> = architecture.params.iter().map(|spec| spec.path.trim_start_matches('.')).collect();
    let leaves: Vec<_> = names.iter().map(|name| case.leaf(name)).collect();
    let mask: Vec<f32> = mask.iter().map(|&m| m as f32).collect();
    let seen = Seen { sight: Sight::Earlier, mask: Some(&mask) };
    let y = layer.forward(&Pass::plain(&Bound::from(leaves.clone())), x.clone(), seen);
    check(case, names.into_iter().zip(leaves).chain([("x", x)]).collect(), &y);
}

fn activation(case: &Case, name: &str) {
    let x = case.leaf("x");
    let y = match name {
        "relu" => Activation::Relu.apply(x.clone()),
        "gelu" => gelu(x.clone()),
        "gelu_tanh" => gelu_approximate(x.clone()),
        "sigmoid" => sigmoid(x.clone()),
        "tanh" => tanh(x.clone()),
        "softplus" => softplus(x.clone(), 1.0),
        other => panic!("no test for activation `{other}`"),
    };
    check(case, vec![("x", x)], &y);
}

/// The `dnn` backbone pools bags outside autodiff: `gather` is the forward pass, `scatter` the backward pass.
fn mean_pooling(case: &Case) {
    let [rows, d] = [case.value("table").shape[0], case.value("table").shape[1]];
    let schema = Schema {
        label: LabelKind::Click,
        domains: vec!["all".into()],
        vocabularies: vec![VocabularySchema { name: "tags".into(), rows }],
        categorical: Vec::new(),
        bags: vec![FieldSchema { name: "tags".into(), vocabulary: VocabularyIndex(0) }],
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    };
    let dnn = Dnn::new(&DnnConfig { embedding: d, hidden: Vec::new(), ..DnnConfig::default() }, &schema).expect("a bag is a feature");
    let (ids, mask) = (case.value("ids"), case.value("mask").u32());
    let [n, width] = [ids.shape[0], ids.shape[1]];
    let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
    for (ids, mask) in ids.u32().chunks_exact(width).zip(mask.chunks_exact(width)) {
        bag.codes.extend(ids.iter().zip(mask).filter(|&(_, &m)| m == 1).map(|(&id, _)| id));
        bag.offsets.push(bag.codes.len() as u32);
    }
    let batch = Batch { groups: 1, rows: n, mask: vec![1.0; n], bags: vec![bag], ..Batch::default() };
    let table = Table { d, values: case.value("table").f32() };
    case.check("y", dnn.gather(&[Arc::new(table)], &batch)[0].values.clone());

    let mut sink = [Some(RowGradients::new(rows, d))];
    dnn.scatter(&batch, &[case.value("cotangent").f32()], &mut sink);
    let mut gradient = vec![0.0; rows * d];
    for (row, g) in sink[0].as_ref().expect("a sink was given").iter() {
        gradient[row as usize * d..][..d].copy_from_slice(g);
    }
    case.check_gradient("table", Some(gradient));
}
