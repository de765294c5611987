//! Features of earlier rows in a log without time: a training row knows a random part of the other training rows, all others know them whole.

use std::collections::HashSet;

use acclimate_data::{Dataset, DatasetConfig, Encoder, FeatureState, Known, RawDataset};

const USERS: u32 = 4;
const ITEMS: u32 = 12;
const ROWS: u32 = USERS * ITEMS;

const FEATURES: &str = r#"
[[feature]]
name = "item"
kind = "categorical"

[[feature]]
name = "seen"
kind = "history"
column = "item"
max_length = 100
vocabulary = "item"

[[feature]]
name = "count"
kind = "statistic"
value = "count"
by = ["user"]

[[feature]]
name = "rate"
kind = "statistic"
value = "rate"
by = ["item"]
strength = 2.0
"#;

fn parse(features: &str) -> Result<DatasetConfig, String> {
    let text = "name = \"log\"\n[interactions]\nfiles = [\"log.csv\"]\nuser = \"user\"\nitem = \"item\"\nlabel = { column = \"click\", kind = \"click\" }\n";
    DatasetConfig::parse(&(text.to_owned() + features), "data.toml").map_err(|e| e.to_string())
}

/// Row `12 u + i`: user u meets item i. `flipped` rows have the other label.
fn read(flipped: impl Fn(u32) -> bool) -> RawDataset {
    let folder = tempfile::tempdir().unwrap();
    let line = |row: u32| format!("{},{},{}\n", row / ITEMS, row % ITEMS, u8::from(row.is_multiple_of(3) != flipped(row)));
    let log: String = (0..ROWS).map(line).collect();
    std::fs::write(folder.path().join("log.csv"), "user,item,click\n".to_owned() + &log).unwrap();
    let mut config = parse(FEATURES).unwrap();
    config.interactions.files = vec![folder.path().join("log.csv").to_str().unwrap().to_owned()];
    RawDataset::read(&config).unwrap().0
}

fn is_train(row: u32) -> bool {
    row.is_multiple_of(2)
}

fn train() -> Vec<u32> {
    (0..ROWS).filter(|&row| is_train(row)).collect()
}

fn known() -> Known {
    Known::only(&train(), ROWS as usize)
}

fn seen(data: &Dataset, row: u32) -> HashSet<String> {
    let bag = data.features.bags.iter().find(|bag| bag.name == "seen").unwrap();
    let vocabulary = &data.features.vocabularies[bag.vocabulary.at()];
    bag.lists.of(row as usize).iter().map(|&code| vocabulary.value(code).unwrap().to_owned()).collect()
}

fn made(data: &Dataset, row: u32) -> (Vec<Vec<u32>>, Vec<u32>) {
    let lists = data.features.bags.iter().map(|bag| bag.lists.of(row as usize).to_vec()).collect();
    (lists, data.features.numeric.iter().map(|column| column.values[row as usize].to_bits()).collect())
}

fn encoded() -> (RawDataset, Encoder, Dataset) {
    let raw = read(|_| false);
    let encoder = Encoder::fit_knowing(&raw, &train(), &known()).unwrap();
    let data = raw.clone().encode_knowing(&encoder, &known()).unwrap();
    (raw, encoder, data)
}

#[test]
fn a_training_row_knows_a_random_part_of_the_others_of_its_user_anew_in_each_draw() {
    let (_, _, data) = encoded();
    let drawn = |draw: u64| data.redrawn(draw).unwrap();
    let of_user = |row: u32| (0..ITEMS).map(move |i| row / ITEMS * ITEMS + i).filter(move |&other| is_train(other) && other != row);
    let mut sizes = HashSet::new();
    let mut met = HashSet::new();
    for draw in 0..60 {
        let data = drawn(draw);
        for row in train() {
            let seen = seen(&data, row);
            let others: HashSet<String> = of_user(row).map(|other| (other % ITEMS).to_string()).collect();
            assert!(seen.is_subset(&others), "row {row} knows {seen:?}");
            if row == 0 {
                sizes.insert(seen.len());
                met.extend(seen);
            }
        }
        // One order of all rows: of two rows one knows the other.
        assert_ne!(seen(&data, 0).contains("2"), seen(&data, 2).contains("0"));
    }
    assert_eq!(sizes.len(), 6, "from none to all of five: {sizes:?}");
    assert_eq!(met.len(), 5);
    assert_eq!(drawn(3), drawn(3));
    assert_eq!(drawn(0), data, "the first draw is the one that the data was read with");
}

