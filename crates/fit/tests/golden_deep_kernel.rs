//! Learned features against `reference/deep_kernel.py`: the density with its gradient, and some passes of learning with what they answer.

use acclimate_fit::{Deep, DeepConfig, FoldInConfig, Item, Ratings, RegressionConfig, Sparse, UserModel, density};
use serde_json::Value;

/// Difference relative to the largest expected value, at least 1. What learning stands on are fits whose conjugate gradients stop at 1e-9.
const TOLERANCE: f64 = 1e-5;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../reference/golden/deep_kernel.json")).expect("a golden file")
}

fn case<'a>(file: &'a Value, name: &str) -> &'a Value {
    file["cases"].as_array().expect("a list").iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no case `{name}`"))
}

fn numbers(tensor: &Value) -> Vec<f64> {
    tensor["data"].as_array().expect("a tensor").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a size")).expect("a small number")
}

fn check(case: &Value, name: &str, found: &[f64], tolerance: f64) {
    let expected = numbers(&case["outputs"][name]);
    assert_eq!(found.len(), expected.len(), "{}: size of {name}", case["name"]);
    let scale = expected.iter().fold(1.0f64, |a, e| a.max(e.abs()));
    for (at, (f, e)) in found.iter().zip(&expected).enumerate() {
        // False also of what is not a number.
        let near = (f - e).abs() <= tolerance * scale;
        assert!(near, "{}: {name} at {at} is {f}, the reference says {e}", case["name"]);
    }
}

/// Rows without their zeros.
fn sparse(tensor: &Value, rows: usize) -> Sparse {
    let width = size(tensor["shape"].as_array().expect("a shape").last().expect("a size"));
    let mut found = Sparse::new(width);
    numbers(tensor).chunks_exact(width).take(rows).for_each(|row| found.push((0..).zip(row.iter().copied()).filter(|(_, x)| *x != 0.0)));
    found
}

#[test]
fn the_density_and_its_gradient() {
    let file = golden();
    for name in ["density", "nothing_shown", "one_asked"] {
        let case = case(&file, name);
        let input = |name: &str| numbers(&case["inputs"][name]);
        let (loss, gradient) = density(&input("rows"), [6, 3], &input("noise"), &input("left"), size(&case["config"]["shown"]));
        check(case, "loss", &[loss], 1e-12);
        check(case, "gradient", &gradient, 1e-12);
    }
}

#[test]
fn what_is_learned_and_what_it_answers() {
    let file = golden();
    let case = case(&file, "learn");
    let (config, inputs) = (&case["config"], &case["inputs"]);
    let count = |of: &Value, key: &str| size(&of[key]);
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("no `{key}`"));
    let (users, items) = (count(config, "users"), count(config, "items"));
    let mut rated = Sparse::new(items);
    let rows = numbers(&inputs["ratings"]);
    (0..users).for_each(|u| rated.push(rows.chunks_exact(3).filter(|row| row[0] == u as f64).map(|row| (row[1] as u32, row[2]))));
    let ratings = Ratings {
        rated,
        content: sparse(&inputs["content"], items),
        narrow: count(config, "narrow"),
        people: sparse(&inputs["people"], users),
    };
    let (of, to) = (&config["fold_in"], &config["regression"]);
    let fold_in = FoldInConfig {
        factors: count(of, "factors"),
        sweeps: count(of, "sweeps"),
        level_rows: number(of, "level_rows"),
        loading_rows: number(of, "loading_rows"),
        content_rows: number(of, "content_rows"),
        content_penalty: number(of, "content_penalty"),
        people_penalty: number(of, "people_penalty"),
        variational: false,
    };
    let regression = RegressionConfig {
        sweeps: count(to, "sweeps"),
        people_penalty: number(to, "people_penalty"),
        kernel_rank: count(to, "kernel_rank"),
        kernel_shrink: number(to, "kernel_shrink"),
        kernel_weight: number(to, "kernel_weight"),
        ..RegressionConfig::plus()
    };
    let how = DeepConfig {
        hidden: count(config, "hidden"),
        features: count(config, "features"),
        start: number(config, "start"),
        rate: number(config, "rate"),
        batch: count(config, "batch"),
        most_shown: count(config, "most_shown"),
        queries: count(config, "queries"),
        parts: count(config, "parts"),
        seed: config["seed"].as_u64().expect("a seed"),
        ..DeepConfig::default()
    };
    let model = UserModel::fit(&ratings, &fold_in, Some(&regression), None);
    let mut deep = Deep::new(&model, &ratings, &fold_in, &regression, how);
    check(case, "start", &deep.features(), TOLERANCE);
    let losses: Vec<f64> = (0..count(config, "passes")).map(|_| deep.pass(&ratings)).collect();
    check(case, "losses", &losses, TOLERANCE);
    check(case, "features", &deep.features(), TOLERANCE);

    let model = deep.on(&model);
    let every = sparse(&inputs["content"], usize::MAX);
    let item = |i: usize| -> Item<'_> { if i < items { model.item(i) } else { model.unseen(every.row(i)) } };
    let asked: Vec<Item<'_>> = (0..every.len()).map(item).collect();
    let asking = sparse(&inputs["asking"], 1);
    let shown = numbers(&inputs["shown"]);
    for k in config["prefixes"].as_array().expect("a list").iter().map(size) {
        let rated: Vec<_> = shown.chunks_exact(2).take(k).map(|row| (item(row[0] as usize), row[1])).collect();
        let answers = model.answer(asking.row(0), &rated, &asked, true);
        check(case, &format!("mean_{k}"), &answers.iter().map(|answer| answer.mean).collect::<Vec<_>>(), TOLERANCE);
        check(case, &format!("variance_{k}"), &answers.iter().map(|answer| answer.variance).collect::<Vec<_>>(), TOLERANCE);
    }
}
