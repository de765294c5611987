//! How a text file is written: encoding, separator, quotes, comments, header. Told from the beginning of the file.
//!
//! - A file that is not UTF-8 is read as Latin-1, in which every byte is a character, or as UTF-16 where every other byte is zero.
//! - The separator is the one by which nearly all lines have the same number of fields, two at least. `::` and tabs go before `;`, `,` and `|`, among
//!   which the one with most fields wins; a space is taken where none of them fits.
//! - Quotes are ordinary characters where reading them as quotes leaves fields open or rows unequal, and not reading them so does not.
//! - The first line is a header if it holds no number, no empty and no repeated name, and either a column below it holds numbers, or no column
//!   repeats its name as a value. A file whose first line is data has no header.

use super::column::is_number;
use super::feature::quoted;
use super::role;

/// Share of the lines that must have the same number of fields.
const REGULAR: f64 = 0.9;
/// Records that are looked at.
const RECORDS: usize = 1000;
const MARK: char = '\u{feff}';

/// How a text file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The name of an encoding that is not UTF-8.
    pub(super) encoding: Option<&'static str>,
    pub(super) delimiter: String,
    pub(super) has_quotes: bool,
    pub(super) comment: Option<&'static str>,
    /// The names in the header; `None` without one.
    pub(super) header: Option<Vec<String>>,
    /// Fields of a row.
    pub(super) fields: usize,
}

/// Why the beginning of a file is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// Nothing but blank lines.
    #[error("the file is empty; check that it is the right one")]
    Empty,
    /// No text.
    #[error("the file is neither text nor Parquet; write it as one of them")]
    Binary,
    /// JSON.
    #[error("the file holds JSON; write it as CSV or Parquet, a column for each key")]
    Json,
    /// No separator gives rows of equal length.
    #[error(
        "no separator (`::`, tab, `;`, `,`, `|`, space) cuts its lines into equally many columns; name the right file, or describe it by hand with `delimiter` and `columns`"
    )]
    NoSeparator,
}

impl Dialect {
    /// Tells how a file is written from its first bytes; `is_whole` says that there are no more.
    pub(super) fn detect(head: &[u8], is_whole: bool) -> Result<Self, NoTable> {
        let (text, encoding) = decode(head, is_whole).ok_or(NoTable::Binary)?;
        let text = text.strip_prefix(MARK).unwrap_or(&text);
        // The last line may be cut.
        let text = if is_whole { text } else { &text[..text.rfind('\n').map_or(text.len(), |at| at + 1)] };
        if text.trim().is_empty() {
            return Err(NoTable::Empty);
        }
        let first = text.trim_start();
        if first.starts_with("{\"") || first.starts_with("[{") || first.starts_with("{ \"") {
            return Err(NoTable::Json);
        }
        let (body, comment) = without_comments(text);
        let (delimiter, has_quotes, fields) = separator(&body).ok_or(NoTable::NoSeparator)?;
        let records = Records::read(&body, &delimiter, has_quotes).rows;
        // One line that begins like a comment and has the fields of a row is a header.
        if let (Some(_), Some(commented)) = (comment, only_comment(text)) {
            let names = Records::read(commented, &delimiter, has_quotes).rows.swap_remove(0);
            if names.len() == fields && is_header(&names, &records) {
                return Ok(Self { encoding, delimiter, has_quotes, comment: None, header: Some(names), fields });
            }
        }
        let header =
            records.split_first().filter(|(first, rest)| first.len() == fields && is_header(first, rest)).map(|(first, _)| first.clone());
        Ok(Self { encoding, delimiter, has_quotes, comment, header, fields })
    }
}

impl Dialect {
    /// The keys of a data-set file that say so, as far as they can not be told from the file's name.
    pub(super) fn keys(&self, entry: &str) -> Vec<(&'static str, String)> {
        let name = entry.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        let usual = match name.rsplit_once('.') {
            Some((_, "csv")) => ",",
            Some((_, "tsv")) => "\t",
            _ => "",
        };
        let mut keys = Vec::new();
        if self.delimiter != usual {
            keys.push(("delimiter", quoted(&self.delimiter)));
        }
        if !self.has_quotes {
            keys.push(("quoting", "false".to_owned()));
        }
        keys.extend(self.comment.map(|comment| ("comment", quoted(comment))));
        keys.extend(self.encoding.map(|encoding| ("encoding", quoted(encoding))));
        keys
    }
}

