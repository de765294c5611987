//! `cargo xtask bench serve`: the server over HTTP, beside the same network behind FastAPI, uvicorn and ONNX Runtime.

mod chart;
mod connection;
mod http;
mod load;
mod measured;
mod mixed;
mod options;
mod paths;
mod plan;
mod prepare;
mod process;
mod residents;
mod rows;
mod saturation;
mod trees;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use connection::{Ask, Connection};
use options::{Options, Part};
use prepare::{NARROW, Prepared, WIDE};
use rows::Requests;

/// Requests that are made beforehand; a load sends them in turn.
const REQUESTS: usize = 256;
/// Connections that ask without a pause, where a peak is measured.
const BUSY: usize = 16;

/// Two servers, or two ways to use one, held against each other.
#[derive(Serialize)]
struct Ratio {
    what: String,
    /// What is held against.
    peer: String,
    /// Threads that score, on either side.
    threads: usize,
    /// Rows of a request.
    rows: usize,
    ours: f64,
    theirs: f64,
    ratio: f64,
    machine: String,
    /// Of the machine's last minute, when the second of the two was measured.
    load_average: Option<f64>,
}

/// Everything found so far; it is written after each part.
struct Report {
    whole: Value,
    ratios: Vec<Ratio>,
    options: Options,
}

pub(super) fn run(arguments: &[String]) -> anyhow::Result<bool> {
    if let [flag, file] = arguments
        && flag == "--chart"
    {
        return chart::draw(Path::new(file)).map(|()| true);
    }
    let options = Options::parse(arguments)?;
    let whole = json!({ "machine": machine(), "cores": std::thread::available_parallelism().map_or(0, usize::from), "shared": SHARED, "settings": options });
    let mut report = Report { whole, ratios: Vec::new(), options };
    let (acclimate, work, candidates) = (report.options.acclimate.clone(), report.options.work.clone(), report.options.candidates);
    let made = |network| -> anyhow::Result<(Prepared, Requests)> {
        let prepared = Prepared::make(&acclimate, &work, network)?;
        let requests = Requests::make(&prepared.data(), &prepared.base(), REQUESTS, candidates)?;
        Ok((prepared, requests))
    };
    for part in report.options.parts.clone() {
        eprintln!("== {}", part.name());
        let found = match part {
            Part::Http => http::measure(&mut report, &made(WIDE)?)?,
            Part::Mixed => mixed::measure(&mut report, &made(WIDE)?)?,
            Part::Residents => residents::measure(&report, &made(NARROW)?)?,
            Part::Paths => paths::measure(&report, &made(NARROW)?)?,
            Part::Plan => plan::measure(&report.options)?,
            Part::Trees => trees::measure(&mut report)?,
        };
        report.put(part.name(), found)?;
    }
    Ok(true)
}

/// What every figure is to be read with.
const SHARED: &str = "client and servers share the cores of one machine, on loopback; one server runs at a time";

impl Report {
    fn put(&mut self, part: &str, found: Value) -> anyhow::Result<()> {
        self.whole[part] = found;
        self.whole["ratios"] = serde_json::to_value(&self.ratios)?;
        let path = &self.options.json;
        std::fs::write(path, serde_json::to_string_pretty(&self.whole)? + "\n").with_context(|| format!("{}", path.display()))
    }

    fn ratio(&mut self, what: &str, peer: &str, figures: [f64; 2]) {
        let Options { candidates: rows, threads, .. } = self.options;
        self.held(what, peer, (threads, rows), figures);
    }

    /// Milliseconds of one thread in one process.
    fn in_process(&mut self, peer: &str, rows: usize, figures: [f64; 2]) {
        self.held("milliseconds, in process", peer, (1, rows), figures);
    }

    fn held(&mut self, what: &str, peer: &str, (threads, rows): (usize, usize), [ours, theirs]: [f64; 2]) {
        let (what, peer) = (what.to_owned(), peer.to_owned());
        eprintln!("{what}: {:.2} of {peer}", ours / theirs);
        self.ratios.push(Ratio {
            what,
            peer,
            threads,
            rows,
            ours,
            theirs,
            ratio: ours / theirs,
            machine: machine(),
            load_average: load_average(),
        });
    }
}

/// Builds the examples that the benchmark is made of, and says where one is. One selection of packages for all: another would build what they share again.
fn example(name: &str) -> anyhow::Result<PathBuf> {
    let packages = ["-p", "acclimate-data", "-p", "acclimate-plan", "-p", "acclimate-registry"];
    let examples = ["--example", "adapt_speed", "--example", "copies", "--example", "serve_rows", "--example", "speed"];
    let built =
        Command::new("cargo").args(["build", "--release", "--quiet"]).args(packages).args(examples).current_dir(crate::root()).status()?;
    anyhow::ensure!(built.success(), "the examples that the benchmark needs can not be built");
    Ok(target().join("release/examples").join(name))
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from)
}

/// The processor.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Processes that wanted to run in the last minute.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Asks one after the other; gives the answers and the milliseconds that each took.
fn asked(address: SocketAddr, asks: &[Ask]) -> anyhow::Result<Vec<(Value, f64)>> {
    load::runtime()?.block_on(async {
        let mut connection = Connection::new(address);
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let start = std::time::Instant::now();
            let (status, body) = connection.ask(ask).await?;
            let time = start.elapsed().as_secs_f64() * 1e3;
            let text = String::from_utf8_lossy(&body);
            anyhow::ensure!(status.is_success(), "{} answered {status}: {text}", ask.path);
            answers.push((serde_json::from_str(&text).unwrap_or(Value::Null), time));
        }
        Ok(answers)
    })
}

/// The scores of an answer.
fn scores(answer: &Value) -> anyhow::Result<Vec<f64>> {
    let scores = answer["scores"].as_array().context("an answer has no `scores`")?;
    scores.iter().map(|score| score.as_f64().context("a score is no number")).collect()
}
