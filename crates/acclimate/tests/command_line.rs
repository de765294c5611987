//! The program from outside: commands, files, exit codes and messages.

mod shop;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::sync::Arc;

use acclimate::Experiment;
use serde_json::Value;
use shop::{DATA, EXPERIMENT, acclimate, fails, ok, results, write_data};

#[test]
fn compare_gives_one_table_with_floors_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let table = ok(at, &["compare", "experiment.toml", "--seeds", "2", "--out", "out", "--json", "all.json", "--quiet"]);
    for name in ["logistic_regression", "global_mean", "base", "base_wide", "adapter", "last", "macro_auc", "Report: out/report.html"] {
        assert!(table.contains(name), "{name} is not in\n{table}");
    }
    let first = results(&at.join("all.json"));
    let of =
        |method: &str| first[0].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == "macro_auc").unwrap().clone();
    assert!(of("base")["value"].as_f64().unwrap() > 0.65, "{}", of("base"));
    assert!(of("adapter")["patch_bytes"].as_u64().unwrap() > 0 && of("adapter")["kind"] == "adaptation" && of("last")["kind"] == "control");
    assert_eq!((&of("adapter")["seeds"], &of("global_mean")["seeds"]), (&2.into(), &1.into()));
    for file in
        ["out/bases/base-seed1/base.safetensors", "out/patches/adapter-seed2.safetensors", "out/logs/last-seed1.jsonl", "out/results.json"]
    {
        assert!(at.join(file).exists(), "{file}");
    }
    assert_eq!(first, results(&at.join("out/results.json")));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("all.json")).unwrap()).unwrap();
    let inputs = [("experiment.toml", EXPERIMENT), ("data.toml", DATA)];
    let inputs = inputs.map(|(file, text)| serde_json::json!({ "file": file, "sha256": acclimate::source::digest_text(text) }));
    assert_eq!(report["inputs"], serde_json::json!(inputs), "what decided the numbers is named by its contents");
    assert!(report["environment"]["processor"].as_str().unwrap().contains(" core"), "{}", report["environment"]);
    ok(at, &["compare", "experiment.toml", "--seeds", "2", "--out", "again", "--quiet"]);
    assert_eq!(first, results(&at.join("again/results.json")), "the same seeds give the same numbers");
}

