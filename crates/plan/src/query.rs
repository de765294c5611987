//! What is asked of a plan, and whether it can be answered.

use crate::check::{Placed, fits, sized};
use crate::{Columns, Personal, Plan, PlanError, Rows, RowsError, Scale, Source};

/// Rows of one request, with what adapting to its user changes.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// Weights of its own.
    pub personal: Option<&'a Personal>,
}

/// Rows of one request, at most: a larger one is to be cut into several.
pub const MOST_ROWS: usize = 1 << 20;

/// How many columns are read of the shared or of the rows' own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    fields: usize,
    numbers: usize,
    bags: usize,
}

impl Needs {
    /// What the slots of one part read.
    pub(crate) fn of(slots: &[Placed], shared: bool) -> Self {
        let mut needs = Self::default();
        for slot in slots.iter().filter(|slot| slot.shared == shared) {
            match slot.source {
                Source::Field { column, .. } => needs.fields = needs.fields.max(column.saturating_add(1)),
                Source::Number { column } => needs.numbers = needs.numbers.max(column.saturating_add(1)),
                Source::Bag { column, .. } => needs.bags = needs.bags.max(column.saturating_add(1)),
            }
        }
        needs
    }
}

impl Plan {
    /// Whether a query can be scored; [`Plan::score`] asks the same of each. It looks at every code and number that the network reads.
    ///
    /// # Errors
    /// [`PlanError::Rows`] and [`PlanError::Personal`], as if of query 0.
    pub fn accepts(&self, query: &Query<'_>) -> Result<(), PlanError> {
        self.accepts_as(0, query)
    }

    pub(crate) fn accepts_as(&self, query: usize, asked: &Query<'_>) -> Result<(), PlanError> {
        let Rows { n, shared, own } = asked.rows;
        let reads = || match *n {
            0 => Ok(()),
            n if n > MOST_ROWS => Err(RowsError::Many { rows: n, most: MOST_ROWS }),
            n => self.reads("shared", shared, 1).and_then(|()| self.reads("own", own, n)),
        };
        reads().map_err(|problem| PlanError::Rows { query, problem })?;
        match asked.personal {
            Some(personal) => self.takes(personal).map_err(|problem| PlanError::Personal { query, problem: Box::new(problem) }),
            None => Ok(()),
        }
    }

    /// Whether `n` rows of the shared or the own columns can be read.
    fn reads(&self, part: &'static str, columns: &Columns, n: usize) -> Result<(), RowsError> {
        let needs = self.needs[usize::from(part == "own")];
        let numbers = [("categorical", columns.fields, needs.fields), ("numeric", columns.numbers, needs.numbers)];
        for (kind, found, needed) in numbers.into_iter().chain([("multi-valued", columns.bags.len(), needs.bags)]) {
            if found < needed {
                return Err(RowsError::Columns { part, kind, found, needed });
            }
        }
        for (kind, found, width) in
            [("categorical", columns.codes.len(), columns.fields), ("numeric", columns.numeric.len(), columns.numbers)]
        {
            let needed = n.saturating_mul(width);
            if found != needed {
                return Err(RowsError::Size { part, kind, found, needed, rows: n });
            }
        }
        for slot in self.slots.iter().filter(|slot| slot.shared == (part == "shared")) {
            match slot.source {
                Source::Field { column, table } => {
                    let rows = self.tables[table].rows;
                    let mut codes = columns.codes.iter().skip(column).step_by(columns.fields);
                    // The largest first: in good rows nothing else is looked for.
                    if codes.clone().max().is_some_and(|&code| code as usize >= rows)
                        && let Some((row, &code)) = codes.by_ref().enumerate().find(|&(_, &code)| code as usize >= rows)
                    {
                        return Err(RowsError::Code { row, part, kind: "categorical", column, code, rows });
                    }
                }
                Source::Number { column } => {
                    let numbers = columns.numeric.iter().skip(column).step_by(columns.numbers);
                    if let Some((row, &found)) = numbers.enumerate().find(|(_, number)| !number.is_finite()) {
                        return Err(RowsError::Number { row, part, column, found });
                    }
                }
                Source::Bag { column, table } => self.lists(part, columns, column, self.tables[table].rows, n)?,
            }
        }
        Ok(())
    }

    fn lists(&self, part: &'static str, columns: &Columns, column: usize, rows: usize, n: usize) -> Result<(), RowsError> {
        let bag = &columns.bags[column];
        if bag.offsets.len() != n.saturating_add(1) {
            let (found, needed) = (bag.offsets.len(), n.saturating_add(1));
            return Err(RowsError::Size { part, kind: "multi-valued", found, needed, rows: n });
        }
        let mut before = 0;
        for (index, &found) in bag.offsets.iter().enumerate() {
            let end = index == n && found as usize != bag.codes.len();
            if found < before || (index == 0 && found != 0) || end {
                return Err(RowsError::Offset { part, column, index, found });
            }
            before = found;
        }
        if let Some(at) = bag.codes.iter().position(|&code| code as usize >= rows) {
            let row = bag.offsets.partition_point(|&offset| offset as usize <= at) - 1;
            return Err(RowsError::Code { row, part, kind: "multi-valued", column, code: bag.codes[at], rows });
        }
        Ok(())
    }

    /// Whether personal weights fit; their values are not looked at.
    fn takes(&self, personal: &Personal) -> Result<(), PlanError> {
        let (layers, widths) = (self.stages.len() - 1, |stage: usize| (self.stages[stage].d_in, self.stages[stage].d_out));
        for (name, found) in [("layers", personal.layers.len()), ("scales", personal.scales.len())] {
            if found != 0 && found != layers {
                return Err(PlanError::Size { what: format!("the list of {name}"), found, needed: layers });
            }
        }
        for (l, linear) in personal.layers.iter().enumerate() {
            if let Some(linear) = linear {
                fits(&|| format!("layer {l}"), linear, Some(widths(l).0), Some(widths(l).1))?;
            }
        }
        for (l, scale) in personal.scales.iter().enumerate() {
            let Some(Scale { gain, shift }) = scale else { continue };
            for (name, values) in [("gain", gain), ("shift", shift)] {
                if let Some(values) = values {
                    sized(&|| format!("layer {l}, {name}"), values, widths(l).1)?;
                }
            }
        }
        match &personal.head {
            Some(head) => fits(&|| "the head".to_owned(), head, Some(widths(layers).0), Some(1)),
            None => Ok(()),
        }
    }
}
