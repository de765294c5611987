//! Plots of the docs: a metric against the number of rows, one line a method, as an SVG file made from a file of `docs/evidence`.
//!
//! `[plot.NAME]` of `tables.toml` becomes `docs/plots/NAME.svg`. A page shows it as any picture, and names the command that the numbers come from.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::reference::{BEST_FLOOR, Context, best_floor};
use crate::evidence::Evidence;

/// A plot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plot {
    /// The file of `docs/evidence`.
    pub(crate) evidence: String,
    /// What stands above it.
    title: String,
    /// Scenario of the settings, such as `new_domain[tab=2]`.
    scenario: String,
    /// Settings, from left to right.
    settings: Vec<String>,
    metric: String,
    /// Methods, each a line.
    methods: Vec<String>,
}

const SIZE: [f64; 2] = [720.0, 360.0];
const LEFT: f64 = 62.0;
const TOP: f64 = 44.0;
const RIGHT: f64 = 210.0;
const BOTTOM: f64 = 40.0;
/// Distance of two labels at the end of lines.
const LABEL: f64 = 15.0;
const COLOURS: [&str; 8] = ["#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b45309", "#0f766e", "#be123c", "#525252"];

impl Plot {
    /// The file's text.
    ///
    /// # Errors
    /// A setting, method or metric that the evidence does not have.
    pub(crate) fn render(&self, evidence: &Evidence, context: Context<'_>) -> anyhow::Result<String> {
        ensure!(self.settings.len() > 1 && !self.methods.is_empty(), "a plot needs two settings and a method");
        let mut lines = Vec::new();
        for method in &self.methods {
            let mut points = Vec::new();
            for setting in &self.settings {
                let place = context.place(&format!("{} / {setting}", self.scenario))?;
                let method = if method == BEST_FLOOR { best_floor(place, &self.metric)? } else { method };
                let found = place.results.iter().find(|n| n.method == method && n.metric == self.metric);
                let number = found.with_context(|| format!("{} has no {} of `{method}`", place.name(), self.metric))?;
                points.push(number.span.value.with_context(|| format!("`{method}` has no {} in {setting}", self.metric))?);
            }
            lines.push((method.as_str(), points));
        }
        let values = || lines.iter().flat_map(|(_, points)| points).copied();
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let step = step((high - low).max(1e-6) / 5.0);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let x = |at: usize| LEFT + (SIZE[0] - LEFT - RIGHT) * at as f64 / (self.settings.len() - 1) as f64;
        let y = |value: f64| TOP + (SIZE[1] - TOP - BOTTOM) * (high - value) / (high - low);
        let mut svg = String::new();
        let [width, height] = SIZE;
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" role="img">"#
        )?;
        writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##)?;
        writeln!(svg, r##"<text x="{LEFT}" y="22" font-size="15" fill="#111111">{}</text>"##, self.title)?;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        for i in 0..=((high - low) / step).round() as usize {
            let value = low + step * i as f64;
            let at = y(value);
            writeln!(svg, r##"<line x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}" stroke="#dddddd"/>"##, x(self.settings.len() - 1))?;
            writeln!(
                svg,
                r##"<text x="{:.1}" y="{:.1}" text-anchor="end" fill="#444444">{value:.decimals$}</text>"##,
                LEFT - 8.0,
                at + 4.0
            )?;
        }
        // What all settings begin with, such as `new_user,`, is said by the title.
        let common = self.settings[0].find(',').map_or("", |at| &self.settings[0][..=at]);
        let common = if self.settings.iter().all(|setting| setting.starts_with(common)) { common } else { "" };
        for (at, setting) in self.settings.iter().enumerate() {
            let setting = &setting[common.len()..];
            writeln!(
                svg,
                r##"<text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#444444">{setting}</text>"##,
                x(at),
                height - BOTTOM + 22.0
            )?;
        }
        // Labels at the right end, pushed apart where lines meet.
        let mut order: Vec<usize> = (0..lines.len()).collect();
        let end = |i: usize| *lines[i].1.last().expect("two settings at least");
        order.sort_by(|&a, &b| end(b).total_cmp(&end(a)));
        let mut labels = vec![0.0; lines.len()];
        let mut lowest = TOP - LABEL;
        for &i in &order {
            lowest = y(end(i)).max(lowest + LABEL);
            labels[i] = lowest;
        }
        for (i, (method, points)) in lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let path: Vec<String> = points.iter().enumerate().map(|(at, &value)| format!("{:.1},{:.1}", x(at), y(value))).collect();
            writeln!(svg, r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join(" "))?;
            for (at, &value) in points.iter().enumerate() {
                writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#, x(at), y(value))?;
            }
            let name = if *method == BEST_FLOOR { BEST_FLOOR.to_owned() } else { context.name(method).replace('`', "") };
            writeln!(
                svg,
                r#"<text x="{:.1}" y="{:.1}" fill="{colour}">{name}</text>"#,
                x(self.settings.len() - 1) + 10.0,
                labels[i] + 4.0
            )?;
        }
        let command = &evidence.provenance.command;
        writeln!(svg, r##"<text x="{LEFT}" y="{:.1}" font-size="10" fill="#777777">{command}</text>"##, height - 5.0)?;
        Ok(svg + "</svg>\n")
    }
}

/// 1, 2 or 5 times a power of ten, at least so large.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= least * 0.999).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn steps_are_round() {
        for (least, expected) in [(0.0031, 0.005), (0.002, 0.002), (0.7, 1.0), (12.0, 20.0)] {
            assert!((step(least) - expected).abs() < 1e-9 * expected, "{least}");
        }
    }
}
