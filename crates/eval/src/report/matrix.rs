//! All further metrics of a place, each cell with its own small interval.

use super::effects::{Guides, bar, metric_heading};
use super::scale::Scale;
use super::text::{Html, name, number, push};
use crate::leaderboard::{distinct, ordered_methods};
use crate::metric::Metric;
use crate::record::{Kind, ResultRecord, Verdict};

/// Columns that fit on a printed page.
const COLUMNS: usize = 5;

pub(super) fn write(page: &mut Html, results: &[&ResultRecord]) {
    let metrics = distinct(results.iter().map(|result| &result.metric));
    let Some(further) = metrics.get(1..).filter(|further| !further.is_empty()) else { return };
    push!(page, "<h4>Further metrics</h4>");
    for chunk in further.chunks(COLUMNS) {
        table(page, results, chunk);
    }
    push!(
        page,
        r#"<p class="key"><span class="verdict yes">▲</span> better, <span class="verdict no">▼</span> worse than its best floor in that metric (paired interval beyond 0); no sign: not shown. Best value in bold.</p>"#
    );
}

fn table(page: &mut Html, results: &[&ResultRecord], metrics: &[&Metric]) {
    let columns: Vec<Column<'_>> = metrics.iter().filter_map(|metric| Column::of(results, metric)).collect();
    push!(page, r#"<div class="scroll"><table class="matrix"><thead><tr><th scope="col">Method</th>"#);
    for column in &columns {
        push!(page, r#"<th scope="col" class="num">{}</th>"#, metric_heading(column.results[0]));
    }
    push!(page, "</tr></thead><tbody>");
    let mut previous = None;
    for (method, kind) in ordered_methods(results) {
        let starts = if previous.is_some_and(|previous| previous != kind) { " starts" } else { "" };
        previous = Some(kind);
        push!(page, r#"<tr class="k-{}{starts}"><th scope="row">{}</th>"#, kind.name(), name(method));
        for column in &columns {
            column.cell(page, method);
        }
        push!(page, "</tr>");
    }
    push!(page, "</tbody></table></div>");
}

/// One metric of the matrix.
struct Column<'a> {
    results: Vec<&'a ResultRecord>,
    scale: Scale,
    guides: Guides<'a>,
    best: f64,
}

impl<'a> Column<'a> {
    fn of(results: &[&'a ResultRecord], metric: &Metric) -> Option<Self> {
        let results: Vec<&ResultRecord> = results.iter().copied().filter(|result| &result.metric == metric).collect();
        let reached = results.iter().filter(|result| result.kind != Kind::Ceiling).filter_map(|result| result.value);
        let best = reached.map(|value| metric.goal().badness(value)).fold(f64::INFINITY, f64::min);
        Some(Self { scale: Scale::of(&results)?, guides: Guides::of(&results), results, best })
    }

    fn cell(&self, page: &mut Html, method: &str) {
        let Some(result) = self.results.iter().find(|result| result.method == method) else {
            push!(page, "<td></td>");
            return;
        };
        let Some(value) = result.value else {
            push!(page, r#"<td class="num"><span class="ci">undefined</span></td>"#);
            return;
        };
        let is_best = result.kind != Kind::Ceiling && result.metric.goal().badness(value) <= self.best;
        let judged = matches!(result.kind, Kind::Control | Kind::Adaptation);
        let sign = match result.beats_floor {
            Verdict::Yes if judged => r#"<span class="verdict yes" title="beats its best floor">▲</span>"#,
            Verdict::No if judged => r#"<span class="verdict no" title="below its best floor">▼</span>"#,
            _ => r#"<span class="verdict"></span>"#,
        };
        push!(page, r#"<td class="num"><span class="value{}">{}</span>{sign}"#, if is_best { " best" } else { "" }, number(value));
        bar(page, result, self.scale, &self.guides, 12);
        if let (Some(low), Some(high)) = (result.ci_low, result.ci_high) {
            push!(page, r#"<span class="ci">{} to {}</span>"#, short(low), short(high));
        }
        push!(page, "</td>");
    }
}

fn short(value: f64) -> String {
    format!("{value:.3}").replace('-', "\u{2212}")
}
