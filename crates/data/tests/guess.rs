//! What is guessed of files, as facts of the data-set file that is written. Each file so written is read.

use std::fs::{create_dir_all, write};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use acclimate_data::{DataError, DatasetConfig, Files, Guess, RawDataset, ReadReport, guess};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray, types::Int64Type,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.add(name, text));
        folder
    }

    fn add(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, bytes).unwrap();
    }

    fn guess(&self, log: &[&str], users: &[&str], items: &[&str]) -> Result<Guess, DataError> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        guess(&Files { log: owned(log), users: owned(users), items: owned(items) }, &self.0.path().join("dataset.toml"), "x")
    }

    /// The guess, its file, and what reading that file gives.
    fn found(&self, log: &[&str], users: &[&str], items: &[&str]) -> Found {
        let guess = self.guess(log, users, items).unwrap();
        let text = guess.text(&[]);
        let config = DatasetConfig::parse(&text, self.0.path().join("dataset.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let (_, report) = RawDataset::read(&config).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Found { table: text.parse().unwrap(), text, guess, report }
    }
}

struct Found {
    text: String,
    table: toml::Table,
    guess: Guess,
    report: ReadReport,
}

impl Found {
    /// The values at paths such as `interactions.time.unit` and `users.0.key`, in one line; `-` where there is none.
    fn at(&self, paths: &[&str]) -> String {
        let value = |path: &&str| {
            let step = |value: toml::Value, key: &str| match value {
                toml::Value::Table(table) => table.get(key).cloned(),
                toml::Value::Array(list) => list.get(key.parse::<usize>().ok()?).cloned(),
                _ => None,
            };
            path.split('.').try_fold(toml::Value::Table(self.table.clone()), step).map_or_else(|| "-".to_owned(), |value| value.to_string())
        };
        paths.iter().map(value).collect::<Vec<_>>().join(" ").replace('"', "'")
    }

    /// Name, kind and further keys of each feature.
    fn features(&self) -> Vec<String> {
        let Some(toml::Value::Array(features)) = self.table.get("feature") else { return Vec::new() };
        let line = |feature: &toml::Value| {
            let feature = feature.as_table().unwrap();
            let more = feature.iter().filter(|(key, _)| !["name", "kind", "from"].contains(&key.as_str()));
            let words = [feature["name"].as_str().unwrap().to_owned(), feature["kind"].as_str().unwrap().to_owned()];
            words.into_iter().chain(more.map(|(key, value)| format!("{key}={value}"))).collect::<Vec<_>>().join(" ").replace('"', "'")
        };
        features.iter().map(line).collect()
    }

    /// The comment above a feature that is left out.
    fn reason(&self, name: &str) -> &str {
        let lines: Vec<&str> = self.text.lines().collect();
        let at = lines.iter().position(|line| *line == format!("# name = \"{name}\"")).unwrap_or_else(|| panic!("{name}: {}", self.text));
        lines[at - 2]
    }

    fn is_to_check(&self, words: &str) -> bool {
        self.guess.checks.iter().any(|check| check.contains(words))
    }
}

/// So many lines, each made from its number.
fn lines(head: &str, n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).fold(head.to_owned(), |text, i| text + &line(i) + "\n")
}

