//! The chart of a run: p50 and p99 against the number of patches in memory, and what a request costs by where its patch lies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::median;

const SIZE: [f64; 2] = [760.0, 340.0];
const TOP: f64 = 48.0;
const BOTTOM: f64 = 290.0;
/// Of the two panels.
const LINES: [f64; 2] = [62.0, 440.0];
const BARS: [f64; 2] = [530.0, 740.0];
const P50: &str = "#0b6e99";
const P99: &str = "#c2410c";

/// Draws the chart of a file of figures beside it.
///
/// # Errors
/// The file can not be read or holds no `residents`, or the chart can not be written.
pub(super) fn draw(json: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(json).with_context(|| format!("{}", json.display()))?;
    let svg = render(&serde_json::from_str(&text).with_context(|| format!("{}", json.display()))?)?;
    let path = json.with_extension("svg");
    std::fs::write(&path, svg).with_context(|| format!("{}", path.display()))
}

/// A logarithmic scale.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Whole powers of ten around some values.
    fn around(values: impl Iterator<Item = f64> + Clone, [from, to]: [f64; 2]) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).max(1e-6).log10().floor();
        let high = values.fold(1e-6, f64::max).log10().ceil().max(low + 1.0);
        Self { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value.max(1e-9).log10() - self.low) / (self.high - self.low)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// Medians of all rounds by the number of patches: p50 and p99.
fn lines(whole: &Value) -> anyhow::Result<Vec<(f64, [f64; 2])>> {
    let measured = whole["residents"]["measured"].as_array().context("there is no part `residents`")?;
    let mut found: BTreeMap<u64, [Vec<f64>; 2]> = BTreeMap::new();
    for entry in measured {
        let count = entry["in_memory"].as_f64().context("an entry has no `in_memory`")? as u64;
        // Asking for few of many is another question.
        if entry["asked_for"].as_u64() != Some(count) {
            continue;
        }
        for (values, name) in found.entry(count).or_default().iter_mut().zip(["p50_ms", "p99_ms"]) {
            values.extend(entry["measured"][name].as_f64());
        }
    }
    let medians = found.into_iter().filter(|(_, [p50, p99])| !p50.is_empty() && !p99.is_empty());
    let medians: Vec<_> = medians.map(|(count, values)| (count as f64, values.map(median))).collect();
    anyhow::ensure!(medians.len() > 1, "a chart needs two numbers of patches");
    Ok(medians)
}

/// The paths that were measured, by name.
fn paths(whole: &Value) -> Vec<(&'static str, [f64; 2])> {
    // All of one run.
    let paths = if whole["paths"].is_object() { &whole["paths"] } else { &whole["residents"]["paths"] };
    let names = [("in_memory", "in memory"), ("segment", "segment"), ("cold_load", "cold")];
    let of = |(key, name): (&str, &'static str)| {
        let path = &paths[key];
        Some((name, [path["p50_ms"].as_f64()?, path["p99_ms"].as_f64()?]))
    };
    names.into_iter().filter_map(of).collect()
}

/// 10, 1k or 100k.
fn short(count: f64) -> String {
    if count >= 1000.0 { format!("{}k", count / 1000.0) } else { format!("{count}") }
}

