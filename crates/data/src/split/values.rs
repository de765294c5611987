//! Values of an attribute, as a rule names them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{LogView, SplitError};
use crate::{Attribute, Side};

/// A range of whole numbers, both ends included, or a list of values in quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `[lowest, highest]` of whole numbers, or values in quotes such as [\"F\"] or [\"18\", \"25\"]")]
pub enum Values {
    /// Lowest and highest.
    Range([i64; 2]),
    /// Each of these, as it is written.
    Listed(Vec<String>),
}

impl Values {
    /// Whether each value of an attribute belongs here.
    ///
    /// # Errors
    /// A range that ends before it begins, an empty list, or a listed value that nothing has.
    fn marks(&self, key: &'static str, attribute: &Attribute) -> Result<Vec<bool>, SplitError> {
        match self {
            Self::Range([low, high]) if low > high => {
                Err(SplitError::Setting { setting: key, problem: "is a range that ends before it begins; write it as [lowest, highest]" })
            }
            Self::Range(_) if attribute.labels.is_some() => Err(SplitError::Setting {
                setting: key,
                problem: "is a range of numbers, but the attribute holds text; list its values in quotes",
            }),
            Self::Range([low, high]) => Ok(attribute.values.iter().map(|value| (low..=high).contains(&value)).collect()),
            Self::Listed(texts) if texts.is_empty() => {
                Err(SplitError::Setting { setting: key, problem: "is an empty list; name at least one value" })
            }
            Self::Listed(texts) => {
                let numbers: Vec<i64> = texts.iter().map(|text| number_of(key, attribute, text)).collect::<Result<_, _>>()?;
                Ok(attribute.values.iter().map(|value| numbers.contains(value)).collect())
            }
        }
    }
}

/// The number that stands for a text which some entity has.
fn number_of(key: &'static str, attribute: &Attribute, text: &str) -> Result<i64, SplitError> {
    let number = match &attribute.labels {
        Some(labels) => labels.iter().position(|label| label == text).map(|at| at as i64),
        None => text.parse().ok(),
    };
    number.filter(|number| attribute.values.contains(number)).ok_or_else(|| {
        let known: BTreeSet<i64> = attribute.values.iter().copied().collect();
        let known = known.into_iter().take(20).map(|value| text_of(attribute, value)).collect();
        SplitError::UnknownValue { key, value: text.to_owned(), attribute: attribute.name.clone(), known }
    })
}

/// A value as it is written.
pub(super) fn text_of(attribute: &Attribute, value: i64) -> String {
    let label = attribute.labels.as_ref().and_then(|labels| labels.get(usize::try_from(value).ok()?));
    label.cloned().unwrap_or_else(|| value.to_string())
}

/// For each entity of an attribute, which of several disjoint sets of values holds its value.
///
/// # Errors
/// A set that is none, or a value in two sets.
pub(super) fn places(attribute: &Attribute, sets: &[(&'static str, &Values)]) -> Result<Vec<Option<usize>>, SplitError> {
    let mut place = vec![None; attribute.values.len()];
    for (at, (key, values)) in sets.iter().enumerate() {
        let overlap =
            |(_, other): &(&str, &Values)| matches!((values, other), (Values::Range([a, b]), Values::Range([c, d])) if a <= d && c <= b);
        let marks = values.marks(key, attribute)?;
        let twice = place.iter().zip(&marks).any(|(place, &mark)| mark && place.is_some());
        if twice || sets[..at].iter().any(overlap) {
            return Err(SplitError::Setting { setting: key, problem: "shares a value with another part; make them disjoint" });
        }
        place.iter_mut().zip(marks).filter(|(_, mark)| *mark).for_each(|(place, _)| *place = Some(at));
    }
    Ok(place)
}

/// The attribute of that name.
pub(super) fn find<'a>(view: LogView<'a>, name: &str) -> Result<&'a Attribute, SplitError> {
    view.attributes.iter().find(|a| a.name == name).ok_or_else(|| SplitError::UnknownAttribute {
        attribute: name.to_owned(),
        known: view.attributes.iter().map(|a| a.name.clone()).collect(),
    })
}

/// The attribute of that name, which must be one of users or of items.
pub(super) fn find_of<'a>(view: LogView<'a>, name: &str, side: Side) -> Result<&'a Attribute, SplitError> {
    let attribute = find(view, name)?;
    if attribute.side == side { Ok(attribute) } else { Err(SplitError::NotAnAttributeOf { side, attribute: name.to_owned() }) }
}