#[test]
fn floors_follow_their_settings_and_the_inputs_of_the_bases() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // `base` does not read the users' group, `base_wide` does.
    let text = EXPERIMENT.replace("hidden = [8] }", "hidden = [8], without = [\"group\"] }").replace("epochs = 6", "epochs = 1");
    let compare = |floors: &str| {
        std::fs::write(at.join("experiment.toml"), text.replace("[split]", &format!("[floors]\n{floors}\n[split]"))).unwrap();
        let table = ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
        let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out/results.json")).unwrap()).unwrap();
        (table, report)
    };
    let of = |report: &Value, method: &str| {
        report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == "log_loss").cloned()
    };
    let settings = |report: &Value, method: &str| {
        let found = report["floor_settings"].as_array().unwrap().iter().find(|r| r["method"] == method).unwrap()["settings"].clone();
        found.as_array().unwrap().iter().map(|s| (s["value"].as_f64().unwrap(), s["from"].as_array().unwrap().len())).collect::<Vec<_>>()
    };
    let (table, given) = compare("bias = { item_shrink = 1, user_shrink = [2, 300] }");
    assert!(table.starts_with("Verdict: shops / multi_domain, by macro_auc\n  Best floor: "), "{table}");
    for text in ["Serve: ", "  shop=north  ", " positive\n", "bias item_shrink 1, user_shrink "] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    assert_eq!(settings(&given, "bias")[0], (1.0, 1));
    assert_eq!(settings(&given, "bias")[1].1, 2);
    let (_, chosen) = compare("");
    assert_eq!(settings(&chosen, "bias")[0].1, 11);
    let (_, other) = compare("bias = { item_shrink = 500, user_shrink = 500 }");
    assert_eq!(of(&given, "base").unwrap()["value"], of(&other, "base").unwrap()["value"]);
    assert_ne!(of(&given, "bias").unwrap()["value"], of(&other, "bias").unwrap()["value"], "settings are part of the key");
    // Floors by what bases read.
    let wide = "logistic_regression[base_wide]";
    assert_ne!(of(&chosen, "logistic_regression").unwrap()["value"], of(&chosen, wide).unwrap()["value"]);
    assert_eq!(of(&chosen, "base_wide").unwrap()["floor"], wide, "the group tells a user's taste");
    for method in ["base", "adapter"] {
        assert_ne!(of(&chosen, method).unwrap()["floor"], wide, "{method} does not read the group");
    }
    let (table, one) = compare("without_features = [\"group\"]");
    assert!(of(&one, wide).is_none() && !table.contains("vs floor, "), "{table}");
    assert_eq!(of(&one, "logistic_regression").unwrap()["value"], of(&chosen, "logistic_regression").unwrap()["value"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_goes_on_to_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // Long enough that the signal comes before the end.
    let long = EXPERIMENT.replace("epochs = 6, batch = 64", "epochs = 60, patience = 60, batch = 64");
    std::fs::write(at.join("experiment.toml"), long).unwrap();
    ok(at, &["compare", "experiment.toml", "--out", "whole", "--quiet"]);
    // The second epoch of the base has begun when its first is reported.
    let mut child = acclimate(at, &["compare", "experiment.toml", "--out", "cut", "--verbose"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("base-seed1: epoch 1")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("the same command again")), "{rest:?}");
    assert!(!at.join("cut/results.json").exists());
    assert_eq!(std::fs::read_dir(at.join("cut/checkpoints")).unwrap().count(), 1);
    ok(at, &["compare", "experiment.toml", "--out", "cut", "--quiet"]);
    assert_eq!(results(&at.join("whole/results.json")), results(&at.join("cut/results.json")));
    assert_eq!(std::fs::read_dir(at.join("cut/checkpoints")).unwrap().count(), 0, "nothing is left to resume");
}

#[test]
fn a_base_is_saved_adapted_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let said = ok(at, &["inspect", "data.toml", "--json", "inspect.json"]);
    assert!(said.contains("2400 rows, 40 users, 12 items") && said.contains("north") && at.join("inspect.json").exists(), "{said}");
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["pretrain", "data.toml", "--out", "other", "--quiet"]);
    let said = ok(
        at,
        &[
            "adapt",
            "fine_tune_all",
            "--base",
            "base",
            "--domain",
            "north",
            "--train",
            "epochs=4",
            "--train",
            "batch=64",
            "--out",
            "north.safetensors",
            "--quiet",
        ],
    );
    assert!(said.contains("north.safetensors: fine_tune_all on") && said.contains("validation auc: "), "{said}");
    assert!(at.join("north-run/logs/fine_tune_all.jsonl").exists());
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "north.safetensors", "--domain", "north", "--json", "out.json"]);
    assert!(table.contains("item_mean") && table.contains("  base ") && table.contains("  north "), "{table}");
    let (code, message) = fails(at, &["evaluate", "--base", "other", "--patch", "north.safetensors"]);
    let hash = |folder: &str| {
        let record: Value = serde_json::from_str(&std::fs::read_to_string(at.join(folder).join("run.json")).unwrap()).unwrap();
        record["base"].as_str().unwrap().to_owned()
    };
    assert!(code == 3 && message.contains(&hash("base")) && message.contains(&hash("other")), "{message}");
    let (code, message) = fails(at, &["adapt", "adapter", "--base", "base", "--domain", "east"]);
    assert!(code == 3 && message.contains("no domain `east`; there are"), "{message}");
    let (code, message) = fails(at, &["adapt", "adapter", "--base", "base", "--train", "epoch=1"]);
    assert!(code == 2 && message.contains("unknown field `epoch`"), "{message}");
    let (code, message) = fails(at, &["adapt", "adapter", "--base", "base", "--set", "bottleneckk=1"]);
    assert!(code == 3 && message.contains("unknown field `bottleneckk`"), "{message}");
    let (code, message) = fails(at, &["evaluate", "--base", "nowhere"]);
    assert!(code == 3 && message.contains("acclimate pretrain"), "{message}");
}

