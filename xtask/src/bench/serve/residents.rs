//! More and more patches in memory, and loading one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::connection::{Ask, Connection};
use super::load::{self, OpenLoop};
use super::prepare::Prepared;
use super::rows::Requests;
use super::{BUSY, REQUESTS, Report, asked, load_average};

/// Times at one rate with more and more patches in memory, and of requests that had to load their patch.
///
/// # Errors
/// The server does not start or refuses, or lets patches go for want of memory.
pub(super) fn measure(report: &Report, (prepared, requests): &(Prepared, Requests)) -> anyhow::Result<Value> {
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
pub(super) fn spread(mut times: Vec<f64>) -> Value {
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
