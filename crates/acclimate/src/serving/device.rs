//! Scoring on the plain device: what no plan knows.

use std::sync::Arc;

use acclimate_adapt::{Adaptation, Serve};
use acclimate_data::{BagColumn, Batch, DomainIndex};
use acclimate_model::Base;
use acclimate_plan::{Rows, Scratch};
use acclimate_serve::engine::{Adapted, Ask, Change, Model, ModelError, Support};
use acclimate_serve::layout::Layout;
use acclimate_train::{Bindings, Scorer};

/// A base with a method, scored by the network itself. One request is one pass, so that nothing of another can show.
pub(super) struct DeviceModel {
    pub(super) base: Arc<Base>,
    pub(super) adaptation: Box<dyn Adaptation>,
    pub(super) bindings: Arc<Bindings>,
    pub(super) layout: Layout,
    pub(super) serve: Serve,
    pub(super) bytes: usize,
    /// The base as it is.
    pub(super) is_base: bool,
}

/// Rows as the network reads them: one group.
pub(super) fn batch(layout: &Layout, parts: &[&Rows], domains: &[u32], labels: &[f32]) -> Batch {
    let mut all = layout.columns(&Rows::default());
    for columns in parts.iter().map(|rows| layout.columns(rows)) {
        all.codes.extend(columns.codes);
        all.numeric.extend(columns.numeric);
        for (bag, more) in all.bags.iter_mut().zip(columns.bags) {
            let begin = bag.codes.len() as u32;
            bag.codes.extend(more.codes);
            bag.offsets.extend(more.offsets.iter().skip(1).map(|end| begin + end));
        }
    }
    let n: usize = parts.iter().map(|rows| rows.n).sum();
    let domain = |row: usize| DomainIndex(domains.get(row).or(domains.last()).copied().unwrap_or(0));
    Batch {
        groups: 1,
        rows: n,
        mask: vec![1.0; n],
        label: if labels.is_empty() { vec![0.0; n] } else { labels.to_vec() },
        row: vec![u32::MAX; n],
        domain: (0..n).map(domain).collect(),
        fields: all.fields,
        categorical: all.codes,
        numbers: all.numbers,
        numeric: all.numeric,
        unknown: vec![0.0; all.numbers],
        bags: all.bags.into_iter().map(|bag| BagColumn { offsets: bag.offsets, codes: bag.codes }).collect(),
        ..Batch::default()
    }
}

impl Model for DeviceModel {
    fn kind(&self) -> &'static str {
        if self.is_base { "base" } else { "device" }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn adapts(&self) -> bool {
        self.adaptation.needs().groups.are_tasks()
    }

    fn applies(&self, support_rows: usize) -> bool {
        self.serve.applies(support_rows)
    }

    /// The support is read beside the rows in the one pass that scores them.
    fn adapt(&self, _: &mut Scratch, support: Support, _: &mut dyn FnMut(u32) -> bool) -> Result<Adapted, ModelError> {
        Ok(Adapted { change: Change::Support(support), form: "device", steps: 0 })
    }

    fn score(&self, _: &mut Scratch, asks: &[Ask<'_>], out: &mut Vec<f32>) -> Result<(), ModelError> {
        let objective = self.base.spec.objective;
        for ask in asks {
            if ask.rows.n == 0 {
                continue;
            }
            let rows = batch(&self.layout, &[ask.rows], &[ask.domain], &[]);
            let support = match ask.adapted.map(|adapted| &adapted.change) {
                Some(Change::Support(support)) => {
                    let parts: Vec<&Rows> = support.rows.iter().collect();
                    Some(batch(&self.layout, &parts, &support.domains, &support.labels))
                }
                _ if self.adapts() => Some(batch(&self.layout, &[], &[], &[])),
                _ => None,
            };
            let scorer = Scorer::bound(&self.base, self.adaptation.as_ref(), self.bindings.clone());
            let scores = scorer.batch(&rows, support.as_ref()).map_err(|error| ModelError(error.to_string()))?;
            out.extend(scores.into_iter().map(|score| objective.predict(score)));
        }
        Ok(())
    }
}
