//! How fits are chosen, measured and kept.

use std::time::Instant;

use acclimate_eval::floor::Chosen;
use acclimate_eval::{Cost, rank_of};
use acclimate_fit::bridge::Bridge as Fitted;
use rayon::prelude::*;

use super::{Newcomers, Question, Wanted};
use crate::lab::{Finished, Prediction};
use crate::source::digest_text;
use crate::{ExperimentError, Lab};

/// Where fits of some newcomers are judged.
#[derive(Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) lab: &'a Lab<'a>,
    pub(crate) newcomers: &'a Newcomers,
    pub(crate) metrics: &'a Wanted,
}

impl Bench<'_> {
    /// The fit that validation people are best served by; where there is one only, they are not asked.
    pub(crate) fn best(
        &self,
        points: usize,
        fit: impl Fn(usize) -> Result<Box<dyn Fitted>, ExperimentError>,
    ) -> Result<(usize, Box<dyn Fitted>), ExperimentError> {
        let mut best: Option<(f64, usize, Box<dyn Fitted>)> = None;
        for at in 0..points {
            self.lab.check_stop()?;
            let fitted = fit(at)?;
            let quality = if points == 1 { 0.0 } else { self.quality(fitted.as_ref())? };
            if best.as_ref().is_none_or(|(than, ..)| quality > *than) {
                best = Some((quality, at, fitted));
            }
        }
        let (_, at, fitted) = best.expect("some point");
        Ok((at, fitted))
    }

    /// How well validation people are served by a fit, higher is better.
    pub(crate) fn quality(&self, fitted: &dyn Fitted) -> Result<f64, ExperimentError> {
        let questions = self.newcomers.validation();
        let asked: Vec<&Question<'_>> = questions.iter().collect();
        self.metrics.judge(self.lab, &asked, &self.said(fitted, &questions)[0])
    }

    /// What a fit says in every setting, or said before.
    pub(crate) fn finished(
        &self,
        name: &str,
        what: &str,
        fit: impl FnOnce() -> Result<(Box<dyn Fitted>, Vec<Chosen>), ExperimentError>,
    ) -> Result<Finished, ExperimentError> {
        let key = digest_text(&format!(
            "{}|{what}|{}|{}|{:?}",
            env!("CARGO_PKG_VERSION"),
            self.newcomers.digest,
            self.metrics.select,
            self.lab.measure
        ));
        self.lab.kept(&format!("{}/{name}", self.newcomers.name), &key, || {
            self.lab.progress.say(&format!("{}: {name}", self.newcomers.name));
            let began = Instant::now();
            let (fitted, settings) = fit()?;
            let train_seconds = Some(began.elapsed().as_secs_f64());
            let mut predictions = Vec::new();
            for setting in &self.newcomers.settings {
                let kinds: &[&str] = if self.metrics.range.is_some() { &["rating"] } else { &["full", "sampled"] };
                let said = self.said(fitted.as_ref(), &self.newcomers.asked(self.lab.measure, setting));
                for (kind, values) in kinds.iter().zip(said) {
                    predictions.push(Prediction {
                        setting: format!("{}{}|{kind}", self.newcomers.name, setting.suffix),
                        values,
                        spread: None,
                    });
                }
            }
            let cost = Cost {
                trainable_parameters: Some(fitted.parameters() as u64),
                train_seconds,
                adapt_one_seconds: self.one(fitted.as_ref()),
                ..Cost::default()
            };
            Ok(Finished { predictions, cost, settings })
        })
    }

    /// Predicted ratings; or ranks among all items, and among the sampled.
    pub(crate) fn said(&self, fitted: &dyn Fitted, questions: &[Question<'_>]) -> [Vec<f32>; 2] {
        let ratings = self.metrics.range.is_some();
        let each = |question: &Question<'_>| -> Vec<[f32; 2]> {
            let mut scores = vec![0.0; self.newcomers.pair.target.width];
            fitted.score(&question.known(), &mut scores);
            if ratings {
                return question.asked.iter().map(|&item| [scores[item as usize] as f32, 0.0]).collect();
            }
            let is_other = |item: &u32| self.newcomers.is_candidate[*item as usize] && !question.owns(*item);
            let others: Vec<f64> = (0..scores.len() as u32).filter(is_other).map(|item| scores[item as usize]).collect();
            let rank = |&item: &u32| {
                let own = scores[item as usize];
                let sampled = rank_of(own, question.sampled.iter().map(|&other| scores[other as usize]));
                [rank_of(own, others.iter().copied()) as f32, sampled as f32]
            };
            question.asked.iter().map(rank).collect()
        };
        let said: Vec<Vec<[f32; 2]>> = questions.par_iter().map(each).collect();
        [0, 1].map(|at| said.iter().flatten().map(|pair| pair[at]).collect())
    }

    /// Seconds in which one person is folded in and every item scored: the median of some.
    fn one(&self, fitted: &dyn Fitted) -> Option<f64> {
        let asked = self.newcomers.asked(self.lab.measure, self.newcomers.settings.last()?);
        let mut scores = vec![0.0; self.newcomers.pair.target.width];
        let mut seconds: Vec<f64> = asked
            .iter()
            .take(25)
            .map(|question| {
                let began = Instant::now();
                fitted.score(&question.known(), &mut scores);
                began.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    }
}

/// Every combination of a grid, the last setting changing first; one empty point for a grid without settings.
pub(crate) fn points(grid: &[(&'static str, Vec<f64>)]) -> Vec<Vec<f64>> {
    grid.iter().fold(vec![Vec::new()], |points, (_, values)| {
        points.iter().flat_map(|point| values.iter().map(|&value| [point.clone(), vec![value]].concat())).collect()
    })
}

/// The settings of a point, with what they were chosen from.
pub(crate) fn chosen(grid: &[(&'static str, Vec<f64>)], point: &[f64]) -> Vec<Chosen> {
    let each = |((name, from), &value): (&(&'static str, Vec<f64>), &f64)| {
        let mut from = from.clone();
        from.sort_unstable_by(f64::total_cmp);
        let is_end = from.len() > 1 && (from.first() == Some(&value) || from.last() == Some(&value));
        // A 0 is nothing at all of a setting: the scale ends there.
        Chosen { setting: (*name).to_owned(), value, from, at_end: is_end && value != 0.0 }
    };
    grid.iter().zip(point).map(each).collect()
}

/// Settings of newcomers, by their name where a table holds several.
pub(crate) fn told(newcomers: &Newcomers, several: usize, settings: &[Chosen]) -> Vec<Chosen> {
    let named = |chosen: &Chosen| {
        let setting = if several > 1 { format!("{} {}", newcomers.name, chosen.setting) } else { chosen.setting.clone() };
        Chosen { setting, ..chosen.clone() }
    };
    settings.iter().map(named).collect()
}

/// Mean parameters and seconds of runs.
pub(crate) fn mean(costs: &[Cost]) -> Cost {
    let n = costs.len().max(1) as f64;
    Cost {
        trainable_parameters: costs.iter().map(|c| c.trainable_parameters).sum::<Option<u64>>().map(|sum| (sum as f64 / n).round() as u64),
        train_seconds: costs.iter().map(|c| c.train_seconds).sum::<Option<f64>>().map(|sum| sum / n),
        adapt_one_seconds: costs.iter().map(|c| c.adapt_one_seconds).sum::<Option<f64>>().map(|sum| sum / n),
        ..Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_a_scale_are_those_of_its_values() {
        let grid = [("ridge", vec![0.1, 0.01, 0.03]), ("damping", vec![0.0, 1.0])];
        let at_end = |point: [f64; 2]| chosen(&grid, &point).iter().map(|chosen| chosen.at_end).collect::<Vec<_>>();
        assert_eq!([at_end([0.03, 0.0]), at_end([0.01, 1.0]), at_end([0.1, 1.0])], [[false, false], [true, true], [true, true]]);
        assert_eq!(chosen(&grid, &[0.1, 0.0])[0].from, [0.01, 0.03, 0.1]);
    }
}
