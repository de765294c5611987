//! What an encoder does not know of other data.

use serde::{Deserialize, Serialize};

use super::fit::{Weights, code_counts};
use super::{Encoder, Encoding};
use crate::column::Values;
use crate::{DataError, RawDataset};

/// Spellings that a report shows.
const EXAMPLES: usize = 3;

/// How much of a feature an encoder does not know. Every value counts once for each row that reads it, so a user's value as often as the user has rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownShare {
    /// Name of the feature.
    pub feature: String,
    /// Values in the rows, missing ones left out; each value of a list counts.
    pub values: u64,
    /// Those that have no row in the vocabulary: unseen in training, or too rare there.
    pub unknown: u64,
    /// Rows without a value.
    pub missing: u64,
    /// The most frequent unknown values.
    pub unknown_examples: Vec<String>,
    /// Values that are known, of the vocabulary's first ones.
    pub known_examples: Vec<String>,
}

impl UnknownShare {
    /// Share of the values that are unknown; 0 without values.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.values == 0 { 0.0 } else { self.unknown as f64 / self.values as f64 }
    }
}

impl Encoder {
    /// For each feature with a vocabulary, how much of it in some rows of other data the vocabulary does not know.
    ///
    /// # Errors
    /// The features differ from the encoder's, or a row is beyond the log.
    pub fn unknown_shares(&self, raw: &RawDataset, rows: &[u32]) -> Result<Vec<UnknownShare>, DataError> {
        self.check(raw)?;
        let weights = Weights::new(raw, rows)?;
        let mut shares = Vec::new();
        for (feature, encoder) in raw.features.iter().zip(&self.features) {
            let (Encoding::Categorical(vocabulary) | Encoding::Bag(vocabulary)) = encoder.encoding else { continue };
            let vocabulary = &self.vocabularies[vocabulary.at()];
            let weight = weights.of(feature.side);
            let counts = code_counts(raw, feature, weight);
            let counted: Vec<(&str, u64)> = match &feature.values {
                Values::Text(text) => text.table.texts().zip(counts[1..].iter().copied()).collect(),
                Values::List(list) => list.table.texts().zip(counts[1..].iter().copied()).collect(),
                _ => raw.dataset.domains.iter().map(String::as_str).zip(counts.iter().copied()).collect(),
            };
            let missing = match &feature.values {
                Values::Text(_) => counts[0],
                Values::List(list) => (0..list.len()).filter(|&i| list.row(i).is_empty()).map(|i| u64::from(weight[i])).sum(),
                _ => 0,
            };
            let mut unknown: Vec<(&str, u64)> =
                counted.iter().copied().filter(|&(text, count)| count > 0 && vocabulary.row(text) == 0).collect();
            unknown.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            shares.push(UnknownShare {
                feature: encoder.name.clone(),
                values: counted.iter().map(|&(_, count)| count).sum(),
                unknown: unknown.iter().map(|&(_, count)| count).sum(),
                missing,
                unknown_examples: unknown.iter().take(EXAMPLES).map(|&(text, _)| text.to_owned()).collect(),
                known_examples: (1..=EXAMPLES as u32).filter_map(|row| vocabulary.value(row)).map(str::to_owned).collect(),
            });
        }
        Ok(shares)
    }
}
