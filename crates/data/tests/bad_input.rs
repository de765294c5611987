//! Every way in which a data set can be wrong gets its own error, which says what, where and what to do.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use acclimate_data::{DataError, DatasetConfig, Place, Position, RawDataset, ReadReport, RowFault, TimeUnit};
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

const LOG: &str = "user,item,time,click,age\nu1,i1,1650000000,1,3\nu2,i1,1650000001,0,4\n";
const CONFIG: &str = r#"
name = "small"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
label = { column = "click", kind = "click" }
"#;

struct Folder(TempDir);

impl Folder {
    fn new(log: impl AsRef<[u8]>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("log.csv", log);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn read(&self, config: &str) -> Result<(RawDataset, ReadReport), DataError> {
        RawDataset::read(&DatasetConfig::parse(config, self.path("small.toml"))?)
    }

    /// The error of a configuration; its message must hold every given word.
    fn error(&self, config: &str, words: &[&str]) -> DataError {
        let error = self.read(config).map(|(_, report)| report).expect_err("the input is bad");
        let message = error.to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        error
    }
}

/// The error of a log with the standard configuration.
fn log_error(log: impl AsRef<[u8]>, words: &[&str]) -> DataError {
    Folder::new(log).error(CONFIG, words)
}

fn fault(error: &DataError) -> &RowFault {
    let DataError::BadRow { fault, .. } = error else { panic!("not a bad row: {error}") };
    fault
}

fn with(extra: &str) -> String {
    format!("{CONFIG}{extra}")
}

#[test]
fn a_good_table_is_read() {
    let (raw, report) = Folder::new(LOG).read(CONFIG).unwrap();
    assert_eq!((report.rows, report.users, report.items, report.label_mean), (2, 2, 1, 0.5));
    assert_eq!(report.time, Some([1_650_000_000_000_000, 1_650_000_001_000_000]));
    assert_eq!(raw.dataset().domains, ["all"]);
    let crlf = LOG.replace('\n', "\r\n");
    assert!(Folder::new(format!("\u{feff}{crlf}")).read(CONFIG).is_ok(), "byte order mark and Windows line ends");
}

#[test]
fn missing_file() {
    let folder = Folder::new(LOG);
    let error = folder.error(&CONFIG.replace("log.csv", "logs.csv"), &["logs.csv", "does not exist", "small.toml"]);
    assert!(matches!(error, DataError::MissingFile { .. }));
    let error = DatasetConfig::load(folder.path("nothing.toml")).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }) && error.to_string().contains("nothing.toml"));
}

#[test]
fn unknown_format() {
    let folder = Folder::new(LOG);
    folder.write("log.dat", LOG);
    let error = folder.error(&CONFIG.replace("log.csv", "log.dat"), &["log.dat", "set `format`"]);
    assert!(matches!(error, DataError::UnknownFormat { .. }));
    folder.read(&CONFIG.replace("files = [\"log.csv\"]", "files = [\"log.dat\"]\nformat = \"csv\"")).unwrap();
}

#[test]
fn missing_column() {
    let error = Folder::new(LOG).error(
        &CONFIG.replace("\"click\"", "\"clik\"").replace("kind = \"clik\"", "kind = \"click\""),
        &["`clik`", "did you mean `click`?"],
    );
    assert!(matches!(error, DataError::MissingColumn { .. }));
    let error =
        Folder::new(LOG).error(&with("[[feature]]\nname = \"shoe_size\"\nkind = \"numeric\"\n"), &["`shoe_size`", "user, item, time"]);
    assert!(matches!(error, DataError::MissingColumn { nearest: None, .. }));
}

#[test]
fn duplicate_column() {
    let error = log_error("user,user,item,time,click\na,b,c,1650000000,1\n", &["`user` twice"]);
    assert!(matches!(error, DataError::DuplicateColumn { .. }));
}

