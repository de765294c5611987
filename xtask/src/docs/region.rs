//! Templates of regions: tables and paragraphs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::claim::Claim;
use super::reference::{Context, best_floor};
use crate::evidence::Evidence;

/// `docs/evidence/tables.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Templates {
    /// Numbers that are not measured here, and where each comes from.
    #[serde(default)]
    pub(crate) quoted: BTreeMap<String, String>,
    /// Names of methods in prose; a method that is not listed is named in code.
    #[serde(default)]
    pub(crate) names: BTreeMap<String, String>,
    /// What sentences say of measurements.
    #[serde(default)]
    pub(crate) claim: Vec<Claim>,
    /// Plots by the name of their file.
    #[serde(default)]
    pub(crate) plot: BTreeMap<String, super::plot::Plot>,
    /// Regions by the name of their evidence and their own.
    #[serde(default)]
    region: BTreeMap<String, BTreeMap<String, Region>>,
}

/// A region: a paragraph, or a table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Region {
    /// A paragraph, with references.
    text: Option<String>,
    /// Heads of the columns of a table.
    head: Vec<String>,
    /// Places of the columns after the first: one for all of them, or one each. A paragraph may have one as well.
    places: Vec<String>,
    /// Templates of these columns: one for all of them, or one each.
    cells: Vec<String>,
    /// Adds to the label of a row that its method is the best floor by this metric.
    best_floor: Option<String>,
    /// The rows.
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// What stands in the first column, with references; default: the method's name.
    label: Option<String>,
    method: Option<String>,
    /// Its own templates; `*` is the column's.
    #[serde(default)]
    cells: Vec<String>,
}

impl Templates {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can not read {}", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// The region of a marker.
    pub(crate) fn region(&self, name: &str, id: &str) -> anyhow::Result<&Region> {
        let found = self.region.get(name).and_then(|regions| regions.get(id));
        found.with_context(|| format!("docs/evidence/tables.toml has no [region.{name}.{id}]"))
    }

    /// All regions, by both names.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (String, String)> {
        self.region.iter().flat_map(|(name, regions)| regions.keys().map(|id| (name.clone(), id.clone())))
    }
}

impl Region {
    /// The lines of the region.
    pub(crate) fn render(&self, evidence: &Evidence, names: &BTreeMap<String, String>) -> anyhow::Result<String> {
        let context = Context { evidence, names, place: self.places.first().map(String::as_str), method: None };
        if let Some(text) = &self.text {
            ensure!(self.head.is_empty() && self.rows.is_empty(), "is a paragraph or a table, not both");
            return Ok(context.expand(text.trim_end())? + "\n");
        }
        let columns = self.head.len().saturating_sub(1);
        ensure!(columns > 0 && !self.rows.is_empty(), "a table needs `head` and `rows`");
        let mut lines = vec![line(&self.head), format!("|{}", "---|".repeat(self.head.len()))];
        for row in &self.rows {
            let label = row.label.clone().or_else(|| row.method.as_ref().map(|method| context.name(method)));
            let label = label.context("a row needs a `label` or a `method`")?;
            lines.push(self.row(&context, row, &label).with_context(|| format!("row `{label}`"))?);
        }
        Ok(lines.join("\n") + "\n")
    }

    fn row(&self, context: &Context<'_>, row: &Row, label: &str) -> anyhow::Result<String> {
        let mut cells = vec![context.expand(label)? + &self.mark(context, row)?];
        for column in 0..self.head.len() - 1 {
            let shared = each(&self.cells, column);
            let own = if row.cells.is_empty() { None } else { Some(row.cells.get(column).context("`cells` are fewer than the columns")?) };
            let template = own.filter(|own| *own != "*").map(String::as_str).or(shared).context("there is no template for the column")?;
            let context = Context { place: each(&self.places, column), method: row.method.as_deref(), ..*context };
            cells.push(context.expand(template)?);
        }
        Ok(line(&cells))
    }

    /// Says of the best floor that it is that, and of which columns where it is not of all.
    fn mark(&self, context: &Context<'_>, row: &Row) -> anyhow::Result<String> {
        let (Some(metric), Some(method)) = (&self.best_floor, &row.method) else { return Ok(String::new()) };
        let places = &self.places[..];
        let mut best = Vec::new();
        for (at, place) in places.iter().enumerate() {
            if best_floor(context.place(place)?, metric)? == method {
                best.push(self.head[at + 1].as_str());
            }
        }
        Ok(match best.len() {
            0 => String::new(),
            n if n == places.len() => " (best floor)".to_owned(),
            _ => format!(" (best floor: {})", best.join(", ")),
        })
    }
}

/// The entry of a column: its own, or the one of all.
fn each(entries: &[String], column: usize) -> Option<&str> {
    if let [one] = entries { Some(one) } else { entries.get(column).map(String::as_str) }
}

/// A row of Markdown.
fn line<S: AsRef<str>>(cells: &[S]) -> String {
    cells.iter().fold("|".to_owned(), |line, cell| match cell.as_ref() {
        "" => line + " |",
        cell => line + " " + cell + " |",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::evidence;

    fn rendered(region: &str) -> Result<String, String> {
        let templates: Templates = toml::from_str(&format!("names.bias = \"bias model\"\n[region.toy.x]\n{region}")).unwrap();
        let region = templates.region("toy", "x").unwrap();
        region.render(&evidence(&[], &[]), &templates.names).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_table_is_rows_times_columns() {
        let table = r#"
            head = ["method", "10", "all"]
            places = ["n=10", "n=all"]
            cells = ["{auc | .2 star}"]
            best_floor = "auc"
            rows = [{ method = "bias" }, { method = "base", cells = ["*", "same"] }, { label = "new", method = "film", cells = ["", "*"] }]
        "#;
        let expected = "| method | 10 | all |\n|---|---|---|\n| bias model (best floor) | 0.60 | 0.60 |\n| `base` | 0.61 | same |\n| new | | 0.71* |\n";
        assert_eq!(rendered(table).as_deref(), Ok(expected));
        let short = table.replace("\"*\", \"same\"", "\"*\"");
        assert!(rendered(&short).unwrap_err().contains("row ``base``: `cells` are fewer"), "{:?}", rendered(&short));
        assert!(rendered(&table.replace("method = \"film\"", "method = \"fil\"")).unwrap_err().contains("row `new`"));
    }

    #[test]
    fn a_paragraph_is_its_text() {
        assert_eq!(rendered("places = [\"n=all\"]\ntext = \"\"\"\nIt is {film | auc | .2}.\n\"\"\"").as_deref(), Ok("It is 0.71.\n"));
        assert!(rendered("text = \"x\"\nhead = [\"y\"]").unwrap_err().contains("not both"));
    }
}
