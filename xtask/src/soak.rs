//! `cargo xtask soak`: the tests of a server under change, for as long as is asked for.

use anyhow::{Context, bail};

use crate::Task;
use crate::step::shell;

pub(crate) const TASK: Task = Task {
    name: "soak",
    about: "[--operations N] [--seed S] [--json FILE]: random operations beside a model, swaps under traffic, alternation; default 200000 operations",
    run: |arguments| crate::said(run(arguments)),
};

const TEST: &[&str] = &["cargo", "test", "--release", "--workspace", "--test", "soak", "--", "--nocapture", "--test-threads", "1"];

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    let (mut operations, mut seed, mut json) = (200_000_u64, 1_u64, None);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { bail!("`{}` needs a value", pair[0]) };
        match name.as_str() {
            "--operations" => operations = value.parse().with_context(|| format!("--operations {value}"))?,
            "--seed" => seed = value.parse().with_context(|| format!("--seed {value}"))?,
            "--json" => json = Some(std::path::absolute(value)?.display().to_string()),
            _ => bail!("`{name}` is no option; there are --operations, --seed and --json"),
        }
    }
    let (operations, seed) = (operations.to_string(), seed.to_string());
    let mut environment = vec![("ACCLIMATE_OPERATIONS", operations.as_str()), ("ACCLIMATE_SEED", seed.as_str())];
    environment.extend(json.as_ref().map(|file| ("ACCLIMATE_SOAK", file.as_str())));
    Ok(shell(TEST, &[], &environment))
}
