//! Protocol C on the Amazon sequences (electronics to beauty): catalogue, queries and coverage, read without the crate's own reader.

mod skipped;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use acclimate_data::{
    CrossDomain, DomainIndex, ExampleConfig, ItemIndex, Log, Queries, Sequences, UserIndex, hash64, hashed_negatives, rank_in_domain,
};
use flate2::read::GzDecoder;

const PAIR: CrossDomain = CrossDomain { source: Some(DomainIndex(0)), target: DomainIndex(1) };

struct Events {
    log: Log,
    position: Vec<i64>,
    users: Vec<u64>,
    items: Vec<String>,
}

/// Rows of the pair beauty and electronics.
fn read(path: &Path) -> Events {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(path).unwrap()));
    let (mut out, mut user_index, mut item_index) =
        (Events { log: Log::default(), position: Vec::new(), users: Vec::new(), items: Vec::new() }, HashMap::new(), HashMap::new());
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).unwrap() {
        if &row[1] != "abe" {
            continue;
        }
        let id: u64 = row[0].parse().unwrap();
        let user = *user_index.entry(id).or_insert_with(|| {
            out.users.push(id);
            out.users.len() as u32 - 1
        });
        let item = *item_index.entry(row[4].to_owned()).or_insert_with(|| {
            out.items.push(row[4].to_owned());
            out.items.len() as u32 - 1
        });
        out.log.user.push(UserIndex(user));
        out.log.item.push(ItemIndex(item));
        out.log.domain.push(DomainIndex(match &row[3] {
            "electronics" => 0,
            "beauty" => 1,
            other => panic!("domain {other} in pair abe"),
        }));
        out.log.time.push(row[5].parse().unwrap());
        out.log.label.push(1.0);
        out.position.push(row[2].parse().unwrap());
    }
    out
}

#[test]
fn counts_are_those_of_the_protocol() {
    let Some(root) = std::env::var_os("ACCLIMATE_DATA") else {
        skipped::say();
        return;
    };
    let events = read(&Path::new(&root).join("amazon-4domain-seq/interactions.csv.gz"));
    let rows: Vec<u32> = (0..events.log.len() as u32).collect();
    assert_eq!(rows.len(), 50_329 + 63_800);
    let sequences = Sequences::new(&events.log, &rows, Some(&events.position)).unwrap();

    let class = |user: UserIndex| hash64(21, events.users[user.at()], 0) % 10;
    let catalogue = PAIR.catalogue(&sequences, |user| class(user) < 7);
    assert_eq!(catalogue.len(), 8823, "catalogue");

    let queries = PAIR.examples(&sequences, |user, _| class(user) >= 8, &ExampleConfig::cold_queries());
    let test = Queries::covered(queries, &catalogue);
    assert_eq!((test.kept.len(), test.all), (2093, 2434), "test queries kept, all");
    let users: HashSet<UserIndex> = test.kept.iter().map(|q| q.user).collect();
    assert_eq!(users.len(), 834, "test users");

    let rank = rank_in_domain(&events.log, &events.items, PAIR.target);
    assert_eq!(rank.iter().filter(|&&r| r != u64::MAX).count(), 10_379, "beauty items");
    for query in &test.kept {
        assert!(query.input.len() >= 3 && query.input.iter().all(|item| rank[item.at()] == u64::MAX), "input is source only");
    }
    let query = &test.kept[0];
    let seen = PAIR.seen(&sequences, query.user);
    let negatives = hashed_negatives(22, events.users[query.user.at()], &rank, &catalogue, &seen, 99);
    assert_eq!(negatives.iter().collect::<HashSet<_>>().len(), 99);
    assert!(!negatives.contains(&query.positive) && negatives.iter().all(|item| catalogue.binary_search(item).is_ok()));

    let train = PAIR.examples(&sequences, |user, _| class(user) < 7, &ExampleConfig::default());
    let validation = PAIR.examples(&sequences, |user, _| class(user) == 7, &ExampleConfig::cold_queries());
    // Not printed in the protocol: they guard against a change.
    let counts = (train.len(), validation.len(), sequences.in_domain(DomainIndex(0)).count());
    assert_eq!(counts, (25_727, 1_179, 4_474), "fine-tuning examples, validation queries, pre-training sequences");
    let trained: HashSet<UserIndex> = train.iter().map(|q| q.user).collect();
    assert!(trained.is_disjoint(&users) && validation.iter().all(|q| !users.contains(&q.user) && !trained.contains(&q.user)));
}
