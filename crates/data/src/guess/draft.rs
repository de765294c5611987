//! From counted tables and the meaning of the log's columns to the entries of a data-set file.

use std::collections::{BTreeMap, HashSet};

use super::column::{Clock, Kind, Profile};
use super::distinct::Distinct;
use super::feature::{Asked, Feature, feature, quoted};
use super::files::{Division, division, part};
use super::role::{Label, Roles};
use super::table::Table;
use super::{Domain, GivenSplit, Guess, SideGuess, TableGuess};
use crate::config::Origin;
use crate::{DataError, TimeUnit, date};

/// Share of the log's ids that a key column must have, to be believed.
const KEYED: f64 = 0.1;
/// Items that a domain must have, to tell how they are numbered.
const NUMBERED: usize = 20;

/// Everything that is known when the columns have their meaning.
pub(super) struct Draft {
    log: Table,
    users: Vec<Table>,
    items: Vec<Table>,
    roles: Roles,
    found: Vec<String>,
    checks: Vec<String>,
    /// Why rows will be skipped.
    skips: Vec<String>,
    /// Columns of the log that are read as whole numbers.
    whole: Vec<String>,
}

/// The key of a table of users or items.
struct Key {
    column: usize,
    /// Share of the log's ids that it has.
    share: f64,
    /// Whether ids of the log, and of the table, must be read as whole numbers.
    whole: [bool; 2],
}

impl Draft {
    pub(super) fn new(log: Table, users: Vec<Table>, items: Vec<Table>, roles: Roles) -> Self {
        let mut draft = Self { log, users, items, roles, found: Vec::new(), checks: Vec::new(), skips: Vec::new(), whole: Vec::new() };
        draft.checks.append(&mut draft.roles.doubts);
        if draft.log.is_nameless() {
            draft.name_columns();
        }
        for table in [&draft.log].into_iter().chain(&draft.users).chain(&draft.items).filter(|table| !table.twice.is_empty()) {
            let names = table.twice.join(", ");
            draft.checks.push(format!("{}: columns of one name are not read: {names}", table.first_file.display()));
        }
        for table in [&draft.log].into_iter().chain(&draft.users).chain(&draft.items).filter(|table| table.is_latin()) {
            draft.checks.push(format!(
                "{} is not UTF-8 and read as latin-1; set another `encoding` if its letters look wrong",
                table.first_file.display()
            ));
        }
        draft
    }

    /// Names for the columns of files without a header.
    fn name_columns(&mut self) {
        let Roles { user, item, time, domain, label, .. } = &self.roles;
        let label_name = |label: &Label| if matches!(label, Label::Click(_)) { "click" } else { "rating" };
        let named = [
            (Some(*user), "user"),
            (Some(*item), "item"),
            (*time, "time"),
            (*domain, "domain"),
            (label.map(Label::column), label.as_ref().map_or("", label_name)),
        ];
        for (column, name) in named {
            if let Some(column) = column {
                self.log.columns[column].name = name.to_owned();
            }
        }
        let names = self.log.names().join(", ");
        self.checks.push(format!("the log has no header; its columns were named {names}"));
    }

    fn column(&self, column: usize) -> &Profile {
        &self.log.columns[column]
    }

