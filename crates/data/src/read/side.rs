//! User and item tables.

use super::alike::Alike;
use super::log::{id, push_columns};
use super::{Found, Ids, Target, columns_for};
use crate::column::{Column, NO_ROW};
use crate::config::{ItemScope, Missing, Origin, SideTableConfig};
use crate::error::{IdRemedy, IdSpelling, Place, Position, RowFault};
use crate::inspect::{FileReport, TableKind};
use crate::source::{Cell, Row, Table, Wanted};
use crate::strings::StringTable;
use crate::{DataError, DatasetConfig, Side};

/// Reads all user and item tables and brings their columns into the order of the log's users and items.
pub(super) fn read<'a>(
    config: &'a DatasetConfig,
    ids: &Ids,
    files: &mut Vec<FileReport>,
    problems: &mut Vec<String>,
    found: &mut Vec<Found<'a>>,
) -> Result<(), DataError> {
    for (origin, kind, known) in [(Origin::Users, TableKind::Users, &ids.users), (Origin::Items, TableKind::Items, &ids.items)] {
        let configs = config.tables(origin);
        let tables = configs.iter().map(|t| Table::new(config, kind, t.file_keys())).collect::<Result<Vec<_>, _>>()?;
        let headers = tables.iter().map(Table::header).collect::<Result<Vec<_>, _>>()?;
        let places = Places { configs, tables: &tables, headers: &headers, stacks: stacks(configs) };
        places.check(config, origin)?;
        for (position, stack) in places.stacks.iter().enumerate() {
            let is_here = |name: Option<&str>, column: &str| places.find(name, column).is_ok_and(|p| p == position);
            let (targets, columns) = columns_for(
                config,
                |f| f.from == origin && is_here(f.table.as_deref(), f.column()),
                |a| a.from == origin && is_here(a.table.as_deref(), a.column()),
            );
            let is_scoped = origin == Origin::Items && config.interactions.item_scope == ItemScope::Domain;
            let side = SideTable { config, places: &places, stack, origin, known, is_scoped };
            side.read(files, problems, found, targets, columns)?;
        }
    }
    Ok(())
}

/// Tables that are read as one: those for one domain each, under one name. Any other stands alone.
fn stacks(configs: &[SideTableConfig]) -> Vec<Vec<usize>> {
    let is_part = |table: &SideTableConfig| table.domain.as_ref().is_some_and(|domain| domain.value.is_some());
    let mut stacks: Vec<Vec<usize>> = Vec::new();
    for (i, table) in configs.iter().enumerate() {
        let belongs = |stack: &&mut Vec<usize>| is_part(table) && is_part(&configs[stack[0]]) && configs[stack[0]].name == table.name;
        match stacks.iter_mut().find(belongs) {
            Some(stack) => stack.push(i),
            None => stacks.push(vec![i]),
        }
    }
    stacks
}

/// Which of the tables of one side has a column.
struct Places<'a, 'b> {
    configs: &'a [SideTableConfig],
    tables: &'b [Table<'a>],
    headers: &'b [Vec<String>],
    stacks: Vec<Vec<usize>>,
}

impl Places<'_, '_> {
    fn has(&self, table: usize, column: &str) -> bool {
        self.headers[table].iter().any(|name| name == column)
    }

    /// The stack that has a column.
    fn find(&self, table: Option<&str>, column: &str) -> Result<usize, DataError> {
        let named = |stack: &usize| table.is_none() || self.configs[self.stacks[*stack][0]].name.as_deref() == table;
        let candidates: Vec<usize> = (0..self.stacks.len()).filter(named).collect();
        let holder = |&stack: &usize| Some((stack, self.stacks[stack].iter().copied().find(|&table| self.has(table, column))?));
        let mut holders = candidates.iter().filter_map(holder);
        let Some((first, first_table)) = holders.next() else {
            let tables: Vec<usize> = candidates.iter().flat_map(|&stack| self.stacks[stack].iter().copied()).collect();
            let available: Vec<String> = tables.iter().flat_map(|&table| self.headers[table].iter().cloned()).collect();
            return Err(self.tables[tables.first().copied().unwrap_or(0)].missing(0, column, &available));
        };
        // The key is in every table and the same in each.
        match holders.next() {
            Some((_, second_table)) if self.configs[first_table].key != column => Err(DataError::AmbiguousColumn {
                column: column.to_owned(),
                first: self.tables[first_table].first_file().to_owned(),
                second: self.tables[second_table].first_file().to_owned(),
            }),
            _ => Ok(first),
        }
    }

