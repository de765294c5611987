//! Every way in which a data set can be wrong gets its own error, which says what, where and what to do.

mod config;
mod files;
mod parquet;
mod report;
mod tables;
mod text;
mod time;
mod values;

use std::fs;
use std::path::PathBuf;

use acclimate_data::{DataError, DatasetConfig, RawDataset, ReadReport, RowFault};
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
fn bad_rows_are_skipped_only_when_allowed_and_counted() {
    let log = "user,item,time,click,age\nu0,i0,1650000000,1,1\nu1,i1,1650000000,9,2\nu2,i2\nu3,i3,1650000000,0,x\nu4,i4,1650000000,0,5\n";
    let config = format!(
        "on_bad_row = \"skip\"\n{}",
        with("[[feature]]\nname = \"item\"\nkind = \"categorical\"\n[[feature]]\nname = \"age\"\nkind = \"numeric\"\n")
    );
    let (raw, report) = Folder::new(log).read(&config).unwrap();
    assert_eq!((report.rows_skipped(), report.files[0].rows_read), (3, 2));
    assert_eq!(*raw.dataset().users, ["u0", "u4"], "skipped rows leave no trace");
    assert_eq!(report.files[0].faults.len(), 3);
    assert!(report.files[0].faults[2].starts_with("line 5: column `age` holds `x`"), "{:?}", report.files[0].faults);
    let data = raw.encode(&[0, 1]).unwrap();
    assert_eq!(data.features.categorical[0].codes, [1, 2]);
    assert_eq!(data.features.numeric[0].values, [1.0, 5.0]);
}

#[test]
fn the_files_of_the_log_know_where_their_rows_begin() {
    let folder = Folder::new(LOG);
    folder.write("more.csv", "user,item,time,click\nu3,i1,1650000001,9\nu3,i2,1650000001,0\n");
    let config = format!("on_bad_row = \"skip\"\n{}", CONFIG.replace("[\"log.csv\"]", "[\"log.csv\", \"more.csv\"]"));
    let (raw, _) = folder.read(&config).unwrap();
    let files: Vec<_> = raw.dataset().files.iter().map(|file| (file.entry.as_str(), file.path.clone(), file.first_row)).collect();
    assert_eq!(files, [("log.csv", folder.path("log.csv"), 0), ("more.csv", folder.path("more.csv"), 2)]);
    assert_eq!(raw.view().files, raw.dataset().files);
}
