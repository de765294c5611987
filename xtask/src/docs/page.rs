//! A page cut into regions and what stands between them.

use anyhow::{Context, bail, ensure};

/// A part of a page.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// Text that is written by hand, and the number of its first line.
    Plain { line: usize, text: &'a str },
    /// Text that is made, between the lines that begin and end it, and the number of the first of these.
    Region { line: usize, name: &'a str, id: &'a str, opening: &'a str, text: &'a str, closing: &'a str },
}

const OPENING: &str = "<!-- evidence:";
const CLOSING: &str = "<!-- /evidence -->";

/// The parts of a page in order; together they are the page.
pub(crate) fn pieces(page: &str) -> anyhow::Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (page, 1);
    while let Some(start) = line_of(rest, |text| text.starts_with(OPENING)) {
        let (plain, from) = rest.split_at(start);
        line = push_plain(&mut pieces, line, plain);
        let (opening, inside) = from.split_at(from.find('\n').map_or(from.len(), |end| end + 1));
        let named = opening.trim().strip_prefix(OPENING).and_then(|o| o.strip_suffix("-->")).unwrap_or_default();
        let [name, id] = named.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("line {line}: a region begins with `{OPENING} NAME ID -->`");
        };
        let end = line_of(inside, |text| text == CLOSING).with_context(|| format!("line {line}: the region does not end"))?;
        let (text, after) = inside.split_at(end);
        ensure!(line_of(text, |text| text.starts_with(OPENING)).is_none(), "line {line}: another region begins inside");
        let (closing, after) = after.split_at(after.find('\n').map_or(after.len(), |end| end + 1));
        pieces.push(Piece::Region { line, name, id, opening, text, closing });
        line += text.lines().count() + 2;
        rest = after;
    }
    ensure!(line_of(rest, |text| text == CLOSING).is_none(), "a region ends after line {line} that has not begun");
    push_plain(&mut pieces, line, rest);
    Ok(pieces)
}

/// Adds text; the number of the line after it.
fn push_plain<'a>(pieces: &mut Vec<Piece<'a>>, line: usize, text: &'a str) -> usize {
    if !text.is_empty() {
        pieces.push(Piece::Plain { line, text });
    }
    line + text.lines().count()
}

/// Where the first line begins that is wanted.
fn line_of(text: &str, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let mut at = 0;
    text.split_inclusive('\n').find_map(|line| {
        let start = at;
        at += line.len();
        wanted(line.trim()).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_page_with_their_lines() {
        let page = "a\n\n<!-- evidence: x t -->\n| 1 |\n<!-- /evidence -->\nb\n<!-- evidence: y u -->\n<!-- /evidence -->\n";
        let found = pieces(page).unwrap();
        let regions: Vec<(usize, &str, &str, &str)> = found
            .iter()
            .filter_map(|piece| match piece {
                Piece::Region { line, name, id, text, .. } => Some((*line, *name, *id, *text)),
                Piece::Plain { .. } => None,
            })
            .collect();
        assert_eq!(regions, [(3, "x", "t", "| 1 |\n"), (7, "y", "u", "")]);
        assert_eq!(found[2], Piece::Plain { line: 6, text: "b\n" });
        let whole: String = found
            .iter()
            .map(|piece| match piece {
                Piece::Plain { text, .. } => (*text).to_owned(),
                Piece::Region { opening, text, closing, .. } => format!("{opening}{text}{closing}"),
            })
            .collect();
        assert_eq!(whole, page);
    }

    #[test]
    fn broken_regions_are_named_by_line() {
        let error = |page: &str| pieces(page).unwrap_err().to_string();
        assert!(error("\n<!-- evidence: x t -->\n1\n").contains("line 2: the region does not end"));
        assert!(error("<!-- evidence: x -->\n<!-- /evidence -->\n").contains("line 1: a region begins with"));
        assert!(error("<!-- evidence: x t -->\n<!-- evidence: x u -->\n<!-- /evidence -->\n").contains("another region"));
        assert!(error("<!-- /evidence -->\n").contains("has not begun"));
    }
}
