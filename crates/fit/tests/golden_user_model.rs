//! The factorisation, the regression and the shares of a guarded model against their reference program, which solves every system at once and takes decompositions whole.

use acclimate_fit::{
    FoldIn, FoldInConfig, Item, Judged, Levels, Link, Posterior, Ratings, Regression, RegressionConfig, SIZES, Sparse, UserModel, share,
    shares_of,
};
use serde_json::Value;

/// Difference relative to the largest expected value, at least 1. Conjugate gradients stop at 1e-9, ten sweeps carry that on.
const TOLERANCE: f64 = 1e-6;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden/user_model.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect(path)
}

fn numbers(tensor: &Value) -> Vec<f64> {
    tensor["data"].as_array().expect("a tensor").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a size")).expect("a small number")
}

/// Rows without their zeros.
fn sparse(values: &[f64], width: usize) -> Sparse {
    let mut rows = Sparse::new(width);
    values.chunks_exact(width).for_each(|row| rows.push((0..).zip(row.iter().copied()).filter(|(_, x)| *x != 0.0)));
    rows
}

/// What the file says of a case.
#[derive(Clone, Copy)]
struct Expected<'a>(&'a Value);

impl<'a> Expected<'a> {
    fn new(file: &'a Value, name: &str) -> Self {
        let case = file["cases"].as_array().expect("a list").iter().find(|case| case["name"] == name);
        Self(case.unwrap_or_else(|| panic!("no case `{name}`")))
    }

    /// Compares with an output.
    fn check(&self, name: &str, found: &[f64]) {
        let expected = numbers(&self.0["outputs"][name]);
        assert_eq!(found.len(), expected.len(), "{}: size of {name}", self.0["name"]);
        let scale = expected.iter().fold(1.0f64, |a, e| a.max(e.abs()));
        for (at, (f, e)) in found.iter().zip(&expected).enumerate() {
            // False also of what is not a number.
            let near = (f - e).abs() <= TOLERANCE * scale;
            assert!(near, "{}: {name} at {at} is {f}, the reference says {e}", self.0["name"]);
        }
    }
}

/// One case with its data.
struct Case<'a> {
    expected: Expected<'a>,
    ratings: Ratings,
    /// Content of all items, also of those that are not fitted to.
    content: Sparse,
    asking: Sparse,
    shown: Vec<(usize, f64)>,
    prefixes: Vec<usize>,
}

impl<'a> Case<'a> {
    /// `rating` makes a rating of what the file holds.
    fn new(file: &'a Value, name: &str, rating: impl Fn(f64) -> f64) -> Self {
        let expected = Expected::new(file, name);
        let data = &file["data"][expected.0["data"].as_str().unwrap_or_else(|| panic!("{name}: no data"))];
        let (users, items) = (size(&data["users"]), size(&data["items"]));
        let tensor = |name: &str| (numbers(&data[name]), size(data[name]["shape"].as_array().expect("a shape").last().expect("a size")));
        let (rows, _) = tensor("ratings");
        let mut rated = Sparse::new(items);
        (0..users)
            .for_each(|u| rated.push(rows.chunks_exact(3).filter(|row| row[0] == u as f64).map(|row| (row[1] as u32, rating(row[2])))));
        let (columns, width) = tensor("content");
        let (people, people_width) = tensor("people");
        Self {
            expected,
            ratings: Ratings {
                rated,
                content: sparse(&columns[..items * width], width),
                narrow: size(&data["narrow"]),
                people: sparse(&people, people_width),
            },
            content: sparse(&columns, width),
            asking: sparse(&tensor("asking").0, people_width),
            shown: tensor("shown").0.chunks_exact(2).map(|row| (row[0] as usize, rating(row[1]))).collect(),
            prefixes: data["prefixes"].as_array().expect("a list").iter().map(size).collect(),
        }
    }

    fn number(&self, key: &str) -> f64 {
        self.expected.0["config"][key].as_f64().unwrap_or_else(|| panic!("no `{key}`"))
    }

