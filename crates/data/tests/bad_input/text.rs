//! Text files: quotes, fields, encodings, compression.

use std::io::Write;

use acclimate_data::{DataError, Place, Position, RowFault};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{CONFIG, Folder, LOG, fault, log_error};

#[test]
fn lines_are_counted_through_quoted_line_breaks() {
    let log = "user,item,time,click\n\"u\n1\",i1,1650000000,1\nu2,i1,1650000000,2\n";
    let DataError::BadRow { place: Place { position, .. }, .. } = log_error(log, &[]) else { panic!("not a bad row") };
    assert_eq!(position, Position::Line(4));
}

#[test]
fn fields_per_row() {
    let error = log_error(LOG.replace(",4\n", "\n"), &["line 3", "4 fields", "header 5"]);
    assert!(matches!(fault(&error), RowFault::UnequalFields { .. }));
}

#[test]
fn not_utf8() {
    let mut log = LOG.as_bytes().to_vec();
    let place = LOG.find("u2").unwrap();
    log[place] = 0xff;
    let error = log_error(&log, &["line 3", "`user`", "not UTF-8", "iconv"]);
    assert!(matches!(fault(&error), RowFault::NotUtf8 { .. }));
    log[place] = b'u';
    log[1] = 0xff;
    assert!(matches!(log_error(&log, &["header"]), DataError::HeaderNotUtf8 { .. }));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
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
        assert!(matches!(error, DataError::TruncatedGzip { .. }), "{error}");
    }
    let mut damaged = whole.clone();
    let check_sum = damaged.len() - 8;
    damaged[check_sum] ^= 1;
    assert!(matches!(log_error(&damaged, &["damaged"]), DataError::CorruptGzip { .. }));
    let skip = format!("on_bad_row = \"skip\"\n{CONFIG}");
    assert!(Folder::new(&whole[..whole.len() / 2]).read(&skip).is_err(), "a broken file is no bad row");
}

#[test]
fn a_quote_that_is_not_closed() {
    let log = "user,item,time,click\nu1,i1,1650000000,1\nu2,\"i2,1650000001,0\nu3,i3,1650000002,1\nu4,i4,1650000003,0\n";
    let error = log_error(log, &["line 3", "2 of the lines after it", "close it"]);
    assert!(matches!(error, DataError::OpenQuote { rows: 2, .. }), "{error}");
    let several_lines = "user,item,time,click\nu1,\"first\nsecond\",1650000000,1\nu2,i2,1650000001,0\n";
    assert_eq!(Folder::new(several_lines).read(CONFIG).unwrap().0.dataset().log.len(), 2, "text of several lines is legal");
}
