//! What each trained method of a place cost.

use super::text::{Html, bytes, duration, escape, push, thousands};
use crate::leaderboard::ordered_methods;
use crate::record::{Cost, ResultRecord};

pub(super) fn write(page: &mut Html, results: &[&ResultRecord]) {
    let methods = ordered_methods(results);
    let cost_of = |method: &str| results.iter().find(|result| result.method == method).map(|result| result.cost);
    let costs: Vec<(&str, Cost)> =
        methods.iter().filter_map(|&(method, _)| Some((method, cost_of(method)?))).filter(|(_, cost)| *cost != Cost::default()).collect();
    if costs.is_empty() {
        return;
    }
    push!(page, r#"<h4>Cost</h4><div class="scroll"><table class="cost"><thead><tr><th scope="col">Method</th>"#);
    let adapts = costs.iter().any(|(_, cost)| cost.adapt_one_seconds.is_some());
    let streams = costs.iter().any(|(_, cost)| cost.request_seconds.is_some());
    let columns: Vec<(&str, bool)> = vec![
        ("Trained parameters", true),
        ("Patch", true),
        ("Training", true),
        ("Rows/s", true),
        ("Adapting to a user", adapts),
        ("To a thousand", adapts),
        ("A day", streams),
        ("A row", streams),
        ("Newest event", streams),
    ];
    for (heading, _) in columns.iter().filter(|(_, shown)| *shown) {
        push!(page, r#"<th scope="col" class="num">{heading}</th>"#);
    }
    push!(page, "</tr></thead><tbody>");
    for (method, cost) in costs {
        let cells = [
            cost.trainable_parameters.map(thousands),
            cost.patch_bytes.map(bytes),
            cost.train_seconds.map(duration),
            cost.rows_per_second.map(|rate| thousands(rate.max(0.0).round() as u64)),
            cost.adapt_one_seconds.map(short),
            cost.adapt_thousand_seconds.map(short),
            cost.day_seconds.map(short),
            cost.request_seconds.map(|seconds| format!("{:.1} µs", 1e6 * seconds)),
            cost.newest_event_hours.map(|hours| format!("{hours:.1} h")),
        ];
        push!(page, r#"<tr><th scope="row">{}</th>"#, escape(method));
        for (cell, _) in cells.into_iter().zip(&columns).filter(|(_, (_, shown))| *shown) {
            push!(page, r#"<td class="num">{}</td>"#, cell.unwrap_or_else(|| "\u{2013}".to_owned()));
        }
        push!(page, "</tr>");
    }
    push!(page, "</tbody></table></div>");
    if streams {
        push!(
            page,
            r#"<p class="key">A day: what happens between two days of the stream. A row: to serve one. Newest event: how old what is said of a row is, on average.</p>"#
        );
    }
    if adapts {
        push!(
            page,
            r#"<p class="key">Times are those of the machine of this run, beside whatever else it did; adapting includes scoring the query rows.</p>"#
        );
    }
}

/// Milliseconds, or seconds when they are many.
fn short(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.2} ms", 1e3 * seconds) } else { duration(seconds) }
}
