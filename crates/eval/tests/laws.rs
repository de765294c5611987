//! Laws of the metrics and of the bootstrap, on random rows.

use acclimate_eval::metric::{
    auc, auc_by_group, gauc, log_loss, macro_auc, mae, mean_by_user, multiset_precision_at, ndcg_at, pcoc, precision_at, rmse,
};
use acclimate_eval::{Bootstrap, EvaluationRows, Gain, Goal, LabelRange, Metric, Sample, Statistic, rank_of};
use proptest::prelude::*;

/// (user, domain, label, prediction) with few distinct predictions, so that ties are common.
type Row = (u32, u32, bool, u8);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..6_u32, 0..3_u32, any::<bool>(), 0..12_u8), 1..80)
}

fn labels(rows: &[Row]) -> Vec<f32> {
    rows.iter().map(|row| f32::from(u8::from(row.2))).collect()
}

fn predictions(rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| (f64::from(row.3) + 0.5) / 13.0).collect()
}

fn users(rows: &[Row]) -> Vec<u32> {
    rows.iter().map(|row| row.0).collect()
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-9,
        (a, b) => a == b,
    }
}

fn evaluation(rows: &[Row]) -> EvaluationRows {
    let domains: Vec<u32> = rows.iter().map(|row| row.1).collect();
    let names: Vec<String> = (0..3).map(|domain| domain.to_string()).collect();
    EvaluationRows::new(&users(rows), &labels(rows)).unwrap().with_domains("tab", &domains, &names).unwrap()
}

const ROW_METRICS: [&str; 17] = [
    "auc",
    "macro_auc",
    "auc[tab=1]",
    "gauc[user]",
    "gauc[user,tab]",
    "log_loss",
    "macro_log_loss",
    "pcoc",
    "mae",
    "mae[pooled]",
    "rmse",
    "rmse[pooled]",
    "ndcg@3[gain=linear]",
    "ndcg@1[gain=exponential]",
    "p@2[label>=1]",
    "p@2[multiset]",
    "log_loss[tab=0]",
];

