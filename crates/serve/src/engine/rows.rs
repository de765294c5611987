//! From what a request gives to encoded rows, with what the feature state knows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use acclimate_data::{
    AskedRows, DataError, Domains, EncodedRows, Encoder, Encoding as Coded, FeatureKind, FeatureState, RawValue, RowColumns, RowEncoder,
    RowError, RowEvent, StateColumns, StateEvent,
};
use acclimate_plan::{BagColumn, Columns, Rows};
use acclimate_registry::Digest;
use acclimate_registry::folder::LocalFolder;

use super::model::{Files, Support};
use crate::api::{ColumnInfo, EventIn, Given, Recorded, Refusal, ScoreAsk, StatePosition, SupportRow, SupportSet};
use crate::catalogue::Catalogue;
use crate::events::{EventConfig, StateStore};
use crate::layout::{Layout, is_shared};

/// The feature states of a server, one for each way of computing features.
pub(super) type States = Mutex<HashMap<Digest, Arc<StateStore>>>;

/// Opens the state of a base, where its features are made of earlier rows. Bases that compute the same features share it.
pub(super) fn open_state(
    encoder: &Encoder,
    files: &Files<'_>,
    (states, folder, config): (&States, &Path, &EventConfig),
) -> Result<Option<Arc<StateStore>>, String> {
    if !encoder.has_state() {
        return Ok(None);
    }
    let spec = files.stored.manifest.about.feature_spec;
    let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = states.get(&spec) {
        return Ok(Some(known.clone()));
    }
    let bytes = files.required(STATE).map_err(|error| error.to_string())?;
    let base = || {
        let problem = |problem| DataError::State { file: STATE.into(), problem };
        FeatureState::from_bytes(encoder, &FeatureState::spec(encoder), &bytes).map_err(problem)
    };
    let folder = folder.join(&spec.to_string()[..16]);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    is_free(&folder)?;
    let held = LocalFolder::new(&folder).map_err(|error| error.to_string())?;
    let (store, opened) =
        StateStore::open(Arc::new(held), Arc::new(encoder.clone()), base, config.clone()).map_err(|error| error.to_string())?;
    tracing::info!(folder = %folder.display(), replayed = opened.replayed, "feature state open");
    opened.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    let store = Arc::new(store);
    states.insert(spec, store.clone());
    Ok(Some(store))
}

/// Whether no other process writes in a folder: opening the state would wait for it, and nobody would know why.
fn is_free(folder: &Path) -> Result<(), String> {
    let lock = std::fs::File::options().create(true).truncate(false).write(true).open(folder.join(".lock"));
    match lock.map_err(|error| format!("{}: {error}", folder.display()))?.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(format!("another process writes in {}; stop it, or give this one a folder of its own", folder.display()))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(format!("{}: {error}", folder.display())),
    }
}

/// The state that was published with a base.
const STATE: &str = "state.zst";

/// How rows of a base, or of a patch that knows more ids, are encoded.
pub(crate) struct Encoding {
    encoder: Arc<Encoder>,
    layout: Layout,
    shared: RowEncoder,
    own: RowEncoder,
    /// What labels are divided by.
    unit: f32,
    state: Option<Arc<StateStore>>,
    catalogue: Option<Arc<Catalogue>>,
    /// The name of the domain's column, where it is another.
    domain_column: Option<String>,
}

/// A request's rows.
pub(super) struct Encoded {
    pub(super) rows: Rows,
    pub(super) domain: u32,
    /// The same where the request names one.
    pub(super) named: Option<u32>,
    /// The moment of the request, in microseconds since 1970.
    pub(super) time: i64,
    pub(super) state: Option<StatePosition>,
    pub(super) unknown: BTreeMap<String, u64>,
    /// What the support set told the state beside what it knows.
    pub(super) happened: Vec<RowEvent>,
}

/// A support set, and the bytes that say which it is.
#[derive(Default)]
pub(super) struct Known {
    pub(super) support: Support,
    pub(super) bytes: Vec<u8>,
}

/// Rows that share a user and a moment: those of a request, or one of its support set.
struct Part<'a> {
    shared: Given,
    items: Cow<'a, [Given]>,
    what: String,
    time: i64,
}