fn render(whole: &Value) -> anyhow::Result<String> {
    let (lines, paths) = (lines(whole)?, paths(whole));
    let times = lines.iter().map(|(_, times)| times).chain(paths.iter().map(|(_, times)| times)).flatten().copied();
    let y = Scale::around(times, [BOTTOM, TOP]);
    let x = Scale::around(lines.iter().map(|(count, _)| *count), LINES);
    let mut svg = String::new();
    let [width, height] = SIZE;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" role="img">"#
    )?;
    writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##)?;
    let mut text = |x: f64, y: f64, more: &str, said: &str| writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" {more}>{said}</text>"#);
    let dark = r##"font-size="15" fill="#111111""##;
    text(LINES[0], 24.0, dark, "ms by patches in memory")?;
    text(BARS[0], 24.0, dark, "ms by where it lies")?;
    let grey = r##"text-anchor="middle" fill="#444444""##;
    for value in y.decades() {
        text(LINES[0] - 8.0, y.at(value) + 4.0, r##"text-anchor="end" fill="#444444""##, &format!("{value}"))?;
    }
    for (count, _) in &lines {
        text(x.at(*count), BOTTOM + 20.0, grey, &short(*count))?;
    }
    let last = lines[lines.len() - 1];
    for (time, name, colour) in [(last.1[0], "p50", P50), (last.1[1], "p99", P99)] {
        text(x.at(last.0) + 9.0, y.at(time) + 4.0, &format!(r#"fill="{colour}""#), name)?;
    }
    let step = (BARS[1] - BARS[0]) / paths.len().max(1) as f64;
    let place = |at: usize| BARS[0] + step * (at as f64 + 0.5);
    for (at, (name, times)) in paths.iter().enumerate() {
        text(place(at), BOTTOM + 20.0, grey, name)?;
        text(
            place(at),
            y.at(times[1]) - 6.0,
            r##"text-anchor="middle" font-size="11" fill="#444444""##,
            &format!("{:.2} / {:.2}", times[0], times[1]),
        )?;
    }
    let machine = whole["machine"].as_str().unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;");
    let rate = whole["residents"]["rate"].as_f64().unwrap_or_default();
    let said = format!("cargo xtask bench serve; {machine}; left: {rate:.0} requests a second, right: one after the other, p50 / p99");
    text(LINES[0], height - 10.0, r##"font-size="10" fill="#777777""##, &said)?;
    for value in y.decades() {
        let at = y.at(value);
        for [from, to] in [LINES, BARS] {
            writeln!(svg, r##"<line x1="{from:.1}" x2="{to:.1}" y1="{at:.1}" y2="{at:.1}" stroke="#dddddd"/>"##)?;
        }
    }
    for (which, colour) in [(0, P50), (1, P99)] {
        let points: Vec<String> = lines.iter().map(|(count, times)| format!("{:.1},{:.1}", x.at(*count), y.at(times[which]))).collect();
        writeln!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, points.join(" "))?;
        for (count, times) in &lines {
            writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#, x.at(*count), y.at(times[which]))?;
        }
        for (at, (_, times)) in paths.iter().enumerate() {
            let (top, left) = (y.at(times[which]), place(at) + if which == 0 { -16.0 } else { 2.0 });
            writeln!(svg, r#"<rect x="{left:.1}" y="{top:.1}" width="14" height="{:.1}" fill="{colour}"/>"#, (BOTTOM - top).max(0.0))?;
        }
    }
    Ok(svg + "</svg>\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_of_one_number_are_one_point_and_few_of_many_are_none() {
        let entry = |count: u64, asked: u64, p99: f64| json!({ "in_memory": count, "asked_for": asked, "measured": { "p50_ms": 1.0, "p99_ms": p99 } });
        let measured = [entry(3, 3, 5.0), entry(3, 3, 7.0), entry(3, 3, 9.0), entry(100, 100, 6.0), entry(100, 3, 99.0)];
        let whole = json!({ "machine": "m", "residents": { "rate": 10.0, "measured": measured, "paths": { "in_memory": { "p50_ms": 0.4, "p99_ms": 0.9 } } } });
        assert_eq!(lines(&whole).unwrap(), [(3.0, [1.0, 7.0]), (100.0, [1.0, 6.0])]);
        assert_eq!(paths(&whole), [("in memory", [0.4, 0.9])]);
        let svg = render(&whole).unwrap();
        assert!(svg.contains("0.40 / 0.90") && svg.matches("<circle").count() == 4, "{svg}");
        assert!(lines(&json!({})).is_err() && lines(&json!({ "residents": { "measured": [entry(3, 3, 1.0)] } })).is_err());
    }

    #[test]
    fn a_scale_has_whole_decades() {
        let scale = Scale::around([3.0, 100_000.0].into_iter(), [0.0, 10.0]);
        assert_eq!((scale.low, scale.high, scale.at(1.0), scale.at(100_000.0)), (0.0, 5.0, 0.0, 10.0));
        assert_eq!((short(3.0), short(10_000.0)), ("3".to_owned(), "10k".to_owned()));
    }
}
