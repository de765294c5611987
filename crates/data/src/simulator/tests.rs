use super::*;
use crate::{LogView, Side};

fn demo(seed: u64) -> Simulation {
    SimulatorConfig::default().simulate(seed).unwrap()
}

fn rows<'a>(simulation: &'a Simulation, part: &str) -> &'a [u32] {
    simulation.split.rows(part).unwrap()
}

fn labels(simulation: &Simulation, rows: &[u32]) -> Vec<f32> {
    rows.iter().map(|&row| simulation.dataset.log.label[row as usize]).collect()
}

/// Area under the ROC curve with mid-ranks.
fn auc(scores: &[f32], labels: &[f32]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut rank_sum, mut start) = (0.0, 0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let middle = start as f64 + (tied.len() as f64 + 1.0) / 2.0;
        rank_sum += middle * tied.iter().filter(|&&i| labels[i] == 1.0).count() as f64;
        start += tied.len();
    }
    let positive = labels.iter().filter(|&&y| y == 1.0).count() as f64;
    (rank_sum - positive * (positive + 1.0) / 2.0) / (positive * (labels.len() as f64 - positive))
}

fn log_loss(scores: &[f32], labels: &[f32]) -> f64 {
    let one = |(&p, &y): (&f32, &f32)| -f64::from(if y == 1.0 { p } else { 1.0 - p }).max(1e-7).ln();
    scores.iter().zip(labels).map(one).sum::<f64>() / scores.len() as f64
}

/// Positions of the one-hot features of a row and its numbers.
fn sparse(dataset: &Dataset, row: u32, keep: &dyn Fn(&str) -> bool) -> Vec<(usize, f64)> {
    let features = &dataset.features;
    let (mut out, mut offset) = (vec![(0, 1.0)], 1);
    for column in &features.categorical {
        if keep(&column.name) {
            out.push((offset + column.codes[dataset.entity(column.side, row as usize)] as usize, 1.0));
        }
        offset += features.vocabularies[column.vocabulary.at()].rows();
    }
    for bag in &features.bags {
        let e = dataset.entity(bag.side, row as usize);
        out.extend(bag.lists.of(e).iter().map(|&code| (offset + code as usize, 1.0)));
        offset += features.vocabularies[bag.vocabulary.at()].rows();
    }
    for column in &features.numeric {
        out.push((offset, f64::from(column.values[dataset.entity(column.side, row as usize)])));
        offset += 1;
    }
    out
}

/// Logistic regression by Adagrad, three passes.
fn logistic(dataset: &Dataset, train: &[u32], keep: &dyn Fn(&str) -> bool) -> impl Fn(u32) -> f32 + use<> {
    let width = 2 + dataset.features.vocabularies.iter().map(crate::Vocabulary::rows).sum::<usize>() + dataset.features.numeric.len();
    let (mut weight, mut squares) = (vec![0.0; width], vec![1.0; width]);
    let score = |weight: &[f64], x: &[(usize, f64)]| 1.0 / (1.0 + (-x.iter().map(|&(i, v)| weight[i] * v).sum::<f64>()).exp());
    for epoch in 0..3 {
        for &row in crate::RowOrder::new(train.to_vec(), train.len(), 1).epoch(epoch).batch(0).unwrap() {
            let x = sparse(dataset, row, keep);
            let error = score(&weight, &x) - f64::from(dataset.log.label[row as usize]);
            for &(i, v) in &x {
                let gradient = error * v + 1e-4 * weight[i];
                squares[i] += gradient * gradient;
                weight[i] -= 0.15 * gradient / f64::sqrt(squares[i]);
            }
        }
    }
    let rows: Vec<f32> = (0..dataset.log.len() as u32).map(|row| score(&weight, &sparse(dataset, row, keep)) as f32).collect();
    move |row| rows[row as usize]
}

/// A factorisation machine: the smallest model that can learn which users like which items from features.
#[derive(Clone)]
struct Machine {
    /// Per feature: its weight, then its factors.
    weight: Vec<[f64; 1 + FACTORS]>,
    squares: Vec<[f64; 1 + FACTORS]>,
}

const FACTORS: usize = 8;

impl Machine {
    fn new(dataset: &Dataset) -> Self {
        let width = 2 + dataset.features.vocabularies.iter().map(crate::Vocabulary::rows).sum::<usize>() + dataset.features.numeric.len();
        let mut stream = RandomStream::new(1, 0, 0);
        let mut random = || std::array::from_fn(|f| if f == 0 { 0.0 } else { 0.1 * stream.normal() });
        Self { weight: (0..width).map(|_| random()).collect(), squares: vec![[0.1; 1 + FACTORS]; width] }
    }