#[test]
fn other_rows_know_every_training_row_and_no_other() {
    let (raw, encoder, data) = encoded();
    for row in (0..ROWS).filter(|&row| !is_train(row)) {
        let expected: HashSet<String> =
            (0..ITEMS).filter(|&item| is_train(row / ITEMS * ITEMS + item)).map(|item| item.to_string()).collect();
        assert_eq!(seen(&data, row), expected);
        assert_eq!(seen(&data.redrawn(5).unwrap(), row), expected);
    }
    // Answers of rows that are not known change nothing anywhere; answers of those that are do.
    let other = |flipped: fn(u32) -> bool| read(flipped).encode_knowing(&encoder, &known()).unwrap();
    let unknown = other(|row| !is_train(row));
    assert!((0..ROWS).all(|row| made(&unknown, row) == made(&data, row)));
    let of_train = other(is_train);
    assert!((0..ROWS).any(|row| made(&of_train, row) != made(&data, row)));
    // A state that has learned of the training rows says the same of later rows, bit by bit but for the order of lists.
    let mut state = FeatureState::after(&encoder, &raw, &known()).unwrap();
    let followed = state.follow(&encoder, &raw, false).unwrap();
    let followed = raw.encode_following(&encoder, followed).unwrap();
    for row in (0..ROWS).filter(|&row| !is_train(row)) {
        assert_eq!(made(&followed, row), made(&data, row), "row {row}");
    }
}

#[test]
fn what_is_read_later_is_known_beside_what_was_known() {
    let (raw, encoder, _) = encoded();
    let mut state = FeatureState::after(&encoder, &raw, &Known::only(&[0, 2], ROWS as usize)).unwrap();
    state.learn(&encoder, &raw, &Known::only(&[4, 6], ROWS as usize)).unwrap();
    assert_eq!(state.late(), 0);
    let followed = state.follow(&encoder, &raw, false).unwrap();
    let data = raw.encode_following(&encoder, followed).unwrap();
    assert_eq!(seen(&data, 1), ["0", "2", "4", "6"].map(str::to_owned).into());
}

#[test]
fn of_a_user_with_a_task_the_support_is_known_and_nothing_of_the_query() {
    let (_, _, data) = encoded();
    let tasks = [(vec![0, 2, 4, 6], vec![5, 8, 10])];
    let view = data.knowing(&known().with_tasks(&data.log, &tasks)).unwrap();
    let support: HashSet<String> = ["0", "2", "4", "6"].map(str::to_owned).into();
    for row in [5, 8, 10] {
        assert_eq!(seen(&view, row), support);
    }
    let of_support = [0, 2, 4, 6].map(|row| seen(&view, row));
    assert!(of_support.iter().all(|seen| seen.is_subset(&support)));
    // One after the other: each knows those before it.
    let mut sizes = of_support.map(|seen| seen.len());
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 2, 3]);
    assert_eq!(seen(&view, 13).len(), 6, "other users know what they knew");
}

#[test]
fn what_needs_time_is_refused_by_its_key() {
    for (key, line) in [
        ("lag", "value = \"count\"\nlag = \"1h\""),
        ("window", "value = \"count\"\nwindow = \"1h\""),
        ("half_life", "value = \"count\"\nhalf_life = \"1h\""),
        ("value = age", "value = \"age\""),
    ] {
        let error = parse(&format!("[[feature]]\nname = \"x\"\nkind = \"statistic\"\nby = [\"user\"]\n{line}\n")).unwrap_err();
        assert!(error.contains(key) && error.contains("time of [interactions]"), "{error}");
    }
    let error = parse("[[feature]]\nname = \"x\"\nkind = \"history\"\ncolumn = \"item\"\nmax_length = 5\nmax_age = \"1h\"\n").unwrap_err();
    assert!(error.contains("max_age"), "{error}");
}