#[test]
fn empty_tables() {
    for log in ["", "user,item,time,click\n"] {
        assert!(matches!(log_error(log, &["log.csv", "no rows"]), DataError::EmptyTable { skipped: 0, .. }));
    }
    let folder = Folder::new("user,item,time,click\na,b,1650000000,7\n");
    let error = folder.error(&format!("on_bad_row = \"skip\"\n{CONFIG}"), &["all 1 were bad"]);
    assert!(matches!(error, DataError::EmptyTable { skipped: 1, .. }));
}

#[test]
fn wrong_type_names_line_column_and_value() {
    let log = LOG.replace(",4\n", ",old\n");
    let feature = with("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n");
    let error = Folder::new(&log).error(&feature, &["log.csv, line 3", "`age`", "`old`", "a finite number"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));
    let attribute = with("[[attribute]]\nname = \"age\"\n");
    Folder::new(&log).error(&attribute, &["line 3", "`old`", "a whole number"]);
    Folder::new(LOG.replace(",4\n", ",inf\n")).error(&feature, &["`inf`"]);
    Folder::new(LOG.replace(",4\n", ",\n")).error(&attribute, &["line 3", "`age` is empty"]);
    log_error(LOG.replace("1650000001", "monday"), &["line 3", "`monday`", "such as 1650812741"]);
}

#[test]
fn lines_are_counted_through_quoted_line_breaks() {
    let log = "user,item,time,click\n\"u\n1\",i1,1650000000,1\nu2,i1,1650000000,2\n";
    let DataError::BadRow { place: Place { position, .. }, .. } = log_error(log, &[]) else { panic!("not a bad row") };
    assert_eq!(position, Position::Line(4));
}

#[test]
fn missing_values_of_the_log() {
    for (from, to, column) in
        [("u2,i1", ",i1", "user"), ("u2,i1", "u2,", "item"), ("1650000001,0", ",0", "time"), ("1650000001,0", "1650000001,", "click")]
    {
        let error = log_error(LOG.replace(from, to), &["line 3", &format!("`{column}` is empty")]);
        assert!(matches!(fault(&error), RowFault::MissingValue { .. }));
    }
}

