//! Records with quoted fields.

use memchr::{memchr, memchr_iter, memchr2};

use super::dialect::{Dialect, LineEnd, Quoting};

/// Characters of a field that a fault quotes.
const EXCERPT: usize = 40;

/// A field that breaks the rules of quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QuoteFault {
    /// Text follows the closing quote.
    GoesOn { field: usize, text: String },
    /// No quote closes the field where it would have to.
    Open { field: usize, text: String },
    /// The text of the field has the separators of rows.
    Rows { field: usize, lines: usize },
}

/// Where a field of a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether the text had doubled quotes and lies among the unescaped texts.
    pub(super) is_unescaped: bool,
}

impl Field {
    pub(super) fn plain(start: usize, end: usize) -> Self {
        Self { start, end, is_unescaped: false }
    }
}

/// What reading a record came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A record of so many bytes, its line end included, on so many lines.
    Record { bytes: usize, lines: u64 },
    /// The text at hand ends before the record; the field that it ends in begins at `from`.
    Unfinished { field: usize, from: usize },
    /// The rules are broken.
    Fault(QuoteFault),
}

/// Reads one record.
pub(super) struct QuotedRecord<'a> {
    /// Text from the record's first byte on.
    pub(super) text: &'a [u8],
    /// Whether nothing follows the text.
    pub(super) is_complete: bool,
    pub(super) line_end: LineEnd,
    pub(super) dialect: &'a Dialect,
    /// Fields that a row has; 0 if that is not known yet.
    pub(super) columns: usize,
}

/// What stands at a position.
enum After {
    /// A separator, and a field from here.
    Field(usize),
    /// The end of the record, and another one from here.
    Record(usize),
    /// Neither.
    Text,
    /// The text at hand is too short to tell.
    Unknown,
}

