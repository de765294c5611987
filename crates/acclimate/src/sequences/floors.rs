//! Ranking floors of the scenario, fitted on training users.

use acclimate_data::NextItem;
use acclimate_eval::floor::{FittedRanking, FloorsConfig, RankingFloor, RankingHistory, RankingQuery};
use acclimate_eval::{Cost, rank_of};
use acclimate_train::NextItemRanks;
use rayon::prelude::*;

use super::comparison::predictions;
use super::prepared::{Prepared, Questions};
use crate::lab::Finished;
use crate::scores::Scores;
use crate::source::digest_text;
use crate::{ExperimentError, Lab};

impl Prepared {
    /// Every ranking floor that the experiment asks for, by name.
    pub(super) fn floors(
        &self,
        lab: &Lab<'_>,
        validation: &Questions,
        asked: &Questions,
    ) -> Result<Vec<(&'static str, Finished)>, ExperimentError> {
        let config = &lab.experiment.floors;
        let wanted = self.ranking_floors(config);
        lab.progress.say(&format!("{} floors", wanted.len()));
        let results = wanted.par_iter().map(|floor| {
            let key = digest_text(&format!("{}|{floor:?}|{}|{:?}", env!("CARGO_PKG_VERSION"), self.inputs, lab.measure));
            let finished = lab.kept(&format!("floors/{}", floor.name()), &key, || self.floor(floor.as_ref(), validation, asked))?;
            Ok((floor.name(), finished))
        });
        results.collect()
    }

    /// The floors that are wanted and can be told from this log: fresh counts need time.
    pub(super) fn ranking_floors(&self, config: &FloorsConfig) -> Vec<Box<dyn RankingFloor>> {
        let has_time = self.histories.recent().is_some();
        let fits = |name: &str| has_time || !["recency_popularity", "blend"].contains(&name);
        config.ranking().into_iter().filter(|floor| config.wants(floor.name()) && fits(floor.name())).collect()
    }

    /// A floor fitted on training events, its settings chosen on validation queries, with its ranks.
    pub(super) fn floor(&self, floor: &dyn RankingFloor, validation: &Questions, asked: &Questions) -> Result<Finished, ExperimentError> {
        let history = RankingHistory {
            sequences: &self.train,
            counted: &self.counted,
            items: self.dataset.items.len(),
            catalogue: &self.catalogue,
            validation: &validation.queries,
            zone: self.dataset.zone,
        };
        let fitted = floor.fit(&history)?;
        Ok(Finished {
            predictions: predictions(&self.ranks_of_floor(fitted.as_ref(), asked)),
            cost: Cost::default(),
            settings: fitted.chosen(),
        })
    }

    fn ranks_of_floor(&self, floor: &dyn FittedRanking, asked: &Questions) -> Vec<NextItemRanks> {
        let queries: Vec<RankingQuery<'_>> = asked.queries.iter().map(Into::into).collect();
        let mut ranks = vec![NextItemRanks::default(); queries.len()];
        floor.score_all(&queries, &mut |q, scores| ranks[q] = self.ranks_of(scores, asked.examples[q]));
        ranks
    }

    /// Ranks of an example's positive by scores in catalogue order.
    fn ranks_of(&self, scores: &[f32], example: u32) -> NextItemRanks {
        let query = self.histories.get(example).query.as_ref().expect("a question");
        let score = |code: u32| self.places[code as usize - 1].map_or(f32::MIN, |place| scores[place as usize]);
        let is_other = |&(code, _): &(u32, f32)| code != query.positive && query.excluded.binary_search(&code).is_err();
        let others = (1..).zip(&self.places).filter_map(|(code, place)| Some((code, scores[(*place)? as usize]))).filter(is_other);
        let positive = score(query.positive);
        NextItemRanks {
            full: rank_of(positive, others.map(|(_, score)| score)),
            sampled: rank_of(positive, query.negatives.iter().map(|&code| score(code))),
        }
    }
}

impl Prepared {
    /// Ranks by scores that were made elsewhere. Candidates without a score stand below all others.
    pub(super) fn ranks_from_elsewhere(
        &self,
        lab: &Lab<'_>,
        scores: &Scores,
        asked: &Questions,
    ) -> Result<Vec<NextItemRanks>, ExperimentError> {
        let problem = |problem: String| lab.experiment.problem(format!("entrant `{}`", scores.name), problem);
        if scores.of_pair.is_empty() {
            return Err(problem(
                "is a column of the log, but here whole catalogues are ranked; give a `file` with a score of each user for each candidate"
                    .into(),
            ));
        }
        let rank = |(query, &example): (&NextItem, &u32)| {
            let of: Vec<f32> =
                self.catalogue.iter().map(|item| scores.of_pair.get(&(query.user.0, item.0)).copied().unwrap_or(f32::MIN)).collect();
            if of.iter().all(|&s| s == f32::MIN) {
                let user = &self.dataset.users[query.user.at()];
                return Err(problem(format!("has no score of user `{user}` for any candidate; every measured user needs some")));
            }
            Ok(self.ranks_of(&of, example))
        };
        asked.queries.iter().zip(&asked.examples).map(rank).collect()
    }
}
