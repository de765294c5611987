//! Our server beside the peer, the base alone.

use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use super::connection::Ask;
use super::load::{self, OpenLoop};
use super::measured::Measured;
use super::options::Options;
use super::prepare::Prepared;
use super::process::Server;
use super::rows::Requests;
use super::saturation::saturation;
use super::{BUSY, Report, asked, load_average, median, scores};

/// Scores of both sides may differ by so much.
const TOLERANCE: f64 = 1e-5;

/// What one server does: its highest rate within the bound, and its times at half and four fifths of that.
#[derive(Serialize)]
struct Course {
    saturation: Measured,
    half: Measured,
    four_fifths: Measured,
    /// Processor time of the server for each request of the last two.
    cpu_ms_a_request: Option<f64>,
    memory_mib: Option<f64>,
    load_average: Option<f64>,
}

/// One figure of a course.
type Reading = fn(&Course) -> Option<f64>;

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
    let saturation = saturation(options.bound_ms, start, |rate| at(rate, options.seconds))?;
    let before = server.cpu_seconds();
    let half = at(saturation.rate * 0.5, options.seconds * 3.0)?;
    let four_fifths = at(saturation.rate * 0.8, options.seconds * 3.0)?;
    let sent = (half.rate + four_fifths.rate) * options.seconds * 3.25;
    let cpu_ms_a_request = before.zip(server.cpu_seconds()).map(|(before, after)| 1e3 * (after - before) / sent);
    Ok(Course { saturation, half, four_fifths, cpu_ms_a_request, memory_mib: server.memory_mib(), load_average: load_average() })
}

/// A peer's workers, and the threads of each.
const PEERS: [(&str, usize); 2] = [("FastAPI + uvicorn + ONNX Runtime, 1 worker", 1), ("FastAPI + uvicorn + ONNX Runtime, 2 workers", 2)];

/// Ours and the peer in turns.
///
/// # Errors
/// A server does not start, or the two do not give the same scores.
pub(super) fn measure(report: &mut Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
    let options = report.options.clone();
    let (ours, theirs): (Arc<[Ask]>, Arc<[Ask]>) = (requests.of(None).into(), requests.peer.clone().into());
    let layout = prepared.folder.join("layout.json");
    std::fs::write(&layout, &requests.layout)?;
    let peer = |workers: usize| -> anyhow::Result<Server> {
        let python = options.python.as_ref().context("no Python")?;
        let mut command = Command::new(python);
        command.arg(crate::root().join("bench/serve/fastapi_peer.py")).arg(prepared.model()).arg(&layout);
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
    let of = |rounds: &[Course], what: Reading| -> Option<f64> { Some(median(rounds.iter().map(what).collect::<Option<Vec<_>>>()?)) };
    let rate: Reading = |course| Some(course.saturation.rate);
    let own = of(&courses[0].1, rate);
    for (name, rounds) in &courses[1..] {
        if let (Some(own), Some(rate)) = (own, of(rounds, rate)) {
            report.ratio(&format!("requests a second with p99 within {} ms", options.bound_ms), name, [own, rate]);
        }
        let times: [(&str, Reading); 3] = [
            ("p99 at half of its own highest rate, ms", |course| course.half.p99_ms),
            ("p99 at four fifths of its own highest rate, ms", |course| course.four_fifths.p99_ms),
            ("processor time of the server for a request, ms", |course| course.cpu_ms_a_request),
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
}
