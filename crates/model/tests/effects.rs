//! Laws of effects: what a pass does with one is its formula, and what is folded into the weights does the same.

use acclimate_model::kernel::{Seen, Taps, to_vec};
use acclimate_model::layer::{Activation, Conv, LayerNorm, Linear};
use acclimate_model::{
    Architecture, Bound, Branch, BranchActivation, Effect, Init, Modulation, NormChange, Params, Pass, Prefix, Read, Role, Scale, Sight,
    SiteId, SiteKind, Weights,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

const D_IN: usize = 3;
const D_OUT: usize = 4;

struct Net {
    architecture: Architecture,
    linear: Linear,
    norm: LayerNorm,
    conv: Conv,
    bound: Bound,
}

fn net() -> Net {
    let mut architecture = Architecture::default();
    let init = Init::Normal(1.0);
    let linear = architecture.linear("linear", [D_IN, D_OUT], init, init, Role::Body);
    let norm = architecture.layer_norm("norm", D_OUT, 1e-5);
    let conv = architecture.conv("conv", [2, D_IN, D_OUT], Taps::causal(2, 2), init);
    let bound = Params::init(&architecture.params, 5).bind(&Device::flex(), |_| false);
    Net { architecture, linear, norm, conv, bound }
}

/// Numbers that follow from a seed, none of them 0.
fn tensor(seed: u64, shape: [usize; 3]) -> Tensor<3> {
    let n = shape.iter().product::<usize>() as u64;
    let value = |i: u64| 0.1 + ((seed * 7919 + i * 104_729) % 97) as f32 / 60.0 - if (seed + i).is_multiple_of(3) { 1.3 } else { 0.0 };
    Tensor::from_data(TensorData::new((0..n).map(value).collect::<Vec<_>>(), shape), &Device::flex())
}

fn x() -> Tensor<3> {
    tensor(1, [2, 5, D_IN])
}

impl Net {
    fn forward(&self, modulation: &Modulation<'_>) -> Vec<f32> {
        to_vec(self.linear.forward(&Pass::new(&self.bound, modulation), x(), Activation::Relu))
    }

    fn own(&self) -> Weights {
        Weights { weight: self.bound.get(self.linear.weight), bias: Some(self.bound.get(self.linear.bias)), low_rank: None }
    }

    /// `max(f(x), 0)` with the layer's `W` and `b`.
    fn expected(&self, f: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>) -> Vec<f32> {
        let Weights { weight, bias, .. } = self.own();
        to_vec(f(x(), weight.repeat_dim(0, 2), bias.expect("a bias"))).into_iter().map(|y| y.max(0.0)).collect()
    }
}

fn same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}: {a} {b}");
    }
}

fn branch(read: Read, activation: BranchActivation) -> Branch {
    let d = if read == Read::Input { D_IN } else { D_OUT };
    Branch {
        read,
        skip: false,
        activation,
        w1: tensor(3, [1, d, 2]),
        b1: tensor(4, [1, 1, 2]),
        w2: tensor(5, [1, 2, D_OUT]),
        b2: tensor(6, [1, 1, D_OUT]),
    }
}

