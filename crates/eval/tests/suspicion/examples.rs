//! The examples' own data: nothing in it is marked, and what is known to be an outcome is.

#[path = "../../../data/tests/skipped/mod.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acclimate_data::{
    Dataset, DatasetConfig, Encoder, FeatureConfig, FeatureKind, LeaveLastOut, Numeric, RawDataset, Side, Split, SplitConfig, TaskConfig,
};
use acclimate_eval::suspicion::{Leak, Parts, Sign, future_rates, label_copies, shared_rows};
use serde::Deserialize;

/// The entries of an experiment file that decide which rows are measured.
#[derive(Deserialize)]
struct Example {
    dataset: PathBuf,
    split: SplitConfig,
}

/// Reads the data of an example, with further columns of the log as features; `None` without the data.
fn read(name: &str, outcomes: &[(&str, FeatureKind)]) -> Option<(Dataset, Split)> {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let example: Example = toml::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap();
    let mut config = DatasetConfig::load(folder.join(example.dataset)).unwrap();
    for &(column, kind) in outcomes {
        let text = format!("name = '{column}'\nkind = '{}'", if kind == FeatureKind::Numeric { "numeric" } else { "categorical" });
        config.features.push(toml::from_str::<FeatureConfig>(&text).unwrap());
    }
    let (raw, _) = RawDataset::read(&config).unwrap();
    let split = example.split.split(raw.view()).unwrap();
    let encoder = Encoder::fit(&raw, split.rows("train").unwrap()).unwrap();
    Some((raw.encode_with(&encoder).unwrap(), split))
}

fn signs(dataset: &Dataset, parts: &Parts<'_>) -> Vec<Sign> {
    let began = std::time::Instant::now();
    let mut signs = label_copies(dataset, parts);
    let copies = began.elapsed();
    signs.extend(future_rates(dataset, parts));
    let rates = began.elapsed();
    signs.extend(shared_rows(dataset, parts));
    eprintln!(
        "{}: {} rows, copies {copies:.1?}, rates {:.1?}, shared {:.1?}",
        dataset.name,
        dataset.log.len(),
        rates - copies,
        began.elapsed() - rates
    );
    for leak in [Leak::LabelCopy, Leak::FutureRate, Leak::SharedRows] {
        let mut of: Vec<&Sign> = signs.iter().filter(|sign| sign.leak == leak).collect();
        of.sort_by(|a, b| b.closeness().total_cmp(&a.closeness()));
        of.iter().take(3).for_each(|sign| eprintln!("  {}: {}", sign.what(), sign.number()));
    }
    signs
}

fn assert_clean(dataset: &Dataset, parts: &Parts<'_>) {
    let marked: Vec<String> = signs(dataset, parts).iter().filter(|sign| sign.is_suspicious()).map(Sign::line).collect();
    assert!(marked.is_empty(), "{marked:#?}");
}

#[test]
fn kuairand() {
    let Some((data, split)) = read("krl1-multi-domain.toml", &[]) else { return };
    let rows = |part: &str| split.rows(part).unwrap();
    assert_clean(&data, &Parts { train: rows("train"), validation: rows("validation"), support: &[], measured: rows("test") });
    // Splits that cut between repeated exposures.
    let all: Vec<u32> = (0..data.log.len() as u32).collect();
    let last = SplitConfig::LeaveLastOut(LeaveLastOut::default()).split((&data).into()).unwrap();
    let of_last = |part: &str| last.rows(part).unwrap();
    assert_clean(&data, &Parts { train: of_last("train"), validation: of_last("validation"), support: &[], measured: of_last("test") });
    let (train, measured): (Vec<u32>, Vec<u32>) =
        all.iter().partition(|&&row| !acclimate_data::hash64(5, u64::from(row), 0).is_multiple_of(10));
    assert_clean(&data, &Parts { train: &train, validation: &[], support: &[], measured: &measured });
}