#[test]
fn a_patch_that_adapts_to_users_is_measured_on_their_other_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = ["adapt", "maml", "--base", "base", "--train", "epochs=2", "--train", "batch=8", "--out", "maml.safetensors", "--quiet"];
    ok(at, &adapt);
    // In time, users are adapted to by their training rows; in the part that was learned from, by some of its rows.
    for (part, said) in [("test", "training rows of each user, the latest"), ("train", "measured on 400 rows of 40 users")] {
        let table = ok(at, &["evaluate", "--base", "base", "--patch", "maml.safetensors", "--part", part, "--json", "out.json"]);
        for text in ["support_mean", "  base ", "  maml ", "difference to base", "Notes", said] {
            assert!(table.contains(text), "{text} is not in\n{table}");
        }
        let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
        assert!(
            report["environment"]["started"].as_str().unwrap().starts_with("20") && report["config"].as_str().unwrap().contains("maml")
        );
    }
    // Few rows a user make smaller tasks, not an error.
    let few =
        ["adapt", "maml", "--base", "base", "--part", "validation", "--domain", "north", "--train", "epochs=1", "--out", "few.safetensors"];
    ok(at, &few);
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "few.safetensors", "--part", "validation"]);
    assert!(table.contains("was trained on rows that are measured here"), "{table}");
}

#[test]
fn a_base_of_a_new_domain_experiment_has_not_seen_the_domain() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let scenario = "kind = \"new_domain\"\ntargets = [\"north\"]\nsizes = [0, 50, \"all\"]";
    let (head, _) = EXPERIMENT.split_once("[[variant]]").unwrap();
    let base = head.replace("kind = \"multi_domain\"", scenario).replace("metrics = [\"macro_auc\", ", "metrics = [");
    let base = base.replace("optimizer = { rate = 1e-2 } }", "hide = { shop = 0.1 }, optimizer = { rate = 1e-2 } }");
    let methods = "[[method]]\nname = \"adapter\"\ntrain_by_size.\"n=50\" = { epochs = 5 }\n";
    std::fs::write(at.join("north.toml"), format!("{base}{methods}")).unwrap();
    let hash = |folder: &str| {
        let record: Value = serde_json::from_str(&std::fs::read_to_string(at.join(folder).join("run.json")).unwrap()).unwrap();
        assert_eq!((record["unseen"][0].as_str(), record["seed"].as_u64()), (Some("north"), Some(1)));
        record["base"].as_str().unwrap().to_owned()
    };
    let said = ok(at, &["pretrain", "north.toml", "--out", "base", "--quiet"]);
    assert!(said.contains("Next: acclimate adapt --base base --domain north"), "{said}");
    ok(at, &["compare", "north.toml", "--out", "whole", "--quiet", "--json", "whole.json"]);
    assert_eq!(hash("base"), hash("whole/bases/shop=north,base-seed1"), "the experiment's base");
    // What is measured of the base in the experiment is measured of it alone.
    ok(at, &["evaluate", "--base", "base", "--domain", "north", "--metric", "log_loss", "--json", "alone.json"]);
    let value = |file: &str| {
        let report = results(&at.join(file));
        let found = report[0].as_array().unwrap().iter().find(|r| r["method"] == "base" && r["metric"] == "log_loss").unwrap();
        found["value"].as_f64().unwrap()
    };
    assert!((value("alone.json") - value("whole.json")).abs() < 1e-12);
    // Other labels in the new domain make no other base.
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let flip = |line: &str| match line.split_once(",north,") {
        Some((row, click)) => format!("{row},north,{}\n", u8::from(click == "0")),
        None => format!("{line}\n"),
    };
    std::fs::write(at.join("log.csv"), log.lines().map(flip).collect::<String>()).unwrap();
    ok(at, &["pretrain", "north.toml", "--out", "flipped", "--quiet"]);
    assert_eq!(hash("base"), hash("flipped"));
    for (from, to, expected) in [
        ("sizes = [0, 50, \"all\"]", "sizes = [0, 50, 50]", "holds n=50 twice"),
        ("sizes = [0, 50, \"all\"]", "sizes = [\"half\"]", "expected a number of rows or \"all\""),
        ("targets = [\"north\"]", "targets = [\"north\", \"north\"]", "names `north` twice"),
        ("train_by_size.\"n=50\"", "train_by_size.\"n=60\"", "names no setting `n=60`; there are n=0, n=50, n=all"),
        ("name = \"adapter\"", "name = \"maml\"", "use it in scenario `cold_start`"),
        ("{ epochs = 5 }", "{ hide = { shopp = 0.5 } }", "names no feature `shopp`"),
    ] {
        let text = format!("{base}{methods}");
        assert!(text.contains(from), "{from}");
        std::fs::write(at.join("wrong.toml"), text.replace(from, to)).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
        assert!(code == 3 && message.contains(expected) && !at.join("wrong/bases").exists(), "{to}: {code}: {message}");
    }
}

