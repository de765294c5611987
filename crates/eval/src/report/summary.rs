//! The answer first: in each setting, which methods beat the best floor.

use super::effects::Guides;
use super::text::{Html, escape, number, push, setting, spaced};
use crate::leaderboard::distinct;
use crate::record::{Kind, Place, Report, ResultRecord, Verdict};
use crate::reference::losses;

pub(super) fn write(page: &mut Html, report: &Report) {
    let places = distinct(report.results.iter().map(|result| &result.place));
    let rows: Vec<Row<'_>> = places.into_iter().filter_map(|place| Row::of(report, place)).collect();
    let judged = rows.iter().filter(|row| row.has(Kind::Adaptation)).count();
    push!(page, r#"<section class="summary"><h2>Verdict</h2>"#);
    if judged > 0 {
        let won = rows
            .iter()
            .filter(|row| row.results.iter().any(|result| result.kind == Kind::Adaptation && result.beats_floor == Verdict::Yes))
            .count();
        push!(
            page,
            r#"<p class="lead">In <strong>{won} of {judged}</strong> settings at least one adaptation beats the best floor: its paired interval lies beyond 0.</p>"#
        );
    }
    for loss in losses(report) {
        push!(
            page,
            r#"<p class="loss"><span class="verdict no" aria-hidden="true">▼</span> <strong>{}</strong> is worse than <em>{}</em> in {} of the settings: {}.</p>"#,
            escape(loss.method),
            escape(loss.reference),
            loss.settings.len(),
            setting(&loss.settings.join("; "))
        );
    }
    push!(page, r#"<table class="verdicts"><thead><tr><th scope="col">Setting</th><th scope="col">Best floor</th>"#);
    for (sign, class, words) in [("\u{25b2}", "yes", "Beat it"), ("\u{25cb}", "open", "Not shown"), ("\u{25bc}", "no", "Below it")] {
        push!(page, r#"<th scope="col"><span class="verdict {class}" aria-hidden="true">{sign}</span> {words}</th>"#);
    }
    push!(page, "</tr></thead><tbody>");
    let mut previous = None;
    for row in &rows {
        let section = (&row.place.dataset, &row.place.scenario, row.results[0].metric.to_string());
        if previous.as_ref() != Some(&section) {
            push!(page, r#"<tr class="group"><th colspan="5" scope="rowgroup">{} "#, spaced(&row.place.scenario));
            push!(page, r#"<span>{}, by <span class="metric">{}</span></span></th></tr>"#, escape(&row.place.dataset), escape(&section.2));
            previous = Some(section);
        }
        row.write(page);
    }
    push!(page, "</tbody></table></section>");
}

/// The first metric of one place.
struct Row<'a> {
    place: &'a Place,
    results: Vec<&'a ResultRecord>,
}

impl<'a> Row<'a> {
    fn of(report: &'a Report, place: &'a Place) -> Option<Self> {
        let metric = &report.results.iter().find(|result| &result.place == place)?.metric;
        let results = report.results.iter().filter(|result| &result.place == place && &result.metric == metric).collect();
        Some(Self { place, results })
    }

    fn has(&self, kind: Kind) -> bool {
        self.results.iter().any(|result| result.kind == kind)
    }

    fn write(&self, page: &mut Html) {
        push!(page, r#"<tr><th scope="row">{}</th><td data-label="Best floor"><span>"#, setting(&self.place.setting));
        match Guides::of(&self.results).floor {
            Some(floor) => {
                push!(page, r#"{} <span class="ci">{}</span>"#, escape(&floor.method), floor.value.map_or(String::new(), number));
            }
            None => push!(page, r#"<span class="ci">none</span>"#),
        }
        push!(page, "</span></td>");
        for (verdict, label) in [(Verdict::Yes, "Beat it"), (Verdict::NotShown, "Not shown"), (Verdict::No, "Below it")] {
            push!(page, r#"<td data-label="{label}"><span>{}</span></td>"#, self.methods_with(verdict));
        }
        push!(page, "</tr>");
    }

    /// Adaptations in plain type, controls in grey.
    fn methods_with(&self, verdict: Verdict) -> String {
        let judged = self.results.iter().filter(|result| result.beats_floor == verdict);
        let mut judged: Vec<&&ResultRecord> = judged.filter(|result| matches!(result.kind, Kind::Control | Kind::Adaptation)).collect();
        judged.sort_by_key(|result| std::cmp::Reverse(result.kind));
        let names: Vec<String> = judged
            .into_iter()
            .map(|result| match result.kind {
                Kind::Control => format!(r#"<span class="control">{}</span>"#, escape(&result.method)),
                _ => format!(r#"<strong>{}</strong>"#, escape(&result.method)),
            })
            .collect();
        if names.is_empty() { r#"<span class="none">–</span>"#.to_owned() } else { names.join(", ") }
    }
}
