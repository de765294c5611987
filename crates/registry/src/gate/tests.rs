use acclimate_eval::SettingCheck;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Clicks of 300 users with 10 rows each, what a base says of them, and a slice of every third user.
struct World {
    users: Vec<u32>,
    labels: Vec<f32>,
    base: Vec<f32>,
    truth: Vec<f32>,
    slices: Vec<(String, Vec<bool>)>,
}

fn world() -> World {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let users: Vec<u32> = (0..300).flat_map(|user| [user; 10]).collect();
    let truth: Vec<f32> = users.iter().map(|_| random.random_range(0.05..0.95)).collect();
    let labels = truth.iter().map(|&p| f32::from(random.random::<f32>() < p)).collect();
    let base = truth.iter().map(|p| 0.5 + 0.5 * (p - 0.5)).collect();
    let slices = vec![("every third".to_owned(), users.iter().map(|user| user % 3 == 0).collect())];
    World { users, labels, base, truth, slices }
}

impl World {
    fn paired<'a>(&'a self, patch: &'a [f32]) -> Paired<'a> {
        let World { users, labels, base, slices, .. } = self;
        Paired { base, base_again: base, patch, labels: Some(labels), users, slices }
    }

    fn judge(&self, patch: &[f32]) -> GateReport {
        GateConfig::default().judge(&self.paired(patch), Some(&clean())).unwrap()
    }
}

fn checked(different: usize) -> SettingCheck {
    SettingCheck { setting: "s".to_owned(), rows: 1, different, metrics: 1, largest_difference: 0.0, control: None }
}

fn clean() -> Preflight {
    Preflight { settings: vec![checked(0)], ..Preflight::default() }
}

#[test]
fn a_better_patch_and_the_base_itself_are_promoted() {
    let world = world();
    for patch in [&world.truth, &world.base] {
        let report = world.judge(patch);
        assert_eq!(report.verdict, Verdict::Promoted, "{report:?}");
        assert_eq!(report.slices.len(), 2);
    }
    let itself = world.judge(&world.base);
    assert!(itself.slices.iter().all(|slice| (slice.gain, slice.low) == (Some(0.0), Some(0.0))));
}

#[test]
fn a_patch_that_harms_one_slice_is_rejected_though_it_helps_overall() {
    let world = world();
    let patch: Vec<f32> = (0..3000).map(|row| if world.slices[0].1[row] { 1.0 - world.base[row] } else { world.truth[row] }).collect();
    let report = world.judge(&patch);
    assert_eq!(report.verdict, Verdict::Rejected);
    assert_eq!(report.slices[1].verdict, Verdict::Rejected);
}

#[test]
fn what_looks_like_a_leak_is_suspicious() {
    let world = world();
    let patch: Vec<f32> = world.labels.iter().map(|label| 0.02 + 0.96 * label).collect();
    assert_eq!(world.judge(&patch).verdict, Verdict::Suspicious);
}

#[test]
fn it_fails_closed() {
    let world = world();
    let judged =
        |rows: &Paired<'_>, preflight: Option<&Preflight>| GateConfig::default().judge(rows, preflight).map(|report| report.verdict);
    let rows = world.paired(&world.truth);
    assert_eq!(judged(&rows, Some(&clean())).unwrap(), Verdict::Promoted);
    // No preflight, or one that does not hold.
    assert_eq!(judged(&rows, None).unwrap(), Verdict::Ungated);
    assert_eq!(judged(&rows, Some(&Preflight::default())).unwrap(), Verdict::Ungated);
    assert_eq!(judged(&rows, Some(&Preflight { settings: vec![checked(1)], ..clean() })).unwrap(), Verdict::Suspicious);
    // A base that is not asked twice, or answers differently.
    assert_eq!(judged(&Paired { base_again: &[], ..rows }, Some(&clean())).unwrap(), Verdict::Suspicious);
    let mut again = world.base.clone();
    again[7] = f32::from_bits(again[7].to_bits() + 1);
    assert_eq!(judged(&Paired { base_again: &again, ..rows }, Some(&clean())).unwrap(), Verdict::Suspicious);
    // Too few users in a protected slice, and one with no row at all.
    for users in [0, 29] {
        let slices = [("few".to_owned(), world.users.iter().map(|&user| user < users).collect())];
        assert_eq!(judged(&Paired { slices: &slices, ..rows }, Some(&clean())).unwrap(), Verdict::Ungated);
    }
    // Scores that are none.
    let mut broken = world.truth.clone();
    broken[3] = f32::NAN;
    assert_eq!(judged(&world.paired(&broken), Some(&clean())).unwrap(), Verdict::Rejected);
    // Columns that do not fit, labels that are none.
    assert!(judged(&Paired { patch: &world.truth[1..], ..rows }, Some(&clean())).is_err());
    let mut labels = world.labels.clone();
    labels[0] = f32::NAN;
    assert!(judged(&Paired { labels: Some(&labels), ..rows }, Some(&clean())).is_err());
    let short = [("short".to_owned(), vec![true])];
    assert!(judged(&Paired { slices: &short, ..rows }, Some(&clean())).is_err());
    // A metric that is undefined: one class only.
    let config = GateConfig { metric: "auc".parse().unwrap(), ..GateConfig::default() };
    let ones = vec![1.0; 3000];
    let report = config.judge(&Paired { labels: Some(&ones), ..rows }, Some(&clean())).unwrap();
    assert_eq!(report.verdict, Verdict::Ungated);
}