    pub(super) fn finish(mut self, name: &str) -> Result<Guess, DataError> {
        let Roles { user, item, .. } = self.roles;
        let (domain, split) = self.division();
        let time = self.time();
        let has_domain_items = self.has_domain_items(domain.as_ref())?;
        let label = self.label();
        self.say_rows();
        let mut features = self.ids();
        let users = self.sides(Origin::Users, user, has_domain_items.then_some(&domain).and_then(Option::as_ref), &mut features);
        let items = self.sides(Origin::Items, item, has_domain_items.then_some(&domain).and_then(Option::as_ref), &mut features);
        self.log_features(&mut features);
        if let Some(domain) = &domain {
            let column = match domain {
                Domain::Column(column) => column.clone(),
                Domain::Files(_) => "domain".to_owned(),
            };
            features.push(Feature {
                name: column.clone(),
                from: Origin::Interactions,
                table: None,
                column,
                kind: "domain",
                keys: Vec::new(),
                left_out: None,
            });
        }
        unique_names(&mut features);
        self.say_left_out(&features);
        let other_labels = self.roles.other_labels.iter().map(|&c| self.column(c).name.clone()).collect();
        Ok(Guess {
            name: name.to_owned(),
            split,
            log: TableGuess { keys: self.log.keys(&self.whole) },
            user: self.column(user).name.clone(),
            item: self.column(item).name.clone(),
            time,
            domain,
            has_domain_items,
            label,
            positive: self.roles.positive.clone(),
            other_labels,
            users,
            items,
            features,
            skips: (!self.skips.is_empty()).then(|| self.skips.join("; ")),
            found: self.found,
            checks: self.checks,
        })
    }

    /// Columns that no model reads unless the user says so.
    fn say_left_out(&mut self, features: &[Feature]) {
        let left_out: Vec<String> =
            features.iter().filter_map(|f| f.left_out.as_ref().map(|reason| format!("`{}` ({reason})", f.column))).collect();
        if !left_out.is_empty() {
            self.checks.push(format!("left out of the features, as comments of the data-set file: {}", some(left_out.iter())));
        }
    }

    /// Domains and parts, by a column or by the files.
    fn division(&mut self) -> (Option<Domain>, Option<GivenSplit>) {
        let by_column = self.roles.domain.map(|c| Domain::Column(self.column(c).name.clone()));
        let mut split = self.split_by_column();
        let mut domain = by_column;
        match division(&self.log.entries) {
            Division::Parts => {}
            Division::Split(given) if given.is_whole() => split = Some(given),
            Division::Split(_) => self.checks.push(
                "the files are named like parts of a split, but one of train, validation and test is missing; they are read as one log"
                    .to_owned(),
            ),
            Division::Domains(names) if domain.is_none() => domain = Some(Domain::Files(names)),
            Division::Domains(_) => {}
        }
        match &domain {
            Some(Domain::Column(column)) => {
                let levels = self.log.column(column).and_then(Profile::levels);
                let names = levels.map_or(String::new(), |levels| some(levels.keys()));
                self.found.push(format!("domain: column `{column}` ({names})"));
            }
            Some(Domain::Files(names)) => {
                self.found.push(format!("domain: told by the file ({})", some(names.iter())));
                self.checks.push("each file of the log is taken for a domain of its own".to_owned());
            }
            None => {}
        }
        (domain, split)
    }

    fn split_by_column(&mut self) -> Option<GivenSplit> {
        let profile = self.column(self.roles.split?);
        let (name, levels) = (profile.name.clone(), profile.levels()?.keys().cloned().collect::<Vec<_>>());
        let parts: Vec<Option<usize>> = levels.iter().map(|level| part(level)).collect();
        let of = |part| levels.iter().zip(&parts).filter(|(_, p)| **p == Some(part)).map(|(level, _)| level.clone()).collect::<Vec<_>>();
        let given = GivenSplit::new(Some(name.clone()), [of(0), of(1), of(2)]);
        // Two values for one part say more than this split would.
        let is_plain = given.is_whole() && levels.len() == 3;
        if !is_plain {
            self.checks
                .push(format!("column `{name}` divides the log ({}); the split of the experiment does not use it", some(levels.iter())));
        }
        is_plain.then_some(given)
    }

    fn time(&mut self) -> Option<(String, Option<Clock>)> {
        let column = self.roles.time?;
        let (name, time) = (self.column(column).name.clone(), self.column(column).time());
        match time {
            Some(time) => {
                let spelling = match time.clock {
                    Clock::Unit(unit) => format!("unit {unit}"),
                    Clock::Format(format) => format!("format {format}"),
                    Clock::Typed => "typed".to_owned(),
                };
                self.found.push(format!("time: column `{name}`, {spelling}, {} to {}", date(time.range[0]), date(time.range[1])));
                Some((name, (time.clock != Clock::Typed).then_some(time.clock)))
            }
            None => {
                self.found.push(format!("time: column `{name}`, counted in steps"));
                Some((name, Some(Clock::Unit(TimeUnit::S))))
            }
        }
    }

