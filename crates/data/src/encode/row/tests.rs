//! Every row of a data set, by itself, has the bits that it has in the data set.

use std::collections::HashMap;
use std::fmt::Write;

use super::*;
use crate::config::Origin;
use crate::inspect::TableKind;
use crate::source::{Table, Wanted};
use crate::{Batch, Dataset, DatasetConfig, FeatureState, RandomStream, RawDataset, Side};

#[path = "../../../tests/skipped/mod.rs"]
mod skipped;

/// What a cell holds, as a caller would write it.
fn written(cell: &Cell<'_>) -> RawValue {
    match *cell {
        Cell::Missing => RawValue::Missing,
        Cell::Text(text, Decimal::Point) => RawValue::Text(text.to_owned()),
        Cell::Boolean(value) => RawValue::Bool(value),
        Cell::Integer(value) => RawValue::Integer(value),
        Cell::Unsigned(value) => RawValue::Unsigned(value),
        Cell::Number(value) => RawValue::Number(value),
        ref other => panic!("no caller writes {other:?}"),
    }
}

/// The values of a feature that a table holds, one for each row of the log or entity of its side.
fn values(config: &DatasetConfig, data: &Dataset, feature: &crate::FeatureConfig) -> Vec<RawValue> {
    let column = feature.column();
    let wanted = |may_be_list| Wanted { name: column, may_be_list };
    let wanted = wanted(matches!(feature.kind, FeatureKind::Multi | FeatureKind::Sequence));
    if feature.from == Origin::Interactions {
        let table = Table::new(config, TableKind::Interactions, config.interactions.file_keys()).unwrap();
        let mut values = Vec::new();
        let push = |_, _, row: &dyn crate::source::Row| {
            values.push(written(&row.cell(0)?));
            Ok(())
        };
        table.read(&[wanted], config.on_bad_row, &mut Vec::new(), push).unwrap();
        assert_eq!(values.len(), data.log.len(), "no row was skipped");
        return values;
    }
    let (names, kind) = match feature.from.side() {
        Side::User => (&data.users, TableKind::Users),
        _ => (&data.items, TableKind::Items),
    };
    let entities: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let mut values = vec![RawValue::Missing; names.len()];
    for side in config.tables(feature.from) {
        let table = Table::new(config, kind, side.file_keys()).unwrap();
        let is_meant = feature.table.as_ref().is_none_or(|name| side.name.as_ref() == Some(name));
        if !is_meant || !table.header().unwrap().iter().any(|name| name == column) {
            continue;
        }
        let domain = side.domain.as_ref();
        let mut all = vec![Wanted::single(&side.key), wanted];
        all.extend(domain.and_then(|domain| domain.column.as_deref()).map(Wanted::single));
        let put = |_, _, row: &dyn crate::source::Row| {
            let [mut id, mut scope] = [const { String::new() }; 2];
            let key = row.cell(0)?.text(&mut id).unwrap().to_owned();
            let scope = match domain {
                Some(crate::config::TableDomain { value: Some(value), .. }) => format!("{value}/"),
                Some(_) => format!("{}/", row.cell(2)?.text(&mut scope).unwrap()),
                None => String::new(),
            };
            if let Some(&entity) = entities.get(format!("{scope}{key}").as_str()) {
                values[entity] = written(&row.cell(1)?);
            }
            Ok(())
        };
        table.read(&all, config.on_bad_row, &mut Vec::new(), put).unwrap();
    }
    values
}

