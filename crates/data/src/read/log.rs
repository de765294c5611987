//! The interaction table.

use std::path::Path;

use super::{Found, Ids, columns_for, scoped};
use crate::column::{Column, moment, ticks};
use crate::config::{DomainConfig, DomainOrigin, InteractionsConfig, ItemScope, LabelType, Origin};
use crate::error::{Expected, Place, Position, RowFault, TimeReading};
use crate::inspect::{FileReport, TableKind};
use crate::source::{Cell, DataFile, Row, Table, Wanted};
use crate::strings::StringTable;
use crate::{DataError, DatasetConfig, DomainIndex, ItemIndex, Log, LogFile, RequestConfig, Side, TimeUnit, UserIndex, Zone};

pub(super) struct LogTable<'a> {
    pub(super) log: Log,
    pub(super) domains: Vec<String>,
    pub(super) ids: Ids,
    pub(super) found: Vec<Found<'a>>,
    pub(super) files: Vec<LogFile>,
}

/// Reads the log and every column that comes from it.
pub(super) fn read<'a>(
    config: &'a DatasetConfig,
    files: &mut Vec<FileReport>,
    problems: &mut Vec<String>,
) -> Result<LogTable<'a>, DataError> {
    let interactions = &config.interactions;
    let table = Table::new(config, TableKind::Interactions, interactions.file_keys())?;
    let (targets, columns) = columns_for(config, |f| f.from == Origin::Interactions, |a| a.from == Origin::Interactions);
    let wanted = LogColumns::new(interactions, &columns);
    let mut reader = LogReader::new(interactions, &table, columns, wanted.slots);
    let first_report = files.len();
    table.read(&wanted.columns, config.on_bad_row, files, |file, position, row| reader.row(file, position, row))?;
    reader.clock.check(&table, problems)?;
    if u32::try_from(reader.log.len()).is_err() {
        return Err(DataError::TooLarge { what: "rows".to_owned() });
    }
    check_scope(interactions, &reader.domains)?;
    let domains = order_domains(&mut reader.log.domain, &reader.domains, interactions);
    let rows = targets.into_iter().zip(reader.columns);
    let found = rows.map(|(target, column)| Found { side: Side::Row, target, values: column.values }).collect();
    if let Some(RequestConfig::Rule(rule)) = &interactions.request {
        let zone = interactions.time.as_ref().map_or(Zone::UTC, |time| time.zone);
        reader.log.request = rule.assign(&reader.log, zone);
    }
    let log_files = log_files(&table, &files[first_report..]);
    Ok(LogTable { log: reader.log, domains, ids: Ids { users: reader.users, items: reader.items }, found, files: log_files })
}

/// Domains and ids are joined by a slash, which no domain may hold then.
fn check_scope(config: &InteractionsConfig, domains: &StringTable) -> Result<(), DataError> {
    match domains.texts().find(|domain| domain.contains('/')) {
        Some(domain) if config.item_scope == ItemScope::Domain => Err(DataError::SlashInDomain { domain: domain.to_owned() }),
        _ => Ok(()),
    }
}

/// The domain of each file, where the file tells it.
fn file_domains(config: &InteractionsConfig, table: &Table<'_>) -> Vec<String> {
    let Some(domain) = config.domain.as_ref().filter(|domain| domain.from == Some(DomainOrigin::File)) else { return Vec::new() };
    let name = |file: &DataFile| match domain.names.get(file.entry) {
        Some(name) => name.clone(),
        None => domain_of(file.folder.as_deref().unwrap_or(&file.path)),
    };
    table.files().iter().map(name).collect()
}

/// The name of a file or folder up to its first dot.
fn domain_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').find(|part| !part.is_empty()).unwrap_or(&name).to_owned()
}

/// Where the rows of each file begin; the log holds fewer than 2^32.
fn log_files(table: &Table<'_>, reports: &[FileReport]) -> Vec<LogFile> {
    let mut first_row = 0;
    let files = reports.iter().enumerate().map(|(index, report)| {
        let file = LogFile { entry: table.entry(index).to_owned(), path: report.file.clone(), first_row };
        first_row += report.rows_read as u32;
        file
    });
    files.collect()
}

/// Positions of the special columns among the wanted ones; user and item are 0 and 1.
#[derive(Clone, Copy, Debug)]
struct Slots {
    time: Option<usize>,
    domain: Option<usize>,
    label: Option<usize>,
    request: Option<usize>,
    first_column: usize,
}

struct LogColumns<'a> {
    columns: Vec<Wanted<'a>>,
    slots: Slots,
}