proptest! {
    #[test]
    fn auc_sees_only_the_order(rows in rows()) {
        let moved: Vec<f64> = predictions(&rows).iter().map(|p| (3.0 * p).exp() - 7.0).collect();
        prop_assert_eq!(auc(&labels(&rows), &predictions(&rows)), auc(&labels(&rows), &moved));
    }

    #[test]
    fn auc_of_flipped_labels_is_the_complement(rows in rows()) {
        let flipped: Vec<f32> = labels(&rows).iter().map(|y| 1.0 - y).collect();
        let complement = auc(&flipped, &predictions(&rows)).map(|value| 1.0 - value);
        prop_assert!(near(auc(&labels(&rows), &predictions(&rows)), complement));
    }

    #[test]
    fn a_constant_scorer_gets_half(rows in rows()) {
        let constant = vec![0.3_f32; rows.len()];
        prop_assert!(auc(&labels(&rows), &constant).is_none_or(|value| value == 0.5));
        prop_assert!(gauc(&users(&rows), &labels(&rows), &constant).is_none_or(|value| (value - 0.5).abs() < 1e-12));
    }

    #[test]
    fn the_order_of_rows_does_not_matter(rows in rows(), at in any::<prop::sample::Index>()) {
        let mut turned = rows.clone();
        turned.rotate_left(at.index(rows.len()));
        turned.reverse();
        for name in ROW_METRICS {
            let metric: Metric = name.parse().unwrap();
            let value = |rows: &[Row]| Statistic::of_rows(&metric, &evaluation(rows), "law", &predictions(rows)).unwrap().value();
            prop_assert!(near(value(&rows), value(&turned)), "{name}: {:?} {:?}", value(&rows), value(&turned));
        }
    }

    #[test]
    fn a_weight_of_two_equals_the_user_twice(rows in rows()) {
        let mut doubled = rows.clone();
        doubled.extend(rows.iter().filter(|row| row.0 % 2 == 0).map(|&(user, domain, label, p)| (user + 100, domain, label, p)));
        let mut distinct = users(&rows);
        distinct.sort_unstable();
        distinct.dedup();
        let weights: Vec<u32> = distinct.iter().map(|user| if user % 2 == 0 { 2 } else { 1 }).collect();
        for name in ROW_METRICS {
            let metric: Metric = name.parse().unwrap();
            let weighted = Statistic::of_rows(&metric, &evaluation(&rows), "law", &predictions(&rows)).unwrap().weighted(&weights);
            let twice = Statistic::of_rows(&metric, &evaluation(&doubled), "law", &predictions(&doubled)).unwrap().value();
            prop_assert!(near(weighted, twice), "{name}: {weighted:?} {twice:?}");
        }
    }

    #[test]
    fn a_macro_mean_is_that_of_the_domains_defined_in_the_draw(rows in rows(), weights in prop::collection::vec(0..3_u32, 6)) {
        let evaluation = evaluation(&rows);
        let weights = &weights[..evaluation.users()];
        for family in ["auc", "log_loss", "pcoc"] {
            let under = |name: String| {
                Statistic::of_rows(&name.parse().unwrap(), &evaluation, "law", &predictions(&rows)).unwrap().weighted(weights)
            };
            let defined: Vec<f64> = (0..3).filter_map(|tab| under(format!("{family}[tab={tab}]"))).collect();
            let expected = (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64);
            let found = under(format!("macro_{family}"));
            prop_assert!(near(found, expected), "{family}: {found:?} {expected:?}");
        }
    }

    #[test]
    fn whether_a_metric_is_defined_does_not_depend_on_predictions(rows in rows(), weights in prop::collection::vec(0..2_u32, 6)) {
        let evaluation = evaluation(&rows);
        let weights = &weights[..evaluation.users()];
        for name in ROW_METRICS.into_iter().chain(["macro_pcoc"]) {
            let defined = |predictions: &[f64]| {
                Statistic::of_rows(&name.parse().unwrap(), &evaluation, "law", predictions).unwrap().weighted(weights).is_some()
            };
            let constant = vec![0.0; rows.len()];
            prop_assert_eq!(defined(&predictions(&rows)), defined(&constant), "{}", name);
        }
    }

    #[test]
    fn statistics_equal_the_plain_functions(rows in rows()) {
        let (y, p, u) = (labels(&rows), predictions(&rows), users(&rows));
        let d: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let pairs: Vec<(u32, u32)> = rows.iter().map(|row| (row.0, row.1)).collect();
        let open = LabelRange::UNBOUNDED;
        let plain = [
            ("auc", auc(&y, &p)),
            ("macro_auc", macro_auc(&d, &y, &p)),
            ("auc[tab=1]", auc_by_group(&d, &y, &p).iter().find(|group| group.group == 1).and_then(|group| group.auc)),
            ("gauc[user]", gauc(&u, &y, &p)),
            ("gauc[user,tab]", gauc(&pairs, &y, &p)),
            ("log_loss", log_loss(&y, &p)),
            ("pcoc", pcoc(&y, &p)),
            ("mae[pooled]", mae(&y, &p, open)),
            ("rmse[pooled]", rmse(&y, &p, open)),
            ("mae", mean_by_user(&u, &y, &p, |y, p| mae(y, p, open))),
            ("rmse", mean_by_user(&u, &y, &p, |y, p| rmse(y, p, open))),
            ("ndcg@3[gain=linear]", mean_by_user(&u, &y, &p, |y, p| ndcg_at(3, Gain::Linear, y, p))),
            ("p@2[label>=1]", mean_by_user(&u, &y, &p, |y, p| precision_at(2, 1.0, y, p))),
            ("p@2[multiset]", mean_by_user(&u, &y, &p, |y, p| multiset_precision_at(2, y, p))),
        ];
        for (name, expected) in plain {
            let found = Statistic::of_rows(&name.parse().unwrap(), &evaluation(&rows), "law", &p).unwrap().value();
            prop_assert!(near(found, expected), "{name}: {found:?} {expected:?}");
        }
    }

    #[test]
    fn multiset_precision_of_the_ideal_order_is_one_and_bounds_all_others(rows in rows(), k in 1..10_usize) {
        let stars: Vec<f32> = rows.iter().map(|row| f32::from(row.3 % 5) + 1.0).collect();
        let most = k.min(rows.len()) as f64 / k as f64;
        prop_assert!((multiset_precision_at(k, &stars, &stars).unwrap() - most).abs() < 1e-12);
        let value = multiset_precision_at(k, &stars, &predictions(&rows)).unwrap();
        prop_assert!((0.0..=most + 1e-12).contains(&value), "{value}");
    }

    #[test]
    fn multiset_precision_of_tied_scores_is_the_mean_over_their_orders(stars in prop::collection::vec(1..4_u8, 4), tied in prop::collection::vec(0..3_u8, 4), k in 1..5_usize) {
        let labels: Vec<f32> = stars.iter().map(|&star| f32::from(star)).collect();
        let scores: Vec<f64> = tied.iter().map(|&score| f64::from(score)).collect();
        let (mut sum, mut orders) = (0.0, 0.0);
        for code in 0..256_u32 {
            let place = |row: usize| (code >> (2 * row)) & 3;
            if (0..4).all(|a| (0..a).all(|b| place(a) != place(b))) {
                let broken: Vec<f64> = scores.iter().enumerate().map(|(row, score)| score + 0.1 * f64::from(place(row))).collect();
                sum += multiset_precision_at(k, &labels, &broken).unwrap();
                orders += 1.0;
            }
        }
        let value = multiset_precision_at(k, &labels, &scores).unwrap();
        prop_assert!(orders == 24.0 && (value - sum / orders).abs() < 1e-12, "{value} {}", sum / orders);
    }

    #[test]
    fn ndcg_of_the_ideal_order_is_one_and_bounds_all_others(rows in rows(), k in 1..10_usize) {
        let stars: Vec<f32> = rows.iter().map(|row| f32::from(row.3 % 5) + 1.0).collect();
        for gain in [Gain::Linear, Gain::Exponential] {
            prop_assert!((ndcg_at(k, gain, &stars, &stars).unwrap() - 1.0).abs() < 1e-12);
            let value = ndcg_at(k, gain, &stars, &predictions(&rows)).unwrap();
            prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
        }
    }

    #[test]
    fn ranks_of_all_items_sum_to_the_triangle(scores in prop::collection::vec(0..5_u8, 1..40)) {
        let sum: f64 = (0..scores.len())
            .map(|at| {
                let others = scores.iter().enumerate().filter(|&(other, _)| other != at).map(|(_, &score)| f32::from(score));
                rank_of(f32::from(scores[at]), others)
            })
            .sum();
        prop_assert_eq!(sum, (scores.len() * (scores.len() + 1)) as f64 / 2.0);
    }

    #[test]
    fn clipping_never_hurts_when_labels_are_inside(rows in rows(), stretch in 1.0..9.0_f64) {
        let far: Vec<f64> = predictions(&rows).iter().map(|p| (p - 0.5) * stretch).collect();
        let unit = LabelRange { low: 0.0, high: 1.0 };
        let y = labels(&rows);
        prop_assert!(mae(&y, &far, unit) <= mae(&y, &far, LabelRange::UNBOUNDED));
        prop_assert!(rmse(&y, &far, unit) <= rmse(&y, &far, LabelRange::UNBOUNDED));
    }

    #[test]
    fn metric_names_print_as_they_were_read(k in 1..50_usize, n in 1..2000_usize, value in "[a-z0-9_ ]{1,8}") {
        let names = [
            format!("auc[tab={value}]"), format!("log_loss[tab={value}]"), format!("ndcg@{k}[gain=linear]"), format!("ndcg@{k}[full]"),
            format!("hr@{k}[sampled={}]", k + n), format!("mrr@{k}[sampled={n},popularity]"), format!("p@{k}[label>=4]"), "mrr[full]".to_owned(),
        ];
        for name in names {
            prop_assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
    }
}

#[test]
fn a_broken_scorer_never_gains() {
    assert_eq!(rank_of(f32::NAN, [0.1, 0.2, 0.3]), 4.0);
    assert_eq!(rank_of(0.5, [f32::NAN, 0.2, 0.3]), 2.0);
    assert!(auc(&[1.0, 0.0], &[f32::NAN, 0.5]).unwrap().is_nan());
    assert!(ndcg_at(1, Gain::Linear, &[1.0, 2.0], &[f32::NAN, 0.5]).unwrap().is_nan());
    assert!(log_loss(&[1.0], &[f32::NAN]).unwrap().is_nan());
}

#[test]
fn empty_and_single_class_are_undefined_not_a_half() {
    let nothing: [f32; 0] = [];
    assert_eq!(auc(&nothing, &nothing), None);
    assert_eq!(auc(&[0.0, 0.0], &[0.1_f32, 0.9]), None);
    assert_eq!(gauc(&[1_u32, 2], &[1.0, 0.0], &[0.1_f32, 0.9]), None);
    assert_eq!(log_loss(&nothing, &nothing), None);
    assert_eq!(pcoc(&[0.0], &[0.5_f32]), None);
    assert_eq!(ndcg_at(3, Gain::Exponential, &[0.0, 0.0], &[0.5_f32, 0.1]), None);
    assert_eq!(precision_at(3, 4.0, &nothing, &nothing), None);
    assert_eq!(multiset_precision_at(3, &nothing, &nothing), None);
    assert_eq!(multiset_precision_at(0, &[1.0], &[0.5_f32]), None);
}

#[test]
fn a_label_of_one_half_is_no_positive() {
    assert_eq!(auc(&[0.5, 1.0], &[0.2_f32, 0.9]), Some(1.0));
    assert_eq!(auc(&[0.5, 0.0], &[0.2_f32, 0.9]), None);
}

#[test]
fn misspelt_metrics_say_what_is_wrong() {
    for (name, part) in [
        ("aucc", "no such family"),
        ("ndcg[gain=linear]", "cut-off"),
        ("mrr", "ranked among"),
        ("hr@0[full]", "at least 1"),
        ("auc@3", "takes no cut-off"),
        ("auc[tab]", "COLUMN=VALUE"),
        ("auc[tab=1", "closing"),
        ("macro_auc[tab=1]", "no brackets"),
        ("hr@5[sampled=x]", "not a number"),
        ("mrr[sampled=0]", "at least 1"),
        ("hr@5[sampled=4]", "always above"),
        ("p@100[sampled=99,popularity]", "always above"),
    ] {
        let error = name.parse::<Metric>().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{name}: {error}");
    }
}

/// A small deterministic stream of numbers in [0, 1), independent of the crate's own generator.
fn stream(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn sample(method: &str, values: &[f64]) -> Sample {
    let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
    Sample { method: method.to_owned(), seeds: vec![Statistic::of_user_values(&values)] }
}

#[test]
fn intervals_of_a_mean_agree_with_the_normal_formula() {
    let mut next = stream(3);
    let values: Vec<f64> = (0..400).map(|_| next()).collect();
    let bootstrap = Bootstrap { draws: 4000, ..Bootstrap::default() };
    let found = &bootstrap.compare(&[sample("mean", &values)]).unwrap().estimates[0];
    let mean = values.iter().sum::<f64>() / 400.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 400.0).sqrt();
    let half = 1.96 * deviation / 20.0;
    assert!((found.value.unwrap() - mean).abs() < 1e-12);
    assert!((found.ci_low.unwrap() - (mean - half)).abs() < 0.1 * half, "{found:?}");
    assert!((found.ci_high.unwrap() - (mean + half)).abs() < 0.1 * half, "{found:?}");
}

#[test]
fn intervals_hold_the_truth_about_as_often_as_they_say() {
    let bootstrap = Bootstrap { draws: 300, ..Bootstrap::default() };
    let trials = 300;
    let mut next = stream(11);
    let held = (0..trials)
        .filter(|_| {
            let values: Vec<f64> = (0..80).map(|_| next()).collect();
            let found = &bootstrap.compare(&[sample("mean", &values)]).unwrap().estimates[0];
            found.ci_low.unwrap() <= 0.5 && 0.5 <= found.ci_high.unwrap()
        })
        .count();
    // 95 % of 300 is 285 with a standard deviation of 3.8; percentile intervals of 80 users fall slightly short.
    assert!((270..=297).contains(&held), "{held} of {trials}");
}

#[test]
fn pairing_removes_what_methods_share() {
    let mut next = stream(5);
    let base: Vec<f64> = (0..200).map(|_| next()).collect();
    let better: Vec<f64> = base.iter().map(|value| value + 0.01).collect();
    let comparison = Bootstrap::default().compare(&[sample("base", &base), sample("better", &better)]).unwrap();
    let difference = comparison.difference(1, 0, Goal::Higher).unwrap();
    assert!((difference.ci_low.unwrap() - 0.01).abs() < 1e-9 && (difference.ci_high.unwrap() - 0.01).abs() < 1e-9);
    let [base, better] = [&comparison.estimates[0], &comparison.estimates[1]];
    assert!(base.ci_high > better.ci_low, "unpaired intervals overlap, so the test shows something");
}

#[test]
fn same_seed_same_intervals_on_any_number_of_threads() {
    let mut next = stream(8);
    let values: Vec<f64> = (0..50).map(|_| next()).collect();
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Bootstrap { seed, ..Bootstrap::default() }.compare(&[sample("mean", &values)]).unwrap().estimates)
    };
    assert_eq!(run(1, 7), run(3, 7));
    assert_ne!(run(1, 7), run(1, 8));
}

#[test]
fn seeds_are_averaged_inside_each_draw() {
    let values = |shift: f64| Statistic::of_user_values(&[Some(0.0 + shift), Some(1.0 - shift)]);
    // Seeds that move against each other cancel in every draw, so that the interval has no width.
    let sample = Sample { method: "two".to_owned(), seeds: vec![values(0.0), values(1.0)] };
    let found = &Bootstrap::default().compare(&[sample]).unwrap().estimates[0];
    assert_eq!((found.value, found.ci_low, found.ci_high), (Some(0.5), Some(0.5), Some(0.5)));
    assert_eq!(found.per_seed, [Some(0.5), Some(0.5)]);
}

#[test]
fn one_user_has_no_interval() {
    let found = &Bootstrap::default().compare(&[sample("alone", &[0.7])]).unwrap().estimates[0];
    assert_eq!((found.value, found.ci_low, found.ci_high), (Some(0.7), None, None));
}
