//! From what a request gives to encoded rows, with what the feature state knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use acclimate_data::{EncodedRows, Encoder, Encoding as Coded, RawValue, RowEncoder, RowError};
use acclimate_plan::{BagColumn, Columns, Rows};
use acclimate_registry::Digest;

use super::model::{Files, Support};
use crate::api::{ColumnInfo, EventIn, Given, Recorded, Refusal, ScoreAsk, StatePosition, SupportRow};
use crate::catalogue::Catalogue;
use crate::layout::{Layout, is_shared};

/// The feature state of a base.
pub(crate) struct State;

/// Opens the state of a base, where its features are made of earlier rows.
pub(super) fn open_state(_: &Encoder, _: &Files<'_>, _: Digest, _: &Path) -> Result<Option<Arc<State>>, String> {
    Ok(None)
}

/// How rows of a base, or of a patch that knows more ids, are encoded.
pub(crate) struct Encoding {
    encoder: Arc<Encoder>,
    layout: Layout,
    shared: RowEncoder,
    own: RowEncoder,
    /// What labels are divided by.
    unit: f32,
    state: Option<Arc<State>>,
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
    pub(super) fn new(encoder: Encoder, layout: Layout, unit: f32, (state, catalogue): (Option<Arc<State>>, Option<Arc<Catalogue>>)) -> Self {
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
        self.encoder.features().iter().map(column).collect()
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
    pub(super) fn request(&self, ask: &ScoreAsk, _support: &[SupportRow]) -> Result<Encoded, Refusal> {
        let mut unknown = BTreeMap::new();
        let rows = self.rows(&ask.shared, &ask.items, "items", &mut unknown)?;
        Ok(Encoded { rows, domain: self.domain(&ask.shared), state: None, unknown })
    }

    /// Encodes the rows of a support set, and the bytes that say which it is.
    pub(super) fn support(&self, ask: &ScoreAsk, support: &[SupportRow]) -> Result<(Support, Vec<u8>), Refusal> {
        let mut encoded = Support { rows: Vec::with_capacity(support.len()), domains: Vec::new(), labels: Vec::new() };
        let mut bytes = Vec::new();
        for (at, row) in support.iter().enumerate() {
            let mut shared = ask.shared.clone();
            // What a row says of its user or moment goes before what the request says.
            let mut item = Given::new();
            for (name, value) in &row.given {
                let is_item = name == "item" || (self.encoder.features().iter().any(|f| f.name == *name) && !is_shared(&self.encoder, name));
                if is_item { item.insert(name.clone(), value.clone()) } else { shared.insert(name.clone(), value.clone()) };
            }
            let rows = self.rows(&shared, std::slice::from_ref(&item), &format!("support[{at}]"), &mut BTreeMap::new())?;
            write(&rows, row.label, &mut bytes);
            encoded.domains.push(self.domain(&shared));
            encoded.labels.push(row.label / self.unit);
            encoded.rows.push(rows);
        }
        Ok((encoded, bytes))
    }

    fn rows(&self, shared: &Given, items: &[Given], what: &str, unknown: &mut BTreeMap<String, u64>) -> Result<Rows, Refusal> {
        let n = items.len();
        let invalid = |error: RowError| Refusal::invalid(what, error.to_string());
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
        if let Some(catalogue) = &self.catalogue {
            catalogue.fill(self.shared.features(), shared, None, &mut of_request);
            catalogue.fill(self.own.features(), shared, Some(items), &mut of_rows);
        }
        for (name, count) in self.shared.unknown(&of_request).into_iter().chain(self.own.unknown(&of_rows)) {
            *unknown.entry(name).or_default() += count;
        }
        Ok(Rows { n, shared: columns(of_request), own: columns(of_rows) })
    }

    pub(super) async fn record(&self, _events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        match &self.state {
            None => Err(Refusal::invalid("events", "no feature of this base is made of earlier rows: there is nothing to record")),
            Some(_) => Err(Refusal::Unavailable { reason: "the state is not open".into() }),
        }
    }
}

fn columns(rows: EncodedRows) -> Columns {
    let EncodedRows { fields, codes, numbers, numeric, bags, .. } = rows;
    let bags = bags.into_iter().map(|bag| BagColumn { offsets: bag.offsets, codes: bag.codes }).collect();
    Columns { fields, codes, numbers, numeric, bags }
}

/// What a row of a support set is, in bytes.
fn write(rows: &Rows, label: f32, bytes: &mut Vec<u8>) {
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