impl<'a> LogColumns<'a> {
    fn new(config: &'a InteractionsConfig, columns: &[Column<'a>]) -> Self {
        let mut wanted = vec![Wanted::single(&config.user), Wanted::single(&config.item)];
        let mut slot = |name: Option<&'a str>| {
            wanted.push(Wanted::single(name?));
            Some(wanted.len() - 1)
        };
        let time = slot(config.time.as_ref().map(|t| t.column.as_str()));
        let domain = slot(config.domain.as_ref().and_then(|d| d.column.as_deref()));
        let label = slot(config.label.column.as_deref());
        let request = slot(match &config.request {
            Some(RequestConfig::Column(column)) => Some(column.as_str()),
            _ => None,
        });
        let first_column = wanted.len();
        wanted.extend(columns.iter().map(Column::wanted));
        Self { columns: wanted, slots: Slots { time, domain, label, request, first_column } }
    }
}

struct LogReader<'a> {
    config: &'a InteractionsConfig,
    file_domains: Vec<String>,
    slots: Slots,
    columns: Vec<Column<'a>>,
    users: StringTable,
    items: StringTable,
    domains: StringTable,
    requests: StringTable,
    log: Log,
    clock: Clock<'a>,
    buffers: [String; 6],
}

impl<'a> LogReader<'a> {
    fn new(config: &'a InteractionsConfig, table: &Table<'_>, columns: Vec<Column<'a>>, slots: Slots) -> Self {
        let clock = Clock {
            column: config.time.as_ref().map_or("", |t| &t.column),
            unit: config.time.as_ref().and_then(|t| t.unit),
            fits: None,
            suspect: None,
        };
        Self {
            config,
            file_domains: file_domains(config, table),
            slots,
            columns,
            users: StringTable::default(),
            items: StringTable::default(),
            domains: StringTable::default(),
            requests: StringTable::default(),
            log: Log::default(),
            clock,
            buffers: Default::default(),
        }
    }

    /// Appends a row, or leaves everything as it was: what can fail comes before what is kept.
    fn row(&mut self, file: usize, position: Position, row: &dyn Row) -> Result<(), RowFault> {
        let Self { config, slots, buffers: [user_buffer, item_buffer, domain_buffer, scoped_buffer, request_buffer, buffer], .. } = self;
        let (user, item) = (row.cell(0)?, row.cell(1)?);
        let user = id(&user, &config.user, user_buffer)?;
        let item = id(&item, &config.item, item_buffer)?;
        let label = slots.label.map_or(Ok(1.0), |slot| label(&row.cell(slot)?, config, buffer))?;
        let domain_cell = slots.domain.map(|slot| row.cell(slot)).transpose()?;
        let domain = match &domain_cell {
            Some(cell) => Some(id(cell, config.domain.as_ref().map_or("domain", DomainConfig::name), domain_buffer)?),
            None => self.file_domains.get(file).map(String::as_str),
        };
        let item = match domain {
            Some(domain) if config.item_scope == ItemScope::Domain => scoped(domain, item, scoped_buffer),
            _ => item,
        };
        let time_cell = slots.time.map(|slot| row.cell(slot)).transpose()?;
        let time = match (&time_cell, &config.time) {
            (Some(cell), Some(time)) => {
                let missing = || RowFault::MissingValue { column: time.column.clone() };
                Some(moment(cell, &time.column, &time.spelling())?.ok_or_else(missing)?)
            }
            _ => None,
        };
        let request_cell = slots.request.map(|slot| row.cell(slot)).transpose()?;
        let request = match (&request_cell, &config.request) {
            (Some(cell), Some(RequestConfig::Column(column))) => Some(id(cell, column, request_buffer)?),
            _ => None,
        };
        push_columns(&mut self.columns, |i| row.cell(slots.first_column + i), self.log.label.len(), buffer)?;
        if let Some(value) = time_cell.filter(|_| self.clock.unit.is_some()).as_ref().and_then(ticks) {
            self.clock.watch(value.whole(), file, position);
        }
        self.log.user.push(UserIndex(self.users.intern(user) - 1));
        self.log.item.push(ItemIndex(self.items.intern(item) - 1));
        self.log.domain.push(DomainIndex(domain.map_or(0, |domain| self.domains.intern(domain) - 1)));
        self.log.time.extend(time);
        self.log.request.extend(request.map(|request| self.requests.intern(request) - 1));
        self.log.label.push(label);
        Ok(())
    }
}

