//! The file of a patch.
//!
//! Format 2 holds what differs from where it started: an own parameter that is still what the seed drew, or a parameter of the base that is still the base's, is left out. Of a table
//! of the method's own the blocks that differ are stored with their numbers. Tensors have the names and the layout of PEFT where PEFT knows the kind (`lora_A.weight [r, d_in]`,
//! `lora_B.weight [d_out, r]`, `ia3_l [1, d]`, behind `base_model.model.` and the site's path), so that its tools find them. Parameters of the base may stand under PEFT's names too
//! ([`Patch::to_peft`]). Format 1 holds every tensor under its own name.

use std::path::Path;

use acclimate_model::{Architecture, Base, ParamSpec, Params, TableSpec, TensorFile};

use super::{Manifest, Patch, RowPatch, Storage, rest, target};
use crate::{AdaptError, build_method};

/// The code of a value in a row whose scale is this.
pub(super) fn encoded(value: f32, rest: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "within -127..=127")]
    let code = ((value - rest) / scale).round().clamp(-127.0, 127.0) as i8;
    code
}

/// The value of a code.
pub(super) fn decoded(rest: f32, scale: f32, code: i8) -> f32 {
    rest + scale * f32::from(code)
}

/// How a parameter stands in the file.
pub(super) struct Name {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// Whether rows and columns change places.
    pub(super) turned: bool,
}

impl Name {
    /// The name of an own parameter in format 2.
    pub(super) fn of(spec: &ParamSpec, architecture: &Architecture) -> Self {
        let [groups, rows, columns] = spec.shape;
        let plain = || Self { name: format!("own.{}", spec.path), shape: spec.shape.to_vec(), turned: false };
        let Some((path, kind)) = spec.path.rsplit_once('.').filter(|_| groups == 1) else { return plain() };
        // In a stack the method's name stands before the site.
        let site =
            architecture.sites.iter().map(|site| &site.path).filter(|site| path.ends_with(site.as_str())).max_by_key(|site| site.len());
        let Some(before) =
            site.and_then(|site| path.strip_suffix(site.as_str())).filter(|before| before.is_empty() || before.ends_with('.'))
        else {
            return plain();
        };
        let site = &path[before.len()..];
        let named = |tensor: &str| format!("{before}base_model.model.{site}.{tensor}");
        match kind {
            "lora_a" => Self { name: named("lora_A.weight"), shape: vec![columns, rows], turned: true },
            "lora_b" => Self { name: named("lora_B.weight"), shape: vec![columns, rows], turned: true },
            "ia3" => Self { name: named("ia3_l"), shape: vec![1, columns], turned: false },
            _ => plain(),
        }
    }

    /// Takes the values out of the file.
    fn read(&self, file: &mut TensorFile, path: &Path, spec: &ParamSpec) -> Result<Vec<f32>, AdaptError> {
        let stored = file.take(path, &self.name, &self.shape)?;
        Ok(self.laid_out(&stored, if self.turned { [spec.shape[2], spec.shape[1]] } else { [spec.shape[1], spec.shape[2]] }))
    }