/// The text of bytes, and their encoding if it is not UTF-8; `None` for what is no text. The end of a sample may be a part of a character.
fn decode(bytes: &[u8], is_whole: bool) -> Option<(String, Option<&'static str>)> {
    let zeros = |parity: usize| bytes.iter().skip(parity).step_by(2).filter(|&&byte| byte == 0).count();
    if bytes.contains(&0) {
        let is_little = zeros(0) < zeros(1);
        let unit = |pair: &[u8]| if is_little { u16::from_le_bytes([pair[0], pair[1]]) } else { u16::from_be_bytes([pair[0], pair[1]]) };
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        // The end of a sample may be the first half of a pair.
        units.pop_if(|last| !is_whole && (0xD800..0xDC00).contains(last));
        let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
        let name = if is_little { "utf-16le" } else { "utf-16be" };
        return if text.contains('\0') { None } else { Some((text, Some(name))) };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some((text.to_owned(), None)),
        Err(error) if !is_whole && error.error_len().is_none() => {
            Some((String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned(), None))
        }
        Err(_) => Some((bytes.iter().map(|&byte| char::from(byte)).collect(), Some("latin-1"))),
    }
}

/// What spreadsheets write before the header to name the separator, and what begins a comment.
const COMMENTS: [&str; 3] = ["sep=", "#", "%"];

/// The text without its comment lines, and how those begin.
fn without_comments(text: &str) -> (String, Option<&'static str>) {
    let first = text.lines().next().unwrap_or_default();
    let Some(comment) = COMMENTS.into_iter().find(|c| first.starts_with(c)) else { return (text.to_owned(), None) };
    let kept: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.starts_with(comment)).collect();
    (kept.concat(), Some(comment))
}

/// The one line that begins like a comment, if there is only one.
fn only_comment(text: &str) -> Option<&str> {
    let mut comments = text.lines().filter(|line| line.starts_with(['#', '%']));
    let first = comments.next()?;
    comments.next().is_none().then_some(first)
}

/// Separator, whether quotes are read as such, and fields of a row.
fn separator(text: &str) -> Option<(String, bool, usize)> {
    let fits = |delimiter: &str| {
        let (quoted, plain) = (Records::read(text, delimiter, true), Records::read(text, delimiter, false));
        let ((fields, regular), (plain_fields, plain_regular)) = (quoted.regular(), plain.regular());
        let has_quotes = regular > plain_regular || (quoted.faults == 0 && regular == plain_regular);
        let (fields, regular) = if has_quotes { (fields, regular) } else { (plain_fields, plain_regular) };
        (fields >= 2 && regular >= REGULAR).then(|| (delimiter.to_owned(), has_quotes, fields))
    };
    let most = ["|", ",", ";"].into_iter().filter_map(fits).max_by_key(|(_, _, fields)| *fields);
    let (delimiter, has_quotes, fields) = fits("::").or_else(|| fits("\t")).or(most).or_else(|| fits(" "))?;
    let spaced = format!("{delimiter} ");
    let always_spaced = ["|", ",", ";"].contains(&delimiter.as_str()) && text.matches(&spaced).count() == text.matches(&delimiter).count();
    Some((if always_spaced { spaced } else { delimiter }, has_quotes, fields))
}

/// The first records of a text.
struct Records {
    rows: Vec<Vec<String>>,
    /// Fields that begin with a quote and do not end with one before a separator or line end.
    faults: usize,
}

impl Records {
    fn read(text: &str, delimiter: &str, has_quotes: bool) -> Self {
        let mut records = Self { rows: Vec::new(), faults: 0 };
        let mut rest = text;
        while !rest.is_empty() && records.rows.len() < RECORDS {
            let mut fields = Vec::new();
            loop {
                rest = records.field(rest, delimiter, has_quotes, &mut fields);
                match rest.strip_prefix(delimiter) {
                    Some(after) => rest = after,
                    None => break,
                }
            }
            rest = rest.strip_prefix('\r').unwrap_or(rest);
            rest = rest.strip_prefix('\n').unwrap_or(rest);
            let is_blank = fields.len() == 1 && fields[0].is_empty();
            if !is_blank {
                records.rows.push(fields);
            }
        }
        records
    }