    fn count(&self, key: &str) -> usize {
        size(&self.expected.0["config"][key])
    }

    fn flag(&self, key: &str) -> bool {
        self.expected.0["config"][key].as_bool().unwrap_or_else(|| panic!("no `{key}`"))
    }

    fn check(&self, name: &str, found: &[f64]) {
        self.expected.check(name, found);
    }

    fn fold_in(&self) -> FoldInConfig {
        FoldInConfig {
            factors: self.count("factors"),
            sweeps: self.count("sweeps"),
            level_rows: self.number("level_rows"),
            loading_rows: self.number("loading_rows"),
            content_rows: self.number("content_rows"),
            content_penalty: self.number("content_penalty"),
            people_penalty: self.number("people_penalty"),
            variational: self.flag("variational"),
        }
    }

    fn regression(&self) -> RegressionConfig {
        RegressionConfig {
            link: if self.expected.0["config"]["link"] == "logistic" { Link::Logistic } else { Link::Identity },
            units: None,
            sweeps: self.count("sweeps"),
            people_penalty: self.number("people_penalty"),
            sets: self.flag("sets"),
            kernel_rank: self.count("kernel_rank"),
            kernel_shrink: self.number("kernel_shrink"),
            kernel_weight: self.number("kernel_weight"),
        }
    }

    fn fitted_to(&self, item: usize) -> bool {
        item < self.ratings.rated.width
    }

    fn item<'m>(&self, model: &'m UserModel, item: usize) -> Item<'m> {
        if self.fitted_to(item) { model.item(item) } else { model.unseen(self.content.row(item)) }
    }

    /// Compares what a model answers to somebody of whom something is known, after none and more of the ratings shown. `noise` is no part of the variance that the file holds.
    fn check_answers(&self, model: &UserModel, noise: impl Fn(usize) -> f64) {
        let asked: Vec<Item<'_>> = (0..self.content.len()).map(|i| self.item(model, i)).collect();
        for &k in &self.prefixes {
            let rated: Vec<_> = self.shown[..k].iter().map(|&(i, r)| (self.item(model, i), r)).collect();
            let answers = model.answer(self.asking.row(0), &rated, &asked, true);
            self.check(&format!("mean_{k}"), &answers.iter().map(|answer| answer.mean).collect::<Vec<_>>());
            let variances = answers.iter().enumerate().map(|(i, answer)| answer.variance - noise(i));
            self.check(&format!("variance_{k}"), &variances.collect::<Vec<_>>());
        }
    }
}

/// The factorisation that the regressions of the file stand on.
fn body(file: &Value) -> FoldInConfig {
    Case::new(file, "plain", |r| r).fold_in()
}

fn check_fold_in(name: &str) -> FoldIn {
    let file = golden();
    let case = Case::new(&file, name, |r| r);
    let fit = FoldIn::fit(&case.ratings, &case.fold_in());
    case.check("items", &fit.items);
    case.check("content", &fit.content);
    case.check("people", &fit.people);
    case.check("noise", &[fit.noise]);
    case.check("unseen_noise", &[fit.unseen_noise]);
    if !fit.covariances.is_empty() {
        case.check("covariances", &fit.covariances);
    }
    for &k in case.prefixes.iter().filter(|&&k| case.shown[..k].iter().all(|(i, _)| case.fitted_to(*i))) {
        let Posterior { mean, .. } = fit.posterior(&fit.prior_of(&case.asking, 0), case.shown[..k].iter().map(|&(i, r)| (fit.item(i), r)));
        case.check(&format!("user_{k}"), &mean);
    }
    let model = UserModel::on(fit, &case.ratings, None, None);
    case.check_answers(&model, |_| 0.0);
    model.fold_in
}

