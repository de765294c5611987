//! Common scale of a metric: limits that one failed method can not squash, and round ticks.

use super::effects::Guides;
use crate::record::ResultRecord;

/// Values further than this many quartile distances from the quartiles are drawn as arrows at the edge.
const FENCE: f64 = 2.5;

/// Maps values to 0..1, low to high.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Position {
    Below,
    Inside(f64),
    Above,
}

impl Scale {
    /// A scale that shows the best floors, the ceiling and the intervals of all results but outliers; `None` when nothing is defined.
    pub(super) fn of(results: &[&ResultRecord]) -> Option<Self> {
        let mut values: Vec<f64> = results.iter().filter_map(|result| result.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let [low, high] = fence(&values)?;
        let guides = Guides::of(results);
        let is_guide = |result: &ResultRecord| guides.all().any(|guide| std::ptr::eq(guide, result));
        let inside = results.iter().filter_map(|result| {
            let value = result.value.filter(|value| (low..=high).contains(value) || is_guide(result))?;
            Some((value, result.ci_low, result.ci_high))
        });
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (value, ci_low, ci_high) in inside {
            least = least.min(ci_low.unwrap_or(value));
            most = most.max(ci_high.unwrap_or(value));
        }
        let margin = ((most - least) * 0.04).max(most.abs() * 1e-4).max(1e-6);
        Some(Self { low: least - margin, high: most + margin })
    }

    pub(super) fn position(self, value: f64) -> Position {
        let share = (value - self.low) / (self.high - self.low);
        match share {
            share if share < 0.0 => Position::Below,
            share if share > 1.0 => Position::Above,
            share => Position::Inside(share),
        }
    }

    /// Share of the way from low to high, cut at the edges.
    pub(super) fn clamped(self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Round values inside the scale, at most `most` of them.
    pub(super) fn ticks(self, most: usize) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / most as f64;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * unit).find(|&step| step >= rough).unwrap_or(10.0 * unit);
        let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|at| at as f64 * step).map(|value| (value, format!("{:.decimals$}", value + 0.0))).collect()
    }
}

/// Range of values that are no outliers; everything for fewer than five values.
fn fence(sorted: &[f64]) -> Option<[f64; 2]> {
    let [first, last] = [*sorted.first()?, *sorted.last()?];
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let [low, high] = [at(0.25), at(0.75)];
    let reach = FENCE * (high - low);
    Some(if sorted.len() < 5 || reach <= 0.0 { [first, last] } else { [low - reach, high + reach] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale { low: 0.683, high: 0.7217 };
        let labels: Vec<String> = scale.ticks(4).into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0.69", "0.70", "0.71", "0.72"]);
    }

    #[test]
    fn one_failed_method_does_not_squash_the_others() {
        let [low, high] = fence(&[0.70, 0.71, 0.72, 0.73, 0.74, 1.9]).unwrap();
        assert!(low < 0.70 && high > 0.74 && high < 1.9);
    }
}
