//! User and item tables.

use super::log::{id, push_columns};
use super::{Found, Ids, columns_for};
use crate::column::{Column, NO_ROW};
use crate::config::{Missing, Origin, SideTableConfig};
use crate::error::{Place, Position, RowFault};
use crate::inspect::{FileReport, TableKind};
use crate::source::{Table, Wanted};
use crate::strings::StringTable;
use crate::{DataError, DatasetConfig};

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
        let places = Places { configs, tables: &tables, headers: &headers };
        places.check(config, origin)?;
        for (position, (table_config, table)) in configs.iter().zip(&tables).enumerate() {
            let is_here = |name: Option<&str>, column: &str| places.find(name, column).is_ok_and(|p| p == position);
            let side = SideTable { config, table_config, table, origin, known };
            side.read(files, problems, found, is_here)?;
        }
    }
    Ok(())
}

/// Which of the tables of one side has a column.
struct Places<'a> {
    configs: &'a [SideTableConfig],
    tables: &'a [Table<'a>],
    headers: &'a [Vec<String>],
}

impl Places<'_> {
    fn find(&self, table: Option<&str>, column: &str) -> Result<usize, DataError> {
        let named = |i: &usize| table.is_none() || self.configs[*i].name.as_deref() == table;
        let candidates: Vec<usize> = (0..self.tables.len()).filter(named).collect();
        let has = |i: &usize| self.headers[*i].iter().any(|name| name == column);
        let mut holders = candidates.iter().copied().filter(has);
        let Some(first) = holders.next() else {
            let available: Vec<String> = candidates.iter().flat_map(|&i| self.headers[i].iter().cloned()).collect();
            return Err(self.tables[candidates.first().copied().unwrap_or(0)].missing(0, column, &available));
        };
        // The key is in every table and the same in each.
        match holders.next() {
            Some(second) if self.configs[first].key != column => Err(DataError::AmbiguousColumn {
                column: column.to_owned(),
                first: self.tables[first].first_file().to_owned(),
                second: self.tables[second].first_file().to_owned(),
            }),
            _ => Ok(first),
        }
    }

    /// Every column of the configuration is in one table.
    fn check(&self, config: &DatasetConfig, origin: Origin) -> Result<(), DataError> {
        for feature in config.features.iter().filter(|f| f.from == origin) {
            self.find(feature.table.as_deref(), feature.column())?;
        }
        for attribute in config.attributes.iter().filter(|a| a.from == origin) {
            self.find(attribute.table.as_deref(), attribute.column())?;
        }
        Ok(())
    }
}

struct SideTable<'a, 'b> {
    config: &'a DatasetConfig,
    table_config: &'a SideTableConfig,
    table: &'b Table<'b>,
    origin: Origin,
    /// Users or items of the log.
    known: &'b StringTable,
}

impl<'a> SideTable<'a, '_> {
    fn read(
        &self,
        files: &mut Vec<FileReport>,
        problems: &mut Vec<String>,
        found: &mut Vec<Found<'a>>,
        is_here: impl Fn(Option<&str>, &str) -> bool,
    ) -> Result<(), DataError> {
        let origin = self.origin;
        let (targets, mut columns) = columns_for(
            self.config,
            |f| f.from == origin && is_here(f.table.as_deref(), f.column()),
            |a| a.from == origin && is_here(a.table.as_deref(), a.column()),
        );
        let key = self.table_config.key.as_str();
        let mut wanted = vec![Wanted::single(key)];
        wanted.extend(columns.iter().map(Column::wanted));
        let mut keys = StringTable::default();
        let mut first: Vec<(u32, Position)> = Vec::new();
        let mut order = vec![NO_ROW; self.known.len() - 1];
        let (mut rows, mut unused) = (0, 0_u64);
        let (mut key_buffer, mut buffer) = (String::new(), String::new());
        self.table.read(&wanted, self.config.on_bad_row, files, |file, position, row| {
            let cell = row.cell(0)?;
            let value = id(&cell, key, &mut key_buffer)?;
            if let Some(code) = keys.code(value) {
                let (file, position) = first[code as usize - 1];
                let first = Place { file: self.table.file(file as usize).path.clone(), position };
                return Err(RowFault::DuplicateKey { column: key.to_owned(), value: value.to_owned(), first });
            }
            match self.known.code(value) {
                Some(code) => {
                    push_columns(&mut columns, row, 1, rows, &mut buffer)?;
                    order[code as usize - 1] = rows as u32;
                    rows += 1;
                }
                None => unused += 1,
            }
            keys.intern(value);
            first.push((file as u32, position));
            Ok(())
        })?;
        self.check_references(&order, problems)?;
        if unused > 0 {
            problems.push(format!(
                "{}: {unused} rows are for {}s that the log does not have",
                self.table.first_file().display(),
                self.side_name()
            ));
        }
        for (target, column) in targets.into_iter().zip(columns) {
            let source = column.source;
            let values = column.take(&order).map_err(|entity| self.missing_attribute(target, source, entity))?;
            found.push(Found { side: origin.side(), target, values });
        }
        Ok(())
    }

    fn side_name(&self) -> &'static str {
        DataError::side_name(self.origin.side())
    }

    fn check_references(&self, order: &[u32], problems: &mut Vec<String>) -> Result<(), DataError> {
        let Some(first) = order.iter().position(|&row| row == NO_ROW) else { return Ok(()) };
        let count = order.iter().filter(|&&row| row == NO_ROW).count();
        let file = self.table.first_file();
        if self.table_config.missing == Missing::Allow {
            problems.push(format!("{}: {count} {}s of the log have no row", file.display(), self.side_name()));
            return Ok(());
        }
        let id = self.known.text(first as u32 + 1).to_owned();
        Err(DataError::MissingReference { side: self.side_name(), id, count, file: file.to_owned() })
    }

    fn missing_attribute(&self, target: super::Target<'_>, column: &str, entity: usize) -> DataError {
        let attribute = match target {
            super::Target::Attribute(name) => name.to_owned(),
            super::Target::Feature(feature) => feature.name.clone(),
        };
        let id = self.known.text(entity as u32 + 1).to_owned();
        DataError::MissingAttribute { attribute, side: self.side_name(), id, column: column.to_owned() }
    }
}
