//! Pointwise floors on MovieLens-1M, protocol P-MeLU: mean error per user, in four digits.

#[path = "../../data/tests/skipped/mod.rs"]
mod skipped;

use std::path::Path;

use acclimate_data::{Dataset, DatasetConfig, RawDataset, Split, SplitConfig, TaskConfig};
use acclimate_eval::floor::{
    Bias, BiasConfig, Choice, FittedPointwise, GlobalMean, ItemMean, ItemMeanConfig, Labelled, PointwiseFloor, SupportMean, Unlabelled,
};
use acclimate_eval::metric::{LabelRange, mae, rmse};

const SPLIT: &str = "
kind = 'cold_users_items'
users = { rule = 'rank', prefix = 'user:', existing_percent = 80, validation_percent = 10, validation = 'first' }
items = { rule = 'attribute', attribute = 'year', new_from = 1998 }
";
const RANGE: LabelRange = LabelRange { low: 1.0, high: 5.0 };
const PARTS: [&str; 3] = ["new_user", "new_item", "both"];
/// Floor, then MAE and RMSE in each part with the whole support.
const FULL_SUPPORT: [(&str, [[f64; 2]; 3]); 4] = [
    ("global_mean", [[0.9339, 1.0655], [0.9590, 1.1140], [0.9516, 1.1065]]),
    ("support_mean", [[0.8228, 0.9875], [0.8971, 1.0766], [0.8921, 1.0701]]),
    ("item_mean", [[0.7860, 0.9358], [0.9590, 1.1140], [0.9516, 1.1065]]),
    ("bias", [[0.7437, 0.8931], [0.8910, 1.0628], [0.8851, 1.0575]]),
];
const SIZES: [usize; 6] = [0, 1, 3, 5, 10, 20];
/// Part, floor, then MAE at each of `SIZES` for tasks that are on the curve.
const CURVES: [(&str, &str, [f64; 6]); 4] = [
    ("new_user", "support_mean", [0.930, 1.004, 0.886, 0.857, 0.831, 0.819]),
    ("new_user", "bias", [0.783, 0.774, 0.768, 0.762, 0.751, 0.746]),
    ("both", "support_mean", [0.953, 1.159, 0.991, 0.948, 0.912, 0.898]),
    ("both", "bias", [0.953, 0.937, 0.915, 0.910, 0.900, 0.894]),
];

/// MAE and RMSE of each task, averaged over tasks.
fn errors(floor: &dyn FittedPointwise, data: &Dataset, tasks: &[(&[u32], &[u32])]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (support, query) in tasks {
        let scores = floor.score(Labelled::new(data, support).unwrap(), Unlabelled::new(data, query).unwrap());
        let labels: Vec<f32> = query.iter().map(|&row| data.log.label[row as usize]).collect();
        sums[0] += mae(&labels, &scores, RANGE).unwrap();
        sums[1] += rmse(&labels, &scores, RANGE).unwrap();
    }
    sums.map(|sum| sum / tasks.len() as f64)
}

fn read() -> Option<(RawDataset, Split)> {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return None;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movielens.toml");
    let (raw, _) = RawDataset::read(&DatasetConfig::load(example).unwrap()).unwrap();
    let split = toml::from_str::<SplitConfig>(SPLIT).unwrap().split(raw.view()).unwrap();
    Some((raw, split))
}

#[test]
fn floors_of_p_melu_are_reproduced() {
    let Some((raw, split)) = read() else { return };
    let data = raw.dataset();
    let train = Labelled::new(data, split.rows("train").unwrap()).unwrap();
    // The settings of the protocol.
    let item_mean = ItemMean { config: ItemMeanConfig { shrink: 10.0.into() } };
    let bias = Bias { config: BiasConfig { item_shrink: 10.0.into(), user_shrink: 5.0.into() } };
    let floors: [Box<dyn PointwiseFloor>; 4] = [Box::new(GlobalMean), Box::new(SupportMean), Box::new(item_mean), Box::new(bias)];
    let fitted: Vec<_> = floors.iter().map(|floor| (floor.name(), floor.fit(train, Choice::none(data)).unwrap())).collect();
    let fitted = |name: &str| fitted.iter().find(|(n, _)| *n == name).unwrap().1.as_ref();
    for (p, part) in PARTS.into_iter().enumerate() {
        let set = TaskConfig::default().tasks(raw.view(), split.rows(part).unwrap()).unwrap();
        let full: Vec<_> = set.tasks.iter().map(|task| (&task.support[..], &task.query[..])).collect();
        for (name, expected) in FULL_SUPPORT {
            let found = errors(fitted(name), data, &full);
            assert!(
                found.iter().zip(expected[p]).all(|(f, e)| (f - e).abs() <= 5.1e-5),
                "{name}, {part}: {found:.4?}, not {:?}",
                expected[p]
            );
        }
        for (_, name, expected) in CURVES.into_iter().filter(|curve| curve.0 == part) {
            for (k, expected) in SIZES.into_iter().zip(expected) {
                let tasks: Vec<_> = set.on_curve().map(|task| (task.support(k), &task.query[..])).collect();
                let [found, _] = errors(fitted(name), data, &tasks);
                assert!((found - expected).abs() <= 5.1e-4, "{name}, {part}, {k} support rows: {found:.4}, not {expected}");
            }
        }
    }
}

#[test]
fn validation_users_choose_shrinkages_near_those_of_the_protocol() {
    let Some((raw, split)) = read() else { return };
    let data = raw.dataset();
    let tasks = TaskConfig::default().tasks(raw.view(), split.rows("validation").unwrap()).unwrap().tasks;
    let support: Vec<u32> = tasks.iter().flat_map(|task| &task.support).copied().collect();
    let rows: Vec<u32> = tasks.iter().flat_map(|task| &task.query).copied().collect();
    let labelled = |rows| Labelled::new(data, rows).unwrap();
    let choice = Choice { support: labelled(&support), rows: labelled(&rows) };
    let fitted = Bias::default().fit(labelled(split.rows("train").unwrap()), choice).unwrap();
    // By squared error on the queries of 249 validation users; the protocol's 10 and 5 were chosen by absolute error.
    let chosen: Vec<(String, f64, bool)> = fitted.chosen().into_iter().map(|c| (c.setting, c.value, c.at_end)).collect();
    assert_eq!(chosen, [("item_shrink".to_owned(), 10.0, false), ("user_shrink".to_owned(), 10.0, false)]);
    let test = TaskConfig::default().tasks(raw.view(), split.rows("new_user").unwrap()).unwrap().tasks;
    let test: Vec<_> = test.iter().map(|task| (&task.support[..], &task.query[..])).collect();
    let found = errors(fitted.as_ref(), data, &test);
    assert!(found.iter().zip([0.7456, 0.8936]).all(|(f, e)| (f - e).abs() <= 5.1e-5), "{found:.4?}");
}
