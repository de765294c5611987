//! Requests for many patches of three kinds at once.

use std::sync::Arc;

use serde_json::{Value, json};

use super::connection::Ask;
use super::prepare::Prepared;
use super::rows::Requests;
use super::{BUSY, REQUESTS, Report, asked, load, load_average, median};

/// Patches of a mixed batch.
const MIXED: usize = 150;

/// Requests for all of them in turn, against requests for one patch of each kind alone.
///
/// # Errors
/// The server does not start, or refuses.
pub(super) fn measure(report: &mut Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
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