/// A part without what the state makes.
struct Draft {
    of_request: EncodedRows,
    of_rows: EncodedRows,
    /// What is asked of the state: for what they share, and for each.
    asked: [Option<AskedRows>; 2],
}

impl Encoding {
    pub(super) fn new(
        encoder: Encoder,
        layout: Layout,
        unit: f32,
        (state, catalogue): (Option<Arc<StateStore>>, Option<Arc<Catalogue>>),
    ) -> Self {
        let encoder = Arc::new(encoder);
        let part = |shared: bool| RowEncoder::with(encoder.clone(), |feature| is_shared(&encoder, &feature.name) == shared);
        let (shared, own) = (part(true), part(false));
        let of_domain = encoder.features().iter().find(|feature| feature.reading.kind == FeatureKind::Domain);
        let domain_column = of_domain.map(|feature| feature.name.clone()).filter(|name| name != "domain");
        Self { encoder, layout, shared, own, unit, state, catalogue, domain_column }
    }

    /// The same with an encoder that knows more ids; the state is the base's.
    pub(super) fn with(&self, encoder: Encoder, catalogue: Option<Arc<Catalogue>>) -> Self {
        Self::new(encoder, self.layout.clone(), self.unit, (self.state.clone(), catalogue))
    }

    pub(super) fn columns(&self) -> Vec<ColumnInfo> {
        let column = |feature: &acclimate_data::FeatureEncoder| ColumnInfo {
            name: feature.name.clone(),
            kind: match feature.encoding {
                Coded::Categorical(_) => "text",
                Coded::Bag(_) => "list",
                Coded::Numeric(_) => "number",
            },
            shared: is_shared(&self.encoder, &feature.name),
            derived: feature.is_derived(),
        };
        let features: Vec<ColumnInfo> = self.encoder.features().iter().map(column).collect();
        // What every row has, whether or not a feature has its name.
        let of_rows = [("user", "text", true), ("item", "text", false), ("time", "text", true), ("domain", "text", true)];
        let of_rows = of_rows.into_iter().filter(|(name, ..)| features.iter().all(|feature| feature.name != *name));
        let of_rows = of_rows.map(|(name, kind, shared)| ColumnInfo { name: name.to_owned(), kind, shared, derived: false });
        of_rows.chain(features.clone()).collect()
    }

    /// Names the domain of a request `domain`, wherever it goes by the name of its column.
    pub(super) fn name_domain(&self, ask: &mut ScoreAsk) -> Result<(), Refusal> {
        self.name_domain_of(&mut ask.shared, &|| "features".into())?;
        if let Some(SupportSet::Rows(rows)) = &mut ask.support {
            for (i, row) in rows.iter_mut().enumerate() {
                self.name_domain_of(&mut row.given, &|| format!("support[{i}]"))?;
            }
        }
        ask.items.iter_mut().enumerate().try_for_each(|(i, item)| self.name_domain_of(item, &|| format!("items[{i}]")))
    }

    fn name_domain_of(&self, given: &mut Given, what: &dyn Fn() -> String) -> Result<(), Refusal> {
        let Some((name, value)) = self.domain_column.as_ref().and_then(|name| Some((name, given.remove(name)?))) else { return Ok(()) };
        match given.insert("domain".to_owned(), value.clone()) {
            Some(other) if other != value => Err(Refusal::invalid(
                what(),
                format!("`{name}` and `domain` are one column here, and say different things; give one of them"),
            )),
            _ => Ok(()),
        }
    }

    /// The index of the domain that a request is of.
    fn domain(&self, shared: &Given) -> u32 {
        let domains = self.encoder.domains();
        match shared.get("domain") {
            Some(RawValue::Text(name)) => domains.iter().position(|domain| domain == name).unwrap_or(domains.len()) as u32,
            Some(RawValue::Integer(number)) => {
                let name = number.to_string();
                domains.iter().position(|domain| *domain == name).unwrap_or(domains.len()) as u32
            }
            _ if domains.len() == 1 => 0,
            _ => domains.len() as u32,
        }
    }