/// Checks all rows of a data set; those up to `train` were trained on. With `repeated`, a feature that repeats what every row has is not given.
fn check(config: &DatasetConfig, every: usize, repeated: bool) {
    let (raw, _) = RawDataset::read(config).unwrap();
    let rows: Vec<u32> = (0..raw.dataset.log.len() as u32).collect();
    let train: Vec<u32> = rows.iter().copied().step_by(every).collect();
    let encoder = Encoder::fit(&raw, &train).unwrap();
    let encoder: Encoder = serde_json::from_str(&serde_json::to_string(&encoder).unwrap()).unwrap();
    let data = raw.encode_with(&encoder).unwrap();
    let encoder = RowEncoder::new(Arc::new(encoder));

    let log = &data.log;
    let text = |text: &str| RawValue::Text(text.to_owned());
    // A scoped item is given as the log writes it.
    let item = |name: &String| match encoder.encoder.writing.scoped_items {
        true => text(name.split_once('/').unwrap().1),
        false => text(name),
    };
    let mut given: Vec<(usize, Side, Vec<RawValue>)> = Vec::new();
    let slot = |name: &str| encoder.names.iter().position(|other| other == name).unwrap();
    given.push((slot("user"), Side::User, data.users.iter().map(|name| text(name)).collect()));
    given.push((slot("item"), Side::Item, data.items.iter().map(item).collect()));
    given.push((slot("domain"), Side::Row, log.domain.iter().map(|domain| text(&data.domains[domain.at()])).collect()));
    given.push((slot("time"), Side::Row, log.time.iter().map(|&micros| RawValue::Number(micros as f64 / 1e6)).collect()));
    for (feature, encoded) in config.features.iter().zip(encoder.encoder.features()) {
        let fixed = ["user", "item", "domain", "time"];
        let is_fixed = encoded.writing.repeats.as_deref().is_some_and(|name| fixed.contains(&name));
        let is_there = fixed.contains(&feature.name.as_str()) || feature.kind == FeatureKind::Domain || feature.is_derived();
        // The table of an id holds it as the log writes it, which was just given.
        if !(is_there || encoded.writing.is_id || repeated && is_fixed) {
            given.push((slot(&feature.name), feature.from.side(), values(config, &data, feature)));
        }
    }

    let derived: Vec<&str> =
        encoder.encoder.features().iter().filter(|feature| feature.is_derived()).map(|feature| feature.name.as_str()).collect();
    let is_own = |name: &str| !derived.contains(&name);
    let mut out = EncodedRows::default();
    for rows in rows.chunks(1000) {
        let mut each = vec![Vec::new(); encoder.names.len()];
        for (slot, side, values) in given.iter().filter(|(_, _, values)| !values.is_empty()) {
            each[*slot] = rows.iter().map(|&row| Some(&values[log.entity(*side, row as usize)])).collect();
        }
        encoder.encode(&RowColumns::of_each(rows.len(), each), &mut out).unwrap();
        let batch = Batch::single(&data, rows);
        assert_eq!((out.rows, out.fields, out.numbers, out.bags.len()), (rows.len(), batch.fields, batch.numbers, batch.bags.len()));
        for (f, column) in data.features.categorical.iter().enumerate() {
            for (i, row) in rows.iter().enumerate() {
                let at = i * batch.fields + f;
                assert_eq!(out.codes[at], batch.categorical[at], "{}, row {row}", column.name);
            }
        }
        for (f, column) in data.features.numeric.iter().enumerate().filter(|(_, column)| is_own(&column.name)) {
            for (i, row) in rows.iter().enumerate() {
                let at = i * batch.numbers + f;
                assert_eq!(out.numeric[at].to_bits(), batch.numeric[at].to_bits(), "{}, row {row}", column.name);
            }
        }
        for (f, bag) in data.features.bags.iter().enumerate().filter(|(_, bag)| is_own(&bag.name)) {
            assert_eq!(out.bags[f], batch.bags[f], "{}, rows from {}", bag.name, rows[0]);
        }
    }
}