    /// Every column of the configuration is in one stack, and that of an attribute, which needs a value everywhere, in all tables of it.
    fn check(&self, config: &DatasetConfig, origin: Origin) -> Result<(), DataError> {
        for feature in config.features.iter().filter(|f| f.from == origin) {
            self.find(feature.table.as_deref(), feature.column())?;
        }
        for attribute in config.attributes.iter().filter(|a| a.from == origin) {
            let stack = self.find(attribute.table.as_deref(), attribute.column())?;
            if let Some(&table) = self.stacks[stack].iter().find(|&&table| !self.has(table, attribute.column())) {
                return Err(self.tables[table].missing(0, attribute.column(), &self.headers[table]));
            }
        }
        Ok(())
    }
}

struct SideTable<'a, 'b> {
    config: &'a DatasetConfig,
    places: &'b Places<'a, 'b>,
    stack: &'b [usize],
    origin: Origin,
    /// Users or items of the log.
    known: &'b StringTable,
    /// Whether an id is one inside its domain.
    is_scoped: bool,
}

/// What a pass over the tables of a stack has found.
struct Progress<'a> {
    columns: Vec<Column<'a>>,
    keys: StringTable,
    /// Table, file and position of each key.
    first: Vec<(usize, u32, Position)>,
    /// Row of each entity of the log.
    order: Vec<u32>,
    rows: usize,
    unused: u64,
}