#[test]
fn label_outside_range() {
    for label in ["2", "0.5", "-1"] {
        let error = log_error(LOG.replace("1650000001,0", &format!("1650000001,{label}")), &["line 3", "`click`", label, "0..=1"]);
        assert!(matches!(fault(&error), RowFault::LabelOutOfRange { .. }));
    }
    let rating = CONFIG.replace("kind = \"click\"", "kind = \"rating\", min = 1, max = 5");
    Folder::new(LOG).error(&rating, &["line 3", "holds 0", "1..=5"]);
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

#[test]
fn dates_among_seconds() {
    let error = log_error(LOG.replacen("1650000001", "20220415", 1), &["20220415"]);
    assert!(matches!(error, DataError::MixedTime { .. }), "{error}");
}

#[test]
fn timestamps_outside_their_unit() {
    let error = log_error(LOG.replace("1650000001", "1650000001000"), &["line 3", "1970..2100", "set `unit = \"ms\"`"]);
    assert!(matches!(fault(&error), RowFault::TimeOutOfRange { likely: Some(TimeUnit::Ms), .. }));
    log_error(LOG.replace("1650000001", "-1"), &["line 3", "holds -1"]);
}

#[test]
fn numbers_without_a_unit_are_told_which_they_have() {
    let config = CONFIG.replace(", unit = \"s\"", "");
    let error = Folder::new(LOG).error(&config, &["line 2", "1650000000", "set `unit = \"s\"`"]);
    assert!(matches!(fault(&error), RowFault::TimeIsNumber { likely: TimeUnit::S, .. }));
    Folder::new(LOG.replace("1650000000", "soon")).error(&config, &["`soon`", "2022-04-25 13:05:41 UTC", "`format`"]);
}

#[test]
fn times_keep_their_order_inside_a_second() {
    for (unit, later, earlier) in
        [("s", "1650000000.5", "1650000000.25"), ("ms", "1650000000500", "1650000000250"), ("us", "1650000000500000", "1650000000250000")]
    {
        let log = LOG.replace("1650000000", later).replace("1650000001", earlier);
        let (raw, _) = Folder::new(log).read(&CONFIG.replace("\"s\"", &format!("\"{unit}\""))).unwrap();
        assert_eq!(raw.dataset().log.time, [1_650_000_000_500_000, 1_650_000_000_250_000], "{unit}");
    }
}

#[test]
fn a_format_stands_in_place_of_a_unit_and_a_zone_moves_local_times() {
    let log = LOG.replace("1650000000", "15.04.2022 05:20:00").replace("1650000001", "15.04.2022 05:20:01");
    let config = CONFIG.replace("unit = \"s\"", "format = \"%d.%m.%Y %H:%M:%S\"");
    let times = |config: &str| Folder::new(log.clone()).read(config).unwrap().0.dataset().log.time.clone();
    assert_eq!(times(&config), [1_650_000_000_000_000, 1_650_000_001_000_000]);
    let east = config.replace("%S\"", "%S\", zone = \"+08:00\"");
    assert_eq!(times(&east), [1_649_971_200_000_000, 1_649_971_201_000_000]);
    Folder::new(log.clone()).error(&config.replace("%d.%m", "%m.%d"), &["line 2", "15.04.2022 05:20:00", "%m.%d.%Y"]);
    Folder::new(log.clone()).error(&config.replace("format", "unit = \"s\", format"), &["`unit` does not go with `format`"]);
    Folder::new(log.clone()).error(&config.replace("%d.%m.%Y %H:%M:%S", "%Q"), &["`format` must hold fields"]);
    Folder::new(log).error(&config.replace("%S\"", "%S\", zone = \"Berlin\""), &["`Berlin` is no time zone"]);
}

#[test]
fn timestamps_of_two_units() {
    let config = CONFIG.replace("unit = \"s\"", "unit = \"ms\"");
    let mixed = LOG.replace("1650000000", "1650000000000");
    let folder = Folder::new(&mixed);
    let error = folder.error(&config, &["mixes units", "1650000000000 in", "line 2", "1650000001 in", "line 3", "unit `s`"]);
    assert!(matches!(error, DataError::MixedTime { .. }));
    let (_, report) = Folder::new(LOG).read(&config).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("no value looks like its unit `ms`")), "{:?}", report.problems);
}

const USERS: &str = "[[users]]\nfiles = [\"users.csv\"]\nkey = \"id\"\n";

#[test]
fn duplicate_key() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,age\nu1,3\nu2,4\nu1,5\n");
    let error = folder.error(&with(USERS), &["users.csv, line 4", "`u1`", "line 2"]);
    assert!(matches!(fault(&error), RowFault::DuplicateKey { .. }));
}

#[test]
fn missing_reference() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,year\nu1,1990\nu9,1991\n");
    let error = folder.error(&with(USERS), &["user `u2`", "users.csv", "missing = \"allow\""]);
    assert!(matches!(error, DataError::MissingReference { count: 1, .. }));
    let allowed = format!("{USERS}missing = \"allow\"\n");
    let (_, report) = folder.read(&with(&allowed)).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("1 users of the log have no row")), "{:?}", report.problems);
    let attribute = format!("{allowed}[[attribute]]\nname = \"year\"\nfrom = \"users\"\n");
    let error = folder.error(&with(&attribute), &["`year`", "`u2`"]);
    assert!(matches!(error, DataError::MissingAttribute { .. }));
}

#[test]
fn ambiguous_column() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,age\nu1,3\nu2,4\n").write("more.csv", "id,age\nu1,30\nu2,40\n");
    let tables = "[[users]]\nfiles = [\"users.csv\"]\nkey = \"id\"\n[[users]]\nname = \"more\"\nfiles = [\"more.csv\"]\nkey = \"id\"\n";
    let feature = "[[feature]]\nname = \"age\"\nkind = \"numeric\"\nfrom = \"users\"\n";
    let error = folder.error(&with(&format!("{tables}{feature}")), &["`age`", "users.csv", "more.csv", "`table`"]);
    assert!(matches!(error, DataError::AmbiguousColumn { .. }));
    let (raw, _) = folder.read(&with(&format!("{tables}{feature}table = \"more\"\n"))).unwrap();
    assert_eq!(raw.encode(&[0, 1]).unwrap().features.numeric[0].values, [30.0, 40.0]);
}

