//! Text files: quotes, fields, encodings, compression.

use std::io::Write;

use acclimate_data::{Compression, DataError, Place, Position, RowFault};
use flate2::write::GzEncoder;

use super::{CONFIG, Folder, LOG, fault, log_error, with};

#[test]
fn lines_are_counted_through_quoted_line_breaks() {
    let log = "user,item,time,click\n\"u\n1\",i1,1650000000,1\nu2,i1,1650000000,2\n";
    let DataError::BadRow { place: Place { position, .. }, .. } = log_error(log, &[]) else { panic!("not a bad row") };
    assert_eq!(position, Position::Line(4));
}

#[test]
fn fields_per_row() {
    let error = log_error(LOG.replace(",4\n", "\n"), &["line 3", "4 fields", "expected 5"]);
    assert!(matches!(fault(&error), RowFault::UnequalFields { .. }));
}

#[test]
fn not_utf8() {
    let mut log = LOG.as_bytes().to_vec();
    let place = LOG.find("u2").unwrap();
    log[place] = 0xff;
    let error = log_error(&log, &["line 3", "`user`", "not UTF-8", "encoding = \"latin-1\""]);
    assert!(matches!(fault(&error), RowFault::NotUtf8 { .. }));
    log[place] = b'u';
    log[1] = 0xff;
    assert!(matches!(log_error(&log, &["header", "encoding = \"latin-1\""]), DataError::HeaderNotUtf8 { .. }));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn truncated_and_damaged_gzip() {
    let mut long = "user,item,time,click\n".to_owned();
    for i in 0..20_000 {
        long.push_str(&format!("u{},i{},{},{}\n", i * 7919 % 5003, i * 31 % 997, 1_650_000_000 + i, i % 2));
    }
    let whole = gzip(&long);
    let (raw, _) = Folder::new(&whole).read(CONFIG).unwrap();
    assert_eq!(raw.dataset().log.len(), 20_000, "compression is seen from the first bytes, whatever the name");
    for end in [5, whole.len() / 2, whole.len() - 4] {
        let error = log_error(&whole[..end], &["log.csv", "truncated"]);
        assert!(matches!(error, DataError::Truncated { compression: Compression::Gzip, .. }), "{error}");
    }
    let mut damaged = whole.clone();
    let check_sum = damaged.len() - 8;
    damaged[check_sum] ^= 1;
    assert!(matches!(log_error(&damaged, &["damaged"]), DataError::Damaged { compression: Compression::Gzip, .. }));
    let skip = format!("on_bad_row = \"skip\"\n{CONFIG}");
    assert!(Folder::new(&whole[..whole.len() / 2]).read(&skip).is_err(), "a broken file is no bad row");
}

/// Titles as news sites write them, in a file without quoting.
const TITLES: &str = "user\titem\ttitle\ttime\tclick\n\
                      u1\ti1\t\"Winning the Cup Is Hard\t1650000000\t0\n\
                      u2\ti2\t\"Nobody\" Came to See It\t1650000060\t1\n\
                      u3\ti3\tA plain title\t1650000120\t0\n";

fn titles(keys: &str) -> String {
    CONFIG.replace("[\"log.csv\"]", &format!("[\"log.tsv\"]\n{keys}"))
}

#[test]
fn a_quote_that_does_not_enclose_its_field_is_a_fault() {
    let folder = Folder::new("");
    folder.write("log.tsv", TITLES);
    let error =
        folder.error(&titles(""), &["log.tsv, line 2", "column `title`", "`\"Winning the Cup Is Hard", "not closed", "`quoting = false`"]);
    assert!(matches!(fault(&error), RowFault::OpenQuote { .. }));
    let error =
        folder.write("log.tsv", TITLES.replace("\"Winning", "Winning")).error(&titles(""), &["line 3", "goes on after", "\"Nobody\" Came"]);
    assert!(matches!(fault(&error), RowFault::TextAfterQuote { .. }));
    let (raw, report) = folder.write("log.tsv", TITLES).read(&format!("on_bad_row = \"skip\"\n{}", titles(""))).unwrap();
    assert_eq!(
        (report.rows, report.rows_skipped(), &raw.dataset().users[..]),
        (1, 2, &["u3".to_owned()][..]),
        "no row takes another with it"
    );
}

#[test]
fn a_file_without_quoting_is_read_literally() {
    let folder = Folder::new("");
    folder.write("log.tsv", TITLES);
    let feature = "[[feature]]\nname = \"title\"\nkind = \"categorical\"\n";
    let (raw, report) = folder.read(&(titles("quoting = false") + feature)).unwrap();
    assert_eq!((report.rows, report.label_mean), (3, 1.0 / 3.0));
    let data = raw.encode(&[0, 1, 2]).unwrap();
    assert_eq!(data.features.vocabularies[0].value(1), Some("\"Nobody\" Came to See It"));
}

#[test]
fn a_quote_inside_a_field_is_text() {
    let log = "user,item,time,click,name\nu1,i1,1650000000,1,5\" Pizza\nu2,i1,1650000001,0,\"5\"\" Pizza\"\n";
    let (_, report) = Folder::new(log).read(&with("[[feature]]\nname = \"name\"\nkind = \"categorical\"\n")).unwrap();
    assert_eq!(report.columns[0].distinct, Some(1));
}

#[test]
fn a_quote_that_is_not_closed() {
    let log = "user,item,time,click\nu1,i1,1650000000,1\nu2,\"i2,1650000001,0\nu3,i3,1650000002,1\nu4,i4,1650000003,0\n";
    let error = log_error(log, &["line 3", "column `item`", "not closed"]);
    assert!(matches!(fault(&error), RowFault::OpenQuote { .. }), "{error}");
    let closed_by_the_next = log.replace("u3,i3", "u3,i3\"");
    let error = log_error(&closed_by_the_next, &["line 3", "closed 1 lines later", "`quoting = true`"]);
    assert!(matches!(fault(&error), RowFault::QuotedRows { lines: 1, .. }), "{error}");
    let trusted = CONFIG.replace("user = ", "quoting = true\nuser = ");
    let (raw, _) = Folder::new(closed_by_the_next).read(&trusted).unwrap();
    assert_eq!(*raw.dataset().items, ["i1", "i2,1650000001,0\nu3,i3", "i4"]);
    let several_lines = "user,item,time,click\nu1,\"first,\nsecond\",1650000000,1\nu2,i2,1650000001,0\n";
    assert_eq!(Folder::new(several_lines).read(CONFIG).unwrap().0.dataset().log.len(), 2, "text of several lines is legal");
    log_error("user,\"item\"s,time,click\n", &["line 1", "field 2"]);
}

/// A log with other words of the configuration.
fn read_as(log: impl AsRef<[u8]>, keys: &str) -> Vec<String> {
    let config = CONFIG.replace("user = ", &format!("{keys}\nuser = "));
    let (raw, _) = Folder::new(log).read(&config).unwrap();
    let data = raw.dataset();
    (0..data.log.len())
        .map(|row| format!("{}·{}·{}", data.users[data.log.user[row].at()], data.items[data.log.item[row].at()], data.log.label[row]))
        .collect()
}

#[test]
fn separators_headers_and_comments() {
    let rows = ["u1·i1·1", "u2·i1·0"];
    let column = |separator: &str| LOG.replace(',', separator);
    for separator in [";", "::", "|", "\t", " "] {
        assert_eq!(read_as(column(separator), &format!("delimiter = {separator:?}")), rows);
    }
    let headless = LOG.split_once('\n').unwrap().1;
    let columns = "columns = [\"user\", \"item\", \"time\", \"click\", \"age\"]";
    assert_eq!(read_as(headless, columns), rows);
    assert_eq!(read_as(format!("# made by hand\n{LOG}#u3,i3\n"), "comment = \"#\""), rows);
    let folder = Folder::new(LOG);
    folder.write("ratings.dat", headless.replace(',', "::"));
    let dat = CONFIG.replace("[\"log.csv\"]", &format!("[\"ratings.dat\"]\ndelimiter = \"::\"\n{columns}"));
    assert_eq!(folder.read(&dat).unwrap().1.rows, 2, "a separator says that it is text");
    let short = CONFIG.replace("user = ", "columns = [\"user\", \"item\"]\nuser = ").replace("\"time\", unit", "\"item\", unit");
    folder.error(&short.replace("\"click\", kind", "\"item\", kind"), &["line 1", "5 fields, expected 2"]);
}

#[test]
fn the_error_at_a_header_proposes_the_key() {
    let headless = LOG.split_once('\n').unwrap().1;
    for (log, words) in [
        (LOG.replace(',', ";"), vec!["`delimiter = \";\"`"]),
        (LOG.replace(',', "\t"), vec!["`delimiter = \"\\t\"`"]),
        (LOG.replace(',', "|"), vec!["`delimiter = \"|\"`"]),
        (headless.to_owned(), vec!["no header", "its 5 columns: `columns = [...]`"]),
        (headless.replace(',', "::"), vec!["`delimiter = \"::\"`", "its 5 columns: `columns = [...]`"]),
    ] {
        log_error(log, &words);
    }
    let (message, folder) = (Folder::new(LOG).error(&CONFIG.replace("\"item\"", "\"thing\""), &["`thing`"]).to_string(), Folder::new(""));
    assert!(!message.contains("delimiter") && !message.contains("columns ="), "{message}");
    folder.write("log.tsv", LOG);
    folder.error(&titles(""), &["`delimiter = \",\"`"]);
}

#[test]
fn encodings_and_byte_order_marks() {
    let rows = ["Léon·i1·1", "u2·i1·0"];
    let log = LOG.replace("u1", "Léon");
    let latin: Vec<u8> = log.chars().map(|c| c as u8).collect();
    assert_eq!(read_as(&latin, "encoding = \"latin-1\""), rows);
    assert_eq!(read_as(format!("\u{feff}{log}"), ""), rows);
    let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { format!("\u{feff}{log}").encode_utf16().flat_map(bytes).collect() };
    for marked in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        assert_eq!(read_as(&marked, ""), rows);
        assert_eq!(read_as(&marked, "encoding = \"latin-1\""), rows, "a mark is stronger");
    }
    let unmarked = &utf16(u16::to_le_bytes)[2..];
    assert_eq!(read_as(unmarked, "encoding = \"utf-16le\""), rows);
    log_error(unmarked, &["`encoding = \"utf-16le\"`"]);
    let folder = Folder::new(&unmarked[..unmarked.len() - 1]);
    let error = folder.error(&CONFIG.replace("user = ", "encoding = \"utf-16le\"\nuser = "), &["not UTF-16LE"]);
    assert!(matches!(error, DataError::Undecodable { .. }));
    folder.error(&CONFIG.replace("user = ", "encoding = \"latin\"\nuser = "), &["`encoding` must be"]);
}

