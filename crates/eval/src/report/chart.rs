//! Parts of all charts. Horizontal positions are percentages, so that a chart fits any width while its text keeps its size.

use super::scale::Scale;
use super::text::{Html, push};

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Circle,
    Square,
    Diamond,
    Triangle,
    OpenCircle,
    OpenSquare,
    OpenDiamond,
    OpenTriangle,
    Bar,
}

impl Mark {
    pub(super) fn filled(number: usize) -> Self {
        [Self::Circle, Self::Square, Self::Diamond, Self::Triangle][number % 4]
    }

    pub(super) fn open(number: usize) -> Self {
        [Self::OpenCircle, Self::OpenSquare, Self::OpenDiamond, Self::OpenTriangle][number % 4]
    }

    /// The shape around the origin.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Circle => r#"<circle class="mark" r="3.8"/>"#,
            Self::Square => r#"<path class="mark" d="M-3.4-3.4h6.8v6.8h-6.8z"/>"#,
            Self::Diamond => r#"<path class="mark" d="M0-4.8 4.8 0 0 4.8-4.8 0z"/>"#,
            Self::Triangle => r#"<path class="mark" d="M0-4.6 4.4 3.4h-8.8z"/>"#,
            Self::OpenCircle => r#"<circle class="mark open" r="3.4"/>"#,
            Self::OpenSquare => r#"<path class="mark open" d="M-3-3h6v6h-6z"/>"#,
            Self::OpenDiamond => r#"<path class="mark open" d="M0-4.4 4.4 0 0 4.4-4.4 0z"/>"#,
            Self::OpenTriangle => r#"<path class="mark open" d="M0-4.2 4 3h-8z"/>"#,
            Self::Bar => r#"<path class="mark" d="M-6-1h12v2h-12z"/>"#,
        }
    }
}

/// Height of the plot area in pixels.
pub(super) const PLOT: f64 = 210.0;
/// Space above the plot area for marks at the edge, in pixels.
pub(super) const TOP: f64 = 8.0;
/// Space below for labels, in pixels.
const BOTTOM: f64 = 24.0;

/// Vertical pixel position of a value.
pub(super) fn height_of(scale: Scale, value: f64) -> f64 {
    TOP + (1.0 - scale.clamped(value)) * PLOT
}

/// Opens a chart with its value axis; the caller draws and then calls [`close`].
pub(super) fn open(page: &mut Html, scale: Scale, label: &str) {
    let total = TOP + PLOT + BOTTOM;
    let ticks = scale.ticks(5);
    push!(page, r#"<div class="chart"><svg class="axis" width="46" height="{total}" aria-hidden="true">"#);
    for (value, text) in &ticks {
        push!(page, r#"<text x="38" y="{:.1}" text-anchor="end">{text}</text>"#, height_of(scale, *value) + 4.0);
    }
    push!(page, r#"</svg><svg class="plot" height="{total}" role="img" aria-label="{label}">"#);
    for (value, _) in &ticks {
        push!(page, r#"<line class="grid" x1="0" x2="100%" y1="{0:.1}" y2="{0:.1}"/>"#, height_of(scale, *value));
    }
}

/// A label below the plot area, at a percentage of the width.
pub(super) fn label_below(page: &mut Html, percent: f64, text: &str) {
    push!(page, r#"<text x="{percent:.2}%" y="{:.1}" text-anchor="middle">{text}</text>"#, TOP + PLOT + 18.0);
}

/// A mark with its whisker, at a percentage of the width; an off-scale value becomes an arrow at the edge.
pub(super) fn point(page: &mut Html, scale: Scale, percent: f64, [low, value, high]: [f64; 3], mark: Mark) {
    let [low, middle, high] = [low, value, high].map(|value| height_of(scale, value));
    if (low - high).abs() > 0.5 {
        push!(page, r#"<line class="whisker" x1="{percent:.2}%" x2="{percent:.2}%" y1="{low:.1}" y2="{high:.1}"/>"#);
    }
    let shape = match scale.position(value) {
        super::scale::Position::Inside(_) => mark.path(),
        super::scale::Position::Below => r#"<path class="mark" d="M-4-6h8L0 0z"/>"#,
        super::scale::Position::Above => r#"<path class="mark" d="M-4 6h8L0 0z"/>"#,
    };
    push!(page, r#"<svg class="at" x="{percent:.2}%" y="{middle:.1}">{shape}</svg>"#);
}

pub(super) fn close(page: &mut Html) {
    push!(page, "</svg></div>");
}
