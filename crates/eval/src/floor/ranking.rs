//! Floors that rank a catalogue of candidates for a user's next item.

use acclimate_data::{ItemIndex, NextItem, Sequences, UserIndex, Zone};

use super::{Chosen, FloorError, FreshCounts};

/// What a ranking floor is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct RankingHistory<'a> {
    /// Events that may be counted, per user: those of training users, or of the training period. All domains; target events are those on catalogue items.
    pub sequences: &'a Sequences,
    /// Events that counts by day may read, for each query those on days strictly before its own: `sequences`, or everybody's events of every part where
    /// what happens meanwhile is known when the floor is asked.
    pub counted: &'a Sequences,
    /// Number of items of the data set; every item index is below it.
    pub items: usize,
    /// Items to rank, ascending.
    pub catalogue: &'a [ItemIndex],
    /// Queries with known answers that choose between open settings; may be empty where nothing is open.
    pub validation: &'a [NextItem],
    /// Where a day begins.
    pub zone: Zone,
}

impl RankingHistory<'_> {
    /// Refuses an empty catalogue, one that is not strictly ascending, and items that the data set does not have.
    pub(super) fn check(&self) -> Result<(), FloorError> {
        check_catalogue(self.catalogue)?;
        let events = self.sequences.iter().chain(self.counted.iter()).flat_map(|(_, events)| events);
        let mut known = events.map(|event| event.item).chain(self.catalogue.last().copied());
        match known.find(|item| item.at() >= self.items) {
            Some(item) => Err(FloorError::ItemOutOfRange { item: item.0, items: self.items }),
            None => Ok(()),
        }
    }

    /// Position of each item in the catalogue, `None` for other items.
    pub(super) fn positions(&self) -> Vec<Option<u32>> {
        let mut positions = vec![None; self.items];
        for (position, item) in self.catalogue.iter().enumerate() {
            positions[item.at()] = Some(position as u32);
        }
        positions
    }

    /// Number of events of each candidate.
    pub(super) fn popularity(&self) -> Vec<f32> {
        let positions = self.positions();
        let mut counts = vec![0u32; self.catalogue.len()];
        for event in self.sequences.iter().flat_map(|(_, events)| events) {
            if let Some(position) = positions[event.item.at()] {
                counts[position as usize] += 1;
            }
        }
        counts.into_iter().map(|n| n as f32).collect()
    }

    /// The counts by day of `counted`.
    pub(super) fn fresh(&self, half_life_days: f64) -> Result<FreshCounts, FloorError> {
        let events = self.counted.iter().flat_map(|(_, events)| events).map(|event| (event.item, event.time));
        FreshCounts::new(self.catalogue, events, half_life_days, self.zone)
    }

    /// Scores that order candidates by popularity and change no other order.
    pub(super) fn tie_break(&self) -> Vec<f32> {
        self.popularity().into_iter().map(|n| TIE_BREAK * n).collect()
    }
}

/// Refuses an empty catalogue, and one that is not strictly ascending.
pub(super) fn check_catalogue(catalogue: &[ItemIndex]) -> Result<(), FloorError> {
    if catalogue.is_empty() {
        return Err(FloorError::EmptyCatalogue);
    }
    match catalogue.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(FloorError::CatalogueOrder { item: pair[1].0 }),
        None => Ok(()),
    }
}

/// Score per event of a candidate, far below any vote: floors that count votes use it to order the candidates that nobody votes for.
const TIE_BREAK: f32 = 1e-9;

/// Whose next item is asked for: a [`NextItem`] without its answer.
#[derive(Clone, Copy, Debug)]
pub struct RankingQuery<'a> {
    /// The user.
    pub user: UserIndex,
    /// What the user did before, oldest first.
    pub input: &'a [ItemIndex],
    /// When, in microseconds since 1970 (UTC).
    pub time: i64,
}

impl<'a> From<&'a NextItem> for RankingQuery<'a> {
    fn from(query: &'a NextItem) -> Self {
        Self { user: query.user, input: &query.input, time: query.time }
    }
}

/// A baseline that ranks candidates.
///
/// Its debug form names its settings, all of them: what was computed with others is told apart by it.
pub trait RankingFloor: std::fmt::Debug + Send + Sync {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    fn check(&self) -> Result<(), FloorError> {
        Ok(())
    }

