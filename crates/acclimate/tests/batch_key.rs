//! The training key `batch` says how many rows a step reads, of bases and of methods each by its own table.

mod shop;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shop::{EXPERIMENT, ok, write_data};

/// Rows of the steps in the log of a run, without the last of an epoch, which may be shorter.
fn rows_of_steps(folder: &Path, run: &str) -> BTreeSet<u64> {
    let text = std::fs::read_to_string(folder.join(format!("out/logs/{run}.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "step").map(|line| line["rows"].as_u64().unwrap()).collect()
}

#[test]
fn a_step_reads_a_batch_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let experiment = EXPERIMENT.replace("epochs = 3\nbatch = 64", "epochs = 3\nbatch = 40");
    assert_ne!(experiment, EXPERIMENT);
    std::fs::write(folder.path().join("experiment.toml"), experiment).unwrap();
    ok(folder.path(), &["compare", "experiment.toml", "--out", "out", "--quiet"]);
    for (run, batch) in [("base-seed1", 64), ("last-seed1", 40)] {
        assert_eq!(rows_of_steps(folder.path(), run), BTreeSet::from([batch]), "{run}");
    }
}
