//! Which columns the rows of a request share.

use acclimate_data::{Encoder, Encoding, FeatureKind, Side};
use acclimate_plan::{BagColumn, Columns, Rows};

/// Where each feature's column stands in [`Rows`], in the order of the schema.
///
/// Shared are features of the user, the domain, histories, and statistics whose key holds nothing of the item. What else a log says of a row may differ from candidate to
/// candidate, so it is the rows' own. This follows from the encoder alone: it is the same for every request and every patch of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Categorical features.
    pub categorical: Vec<Place>,
    /// Multi-valued features.
    pub bags: Vec<Place>,
    /// Numbers.
    pub numeric: Vec<Place>,
}

/// One feature's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether all rows of a request have the same.
    pub shared: bool,
    /// Its column among the shared ones, or among the rows' own.
    pub column: usize,
}

impl Layout {
    /// The layout of what an encoder gives.
    #[must_use]
    pub fn of(encoder: &Encoder) -> Self {
        let mut counts = [[0_usize; 2]; 3];
        let mut layout = Self { categorical: Vec::new(), bags: Vec::new(), numeric: Vec::new() };
        for feature in encoder.features() {
            let shared = is_shared(encoder, &feature.name);
            let (kind, list) = match feature.encoding {
                Encoding::Categorical(_) => (0, &mut layout.categorical),
                Encoding::Bag(_) => (1, &mut layout.bags),
                Encoding::Numeric(_) => (2, &mut layout.numeric),
            };
            let count = &mut counts[kind][usize::from(shared)];
            list.push(Place { shared, column: *count });
            *count += 1;
        }
        layout
    }

    /// Rows from columns of all features: what is shared is taken from the first row.
    ///
    /// # Shapes
    /// `codes [N, F]`, `numeric [N, C]`, each bag N lists; all in the order of the schema.
    #[must_use]
    pub fn rows(&self, n: usize, codes: &[u32], numeric: &[f32], bags: &[BagColumn]) -> Rows {
        let part = |shared: bool| {
            let rows = if shared { n.min(1) } else { n };
            let of = |places: &[Place]| -> Vec<usize> {
                places.iter().enumerate().filter(|(_, place)| place.shared == shared).map(|(i, _)| i).collect()
            };
            let (fields, numbers, lists) = (of(&self.categorical), of(&self.numeric), of(&self.bags));
            let (all_fields, all_numbers) = (self.categorical.len(), self.numeric.len());
            Columns {
                fields: fields.len(),
                codes: (0..rows).flat_map(|row| fields.iter().map(move |&field| codes[row * all_fields + field])).collect(),
                numbers: numbers.len(),
                numeric: (0..rows).flat_map(|row| numbers.iter().map(move |&number| numeric[row * all_numbers + number])).collect(),
                bags: lists.iter().map(|&list| if rows == n { bags[list].clone() } else { first(&bags[list]) }).collect(),
            }
        };
        Rows { n, shared: part(true), own: part(false) }
    }

    /// The columns of all features again, as [`rows`](Self::rows) takes them.
    #[must_use]
    pub fn columns(&self, rows: &Rows) -> Columns {
        let from = |place: &Place| if place.shared { &rows.shared } else { &rows.own };
        let at = |place: &Place, row: usize| if place.shared { 0 } else { row };
        let mut all = Columns { fields: self.categorical.len(), numbers: self.numeric.len(), ..Columns::default() };
        for row in 0..rows.n {
            all.codes.extend(self.categorical.iter().map(|place| from(place).codes[at(place, row) * from(place).fields + place.column]));
            all.numeric.extend(self.numeric.iter().map(|place| from(place).numeric[at(place, row) * from(place).numbers + place.column]));
        }
        for place in &self.bags {
            let Some(bag) = from(place).bags.get(place.column) else {
                // No row at all.
                all.bags.push(BagColumn { offsets: vec![0], codes: Vec::new() });
                continue;
            };
            let mut column = BagColumn { offsets: vec![0], codes: Vec::new() };
            for row in 0..rows.n {
                let ends = [bag.offsets[at(place, row)], bag.offsets[at(place, row) + 1]].map(|end| end as usize);
                column.codes.extend_from_slice(&bag.codes[ends[0]..ends[1]]);
                column.offsets.push(column.codes.len() as u32);
            }
            all.bags.push(column);
        }
        all
    }
}

fn first(bag: &BagColumn) -> BagColumn {
    let end = bag.offsets.get(1).copied().unwrap_or(0);
    BagColumn { offsets: vec![0, end], codes: bag.codes[..end as usize].to_vec() }
}

/// Whether all rows of a request have the same value of a feature.
#[must_use]
pub fn is_shared(encoder: &Encoder, name: &str) -> bool {
    let Some(feature) = encoder.features().iter().find(|feature| feature.name == name) else { return false };
    match feature.reading.kind {
        FeatureKind::History | FeatureKind::Domain => true,
        FeatureKind::Statistic => feature.reading.by.iter().all(|key| match key.as_str() {
            "user" | "domain" => true,
            "item" => false,
            other => is_shared(encoder, other),
        }),
        _ => feature.side == Side::User,
    }
}
