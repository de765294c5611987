//! The table for the terminal.

use std::fmt::Write;

use crate::DomainSize;
use crate::choices::compact;
use crate::record::{DifferenceRecord, Kind, Place, Report, ResultRecord, Verdict};
use crate::reference::{of_place, references};
use crate::size::{Size, curves};

/// Domains of a place whose rows are listed, the largest of more.
const DOMAINS: usize = 20;

/// Whether the table uses terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Characters only; for files and pipes.
    Plain,
    /// ANSI colours; for terminals.
    Ansi,
}

impl Paint {
    /// Colours when standard output is a terminal and the environment variable `NO_COLOR` is unset or empty.
    #[must_use]
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if !refused && std::io::IsTerminal::is_terminal(&std::io::stdout()) { Self::Ansi } else { Self::Plain }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Prints the results of a report: the verdicts first, then one block for each place, floors, controls, adaptations and ceiling in one table, and one for
/// each curve over support sizes, with the first metric only.
///
/// ```
/// use acclimate_eval::{Leaderboard, Paint, Report};
/// assert_eq!(Leaderboard::new(&Report::default(), Paint::Plain).to_string(), "No results.\n");
/// ```
#[derive(Clone, Debug)]
pub struct Leaderboard<'a> {
    report: &'a Report,
    paint: Paint,
    width: usize,
    most_metrics: usize,
}

const SPACE: usize = 2;
/// A value of a curve and its mark.
const POINT: usize = "00.0000".len() + 2;
/// Value, interval and verdict; a difference carries signs.
const CELL: usize = "+0.0000 [+0.0000, +0.0000]".len() + SPACE + "not shown".len();

impl<'a> Leaderboard<'a> {
    /// A table of all metrics, 100 columns wide.
    #[must_use]
    pub fn new(report: &'a Report, paint: Paint) -> Self {
        Self { report, paint, width: 100, most_metrics: usize::MAX }
    }

    /// Fits the table into this many columns where it can; at least one metric is always shown.
    #[must_use]
    pub fn with_width(mut self, columns: usize) -> Self {
        self.width = columns;
        self
    }

    /// Shows only the first metrics of each place.
    #[must_use]
    pub fn with_most_metrics(mut self, metrics: usize) -> Self {
        self.most_metrics = metrics;
        self
    }

    /// What is suspicious: the first lines.
    fn warnings(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let warnings: Vec<String> = self.report.preflight.iter().flat_map(crate::Preflight::warnings).collect();
        warnings.iter().try_for_each(|warning| writeln!(f, "{}\n", self.paint.wrap("1;31", warning)))
    }

    /// What the results come to: the first lines.
    fn verdicts(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for scenario in &self.report.verdicts().scenarios {
            writeln!(f, "{}", self.paint.wrap("1", &format!("Verdict: {}", scenario.heading())))?;
            scenario.text.iter().try_for_each(|line| write!(f, "{}", wrapped(line, "  ", self.width)))?;
            writeln!(f)?;
        }
        Ok(())
    }