    /// Encodes the rows of a request, and of its support set, all at one position of the state. What the support set tells has happened before them, and so has what was `kept` of an earlier one.
    pub(super) fn request(&self, ask: &ScoreAsk, support: &[SupportRow], kept: &[RowEvent]) -> Result<(Encoded, Option<Known>), Refusal> {
        let time = self.time(&ask.shared, "features")?.unwrap_or_else(now);
        // Features of the moment read it as well.
        let shared = at(&ask.shared, time);
        let mut happened = self.happened(&shared, support, time)?;
        happened.extend_from_slice(kept);
        let mut parts = vec![Part { shared: shared.clone(), items: Cow::Borrowed(&ask.items), what: "items".into(), time }];
        for (i, row) in support.iter().enumerate() {
            let (of_row, item) = self.parted(&shared, row);
            let what = format!("support[{i}]");
            let own = self.time(&row.given, &what)?.unwrap_or_else(|| before(time, i, support.len()));
            parts.push(Part { shared: at(&without_time(of_row), own), items: Cow::Owned(vec![item]), what, time: own });
        }
        let mut drafts = parts.iter().map(|part| self.draft(part)).collect::<Result<Vec<Draft>, Refusal>>()?;
        let mut state = None;
        if let Some(store) = &self.state {
            // Everything is of one position.
            let (all, at): (Vec<[Option<StateColumns>; 2]>, StatePosition) = store.read(|state, at| {
                let happened = state.overlay(&happened);
                let made = |asked: &Option<AskedRows>| asked.as_ref().map(|asked| state.features_of_rows_over(&asked.rows(), &happened));
                (drafts.iter().map(|draft| [0, 1].map(|i| made(&draft.asked[i]))).collect(), at.clone())
            });
            for (draft, [of_user, of_items]) in drafts.iter_mut().zip(&all) {
                of_user.iter().for_each(|made| self.shared.fill(made, &mut draft.of_request));
                of_items.iter().for_each(|made| self.own.fill(made, &mut draft.of_rows));
            }
            state = Some(at);
        }
        let mut unknown = BTreeMap::new();
        let mut rows = parts.iter().zip(drafts).map(|(part, draft)| self.finish(part, draft, &mut unknown));
        let of_request = rows.next().expect("the request is the first part")?;
        let named = shared.contains_key("domain").then(|| self.domain(&shared));
        let encoded = Encoded { rows: of_request, domain: self.domain(&shared), named, time, state, unknown: BTreeMap::new(), happened };
        let mut found = Support { rows: rows.collect::<Result<_, _>>()?, domains: Vec::new(), labels: Vec::new() };
        let mut bytes = Vec::new();
        // Two items that no vocabulary knows have the same rows, and the state tells them apart. A moment that nobody gave is the clock's: the same set is the same a second later.
        for (i, (row, event)) in support.iter().zip(&encoded.happened).enumerate() {
            let is_given = row.given.contains_key("time") || ask.shared.contains_key("time");
            event.write(if is_given { event.time() } else { i as i64 }, &mut bytes);
        }
        for ((part, rows), row) in parts[1..].iter().zip(&found.rows).zip(support) {
            let domain = self.domain(&part.shared);
            write(rows, (domain, row.label), &mut bytes);
            found.domains.push(domain);
            found.labels.push(row.label / self.unit);
        }
        Ok((Encoded { unknown, ..encoded }, (!support.is_empty()).then_some(Known { support: found, bytes })))
    }

    /// The first row of a support set that no history of the request's user holds, and why.
    pub(super) fn unread(&self, ask: &ScoreAsk, support: &[SupportRow], encoded: &Encoded) -> Option<Refusal> {
        let read = self.encoder.features().iter().filter(|feature| feature.reading.kind == FeatureKind::History);
        let domains: Vec<&Domains> = read.filter_map(|feature| feature.reading.domains.as_ref()).collect();
        let is_read = |domain: &str| {
            domains.iter().all(|of| if let Domains::Named(names) = of { names.iter().any(|name| name == domain) } else { true })
        };
        let problem = |(row, event): (&SupportRow, &RowEvent)| {
            let of_other = row.given.get("user").is_some_and(|user| ask.shared.get("user").is_some_and(|own| own != user));
            match event.text("domain") {
                _ if of_other => Some("it is of another user than the request".to_owned()),
                _ if event.time() >= encoded.time => Some("its time does not lie before that of the request".to_owned()),
                Some(domain) if !is_read(domain) => {
                    Some(format!("it is of domain `{domain}`, whose events the base does not read; give the row a `domain`"))
                }
                _ => None,
            }
        };
        let found = support.iter().zip(&encoded.happened).map(problem).enumerate().find_map(|(i, problem)| Some((i, problem?)));
        found.map(|(i, problem)| Refusal::invalid(format!("support[{i}]"), problem))
    }