fn check_regression(name: &str, rating: impl Fn(f64) -> f64, noise: impl Fn(&UserModel, usize) -> f64) {
    let file = golden();
    let case = Case::new(&file, name, rating);
    let config = case.regression();
    let model = UserModel::fit(&case.ratings, &body(&file), Some(&config), None);
    let fit = model.regression.as_ref().expect("it was asked for");
    let people: Vec<f64> = fit.people.chunks_exact(fit.width).flat_map(|row| &row[..fit.core]).copied().collect();
    case.check("people", &people);
    case.check("covariance", &fit.covariance);
    if fit.link == Link::Identity {
        case.check("noise", &[fit.noise]);
    }
    if config.kernel_rank > 0 {
        case.check("kernel", &kernel(fit, case.ratings.rated.width));
    } else {
        for &k in case.prefixes.iter().filter(|&&k| case.shown[..k].iter().all(|(i, _)| case.fitted_to(*i))) {
            let rated: Vec<_> = case.shown[..k].iter().map(|&(i, r)| (fit.item(i), r)).collect();
            case.check(&format!("user_{k}"), &fit.weights(&fit.prior(case.asking.row(0), &rated), &rated).mean);
        }
    }
    assert!(case.prefixes.iter().any(|k| (1..fit.width).contains(k)), "{name}: nothing is solved by rows");
    assert!(case.prefixes.iter().any(|&k| k >= fit.width), "{name}: nothing is solved by features");
    case.check_answers(&model, |i| noise(&model, i));
}

/// Products of the kernel's features, which are the same for any rotation of them.
fn kernel(fit: &Regression, items: usize) -> Vec<f64> {
    let of = |i: usize| &fit.item(i).features[fit.core..];
    (0..items * items).map(|at| of(at / items).iter().zip(of(at % items)).map(|(a, b)| a * b).sum()).collect()
}

#[test]
fn the_factorisation_matches_its_reference() {
    assert!(check_fold_in("plain").covariances.is_empty());
}

#[test]
fn the_variational_factorisation_matches_its_reference() {
    assert!(!check_fold_in("variational").covariances.is_empty());
}

#[test]
fn the_regression_matches_its_reference() {
    check_regression("regression", |r| r, |_, _| 0.0);
}

#[test]
fn a_regression_that_knows_which_items_somebody_rates_matches_its_reference() {
    check_regression("sets", |r| r, |_, _| 0.0);
}

#[test]
fn a_regression_with_the_kernel_of_residuals_matches_its_reference() {
    check_regression("kernel", |r| r, |_, _| 0.0);
}

#[test]
fn eigenvalues_below_zero_are_no_features() {
    check_regression("kernel_of_every_sign", |r| r, |_, _| 0.0);
}

#[test]
fn a_regression_of_clicks_matches_its_reference() {
    // A logit has no noise; what the variance holds of it is the factorisation's.
    let noise = |model: &UserModel, item: usize| {
        let more = if model.fold_in.counts.get(item).is_none_or(|&n| n == 0) { model.fold_in.unseen_noise } else { 0.0 };
        model.fold_in.noise + more
    };
    check_regression("clicks", |r| f64::from(u8::from(r >= 4.0)), noise);
}

#[test]
fn shares_match_their_reference() {
    let file = golden();
    let case = Expected::new(&file, "shares");
    let input = |name: &str| numbers(&case.0["inputs"][name]);
    let (shares, loss) = shares_of(|size| {
        assert!(SIZES.contains(&size));
        input(&format!("judged_{size}"))
            .chunks_exact(4)
            .map(|row| Judged { plain: row[0], model: row[1], variance: 0.0, rating: row[2], weight: row[3] })
            .collect()
    });
    case.check("shares", &shares);
    case.check("loss", &[loss]);
    case.check("between", &input("asked").iter().map(|&k| share(&shares, k as usize)).collect::<Vec<_>>());
}

#[test]
fn levels_match_their_reference() {
    let file = golden();
    let case = Case::new(&file, "levels", |r| r);
    let levels = Levels::fit(&case.ratings.rated);
    case.check("items", &levels.items);
    let user = |u: usize| {
        let (items, ratings) = case.ratings.rated.row(u);
        levels.user(items.iter().zip(ratings).map(|(&i, &r)| (levels.items[i as usize], r)))
    };
    case.check("users", &(0..case.ratings.rated.len()).map(user).collect::<Vec<_>>());
}