#[test]
fn movielens_in_its_original_form() {
    let folder = Folder::new(&[]);
    folder.add("ratings.dat", lines("", 400, |i| format!("{}::{}::{}::{}", i / 20 + 1, i * 7 % 60 + 1, i % 5 + 1, 978_300_760 + i * 60)));
    folder
        .add("users.dat", lines("", 20, |i| format!("{}::{}::{}::{}::4806{}", i + 1, ["F", "M"][i % 2], [1, 18, 25][i % 3], i % 6, i % 4)));
    let movies = lines("", 70, |i| format!("{}::Caf\u{e9} {i} ({})::{}", i + 1, 1950 + i, ["Drama|War", "Comedy", "War|Comedy"][i % 3]));
    folder.add("movies.dat", movies.chars().map(|c| c as u8).collect::<Vec<_>>());
    let found = folder.found(&["ratings.dat"], &["users.dat"], &["movies.dat"]);
    assert_eq!(
        found.at(&["interactions.delimiter", "interactions.columns", "interactions.encoding"]),
        "'::' ['user', 'item', 'rating', 'time'] -"
    );
    assert_eq!(found.at(&["interactions.user", "interactions.item", "interactions.time.unit"]), "'user' 'item' 's'");
    assert_eq!(found.at(&["interactions.label.kind", "interactions.label.min", "interactions.label.max"]), "'rating' 1 5");
    assert_eq!(
        found.at(&["users.0.key", "users.0.delimiter", "items.0.key", "items.0.encoding", "items.0.missing"]),
        "'user' '::' 'item' 'latin-1' -"
    );
    let features = found.features();
    assert_eq!(features[..3], ["user categorical min_count=2", "item categorical min_count=2", "gender categorical"]);
    assert_eq!(features[features.len() - 1], "tags_3 multi separator='|'");
    assert!(found.reason("text_2").contains("nearly every value is another") && found.is_to_check("no header"));
    assert_eq!((found.report.rows, found.report.users, found.report.items), (400, 20, 60));
}