    fn score(&self, x: &[(usize, f64)]) -> (f64, [f64; 1 + FACTORS]) {
        let (mut sum, mut own) = ([0.0; 1 + FACTORS], 0.0);
        for &(i, v) in x {
            for (f, w) in self.weight[i].iter().enumerate() {
                sum[f] += w * v;
                own += if f == 0 { 0.0 } else { (w * v).powi(2) };
            }
        }
        (sum[0] + 0.5 * (sum[1..].iter().map(|s| s * s).sum::<f64>() - own), sum)
    }

    fn train(mut self, dataset: &Dataset, rows: &[u32], epochs: u64, rate: f64) -> Self {
        for epoch in 0..epochs {
            for &row in crate::RowOrder::new(rows.to_vec(), rows.len(), 1).epoch(epoch).batch(0).unwrap() {
                let x = sparse(dataset, row, &|_| true);
                let (logit, sum) = self.score(&x);
                let error = 1.0 / (1.0 + (-logit).exp()) - f64::from(dataset.log.label[row as usize]);
                for &(i, v) in &x {
                    for (f, (w, squares)) in self.weight[i].iter_mut().zip(&mut self.squares[i]).enumerate() {
                        let gradient = error * v * if f == 0 { 1.0 } else { sum[f] - *w * v } + 1e-3 * *w;
                        *squares += gradient * gradient;
                        *w -= rate * gradient / squares.sqrt();
                    }
                }
            }
        }
        self
    }

    fn auc(&self, s: &Simulation, part: &str) -> f64 {
        let rows = rows(s, part);
        let scores: Vec<f32> = rows.iter().map(|&r| self.score(&sparse(&s.dataset, r, &|_| true)).0 as f32).collect();
        auc(&scores, &labels(s, rows))
    }
}

#[test]
fn interactions_are_learnable_and_transfer() {
    for seed in 1..3 {
        let s = demo(seed);
        let base = Machine::new(&s.dataset).train(&s.dataset, rows(&s, "train"), 3, 0.1);
        let tuned = base.clone().train(&s.dataset, rows(&s, "target_train"), 3, 0.1);
        let scratch = Machine::new(&s.dataset).train(&s.dataset, rows(&s, "target_train"), 5, 0.1);
        let linear = logistic(&s.dataset, rows(&s, "target_train"), &|_| true);
        let target = rows(&s, "target_test");
        let linear = auc(&target.iter().map(|&r| linear(r)).collect::<Vec<_>>(), &labels(&s, target));
        let bayes = auc(&s.ceiling(target), &labels(&s, target));
        let [zero, adapted, alone] = [&base, &tuned, &scratch].map(|m| m.auc(&s, "target_test"));
        eprintln!("seed {seed}: target: base {zero:.4}, adapted {adapted:.4}, scratch {alone:.4}, linear {linear:.4}, Bayes {bayes:.4}");
        assert!(base.auc(&s, "test") > 0.72 && base.auc(&s, "cold_test") > 0.7, "the base learns who likes what");
        assert!(adapted > zero + 0.04 && adapted > linear + 0.04 && adapted > alone + 0.01 && adapted < bayes - 0.1);
    }
}

#[test]
fn same_seed_same_bytes() {
    let (a, b, c) = (demo(1), demo(1), demo(2));
    let same = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") == format!("{b:?}");
    assert!(a.split == b.split && a.probability == b.probability);
    assert!(same(&a.dataset.log, &b.dataset.log) && !same(&a.dataset.log.label, &c.dataset.log.label));
    let (x, y) = (&a.dataset.features, &b.dataset.features);
    assert!(x.vocabularies == y.vocabularies);
    assert!(same(&x.categorical, &y.categorical) && same(&x.bags, &y.bags) && same(&x.numeric, &y.numeric));
}

#[test]
fn sizes_are_those_of_the_demo() {
    let s = demo(1);
    let sizes: Vec<(&str, usize)> = s.split.parts().map(|(name, rows)| (name, rows.len())).collect();
    eprintln!("{sizes:?}");
    assert_eq!((s.dataset.log.len(), s.dataset.users.len(), s.dataset.items.len(), s.split.left_out()), (60_000, 3000, 800, 0));
    let size = |part| rows(&s, part).len();
    assert!(size("train") > 22_000 && size("target_train") == 2500 && size("target_test") > 4000 && size("test") > 5000);
    assert_eq!((size("cold_validation"), size("cold_test")), (150 * 32, 300 * 32));
    assert!(s.dataset.log.time.is_sorted());
}

