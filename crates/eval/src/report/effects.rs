//! The main table of a place: the first metric, intervals drawn on a common scale, and the verdict against the best floor.

use super::scale::{Position, Scale};
use super::text::{Html, escape, name, number, push, signed};
use crate::leaderboard::{distinct, ordered_methods};
use crate::metric::Goal;
use crate::record::{DifferenceRecord, Kind, Place, Report, ResultRecord, Verdict};
use crate::reference::{of_place, references};

/// The name of a metric with the direction of better.
pub(super) fn metric_heading(result: &ResultRecord) -> String {
    let (arrow, words) = match result.metric.goal() {
        Goal::Higher => ("\u{2191}", "higher is better"),
        Goal::Lower => ("\u{2193}", "lower is better"),
        Goal::One => ("\u{2192}1", "closer to 1 is better"),
        Goal::Percent(_) => ("\u{2192}@", "closer to the share in its name is better"),
    };
    format!(r#"<span class="metric">{}</span> <abbr title="{words}">{arrow}</abbr>"#, escape(&result.metric.to_string()))
}

/// The floors that methods are judged against and the ceiling, in one metric.
#[derive(Clone)]
pub(super) struct Guides<'a> {
    /// One, unless methods read different features; without methods the best floor of all.
    pub(super) floors: Vec<&'a ResultRecord>,
    pub(super) ceiling: Option<&'a ResultRecord>,
}

impl<'a> Guides<'a> {
    pub(super) fn of(results: &[&'a ResultRecord]) -> Self {
        let badness = |result: &ResultRecord| result.value.map_or(f64::INFINITY, |value| result.metric.goal().badness(value));
        let best = |kind: Kind| {
            let defined = results.iter().copied().filter(|result| result.kind == kind && result.value.is_some());
            defined.min_by(|a, b| badness(a).total_cmp(&badness(b)))
        };
        let judges = distinct(results.iter().filter_map(|result| result.floor.as_deref()));
        let floors = judges.iter().filter_map(|name| results.iter().copied().find(|result| result.method == *name));
        let mut floors: Vec<&ResultRecord> = floors.collect();
        if floors.is_empty() {
            floors.extend(best(Kind::Floor));
        }
        Self { floors, ceiling: best(Kind::Ceiling) }
    }

    /// The floors that concern a result: the one that judges it; all of them for a floor and the ceiling.
    pub(super) fn floors_of(&self, result: &ResultRecord) -> impl Iterator<Item = &'a ResultRecord> {
        self.floors.iter().copied().filter(move |floor| result.floor.as_ref().is_none_or(|name| *name == floor.method))
    }

    /// Floors and ceiling.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a ResultRecord> {
        self.floors.iter().copied().chain(self.ceiling)
    }
}

