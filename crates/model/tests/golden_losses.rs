//! Objectives against `reference/losses.py`: values, and gradients of the scores.

mod golden;

use acclimate_data::Batch;
use acclimate_model::kernel::{Candidates, sampled_softmax_loss, softmax_loss};
use acclimate_model::{Comparison, Objective, Output};
use burn::tensor::{Tensor, TensorData};
use golden::{Array, Case, cases, device, to_vec};

#[test]
fn losses_match_the_reference() {
    let cases = cases("losses");
    assert!(cases.len() >= 15, "the golden file lost cases");
    for case in &cases {
        match case.name.as_str() {
            name if name.starts_with("logistic") => pointwise(case, Objective::Logistic, "z"),
            "squared_error" => pointwise(case, Objective::SquaredError, "s"),
            name if name.starts_with("bpr") => {
                pairwise_rows(case);
                candidates(case, Objective::Bpr);
            }
            "candidates_logistic_from_hidden" => logistic_from_hidden(case),
            name if name.starts_with("candidates_logistic") => candidates(case, Objective::Logistic),
            "softmax" => {
                full_softmax(case);
                softmax_objective(case);
            }
            "sampled_softmax_from_hidden" => sampled_from_hidden(case),
            name if name.starts_with("sampled_softmax") => sampled(case),
            name => panic!("no test for `{name}`"),
        }
    }
}

fn tensor(values: Vec<f32>, shape: [usize; 3]) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// `[n]` as a column: a leaf `[1, n, 1]`.
fn column(array: &Array) -> Tensor<3> {
    tensor(array.f32(), [1, array.data.len(), 1]).require_grad()
}

fn pointwise(case: &Case, objective: Objective, scores: &str) {
    let s = column(case.value(scores));
    let n = s.dims()[1];
    let batch = Batch { groups: 1, rows: n, mask: case.value("mask").f32(), label: case.value("y").f32(), ..Batch::default() };
    let loss = objective.loss(&Output::Rows(s.clone()), &batch);
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [(scores, s)]);
}

/// A group is a positive followed by its negatives; a masked row is a group of padding.
fn pairwise_rows(case: &Case) {
    let (positive, negative) = (column(case.value("positive")), case.leaf("negative"));
    let [_, g, k] = negative.dims();
    let scores = Tensor::cat(vec![positive.clone(), negative.clone()], 2).reshape([g, k + 1, 1]);
    let mask = case.value("mask").f32().iter().flat_map(|&m| vec![m; k + 1]).collect();
    let batch = Batch { groups: g, rows: k + 1, mask, ..Batch::default() };
    let loss = Objective::Bpr.loss(&Output::Rows(scores), &batch);
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("positive", positive), ("negative", negative)]);
}

/// Rows of a `[1, P, K]` tensor with mask 1: a backbone gives candidate scores for real positions only.
fn unmasked(case: &Case, scores: Tensor<3>) -> Tensor<3> {
    let kept = case.value("mask").u32().iter().enumerate().filter(|&(_, &m)| m == 1).map(|(i, _)| i as i32).collect::<Vec<_>>();
    scores.select(1, Tensor::from_ints(kept.as_slice(), &device()))
}

fn candidates(case: &Case, objective: Objective) {
    let (positive, negative) = (column(case.value("positive")), case.leaf("negative"));
    let scores = unmasked(case, Tensor::cat(vec![positive.clone(), negative.clone()], 2));
    let target = vec![0; scores.dims()[1]];
    let loss = objective.loss(&Output::Candidates { scores, target }, &Batch::default());
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("positive", positive), ("negative", negative)]);
}

/// With the identity as table, hidden states are the logits.
fn full_softmax(case: &Case) {
    let s = case.leaf("s");
    let v = s.dims()[2];
    let identity = (0..v * v).map(|i| f32::from(u8::from(i % (v + 1) == 0))).collect();
    let loss = softmax_loss(s.clone(), tensor(identity, [1, v, v]), None, &case.value("target").u32(), &case.value("mask").f32());
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("s", s)]);
}

fn softmax_objective(case: &Case) {
    let s = case.leaf("s");
    let scores = unmasked(case, s.clone());
    let target = case.value("target").u32().into_iter().zip(case.value("mask").u32()).filter(|&(_, m)| m == 1).map(|(t, _)| t).collect();
    let loss = Objective::Softmax.loss(&Output::Candidates { scores, target }, &Batch::default());
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("s", s)]);
}

