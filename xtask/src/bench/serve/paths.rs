//! What a request costs by where its patch lies: in memory, a user's head in a segment file, or nowhere yet.

use serde_json::{Value, json};

use super::connection::Ask;
use super::prepare::Prepared;
use super::residents::spread;
use super::rows::Requests;
use super::{Report, asked, load_average};

/// Requests of each path, one after the other.
const ASKED: usize = 300;

/// Times of requests that wait for nothing but their own work.
///
/// # Errors
/// The server does not start or refuses, or a patch takes another path than it should.
pub(super) fn measure(report: &Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
    let heads = prepared.heads()?;
    let names = prepared.copies(ASKED)?;
    let server = prepared.serve(report.options.threads)?;
    let of = |patch: &dyn Fn(usize) -> String| -> Vec<Ask> { (0..ASKED).map(|at| requests.one(at, Some(&patch(at)))).collect() };
    let times = |asks: &[Ask], kinds: &[&str]| -> anyhow::Result<Vec<f64>> {
        let answers = asked(server.address, asks)?;
        let is_it = |(answer, _): &&(Value, f64)| answer["served"]["kind"].as_str().is_some_and(|kind| kinds.contains(&kind));
        let times: Vec<f64> = answers.iter().filter(is_it).map(|(_, time)| *time).collect();
        // Users without rows to learn from have no head.
        anyhow::ensure!(times.len() * 2 > ASKED, "{} of {ASKED} requests were answered as one of {kinds:?}", times.len());
        Ok(times)
    };
    let of_patches = ["merged", "epilogue"];
    let cold = times(&of(&|at| names[at].clone()), &of_patches)?;
    let warm = times(&of(&|at| names[at].clone()), &of_patches)?;
    // The heads themselves are loaded with the first request.
    asked(server.address, &of(&|_| heads.to_owned())[..1])?;
    let segment = times(&of(&|_| heads.to_owned()), &["segmented"])?;
    let unit = "ms, one request after the other";
    Ok(
        json!({ "in_memory": spread(warm), "segment": spread(segment), "cold_load": spread(cold), "unit": unit, "load_average": load_average() }),
    )
}
