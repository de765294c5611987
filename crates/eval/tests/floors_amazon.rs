//! Ranking floors on the Amazon sequences, protocol C: cold users of beauty who are known from electronics.

use std::path::Path;

use acclimate_data::{
    CrossDomain, Dataset, DatasetConfig, ExampleConfig, ItemIndex, NextItem, Queries, RawDataset, Sequences, UserIndex, hash64,
};
use acclimate_eval::floor::{
    FittedRanking, ItemKnn, ItemKnnConfig, Markov, MarkovConfig, Popularity, RankingFloor, RankingHistory, RankingQuery, RecencyPopularity,
};
use acclimate_eval::metric::{rank_of, reciprocal_rank};

/// MRR over the whole catalogue: mean over the positives of a user, then over users.
fn full_mrr(floor: &dyn FittedRanking, catalogue: &[ItemIndex], queries: &[NextItem]) -> f64 {
    let asked: Vec<RankingQuery<'_>> = queries.iter().map(Into::into).collect();
    let mut by_user: std::collections::BTreeMap<UserIndex, Vec<f64>> = std::collections::BTreeMap::new();
    floor.score_all(&asked, &mut |q, scores| {
        let positive = catalogue.binary_search(&queries[q].positive).unwrap();
        let others = scores.iter().enumerate().filter(|&(c, _)| c != positive).map(|(_, &score)| score);
        by_user.entry(queries[q].user).or_default().push(reciprocal_rank(rank_of(scores[positive], others)));
    });
    by_user.values().map(|ranks| ranks.iter().sum::<f64>() / ranks.len() as f64).sum::<f64>() / by_user.len() as f64
}

fn read() -> Option<Dataset> {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        eprintln!("skipped: ACCLIMATE_DATA is not set");
        return None;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/amazon-4domain.toml");
    let (raw, _) = RawDataset::read(&DatasetConfig::load(example).unwrap()).unwrap();
    Some(raw.dataset().clone())
}

#[test]
fn floors_of_protocol_c_are_reproduced() {
    let Some(data) = read() else { return };
    let domain = |name: &str| acclimate_data::DomainIndex(data.domains.iter().position(|d| d == name).unwrap() as u32);
    let pair = CrossDomain { source: domain("electronics"), target: domain("beauty") };
    let wanted = |row: &u32| [pair.source, pair.target].contains(&data.log.domain[*row as usize]);
    let rows: Vec<u32> = (0..data.log.len() as u32).filter(wanted).collect();
    let position = Some(&data.attribute("pos").unwrap().values[..]);
    let sequences = Sequences::new(&data.log, &rows, position).unwrap();
    let class = |user: UserIndex| hash64(21, data.users[user.at()].parse().unwrap(), 0) % 10;
    let train_rows: Vec<u32> = rows.iter().copied().filter(|&row| class(data.log.user[row as usize]) < 7).collect();
    let train = Sequences::new(&data.log, &train_rows, position).unwrap();
    let catalogue = pair.catalogue(&sequences, |user| class(user) < 7);
    let cold = ExampleConfig::cold_queries();
    let validation = Queries::covered(pair.examples(&sequences, |user| class(user) == 7, &cold), &catalogue).kept;
    let test = Queries::covered(pair.examples(&sequences, |user| class(user) >= 8, &cold), &catalogue).kept;
    assert_eq!((catalogue.len(), test.len()), (8823, 2093));

    let history =
        RankingHistory { sequences: &train, items: data.items.len(), catalogue: &catalogue, validation: &validation, zone: data.zone };
    let measure = |floor: &dyn RankingFloor| {
        let start = std::time::Instant::now();
        let fitted = floor.fit(&history).unwrap();
        let mrr = full_mrr(fitted.as_ref(), &catalogue, &test);
        eprintln!("{}: MRR {mrr:.5}, {:?}, {:.1?}", floor.name(), fitted.chosen(), start.elapsed());
        (mrr, fitted.chosen())
    };
    assert!((measure(&Popularity).0 - 0.0156).abs() <= 5.1e-5);
    let (recency, chosen) = measure(&RecencyPopularity::default());
    assert_eq!(chosen[0].value, 7.0);
    assert!((recency - 0.0976).abs() <= 5.1e-5);
    // 0.0168 there, without its settings. These two are checked against SciPy, from the definitions.
    let config = ItemKnnConfig { shrink: 50.0.into(), half_life_events: 0.0.into() };
    assert!((measure(&ItemKnn { config }).0 - 0.0166).abs() <= 5.1e-5);
    let config = MarkovConfig { ahead: 3.0.into(), back: 3.0.into(), popularity: 0.0.into() };
    assert!((measure(&Markov { config }).0 - 0.0204).abs() <= 5.1e-5);
    let (markov, chosen) = measure(&Markov::default());
    assert_eq!(chosen.iter().map(|chosen| chosen.value).collect::<Vec<f64>>(), [3.0, 1.0, 10.0]);
    assert!((markov - 0.0202).abs() <= 5.1e-5);
    assert!(measure(&ItemKnn::default()).0 >= 0.0168);
}