    fn label(&mut self) -> Option<(String, Label)> {
        let Some(label) = self.roles.label else {
            self.found.push("label: none, every row is a positive".to_owned());
            return None;
        };
        let name = self.column(label.column()).name.clone();
        self.found.push(match label {
            Label::Click(_) => match &self.roles.positive {
                Some(positive) => format!("label: column `{name}`, {positive} or not"),
                None => format!("label: column `{name}`, a click or none"),
            },
            Label::Rating { min, max, .. } => format!("label: column `{name}`, a rating from {min} to {max}"),
        });
        Some((name, label))
    }

    /// Rows that can not be used, and what the ids are.
    fn say_rows(&mut self) {
        let Roles { user, item, time, domain, label, .. } = self.roles;
        for (role, column) in [("item", item), ("user", user)] {
            let profile = self.column(column);
            self.found.insert(0, format!("{role}: column `{}` ({} different)", profile.name, profile.distinct.count()));
        }
        for column in [Some(user), Some(item), time, domain, label.map(Label::column)].into_iter().flatten() {
            let profile = self.column(column);
            if profile.lacking() > 0 {
                self.skips.push(format!("{} rows of the log have no `{}`", profile.lacking(), profile.name));
            }
        }
        if self.log.bad_rows > 0 {
            self.skips.push(format!("{} rows of the log have too many or too few fields", self.log.bad_rows));
        }
    }

    /// Features of the two ids.
    fn ids(&self) -> Vec<Feature> {
        let id = |column: usize| {
            let profile = self.column(column);
            let (distinct, rows) = (profile.distinct.count(), profile.values);
            Feature {
                name: profile.name.clone(),
                from: Origin::Interactions,
                table: None,
                column: profile.name.clone(),
                kind: "categorical",
                keys: vec![("min_count", "2".to_owned())],
                left_out: (distinct as u64 * 3 > rows * 2).then(|| format!("nearly every row has another: {distinct} in {rows} rows")),
            }
        };
        vec![id(self.roles.user), id(self.roles.item)]
    }

    /// Features of the other columns of the log.
    fn log_features(&self, features: &mut Vec<Feature>) {
        let Roles { user, item, time, domain, label, split, .. } = self.roles;
        let used = [Some(user), Some(item), time, domain, split, label.map(Label::column)];
        let items = self.column(item);
        let others = (0..self.log.columns.len()).filter(|&c| !used.contains(&Some(c)));
        features.extend(others.filter_map(|c| {
            feature(Asked { profile: self.column(c), from: Origin::Interactions, decimal_comma: self.log.decimal_comma(), items })
        }));
    }

