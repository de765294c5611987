//! Whether a network is one: shapes that fit, tables that are there, values that are finite.

use std::sync::{Arc, Weak};

use crate::{After, Branch, Changed, Layer, Linear, Network, Norm, PlanError, Read, Scale, Source, Table};

/// Buffers that were looked at already, by address: those of the plan that another one is compiled like.
pub(crate) type Known = std::collections::HashSet<usize>;

/// The address of a buffer or of changed rows, for sharing and for [`Known`].
pub(crate) fn address<T>(values: &Arc<T>) -> usize {
    Arc::as_ptr(values).addr()
}

/// Whether a buffer is still the one that was seen; the weak pointer keeps its address from being used again.
pub(crate) fn same(seen: &Weak<Vec<f32>>, values: &Arc<Vec<f32>>) -> bool {
    std::ptr::eq(seen.as_ptr(), Arc::as_ptr(values))
}

/// A slot with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) source: Source,
    pub(crate) shared: bool,
    /// First column of x.
    pub(crate) at: usize,
    pub(crate) width: usize,
}

/// Where the slots of a network stand.
///
/// # Errors
/// For the first thing that is wrong with the network.
pub(crate) fn check(network: &Network, known: &Known) -> Result<Vec<Placed>, PlanError> {
    let check = Check { known };
    for (t, table) in network.tables.iter().enumerate() {
        let what = || format!("table {t}");
        if table.d == 0 || table.values.is_empty() {
            return Err(PlanError::Shape { what: what() });
        }
        if !table.values.len().is_multiple_of(table.d) {
            let needed = table.values.len().next_multiple_of(table.d);
            return Err(PlanError::Size { what: what(), found: table.values.len(), needed });
        }
        check.finite(&what, &table.values)?;
        if let Some(changed) = &table.changed {
            check.changed(&|| format!("table {t}, changed rows"), table, changed)?;
        }
    }
    let mut slots = Vec::with_capacity(network.slots.len());
    let mut width = 0_usize;
    for (slot, &crate::Slot { source, shared }) in network.slots.iter().enumerate() {
        let one = match source {
            Source::Number { .. } => 1,
            Source::Field { table, .. } | Source::Bag { table, .. } => {
                let tables = network.tables.len();
                network.tables.get(table).ok_or(PlanError::Table { slot, table, tables })?.d
            }
        };
        slots.push(Placed { source, shared, at: width, width: one });
        width = width.checked_add(one).ok_or_else(|| PlanError::Shape { what: "the input".to_owned() })?;
    }
    if width == 0 {
        return Err(PlanError::Shape { what: "the input".to_owned() });
    }
    for (l, layer) in network.layers.iter().enumerate() {
        check.layer(l, layer, width)?;
        width = layer.linear.d_out;
    }
    check.linear(&|| "the head".to_owned(), &network.head, Some(width), Some(1))?;
    check.after(&|| "the head".to_owned(), &network.head, &network.after)?;
    if !network.unit.is_finite() {
        return Err(PlanError::Value { what: "the unit".to_owned(), index: 0, found: network.unit });
    }
    Ok(slots)
}

/// Whether a linear map fits, without a look at its values.
///
/// # Errors
/// If it does not.
pub(crate) fn fits(what: &dyn Fn() -> String, linear: &Linear, d_in: Option<usize>, d_out: Option<usize>) -> Result<(), PlanError> {
    let Linear { d_in: found_in, d_out: found_out, weight, bias } = linear;
    for (end, found, needed) in [("input", *found_in, d_in), ("output", *found_out, d_out)] {
        let what = || format!("{}, {end}", what());
        match needed {
            _ if found == 0 => return Err(PlanError::Shape { what: what() }),
            Some(needed) if found != needed => return Err(PlanError::Width { what: what(), found, needed }),
            _ => {}
        }
    }
    let needed = found_in.checked_mul(*found_out).ok_or_else(|| PlanError::Shape { what: what() })?;
    sized(&|| format!("{}, weight", what()), weight, needed)?;
    sized(&|| format!("{}, bias", what()), bias, *found_out)
}

