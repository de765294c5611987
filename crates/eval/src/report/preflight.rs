//! What was checked before the numbers are believed.

use super::text::{Html, escape, push, setting, spaced};
use crate::preflight::{Preflight, SettingCheck};
use crate::record::Report;

/// What is suspicious, above everything else.
pub(super) fn warn(page: &mut Html, report: &Report) {
    let warnings: Vec<String> = report.preflight.iter().flat_map(Preflight::warnings).collect();
    if warnings.is_empty() {
        return;
    }
    push!(page, r#"<section class="suspicious" role="alert"><h2>Do not trust these numbers yet</h2><ul>"#);
    for warning in warnings {
        push!(page, "<li>{}</li>", escape(&warning));
    }
    push!(page, "</ul></section>");
}

/// Four lines for each base that was checked.
pub(super) fn write(page: &mut Html, report: &Report) {
    if report.preflight.is_empty() {
        return;
    }
    push!(page, r#"<section class="preflight"><h2>Preflight</h2>"#);
    for preflight in &report.preflight {
        if report.preflight.len() > 1 {
            push!(page, "<h3>{} <span>{}</span></h3>", spaced(&preflight.scenario), escape(&preflight.dataset));
        }
        push!(page, "<table><tbody>");
        for (name, text) in lines(preflight) {
            push!(page, r#"<tr><th scope="row">{name}</th><td>{text}</td></tr>"#);
        }
        push!(page, "</tbody></table>");
    }
    push!(page, "</section>");
}

fn lines(preflight: &Preflight) -> [(&'static str, String); 4] {
    let base = escape(&preflight.base);
    let in_settings = |text: &dyn Fn(&SettingCheck) -> String| {
        let of = |check: &SettingCheck| match preflight.settings.len() {
            1 => text(check),
            _ => format!("{}: {}", setting(&check.setting), text(check)),
        };
        preflight.settings.iter().map(of).collect::<Vec<_>>().join("; ")
    };
    let control = |check: &SettingCheck| match &check.control {
        None => "the metric is undefined".to_owned(),
        Some(control) => {
            let judged = if control.wins() { r#"<strong class="verdict no">it wins</strong>"# } else { "it does not win" };
            format!("after an epoch on {} rows {}: {judged}", control.rows, escape(&control.number(&preflight.base)))
        }
    };
    let found = preflight
        .suspicious
        .iter()
        .map(|s| format!(r#"<strong class="verdict no">{}</strong>: {}"#, escape(&s.what()), escape(&s.number())));
    let mut leaks: Vec<String> = found.collect();
    if leaks.is_empty() {
        leaks.push(preflight.clean());
    }
    leaks.extend(preflight.nearest.iter().map(|s| format!("nearest {}: {}", escape(&s.what()), escape(&s.number()))));
    [
        (
            "Scored twice",
            format!("<em>{base}</em> gives other bits in {}", in_settings(&|c| format!("{} of {} rows", c.different, c.rows))),
        ),
        (
            "Against itself",
            format!(
                "<em>{base}</em> differs by {}",
                in_settings(&|c| format!("{} at most, value and interval, in {} metrics", c.largest_difference, c.metrics))
            ),
        ),
        ("Shuffled labels", in_settings(&control)),
        ("Leaks", leaks.join("<br>")),
    ]
}
