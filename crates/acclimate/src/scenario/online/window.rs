//! `per_window`: a correction from the traffic that has gone by, without labels: an offset of the logit, or batch norms with the window's moments.
//!
//! Each domain is cut into blocks of `every`; the offset of a block comes from the logits of the domain's rows in the `window` before the block begins. Labels that have come in guard it in two ways: windows of the domain, and of
//! all domains together, say how far estimates were off ([`Track`]), and the offsets that were meant for the rows of the last one say whether they cost something ([`Replay`]).
//! What other moments do to a row is an offset of its logit too. Nothing that needs no label tests it, so it is let through only where all windows with labels so far show a gain, and the last one no loss.

use std::collections::BTreeMap;
use std::time::Instant;

use acclimate_adapt::selection::batch_norms;
use acclimate_data::Batch;
use acclimate_eval::Cost;
use acclimate_fit::shift::{Abstention, EntropySettings, PriorShift, Replay, Track, Verdict, entropy_offset};
use acclimate_model::{Base, Objective, Params};
use acclimate_train::Scorer;

use super::learn::{Gathered, World};
use super::{Correction, Mode, Stream};
use crate::ExperimentError;
use crate::lab::{Finished, Prediction, pretraining};
use crate::scenario::rows::predict;
use crate::source::{digest, digest_text};

/// Rows measured in one pass.
const ROWS: usize = 2048;

/// Rows of one domain, in the order of time.
#[derive(Default)]
struct Domain {
    rows: Vec<u32>,
    times: Vec<i64>,
    logits: Vec<f32>,
    /// The offset that was meant for each row, whether or not the replay let it pass.
    meant: Vec<f64>,
}

impl Domain {
    /// Places of the rows from one moment up to another.
    fn between(&self, from: i64, until: i64) -> std::ops::Range<usize> {
        self.times.partition_point(|&time| time < from)..self.times.partition_point(|&time| time < until)
    }
}

/// What became of the windows.
#[derive(Default)]
struct Tally {
    windows: usize,
    moved: usize,
    by_test: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn note(&self, label: &str, without: &[String]) -> String {
        let tests: Vec<String> = self.by_test.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let tests = if tests.is_empty() { String::new() } else { format!(", {} abstained by test: {}", self.windows - self.moved, tests.join(", ")) };
        let without = if without.is_empty() { String::new() } else { format!(" Not corrected, {}.", without.join("; ")) };
        format!("`{label}`: of {} windows {} moved the scores{tests}.{without}", self.windows, self.moved)
    }
}