#[test]
fn what_a_german_spreadsheet_writes() {
    let folder = Folder::new(&[]);
    let day = |i: usize| format!("{:02}.11.2023 {:02}:13", 1 + i / 24, i % 24);
    let log = lines("\u{feff}Kunde;Artikel;Zeitpunkt;gekauft\r\n", 300, |i| {
        format!("K{};{};{};{}\r", i % 30, 100 + i * 7 % 40, day(i), if i % 3 == 0 { "TRUE" } else { "FALSE" })
    });
    folder.add("log.csv", log);
    let articles = lines("\u{feff}Artikel;Preis;Gruppe\r\n", 40, |i| {
        format!("{};{},{};{}\r", 100 + i, (i * i * i) % 500, i % 10, ["Brot", "Obst"][i % 2])
    });
    folder.add("artikel.csv", articles);
    let found = folder.found(&["log.csv"], &[], &["artikel.csv"]);
    assert_eq!(found.at(&["interactions.delimiter", "interactions.decimal", "interactions.columns"]), "';' - -");
    assert_eq!(
        found.at(&["interactions.user", "interactions.item", "interactions.label.column", "interactions.label.kind"]),
        "'Kunde' 'Artikel' 'gekauft' 'click'"
    );
    assert_eq!(found.at(&["interactions.time.column", "interactions.time.format"]), "'Zeitpunkt' '%d.%m.%Y %H:%M'");
    assert_eq!(found.at(&["items.0.decimal", "items.0.key", "items.0.delimiter"]), "',' 'Artikel' ';'");
    assert_eq!(found.features()[2..], ["Preis numeric scale='standard'", "Gruppe categorical"]);
    assert!((found.report.label_mean - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(found.report.time.map(|[first, _]| acclimate_data::date(first)), Some("2023-11-01 00:13".to_owned()));
}

#[test]
fn one_file_a_domain_with_items_numbered_apart() {
    let ratings =
        |items: usize, rows: usize| lines("user_id,item_id,rating\n", rows, |i| format!("{},{},{}", i % 50, i % items + 1, i % 5 + 1));
    let folder = Folder::new(&[]);
    folder.add("book.csv", ratings(90, 500));
    folder.add("music.csv", ratings(40, 300));
    let found = folder.found(&["book.csv", "music.csv"], &[], &[]);
    assert_eq!(
        found.at(&["interactions.domain.from", "interactions.domain.names", "interactions.item_scope"]),
        "'file' ['book', 'music'] 'domain'"
    );
    assert_eq!((found.report.items, found.report.users), (130, 50));
    assert_eq!(found.features()[2], "domain domain");
    assert!(found.is_to_check("numbered from the start in each domain"));
    // One catalogue in both shops, and ids that are no numbers.
    folder.add("north.csv", ratings(40, 300));
    let found = folder.found(&["music.csv", "north.csv"], &[], &[]);
    assert_eq!((found.at(&["interactions.item_scope"]), found.report.items), ("-".to_owned(), 40));
    // Parts of one log.
    folder.add("log-1.csv", ratings(40, 300));
    folder.add("log-2.csv", ratings(90, 300));
    assert_eq!(folder.found(&["log-1.csv", "log-2.csv"], &[], &[]).at(&["interactions.domain", "interactions.item_scope"]), "- -");
}

#[test]
fn tables_of_items_follow_their_domain() {
    let folder = Folder::new(&[]);
    let ratings = |items: usize, rows: usize| lines("user,item,stars\n", rows, |i| format!("{},{},{}", i % 50, i % items + 1, i % 5 + 1));
    let items = |n: usize| lines("item,colour\n", n, |i| format!("{},{}", i + 1, ["red", "blue"][i % 2]));
    folder.add("book.csv", ratings(90, 500));
    folder.add("music.csv", ratings(40, 300));
    folder.add("about_book.csv", items(90));
    folder.add("about_music.csv", items(40));
    let found = folder.found(&["book.csv", "music.csv"], &[], &["about_book.csv", "about_music.csv"]);
    assert_eq!(found.at(&["items.0.domain.value", "items.1.domain.value", "items.1.name"]), "'book' 'music' 'about_music'");
}

#[test]
fn features_by_kind() {
    let folder = Folder::new(&[]);
    folder.add(
        "log.csv",
        lines("user,item,click,device,play_ms,event\n", 600, |i| {
            format!("{},{},{},{},{},{}", i % 60, i % 80, i % 2, ["web", "app"][i % 2], i * 31, ["view", "buy"][i % 2])
        }),
    );
    let zip = |i: usize| format!("{:05}", i * 37 % 900);
    folder.add(
        "users.csv",
        lines("user,age,zip,joined,newsletter,born\n", 60, |i| {
            format!("{i},{},{},2022-04-{:02},{},{}", 18 + i % 50, zip(i % 30), 1 + i % 28, ["true", "false"][i % 2], 1950 + i % 45)
        }),
    );
    folder.add(
        "items.csv",
        lines("item,title,price,tags,seller,only\n", 80, |i| {
            format!("{i},\"Title, the {i}\",{}.5,{},{},x", (i % 9).pow(5), ["a|b", "b", "c|a"][i % 3], ["S1", "S2", "S3"][i % 3])
        }),
    );
    let found = folder.found(&["log.csv"], &["users.csv"], &["items.csv"]);
    let features = found.features();
    for expected in [
        "age numeric scale='standard'",
        "zip categorical",
        "joined timestamp scale='standard' unit='iso'",
        "newsletter categorical",
        "born numeric scale='standard'",
        "price numeric scale='standard' transform='log1p'",
        "tags multi separator='|'",
        "seller categorical",
        "device categorical",
    ] {
        assert!(features.iter().any(|feature| feature == expected), "{expected}: {features:#?}");
    }
    for (name, reason) in [
        ("title", "nearly every value"),
        ("only", "one value only"),
        ("play_ms", "known only after the event?"),
        ("event", "known only after the event?"),
    ] {
        assert!(found.reason(name).contains(reason), "{name}: {}", found.reason(name));
        assert!(!features.iter().any(|feature| feature.starts_with(name)));
    }
}

/// A spreadsheet breaks lines inside of header cells; a feature that is left out is a comment as a whole.
#[test]
fn a_header_of_several_lines_is_left_out_as_a_whole() {
    let log = lines("user,item,time,click,\"Views\nname = 'of the page'\"\n", 60, |i| {
        format!("u{},i{},{},{},{}", i % 9, i % 7, 1_700_000_000 + i, i % 2, i * 37)
    });
    let found = Folder::new(&[("log.csv", &log)]).found(&["log.csv"], &[], &[]);
    assert!(found.text.contains("# Left out:"), "{}", found.text);
    assert!(found.text.lines().all(|line| !line.starts_with("name = 'of")), "{}", found.text);
}

#[test]
fn missing_repeated_and_bad_rows_are_said() {
    let folder = Folder::new(&[]);
    let mut log = lines("user,item,stars\n", 300, |i| {
        format!("{},i{},{}", i % 30, i % 20, if i == 7 { "NA".to_owned() } else { (i % 5 + 1).to_string() })
    });
    log += "1,i2\n1,,3\n";
    folder.add("log.csv", log);
    folder.add(
        "items.csv",
        lines("item,price\n", 15, |i| format!("i{i},{}.5", if i == 3 { "k.A".to_owned() } else { i.to_string() })) + "i4,7.5\n",
    );
    let found = folder.found(&["log.csv"], &[], &["items.csv"]);
    assert_eq!(found.at(&["on_bad_row", "interactions.null_values", "items.0.missing"]), "'skip' ['NA'] 'allow'");
    assert_eq!(found.report.rows, 299);
    for words in [
        "1 rows of the log have no `stars`",
        "1 rows of the log have no `item`",
        "1 rows of the log have too many or too few fields",
        "1 rows repeat a `item`",
        "5 of 20 items of the log have no row here",
    ] {
        assert!(found.text.contains(words), "{words}: {}", found.text);
    }
}

#[test]
fn ids_that_one_side_writes_as_fractions_are_whole_numbers() {
    let folder = Folder::new(&[]);
    folder.add("log.csv", lines("user,item,click\n", 300, |i| format!("{},{}.0,{}", i % 30, 5800 + i % 40, i % 2)));
    folder.add("items.csv", lines("item,colour\n", 40, |i| format!("{},{}", 5800 + i, ["red", "blue"][i % 2])));
    let found = folder.found(&["log.csv"], &[], &["items.csv"]);
    assert_eq!(found.at(&["interactions.integer_columns", "items.0.integer_columns", "items.0.missing"]), "['item'] - -");
}

#[test]
fn columns_of_two_tables_are_told_apart() {
    let folder = Folder::new(&[]);
    folder.add("log.csv", lines("user,movie,stars\n", 300, |i| format!("{},{},{}", i % 30, i % 40, i % 5 + 1)));
    folder.add("movies.csv", lines("movie,colour,origin\n", 40, |i| format!("{i},{},{}", ["red", "blue"][i % 2], ["DE", "FR"][i % 2])));
    folder.add("extra.csv", lines("movie,colour\n", 40, |i| format!("{i},{}", ["dark", "light"][i % 2])));
    let found = folder.found(&["log.csv"], &[], &["movies.csv", "extra.csv"]);
    assert_eq!(
        found.features()[2..],
        ["colour categorical table='movies'", "origin categorical", "extra_colour categorical column='colour' table='extra'"]
    );
}

#[test]
fn parts_that_the_data_brings() {
    let folder = Folder::new(&[]);
    let rows = |n: usize| lines("user,item,stars\n", n, |i| format!("{},{},{}", i % 30, i % 40, i % 5 + 1));
    ["train.csv", "valid.csv", "test.csv"].into_iter().for_each(|name| folder.add(name, rows(200)));
    let found = folder.found(&["train.csv", "valid.csv", "test.csv"], &[], &[]);
    let split = found.guess.split.unwrap();
    assert_eq!((split.column, &split.parts[1]), (None, &("validation", vec!["valid.csv".to_owned()])));
    assert!(!found.text.contains("domain"));
    folder.add(
        "log.csv",
        lines("split,user,item,stars\n", 300, |i| format!("{},{},{},{}", ["train", "test", "dev"][i % 3], i % 30, i % 40, i % 5 + 1)),
    );
    let split = folder.found(&["log.csv"], &[], &[]).guess.split.unwrap();
    assert_eq!((split.column.as_deref(), &split.parts[1]), (Some("split"), &("validation", vec!["dev".to_owned()])));
    folder.add(
        "log.csv",
        lines("split,user,item,stars\n", 300, |i| format!("{},{},{},{}", ["train", "test_a", "test_b"][i % 3], i % 30, i % 40, i % 5 + 1)),
    );
    let found = folder.found(&["log.csv"], &[], &[]);
    assert!(found.guess.split.is_none() && found.is_to_check("divides the log (test_a, test_b, train)"));
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_folder_of_parquet_parts_and_typed_columns() {
    let folder = Folder::new(&[("log/_SUCCESS", "")]);
    for part in 0..2_i64 {
        let ids = (0..200).map(|i| i % 30);
        let path = folder.0.path().join(format!("log/part-0000{part}-3f2a.snappy.parquet"));
        parquet(
            &path,
            vec![
                ("customer", Arc::new(Int64Array::from_iter_values(ids.clone())) as ArrayRef),
                ("product", Arc::new(StringArray::from_iter_values((0..200).map(|i| format!("p{}", i * 7 % 50))))),
                ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..200).map(|i| 1_650_000_000_000_000 + i * 60_000_000)))),
                ("purchase", Arc::new(BooleanArray::from_iter((0..200).map(|i| Some(i % 3 == 0))))),
            ],
        );
    }
    let lists = (0..50).map(|i| Some((0..i % 3).map(Some).collect::<Vec<_>>()));
    parquet(
        &folder.0.path().join("products.parquet"),
        vec![
            ("product", Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("p{i}")))) as ArrayRef),
            ("price", Arc::new(Float64Array::from_iter_values((0..50).map(|i| 1.5 + f64::from(i))))),
            ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ],
    );
    let found = folder.found(&["log"], &[], &["products.parquet"]);
    assert_eq!(found.at(&["interactions.files", "interactions.user", "interactions.item"]), "['log'] 'customer' 'product'");
    assert_eq!(
        found.at(&["interactions.time.column", "interactions.time.unit", "interactions.label.kind", "items.0.key"]),
        "'at' - 'click' 'product'"
    );
    assert_eq!(found.features()[2..], ["price numeric scale='standard'", "tags multi separator=','"]);
    assert_eq!(found.report.rows, 400);
    let globbed = folder.found(&["log/part-*.parquet"], &[], &[]);
    assert_eq!(globbed.report.rows, 400);
}

