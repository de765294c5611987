//! Ranking floors of the scenario, fitted on training users.

use acclimate_data::ItemIndex;
use acclimate_eval::floor::{FittedRanking, RankingHistory, RankingQuery};
use acclimate_eval::{Cost, rank_of};
use acclimate_train::NextItemRanks;
use rayon::prelude::*;

use super::examples::{Prepared, Questions};
use super::predictions;
use crate::lab::Finished;
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

fn ranks(floor: &dyn FittedRanking, catalogue: &[ItemIndex], asked: &Questions) -> Vec<NextItemRanks> {
    let queries: Vec<RankingQuery<'_>> = asked.queries.iter().map(Into::into).collect();
    let mut ranks = vec![NextItemRanks::default(); queries.len()];
    floor.score_all(&queries, &mut |q, scores| {
        let (query, coded) = (&asked.queries[q], &asked.coded[q]);
        // Codes of the head follow the catalogue: code c is its position c - 1.
        let positive = scores[coded.positive as usize - 1];
        let others = (1..=catalogue.len() as u32).filter(|c| *c != coded.positive && coded.excluded.binary_search(c).is_err());
        debug_assert_eq!(catalogue[coded.positive as usize - 1], query.positive);
        ranks[q] = NextItemRanks {
            full: rank_of(positive, others.map(|c| scores[c as usize - 1])),
            sampled: rank_of(positive, coded.negatives.iter().map(|&c| scores[c as usize - 1])),
        };
    });
    ranks
}
