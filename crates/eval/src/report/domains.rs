//! One metric in each domain, all methods beside each other.

use super::chart;
use super::scale::Scale;
use super::series::{Series, legend};
use super::text::{Html, escape, push, thousands};
use crate::DomainSize;
use crate::leaderboard::distinct;
use crate::metric::Scope;
use crate::record::{Place, Report, ResultRecord};

/// A chart for each metric that is known in at least two domains.
pub(super) fn write(page: &mut Html, results: &[&ResultRecord], series: &Series) {
    let in_domains: Vec<(&ResultRecord, String)> = results
        .iter()
        .filter_map(|result| match result.metric.scope() {
            Some(Scope::Domain { column, value }) => Some((*result, format!("{column} {value}"))),
            _ => None,
        })
        .collect();
    for family in distinct(in_domains.iter().map(|(result, _)| result.metric.family())) {
        let of_family: Vec<&(&ResultRecord, String)> =
            in_domains.iter().filter(|(result, _)| result.metric.family() == family && !result.metric.goal().is_a_value()).collect();
        let domains = distinct(of_family.iter().map(|(_, domain)| domain.as_str()));
        if domains.len() > 1 {
            chart_of(page, &family, &of_family, &domains, series);
        }
    }
}

/// The rows of each domain, where there are several.
pub(super) fn sizes(page: &mut Html, report: &Report, place: &Place) {
    let domains: Vec<&DomainSize> = report.domains.iter().filter(|domain| &domain.place == place).map(|domain| &domain.size).collect();
    if domains.len() < 2 {
        return;
    }
    let clicks = domains.iter().any(|domain| domain.positives.is_some());
    push!(page, r#"<h4>Measured rows of each domain</h4><div class="scroll"><table class="cost"><thead><tr><th scope="col">Domain</th>"#);
    push!(page, r#"<th scope="col" class="num">Rows</th><th scope="col" class="num">Users</th>"#);
    push!(page, "{}</tr></thead><tbody>", if clicks { r#"<th scope="col" class="num">Positives</th>"# } else { "" });
    for DomainSize { domain, rows, users, positives } in domains {
        push!(page, r#"<tr><th scope="row">{}</th><td class="num">{}</td>"#, escape(domain), thousands(*rows));
        push!(page, r#"<td class="num">{}</td>"#, thousands(*users));
        if clicks {
            push!(page, r#"<td class="num">{}</td>"#, positives.map_or_else(String::new, thousands));
        }
        push!(page, "</tr>");
    }
    push!(page, "</tbody></table></div>");
}

fn chart_of(page: &mut Html, family: &str, results: &[&(&ResultRecord, String)], domains: &[&str], series: &Series) {
    let all: Vec<&ResultRecord> = results.iter().map(|(result, _)| *result).collect();
    let Some(scale) = Scale::of(&all) else { return };
    let looks = series.looks(&distinct(all.iter().map(|result| result.method.as_str())));
    let family = escape(family);
    push!(page, r#"<figure><figcaption><span class="metric">{family}</span> in each domain</figcaption>"#);
    chart::open(page, scale, &format!("{family} in each domain"));
    let band = 100.0 / domains.len() as f64;
    for (at, domain) in domains.iter().enumerate() {
        let start = at as f64 * band;
        if at > 0 {
            push!(page, r#"<line class="divide" x1="{start:.2}%" x2="{start:.2}%" y1="0" y2="{:.1}"/>"#, chart::TOP + chart::PLOT);
        }
        chart::label_below(page, start + band / 2.0, &escape(domain));
        for (slot, look) in looks.iter().enumerate() {
            let found = results.iter().find(|(result, of)| of == domain && result.method == look.method);
            let Some((value, result)) = found.and_then(|(result, _)| Some((result.value?, result))) else { continue };
            let percent = start + band * (0.1 + 0.8 * (slot as f64 + 0.5) / looks.len() as f64);
            push!(page, r#"<g class="{}"><title>{}: {value:.4}</title>"#, look.class, escape(&look.method));
            chart::point(page, scale, percent, [result.ci_low.unwrap_or(value), value, result.ci_high.unwrap_or(value)], look.mark);
            push!(page, "</g>");
        }
    }
    chart::close(page);
    legend(page, &looks);
    push!(page, "</figure>");
}