impl QuotedRecord<'_> {
    /// Fills `fields`, and `unescaped` with the texts of those that had doubled quotes.
    pub(super) fn read(&self, fields: &mut Vec<Field>, unescaped: &mut Vec<u8>) -> Outcome {
        fields.clear();
        unescaped.clear();
        let (mut at, mut lines) = (0, 1);
        loop {
            let after =
                if self.text.get(at) == Some(&b'"') { self.quoted(at, fields, unescaped, &mut lines) } else { Ok(self.plain(at, fields)) };
            match after {
                Ok(After::Field(next)) => at = next,
                Ok(After::Record(bytes)) => return Outcome::Record { bytes, lines },
                Ok(After::Unknown | After::Text) => return Outcome::Unfinished { field: fields.len(), from: at },
                Err(fault) => return Outcome::Fault(fault),
            }
        }
    }

    /// The fault of a field that nothing closes.
    pub(super) fn open(&self, field: usize, from: usize) -> QuoteFault {
        QuoteFault::Open { field, text: self.excerpt(from) }
    }

    fn plain(&self, at: usize, fields: &mut Vec<Field>) -> After {
        let mut from = at;
        loop {
            let Some(found) = memchr2(self.dialect.first_byte(), self.line_end.byte(), &self.text[from..]) else {
                return self.at_end(|end| fields.push(Field::plain(at, end)));
            };
            let found = from + found;
            match self.after(found) {
                After::Text => from = found + 1,
                After::Unknown => return After::Unknown,
                after => {
                    let is_return = matches!(after, After::Record(_)) && found > at && self.line_end.is_return_before(self.text, found);
                    fields.push(Field::plain(at, found - usize::from(is_return)));
                    return after;
                }
            }
        }
    }

    fn quoted(&self, at: usize, fields: &mut Vec<Field>, unescaped: &mut Vec<u8>, lines: &mut u64) -> Result<After, QuoteFault> {
        let (first, mut piece) = (unescaped.len(), at + 1);
        let mut from = piece;
        let close = loop {
            let Some(found) = memchr(b'"', &self.text[from..]) else {
                return if self.is_complete { Err(self.open(fields.len(), at)) } else { Ok(After::Unknown) };
            };
            let quote = from + found;
            match self.text.get(quote + 1) {
                Some(b'"') => {
                    unescaped.extend_from_slice(&self.text[piece..=quote]);
                    piece = quote + 2;
                    from = piece;
                }
                None if !self.is_complete => return Ok(After::Unknown),
                _ => break quote,
            }
        };
        let breaks = memchr_iter(self.line_end.byte(), &self.text[at..close]).count();
        let after = match self.after(close + 1) {
            After::Text if breaks > 0 => return Err(self.open(fields.len(), at)),
            // The message shows the line; what is shown must not depend on how much of it has been read.
            After::Text if !self.has_excerpt(at) => return Ok(After::Unknown),
            After::Text => return Err(QuoteFault::GoesOn { field: fields.len(), text: self.excerpt(at) }),
            After::Unknown => return Ok(After::Unknown),
            after => after,
        };
        if breaks > 0 && self.dialect.quoting == Quoting::Careful && self.holds_rows(&self.text[at + 1..close], fields.len()) {
            return Err(QuoteFault::Rows { field: fields.len(), lines: breaks });
        }
        *lines += breaks as u64;
        fields.push(if piece == at + 1 {
            Field::plain(at + 1, close)
        } else {
            unescaped.extend_from_slice(&self.text[piece..close]);
            Field { start: first, end: unescaped.len(), is_unescaped: true }
        });
        Ok(after)
    }

    fn after(&self, at: usize) -> After {
        let (rest, delimiter) = (&self.text[at..], self.dialect.delimiter());
        if rest.starts_with(delimiter) {
            return After::Field(at + delimiter.len());
        }
        let may_go_on = !self.is_complete && (delimiter.starts_with(rest) || rest == b"\r");
        match (self.line_end, rest) {
            _ if may_go_on => After::Unknown,
            (_, []) | (LineEnd::Newline, b"\r") => After::Record(self.text.len()),
            (LineEnd::Newline, [b'\n', ..]) => After::Record(at + 1),
            (_, [b'\r', b'\n', ..]) => After::Record(at + 2),
            (LineEnd::Return, [b'\r', ..]) => After::Record(at + 1),
            _ => After::Text,
        }
    }

    fn at_end(&self, mut push: impl FnMut(usize)) -> After {
        if !self.is_complete {
            return After::Unknown;
        }
        let is_return = self.line_end == LineEnd::Newline && self.text.ends_with(b"\r");
        push(self.text.len() - usize::from(is_return));
        After::Record(self.text.len())
    }

    /// Whether a text of several lines is what a quote at the start of a field would take if nobody had closed it there: the rest of a row, whole
    /// rows, and the start of a row up to the same field.
    fn holds_rows(&self, text: &[u8], field: usize) -> bool {
        let Some(most) = self.columns.checked_sub(1).filter(|&most| most > 0) else { return false };
        let mut lines = text.split(|&byte| byte == self.line_end.byte());
        let mut next = || lines.next().map(|line| (line.trim_ascii().is_empty(), self.dialect.separators(line)));
        let Some((_, first)) = next() else { return false };
        let (mut last, mut whole) = (next(), 0);
        while let Some(line) = next() {
            match last.replace(line) {
                Some((false, separators)) if separators != most => return false,
                Some((false, _)) => whole += 1,
                _ => {}
            }
        }
        let is_cut_in_one_field = first + field == most && last.is_some_and(|(_, separators)| separators == field);
        is_cut_in_one_field || whole >= 2
    }

    /// Whether all that an excerpt from here would show has been read.
    fn has_excerpt(&self, from: usize) -> bool {
        let text = &self.text[from..];
        self.is_complete || text.len() >= 4 * EXCERPT || memchr2(b'\n', b'\r', text).is_some()
    }

    fn excerpt(&self, from: usize) -> String {
        let text = &self.text[from..];
        let line = &text[..memchr2(b'\n', b'\r', text).unwrap_or(text.len())];
        let text = String::from_utf8_lossy(&line[..line.len().min(4 * EXCERPT)]);
        match text.char_indices().nth(EXCERPT) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.into_owned(),
        }
    }
}
