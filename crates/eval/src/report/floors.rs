//! What floors, and methods that leave something open, were set to, and what it was chosen from.

use super::text::{Html, escape, name, push, setting, spaced};
use crate::choices::{lines, words};
use crate::record::Report;

pub(super) fn write(page: &mut Html, report: &Report) {
    let lines = lines(report);
    if lines.is_empty() {
        return;
    }
    push!(
        page,
        r#"<section class="floors"><h2>Settings of floors and methods</h2><p class="key">Chosen on validation rows, where they were not given.</p>"#
    );
    push!(
        page,
        r#"<div class="scroll"><table class="settings"><thead><tr><th scope="col">Floor or method</th><th scope="col">Settings</th>"#
    );
    push!(page, r#"<th scope="col">Chosen from</th><th scope="col">In</th></tr></thead><tbody>"#);
    let mut previous = None;
    for line in &lines {
        if previous != Some((line.dataset, line.scenario)) {
            previous = Some((line.dataset, line.scenario));
            push!(
                page,
                r#"<tr class="group"><th colspan="4" scope="rowgroup">{} <span>{}</span></th></tr>"#,
                spaced(line.scenario),
                escape(line.dataset)
            );
        }
        let values: Vec<String> = line.values.iter().map(|chosen| escape(&words(chosen))).collect();
        let from = line.values.iter().map(|chosen| chosen.from.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
        let places = if line.places.is_empty() { "all settings".to_owned() } else { setting(&line.places.join("; ")) };
        push!(
            page,
            r#"<tr><th scope="row">{}</th><td>{}</td><td class="ci">{}</td>"#,
            name(line.floor),
            values.join("<br>"),
            from.collect::<Vec<_>>().join("<br>")
        );
        push!(page, "<td>{places}</td></tr>");
    }
    push!(page, "</tbody></table></div></section>");
}
