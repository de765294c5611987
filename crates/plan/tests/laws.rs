//! What holds for every network: the plan says what the formulas say, and a row's bits depend on nothing but the row.

mod common;

use acclimate_plan::{After, Isa, Layer, Network, Options, Personal, Plan, Precision, Query, Rows, Scratch};
use common::{Draw, difference, difference_of_sizes, reference};
use proptest::prelude::*;

fn here() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_here())
}

fn options(draw: &mut Draw, isa: Isa) -> Options {
    let precision = [Precision::F32, Precision::Bf16][draw.below(2)];
    Options { fold_rows: [0, 8, 1 << 20][draw.below(3)], isa: Some(isa), precision }
}

/// Some requests, of which some have personal weights.
fn requests(draw: &mut Draw, network: &Network) -> Vec<(Rows, Option<Personal>)> {
    (0..1 + draw.below(6))
        .map(|_| {
            let n = [0, 1, 2, 3, 5, 7, 13, 47, 48, 49, 100][draw.below(11)];
            (draw.rows(network, n), draw.flip().then(|| draw.personal(network)))
        })
        .collect()
}

fn queries(requests: &[(Rows, Option<Personal>)]) -> Vec<Query<'_>> {
    requests.iter().map(|(rows, personal)| Query { rows, personal: personal.as_ref() }).collect()
}

