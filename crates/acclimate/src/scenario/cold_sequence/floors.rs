//! Ranking floors of the scenario, fitted on training users.

use acclimate_data::{ItemIndex, NextItem};
use acclimate_eval::floor::{FittedRanking, RankingHistory, RankingQuery};
use acclimate_eval::{Cost, rank_of};
use acclimate_train::{NextItemQuery, NextItemRanks};
use rayon::prelude::*;

use super::examples::{Prepared, Questions};
use super::predictions;
use crate::lab::Finished;
use crate::scores::Scores;
use crate::source::digest_text;
use crate::{ExperimentError, Lab};

impl Prepared<'_> {
    /// Every ranking floor that the experiment asks for, by name.
    pub(super) fn floors(&self, lab: &Lab<'_>, asked: &Questions) -> Result<Vec<(&'static str, Finished)>, ExperimentError> {
        let config = &lab.experiment.floors;
        let wanted = config.ranking().into_iter().filter(|floor| config.wants(floor.name())).collect::<Vec<_>>();
        lab.progress.say(&format!("{} floors", wanted.len()));
        let history = RankingHistory {
            sequences: &self.train,
            items: self.dataset.items.len(),
            catalogue: &self.catalogue,
            validation: &self.validation.queries,
            zone: self.dataset.zone,
        };
        let results = wanted.par_iter().map(|floor| {
            let key = digest_text(&format!("{}|{floor:?}|{}|{:?}", env!("CARGO_PKG_VERSION"), self.inputs, lab.measure));
            let finished = lab.kept(&format!("floors/{}", floor.name()), &key, || {
                let fitted = floor.fit(&history)?;
                let predictions = predictions(&ranks(fitted.as_ref(), &self.catalogue, asked));
                Ok(Finished { predictions, cost: Cost::default(), settings: fitted.chosen() })
            })?;
            Ok((floor.name(), finished))
        });
        results.collect()
    }
}

impl Prepared<'_> {
    /// Ranks by scores that were made elsewhere. Candidates without a score stand below all others.
    pub(super) fn ranks_from_elsewhere(&self, lab: &Lab<'_>, scores: &Scores, asked: &Questions) -> Result<Vec<NextItemRanks>, ExperimentError> {
        let problem = |problem: String| lab.experiment.problem(format!("entrant `{}`", scores.name), problem);
        if scores.of_pair.is_empty() {
            return Err(problem("is a column of the log, but here whole catalogues are ranked; give a `file` with a score of each user for each candidate".into()));
        }
        let rank = |(query, coded): (&NextItem, &NextItemQuery)| {
            let of: Vec<f32> = self.catalogue.iter().map(|item| scores.of_pair.get(&(query.user.0, item.0)).copied().unwrap_or(f32::MIN)).collect();
            if of.iter().all(|&s| s == f32::MIN) {
                let user = &self.dataset.users[query.user.at()];
                return Err(problem(format!("has no score of user `{user}` for any candidate; every measured user needs some")));
            }
            Ok(ranks_of(&of, coded))
        };
        asked.queries.iter().zip(&asked.coded).map(rank).collect()
    }
}

/// Ranks of a query's positive by scores in catalogue order. Codes of the head follow the catalogue: code c is its position c - 1.
fn ranks_of(scores: &[f32], coded: &NextItemQuery) -> NextItemRanks {
    let positive = scores[coded.positive as usize - 1];
    let others = (1..=scores.len() as u32).filter(|c| *c != coded.positive && coded.excluded.binary_search(c).is_err());
    NextItemRanks {
        full: rank_of(positive, others.map(|c| scores[c as usize - 1])),
        sampled: rank_of(positive, coded.negatives.iter().map(|&c| scores[c as usize - 1])),
    }
}

fn ranks(floor: &dyn FittedRanking, catalogue: &[ItemIndex], asked: &Questions) -> Vec<NextItemRanks> {
    let queries: Vec<RankingQuery<'_>> = asked.queries.iter().map(Into::into).collect();
    let mut ranks = vec![NextItemRanks::default(); queries.len()];
    floor.score_all(&queries, &mut |q, scores| {
        debug_assert_eq!(catalogue[asked.coded[q].positive as usize - 1], asked.queries[q].positive);
        ranks[q] = ranks_of(scores, &asked.coded[q]);
    });
    ranks
}