#[test]
fn a_base_of_ratings_learns_with_the_default_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut log = String::from("user,item,time,stars\n");
    let mut state = 99_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..3000_u64 {
        let (user, item) = (draw(60), draw(20));
        let stars = (2 + item % 3 + user % 2 + draw(2)).clamp(1, 5);
        log += &format!("{user},{item},{},{stars}\n", 1_700_000_000 + row * 60);
    }
    std::fs::write(at.join("log.csv"), log).unwrap();
    let data = DATA.split("[[users]]").next().unwrap().replace("domain = { column = \"shop\" }\n", "");
    let data = data
        .replace("label = { column = \"click\", kind = \"click\" }", "label = { column = \"stars\", kind = \"rating\", min = 1, max = 5 }");
    let features = "[[feature]]\nname = \"user\"\nkind = \"categorical\"\n[[feature]]\nname = \"item\"\nkind = \"categorical\"\n";
    std::fs::write(at.join("data.toml"), data + features).unwrap();
    ok(at, &["pretrain", "data.toml", "--out", "base", "--quiet"]);
    ok(at, &["adapt", "melu", "--base", "base", "--out", "melu.safetensors", "--quiet"]);
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "melu.safetensors", "--json", "out.json"]);
    let report = results(&at.join("out.json"));
    let mae = |method: &str| {
        let found = report[0].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == "mae").unwrap();
        found["value"].as_f64().unwrap()
    };
    // Half of the label's variance is the item's and the user's.
    assert!(mae("base") < 0.75 * mae("global_mean") && mae("melu") < 0.8 * mae("global_mean"), "{table}");
    // Users are known by their training rows, so the bias model is more than the item's mean.
    assert!(mae("bias") < mae("item_mean") - 0.02, "{table}");
}

#[test]
fn nothing_of_value_is_overwritten_or_misread() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let before = std::fs::read(at.join("base/base.safetensors")).unwrap();
    let (code, message) = fails(at, &["adapt", "adapter", "--base", "base", "--out", "base/base.safetensors"]);
    assert!(code == 2 && message.contains("is no patch"), "{message}");
    assert_eq!(before, std::fs::read(at.join("base/base.safetensors")).unwrap());
    let (code, message) = fails(at, &["adapt", "adapter", "--base", "base", "--out", "."]);
    assert!(code == 2 && message.contains("is a folder"), "{message}");
    let (code, message) = fails(at, &["evaluate", "--base", "base", "--data", "data.toml", "--part", "test"]);
    assert!(code == 2 && message.contains("--part"), "{message}");
    let (code, message) = fails(at, &["compare", "experiment.toml", "--json", "nowhere/out.json"]);
    assert!(code == 2 && message.contains("there is no folder nowhere"), "{message}");
    let table = ok(at, &["evaluate", "--base", "base", "--data", "data.toml"]);
    assert!(table.contains("shops / evaluate / all") && table.contains("no floor could be fitted"), "{table}");
    // A base reads a feature as it learned to.
    std::fs::write(at.join("data.toml"), DATA.replace("separator = \"|\"", "separator = \"|\"\nkeep_unknown = true")).unwrap();
    let (code, message) = fails(at, &["evaluate", "--base", "base"]);
    assert!(code == 3 && message.contains("`keep_unknown` = false for the feature `tags`") && message.contains("true"), "{message}");
    write_data(at);
    // A damaged file of a finished run says what to do, and doing it helps.
    let finished = |at: &Path| {
        let entries = std::fs::read_dir(at.join("out/finished")).unwrap().flatten();
        entries.map(|e| e.path()).find(|p| p.to_string_lossy().contains("adapter")).unwrap()
    };
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    let whole = results(&at.join("out/results.json"));
    let file = finished(at);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, message) = fails(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    assert!(code == 3 && message.contains(file.file_name().unwrap().to_str().unwrap()) && message.contains("remove the file"), "{message}");
    std::fs::remove_file(&file).unwrap();
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    assert_eq!(whole, results(&at.join("out/results.json")));
    // A look at validation rows leaves the report of the test rows alone.
    let report = std::fs::read(at.join("out/report.html")).unwrap();
    let said = ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet", "--validation"]);
    assert!(said.contains("out/validation.html") && at.join("out/validation.json").exists(), "{said}");
    assert_eq!(report, std::fs::read(at.join("out/report.html")).unwrap());
}

