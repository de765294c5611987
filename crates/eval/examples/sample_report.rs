//! Writes a report made from invented numbers, to look at its design: `cargo run -p acclimate-eval --example sample_report -- OUT_FOLDER`.

use std::path::PathBuf;

use acclimate_eval::floor::Chosen;
use acclimate_eval::{
    Bootstrap, Cost, Entrant, Environment, EvalError, EvaluationRows, Kind, LabelRange, Leaderboard, Metric, Paint, Panel, Place, Report,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEEDS: [u64; 3] = [1, 2, 3];

fn metrics(names: &[&str]) -> Result<Vec<Metric>, EvalError> {
    names.iter().map(|name| name.parse()).collect()
}

fn place(dataset: &str, scenario: &str, setting: &str) -> Place {
    Place { dataset: dataset.to_owned(), scenario: scenario.to_owned(), setting: setting.to_owned() }
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn cost(parameters: u64, seconds: f64) -> Cost {
    Cost {
        trainable_parameters: Some(parameters),
        patch_bytes: Some(parameters * 4 + 2_310),
        train_seconds: Some(seconds),
        rows_per_second: Some(171_300.0 / (1.0 + seconds / 40.0)),
        ..Cost::default()
    }
}

/// A strength of regularisation that was chosen.
fn l2(value: f64) -> Vec<Chosen> {
    vec![Chosen { setting: "l2".to_owned(), value, from: vec![1.0, 10.0, 100.0], at_end: value == 100.0 }]
}

/// Rows with a known log-odds each; methods see it through noise.
struct Clicks {
    rows: EvaluationRows,
    truth: Vec<f64>,
}

impl Clicks {
    fn draw(users: u32, domains: &[&str], random: &mut ChaCha8Rng) -> Result<Self, EvalError> {
        let (mut user_of, mut domain_of, mut labels, mut truth) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for user in 0..users {
            let taste = 0.5 * normal(random);
            for _ in 0..random.random_range(4..20) {
                // The first domain is the largest, as in real logs.
                let domain = random.random_range(0..domains.len() as u32 * 2).saturating_sub(domains.len() as u32);
                let odds = taste - 0.8 + 0.3 * f64::from(domain) + 0.9 * normal(random);
                user_of.push(user);
                domain_of.push(domain);
                labels.push(f32::from(u8::from(random.random::<f64>() < sigmoid(odds))));
                truth.push(odds);
            }
        }
        let names: Vec<String> = domains.iter().map(|&name| name.to_owned()).collect();
        Ok(Self { rows: EvaluationRows::new(&user_of, &labels)?.with_domains("tab", &domain_of, &names)?, truth })
    }

    /// The ceiling's predictions for noise 0; the larger the noise, the worse the method. `shared` noise is the same for all seeds.
    fn seen_with(&self, noise: f64, seed: u64, random: &mut ChaCha8Rng) -> (u64, Vec<f32>) {
        let mut shared = ChaCha8Rng::seed_from_u64((noise * 1e6) as u64);
        let see = |odds: &f64| sigmoid(odds + noise * normal(&mut shared) + 0.15 * noise * normal(random)) as f32;
        (seed, self.truth.iter().map(see).collect())
    }

    fn trained(&self, method: &str, kind: Kind, noise: f64, cost: Cost, random: &mut ChaCha8Rng) -> Entrant<f32> {
        let runs = SEEDS.iter().map(|&seed| self.seen_with(noise, seed, random)).collect();
        Entrant::trained(method, kind, runs, cost)
    }

    fn floor(&self, method: &str, noise: f64, random: &mut ChaCha8Rng) -> Entrant<f32> {
        Entrant::deterministic(method, Kind::Floor, self.seen_with(noise, 0, random).1)
    }

    fn panel(&self, place: Place, gain: f64, random: &mut ChaCha8Rng) -> Panel<f32> {
        let constant = Entrant::deterministic("domain_constant", Kind::Floor, vec![0.37; self.rows.len()]);
        let read = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (plain, history) = (read(&["item", "user"]), read(&["item", "user", "watched"]));
        let ceiling = Entrant::deterministic("bayes", Kind::Ceiling, self.truth.iter().map(|&odds| sigmoid(odds) as f32).collect());
        Panel::new(place, Bootstrap::default())
            .enter(constant)
            .enter(self.floor("smoothed_item_rate", 1.9, random))
            .with_references(&["base", "base_history"])
            .enter(self.floor("logistic_regression", 1.15, random).reading(plain.clone()).with_settings(vec![l2(10.0)]))
            .enter(self.floor("logistic_regression[base_history]", 0.95, random).reading(history.clone()).with_settings(vec![l2(100.0)]))
            .enter(self.trained("base", Kind::Control, 1.2, Cost::default(), random).reading(plain.clone()))
            .enter(self.trained("base_history", Kind::Control, 1.0, Cost::default(), random).reading(history))
            .enter(self.trained("scratch", Kind::Control, 2.1 - 1.3 * gain, cost(287_401, 41.0), random).reading(plain.clone()))
            .enter(self.trained("fine_tune_all", Kind::Control, 1.2 - 0.65 * gain, cost(287_401, 22.0), random).reading(plain.clone()))
            .enter(self.trained("fine_tune_head", Kind::Control, 1.2 - 0.1 * gain, cost(33, 1.4), random).reading(plain.clone()))
            .enter(self.trained("adapter", Kind::Adaptation, 1.2 - 0.4 * gain, cost(4_497, 6.2), random).reading(plain.clone()))
            .enter(self.trained("film", Kind::Adaptation, 1.2 - 0.3 * gain, cost(960, 3.9), random).reading(plain.clone()))
            .enter(self.trained("maml", Kind::Adaptation, 1.2 - 0.7 * gain, cost(24_961, 18.3), random).reading(plain))
            .enter(ceiling)
    }
}

fn click_scenarios(report: &mut Report, random: &mut ChaCha8Rng) -> Result<(), EvalError> {
    let domains = ["1", "0", "4", "6", "2"];
    let clicks = Clicks::draw(900, &domains, random)?;
    let names = [
        "macro_auc",
        "gauc[user]",
        "gauc[user,tab]",
        "log_loss",
        "pcoc",
        "auc[tab=1]",
        "auc[tab=0]",
        "auc[tab=4]",
        "auc[tab=6]",
        "auc[tab=2]",
    ];
    report.extend(clicks.panel(place("sample-simulator", "multi_domain", "all"), 0.9, random).on_rows(&clicks.rows, &metrics(&names)?)?);
    let target = Clicks::draw(700, &["2"], random)?;
    for (setting, gain) in [("n=0", 0.0), ("n=100", 0.1), ("n=1000", 0.5), ("n=all", 1.0)] {
        let panel = target.panel(place("sample-simulator", "new_domain", setting), gain, random);
        report.extend(panel.on_rows(&target.rows, &metrics(&["auc[tab=2]", "auc", "log_loss", "pcoc"])?)?);
    }
    Ok(())
}

fn rating_panel(place: Place, users: u32, k: f64, random: &mut ChaCha8Rng) -> Result<(Panel<f32>, EvaluationRows), EvalError> {
    let mut user_of = Vec::new();
    let (mut labels, mut bias, mut taste) = (Vec::new(), Vec::new(), Vec::new());
    for user in 0..users {
        let mood = 0.4 * normal(random);
        for _ in 0..10 {
            let (item, match_) = (0.5 * normal(random), 0.6 * normal(random));
            user_of.push(user);
            bias.push(3.7 + item + mood * k / (k + 5.0));
            taste.push(0.6 * match_ * k / (k + 8.0));
            labels.push((3.7 + mood + item + match_ + 0.6 * normal(random)).round().clamp(1.0, 5.0) as f32);
        }
    }
    let rows = EvaluationRows::new(&user_of, &labels)?.with_label_range(LabelRange { low: 1.0, high: 5.0 });
    let seen = |share: f64, shift: f64, noise: f64, random: &mut ChaCha8Rng| -> Vec<f32> {
        bias.iter().zip(&taste).map(|(b, t)| (b + share * t + shift + noise * normal(random)) as f32).collect()
    };
    let mut runs = |share: f64, shift: f64, noise: f64| SEEDS.iter().map(|&seed| (seed, seen(share, shift, noise, random))).collect();
    let adaptations = [
        Entrant::trained("base", Kind::Control, runs(0.0, 0.1, 0.35), Cost::default()),
        Entrant::trained("fine_tune_all", Kind::Control, runs(0.5, 1.4 / (1.0 + k), 0.25), cost(1_204_113, 96.0)),
        Entrant::trained("melu", Kind::Adaptation, runs(0.7, 0.9 / (1.0 + k), 0.15), cost(24_961, 240.0)),
        Entrant::trained("film", Kind::Adaptation, runs(1.0, 0.05, 0.1), cost(2_048, 31.0)),
    ];
    let global = Entrant::deterministic("global_mean", Kind::Floor, vec![3.6; rows.len()]);
    let items = Entrant::deterministic("item_mean", Kind::Floor, seen(0.0, 0.0, 0.2, random));
    let shrink = |setting: &str, value| Chosen { setting: setting.to_owned(), value, from: vec![1.0, 5.0, 10.0, 50.0], at_end: false };
    let best = Entrant::deterministic("bias", Kind::Floor, seen(0.0, 0.0, 0.0, random))
        .with_settings(vec![vec![shrink("item_shrink", 10.0), shrink("user_shrink", 5.0)]]);
    let floors = Panel::new(place, Bootstrap::default()).enter(global).enter(items).enter(best);
    Ok((adaptations.into_iter().fold(floors, Panel::enter), rows))
}

fn rating_scenarios(report: &mut Report, random: &mut ChaCha8Rng) -> Result<(), EvalError> {
    let metrics = metrics(&["mae", "rmse", "ndcg@3[gain=linear]", "ndcg@1[gain=exponential]"])?;
    for (setting, users, k) in [("new_user", 420, 28.0), ("both", 380, 20.0)] {
        let (panel, rows) = rating_panel(place("sample-ratings", "user_cold_start", setting), users, k, random)?;
        report.extend(panel.on_rows(&rows, &metrics)?);
    }
    for k in [0_u8, 1, 3, 5, 10, 20] {
        let place = place("sample-ratings", "user_cold_start", &format!("new_user,k={k}"));
        let (panel, rows) = rating_panel(place, 300, f64::from(k), random)?;
        report.extend(panel.on_rows(&rows, &metrics)?);
    }
    Ok(())
}

fn main() -> Result<(), EvalError> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut report = Report {
        title: "Sample report".to_owned(),
        command: "acclimate compare examples/sample.toml --seeds 3 --json sample.json".to_owned(),
        config: "[data]\ndataset = \"sample.toml\"\n\n[base]\nbackbone = \"dnn\"\nwidths = [128, 64, 32]\n\n[[method]]\nname = \"adapter\"\nbottleneck = 16\n"
            .to_owned(),
        environment: Environment {
            version: "0.1.0".to_owned(),
            seeds: SEEDS.to_vec(),
            threads: 2,
            device: "cpu".to_owned(),
            processor: "Example processor, 2 cores".to_owned(),
            peak_memory_mib: Some(612.0),
            started: "2025-03-14T09:26:53Z".to_owned(),
            seconds: 754.0,
            bootstrap: Bootstrap::default(),
        },
        notes: vec!["All numbers on this page are invented, to show the design of a report.".to_owned()],
        ..Report::default()
    };
    click_scenarios(&mut report, &mut random)?;
    rating_scenarios(&mut report, &mut random)?;
    report.write_json(&folder.join("sample.json"))?;
    report.write_html(&folder.join("sample.html"))?;
    print!("{}", Leaderboard::new(&report, Paint::for_stdout()).with_most_metrics(4));
    Ok(())
}
