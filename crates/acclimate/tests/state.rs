//! What features of earlier rows know, from the experiment to later data.

mod shop;

use std::path::Path;

use shop::{DATA, EXPERIMENT, fails, ok, write_data};

const FEATURES: &str = r#"
[[feature]]
name = "clicked"
kind = "history"
column = "item"
where = "= 1"
max_length = 5
vocabulary = "item"
[[feature]]
name = "item_rate"
kind = "statistic"
value = "rate"
by = ["item", "group"]
transform = "logit"
[[feature]]
name = "seen"
kind = "statistic"
value = "count"
by = ["user"]
half_life = "2h"
transform = "log1p"
scale = "standard"
"#;

fn folder(state: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    std::fs::write(folder.path().join("data.toml"), DATA.to_owned() + FEATURES).unwrap();
    std::fs::write(folder.path().join("experiment.toml"), format!("state = \"{state}\"\n{EXPERIMENT}")).unwrap();
    folder
}

/// The last column of a score file, without its header.
fn scores(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().skip(1).map(|line| line.rsplit(',').next().unwrap().to_owned()).collect()
}

/// Writes the rows of the log from one row to another as a data set of their own.
fn part(at: &Path, name: &str, rows: std::ops::Range<usize>) {
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let mut lines = log.lines();
    let header = lines.next().unwrap().to_owned();
    let rows: Vec<&str> = lines.skip(rows.start).take(rows.len()).collect();
    std::fs::write(at.join(format!("{name}.csv")), header + "\n" + &rows.join("\n") + "\n").unwrap();
    std::fs::write(at.join(format!("{name}.toml")), (DATA.to_owned() + FEATURES).replace("log.csv", &format!("{name}.csv"))).unwrap();
}

#[test]
fn later_data_is_scored_as_the_same_rows_of_the_bases_own_log() {
    let folder = folder("frozen");
    let at = folder.path();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["predict", "--base", "base", "--out", "own.csv"]);
    let own = scores(&at.join("own.csv"));
    part(at, "later", 2400 - own.len()..2400);
    let predict = ["predict", "--base", "base", "--data", "later.toml", "--out", "later-scores.csv", "--force"];
    ok(at, &predict);
    assert_eq!(own, scores(&at.join("later-scores.csv")));
    // What is known lies beside the base; without it, it is read from the base's own data again.
    std::fs::remove_file(at.join("base/state.zst")).unwrap();
    ok(at, &predict);
    assert_eq!(own, scores(&at.join("later-scores.csv")));
    std::fs::write(at.join("base/state.zst"), "nothing").unwrap();
    let (code, said) = fails(at, &predict);
    assert!(code == 3 && said.contains("state.zst: is no state of this version; make it again with `acclimate pretrain`"), "{code} {said}");
}

#[test]
fn rows_between_the_bases_own_and_later_ones_are_known_where_they_are_named() {
    let folder = folder("moving");
    let at = folder.path();
    part(at, "first", 0..1800);
    part(at, "between", 1800..2100);
    part(at, "later", 2100..2400);
    let experiment = std::fs::read_to_string(at.join("experiment.toml"))
        .unwrap()
        .replace("data.toml", "first.toml")
        .replace("validation_from = 1_700_100_000\ntest_from = 1_700_115_000", "validation = 0.1\ntest = 0.1");
    std::fs::write(at.join("first-experiment.toml"), experiment).unwrap();
    ok(at, &["pretrain", "first-experiment.toml", "--out", "base", "--quiet"]);
    let evaluate = |more: &[&str]| ok(at, &[&["evaluate", "--base", "base", "--data", "later.toml"], more].concat());
    let (alone, with) = (evaluate(&[]), evaluate(&["--context", "between.toml"]));
    assert_ne!(alone, with);
    // Rows that the base knows are no context.
    let again = evaluate(&["--context", "first.toml"]);
    assert!(again.contains("rows of first.toml are older than what the base knows already, and are left out"), "{again}");
    // Without labels nothing is learned on the way.
    let said = ok(at, &["predict", "--base", "base", "--data", "later.toml", "--out", "scores.csv"]);
    assert!(said.contains("Without labels, rows are not known to later ones"), "{said}");
}