#[test]
fn a_folder_used_twice_gives_what_a_fresh_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let record = |base: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(at.join(base).join("run.json")).unwrap()).unwrap() };
    let same = |used: &str, fresh: &str| {
        let [a, b] = [used, fresh].map(record);
        for key in ["base", "encoder", "unseen", "split", "key"] {
            assert_eq!(a[key], b[key], "{key}");
        }
        let [a, b] = [used, fresh].map(|base| std::fs::read(at.join(base).join("encoder.json")).unwrap());
        assert!(a == b, "the encoders differ");
    };
    // The same codes under other names.
    ok(at, &["pretrain", "experiment.toml", "--out", "used", "--quiet"]);
    let items = std::fs::read_to_string(at.join("items.csv")).unwrap();
    std::fs::write(at.join("items.csv"), items.replace("odd", "strange")).unwrap();
    ok(at, &["pretrain", "experiment.toml", "--out", "used", "--quiet"]);
    ok(at, &["pretrain", "experiment.toml", "--out", "fresh", "--quiet"]);
    same("used", "fresh");
    // The same rows, but another domain is unknown.
    let metrics = EXPERIMENT.replace("\"auc[shop=north]\", ", "");
    let with = |scenario: &str| std::fs::write(at.join("some.toml"), metrics.replace("kind = \"multi_domain\"", scenario)).unwrap();
    with("kind = \"multi_domain\"\ndomains = [\"south\"]");
    ok(at, &["pretrain", "some.toml", "--out", "used", "--quiet"]);
    with("kind = \"multi_domain\"\nunseen = [\"north\"]");
    ok(at, &["pretrain", "some.toml", "--out", "used", "--quiet"]);
    ok(at, &["pretrain", "some.toml", "--out", "fresh", "--quiet"]);
    same("used", "fresh");
    assert_eq!(record("used")["unseen"][0], "north");
    // A base of an earlier run keeps the split that it was trained on.
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet", "--seed", "2"]);
    let before = record("out/bases/base-seed2");
    std::fs::write(
        at.join("experiment.toml"),
        EXPERIMENT.replace("1_700_100_000", "1_700_080_000").replace("1_700_115_000", "1_700_100_000"),
    )
    .unwrap();
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet", "--seed", "1"]);
    assert_eq!(before, record("out/bases/base-seed2"));
    assert_ne!(before["split"], record("out/bases/base-seed1")["split"]);
}