#[test]
fn compressed_text_and_quotes_that_are_none() {
    let folder = Folder::new(&[]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines("user\titem\tclick\n", 300, |i| format!("{}\tN{}\t{}", i % 30, i % 40, i % 2)).as_bytes()).unwrap();
    folder.add("behaviors.tsv.gz", gzip.finish().unwrap());
    folder.add("news.tsv", lines("", 40, |i| format!("N{i}\t{}\t\"Huge\" said {i}", ["sports", "travel"][i % 2])));
    let found = folder.found(&["behaviors.tsv.gz"], &[], &["news.tsv"]);
    assert_eq!(found.at(&["interactions.delimiter", "interactions.quoting", "items.0.quoting", "items.0.columns.0"]), "- - false 'item'");
    // A quote that only a later row has: what reads more rows is right.
    folder.add(
        "late.tsv",
        lines("item\ttitle\tgroup\n", 40_000, |i| {
            format!("N{i}\t{}\t{}", if i == 39_000 { "\"Huge\" he said".into() } else { format!("title number {i} of a long list") }, i % 7)
        }),
    );
    let found = folder.found(&["behaviors.tsv.gz"], &[], &["late.tsv"]);
    assert_eq!(found.at(&["items.0.quoting", "on_bad_row"]), "false -");
}