#[test]
fn what_is_known_is_part_of_what_decides_a_run() {
    let table = |state: &str| {
        let folder = folder(state);
        ok(folder.path(), &["compare", "experiment.toml", "--out", "out", "--quiet"]);
        let report = std::fs::read_to_string(folder.path().join("out/results.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["results"].as_array().unwrap().iter().map(|r| r["value"].to_string()).collect::<Vec<_>>()
    };
    let (frozen, aged, moving) = (table("frozen"), table("aged"), table("moving"));
    assert!(frozen != moving && frozen != aged && aged != moving);
    let folder = folder("melting");
    let (code, said) = fails(folder.path(), &["compare", "experiment.toml"]);
    assert!(code == 3 && said.contains("melting") && said.contains("frozen"), "{code} {said}");
}

const COLD: &str = r#"
name = "cold"
dataset = "data.toml"
metrics = ["auc"]
bootstrap = { draws = 50 }
[split]
kind = "cold_users"
users = { rule = "residue", salt = 1, modulus = 4, validation = [2, 2], test = [3, 3] }
[scenario]
kind = "cold_start"
settings = ["test"]
base_rows = "all"
tasks = { query = 10, min_rows = 20, max_rows = 200, support_sizes = [0, 10] }
[base]
backbone = { kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [8] }
train = { epochs = 6, batch = 64, optimizer = { rate = 1e-2 } }
[[method]]
name = "maml"
train = { epochs = 2, batch = 8 }
"#;

#[test]
fn a_cold_users_history_is_the_support_of_the_task() {
    let folder = folder("frozen");
    let at = folder.path();
    std::fs::write(at.join("cold.toml"), COLD).unwrap();
    let table = ok(at, &["compare", "cold.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
    let of = |method: &str, setting: &str| {
        let is = |r: &&serde_json::Value| r["method"] == method && r["setting"] == setting;
        report["results"].as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("{table}"))["value"].as_f64().unwrap()
    };
    // The unadapted base says something else once it is told of ten rows of a user, and so does the floor that reads the same features.
    for method in ["base", "maml", "logistic_regression"] {
        assert_ne!(of(method, "test,k=0"), of(method, "test,k=10"), "{table}");
    }
    std::fs::write(at.join("cold.toml"), format!("state = \"moving\"\n{COLD}")).unwrap();
    let (code, said) = fails(at, &["compare", "cold.toml", "--out", "moving", "--quiet"]);
    assert!(code == 3 && said.contains("of a user with a task the support is known"), "{code} {said}");
}

#[test]
fn mistakes_in_features_of_earlier_rows_are_named() {
    let folder = folder("frozen");
    let at = folder.path();
    for (find, replace, said) in [
        ("where = \"= 1\"", "where = \"1\"", "`1` is no condition"),
        ("max_length = 5\n", "", "`history` needs the key `max_length`"),
        ("half_life = \"2h\"", "half_life = \"2 hours\"", "`2 hours` is no length of time"),
        ("half_life = \"2h\"", "half_life = \"2h\"\nwindow = \"1d\"", "the key `window` does not go with `half_life`"),
        ("by = [\"item\", \"group\"]", "by = [\"item\", \"groups\"]", "`by` names `groups`, which does not exist; did you mean `group`?"),
        ("value = \"count\"\n", "", "`statistic` needs the key `value`"),
        ("value = \"count\"", "value = \"count\"\nstrength = 3.0", "the key `strength` does not go with `value = count`"),
        ("value = \"count\"\nby = [\"user\"]\nhalf_life = \"2h\"", "value = \"distinct\"", "`value = distinct` needs the key `column`"),
        ("value = \"rate\"", "value = \"rate\"\nparent = [\"user\"]", "`parent` must name entries of `by`"),
        ("transform = \"log1p\"", "transform = \"logit\"", "`logit` for rates"),
        ("value = \"rate\"", "value = \"rate\"\nwatch = 1", "unknown field `watch`"),
        ("value = \"rate\"", "value = \"rate\"\ndomains = \"mine\"", "`mine` is no choice of domains"),
        ("time = { column = \"time\", unit = \"s\" }\n", "", "`half_life` needs the key `time of [interactions]`"),
    ] {
        let text = DATA.to_owned() + FEATURES;
        assert!(text.contains(find), "{find}");
        std::fs::write(at.join("data.toml"), text.replacen(find, replace, 1)).unwrap();
        let (code, message) = fails(at, &["inspect", "data.toml"]);
        assert!(code == 3 && message.contains(said), "{find} -> {replace}: {code} {message}");
    }
}