#[test]
fn the_sign_of_a_gain_is_that_of_the_metric() {
    let world = world();
    for metric in ["auc", "log_loss", "rmse[pooled]", "pcoc"] {
        let config = GateConfig { metric: metric.parse().unwrap(), most_gain: 10.0, ..GateConfig::default() };
        let worse: Vec<f32> = world.base.iter().map(|p| 0.9 - 0.8 * p).collect();
        let better: Vec<f32> = world.truth.iter().zip(&world.labels).map(|(p, label)| 0.8 * p + 0.2 * label).collect();
        let gain = |patch: &[f32]| config.judge(&world.paired(patch), Some(&clean())).unwrap().slices[0].clone();
        if metric != "pcoc" {
            assert!(gain(&worse).gain.unwrap() < 0.0, "{metric}");
            assert!(gain(&better).gain.unwrap() > 0.0, "{metric}");
        }
        let report = gain(&worse);
        assert!(report.low <= report.gain, "{metric}");
    }
}

#[test]
fn a_wider_margin_lets_more_through_and_more_confidence_less() {
    let world = world();
    let patch: Vec<f32> = world.base.iter().map(|p| 0.5 + 0.9 * (p - 0.5)).collect();
    let low = |confidence| GateConfig { confidence, ..GateConfig::default() }.judge(&world.paired(&patch), None).unwrap().slices[0].low;
    assert!(low(0.99) < low(0.9));
    let verdict = |margin| GateConfig { margin, ..GateConfig::default() }.judge(&world.paired(&patch), Some(&clean())).unwrap().verdict;
    assert_eq!((verdict(0.0), verdict(0.1)), (Verdict::Rejected, Verdict::Promoted));
}

#[test]
fn settings_out_of_range_are_named() {
    let rows = world();
    let judged = |config: GateConfig| config.judge(&rows.paired(&rows.base), None).unwrap_err().to_string();
    assert!(judged(GateConfig { margin: -0.1, ..GateConfig::default() }).contains("margin"));
    assert!(judged(GateConfig { margin: f64::NAN, ..GateConfig::default() }).contains("margin"));
    assert!(judged(GateConfig { confidence: 0.5, ..GateConfig::default() }).contains("confidence"));
    assert!(judged(GateConfig { most_gain: 0.0, ..GateConfig::default() }).contains("most_gain"));
    assert!(judged(GateConfig { least_users: 1, ..GateConfig::default() }).contains("least_users"));
}

#[test]
fn ranks_are_judged_like_scores() {
    let users: Vec<u32> = (0..200).collect();
    let base: Vec<f32> = users.iter().map(|user| (2 + user % 5) as f32).collect();
    let better: Vec<f32> = base.iter().zip(&users).map(|(rank, user)| if user % 4 == 0 { rank - 1.0 } else { *rank }).collect();
    let worse: Vec<f32> = base.iter().map(|rank| rank + 1.0).collect();
    let config = GateConfig { metric: "mrr[full]".parse().unwrap(), ..GateConfig::default() };
    let judge = |patch: &[f32]| {
        let rows = Paired { base: &base, base_again: &base, patch, labels: None, users: &users, slices: &[] };
        config.judge(&rows, Some(&clean()))
    };
    let of = |ranks: &[f32]| ranks.iter().map(|rank| 1.0 / f64::from(*rank)).sum::<f64>() / 200.0;
    let report = judge(&better).unwrap();
    assert_eq!(report.verdict, Verdict::Promoted);
    assert!((report.slices[0].gain.unwrap() - (of(&better) - of(&base))).abs() < 1e-9, "{report:?}");
    assert_eq!(judge(&worse).unwrap().verdict, Verdict::Rejected);
    assert_eq!(judge(&vec![1.0; 200]).unwrap().verdict, Verdict::Suspicious);
    // Ranks that are none, and columns that do not fit.
    assert!(judge(&vec![0.0; 200]).is_err() && judge(&base[1..]).is_err());
    // Metrics of labelled rows have no ranks.
    let rows = Paired { base: &base, base_again: &base, patch: &base, labels: None, users: &users, slices: &[] };
    assert!(GateConfig::default().judge(&rows, Some(&clean())).is_err());
}
