//! Text cut into records and fields.
//!
//! A line without quotes is cut at its separators. A line with one is read field by field: a field that begins with a quote ends with a quote that the
//! separator or the line's end follows directly. Anything else is a fault of that line, after which the next line is read, so that no quote takes other
//! rows with it unnoticed.

use std::io::{self, Read};

use memchr::{memchr, memchr2};

use super::dialect::{Dialect, LineEnd, Quoting};
use super::quoted::{Field, Outcome, QuoteFault, QuotedRecord};

/// No record is longer: what goes on beyond this is a quote that nobody closed, or no table.
const LONGEST: usize = 1 << 26;

/// A line that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} does not end")]
pub(super) struct EndlessLine(pub(super) u64);

/// Bytes of a line without and with what ends it.
#[derive(Clone, Copy, Debug)]
struct Line {
    text: usize,
    whole: usize,
}

/// Reads records one by one.
pub(super) struct Records<R> {
    source: R,
    dialect: Dialect,
    buffer: Vec<u8>,
    /// First byte that no record has taken.
    start: usize,
    /// First byte that holds nothing.
    end: usize,
    is_complete: bool,
    line_end: Option<LineEnd>,
    /// Number of the line at `start`, from 1.
    line: u64,
    columns: usize,
    longest: usize,
    /// Where the current record begins.
    record: usize,
    /// Its fields, from there.
    fields: Vec<Field>,
    unescaped: Vec<u8>,
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R, dialect: Dialect, buffer: usize) -> Self {
        Self {
            source,
            dialect,
            buffer: vec![0; buffer],
            start: 0,
            end: 0,
            is_complete: false,
            line_end: None,
            line: 1,
            columns: 0,
            longest: LONGEST,
            record: 0,
            fields: Vec::new(),
            unescaped: Vec::new(),
        }
    }

    /// Tells how many fields a row should have.
    pub(super) fn expect(&mut self, columns: usize) {
        self.columns = columns;
    }

    /// Number of fields of the current record.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field of the current record.
    pub(super) fn field(&self, index: usize) -> &[u8] {
        let Field { start, end, is_unescaped } = self.fields[index];
        if is_unescaped { &self.unescaped[start..end] } else { &self.buffer[self.record + start..self.record + end] }
    }

    /// Goes to the next record and gives the line on which it begins; `None` at the end. Of a record that breaks the rules of quoting the first line is
    /// taken. Empty lines and comments are passed over.
    pub(super) fn advance(&mut self) -> io::Result<Option<(u64, Result<(), QuoteFault>)>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let (at, text) = (self.line, &self.buffer[self.start..self.start + line.text]);
            if text.is_empty() || self.dialect.is_comment(text) {
                self.take(line.whole, 1);
                continue;
            }
            if self.dialect.quoting != Quoting::Off && memchr(b'"', text).is_some() {
                return Ok(Some((at, self.quoted(line)?)));
            }
            self.fields.clear();
            let (fields, mut from) = (&mut self.fields, 0);
            let width = self.dialect.delimiter().len();
            self.dialect.for_each_separator(text, |at| fields.push(Field::plain(std::mem::replace(&mut from, at + width), at)));
            fields.push(Field::plain(from, line.text));
            self.take(line.whole, 1);
            return Ok(Some((at, Ok(()))));
        }
    }

    /// Makes the next bytes the current record.
    fn take(&mut self, bytes: usize, lines: u64) {
        self.record = self.start;
        self.start += bytes;
        self.line += lines;
    }

    /// Reads a record of which the first line has a quote.
    fn quoted(&mut self, first: Line) -> io::Result<Result<(), QuoteFault>> {
        let fault = loop {
            let record = QuotedRecord {
                text: &self.buffer[self.start..self.end],
                is_complete: self.is_complete,
                line_end: self.line_end.unwrap_or(LineEnd::Newline),
                dialect: &self.dialect,
                columns: self.columns,
            };
            match record.read(&mut self.fields, &mut self.unescaped) {
                Outcome::Record { bytes, lines } => {
                    self.take(bytes, lines);
                    return Ok(Ok(()));
                }
                Outcome::Unfinished { .. } if self.end - self.start < self.longest => self.fill()?,
                Outcome::Unfinished { field, from } => break record.open(field, from),
                Outcome::Fault(fault) => break fault,
            }
        };
        self.take(first.whole, 1);
        Ok(Err(fault))
    }

    /// Finds the end of the line that begins at `start`; `None` if nothing is left.
    fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut searched = 0;
        loop {
            let text = &self.buffer[self.start..self.end];
            let found = match self.line_end {
                Some(end) => memchr(end.byte(), &text[searched..]),
                None => memchr2(b'\n', b'\r', &text[searched..]),
            };
            searched = match found.map(|at| searched + at) {
                // A `\n` may follow that has not been read.
                Some(at) if text[at] == b'\r' && at + 1 == text.len() && !self.is_complete => at,
                Some(at) => return Ok(Some(self.line_to(at))),
                None => text.len(),
            };
            if self.is_complete {
                let whole = text.len();
                let is_return = self.line_end == Some(LineEnd::Newline) && text.ends_with(b"\r");
                return Ok((whole > 0).then_some(Line { text: whole - usize::from(is_return), whole }));
            }
            if text.len() >= self.longest {
                return Err(io::Error::other(EndlessLine(self.line)));
            }
            self.fill()?;
        }
    }

    /// The line that ends at a `\n` or `\r`; the first one decides which of them ends lines.
    fn line_to(&mut self, at: usize) -> Line {
        let text = &self.buffer[self.start..self.end];
        let has_both = text[at..].starts_with(b"\r\n");
        let is_newline = text[at] == b'\n' || has_both;
        match *self.line_end.get_or_insert(if is_newline { LineEnd::Newline } else { LineEnd::Return }) {
            LineEnd::Newline if has_both => Line { text: at, whole: at + 2 },
            end => Line { text: at - usize::from(end.is_return_before(text, at)), whole: at + 1 + usize::from(has_both) },
        }
    }

    /// Reads more bytes behind those that are there.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.is_complete = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = (u64, Result<Vec<String>, QuoteFault>);

    fn read_with(text: &[u8], dialect: &Dialect, buffer: usize, columns: usize, longest: usize) -> io::Result<Vec<Found>> {
        let mut records = Records { longest, ..Records::new(text, dialect.clone(), buffer) };
        records.expect(columns);
        let mut found = Vec::new();
        while let Some((line, outcome)) = records.advance()? {
            let fields =
                |records: &Records<_>| (0..records.len()).map(|i| String::from_utf8_lossy(records.field(i)).into_owned()).collect();
            found.push((line, outcome.map(|()| fields(&records))));
        }
        Ok(found)
    }

    /// The records of a text, which must be the same whatever the size of the buffer.
    fn read(text: &str, dialect: &Dialect, columns: usize) -> Vec<Found> {
        let found = read_with(text.as_bytes(), dialect, 4096, columns, LONGEST).unwrap();
        for buffer in 1..9 {
            assert_eq!(read_with(text.as_bytes(), dialect, buffer, columns, LONGEST).unwrap(), found, "buffer of {buffer}: {text:?}");
        }
        found
    }

    fn comma(quoting: Quoting) -> Dialect {
        Dialect::new(",", quoting, None)
    }

    fn rows(text: &str, dialect: &Dialect) -> Vec<Vec<String>> {
        read(text, dialect, 3).into_iter().map(|(_, record)| record.unwrap()).collect()
    }

    #[test]
    fn quotes_inside_a_field_are_text_and_around_it_are_not() {
        let text = "a,5\" Pizza,\"x, \"\"y\"\"\"\n\"\",\"b\r\nc\",d\"\n";
        assert_eq!(rows(text, &comma(Quoting::Careful)), [["a", "5\" Pizza", "x, \"y\""], ["", "b\r\nc", "d\""]]);
        assert_eq!(rows("\"a\",b\"\"\n", &comma(Quoting::Off)), [["\"a\"", "b\"\""]]);
    }

    #[test]
    fn lines_end_as_the_first_one_does() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("a,b{end}{end}\"c{end}d\",e{end}f,\"g\"");
            let found = read(&text, &comma(Quoting::Careful), 2);
            let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [1, 3, 5], "{end:?}");
            let broken = format!("c{end}d");
            let fields: Vec<_> = found.into_iter().map(|(_, record)| record.unwrap()).collect();
            assert_eq!(fields, [["a", "b"], [broken.as_str(), "e"], ["f", "g"]], "{end:?}");
        }
        assert_eq!(rows("a\nb\rc\nd\r", &comma(Quoting::Off)), [["a"], ["b\rc"], ["d"]], "a stray return is text");
        assert_eq!(rows("a\r\nb\r\"c\"\r\n", &comma(Quoting::Careful)), [["a"], ["b\r\"c\""]]);
    }

    #[test]
    fn separators_of_several_characters_and_comments() {
        let dialect = Dialect::new("::", Quoting::Careful, Some("#"));
        let text = "# 1::2\n1::a:b::\"x::y\"\n#\n2::::\"z\":::\n";
        let found = read(text, &dialect, 3);
        assert_eq!(found[0], (2, Ok(["1", "a:b", "x::y"].map(str::to_owned).to_vec())));
        assert_eq!(found[1], (4, Ok(["2", "", "z", ":"].map(str::to_owned).to_vec())));
    }

    #[test]
    fn a_quote_takes_no_other_row_with_it() {
        let fault = |text: &str, columns| {
            let found = read(text, &comma(Quoting::Careful), columns);
            let faults: Vec<_> = found.iter().filter_map(|(line, record)| Some((*line, record.clone().err()?))).collect();
            let rows = found.len() - faults.len();
            (faults, rows)
        };
        let goes_on = QuoteFault::GoesOn { field: 1, text: "\"b\" c,d".to_owned() };
        assert_eq!(fault("a,\"b\" c,d\ne,f,g\n", 3), (vec![(1, goes_on)], 1));
        let open = QuoteFault::Open { field: 1, text: "\"b,c".to_owned() };
        assert_eq!(fault("a,\"b,c\nd,e,f\ng,h,i\n", 3), (vec![(1, open.clone())], 2), "to the end of the file");
        assert_eq!(fault("a,\"b,c\nd,e \"f,g\n", 3), (vec![(1, open)], 1), "to a quote that closes nothing");
        let rows = |lines| QuoteFault::Rows { field: 1, lines };
        assert_eq!(fault("a,\"b,c\nd,e\",f\ng,h,i\n", 3), (vec![(1, rows(1))], 2), "to a quote that ends the same field");
        assert_eq!(fault("a,\"b,c\nx,y,z\n\nd,e\",f\n", 3), (vec![(1, rows(3))], 2));
        assert_eq!(fault("a,\"b,c,c\nx,y,z\nx,y,z\nd,e\",f\n", 3), (vec![(1, rows(3))], 3), "though its own row has too many fields");
        for text in ["a,\"b\nc\",d\n", "a,\"b, c\nd\",e\n", "a,\"b\n\nc, d\",e\n", "a,b,\"c, d\n\ne, f, g\"\n"] {
            assert_eq!(fault(text, 3), (vec![], 1), "text of several lines is legal: {text:?}");
        }
        let trusted = read("a,\"b,c\nd,e\",f\n", &comma(Quoting::Trusted), 3);
        assert_eq!(trusted, [(1, Ok(["a", "b,c\nd,e", "f"].map(str::to_owned).to_vec()))]);
    }

    #[test]
    fn memory_is_bounded() {
        let text = format!("a,\"{}\nb,c\n", "x\n".repeat(50));
        let found = read_with(text.as_bytes(), &comma(Quoting::Trusted), 8, 2, 64).unwrap();
        assert_eq!(found[0], (1, Err(QuoteFault::Open { field: 1, text: "\"x".to_owned() })));
        assert_eq!(found.last().unwrap(), &(52, Ok(vec!["b".to_owned(), "c".to_owned()])));
        let error = read_with(&[b'x'; 100], &comma(Quoting::Off), 8, 2, 64).unwrap_err();
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&EndlessLine(1)));
    }

    /// Writes a field as RFC 4180 asks.
    fn quote(field: &str) -> String {
        let needs = field.is_empty() || field.contains(['"', ';', '\n', '\r']);
        if needs { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(rows in prop::collection::vec(prop::collection::vec("[a\";:\\n\\r é]{0,5}", 1..4), 1..6), crlf: bool, buffer in 1..40_usize) {
            let end = if crlf { "\r\n" } else { "\n" };
            let text: String = rows.iter().map(|row| row.iter().map(|f| quote(f)).collect::<Vec<_>>().join("::") + end).collect();
            // The first line must not end inside a field, because it tells what ends lines.
            let text = format!("h{end}{text}");
            let dialect = Dialect::new("::", Quoting::Trusted, None);
            // A field that ends with half a separator and is not quoted would not come back.
            prop_assume!(!rows.iter().flatten().any(|f| f.contains(':') && !f.contains(['"', ';', '\n', '\r'])));
            let found = read_with(text.as_bytes(), &dialect, buffer, 0, LONGEST).unwrap();
            let read: Vec<_> = found.into_iter().skip(1).map(|(_, record)| record.unwrap()).collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn nothing_panics_and_every_line_is_accounted_for(text in "[ab\",\\n\\r]{0,60}", buffer in 1..20_usize) {
            let whole = read_with(text.as_bytes(), &comma(Quoting::Careful), 4096, 3, LONGEST).unwrap();
            let cut = read_with(text.as_bytes(), &comma(Quoting::Careful), buffer, 3, LONGEST).unwrap();
            prop_assert_eq!(&whole, &cut);
            prop_assert!(whole.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