    /// One metric at each size of a curve, with a mark where a method differs from its own base.
    fn curve(&self, f: &mut std::fmt::Formatter<'_>, place: &Place, sizes: &[Size<'_>]) -> std::fmt::Result {
        let of_size = |result: &&ResultRecord| {
            (&result.place.dataset, &result.place.scenario) == (&place.dataset, &place.scenario)
                && sizes.iter().any(|size| size.setting == result.place.setting)
        };
        let results: Vec<&ResultRecord> = self.report.results.iter().filter(of_size).collect();
        let Some(metric) = results.first().map(|result| &result.metric) else { return Ok(()) };
        let results: Vec<&ResultRecord> = results.iter().copied().filter(|result| &result.metric == metric).collect();
        let curve = if sizes[0].curve.is_empty() { String::new() } else { format!("{} ", sizes[0].curve) };
        let heading = format!("{} / {} / {curve}by {}, {metric}", place.dataset, place.scenario, sizes[0].what());
        writeln!(f, "{}", self.paint.wrap("1", &heading))?;
        let methods = ordered_methods(&results);
        let name_width = methods.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("method".len());
        let in_a_row = (self.width.saturating_sub(SPACE + name_width) / (POINT + SPACE)).max(1);
        for sizes in sizes.chunks(in_a_row) {
            let header = sizes.iter().fold(format!("  {:name_width$}", "method"), |line, size| format!("{line}  {:>8} ", size.to_string()));
            writeln!(f, "{}", self.paint.wrap("2", header.trim_end()))?;
            let mut previous = None;
            for &(method, kind) in &methods {
                if previous != Some(kind) {
                    writeln!(f, "{}", self.paint.wrap("2", kind.name()))?;
                    previous = Some(kind);
                }
                let cells = sizes.iter().map(|size| {
                    let result = results.iter().find(|r| r.method == method && r.place.setting == size.setting);
                    self.point(result.copied())
                });
                let line = cells.fold(format!("  {method:name_width$}"), |line, cell| line + &cell);
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        writeln!(f, "\u{25b2} better, \u{25bc} worse than its own base (paired interval beyond 0); no mark: not shown\n")
    }

    /// A value and the mark of its difference to its own base.
    fn point(&self, result: Option<&ResultRecord>) -> String {
        let Some(result) = result else { return format!("  {:8} ", "") };
        let to_base = of_place(self.report, &result.place).find(|d| d.method == result.method && d.metric == result.metric);
        let mark = match to_base.map(|difference| difference.better) {
            Some(Verdict::Yes) => self.paint.wrap("32", "\u{25b2}"),
            Some(Verdict::No) => self.paint.wrap("31", "\u{25bc}"),
            _ => " ".to_owned(),
        };
        let value = result.value.map_or_else(|| "\u{2013}".to_owned(), |value| format!("{value:.4}"));
        format!("  {value:>8}{mark}")
    }

    /// Which floors judge whom, where methods of one place are judged against different ones.
    fn judges(&self, f: &mut std::fmt::Formatter<'_>, results: &[&ResultRecord], metrics: &[String]) -> std::fmt::Result {
        for metric in metrics {
            let judged = results.iter().filter(|result| result.metric.to_string() == *metric && result.floor.is_some());
            let judged: Vec<&&ResultRecord> = judged.collect();
            let floors = distinct(judged.iter().filter_map(|result| result.floor.as_deref()));
            if floors.len() > 1 {
                let of = |floor: &&str| {
                    let methods: Vec<&str> =
                        judged.iter().filter(|r| r.floor.as_deref() == Some(floor)).map(|r| r.method.as_str()).collect();
                    format!("{} against {floor}", methods.join(", "))
                };
                let text = format!("vs floor, {metric}: {}.", floors.iter().map(of).collect::<Vec<_>>().join("; "));
                write!(f, "{}", wrapped(&text, "  ", self.width))?;
            }
        }
        Ok(())
    }

    /// What validation made of the floors.
    fn floors(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sections = compact(self.report);
        for (section, text) in &sections {
            let of = if sections.len() > 1 { format!(" in {section}") } else { String::new() };
            writeln!(f, "Settings of floors and methods{of}: {text}")?;
        }
        if sections.iter().any(|(_, text)| text.contains('*')) {
            writeln!(f, "* an end of the values to choose from: give a floor a wider list in [floors], a method the key itself")?;
        }
        Ok(())
    }

    /// What a reader must know, as in the report.
    fn notes(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.report.notes.is_empty() {
            writeln!(f, "\n{}", self.paint.wrap("1", "Notes"))?;
        }
        self.report.notes.iter().try_for_each(|note| writeln!(f, "  - {note}"))
    }

    fn place(&self, f: &mut std::fmt::Formatter<'_>, place: &Place) -> std::fmt::Result {
        let results: Vec<&ResultRecord> = self.report.results.iter().filter(|result| &result.place == place).collect();
        let metrics = distinct(results.iter().map(|result| result.metric.to_string()));
        let methods = ordered_methods(&results);
        writeln!(f, "{}", self.paint.wrap("1", &place.to_string()))?;
        let name_width = methods.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("method".len());
        let in_a_row = (self.width.saturating_sub(SPACE + name_width) / (CELL + SPACE)).max(1);
        let shown = &metrics[..metrics.len().min(self.most_metrics)];
        for chunk in shown.chunks(in_a_row) {
            self.chunk(f, &results, &methods, chunk, name_width)?;
            self.differences(f, place, chunk, name_width)?;
            self.judges(f, &results, chunk)?;
            writeln!(f)?;
        }
        self.domains(f, place)?;
        if shown.len() < metrics.len() {
            writeln!(f, "Metrics in the report only: {}\n", metrics[shown.len()..].join(", "))?;
        }
        Ok(())
    }

    /// The measured rows of each domain, where there are several.
    fn domains(&self, f: &mut std::fmt::Formatter<'_>, place: &Place) -> std::fmt::Result {
        let domains: Vec<&DomainSize> = self.report.domains.iter().filter(|d| &d.place == place).map(|d| &d.size).collect();
        if domains.len() < 2 {
            return Ok(());
        }
        let mut shown: Vec<usize> = (0..domains.len()).collect();
        if domains.len() > DOMAINS {
            shown.sort_by_key(|&i| std::cmp::Reverse(domains[i].rows));
            shown.truncate(DOMAINS);
        }
        let width = shown.iter().map(|&i| domains[i].domain.chars().count()).max().unwrap_or(0);
        for DomainSize { domain, rows, users, positives } in shown.iter().map(|&i| domains[i]) {
            let positives = positives.map_or_else(String::new, |n| format!(", {n} positive"));
            writeln!(f, "  {domain:width$}  {rows} rows of {users} users{positives}")?;
        }
        if shown.len() < domains.len() {
            writeln!(f, "  {} more domains, none of them larger, are in the report", domains.len() - shown.len())?;
        }
        writeln!(f)
    }

    fn chunk(
        &self,
        f: &mut std::fmt::Formatter<'_>,
        results: &[&ResultRecord],
        methods: &[(&str, Kind)],
        metrics: &[String],
        name_width: usize,
    ) -> std::fmt::Result {
        let mut header = format!("  {:name_width$}", "method");
        for metric in metrics {
            let _ = write!(header, "  {:>26}  {:9}", metric, "vs floor");
        }
        writeln!(f, "{}", self.paint.wrap("2", header.trim_end()))?;
        let mut previous = None;
        for &(method, kind) in methods {
            if previous != Some(kind) {
                writeln!(f, "{}", self.paint.wrap("2", kind.name()))?;
                previous = Some(kind);
            }
            let mut line = format!("  {method:name_width$}");
            for metric in metrics {
                let result = results.iter().find(|result| result.method == method && result.metric.to_string() == *metric);
                line.push_str(&self.cell(result.copied()));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// What methods add to each base, in the columns of the metrics.
    fn differences(&self, f: &mut std::fmt::Formatter<'_>, place: &Place, metrics: &[String], name_width: usize) -> std::fmt::Result {
        for reference in references(self.report, place) {
            writeln!(f, "{}", self.paint.wrap("2", &format!("difference to {reference}")))?;
            let all: Vec<&DifferenceRecord> = of_place(self.report, place).filter(|d| d.reference == reference).collect();
            for method in distinct(all.iter().map(|d| d.method.as_str())) {
                let mut line = format!("  {method:name_width$}");
                for metric in metrics {
                    let found = all.iter().find(|d| d.method == method && d.metric.to_string() == *metric);
                    line.push_str(&self.difference(found.copied()));
                }
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }

    fn difference(&self, difference: Option<&DifferenceRecord>) -> String {
        let Some(difference) = difference else { return format!("  {:26}  {:9}", "", "") };
        let numbers = match (difference.ci_low, difference.ci_high) {
            (Some(low), Some(high)) => format!("{:+.4} [{low:+.4}, {high:+.4}]", difference.value),
            _ => format!("{:+.4} {:18}", difference.value, ""),
        };
        let (color, word) = match difference.better {
            Verdict::Yes => ("32", "better"),
            Verdict::No => ("31", "worse"),
            Verdict::NotShown => ("0", "not shown"),
        };
        let word = format!("{word:9}");
        let word = if difference.better == Verdict::NotShown { word } else { self.paint.wrap(color, &word) };
        format!("  {numbers:>26}  {word}")
    }

    fn cell(&self, result: Option<&ResultRecord>) -> String {
        let Some(result) = result else { return format!("  {:26}  {:9}", "", "") };
        let numbers = match (result.value, result.ci_low, result.ci_high) {
            (Some(value), Some(low), Some(high)) => format!("{value:.4} [{low:.4}, {high:.4}]"),
            (Some(value), ..) => format!("{value:.4} {:18}", ""),
            _ => result.without_value().to_owned(),
        };
        let is_there = result.value.is_some() || !result.metric.is_of_some();
        let judged = is_there && matches!(result.kind, Kind::Control | Kind::Adaptation);
        let verdict = if judged { result.beats_floor.name() } else { "" };
        let verdict = format!("{verdict:9}");
        let verdict = match result.beats_floor {
            Verdict::Yes if judged => self.paint.wrap("32", &verdict),
            Verdict::No if judged => self.paint.wrap("31", &verdict),
            _ => verdict,
        };
        format!("  {numbers:>26}  {verdict}")
    }
}

impl std::fmt::Display for Leaderboard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.warnings(f)?;
        let places = distinct(self.report.results.iter().map(|result| &result.place));
        if places.is_empty() {
            writeln!(f, "No results.")?;
            return self.notes(f);
        }
        self.verdicts(f)?;
        for (dataset, scenario) in distinct(places.iter().map(|place| (&place.dataset, &place.scenario))) {
            let here: Vec<&Place> = places.iter().copied().filter(|p| (&p.dataset, &p.scenario) == (dataset, scenario)).collect();
            let curves: Vec<Vec<Size<'_>>> =
                curves(here.iter().map(|place| place.setting.as_str())).into_iter().filter(|sizes| sizes[0].letter == "k").collect();
            for place in &here {
                if !curves.iter().flatten().any(|size| size.setting == place.setting) {
                    self.place(f, place)?;
                }
            }
            for sizes in &curves {
                self.curve(f, here[0], sizes)?;
            }
        }
        let bootstrap = self.report.environment.bootstrap;
        writeln!(
            f,
            "Brackets: {} % interval over {} draws of users. \"vs floor\": is the method shown to beat the best floor that reads no feature which the \
             method does not read (paired interval beyond 0)?",
            bootstrap.level * 100.0,
            bootstrap.draws
        )?;
        self.floors(f)?;
        self.notes(f)
    }
}

/// A paragraph whose lines have at most `width` characters where words allow it, each after `indent`.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one");
        if !line.is_empty() && indent.len() + 2 + line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.iter().enumerate().map(|(at, line)| format!("{indent}{}{line}\n", if at > 0 { "  " } else { "" })).collect()
}

/// Distinct values in order of first appearance.
pub(crate) fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// Methods by role: floors, controls, adaptations, ceiling; inside a role in order of appearance.
pub(crate) fn ordered_methods<'a>(results: &[&'a ResultRecord]) -> Vec<(&'a str, Kind)> {
    let mut methods = distinct(results.iter().map(|result| (result.method.as_str(), result.kind)));
    methods.sort_by_key(|&(_, kind)| kind);
    methods
}
