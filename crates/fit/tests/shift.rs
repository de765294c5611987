//! The unlabelled offset: against `reference/prior_shift.py`, and what it must do where the truth is known.

use acclimate_fit::shift::{Abstention, PriorShift, Replay, ShiftSettings, Verdict};
use serde_json::Value;

const GOLDEN: &str = include_str!("../../../reference/golden/prior_shift.json");

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

#[test]
fn it_agrees_with_the_reference() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("a golden file");
    let fitted = PriorShift::fit(&numbers(&golden["logits"]), &numbers(&golden["labels"]), ShiftSettings::default()).unwrap();
    for (at, window) in golden["windows"].as_array().unwrap().iter().enumerate() {
        let found = fitted.window(&numbers(&window["logits"]));
        let expected = |name: &str| window[name].as_f64().unwrap();
        for (name, value) in [("share", found.share), ("estimate", found.estimate), ("error", found.error)] {
            assert!((value - expected(name)).abs() < 1e-5, "window {at}, {name}: {value} against {}", expected(name));
        }
        match found.abstains {
            Some(Abstention::Inputs(statistic, _)) => assert!((statistic - expected("statistic")).abs() < 1e-4 * statistic, "window {at}"),
            Some(Abstention::Power(power)) => assert!((power - expected("power")).abs() < 1e-6 * power.max(1.0), "window {at}"),
            _ => {}
        }
    }
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How a window differs from validation.
#[derive(Clone, Copy)]
enum Drift {
    None,
    /// Positives are more frequent by so much in logits, what is seen of each class as before.
    Prior(f64),
    /// Other inputs, the same chance for each.
    Covariate,
    /// The same inputs, a chance that is higher by so much in logits.
    Concept(f64),
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Logits of a network that is too sure and too high, and labels.
fn traffic(draw: &mut Draw, n: usize, drift: Drift) -> (Vec<f32>, Vec<f32>) {
    let (mut logits, mut labels) = (Vec::new(), Vec::new());
    while logits.len() < n {
        let u = match drift {
            Drift::Covariate => 0.2 + 0.7 * draw.normal(),
            _ => -0.8 + 1.3 * draw.normal(),
        };
        let chance = sigmoid(if let Drift::Concept(size) = drift { u + size } else { u });
        let positive = draw.unit() < chance;
        if let Drift::Prior(size) = drift {
            let keep = if positive { size.min(0.0).exp() } else { (-size.max(0.0)).exp() };
            if draw.unit() > keep {
                continue;
            }
        }
        logits.push((1.15 * u + 0.1) as f32);
        labels.push(f32::from(u8::from(positive)));
    }
    (logits, labels)
}

fn fitted(draw: &mut Draw) -> PriorShift {
    let (logits, labels) = traffic(draw, 6000, Drift::None);
    PriorShift::fit(&logits, &labels, ShiftSettings::default()).unwrap()
}

fn mean_loss(logits: &[f32], labels: &[f32], offset: f64) -> f64 {
    let loss = |(&z, &y): (&f32, &f32)| {
        let s = f64::from(z) + offset;
        s.max(0.0) + (-s.abs()).exp().ln_1p() - f64::from(y) * s
    };
    logits.iter().zip(labels).map(loss).sum::<f64>() / logits.len() as f64
}

/// The offset with the smallest loss, by golden section.
fn oracle(logits: &[f32], labels: &[f32]) -> f64 {
    let (mut low, mut high) = (-3.0, 3.0);
    for _ in 0..80 {
        let (a, b) = (low + 0.382 * (high - low), low + 0.618 * (high - low));
        if mean_loss(logits, labels, a) < mean_loss(logits, labels, b) { high = b } else { low = a }
    }
    0.5 * (low + high)
}

fn share(verdicts: &[Verdict], is: impl Fn(&Verdict) -> bool) -> f64 {
    verdicts.iter().filter(|v| is(v)).count() as f64 / verdicts.len() as f64
}

#[test]
fn under_prior_drift_it_recovers_most_of_what_an_intercept_can_win() {
    let mut draw = Draw(1);
    for size in [-0.8, 0.6, 0.9] {
        let (mut won, mut most) = (0.0, 0.0);
        for _ in 0..20 {
            let fitted = fitted(&mut draw);
            let (logits, labels) = traffic(&mut draw, 4000, Drift::Prior(size));
            let plain = mean_loss(&logits, &labels, 0.0);
            won += plain - mean_loss(&logits, &labels, fitted.window(&logits).offset);
            most += plain - mean_loss(&logits, &labels, oracle(&logits, &labels));
        }
        assert!(won > 0.8 * most, "{size}: {won} of {most}");
    }
}

#[test]
fn under_covariate_drift_it_abstains() {
    let mut draw = Draw(2);
    let verdicts: Vec<Verdict> = (0..100).map(|_| fitted(&mut draw).window(&traffic(&mut draw, 4000, Drift::Covariate).0)).collect();
    let abstains = share(&verdicts, |v| v.offset == 0.0);
    assert!(abstains >= 0.95, "{abstains}");
    assert!(share(&verdicts, |v| matches!(v.abstains, Some(Abstention::Inputs(..)))) > 0.8);
}

#[test]
fn without_drift_the_offset_is_0() {
    let mut draw = Draw(3);
    let verdicts: Vec<Verdict> = (0..200).map(|_| fitted(&mut draw).window(&traffic(&mut draw, 3000, Drift::None).0)).collect();
    let zero = share(&verdicts, |v| v.offset == 0.0);
    assert!(zero >= 0.95, "{zero}");
    // The plain correction has no such manners.
    let plain = PriorShift::fit(
        &traffic(&mut draw, 6000, Drift::None).0,
        &vec![0.0; 5970].into_iter().chain(vec![1.0; 30]).collect::<Vec<f32>>(),
        ShiftSettings { guarded: false, ..ShiftSettings::default() },
    );
    assert!(plain.unwrap().window(&traffic(&mut draw, 3000, Drift::None).0).abstains.is_none());
}

#[test]
fn the_error_is_the_spread_of_the_estimate() {
    let mut draw = Draw(4);
    let verdicts: Vec<Verdict> = (0..200).map(|_| fitted(&mut draw).window(&traffic(&mut draw, 3000, Drift::None).0)).collect();
    let inside = share(&verdicts, |v| v.estimate.abs() < 2.0 * v.error);
    assert!((0.92..=0.995).contains(&inside), "{inside}");
}

#[test]
fn concept_drift_is_invisible_and_the_replay_ends_what_hurts() {
    let mut draw = Draw(5);
    let verdicts: Vec<Verdict> = (0..60).map(|_| fitted(&mut draw).window(&traffic(&mut draw, 3000, Drift::Concept(0.7)).0)).collect();
    assert!(share(&verdicts, |v| v.estimate.abs() < 2.0 * v.error) >= 0.9);
    // An offset the wrong way is found out by the first window with labels.
    let (logits, labels) = traffic(&mut draw, 3000, Drift::Concept(0.7));
    let rows = logits.iter().zip(&labels).map(|(&z, &y)| (f64::from(z), -0.4, f64::from(y)));
    assert!(Replay::of(rows).unwrap().shows_a_loss());
}

#[test]
fn ten_thousand_rows_take_little_and_order_does_not_matter() {
    let mut draw = Draw(6);
    let fitted = fitted(&mut draw);
    let mut logits = traffic(&mut draw, 10_000, Drift::Prior(0.7)).0;
    let first = fitted.window(&logits);
    logits.reverse();
    let again = fitted.window(&logits);
    assert!((first.estimate - again.estimate).abs() < 1e-9 && first.abstains.is_none(), "{first:?}");
}
