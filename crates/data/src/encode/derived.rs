//! How the features of earlier rows are made, from the raw columns that they read.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Encoder, Encoding, RawFeature, Reading, rows_of};
use crate::column::Values;
use crate::state::{
    Column, Derivation, Derived, History, Input, KeyPart, Planned, Statistic, Within, name_hash, names, value_hash, within,
};
use crate::{Dataset, FeatureKind, Scaler, Side, Vocabulary};

/// The plan of every feature that is made of earlier rows, as an encoder has it. The data set has the encoder's domains.
pub(super) fn plan(dataset: &Dataset, features: &[RawFeature], encoder: &Encoder) -> Derivation {
    let (mut bags, mut numbers) = (0, 0);
    let (mut planned, mut shared) = (Vec::new(), Shared::default());
    for (feature, encoded) in features.iter().zip(&encoder.features) {
        let (column, vocabulary, scaler) = match encoded.encoding {
            Encoding::Bag(vocabulary) => (next(&mut bags), Some(&encoder.vocabularies[vocabulary.at()]), Scaler::NONE),
            Encoding::Numeric(scaler) => (next(&mut numbers), None, scaler),
            Encoding::Categorical(_) => continue,
        };
        if let Some(derived) = derived(dataset, features, feature, vocabulary) {
            let derived = shared.owned(derived);
            planned.push(Planned { name: encoded.name.clone(), derived, levels: encoded.levels.clone(), scaler, column });
        }
    }
    Derivation { zone: dataset.zone, features: planned }
}

/// Columns that outlive the raw data, each once: by where the raw data has them.
#[derive(Default)]
struct Shared {
    codes: HashMap<*const u32, Arc<Vec<u32>>>,
}

impl Shared {
    fn owned(&mut self, derived: Derived<'_>) -> Derived<'static> {
        let Statistic { reading, within, keys, input } = match derived {
            Derived::History(history) => return Derived::History(history),
            Derived::Statistic(statistic) => statistic,
        };
        let input = match input {
            Input::Label => Input::Label,
            Input::Number { side, values } => Input::Number { side, values: Column::Shared(Arc::new(values.to_vec())) },
            Input::Hash { side, hashes } => Input::Hash { side, hashes },
        };
        let keys = keys.into_iter().map(|parts| parts.into_iter().map(|part| self.part(part)).collect()).collect();
        Derived::Statistic(Statistic { reading, within, keys, input })
    }

    fn part(&mut self, part: KeyPart<'_>) -> KeyPart<'static> {
        match part {
            KeyPart::User => KeyPart::User,
            KeyPart::Item => KeyPart::Item,
            KeyPart::Domain => KeyPart::Domain,
            KeyPart::Category { side, codes } => {
                let shared = self.codes.entry(codes.as_ptr()).or_insert_with(|| Arc::new(codes.to_vec()));
                KeyPart::Category { side, codes: Column::Shared(shared.clone()) }
            }
        }
    }
}

fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}

/// How one feature is made; none for a feature of its own row.
pub(super) fn derived<'a>(
    dataset: &Dataset,
    features: &'a [RawFeature],
    feature: &'a RawFeature,
    vocabulary: Option<&Vocabulary>,
) -> Option<Derived<'a>> {
    let (reading, within) = (Reading::of(&feature.config), within(feature.config.domains.as_ref(), &dataset.domains));
    match (feature.config.kind, &feature.values) {
        (FeatureKind::History, Values::Text(text)) => {
            let rows = rows_of(text.table.texts(), vocabulary?);
            let codes = Arc::new(text.codes.iter().map(|&code| rows[code as usize]).collect());
            Some(Derived::History(History { reading, within, side: feature.side, codes }))
        }
        (FeatureKind::Statistic, values) => {
            let input = match values {
                Values::Number(numbers) => Input::Number { side: feature.side, values: Column::Borrowed(&numbers.values) },
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
fn part<'a>(features: &'a [RawFeature], name: &str) -> KeyPart<'a> {
    match name {
        "user" => KeyPart::User,
        "item" => KeyPart::Item,
        "domain" => KeyPart::Domain,
        _ => match features.iter().find(|feature| feature.config.name == name) {
            Some(RawFeature { side, values: Values::Text(text), .. }) => {
                KeyPart::Category { side: *side, codes: Column::Borrowed(&text.codes) }
            }
            // A valid configuration names only features of categories.
            _ => KeyPart::Category { side: Side::User, codes: Column::Borrowed(&[]) },
        },
    }
}