#[test]
fn rows_that_were_learned_from_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let said = ok(at, &["adapt", "adapter", "--base", "base", "--domain", "north", "--part", "validation", "--out", "p.safetensors"]);
    assert!(!said.contains("validation auc"), "no early stopping on the rows that were learned from: {said}");
    let notes = |more: &[&str]| {
        let table = ok(at, &[&["evaluate", "--base", "base", "--patch", "p.safetensors"], more].concat());
        table.split("Notes").nth(1).unwrap_or_default().to_owned()
    };
    assert!(!notes(&[]).contains("was trained on rows that are measured"));
    assert!(notes(&["--part", "validation"]).contains("`p.safetensors` was trained on rows that are measured here"));
    assert!(!notes(&["--part", "validation", "--domain", "south"]).contains("was trained on rows that are measured"));
    assert!(notes(&["--part", "train"]).contains("rows of this part are training rows"));
    let other = notes(&["--data", "data.toml"]);
    assert!(other.contains("the data set that the base was trained on") && other.contains("was trained on rows"), "{other}");
    // A patch with the name of a floor is told apart from it.
    std::fs::copy(at.join("p.safetensors"), at.join("bias.safetensors")).unwrap();
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "bias.safetensors", "--patch", "p.safetensors", "--json", "out.json"]);
    assert!(table.contains("  bias.safetensors "), "{table}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
    let config: toml::Table = report["config"].as_str().unwrap().parse().unwrap();
    assert_eq!(config["patch"].as_array().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_request_to_end_leaves_a_checkpoint_and_a_closed_terminal_is_left_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    std::fs::write(at.join("experiment.toml"), EXPERIMENT.replace("epochs = 6, batch = 64", "epochs = 600, patience = 600, batch = 64"))
        .unwrap();
    // Whatever the tests inherit: a signal that is handled here is at its default in the programs started from here, one that `nohup` ignores stays
    // ignored in them.
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).unwrap();
    let cases: [(Option<&str>, &[&str], Option<i32>); 3] =
        [(None, &["-TERM"], Some(130)), (None, &["-HUP"], None), (Some("nohup"), &["-HUP", "-TERM"], Some(130))];
    for (program, signals, code) in cases {
        let compare = acclimate(at, &["compare", "experiment.toml", "--out", "cut", "--verbose"]);
        let mut child = started_by(program, compare).stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        for signal in signals {
            // It goes on after whatever came before.
            assert!(lines.any(|line| line.starts_with("base-seed1: epoch ")), "{program:?}: it ended before {signal}");
            assert!(Command::new("kill").args([*signal, &child.id().to_string()]).status().unwrap().success());
        }
        let rest: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), code, "{program:?} {signals:?}: {rest:?}");
    }
    assert_eq!(std::fs::read_dir(at.join("cut/checkpoints")).unwrap().count(), 1);
}

/// The same command started by another program, which becomes it.
#[cfg(unix)]
fn started_by(program: Option<&str>, command: Command) -> Command {
    let Some(program) = program else { return command };
    let mut started = Command::new(program);
    started
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_remove("ACCLIMATE_DATA");
    started
}

#[test]
fn a_base_that_is_no_better_than_a_constant_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // Clicks that say nothing.
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let clicks = |(i, line): (usize, &str)| match line.rsplit_once(',') {
        Some((row, "click")) => format!("{row},click\n"),
        Some((row, _)) => format!("{row},{}\n", (i * i / 7) % 2),
        None => String::new(),
    };
    let noise = log.lines().enumerate().map(clicks).collect::<String>();
    let said = |log: &str, out: &str| {
        std::fs::write(at.join("log.csv"), log).unwrap();
        std::fs::write(
            at.join("experiment.toml"),
            EXPERIMENT.replace("metrics = [\"macro_auc\", \"auc[shop=north]\", \"log_loss\"]", "metrics = [\"log_loss\"]"),
        )
        .unwrap();
        ok(at, &["compare", "experiment.toml", "--out", out, "--quiet"]).contains("`base` is no better than the global mean")
    };
    assert!(said(&noise, "noise") && !said(&log, "log"));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_can_not_be_written_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let mut child = acclimate(at, &["inspect", "data.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = acclimate(at, &["inspect", "data.toml"]).stdout(full).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && message.contains("can not write to standard output"), "{message}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_adaptation_goes_on_to_the_same_patch() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = |out: &'static str| {
        ["adapt", "adapter", "--base", "base", "--train", "epochs=60", "--train", "patience=60", "--train", "batch=64", "--out", out]
    };
    ok(at, &adapt("whole.safetensors"));
    let mut child = acclimate(at, &adapt("cut.safetensors")).arg("--verbose").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("adapter: epoch 1")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let checkpoints = || {
        let entries = std::fs::read_dir(at.join("cut-run")).unwrap().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("checkpoint-")).count()
    };
    assert!(checkpoints() == 1 && !at.join("cut.safetensors").exists());
    ok(at, &adapt("cut.safetensors"));
    assert_eq!(checkpoints(), 0);
    assert_eq!(std::fs::read(at.join("whole.safetensors")).unwrap(), std::fs::read(at.join("cut.safetensors")).unwrap());
}

