//! The answer first: who beats the floors, who is better than its own base, and what to serve.

use super::text::{Html, escape, number, push, setting, spaced};
use crate::record::Report;
use crate::verdicts::{BestFloor, Judged, Role, ScenarioVerdict, SettingVerdict};

pub(super) fn write(page: &mut Html, report: &Report) {
    let verdicts = report.verdicts();
    push!(page, r#"<section class="summary"><h2>Verdict</h2>"#);
    for scenario in &verdicts.scenarios {
        push!(page, "<h3>{} <span>{}, ", spaced(&scenario.scenario), escape(&scenario.dataset));
        push!(page, r#"by <span class="metric">{}</span></span></h3><ul class="verdict-text">"#, escape(&scenario.metric.to_string()));
        for line in &scenario.text {
            push!(page, "<li>{}</li>", escape(line));
        }
        push!(page, "</ul>");
        table(page, scenario);
    }
    if !verdicts.scenarios.is_empty() {
        push!(
            page,
            r#"<p class="key">Shown: the paired interval lies beyond 0. A method is judged against the best floor that reads no feature which the method does not read. Serve: the best method that is shown to be better than its own base, otherwise the base. Grey: bases and controls.</p>"#
        );
    }
    push!(page, "</section>");
}

fn table(page: &mut Html, scenario: &ScenarioVerdict) {
    push!(page, r#"<table class="verdicts"><thead><tr><th scope="col">Setting</th><th scope="col">Best floor</th>"#);
    for (sign, class, words) in [("\u{25b2}", "yes", "Beat it"), ("\u{25cb}", "open", "Not shown"), ("\u{25bc}", "no", "Below it")] {
        push!(page, r#"<th scope="col"><span class="verdict {class}" aria-hidden="true">{sign}</span> {words}</th>"#);
    }
    push!(page, r#"<th scope="col">Serve</th></tr></thead><tbody>"#);
    scenario.settings.iter().for_each(|setting| row(page, setting));
    push!(page, "</tbody></table>");
}

fn row(page: &mut Html, verdict: &SettingVerdict) {
    push!(page, r#"<tr><th scope="row">{}"#, setting(&verdict.setting));
    for domain in &verdict.without_domains {
        push!(page, r#"<span class="ci without">without {}</span>"#, escape(domain));
    }
    let many = verdict.best_floors.len() > 1;
    let floor = |floor: &BestFloor| {
        let value = floor.value.map_or_else(String::new, number);
        let judges = if many { format!(" for {}", escape(&floor.judges.join(", "))) } else { String::new() };
        format!(r#"{} <span class="ci">{value}</span>{judges}"#, escape(&floor.method))
    };
    let floors: Vec<String> = verdict.best_floors.iter().map(floor).collect();
    let floors = if floors.is_empty() { r#"<span class="ci">none</span>"#.to_owned() } else { floors.join("<br>") };
    push!(page, r#"</th><td data-label="Best floor"><span>{floors}</span></td>"#);
    for (judged, label) in [(&verdict.beat_floor, "Beat it"), (&verdict.floor_not_shown, "Not shown"), (&verdict.below_floor, "Below it")] {
        push!(page, r#"<td data-label="{label}"><span>{}</span></td>"#, methods(judged));
    }
    let served = verdict.serve.as_ref().map(|served| Judged { method: served.method.clone(), role: served.role });
    push!(page, r#"<td data-label="Serve"><span>{}</span></td></tr>"#, methods(served.as_slice()));
}

/// Adaptations in strong type, bases and controls in grey.
fn methods(judged: &[Judged]) -> String {
    let name = |judged: &Judged| match judged.role {
        Role::Adaptation => format!("<strong>{}</strong>", escape(&judged.method)),
        Role::Base | Role::Control => format!(r#"<span class="control">{}</span>"#, escape(&judged.method)),
    };
    let names: Vec<String> = judged.iter().map(name).collect();
    if names.is_empty() { r#"<span class="none">–</span>"#.to_owned() } else { names.join(", ") }
}
