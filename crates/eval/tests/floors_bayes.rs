//! The closed-form Bayesian floors on MovieLens-1M, protocol P-MeLU of the anchors: at least as good as what was measured there by another program.

#[path = "../../data/tests/skipped/mod.rs"]
mod skipped;

use std::path::Path;

use acclimate_data::{DatasetConfig, RawDataset, SplitConfig, Task, TaskConfig};
use acclimate_eval::floor::{Bayes, BayesConfig, Choice, Form, Labelled, PointwiseFloor, Unlabelled};
use acclimate_eval::metric::{Gain, LabelRange, ndcg_at, rmse};

const SPLIT: &str = "kind = 'cold_users_items'
users = { rule = 'rank', prefix = 'user:', existing_percent = 80, validation_percent = 10, validation = 'first' }
items = { rule = 'attribute', attribute = 'year', new_from = 1998 }";

/// RMSE and nDCG@3 (linear gain) of new users, new items and both.
const ANCHORS: [(Form, [[f64; 2]; 3]); 3] = [
    (Form::FoldIn, [[0.8518, 0.901], [1.0325, 0.827], [1.0297, 0.830]]),
    (Form::Regression, [[0.8474, 0.904], [1.0318, 0.826], [1.0314, 0.832]]),
    (Form::Plus, [[0.8408, 0.907], [1.0320, 0.826], [1.0311, 0.832]]),
];

#[test]
fn closed_forms_of_p_melu_are_reproduced() {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movielens-ids.toml");
    let (raw, _) = RawDataset::read(&DatasetConfig::load(example).unwrap()).unwrap();
    let split = toml::from_str::<SplitConfig>(SPLIT).unwrap().split(raw.view()).unwrap();
    let train = split.rows("train").unwrap().to_vec();
    let tasks = |part: &str| TaskConfig::default().tasks(raw.view(), split.rows(part).unwrap()).unwrap().tasks;
    let (validation, parts) = (tasks("validation"), ["new_user", "new_item", "both"].map(tasks));
    let data = raw.encode(&train).unwrap();
    let rows = |of: &dyn Fn(&Task) -> &[u32]| validation.iter().flat_map(|t| of(t).to_vec()).collect::<Vec<u32>>();
    let (support, query) = (rows(&|t| &t.support), rows(&|t| &t.query));
    let labelled = |rows| Labelled::new(&data, rows).unwrap();
    let range = LabelRange { low: 1.0, high: 5.0 };
    for (form, anchors) in ANCHORS {
        let floor = Bayes { without: vec!["zip".into()], ..Bayes::new(form, BayesConfig::default()) };
        let fitted = floor.fit(labelled(&train), Choice { support: labelled(&support), rows: labelled(&query) }).unwrap();
        for (tasks, [anchor_rmse, anchor_ndcg]) in parts.iter().zip(anchors) {
            let mut sums = [0.0; 2];
            for task in tasks {
                let scores = fitted.score(labelled(&task.support), Unlabelled::new(&data, &task.query).unwrap());
                let labels: Vec<f32> = task.query.iter().map(|&row| data.log.label[row as usize]).collect();
                sums[0] += rmse(&labels, &scores, range).unwrap();
                sums[1] += ndcg_at(3, Gain::Linear, &labels, &scores).unwrap();
            }
            let [found_rmse, found_ndcg] = sums.map(|s| s / tasks.len() as f64);
            assert!(
                found_rmse < anchor_rmse + 0.002 && found_rmse > anchor_rmse - 0.006,
                "{form:?}: RMSE {found_rmse:.4}, not {anchor_rmse}"
            );
            assert!(found_ndcg > anchor_ndcg - 0.004, "{form:?}: nDCG@3 {found_ndcg:.4}, not {anchor_ndcg}");
        }
    }
}
