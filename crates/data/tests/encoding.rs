//! Laws of encoding: training rows alone decide, a saved encoder repeats itself, growing moves nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use acclimate_data::{Dataset, DatasetConfig, DomainIndex, Encoder, RawDataset};
use proptest::prelude::*;

const CONFIG: &str = r#"
name = "law"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
domain = { column = "domain" }
label = { kind = "implicit" }
[[users]]
files = ["users.csv"]
key = "user"
[[feature]]
name = "item"
kind = "categorical"
min_count = 2
[[feature]]
name = "city"
from = "users"
kind = "categorical"
[[feature]]
name = "seen"
kind = "sequence"
separator = "|"
max_length = 2
vocabulary = "item"
[[feature]]
name = "x"
kind = "numeric"
scale = "standard"
[[feature]]
name = "domain"
kind = "domain"
"#;

/// User, item, domain, seen items, number.
type Row = (u8, u8, u8, Vec<u8>, i16);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..6_u8, 0..8_u8, 0..3_u8, prop::collection::vec(0..8_u8, 0..4), any::<i16>()), 2..40)
}

fn read(rows: &[Row]) -> RawDataset {
    let folder = tempfile::tempdir().unwrap();
    let mut log = "user,item,domain,seen,x\n".to_owned();
    for (user, item, domain, seen, x) in rows {
        let seen: Vec<String> = seen.iter().map(|s| format!("i{s}")).collect();
        writeln!(log, "u{user},i{item},d{domain},{},{x}", seen.join("|")).unwrap();
    }
    let users: String = (0..6).map(|u| format!("u{u},c{}\n", u % 3)).collect();
    std::fs::write(folder.path().join("log.csv"), log).unwrap();
    std::fs::write(folder.path().join("users.csv"), format!("user,city\n{users}")).unwrap();
    let config = DatasetConfig::parse(CONFIG, folder.path().join("law.toml")).unwrap();
    RawDataset::read(&config).unwrap().0
}

