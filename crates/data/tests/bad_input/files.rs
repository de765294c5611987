//! Folders, globs and the names of files.

use acclimate_data::DataError;

use super::{CONFIG, Folder, LOG, with};

const HEADER: &str = "user,item,time,click\n";

/// The same log with other `files`.
fn files(entries: &str) -> String {
    CONFIG.replace("[\"log.csv\"]", entries)
}

fn parts(names: &[&str]) -> Folder {
    let folder = Folder::new(LOG);
    for (i, name) in names.iter().enumerate() {
        std::fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
        folder.write(name, format!("{HEADER}u{i},i{i},1650000000,{}\n", i % 2));
    }
    folder
}

fn users(folder: &Folder, config: &str) -> Vec<String> {
    folder.read(config).unwrap().0.dataset().users.to_vec()
}

#[test]
fn a_folder_gives_its_visible_files_by_name() {
    let folder = parts(&["log/part-2.csv", "log/part-1.csv", "log/_SUCCESS", "log/.part-1.csv.crc", "log/sub/part-0.csv"]);
    assert_eq!(users(&folder, &files("[\"log\"]")), ["u1", "u0", "u4"]);
    let (raw, report) = folder.read(&files("[\"log.csv\", \"log\"]")).unwrap();
    let begins: Vec<_> = raw.dataset().files.iter().map(|file| (file.entry.as_str(), file.first_row)).collect();
    assert_eq!((begins, report.rows), (vec![("log.csv", 0), ("log", 2), ("log", 3), ("log", 4)], 5));
    folder.write("log/README", "not data").error(&files("[\"log\"]"), &["README", "set `format`"]);
}

#[test]
fn a_glob_gives_what_it_matches_by_name() {
    let folder = parts(&["day-2.csv", "day-1.csv", ".day-0.csv", "_day-3.csv", "sub/day-4.csv"]);
    assert_eq!(users(&folder, &files("[\"day-*.csv\"]")), ["u1", "u0"]);
    assert_eq!(users(&folder, &files("[\"*day-?.csv\"]")), ["u1", "u0"]);
    assert_eq!(users(&folder, &files("[\"*/day-[0-9].csv\"]")), ["u4"]);
    let folder = parts(&["day-[1].csv"]);
    assert_eq!(users(&folder, &files("[\"day-[1].csv\"]")), ["u0"], "a file of that name comes first");
}

#[test]
fn nothing_found_says_where_it_was_looked_for() {
    let folder = parts(&["log/_SUCCESS"]);
    for entry in ["log", "day-*.csv"] {
        let error = folder.error(&files(&format!("[{entry:?}]")), &[&format!("`{entry}` finds no file"), "small.toml"]);
        assert!(matches!(error, DataError::NothingFound { .. }));
    }
}

#[test]
fn a_file_counts_once() {
    let folder = parts(&["day-1.csv"]);
    let error = folder.error(&files("[\"day-1.csv\", \"day-*.csv\"]"), &["`day-1.csv` and by `day-*.csv`", "twice"]);
    assert!(matches!(error, DataError::FileTwice { .. }));
}

#[test]
fn names_of_folders_are_columns() {
    let folder = parts(&["log/shop=books/part-0.csv", "log/shop=old%20maps/part-0.csv"]);
    let domain = "domain = { column = \"shop\" }\nlabel";
    let config = files("[\"log\"]").replace("label", domain);
    let (_, report) = folder.read(&config).unwrap();
    let domains: Vec<_> = report.domains.iter().map(|domain| (domain.name.as_str(), domain.rows)).collect();
    assert_eq!(domains, [("books", 1), ("old maps", 1)]);
    folder.read(&files("[\"log/shop=*/*.csv\"]").replace("label", domain)).unwrap();
    folder.error(&config.replace("\"shop\"", "\"shops\""), &["no column `shops`"]);
}

#[test]
fn keys_of_text_need_a_text_file() {
    let folder = Folder::new(LOG);
    folder.write("log.parquet", "");
    let error = folder.error(&files("[\"log.parquet\"]").replace("user = ", "quoting = false\nuser = "), &["`quoting`", "log.parquet"]);
    assert!(matches!(error, DataError::TextKey { .. }));
    folder.write("log.csv.gz", LOG).error(&with("").replace("log.csv", "log.txt"), &["log.txt does not exist"]);
}