/// Scores that are given become inner products: position i has the i-th unit vector as hidden state, and a last axis of ones carries `-log q`.
fn sampled(case: &Case) {
    let (positive, negative) = (case.value("positive"), case.value("negative"));
    let (positive_id, negative_id) = (case.value("positive_id").u32(), case.value("negative_id").u32());
    let log_q = case.value("log_q").f32();
    let [p, k] = [negative.shape[0], negative.shape[1]];
    let (plus, minus) = (positive.f32(), negative.f32());
    let d = p + 1;
    let hidden = (0..p * d).map(|i| f32::from(u8::from(i % d == i / d || i % d == p))).collect();
    let at = |values: &dyn Fn(usize, usize) -> f32, rows: usize| (0..rows * d).map(|i| values(i / d, i % d)).collect::<Vec<f32>>();
    let bias = |id: u32| -log_q[id as usize];
    let positives = at(&|i, j| if j == p { bias(positive_id[i]) } else { plus[i] * f32::from(u8::from(i == j)) }, p);
    let negatives = at(&|i, j| if j == p { bias(negative_id[i]) } else { minus[j * k + i] }, k);
    let positives = tensor(positives, [1, p, d]).require_grad();
    let negatives = tensor(negatives, [1, k, d]).require_grad();
    let candidates =
        Candidates { positives: positives.clone(), negatives: negatives.clone(), targets: &positive_id, sampled: &negative_id };
    let loss = sampled_softmax_loss(tensor(hidden, [1, p, d]), candidates, &case.value("mask").f32());
    case.check("loss", to_vec(loss.clone()));

    let gradients = loss.backward();
    let plus = to_vec(positives.grad(&gradients).expect("positives are leaves"));
    case.check_gradient("positive", Some((0..p).map(|i| plus[i * d + i]).collect()));
    let minus = to_vec(negatives.grad(&gradients).expect("negatives are leaves"));
    case.check_gradient("negative", Some((0..p * k).map(|at| minus[at % k * d + at / k]).collect()));
}

/// As a backbone compares its states with sampled items, of which some are the position's own.
fn logistic_from_hidden(case: &Case) {
    let (hidden, table, bias, [positives, items]) = from_hidden(case);
    let (target, sampled) = (case.value("positive_id").u32(), case.value("negative_id").u32());
    let kept: Vec<u32> = target.iter().zip(case.value("mask").u32()).filter(|&(_, m)| m == 1).map(|(&t, _)| t).collect();
    let widened = Tensor::cat(vec![hidden.clone(), Tensor::ones([1, target.len(), 1], &device())], 2);
    let of_kept = |x: Tensor<3>| unmasked(case, x);
    let comparison = Comparison { hidden: of_kept(widened), items, positives: Some(of_kept(positives)), target: kept, sampled };
    let loss = Objective::Logistic.loss(&Output::Comparison(Box::new(comparison)), &Batch::default());
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("hidden", hidden), ("table", table), ("item_bias", bias)]);
}

/// Hidden states, table and biases of a case, and its rows of positives and of negatives. The item's bias is a last column of its row; hidden states have a 1 there.
fn from_hidden(case: &Case) -> (Tensor<3>, Tensor<3>, Tensor<3>, [Tensor<3>; 2]) {
    let (hidden, table) = (case.leaf("hidden"), case.leaf("table"));
    let bias = column(case.value("item_bias"));
    let rows = ["positive_id", "negative_id"].map(|name| {
        let ids: Vec<i32> = case.value(name).u32().iter().map(|&i| i as i32).collect();
        Tensor::cat(vec![table.clone(), bias.clone()], 2).select(1, Tensor::from_ints(ids.as_slice(), &device()))
    });
    (hidden, table, bias, rows)
}

fn sampled_from_hidden(case: &Case) {
    let (hidden, table, bias, [positives, negatives]) = from_hidden(case);
    let (positive_id, negative_id) = (case.value("positive_id").u32(), case.value("negative_id").u32());
    let p = positive_id.len();
    let widened = Tensor::cat(vec![hidden.clone(), Tensor::ones([1, p, 1], &device())], 2);
    let candidates = Candidates { positives, negatives, targets: &positive_id, sampled: &negative_id };
    let loss = sampled_softmax_loss(widened, candidates, &case.value("mask").f32());
    case.check("loss", to_vec(loss.clone()));
    case.check_gradients(&loss, [("hidden", hidden), ("table", table), ("item_bias", bias)]);
}
