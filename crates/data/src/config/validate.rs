//! The checks that a data-set file passes once, before anything is read.

use std::collections::HashSet;

use super::{
    AttributeConfig, AttributeKind, ConfigProblem as Problem, DatasetConfig, DomainConfig, DomainOrigin, Domains, FeatureConfig,
    FeatureKind, FileKeys, Format, ItemScope, LabelConfig, LabelType, Origin, SideTableConfig, StatisticValue, TableDomain, Transform,
};
use crate::nearest::nearest;
use crate::source::encoding;
use crate::{DataError, RequestConfig};

type Check = Result<(), Problem>;

impl DatasetConfig {
    /// Checks what TOML types can not: names, references, and keys that do not go together. [`load`](Self::load) has done it.
    ///
    /// # Errors
    /// [`DataError::InvalidConfig`], naming the entry.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrap = |entry: String, check: Check| {
            check.map_err(|problem| DataError::InvalidConfig { file: self.path.clone(), entry, problem: Box::new(problem) })
        };
        wrap("[interactions]".to_owned(), check_files(&self.interactions.file_keys()))?;
        wrap("[interactions] label".to_owned(), check_label(&self.interactions.label))?;
        if let Some(domain) = &self.interactions.domain {
            wrap("[interactions] domain".to_owned(), check_domain(domain, self.interactions.files.len()))?;
        } else if self.interactions.item_scope == ItemScope::Domain {
            wrap("[interactions]".to_owned(), Err(Problem::NeedsKey { key: "domain", kind: "item_scope = domain" }))?;
        }
        if let Some(RequestConfig::Rule(rule)) = &self.interactions.request {
            let entry = || "[interactions] request".to_owned();
            if rule.by.is_empty() {
                wrap(entry(), Err(Problem::NeedsKey { key: "by", kind: "a rule of requests" }))?;
            }
            if rule.needs_time() && self.interactions.time.is_none() {
                wrap(entry(), Err(Problem::NeedsKey { key: "time", kind: "a rule with a gap or days" }))?;
            }
        }
        if let Some(time) = &self.interactions.time {
            wrap("[interactions] time".to_owned(), check_format(time.unit.is_some(), time.format.as_deref()))?;
        }
        for (kind, tables) in [("users", &self.users), ("items", &self.items)] {
            let (mut names, mut parts) = (HashSet::new(), HashSet::new());
            for table in tables {
                let entry = format!("[[{kind}]] with key `{}`", table.key);
                wrap(entry.clone(), check_files(&table.file_keys()))?;
                let is_scoped = kind == "items" && self.interactions.item_scope == ItemScope::Domain;
                wrap(entry.clone(), check_table_domain(table.domain.as_ref(), is_scoped))?;
                // Tables for one domain each may share a name, because they are read as one.
                let is_part = table.domain.as_ref().is_some_and(|domain| domain.value.is_some());
                if !(is_part && parts.contains(&table.name)) {
                    wrap(entry, unique(&mut names, table.name.as_deref()))?;
                }
                parts.extend(is_part.then(|| table.name.clone()));
            }
        }
        let mut names = HashSet::new();
        for feature in &self.features {
            let entry = format!("feature `{}`", feature.name);
            wrap(entry.clone(), unique(&mut names, Some(&feature.name)))?;
            wrap(entry, self.check_feature(feature))?;
        }
        let mut names = HashSet::new();
        for attribute in &self.attributes {
            let entry = format!("attribute `{}`", attribute.name);
            wrap(entry.clone(), unique(&mut names, Some(&attribute.name)))?;
            wrap(entry, self.check_attribute(attribute))?;
        }
        Ok(())
    }

    /// The tables that belong to an origin; none for the log.
    pub(crate) fn tables(&self, origin: Origin) -> &[SideTableConfig] {
        match origin {
            Origin::Interactions => &[],
            Origin::Users => &self.users,
            Origin::Items => &self.items,
        }
    }

    fn check_origin(&self, origin: Origin, table: Option<&str>) -> Check {
        let tables = self.tables(origin);
        match origin {
            Origin::Users if tables.is_empty() => return Err(Problem::NoSuchTable { table: "users" }),
            Origin::Items if tables.is_empty() => return Err(Problem::NoSuchTable { table: "items" }),
            _ => {}
        }
        let Some(name) = table else { return Ok(()) };
        if origin == Origin::Interactions {
            return Err(Problem::KeyNotAllowed { key: "table", kind: "from = interactions" });
        }
        let mut names = tables.iter().filter_map(|t| t.name.as_deref());
        if names.clone().any(|n| n == name) {
            return Ok(());
        }
        Err(Problem::Unknown { key: "table", name: name.to_owned(), nearest: nearest(name, &mut names).map(str::to_owned) })
    }

    fn check_attribute(&self, attribute: &AttributeConfig) -> Check {
        if attribute.kind == AttributeKind::Text && !attribute.codes.is_empty() {
            return Err(Problem::KeyNotAllowed { key: "codes", kind: "kind = text" });
        }
        self.check_origin(attribute.from, attribute.table.as_deref())
    }

    fn check_feature(&self, feature: &FeatureConfig) -> Check {
        let kind = kind_name(feature.kind);
        for (key, given, allowed) in keys(feature) {
            if given && !allowed {
                return Err(Problem::KeyNotAllowed { key, kind });
            }
        }
        let needs = |key, given: bool| if given { Ok(()) } else { Err(Problem::NeedsKey { key, kind }) };
        needs("max_length", !matches!(feature.kind, FeatureKind::Sequence | FeatureKind::History) || feature.max_length.is_some())?;
        needs("value", feature.kind != FeatureKind::Statistic || feature.value.is_some())?;
        needs("unit", feature.kind != FeatureKind::Timestamp || feature.unit.is_some() || feature.format.is_some())?;
        check_format(feature.unit.is_some(), feature.format.as_deref())?;
        positive("max_length", feature.max_length.is_none_or(|n| n > 0))?;
        positive("min_count", feature.min_count.is_none_or(|n| n > 0))?;
        if feature.separator.as_deref() == Some("") {
            return Err(Problem::BadSetting { key: "separator", must: "must not be empty" });
        }
        if let Some(transform) = &feature.transform {
            check_transform(transform, feature.kind)?;
        }
        if let Some(owner) = &feature.vocabulary {
            self.check_owner(feature, owner)?;
        }
        if feature.kind == FeatureKind::Domain {
            return if self.interactions.domain.is_some() {
                Ok(())
            } else {
                Err(Problem::NeedsKey { key: "domain of [interactions]", kind })
            };
        }
        if feature.is_derived() {
            self.check_derived(feature)?;
        }
        self.check_origin(feature.from, feature.table.as_deref())
    }

    /// A feature made of earlier rows.
    fn check_derived(&self, feature: &FeatureConfig) -> Check {
        // Without time, which rows are earlier is drawn; how much earlier nobody knows.
        let dated = [
            ("lag", feature.lag.is_some()),
            ("max_age", feature.max_age.is_some()),
            ("window", feature.window.is_some()),
            ("half_life", feature.half_life.is_some()),
            ("value = age", feature.value == Some(StatisticValue::Age)),
        ];
        if let (None, Some((kind, _))) = (&self.interactions.time, dated.into_iter().find(|(_, given)| *given)) {
            return Err(Problem::NeedsKey { key: "time of [interactions]", kind });
        }
        let with_domains = feature.domains.as_ref().is_some_and(|domains| *domains != Domains::All);
        if with_domains && self.interactions.domain.is_none() {
            return Err(Problem::NeedsKey { key: "domain of [interactions]", kind: "domains" });
        }
        if matches!(&feature.domains, Some(Domains::Named(names)) if names.is_empty()) {
            return Err(Problem::BadSetting { key: "domains", must: "must name at least one domain" });
        }
        let Some(value) = feature.value else { return Ok(()) };
        let is_number = matches!(value, StatisticValue::Rate | StatisticValue::Mean);
        let (name, is_plain) = match value {
            StatisticValue::Count => ("value = count", true),
            StatisticValue::Rate => ("value = rate", true),
            StatisticValue::Mean => ("value = mean", true),
            StatisticValue::Distinct => ("value = distinct", false),
            StatisticValue::Age => ("value = age", false),
        };
        let forbidden = [
            ("parent", feature.parent.is_some() && !is_number),
            ("strength", feature.strength.is_some() && !is_number),
            ("since", feature.since.is_some() && value != StatisticValue::Age),
            ("window", feature.window.is_some() && !is_plain),
            ("half_life", feature.half_life.is_some() && !is_plain),
        ];
        if let Some((key, _)) = forbidden.into_iter().find(|(_, given)| *given) {
            return Err(Problem::KeyNotAllowed { key, kind: name });
        }
        if feature.transform == Some(Transform::Logit) && value != StatisticValue::Rate {
            return Err(Problem::TransformNotAllowed { kind: name });
        }
        if feature.window.is_some() && feature.half_life.is_some() {
            return Err(Problem::KeyNotAllowed { key: "window", kind: "half_life" });
        }
        if value == StatisticValue::Distinct && feature.column.is_none() {
            return Err(Problem::NeedsKey { key: "column", kind: name });
        }
        if feature.strength.is_some_and(|strength| !(strength.is_finite() && strength > 0.0)) {
            return Err(Problem::BadSetting { key: "strength", must: "must be above 0" });
        }
        let mut seen = HashSet::new();
        for part in &feature.by {
            if !seen.insert(part) {
                return Err(Problem::BadSetting { key: "by", must: "must name each entry once" });
            }
            self.check_key(part)?;
        }
        match feature.parent.iter().flatten().find(|part| !seen.contains(part)) {
            Some(_) => Err(Problem::BadSetting { key: "parent", must: "must name entries of `by`" }),
            None => Ok(()),
        }
    }

    /// An entry of `by`: an id, or a feature with one category a row.
    fn check_key(&self, name: &str) -> Check {
        match name {
            "user" | "item" => return Ok(()),
            "domain" if self.interactions.domain.is_some() => return Ok(()),
            "domain" => return Err(Problem::NeedsKey { key: "domain of [interactions]", kind: "by" }),
            _ => {}
        }
        let is_key = |f: &&FeatureConfig| f.kind == FeatureKind::Categorical || (f.kind == FeatureKind::Timestamp && f.has_codes());
        if self.features.iter().filter(is_key).any(|f| f.name == name) {
            return Ok(());
        }
        let known = ["user", "item", "domain"].into_iter().chain(self.features.iter().filter(is_key).map(|f| f.name.as_str()));
        Err(Problem::Unknown { key: "by", name: name.to_owned(), nearest: nearest(name, known).map(str::to_owned) })
    }

    fn check_owner(&self, feature: &FeatureConfig, owner: &str) -> Check {
        if feature.min_count.is_some() {
            return Err(Problem::KeyNotAllowed { key: "min_count", kind: "a shared vocabulary" });
        }
        let Some(found) = self.features.iter().find(|f| f.name == owner) else {
            let nearest = nearest(owner, self.features.iter().filter(|f| f.has_codes()).map(|f| f.name.as_str())).map(str::to_owned);
            return Err(Problem::Unknown { key: "vocabulary", name: owner.to_owned(), nearest });
        };
        if found.has_codes() && found.vocabulary.is_none() && found.kind != FeatureKind::Domain {
            Ok(())
        } else {
            Err(Problem::NotAnOwner { name: owner.to_owned() })
        }
    }
}

