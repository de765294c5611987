//! From what a request gives to encoded rows, with what the feature state knows.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use acclimate_data::{
    AskedRows, DataError, EncodedRows, Encoder, Encoding as Coded, FeatureState, RawValue, RowColumns, RowEncoder, RowError, RowEvent, StateColumns,
};
use acclimate_plan::{BagColumn, Columns, Rows};
use acclimate_registry::Digest;
use acclimate_registry::folder::LocalFolder;

use super::model::{Files, Support};
use crate::api::{ColumnInfo, EventIn, Given, Recorded, Refusal, ScoreAsk, StatePosition, SupportRow};
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
    let held = LocalFolder::new(&folder).map_err(|error| error.to_string())?;
    let (store, opened) = StateStore::open(Arc::new(held), Arc::new(encoder.clone()), base, config.clone()).map_err(|error| error.to_string())?;
    tracing::info!(folder = %folder.display(), replayed = opened.replayed, "feature state open");
    opened.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    let store = Arc::new(store);
    states.insert(spec, store.clone());
    Ok(Some(store))
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
}

/// A request's rows.
pub(super) struct Encoded {
    pub(super) rows: Rows,
    pub(super) domain: u32,
    pub(super) state: Option<StatePosition>,
    pub(super) unknown: BTreeMap<String, u64>,
}

impl Encoding {
    pub(super) fn new(encoder: Encoder, layout: Layout, unit: f32, (state, catalogue): (Option<Arc<StateStore>>, Option<Arc<Catalogue>>)) -> Self {
        let encoder = Arc::new(encoder);
        let part = |shared: bool| RowEncoder::with(encoder.clone(), |feature| is_shared(&encoder, &feature.name) == shared);
        let (shared, own) = (part(true), part(false));
        Self { encoder, layout, shared, own, unit, state, catalogue }
    }