    /// What a row of a support set shares with its request, and what is its own. What it says of its user or moment goes before what the request says.
    fn parted(&self, request: &Given, row: &SupportRow) -> (Given, Given) {
        let (mut shared, mut item) = (request.clone(), Given::new());
        for (name, value) in &row.given {
            let is_feature = self.encoder.features().iter().any(|feature| feature.name == *name);
            let is_item = name == "item" || is_feature && !is_shared(&self.encoder, name);
            if is_item {
                item.insert(name.clone(), value.clone())
            } else {
                shared.insert(name.clone(), value.clone())
            };
        }
        (shared, item)
    }

    /// The rows of a support set as the state sees them: what has happened beside what it knows.
    fn happened(&self, shared: &Given, support: &[SupportRow], time: i64) -> Result<Vec<RowEvent>, Refusal> {
        if self.state.is_none() {
            return Ok(Vec::new());
        }
        let event = |(i, row): (usize, &SupportRow)| {
            let what = format!("support[{i}]");
            let invalid = |error: RowError| Refusal::invalid(&what, error.to_string());
            let time = self.time(&row.given, &what)?.unwrap_or_else(|| before(time, i, support.len()));
            let all: Given = shared.iter().chain(&row.given).map(|(name, value)| (name.clone(), value.clone())).collect();
            let all = at(&without_time(all), time);
            let nothing = [Given::new()];
            let columns = self.own.columns(&all, nothing.iter()).map_err(invalid)?;
            self.own.event(&columns, 0, time, row.label.into()).map_err(invalid)
        };
        support.iter().enumerate().map(event).collect()
    }

    /// The moment that columns give.
    fn time(&self, given: &Given, what: &str) -> Result<Option<i64>, Refusal> {
        let moment = |value| self.own.moment_of(value).map_err(|error| Refusal::invalid(what, error.to_string()));
        Ok(given.get("time").map(moment).transpose()?.flatten())
    }

    /// The user of a request, as the base's own data name users; nothing where there is none.
    pub(super) fn user(&self, shared: &Given) -> Result<Option<String>, Refusal> {
        let user = shared.get("user").map(|value| self.shared.user_of(value));
        let user = user.transpose().map_err(|error| Refusal::invalid("user", error.to_string()))?;
        Ok(user.filter(|user| !user.is_empty()))
    }

