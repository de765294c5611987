//! One direction: what is known of people in both domains, and what held-out people are asked for.

use std::collections::BTreeMap;

use acclimate_data::{LabelKind, hash64, trailing_number};
use acclimate_fit::Sparse;
use acclimate_fit::bridge::Pair;

use super::super::newcomers::{Held, Newcomers, Setting, rows_with};
use super::Bridge;
use crate::lab::Measure;
use crate::source::digest_text;
use crate::{ExperimentError, Lab, Source};

/// The people who are new to the second domain and known in the first.
pub(super) fn newcomers(lab: &Lab<'_>, data: &Source, config: &Bridge, names: [&str; 2]) -> Result<Newcomers, ExperimentError> {
    let dataset = &data.dataset;
    let problem = |key: &str, problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
    let domain = |name: &str| {
        let at = dataset.domains.iter().position(|d| d == name);
        at.ok_or_else(|| problem("domains", format!("names no domain `{name}`; the log has {}", dataset.domains.join(", "))))
    };
    let domains = [domain(names[0])?, domain(names[1])?];
    let log = &dataset.log;
    let held_row = rows_with(lab, data, "held_out", config.held_out.as_ref())?;
    let place = |row: usize| domains.iter().position(|&d| d == log.domain[row].at());
    // 0 left out, 1 training, 2 validation, 3 test, by user.
    let mut role = vec![0u8; dataset.users.len()];
    for (part, at) in [("train", 1), ("validation", 2), ("test", 3)] {
        for row in data.part(part)?.into_iter().map(|row| row as usize).filter(|&row| place(row).is_some()) {
            let before = std::mem::replace(&mut role[log.user[row].at()], at);
            // Where the log itself says who is new, the split says only who chooses.
            if config.held_out.is_none() && before != 0 && before != at {
                let problem = "must put all rows of a user into one part, as kinds `cold_users` and `random` with `by = \"user\"` do";
                return Err(lab.experiment.problem("[split]", problem));
            }
        }
    }
    let mut has = vec![[false, false]; dataset.users.len()];
    let mut is_new = vec![false; dataset.users.len()];
    for (row, &held) in held_row.iter().enumerate() {
        let Some(side) = place(row) else { continue };
        let user = log.user[row].at();
        has[user][side] |= side == 1 || !held;
        is_new[user] |= side == 1 && held;
    }
    if config.held_out.is_none() {
        (0..has.len()).for_each(|user| is_new[user] = role[user] > 1 && has[user] == [true, true]);
    }
    // Where the log says who is new, whoever the split makes no validation user is measured.
    let is_validation = |user: usize| role[user] == 2;
    let people: Vec<usize> = (0..has.len()).filter(|&user| has[user] != [false, false]).collect();
    let person: BTreeMap<usize, usize> = people.iter().enumerate().map(|(at, &user)| (user, at)).collect();
    let mut items: [BTreeMap<u32, u32>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for row in 0..log.len() {
        if let Some(side) = place(row) {
            items[side].insert(log.item[row].0, 0);
        }
    }
    items.iter_mut().for_each(|items| items.values_mut().zip(0..).for_each(|(at, next)| *at = next));
    let mut rows: [Vec<BTreeMap<u32, f64>>; 2] = [vec![BTreeMap::new(); people.len()], vec![BTreeMap::new(); people.len()]];
    let mut asked: BTreeMap<usize, BTreeMap<u32, f32>> = BTreeMap::new();
    let (mut unused, mut repeated) = (0usize, 0usize);
    for row in 0..log.len() {
        let Some(side) = place(row) else { continue };
        let user = log.user[row].at();
        let (Some(&at), item) = (person.get(&user), items[side][&log.item[row].0]) else { continue };
        match (side, is_new[user], held_row[row]) {
            (1, true, held) if held || config.held_out.is_none() => {
                repeated += usize::from(asked.entry(user).or_default().insert(item, log.label[row]).is_some());
            }
            // A person whom the log holds out has no other target rows that may be learned from.
            (1, true, _) => unused += 1,
            (_, _, false) => {
                repeated += usize::from(rows[side][at].insert(item, f64::from(log.label[row])).is_some());
            }
            _ => {}
        }
    }
    let sparse = |side: usize| {
        let mut sparse = Sparse::new(items[side].len());
        rows[side].iter().for_each(|row| sparse.push(row.iter().map(|(&item, &value)| (item, value))));
        sparse
    };
    let pair = Pair { source: sparse(0), target: sparse(1) };
    let mut is_candidate = vec![false; pair.target.width];
    pair.target.columns.iter().for_each(|&item| is_candidate[item as usize] = true);
    let name = format!("{}->{}", names[0], names[1]);
    let shared = pair.shared().len();
    if shared < 20 {
        return Err(problem("domains", format!("{name}: only {shared} training people have rows in both; a bridge needs 20 or more")));
    }
    let numbers: Vec<u64> = items[1].keys().map(|&item| trailing_number(&dataset.items[item as usize])).collect();
    let ranks = matches!(dataset.label, LabelKind::Implicit);
    let (mut validation, mut test) = (Vec::new(), Vec::new());
    let (mut unseen, mut strangers) = (0usize, 0usize);
    for (user, own) in asked {
        let number = trailing_number(&dataset.users[user]);
        if pair.source.row(person[&user]).0.is_empty() {
            strangers += 1;
            continue;
        }
        let before = own.len();
        let mut rows: Vec<(u32, f32)> = own.into_iter().filter(|(item, _)| !ranks || is_candidate[*item as usize]).collect();
        unseen += before - rows.len();
        rows.sort_by_key(|(item, _)| hash64(config.order, number, numbers[*item as usize]));
        if rows.is_empty() {
            continue;
        }
        let sampled = if ranks { sampled(config, number, &numbers, &is_candidate, &rows) } else { Vec::new() };
        let held = Held { person: person[&user], user: user as u32, rows, sampled };
        if is_validation(user) { validation.push(held) } else { test.push(held) }
    }
    for (part, held) in [("validation", &validation), ("test", &test)] {
        if held.is_empty() {
            return Err(problem("domains", format!("{name}: nobody of part `{part}` is new to the target and known in the source; change [split]")));
        }
    }
    if let Some(&most) = config.reveal.last()
        && [&validation, &test].iter().any(|held| held.iter().all(|h| h.rows.len() <= most))
    {
        let said = format!("{name}: no measured person has more than {most} target rows, so that nothing is left to ask for; lower the largest");
        return Err(problem("reveal", said));
    }
    let count = |held: &[Held]| (held.len(), held.iter().map(|h| h.rows.len()).sum::<usize>());
    let ((v, v_rows), (t, t_rows)) = (count(&validation), count(&test));
    let candidates = is_candidate.iter().filter(|c| **c).count();
    let mut notes = vec![format!(
        "{name}: {shared} people teach; {t} are measured by {t_rows} rows, and {v} with {v_rows} rows choose. {candidates} target items have training rows."
    )];
    for (n, what) in [
        (unseen, "rows of held-out people are of items that nobody else has, and are not asked for"),
        (strangers, "held-out people have no row in the source, and are left out"),
        (repeated, "rows say again what a person thinks of an item; the last one in the order of the files counts"),
        (unused, "target rows of held-out people are not held out; they are neither learned from nor asked for"),
    ] {
        if n > 0 {
            notes.push(format!("{name}: {n} {what}."));
        }
    }
    let digest = digest_text(&format!("{pair:?}|{}|{:?}", Held::digest(&validation), config.reveal));
    let measured = if lab.measure == Measure::Test { Held::digest(&test) } else { String::new() };
    let sampled: Vec<_> = test.iter().chain(&validation).map(|h| h.sampled.clone()).collect();
    let digest = format!("{digest}|{measured}|{}", digest_text(&format!("{sampled:?}")));
    let choosing = vec![Setting { suffix: String::new(), shown: None }];
    Ok(Newcomers { name, pair, is_candidate, validation, test, settings: settings(&config.reveal), choosing, notes, digest })
}

/// The tables of a direction: nothing shown, and then the curve, whose sizes all ask for the same rows.
fn settings(reveal: &[usize]) -> Vec<Setting> {
    let mut settings = vec![Setting { suffix: String::new(), shown: None }];
    if let Some(&most) = reveal.last() {
        let sizes = std::iter::once(0).chain(reveal.iter().copied());
        settings.extend(sizes.map(|k| Setting { suffix: format!(",k={k}"), shown: Some((k, most)) }));
    }
    settings
}

/// The candidates with the smallest hash, ascending by it; fewer than asked for where a person has nearly everything.
fn sampled(config: &Bridge, user: u64, numbers: &[u64], is_candidate: &[bool], rows: &[(u32, f32)]) -> Vec<u32> {
    let mut own: Vec<u32> = rows.iter().map(|(item, _)| *item).collect();
    own.sort_unstable();
    let free = |item: &u32| is_candidate[*item as usize] && own.binary_search(item).is_err();
    let mut keyed: Vec<(u64, u32)> = (0..is_candidate.len() as u32)
        .filter(free)
        .map(|item| (hash64(config.negatives.salt, user, numbers[item as usize]), item))
        .collect();
    let count = config.negatives.count.min(keyed.len());
    if count < keyed.len() {
        keyed.select_nth_unstable(count);
        keyed.truncate(count);
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, item)| item).collect()
}
