//! Rows that nobody has asked for: to learn what a modulation depends on, and to check a compiled plan against the network that it was compiled from.

use acclimate_data::{BagColumn, Batch, DomainIndex, Encoder, Encoding, FeatureKind, RandomStream};
use acclimate_model::Base;

/// Random rows in groups, as the schema allows them: unknown codes and empty lists among them.
pub(super) struct Probe<'a> {
    pub(super) base: &'a Base,
    pub(super) encoder: &'a Encoder,
    /// Whether numbers are as far from 0 as a hundred deviations. What adapts by gradients would answer such a support set with weights that no two orders of adding agree on.
    pub(super) wild: bool,
}

impl Probe<'_> {
    /// G groups of N rows; group `g` is of domain `g` modulo their number, and features that are the domain say so.
    pub(super) fn batch(&self, seed: u64, groups: usize, rows: usize) -> Batch {
        let schema = &self.base.spec.schema;
        let mut random = RandomStream::new(RandomStream::seed_for(seed, "probe"), 0, 0);
        let total = groups * rows;
        let domains = schema.domains.len().max(1);
        let domain = |row: usize| (row / rows.max(1)) % domains;
        let code = |random: &mut RandomStream, size: usize| match random.below(16) {
            0 => 0,
            1 => size.saturating_sub(1) as u32,
            _ => random.below(size.max(1) as u64) as u32,
        };
        let size = |vocabulary: acclimate_data::VocabularyIndex| schema.vocabularies[vocabulary.at()].rows;
        let is_domain =
            |name: &str| self.encoder.features().iter().find(|f| f.name == name).filter(|f| f.reading.kind == FeatureKind::Domain);
        let mut categorical = Vec::with_capacity(total * schema.categorical.len());
        for row in 0..total {
            for field in &schema.categorical {
                categorical.push(match is_domain(&field.name).map(|feature| feature.encoding) {
                    Some(Encoding::Categorical(vocabulary)) => {
                        let name = schema.domains.get(domain(row)).map_or("", String::as_str);
                        self.encoder.vocabularies()[vocabulary.at()].row(name)
                    }
                    _ => code(&mut random, size(field.vocabulary)),
                });
            }
        }
        let number = |random: &mut RandomStream| match random.below(12) {
            0 => 0.0,
            1 if self.wild => 100.0,
            2 if self.wild => -100.0,
            _ => random.normal() as f32,
        };
        let numeric = (0..total * schema.numeric.len()).map(|_| number(&mut random)).collect();
        let mut bag = |vocabulary| {
            let mut column = BagColumn { offsets: vec![0], codes: Vec::new() };
            for _ in 0..total {
                let length = random.below(5);
                // A list holds known values only.
                let known = size(vocabulary).saturating_sub(1) as u64;
                column.codes.extend((0..if known > 0 { length } else { 0 }).map(|_| 1 + random.below(known) as u32));
                column.offsets.push(column.codes.len() as u32);
            }
            column
        };
        let bags = if schema.bags.is_empty() { Vec::new() } else { schema.bags.iter().map(|feature| bag(feature.vocabulary)).collect() };
        Batch {
            groups,
            rows,
            mask: vec![1.0; total],
            label: vec![0.0; total],
            row: vec![u32::MAX; total],
            domain: (0..total).map(|row| DomainIndex(domain(row) as u32)).collect(),
            fields: schema.categorical.len(),
            categorical,
            numbers: schema.numeric.len(),
            numeric,
            unknown: vec![0.0; schema.numeric.len()],
            bags,
            ..Batch::default()
        }
    }
}
