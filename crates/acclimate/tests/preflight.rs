//! Preflight from outside: every comparison carries it, planted leaks stand in the first lines, and finished controls are kept.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A click log of 60 users and 80 items. Features of the log: `hour`, and `outcome`, which copies the label but for one row in ten. Of items: `price`, the
/// click rate over training rows, and over all rows.
fn write_data(folder: &Path) {
    let mut state = 99_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut log = String::from("user,item,time,click,hour,outcome\n");
    let mut sums = [[[0.0_f64; 2]; 2]; 80];
    for row in 0..6000_u64 {
        let (user, item) = (draw(60), draw(80));
        let click = u64::from(draw(100) < 10 + item % 9 * 8 + user % 3 * 7);
        let outcome = if draw(10) == 0 { draw(2) } else { click };
        let _ = writeln!(log, "{user},{item},{},{click},{},{outcome}", 1_700_000_000 + row * 60, row % 24);
        #[expect(clippy::needless_range_loop, reason = "the sums of two windows, of which a row counts in one or both")]
        for window in 0..=usize::from(row < 4800) {
            let sum = &mut sums[item as usize][window];
            *sum = [sum[0] + 1.0, sum[1] + click as f64];
        }
    }
    let mut items = String::from("item,price,past_rate,rate\n");
    for (item, [all, past]) in sums.iter().enumerate() {
        let _ = writeln!(items, "{item},{},{},{}", draw(50), past[1] / past[0], all[1] / all[0]);
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("items.csv"), items).unwrap();
}

/// A comparison that reads these features of the log and of items.
fn write_experiment(folder: &Path, of_rows: &[&str], of_items: &[&str]) {
    let mut data = String::from(
        "name = 'log'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\ntime = { column = 'time', unit = 's' }\n\
         label = { column = 'click', kind = 'click' }\n[[items]]\nfiles = ['items.csv']\nkey = 'item'\n\
         [[feature]]\nname = 'user'\nkind = 'categorical'\n[[feature]]\nname = 'item'\nkind = 'categorical'\n",
    );
    for name in of_rows {
        let _ = writeln!(data, "[[feature]]\nname = '{name}'\nkind = 'categorical'");
    }
    for name in of_items {
        let _ = writeln!(data, "[[feature]]\nname = '{name}'\nkind = 'numeric'\nfrom = 'items'\nscale = 'min_max'");
    }
    std::fs::write(folder.join("data.toml"), data).unwrap();
    let experiment = "name = 'log'\ndataset = 'data.toml'\nmetrics = ['auc', 'gauc[user]', 'log_loss']\nbootstrap = { draws = 100 }\n\
                      split = { kind = 'global_time', validation_from = 1_700_288_000, test_from = 1_700_324_000 }\nscenario = { kind = 'multi_domain' }\n\
                      base = { backbone = { kind = 'dnn', embedding = 4, embedding_std = 0.1, hidden = [8] }, train = { epochs = 8, batch = 128, optimizer = { rate = 5e-3 } } }\n\
                      method = [{ name = 'fine_tune_all', train = { epochs = 1 } }]\n";
    std::fs::write(folder.join("experiment.toml"), experiment).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acclimate"));
    command.current_dir(folder).args(arguments).args(["--threads", "1"]).env_remove("ACCLIMATE_DATA");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What is printed, the JSON and the page.
fn compare(folder: &Path) -> (String, Value, String) {
    let printed = String::from_utf8(run(folder, &["compare", "experiment.toml", "--out", "out", "--quiet"]).stdout).unwrap();
    let json = serde_json::from_str(&std::fs::read_to_string(folder.join("out/results.json")).unwrap()).unwrap();
    (printed, json, std::fs::read_to_string(folder.join("out/report.html")).unwrap())
}

#[test]
fn a_clean_comparison_says_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    write_experiment(at, &["hour"], &["price", "past_rate"]);
    let (printed, json, page) = compare(at);
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("reflight")).collect();
    assert_eq!(lines.len(), 1, "{printed}");
    assert!(
        lines[0].contains("`base` scores 600 rows alike twice and differs from itself by 0 in 3 metrics; shuffled labels do not win"),
        "{}",
        lines[0]
    );
    assert!(lines[0].ends_with("no leak in 5 features, and no measured row was learned from."), "{}", lines[0]);
    assert!(
        !printed.contains("Suspicious") && json["notes"].as_array().unwrap().iter().any(|note| lines[0].ends_with(note.as_str().unwrap()))
    );
    let preflight = &json["preflight"][0];
    assert_eq!(
        (&preflight["scenario"], &preflight["base"], &preflight["suspicious"]),
        (&"multi_domain".into(), &"base".into(), &Value::Array(Vec::new()))
    );
    let check = &preflight["settings"][0];
    assert_eq!(
        (&check["rows"], &check["different"], &check["metrics"], &check["largest_difference"]),
        (&600.into(), &0.into(), &3.into(), &0.0.into())
    );
    let control = &check["control"];
    assert_eq!(
        (&control["rows"], &control["metric"], &control["better"], &control["shuffles"]),
        (&4800.into(), &"auc".into(), &"no".into(), &1.into())
    );
    let leaks: Vec<&Value> = preflight["nearest"].as_array().unwrap().iter().map(|sign| &sign["leak"]).collect();
    assert_eq!(leaks, ["label_copy", "future_rate", "shared_rows"]);
    for text in ["<h2>Preflight</h2>", "Scored twice", "Against itself", "Shuffled labels", "it does not win", "no leak in 5 features"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("Do not trust"));
}