    /// The tables of users or items and their features.
    fn sides(&mut self, origin: Origin, ids: usize, scope: Option<&Domain>, features: &mut Vec<Feature>) -> Vec<SideGuess> {
        let tables = std::mem::take(if origin == Origin::Users { &mut self.users } else { &mut self.items });
        let what = if origin == Origin::Users { "user" } else { "item" };
        let several = tables.len() > 1;
        let mut columns: BTreeMap<String, usize> = BTreeMap::new();
        tables.iter().flat_map(Table::names).for_each(|name| *columns.entry(name).or_default() += 1);
        let mut guesses = Vec::new();
        for mut table in tables {
            let file = table.first_file.display().to_string();
            let Some(key) = key(&table, self.column(ids)) else {
                self.checks
                    .push(format!("{file}: no column holds {what} ids of the log (`{}`); the table is left out", self.column(ids).name));
                continue;
            };
            if table.is_nameless() {
                name_side_columns(&mut table, key.column, what);
            }
            if key.whole[0] && !self.whole.contains(&self.column(ids).name) {
                self.whole.push(self.column(ids).name.clone());
            }
            let profile = &table.columns[key.column];
            let (key_name, all) = (profile.name.clone(), self.column(ids).distinct.count());
            let lacking = all - (all as f64 * key.share).round() as usize;
            let missing = (lacking > 0).then(|| format!("{lacking} of {all} {what}s of the log have no row here"));
            let repeated = profile.distinct.repeats(profile.values);
            if repeated > 0 && scope.is_none() {
                self.skips.push(format!("{file}: {repeated} rows repeat a `{key_name}`, of which the first is kept"));
            }
            if table.bad_rows > 0 || profile.lacking() > 0 {
                self.skips.push(format!(
                    "{file}: {} rows have no `{key_name}` or too many or too few fields",
                    table.bad_rows + profile.lacking()
                ));
            }
            self.found.push(format!(
                "{what}s: {file}, key `{key_name}`, {} rows{}",
                table.rows(),
                missing.as_ref().map_or(String::new(), |m| format!("; {m}"))
            ));
            let name = several.then(|| table_name(&file));
            let item_profile = self.column(self.roles.item).clone();
            let domain = scope.filter(|_| origin == Origin::Items).and_then(|scope| self.domain_of(&table, scope, &file));
            for (c, profile) in table.columns.iter().enumerate().filter(|(c, _)| *c != key.column) {
                let asked = Asked { profile, from: origin, decimal_comma: table.decimal_comma(), items: &item_profile };
                let Some(mut feature) = feature(asked) else { continue };
                feature.table = name.clone().filter(|_| columns[&table.columns[c].name] > 1);
                features.push(feature);
            }
            let whole = if key.whole[1] { vec![key_name.clone()] } else { Vec::new() };
            // A table of one domain has no row for the items of the others.
            let of_one = several && domain.as_ref().is_some_and(|domain| domain.contains("value"));
            let missing = missing.or_else(|| of_one.then(|| "items of other domains have no row here".to_owned()));
            guesses.push(SideGuess { name, table: TableGuess { keys: table.keys(&whole) }, key: key_name, domain, missing });
        }
        guesses
    }

    /// The domain whose items a table describes, where items are numbered apart in each.
    fn domain_of(&mut self, table: &Table, scope: &Domain, file: &str) -> Option<String> {
        let names: Vec<String> = match scope {
            Domain::Files(names) => names.clone(),
            Domain::Column(column) => self.log.column(column)?.levels()?.keys().cloned().collect(),
        };
        let holds_names = |profile: &&Profile| {
            profile.levels().is_some_and(|levels| !levels.is_empty() && levels.keys().all(|level| names.contains(level)))
        };
        if let Some(profile) = table.columns.iter().find(holds_names) {
            return Some(format!("{{ column = {} }}", quoted(&profile.name)));
        }
        let small = file.to_lowercase();
        let named: Vec<&String> = names.iter().filter(|name| small.contains(&name.to_lowercase())).collect();
        if let [name] = named[..] {
            return Some(format!("{{ value = {} }}", quoted(name)));
        }
        self.checks
            .push(format!("{file}: items are numbered apart in each domain, and the domain of this table is unknown; set its `domain`"));
        None
    }