    /// Counts `history`; its validation queries choose between the settings that the config leaves open and teach nothing else.
    ///
    /// # Errors
    /// A catalogue that is empty, unordered or beyond the data set, a setting outside its range, or no validation query where a choice has to be made.
    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError>;
}

/// A fitted [`RankingFloor`].
pub trait FittedRanking: Send + Sync {
    /// Writes the score of each catalogue item, higher is better.
    ///
    /// # Shapes
    /// `scores` is `[C]`, in catalogue order.
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]);

    /// Number of candidates C.
    fn candidates(&self) -> usize;

    /// Scores many queries, handing each one's position and scores `[C]` to `visit`, in the order that is cheapest.
    fn score_all(&self, queries: &[RankingQuery<'_>], visit: &mut dyn FnMut(usize, &[f32])) {
        let mut scores = vec![0.0; self.candidates()];
        for (i, query) in queries.iter().enumerate() {
            self.score(query, &mut scores);
            visit(i, &scores);
        }
    }

    /// Number of fitted numbers.
    fn parameters(&self) -> usize;

    /// The value of each setting.
    fn chosen(&self) -> Vec<Chosen> {
        Vec::new()
    }
}

/// A fitted floor in which what the user did before votes for candidates.
pub(super) trait Votes: FittedRanking {
    /// Adds the votes alone: without popularity, and without what orders candidates that nobody votes for.
    ///
    /// # Shapes
    /// `scores` is `[C]`, in catalogue order.
    fn add_votes(&self, query: &RankingQuery<'_>, scores: &mut [f32]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::FloorsConfig;
    use crate::floor::fixture::{Events, catalogue};

    #[test]
    fn a_catalogue_must_be_ascending_and_known() {
        let events = Events::new(&[(0, 0, 1)]);
        let fit = |items: &[u32]| {
            let catalogue = catalogue(items);
            let history = RankingHistory {
                sequences: events.sequences(),
                counted: events.sequences(),
                items: 4,
                catalogue: &catalogue,
                validation: &[],
                zone: acclimate_data::Zone::UTC,
            };
            FloorsConfig::default().ranking().iter().map(|floor| floor.fit(&history).err()).collect::<Vec<_>>()
        };
        assert!(fit(&[]).iter().all(|e| *e == Some(FloorError::EmptyCatalogue)));
        assert!(fit(&[1, 1]).iter().all(|e| matches!(e, Some(FloorError::CatalogueOrder { item: 1 }))));
        assert!(fit(&[1, 4]).iter().all(|e| matches!(e, Some(FloorError::ItemOutOfRange { item: 4, items: 4 }))));
    }

    #[test]
    fn counts_by_day_read_everybody_and_the_others_the_fitted_sequences() {
        const DAY: i64 = acclimate_data::MICROS_PER_DAY;
        let (fitted, everybody) =
            (Events::new(&[(0, 0, 1), (0, 1, 2)]), Events::new(&[(0, 0, 1), (0, 1, 2), (1, 2, 3), (1, 2, 4), (2, 9, 5)]));
        let (catalogue, input) = (catalogue(&[0, 1, 2]), [ItemIndex(0)]);
        let history = RankingHistory {
            sequences: fitted.sequences(),
            counted: everybody.sequences(),
            items: 10,
            catalogue: &catalogue,
            validation: &[],
            zone: acclimate_data::Zone::UTC,
        };
        let config: FloorsConfig = toml::from_str(
            "recency_popularity.half_life_days = 1\nmarkov = { ahead = 1, back = 1, popularity = 0 }\nitem_knn = { shrink = 0, half_life_events = 0 }
             blend = { half_life_days = 1, markov = 0, item_knn = 0, ahead = 1, back = 1, shrink = 0, half_life_events = 0 }",
        )
        .unwrap();
        for floor in config.ranking() {
            let mut scores = [0.0; 3];
            floor.fit(&history).unwrap().score(&RankingQuery { user: UserIndex(0), input: &input, time: DAY }, &mut scores);
            let counts_by_day = ["recency_popularity", "blend"].contains(&floor.name());
            assert_eq!(scores[2], if counts_by_day { 1.0 } else { 0.0 }, "{}: two events a half-life ago", floor.name());
            assert!(matches!(
                floor.fit(&RankingHistory { items: 9, ..history }).err(),
                Some(FloorError::ItemOutOfRange { item: 9, items: 9 })
            ));
        }
    }
}