impl<'a> SideTable<'a, '_> {
    fn read(
        &self,
        files: &mut Vec<FileReport>,
        problems: &mut Vec<String>,
        found: &mut Vec<Found<'a>>,
        targets: Vec<Target<'a>>,
        columns: Vec<Column<'a>>,
    ) -> Result<(), DataError> {
        let order = vec![NO_ROW; self.known.len() - 1];
        let mut progress = Progress { columns, keys: StringTable::default(), first: Vec::new(), order, rows: 0, unused: 0 };
        for &table in self.stack {
            progress.unused = 0;
            self.read_table(table, &mut progress, files)?;
            if progress.unused > 0 {
                let (file, side) = (self.file(table).display(), self.side_name());
                problems.push(format!("{file}: {} rows are for {side}s that the log does not have", progress.unused));
            }
            for (target, column) in targets.iter().zip(&progress.columns).filter(|(_, column)| !self.places.has(table, column.source)) {
                let (file, name) = (self.file(table).display(), target.name());
                problems.push(format!(
                    "{file} has no column `{}`: feature `{name}` is missing for its {}s",
                    column.source,
                    self.side_name()
                ));
            }
        }
        let Progress { columns, keys, order, .. } = progress;
        self.check_references(&order, &keys, problems)?;
        for (target, column) in targets.into_iter().zip(columns) {
            let source = column.source;
            let values = column.take(&order).map_err(|entity| self.missing_attribute(target, source, entity))?;
            found.push(Found { side: self.origin.side(), target, values });
        }
        Ok(())
    }

    fn read_table(&self, table: usize, progress: &mut Progress<'a>, files: &mut Vec<FileReport>) -> Result<(), DataError> {
        let config = &self.places.configs[table];
        let key = config.key.as_str();
        let mut wanted = vec![Wanted::single(key)];
        let domain_column = config.domain.as_ref().and_then(|domain| domain.column.as_deref());
        wanted.extend(domain_column.map(Wanted::single));
        let slots: Vec<Option<usize>> = progress
            .columns
            .iter()
            .map(|column| {
                self.places.has(table, column.source).then(|| {
                    wanted.push(column.wanted());
                    wanted.len() - 1
                })
            })
            .collect();
        let Progress { columns, keys, first, order, rows, unused } = progress;
        let [mut key_buffer, mut domain_buffer, mut scoped, mut buffer] = [const { String::new() }; 4];
        self.places.tables[table].read(&wanted, self.config.on_bad_row, files, |file, position, row: &dyn Row| {
            let cell = row.cell(0)?;
            let value = id(&cell, key, &mut key_buffer)?;
            let domain_cell = domain_column.map(|_| row.cell(1)).transpose()?;
            let domain = match (&domain_cell, domain_column) {
                (Some(cell), Some(column)) => Some(id(cell, column, &mut domain_buffer)?),
                _ => config.domain.as_ref().and_then(|domain| domain.value.as_deref()),
            };
            let value = match domain {
                Some(domain) => super::scoped(domain, value, &mut scoped),
                None => value,
            };
            if let Some(code) = keys.code(value) {
                let (table, file, position) = first[code as usize - 1];
                let first = Place { file: self.places.tables[table].file(file as usize).path.clone(), position };
                return Err(RowFault::DuplicateKey { column: key.to_owned(), value: value.to_owned(), first });
            }
            match self.known.code(value) {
                Some(code) => {
                    push_columns(columns, |i| slots[i].map_or(Ok(Cell::Missing), |slot| row.cell(slot)), *rows, &mut buffer)?;
                    order[code as usize - 1] = *rows as u32;
                    *rows += 1;
                }
                None => *unused += 1,
            }
            keys.intern(value);
            first.push((table, file as u32, position));
            Ok(())
        })
    }

    fn file(&self, table: usize) -> &std::path::Path {
        self.places.tables[table].first_file()
    }

    fn side_name(&self) -> &'static str {
        DataError::side_name(self.origin.side())
    }

    /// The table that should have a row for an entity of the log; `None` if there is none for its domain.
    fn table_for(&self, id: &str) -> Option<usize> {
        let value = |table: &usize| self.places.configs[*table].domain.as_ref().and_then(|domain| domain.value.as_deref());
        let domain = id.split_once('/').map_or("", |(domain, _)| domain);
        self.stack.iter().copied().find(|table| value(table).is_none_or(|value| value == domain))
    }

    /// Every user or item of the log has a row, or may lack one.
    fn check_references(&self, order: &[u32], keys: &StringTable, problems: &mut Vec<String>) -> Result<(), DataError> {
        let missing: Vec<&str> =
            order.iter().enumerate().filter(|&(_, &row)| row == NO_ROW).map(|(entity, _)| self.known.text(entity as u32 + 1)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let spelling = Alike::find(&missing, keys, self.is_scoped).map(|alike| self.spelling(alike, missing.len(), order.len()));
        let all_allow = self.stack.iter().all(|&table| self.places.configs[table].missing == Missing::Allow);
        let may_lack = |id: &&str| match self.table_for(id) {
            Some(table) => self.places.configs[table].missing == Missing::Allow,
            None => all_allow,
        };
        let side = self.side_name();
        let Some(&id) = missing.iter().find(|id| !may_lack(id)) else {
            problems.push(format!("{}: {} {side}s of the log have no row", self.file(self.stack[0]).display(), missing.len()));
            problems.extend(spelling.map(|spelling| spelling.to_string()));
            return Ok(());
        };
        if let Some(spelling) = spelling {
            return Err(DataError::SpelledOtherwise(Box::new(spelling)));
        }
        let count = missing.iter().filter(|id| !may_lack(id)).count();
        match self.table_for(id) {
            Some(table) => Err(DataError::MissingReference { side, id: id.to_owned(), count, file: self.file(table).to_owned() }),
            None => {
                let domain = id.split_once('/').map_or("", |(domain, _)| domain);
                let items = missing.iter().filter(|id| id.split_once('/').is_some_and(|(d, _)| d == domain)).count();
                Err(DataError::DomainWithoutTable { domain: domain.to_owned(), items })
            }
        }
    }

    /// What to do about ids that the log and the table spell differently.
    fn spelling(&self, alike: Alike, missing: usize, total: usize) -> IdSpelling {
        let table = self.table_for(&alike.log).unwrap_or(self.stack[0]);
        let interactions = &self.config.interactions;
        let (name, log_column) = match self.origin.side() {
            Side::User => ("[[users]]", &interactions.user),
            _ => ("[[items]]", &interactions.item),
        };
        let remedy = match alike.difference() {
            super::alike::Difference::Number { in_log: true } => IdRemedy::Integers { table: "[interactions]", column: log_column.clone() },
            super::alike::Difference::Number { in_log: false } => {
                IdRemedy::Integers { table: name, column: self.places.configs[table].key.clone() }
            }
            super::alike::Difference::Blanks => IdRemedy::Blanks,
            super::alike::Difference::Case => IdRemedy::Case,
            super::alike::Difference::Several => IdRemedy::Both,
        };
        IdSpelling {
            side: self.side_name(),
            id: alike.log,
            alike: alike.table,
            count: alike.count,
            missing,
            total,
            file: self.file(table).to_owned(),
            remedy,
        }
    }

    fn missing_attribute(&self, target: Target<'_>, column: &str, entity: usize) -> DataError {
        let id = self.known.text(entity as u32 + 1).to_owned();
        DataError::MissingAttribute { attribute: target.name().to_owned(), side: self.side_name(), id, column: column.to_owned() }
    }
}
