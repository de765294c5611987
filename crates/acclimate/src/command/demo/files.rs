//! The demo's data as files, so that everything else can be tried on it: training a base, adapting, publishing and serving.

use std::path::Path;

use acclimate_data::{Dataset, OutColumn, Side, SimulatorConfig, write_table};

/// What the files mean.
const DATASET: &str = include_str!("dataset.toml");
/// A base for all domains but the target.
const BASE: &str = include_str!("base.toml");

/// Columns of texts with their distinct values.
type Texts = Vec<(String, Vec<String>, Vec<u32>)>;

/// Writes the log, the users, the items and what they mean.
pub(super) fn write(folder: &Path, config: &SimulatorConfig, seed: u64) -> anyhow::Result<()> {
    let simulation = config.simulate(seed)?;
    let (dataset, log) = (&simulation.dataset, &simulation.dataset.log);
    std::fs::create_dir_all(folder)?;
    let rows: Vec<u32> = (0..log.len() as u32).collect();
    let text = |names, of_row: &dyn Fn(usize) -> u32| OutColumn::Text { names, of_row: rows.iter().map(|&row| of_row(row as usize)).collect() };
    let labels: Vec<String> = ["0", "1"].map(str::to_owned).to_vec();
    let devices = texts(dataset, Side::Row, &["domain"]);
    let mut columns = vec![
        ("user", text(&dataset.users, &|row| log.user[row].0)),
        ("item", text(&dataset.items, &|row| log.item[row].0)),
        ("time", OutColumn::Time(log.time.clone())),
        ("domain", text(&dataset.domains, &|row| log.domain[row].0)),
        ("click", text(&labels, &|row| u32::from(log.label[row] > 0.5))),
    ];
    columns.extend(devices.iter().map(|(name, names, of_row)| (name.as_str(), OutColumn::Text { names, of_row: of_row.clone() })));
    write_table(&folder.join("log.csv"), &columns)?;
    for (side, file, key, ids) in [(Side::User, "users.csv", "user", &dataset.users), (Side::Item, "items.csv", "item", &dataset.items)] {
        let texts = texts(dataset, side, &["user_id", "item_id"]);
        let mut columns = vec![(key, OutColumn::Text { names: ids, of_row: (0..ids.len() as u32).collect() })];
        columns.extend(texts.iter().map(|(name, names, of_row)| (name.as_str(), OutColumn::Text { names, of_row: of_row.clone() })));
        let numbers = dataset.features.numeric.iter().filter(|feature| feature.side == side);
        columns.extend(numbers.map(|feature| (feature.name.as_str(), OutColumn::Number(feature.values.clone()))));
        write_table(&folder.join(file), &columns)?;
    }
    for (file, text) in [("dataset.toml", DATASET), ("base.toml", BASE)] {
        std::fs::write(folder.join(file), text)?;
    }
    Ok(())
}

/// Categorical features and lists of an entity as text; a list's values stand between bars.
fn texts(dataset: &Dataset, side: Side, without: &[&str]) -> Texts {
    let features = &dataset.features;
    let values = |vocabulary: acclimate_data::VocabularyIndex| -> Vec<String> {
        let vocabulary = &features.vocabularies[vocabulary.at()];
        (0..vocabulary.rows() as u32).map(|row| vocabulary.value(row).unwrap_or_default().to_owned()).collect()
    };
    let mut found = Texts::new();
    for feature in features.categorical.iter().filter(|feature| feature.side == side && !without.contains(&feature.name.as_str())) {
        found.push((feature.name.clone(), values(feature.vocabulary), feature.codes.clone()));
    }
    for feature in features.bags.iter().filter(|feature| feature.side == side) {
        let names = values(feature.vocabulary);
        let entities = if side == Side::Item { dataset.items.len() } else { dataset.users.len() };
        let list = |entity| feature.lists.of(entity).iter().map(|&code| names[code as usize].as_str()).collect::<Vec<_>>().join("|");
        found.push((feature.name.clone(), (0..entities).map(list).collect(), (0..entities as u32).collect()));
    }
    found
}
