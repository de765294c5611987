//! `fresh_users`: people who are new to a domain, of whom a few positives are known and nothing else.
//!
//! Users of the split's parts learn, choose and are measured; of validation and test users the first rows are shown, in the order of a hash, and all items with a
//! training row are ranked for them but their own. Every size of `reveal` asks for the same rows, those that no size shows: `video,k=3`.
//!
//! Methods here are fits without a network ([`acclimate_fit::fresh`]), so that the experiment has no `[base]`.

mod fits;

use std::collections::BTreeMap;

use acclimate_data::{LabelKind, hash64, trailing_number};
use acclimate_eval::{Kind, Outcome};
use acclimate_fit::Sparse;
use acclimate_fit::bridge::Pair;
use serde::{Deserialize, Serialize};

use self::fits::MethodConfig;
use super::Scenario;
use super::newcomers::{Bench, Held, Newcomers, RowsWith, Said, Setting, Wanted, no_entrants, only_floors, rows_with, without_networks};
use crate::lab::Measure;
use crate::source::digest_text;
use crate::{Experiment, ExperimentError, Lab, Source};

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshUsers {
    /// The domain; may be missing where the log has one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Rows that are read; default all of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsWith>,
    /// Numbers of rows that are shown before the rest is asked for, each a setting; default 3 and 5. They come in the order of `H(order; user, item)`.
    #[serde(default = "three_and_five")]
    pub reveal: Vec<usize>,
    /// First argument of the hash that orders a user's rows; default 3.
    #[serde(default = "three")]
    pub order: u64,
}

fn three_and_five() -> Vec<usize> {
    vec![3, 5]
}

fn three() -> u64 {
    3
}

/// Names of the floors, which no entry may take.
pub(crate) fn floor_names() -> impl Iterator<Item = &'static str> {
    fits::FLOORS.into_iter().map(|floor| floor.name())
}

impl Scenario for FreshUsers {
    fn needs_base(&self) -> bool {
        false
    }

    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        let problem = |key: &str, problem: &str| Err(experiment.problem(format!("[scenario] {key}"), problem));
        if self.reveal.is_empty() || !self.reveal.is_sorted_by(|a, b| a < b) {
            return problem("reveal", "must be ascending numbers of rows, such as [3, 5]");
        }
        if self.rows.as_ref().is_some_and(|rows| rows.values.is_empty()) {
            return problem("rows", "needs the `values` of the attribute that rows are read by");
        }
        for entry in &experiment.methods {
            MethodConfig::of(entry).map_err(|error| experiment.problem(entry.entry(), error))?;
            without_networks(experiment, entry)?;
        }
        no_entrants(experiment)?;
        only_floors(experiment, &fits::FLOORS.map(fits::Floor::name))
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        if !matches!(source.dataset.label, LabelKind::Implicit) {
            let problem = "ranks positives; this log has labels: take the positives alone, with `label = { kind = \"implicit\" }`, or a scenario of rows, such as `cold_start`";
            return Err(lab.experiment.problem("[scenario]", problem));
        }
        let metrics = Wanted::new(lab, 0, None, ("fresh_users", None))?;
        let newcomers = self.newcomers(lab, source)?;
        let bench = Bench { lab, newcomers: &newcomers, metrics: &metrics };
        let mut all = Vec::new();
        for floor in fits::FLOORS.into_iter().filter(|floor| lab.experiment.floors.wants(floor.name())) {
            all.push(Said { name: floor.name().into(), kind: Kind::Floor, runs: vec![floor.finished(bench)?] });
        }
        for entry in &lab.experiment.methods {
            let config = MethodConfig::of(entry).map_err(|error| lab.experiment.problem(entry.entry(), error))?;
            let runs = lab.seeds.iter().map(|&seed| config.finished(bench, entry.label(), seed)).collect::<Result<_, _>>()?;
            all.push(Said { name: entry.label().into(), kind: Kind::Adaptation, runs });
        }
        metrics.outcomes(lab, source, &[newcomers], vec![all])
    }
}

