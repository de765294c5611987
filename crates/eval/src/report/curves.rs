//! A metric against the number of examples: settings such as `k=0`, `k=5` or `n=100`, `n=all`.

use super::Section;
use super::chart;
use super::effects::metric_heading;
use super::scale::Scale;
use super::series::{Look, Series, legend};
use super::text::{Html, escape, push};
use crate::leaderboard::distinct;
use crate::metric::{Metric, Scope};
use crate::record::{Kind, ResultRecord};
use crate::size::{self, Size};

/// Charts a section shows; further metrics stay in the tables.
const MOST_CHARTS: usize = 6;
/// Names below a chart.
const MOST_LABELS: usize = 12;
/// Floors a chart shows, the best ones at the largest size.
const MOST_FLOORS: usize = 3;

/// Settings that a curve with at least three sizes covers.
pub(super) fn sizes_with_a_curve<'a>(section: &Section<'a>) -> Vec<&'a str> {
    curves(section).into_iter().filter(|sizes| sizes.len() > 2).flatten().map(|size| size.setting).collect()
}

fn curves<'a>(section: &Section<'a>) -> Vec<Vec<Size<'a>>> {
    size::curves(section.results.iter().map(|result| result.place.setting.as_str()))
}

pub(super) fn write(page: &mut Html, section: &Section<'_>, series: &Series) {
    for sizes in curves(section) {
        let results: Vec<&ResultRecord> =
            section.results.iter().copied().filter(|result| sizes.iter().any(|size| size.setting == result.place.setting)).collect();
        let metrics = distinct(results.iter().map(|result| &result.metric));
        let metrics = without_many_domains(&metrics);
        let what = sizes[0].what();
        let name = if sizes[0].curve.is_empty() { String::new() } else { format!("{}: ", escape(&sizes[0].curve)) };
        push!(page, r#"<h3>{name}by {what}</h3><div class="grid">"#);
        for metric in metrics.into_iter().take(MOST_CHARTS) {
            let of_metric: Vec<&ResultRecord> = results.iter().copied().filter(|result| &result.metric == metric).collect();
            chart_of(page, &of_metric, &sizes, series);
        }
        push!(page, "</div>");
        legend(page, &shown(&results, &sizes, series));
    }
}

/// Methods other than floors, and the best floors by the first metric at the largest size.
fn shown<'a>(results: &[&ResultRecord], sizes: &[Size<'_>], series: &'a Series) -> Vec<&'a Look> {
    let looks = series.looks(&distinct(results.iter().map(|result| result.method.as_str())));
    let Some(first) = results.first() else { return looks };
    let badness = |method: &str| {
        let at_largest = |result: &&&ResultRecord| {
            result.method == method
                && result.metric == first.metric
                && sizes.last().is_some_and(|size| size.setting == result.place.setting)
        };
        let value = results.iter().find(at_largest).and_then(|result| result.value);
        value.map_or(f64::INFINITY, |value| first.metric.goal().badness(value))
    };
    let mut floors: Vec<&str> = looks.iter().filter(|look| look.kind == Kind::Floor).map(|look| look.method.as_str()).collect();
    floors.sort_by(|a, b| badness(a).total_cmp(&badness(b)));
    let floors = &floors[..floors.len().min(MOST_FLOORS)];
    looks.into_iter().filter(|look| look.kind != Kind::Floor || floors.contains(&look.method.as_str())).collect()
}

fn chart_of(page: &mut Html, results: &[&ResultRecord], sizes: &[Size<'_>], series: &Series) {
    let looks = shown(results, sizes, series);
    let drawn: Vec<&ResultRecord> =
        results.iter().copied().filter(|result| looks.iter().any(|look| look.method == result.method)).collect();
    let (Some(scale), Some(first)) = (Scale::of(&drawn), drawn.first()) else { return };
    push!(page, "<figure><figcaption>{}</figcaption>", metric_heading(first));
    chart::open(page, scale, &escape(&first.metric.to_string()));
    let percent = |at: usize| 100.0 * (at as f64 + 0.5) / sizes.len() as f64;
    // So many names fit below; of a long stream every second, third, ... is written.
    let step = sizes.len().div_ceil(MOST_LABELS);
    for (at, size) in sizes.iter().enumerate().step_by(step) {
        chart::label_below(page, percent(at), &escape(&size.to_string()));
    }
    for look in looks {
        let points: Vec<(usize, [f64; 3])> =
            sizes.iter().enumerate().filter_map(|(at, size)| Some((at, interval_at(&drawn, look, size)?))).collect();
        push!(page, r#"<g class="{}"><title>{}</title>"#, look.class, escape(&look.method));
        for pair in points.windows(2) {
            let [x1, x2] = [percent(pair[0].0), percent(pair[1].0)];
            let [y1, y2] = [pair[0].1[1], pair[1].1[1]].map(|value| chart::height_of(scale, value));
            push!(page, r#"<line class="path" x1="{x1:.2}%" x2="{x2:.2}%" y1="{y1:.1}" y2="{y2:.1}"/>"#);
        }
        for (at, values) in points {
            chart::point(page, scale, percent(at), values, look.mark);
        }
        push!(page, "</g>");
    }
    chart::close(page);
    push!(page, "</figure>");
}

/// Leaves out metrics of single domains where there are several: the chart of domains shows them.
fn without_many_domains<'a>(metrics: &[&'a Metric]) -> Vec<&'a Metric> {
    let of_domain = |metric: &Metric| matches!(metric.scope(), Some(Scope::Domain { .. }));
    let domains_of = |family: &str| metrics.iter().filter(|metric| of_domain(metric) && metric.family() == family).count();
    metrics.iter().copied().filter(|metric| !of_domain(metric) || domains_of(&metric.family()) == 1).collect()
}

fn interval_at(results: &[&ResultRecord], look: &Look, size: &Size<'_>) -> Option<[f64; 3]> {
    let result = results.iter().find(|result| result.method == look.method && result.place.setting == size.setting)?;
    let value = result.value?;
    Some([result.ci_low.unwrap_or(value), value, result.ci_high.unwrap_or(value)])
}