#[test]
fn planted_leaks_stand_in_the_first_lines() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    write_experiment(at, &["hour", "outcome"], &["price", "past_rate", "rate"]);
    let (printed, json, page) = compare(at);
    let first: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).take(2).collect();
    assert!(first[0].starts_with("Suspicious: log / multi_domain: feature `outcome`: AUC 0.9"), "{printed}");
    assert!(first[0].contains("filled in after the outcome"), "{printed}");
    assert!(first[1].starts_with("Suspicious: log / multi_domain: feature `rate` as a rate of each item"), "{printed}");
    assert!(first[1].contains("over a time that includes the measured rows"), "{printed}");
    let marked: Vec<&Value> = json["preflight"][0]["suspicious"].as_array().unwrap().iter().map(|sign| &sign["feature"]).collect();
    assert_eq!(marked, ["outcome", "rate"]);
    assert!(json["notes"].as_array().unwrap().iter().filter(|note| note.as_str().unwrap().starts_with("Suspicious")).count() == 2);
    let alert = page.find("Do not trust these numbers yet").unwrap();
    assert!(alert < page.find("<h2>Verdict").unwrap() && page.contains("feature `outcome`"));
}

#[test]
fn a_finished_control_is_kept_and_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    write_experiment(at, &["hour"], &["price"]);
    let (_, first, _) = compare(at);
    let said = String::from_utf8(run(at, &["compare", "experiment.toml", "--out", "out", "--verbose"]).stderr).unwrap();
    assert!(said.contains("preflight/shuffled-seed1: done before") && !said.contains("epoch 1"), "{said}");
    let again: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out/results.json")).unwrap()).unwrap();
    assert_eq!(first["preflight"], again["preflight"]);
    let bases: Vec<_> = std::fs::read_dir(at.join("out/bases")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(bases, ["base-seed1"], "a control is no base");
    run(at, &["compare", "experiment.toml", "--out", "fresh", "--quiet"]);
    let fresh: Value = serde_json::from_str(&std::fs::read_to_string(at.join("fresh/results.json")).unwrap()).unwrap();
    assert_eq!(first["preflight"], fresh["preflight"], "the same seed gives the same bytes");
}

#[test]
fn the_demo_is_not_suspicious() {
    let folder = tempfile::tempdir().unwrap();
    let printed = String::from_utf8(run(folder.path(), &["demo", "--small", "--out", "demo", "--quiet"]).stdout).unwrap();
    assert!(!printed.contains("Suspicious"), "{printed}");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("demo/results.json")).unwrap()).unwrap();
    let scenarios: Vec<&Value> = json["preflight"].as_array().unwrap().iter().map(|preflight| &preflight["scenario"]).collect();
    assert_eq!(scenarios, ["new_domain[domain=target]", "cold_start"]);
}

#[test]
fn a_base_that_ranks_is_checked_by_its_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut log = String::from("user,item,time,shop\n");
    for user in 0..120_u64 {
        for (i, shop) in ["gadgets", "gadgets", "gadgets", "gadgets", "creams", "creams"].into_iter().enumerate() {
            let item = if shop == "gadgets" { (user * 7 + i as u64 * (1 + user % 3)) % 15 } else { 100 + (user * 5 + i as u64) % 12 };
            let _ = writeln!(log, "{user},{item},{},{shop}", 1_700_000_000 + user * 1000 + i as u64);
        }
    }
    std::fs::write(at.join("log.csv"), log).unwrap();
    std::fs::write(
        at.join("data.toml"),
        "name = 'log'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\ntime = { column = 'time', unit = 's' }\ndomain = { column = 'shop' }\n\
         label = { kind = 'implicit' }\n[[feature]]\nname = 'item'\nkind = 'categorical'\n",
    )
    .unwrap();
    std::fs::write(
        at.join("experiment.toml"),
        "name = 'log'\ndataset = 'data.toml'\nmetrics = ['mrr[full]', 'hr@5[sampled=9]']\nbootstrap = { draws = 100 }\n\
         split = { kind = 'cold_users', users = { rule = 'rank', prefix = 'u:', existing_percent = 70, validation_percent = 20 } }\n\
         scenario = { kind = 'cold_sequence', source = 'gadgets', target = 'creams', negatives = { count = 9 } }\n\
         base = { backbone = { kind = 'nextitnet', width = 8, dilations = [1] }, train = { epochs = 2, batch = 32 } }\ntrain = { batch = 32, epochs = 1 }\n\
         method = [{ name = 'fine_tune_head' }]\n",
    )
    .unwrap();
    let (printed, json, _) = compare(at);
    let check = &json["preflight"][0]["settings"][0];
    assert_eq!((&check["different"], &check["metrics"], &check["largest_difference"]), (&0.into(), &2.into(), &0.0.into()), "{printed}");
    assert_eq!((&check["control"]["metric"], &check["control"]["constant"]["name"]), (&"mrr[full]".into(), &"floor `popularity`".into()));
    // Three next items of four events, of 120 users.
    assert_eq!(check["control"]["rows"], 360);
    assert!(printed.contains("no measured row was learned from") || printed.contains("Suspicious"), "{printed}");
}