#[test]
fn unlisted_code() {
    let attribute = with("[[attribute]]\nname = \"kind\"\ncolumn = \"user\"\ncodes = { u1 = 7 }\n");
    let error = Folder::new(LOG).error(&attribute, &["line 3", "`u2`", "`kind`"]);
    assert!(matches!(fault(&error), RowFault::UnlistedCode { .. }));
}

#[test]
fn bad_rows_are_skipped_only_when_allowed_and_counted() {
    let log = "user,item,time,click,age\nu0,i0,1650000000,1,1\nu1,i1,1650000000,9,2\nu2,i2\nu3,i3,1650000000,0,x\nu4,i4,1650000000,0,5\n";
    let config = format!(
        "on_bad_row = \"skip\"\n{}",
        with("[[feature]]\nname = \"item\"\nkind = \"categorical\"\n[[feature]]\nname = \"age\"\nkind = \"numeric\"\n")
    );
    let (raw, report) = Folder::new(log).read(&config).unwrap();
    assert_eq!((report.rows_skipped(), report.files[0].rows_read), (3, 2));
    assert_eq!(raw.dataset().users, ["u0", "u4"], "skipped rows leave no trace");
    assert_eq!(report.files[0].faults.len(), 3);
    assert!(report.files[0].faults[2].starts_with("line 5: column `age` holds `x`"), "{:?}", report.files[0].faults);
    let data = raw.encode(&[0, 1]).unwrap();
    assert_eq!(data.features.categorical[0].codes, [1, 2]);
    assert_eq!(data.features.numeric[0].values, [1.0, 5.0]);
}

#[test]
fn configurations_that_toml_refuses() {
    for (from, to, words) in [
        ("user = \"user\"", "user = \"user\"\nitm = \"x\"", ["unknown field `itm`", "line 6"]),
        ("item = \"item\"\n", "", ["missing field `item`", "line 3"]),
        ("kind = \"click\"", "kind = \"clicks\"", ["unknown variant `clicks`", "line 8"]),
        ("name = \"small\"", "name = 3", ["invalid type", "line 2"]),
    ] {
        let mut words = words.to_vec();
        words.push("small.toml");
        assert!(matches!(Folder::new(LOG).error(&CONFIG.replace(from, to), &words), DataError::Config { .. }));
    }
}