    /// Encodes what does not depend on the state, and looks up what the state is to be asked.
    fn draft(&self, Part { shared, items, what, time }: &Part<'_>) -> Result<Draft, Refusal> {
        let n = items.len();
        // What is wrong with what all rows share is wrong with `features`.
        let invalid = |error: RowError| {
            let is_shared = matches!(&error, RowError::Value { row: None, .. } | RowError::UnknownColumn { row: None, .. });
            Refusal::invalid(if is_shared && what == "items" { "features" } else { what }, error.to_string())
        };
        let one = |name: &str| {
            Refusal::invalid(
                what,
                format!("`{name}` is one value for all rows of a request; give it beside `items`, or send another request"),
            )
        };
        if let Some(name) = ["user", "time", "domain"].iter().find(|&&name| items.iter().any(|item| item.contains_key(name))) {
            return Err(one(name));
        }
        let own_columns = self.own.columns(shared, items.iter()).map_err(invalid)?;
        if let Some((_, feature)) =
            self.shared.features().enumerate().find(|&(i, feature)| !feature.is_derived() && !self.shared.is_shared(i, &own_columns))
        {
            return Err(Refusal::invalid(
                what,
                format!("`{}` is one value for all rows of a request; give it in `features`", feature.name),
            ));
        }
        let (mut of_request, mut of_rows) = (EncodedRows::default(), EncodedRows::default());
        let nothing = [Given::new()];
        let shared_columns = self.shared.columns(shared, nothing[..n.min(1)].iter()).map_err(invalid)?;
        self.shared.encode(&shared_columns, &mut of_request).map_err(invalid)?;
        self.own.encode(&own_columns, &mut of_rows).map_err(invalid)?;
        let asked = |rows: &RowEncoder, columns: &RowColumns<'_>| -> Result<Option<AskedRows>, Refusal> {
            let derives = self.state.is_some() && rows.features().any(|feature| feature.is_derived());
            if derives { rows.asked(columns, *time).map(Some).map_err(invalid) } else { Ok(None) }
        };
        let asked = [asked(&self.shared, &shared_columns)?, asked(&self.own, &own_columns)?];
        Ok(Draft { of_request, of_rows, asked })
    }

    /// Fills in what the catalogue knows.
    fn finish(
        &self,
        Part { shared, items, what, .. }: &Part<'_>,
        draft: Draft,
        unknown: &mut BTreeMap<String, u64>,
    ) -> Result<Rows, Refusal> {
        let Draft { mut of_request, mut of_rows, .. } = draft;
        if let Some(catalogue) = &self.catalogue {
            catalogue.fill(self.shared.features(), shared, None, &mut of_request);
            catalogue.fill(self.own.features(), shared, Some(items), &mut of_rows);
        }
        for (rows, encoded) in [(&self.shared, &of_request), (&self.own, &of_rows)] {
            if let Some(at) = encoded.numeric.iter().position(|number| !number.is_finite()) {
                let mut numbers = rows.features().filter(|feature| matches!(feature.encoding, Coded::Numeric(_)));
                let name = numbers.nth(at % encoded.numbers.max(1)).map_or("a number", |feature| feature.name.as_str());
                return Err(Refusal::invalid(what, format!("`{name}` is beyond all numbers once it is scaled; correct it")));
            }
        }
        // What a support set names is counted by whoever sends it.
        if what == "items" {
            for (name, count) in self.shared.unknown(&of_request).into_iter().chain(self.own.unknown(&of_rows)) {
                *unknown.entry(name).or_default() += count;
            }
        }
        Ok(Rows { n: items.len(), shared: columns(of_request), own: columns(of_rows) })
    }

    pub(super) async fn record(&self, mut events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        for (i, event) in events.iter_mut().enumerate() {
            self.name_domain_of(&mut event.given, &|| format!("events[{i}]"))?;
        }
        match &self.state {
            None => Err(Refusal::invalid("events", "no feature of this base is made of earlier rows: there is nothing to record")),
            Some(state) => state.record(events).await,
        }
    }
}

/// Columns with their moment, where they do not give one.
fn at(given: &Given, time: i64) -> Given {
    let mut given = given.clone();
    given.entry("time".to_owned()).or_insert_with(|| RawValue::Integer(time.div_euclid(1_000_000)));
    given
}

/// Columns of a row whose moment is said apart.
fn without_time(mut given: Given) -> Given {
    given.remove("time");
    given
}

/// Microseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// The time of a support row that says none: one after the other, just before the request.
fn before(time: i64, at: usize, rows: usize) -> i64 {
    time.saturating_sub((rows - at) as i64)
}

fn columns(rows: EncodedRows) -> Columns {
    let EncodedRows { fields, codes, numbers, numeric, bags, .. } = rows;
    let bags = bags.into_iter().map(|bag| BagColumn { offsets: bag.offsets, codes: bag.codes }).collect();
    Columns { fields, codes, numbers, numeric, bags }
}

/// What a row of a support set is, in bytes.
fn write(rows: &Rows, (domain, label): (u32, f32), bytes: &mut Vec<u8>) {
    bytes.extend(domain.to_le_bytes());
    for columns in [&rows.shared, &rows.own] {
        columns.codes.iter().for_each(|code| bytes.extend(code.to_le_bytes()));
        columns.numeric.iter().for_each(|number| bytes.extend(number.to_bits().to_le_bytes()));
        for bag in &columns.bags {
            bytes.extend((bag.codes.len() as u32).to_le_bytes());
            bag.codes.iter().for_each(|code| bytes.extend(code.to_le_bytes()));
        }
    }
    bytes.extend(label.to_bits().to_le_bytes());
}