#[test]
fn line_ends_of_all_systems() {
    for end in ["\r\n", "\r"] {
        assert_eq!(read_as(LOG.replace('\n', end), ""), ["u1·i1·1", "u2·i1·0"], "{end:?}");
    }
    let error = log_error(LOG.replace('\n', "\r").replace(",4", ""), &["line 3"]);
    assert!(matches!(fault(&error), RowFault::UnequalFields { .. }));
}

#[test]
fn markers_of_missing_values() {
    let log = LOG.replace(",3", ",NA").replace(",4", ",\\N");
    let age = with("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n");
    let folder = Folder::new(&log);
    folder.error(&age, &["line 2", "holds `NA`", "`null_values = [\"NA\"]`"]);
    let keys = |keys: &str| age.replace("user = ", &format!("{keys}\nuser = "));
    folder.error(&keys("null_values = [\"NA\"]"), &["line 3", "`null_values = [\"\\\\N\"]`"]);
    let (_, report) = folder.read(&keys("null_values = [\"NA\", \"\\\\N\"]")).unwrap();
    assert_eq!(report.columns[0].missing, 2);
    Folder::new(LOG.replace("u2", "-")).error(&keys("null_values = [\"-\"]"), &["line 3", "`user` is empty"]);
}

#[test]
fn decimal_commas() {
    let log = LOG.replace(',', ";").replace(";3", ";3,25").replace(";4", ";-4,5");
    let age = with("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n");
    let keys = |keys: &str| age.replace("user = ", &format!("delimiter = \";\"\n{keys}\nuser = "));
    Folder::new(&log).error(&keys(""), &["line 2", "`3,25`", "`decimal = \",\"`"]);
    let (_, report) = Folder::new(&log).read(&keys("decimal = \",\"")).unwrap();
    assert_eq!(report.columns[0].range, Some([-4.5, 3.25]));
    Folder::new(log.replace("3,25", "3.25")).error(&keys("decimal = \",\""), &["line 2", "`3.25`", "decimal comma"]);
}

