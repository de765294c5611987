//! The way from choosing to serving: what is trained once, what is scored, what is never replaced, and whom a patch is applied for.

mod shop;

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use shop::{DATA, EXPERIMENT, fails, ok, write_data};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    folder
}

/// Lines of every training log below a folder.
fn log_lines(at: &Path) -> HashMap<String, usize> {
    // The controls of preflight learn for the rows that are measured.
    let wanted = |name: &str| name.ends_with(".jsonl") && !name.starts_with("preflight");
    let logs = std::fs::read_dir(at.join("logs")).unwrap().flatten().filter(|e| wanted(&e.file_name().to_string_lossy()));
    logs.map(|e| (e.file_name().into_string().unwrap(), std::fs::read_to_string(e.path()).unwrap().lines().count())).collect()
}

/// The rows of a CSV file by column name.
fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn choosing_on_validation_rows_and_measuring_once_trains_once() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet", "--validation"]);
    let trained = log_lines(&at.join("out"));
    assert!(trained.len() >= 4 && trained.values().all(|&lines| lines > 0), "{trained:?}");
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    assert_eq!(trained, log_lines(&at.join("out")), "nothing was trained again");
    ok(at, &["compare", "experiment.toml", "--out", "fresh", "--quiet"]);
    assert_eq!(shop::results(&at.join("out/results.json")), shop::results(&at.join("fresh/results.json")));
    // Another setting of a method trains that method, and only that.
    std::fs::write(at.join("experiment.toml"), EXPERIMENT.replace("bottleneck = 2", "bottleneck = 3")).unwrap();
    ok(at, &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    let again = log_lines(&at.join("out"));
    let changed: Vec<_> = again.iter().filter(|(name, lines)| trained.get(*name) != Some(*lines)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(changed, ["adapter-seed1.jsonl"]);
}

#[test]
fn the_last_epoch_is_kept_where_that_is_asked_for() {
    let folder = folder();
    let at = folder.path();
    let keep = |keep: &str| EXPERIMENT.replace("epochs = 6,", &format!("epochs = 6, patience = 1, keep = \"{keep}\","));
    let epochs = |out: &str| log_lines(&at.join(out).join("work"))["base-seed1.jsonl"];
    std::fs::write(at.join("last.toml"), keep("last").replace("rate = 1e-2", "rate = 1e-1")).unwrap();
    std::fs::write(at.join("best.toml"), keep("best").replace("rate = 1e-2", "rate = 1e-1")).unwrap();
    for name in ["last", "best"] {
        ok(at, &["pretrain", &format!("{name}.toml"), "--out", name, "--quiet"]);
    }
    assert!(epochs("last") > epochs("best"), "{} and {}", epochs("last"), epochs("best"));
    assert_ne!(std::fs::read(at.join("last/base.safetensors")).unwrap(), std::fs::read(at.join("best/base.safetensors")).unwrap());
}

#[test]
fn scores_are_written_beside_the_ids_and_agree_with_what_is_measured() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt =
        ["adapt", "fine_tune_all", "--base", "base", "--domain", "north", "--serve", "always", "--out", "north.safetensors", "--quiet"];
    ok(at, &adapt);
    let predict = ["predict", "--base", "base", "--patch", "north.safetensors", "--domain", "north", "--out", "scores.csv"];
    let said = ok(at, &predict);
    assert!(said.contains("base: mean 0.") && said.contains("north: mean 0.") && said.contains("scores.csv: "), "{said}");
    let (code, message) = fails(at, &predict);
    assert!(code == 2 && message.contains("scores.csv exists") && message.contains("--force"), "{message}");
    ok(at, &[&predict[..], &["--force"]].concat());
    let scores = table(&at.join("scores.csv"));
    assert!(scores.iter().all(|row| row["domain"] == "north" && row["time"].starts_with("2023-11-1")), "{:?}", scores[0]);
    // The same rows measured from outside: an entrant of these scores has the patch's own value.
    let read_back: String =
        scores.iter().map(|row| format!("{},{},{},{}\n", row["user"], row["item"], row["time"], row["north"])).collect();
    std::fs::write(at.join("north.csv"), format!("user,item,at,score\n{read_back}")).unwrap();
    let with_entrant = EXPERIMENT.replace("kind = \"multi_domain\"", "kind = \"multi_domain\"\ndomains = [\"north\"]")
        + "[[entrant]]\nname = \"production\"\nfile = \"north.csv\"\ntime = { column = \"at\" }\n";
    std::fs::write(at.join("entrant.toml"), with_entrant).unwrap();
    ok(at, &["compare", "entrant.toml", "--out", "out", "--quiet"]);
    ok(at, &["evaluate", "--base", "base", "--patch", "north.safetensors", "--domain", "north", "--json", "out.json"]);
    let value = |path: &str, method: &str, metric: &str| -> f64 {
        let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join(path)).unwrap()).unwrap();
        let found = report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == metric);
        found.unwrap()["value"].as_f64().unwrap()
    };
    let [inside, outside] = [value("out.json", "north", "log_loss"), value("out/results.json", "production", "log_loss")];
    assert!((inside - outside).abs() < 1e-6, "{inside} and {outside}");
    // Rows without a label are scored as well.
    let unlabelled: String =
        std::fs::read_to_string(at.join("log.csv")).unwrap().lines().map(|l| format!("{}\n", l.rsplit_once(',').unwrap().0)).collect();
    std::fs::write(at.join("tomorrow.csv"), unlabelled).unwrap();
    std::fs::write(at.join("tomorrow.toml"), DATA.replace("log.csv", "tomorrow.csv")).unwrap();
    ok(at, &["predict", "--base", "base", "--data", "tomorrow.toml", "--out", "all.parquet"]);
    assert!(at.join("all.parquet").exists());
    let (code, message) = fails(at, &["predict", "--base", "base", "--out", "scores.txt"]);
    assert!(code == 2 && message.contains(".csv nor in .parquet"), "{message}");
}