impl FreshUsers {
    /// Who learns, and who is new.
    fn newcomers(&self, lab: &Lab<'_>, data: &Source) -> Result<Newcomers, ExperimentError> {
        let (dataset, log) = (&data.dataset, &data.dataset.log);
        let problem = |key: &str, problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
        let known = dataset.domains.join(", ");
        let domain = match &self.domain {
            Some(name) => {
                let at = dataset.domains.iter().position(|d| d == name);
                Some(at.ok_or_else(|| problem("domain", format!("names no domain `{name}`; the log has {known}")))?)
            }
            None if dataset.domains.len() > 1 => return Err(problem("domain", format!("is missing; name one of {known}"))),
            None => None,
        };
        let with = rows_with(lab, data, "rows", self.rows.as_ref())?;
        let is_read = |row: usize| domain.is_none_or(|d| log.domain[row].at() == d) && (self.rows.is_none() || with[row]);
        let read: Vec<usize> = (0..log.len()).filter(|&row| is_read(row)).collect();
        // 0 left out, 1 training, 2 validation, 3 test, by user.
        let mut role = vec![0u8; dataset.users.len()];
        for (part, at) in [("train", 1), ("validation", 2), ("test", 3)] {
            for row in data.part(part)?.into_iter().map(|row| row as usize).filter(|&row| is_read(row)) {
                let before = std::mem::replace(&mut role[log.user[row].at()], at);
                if before != 0 && before != at {
                    let problem = "must put all rows of a user into one part, as kinds `cold_users` and `random` with `by = \"user\"` do";
                    return Err(lab.experiment.problem("[split]", problem));
                }
            }
        }
        let mut items: BTreeMap<u32, u32> = read.iter().map(|&row| (log.item[row].0, 0)).collect();
        items.values_mut().zip(0..).for_each(|(at, next)| *at = next);
        let mut own: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for &row in &read {
            own.entry(log.user[row].at()).or_default().push(items[&log.item[row].0]);
        }
        own.values_mut().for_each(|items| {
            items.sort_unstable();
            items.dedup();
        });
        let mut pair = Pair { source: Sparse::new(0), target: Sparse::new(items.len()) };
        for (_, own) in own.iter().filter(|(user, _)| role[**user] == 1) {
            pair.source.push([]);
            pair.target.push(own.iter().map(|&item| (item, 1.0)));
        }
        let teach = pair.target.len();
        let mut is_candidate = vec![false; items.len()];
        pair.target.columns.iter().for_each(|&item| is_candidate[item as usize] = true);
        let numbers: Vec<u64> = items.keys().map(|&item| trailing_number(&dataset.items[item as usize])).collect();
        let most = self.reveal.last().copied().unwrap_or(0);
        let (mut validation, mut test) = (Vec::new(), Vec::new());
        let (mut unseen, mut short) = (0usize, 0usize);
        for (&user, own) in own.iter().filter(|(user, _)| role[**user] > 1) {
            let number = trailing_number(&dataset.users[user]);
            let mut rows: Vec<(u32, f32)> = own.iter().filter(|&&item| is_candidate[item as usize]).map(|&item| (item, 1.0)).collect();
            unseen += own.len() - rows.len();
            if rows.len() <= most {
                short += 1;
                continue;
            }
            rows.sort_by_key(|&(item, _)| (hash64(self.order, number, numbers[item as usize]), item));
            // Of a newcomer's rows nothing is learned: the row of the pair is empty.
            let held = Held { person: pair.source.len(), user: user as u32, rows, sampled: Vec::new() };
            pair.source.push([]);
            pair.target.push([]);
            if role[user] == 2 { validation.push(held) } else { test.push(held) }
        }
        if teach < 20 {
            return Err(problem("domain", format!("only {teach} training users have rows that are read; methods need 20 or more")));
        }
        for (part, held) in [("validation", &validation), ("test", &test)] {
            if held.is_empty() {
                let said = format!("shows {most} rows, and nobody of part `{part}` has more than that; show fewer, or change [split]");
                return Err(problem("reveal", said));
            }
        }
        let count = |held: &[Held]| (held.len(), held.iter().map(|h| h.rows.len() - most).sum::<usize>());
        let ((v, v_rows), (t, t_rows)) = (count(&validation), count(&test));
        let candidates = is_candidate.iter().filter(|c| **c).count();
        let name = self.domain.clone().unwrap_or_else(|| dataset.domains.first().cloned().unwrap_or_else(|| "all".into()));
        let mut notes =
            vec![format!("{name}: {teach} users teach; {t} are measured by {t_rows} rows, and {v} with {v_rows} rows choose. {candidates} items have training rows.")];
        for (n, what) in [
            (unseen, "rows of validation and test users are of items that no training user has, and are neither shown nor asked for".to_owned()),
            (short, format!("validation and test users have {most} rows or fewer, and are left out")),
        ] {
            if n > 0 {
                notes.push(format!("{name}: {n} {what}."));
            }
        }
        let settings: Vec<Setting> = self.reveal.iter().map(|&k| Setting { suffix: format!(",k={k}"), shown: Some((k, most)) }).collect();
        let measured = if lab.measure == Measure::Test { Held::digest(&test) } else { String::new() };
        let digest = format!("{}|{}|{measured}|{settings:?}", digest_text(&format!("{:?}", pair.target)), Held::digest(&validation));
        Ok(Newcomers { name, pair, is_candidate, validation, test, choosing: settings.clone(), settings, notes, digest })
    }
}