/// Whether there are as many values as needed.
///
/// # Errors
/// If there are not.
pub(crate) fn sized(what: &dyn Fn() -> String, values: &[f32], needed: usize) -> Result<(), PlanError> {
    match values.len() {
        found if found == needed => Ok(()),
        found => Err(PlanError::Size { what: what(), found, needed }),
    }
}

struct Check<'a> {
    known: &'a Known,
}

impl Check<'_> {
    fn changed(&self, what: &dyn Fn() -> String, table: &Table, changed: &Arc<Changed>) -> Result<(), PlanError> {
        let Changed { rows, values, total } = &**changed;
        let needed = rows.len().checked_mul(table.d).ok_or_else(|| PlanError::Shape { what: what() })?;
        sized(what, values, needed)?;
        if *total < table.kept() {
            return Err(PlanError::Fewer { what: what(), total: *total, kept: table.kept() });
        }
        if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(PlanError::Order { what: what(), found: pair[1], before: pair[0] });
        }
        match rows.last() {
            Some(&found) if found as usize >= *total => Err(PlanError::Beyond { what: what(), found, total: *total }),
            _ => self.finite_at(what, address(changed), values),
        }
    }

    fn layer(&self, l: usize, layer: &Layer, width: usize) -> Result<(), PlanError> {
        let what = || format!("layer {l}");
        self.linear(&what, &layer.linear, Some(width), None)?;
        self.after(&what, &layer.linear, &layer.after)?;
        let Some(Norm::Layer { gain, shift, .. } | Norm::Affine { gain, shift }) = &layer.norm else { return Ok(()) };
        for (name, values) in [("gain", gain), ("shift", shift)] {
            self.vector(&|| format!("layer {l}, {name} of the norm"), values, layer.linear.d_out)?;
        }
        match layer.norm {
            Some(Norm::Layer { epsilon, .. }) if !(epsilon.is_finite() && epsilon > 0.0) => {
                Err(PlanError::Value { what: format!("layer {l}, epsilon"), index: 0, found: epsilon })
            }
            _ => Ok(()),
        }
    }

    fn after(&self, what: &dyn Fn() -> String, linear: &Linear, after: &[After]) -> Result<(), PlanError> {
        for (a, step) in after.iter().enumerate() {
            let what = || format!("{}, after {a}", what());
            match step {
                After::Scale(Scale { gain, shift }) => {
                    for (name, values) in [("gain", gain), ("shift", shift)] {
                        if let Some(values) = values {
                            self.vector(&|| format!("{}, {name}", what()), values, linear.d_out)?;
                        }
                    }
                }
                After::Branch(branch) => self.branch(&what, linear, branch)?,
            }
        }
        Ok(())
    }

    fn branch(&self, what: &dyn Fn() -> String, linear: &Linear, branch: &Branch) -> Result<(), PlanError> {
        let read = match branch.read {
            Read::Output => linear.d_out,
            Read::Input => linear.d_in,
        };
        self.linear(&|| format!("{}, down", what()), &branch.down, Some(read), None)?;
        self.linear(&|| format!("{}, up", what()), &branch.up, Some(branch.down.d_out), Some(linear.d_out))?;
        if branch.skip && read != linear.d_out {
            return Err(PlanError::Width { what: format!("{}, what its skip adds", what()), found: read, needed: linear.d_out });
        }
        Ok(())
    }

    fn linear(&self, what: &dyn Fn() -> String, linear: &Linear, d_in: Option<usize>, d_out: Option<usize>) -> Result<(), PlanError> {
        fits(what, linear, d_in, d_out)?;
        self.finite(&|| format!("{}, weight", what()), &linear.weight)?;
        self.finite(&|| format!("{}, bias", what()), &linear.bias)
    }

    fn vector(&self, what: &dyn Fn() -> String, values: &Arc<Vec<f32>>, needed: usize) -> Result<(), PlanError> {
        sized(what, values, needed)?;
        self.finite(what, values)
    }

    fn finite(&self, what: &dyn Fn() -> String, values: &Arc<Vec<f32>>) -> Result<(), PlanError> {
        self.finite_at(what, address(values), values)
    }

    fn finite_at(&self, what: &dyn Fn() -> String, address: usize, values: &[f32]) -> Result<(), PlanError> {
        if self.known.contains(&address) {
            return Ok(());
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => Err(PlanError::Value { what: what(), index, found: values[index] }),
        }
    }
}
