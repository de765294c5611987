//! The features of many rows at once: what several of them share is made once.

use super::live::Value;
use super::met::Met;
use super::{Event, FeatureState};
use crate::BagColumn;

/// The features of some rows.
///
/// # Shapes
/// `lists` has one column of `[N]` lists for each history, `numbers` is `[N, S]`, row-major; in the order of the encoder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateColumns {
    /// N.
    pub rows: usize,
    /// Each history.
    pub lists: Vec<BagColumn>,
    /// S.
    pub statistics: usize,
    /// Each statistic, scaled.
    pub numbers: Vec<f32>,
}

/// What else has happened, as a state looks it up: made once for all rows that it is asked about.
#[derive(Debug)]
pub struct Overlay<'a, O>(Vec<Met<'a, O>>);

impl FeatureState {
    /// Events that have happened as well, for [`features_of_rows_over`](Self::features_of_rows_over).
    #[must_use]
    pub fn overlay<'a, O: Event>(&self, events: &'a [O]) -> Overlay<'a, O> {
        Overlay(events.iter().map(|event| self.meet(event)).collect())
    }

    /// The features of some rows, each as [`features`](Self::features) gives it. What a row shares with the one before it (the user, the moment) is not made
    /// again. `overlay` has happened as well, for all of them.
    #[must_use]
    pub fn features_of_rows<E: Event, O: Event>(&self, rows: &[E], overlay: &[O]) -> StateColumns {
        self.features_of_rows_over(rows, &self.overlay(overlay))
    }

    /// The same, with an overlay of this state that serves other rows too.
    #[must_use]
    pub fn features_of_rows_over<E: Event, O: Event>(&self, rows: &[E], Overlay(overlay): &Overlay<'_, O>) -> StateColumns {
        let met: Vec<Met<'_, E>> = rows.iter().map(|row| self.meet(row)).collect();
        let numbers: Vec<Vec<Option<u32>>> = met.iter().map(|row| self.numbers(row)).collect();
        let statistics = self.features.iter().filter(|feature| !feature.is_list()).count();
        let mut made = StateColumns { rows: rows.len(), lists: Vec::new(), statistics, numbers: vec![0.0; rows.len() * statistics] };
        let mut statistic = 0;
        for feature in &self.features {
            let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
            let (mut last, mut sums) = (Value::Number(0.0), Vec::new());
            for row in 0..rows.len() {
                // Keys that the state does not know have no number, and an overlay may know them apart.
                let is_alike = row > 0
                    && feature.is_alike((&met[row - 1], &numbers[row - 1]), (&met[row], &numbers[row]))
                    && (overlay.is_empty() || met[row - 1].keys == met[row].keys);
                if !is_alike {
                    last = self.value(feature, &met[row], &numbers[row], overlay, &mut sums);
                }
                match &last {
                    Value::List(codes) => {
                        bag.codes.extend_from_slice(codes);
                        bag.offsets.push(u32::try_from(bag.codes.len()).expect("2^32 codes would not fit in a request"));
                    }
                    Value::Number(number) => made.numbers[row * statistics + statistic] = *number,
                }
            }
            if feature.is_list() {
                made.lists.push(bag);
            } else {
                statistic += 1;
            }
        }
        made
    }
}