#[test]
fn predict_says_what_it_left_out_and_whom_it_could_not_adapt_to() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["adapt", "maml", "--base", "base", "--out", "user.safetensors", "--serve", "always", "--quiet"]);
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let some: Vec<&str> = log.lines().take(11).collect();
    std::fs::write(at.join("tomorrow.csv"), some.join("\n") + "\n,3,1700000000,north,1\n").unwrap();
    std::fs::write(at.join("tomorrow.toml"), "on_bad_row = \"skip\"\n".to_owned() + &DATA.replace("log.csv", "tomorrow.csv")).unwrap();
    let predict = ["predict", "--base", "base", "--patch", "user.safetensors", "--data", "tomorrow.toml", "--force"];
    let said = ok(at, &predict);
    assert!(said.contains("1 bad rows of the data set were skipped") && said.contains("scores.csv: 10 rows"), "{said}");
    assert!(!said.contains("no known rows"), "{said}");
    // A patch that is called like a column beside the scores does not take its name.
    let header = std::fs::read_to_string(at.join("scores.csv")).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(header, "user,item,time,domain,base,user.safetensors");
    std::fs::remove_file(at.join("log.csv")).unwrap();
    let said = ok(at, &predict);
    assert!(
        said.contains("no known rows to adapt from: the data that the base was trained on can not be read") && said.contains("log.csv"),
        "{said}"
    );
}

#[test]
fn scores_from_elsewhere_must_cover_what_is_measured() {
    let folder = folder();
    let at = folder.path();
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let mut lines = log.lines();
    let header = format!("{},prod\n", lines.next().unwrap());
    let scored: String = lines.map(|line| format!("{line},{}\n", if line.ends_with('1') { 0.9 } else { 0.1 })).collect();
    std::fs::write(at.join("log.csv"), header + &scored).unwrap();
    let column = format!("{EXPERIMENT}[[entrant]]\nname = \"oracle\"\ncolumn = \"prod\"\n");
    std::fs::write(at.join("column.toml"), &column).unwrap();
    let table = ok(at, &["compare", "column.toml", "--out", "out", "--quiet"]);
    assert!(table.lines().any(|line| line.trim_start().starts_with("oracle") && line.contains("1.0000")), "{table}");
    let problem = |text: &str, words: &[&str]| {
        std::fs::write(at.join("bad.toml"), text).unwrap();
        let (code, message) = fails(at, &["compare", "bad.toml", "--out", "bad", "--quiet"]);
        assert!(code == 3 && words.iter().all(|word| message.contains(word)), "{message}");
    };
    problem(&column.replace("\"prod\"", "\"produ\""), &["column `produ`", "`prod`"]);
    problem(&column.replace("oracle", "adapter"), &["`adapter`", "two entries"]);
    std::fs::write(at.join("few.csv"), "user,item,score\n1,1,0.5\n").unwrap();
    let file = column.replace("column = \"prod\"", "file = \"few.csv\"");
    problem(&file, &["entrant `oracle`", "has no score for", "measured rows"]);
    std::fs::write(at.join("few.csv"), "user,item,score\n1,1,0.5\n1,1,0.6\n").unwrap();
    problem(&file, &["user `1` and item `1` two different scores", "`time`"]);
    std::fs::write(at.join("log.csv"), std::fs::read_to_string(at.join("log.csv")).unwrap().replace(",0.9\n", ",2\n")).unwrap();
    problem(&column, &["holds 2", "`log_loss` needs probabilities"]);
}