fn kind_name(kind: FeatureKind) -> &'static str {
    match kind {
        FeatureKind::Categorical => "categorical",
        FeatureKind::Multi => "multi",
        FeatureKind::Sequence => "sequence",
        FeatureKind::Numeric => "numeric",
        FeatureKind::Timestamp => "timestamp",
        FeatureKind::Domain => "domain",
        FeatureKind::History => "history",
        FeatureKind::Statistic => "statistic",
    }
}

/// Each optional key: whether it is given, and whether the feature's kind knows it.
fn keys(feature: &FeatureConfig) -> [(&'static str, bool, bool); 24] {
    use FeatureKind::{Categorical, Domain, History, Multi, Numeric, Sequence, Statistic, Timestamp};
    let is = |kinds: &[FeatureKind]| kinds.contains(&feature.kind);
    let is_code = is(&[Categorical, Multi, Sequence, History]) || (is(&[Timestamp]) && feature.has_codes());
    [
        ("from", feature.from != Origin::Interactions, !is(&[Domain])),
        ("column", feature.column.is_some(), !is(&[Domain])),
        ("table", feature.table.is_some(), !is(&[Domain])),
        ("separator", feature.separator.is_some(), is(&[Multi, Sequence])),
        ("max_length", feature.max_length.is_some(), is(&[Sequence, History])),
        ("keep_unknown", feature.keep_unknown, is(&[Multi, Sequence, History])),
        ("vocabulary", feature.vocabulary.is_some(), is_code),
        ("min_count", feature.min_count.is_some(), is_code),
        ("transform", feature.transform.is_some(), is(&[Categorical, Numeric, History, Statistic])),
        ("scale", feature.scale.is_some(), is(&[Numeric, Statistic, Timestamp]) && !is_code),
        ("unit", feature.unit.is_some(), is(&[Timestamp])),
        ("format", feature.format.is_some(), is(&[Timestamp])),
        ("part", feature.part.is_some(), is(&[Timestamp])),
        ("value", feature.value.is_some(), is(&[Statistic])),
        ("by", !feature.by.is_empty(), is(&[Statistic])),
        ("where", feature.condition.is_some(), is(&[History, Statistic])),
        ("domains", feature.domains.is_some(), is(&[History, Statistic])),
        ("lag", feature.lag.is_some(), is(&[History, Statistic])),
        ("max_age", feature.max_age.is_some(), is(&[History])),
        ("window", feature.window.is_some(), is(&[Statistic])),
        ("half_life", feature.half_life.is_some(), is(&[Statistic])),
        ("since", feature.since.is_some(), is(&[Statistic])),
        ("parent", feature.parent.is_some(), is(&[Statistic])),
        ("strength", feature.strength.is_some(), is(&[Statistic])),
    ]
}

fn check_transform(transform: &Transform, kind: FeatureKind) -> Check {
    let fits = match transform {
        Transform::Log1p => matches!(kind, FeatureKind::Numeric | FeatureKind::Statistic),
        Transform::Logit => kind == FeatureKind::Statistic,
        _ => matches!(kind, FeatureKind::Categorical | FeatureKind::History),
    };
    if !fits {
        return Err(Problem::TransformNotAllowed { kind: kind_name(kind) });
    }
    let legal = match transform {
        Transform::First(separator) => !separator.is_empty(),
        Transform::Prefix(length) => *length > 0,
        Transform::Log2(scale) => scale.is_finite() && *scale > 0.0,
        Transform::Divide(divisor) => *divisor > 0,
        Transform::Log1p | Transform::Logit => true,
    };
    if legal {
        Ok(())
    } else {
        Err(Problem::BadSetting { key: "transform", must: "must be given a number above 0 or a text that is not empty" })
    }
}

fn check_label(label: &LabelConfig) -> Check {
    let (kind, is_rating) = match label.kind {
        LabelType::Click => ("click", false),
        LabelType::Rating => ("rating", true),
        LabelType::Implicit => ("implicit", false),
    };
    match (label.kind, &label.column) {
        (LabelType::Implicit, Some(_)) => return Err(Problem::KeyNotAllowed { key: "column", kind }),
        (LabelType::Click | LabelType::Rating, None) => return Err(Problem::NeedsKey { key: "column", kind }),
        _ => {}
    }
    if label.positive.is_some() && label.kind != LabelType::Click {
        return Err(Problem::KeyNotAllowed { key: "positive", kind });
    }
    for (key, bound) in [("min", label.min), ("max", label.max)] {
        match bound {
            Some(_) if !is_rating => return Err(Problem::KeyNotAllowed { key, kind }),
            None if is_rating => return Err(Problem::NeedsKey { key, kind }),
            _ => {}
        }
    }
    match (label.min, label.max) {
        (Some(min), Some(max)) if !(min.is_finite() && max.is_finite() && min < max) => {
            Err(Problem::BadSetting { key: "max", must: "must be above `min`" })
        }
        _ => Ok(()),
    }
}

/// A format stands in place of a unit and has fields.
fn check_format(has_unit: bool, format: Option<&str>) -> Check {
    match format {
        Some(_) if has_unit => Err(Problem::KeyNotAllowed { key: "unit", kind: "format" }),
        Some(format) if !crate::time::is_time_format(format) => Err(Problem::BadSetting {
            key: "format",
            must: "must hold fields such as `%d.%m.%Y %H:%M` and no unknown ones; `%I` needs `%p`, and `%Z` says no offset: write `%z`",
        }),
        _ => Ok(()),
    }
}

fn check_domain(domain: &DomainConfig, files: usize) -> Check {
    let given = [("names", !domain.names.is_empty()), ("name", domain.name.is_some())];
    match (&domain.column, domain.from) {
        (None, None) => return Err(Problem::NeedsKey { key: "column", kind: "domain" }),
        (Some(_), Some(_)) => return Err(Problem::KeyNotAllowed { key: "column", kind: "from = file" }),
        (Some(_), None) => {
            if let Some(&(key, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Problem::KeyNotAllowed { key, kind: "column" });
            }
        }
        (None, Some(DomainOrigin::File)) => {}
    }
    if !domain.names.is_empty() && (domain.names.len() != files || domain.names.iter().any(String::is_empty)) {
        return Err(Problem::BadSetting { key: "names", must: "must have one name for each entry of `files`, none of them empty" });
    }
    if domain.name.as_deref() == Some("") {
        return Err(Problem::BadSetting { key: "name", must: "must not be empty" });
    }
    let mut seen = HashSet::new();
    if domain.order.iter().all(|name| !name.is_empty() && seen.insert(name)) {
        Ok(())
    } else {
        Err(Problem::BadSetting { key: "order", must: "must list each domain once, none of them empty" })
    }
}

/// Items whose ids mean one inside their domain need the domain in their table as well.
fn check_table_domain(domain: Option<&TableDomain>, is_scoped: bool) -> Check {
    match domain {
        None if is_scoped => Err(Problem::NeedsKey { key: "domain", kind: "item_scope = domain" }),
        Some(_) if !is_scoped => Err(Problem::KeyNotAllowed { key: "domain", kind: "a table without item_scope = domain" }),
        Some(domain) if domain.column.is_some() == domain.value.is_some() => {
            Err(Problem::BadSetting { key: "domain", must: "must have either `column` or `value`" })
        }
        _ => Ok(()),
    }
}

/// The keys of files contradict neither each other nor the format.
fn check_files(keys: &FileKeys<'_>) -> Check {
    if keys.files.is_empty() {
        return Err(Problem::NoFiles);
    }
    if keys.format == Some(Format::Parquet)
        && let Some(key) = keys.text_key()
    {
        return Err(Problem::KeyNotAllowed { key, kind: "parquet" });
    }
    let may_quote = keys.quoting != Some(false);
    let is_delimiter = |text: &str| !text.is_empty() && !text.contains(['\n', '\r']) && (!may_quote || !text.contains('"'));
    let bad = |key, must| Err(Problem::BadSetting { key, must });
    if !keys.delimiter.is_none_or(is_delimiter) {
        return bad("delimiter", "must be a text without line breaks, and without quotes unless `quoting = false`");
    }
    if keys.comment == Some("") {
        return bad("comment", "must not be empty");
    }
    if keys.encoding.is_some_and(|name| encoding(name).is_none()) {
        return bad("encoding", "must be `utf-8`, `latin-1` or another name of the WHATWG encoding standard");
    }
    let mut seen = HashSet::new();
    if !keys.columns.iter().all(|name| !name.is_empty() && seen.insert(name)) {
        return bad("columns", "must name each column once, none of them empty");
    }
    Ok(())
}

fn positive(key: &'static str, legal: bool) -> Check {
    if legal { Ok(()) } else { Err(Problem::BadSetting { key, must: "must be at least 1" }) }
}

fn unique<'a>(names: &mut HashSet<&'a str>, name: Option<&'a str>) -> Check {
    match name {
        Some("") => Err(Problem::BadSetting { key: "name", must: "must not be empty" }),
        Some(name) if !names.insert(name) => Err(Problem::DuplicateName),
        _ => Ok(()),
    }
}
