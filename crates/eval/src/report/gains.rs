//! What support rows are worth to each method: the metric with k of them less that with none.

use super::Section;
use super::effects::verdict;
use super::text::{Html, escape, name, push, signed};
use crate::gain::GainRecord;
use crate::leaderboard::distinct;
use crate::record::Report;
use crate::size::{Size, curves};

pub(super) fn write(page: &mut Html, report: &Report, section: &Section<'_>) {
    let here = |gain: &&GainRecord| gain.place.dataset == section.dataset && gain.place.scenario == section.scenario;
    let gains: Vec<&GainRecord> = report.gains.iter().filter(here).collect();
    // The setting without support rows is the start of the curve.
    let settings = gains.iter().flat_map(|gain| [gain.from.as_str(), gain.place.setting.as_str()]);
    for sizes in curves(settings) {
        let of_curve: Vec<&GainRecord> =
            gains.iter().copied().filter(|gain| sizes.iter().any(|size| size.setting == gain.place.setting)).collect();
        let curve = if sizes[0].curve.is_empty() { String::new() } else { format!("{}: ", escape(&sizes[0].curve)) };
        push!(page, "<details><summary>{curve}adaptation gain</summary>");
        push!(page, r#"<p class="key">The metric with k support rows less that of the same method without, on the same query rows.</p>"#);
        for metric in distinct(of_curve.iter().map(|gain| &gain.metric)) {
            table(page, &of_curve.iter().copied().filter(|gain| &gain.metric == metric).collect::<Vec<_>>(), &sizes[1..]);
        }
        push!(page, "</details>");
    }
}

fn table(page: &mut Html, gains: &[&GainRecord], sizes: &[Size<'_>]) {
    let Some(first) = gains.first() else { return };
    let better = if first.falls() { "below 0 is better" } else { "above 0 is better" };
    push!(
        page,
        r#"<div class="scroll"><table class="matrix"><thead><tr><th scope="col"><span class="metric">{}</span>, {better}</th>"#,
        escape(&first.metric.to_string())
    );
    for size in sizes {
        push!(page, r#"<th scope="col" class="num">{}</th>"#, escape(&size.to_string()));
    }
    push!(page, "</tr></thead><tbody>");
    for method in distinct(gains.iter().map(|gain| gain.method.as_str())) {
        push!(page, r#"<tr><th scope="row">{}</th>"#, name(method));
        for size in sizes {
            let Some(gain) = gains.iter().find(|gain| gain.method == method && gain.place.setting == size.setting) else {
                push!(page, "<td></td>");
                continue;
            };
            push!(page, r#"<td class="num"><span class="value">{}</span>"#, signed(gain.value));
            if let (Some(low), Some(high)) = (gain.ci_low, gain.ci_high) {
                push!(page, r#"<span class="ci">{} to {}</span> {}"#, signed(low), signed(high), verdict(gain.better));
            }
            push!(page, "</td>");
        }
        push!(page, "</tr>");
    }
    push!(page, "</tbody></table></div>");
}