    /// The same with an encoder that knows more ids; the state is the base's.
    pub(super) fn with(&self, encoder: Encoder) -> Self {
        Self::new(encoder, self.layout.clone(), self.unit, (self.state.clone(), self.catalogue.clone()))
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

    /// Encodes the rows of a request. `support` has happened before them.
    pub(super) fn request(&self, ask: &ScoreAsk, support: &[SupportRow]) -> Result<Encoded, Refusal> {
        let mut unknown = BTreeMap::new();
        let time = self.time(&ask.shared, "features")?.unwrap_or_else(now);
        let happened = self.happened(ask, support, time)?;
        let (rows, state) = self.rows((&ask.shared, &ask.items), "items", (time, &happened), &mut unknown)?;
        Ok(Encoded { rows, domain: self.domain(&ask.shared), state, unknown })
    }

    /// Encodes the rows of a support set, and the bytes that say which it is. Each knows those of an earlier time.
    pub(super) fn support(&self, ask: &ScoreAsk, support: &[SupportRow]) -> Result<(Support, Vec<u8>), Refusal> {
        let mut encoded = Support { rows: Vec::with_capacity(support.len()), domains: Vec::new(), labels: Vec::new() };
        let mut bytes = Vec::new();
        let time = self.time(&ask.shared, "features")?.unwrap_or_else(now);
        let happened = self.happened(ask, support, time)?;
        for (at, row) in support.iter().enumerate() {
            let (shared, item) = self.parted(&ask.shared, row);
            let what = format!("support[{at}]");
            let own_time = self.own_time(row, &what)?.unwrap_or_else(|| before(time, at, support.len()));
            let of_row = (&shared, std::slice::from_ref(&item));
            let (rows, _) = self.rows(of_row, &what, (own_time, &happened), &mut BTreeMap::new())?;
            let domain = self.domain(&shared);
            write(&rows, (domain, row.label), &mut bytes);
            encoded.domains.push(domain);
            encoded.labels.push(row.label / self.unit);
            encoded.rows.push(rows);
        }
        Ok((encoded, bytes))
    }

    /// What a row of a support set shares with its request, and what is its own. What it says of its user or moment goes before what the request says.
    fn parted(&self, request: &Given, row: &SupportRow) -> (Given, Given) {
        let (mut shared, mut item) = (request.clone(), Given::new());
        for (name, value) in &row.given {
            let is_feature = self.encoder.features().iter().any(|feature| feature.name == *name);
            let is_item = name == "item" || is_feature && !is_shared(&self.encoder, name);
            if is_item { item.insert(name.clone(), value.clone()) } else { shared.insert(name.clone(), value.clone()) };
        }
        (shared, item)
    }

    /// The rows of a support set as the state sees them: what has happened beside what it knows.
    fn happened(&self, ask: &ScoreAsk, support: &[SupportRow], time: i64) -> Result<Vec<RowEvent>, Refusal> {
        if self.state.is_none() {
            return Ok(Vec::new());
        }
        let event = |(at, row): (usize, &SupportRow)| {
            let what = format!("support[{at}]");
            let invalid = |error: RowError| Refusal::invalid(&what, error.to_string());
            let all: Given = ask.shared.iter().chain(&row.given).map(|(name, value)| (name.clone(), value.clone())).collect();
            let time = self.own_time(row, &what)?.unwrap_or_else(|| before(time, at, support.len()));
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

    fn own_time(&self, row: &SupportRow, what: &str) -> Result<Option<i64>, Refusal> {
        self.time(&row.given, what)
    }

    fn rows(
        &self,
        (shared, items): (&Given, &[Given]),
        what: &str,
        (time, happened): (i64, &[RowEvent]),
        unknown: &mut BTreeMap<String, u64>,
    ) -> Result<(Rows, Option<StatePosition>), Refusal> {
        let n = items.len();
        // What is wrong with what all rows share is wrong with `features`.
        let invalid = |error: RowError| {
            let is_shared = matches!(&error, RowError::Value { row: None, .. } | RowError::UnknownColumn { row: None, .. });
            Refusal::invalid(if is_shared && what == "items" { "features" } else { what }, error.to_string())
        };
        let own_columns = self.own.columns(shared, items.iter()).map_err(invalid)?;
        if let Some((_, feature)) = self.shared.features().enumerate().find(|&(i, feature)| !feature.is_derived() && !self.shared.is_shared(i, &own_columns)) {
            let problem = format!("`{}` is one value for all rows of a request; give it in `features`", feature.name);
            return Err(Refusal::invalid(what, problem));
        }
        let (mut of_request, mut of_rows) = (EncodedRows::default(), EncodedRows::default());
        let nothing = [Given::new()];
        let shared_columns = self.shared.columns(shared, nothing[..n.min(1)].iter()).map_err(invalid)?;
        self.shared.encode(&shared_columns, &mut of_request).map_err(invalid)?;
        self.own.encode(&own_columns, &mut of_rows).map_err(invalid)?;
        let mut position = None;
        if let Some(state) = &self.state {
            let asked = |rows: &RowEncoder, columns: &RowColumns<'_>| -> Result<Option<AskedRows>, Refusal> {
                let derives = rows.features().any(|feature| feature.is_derived());
                if derives { rows.asked(columns, time).map(Some).map_err(invalid) } else { Ok(None) }
            };
            let (of_user, of_items) = (asked(&self.shared, &shared_columns)?, asked(&self.own, &own_columns)?);
            // Both are of one position.
            let made = |state: &FeatureState, asked: Option<&AskedRows>| asked.map(|asked| state.features_of_rows(&asked.rows(), happened));
            let (of_user, of_items, at): (Option<StateColumns>, Option<StateColumns>, StatePosition) =
                state.read(|state, at| (made(state, of_user.as_ref()), made(state, of_items.as_ref()), at.clone()));
            of_user.iter().for_each(|made| self.shared.fill(made, &mut of_request));
            of_items.iter().for_each(|made| self.own.fill(made, &mut of_rows));
            position = Some(at);
        }
        if let Some(catalogue) = &self.catalogue {
            catalogue.fill(self.shared.features(), shared, None, &mut of_request);
            catalogue.fill(self.own.features(), shared, Some(items), &mut of_rows);
        }
        for (name, count) in self.shared.unknown(&of_request).into_iter().chain(self.own.unknown(&of_rows)) {
            *unknown.entry(name).or_default() += count;
        }
        Ok((Rows { n, shared: columns(of_request), own: columns(of_rows) }, position))
    }

    pub(super) async fn record(&self, events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        match &self.state {
            None => Err(Refusal::invalid("events", "no feature of this base is made of earlier rows: there is nothing to record")),
            Some(state) => state.record(events).await,
        }
    }
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