#[test]
fn a_patch_about_something_else_is_not_replaced() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = |method: &str, domain: &str, more: &[&'static str]| -> Vec<String> {
        let words = ["adapt", method, "--base", "base", "--domain", domain, "--train", "epochs=1", "--out", "p.safetensors", "--quiet"];
        words.iter().chain(more).map(|&word| word.to_owned()).collect()
    };
    let strings = |words: &[String]| -> Vec<String> { words.to_vec() };
    let call = |words: Vec<String>| ok(at, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = |words: Vec<String>| fails(at, &words.iter().map(String::as_str).collect::<Vec<_>>());
    call(adapt("adapter", "north", &[]));
    let first = std::fs::read(at.join("p.safetensors")).unwrap();
    let (code, message) = refused(adapt("film", "north", &[]));
    assert!(code == 2 && message.contains("another method (`adapter`, not `film`)") && message.contains("--force"), "{message}");
    let (code, message) = refused(adapt("adapter", "south", &[]));
    assert!(code == 2 && message.contains("another domain (`north`, not `south`)"), "{message}");
    assert_eq!(first, std::fs::read(at.join("p.safetensors")).unwrap(), "the patch is as it was");
    call(strings(&adapt("adapter", "north", &[])));
    call(adapt("adapter", "south", &["--force"]));
    assert_ne!(first, std::fs::read(at.join("p.safetensors")).unwrap());
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "p.safetensors", "--domain", "north"]);
    assert!(table.contains("was trained on rows of `south`; it is measured here on rows of `north`"), "{table}");
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "p.safetensors", "--domain", "south"]);
    assert!(!table.contains("it is measured here on rows of"), "{table}");
}

#[test]
fn a_patch_that_is_not_shown_to_be_better_leaves_the_base_in_place() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    // One tiny step can not be shown to help.
    let adapt = ["adapt", "fine_tune_all", "--base", "base", "--train", "steps=1", "--train", "optimizer.rate=1e-7", "--out"];
    let said = ok(at, &[&adapt[..], &["shown.safetensors", "--quiet"]].concat());
    assert!(said.contains("against the base") && said.contains("the base is served in its place"), "{said}");
    ok(at, &[&adapt[..], &["always.safetensors", "--serve", "always", "--quiet"]].concat());
    let evaluate = |more: &[&str]| {
        let words = ["evaluate", "--base", "base", "--patch", "shown.safetensors", "--patch", "always.safetensors", "--json", "out.json"];
        let table = ok(at, &[&words[..], more].concat());
        let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
        let value = move |method: &str| {
            let found = report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == "log_loss").cloned();
            found.unwrap()["value"].as_f64().unwrap()
        };
        (table, value("base"), value("shown"), value("always"))
    };
    let (table, base, shown, always) = evaluate(&[]);
    assert!(base == shown && base != always, "{base} {shown} {always}");
    assert!(table.contains("so the base serves") && table.contains("--as-trained"), "{table}");
    let (table, base, shown, always) = evaluate(&["--as-trained"]);
    assert!(base != shown && shown == always && !table.contains("so the base serves"), "{base} {shown} {always}");
}

#[test]
fn patches_and_floors_adapt_from_the_same_rows_of_a_user() {
    let folder = folder();
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = [
        "adapt",
        "maml",
        "--base",
        "base",
        "--train",
        "epochs=1",
        "--train",
        "batch=8",
        "--history",
        "7",
        "--out",
        "maml.safetensors",
        "--quiet",
    ];
    ok(at, &adapt);
    let said = |history: &str| ok(at, &["evaluate", "--base", "base", "--patch", "maml.safetensors", "--history", history]);
    assert!(said("7").contains("at most 7 training rows of each user, the latest: 280 of"), "{}", said("7"));
    assert!(said("100000").contains("at most 100000 training rows of each user"));
    let (code, message) = fails(at, &["adapt", "maml", "--base", "base", "--history", "0"]);
    assert!(code == 2 && message.contains("1 or more"), "{message}");
}