fn score(plan: &Plan, queries: &[Query<'_>]) -> Vec<f32> {
    let mut out = vec![f32::NAN];
    plan.score(&mut Scratch::new(), queries, &mut out).unwrap();
    out
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// One row of a request as a request.
fn alone(rows: &Rows, row: usize) -> Rows {
    let mut own = rows.own.clone();
    own.codes = rows.own.codes[row * own.fields..(row + 1) * own.fields].to_vec();
    own.numeric = rows.own.numeric[row * own.numbers..(row + 1) * own.numbers].to_vec();
    for bag in &mut own.bags {
        bag.codes = bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize].to_vec();
        bag.offsets = vec![0, bag.codes.len() as u32];
    }
    Rows { n: 1, shared: rows.shared.clone(), own }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_plan_says_what_the_formulas_say(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let network = draw.network();
        let requests = requests(&mut draw, &network);
        let said: Vec<_> = requests.iter().map(|(rows, personal)| reference(&network, rows, personal.as_ref())).collect();
        for isa in here() {
            let options = Options { precision: Precision::F32, ..options(&mut draw, isa) };
            let plan = Plan::compile(&network, &options).unwrap();
            let (mut scratch, mut out) = (Scratch::new(), Vec::new());
            plan.score(&mut scratch, &queries(&requests), &mut out).unwrap();
            let sizes = said.iter().flat_map(|said| said.scores.iter().copied().zip(said.sizes.iter().copied()));
            let worst = difference_of_sizes(&out, sizes);
            prop_assert!(worst <= 1e-5, "{isa} scores: {worst}");
            plan.hidden(&mut scratch, &queries(&requests), &mut out).unwrap();
            // Of a row, relative to its largest.
            let size = |row: &[f64]| row.iter().copied().fold(0.0, f64::max);
            let rows = said.iter().flat_map(|said| &said.hidden);
            let worst = difference_of_sizes(&out, rows.flat_map(|row| row.iter().map(|&value| (value, size(row)))));
            prop_assert!(worst <= 1e-5, "{isa} hidden: {worst}");
            for ((rows, _), said) in requests.iter().zip(&said) {
                plan.inputs(rows, &mut out).unwrap();
                prop_assert!(difference(&out, said.inputs.concat()) <= 1e-6);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_in_any_batch_and_in_any_order(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let network = draw.network();
        let requests = requests(&mut draw, &network);
        for isa in here() {
            let plan = Plan::compile(&network, &options(&mut draw, isa)).unwrap();
            let queries = queries(&requests);
            let together = bits(&score(&plan, &queries));
            let apart: Vec<Vec<u32>> = queries.iter().map(|query| bits(&score(&plan, &[*query]))).collect();
            prop_assert_eq!(&together, &apart.concat(), "{} in a batch", isa);
            let backwards: Vec<Query<'_>> = queries.iter().rev().copied().collect();
            let reversed: Vec<Vec<u32>> = apart.iter().rev().cloned().collect();
            prop_assert_eq!(bits(&score(&plan, &backwards)), reversed.concat(), "{} in another order", isa);
            for (query, bits_of) in queries.iter().zip(&apart) {
                for row in (0..query.rows.n).step_by(1 + query.rows.n / 8) {
                    let rows = alone(query.rows, row);
                    let own = bits(&score(&plan, &[Query { rows: &rows, ..*query }]));
                    prop_assert_eq!(&own[..], &bits_of[row..=row], "{} row {} alone", isa, row);
                }
            }
        }
    }

    #[test]
    fn a_plan_like_another_has_the_same_bits(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let network = draw.network();
        let mut patched = network.clone();
        for layer in &mut patched.layers {
            if draw.flip() {
                layer.linear = draw.linear(layer.linear.d_in, layer.linear.d_out);
            }
            if draw.flip() {
                layer.after.clear();
            }
            if draw.flip() {
                layer.norm = None;
            }
        }
        for table in &mut patched.tables {
            if draw.flip() {
                table.values = draw.numbers(table.values.len(), 1.0);
            }
        }
        if draw.flip() {
            patched.slots.reverse();
            for layer in patched.layers.iter_mut().take(1) {
                layer.after.clear();
            }
        }
        let requests = requests(&mut draw, &patched);
        for isa in here() {
            let options = options(&mut draw, isa);
            let base = Plan::compile(&network, &options).unwrap();
            let alone = Plan::compile(&patched, &options).unwrap();
            let like = Plan::compile_like(&patched, &options, &base).unwrap();
            prop_assert_eq!(bits(&score(&alone, &queries(&requests))), bits(&score(&like, &queries(&requests))));
            prop_assert!(like.bytes() <= alone.bytes());
        }
    }

    /// A personal map that is the network's own has its bits as well, where nothing is folded.
    #[test]
    fn personal_weights_are_read_in_the_order_of_packed_ones(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let mut network = draw.network();
        for layer in &mut network.layers {
            if matches!(layer.norm, Some(acclimate_plan::Norm::Affine { .. })) {
                layer.norm = None;
            }
        }
        let rows = draw.rows(&network, 53);
        let same = Personal {
            layers: network.layers.iter().map(|layer| Some(layer.linear.clone())).collect(),
            scales: Vec::new(),
            head: Some(network.head.clone()),
        };
        for isa in here() {
            let plan = Plan::compile(&network, &Options { fold_rows: 0, isa: Some(isa), ..Options::default() }).unwrap();
            let (base, own) = (Query { rows: &rows, personal: None }, Query { rows: &rows, personal: Some(&same) });
            let scores = score(&plan, &[base, own]);
            prop_assert_eq!(bits(&scores[..53]), bits(&scores[53..]), "{}", isa);
        }
    }
}

/// Towers as they are trained: weights that keep the size of what goes through.
#[test]
fn half_the_bits_cost_less_than_a_fiftieth_of_a_logit() {
    let mut draw = Draw(19);
    let mut worst = 0.0_f64;
    for _ in 0..20 {
        let mut network = draw.network();
        let mut width = network.layers.first().map_or(network.head.d_in, |layer| layer.linear.d_in);
        let layers = [256, 128, 64].map(|d| {
            let linear = draw.linear(width, d);
            width = d;
            Layer { linear, after: Vec::new(), norm: None }
        });
        (network.layers, network.head, network.unit) = (layers.to_vec(), draw.linear(width, 1), 1.0);
        network.after.clear();
        let rows = draw.rows(&network, 60);
        let said = reference(&network, &rows, None).scores;
        for isa in here() {
            let full = Plan::compile(&network, &Options { isa: Some(isa), ..Options::default() }).unwrap();
            let half = Plan::compile(&network, &Options { isa: Some(isa), precision: Precision::Bf16, ..Options::default() }).unwrap();
            let query = [Query { rows: &rows, personal: None }];
            let (full_scores, half_scores) = (score(&full, &query), score(&half, &query));
            worst = worst.max(difference(&half_scores, said.iter().copied()));
            assert_ne!(bits(&full_scores), bits(&half_scores), "the weights are others");
            assert!(half.bytes() < full.bytes());
        }
    }
    assert!(worst <= 2e-2, "{worst}");
}

#[test]
fn a_scratch_serves_plans_of_all_sizes() {
    let mut draw = Draw(7);
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    for _ in 0..60 {
        let network = draw.network();
        let plan = Plan::compile(&network, &Options::default()).unwrap();
        let requests = requests(&mut draw, &network);
        plan.score(&mut scratch, &queries(&requests), &mut out).unwrap();
        assert_eq!(bits(&out), bits(&score(&plan, &queries(&requests))));
    }
}

/// What is left are its biases: everything that was packed, folded or gathered from is shared.
#[test]
fn a_plan_like_its_own_network_keeps_its_biases_alone() {
    let mut draw = Draw(11);
    for _ in 0..50 {
        let network = draw.network();
        let options = Options { fold_rows: [0, 8, 1 << 20][draw.below(3)], ..Options::default() };
        let base = Plan::compile(&network, &options).unwrap();
        let like = Plan::compile_like(&network, &options, &base).unwrap();
        let branches = |after: &[After]| -> Vec<usize> {
            let widths = |step: &After| match step {
                After::Branch(branch) => vec![branch.down.d_out, branch.up.d_out],
                After::Scale(_) => Vec::new(),
            };
            after.iter().flat_map(widths).collect()
        };
        let layers = network.layers.iter().flat_map(|layer| [vec![layer.linear.d_out], branches(&layer.after)].concat());
        let biases: usize = layers.chain([1]).chain(branches(&network.after)).map(|d| 4 * d.next_multiple_of(16)).sum();
        assert!(like.bytes() <= size_of::<Plan>() + biases, "{} and {biases}", like.bytes());
        let tables: usize = network.tables.iter().map(|table| 4 * table.values.len()).sum();
        assert!(base.bytes() >= like.bytes() + tables);
    }
}

#[test]
fn a_plan_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Plan>();
    fn sent<T: Send>() {}
    sent::<Scratch>();
}
