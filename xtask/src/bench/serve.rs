//! `cargo xtask bench serve`: the server over HTTP, beside the same network behind FastAPI, uvicorn and ONNX Runtime.

mod connection;
mod load;
mod measured;
mod options;
mod plan;
mod prepare;
mod process;
mod rows;
mod saturation;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};

use connection::{Ask, Connection};
use load::OpenLoop;
use measured::Measured;
use options::{Options, Part};
use prepare::{NARROW, Prepared, WIDE};
use process::Server;
use rows::Requests;

/// Requests that are made beforehand; a load sends them in turn.
const REQUESTS: usize = 256;
/// Scores of both sides may differ by so much.
const TOLERANCE: f64 = 1e-5;
/// Patches of a mixed batch.
const MIXED: usize = 150;
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
            Part::Http => http(&mut report, &made(WIDE)?)?,
            Part::Mixed => mixed(&mut report, &made(WIDE)?)?,
            Part::Residents => residents(&report, &made(NARROW)?)?,
            Part::Plan => plan::measured(&report.options)?,
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

    fn ratio(&mut self, what: &str, peer: &str, [ours, theirs]: [f64; 2]) {
        let Options { candidates: rows, threads, .. } = self.options;
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

/// Builds an example of a crate: what the benchmark needs of the product without being made of it.
fn example(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", package, "--example", name])
        .current_dir(crate::root())
        .status()?;
    anyhow::ensure!(built.success(), "the example `{name}` of {package} can not be built");
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

/// What one server does: its highest rate within the bound, and its times at half and four fifths of that.
#[derive(Serialize)]
struct Course {
    saturation: Measured,
    half: Measured,
    four_fifths: Measured,
    memory_mib: Option<f64>,
    load_average: Option<f64>,
}

fn course(options: &Options, server: &Server, asks: &Arc<[Ask]>) -> anyhow::Result<Course> {
    let at = |rate: f64, seconds: f64| {
        let measured = load::run(server.address, asks, OpenLoop { rate, warm_up: options.seconds / 4.0, seconds })?;
        eprintln!(
            "  {rate:7.1}/s: p50 {:?} p99 {:?} p99.9 {:?} ms {:?}",
            measured.p50_ms, measured.p99_ms, measured.p999_ms, measured.errors
        );
        Ok(measured)
    };
    // The first seconds of a server are not those of the next hours.
    load::peak(server.address, asks, BUSY, options.seconds / 2.0)?;
    let start = load::peak(server.address, asks, BUSY, options.seconds / 2.0)? / 2.0;
    let saturation = saturation::saturation(options.bound_ms, start, |rate| at(rate, options.seconds))?;
    let half = at(saturation.rate * 0.5, options.seconds * 3.0)?;
    let four_fifths = at(saturation.rate * 0.8, options.seconds * 3.0)?;
    Ok(Course { saturation, half, four_fifths, memory_mib: server.memory_mib(), load_average: load_average() })
}

/// A peer's workers, and the threads of each.
const PEERS: [(&str, usize); 2] = [("FastAPI + uvicorn + ONNX Runtime, 1 worker", 1), ("FastAPI + uvicorn + ONNX Runtime, 2 workers", 2)];

/// Ours and the peer in turns, the base alone.
fn http(report: &mut Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
    let options = report.options.clone();
    let (ours, theirs): (Arc<[Ask]>, Arc<[Ask]>) = (requests.of(None).into(), requests.peer.clone().into());
    let layout = prepared.folder.join("layout.json");
    std::fs::write(&layout, &requests.layout)?;
    let peer = |workers: usize| -> anyhow::Result<Server> {
        let python = options.python.as_ref().context("no Python")?;
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/serve/fastapi_peer.py")).arg(prepared.model()).arg(&layout);
        command.args(["--workers", &workers.to_string(), "--threads", &(options.threads / workers).max(1).to_string()]);
        Server::start(&mut command, workers, &prepared.folder.join("peer.log"))
    };
    let expected: Vec<Vec<f64>> = {
        let server = prepared.serve(options.threads)?;
        asked(server.address, &ours)?.iter().map(|(answer, _)| scores(answer)).collect::<anyhow::Result<_>>()?
    };
    let mut worst = None;
    if options.python.is_some() {
        worst = Some(difference(&expected, &asked(peer(1)?.address, &theirs)?)?);
    }
    let mut courses: Vec<(String, Vec<Course>)> = vec![("acclimate".into(), Vec::new())];
    courses.extend(PEERS.iter().filter(|_| options.python.is_some()).map(|(name, _)| ((*name).to_owned(), Vec::new())));
    for round in 0..options.rounds {
        for (at, (name, rounds)) in courses.iter_mut().enumerate() {
            eprintln!("{name}, round {}", round + 1);
            let (server, asks) = if at == 0 { (prepared.serve(options.threads)?, &ours) } else { (peer(PEERS[at - 1].1)?, &theirs) };
            rounds.push(course(&options, &server, asks)?);
        }
    }
    let of = |rounds: &[Course], what: fn(&Course) -> Option<f64>| -> Option<f64> {
        Some(median(rounds.iter().map(what).collect::<Option<Vec<_>>>()?))
    };
    let rate: fn(&Course) -> Option<f64> = |course| Some(course.saturation.rate);
    let own = of(&courses[0].1, rate);
    for (name, rounds) in &courses[1..] {
        if let (Some(own), Some(rate)) = (own, of(rounds, rate)) {
            report.ratio(&format!("requests a second with p99 within {} ms", options.bound_ms), name, [own, rate]);
        }
        let times: [(&str, fn(&Course) -> Option<f64>); 2] = [
            ("p99 at half of its own highest rate, ms", |c| c.half.p99_ms),
            ("p99 at four fifths of its own highest rate, ms", |c| c.four_fifths.p99_ms),
        ];
        for (what, time) in times {
            if let (Some(own), Some(time)) = (of(&courses[0].1, time), of(rounds, time)) {
                report.ratio(what, name, [own, time]);
            }
        }
    }
    let left_out =
        options.python.is_none().then_some("the peer: ACCLIMATE_BENCH_PYTHON names no Python with fastapi, uvicorn, onnx and onnxruntime");
    Ok(json!({ "largest_difference_of_scores": worst, "courses": courses, "left_out": left_out }))
}

/// The largest difference of scores.
///
/// # Errors
/// One is above the tolerance: then the two do not compute the same, and their times are not to be compared.
fn difference(expected: &[Vec<f64>], answers: &[(Value, f64)]) -> anyhow::Result<f64> {
    let mut worst: f64 = 0.0;
    for (request, (expected, (answer, _))) in expected.iter().zip(answers).enumerate() {
        let found = scores(answer)?;
        anyhow::ensure!(found.len() == expected.len(), "request {request} has {} scores here and {} there", expected.len(), found.len());
        for (row, (a, b)) in expected.iter().zip(&found).enumerate() {
            let difference = (a - b).abs();
            anyhow::ensure!(difference <= TOLERANCE, "row {row} of request {request} scores {a} here and {b} there");
            worst = worst.max(difference);
        }
    }
    anyhow::ensure!(!expected.is_empty() && expected.len() == answers.len(), "nothing was compared");
    Ok(worst)
}

/// Requests for many patches of three kinds at once, against requests for one patch of each kind alone.
fn mixed(report: &mut Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
    let options = report.options.clone();
    let names = prepared.copies(MIXED)?;
    let all: Arc<[Ask]> = (0..names.len().max(REQUESTS)).map(|at| requests.one(at, Some(&names[at % names.len()]))).collect();
    let alone: Vec<Arc<[Ask]>> = names[..prepared.network.methods.len()].iter().map(|name| requests.of(Some(name)).into()).collect();
    let server = prepared.serve(options.threads)?;
    let kinds: Vec<Value> =
        asked(server.address, &all)?.into_iter().take(alone.len()).map(|(answer, _)| answer["served"]["kind"].clone()).collect();
    let mut rates = vec![Vec::new(); alone.len() + 1];
    // Forms take turns, so that a busy machine slows all of them.
    for _ in 0..options.turns {
        for (asks, rates) in std::iter::once(&all).chain(&alone).zip(&mut rates) {
            rates.push(load::peak(server.address, asks, BUSY, options.seconds / 2.0)?);
        }
    }
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    // As long as a request of each kind takes alone, one after the other.
    let one = alone.len() as f64 / rates[1..].iter().map(|rate| 1.0 / rate).sum::<f64>();
    report.ratio(
        &format!("requests a second, {MIXED} patches of three kinds mixed"),
        "one patch of each kind alone, the mean time of a request",
        [rates[0], one],
    );
    let alone: Vec<Value> = prepared
        .network
        .methods
        .iter()
        .zip(&kinds)
        .zip(&rates[1..])
        .map(|((method, kind), rate)| json!({ "method": method, "kind": kind, "rate": rate }))
        .collect();
    Ok(json!({ "patches": names.len(), "connections": BUSY, "mixed_rate": rates[0], "alone": alone, "load_average": load_average() }))
}

/// Times at one rate with more and more patches in memory, and of requests that had to load their patch.
fn residents(report: &Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
    let options = &report.options;
    let most = options.residents.iter().copied().max().unwrap_or(1);
    let start = std::time::Instant::now();
    let names = prepared.copies(most)?;
    eprintln!("{most} patches are published after {:.0} s", start.elapsed().as_secs_f64());
    let server = prepared.serve(options.threads)?;
    let of = |names: &[String]| -> Arc<[Ask]> {
        (0..names.len().max(REQUESTS)).map(|at| requests.one(at, Some(&names[at % names.len()]))).collect()
    };
    let ask = |at: usize| requests.one(at, Some(&names[at]));
    // One patch of each kind sets the rate of all that follows.
    let first = names.len().min(prepared.network.methods.len());
    asked(server.address, &(0..first).map(ask).collect::<Vec<_>>())?;
    let rate = 0.4 * load::peak(server.address, &of(&names[..first]), BUSY, options.seconds)?;
    let (mut found, mut loads, mut loaded) = (Vec::new(), Vec::new(), first);
    for &count in &options.residents {
        let cold: Vec<Ask> = (loaded..count).map(ask).collect();
        loads.extend(asked(server.address, &cold)?.into_iter().map(|(_, time)| time));
        loaded = loaded.max(count);
        let said = metrics(server.address)?;
        let in_memory = gauge(&said, "acclimate_patches").context("the server does not say how many patches are in memory")?;
        let bytes = gauge(&said, "acclimate_patch_bytes");
        anyhow::ensure!(
            in_memory as usize == loaded,
            "{in_memory} patches are in memory instead of {loaded}; raise the memory for patches"
        );
        let asks = of(&names[..count.max(first)]);
        for _ in 0..options.rounds {
            let measured =
                load::run(server.address, &asks, OpenLoop { rate, warm_up: options.seconds / 2.0, seconds: options.seconds * 3.0 })?;
            eprintln!("  {loaded} patches: p50 {:?} p99 {:?} ms {:?}", measured.p50_ms, measured.p99_ms, measured.errors);
            found.push(json!({ "in_memory": loaded, "asked_for": count.max(first), "bytes": bytes, "measured": measured, "memory_mib": server.memory_mib(), "load_average": load_average() }));
        }
    }
    let asks = of(&names[..first]);
    let measured = load::run(server.address, &asks, OpenLoop { rate, warm_up: options.seconds / 2.0, seconds: options.seconds * 3.0 })?;
    found.push(json!({ "in_memory": loaded, "asked_for": first, "measured": measured, "memory_mib": server.memory_mib(), "load_average": load_average() }));
    let warm: Vec<f64> = asked(server.address, &asks)?.into_iter().map(|(_, time)| time).collect();
    let paths = json!({ "in_memory": spread(warm), "cold_load": spread(loads), "unit": "ms, one request after the other" });
    Ok(json!({ "rate": rate, "measured": found, "paths": paths }))
}

/// Count, median and 99th percentile; nothing of nothing.
fn spread(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times.get((q * times.len() as f64).ceil().max(1.0) as usize - 1);
    json!({ "requests": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99) })
}

fn metrics(address: SocketAddr) -> anyhow::Result<String> {
    load::runtime()?.block_on(async {
        let (status, body) = Connection::new(address).ask(&Ask::get("/metrics")).await?;
        if !status.is_success() {
            bail!("/metrics answered {status}");
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    })
}

/// A value in the text that Prometheus reads.
fn gauge(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_disagree_are_not_timed() {
        let answer = |score: f64| vec![(json!({ "scores": [0.25, score] }), 0.0)];
        let expected = vec![vec![0.25, 0.5]];
        assert!(difference(&expected, &answer(0.5 + 5e-6)).is_ok_and(|worst| worst > 4e-6));
        assert!(difference(&expected, &answer(0.5 + 2e-5)).is_err());
        assert!(difference(&[vec![0.25]], &answer(0.5)).is_err(), "a row is missing");
        assert!(difference(&[], &[]).is_err(), "nothing is no agreement");
        assert!(difference(&expected, &[(json!({ "detail": "no" }), 0.0)]).is_err());
    }

    #[test]
    fn a_gauge_is_told_from_those_that_begin_alike() {
        let text = "# HELP acclimate_patches Patches in memory.\nacclimate_patches_evicted 3\nacclimate_patches 12\n";
        assert_eq!((gauge(text, "acclimate_patches"), gauge(text, "acclimate_queue_jobs")), (Some(12.0), None));
    }

    #[test]
    fn spread_of_a_hundred() {
        assert_eq!(spread((1..=100).rev().map(f64::from).collect()), json!({ "requests": 100, "p50_ms": 50.0, "p99_ms": 99.0 }));
        assert_eq!(spread(Vec::new()), json!({ "requests": 0, "p50_ms": null, "p99_ms": null }));
    }
}
