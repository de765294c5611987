//! What a base does not know of data: values that it has not met in training, told apart by feature.

use acclimate_data::{DatasetConfig, FeatureConfig, Origin, UnknownShare};

/// Share of unknown values from which on the spelling is suspected, and not the world.
const NEARLY_ALL: f64 = 0.9;

/// One line a feature whose values are partly unknown, and a warning where they nearly all are. `ids` are the features that hold the ids of users or
/// items, which are new where users or items are: of those it is only said.
#[must_use]
pub fn notes(shares: &[UnknownShare], ids: &[String]) -> Vec<String> {
    let (strange, usual): (Vec<_>, Vec<_>) = shares.iter().filter(|s| s.unknown > 0).partition(|s| s.share() >= NEARLY_ALL);
    let (new, strange): (Vec<_>, Vec<_>) = strange.into_iter().partition(|s| ids.contains(&s.feature));
    let mut notes: Vec<String> = strange.into_iter().map(warning).collect();
    notes.extend(new.into_iter().map(new_ids));
    if !usual.is_empty() {
        let each: Vec<String> = usual.iter().map(|s| format!("{} {}", s.feature, percent(s.share()))).collect();
        notes.push(format!("Values that the base has not met in training are read as the unknown: {}.", each.join(", ")));
    }
    notes
}

/// The features that hold the ids of users or items.
#[must_use]
pub fn ids(config: &DatasetConfig) -> Vec<String> {
    let of_log = |f: &&FeatureConfig| {
        f.from == Origin::Interactions && [&config.interactions.user, &config.interactions.item].iter().any(|id| *id == f.column())
    };
    config.features.iter().filter(of_log).map(|f| f.name.clone()).collect()
}

/// Ids that the base has not met, which may be new or written in another way.
fn new_ids(share: &UnknownShare) -> String {
    let list = |examples: &[String]| examples.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    format!(
        "{} of {} values of `{}` are new to the base ({}; it knows {}): whoever is new is read as the unknown.",
        percent(share.share()),
        share.values,
        share.feature,
        list(&share.unknown_examples),
        list(&share.known_examples)
    )
}

/// Both spellings beside each other.
fn warning(share: &UnknownShare) -> String {
    let UnknownShare { feature, values, .. } = share;
    let list = |examples: &[String]| examples.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ");
    let known = match share.known_examples.is_empty() {
        true => "it knows none at all".to_owned(),
        false => format!("it knows {}", list(&share.known_examples)),
    };
    format!(
        "WARNING: {} of {values} values of feature `{feature}` are unknown to the base, such as {}; {known}. If they mean the same, write them alike: \
         scores that rest on this feature are worthless here.",
        percent(share.share()),
        list(&share.unknown_examples)
    )
}

/// A share in percent, never rounded to nothing or to all.
#[must_use]
pub fn percent(share: f64) -> String {
    match share {
        s if s > 0.0 && s < 0.001 => "under 0.1 %".to_owned(),
        s if s < 1.0 && s > 0.999 => "over 99.9 %".to_owned(),
        s => format!("{:.1} %", 100.0 * s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(feature: &str, values: u64, unknown: u64) -> UnknownShare {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        UnknownShare {
            feature: feature.to_owned(),
            values,
            unknown,
            missing: 0,
            unknown_examples: texts(&["3", "4"]),
            known_examples: texts(&["3.0"]),
        }
    }

    #[test]
    fn a_feature_that_is_nearly_all_unknown_is_a_warning_with_both_spellings() {
        let notes = notes(&[share("brand", 200, 200), share("user", 200, 3), share("shop", 200, 0), share("id", 9, 9)], &["id".to_owned()]);
        assert_eq!(notes.len(), 3);
        assert!(notes[1].starts_with("100.0 % of 9 values of `id` are new to the base (`3`, `4`; it knows `3.0`)"), "{}", notes[1]);
        assert!(
            notes[0].starts_with("WARNING: 100.0 % of 200 values of feature `brand`") && notes[0].contains("`3`, `4`; it knows `3.0`"),
            "{}",
            notes[0]
        );
        assert!(notes[2].contains("user 1.5 %") && !notes[2].contains("shop"), "{}", notes[2]);
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_all() {
        assert_eq!([0.0, 0.0001, 0.5, 0.99999, 1.0].map(percent), ["0.0 %", "under 0.1 %", "50.0 %", "over 99.9 %", "100.0 %"]);
    }
}