/// The interval of one result as a bar with a point, and the guides as lines.
pub(super) fn bar(page: &mut Html, result: &ResultRecord, scale: Scale, guides: &Guides<'_>, height: u32) {
    let middle = f64::from(height) / 2.0;
    let percent = |value: f64| 1.0 + 98.0 * scale.clamped(value);
    push!(page, r#"<svg class="bar k-{}" height="{height}" aria-hidden="true">"#, result.kind.name());
    let floors = guides.floors_of(result).map(|floor| (floor, "floor-line"));
    for (guide, class) in floors.chain(guides.ceiling.map(|ceiling| (ceiling, "ceiling-line"))) {
        if let Some(value) = guide.value
            && matches!(scale.position(value), Position::Inside(_))
        {
            push!(page, r#"<line class="{class}" x1="{0:.2}%" x2="{0:.2}%" y1="0" y2="{height}"/>"#, percent(value));
        }
    }
    if let Some(value) = result.value {
        if let (Some(low), Some(high), Position::Inside(_)) = (result.ci_low, result.ci_high, scale.position(value)) {
            let [low, high] = [percent(low), percent(high)];
            push!(page, r#"<rect class="range" x="{low:.2}%" width="{:.2}%" y="{:.1}" height="6" rx="3"/>"#, high - low, middle - 3.0);
        }
        let shape = match scale.position(value) {
            Position::Inside(_) => r#"<circle class="mark" r="4"/>"#,
            Position::Below => r#"<path class="mark" d="M0 0l7-4v8z"/>"#,
            Position::Above => r#"<path class="mark" d="M0 0l-7-4v8z"/>"#,
        };
        push!(page, r#"<svg class="at" x="{:.2}%" y="{middle:.1}">{shape}</svg>"#, percent(value));
    }
    push!(page, "</svg>");
}

/// The word of a verdict with a sign that needs no colour.
pub(super) fn verdict(verdict: Verdict) -> String {
    let (class, sign) = match verdict {
        Verdict::Yes => ("yes", "\u{25b2}"),
        Verdict::No => ("no", "\u{25bc}"),
        Verdict::NotShown => ("open", "\u{25cb}"),
    };
    format!(r#"<span class="verdict {class}"><span aria-hidden="true">{sign}</span> {}</span>"#, verdict.name())
}

pub(super) fn write(page: &mut Html, report: &Report, place: &Place, results: &[&ResultRecord]) {
    let Some(first) = results.first() else { return };
    let results: Vec<&ResultRecord> = results.iter().copied().filter(|result| result.metric == first.metric).collect();
    let Some(scale) = Scale::of(&results) else { return };
    let guides = Guides::of(&results);
    let against: Vec<&DifferenceRecord> = report
        .differences
        .iter()
        .filter(|difference| &difference.place == place && difference.metric == first.metric && difference.reference_is_best_floor)
        .collect();
    let to_base: Vec<&DifferenceRecord> = of_place(report, place).filter(|d| d.metric == first.metric).collect();
    let bases = references(report, place);
    let many_bases = if bases.len() > 1 { " bases" } else { "" };
    let many_floors = if guides.floors.len() > 1 { " floors" } else { "" };
    push!(
        page,
        r#"<table class="effects{many_bases}{many_floors}"><thead><tr><th scope="col">Method</th><th scope="col" class="num">{}</th>"#,
        metric_heading(first)
    );
    push!(page, r#"<th scope="col" class="drawn">{}</th>"#, axis(scale));
    let floor = match &guides.floors[..] {
        [floor] => escape(&floor.method),
        _ => "its best floor".to_owned(),
    };
    push!(page, r#"<th scope="col" class="num">Paired difference to <em>{floor}</em></th><th scope="col">Beats it</th>"#);
    if let [base, others @ ..] = &bases[..] {
        let base = if others.is_empty() { escape(base) } else { "its base".to_owned() };
        push!(page, r#"<th scope="col" class="num">Paired difference to <em>{base}</em></th><th scope="col">Better</th>"#);
    }
    push!(page, "</tr></thead>");
    let mut previous = None;
    for (method, kind) in ordered_methods(&results) {
        if previous != Some(kind) {
            let end = if previous.is_some() { "</tbody>" } else { "" };
            push!(
                page,
                r#"{end}<tbody><tr class="group"><th colspan="{}" scope="rowgroup">{}</th></tr>"#,
                if bases.is_empty() { 5 } else { 7 },
                plural(kind)
            );
            previous = Some(kind);
        }
        if let Some(result) = results.iter().find(|result| result.method == method) {
            row(page, result, scale, &guides, &tag(&results, &guides, method));
            let difference = of_method(&against, method);
            paired(page, difference, &difference.map_or_else(String::new, |d| name(&d.reference)));
            if !bases.is_empty() {
                let difference = of_method(&to_base, method);
                paired(page, difference, &difference.map_or_else(String::new, |d| escape(&d.reference)));
            }
            push!(page, "</tr>");
        }
    }
    push!(page, "</tbody></table>");
    legend(page, &guides);
}

/// Says of a floor whom it judges; empty for one that judges nobody, and for methods.
fn tag(results: &[&ResultRecord], guides: &Guides<'_>, method: &str) -> String {
    if !guides.floors.iter().any(|floor| floor.method == method) {
        return String::new();
    }
    let judged: Vec<&str> = results.iter().filter(|r| r.floor.as_deref() == Some(method)).map(|r| r.method.as_str()).collect();
    match (guides.floors.len(), &judged[..]) {
        (1, _) => "best floor".to_owned(),
        (_, [one]) => format!("best floor of {}", escape(one)),
        (_, [one, other]) => format!("best floor of {}, {}", escape(one), escape(other)),
        (_, many) => format!("best floor of {} methods", many.len()),
    }
}

fn of_method<'a>(differences: &[&'a DifferenceRecord], method: &str) -> Option<&'a DifferenceRecord> {
    differences.iter().copied().find(|difference| difference.method == method)
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Floor => "Floors",
        Kind::Control => "Controls",
        Kind::Adaptation => "Adaptations",
        Kind::Ceiling => "Ceiling",
    }
}

fn axis(scale: Scale) -> String {
    let mut svg = r#"<svg class="bar ticks" height="16" aria-hidden="true">"#.to_owned();
    for (value, label) in scale.ticks(4) {
        let share = scale.clamped(value);
        let anchor = if share < 0.06 {
            "start"
        } else if share > 0.94 {
            "end"
        } else {
            "middle"
        };
        svg.push_str(&format!(r#"<text x="{:.2}%" y="12" text-anchor="{anchor}">{label}</text>"#, 1.0 + 98.0 * share));
    }
    svg + "</svg>"
}

fn row(page: &mut Html, result: &ResultRecord, scale: Scale, guides: &Guides<'_>, tag: &str) {
    push!(page, r#"<tr class="k-{}"><th scope="row">{}"#, result.kind.name(), name(&result.method));
    if !tag.is_empty() {
        push!(page, r#" <span class="tag">{tag}</span>"#);
    }
    push!(page, r#"</th><td class="num">{}</td><td class="drawn">"#, value_and_interval(result));
    bar(page, result, scale, guides, 26);
    push!(page, "</td>");
}

/// A paired difference and its verdict, in two cells; both are empty without one. `reference` is escaped.
fn paired(page: &mut Html, difference: Option<&DifferenceRecord>, reference: &str) {
    push!(page, r#"<td class="num difference">"#);
    if let Some(difference) = difference {
        push!(page, r#"<span class="value">{}</span>"#, signed(difference.value));
        if let (Some(low), Some(high)) = (difference.ci_low, difference.ci_high) {
            push!(page, r#" <span class="ci">[{}, {}]</span>"#, signed(low), signed(high));
        }
        push!(page, r#"<span class="to"> to {reference}</span>"#);
    }
    push!(page, r#"</td><td class="judged">"#);
    if let Some(difference) = difference {
        push!(page, "{}", verdict(difference.better));
    }
    push!(page, "</td>");
}

/// `0.7034 [0.6933, 0.7165]`.
pub(super) fn value_and_interval(result: &ResultRecord) -> String {
    let value = result.value.map_or_else(|| result.without_value().to_owned(), number);
    let interval = match (result.ci_low, result.ci_high) {
        (Some(low), Some(high)) => format!(r#" <span class="ci">[{}, {}]</span>"#, number(low), number(high)),
        _ => String::new(),
    };
    format!(r#"<span class="value">{value}</span>{interval}"#)
}

fn legend(page: &mut Html, guides: &Guides<'_>) {
    push!(page, r#"<p class="key">Point: mean over seeds. Bar: interval over users."#);
    let line = |class: &str| {
        format!(r#"<svg width="10" height="12" aria-hidden="true"><line class="{class}" x1="5" x2="5" y1="0" y2="12"/></svg>"#)
    };
    match guides.floors.len() {
        0 => {}
        1 => push!(page, " {} best floor.", line("floor-line")),
        _ => push!(page, " {} best floor that reads no feature which the method does not read.", line("floor-line")),
    }
    if guides.ceiling.is_some() {
        push!(page, " {} ceiling.", line("ceiling-line"));
    }
    push!(page, " An arrow at the edge is off the scale.</p>");
}
