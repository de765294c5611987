//! How a base's data writes what a [`Reading`](super::Reading) leaves open: what one row that comes by itself must be read like.
//!
//! It is saved with an encoder and is no part of what two data sets of a base must agree on. Encoders that were saved before it was kept have none: their
//! values are categories, lists are written in brackets, moments as in ISO 8601, and days begin in UTC.

use serde::{Deserialize, Serialize};

use crate::column::Elements;
use crate::config::{DatasetConfig, FeatureConfig, FeatureKind, ItemScope, Origin};
use crate::time::Spelling;
use crate::{Side, TimeUnit, Zone};

/// How the columns that every row has are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RowWriting {
    /// What times without an offset mean, and where a day begins.
    #[serde(skip_serializing_if = "is_utc")]
    pub(crate) zone: Zone,
    /// Whether users are whole numbers, however they are written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole_users: bool,
    /// Whether items are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole_items: bool,
    /// Whether domains are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) whole_domains: bool,
    /// Whether an item means one inside its domain only, and is named `domain/item`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) scoped_items: bool,
}

impl Default for RowWriting {
    fn default() -> Self {
        Self { zone: Zone::UTC, whole_users: false, whole_items: false, whole_domains: false, scoped_items: false }
    }
}

fn is_utc(zone: &Zone) -> bool {
    *zone == Zone::UTC
}

impl RowWriting {
    /// As a data-set file says.
    pub(crate) fn of(config: &DatasetConfig) -> Self {
        let interactions = &config.interactions;
        let is_whole = |column: &String| interactions.integer_columns.contains(column);
        Self {
            zone: config.zone(),
            whole_users: is_whole(&interactions.user),
            whole_items: is_whole(&interactions.item),
            whole_domains: interactions.domain.as_ref().and_then(|domain| domain.column.as_ref()).is_some_and(is_whole),
            scoped_items: interactions.item_scope == ItemScope::Domain && interactions.domain.is_some(),
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// How the values of one feature are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Writing {
    /// What its values are.
    #[serde(skip_serializing_if = "is_category")]
    pub(crate) elements: Elements,
    /// Text between two values of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) separator: Option<String>,
    /// How a moment is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<TimeUnit>,
    /// The same, where a unit has no name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    /// The column that it repeats: `user`, `item`, `domain`, `time`, or another feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repeats: Option<String>,
    /// Whether it is the id of a user or item itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_id: bool,
}

fn is_category(elements: &Elements) -> bool {
    *elements == Elements::Categories
}

impl Writing {
    /// As a data-set file says; `id` is whose id it is, if it is one.
    pub(crate) fn of(config: &DatasetConfig, feature: &FeatureConfig, elements: Elements, id: Option<Side>) -> Self {
        Self {
            elements,
            separator: feature.separator.clone(),
            unit: feature.unit,
            format: feature.format.clone(),
            repeats: repeats(config, feature, id),
            is_id: id.is_some(),
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// How its moments are read.
    pub(crate) fn spelling(&self, zone: Zone) -> Spelling<'_> {
        Spelling { unit: self.unit.unwrap_or_default(), format: self.format.as_deref(), zone }
    }
}

/// The column of a row that holds the values of a feature under another name.
fn repeats(config: &DatasetConfig, feature: &FeatureConfig, id: Option<Side>) -> Option<String> {
    let interactions = &config.interactions;
    let (column, of_log) = (feature.column(), feature.from == Origin::Interactions);
    let reads = |name: Option<&str>| of_log && name == Some(column);
    let reads_column = |f: &FeatureConfig| f.kind != FeatureKind::Domain && !(f.kind == FeatureKind::Statistic && f.column.is_none());
    if !reads_column(feature) {
        return None;
    }
    let is_time = reads(interactions.time.as_ref().map(|time| time.column.as_str()));
    let named = match id {
        Some(Side::User) => Some("user"),
        Some(Side::Item) => Some("item"),
        _ if reads(Some(&interactions.user)) => Some("user"),
        _ if reads(Some(&interactions.item)) => Some("item"),
        _ if reads(interactions.domain.as_ref().and_then(|domain| domain.column.as_deref())) => Some("domain"),
        // Of a row the moment is known, and not how it was written.
        _ if is_time && feature.kind == FeatureKind::Timestamp => Some("time"),
        _ => None,
    };
    let same = |other: &&FeatureConfig| {
        reads_column(other) && (other.from, &other.table, other.column()) == (feature.from, &feature.table, column)
    };
    let all = || config.features.iter().filter(same);
    // The one that is named as the column, if there is one.
    let first = || all().find(|other| other.name == column).or_else(|| all().next()).map(|first| first.name.as_str());
    let first = || first().filter(|name| *name != feature.name);
    named.or_else(first).map(str::to_owned)
}
