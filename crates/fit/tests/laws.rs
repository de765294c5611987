//! What holds of every fit, whatever the numbers are.

use acclimate_fit::{
    Answer, Deep, DeepConfig, DropoutNet, DropoutNetConfig, DropoutUser, FoldIn, FoldInConfig, Guarded, GuardedItems, Item, ItemBody,
    Rater, Ratings, RegressionConfig, SIZES, Sparse, UserModel, held_out, judged, ordinal_of, spread_of,
};
use rayon::ThreadPoolBuilder;

const ITEMS: usize = 30;
/// Items after this one have no rating.
const RATED: usize = 26;
const CONTENT: usize = 9;
const PEOPLE: usize = 4;

/// A number in -1..1 for a place.
fn place(seed: u64, a: usize, b: usize) -> f64 {
    let mut x =
        seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((a as u64) << 32 | b as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    for _ in 0..3 {
        x ^= x >> 32;
        x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
    (x >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// Ratings of 1 to 5 with tastes in them, with content of items and facts of people that say something; item 29 has neither ratings nor content.
fn ratings(seed: u64, users: usize) -> Ratings {
    let (mut rated, mut content, mut people) = (Sparse::new(ITEMS), Sparse::new(CONTENT), Sparse::new(PEOPLE));
    for i in 0..ITEMS {
        let has = |c: &usize| i + 1 < ITEMS && place(seed + 1, i, *c) > 0.1;
        content.push((0..CONTENT).filter(has).map(|c| (c as u32, if c < 5 { 1.0 } else { place(seed + 2, i, c) })));
    }
    for u in 0..users {
        people.push((0..PEOPLE).map(|c| (c as u32, if c == 0 { 1.0 } else { place(seed + 3, u, c) })));
        let taste = |k: usize| place(seed + 4, u, k) + 0.5 * place(seed + 3, u, 1 + k % 3);
        let rating = |i: usize| {
            let (columns, _) = content.row(i);
            let loading = |k: usize| place(seed + 5, i, k) + columns.iter().map(|&c| 0.4 * place(seed + 6, c as usize, k)).sum::<f64>();
            let said = 3.3 + place(seed + 7, i, 0) + 0.6 * place(seed + 8, u, 0) + (0..3).map(|k| 1.2 * taste(k) * loading(k)).sum::<f64>();
            (said + 0.5 * place(seed + 9, u, i)).round().clamp(1.0, 5.0)
        };
        // Some rate nothing.
        let most = if u % 11 == 5 { -1.0 } else { place(seed + 10, u, 0) + 0.2 };
        rated.push((0..RATED).filter(|&i| place(seed + 11, u, i) < most).map(|i| (i as u32, rating(i))));
    }
    Ratings { rated, content, narrow: 5, people }
}

/// The same of the users at some places.
fn of_users(ratings: &Ratings, users: impl Iterator<Item = usize> + Clone) -> Ratings {
    let some = |rows: &Sparse| {
        let mut kept = Sparse::new(rows.width);
        users.clone().for_each(|u| kept.push(rows.row(u).0.iter().copied().zip(rows.row(u).1.iter().copied())));
        kept
    };
    Ratings { rated: some(&ratings.rated), people: some(&ratings.people), ..ratings.clone() }
}

/// The same with other ratings.
fn with_values(ratings: &Ratings, value: impl Fn(f64) -> f64) -> Ratings {
    let rated = Sparse { values: ratings.rated.values.iter().map(|&r| value(r)).collect(), ..ratings.rated.clone() };
    Ratings { rated, ..ratings.clone() }
}

fn factorisation(variational: bool) -> FoldInConfig {
    FoldInConfig { factors: 3, loading_rows: 5.0, content_rows: 10.0, people_penalty: 5.0, variational, ..FoldInConfig::default() }
}

fn regression(sets: bool, kernel_rank: usize) -> RegressionConfig {
    RegressionConfig { sets, kernel_rank, people_penalty: 5.0, kernel_shrink: 10.0, ..RegressionConfig::default() }
}

/// Every form of a model with its name.
fn models(ratings: &Ratings) -> Vec<(&'static str, UserModel)> {
    let fit =
        |variational: bool, config: Option<RegressionConfig>| UserModel::fit(ratings, &factorisation(variational), config.as_ref(), None);
    vec![
        ("plain", fit(false, None)),
        ("variational", fit(true, None)),
        ("regression", fit(false, Some(regression(false, 0)))),
        ("sets", fit(false, Some(regression(true, 0)))),
        ("kernel", fit(false, Some(regression(false, 6)))),
        ("both", fit(true, Some(regression(true, 6)))),
    ]
}

/// What a user of the ratings is told of all items, after some of them.
fn answers(model: &UserModel, ratings: &Ratings, user: usize, shown: &[(usize, f64)]) -> Vec<Answer> {
    let rated: Vec<_> = shown.iter().map(|&(i, r)| (model.item(i), r)).collect();
    let asked: Vec<Item<'_>> = (0..ITEMS).map(|i| model.item(i)).collect();
    model.answer(ratings.people.row(user), &rated, &asked, true)
}

/// Some items with ratings, no two of them next to each other; the fourth has no rating in the fit.
fn shown(count: usize) -> Vec<(usize, f64)> {
    (0..count).map(|k| (if k == 3 { RATED + 1 } else { k * 7 % RATED }, 1.0 + (k * k % 5) as f64)).collect()
}

fn assert_near(found: &[Answer], expected: &[Answer], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let near = (f.mean - e.mean).abs() <= tolerance && (f.variance - e.variance).abs() <= tolerance;
        assert!(near, "{what}: item {i} is {f:?} and not {e:?}");
    }
}

#[test]
fn a_fit_does_not_depend_on_the_number_of_threads() {
    // More users than are summed together.
    let ratings = ratings(1, 200);
    assert!(held_out(&ratings.rated, 0).len() >= 10, "too few users to choose by");
    let with = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        pool.install(|| {
            let said: Vec<Vec<Answer>> = models(&ratings).iter().map(|(_, model)| answers(model, &ratings, 3, &shown(6))).collect();
            let guarded = Guarded::fit(&ratings, &[(factorisation(false), vec![None, Some(regression(true, 4))])]);
            (said, guarded.shares, answers(&guarded.model, &ratings, 3, &shown(6)))
        })
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn the_order_of_users_does_not_matter() {
    let users = 60;
    let ratings = ratings(2, users);
    // 7 and 60 have no common divisor.
    let other = of_users(&ratings, (0..users).map(|u| (u * 7 + 3) % users));
    assert_ne!(ratings.rated, other.rated);
    for ((name, model), (_, moved)) in models(&ratings).into_iter().zip(models(&other)) {
        // Which part of what they rate users show to the set features goes by their number.
        if model.regression.as_ref().is_none_or(|fit| fit.set_factors == 0) {
            for k in [0, 1, 8, 30] {
                assert_near(&answers(&moved, &ratings, 3, &shown(k)), &answers(&model, &ratings, 3, &shown(k)), 1e-6, name);
            }
        }
    }
}

#[test]
fn ratings_on_another_scale_are_answered_on_that_scale() {
    let ratings = ratings(3, 60);
    let scaled = |r: f64| 20.0 * r - 7.0;
    let other = with_values(&ratings, scaled);
    for ((name, model), (_, on_other)) in models(&ratings).into_iter().zip(models(&other)) {
        let expected = answers(&model, &ratings, 3, &shown(6)).into_iter();
        let expected: Vec<_> = expected.map(|a| Answer { mean: scaled(a.mean), variance: 400.0 * a.variance }).collect();
        let shown: Vec<_> = shown(6).iter().map(|&(i, r)| (i, scaled(r))).collect();
        assert_near(&answers(&on_other, &ratings, 3, &shown), &expected, 1e-4, name);
    }
}

#[test]
fn without_a_rating_the_prior_answers() {
    let ratings = ratings(4, 60);
    let user = 9;
    for (name, model) in models(&ratings) {
        let body = &model.fold_in;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let expected: Vec<Answer> = (0..ITEMS)
            .map(|i| match &model.regression {
                None => {
                    let item = body.item(i);
                    let (b, q) = (item.values[0], &item.values[1..]);
                    let mean = body.mean + body.scale * (b + dot(q, &body.prior_of(&ratings.people, user)));
                    Answer { mean, variance: body.scale.powi(2) * (body.noise + item.more_noise + dot(q, q)) }
                }
                Some(fit) => {
                    let (core, rest) = fit.item(i).features.split_at(fit.core);
                    let of_prior =
                        fit.covariance.chunks_exact(fit.core).zip(core).map(|(row, x)| x * dot(row, core)).sum::<f64>() + dot(rest, rest);
                    let mean = fit.mean + fit.scale * dot(fit.item(i).features, &fit.prior(ratings.people.row(user), &[]));
                    Answer { mean, variance: fit.scale.powi(2) * (fit.noise + fit.more_noise[i] + of_prior) }
                }
            })
            .collect();
        assert_near(&answers(&model, &ratings, user, &[]), &expected, 1e-9, name);
        let other = answers(&model, &ratings, user + 1, &[]);
        assert!(other.iter().zip(&expected).any(|(a, b)| (a.mean - b.mean).abs() > 1e-3), "{name}: the prior does not know who asks");
    }
}

#[test]
fn one_more_rating_never_adds_to_a_variance() {
    let ratings = ratings(5, 60);
    for (name, model) in models(&ratings) {
        let mut before = answers(&model, &ratings, 3, &[]);
        // From none to more than there are features: solved by rows at first, then by features.
        assert!(model.regression.as_ref().is_none_or(|fit| fit.width < 30));
        for k in 1..=34 {
            let now = answers(&model, &ratings, 3, &shown(k));
            for (i, (now, before)) in now.iter().zip(&before).enumerate() {
                assert!(
                    now.variance <= before.variance + 1e-7,
                    "{name}: item {i} after {k} ratings: {} and before {}",
                    now.variance,
                    before.variance
                );
            }
            // What is rated now is known better.
            let item = shown(k)[k - 1].0;
            assert!(now[item].variance < before[item].variance - 1e-7, "{name}: the rating of item {item} says nothing of it");
            before = now;
        }
    }
}

#[test]
fn an_item_is_answered_alike_alone_and_among_others() {
    let ratings = ratings(6, 60);
    for (name, model) in models(&ratings) {
        for k in [0, 2, 30] {
            let together = answers(&model, &ratings, 3, &shown(k));
            let rated: Vec<_> = shown(k).iter().map(|&(i, r)| (model.item(i), r)).collect();
            for (i, expected) in together.iter().enumerate() {
                assert_eq!(model.answer(ratings.people.row(3), &rated, &[model.item(i)], true), [*expected], "{name}, item {i}");
                let without = model.answer(ratings.people.row(3), &rated, &[model.item(i)], false);
                assert_eq!(without, [Answer { mean: expected.mean, variance: 0.0 }], "{name}, item {i}, without its variance");
            }
        }
    }
}

/// Every answer of every model of some ratings.
fn all_answers(ratings: &Ratings) -> Vec<(&'static str, Answer)> {
    let of_model = |(name, model): &(&'static str, UserModel)| -> Vec<(&'static str, Answer)> {
        let after = |k: usize| answers(model, ratings, 0, &shown(k)).into_iter().map(|answer| (*name, answer)).collect::<Vec<_>>();
        [0, 1, 6, 30].into_iter().flat_map(after).collect()
    };
    let guarded = Guarded::fit(ratings, &[(factorisation(false), vec![None, Some(regression(true, 4))])]);
    assert!(guarded.shares.iter().all(|share| (0.0..=1.0).contains(share)), "shares {:?}", guarded.shares);
    models(ratings).into_iter().chain([("guarded", guarded.model)]).flat_map(|model| of_model(&model)).collect()
}

fn assert_numbers(answers: &[(&'static str, Answer)], what: &str) {
    for (name, answer) in answers {
        assert!(answer.mean.is_finite() && answer.variance.is_finite() && answer.variance >= 0.0, "{what}, {name}: {answer:?}");
    }
}

#[test]
fn ratings_that_are_all_the_same_give_numbers() {
    // 3 has an exact mean, 0.1 has not.
    for value in [3.0, 0.1] {
        let constant = with_values(&ratings(7, 160), |_| value);
        assert_numbers(&all_answers(&constant), "constant ratings");
        for (name, model) in models(&constant) {
            for answer in answers(&model, &constant, 0, &[]) {
                assert!((answer.mean - value).abs() < 1e-6, "{name}: {answer:?} of ratings that are all {value}");
            }
        }
    }
}

#[test]
fn a_single_rating_gives_numbers() {
    let all = ratings(8, 12);
    let mut one = Sparse::new(ITEMS);
    (0..12).for_each(|u| one.push((u == 4).then_some((2, 4.0))));
    assert_numbers(&all_answers(&Ratings { rated: one, ..all.clone() }), "one rating of many users");
    let mut alone = Sparse::new(ITEMS);
    alone.push([(2, 4.0)]);
    assert_numbers(&all_answers(&Ratings { rated: alone, ..of_users(&all, 0..1) }), "one rating of one user");
}

#[test]
fn an_item_of_which_nothing_is_known_is_answered_as_any_item() {
    let ratings = ratings(9, 60);
    let nothing = ITEMS - 1;
    assert!(ratings.content.row(nothing).0.is_empty() && !ratings.rated.columns.contains(&(nothing as u32)));
    for (name, model) in models(&ratings) {
        // The row of content that stands for every item.
        assert_eq!(model.fold_in.item(nothing).values, &model.fold_in.content[..model.fold_in.width + 1], "{name}");
        let rated: Vec<_> = shown(6).iter().map(|&(i, r)| (model.item(i), r)).collect();
        let answers = model.answer(ratings.people.row(3), &rated, &[model.item(nothing), model.unseen((&[], &[]))], true);
        assert!((0.0..=6.0).contains(&answers[0].mean) && answers[0].variance > 0.0, "{name}: {answers:?}");
        assert_near(&answers[..1], &answers[1..], 1e-9, &format!("{name}, fitted to and not"));
    }
}

#[test]
fn a_factorisation_without_factors_is_one_of_levels() {
    let ratings = ratings(10, 60);
    let fit = FoldIn::fit(&ratings, &FoldInConfig { factors: 0, ..factorisation(false) });
    let model = UserModel::on(fit, &ratings, None, None);
    let answers = answers(&model, &ratings, 3, &shown(6));
    assert!(answers.iter().all(|answer| answer.mean.is_finite() && answer.variance > 0.0));
}

/// A new item's vector solves `(Σ E[(1, z)(1, z)ᵀ] + T)(v - prior) = Σ ((1, z) y - E[(1, z)(1, z)ᵀ] prior)`.
#[test]
fn a_folded_item_solves_its_ridge_regression() {
    let ratings = ratings(3, 60);
    let fit = FoldIn::fit(&ratings, &FoldInConfig { factors: 3, sweeps: 4, ..FoldInConfig::default() });
    let d = fit.width;
    let posterior = |u: usize| {
        let (items, values) = ratings.rated.row(u);
        let found = fit.posterior(&fit.prior_of(&ratings.people, u), items.iter().zip(values).map(|(&i, &r)| (fit.item(i as usize), r)));
        let covariance = found.precision.inverse();
        (found.mean, covariance)
    };
    let users: Vec<_> = (0..60).map(posterior).collect();
    let (raters, values): (Vec<u32>, Vec<f64>) = (0..15).map(|u| (u * 3, f64::from(1 + u % 5))).unzip();
    let prior = fit.item(27).values;
    let rows = [2.0, 7.0];
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(close(&fit.folded((&[], &[]), &users, prior, rows), prior), "without ratings it is the prior");
    let item = fit.folded((&raters, &values), &users, prior, rows);
    let mut rest: Vec<f64> = (0..=d).map(|k| rows[k.min(1)] * (item[k] - prior[k])).collect();
    for (&u, rating) in raters.iter().zip(&values) {
        let (mean, covariance) = &users[u as usize];
        let error = item[0] + mean.iter().zip(&item[1..]).map(|(z, q)| z * q).sum::<f64>() - (rating - fit.mean) / fit.scale;
        rest[0] += error;
        for k in 0..d {
            rest[k + 1] += error * mean[k] + (0..d).map(|j| covariance[k.max(j) * d + k.min(j)] * item[1 + j]).sum::<f64>();
        }
    }
    assert!(rest.iter().all(|x| x.abs() < 1e-8), "{rest:?}");
    assert!(!close(&item, prior), "ratings move it");
}

/// A guarded model of items, and what it says of an item with some content after ratings by the first so many users.
fn of_items(ratings: &Ratings, bodies: &[ItemBody], shown: usize) -> (GuardedItems, Vec<f64>) {
    let fitted = GuardedItems::fit(ratings, bodies, 3);
    let rater = |u: usize| -> Rater<'_> { (&fitted.model.tastes.users[u], fitted.users[u]) };
    let rated: Vec<_> = (0..shown).map(|u| (rater(u), 1.0 + (u % 5) as f64)).collect();
    let asked: Vec<_> = (0..ratings.rated.len()).map(rater).collect();
    let answers = fitted.answer(ratings.content.row(0), &rated, &asked);
    (fitted, answers)
}

#[test]
fn a_fit_of_items_does_not_depend_on_the_number_of_threads() {
    let ratings = ratings(1, 60);
    assert!((0..5).map(|fold| held_out(&ratings.rated.transposed(), fold).len()).sum::<usize>() >= 10, "too few items to choose by");
    let with = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        pool.install(|| {
            let (fitted, answers) = of_items(&ratings, &[ItemBody::FoldIn, ItemBody::Regression], 6);
            (fitted.shares, answers)
        })
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn an_item_without_ratings_is_what_its_content_says_and_ratings_move_it() {
    let ratings = ratings(3, 60);
    for body in [ItemBody::FoldIn, ItemBody::Regression] {
        let ((mut fitted, none), (_, some)) = (of_items(&ratings, &[body], 0), of_items(&ratings, &[body], 30));
        assert!(none.iter().chain(&some).all(|x| x.is_finite()) && none != some, "{body:?}");
        fitted.shares = [vec![0.0; 7], vec![0.0; 7]];
        let (columns, values) = ratings.content.row(0);
        let of = |(c, x): (&u32, &f64)| x * fitted.level_weights[1 + *c as usize];
        let level = fitted.model.fold_in.mean + fitted.level_weights[0] + columns.iter().zip(values).map(of).sum::<f64>();
        let said = fitted.answer((columns, values), &[], &[(&fitted.model.tastes.users[4], fitted.users[4])]);
        assert!((said[0] - level - fitted.users[4]).abs() < 1e-9, "{body:?}: without shares it is the bias model");
    }
}

#[test]
fn held_out_users_teach_cut_points_that_meet_how_often_values_come() {
    let ratings = ratings(5, 300);
    let config = regression(true, 4);
    let of_guarded = Guarded::fit(&ratings, &[(factorisation(false), vec![Some(config)])]);
    for (judged, shares) in
        [(judged(&ratings, &factorisation(false), Some(&config)), vec![1.0; SIZES.len()]), (of_guarded.judged, of_guarded.shares)]
    {
        let ordinal = ordinal_of(&ratings, &judged, &shares).expect("ratings of five values");
        assert_eq!(ordinal.values, [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(ordinal.cuts.windows(2).all(|pair| pair[0] < pair[1]), "{ordinal:?}");
        // Of what was said of each value's share of all ratings, and the ratings.
        let rows = judged.iter().zip(&shares).flat_map(|(rows, share)| rows.iter().map(move |row| (row, *share)));
        let (mut said, mut given, mut all) = ([0.0; 5], [0.0; 5], 0.0);
        for (row, share) in rows {
            let variance = spread_of(Answer { mean: row.model, variance: row.variance }, row.plain, share);
            assert!(row.variance > 0.0 && variance >= row.variance);
            let mean = row.plain + share * (row.model - row.plain);
            for (c, &value) in ordinal.values.iter().enumerate() {
                said[c] += row.weight * ordinal.probability(value, mean, variance.sqrt());
                given[c] += row.weight * f64::from(u8::from(row.rating == value));
            }
            all += row.weight;
        }
        for c in 0..5 {
            assert!((said[c] - given[c]).abs() < 0.03 * all, "{said:?} against {given:?} of {all}");
        }
    }
    let continuous = with_values(&ratings, |r| r + 0.001 * r * r);
    assert!(ordinal_of(&continuous, &judged(&continuous, &factorisation(false), None), &[1.0; SIZES.len()]).is_some(), "five values still");
    let mut many = ratings.clone();
    many.rated.values.iter_mut().enumerate().for_each(|(i, r)| *r += 0.01 * (i % 30) as f64);
    assert!(ordinal_of(&many, &judged(&many, &factorisation(false), None), &[1.0; SIZES.len()]).is_none(), "150 values");
}

mod bridges {
    use acclimate_fit::Sparse;
    use acclimate_fit::bridge::{BiasBridge, Biases, Bridge, Factors, FactorsConfig, Known, Mixture, Observed, Pair, RidgeBridge, joint};

    /// People on shelves: who has a source item of a shelf has target items of the same.
    fn shelves() -> Pair {
        let (mut source, mut target) = (Sparse::new(20), Sparse::new(15));
        for person in 0..240u32 {
            let shelf = person % 5;
            source.push((0..3).map(|step| (shelf * 4 + (person / 5 + step) % 4, 1.0)));
            let items = if person < 200 { 2 } else { 0 };
            target.push((0..items).map(|step| (shelf * 3 + (person / 5 + step) % 3, 1.0)));
        }
        Pair { source, target }
    }

    fn config(factors: usize, observed: Observed) -> FactorsConfig {
        FactorsConfig { factors, ridge: 0.01, sweeps: 30, observed, seed: 1 }
    }

    /// `Σ c (p - x y)² + penalties` of everybody.
    fn objective(rows: &Sparse, factors: &Factors, users: &[f64], (ridge, a): (f64, f64)) -> f64 {
        let d = factors.factors();
        let (people, items) = (rows.len() as f64, rows.width as f64);
        let owners = rows.transposed();
        let mut sum = 0.0;
        for u in 0..rows.len() {
            let (x, (columns, values)) = (&users[u * d..(u + 1) * d], rows.row(u));
            for i in 0..rows.width {
                let said: f64 = x.iter().zip(factors.item(i)).map(|(x, y)| x * y).sum();
                let observed = columns.iter().position(|&c| c as usize == i);
                sum += observed.map_or(a * said * said, |at| (values[at] - said).powi(2));
            }
            sum += ridge * (columns.len() as f64 + a * items) * x.iter().map(|x| x * x).sum::<f64>();
        }
        for i in 0..rows.width {
            let n = owners.row(i).0.len() as f64 + a * people;
            sum += ridge * n * factors.item(i).iter().map(|y| y * y).sum::<f64>();
        }
        sum
    }

    #[test]
    fn sweeps_of_a_factorisation_lower_its_objective_and_folding_in_gives_a_users_own_vector() {
        let rows = joint(&shelves());
        let a = 0.1;
        let fit = |sweeps| Factors::fit(&rows, FactorsConfig { sweeps, ..config(6, Observed::Clicks { unobserved: a }) });
        let losses: Vec<f64> = [1, 2, 4, 8, 16].map(fit).iter().map(|(f, users)| objective(&rows, f, users, (0.01, a))).collect();
        assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
        // At the end nothing moves: a user's vector is the one that is folded in.
        let (factors, users) = fit(400);
        for u in [0, 7, 239] {
            let folded = factors.fold(rows.row(u));
            assert!(folded.iter().zip(&users[u * 6..]).all(|(a, b)| (a - b).abs() < 1e-6), "{folded:?}");
        }
    }

    #[test]
    fn the_order_of_people_changes_nothing() {
        let pair = shelves();
        let turned = |rows: &Sparse| {
            let mut turned = Sparse::new(rows.width);
            (0..rows.len()).rev().for_each(|u| turned.push(rows.row(u).0.iter().copied().zip(rows.row(u).1.iter().copied())));
            turned
        };
        let other = Pair { source: turned(&pair.source), target: turned(&pair.target) };
        let score = |pair: &Pair, person: usize| {
            let mut scores = vec![0.0; 15];
            RidgeBridge::new(pair, 0.25, 5.0).score(&pair.newcomer(person), &mut scores);
            scores
        };
        let (a, b) = (score(&pair, 230), score(&other, 9));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
    }

    #[test]
    fn a_mixture_is_a_distribution_and_knows_the_shelf() {
        let pair = shelves();
        let mixture = Mixture::fit(&pair, config(6, Observed::Clicks { unobserved: 0.1 }), 1);
        for (shown, shares) in mixture.shares() {
            let sum: f64 = shares.iter().map(|share| share.share).sum();
            assert!((sum - 1.0).abs() < 0.05, "{shown}: {shares:?}");
        }
        for person in 200..240 {
            let mut scores = vec![0.0; 15];
            mixture.score(&pair.newcomer(person), &mut scores);
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-9 && scores.iter().all(|p| *p >= 0.0), "{scores:?}");
            let best = (0..15).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            assert_eq!(best / 3, person % 5, "{scores:?}");
            // A person of whom nothing is known is served as well.
            mixture.score(&Known { source: (&[], &[]), revealed: (&[], &[]) }, &mut scores);
            assert!(scores.iter().all(|p| p.is_finite()), "{scores:?}");
        }
    }

    #[test]
    fn levels_cross_domains_and_ratings_move_them_as_far_as_they_tell() {
        // Person u has level l_u in the source and about l_u / 2 in the target; ratings differ from it by a half up and down.
        let level = |u: usize| (u % 9) as f64 / 4.0 - 1.0;
        let (mut source, mut target) = (Sparse::new(12), Sparse::new(12));
        for u in 0..180 {
            source.push((0..12).map(|i| (i, 3.0 + level(u) + if i % 2 == 0 { 0.5 } else { -0.5 })));
            let n = if u < 170 { 12 } else { 0 };
            let noise = |i: u32| if (i as usize + u).is_multiple_of(2) { 0.5 } else { -0.5 };
            let own = if u / 9 % 2 == 0 { 0.2 } else { -0.2 };
            target.push((0..n).map(|i| (i, 3.0 + own + level(u) / 2.0 + noise(i))));
        }
        let pair = Pair { source, target };
        let bridge = BiasBridge::new(&pair, 1.0, 1.0);
        let [slope, _, weight] = bridge.line();
        assert!((slope - 0.5).abs() < 0.05 && weight > 2.0 && weight < 20.0, "{:?}", bridge.line());
        let know = |revealed| bridge.person(&Known { source: pair.source.row(175), revealed });
        let (none, one, many) = (know((&[], &[])), know((&[0], &[5.0])), know((&[0, 1, 2, 3, 4, 5, 6, 7], &[5.0; 8])));
        assert!(none < one && one < many && one - none < 0.6, "{none} {one} {many}");
    }

    #[test]
    fn a_shrunken_level_is_the_mean_of_its_residuals_times_n_over_n_and_lambda() {
        let mut rows = Sparse::new(3);
        (0..6).for_each(|u| rows.push([(u % 3, f64::from(u % 2) + 2.0), ((u + 1) % 3, 4.0)]));
        let Biases { mean, people, items, .. } = Biases::fit(&rows, 2.0, 3.0);
        for (u, level) in people.iter().enumerate() {
            let (columns, values) = rows.row(u);
            let sum: f64 = columns.iter().zip(values).map(|(&i, r)| r - mean - items[i as usize]).sum();
            assert!((level - sum / 4.0).abs() < 1e-12, "{level}");
        }
    }
}

/// Towers, and what they say of an item with some content after ratings by the first so many users, with such shares in place of their own.
fn of_towers(ratings: &Ratings, shown: usize, share: Option<f64>) -> (DropoutNet, Vec<f64>) {
    let mut fitted = DropoutNet::fit(ratings, &DropoutNetConfig { factors: 3, hidden: 8, dropout: 0.5 });
    if let Some(share) = share {
        fitted.shares = [vec![share; SIZES.len()], vec![share; SIZES.len()]];
    }
    let vector = |u: usize| &fitted.users[4 * u..4 * u + 4];
    let rated: Vec<_> = (0..shown).map(|u| (vector(u), fitted.levels[u], 1.0 + (u % 5) as f64)).collect();
    let asked: Vec<DropoutUser<'_>> = (0..ratings.rated.len()).map(|u| (vector(u), fitted.levels[u], ratings.people.row(u))).collect();
    let answers = fitted.answer((&[0, 1, 2], &[1.0, 1.0, 1.0]), &rated, &asked);
    (fitted, answers)
}

#[test]
fn towers_do_not_depend_on_the_number_of_threads() {
    let ratings = ratings(1, 60);
    let with = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        pool.install(|| {
            let (fitted, answers) = of_towers(&ratings, 6, None);
            (fitted.shares, answers)
        })
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn towers_without_a_share_are_the_bias_model_and_with_one_they_know_tastes() {
    let ratings = ratings(3, 60);
    for shown in [0, 20] {
        let ((fitted, none), (_, whole)) = (of_towers(&ratings, shown, Some(0.0)), of_towers(&ratings, shown, Some(1.0)));
        let level = none[0] - fitted.levels[0];
        assert!(none.iter().zip(&fitted.levels).all(|(said, b)| (said - b - level).abs() < 1e-12), "{shown}: levels alone");
        assert!(whole.iter().all(|x| x.is_finite()) && whole.iter().zip(&none).any(|(a, b)| (a - b).abs() > 1e-3), "{shown}");
    }
}

#[test]
fn ratings_that_are_all_alike_leave_towers_nothing_to_learn() {
    let (_, answers) = of_towers(&with_values(&ratings(2, 60), |_| 3.0), 10, Some(1.0));
    assert!(answers.iter().all(|x| x.is_finite()), "{answers:?}");
}

fn quick() -> DeepConfig {
    DeepConfig { hidden: 12, features: 4, start: 0.1, rate: 0.02, parts: 2, epochs: 12, ..DeepConfig::default() }
}

/// Ratings by users who differ in two tastes that no single column tells: whether an item has one of two properties and not the other.
fn either_not_both(users: usize) -> Ratings {
    let mut found = ratings(2, users);
    let (mut content, mut rated) = (Sparse::new(CONTENT), Sparse::new(ITEMS));
    (0..ITEMS).for_each(|i| content.push((0..3).filter(|c| i >> c & 1 == 1).map(|c| (c as u32, 1.0))));
    let of = |i: usize, k: usize| if ((i >> k) ^ (i >> (k + 1))) & 1 == 1 { 1.0 } else { -1.0 };
    for u in 0..users {
        let taste = |k: usize| if place(70, u, k) > 0.0 { 1.0 } else { -1.0 };
        let rating = |i: usize| 3.0 + taste(0) * of(i, 0) + taste(1) * of(i, 1) + 0.3 * place(72, u, i);
        rated.push((0..RATED).filter(|&i| place(71, u, i) < 0.2).map(|i| (i as u32, rating(i))));
    }
    (found.content, found.rated) = (content, rated);
    found
}

#[test]
fn what_is_learned_does_not_depend_on_the_number_of_threads() {
    let ratings = ratings(1, 100);
    let with = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        pool.install(|| {
            let fitted = Guarded::fit_deep(&ratings, &[(factorisation(false), vec![Some(regression(true, 4))])], Some(&quick()));
            let mut deep = Deep::new(&fitted.model, &ratings, &factorisation(false), &regression(true, 4), quick());
            let losses = [deep.pass(&ratings), deep.pass(&ratings)];
            (losses, deep.features(), fitted.shares, answers(&fitted.model, &ratings, 3, &shown(6)))
        })
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn features_of_no_weight_change_nothing_and_those_that_do_not_help_are_left_out() {
    let ratings = ratings(3, 100);
    let model = UserModel::fit(&ratings, &factorisation(false), Some(&regression(true, 4)), None);
    let deep = Deep::new(&model, &ratings, &factorisation(false), &regression(true, 4), DeepConfig { start: 0.0, ..quick() });
    let said = |model: &UserModel, k: usize| answers(model, &ratings, 3, &shown(k));
    for k in [0, 1, 6] {
        assert_near(&said(&deep.on(&model), k), &said(&model, k), 1e-12, "features of no weight");
    }
    let candidates = [(factorisation(false), vec![Some(regression(true, 4))])];
    let plain = Guarded::fit(&ratings, &candidates);
    // A rate at which nothing is learned but noise.
    let wild = Guarded::fit_deep(&ratings, &candidates, Some(&DeepConfig { rate: 30.0, ..quick() }));
    assert_eq!((wild.passes, &wild.shares), (0, &plain.shares));
    assert_eq!(said(&wild.model, 6), said(&plain.model, 6));
}

#[test]
fn a_network_learns_what_no_column_tells_and_is_kept() {
    let ratings = either_not_both(200);
    let candidates = [(FoldInConfig { factors: 1, sweeps: 1, ..factorisation(false) }, vec![Some(regression(true, 0))])];
    let plain = Guarded::fit(&ratings, &candidates);
    let deep = Guarded::fit_deep(&ratings, &candidates, Some(&DeepConfig { epochs: 30, ..quick() }));
    assert!(deep.passes > 0 && plain.passes == 0, "{} passes", deep.passes);
    // Held-out users after ten ratings, without shares.
    let error = |of: &Guarded| of.judged[4].iter().map(|row| (row.model - row.rating).powi(2)).sum::<f64>() / of.judged[4].len() as f64;
    let [before, after] = [error(&plain), error(&deep)];
    assert!(after < 0.8 * before, "{after} is not below {before}");
}