pub(super) fn run(world: &World<'_>, mode: &Mode, base: &Base, seed: u64) -> Result<Stream, ExperimentError> {
    let (lab, dataset) = (world.lab, world.dataset(mode));
    let correction = mode.correction.expect("a mode per window says what it corrects");
    if base.spec.objective != Objective::Logistic {
        let problem = "corrects logits, and its base is not trained with the objective `logistic`; remove the mode";
        return Err(lab.experiment.problem(format!("[[scenario.mode]] `{}`", mode.label()), problem));
    }
    let plain = pretraining(base)?;
    // Logits of the rows before the stream with labels, which are both what the correction is fitted to and the first windows.
    let before = logits(&predict(lab, base, plain.as_ref(), &Params::default(), dataset, world.validation)?);
    let log = &dataset.log;
    let domain_of = |row: u32| log.domain[row as usize].at();
    let mut domains: BTreeMap<usize, Domain> = BTreeMap::new();
    let mut fitted: BTreeMap<usize, PriorShift> = BTreeMap::new();
    let mut order: Vec<usize> = (0..world.validation.len()).collect();
    order.sort_by_key(|&at| (log.time[world.validation[at] as usize], world.validation[at]));
    for at in order {
        let row = world.validation[at];
        let domain = domains.entry(domain_of(row)).or_default();
        domain.rows.push(row);
        domain.times.push(log.time[row as usize]);
        domain.logits.push(before[at]);
        domain.meant.push(0.0);
    }
    let mut without = Vec::new();
    for (&at, domain) in &domains {
        let labels: Vec<f32> = domain.rows.iter().map(|&row| log.label[row as usize]).collect();
        if !correction.is_fitted() {
            continue;
        }
        match PriorShift::fit(&domain.logits, &labels, correction.settings()) {
            Ok(shift) => _ = fitted.insert(at, shift),
            Err(why) => without.push(format!("{} {}: {why}", world.source.domain_column, dataset.domains[at])),
        }
    }
    let has_norms = !batch_norms(&["*".into()], base.backbone.as_ref()).is_empty();
    let [window, every] = mode.windows();
    let stream = world.clock.days().first().map_or(i64::MAX, |day| day.begin);
    let (mut gathered, mut tally) = (Gathered::default(), Tally::default());
    // Windows of the stream whose labels have come in, one after the other, up to a moment.
    let (mut track, mut own, mut tracked) = (Track::default(), BTreeMap::<usize, Track>::new(), stream);
    for (day, today) in world.clock.days().iter().enumerate() {
        lab.check_stop()?;
        let name = format!("day={}/{}-seed{seed}", today.name, mode.label());
        let arriving = world.clock.arriving(dataset, day, mode.delay());
        let began = Instant::now();
        let plainly = predict(lab, base, plain.as_ref(), &Params::default(), arriving.dataset(), arriving.rows)?;
        let said = logits(&plainly);
        let serving = began.elapsed().as_secs_f64() / said.len().max(1) as f64;
        let began = Instant::now();
        let until = today.begin - mode.delay();
        while tracked + window <= until {
            for (at, shift) in &fitted {
                let domain = &domains[at];
                let seen = domain.between(tracked, tracked + window);
                let label = |i: usize| f64::from(arriving.dataset().log.label[domain.rows[i] as usize]);
                let rows: Vec<(f64, f64)> = seen.clone().map(|i| (shift.calibrated(domain.logits[i]), label(i))).collect();
                let asked = shift.window(&domain.logits[seen]);
                // Of a window that says nothing nothing is learned.
                if !matches!(asked.abstains, Some(Abstention::Power(_))) {
                    track.learn(&asked, &rows);
                    own.entry(*at).or_default().learn(&asked, &rows);
                }
            }
            tracked += window;
        }
        let mut offsets = vec![0.0; said.len()];
        // Places of the day's rows, by domain.
        let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        arriving.rows.iter().enumerate().for_each(|(place, &row)| places.entry(domain_of(row)).or_default().push(place));
        for (at, places) in places {
            let domain = domains.entry(at).or_default();
            // Labels of the day before that have come in; what arrives today has none.
            let replay = |judged: std::ops::Range<usize>| {
                let label = |i: usize| f64::from(arriving.dataset().log.label[domain.rows[i] as usize]);
                Replay::of(judged.map(|i| (f64::from(domain.logits[i]), domain.meant[i], label(i))))
            };
            // Other moments say of themselves nothing that could be tested: they wait until all of the stream that has labels shows a gain.
            let held_back = correction.settings().guarded
                && (replay(domain.between(until - window, until)).is_some_and(|replay| replay.shows_a_loss())
                    || matches!(correction, Correction::Moments { .. })
                        && !replay(domain.between(stream, until)).is_some_and(|replay| replay.shows_a_gain()));
            let mut rest = &places[..];
            while let Some(&first) = rest.first() {
                let block = (log.time[arriving.rows[first] as usize] - today.begin).div_euclid(every);
                let begin = today.begin + block * every;
                let length = rest.partition_point(|&place| log.time[arriving.rows[place] as usize] < begin + every);
                let seen = domain.between(begin - window, begin);
                let alike = |offset: f64| vec![offset; length];
                let (meant, abstains) = match (correction, fitted.get(&at)) {
                    (Correction::Entropy, _) => (alike(entropy_offset(&domain.logits[seen], EntropySettings::default())), None),
                    (Correction::Moments { .. }, _) if !has_norms => (alike(0.0), Some("no batch norm")),
                    (Correction::Moments { least, .. }, _) if seen.len() < least => (alike(0.0), Some("rows")),
                    (Correction::Moments { pseudo_count, .. }, _) => {
                        let data = arriving.dataset();
                        let window: Vec<Batch> = domain.rows[seen].chunks(ROWS).map(|rows| Batch::single(data, rows)).collect();
                        let params = Params::default();
                        let moved = Scorer::new(base, plain.as_ref(), &params, &lab.device).window_norms(&window, pseudo_count)?;
                        let block: Vec<u32> = rest[..length].iter().map(|&place| arriving.rows[place]).collect();
                        let there = logits(&predict(lab, base, &moved, &params, data, &block)?);
                        let before = rest[..length].iter().map(|&place| f64::from(said[place]));
                        (there.iter().zip(before).map(|(&there, before)| f64::from(there) - before).collect(), None)
                    }
                    (Correction::PriorShift { .. }, None) => (alike(0.0), None),
                    (Correction::PriorShift { .. }, Some(shift)) => {
                        let Verdict { offset, abstains, .. } = shift.window_with(&domain.logits[seen], track.excess().max(own.get(&at).map_or(0.0, Track::excess)));
                        (alike(offset), abstains.as_ref().map(Abstention::name))
                    }
                };
                let stopped = held_back && meant.iter().any(|&meant| meant != 0.0);
                let abstains = if stopped { Some(Abstention::Replay.name()) } else { abstains };
                tally.windows += 1;
                tally.moved += usize::from(abstains.is_none() && meant.iter().any(|&meant| meant != 0.0));
                if let Some(test) = abstains {
                    *tally.by_test.entry(test).or_default() += 1;
                }
                for (&place, &meant) in rest[..length].iter().zip(&meant) {
                    offsets[place] = if abstains.is_some() { 0.0 } else { meant };
                    domain.rows.push(arriving.rows[place]);
                    domain.times.push(log.time[arriving.rows[place] as usize]);
                    domain.logits.push(said[place]);
                    domain.meant.push(meant);
                }
                rest = &rest[length..];
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        // What is not moved is what the base said, to the bit.
        let moved = |((&plainly, &z), &offset): ((&f32, &f32), &f64)| match offset == 0.0 {
            true => plainly,
            false => base.spec.objective.predict((f64::from(z) + offset) as f32),
        };
        let values: Vec<f32> = plainly.iter().zip(&said).zip(&offsets).map(moved).collect();
        // What was found costs little to find again, so that it is part of the key: another program that finds something else does not read this one's.
        let bits: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let key = digest_text(&format!("{}|{mode:?}|{}|{}", base.hash(), digest(dataset, arriving.rows), crate::source::digest_bytes(&bits)));
        let finished = lab.kept(&name, &key, || {
            let predictions = vec![Prediction { setting: today.name.clone(), values, spread: None }];
            let cost = Cost { day_seconds: Some(seconds), request_seconds: Some(serving), ..Cost::default() };
            Ok(Finished { predictions, cost, settings: Vec::new() })
        })?;
        let newest = world.train.iter().map(|&row| log.time[row as usize]).max().unwrap_or(i64::MIN);
        let moves = mode.state == super::Served::Moving && dataset.has_state();
        gathered.add(finished, world.ages(dataset, day, newest, moves));
    }
    let note = tally.note(&mode.label(), &without);
    Ok(gathered.stream(mode, vec![note]))
}

/// Logits of probabilities.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    const NEAR: f64 = 1e-7;
    let logit = |&p: &f32| {
        let p = f64::from(p).clamp(NEAR, 1.0 - NEAR);
        (p / (1.0 - p)).ln() as f32
    };
    probabilities.iter().map(logit).collect()
}