/// Appends a row to every column or, on a fault, to none.
pub(super) fn push_columns<'r>(
    columns: &mut [Column<'_>],
    cell: impl Fn(usize) -> Result<Cell<'r>, RowFault>,
    rows: usize,
    buffer: &mut String,
) -> Result<(), RowFault> {
    for i in 0..columns.len() {
        if let Err(fault) = cell(i).and_then(|cell| columns[i].push(&cell, buffer)) {
            columns[..i].iter_mut().for_each(|column| column.truncate(rows));
            return Err(fault);
        }
    }
    Ok(())
}

/// An id: text or a whole number, never empty.
pub(super) fn id<'b>(cell: &'b Cell<'_>, column: &str, buffer: &'b mut String) -> Result<&'b str, RowFault> {
    let text = cell.text(buffer).map_err(|expected| cell.wrong(column, expected))?;
    if text.is_empty() { Err(RowFault::MissingValue { column: column.to_owned() }) } else { Ok(text) }
}

fn label(cell: &Cell<'_>, config: &InteractionsConfig, buffer: &mut String) -> Result<f32, RowFault> {
    let column = config.label.column.as_deref().unwrap_or_default();
    if let Some(positive) = &config.label.positive {
        let is_written = matches!(*cell, Cell::Text(text, _) if text == positive);
        let value = cell.category(buffer).map_err(|expected| cell.wrong(column, expected))?;
        return if value.is_empty() {
            Err(RowFault::MissingValue { column: column.to_owned() })
        } else {
            Ok(f32::from(u8::from(is_written || value == positive)))
        };
    }
    let value = cell.number().map_err(|expected: Expected| cell.wrong(column, expected))?;
    let value = value.ok_or_else(|| RowFault::MissingValue { column: column.to_owned() })?;
    let (min, max) = match config.label.kind {
        LabelType::Rating => (f64::from(config.label.min.unwrap_or(0.0)), f64::from(config.label.max.unwrap_or(1.0))),
        LabelType::Click | LabelType::Implicit => (0.0, 1.0),
    };
    // Bounds and labels are stored in 32 bits: 0.1 is as legal as the bound 0.1.
    let is_legal = (min as f32..=max as f32).contains(&(value as f32)) && (config.label.kind == LabelType::Rating || value.fract() == 0.0);
    if is_legal {
        return Ok(value as f32);
    }
    Err(RowFault::LabelOutOfRange { column: column.to_owned(), value, min, max })
}

/// Brings the domains into the configured order: listed ones first, then the others sorted by their bytes.
fn order_domains(column: &mut [DomainIndex], seen: &StringTable, config: &InteractionsConfig) -> Vec<String> {
    let Some(domain) = &config.domain else { return vec!["all".to_owned()] };
    let mut others: Vec<&str> = seen.texts().filter(|text| !domain.order.iter().any(|name| name == text)).collect();
    others.sort_unstable();
    let domains: Vec<String> = domain.order.iter().map(String::as_str).chain(others).map(str::to_owned).collect();
    let mut moved = vec![0; seen.len()];
    for (index, name) in domains.iter().enumerate() {
        if let Some(code) = seen.code(name) {
            moved[code as usize - 1] = index as u32;
        }
    }
    for index in column {
        index.0 = moved[index.at()];
    }
    domains
}

/// Watches for timestamps that are legal but look like another unit.
struct Clock<'a> {
    column: &'a str,
    unit: Option<TimeUnit>,
    fits: Option<Reading>,
    suspect: Option<(Reading, TimeUnit)>,
}

#[derive(Clone, Copy)]
struct Reading {
    value: i64,
    file: usize,
    position: Position,
}

impl Clock<'_> {
    fn watch(&mut self, value: i64, file: usize, position: Position) {
        let reading = Reading { value, file, position };
        match self.unit.and_then(|unit| unit.suspect(value)) {
            Some(other) if self.suspect.is_none() => self.suspect = Some((reading, other)),
            None if self.fits.is_none() => self.fits = Some(reading),
            _ => {}
        }
    }

    /// Both kinds in one column are an error; only suspects are worth a note.
    fn check(&self, table: &Table<'_>, problems: &mut Vec<String>) -> Result<(), DataError> {
        let named = |reading: Reading, unit| {
            let place = Place { file: table.file(reading.file).path.clone(), position: reading.position };
            Box::new(TimeReading { value: reading.value, unit, place })
        };
        let (Some(unit), Some((suspect, other))) = (self.unit, self.suspect) else { return Ok(()) };
        let (column, suspect) = (self.column.to_owned(), named(suspect, other));
        if let Some(fits) = self.fits {
            return Err(DataError::MixedTime { column, fits: named(fits, unit), suspect });
        }
        problems.push(format!("time column `{column}`: no value looks like its unit `{unit}`; for example {suspect}"));
        Ok(())
    }
}