fn code(data: &Dataset, feature: usize, row: usize) -> u32 {
    let column = &data.features.categorical[feature];
    column.codes[data.entity(column.side, row)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn vocabularies_count_training_rows_only(rows in rows(), cut in 1..40_usize) {
        let cut = cut.min(rows.len());
        let train: Vec<u32> = (0..cut as u32).collect();
        let data = read(&rows).encode(&train).unwrap();

        let mut items = BTreeMap::new();
        for row in &rows[..cut] {
            *items.entry(format!("i{}", row.1)).or_insert(0) += 1;
        }
        let known: Vec<String> = items.into_iter().filter(|&(_, n)| n >= 2).map(|(item, _)| item).collect();
        let expected = |item: u8| known.iter().position(|k| *k == format!("i{item}")).map_or(0, |p| p as u32 + 1);
        let cities: std::collections::BTreeSet<u8> = rows[..cut].iter().map(|r| r.0 % 3).collect();
        let domains: std::collections::BTreeSet<u8> = rows[..cut].iter().map(|r| r.2).collect();
        let bag = &data.features.bags[0];
        for (i, (user, item, domain, seen, _)) in rows.iter().enumerate() {
            prop_assert_eq!(code(&data, 0, i), expected(*item));
            prop_assert_eq!(code(&data, 1, i), cities.iter().position(|c| *c == user % 3).map_or(0, |p| p as u32 + 1));
            prop_assert_eq!(code(&data, 2, i), domains.iter().position(|d| d == domain).map_or(0, |p| p as u32 + 1));
            let kept: Vec<u32> = seen[seen.len().saturating_sub(2)..].iter().map(|&s| expected(s)).filter(|&c| c != 0).collect();
            prop_assert_eq!(bag.lists.of(i), &kept[..]);
        }
        let mean = |f: &dyn Fn(f64) -> f64| data.features.numeric[0].values[..cut].iter().map(|&x| f(f64::from(x))).sum::<f64>() / cut as f64;
        prop_assert!(mean(&|x| x).abs() < 1e-4);
        let variance = mean(&|x| x * x);
        prop_assert!((variance - 1.0).abs() < 1e-3 || variance == 0.0, "{}", variance);
    }

    #[test]
    fn a_saved_encoder_gives_the_same_data(rows in rows()) {
        let raw = read(&rows);
        let encoder = Encoder::fit(&raw, &[0, 1]).unwrap();
        let saved: Encoder = serde_json::from_str(&serde_json::to_string(&encoder).unwrap()).unwrap();
        prop_assert_eq!(&saved, &encoder);
        let (a, b) = (raw.clone().encode(&[0, 1]).unwrap(), raw.encode_with(&saved).unwrap());
        prop_assert_eq!(a.schema(), saved.schema());
        prop_assert_eq!(a, b);
    }

    #[test]
    fn growing_moves_no_row(old in rows(), new in rows()) {
        let (old, new) = (read(&old), read(&new));
        let all = |raw: &RawDataset| (0..raw.dataset().log.len() as u32).collect::<Vec<_>>();
        let mut encoder = Encoder::fit(&old, &all(&old)).unwrap();
        let before = encoder.clone();
        let unseen = new.clone().encode_with(&encoder).unwrap();
        encoder.grow(&new, &all(&new)).unwrap();
        let grown = new.clone().encode_with(&encoder).unwrap();
        for feature in 0..3 {
            for row in 0..new.dataset().log.len() {
                let (a, b) = (code(&unseen, feature, row), code(&grown, feature, row));
                prop_assert!(a == b || a == 0);
                prop_assert!(feature == 0 || b != 0, "without a minimum count every value of the new rows is known");
            }
        }
        for (v, w) in before.vocabularies().iter().zip(encoder.vocabularies()) {
            prop_assert!((1..v.rows() as u32).all(|row| v.value(row) == w.value(row)));
        }
        prop_assert_eq!(grown.features.vocabularies.as_slice(), encoder.vocabularies());
    }
}

#[test]
fn new_domains_come_after_the_known_ones() {
    let row = |domain| (0, 0, domain, vec![], 0);
    let encoder = Encoder::fit(&read(&[row(2), row(1)]), &[0, 1]).unwrap();
    let data = read(&[row(0), row(2), row(1)]).encode_with(&encoder).unwrap();
    assert_eq!(data.domains, ["d1", "d2", "d0"]);
    assert_eq!(data.log.domain, [2, 1, 0].map(DomainIndex));
    assert_eq!(data.features.categorical[2].codes, [0, 2, 1], "row 0 is the unknown domain");
}

#[test]
fn an_encoder_of_other_features_is_refused() {
    let raw = read(&[(0, 0, 0, vec![], 1)]);
    let encoder = Encoder::fit(&raw, &[0]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log.csv"), "user,item,domain,seen,x\nu0,i0,d0,,1\n").unwrap();
    std::fs::write(folder.path().join("users.csv"), "user,city\nu0,c0\n").unwrap();
    let config = CONFIG.replace("name = \"x\"\nkind = \"numeric\"\nscale = \"standard\"", "name = \"x\"\nkind = \"categorical\"");
    let other = RawDataset::read(&DatasetConfig::parse(&config, folder.path().join("law.toml")).unwrap()).unwrap().0;
    let error = other.encode_with(&encoder).unwrap_err().to_string();
    assert!(error.contains("expects the numeric row feature `x`") && error.contains("gives the categorical row feature `x`"), "{error}");
}

#[test]
fn training_rows_must_exist() {
    let raw = read(&[(0, 0, 0, vec![], 1)]);
    assert!(Encoder::fit(&raw, &[]).unwrap_err().to_string().contains("no training row"));
    assert!(Encoder::fit(&raw, &[1]).unwrap_err().to_string().contains("row 1 is beyond the log's 1 rows"));
}

#[test]
fn a_base_reads_a_feature_as_it_learned_to() {
    let raw = |transform: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log.csv"), "user,item,code\nu,i,aXb\nv,j,axb\n").unwrap();
        let config = format!(
            "name = 'x'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\nlabel = {{ kind = 'implicit' }}\n\
             [[feature]]\nname = 'code'\nkind = 'categorical'\n{transform}\n"
        );
        RawDataset::read(&DatasetConfig::parse(&config, folder.path().join("x.toml")).unwrap()).unwrap().0
    };
    let encoder = Encoder::fit(&raw("transform = { first = 'X' }"), &[0, 1]).unwrap();
    assert!(raw("transform = { first = 'X' }").encode_with(&encoder).is_ok());
    for (other, written) in [("transform = { first = 'x' }", "\"x\""), ("", "none")] {
        let message = raw(other).encode_with(&encoder).unwrap_err().to_string();
        assert!(message.contains("`transform` = { first = \"X\" } for the feature `code`") && message.contains(written), "{message}");
    }
}

#[test]
fn what_an_encoder_does_not_know_is_counted_by_rows() {
    let train = read(&[(0, 1, 0, vec![1], 1), (1, 1, 0, vec![2], 1), (1, 2, 1, vec![], 1)]);
    let encoder = Encoder::fit(&train, &[0, 1, 2]).unwrap();
    let later = read(&[(0, 1, 0, vec![1, 3], 1), (2, 3, 2, vec![], 1), (2, 3, 0, vec![3, 1], 1), (2, 1, 0, vec![7], 1)]);
    let shares = encoder.unknown_shares(&later, &[0, 1, 2]).unwrap();
    let counts: Vec<_> = shares.iter().map(|s| (s.feature.as_str(), s.values, s.unknown, s.missing)).collect();
    // Item 1 alone is frequent enough; user 2 has a city that no training user has, in two of the rows; the last row is not asked for.
    assert_eq!(counts, [("item", 3, 2, 0), ("city", 3, 2, 0), ("seen", 4, 2, 1), ("domain", 3, 1, 0)]);
    assert_eq!((&shares[0].unknown_examples[..], &shares[0].known_examples[..]), (&["i3".to_owned()][..], &["i1".to_owned()][..]));
    assert_eq!((shares[2].share(), shares[3].unknown_examples[0].as_str()), (0.5, "d2"));
    assert!(encoder.unknown_shares(&later, &[4]).is_err(), "a row beyond the log");
}