#[test]
fn each_effect_is_its_formula() {
    let net = net();
    let at = |effect: Effect<'static>| net.forward(&Modulation::none().with(net.linear.site, effect));
    for groups in [1, 2] {
        let v = tensor(7, [groups, D_IN, D_OUT]);
        let c = tensor(8, [groups, 1, D_OUT]);
        let (a, b) = (tensor(9, [groups, D_IN, 2]), tensor(10, [groups, 2, D_OUT]));
        let wide = |t: &Tensor<3>| if groups == 1 { t.clone().repeat_dim(0, 2) } else { t.clone() };
        same(
            &at(Effect::Replace { weight: v.clone(), bias: Some(c.clone()) }),
            &net.expected(|x, _, _| x.matmul(wide(&v)) + c.clone()),
            "replace",
        );
        same(&at(Effect::Replace { weight: v.clone(), bias: None }), &net.expected(|x, _, bias| x.matmul(wide(&v)) + bias), "replace");
        same(
            &at(Effect::Multiply { weight: v.clone(), bias: Some(c.clone()) }),
            &net.expected(|x, w, bias| x.matmul(w * v.clone()) + bias + c.clone()),
            "multiply",
        );
        same(
            &at(Effect::LowRank { a: a.clone(), b: b.clone(), bias: Some(c.clone()) }),
            &net.expected(|x, w, bias| x.matmul(w + wide(&a).matmul(wide(&b))) + bias + c.clone()),
            "low rank",
        );
    }
    let (g, s) = (tensor(11, [2, 5, D_IN]), tensor(12, [2, 1, D_IN]));
    let input = Scale { gain: Some(g.clone()), shift: Some(s.clone()) };
    same(&at(Effect::Input(input)), &net.expected(|x, w, bias| (x * g + s).matmul(w) + bias), "input");
    let (g, s) = (tensor(13, [1, 5, D_OUT]), tensor(14, [2, 1, D_OUT]));
    same(&at(Effect::scaled(g.clone(), s.clone())), &net.expected(|x, w, bias| (x.matmul(w) + bias) * g + s.clone()), "output");
    same(&at(Effect::offset(s.clone())), &net.expected(|x, w, bias| x.matmul(w) + bias + s.clone()), "offset");
    for (read, skip) in [(Read::Input, false), (Read::Output, false), (Read::Output, true)] {
        let own = Branch { skip, ..branch(read, BranchActivation::Relu) };
        let Branch { w1, b1, w2, b2, .. } = own.clone();
        let expected = net.expected(|x, w, bias| {
            let y = x.clone().matmul(w) + bias;
            let read = if read == Read::Input { x } else { y.clone() };
            let h = (read.matmul(w1.repeat_dim(0, 2)) + b1).clamp_min(0.0);
            let y = if skip { y.clone() + y } else { y };
            y + h.matmul(w2.repeat_dim(0, 2)) + b2
        });
        same(&at(Effect::Branch(own)), &expected, "branch");
    }
    same(&at(Effect::opaque(|_, y| y * 3.0)), &net.expected(|x, w, bias| (x.matmul(w) + bias) * 3.0), "opaque");
    same(&at(Effect::Added(s.clone())), &net.expected(|x, w, bias| x.matmul(w) + bias + s.clone()), "added");
    same(&net.forward(&Modulation::none()), &net.expected(|x, w, bias| x.matmul(w) + bias), "nothing");
}

#[test]
fn gathered_rows_are_scaled_and_added_to_in_their_order() {
    let (rows, gain, shift, more) = (x(), tensor(15, [2, 5, D_IN]), tensor(16, [2, 1, D_IN]), tensor(17, [1, 1, D_IN]));
    let modulation =
        Modulation::none().with(SiteId(0), Effect::scaled(gain.clone(), shift.clone())).with(SiteId(0), Effect::Added(more.clone()));
    let found = modulation.rows(SiteId(0), acclimate_model::Ids::WholeHead, rows.clone());
    same(&to_vec(found), &to_vec(rows * gain + shift + more), "rows");
    let site = acclimate_model::Site { path: "input".into(), kind: SiteKind::Rows { d: D_IN }, role: Role::Body, d_x: D_IN };
    assert!(!Effect::scaled(tensor(18, [1, 1, D_IN]), tensor(19, [1, 1, D_IN])).is_foldable(&site));
}

#[test]
fn changes_of_weights_come_first_and_then_those_of_the_output_each_in_its_order() {
    let net = net();
    let site = net.linear.site;
    let (a, b, v) = (tensor(9, [1, D_IN, 2]), tensor(10, [1, 2, D_OUT]), tensor(7, [1, D_IN, D_OUT]));
    let (a2, b2) = (tensor(21, [2, D_IN, 1]), tensor(22, [2, 1, D_OUT]));
    let (g, s, t) = (tensor(13, [1, 1, D_OUT]), tensor(14, [1, 1, D_OUT]), tensor(15, [1, 1, D_OUT]));
    let low = |a: &Tensor<3>, b: &Tensor<3>| Effect::LowRank { a: a.clone(), b: b.clone(), bias: None };
    let modulation = Modulation::none()
        .with(site, Effect::scaled(g.clone(), s.clone()))
        .with(site, low(&a, &b))
        .with(site, Effect::Multiply { weight: v.clone(), bias: None })
        .with(site, low(&a, &b))
        .with(site, low(&a2, &b2))
        .then(Modulation::none().with(site, Effect::offset(t.clone())));
    let ab = a.matmul(b).repeat_dim(0, 2);
    let expected = net.expected(|x, w, bias| {
        let w = (w + ab.clone()) * v + ab + a2.matmul(b2);
        (x.matmul(w) + bias) * g + s + t
    });
    same(&net.forward(&modulation), &expected, "composed");
    assert_eq!(modulation.at(SiteId(9)).count(), 0);
    assert_eq!(modulation.values(), 2 * D_OUT + 2 * (D_IN * 2 + 2 * D_OUT) + D_IN * D_OUT + 2 * (D_IN + D_OUT) + D_OUT);
}