#[test]
fn what_can_not_be_guessed_is_said() {
    let folder = Folder::new(&[
        ("empty.csv", "\n"),
        ("one.csv", "item\na\nb\n"),
        ("a.csv", "user,item\n1,2\n2,2\n"),
        ("b.csv", "user,product\n1,2\n3,2\n"),
    ]);
    let error = |log: &[&str]| folder.guess(log, &[], &[]).unwrap_err().to_string();
    assert!(error(&["empty.csv"]).contains("the file is empty"));
    assert!(error(&["one.csv"]).contains("no separator"));
    assert!(error(&["gone.csv"]).contains("gone.csv does not exist"));
    assert!(error(&["a.csv", "b.csv"]).contains("there is no column `item`"));
    folder.add("ids.csv", "user,rating\n1,5\n2,4\n3,3\n");
    assert!(error(&["ids.csv"]).contains("no two columns look like the ids"));
    // A table that belongs to something else is left out.
    folder.add("log.csv", lines("user,item,click\n", 300, |i| format!("u{},i{},{}", i % 30, i % 40, i % 2)));
    folder.add("other.csv", lines("code,name\n", 40, |i| format!("x{i},n{i}")));
    let found = folder.found(&["log.csv"], &["other.csv"], &[]);
    assert!(found.is_to_check("no column holds user ids of the log") && found.at(&["users"]) == "-");
}
