//! From files to a data set whose features are not encoded yet.

mod alike;
mod log;
mod repeats;
mod side;

use std::sync::Arc;

use crate::column::{Column, Counts, Elements, Values};
use crate::config::{FeatureKind, Origin, StatisticValue};
use crate::encode::{RawFeature, RowWriting, Writing};
use crate::inspect::{ColumnReport, DomainReport, ReadReport};
use crate::strings::StringTable;
use crate::{Attribute, DataError, Dataset, DatasetConfig, DomainIndex, FeatureConfig, Features, LabelKind, Log, LogView, Side};

/// A data set before any split: the whole log, and features as they were written. Vocabularies and scales come later, from training rows only.
#[derive(Clone, Debug)]
pub struct RawDataset {
    pub(crate) dataset: Dataset,
    pub(crate) features: Vec<RawFeature>,
    /// How many domains the configuration lists; they come first.
    pub(crate) listed_domains: usize,
    pub(crate) writing: RowWriting,
}

/// A column of the configuration and the values read for it.
pub(crate) struct Found<'a> {
    pub(crate) side: Side,
    pub(crate) target: Target<'a>,
    pub(crate) values: Values,
}

/// What a column was read for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Feature(&'a FeatureConfig),
    Attribute(&'a str),
}

impl Target<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Feature(feature) => &feature.name,
            Self::Attribute(name) => name,
        }
    }
}

/// The name of an item whose id means one inside its domain only.
fn scoped<'b>(domain: &str, id: &str, buffer: &'b mut String) -> &'b str {
    buffer.clear();
    buffer.extend([domain, "/", id]);
    buffer
}

/// The ids of the log, dictionary-coded.
pub(crate) struct Ids {
    pub(crate) users: StringTable,
    pub(crate) items: StringTable,
}

impl RawDataset {
    /// Reads all tables of a data-set file.
    ///
    /// Users, items and their indices are those of the log, in the order of their first appearance; rows of user and item tables for anybody else
    /// are counted and left.
    ///
    /// # Errors
    /// Anything that [`DataError`] lists up to a bad row; with `on_bad_row = "skip"` bad rows are counted in the report instead.
    pub fn read(config: &DatasetConfig) -> Result<(Self, ReadReport), DataError> {
        let mut files = Vec::new();
        let mut problems = Vec::new();
        let log::LogTable { log, domains, ids, mut found, files: log_files } = log::read(config, &mut files, &mut problems)?;
        side::read(config, &ids, &mut files, &mut problems, &mut found)?;
        let dataset = Dataset {
            name: config.name.clone(),
            label: config.interactions.label.kind(),
            log: Arc::new(log),
            users: Arc::new(ids.users.texts().map(str::to_owned).collect()),
            items: Arc::new(ids.items.texts().map(str::to_owned).collect()),
            domains,
            zone: config.zone(),
            attributes: attributes(config, &mut found),
            files: log_files,
            features: Features::default(),
        };
        let features = features(config, found, ids);
        let listed_domains = config.interactions.domain.as_ref().map_or(0, |domain| domain.order.len());
        let raw = Self { dataset, features, listed_domains, writing: RowWriting::of(config) };
        let report = raw.report(files, problems);
        Ok((raw, report))
    }

    /// The data set without its features: what splits and floors need.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// What a split rule sees.
    #[must_use]
    pub fn view(&self) -> LogView<'_> {
        LogView::from(&self.dataset)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { rows: self.dataset.log.len(), users: self.dataset.users.len(), items: self.dataset.items.len() }
    }

    fn report(&self, files: Vec<crate::FileReport>, mut problems: Vec<String>) -> ReadReport {
        let Dataset { name, log, users, items, domains, .. } = &self.dataset;
        let columns: Vec<ColumnReport> =
            self.features.iter().map(|feature| ColumnReport::new(&feature.config.name, feature.side, &feature.values, log)).collect();
        for file in files.iter().filter(|f| f.rows_skipped > 0) {
            problems.push(format!("{}: {} bad rows were skipped", file.file.display(), file.rows_skipped));
        }
        problems.extend(columns.iter().zip(&self.features).flat_map(|(column, feature)| column.problems(&feature.config)));
        problems.extend(self.features.iter().filter_map(|feature| self.strangers(feature)));
        let (repeats, ties) = repeats::count(log, users.len());
        problems.extend(repeats.problem(log.len()));
        problems.extend(ties.problem());
        let domains = domain_reports(log, domains);
        if self.listed_domains > 0 && self.features.iter().any(|f| f.config.kind == FeatureKind::Domain) {
            let others = domains.iter().skip(self.listed_domains).filter(|d| d.rows > 0);
            problems.extend(others.map(|d| {
                format!(
                    "domain `{}` ({} rows) is not in `order`: its domain feature is the unknown for every model; add it",
                    d.name, d.rows
                )
            }));
        }
        if let (LabelKind::Click | LabelKind::Rating { .. }, Some(&first)) = (self.dataset.label, log.label.first())
            && log.label.iter().all(|&label| label == first)
        {
            problems.push(format!("every label is {first}; nothing can be learned or measured: check the label column"));
        }
        problems.extend(domains.iter().filter(|d| d.rows == 0).map(|d| format!("domain `{}` has no rows", d.name)));
        let time = log.time.iter().fold(None, |range: Option<[i64; 2]>, &t| Some(range.map_or([t, t], |[a, b]| [a.min(t), b.max(t)])));
        ReadReport {
            dataset: name.clone(),
            files,
            rows: log.len(),
            users: users.len(),
            items: items.len(),
            label_mean: log.label.iter().map(|&l| f64::from(l)).sum::<f64>() / log.len() as f64,
            domains,
            time,
            repeats,
            ties,
            columns,
            problems,
        }
    }
}

