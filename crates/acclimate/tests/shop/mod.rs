//! A small click log in two shops, and the program run on it.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A click log of 40 users and 12 items in two domains, with users' and items' tables: who likes what follows from two columns.
pub(crate) fn write_data(folder: &Path) {
    let mut log = String::from("user,item,time,shop,click\n");
    let mut state = 12345_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..2400_u64 {
        let (user, item, shop) = (draw(40), draw(12), if draw(4) == 0 { "north" } else { "south" });
        let likes = (user % 2 == item % 2) != (shop == "north" && item % 3 == 0);
        let click = u64::from(draw(10) < if likes { 8 } else { 2 });
        log += &format!("{user},{item},{},{shop},{click}\n", 1_700_000_000 + row * 60);
    }
    let users: String = (0..40).map(|u| format!("{u},{}\n", if u % 2 == 0 { "even" } else { "odd" })).collect();
    let items: String = (0..12).map(|i| format!("{i},{}|{}\n", if i % 2 == 0 { "even" } else { "odd" }, i % 3)).collect();
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("users.csv"), format!("user,group\n{users}")).unwrap();
    std::fs::write(folder.join("items.csv"), format!("item,tags\n{items}")).unwrap();
    std::fs::write(folder.join("data.toml"), DATA).unwrap();
    std::fs::write(folder.join("experiment.toml"), EXPERIMENT).unwrap();
}

pub(crate) const DATA: &str = r#"
name = "shops"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
domain = { column = "shop" }
label = { column = "click", kind = "click" }
[[users]]
files = ["users.csv"]
key = "user"
[[items]]
files = ["items.csv"]
key = "item"
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "group"
kind = "categorical"
from = "users"
[[feature]]
name = "tags"
kind = "multi"
from = "items"
separator = "|"
[[feature]]
name = "shop"
kind = "domain"
"#;

pub(crate) const EXPERIMENT: &str = r#"
name = "shops"
dataset = "data.toml"
metrics = ["macro_auc", "auc[shop=north]", "log_loss"]
bootstrap = { draws = 50 }
[split]
kind = "global_time"
validation_from = 1_700_100_000
test_from = 1_700_115_000
[scenario]
kind = "multi_domain"
[base]
backbone = { kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [8] }
train = { epochs = 6, batch = 64, optimizer = { rate = 1e-2 } }
[[variant]]
name = "base_wide"
backbone = { kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [16] }
[train]
epochs = 3
batch = 64
[[method]]
name = "adapter"
config = { bottleneck = 2, per_domain = true }
[[method]]
name = "fine_tune_last"
label = "last"
base = "base_wide"
train = { optimizer = { rate = 5e-3 } }
"#;

pub(crate) fn acclimate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acclimate"));
    command.current_dir(folder).args(arguments).args(["--threads", "1"]).env_remove("ACCLIMATE_DATA");
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    acclimate(folder, arguments).output().unwrap()
}

pub(crate) fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code and the message of a command that must fail.
pub(crate) fn fails(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(folder, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The results of a file without what depends on the clock.
pub(crate) fn results(path: &Path) -> Value {
    let mut report: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for result in report["results"].as_array_mut().unwrap() {
        result["train_seconds"] = Value::Null;
        result["rows_per_second"] = Value::Null;
        result["adapt_one_seconds"] = Value::Null;
        result["adapt_thousand_seconds"] = Value::Null;
        result["day_seconds"] = Value::Null;
        result["request_seconds"] = Value::Null;
    }
    serde_json::json!([report["results"], report["differences"], report["notes"]])
}