#[test]
fn training_that_ends_in_no_number_names_the_numbers_that_are_too_large() {
    let folder = folder();
    let at = folder.path();
    let users: String = (0..40).map(|u| format!("{u},{},{}\n", if u % 2 == 0 { "even" } else { "odd" }, 1e30 * f64::from(u))).collect();
    std::fs::write(at.join("users.csv"), format!("user,group,income\n{users}")).unwrap();
    let feature = "[[feature]]\nname = \"income\"\nkind = \"numeric\"\nfrom = \"users\"\n";
    std::fs::write(at.join("data.toml"), format!("{DATA}{feature}")).unwrap();
    let (code, message) = fails(at, &["compare", "experiment.toml", "--quiet"]);
    assert!(code != 0 && message.contains("feature `income` holds numbers up to 3.9e31") && message.contains("`scale`"), "{message}");
}

#[test]
fn items_to_ask_are_named_and_judged_on_held_out_users() {
    let folder = folder();
    let at = folder.path();
    let by_time = "kind = \"global_time\"\nvalidation_from = 1_700_100_000\ntest_from = 1_700_115_000";
    let by_user = "kind = \"cold_users\"\nusers = { rule = \"rank\", prefix = \"user:\", existing_percent = 70, validation_percent = 20 }";
    assert!(EXPERIMENT.contains(by_time));
    std::fs::write(at.join("cold.toml"), EXPERIMENT.replace(by_time, by_user)).unwrap();
    ok(at, &["pretrain", "cold.toml", "--out", "base", "--quiet"]);
    ok(at, &["adapt", "maml", "--base", "base", "--out", "user.safetensors", "--serve", "always", "--quiet"]);
    ok(at, &["adapt", "adapter", "--base", "base", "--out", "all.safetensors", "--serve", "always", "--quiet"]);
    let read = |name: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(at.join(name)).unwrap()).unwrap() };
    for by in ["unit-error", "popularity", "popularity-entropy", "d-optimal", "random"] {
        let table = ok(at, &["evidence", "--base", "base", "-k", "3", "--by", by, "--json", "ask.json"]);
        let found = read("ask.json");
        let scores: Vec<f64> = found["candidates"].as_array().unwrap().iter().map(|c| c["score"].as_f64().unwrap()).collect();
        assert!(table.lines().count() == 4 && scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{by}: {table}");
        assert!(found.get("evaluation").is_none());
    }
    let judge = ["evidence", "--base", "base", "-k", "2", "--evaluate", "--patch", "user.safetensors", "--json", "judged.json"];
    let said = ok(at, &judge);
    assert!(
        said.contains("12 users without training rows are asked about 2 items") && said.matches("a user answers").count() == 5,
        "{said}"
    );
    let results = read("judged.json")["evaluation"]["results"].clone();
    let methods: Vec<&str> =
        results.as_array().unwrap().iter().filter(|r| r["metric"] == "auc").map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["unasked", "unit_error", "popularity", "popularity_entropy", "d_optimal", "random"]);
    for (changed, part) in [
        (&["-k", "40"][..], "has 12 items with training rows, fewer than the 40 asked for; lower -k"),
        (
            &["-k", "12", "--evaluate", "--patch", "user.safetensors"],
            "has no user without training rows who has a row on an item that is not asked about",
        ),
        (&["-k", "2", "--evaluate", "--patch", "user.safetensors", "--part", "train"], "name another --part"),
        (&["-k", "2", "--evaluate", "--patch", "all.safetensors"], "does not adapt to the rows of a user"),
    ] {
        let (code, message) = fails(at, &[&["evidence", "--base", "base"], changed].concat());
        assert!(code == 3 && message.contains(part), "{changed:?}, {code}: {message}");
    }
    for wrong in [&["-k", "0"][..], &["--evaluate"], &["--by", "random", "--unit-error", "paper"]] {
        assert_eq!(fails(at, &[&["evidence", "--base", "base"], wrong].concat()).0, 2, "{wrong:?}");
    }
}
