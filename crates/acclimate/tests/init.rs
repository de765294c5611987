//! `acclimate init` from outside: files as people have them, through init, inspect and compare without an edit.

#[path = "../../data/tests/skipped/mod.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use acclimate::Experiment;
use serde_json::Value;

fn acclimate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_acclimate")).current_dir(folder).args(arguments).args(["--threads", "1"]).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = acclimate(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code and the message of a command that must fail.
fn fails(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = acclimate(folder, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Numbers that look drawn, the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Init, inspect and compare; the experiment and the results.
fn compared(folder: &Path, arguments: &[&str]) -> (String, Experiment, Value) {
    let said = ok(folder, &[&["init"], arguments].concat());
    assert!(ok(folder, &["inspect", "dataset.toml"]).contains("Feature"));
    let table = ok(folder, &["compare", "experiment.toml", "--out", "out", "--json", "all.json", "--quiet"]);
    let experiment = Experiment::load(folder.join("experiment.toml")).unwrap();
    for method in &experiment.methods {
        assert!(table.contains(method.label()), "{} is not in\n{table}", method.label());
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("all.json")).unwrap()).unwrap();
    let of_base = report["results"].as_array().unwrap().iter().any(|result| result["method"] == "base" && result["value"].is_f64());
    assert!(of_base && folder.join("out/report.html").exists());
    (said, experiment, report)
}

/// The value of a method in the first result with that metric.
fn value(report: &Value, method: &str, metric: &str) -> f64 {
    let of = |result: &&Value| result["method"] == method && result["metric"] == metric;
    report["results"].as_array().unwrap().iter().find(of).unwrap()["value"].as_f64().unwrap()
}

#[test]
fn movielens_in_its_original_form_becomes_a_cold_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut draws = Draws(1);
    let mut ratings = String::new();
    for user in 1..=200 {
        for _ in 0..9 + draws.below(6) {
            let movie = 1 + draws.below(60);
            let stars = 1 + (2 * usize::from(user % 2 == movie % 2) + draws.below(3)).min(4);
            ratings += &format!("{user}::{movie}::{stars}::{}\n", 978_300_760 + draws.below(1_000_000));
        }
    }
    let users: String = (1..=200).map(|u| format!("{u}::{}::{}::{}::48067\n", ["F", "M"][u % 2], [1, 18, 25][u % 3], u % 7)).collect();
    let movies: String =
        (1..=70).map(|m| format!("{m}::Caf\u{e9} {m} ({})::{}\n", 1940 + m, ["Drama|War", "Comedy", "War|Comedy"][m % 3])).collect();
    write(at, "ratings.dat", ratings);
    write(at, "users.dat", users);
    write(at, "movies.dat", movies.chars().map(|c| c as u8).collect::<Vec<_>>());
    let (said, experiment, report) = compared(at, &["ratings.dat", "--users", "users.dat", "--items", "movies.dat", "--name", "ml"]);
    assert_eq!((experiment.scenario.name(), experiment.name.as_str()), ("cold_start", "ml-cold-start"));
    assert!(
        said.contains("label: column `rating`, a rating from 1 to 5") && said.contains("Wrote dataset.toml and experiment.toml"),
        "{said}"
    );
    assert!(value(&report, "base", "mae") < value(&report, "global_mean", "mae"), "the base has learned something");
}

#[test]
fn two_files_of_a_german_spreadsheet_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut draws = Draws(2);
    let mut log = String::from("\u{feff}Kunde;Artikel;Zeitpunkt;gekauft\r\n");
    for row in 0..2000 {
        let (kunde, artikel) = (draws.below(100), draws.below(50));
        let gekauft = if draws.below(10) < if kunde % 2 == artikel % 2 { 8 } else { 2 } { "TRUE" } else { "FALSE" };
        log += &format!("K{kunde};A{artikel};{:02}.11.2023 {:02}:{:02};{gekauft}\r\n", 1 + row / 80, row / 4 % 20, row % 4 * 15);
    }
    let items: String = (0..50).map(|a| format!("A{a};{},{}0;{}\r\n", a * a, a % 10, ["Brot", "Obst"][a % 2])).collect();
    write(at, "verkauf.csv", log);
    write(at, "artikel.csv", format!("\u{feff}Artikel;Preis;Gruppe\r\n{items}"));
    let (said, experiment, report) = compared(at, &["verkauf.csv", "--items", "artikel.csv"]);
    assert_eq!((experiment.scenario.name(), experiment.name.as_str()), ("multi_domain", "verkauf-multi-domain"));
    assert!(said.contains("format %d.%m.%Y %H:%M, 2023-11-01 00:00 to 2023-11-25"), "{said}");
    assert!(value(&report, "base", "auc") > 0.6, "{}", value(&report, "base", "auc"));
}