    /// Whether equal item ids of two domains mean two items: whole numbers that leave few gaps in each domain, up to different ends.
    fn has_domain_items(&mut self, domain: Option<&Domain>) -> Result<bool, DataError> {
        let (Some(domain), item) = (domain, self.roles.item) else { return Ok(false) };
        if !self.column(item).is_whole() {
            return Ok(false);
        }
        let columns = match domain {
            Domain::Files(_) => vec![item],
            Domain::Column(_) => vec![item, self.roles.domain.unwrap_or(item)],
        };
        let mut catalogues: BTreeMap<String, (Distinct, f64, f64)> = BTreeMap::new();
        self.log.each(&columns, |entry, texts| {
            let domain = texts.get(1).cloned().unwrap_or_else(|| entry.to_string());
            let Ok(number) = texts[0].parse::<f64>() else { return };
            let (distinct, min, max) = catalogues.entry(domain).or_insert_with(|| (Distinct::default(), number, number));
            distinct.insert(&texts[0]);
            (*min, *max) = (min.min(number), max.max(number));
        })?;
        let large: Vec<_> = catalogues.values().filter(|(distinct, ..)| distinct.count() >= NUMBERED).collect();
        let is_dense = |(distinct, min, max): &(Distinct, f64, f64)| *min <= 1.0 && distinct.count() as f64 > 0.9 * (max - min + 1.0);
        let ends = large.iter().map(|(_, _, max)| *max);
        let (least, most) = ends.fold((f64::INFINITY, 0.0_f64), |(a, b), max| (a.min(max), b.max(max)));
        let apart = large.len() > 1 && large.iter().all(|catalogue| is_dense(catalogue)) && least < 0.95 * most;
        if apart {
            self.checks.push(format!(
                "item ids are numbered from the start in each domain, so that `{}` 7 of two domains is taken for two items; remove item_scope if it is one",
                self.column(item).name
            ));
        }
        Ok(apart)
    }
}

/// The column that has most of the log's ids.
fn key(table: &Table, ids: &Profile) -> Option<Key> {
    let mut best: Option<(f64, Key)> = None;
    for (column, profile) in table.columns.iter().enumerate() {
        for whole in [[false, false], [true, false], [false, true], [true, true]] {
            let of =
                |profile: &'_ Profile, whole: bool| if whole { profile.whole_distinct.clone() } else { Some(profile.distinct.clone()) };
            let (Some(ids), Some(keys)) = (of(ids, whole[0]), of(profile, whole[1])) else { continue };
            let share = ids.share_in(&keys);
            // Equal shares: the column with fewer keys that the log does not have.
            let score = share + 0.01 * keys.share_in(&ids);
            if share >= KEYED && best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, Key { column, share, whole }));
            }
        }
    }
    best.map(|(_, key)| key)
}

/// Names for the columns of a table without a header.
fn name_side_columns(table: &mut Table, key: usize, what: &str) {
    let comma = table.decimal_comma();
    for (i, column) in table.columns.iter_mut().enumerate() {
        let is_gender =
            column.levels().is_some_and(|levels| levels.len() == 2 && levels.keys().all(|l| ["M", "F", "m", "f"].contains(&l.as_str())));
        column.name = match column.kind(comma) {
            _ if i == key => what.to_owned(),
            _ if is_gender => "gender".to_owned(),
            Kind::List(_) => format!("tags_{}", i + 1),
            Kind::Time(_) => format!("date_{}", i + 1),
            Kind::Number => format!("number_{}", i + 1),
            _ => format!("text_{}", i + 1),
        };
    }
}

/// The name of a table: its file's, up to the first dot.
fn table_name(file: &str) -> String {
    file.trim_end_matches('/').rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or(file).to_owned()
}

/// Features of one name are told apart by their table or side.
fn unique_names(features: &mut [Feature]) {
    let mut seen = HashSet::new();
    for feature in features {
        let side = match feature.from {
            Origin::Interactions => "log",
            Origin::Users => "user",
            Origin::Items => "item",
        };
        let table = feature.table.clone().unwrap_or_else(|| side.to_owned());
        let candidates = [feature.name.clone(), format!("{table}_{}", feature.name), format!("{side}_{table}_{}", feature.name)];
        let numbered = (2..).map(|n| format!("{}_{n}", feature.column));
        let free = candidates.into_iter().chain(numbered).find(|name| !seen.contains(name)).unwrap_or_default();
        seen.insert(free.clone());
        feature.name = free;
    }
}

/// The first few of some texts.
fn some<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    match texts.len() {
        0..=8 => texts.join(", "),
        n => format!("{}, ... {n} in all", texts[..8].join(", ")),
    }
}
