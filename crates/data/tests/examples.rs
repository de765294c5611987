//! The data-set files in `examples/` read the real data they describe.

mod skipped;

use acclimate_data::{Dataset, DatasetConfig, RawDataset, ReadReport};

fn read(name: &str) -> Option<(RawDataset, ReadReport)> {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return None;
    }
    let config = DatasetConfig::load(format!("{}/../../examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    Some(RawDataset::read(&config).unwrap())
}

fn rows(data: &Dataset, feature: &str) -> usize {
    let categorical = data.features.categorical.iter().map(|c| (&c.name, c.vocabulary));
    let mut all = categorical.chain(data.features.bags.iter().map(|b| (&b.name, b.vocabulary)));
    let (_, vocabulary) = all.find(|(name, _)| *name == feature).unwrap();
    data.features.vocabularies[vocabulary.at()].rows()
}

/// Counts of the data's own README; years and zips counted with `zcat | awk`.
#[test]
fn movielens() {
    let Some((raw, report)) = read("movielens") else { return };
    assert_eq!((report.rows, report.users, report.items), (1_000_196, 6_040, 3_704));
    let histogram = [1.0, 2.0, 3.0, 4.0, 5.0].map(|r| raw.dataset().log.label.iter().filter(|&&l| l == r).count());
    assert_eq!(histogram, [56_174, 107_556, 261_193, 348_965, 226_308]);
    let year = &raw.dataset().attribute("year").unwrap().values;
    assert_eq!(year.iter().filter(|&&y| y <= 1997).count(), 2_964);
    let all: Vec<u32> = (0..report.rows as u32).collect();
    let data = raw.encode(&all).unwrap();
    assert_eq!((rows(&data, "gender"), rows(&data, "age"), rows(&data, "occupation"), rows(&data, "rate")), (3, 8, 22, 7));
    assert_eq!(rows(&data, "zip"), 3_403);
    assert!(data.features.bags.iter().all(|bag| bag.lists.len() == 3_704 && !bag.lists.iter().flatten().any(|&code| code == 0)));
}

#[test]
fn amazon() {
    let Some((raw, report)) = read("amazon-4domain") else { return };
    assert_eq!((report.rows, report.users), (287_677, 9_624));
    let domains: Vec<(&str, usize)> = report.domains.iter().map(|d| (d.name.as_str(), d.rows)).collect();
    assert_eq!(domains, [("beauty", 50_329), ("electronics", 63_800), ("food", 83_663), ("kitchen", 89_885)]);
    assert_eq!(report.items, 10_379 + 14_188 + 11_837 + 16_258, "no item is in two domains");
    let pair = &raw.dataset().attribute("pair").unwrap().values;
    assert!(raw.dataset().log.domain.iter().zip(pair).all(|(domain, &pair)| i64::from(domain.0 / 2) == pair));
    assert_eq!(report.time.unwrap()[1], 1_406_073_600_000_000, "2014-07-23");
}