#[test]
fn columns_of_whole_numbers() {
    let log = LOG.replace("i1,1650000000", "5829.0,1650000000").replace("i1", "05829");
    assert_eq!(read_as(&log, ""), ["u1·5829.0·1", "u2·05829·0"], "ids stay as written");
    assert_eq!(read_as(&log, "integer_columns = [\"item\"]"), ["u1·5829·1", "u2·5829·0"]);
    let integers = |columns: &str| CONFIG.replace("user = ", &format!("integer_columns = [{columns}]\nuser = "));
    let error = Folder::new(&log).error(&integers("\"user\""), &["line 2", "`user`", "`u1`", "a whole number"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));
    Folder::new(&log).error(&integers("\"itm\""), &["no column `itm`", "did you mean `item`?"]);
}

#[test]
fn zstd_and_what_is_no_text() {
    let packed = zstd::encode_all(LOG.as_bytes(), 3).unwrap();
    assert_eq!(read_as(&packed, "").len(), 2);
    let error = log_error(&packed[..packed.len() - 3], &["zstd", "truncated"]);
    assert!(matches!(error, DataError::Truncated { compression: Compression::Zstd, .. }), "{error}");
    for (bytes, word) in [
        (&b"PK\x03\x04xxxxx"[..], "spreadsheet"),
        (b"BZh91AY&SYx", "bzip2"),
        (b"\xfd7zXZ\0xx", "xz"),
        (b"PAR1xxxxx", "format = \"parquet\""),
    ] {
        assert!(matches!(log_error(bytes, &["log.csv", word]), DataError::NotText { .. }));
    }
}
