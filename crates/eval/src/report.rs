//! The report page: one HTML file without any outside request, readable on a phone, on a wide screen, in the dark and on paper.

mod chart;
mod curves;
mod domains;
mod effects;
mod figures;
mod floors;
mod gains;
mod matrix;
mod preflight;
mod scale;
mod series;
mod summary;
mod text;

use series::Series;
use text::{Html, push};

use crate::leaderboard::distinct;
use crate::record::{Input, Place, Report, ResultRecord};

const STYLE: &str = include_str!("report/page.css");

/// Renders a report as a self-contained HTML page. All text is escaped.
///
/// ```
/// use acclimate_eval::{Report, to_html};
/// let page = to_html(&Report { title: "<b>".into(), ..Report::default() });
/// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("&lt;b&gt;") && !page.contains("<b>"));
/// ```
#[must_use]
pub fn to_html(report: &Report) -> String {
    let mut page = Html::new();
    let title = if report.title.is_empty() { "Comparison" } else { &report.title };
    push!(page, r#"<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{} - Acclimate</title>"#, text::escape(title));
    push!(page, r#"<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">"#);
    push!(page, "<style>{STYLE}</style></head><body><main>");
    header(&mut page, report, title);
    preflight::warn(&mut page, report);
    summary::write(&mut page, report);
    let series = Series::of(&report.results);
    for (number, section) in sections(report).iter().enumerate() {
        write_section(&mut page, report, section, &series, number);
    }
    preflight::write(&mut page, report);
    floors::write(&mut page, report);
    provenance(&mut page, report);
    push!(page, "</main></body></html>\n");
    page.finish()
}

/// Everything about one data set and scenario.
struct Section<'a> {
    dataset: &'a str,
    scenario: &'a str,
    results: Vec<&'a ResultRecord>,
}

fn sections(report: &Report) -> Vec<Section<'_>> {
    let keys = distinct(report.results.iter().map(|result| (result.place.dataset.as_str(), result.place.scenario.as_str())));
    let of = |(dataset, scenario): (&str, &str)| {
        report.results.iter().filter(|result| result.place.dataset == dataset && result.place.scenario == scenario).collect()
    };
    keys.into_iter().map(|key| Section { dataset: key.0, scenario: key.1, results: of(key) }).collect()
}

fn header(page: &mut Html, report: &Report, title: &str) {
    let environment = &report.environment;
    push!(page, r#"<header><p class="brand">Acclimate</p><h1>{}</h1><p class="facts">"#, text::escape(title));
    let methods = distinct(report.results.iter().map(|result| result.method.as_str())).len();
    let places = distinct(report.results.iter().map(|result| &result.place)).len();
    push!(page, "{methods} methods in {places} setting{}", if places == 1 { "" } else { "s" });
    if !environment.seeds.is_empty() {
        let plural = if environment.seeds.len() == 1 { "" } else { "s" };
        push!(page, ", {} training seed{plural}", environment.seeds.len());
    }
    let bootstrap = environment.bootstrap;
    push!(page, ". Brackets are {} % intervals over {} draws of users.", bootstrap.level * 100.0, text::thousands(bootstrap.draws as u64));
    if !environment.started.is_empty() {
        push!(page, " {}, {}.", text::escape(&environment.started), text::duration(environment.seconds));
    }
    push!(page, "</p></header>");
}

fn write_section(page: &mut Html, report: &Report, section: &Section<'_>, series: &Series, number: usize) {
    push!(page, r#"<section id="s{number}"><h2>{}<span>{}</span></h2>"#, text::spaced(section.scenario), text::escape(section.dataset));
    curves::write(page, section, series);
    gains::write(page, report, section);
    let sizes = curves::sizes_with_a_curve(section);
    for place in distinct(section.results.iter().map(|result| &result.place)) {
        let results: Vec<&ResultRecord> = section.results.iter().copied().filter(|result| &result.place == place).collect();
        // A curve already tells the story of these settings: their tables stay folded on the screen.
        if sizes.contains(&place.setting.as_str()) {
            push!(page, r#"<details><summary>{}</summary>"#, text::setting(&place.setting));
            write_place(page, report, place, &results, series);
            push!(page, "</details>");
        } else {
            push!(page, "<h3><span>Setting</span> {}</h3>", text::setting(&place.setting));
            write_place(page, report, place, &results, series);
        }
    }
    push!(page, "</section>");
}

fn write_place(page: &mut Html, report: &Report, place: &Place, results: &[&ResultRecord], series: &Series) {
    effects::write(page, report, place, results);
    matrix::write(page, results);
    domains::write(page, results, series);
    domains::sizes(page, report, place);
    figures::write(page, results);
}

fn provenance(page: &mut Html, report: &Report) {
    let environment = &report.environment;
    push!(page, r#"<section class="provenance"><h2>How this was made</h2>"#);
    if !report.notes.is_empty() {
        push!(page, r#"<h3>Notes</h3><ul class="notes">"#);
        for note in &report.notes {
            push!(page, "<li>{}</li>", text::escape(note));
        }
        push!(page, "</ul>");
    }
    let seeds: Vec<String> = environment.seeds.iter().map(u64::to_string).collect();
    let bootstrap = environment.bootstrap;
    let drawn = format!("{} draws of users, seed {}, {} % percentiles", bootstrap.draws, bootstrap.seed, bootstrap.level * 100.0);
    let facts = [
        ("Version", environment.version.clone()),
        ("Training seeds", seeds.join(", ")),
        ("Device", environment.device.clone()),
        ("Processor", environment.processor.clone()),
        ("Threads", environment.threads.to_string()),
        ("Peak memory", environment.peak_memory_mib.map_or_else(String::new, |mib| format!("{mib:.0} MiB"))),
        ("Started", environment.started.clone()),
        ("Took", text::duration(environment.seconds)),
        ("Intervals", drawn),
    ];
    push!(page, "<dl>");
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        push!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", text::escape(value));
    }
    for Input { file, sha256 } in &report.inputs {
        push!(page, "<div><dt>SHA-256 of {}</dt><dd>{}</dd></div>", text::escape(file), text::escape(sha256));
    }
    push!(page, "</dl>");
    for (name, value) in [("Command", &report.command), ("Configuration", &report.config)] {
        if !value.is_empty() {
            push!(page, "<h3>{name}</h3><pre><code>{}</code></pre>", text::escape(value.trim_end()));
        }
    }
    push!(page, "</section>");
}
