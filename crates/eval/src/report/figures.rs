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
    for heading in ["Trained parameters", "Patch", "Training", "Rows/s"] {
        push!(page, r#"<th scope="col" class="num">{heading}</th>"#);
    }
    push!(page, "</tr></thead><tbody>");
    for (method, cost) in costs {
        let cells = [
            cost.trainable_parameters.map(thousands),
            cost.patch_bytes.map(bytes),
            cost.train_seconds.map(duration),
            cost.rows_per_second.map(|rate| thousands(rate.max(0.0).round() as u64)),
        ];
        push!(page, r#"<tr><th scope="row">{}</th>"#, escape(method));
        for cell in cells {
            push!(page, r#"<td class="num">{}</td>"#, cell.unwrap_or_else(|| "\u{2013}".to_owned()));
        }
        push!(page, "</tr>");
    }
    push!(page, "</tbody></table></div>");
}