const RANDOM: &str = r#"
name = "law"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
domain = { column = "shop" }
time = { column = "at", unit = "ms", zone = "+08:00" }
label = { kind = "implicit" }
null_values = ["none"]
integer_columns = ["user", "whole"]
SCOPE
[[items]]
files = ["items.csv"]
key = "item"
missing = "allow"
TABLE
[[feature]]
name = "user_id"
kind = "categorical"
column = "user"
[[feature]]
name = "item"
kind = "categorical"
min_count = 2
[[feature]]
name = "group"
kind = "categorical"
column = "user"
transform = { divide = 3 }
[[feature]]
name = "shop"
kind = "domain"
[[feature]]
name = "plain"
kind = "categorical"
column = "word"
[[feature]]
name = "first"
kind = "categorical"
column = "word"
transform = { first = "." }
[[feature]]
name = "prefix"
kind = "categorical"
column = "word"
transform = { prefix = 2 }
[[feature]]
name = "whole"
kind = "categorical"
[[feature]]
name = "bucket"
kind = "categorical"
column = "amount"
transform = { log2 = 10.0 }
[[feature]]
name = "amount"
kind = "numeric"
transform = "log1p"
scale = "standard"
[[feature]]
name = "share"
kind = "numeric"
column = "amount"
scale = "min_max"
[[feature]]
name = "hour"
kind = "timestamp"
column = "at"
unit = "ms"
part = "hour"
[[feature]]
name = "day"
kind = "timestamp"
column = "made"
unit = "iso"
part = "days"
scale = "standard"
[[feature]]
name = "weekday"
kind = "timestamp"
column = "made"
unit = "iso"
part = "weekday"
[[feature]]
name = "seen"
kind = "sequence"
separator = "|"
max_length = 3
vocabulary = "item"
keep_unknown = true
[[feature]]
name = "tags"
from = "items"
kind = "multi"
separator = "|"
min_count = 3
[[feature]]
name = "price"
from = "items"
kind = "numeric"
[[feature]]
name = "past"
kind = "history"
column = "word"
max_length = 3
[[feature]]
name = "rate"
kind = "statistic"
value = "count"
by = ["user"]
"#;

/// A data set of odd spellings.
fn random(folder: &std::path::Path, seed: u64, scoped: bool) -> DatasetConfig {
    let mut stream = RandomStream::new(seed, 0, 0);
    let mut pick = |values: &[&str]| values[stream.below(values.len() as u64) as usize].to_owned();
    let items = ["1", "1.0", "01", "True", "true", "x", "7.50", "z z"];
    let words = ["True", "true", "FALSE", "1.0", "1", "-0.0", "a.b", "ä.ö", "none", "", "v3.0", "1.2.0", "\"q,r\""];
    let lists = ["", "1|1.0|x", "[1, 1.0, 'x']", "x", "True|true|01|7.50", "['z z', None, 'unseen']", "none", "z z||x"];
    let times = ["2022-04-25", "2022/04/26 23:05", "2022-04-27T13:05:41.5+02:00", "", "none"];
    let mut log = "user,item,shop,at,word,whole,amount,made,seen\n".to_owned();
    for row in 0..300 {
        let user = pick(&["7.0", "07", "8", "9.0", "12"]);
        let shop = pick(&["a", "b", "True"]);
        let whole = pick(&["3.0", "003", " 4", "none", "5e1"]);
        let amount = pick(&["0", "1.5", "1000", "12.0", "none", "", "True", "3e2"]);
        let (item, word, made, seen) = (pick(&items), pick(&words), pick(&times), pick(&lists));
        let at = 1_650_000_000_000_i64 + row * 7_200_123;
        writeln!(log, "{user},{item},{shop},{at},{word},{whole},{amount},{made},\"{seen}\"").unwrap();
    }
    let mut table = "item,shop,tags,price\n".to_owned();
    for item in &items[..6] {
        for shop in if scoped { &["a", "b"][..] } else { &["a"][..] } {
            let (tags, price) = (pick(&["x|y", "True|true|1.0", "", "['y', 1]"]), pick(&["1", "2.5", ""]));
            writeln!(table, "{item},{shop},\"{tags}\",{price}").unwrap();
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("items.csv"), table).unwrap();
    let (scope, domain) = if scoped { ("item_scope = \"domain\"", "domain = { column = \"shop\" }") } else { ("", "") };
    DatasetConfig::parse(&RANDOM.replace("SCOPE", scope).replace("TABLE", domain), folder.join("law.toml")).unwrap()
}

#[test]
fn a_row_by_itself_has_the_bits_that_it_has_in_its_data_set() {
    for seed in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let config = random(folder.path(), seed, seed % 2 == 1);
        check(&config, 2, false);
        check(&config, 2, true);
    }
}

