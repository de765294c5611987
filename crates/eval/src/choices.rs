//! What the floors of a report were set to, in words.

use crate::floor::Chosen;
use crate::leaderboard::distinct;
use crate::record::{FloorRecord, Report};

/// One floor of one data set and scenario, in all places where its settings are the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) dataset: &'a str,
    pub(crate) scenario: &'a str,
    pub(crate) floor: &'a str,
    /// The settings of the scenario that it was fitted for, with the seed where seeds differ; empty where it is the same in all of them.
    pub(crate) places: Vec<String>,
    pub(crate) values: &'a [Chosen],
}

/// Every floor with settings, in report order.
pub(crate) fn lines(report: &Report) -> Vec<Line<'_>> {
    let key = |record: &'_ FloorRecord| (record.place.dataset.clone(), record.place.scenario.clone(), record.method.clone());
    let mut lines = Vec::new();
    for of in distinct(report.floor_settings.iter().map(key)) {
        let records: Vec<&FloorRecord> = report.floor_settings.iter().filter(|record| key(record) == of).collect();
        let all = distinct(records.iter().map(|record| &record.settings));
        for settings in &all {
            let here = records.iter().filter(|record| &&record.settings == settings);
            let name = |record: &&&FloorRecord| match record.seed {
                Some(seed) => format!("{} (seed {seed})", record.place.setting),
                None => record.place.setting.clone(),
            };
            let places = if all.len() == 1 { Vec::new() } else { here.map(|record| name(&record)).collect() };
            let place = &records[0].place;
            lines.push(Line { dataset: &place.dataset, scenario: &place.scenario, floor: &records[0].method, places, values: settings });
        }
    }
    lines
}

/// A setting with its value, and whether that was given or lies at an end of what it was chosen from.
pub(crate) fn words(chosen: &Chosen) -> String {
    let Chosen { setting, value, from, at_end } = chosen;
    match (&from[..], at_end) {
        ([_], _) => format!("{setting} {value} (given)"),
        ([low, .., high], true) => format!("{setting} {value} (an end of {low} to {high}: a wider grid may be better)"),
        _ => format!("{setting} {value}"),
    }
}

/// All floors of each data set and scenario in one line: `item_mean shrink 10; bias item_shrink 10, user_shrink 5`. Where a floor was fitted several times,
/// the smallest and the largest value. A star marks an end of the values to choose from.
pub(crate) fn compact(report: &Report) -> Vec<(String, String)> {
    let lines = lines(report);
    let sections = distinct(lines.iter().map(|line| (line.dataset, line.scenario)));
    let text = |section: &(&str, &str)| {
        let here: Vec<&Line<'_>> = lines.iter().filter(|line| (line.dataset, line.scenario) == *section).collect();
        let floors = distinct(here.iter().map(|line| line.floor)).into_iter().map(|floor| {
            let values: Vec<&Chosen> = here.iter().filter(|line| line.floor == floor).flat_map(|line| line.values).collect();
            let settings = distinct(values.iter().map(|chosen| &chosen.setting)).into_iter().map(|setting| {
                let of: Vec<&&Chosen> = values.iter().filter(|chosen| &chosen.setting == setting).collect();
                let (low, high) = of.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), c| (a.min(c.value), b.max(c.value)));
                let star = if of.iter().any(|chosen| chosen.at_end) { "*" } else { "" };
                if low < high { format!("{setting} {low} to {high}{star}") } else { format!("{setting} {low}{star}") }
            });
            format!("{floor} {}", settings.collect::<Vec<_>>().join(", "))
        });
        floors.collect::<Vec<_>>().join("; ")
    };
    sections.iter().map(|section| (format!("{} / {}", section.0, section.1), text(section))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Grid;
    use crate::record::Place;

    fn record(setting: &str, seed: Option<u64>, method: &str, shrink: f64) -> FloorRecord {
        let place = Place { dataset: "toy".into(), scenario: "new_domain".into(), setting: setting.into() };
        let settings = vec![Grid::from([1.0, 5.0, 25.0]).chosen("shrink", shrink, |_| false)];
        FloorRecord { place, method: method.into(), seed, settings }
    }

    #[test]
    fn equal_settings_are_said_once() {
        let floor_settings = vec![
            record("n=10", None, "item_mean", 5.0),
            record("n=all", None, "item_mean", 5.0),
            record("n=10", Some(1), "bias", 5.0),
            record("n=10", Some(2), "bias", 25.0),
            record("n=all", None, "bias", 5.0),
        ];
        let report = Report { floor_settings, ..Report::default() };
        let found: Vec<_> = lines(&report).iter().map(|line| (line.floor, line.places.join(", "), words(&line.values[0]))).collect();
        let end = "shrink 25 (an end of 1 to 25: a wider grid may be better)";
        let expected = [("item_mean", "", "shrink 5"), ("bias", "n=10 (seed 1), n=all", "shrink 5"), ("bias", "n=10 (seed 2)", end)];
        assert_eq!(found, expected.map(|(floor, places, words)| (floor, places.to_owned(), words.to_owned())));
        assert_eq!(compact(&report), [("toy / new_domain".to_owned(), "item_mean shrink 5; bias shrink 5 to 25*".to_owned())]);
    }
}
