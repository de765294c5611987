//! Planted leaks are marked, and nothing else is.

mod examples;
mod world;

use std::sync::Arc;

use acclimate_data::{Bag, LabelKind, Lists, RandomStream, Side, SimulatorConfig, TaskConfig, VocabularyIndex};
use acclimate_eval::suspicion::{Leak, Parts, Sign, future_rates, label_copies, shared_rows};
use world::{SIZES, Sizes, World};

/// Feature and kind of everything that is marked, without repetitions.
fn named(signs: &[Sign]) -> Vec<(Leak, &str)> {
    let mut all: Vec<(Leak, &str)> = signs.iter().map(|sign| (sign.leak, sign.feature.as_deref().unwrap_or_default())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Features that nobody would blame: what an item is like, what it costs, how often it was shown, its age, where and when, the past of items and users.
fn honest(world: &mut World) {
    let items = world.data.items.len();
    let quality = world.quality.clone();
    let price: Vec<f64> = quality.iter().map(|q| (0.3 * world.stream.normal() - q).exp()).collect();
    let age: Vec<f64> = (0..items).map(|_| world.stream.position(6) as f64).collect();
    let (all, past) = (world.all(), world.train.clone());
    let mut shown = vec![0.0_f64; items];
    all.iter().for_each(|&row| shown[world.data.log.item[row as usize].at()] += 1.0);
    world.number("quality", Side::Item, quality);
    world.number("price", Side::Item, price);
    world.number("age", Side::Item, age);
    world.number("shown", Side::Item, shown.iter().map(|n| n.ln_1p()));
    for smoothing in [0.0, 1.0, 10.0, 100.0] {
        let rate = world.rate(Side::Item, &past, smoothing);
        world.number(&format!("past_log_rate_{smoothing}"), Side::Item, rate.iter().map(|r| (r + 1e-4).ln()));
        world.number(&format!("past_rate_{smoothing}"), Side::Item, rate);
    }
    let rate = world.rate(Side::User, &past, 5.0);
    world.number("past_user_rate", Side::User, rate);
    let hours: Vec<String> = all.iter().map(|row| (row % 24).to_string()).collect();
    world.text("hour", Side::Row, hours);
    let ids = world.data.items.to_vec();
    world.text("item_id", Side::Item, ids);
    let users = world.data.users.to_vec();
    world.text("user_id", Side::User, users);
}

#[test]
fn honest_features_are_not_marked() {
    for seed in 1..=4 {
        for mut world in [World::clicks(Sizes { seed, ..SIZES }), World::ratings(Sizes { seed, ..SIZES })] {
            honest(&mut world);
            assert_eq!(named(&world.marked()), [], "seed {seed}, {:?}", world.data.label);
            let looked = world.signs().into_iter().filter(|s| s.leak == Leak::FutureRate).count();
            assert!(looked > 12, "{looked} rates were looked at");
        }
    }
}

#[test]
fn which_rows_are_test_makes_no_marks_on_clean_data() {
    for seed in 1..=5 {
        let mut world = World::clicks(SIZES);
        let mut rows = world.all();
        RandomStream::new(seed, 1, 0).shuffle(&mut rows);
        let rest = rows.split_off(rows.len() * 8 / 10);
        let (validation, test) = rest.split_at(rest.len() / 2);
        (world.train, world.validation, world.test) = (rows, validation.to_vec(), test.to_vec());
        honest(&mut world);
        assert_eq!(named(&world.marked()), [], "seed {seed}");
    }
}

#[test]
fn a_copy_of_the_label_is_marked_with_its_cause() {
    for mut world in [World::clicks(SIZES), World::ratings(SIZES)] {
        honest(&mut world);
        let (exact, noisy) = (world.copies(0.0), world.copies(0.1));
        world.number("copy", Side::Row, exact);
        world.text("noisy_copy", Side::Row, noisy.iter().map(|label| format!("outcome {label}")));
        let marked = world.marked();
        assert_eq!(named(&marked), [(Leak::LabelCopy, "copy"), (Leak::LabelCopy, "noisy_copy")], "{:?}", world.data.label);
        assert!(marked[0].line().contains("`copy`") || marked[0].line().contains("`noisy_copy`"));
        assert!(marked.iter().all(|sign| sign.line().contains("filled in after the outcome") && sign.part == "validation"));
    }
}

#[test]
fn a_value_that_only_clicks_have_is_marked() {
    let mut world = World::clicks(SIZES);
    // Missing numbers are read as the mean, which some present values may equal.
    let seconds: Vec<f64> = world.data.log.label.clone().iter().map(|&y| if y > 0.5 { 10.0 * world.stream.unit() } else { 5.0 }).collect();
    world.number("seconds_watched", Side::Row, seconds);
    let answers: Vec<String> =
        world.data.log.label.clone().iter().map(|&y| if y > 0.5 { "filled".into() } else { String::new() }).collect();
    world.text("answer", Side::Row, answers);
    assert_eq!(named(&world.marked()), [(Leak::LabelCopy, "answer"), (Leak::LabelCopy, "seconds_watched")]);
}

#[test]
fn how_well_a_noisy_copy_tells_the_label_is_what_its_noise_leaves() {
    let mut world = World::clicks(Sizes { rows: 60_000, ..SIZES });
    // One label in five is wrong, whatever it is: the AUC of such a copy is 0.8, inside any group.
    let label = world.data.log.label.clone();
    let flipped: Vec<f64> = label.iter().map(|&y| if world.stream.unit() < 0.2 { f64::from(1.0 - y) } else { f64::from(y) }).collect();
    world.number("copy", Side::Row, flipped);
    let sign = &label_copies(&world.data, &world.parts())[0];
    assert!((sign.statistic - 0.8).abs() < 0.02 && !sign.is_suspicious(), "{sign:?}");
}

#[test]
fn a_rate_over_the_whole_log_is_marked_whatever_its_smoothing() {
    for mut world in [World::clicks(SIZES), World::ratings(SIZES)] {
        honest(&mut world);
        let all = world.all();
        let mut planted = Vec::new();
        for smoothing in [0.0, 1.0, 4.0, 10.0, 25.0, 60.0, 100.0, 170.0, 400.0] {
            let rate = world.rate(Side::Item, &all, smoothing);
            planted.extend([format!("log_rate_{smoothing}"), format!("rate_{smoothing}")]);
            world.number(&planted[planted.len() - 2], Side::Item, rate.iter().map(|r| (r + 1e-4).ln()));
            world.number(&planted[planted.len() - 1], Side::Item, rate);
        }
        let rate = world.rate(Side::User, &all, 3.0);
        world.number("user_rate", Side::User, rate);
        planted.push("user_rate".into());
        // As a column of the log, and as text.
        let rate = world.rate(Side::Item, &all, 0.0);
        let of_rows: Vec<String> = world.data.log.item.iter().map(|item| format!("{:.4}", rate[item.at()])).collect();
        world.text("text_rate", Side::Row, of_rows);
        planted.push("text_rate".into());
        // Of the measured rows alone.
        let rate = world.rate(Side::Item, &world.test.clone(), 2.0);
        world.number("test_rate", Side::Item, rate);
        planted.push("test_rate".into());
        let marked = world.marked();
        planted.sort();
        let expected: Vec<(Leak, &str)> = planted.iter().map(|name| (Leak::FutureRate, name.as_str())).collect();
        assert_eq!(named(&marked), expected, "{:?}", world.data.label);
        let of_user = marked.iter().find(|sign| sign.feature.as_deref() == Some("user_rate")).unwrap();
        assert_eq!(of_user.of.as_deref(), Some("user"));
        assert!(
            of_user.line().contains("`user_rate` as a rate of each user") && of_user.line().contains("Compute it from training rows only")
        );
    }
}

#[test]
fn counts_of_clicks_and_rates_of_a_group_are_marked() {
    let mut world = World::clicks(SIZES);
    let items = world.data.items.len();
    let makers: Vec<String> = (0..items).map(|item| format!("maker {}", item % 83)).collect();
    world.text("maker", Side::Item, makers);
    let (mut of_maker, mut clicks) = (vec![(0.0, 0.0); 83], vec![0.0_f64; items]);
    for row in world.all() {
        let (item, label) = (world.data.log.item[row as usize].at(), f64::from(world.data.log.label[row as usize]));
        let sums = &mut of_maker[item % 83];
        *sums = (sums.0 + 1.0, sums.1 + label);
        clicks[item] += label;
    }
    world.number("clicks", Side::Item, clicks.iter().map(|n| n.ln_1p()));
    world.number("maker_rate", Side::Item, (0..items).map(|item| of_maker[item % 83].1 / of_maker[item % 83].0));
    let marked = world.marked();
    assert_eq!(named(&marked), [(Leak::FutureRate, "clicks"), (Leak::FutureRate, "maker_rate")]);
    assert!(marked.iter().any(|sign| sign.of.as_deref() == Some("`maker`")));
}

#[test]
fn a_history_that_holds_what_was_clicked_is_marked() {
    let mut world = World::clicks(SIZES);
    let ids = world.data.items.to_vec();
    world.text("item_id", Side::Item, ids);
    let mut lists = vec![Vec::new(); world.data.users.len()];
    for row in 0..world.data.log.len() {
        if world.data.log.label[row] > 0.5 {
            let code = world.data.features.categorical[0].codes[world.data.log.item[row].at()];
            lists[world.data.log.user[row].at()].push(code);
        }
    }
    let (mut offsets, mut codes) = (vec![0], Vec::new());
    for list in lists {
        codes.extend(list);
        offsets.push(codes.len() as u32);
    }
    let lists = Lists::Own { offsets, codes };
    let history = Bag { name: "clicked".into(), side: Side::User, vocabulary: VocabularyIndex(0), lists };
    world.data.features.bags.push(history.into());
    let marked = world.marked();
    assert_eq!(named(&marked), [(Leak::LabelCopy, "clicked")]);
    assert!(marked[0].line().contains("by whether it holds the row's own `item_id`"), "{}", marked[0].line());
}

/// One click for each four rows that are not, for every user: a rate is no chance then, and a feature that counts rows counts clicks.
#[test]
fn negatives_in_a_fixed_ratio_are_no_sign() {
    let mut world = World::clicks(SIZES);
    let users = world.data.users.len();
    let mut shown = vec![0.0; users];
    for part in [&mut world.train, &mut world.validation, &mut world.test] {
        let mut of_user = vec![Vec::new(); users];
        part.iter().for_each(|&row| of_user[world.data.log.user[row as usize].at()].push(row));
        part.clear();
        for (rows, shown) in of_user.iter().zip(&mut shown) {
            let whole = &rows[..rows.len() / 5 * 5];
            let log = Arc::make_mut(&mut world.data.log);
            whole.iter().enumerate().for_each(|(i, &row)| log.label[row as usize] = f32::from(i % 5 == 0));
            *shown += whole.len() as f64;
            part.extend(whole);
        }
    }
    world.number("shown", Side::User, shown);
    let random: Vec<f64> = (0..users).map(|_| world.stream.unit()).collect();
    world.number("random", Side::User, random);
    assert_eq!(named(&world.marked()), []);
}

#[test]
fn measured_rows_that_were_learned_from_are_counted() {
    let mut world = World::clicks(SIZES);
    assert_eq!(named(&world.marked()), []);
    // Every twentieth measured row is put among the training rows once more.
    for row in world.test.clone().into_iter().step_by(20) {
        let (log, r) = (Arc::make_mut(&mut world.data.log), row as usize);
        world.train.push(log.len() as u32);
        log.user.push(log.user[r]);
        log.item.push(log.item[r]);
        log.domain.push(log.domain[r]);
        log.time.push(log.time[r]);
        log.label.push(log.label[r]);
    }
    let marked = world.marked();
    assert_eq!(named(&marked), [(Leak::SharedRows, "")]);
    assert_eq!((marked[0].statistic, marked[0].threshold, marked[0].count), (0.05, 0.01, 2000));
    assert!(marked[0].line().contains("5.00 % of 2000 measured rows"), "{}", marked[0].line());
    // The support of measured users is learned from as well.
    let support: Vec<u32> = world.train.split_off(16_000);
    let parts = Parts { support: &support, ..world.parts() };
    assert_eq!(shared_rows(&world.data, &parts).unwrap().statistic, 0.05);
}

/// Logs repeat exposures: 3 % of all rows stand there twice, at the same time. Where a split cuts between them is no sign.
#[test]
fn repeated_exposures_are_left_alone() {
    let mut world = World::clicks(SIZES);
    for row in (0..world.data.log.len()).step_by(33) {
        let log = Arc::make_mut(&mut world.data.log);
        (log.user[row + 1], log.item[row + 1], log.domain[row + 1]) = (log.user[row], log.item[row], log.domain[row]);
        (log.time[row + 1], log.label[row + 1]) = (log.time[row], log.label[row]);
    }
    let mut rows = world.all();
    RandomStream::new(3, 0, 0).shuffle(&mut rows);
    world.test = rows.split_off(rows.len() * 9 / 10);
    world.validation = rows.split_off(rows.len() * 9 / 10);
    world.train = rows;
    let sign = shared_rows(&world.data, &world.parts()).unwrap();
    assert!(sign.statistic > 0.03 && !sign.is_suspicious(), "{sign:?}");
    // Without time the same user, item and label is a usual thing.
    Arc::make_mut(&mut world.data.log).time.clear();
    let sign = shared_rows(&world.data, &world.parts()).unwrap();
    assert!(sign.statistic > 0.1 && !sign.is_suspicious(), "{sign:?}");
}

#[test]
fn positives_alone_have_no_rates_and_no_copies() {
    let mut world = World::clicks(SIZES);
    honest(&mut world);
    world.data.label = LabelKind::Implicit;
    Arc::make_mut(&mut world.data.log).label.fill(1.0);
    assert!(label_copies(&world.data, &world.parts()).is_empty() && future_rates(&world.data, &world.parts()).is_empty());
    assert_eq!(named(&world.marked()), []);
}

#[test]
fn too_few_rows_say_nothing() {
    let mut world = World::clicks(Sizes { users: 4, items: 3, rows: 30, ..SIZES });
    honest(&mut world);
    let (all, copy) = (world.all(), world.copies(0.0));
    let rate = world.rate(Side::Item, &all, 0.0);
    world.number("rate", Side::Item, rate);
    world.number("copy", Side::Row, copy);
    assert_eq!(named(&world.marked()), []);
    world.test.clear();
    assert_eq!(world.signs().len(), 0);
}

#[test]
fn a_simulated_log_of_several_domains_is_not_marked() {
    for seed in 1..=3 {
        let simulation = SimulatorConfig::default().simulate(seed).unwrap();
        let part = |name: &str| simulation.split.rows(name).unwrap();
        let (train, validation) = (part("train"), part("validation"));
        let tasks = TaskConfig { min_rows: 13, ..TaskConfig::default() }.tasks((&simulation.dataset).into(), part("cold_test")).unwrap();
        let cold: Vec<u32> = tasks.tasks.iter().flat_map(|task| task.query.clone()).collect();
        let support: Vec<u32> = tasks.tasks.iter().flat_map(|task| task.support.clone()).collect();
        for (measured, support) in [(part("test"), &[][..]), (part("target_test"), &[]), (&cold, &support)] {
            let parts = Parts { train, validation, support, measured };
            let mut signs = label_copies(&simulation.dataset, &parts);
            signs.extend(future_rates(&simulation.dataset, &parts));
            signs.extend(shared_rows(&simulation.dataset, &parts));
            let marked: Vec<String> = signs.iter().filter(|sign| sign.is_suspicious()).map(Sign::line).collect();
            assert!(marked.is_empty() && signs.len() > 20, "seed {seed}: {marked:?}");
        }
    }
}