    /// Values in the file's layout; the same the other way round with rows and columns exchanged.
    pub(super) fn laid_out(&self, values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
        if !self.turned {
            return values.to_vec();
        }
        (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

impl Patch {
    /// Everything that is stored.
    #[must_use]
    pub fn tensors(&self, base: &Base) -> TensorFile {
        let mut file = TensorFile::new(&self.manifest);
        let architecture = base.backbone.architecture();
        let start = Params::init(&self.own.specs, self.manifest.seed);
        for ((spec, values), start) in self.own.specs.iter().zip(&self.own.values).zip(&start.values) {
            if same(values, start) {
                continue;
            }
            if spec.is_table() {
                let block = spec.block();
                let differs =
                    |&number: &u32| !same(&values[number as usize * block..][..block], &start[number as usize * block..][..block]);
                let numbers: Vec<u32> = (0..spec.shape[0] as u32).filter(differs).collect();
                let kept: Vec<f32> = numbers.iter().flat_map(|&number| &values[number as usize * block..][..block]).copied().collect();
                file.put_indices(format!("own.rows.{}", spec.path), &numbers);
                file.put(format!("own.{}", spec.path), &[numbers.len(), spec.shape[1], spec.shape[2]], &kept);
                continue;
            }
            let name = Name::of(spec, architecture);
            let laid_out = name.laid_out(values, [spec.shape[1], spec.shape[2]]);
            file.put(name.name, &name.shape, &laid_out);
        }
        for (i, values) in self.dense.iter().filter(|(i, values)| !same(values, &base.params.values[*i])) {
            let spec = &base.params.specs[*i];
            file.put(format!("param.{}", spec.path), &spec.shape, values);
        }
        for ((spec, table), patch) in architecture.tables.iter().zip(&base.tables).zip(&self.rows) {
            if patch.rows.is_empty() {
                continue;
            }
            file.put_indices(format!("rows.{}", spec.name), &patch.rows);
            let shape = [patch.rows.len(), spec.d];
            if self.manifest.storage == Storage::Full {
                file.put(format!("table.{}", spec.name), &shape, &patch.values);
                continue;
            }
            let rows = patch.rows.iter().zip(patch.values.chunks_exact(spec.d)).zip(&patch.scales);
            let codes =
                rows.flat_map(|((&row, values), &scale)| values.iter().zip(rest(table, row)).map(move |(x, b)| encoded(*x, *b, scale)));
            file.put_small(format!("table.{}", spec.name), &shape, &codes.collect::<Vec<_>>());
            file.put(format!("scale.{}", spec.name), &[patch.rows.len()], &patch.scales);
        }
        file
    }

    /// Writes the patch to one safetensors file.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self, base: &Base, path: &Path) -> Result<(), AdaptError> {
        Ok(self.tensors(base).write(path)?)
    }

    /// Reads a patch for `base`, of any format since the first.
    ///
    /// # Errors
    /// A damaged file, a later format, another base or schema, or tensors that do not fit the method's declaration.
    pub fn load(base: &Base, path: &Path) -> Result<Self, AdaptError> {
        Self::of_file((base, &base.hash()), TensorFile::read(path)?, path)
    }

    /// Reads the bytes of a patch that the caller has hashed, as a registry does, for a base whose [hash](Base::hash) the caller knows; `path` is named in errors. Nothing is hashed here.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(base: (&Base, &str), bytes: &[u8], path: &Path) -> Result<Self, AdaptError> {
        Self::of_file(base, TensorFile::parse_hashed(bytes, path)?, path)
    }

    /// The patch that a file holds, for a base with this hash; `path` is named in errors.
    pub(super) fn of_file((base, found): (&Base, &str), mut file: TensorFile, path: &Path) -> Result<Self, AdaptError> {
        let manifest: Manifest = file.manifest(path)?;
        if !(1..=Manifest::FORMAT).contains(&manifest.format) {
            return Err(AdaptError::Format { found: manifest.format, known: Manifest::FORMAT });
        }
        if manifest.base != found {
            return Err(AdaptError::WrongBase { expected: manifest.base, found: found.to_owned() });
        }
        let schema = base.spec.schema_hash();
        if manifest.schema != schema {
            return Err(AdaptError::WrongSchema { expected: manifest.schema, found: schema });
        }
        let schema = manifest.schema_of(base);
        let adaptation = build_method(&manifest.method, &manifest.config, target(base, &schema))?;
        let architecture = base.backbone.architecture();
        let mut own = Params { specs: adaptation.params().to_vec(), values: Vec::new() };
        for spec in &own.specs {
            own.values.push(take_own(&mut file, path, &manifest, (spec, architecture))?);
        }
        let mut dense = Vec::new();
        for id in &adaptation.scope().params {
            let (spec, name) = (&base.params.specs[id.0], format!("param.{}", base.params.specs[id.0].path));
            let of_peft = Name::of_dense(spec).filter(|name| manifest.format > 1 && file.has(&name.name));
            let values = match of_peft {
                Some(name) => name.read(&mut file, path, spec)?,
                None if manifest.format == 1 || file.has(&name) => file.take(path, &name, &spec.shape)?,
                None => base.params.values[id.0].clone(),
            };
            dense.push((id.0, values));
        }
        let mut rows = Vec::new();
        for (spec, table) in architecture.tables.iter().zip(&base.tables) {
            let numbers = file.take_indices(&format!("rows.{}", spec.name)).unwrap_or_default();
            check_rows(&numbers, spec)?;
            let (name, shape) = (format!("table.{}", spec.name), [numbers.len(), spec.d]);
            let mut patch = RowPatch { rows: numbers, ..RowPatch::default() };
            if !patch.rows.is_empty() && manifest.storage == Storage::Full {
                patch.values = file.take(path, &name, &shape)?;
            } else if !patch.rows.is_empty() {
                let codes = file.take_small(path, &name, &shape)?;
                patch.scales = file.take(path, &format!("scale.{}", spec.name), &shape[..1])?;
                let of_row = |((&row, codes), &scale): ((&u32, &[i8]), &f32)| {
                    rest(table, row).iter().zip(codes).map(|(b, &code)| decoded(*b, scale, code)).collect::<Vec<_>>()
                };
                patch.values = patch.rows.iter().zip(codes.chunks_exact(spec.d)).zip(&patch.scales).flat_map(of_row).collect();
            }
            rows.push(patch);
        }
        file.finish(path)?;
        Ok(Self { manifest, own, dense, rows })
    }
}

/// Reads an own parameter over its start, which is drawn only where not all of it is in the file.
fn take_own(
    file: &mut TensorFile,
    path: &Path,
    manifest: &Manifest,
    (spec, architecture): (&ParamSpec, &Architecture),
) -> Result<Vec<f32>, AdaptError> {
    let plain = format!("own.{}", spec.path);
    if manifest.format == 1 {
        return Ok(file.take(path, &plain, &spec.shape)?);
    }
    let start = || Params::init(std::slice::from_ref(spec), manifest.seed).values.concat();
    if let Some(numbers) = file.take_indices(&format!("own.rows.{}", spec.path)) {
        let ([rows, height, width], mut values) = (spec.shape, start());
        let stored = file.take(path, &plain, &[numbers.len(), height, width])?;
        for (&row, block) in numbers.iter().zip(stored.chunks_exact(spec.block().max(1))) {
            if row as usize >= rows {
                return Err(AdaptError::Row { table: spec.path.clone(), row, rows });
            }
            values[row as usize * block.len()..][..block.len()].copy_from_slice(block);
        }
        return Ok(values);
    }
    let name = Name::of(spec, architecture);
    if file.has(&name.name) { name.read(file, path, spec) } else { Ok(start()) }
}

/// Rows ascend, and rows for new ids leave no gap: a table never grows by more than the patch holds.
fn check_rows(numbers: &[u32], spec: &TableSpec) -> Result<(), AdaptError> {
    let mut smallest = 0;
    for &row in numbers {
        if row < smallest || row > smallest.max(spec.rows as u32) {
            return Err(AdaptError::Row { table: spec.name.clone(), row, rows: spec.rows });
        }
        smallest = row + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_off_by_at_most_half_its_scale() {
        let (rest, largest) = (0.3_f32, 0.05_f32);
        let scale = largest / 127.0;
        for i in -100..=100 {
            let value = rest + largest * i as f32 / 100.0;
            let stored = decoded(rest, scale, encoded(value, rest, scale));
            assert!((stored - value).abs() <= 0.5 * scale * 1.001, "{value} {stored}");
            // What was read is written as the same code again.
            assert_eq!(encoded(stored, rest, scale), encoded(value, rest, scale));
        }
        assert_eq!(decoded(rest, 0.0, encoded(rest, rest, 0.0)), rest);
    }
}