#[test]
fn configurations_that_contradict_themselves() {
    let feature = |text: &str| format!("[[feature]]\nname = \"f\"\n{text}\n");
    let category = "[[feature]]\nname = \"item\"\nkind = \"categorical\"\n";
    for (extra, words) in [
        (feature("kind = \"multi\""), ["feature `f`", "needs the key `separator`"]),
        (feature("kind = \"sequence\"\nseparator = \" \""), ["feature `f`", "needs the key `max_length`"]),
        (feature("kind = \"timestamp\""), ["feature `f`", "needs the key `unit`"]),
        (feature("kind = \"numeric\"\nmin_count = 3"), ["`min_count`", "does not go with `numeric`"]),
        (feature("kind = \"categorical\"\nscale = \"standard\""), ["`scale`", "does not go with `categorical`"]),
        (feature("kind = \"categorical\"\ntransform = \"log1p\""), ["transform", "`categorical`"]),
        (feature("kind = \"categorical\"\ntransform = { divide = 0 }"), ["feature `f`", "`transform`"]),
        (feature("kind = \"categorical\"\nmin_count = 0"), ["`min_count`", "at least 1"]),
        (feature("kind = \"categorical\"\nfrom = \"users\""), ["feature `f`", "no [[users]] table"]),
        (feature("kind = \"domain\""), ["feature `f`", "domain of [interactions]"]),
        (category.to_owned() + &feature("kind = \"categorical\"\nvocabulary = \"itm\""), ["`itm`", "did you mean `item`?"]),
        (
            feature("kind = \"numeric\"") + "[[feature]]\nname = \"g\"\nkind = \"categorical\"\nvocabulary = \"f\"\n",
            ["feature `g`", "no vocabulary of its own"],
        ),
        (category.repeat(2), ["feature `item`", "used twice"]),
    ] {
        assert!(matches!(Folder::new(LOG).error(&with(&extra), &words), DataError::InvalidConfig { .. }), "{extra}");
    }
    for (from, to, words) in [
        ("kind = \"click\"", "kind = \"rating\"", ["label", "needs the key `min`"]),
        ("kind = \"click\"", "kind = \"rating\", min = 5, max = 1", ["label", "above `min`"]),
        ("kind = \"click\"", "kind = \"implicit\"", ["label", "`column`"]),
        ("[\"log.csv\"]", "[]", ["[interactions]", "at least one file"]),
    ] {
        assert!(matches!(Folder::new(LOG).error(&CONFIG.replace(from, to), &words), DataError::InvalidConfig { .. }));
    }
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn log_columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("user", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
        ("item", Arc::new(StringArray::from(vec!["i1", "i2"]))),
        ("time", Arc::new(arrow_array::TimestampMillisecondArray::from(vec![1_650_000_000_500, 1_650_000_001_000]))),
        ("click", Arc::new(arrow_array::BooleanArray::from(vec![true, false]))),
        ("age", Arc::new(arrow_array::Float64Array::from(vec![Some(0.5), None]))),
        (
            "seen",
            Arc::new(ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>([
                Some(vec![Some(1), Some(2)]),
                Some(vec![Some(2)]),
            ])),
        ),
    ]
}

#[test]
fn parquet_types_become_the_same_data() {
    let folder = Folder::new(LOG);
    parquet(&folder.path("log.parquet"), log_columns());
    let features = "[[feature]]\nname = \"age\"\nkind = \"numeric\"\n[[feature]]\nname = \"user\"\nkind = \"categorical\"\n\
                    [[feature]]\nname = \"seen\"\nkind = \"sequence\"\nseparator = \" \"\nmax_length = 1\n";
    let (raw, report) = folder.read(&with(features).replace("log.csv", "log.parquet")).unwrap();
    assert_eq!(report.time, Some([1_650_000_000_500_000, 1_650_000_001_000_000]));
    let data = raw.encode(&[0, 1]).unwrap();
    assert_eq!((&data.users[..], &data.log.label[..]), (&["7".to_owned(), "8".to_owned()][..], &[1.0, 0.0][..]));
    assert_eq!(data.features.numeric[0].values, [0.5, 0.5], "a missing number is the training mean");
    assert_eq!((&data.features.bags[0].offsets[..], &data.features.bags[0].codes[..]), (&[0, 1, 2][..], &[1, 1][..]));
}

#[test]
fn parquet_with_other_types() {
    let folder = Folder::new(LOG);
    let config = CONFIG.replace("log.csv", "log.parquet");
    let mut columns = log_columns();
    columns[1].1 = Arc::new(StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("x", arrow_schema::DataType::Int64, false)),
        Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
    )]));
    parquet(&folder.path("log.parquet"), columns);
    let error = folder.error(&config, &["log.parquet", "`item`", "Struct", "store it as"]);
    assert!(matches!(error, DataError::UnsupportedType { .. }));

    let mut columns = log_columns();
    columns[3].1 = Arc::new(StringArray::from(vec!["1", "yes"]));
    parquet(&folder.path("log.parquet"), columns);
    let error = folder.error(&config, &["log.parquet, row 2", "`click`", "`yes`"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));

    folder.write("log.parquet", "not parquet at all");
    assert!(matches!(folder.error(&config, &["log.parquet"]), DataError::Parquet { .. }));
}
