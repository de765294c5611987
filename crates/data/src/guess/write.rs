//! The text of the data-set file.

use std::fmt::Write as _;

use super::feature::{Feature, clock_key, quoted};
use super::role::Label;
use super::{Domain, GivenSplit, Guess, SideGuess, TableGuess};
use crate::config::Origin;

/// Width at which a list of texts is broken into lines.
const WIDTH: usize = 120;

impl Guess {
    /// The data-set file. `notes` stand at its head, one comment each.
    #[must_use]
    pub fn text(&self, notes: &[String]) -> String {
        let mut text = String::from(
            "# Written by `acclimate init` from what the files hold. Every line may be changed; docs/data-sets.md has all keys.\n",
        );
        notes.iter().for_each(|note| comment(&mut text, note));
        let _ = writeln!(text, "name = {}", quoted(&self.name));
        if let Some(reason) = &self.skips {
            comment(&mut text, &format!("Left out: {reason}."));
            text.push_str("on_bad_row = \"skip\"\n");
        }
        text.push_str("\n[interactions]\n");
        self.log.write(&mut text);
        let _ = writeln!(text, "user = {}\nitem = {}", quoted(&self.user), quoted(&self.item));
        if self.has_domain_items {
            text.push_str("# The same item id in two domains means two items.\nitem_scope = \"domain\"\n");
        }
        if let Some((column, clock)) = &self.time {
            let key = clock.and_then(clock_key).map_or(String::new(), |(key, value)| format!(", {key} = {value}"));
            let _ = writeln!(text, "time = {{ column = {}{key} }}", quoted(column));
        }
        match &self.domain {
            None => {}
            Some(Domain::Column(column)) => {
                let _ = writeln!(text, "domain = {{ column = {} }}", quoted(column));
            }
            Some(Domain::Files(names)) => {
                let _ = writeln!(text, "domain = {{ from = \"file\", names = {} }}", list(names));
            }
        }
        text.push_str(&self.label_text());
        for (title, tables) in [("users", &self.users), ("items", &self.items)] {
            tables.iter().for_each(|table| table.write(&mut text, title));
        }
        if let Some(GivenSplit { column: Some(column), .. }) = &self.split {
            let _ = write!(text, "\n# For the split; no model sees it.\n[[attribute]]\nname = {}\nkind = \"text\"\n", quoted(column));
        }
        text.push_str("\n# What models read, in this order.\n");
        for feature in &self.features {
            write_feature(&mut text, feature);
        }
        text
    }

    fn label_text(&self) -> String {
        let mut text = String::new();
        if !self.other_labels.is_empty() {
            comment(&mut text, &format!("Other columns that could be the label: {}", self.other_labels.join(", ")));
        }
        match &self.label {
            None => text.push_str("# Every row is a positive.\nlabel = { kind = \"implicit\" }\n"),
            Some((column, Label::Click(_))) => {
                let positive = self.positive.as_ref().map_or_else(String::new, |positive| format!(", positive = {}", quoted(positive)));
                let _ = writeln!(text, "label = {{ column = {}, kind = \"click\"{positive} }}", quoted(column));
            }
            Some((column, Label::Rating { min, max, .. })) => {
                let _ = writeln!(text, "label = {{ column = {}, kind = \"rating\", min = {min}, max = {max} }}", quoted(column));
            }
        }
        text
    }
}

impl TableGuess {
    fn write(&self, text: &mut String) {
        for (key, value) in &self.keys {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
}

impl SideGuess {
    fn write(&self, text: &mut String, title: &str) {
        let _ = write!(text, "\n[[{title}]]\n");
        if let Some(name) = &self.name {
            let _ = writeln!(text, "name = {}", quoted(name));
        }
        self.table.write(text);
        let _ = writeln!(text, "key = {}", quoted(&self.key));
        if let Some(domain) = &self.domain {
            let _ = writeln!(text, "domain = {domain}");
        }
        if let Some(reason) = &self.missing {
            comment(text, &format!("{reason}."));
            text.push_str("missing = \"allow\"\n");
        }
    }
}

fn write_feature(text: &mut String, feature: &Feature) {
    let mut lines = vec!["[[feature]]".to_owned(), format!("name = {}", quoted(&feature.name)), format!("kind = {}", quoted(feature.kind))];
    match feature.from {
        Origin::Interactions => {}
        Origin::Users => lines.push("from = \"users\"".to_owned()),
        Origin::Items => lines.push("from = \"items\"".to_owned()),
    }
    lines.extend(feature.table.as_ref().map(|table| format!("table = {}", quoted(table))));
    if feature.column != feature.name && feature.kind != "domain" {
        lines.push(format!("column = {}", quoted(&feature.column)));
    }
    lines.extend(feature.keys.iter().map(|(key, value)| format!("{key} = {value}")));
    text.push('\n');
    match &feature.left_out {
        None => lines.iter().for_each(|line| text.extend([line, "\n"])),
        Some(reason) => {
            comment(text, &format!("Left out: {reason}"));
            // A name may be written on several lines.
            lines.iter().flat_map(|line| line.lines()).for_each(|line| text.extend(["# ", line, "\n"]));
        }
    }
}

/// A comment; what would end its line goes.
pub(super) fn comment(text: &mut String, words: &str) {
    for line in words.lines() {
        let _ = writeln!(text, "# {}", line.replace(|c: char| c.is_control(), " "));
    }
}

/// A list of texts as TOML, on several lines where it is long.
pub(super) fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= WIDTH { line } else { format!("[\n{}]", quoted.iter().map(|text| format!("    {text},\n")).collect::<String>()) }
}
