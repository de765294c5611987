//! Patches of many users without a file or a tensor each: immutable segments.
//!
//! A segment is a tensor file with two tensors: `keys` `u64 [N]`, strictly ascending, and `values` `f32 [N, P]`, row `n` of which is the patch of user `keys[n]`.
//! The segments of a version follow on each other: the last key of one lies below the first key of the next. A look-up is two binary searches, over the segments
//! and over the keys (which are held in memory, 8 bytes a user), and one read of `4 P` bytes. `index.json` says what lies where; it can be made again from the
//! segments, and is, where it can not be read.

mod store;

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::folder::Blob;
use crate::registry::Content;
use crate::tensors::{TensorPlace, tensor_places};
use crate::{Name, RegistryError, TensorLimits, TensorType, check_tensors, json};

pub use store::SegmentStore;

/// What lies in the segments of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentIndex {
    /// Version of this format.
    pub format: u32,
    /// Values of each user, P.
    pub width: u64,
    /// The segments, by ascending key.
    pub segments: Vec<SegmentEntry>,
}

/// What lies in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// Its file.
    pub file: Name,
    /// Its users, N.
    pub rows: u64,
    /// The smallest key.
    pub first: u64,
    /// The largest.
    pub last: u64,
}

impl SegmentIndex {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;
    /// Its file.
    pub const FILE: &str = "index.json";

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads an index.
    ///
    /// # Errors
    /// Bytes that nobody writes, or another format.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let index: Self = json::read(path, bytes)?;
        if index.format != Self::FORMAT {
            return Err(RegistryError::Format { path: path.to_owned(), found: index.format, known: Self::FORMAT });
        }
        Ok(index)
    }

    /// Makes the index of some segments.
    fn of(mut opened: Vec<(Name, Segment)>) -> Result<(Self, Vec<Segment>), RegistryError> {
        opened.sort_by_key(|(_, segment)| segment.keys.first().copied());
        let width = opened.first().map_or(0, |(_, segment)| segment.width);
        let mut segments: Vec<SegmentEntry> = Vec::new();
        for (file, segment) in &opened {
            let wrong = |problem: String| Err(RegistryError::Segment { path: file.to_string(), problem });
            let (Some(&first), Some(&last)) = (segment.keys.first(), segment.keys.last()) else {
                return wrong("it holds nobody; leave it out".to_owned());
            };
            if segment.width != width {
                return wrong(format!("{} values a user, in the others {width}; publish patches of one size together", segment.width));
            }
            if let Some(before) = segments.last().filter(|before| before.last >= first) {
                return wrong(format!("its keys begin at {first}, and `{}` ends at {}; merge them", before.file, before.last));
            }
            segments.push(SegmentEntry { file: file.clone(), rows: segment.keys.len() as u64, first, last });
        }
        let segments_of = opened.into_iter().map(|(_, segment)| segment).collect();
        Ok((Self { format: Self::FORMAT, width, segments }, segments_of))
    }
}

/// An open segment.
pub(crate) struct Segment {
    keys: Vec<u64>,
    width: u64,
    values: TensorPlace,
    file: Box<dyn Blob>,
}

impl Segment {
    /// Opens a segment: its layout and keys are checked, its values are read when they are asked for.
    pub(crate) fn open(path: &str, file: Box<dyn Blob>) -> Result<Self, RegistryError> {
        let wrong = |problem: &str| RegistryError::Segment { path: path.to_owned(), problem: problem.to_owned() };
        let limits = TensorLimits { tensors: 2, ..TensorLimits::PATCH };
        let places = tensor_places(&*file, &limits).map_err(|problem| RegistryError::Tensors { path: path.to_owned(), problem })?;
        let find = |name: &str| places.iter().find(|place| place.name == name);
        let (Some(keys), Some(values)) = (find("keys"), find("values")) else {
            return Err(wrong("it does not hold `keys` and `values`"));
        };
        let (&[rows], &[of_values, width]) = (&keys.spec.shape[..], &values.spec.shape[..]) else {
            return Err(wrong("`keys` is not [N], or `values` is not [N, P]"));
        };
        if keys.spec.kind != TensorType::U64 || values.spec.kind != TensorType::F32 || rows != of_values || width == 0 {
            return Err(wrong("`keys` is not u64 [N], or `values` is not f32 [N, P] with the same N and P of at least 1"));
        }
        let mut bytes = vec![0; keys.bytes as usize];
        file.read_exact_at(&mut bytes, keys.offset).map_err(crate::folder::io("read", path))?;
        let keys: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        // A canary: `cargo xtask fuzz canary` must find keys that do not ascend.
        if !cfg!(feature = "canary") && !keys.is_sorted_by(|a, b| a < b) {
            return Err(wrong("its keys do not ascend strictly; sort them, and give each user one row"));
        }
        Ok(Self { keys, width, values: values.clone(), file })
    }

