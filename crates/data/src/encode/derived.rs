//! How the features of earlier rows are made, from the raw columns that they read.

use std::sync::Arc;

use super::{Encoder, Encoding, RawFeature, Reading, rows_of};
use crate::column::Values;
use crate::state::{Derivation, Derived, History, Input, KeyPart, Planned, Statistic, Within, name_hash, names, value_hash, within};
use crate::{Dataset, FeatureKind, Scaler, Side, Vocabulary};

/// The plan of every feature that is made of earlier rows, as an encoder has it. The data set has the encoder's domains.
pub(super) fn plan(dataset: &Dataset, features: &[RawFeature], encoder: &Encoder) -> Derivation {
    let (mut bags, mut numbers) = (0, 0);
    let mut planned = Vec::new();
    for (feature, encoded) in features.iter().zip(&encoder.features) {
        let (column, vocabulary, scaler) = match encoded.encoding {
            Encoding::Bag(vocabulary) => (next(&mut bags), Some(&encoder.vocabularies[vocabulary.at()]), Scaler::NONE),
            Encoding::Numeric(scaler) => (next(&mut numbers), None, scaler),
            Encoding::Categorical(_) => continue,
        };
        if let Some(derived) = derived(dataset, features, feature, vocabulary) {
            planned.push(Planned { name: encoded.name.clone(), derived, levels: encoded.levels.clone(), scaler, column });
        }
    }
    Derivation { zone: dataset.zone, features: planned }
}

fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}

/// How one feature is made; none for a feature of its own row.
pub(super) fn derived(
    dataset: &Dataset,
    features: &[RawFeature],
    feature: &RawFeature,
    vocabulary: Option<&Vocabulary>,
) -> Option<Derived> {
    let (reading, within) = (Reading::of(&feature.config), within(feature.config.domains.as_ref(), &dataset.domains));
    match (feature.config.kind, &feature.values) {
        (FeatureKind::History, Values::Text(text)) => {
            let rows = rows_of(text.table.texts(), vocabulary?);
            let codes = Arc::new(text.codes.iter().map(|&code| rows[code as usize]).collect());
            Some(Derived::History(History { reading, within, side: feature.side, codes }))
        }
        (FeatureKind::Statistic, values) => {
            let input = match values {
                Values::Number(numbers) => Input::Number { side: feature.side, values: Arc::new(numbers.values.clone()) },
                Values::Text(text) => {
                    let hashes: Vec<u64> =
                        std::iter::once(0).chain(text.table.texts().map(|text| value_hash(Some(name_hash(text))))).collect();
                    Input::Hash { side: feature.side, hashes: Arc::new(text.codes.iter().map(|&code| hashes[code as usize]).collect()) }
                }
                _ => Input::Label,
            };
            let keys = names(&reading).into_iter().map(|names| {
                let parts = names.iter().map(|name| part(features, name));
                parts.chain((within == Within::Same).then_some(KeyPart::Domain)).collect()
            });
            let keys = keys.collect();
            Some(Derived::Statistic(Statistic { reading, within, keys, input }))
        }
        _ => None,
    }
}

/// An entry of `by`.
fn part(features: &[RawFeature], name: &str) -> KeyPart {
    match name {
        "user" => KeyPart::User,
        "item" => KeyPart::Item,
        "domain" => KeyPart::Domain,
        _ => match features.iter().find(|feature| feature.config.name == name) {
            Some(RawFeature { side, values: Values::Text(text), .. }) => {
                KeyPart::Category { side: *side, codes: Arc::new(text.codes.clone()) }
            }
            // A valid configuration names only features of categories.
            _ => KeyPart::Category { side: Side::User, codes: Arc::new(Vec::new()) },
        },
    }
}