impl RawDataset {
    /// A problem if none of the values of a feature is one of the feature whose vocabulary it shares.
    fn strangers(&self, feature: &RawFeature) -> Option<String> {
        let owner = feature.config.vocabulary.as_ref()?;
        let owner = self.features.iter().find(|other| other.config.name == *owner)?;
        let (own, theirs) = (feature.values.table()?, owner.values.table()?);
        let (example, other) = (own.texts().next()?, theirs.texts().next()?);
        own.texts().all(|text| theirs.code(text).is_none()).then(|| {
            format!(
                "feature `{}` shares the vocabulary of `{}`, but none of its values occurs there: `{example}` is one of them, `{other}` one of the others",
                feature.config.name, owner.config.name
            )
        })
    }
}

fn domain_reports(log: &Log, domains: &[String]) -> Vec<DomainReport> {
    let mut sums = vec![(0_usize, 0.0); domains.len()];
    for (&DomainIndex(domain), &label) in log.domain.iter().zip(&log.label) {
        let (rows, sum) = &mut sums[domain as usize];
        *rows += 1;
        *sum += f64::from(label);
    }
    domains
        .iter()
        .zip(sums)
        .map(|(name, (rows, sum))| DomainReport { name: name.clone(), rows, label_mean: if rows == 0 { 0.0 } else { sum / rows as f64 } })
        .collect()
}

/// Whether a feature reads no column: a statistic of labels or of rows alone.
fn reads_nothing(feature: &FeatureConfig) -> bool {
    feature.kind == FeatureKind::Statistic && feature.column.is_none()
}

/// Whether a feature is the id of a user or item, which is kept anyway.
pub(crate) fn id_side(config: &DatasetConfig, feature: &FeatureConfig) -> Option<Side> {
    let reads_category = matches!(feature.kind, FeatureKind::Categorical | FeatureKind::History);
    if !(reads_category || feature.value == Some(StatisticValue::Distinct)) || feature.transform.is_some() {
        return None;
    }
    let column = feature.column();
    match feature.from.side() {
        Side::Row if column == config.interactions.user => Some(Side::User),
        Side::Row if column == config.interactions.item => Some(Side::Item),
        Side::Row => None,
        side => config.tables(feature.from).iter().any(|table| table.key == column).then_some(side),
    }
}

/// How the values of a feature are spelled. Those that share a vocabulary with ids are written as ids are.
fn spelling(config: &DatasetConfig, feature: &FeatureConfig) -> Elements {
    let owner = |f: &FeatureConfig| f.vocabulary.as_deref().unwrap_or(&f.name).to_owned();
    let integers = match feature.from {
        Origin::Interactions => config.interactions.integer_columns.iter().any(|column| column == feature.column()),
        from => config.tables(from).iter().any(|table| table.integer_columns.iter().any(|column| column == feature.column())),
    };
    match config.features.iter().any(|other| owner(other) == owner(feature) && id_side(config, other).is_some()) {
        _ if integers => Elements::Integers,
        true => Elements::Ids,
        false => Elements::Categories,
    }
}

/// The attributes, in the order of the configuration.
fn attributes(config: &DatasetConfig, found: &mut Vec<Found<'_>>) -> Vec<Attribute> {
    let take = |name: &str| {
        let i = found.iter().position(|f| matches!(f.target, Target::Attribute(n) if n == name))?;
        let Found { side, values: Values::Attribute(values), .. } = found.swap_remove(i) else { return None };
        let (values, labels) = values.finish();
        Some(Attribute { name: name.to_owned(), side, values, labels })
    };
    config.attributes.iter().map(|a| a.name.as_str()).filter_map(take).collect()
}

/// The features, in the order of the configuration.
fn features(config: &DatasetConfig, mut found: Vec<Found<'_>>, ids: Ids) -> Vec<RawFeature> {
    let take = |feature: &FeatureConfig| {
        let (side, values) = if feature.kind == FeatureKind::Domain {
            (Side::Row, Values::Domain)
        } else if reads_nothing(feature) {
            (Side::Row, Values::Nothing)
        } else if let Some(side) = id_side(config, feature) {
            let table = if side == Side::User { &ids.users } else { &ids.items };
            (side, Values::Text(crate::column::TextValues::identity(table.clone())))
        } else {
            let i = found.iter().position(|f| matches!(f.target, Target::Feature(c) if c.name == feature.name))?;
            let Found { side, values, .. } = found.swap_remove(i);
            (side, values)
        };
        let writing = Writing::of(config, feature, spelling(config, feature), id_side(config, feature));
        Some(RawFeature { config: feature.clone(), side, values, writing })
    };
    config.features.iter().filter_map(take).collect()
}

/// The columns of the configuration that a table owes.
pub(crate) fn columns_for<'a>(
    config: &'a DatasetConfig,
    mut feature: impl FnMut(&FeatureConfig) -> bool,
    mut attribute: impl FnMut(&crate::AttributeConfig) -> bool,
) -> (Vec<Target<'a>>, Vec<Column<'a>>) {
    let zone = config.zone();
    let features = config
        .features
        .iter()
        .filter(|f| f.kind != FeatureKind::Domain && !reads_nothing(f) && id_side(config, f).is_none() && feature(f))
        .map(|f| (Target::Feature(f), Column::feature(f, zone, spelling(config, f))));
    let attributes = config.attributes.iter().filter(|a| attribute(a)).map(|a| (Target::Attribute(a.name.as_str()), Column::attribute(a)));
    features.chain(attributes).unzip()
}