#[test]
fn a_base_can_be_trained_to_rank() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let ranking = EXPERIMENT.replace(", \"log_loss\"", "").replace("[[variant]]", "objective = \"bpr\"\n[[variant]]");
    // `objective` is a key of `[base]`, which ends where the variant begins.
    std::fs::write(at.join("rank.toml"), ranking).unwrap();
    ok(at, &["compare", "rank.toml", "--out", "rank", "--json", "rank.json", "--quiet"]);
    let report = results(&at.join("rank.json"));
    let found = report[0].as_array().unwrap().iter().find(|r| r["method"] == "base" && r["metric"] == "macro_auc").unwrap();
    assert!(found["value"].as_f64().unwrap() > 0.6, "{found}");
}

#[test]
fn every_experiment_of_the_examples_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    let is_dataset = |path: &Path| std::fs::read_to_string(path).unwrap().contains("[interactions]");
    let experiments: Vec<_> = files.filter(|path| !is_dataset(path)).map(|path| Experiment::load(path).unwrap()).collect();
    assert!(experiments.len() >= 5);
    for experiment in experiments.iter().filter(|experiment| experiment.simulator.is_none()) {
        let dataset = experiment.path.parent().unwrap().join(experiment.dataset.as_ref().unwrap());
        assert!(is_dataset(&dataset), "{}", dataset.display());
    }
}

