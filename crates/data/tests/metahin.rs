//! MetaHIN's published split of MovieLens-1M is a column of the data; its counts are those of the data's own README.

mod skipped;

use std::collections::HashSet;

use acclimate_data::{DatasetConfig, RawDataset, Split, SplitConfig};

/// Rows and users of a part.
fn size(raw: &RawDataset, split: &Split, part: &str) -> (usize, usize) {
    let rows = split.rows(part).unwrap();
    (rows.len(), rows.iter().map(|&row| raw.dataset().log.user[row as usize]).collect::<HashSet<_>>().len())
}

#[test]
fn the_published_parts_have_their_published_sizes() {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return;
    }
    let mut config = DatasetConfig::load(format!("{}/../../examples/movielens.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let as_published: SplitConfig = toml::from_str("kind = 'given'\ncolumn = 'metahin_split'").unwrap();
    as_published.add_columns(&mut config);
    let (raw, _) = RawDataset::read(&config).unwrap();
    let split = as_published.split(raw.view()).unwrap();
    for (part, size_of_part) in [
        ("meta_training", (585_358, 4_832)),
        ("user_cold_testing", (153_740, 1_208)),
        ("item_cold_testing", (153_696, 4_771)),
        ("warm_up", (65_039, 4_583)),
        ("user_and_item_cold_testing", (42_363, 1_195)),
    ] {
        assert_eq!(size(&raw, &split, part), size_of_part, "{part}");
    }
    assert_eq!((split.left_out(), split.names().len()), (0, 5));
    let renamed: SplitConfig = toml::from_str(
        "kind = 'given'\ncolumn = 'metahin_split'\n[parts]\ntrain = ['meta_training']\nvalidation = ['warm_up']
         new_user = ['user_cold_testing']\nnew_item = ['item_cold_testing']",
    )
    .unwrap();
    let split = renamed.split(raw.view()).unwrap();
    assert_eq!((size(&raw, &split, "train"), size(&raw, &split, "new_user")), ((585_358, 4_832), (153_740, 1_208)));
    assert_eq!(split.left_out(), 42_363);
    assert!(split.notes()[0].contains("`user_and_item_cold_testing` (42363)"), "{:?}", split.notes());
    // The users of the training part are those of the warm-up part, and no user for whom the split is cold.
    let users = |part: &str| split.rows(part).unwrap().iter().map(|&row| raw.dataset().log.user[row as usize]).collect::<HashSet<_>>();
    assert!(users("validation").is_subset(&users("train")) && users("new_user").is_disjoint(&users("train")));
}
