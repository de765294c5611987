//! Named arrays and one manifest in a safetensors file, written whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The one entry of the file's metadata: `{"sha256":"..","manifest":{..}}`. Two entries would be written in any order.
const ENTRY: &str = "acclimate";

/// What can be wrong with a tensor file.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("{}: not a readable safetensors file ({source}); it may be damaged or of another kind", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format's reader said.
        source: safetensors::SafeTensorError,
    },
    /// Content that is not what was written.
    #[error("{}: the content does not match its check sum; the file was changed or damaged after it was written, make it again", path.display())]
    CheckSum {
        /// The file.
        path: PathBuf,
    },
    /// No manifest, or one of another kind of file.
    #[error("{}: no usable manifest ({problem}); was the file written by `acclimate`, and is it of the right kind (base, patch, checkpoint)?", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A manifest whose config is invalid.
    #[error("{}: its manifest describes no valid model: {source}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor is missing.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor of another type or shape.
    #[error("{}: tensor `{tensor}` is {found}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the file holds.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A value that is no number.
    #[error("{}: tensor `{tensor}` holds a value that is not finite at position {position}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where.
        position: usize,
    },
    /// A tensor nobody asked for.
    #[error("{}: unexpected tensor `{tensor}`", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
}

/// One array with its shape.
#[derive(Clone, Debug, PartialEq)]
enum Array {
    Float(Vec<usize>, Vec<f32>),
    Index(Vec<usize>, Vec<u32>),
    Small(Vec<usize>, Vec<i8>),
}

impl Array {
    /// The values as bytes, little-endian, a part at a time.
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        const VALUES: usize = 1 << 14;
        match self {
            Self::Float(_, values) => Box::new(values.chunks(VALUES).map(|c| bytes_of(c, f32::to_le_bytes))),
            Self::Index(_, values) => Box::new(values.chunks(VALUES).map(|c| bytes_of(c, u32::to_le_bytes))),
            Self::Small(_, values) => Box::new(values.chunks(VALUES).map(|c| bytes_of(c, i8::to_le_bytes))),
        }
    }
}

/// Values one after the other: written into memory of the right size, which is a copy where value by value would be a loop.
fn bytes_of<T: Copy, const N: usize>(values: &[T], written: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; N * values.len()];
    for (to, &value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *to = written(value);
    }
    bytes
}