    /// The values of a user; `None` where there are none.
    pub(crate) fn get(&self, key: u64) -> std::io::Result<Option<Vec<f32>>> {
        let Ok(row) = self.keys.binary_search(&key) else { return Ok(None) };
        let mut bytes = vec![0; 4 * self.width as usize];
        self.file.read_exact_at(&mut bytes, self.values.offset + 4 * self.width * row as u64)?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

/// Checks a segment: its layout and keys, then its values; `path` is named in errors.
///
/// # Errors
/// [`RegistryError::Tensors`] or [`RegistryError::Segment`].
pub fn check_segment(path: &str, file: Box<dyn Blob>) -> Result<(), RegistryError> {
    let segment = Segment::open(path, file)?;
    let checked = check_tensors(&*segment.file, &TensorLimits::PATCH, None);
    checked.map_err(|problem| RegistryError::Tensors { path: path.to_owned(), problem })?;
    for &key in segment.keys.first().into_iter().chain(segment.keys.last()) {
        segment.get(key).map_err(crate::folder::io("read", path))?;
    }
    Ok(())
}

/// The files of a version of patches of many users: segments of at most so many rows, and their index.
///
/// # Shapes
/// `keys` is `[N]`, strictly ascending; `values` is `[N, P]`.
///
/// # Errors
/// [`RegistryError::Segment`] for keys that do not ascend, or for another number of values than `N P`, `P >= 1`.
pub fn segment_files(keys: &[u64], values: &[f32], rows_of_one: usize) -> Result<BTreeMap<Name, Content>, RegistryError> {
    let wrong = |problem: &str| RegistryError::Segment { path: "segments".to_owned(), problem: problem.to_owned() };
    let width = values.len() / keys.len().max(1);
    if keys.is_empty() || width == 0 || width * keys.len() != values.len() || rows_of_one == 0 {
        return Err(wrong("give at least one key, the same number of values for each key, and at least one row for a segment"));
    }
    if !keys.is_sorted_by(|a, b| a < b) {
        return Err(wrong("keys do not ascend strictly; sort them, and give each user one row"));
    }
    let mut files = BTreeMap::new();
    let mut index = SegmentIndex { format: SegmentIndex::FORMAT, width: width as u64, segments: Vec::new() };
    for (number, (keys, values)) in keys.chunks(rows_of_one).zip(values.chunks(rows_of_one * width)).enumerate() {
        let file: Name = format!("{number:06}.safetensors").parse()?;
        index.segments.push(SegmentEntry { file: file.clone(), rows: keys.len() as u64, first: keys[0], last: keys[keys.len() - 1] });
        files.insert(file, Content::Bytes(segment_bytes(keys, values, width)));
    }
    files.insert(SegmentIndex::FILE.parse()?, Content::Bytes(index.to_bytes()));
    Ok(files)
}

fn segment_bytes(keys: &[u64], values: &[f32], width: usize) -> Vec<u8> {
    let of_keys: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    let of_values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = |kind, shape, bytes| TensorView::new(kind, shape, bytes).expect("shapes and bytes are of the same rows");
    let tensors = [
        ("keys", view(safetensors::Dtype::U64, vec![keys.len()], &of_keys)),
        ("values", view(safetensors::Dtype::F32, vec![keys.len(), width], &of_values)),
    ];
    safetensors::serialize(tensors, None).expect("two tensors with different names")
}

/// Whether files are a version of patches of many users: every tensor file is a segment, they follow on each other, and the index says so.
pub(crate) fn check_version(names: &[&Name], open: impl Fn(&Name) -> Result<Box<dyn Blob>, RegistryError>) -> Result<(), RegistryError> {
    let mut segments = Vec::new();
    for &name in names.iter().filter(|name| name.as_str().ends_with(".safetensors")) {
        segments.push((name.clone(), Segment::open(name.as_str(), open(name)?)?));
    }
    let (made, _) = SegmentIndex::of(segments)?;
    let file = open(&SegmentIndex::FILE.parse()?)?;
    let mut bytes = vec![0; file.size().map_err(crate::folder::io("read", SegmentIndex::FILE))? as usize];
    file.read_exact_at(&mut bytes, 0).map_err(crate::folder::io("read", SegmentIndex::FILE))?;
    if SegmentIndex::read(SegmentIndex::FILE, &bytes)? == made {
        Ok(())
    } else {
        let problem = "it does not say what the segments hold; make it with `segment_files`".to_owned();
        Err(RegistryError::Segment { path: SegmentIndex::FILE.to_owned(), problem })
    }
}
