//! Boosted trees beside the plan on a real log: what each is worth, and how long a request takes.

use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

use super::options::Options;
use super::plan::lines;
use super::{Report, machine, target};

/// The network whose inputs the trees read as well.
const EXPERIMENT: &str = "bench/lightgbm/krl1-network.toml";
/// The tabs of the protocol; a macro mean over all of the log's would count those of seven rows as well.
const TABS: [&str; 5] = ["auc[tab=1]", "auc[tab=0]", "auc[tab=4]", "auc[tab=6]", "auc[tab=2]"];
/// Rows of the two sizes.
const SIZES: [(&str, usize); 2] = [("ms_1x200", 200), ("ms_64x200", 64 * 200)];

/// What both sides say, and quality and time of the trees beside ours.
///
/// # Errors
/// A program is not built, or fails.
pub(super) fn measure(report: &mut Report) -> anyhow::Result<Value> {
    let options = report.options.clone();
    let Some(python) = options.python.as_ref().filter(|_| std::env::var_os("ACCLIMATE_DATA").is_some()) else {
        return Ok(json!({ "left_out": "the log of KRL-1 and the trees: ACCLIMATE_DATA or ACCLIMATE_BENCH_PYTHON is not set" }));
    };
    let mut ours = network(&options)?;
    let mut peer = Command::new(python);
    peer.arg(crate::root().join("bench/serve/trees_peer.py")).args(["--threads", &options.threads.to_string()]);
    let trees = match lines(&mut peer) {
        Ok(trees) => trees,
        Err(error) => vec![json!({ "system": "lightgbm", "left_out": error.to_string() })],
    };
    let per_microsecond = |line: &mut Value| {
        if let (Some(auc), Some(ms)) = (line["macro_auc"].as_f64(), line["ms_1x200"].as_f64()) {
            // What is above chance, for each microsecond that a candidate takes.
            line["auc_above_half_per_us"] = ((auc - 0.5) / (ms * 1e3 / 200.0)).into();
        }
    };
    per_microsecond(&mut ours);
    let mut found = vec![ours.clone()];
    for mut line in trees {
        per_microsecond(&mut line);
        for (size, rows) in SIZES {
            if let (Some(own), Some(theirs), Some(name)) = (ours[size].as_f64(), line[size].as_f64(), line["system"].as_str()) {
                report.in_process(name, rows, [own, theirs]);
            }
        }
        found.push(line);
    }
    Ok(json!({ "threads": 1, "protocol": "KRL-1, state moving, test rows of five tabs", "systems": found, "machine": machine() }))
}

/// The network's worth on test rows, and the time that its plan takes.
fn network(options: &Options) -> anyhow::Result<Value> {
    // Trained anew: it takes seconds, and a base of another program or experiment would be measured under this one's name.
    let folder = options.work.join("trees");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let text = |name: &str| folder.join(name).display().to_string();
    let acclimate = |arguments: &[&str]| -> anyhow::Result<()> {
        let status = Command::new(&options.acclimate).args(arguments).stdout(Stdio::null()).status().context("acclimate")?;
        anyhow::ensure!(status.success(), "acclimate {arguments:?} failed");
        Ok(())
    };
    let (base, registry, report) = (text("base"), text("registry"), text("evaluate.json"));
    acclimate(&["pretrain", &crate::root().join(EXPERIMENT).display().to_string(), "--out", &base, "--quiet"])?;
    acclimate(&["registry", "publish", "krl1", "--base", &base, "--root", &registry])?;
    let metrics: Vec<&str> = TABS.into_iter().flat_map(|metric| ["--metric", metric]).collect();
    acclimate(&[&["evaluate", "--base", &base, "--json", &report][..], &metrics].concat())?;
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report)?)?;
    let program = target().join("release/served");
    anyhow::ensure!(program.exists(), "{} is not built; `cargo build --release --workspace` builds it", program.display());
    let found = lines(Command::new(program).args([&registry, "krl1"]))?;
    let mut line = found.into_iter().next().context("it printed nothing")?;
    line["macro_auc"] = macro_auc(&report).context("the report has no macro AUC of the base")?.into();
    Ok(line)
}

fn macro_auc(report: &Value) -> Option<f64> {
    let results = report["results"].as_array()?;
    let of = |metric: &str| results.iter().find(|result| result["method"] == "base" && result["metric"] == *metric)?["value"].as_f64();
    Some(TABS.into_iter().map(of).sum::<Option<f64>>()? / TABS.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_that_is_trained_is_there_and_its_figure_is_the_bases() {
        assert!(crate::root().join(EXPERIMENT).exists());
        let result = |method: &str, metric: &str, value: f64| json!({ "method": method, "metric": metric, "value": value });
        let mut results: Vec<Value> = TABS.iter().zip([0.5, 0.6, 0.7, 0.8, 0.9]).map(|(tab, value)| result("base", tab, value)).collect();
        results.extend([result("popularity", TABS[0], 0.1), result("base", "auc[tab=8]", 0.1)]);
        let mean = macro_auc(&json!({ "results": results })).unwrap();
        assert!((mean - 0.7).abs() < 1e-12, "{mean}");
        assert_eq!(macro_auc(&json!({ "results": [result("base", TABS[0], 0.5)] })), None);
        assert_eq!(macro_auc(&json!({})), None);
    }
}