/// The arrays of a safetensors file.
fn arrays(path: &Path, bytes: &[u8]) -> Result<HashMap<String, Array>, TensorFileError> {
    let format = |source| TensorFileError::Format { path: path.into(), source };
    let mut arrays = HashMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(format)?.tensors() {
        let words = view.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        let array = match view.dtype() {
            Dtype::F32 => Array::Float(view.shape().to_vec(), words.map(f32::from_le_bytes).collect()),
            Dtype::U32 => Array::Index(view.shape().to_vec(), words.map(u32::from_le_bytes).collect()),
            Dtype::I8 => Array::Small(view.shape().to_vec(), view.data().iter().map(|&b| b.cast_signed()).collect()),
            other => {
                let (found, expected) = (format!("{other:?}"), "F32, U32 or I8".into());
                return Err(TensorFileError::Shape { path: path.into(), tensor: name, found, expected });
            }
        };
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// What the values of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayKind {
    /// Numbers, `f32`.
    Float,
    /// Indices, `u32`.
    Index,
    /// Small whole numbers, `i8`.
    Small,
}

/// An array is encoded when its turn comes, so that a file is never in memory twice.
impl View for &Array {
    fn dtype(&self) -> Dtype {
        match self {
            Array::Float(..) => Dtype::F32,
            Array::Index(..) => Dtype::U32,
            Array::Small(..) => Dtype::I8,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Array::Float(shape, _) | Array::Index(shape, _) | Array::Small(shape, _) => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.chunks().collect::<Vec<_>>().concat().into()
    }

    fn data_len(&self) -> usize {
        match self {
            Array::Float(_, values) => 4 * values.len(),
            Array::Index(_, values) => 4 * values.len(),
            Array::Small(_, values) => values.len(),
        }
    }
}

/// Check sum and manifest of a metadata entry. Taken as text, since the check sum is that of the manifest's bytes.
fn parts(entry: &str) -> Option<(&str, &str)> {
    let (sum, manifest) = entry.strip_prefix("{\"sha256\":\"")?.split_once("\",\"manifest\":")?;
    Some((sum, manifest.strip_suffix('}')?))
}

/// The content of a tensor file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorFile {
    manifest: String,
    arrays: HashMap<String, Array>,
}

impl TensorFile {
    /// An empty file with a manifest.
    #[must_use]
    pub fn new(manifest: &impl Serialize) -> Self {
        let manifest = serde_json::to_string(manifest).expect("manifests are plain data with string keys");
        Self { manifest, arrays: HashMap::new() }
    }

    /// Adds an array of numbers.
    pub fn put(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.arrays.insert(name.into(), Array::Float(shape.to_vec(), values.to_vec()));
    }

    /// Adds a list of indices.
    pub fn put_indices(&mut self, name: impl Into<String>, values: &[u32]) {
        self.arrays.insert(name.into(), Array::Index(vec![values.len()], values.to_vec()));
    }

    /// Adds an array of small whole numbers.
    pub fn put_small(&mut self, name: impl Into<String>, shape: &[usize], values: &[i8]) {
        self.arrays.insert(name.into(), Array::Small(shape.to_vec(), values.to_vec()));
    }

    /// Bytes of all arrays.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arrays.values().map(|array| View::data_len(&array)).sum()
    }

    /// Kind and shape of every array, by name.
    #[must_use]
    pub fn layout(&self) -> BTreeMap<String, (ArrayKind, Vec<usize>)> {
        let of = |array: &Array| match array {
            Array::Float(shape, _) => (ArrayKind::Float, shape.clone()),
            Array::Index(shape, _) => (ArrayKind::Index, shape.clone()),
            Array::Small(shape, _) => (ArrayKind::Small, shape.clone()),
        };
        self.arrays.iter().map(|(name, array)| (name.clone(), of(array))).collect()
    }

    /// Whether there is an array of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// SHA-256 over manifest, names, shapes and values, in hex. It stands in the file and is checked when that is read.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.manifest.as_bytes());
        let mut names: Vec<_> = self.arrays.keys().collect();
        names.sort_unstable();
        for name in names {
            let (kind, shape) = match &self.arrays[name] {
                Array::Float(shape, _) => ("f32", shape),
                Array::Index(shape, _) => ("u32", shape),
                Array::Small(shape, _) => ("i8", shape),
            };
            part(format!("{name} {kind} {shape:?}").as_bytes());
            self.arrays[name].chunks().for_each(|chunk| part(&chunk));
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The file's bytes; equal content gives equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = format!("{{\"sha256\":\"{}\",\"manifest\":{}}}", self.digest(), self.manifest);
        let metadata = HashMap::from([(ENTRY.to_owned(), entry)]);
        safetensors::serialize(&self.arrays, Some(metadata)).expect("names are unique, and shape and length agree")
    }

    /// Writes to a temporary sibling, then renames: a reader sees the old file or the new one, never a part.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn write(&self, path: &Path) -> Result<(), TensorFileError> {
        let io = |source| TensorFileError::Io { path: path.into(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        // Appended to the whole name: siblings that differ only in their extension may be written at the same time.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = std::fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(&self.to_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| std::fs::rename(&temporary, path)).map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            io(source)
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can not be read, is damaged, or does not match its check sum.
    pub fn read(path: &Path) -> Result<Self, TensorFileError> {
        let bytes = std::fs::read(path).map_err(|source| TensorFileError::Io { path: path.into(), source })?;
        Self::parse(&bytes, path)
    }

    /// Reads the bytes of a file; `path` is named in errors.
    ///
    /// # Errors
    /// They are damaged, or do not match their check sum.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, TensorFileError> {
        let (file, sum) = Self::unchecked(bytes, path)?;
        if sum == file.digest() { Ok(file) } else { Err(TensorFileError::CheckSum { path: path.into() }) }
    }

    /// The same of bytes that the caller has hashed against what was written, as a registry does: their check sum is not computed once more.
    ///
    /// # Errors
    /// They are no such file.
    pub fn parse_hashed(bytes: &[u8], path: &Path) -> Result<Self, TensorFileError> {
        Self::unchecked(bytes, path).map(|(file, _)| file)
    }

    /// The content, and the check sum that it should have.
    fn unchecked(bytes: &[u8], path: &Path) -> Result<(Self, String), TensorFileError> {
        let format = |source| TensorFileError::Format { path: path.into(), source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let entry = header.metadata().as_ref().and_then(|m| m.get(ENTRY)).cloned().unwrap_or_default();
        let Some((sum, manifest)) = parts(&entry) else {
            return Err(TensorFileError::Manifest { path: path.into(), problem: "there is none".into() });
        };
        Ok((Self { manifest: manifest.to_owned(), arrays: arrays(path, bytes)? }, sum.to_owned()))
    }

    /// Reads the arrays of a file that another program wrote, under a manifest that is given.
    ///
    /// # Errors
    /// It can not be read, is damaged, or holds values of other types.
    pub fn read_foreign(path: &Path, manifest: &impl Serialize) -> Result<Self, TensorFileError> {
        let bytes = std::fs::read(path).map_err(|source| TensorFileError::Io { path: path.into(), source })?;
        Ok(Self { arrays: arrays(path, &bytes)?, ..Self::new(manifest) })
    }

    /// The manifest as `M`.
    ///
    /// # Errors
    /// There is none, or it is of another kind.
    pub fn manifest<M: DeserializeOwned>(&self, path: &Path) -> Result<M, TensorFileError> {
        serde_json::from_str(&self.manifest).map_err(|e| TensorFileError::Manifest { path: path.into(), problem: e.to_string() })
    }

    /// Takes an array of numbers of exactly this shape, all finite.
    ///
    /// # Errors
    /// It is missing, has another type or shape, or holds NaN or infinity.
    pub fn take(&mut self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>, TensorFileError> {
        let owned = || (PathBuf::from(path), name.to_owned());
        let (path, tensor) = owned();
        match self.arrays.remove(name) {
            Some(Array::Float(found, values)) if found == shape => match values.iter().position(|x| !x.is_finite()) {
                None => Ok(values),
                Some(position) => Err(TensorFileError::NotFinite { path, tensor, position }),
            },
            Some(Array::Float(found, _) | Array::Index(found, _) | Array::Small(found, _)) => {
                Err(TensorFileError::Shape { path, tensor, found: format!("{found:?}"), expected: format!("numbers {shape:?}") })
            }
            None => Err(TensorFileError::Missing { path, tensor }),
        }
    }

    /// Takes an array of small whole numbers of exactly this shape.
    ///
    /// # Errors
    /// It is missing, or has another type or shape.
    pub fn take_small(&mut self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<i8>, TensorFileError> {
        let (path, tensor) = (PathBuf::from(path), name.to_owned());
        match self.arrays.remove(name) {
            Some(Array::Small(found, values)) if found == shape => Ok(values),
            Some(Array::Float(found, _) | Array::Index(found, _) | Array::Small(found, _)) => Err(TensorFileError::Shape {
                path,
                tensor,
                found: format!("{found:?}"),
                expected: format!("small whole numbers {shape:?}"),
            }),
            None => Err(TensorFileError::Missing { path, tensor }),
        }
    }

    /// Takes a list of indices, `None` if there is none of that name.
    pub fn take_indices(&mut self, name: &str) -> Option<Vec<u32>> {
        match self.arrays.remove(name)? {
            Array::Index(_, values) => Some(values),
            Array::Float(..) | Array::Small(..) => None,
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// A tensor nobody took.
    pub fn finish(self, path: &Path) -> Result<(), TensorFileError> {
        match self.arrays.into_keys().min() {
            None => Ok(()),
            Some(tensor) => Err(TensorFileError::Unexpected { path: path.into(), tensor }),
        }
    }
}
