//! Numbers that look measured, outside of regions.

/// Decimals from which on a number looks measured.
const DECIMALS: usize = 3;

/// Numbers with three decimals or more in Markdown, each with the line that it stands on, counted from 0. Code and the targets of links are left out.
pub(crate) fn numbers(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (at, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(in_prose(&prose(line)).map(|number| (at, number)));
        }
    }
    found
}

/// A line without code spans and link targets.
fn prose(line: &str) -> String {
    let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut parts = outside.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + " " + part.split_once(')').map_or("", |(_, after)| after))
}

fn in_prose(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words.map(|word| word.trim_matches('.')).filter(|word| word.matches('.').count() == 1).filter_map(|word| {
        let (_, decimals) = word.split_once('.')?;
        (decimals.len() >= DECIMALS).then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_numbers_are_found_and_code_is_not() {
        let page = "It is 0.7218, +0.005.\nRate `0.001`, [0.123](a/0.456), 1,000 rows\n```\n0.999\n```\n1.95 and 1.2.345 and (12.3456)\n";
        let found = numbers(page);
        let found: Vec<(usize, &str)> = found.iter().map(|(line, number)| (*line, number.as_str())).collect();
        assert_eq!(found, [(0, "0.7218"), (0, "0.005"), (1, "0.123"), (5, "12.3456")]);
    }
}