    /// Takes the field at the beginning of a text and returns what follows: a separator, a line end, or nothing.
    fn field<'a>(&mut self, text: &'a str, delimiter: &str, has_quotes: bool, fields: &mut Vec<String>) -> &'a str {
        if has_quotes && text.starts_with('"') {
            match in_quotes(text) {
                Some((field, after)) if after.is_empty() || after.starts_with(delimiter) || after.starts_with(['\r', '\n']) => {
                    fields.push(field);
                    return after;
                }
                _ => self.faults += 1,
            }
        }
        let line = text.find(['\r', '\n']).unwrap_or(text.len());
        let end = text[..line].find(delimiter).unwrap_or(line);
        fields.push(text[..end].to_owned());
        &text[end..]
    }

    /// The usual number of fields, and the share of the records that have it.
    fn regular(&self) -> (usize, f64) {
        let mut lengths: Vec<usize> = self.rows.iter().map(Vec::len).collect();
        lengths.sort_unstable();
        let usual = lengths.chunk_by(|a, b| a == b).max_by_key(|run| run.len());
        usual.map_or((0, 0.0), |run| (run[0], run.len() as f64 / lengths.len() as f64))
    }
}

/// The text between a quote and the next one that is not doubled, and what follows.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text.strip_prefix('"')?);
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, after)),
        }
    }
}