#[test]
fn so_has_every_row_of_the_examples() {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return;
    }
    for name in ["movielens", "kuairand", "kuairand-inputs", "amazon-4domain", "movietweetings", "douban-book-music-log"] {
        let file = format!("{}/../../examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        check(&DatasetConfig::load(file).unwrap(), 3, true);
    }
}

/// An encoder of a random data set.
fn encoder(scoped: bool) -> RowEncoder {
    let folder = tempfile::tempdir().unwrap();
    let config = random(folder.path(), 3, scoped);
    let (raw, _) = RawDataset::read(&config).unwrap();
    RowEncoder::new(Arc::new(Encoder::fit(&raw, &(0..300).collect::<Vec<_>>()).unwrap()))
}

fn given(json: &str) -> BTreeMap<String, RawValue> {
    serde_json::from_str(json).unwrap()
}

fn encode(encoder: &RowEncoder, shared: &str, rows: &[&str]) -> Result<EncodedRows, RowError> {
    let (shared, rows): (_, Vec<_>) = (given(shared), rows.iter().map(|row| given(row)).collect());
    let mut out = EncodedRows::default();
    encoder.encode(&encoder.columns(&shared, rows.iter())?, &mut out)?;
    Ok(out)
}

#[test]
fn what_is_wrong_is_said_with_its_feature_row_and_value() {
    let encoder = encoder(false);
    let shared = r#"{"user": 7, "shop": "a", "domain": "a"}"#;
    for (shared, row, expected) in [
        (shared, r#"{"amount": "much"}"#, "row 1, `bucket`: column `bucket` holds `much`, expected a finite number"),
        (shared, r#"{"amount": -1}"#, "row 1, `bucket`: column `bucket` holds `-1`, expected a number that is not negative"),
        (shared, r#"{"amont": 1}"#, "row 1, `amont` is no column of this base (there is `amount`); leave it out"),
        (shared, r#"{"seen": [["1"]]}"#, "row 1, `seen`: column `seen` holds `a list`, expected text"),
        (shared, r#"{"seen": 7.5}"#, ""),
        (shared, r#"{"tags": "[1, 2"}"#, "row 1, `tags`: column `tags` holds `[1, 2`, expected a list whose brackets"),
        (shared, r#"{"whole": "x"}"#, "row 1, `whole`: column `whole` holds `x`, expected a whole number"),
        (shared, r#"{"weekday": 5}"#, ""),
        (shared, r#"{"made": 5}"#, "row 1, `made` is no column"),
        (r#"{"user": 7}"#, r#"{"item": 5}"#, "`shop`: column `domain` is empty"),
        (r#"{"user": "seven", "domain": "a"}"#, r#"{"item": 5}"#, "`user_id`: column `user_id` holds `seven`, expected a whole number"),
        (r#"{"time": "soon", "domain": "a"}"#, r#"{"item": 5}"#, "`hour`: column `time` holds `soon`, expected a timestamp"),
    ] {
        let found = encode(&encoder, shared, &[r#"{"item": "x"}"#, row]).map_err(|error| error.to_string());
        match found {
            Err(message) => assert!(message.contains(expected), "{message} of {row}"),
            Ok(_) => assert_eq!(expected, "", "{row} was read"),
        }
    }
    let long = format!(r#"{{"whole": "{}"}}"#, "x".repeat(5000));
    let message = encode(&encoder, shared, &[&long]).unwrap_err().to_string();
    assert!(message.len() < 400, "{message}");
}

#[test]
fn values_that_nothing_recognises_are_counted_and_shared_ones_once() {
    let encoder = encoder(false);
    let shared = r#"{"user": 70, "domain": "nowhere", "word": null}"#;
    let rows = [r#"{"item": "new", "seen": ["new", "newer", "x"]}"#, r#"{"item": "x"}"#, r#"{"item": "newest", "tags": ["y", "q"]}"#];
    // `word` is the column of three features, of which the first that is given under its own name stands for all.
    let error = encode(&encoder, shared, &rows).unwrap_err();
    assert!(matches!(error, RowError::UnknownColumn { ref column, row: None, .. } if column == "word"), "{error}");
    let out = encode(&encoder, &shared.replace("word", "plain"), &rows).unwrap();
    let expected = [("group", 1), ("item", 2), ("seen", 2), ("shop", 1), ("tags", 1), ("user_id", 1)];
    assert_eq!(encoder.unknown(&out), expected.map(|(name, count)| (name.to_owned(), count)).into());
    let none = encode(&encoder, shared.replace("word", "plain").as_str(), &[]).unwrap();
    assert_eq!((none.rows, none.codes.len(), none.bags[0].offsets.as_slice()), (0, 0, &[0][..]));
}

#[test]
fn what_rows_share_can_be_encoded_apart() {
    let whole = encoder(true);
    let is_shared = |feature: &FeatureEncoder| ["user_id", "group", "shop"].contains(&feature.name.as_str());
    let shared = RowEncoder::with(whole.encoder.clone(), is_shared);
    let own = RowEncoder::with(whole.encoder.clone(), |feature| !is_shared(feature));
    let (of_all, of_each) = (given(r#"{"user": "7.0", "domain": "a"}"#), [given(r#"{"item": "x"}"#), given(r#"{"item": "1.0"}"#)]);
    let columns = whole.columns(&of_all, of_each.iter()).unwrap();
    assert!((0..3).all(|feature| shared.is_shared(feature, &columns)));
    assert!(!own.is_shared(0, &columns));
    let [mut all, mut mine, mut theirs] = [const { None }; 3].map(|_: Option<()>| EncodedRows::default());
    whole.encode(&columns, &mut all).unwrap();
    shared.encode(&columns, &mut mine).unwrap();
    own.encode(&columns, &mut theirs).unwrap();
    let names = |encoder: &RowEncoder| -> Vec<String> {
        let categorical = encoder.features().filter(|feature| matches!(feature.encoding, Encoding::Categorical(_)));
        categorical.map(|feature| feature.name.clone()).collect()
    };
    for (encoder, part) in [(&shared, &mine), (&own, &theirs)] {
        for (f, name) in names(encoder).iter().enumerate() {
            let at = names(&whole).iter().position(|other| other == name).unwrap();
            assert!((0..2).all(|row| part.codes[row * part.fields + f] == all.codes[row * all.fields + at]), "{name}");
        }
    }
    assert!(all.codes.iter().any(|&code| code > 0));
}

#[test]
fn an_encoder_from_before_writings_were_kept_is_what_it_was() {
    let now = encoder(false);
    let mut json = serde_json::to_value(&*now.encoder).unwrap();
    json.as_object_mut().unwrap().remove("writing");
    json["features"].as_array_mut().unwrap().iter_mut().for_each(|feature| _ = feature.as_object_mut().unwrap().remove("writing"));
    let before: Encoder = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&before).unwrap(), json, "nothing is added");
    let shared = r#"{"user": "7", "domain": "a", "user_id": "7", "group": "7", "time": 5}"#;
    let rows = [r#"{"item": "x", "plain": "True", "hour": "2022-04-25T13:05Z"}"#];
    let out = encode(&RowEncoder::new(Arc::new(before)), shared, &rows).unwrap();
    let full = encode(&now, r#"{"user": "7", "domain": "a"}"#, &[r#"{"item": "x", "plain": "True"}"#]).unwrap();
    assert_eq!(out.codes[..5], full.codes[..5]);
}

/// A state that learned of the events of a log one by one, as a server does, has the bytes of one that read the log; and rows that are asked about together get
/// what the data set gives each.
#[test]
fn events_and_questions_by_name_are_those_of_the_log() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let config = random(folder.path(), seed, seed % 2 == 1);
        let (raw, _) = RawDataset::read(&config).unwrap();
        let encoder = Arc::new(Encoder::fit(&raw, &(0..200).collect::<Vec<_>>()).unwrap());
        let rows = RowEncoder::new(encoder.clone());
        let spec = FeatureState::spec(&encoder);
        let words = values(&config, &raw.dataset, config.features.iter().find(|feature| feature.name == "past").unwrap());
        let whole = FeatureState::after(&encoder, &raw, &crate::Known::all()).unwrap();
        let log = raw.dataset.log.clone();
        let text = |text: &str| RawValue::Text(text.to_owned());
        let given: Vec<BTreeMap<String, RawValue>> = (0..log.len())
            .map(|row| {
                let item = &raw.dataset.items[log.item[row].at()];
                let item = item.split_once('/').map_or(item.as_str(), |(_, item)| item);
                let user = RawValue::Integer(raw.dataset.users[log.user[row].at()].parse().unwrap());
                let domain = text(&raw.dataset.domains[log.domain[row].at()]);
                let plain = words[row].clone();
                [("user", user), ("item", text(item)), ("domain", domain), ("plain", plain)].map(|(k, v)| (k.to_owned(), v)).into()
            })
            .collect();
        let data = raw.clone().encode_with(&encoder).unwrap();
        let none = BTreeMap::new();
        let mut state = FeatureState::new(&encoder, raw.dataset.zone, None);
        for row in 0..log.len() {
            let columns = rows.columns(&none, given[row..=row].iter()).unwrap();
            let asked = rows.asked(&columns, log.time[row]).unwrap();
            let made = state.features_of_rows(&asked.rows(), &[] as &[RowEvent]);
            let mut out = EncodedRows::default();
            rows.encode(&columns, &mut out).unwrap();
            rows.fill(&made, &mut out);
            let batch = Batch::single(&data, &[row as u32]);
            let at = |name: &str| data.features.bags.iter().position(|bag| bag.name == name).unwrap();
            assert_eq!(out.bags[at("past")], batch.bags[at("past")], "row {row}");
            let at = data.features.numeric.iter().position(|column| column.name == "rate").unwrap();
            assert_eq!(out.numeric[at].to_bits(), batch.numeric[at].to_bits(), "row {row}");
            state.update(&rows.event(&columns, 0, log.time[row], log.label[row].into()).unwrap());
        }
        assert!(state.to_bytes(&spec).unwrap() == whole.to_bytes(&spec).unwrap());

        // Many rows at once, each as it is alone.
        let columns = rows.columns(&none, given[..100].iter()).unwrap();
        let asked = rows.asked(&columns, log.time[250]).unwrap();
        let made = state.features_of_rows(&asked.rows(), &[] as &[RowEvent]);
        for (i, row) in asked.rows().iter().enumerate() {
            let alone = state.features(row, &[] as &[RowEvent]);
            assert_eq!(alone.numbers, made.numbers[i * made.statistics..][..made.statistics]);
            let list = |bag: &BagColumn| bag.codes[bag.offsets[i] as usize..bag.offsets[i + 1] as usize].to_vec();
            assert_eq!(alone.lists, made.lists.iter().map(list).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_event_says_who_what_and_where() {
    let rows = encoder(false);
    let event = |given: &str, label: f64| {
        let given = [serde_json::from_str::<BTreeMap<String, RawValue>>(given).unwrap()];
        let columns = rows.columns(given_none(), given.iter()).unwrap();
        rows.event(&columns, 0, 5, label).map_err(|error| error.to_string())
    };
    assert!(event(r#"{"user": 7, "item": "x", "domain": "a"}"#, 1.0).is_ok());
    assert!(event(r#"{"item": "x", "domain": "a"}"#, 1.0).unwrap_err().contains("`user`"));
    assert!(event(r#"{"user": 7, "item": "", "domain": "a"}"#, 1.0).unwrap_err().contains("`item`"));
    assert!(event(r#"{"user": 7, "item": "x"}"#, 1.0).unwrap_err().contains("`domain`"));
    for label in [0.5, -1.0, f64::NAN, f64::INFINITY, 2.0] {
        assert!(event(r#"{"user": 7, "item": "x", "domain": "a"}"#, label).unwrap_err().contains("outside 1..=1"), "{label}");
    }
}

fn given_none() -> &'static BTreeMap<String, RawValue> {
    static NONE: BTreeMap<String, RawValue> = BTreeMap::new();
    &NONE
}