/// Columns of the log that are filled in after the exposure.
#[test]
fn outcomes_of_kuairand() {
    let outcomes = ["long_view", "play_time_ms", "is_like", "profile_stay_time", "comment_stay_time", "is_profile_enter"];
    let Some((mut data, split)) = read("krl1-multi-domain.toml", &outcomes.map(|name| (name, FeatureKind::Numeric))) else { return };
    data.features.categorical.clear();
    let rows = |part: &str| split.rows(part).unwrap();
    let signs = signs(&data, &Parts { train: rows("train"), validation: rows("validation"), support: &[], measured: rows("test") });
    signs.iter().for_each(|sign| eprintln!("  {}: {}", sign.what(), sign.number()));
    let marked: Vec<&str> = signs.iter().filter(|sign| sign.is_suspicious()).filter_map(|sign| sign.feature.as_deref()).collect();
    assert_eq!(marked, ["play_time_ms"]);
}

/// Rates of real items and users, over the whole log and over what came before the measured rows.
#[test]
fn rates_of_kuairand() {
    let Some((mut data, split)) = read("krl1-multi-domain.toml", &[]) else { return };
    let rows = |part: &str| split.rows(part).unwrap();
    data.features.categorical.clear();
    data.features.numeric.clear();
    data.features.bags.clear();
    let all: Vec<u32> = (0..data.log.len() as u32).collect();
    let before = [rows("train"), rows("validation")].concat();
    let mean = data.log.label.iter().sum::<f32>() / data.log.len() as f32;
    let (mut planted, mut columns) = (Vec::new(), Vec::new());
    for (side, of, entities) in [(Side::Item, "item", data.items.len()), (Side::User, "user", data.users.len())] {
        for (window, rows) in [("all", &all), ("past", &before)] {
            let mut sums = vec![[0.0_f32; 2]; entities];
            for &row in rows {
                let sum = &mut sums[data.entity(side, row as usize)];
                *sum = [sum[0] + 1.0, sum[1] + data.log.label[row as usize]];
            }
            for smoothing in [0.0, 1.0, 10.0, 100.0] {
                let rate = |[n, sum]: &[f32; 2]| if n + smoothing > 0.0 { (sum + smoothing * mean) / (n + smoothing) } else { mean };
                for log in [false, true] {
                    let name = format!("{of} {window} {smoothing}{}", if log { " log" } else { "" });
                    let values = sums.iter().map(|sum| if log { (rate(sum) + 1e-4).ln() } else { rate(sum) }).collect();
                    if window == "all" {
                        planted.push(name.clone());
                    }
                    columns.push(Arc::new(Numeric { name, side, values, unknown: 0.0 }));
                }
            }
        }
    }
    data.features.numeric = columns;
    let parts = Parts { train: rows("train"), validation: rows("validation"), support: &[], measured: rows("test") };
    let signs: Vec<Sign> = future_rates(&data, &parts);
    signs.iter().for_each(|sign| eprintln!("  {}: {}", sign.what(), sign.number()));
    let mut marked: Vec<&str> = signs.iter().filter(|sign| sign.is_suspicious()).filter_map(|sign| sign.feature.as_deref()).collect();
    marked.sort_unstable();
    marked.dedup();
    planted.sort();
    assert_eq!(marked, planted);
}

#[test]
fn movielens() {
    for name in ["movielens-cold-start.toml", "movielens-user-adaptation.toml"] {
        let Some((data, split)) = read(name, &[]) else { return };
        let rows = |part: &str| split.rows(part).unwrap();
        for part in ["new_user", "new_item", "both"] {
            let tasks = TaskConfig::default().tasks((&data).into(), rows(part)).unwrap().tasks;
            let measured: Vec<u32> = tasks.iter().flat_map(|task| task.query.clone()).collect();
            let support: Vec<u32> = tasks.iter().flat_map(|task| task.support.clone()).collect();
            assert_clean(&data, &Parts { train: rows("train"), validation: rows("validation"), support: &support, measured: &measured });
        }
    }
}

#[test]
fn amazon() {
    let Some((data, split)) = read("amazon-beauty-cold.toml", &[]) else { return };
    let rows = |part: &str| split.rows(part).unwrap();
    assert_clean(&data, &Parts { train: rows("train"), validation: rows("validation"), support: &[], measured: rows("test") });
}