/// Whether the first record names the columns of the others.
fn is_header(first: &[String], rest: &[Vec<String>]) -> bool {
    let name = |name: &str| !name.trim().is_empty() && !is_number(name.trim());
    // Tools that number the rows leave the first name empty, those that end lines with a separator the last one.
    let at_end = |i: usize| i == 0 || i + 1 == first.len();
    let named = first.iter().enumerate().all(|(i, field)| name(field) || (at_end(i) && field.is_empty() && first.len() > 2));
    if !named {
        return false;
    }
    // A name that stands twice can be data; with the names of a log beside it, it is a header that has to be mended.
    let unique = first.iter().enumerate().all(|(i, field)| field.is_empty() || !first[..i].contains(field));
    if !unique {
        return first.iter().filter(|field| role::is_known(field)).count() >= 3;
    }
    let below = |i: usize| rest.iter().filter_map(move |row| row.get(i)).map(|field| field.trim()).filter(|field| !field.is_empty());
    let columns = || 0..first.len();
    let begins_with_digit = |field: &str| is_number(field) || field.starts_with(|c: char| c.is_ascii_digit());
    let over_numbers = columns().any(|i| below(i).next().is_some() && below(i).take(50).all(begins_with_digit));
    let repeats = columns().any(|i| below(i).any(|field| field == first[i].trim()));
    over_numbers || (!repeats && (!rest.is_empty() || first.iter().any(|field| role::is_known(field))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: impl AsRef<[u8]>) -> Dialect {
        Dialect::detect(text.as_ref(), true).unwrap()
    }

    /// Separator, columns of the header or number of fields, and keys beside the separator.
    fn facts(text: impl AsRef<[u8]>) -> (String, String, String) {
        let dialect = of(text);
        let header = dialect.header.as_ref().map_or_else(|| dialect.fields.to_string(), |names| names.join(" "));
        let keys: Vec<&str> = dialect.keys("a.dat").into_iter().map(|(key, _)| key).filter(|key| *key != "delimiter").collect();
        (dialect.delimiter.clone(), header, keys.join(" "))
    }

    #[test]
    fn a_sample_may_end_inside_a_character() {
        let text = "user,item\na,b\nc,\u{1F600}\n";
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        // The second half of the pair, and the line break, are beyond the sample.
        let cut = &bytes[..bytes.len() - 4];
        assert_eq!(decode(cut, false).map(|(text, _)| text).as_deref(), Some("user,item\na,b\nc,"));
        assert!(decode(cut, true).is_none());
    }

    #[test]
    fn separators_headers_and_quotes() {
        for (text, delimiter, header, keys) in [
            ("user,item\na,b\nc,d\n", ",", "user item", ""),
            ("1::1193::5::978300760\n1::661::3::978302109\n", "::", "4", ""),
            ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "\t", "4", ""),
            (
                "Kunde;Artikel;Preis;Datum\r\n7;3;1,50;14.11.2023 22:13\r\n8;3;2,00;14.11.2023 22:14\r\n",
                ";",
                "Kunde Artikel Preis Datum",
                "",
            ),
            ("1;3,5\n2;4,0\n", ";", "2", ""),
            ("1|24|M|technician|85711\n2|53|F|other|94043\n", "|", "5", ""),
            ("id,genres\n1,a|b\n2,c|d\n", ",", "id genres", ""),
            ("1 5 3.0\n2 7 4.5\n", " ", "3", ""),
            ("user, item, stars\n1, 2, 3\n4, 5, 6\n", ", ", "user item stars", ""),
            // Quotes that are no quotes, and quotes that are.
            ("N1\tnews\t\"Huge\" he said\nN2\tnews\tplain\nN3\tnews\t\"Open\n", "\t", "3", "quoting"),
            ("id,title\n1,\"Good, the\"\n2,\"a \"\"b\"\"\nnext line\"\n3,c\n", ",", "id title", ""),
            // Comments, a header that looks like one, and what a spreadsheet writes first.
            ("# made by hand\n# twice\nuser,item\na,b\n", ",", "user item", "comment"),
            ("#user_id\titem_id\n1\t2\n3\t4\n", "\t", "#user_id item_id", ""),
            ("sep=;\nuser;item\n1;2\n", ";", "user item", "comment"),
            // A first line that is data, and names over texts only.
            ("anna,matrix\nanna,heat\nbert,matrix\n", ",", "2", ""),
            ("who,what\nanna,matrix\nanna,heat\nbert,matrix\n", ",", "who what", ""),
            (",user,item\n0,a,b\n1,c,d\n", ",", " user item", ""),
            // Lines that end with a separator, and a name that stands twice.
            ("user,item,\n1,2,\n3,4,\n", ",", "user item ", ""),
            ("user,item,click,click\n1,2,0,0\n3,4,1,1\n", ",", "user item click click", ""),
            ("\u{feff}user,item\n1,2\n", ",", "user item", ""),
        ] {
            assert_eq!(facts(text), (delimiter.to_owned(), header.to_owned(), keys.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_latin_1() {
        let movies = b"1::Am\xe9lie (2001)::Comedy\n2::Heat (1995)::Action|Crime\n";
        assert_eq!(facts(movies), ("::".to_owned(), "3".to_owned(), "encoding".to_owned()));
        // A character that is cut at the end of the sample is none.
        let cut = "1,Amélie\n2,Lé".as_bytes();
        let cut = &cut[..cut.len() - 1];
        let encoding = |is_whole| Dialect::detect(cut, is_whole).unwrap().encoding;
        assert_eq!((encoding(false), encoding(true)), (None, Some("latin-1")));
        let wide: Vec<u8> = "user,item\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(facts(wide), (",".to_owned(), "user item".to_owned(), "encoding".to_owned()));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (bytes, problem) in [
            (&b"\n\n"[..], NoTable::Empty),
            (b"one\ntwo\nthree\n", NoTable::NoSeparator),
            (b"a, b and c\nd\ne, f\n", NoTable::NoSeparator),
            (b"\x00\x00\x00\x01,\x07\n", NoTable::Binary),
            (b"{\"user\": 1, \"item\": 2}\n{\"user\": 1, \"item\": 3}\n", NoTable::Json),
        ] {
            assert_eq!(Dialect::detect(bytes, true), Err(problem), "{bytes:?}");
        }
    }

    #[test]
    fn keys_stand_only_where_the_name_does_not_say_it() {
        let keys = |name: &str, text: &str| {
            of(text).keys(name).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys("a.csv.gz", "user,item\n1,2\n"), "");
        assert_eq!(keys("a.TSV", "user\titem\n1\t2\n"), "");
        assert_eq!(keys("a.csv", "user;item\n1;2\n"), "delimiter=\";\"");
        assert_eq!(keys("u.data", "1\t2\n1\t3\n"), "delimiter=\"\\t\"");
    }
}