/// Every combination of two foldable effects, on a linear map and on a convolution.
#[test]
fn what_is_folded_does_what_the_pass_does() {
    let net = net();
    let effects = |d_in: usize, d_x: usize| -> Vec<Effect<'static>> {
        let shift = (d_in == d_x).then(|| tensor(16, [1, 1, d_x]));
        vec![
            Effect::Replace { weight: tensor(7, [1, d_in, D_OUT]), bias: None },
            Effect::Multiply { weight: tensor(8, [1, d_in, D_OUT]), bias: Some(tensor(17, [1, 1, D_OUT])) },
            Effect::LowRank { a: tensor(9, [1, d_in, 2]), b: tensor(10, [1, 2, D_OUT]), bias: Some(tensor(18, [1, 1, D_OUT])) },
            Effect::Input(Scale { gain: Some(tensor(19, [1, 1, d_x])), shift }),
            Effect::scaled(tensor(13, [1, 1, D_OUT]), tensor(14, [1, 1, D_OUT])),
            Effect::offset(tensor(15, [1, 1, D_OUT])),
        ]
    };
    for (linear, d_in) in [(net.linear, D_IN), (net.conv.linear, 2 * D_IN)] {
        for first in 0..6 {
            for second in 0..6 {
                let mut pair = effects(d_in, D_IN)
                    .into_iter()
                    .enumerate()
                    .filter(|(i, _)| [first, second].contains(i))
                    .map(|(_, e)| e)
                    .collect::<Vec<_>>();
                if first > second {
                    pair.reverse();
                }
                let modulation = pair.into_iter().fold(Modulation::none(), |all, effect| all.with(linear.site, effect));
                assert!(modulation.is_foldable(&net.architecture.sites) && modulation.misplaced(&net.architecture.sites).is_none());
                let forward = |bound: &Bound, modulation: &Modulation<'_>| {
                    let pass = Pass::new(bound, modulation);
                    to_vec(if d_in == D_IN { linear.forward(&pass, x(), Activation::Identity) } else { net.conv.forward(&pass, x()) })
                };
                let own = Weights { weight: net.bound.get(linear.weight), bias: Some(net.bound.get(linear.bias)), low_rank: None };
                let folded = modulation.folded(linear.site, own);
                let mut tensors = net.bound.tensors().to_vec();
                tensors[linear.bias.0] = folded.bias.clone().expect("a bias");
                tensors[linear.weight.0] = folded.full();
                let found = forward(&Bound::from(tensors), &Modulation::none());
                same(&found, &forward(&net.bound, &modulation), &format!("{first} {second} {d_in}"));
            }
        }
    }
}

#[test]
fn what_differs_between_rows_or_groups_or_bends_is_not_folded() {
    let net = net();
    let is_foldable = |site: SiteId, effect: Effect<'static>| Modulation::none().with(site, effect).is_foldable(&net.architecture.sites);
    let linear = net.linear.site;
    assert!(is_foldable(linear, Effect::Replace { weight: tensor(1, [1, D_IN, D_OUT]), bias: None }));
    assert!(!is_foldable(linear, Effect::Replace { weight: tensor(1, [2, D_IN, D_OUT]), bias: None }));
    assert!(!is_foldable(linear, Effect::scaled(tensor(1, [1, 5, D_OUT]), tensor(2, [1, 1, D_OUT]))));
    assert!(!is_foldable(linear, Effect::Branch(branch(Read::Input, BranchActivation::Gelu))));
    assert!(!is_foldable(linear, Effect::opaque(|_, y| y)));
    // Zeros stand before the first position of a convolution whatever is added to what comes after.
    let shift = Scale { gain: None, shift: Some(tensor(1, [1, 1, D_IN])) };
    assert!(!is_foldable(net.conv.linear.site, Effect::Input(shift.clone())));
    assert!(is_foldable(linear, Effect::Input(shift)));
}

#[test]
fn a_norm_takes_another_gain_and_shift() {
    let net = net();
    let (times, plus, shift) = (tensor(2, [2, 1, D_OUT]), tensor(3, [1, 5, D_OUT]), tensor(4, [1, 1, D_OUT]));
    let change = NormChange { times: Some(times.clone()), plus: Some(plus.clone()), shift: Some(shift.clone()), ..NormChange::default() };
    let y = tensor(9, [2, 5, D_OUT]);
    let forward = |modulation: &Modulation<'_>| net.norm.forward(&Pass::new(&net.bound, modulation), y.clone(), Activation::Identity);
    let plain = forward(&Modulation::none());
    // At start the gain is 1 and the shift 0.
    let expected = to_vec(plain * (times.repeat_dim(1, 5) + plus.repeat_dim(0, 2)) + shift);
    same(&to_vec(forward(&Modulation::none().with(net.norm.site, Effect::Norm(change)))), &expected, "norm");
}