#[test]
fn usual_mistakes_have_messages_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let with = |from: &str, to: &str| {
        assert!(EXPERIMENT.contains(from));
        std::fs::write(at.join("wrong.toml"), EXPERIMENT.replace(from, to)).unwrap();
        fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"])
    };
    for (from, to, expected) in [
        ("metrics =", "metric =", "unknown field `metric`"),
        ("name = \"adapter\"", "name = \"adaptor\"", "no method is called `adaptor`; there are"),
        ("bottleneck = 2", "bottlenek = 2", "unknown field `bottlenek`"),
        ("base = \"base_wide\"", "base = \"wide\"", "names no base `wide`; there are base, base_wide"),
        ("kind = \"multi_domain\"", "kind = \"multi_domain\"\ndomains = [\"east\"]", "names no domain `east`; the data set has"),
        ("name = \"adapter\"\nconfig = { bottleneck = 2, per_domain = true }", "name = \"maml\"", "scenario `cold_start`"),
        ("auc[shop=north]", "auc[shop=east]", "east"),
        ("data.toml", "date.toml", "date.toml"),
        ("embedding_std = 0.1, hidden = [8] }", "hidden = [8] }\nobjective = \"softmax\"", "scenario `cold_sequence`"),
        ("embedding_std = 0.1, hidden = [8] }", "hidden = [8] }\nobjective = \"bpr\"", "leave out `log_loss`"),
        ("label = \"last\"", "label = \"\"", "label: is empty"),
        ("label = \"last\"", "label = \"bias\"", "is the name of a floor"),
        ("label = \"last\"", "label = \"logistic_regression[base_wide]\"", "is the name of a floor"),
        ("[split]", "[floors]\nbais = {}\n[split]", "unknown field `bais`, expected one of `only`, `without_features`, `item_mean`"),
        ("[split]", "[floors]\nbias = { shrink = 1 }\n[split]", "unknown field `shrink`, expected `item_shrink` or `user_shrink`"),
        ("[split]", "[floors]\nbias = { item_shrink = -1 }\n[split]", "`item_shrink` is -1, expected a number of rows, 0 or more"),
        ("[split]", "[floors]\nmarkov = { back = 1 }\n[split]", "[floors] markov: is no floor of this scenario"),
        ("[split]", "[floors]\nwithout_features = [\"color\"]\n[split]", "names no feature `color`"),
        ("hidden = [8] }", "hidden = 8 }", "kind `dnn`, `hidden`: invalid type"),
        ("hidden = [8] }", "hiden = [8] }", "kind `dnn`: unknown field `hiden`, expected one of"),
        (
            "validation_from = 1_700_100_000",
            "validation_from = true",
            "kind `global_time`: split setting `validation_from` = true is no moment",
        ),
        ("kind = \"global_time\"", "kind = \"global_tme\"", "unknown kind `global_tme`, expected one of"),
        ("kind = \"global_time\"\n", "", "missing field `kind`, expected one of"),
        ("rate = 5e-3", "rate = \"fast\"", "in `optimizer.rate`"),
        ("draws = 50", "draws = 5", "draws"),
        ("log_loss\"]", "mrr[full]\"]", "needs ranks"),
        ("epochs = 3\n", "steps = 0\n", "`steps` must be at least 1"),
        ("rate = 5e-3", "row_rate = -1", "`optimizer.row_rate` must be 0 or more"),
        ("label = \"last\"", "label = \"last\"\nsupport = \"random\"", "`cold_start`"),
        ("label = \"last\"", "label = \"last\"\ntrain_by_size.\"n=5\" = {}", "names no setting `n=5`; there are all"),
        ("kind = \"multi_domain\"", "kind = \"multi_domain\"\ndomains = [\"north\"]\nunseen = [\"north\"]", "both name `north`"),
        (
            "kind = \"global_time\"",
            "kind = \"held_out_domain\"\ndomains = [\"north\"]\n[split.then]\nkind = \"global_time\"",
            "for scenario `new_domain`",
        ),
        (
            "\"auc[shop=north]\", \"log_loss\"]",
            "\"auc[shop=north]\"]\nselect = \"mae\"\nfloors = { only = [\"mean\"] }",
            "names no floor `mean`",
        ),
        ("kind = \"multi_domain\"", "kind = \"multi_domain\"\nunseen = [\"north\"]", "`auc[shop=north]` is of a domain"),
        ("embedding = 4, embedding_std = 0.1, hidden = [8]", "embedding = 4000000000, hidden = [8]", "make them smaller"),
        ("validation_from = 1_700_100_000", "validation_from = 1_700_115_000", "part `validation` has no rows"),
        ("test_from = 1_700_115_000", "test_from = 1_900_115_000", "part `test` has no rows"),
        ("name = \"shops\"", "name = \"..\"", "must not be empty, `.` or `..`"),
    ] {
        let (code, message) = with(from, to);
        assert!(code == 3 && message.contains(expected), "{to}: {code}: {message}");
    }
    let (code, message) = fails(at, &["compare", "data.toml"]);
    assert!(code == 3 && message.contains("name an experiment file"), "{code}: {message}");
    let (code, message) = fails(at, &["compare", "nowhere.toml"]);
    assert!(code == 3 && message.matches("No such file").count() == 1, "{code}: {message}");
    assert_eq!(fails(at, &["compare"]).0, 2);
    assert_eq!(fails(at, &["compare", "experiment.toml", "--seeds", "0"]).0, 2);
    let (code, message) = fails(at, &["compare", "experiment.toml", "--device", "cuda"]);
    assert!(code == 2 && message.contains("it has only `cpu`"), "{message}");
    let help = ok(at, &["--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:") && help.contains("inspect"), "{help}");
}

#[test]
fn the_demo_runs_small() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let table = ok(at, &["demo", "--small", "--quiet", "--json", "demo.json"]);
    assert!(table.contains("new_domain[domain=target]") && table.contains("new_user") && table.contains("Next:"), "{table}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("demo.json")).unwrap()).unwrap();
    let results = report["results"].as_array().unwrap();
    for kind in ["floor", "control", "adaptation", "ceiling"] {
        assert!(results.iter().any(|r| r["kind"] == kind), "{kind}");
    }
    assert!(results.iter().any(|r| r["setting"] == "new_user,k=5" && r["method"] == "melu"));
    assert!(std::fs::read_to_string(at.join("acclimate-demo/report.html")).unwrap().contains("melu"));
}