#[test]
fn a_file_for_each_domain_becomes_a_new_domain() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut draws = Draws(3);
    for (name, items, rows) in [("book", 90, 3000), ("music", 50, 1000)] {
        let mut text = String::from("user_id\titem_id\trating\n");
        for _ in 0..rows {
            let (user, item) = (draws.below(120), 1 + draws.below(items));
            text += &format!("{user}\t{item}\t{}\n", 1 + (2 * usize::from(user % 2 == item % 2) + draws.below(3)).min(4));
        }
        write(at, &format!("{name}.tsv"), text);
    }
    let (said, experiment, report) = compared(at, &["book.tsv", "music.tsv"]);
    assert_eq!(experiment.scenario.name(), "new_domain");
    assert!(said.contains("told by the file (book, music)") && said.contains("`music` (1000 rows)"), "{said}");
    assert!(report["results"].as_array().unwrap().iter().any(|r| r["setting"] == "n=100" && r["method"] == "adapter"));
    // The files are there now.
    let (code, message) = fails(at, &["init", "book.tsv", "music.tsv"]);
    assert!(code == 2 && message.contains("dataset.toml is there already") && message.contains("--force"), "{message}");
    ok(at, &["init", "book.tsv", "--force", "--name", "books"]);
    assert!(std::fs::read_to_string(at.join("dataset.toml")).unwrap().contains("name = \"books\""));
}

#[test]
fn positives_with_time_in_two_domains_become_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut draws = Draws(4);
    let mut log = String::from("customer,product,shop,timestamp\n");
    for customer in 0..240 {
        for event in 0..12 {
            let (shop, items) = if event % 3 == 2 { ("creams", 30) } else { ("gadgets", 60) };
            let product = (customer * 7 + event * 5 + draws.below(6)) % items;
            log += &format!("{customer},{shop}-{product},{shop},{}\n", 1_600_000_000 + event * 86_400 + draws.below(80_000));
        }
    }
    write(at, "purchases.csv", log);
    let (said, experiment, report) = compared(at, &["purchases.csv"]);
    assert_eq!(experiment.scenario.name(), "cold_sequence");
    assert!(said.contains("240 users have events in `gadgets` and in `creams`"), "{said}");
    assert!(value(&report, "popularity", "mrr[full]") > 0.0);
}

#[test]
fn positives_without_time_get_a_data_set_and_no_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "likes.csv", (0..600).fold("user,item\n".to_owned(), |text, i| text + &format!("{},{}\n", i % 60, i * 7 % 50)));
    let said = ok(at, &["init", "likes.csv", "--out", "new/folder"]);
    assert!(
        said.contains("no experiment was written: every row is a positive") && said.contains("Wrote new/folder/dataset.toml. Next:"),
        "{said}"
    );
    assert!(!at.join("new/folder/experiment.toml").exists());
    let text = std::fs::read_to_string(at.join("new/folder/dataset.toml")).unwrap();
    assert!(text.contains("There is no experiment for it: every row is a positive"), "{text}");
    assert!(
        text.contains(&format!("files = [\"{}/likes.csv\"]", at.display())),
        "a file outside the folder is named from the root: {text}"
    );
    ok(at, &["inspect", "new/folder/dataset.toml"]);
}

#[test]
fn what_is_no_log_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "words.txt", "one\ntwo\nthree\n");
    let (code, message) = fails(at, &["init", "words.txt"]);
    assert!(code == 3 && message.contains("no separator"), "{message}");
    for (typed, problem) in [("gone.csv", "gone.csv does not exist; give a file"), ("gone*.csv", "gone*.csv holds no file")] {
        let (code, message) = fails(at, &["init", typed]);
        assert!(code == 3 && message.contains(problem) && !message.contains("dataset.toml"), "{message}");
    }
    assert_eq!(fails(at, &["init"]).0, 2);
    assert!(!at.join("dataset.toml").exists());
}

/// Each public data set as it lies in its folder: which scenario it leads to.
#[test]
fn public_data_sets_become_experiments() {
    let Some(root) = std::env::var_os("ACCLIMATE_DATA").map(PathBuf::from) else {
        skipped::say();
        return;
    };
    for (name, log, users, items, scenario) in [
        ("movielens-1m", &["ratings"][..], &["users"][..], &["movies", "movies_extra"][..], "cold_start"),
        ("kuairand-pure-late", &["interactions"], &["users", "history"], &["videos"], "new_domain"),
        ("douban-book-music", &["book", "music"], &[], &[], "new_domain"),
        ("amazon-4domain-seq", &["interactions"], &[], &[], "cold_sequence"),
        ("movietweetings-100k", &["ratings"], &[], &["movies"], "cold_start"),
        ("amazon-game-video", &["interactions"], &[], &[], "none"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: &&str| root.join(name).join(format!("{file}.csv.gz")).display().to_string();
        let mut arguments: Vec<String> = ["init".to_owned()].into_iter().chain(log.iter().map(path)).collect();
        for (option, files) in [("--users", users), ("--items", items)] {
            arguments.extend(files.iter().flat_map(|file| [option.to_owned(), path(file)]));
        }
        let said = ok(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let experiment = folder.path().join("experiment.toml");
        let found = if experiment.exists() { Experiment::load(&experiment).unwrap().scenario.name() } else { "none" };
        assert_eq!(found, scenario, "{name}: {said}");
        assert!(std::fs::read_to_string(folder.path().join("dataset.toml")).unwrap().contains(&format!("name = \"{name}\"")), "{name}");
    }
}
