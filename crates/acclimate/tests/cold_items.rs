//! Cold start of items: what a comparison gives, and what is refused before anything is trained.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Ratings of 60 users and 40 films, whose colour says who likes them, and whose level nothing says.
fn write_data(folder: &Path) {
    let mut log = String::from("user,film,stars\n");
    for user in 0..60_u64 {
        for film in (0..40_u64).filter(|film| !(user * 7 + film * 3).is_multiple_of(4)) {
            let taste = if (user + film).is_multiple_of(2) { 2 } else { 0 };
            log += &format!("{user},{film},{}\n", 1 + taste + film / 2 % 3);
        }
    }
    let films: String =
        (0..40).map(|film| format!("{film},{},{}\n", ["red", "blue"][film % 2], ["short", "long", "epic"][film % 3])).collect();
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("films.csv"), format!("film,colour,length\n{films}")).unwrap();
    std::fs::write(folder.join("data.toml"), DATA).unwrap();
}

const DATA: &str = r#"
name = "films"
[interactions]
files = ["log.csv"]
user = "user"
item = "film"
label = { column = "stars", kind = "rating", min = 1, max = 5 }
[[items]]
files = ["films.csv"]
key = "film"
[[feature]]
name = "colour"
kind = "categorical"
from = "items"
[[feature]]
name = "length"
kind = "categorical"
from = "items"
[[feature]]
name = "film"
kind = "categorical"
[[feature]]
name = "user"
kind = "categorical"
"#;

const EXPERIMENT: &str = r#"
name = "films"
dataset = "data.toml"
metrics = ["rmse"]
bootstrap = { draws = 50 }
[split]
kind = "cold_items"
items = { rule = "rank", prefix = "i", existing_percent = 75 }
validation = { prefix = "v", percent = 20 }
[scenario]
kind = "cold_start"
settings = ["new_item"]
base_rows = "all"
tasks = { of = "items", query = 10, support = 10, min_rows = 20, max_rows = 1000, support_sizes = [0, 10] }
[base]
backbone = { kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [8] }
train = { epochs = 3, batch = 64, hide = { film = 0.3 }, optimizer = { rate = 1e-2 } }
[train]
epochs = 2
batch = 8
[[method]]
name = "meta_embedding"
[[method]]
name = "mwuf"
[[method]]
name = "acclimate_item"
[[method]]
name = "dropoutnet"
[[method]]
name = "maml"
support = "random"
"#;

fn run(folder: &Path, text: &str, more: &[&str]) -> Output {
    std::fs::write(folder.join("experiment.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_acclimate"));
    command.current_dir(folder).args(["compare", "experiment.toml", "--quiet", "--threads", "1"]).args(more);
    command.env_remove("ACCLIMATE_DATA").output().unwrap()
}

#[test]
fn new_items_are_measured_at_every_support_size_over_items() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = run(folder.path(), EXPERIMENT, &["--out", "out", "--json", "out.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("out.json")).unwrap()).unwrap();
    let value = |method: &str, setting: &str| {
        let of = |r: &&Value| r["method"] == method && r["setting"] == setting;
        report["results"].as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("no {method} in {setting}"))["value"]
            .as_f64()
            .unwrap()
    };
    for floor in ["content_bias", "fold_in_items"] {
        assert!(value(floor, "new_item,k=10") < value(floor, "new_item,k=0"), "ratings of a film tell {floor} something");
        assert_eq!(value(floor, "new_item,k=10").to_bits(), value(floor, "new_item").to_bits(), "all support rows are ten");
    }
    assert_eq!(value("bias", "new_item,k=10").to_bits(), value("bias", "new_item,k=0").to_bits(), "it knows users alone");
    for method in ["meta_embedding", "mwuf", "acclimate_item", "dropoutnet", "maml"] {
        assert!(value(method, "new_item,k=10") != value(method, "new_item,k=0"), "{method} adapts");
    }
    for k in ["new_item,k=0", "new_item,k=10"] {
        for method in ["acclimate_item", "dropoutnet"] {
            assert!(value(method, k) < value("bias", k), "content and ratings of a film tell {method} something");
        }
    }
    let text = report.to_string();
    assert!(text.contains("new_item: 10 items are measured, 10 of them at every support size"), "{text}");
    assert!(text.contains("means over items"), "{text}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let random = "kind = \"random\"\nvalidation = 0.3\ntest = 0.3\n[scenario]";
    let (begin, end) = (EXPERIMENT.find("kind = \"cold_items\"").unwrap(), EXPERIMENT.find("[scenario]").unwrap() + "[scenario]".len());
    let warm = EXPERIMENT.replace(&EXPERIMENT[begin..end], random).replace("settings = [\"new_item\"]", "settings = [\"test\"]");
    let warm = warm
        .replace("min_rows = 20", "min_rows = 20, order = { kind = \"seeded\", seed = 1 }")
        .replace("query = 10, support = 10, min_rows = 20", "query = 2, support = 2, min_rows = 4")
        .replace("[0, 10]", "[0, 2]");
    for (text, parts) in [
        (EXPERIMENT.replace("name = \"maml\"", "name = \"acclimate_user\""), ["`acclimate_user`", "tasks.of = \"users\""]),
        (EXPERIMENT.replace("of = \"items\", ", ""), ["`meta_embedding`", "tasks.of = \"items\""]),
        (
            EXPERIMENT.replace("name = \"acclimate_item\"", "name = \"acclimate_item\"\nconfig = { user = \"colours\" }"),
            ["acclimate_item", "`colours`"],
        ),
        (EXPERIMENT.replace("name = \"dropoutnet\"", "name = \"dropoutnet\"\nconfig = { dropout = 1.0 }"), ["`dropout`", "below 1"]),
        (EXPERIMENT.replace("[0, 10]", "[0, 20]"), ["support_sizes", "`support` = 10"]),
        (EXPERIMENT.replace("min_rows = 20", "min_rows = 19"), ["`min_rows` = 19", "10 + 10"]),
        (EXPERIMENT.replace("percent = 20", "percent = 120"), ["validation.percent", "above 100"]),
        (EXPERIMENT.replace("hidden = [8] }", "hidden = [8], without = [\"film\"] }"), ["meta_embedding", "does not read the item's id"]),
        (warm, ["must be new items", "cold_items"]),
    ] {
        let output = run(folder.path(), &text, &["--out", "wrong"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
        assert!(!folder.path().join("wrong/bases").exists(), "{parts:?}: something was trained");
    }
}
