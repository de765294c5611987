//! The plan by itself: the programs that time it beside ONNX Runtime, OpenVINO and PyTorch, and adapting beside PyTorch.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::example;
use super::options::Options;

/// Turns of each system.
const ROUNDS: usize = 60;
/// Users of each line of adapting.
const USERS: usize = 300;

/// What the programs say, one entry a line of theirs.
///
/// # Errors
/// They can not be built, or one fails.
pub(super) fn measure(options: &Options) -> anyhow::Result<Value> {
    let (scoring, adapting) = (example("speed")?, example("adapt_speed")?);
    let adapting = lines(Command::new(adapting).arg(USERS.to_string()))?;
    let mut found = json!({ "threads": 1, "adapting": adapting, "load_average": super::load_average() });
    let Some(python) = &options.python else {
        found["left_out"] = json!("the peers: ACCLIMATE_BENCH_PYTHON is not set");
        return Ok(found);
    };
    let peer = |name: &str| {
        let mut command = Command::new(python);
        command.arg(crate::root().join("bench/serve").join(name));
        command
    };
    let rounds = ROUNDS.to_string();
    let lines_of_scoring = lines(peer("peers.py").arg(scoring).args(["--rounds", &rounds]))?;
    found["ratios_of_scoring"] = ratios_of_scoring(&lines_of_scoring).into();
    found["scoring"] = lines_of_scoring.into();
    // A peer that can not run is named, as those of scoring are.
    match lines(peer("adapt_peer.py").args(["--users", &USERS.to_string()])) {
        Ok(peer) => {
            found["ratios_of_adapting"] = ratios(&adapting_of(&found), &peer).into();
            found["adapting_peer"] = peer.into();
        }
        Err(error) => found["adapting_peer"] = json!({ "left_out": error.to_string() }),
    }
    Ok(found)
}

/// Each peer's median time over ours, for one request and for many at once.
fn ratios_of_scoring(lines: &[Value]) -> Vec<Value> {
    let Some(ours) = lines.iter().find(|line| line["system"] == "ours") else { return Vec::new() };
    let mut ratios = Vec::new();
    for peer in lines.iter().filter(|line| line["system"] != "ours") {
        for (key, ratio) in peer.as_object().into_iter().flatten() {
            let Some(size) = key.strip_prefix("ratio_") else { continue };
            let rows: Option<usize> = size.split('x').map(|count| count.parse::<usize>().ok()).product();
            let time = format!("ms_{size}");
            ratios.push(json!({
                "what": "milliseconds, in process", "peer": peer["system"], "threads": 1, "rows": rows, "ours": ours[&time], "theirs": peer[&time], "ratio": ratio,
                "machine": super::machine(),
            }));
        }
    }
    ratios
}

fn adapting_of(found: &Value) -> Vec<Value> {
    found["adapting"].as_array().cloned().unwrap_or_default()
}

/// The peer's median time over ours, for each of its lines.
fn ratios(ours: &[Value], peer: &[Value]) -> Vec<Value> {
    let ratio = |line: &Value| {
        let own = ours.iter().find(|own| own["name"] == line["name"] && own["rows"] == line["rows"])?;
        let ratio = line["p50_us"].as_f64()? / own["p50_us"].as_f64()?;
        Some(
            json!({ "what": line["name"], "peer": format!("PyTorch, {}", line["variant"].as_str()?), "threads": 1, "rows": line["rows"], "ratio": ratio, "machine": super::machine() }),
        )
    };
    peer.iter().filter_map(ratio).collect()
}

/// The lines of JSON that a program prints.
pub(super) fn lines(command: &mut Command) -> anyhow::Result<Vec<Value>> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.stderr(std::process::Stdio::inherit()).output().with_context(|| name.clone())?;
    anyhow::ensure!(output.status.success(), "{command:?} failed");
    let text = String::from_utf8(output.stdout).with_context(|| name.clone())?;
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).with_context(|| name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_held_against_the_same_work() {
        let ours = [json!({ "name": "steps_1", "rows": 5, "p50_us": 10.0 }), json!({ "name": "steps_1", "rows": 20, "p50_us": 40.0 })];
        let peer = [
            json!({ "name": "steps_1", "variant": "written", "rows": 20, "p50_us": 100.0 }),
            json!({ "name": "other", "variant": "written", "rows": 20, "p50_us": 1.0 }),
        ];
        let ratios = ratios(&ours, &peer);
        assert_eq!((ratios.len(), &ratios[0]["ratio"], &ratios[0]["peer"]), (1, &json!(2.5), &json!("PyTorch, written")));
    }

    #[test]
    fn a_runtime_is_held_against_the_plan_by_size() {
        let lines = [
            json!({ "system": "ours", "ms_1x200": 0.1, "ratio_1x200": 1.0, "ms_64x200": 5.0, "ratio_64x200": 1.0 }),
            json!({ "system": "onnxruntime_plain", "ms_1x200": 0.4, "ratio_1x200": 4.0, "ms_64x200": 10.0, "ratio_64x200": 2.0 }),
            json!({ "system": "openvino_plain", "left_out": "no module" }),
        ];
        let ratios = ratios_of_scoring(&lines);
        let told: Vec<_> = ratios.iter().map(|ratio| (ratio["rows"].as_u64(), ratio["ratio"].as_f64(), ratio["theirs"].as_f64())).collect();
        assert_eq!(told, [(Some(200), Some(4.0), Some(0.4)), (Some(12_800), Some(2.0), Some(10.0))]);
        assert!(ratios_of_scoring(&lines[1..]).is_empty(), "without ours there is nothing to hold against");
    }

    #[test]
    fn lines_of_json_are_read_and_a_failure_is_one() {
        assert_eq!(lines(Command::new("echo").arg("text\n{\"a\": 1}")).unwrap(), [json!({ "a": 1 })]);
        assert!(lines(&mut Command::new("false")).is_err());
    }
}