#[test]
fn cold_users_have_no_other_row_and_share_the_unknown_code() {
    let s = demo(1);
    let view = LogView::from(&s.dataset);
    let users = |part: &str| -> std::collections::BTreeSet<_> { rows(&s, part).iter().map(|&r| s.dataset.log.user[r as usize]).collect() };
    let (validation, test) = (users("cold_validation"), users("cold_test"));
    assert!(validation.is_disjoint(&test));
    for part in ["train", "validation", "test", "target_train", "target_validation", "target_test"] {
        assert!(users(part).is_disjoint(&test) && users(part).is_disjoint(&validation), "{part}");
    }
    let ids = &s.dataset.features.categorical[0];
    assert_eq!((ids.name.as_str(), ids.side), ("user_id", Side::User));
    assert!(test.iter().chain(&validation).all(|user| ids.codes[user.at()] == 0));
    let trained = rows(&s, "train").iter().filter(|&&r| ids.codes[s.dataset.log.user[r as usize].at()] == 0).count();
    assert!(trained > 100, "row 0 of the user ids is seen in {trained} training rows");
    let tasks = Simulation::tasks().tasks(view, rows(&s, "cold_test")).unwrap();
    assert_eq!((tasks.tasks.len(), tasks.on_curve().count()), (300, 300));
    let warm = Simulation::tasks().tasks(view, rows(&s, "train")).unwrap();
    assert!(warm.tasks.len() > 500, "{} warm users to meta-train on", warm.tasks.len());
}

#[test]
fn vocabularies_come_from_training_rows_only() {
    let s = demo(1);
    let domain = s.dataset.features.categorical.iter().find(|c| c.name == "domain").unwrap();
    assert!(rows(&s, "target_train").iter().all(|&r| domain.codes[r as usize] == 0), "the base has never seen the target");
    assert!(rows(&s, "train").iter().all(|&r| domain.codes[r as usize] != 0));
    for bag in &s.dataset.features.bags {
        assert!(bag.lists.iter().flatten().all(|&code| code != 0) && bag.lists.len() == s.dataset.items.len());
    }
    for numeric in &s.dataset.features.numeric {
        let seen: Vec<f64> =
            rows(&s, "train").iter().map(|&r| f64::from(numeric.values[s.dataset.entity(numeric.side, r as usize)])).collect();
        assert!((seen.iter().sum::<f64>() / seen.len() as f64).abs() < 1e-4, "{}", numeric.name);
    }
}

#[test]
fn labels_follow_the_probabilities() {
    for seed in 1..4 {
        let s = demo(seed);
        let n = s.probability.len() as f64;
        let (p, y): (f64, f64) =
            (s.probability.iter().map(|&p| f64::from(p)).sum(), s.dataset.log.label.iter().map(|&y| f64::from(y)).sum());
        let deviation: f64 = s.probability.iter().map(|&p| f64::from(p * (1.0 - p))).sum::<f64>().sqrt();
        assert!((p - y).abs() < 4.0 * deviation, "seed {seed}: {p} expected, {y} clicks, standard deviation {deviation}");
        assert!((0.2..0.6).contains(&(y / n)), "seed {seed}: click rate {}", y / n);
    }
}

#[test]
fn features_alone_stay_below_the_ceiling() {
    let s = demo(1);
    let all: Vec<u32> = (0..60_000).collect();
    let ceiling = auc(&s.ceiling(&all), &labels(&s, &all));
    assert!(ceiling > 0.75, "Bayes AUC {ceiling}");
    for ids in [false, true] {
        let model = logistic(&s.dataset, rows(&s, "train"), &|name| ids || !name.ends_with("_id"));
        for part in ["test", "cold_test"] {
            let rows = rows(&s, part);
            let (y, scores): (_, Vec<f32>) = (labels(&s, rows), rows.iter().map(|&r| model(r)).collect());
            let (bayes, got) = (auc(&s.ceiling(rows), &y), auc(&scores, &y));
            eprintln!(
                "{part}, ids {ids}: logistic regression AUC {got:.4} log loss {:.4}, Bayes {bayes:.4} {:.4}",
                log_loss(&scores, &y),
                log_loss(&s.ceiling(rows), &y)
            );
            assert!(got > 0.55 && got < bayes - 0.1, "{part}: logistic regression {got}, Bayes {bayes}");
        }
    }
}

#[test]
fn the_domain_shift_is_real_and_vanishes_with_its_setting() {
    let loss = |s: &Simulation| {
        let rows = rows(s, "target_test");
        let y = labels(s, rows);
        let wrong: Vec<f32> = rows.iter().map(|&r| s.probability_in(r, DomainIndex(1))).collect();
        let right = s.ceiling(rows);
        (auc(&right, &y) - auc(&wrong, &y), log_loss(&wrong, &y) - log_loss(&right, &y))
    };
    for seed in 1..4 {
        let (auc, log_loss) = loss(&demo(seed));
        eprintln!("seed {seed}: source probabilities lose {auc:.4} AUC and {log_loss:.4} log loss on the target");
        assert!(auc > 0.1 && log_loss > 0.2, "seed {seed}: AUC {auc}, log loss {log_loss}");
        let (near, _) = loss(&SimulatorConfig { taste_shift: 0.0, ..SimulatorConfig::default() }.simulate(seed).unwrap());
        assert!(near < 0.03, "seed {seed}: without a shift the sources lose only {near}");
    }
}

