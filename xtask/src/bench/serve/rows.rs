//! Requests with the same rows for both sides, as `crates/data/examples/serve_rows.rs` makes them.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::connection::Ask;
use super::example;

/// Requests of one user each.
pub(crate) struct Requests {
    ours: Vec<Value>,
    /// For the peer, in the same order.
    pub(crate) peer: Vec<Ask>,
    /// What `dnn_onnx.py` needs to know of the peer's rows.
    pub(crate) layout: String,
}

/// A line of the program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ours: Value,
    peer: Value,
}

impl Requests {
    /// Makes requests of some candidates each from the demo's files and a base.
    ///
    /// # Errors
    /// The program can not be built, or fails; it has said why.
    pub(crate) fn make(data: &Path, base: &Path, count: usize, candidates: usize) -> anyhow::Result<Self> {
        let program = example("serve_rows")?;
        let output = Command::new(&program)
            .arg(data)
            .arg(base)
            .args([count.to_string(), candidates.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        anyhow::ensure!(output.status.success(), "{} failed", program.display());
        let requests = Self::read(&String::from_utf8(output.stdout)?)?;
        anyhow::ensure!(requests.ours.len() == count, "{} made {} requests of {count}", program.display(), requests.ours.len());
        Ok(requests)
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let layout = lines.next().context("there are no rows")?.to_owned();
        let lines = lines.map(serde_json::from_str).collect::<Result<Vec<Line>, _>>()?;
        let (ours, peer) = lines.into_iter().map(|line| (line.ours, Ask::post("/score", line.peer.to_string()))).unzip();
        Ok(Self { ours, peer, layout })
    }

    /// Requests of a patch, or of the base.
    pub(crate) fn of(&self, patch: Option<&str>) -> Vec<Ask> {
        (0..self.ours.len()).map(|request| self.one(request, patch)).collect()
    }

    /// One of them, counted round and round.
    pub(crate) fn one(&self, request: usize, patch: Option<&str>) -> Ask {
        let mut body = self.ours[request % self.ours.len()].clone();
        if let Some(patch) = patch {
            body["patch"] = patch.into();
        }
        Ask::post("/v1/score", body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_patch_and_comes_round_again() {
        let requests = Requests::read(
            "{\"shared\": []}\n{\"ours\": {\"items\": [1]}, \"peer\": {\"own_codes\": [3]}}\n{\"ours\": {\"items\": [2]}, \"peer\": {}}\n",
        )
        .unwrap();
        assert_eq!(requests.one(3, Some("films")).body.as_deref(), Some("{\"items\":[2],\"patch\":\"films\"}"));
        assert_eq!(requests.of(None)[0].body.as_deref(), Some("{\"items\":[1]}"));
        assert_eq!(requests.peer[0].body.as_deref(), Some("{\"own_codes\":[3]}"));
        assert!(Requests::read("").is_err() && Requests::read("{}\n{\"ours\": 1}").is_err());
    }
}