#[test]
fn a_prefix_is_attention_of_its_own_behind_a_gate() {
    let mut architecture = Architecture::default();
    let layer = architecture.attention("attention", D_OUT, 2, Init::Normal(1.0));
    let bound = Params::init(&architecture.params, 5).bind(&Device::flex(), |_| false);
    let x = tensor(1, [2, 5, D_OUT]);
    for groups in [1, 2] {
        let [keys, values] = [2, 3].map(|seed| tensor(seed, [groups, 3, D_OUT]));
        let gate = tensor(4, [groups, 1, 2]);
        let prefix = Prefix { keys: keys.clone(), values: values.clone(), gate: gate.clone() };
        // Another thing at the site, so that an order of effects would show.
        let modulation = Modulation::none().with(layer.site, Effect::Prefix(prefix.clone())).with(layer.site, Effect::Prefix(prefix));
        let seen = Seen { sight: Sight::Earlier, mask: None };
        let found = layer.forward(&Pass::new(&bound, &modulation), x.clone(), seen);
        let map = |linear: Linear, x: Tensor<3>| linear.forward(&Pass::plain(&bound), x, Activation::Identity);
        let [q, k, v] = [layer.query, layer.key, layer.value].map(|linear| map(linear, x.clone()));
        let wide = |t: Tensor<3>| if groups == 1 { t.repeat_dim(0, 2) } else { t };
        let heads = (0..2).map(|h| {
            let own = |t: Tensor<3>| wide(t).narrow(2, 2 * h, 2);
            let weights = |q: Tensor<3>, k: Tensor<3>| q.matmul(k.swap_dims(1, 2)) / 2f64.sqrt();
            let scores = weights(q.clone().narrow(2, 2 * h, 2), k.clone().narrow(2, 2 * h, 2));
            let later = (0..25).map(|i| if i % 5 > i / 5 { -1e30 } else { 0.0 }).collect::<Vec<f32>>();
            let scores = scores + Tensor::<3>::from_data(TensorData::new(later, [1, 5, 5]), &Device::flex());
            let y = softmax(scores, 2).matmul(v.clone().narrow(2, 2 * h, 2));
            let of_prefix = softmax(weights(q.clone().narrow(2, 2 * h, 2), own(keys.clone())), 2).matmul(own(values.clone()));
            y + of_prefix * wide(gate.clone()).narrow(2, h, 1) * 2.0
        });
        let expected = map(layer.output, Tensor::cat(heads.collect(), 2));
        same(&to_vec(found), &to_vec(expected), "prefix");
        assert!(!modulation.is_foldable(&architecture.sites) && modulation.values() == 2 * groups * (2 * 3 * D_OUT + 2));
    }
    let kind = architecture.sites[layer.site.0].kind;
    let effect =
        |d, heads| Effect::Prefix(Prefix { keys: tensor(1, [1, 3, d]), values: tensor(1, [1, 3, d]), gate: tensor(1, [1, 1, heads]) });
    assert!(effect(D_OUT, 2).fits(kind) && !effect(D_OUT, 1).fits(kind) && !effect(D_IN, 2).fits(kind));
    assert!(!effect(D_OUT, 2).fits(SiteKind::Hidden { d: D_OUT }) && !Effect::offset(tensor(1, [1, 1, D_OUT])).fits(kind));
}

#[test]
fn an_effect_says_where_it_belongs() {
    let kinds = [SiteKind::Linear { d_in: 3, d_out: 4 }, SiteKind::Norm { d: 4 }, SiteKind::Hidden { d: 4 }, SiteKind::Rows { d: 4 }];
    let fits = |effect: Effect<'_>| kinds.map(|kind| effect.fits(kind));
    let t = || tensor(1, [1, 1, 4]);
    assert_eq!(fits(Effect::Replace { weight: t(), bias: None }), [true, false, false, false]);
    assert_eq!(fits(Effect::offset(t())), [true, false, true, true]);
    assert_eq!(fits(Effect::Norm(NormChange::default())), [false, true, false, false]);
    assert_eq!(fits(Effect::Added(t())), [false, false, true, true]);
    assert_eq!(fits(Effect::opaque_rows(|_, rows| rows)), [false, false, false, true]);
}

#[test]
fn penalties_of_composed_methods_add_up() {
    let penalty = |v: f32| Modulation::none().penalised(Tensor::<1>::from_floats([v], &Device::flex()));
    let both = penalty(2.0).then(Modulation::none()).then(penalty(3.0));
    assert_eq!(both.penalty().expect("one").into_data().try_into_vec::<f32>().expect("f32"), [5.0]);
    assert!(Modulation::none().penalty().is_none());
}