#[test]
fn the_world_drifts() {
    let s = demo(1);
    let last = Draft { time: 1.0, ..s.drafts[0].clone() };
    let moved = (s.world.probability(&Draft { time: 0.0, ..last.clone() }, 0) - s.world.probability(&last, 0)).abs();
    let still = SimulatorConfig { drift: 0.0, ..SimulatorConfig::default() }.simulate(1).unwrap();
    assert!(moved > 1e-3);
    assert_eq!(still.world.probability(&Draft { time: 0.0, ..last.clone() }, 0), still.world.probability(&last, 0));
}

#[test]
fn settings_that_contradict_are_refused() {
    let refused = |config: SimulatorConfig| config.simulate(1).unwrap_err().setting;
    assert_eq!(refused(SimulatorConfig { domains: 1, ..SimulatorConfig::default() }), "domains");
    assert_eq!(refused(SimulatorConfig { cold_users: 3000, ..SimulatorConfig::default() }), "cold_users");
    assert_eq!(refused(SimulatorConfig { rows: 10_000, ..SimulatorConfig::default() }), "rows");
    assert_eq!(refused(SimulatorConfig { target_share: 1.0, ..SimulatorConfig::default() }), "target_share");
    assert!(toml::from_str::<SimulatorConfig>("user = 5").is_err());
    assert_eq!(toml::from_str::<SimulatorConfig>("users = 5").unwrap().users, 5);
}

/// Newton steps for a user's deviation from what the features say, with the item characters known: what a perfect base could do with k labels.
fn fold_in(s: &Simulation, base: &dyn Fn(u32) -> f32, support: &[u32], variance: &[f64]) -> Vec<f64> {
    let d = variance.len();
    let x = |row: u32| -> Vec<f64> {
        let item = s.dataset.log.item[row as usize];
        s.item_character(item).iter().copied().chain([1.0]).collect()
    };
    let mut w = vec![0.0; d];
    for _ in 0..200 {
        let mut gradient: Vec<f64> = w.iter().zip(variance).map(|(w, v)| w / v).collect();
        for &row in support {
            let logit = f64::from((base(row) / (1.0 - base(row))).ln());
            let x = x(row);
            let p = 1.0 / (1.0 + (-(logit + w.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>())).exp());
            gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += (p - f64::from(s.dataset.log.label[row as usize])) * x);
        }
        w.iter_mut().zip(&gradient).zip(variance).for_each(|((w, g), v)| *w -= 0.1 * g * v.min(1.0));
    }
    w
}

#[test]
fn support_rows_reveal_a_cold_users_taste() {
    let s = demo(1);
    let base = logistic(&s.dataset, rows(&s, "train"), &|name| name != "user_id");
    let tasks = Simulation::tasks().tasks(LogView::from(&s.dataset), rows(&s, "cold_test")).unwrap();
    let variance: Vec<f64> = (0..8).map(|j| 4.0 * 0.4375 * 0.5625f64.powi(j)).chain([0.25]).collect();
    let mut reached = Vec::new();
    for k in [0, 5, 20] {
        let (mut scores, mut y, mut bayes) = (Vec::new(), Vec::new(), Vec::new());
        for task in &tasks.tasks {
            let w = fold_in(&s, &base, task.support(k), &variance);
            for &row in &task.query {
                let v = s.item_character(s.dataset.log.item[row as usize]);
                let logit = f64::from((base(row) / (1.0 - base(row))).ln()) + w[8] + v.iter().zip(&w).map(|(a, b)| a * b).sum::<f64>();
                scores.push((1.0 / (1.0 + (-logit).exp())) as f32);
            }
            y.extend(labels(&s, &task.query));
            bayes.extend(s.ceiling(&task.query));
        }
        eprintln!(
            "k {k}: AUC {:.4} log loss {:.4}; Bayes {:.4} {:.4}",
            auc(&scores, &y),
            log_loss(&scores, &y),
            auc(&bayes, &y),
            log_loss(&bayes, &y)
        );
        reached.push(auc(&scores, &y));
    }
    assert!(reached[1] > reached[0] + 0.03 && reached[2] > reached[1] + 0.03, "{reached:?}");
}
