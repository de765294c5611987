//! A strict look at a tensor file before a tensor library sees it.
//!
//! A file is `u64` little-endian header length, header in JSON, data. It passes only if all of this holds: the header is small and lists few tensors, each once,
//! of a known type; shapes multiply without overflow to the bytes that the tensor has; tensors lie one after the other from the first byte of the data to the
//! last, without overlap or gap; every number is finite; no tensor is longer than the norm bound; and, where the caller says what there must be, names, types and
//! shapes are exactly those.

mod header;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::folder::Blob;
use header::{Header, Listed};

pub use header::TensorType;

/// What a tensor file may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorLimits {
    /// Most bytes of the header, which holds the metadata too. A header of 100,000 entries takes a reader seconds.
    pub header: u64,
    /// Most tensors.
    pub tensors: usize,
    /// Largest Euclidean norm of one tensor's values.
    pub norm: f64,
}

impl TensorLimits {
    /// Limits of a patch: 1 MiB, 4,096 tensors, norm 10^6.
    pub const PATCH: Self = Self { header: 1 << 20, tensors: 4096, norm: 1e6 };
    /// Limits of a base: 64 MiB (its vocabularies stand in the header), 4,096 tensors, norm 10^9.
    pub const BASE: Self = Self { header: 64 << 20, tensors: 4096, norm: 1e9 };
}

/// A tensor's type and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its type.
    pub kind: TensorType,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// A tensor of a file that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Its name.
    pub name: String,
    /// Its type and shape.
    pub spec: TensorSpec,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

/// Why a tensor file is refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Shorter than it says.
    #[error("the file has {size} bytes, its header alone takes {needed}; it was cut off")]
    CutOff {
        /// Bytes there are.
        size: u64,
        /// Bytes of length and header.
        needed: u64,
    },
    /// A large header.
    #[error("the header has {size} bytes, at most {limit} are read")]
    HeaderSize {
        /// Its size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A header that is none.
    #[error("the header can not be read: {0}")]
    Header(String),
    /// Too many tensors.
    #[error("there are more than {limit} tensors")]
    Count {
        /// What is allowed.
        limit: usize,
    },
    /// A name that nobody should have to print.
    #[error("a tensor's name has {bytes} bytes or control characters; write 1 to 512 bytes without them")]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// Shape and bytes disagree.
    #[error("tensor `{tensor}`: shape {shape:?} of {kind} does not take the {bytes} bytes that it has")]
    Size {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Its type.
        kind: TensorType,
        /// Its bytes.
        bytes: u64,
    },
    /// Overlap, gap, or bytes that belong to no tensor.
    #[error("tensor `{tensor}` begins at byte {begin} of the data, expected was {expected}: tensors overlap or leave a gap")]
    Place {
        /// The tensor, or `end of file`.
        tensor: String,
        /// Where it begins.
        begin: u64,
        /// Where the one before ends.
        expected: u64,
    },
    /// NaN or infinity.
    #[error("tensor `{tensor}` holds NaN or infinity at position {position}; look for a diverged training run")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Position of the value.
        position: u64,
    },
    /// Too long.
    #[error("tensor `{tensor}` has norm {norm:e}, at most {limit:e} is allowed")]
    Norm {
        /// The tensor.
        tensor: String,
        /// Its norm.
        norm: f64,
        /// What is allowed.
        limit: f64,
    },
    /// Not what its base makes of it.
    #[error("tensor `{tensor}` is {found}, expected is {expected}")]
    Unexpected {
        /// The tensor.
        tensor: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The system refuses.
    #[error("it can not be read: {0}")]
    Io(String),
}

/// Checks a tensor file and says where its tensors lie. `expected` is what it must hold, where the caller knows that.
///
/// # Errors
/// The first [`TensorProblem`] found.
pub fn check_tensors(
    file: &dyn Blob,
    limits: &TensorLimits,
    expected: Option<&BTreeMap<String, TensorSpec>>,
) -> Result<Vec<TensorPlace>, TensorProblem> {
    let places = tensor_places(file, limits)?;
    if let Some(expected) = expected {
        compare(&places, expected)?;
    }
    places.iter().try_for_each(|place| check_values(file, place, limits.norm))?;
    Ok(places)
}

/// The same without a look at the values.
pub(crate) fn tensor_places(file: &dyn Blob, limits: &TensorLimits) -> Result<Vec<TensorPlace>, TensorProblem> {
    let io = |error: std::io::Error| TensorProblem::Io(error.to_string());
    let size = file.size().map_err(io)?;
    if size < 8 {
        return Err(TensorProblem::CutOff { size, needed: 8 });
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > limits.header {
        return Err(TensorProblem::HeaderSize { size: length, limit: limits.header });
    }
    if size < 8 + length {
        return Err(TensorProblem::CutOff { size, needed: 8 + length });
    }
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, 8).map_err(io)?;
    places(&Header::read(&header, limits.tensors)?, 8 + length, size)
}

/// Lays the tensors out one after the other.
fn places(header: &Header, start: u64, size: u64) -> Result<Vec<TensorPlace>, TensorProblem> {
    let mut tensors: Vec<&(String, Listed)> = header.tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut expected = 0;
    let mut places = Vec::with_capacity(tensors.len());
    for (name, Listed { dtype, shape, data_offsets: [begin, end] }) in tensors {
        // The planted fault lets tensors overlap.
        let misplaced = if cfg!(feature = "canary") { *begin > expected } else { *begin != expected };
        if misplaced || end < begin {
            return Err(TensorProblem::Place { tensor: name.clone(), begin: *begin, expected });
        }
        let bytes = end - begin;
        let needed = shape.iter().try_fold(dtype.bytes(), |product, &side| product.checked_mul(side));
        if needed != Some(bytes) {
            return Err(TensorProblem::Size { tensor: name.clone(), shape: shape.clone(), kind: *dtype, bytes });
        }
        let spec = TensorSpec { kind: *dtype, shape: shape.clone() };
        // Both ends lie within the file once the last one does, which is looked at below.
        places.push(TensorPlace { name: name.clone(), spec, offset: start.saturating_add(*begin), bytes });
        expected = *end;
    }
    if size - start == expected {
        Ok(places)
    } else {
        Err(TensorProblem::Place { tensor: "end of file".to_owned(), begin: size - start, expected })
    }
}

fn compare(places: &[TensorPlace], expected: &BTreeMap<String, TensorSpec>) -> Result<(), TensorProblem> {
    let said = |spec: Option<&TensorSpec>| spec.map_or_else(|| "nothing".to_owned(), |spec| format!("{} {:?}", spec.kind, spec.shape));
    let unexpected = |tensor: &str, found, wanted| {
        Err(TensorProblem::Unexpected { tensor: tensor.to_owned(), found: said(found), expected: said(wanted) })
    };
    let found: BTreeMap<&str, &TensorSpec> = places.iter().map(|place| (place.name.as_str(), &place.spec)).collect();
    for (name, spec) in expected {
        if found.get(name.as_str()) != Some(&spec) {
            return unexpected(name, found.get(name.as_str()).copied(), Some(spec));
        }
    }
    match found.iter().find(|&(&name, _)| !expected.contains_key(name)) {
        None => Ok(()),
        Some((name, spec)) => unexpected(name, Some(spec), None),
    }
}

fn check_values(file: &dyn Blob, place: &TensorPlace, limit: f64) -> Result<(), TensorProblem> {
    const CHUNK: usize = 1 << 20;
    let width = place.spec.kind.bytes() as usize;
    let mut buffer = vec![0; CHUNK.min(place.bytes as usize)];
    let (mut done, mut squares) = (0, 0.0);
    while done < place.bytes {
        let part = &mut buffer[..CHUNK.min((place.bytes - done) as usize)];
        file.read_exact_at(part, place.offset + done).map_err(|error| TensorProblem::Io(error.to_string()))?;
        for (at, bytes) in (done / width as u64..).zip(part.chunks_exact(width)) {
            let value = place.spec.kind.value(bytes);
            if !value.is_finite() {
                return Err(TensorProblem::NotFinite { tensor: place.name.clone(), position: at });
            }
            if place.spec.kind.is_real() {
                squares += value * value;
            }
        }
        done += part.len() as u64;
    }
    let norm = squares.sqrt();
    if norm <= limit { Ok(()) } else { Err(TensorProblem::Norm { tensor: place.name.clone(), norm, limit }) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A file from its header and data.
    fn file(header: &str, data: &[u8]) -> Arc<Vec<u8>> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        Arc::new(bytes)
    }

    fn checked(header: &str, data: &[u8]) -> Result<Vec<TensorPlace>, TensorProblem> {
        check_tensors(&file(header, data), &TensorLimits::PATCH, None)
    }

    fn tensor(name: &str, shape: &str, begin: u64, end: u64) -> String {
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
    }

    fn header(tensors: &[String]) -> String {
        format!("{{{}}}", tensors.join(","))
    }

    #[test]
    fn what_the_tensor_library_writes_passes() {
        let values: Vec<u8> = [1.0_f32, -2.0, 3.5, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = |shape: Vec<usize>, data| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data).unwrap();
        let tensors = [("b", view(vec![2], &values[..8])), ("a", view(vec![1, 2], &values[8..])), ("none", view(vec![0, 3], &[]))];
        let metadata = std::collections::HashMap::from([("k".to_owned(), "v".to_owned())]);
        let bytes = Arc::new(safetensors::serialize(tensors, Some(metadata)).unwrap());
        let spec = |shape: &[u64]| TensorSpec { kind: TensorType::F32, shape: shape.to_vec() };
        let mut expected: BTreeMap<String, TensorSpec> =
            [("b", spec(&[2])), ("a", spec(&[1, 2])), ("none", spec(&[0, 3]))].map(|(name, spec)| (name.to_owned(), spec)).into();
        let places = check_tensors(&bytes, &TensorLimits::PATCH, Some(&expected)).unwrap();
        assert_eq!(places.len(), 3);
        let read = |name: &str| {
            let place = places.iter().find(|place| place.name == name).unwrap();
            bytes[place.offset as usize..][..place.bytes as usize].to_vec()
        };
        assert_eq!((read("b"), read("a")), (values[..8].to_vec(), values[8..].to_vec()));
        let refused = |expected: &BTreeMap<String, TensorSpec>| {
            matches!(check_tensors(&bytes, &TensorLimits::PATCH, Some(expected)), Err(TensorProblem::Unexpected { .. }))
        };
        expected.insert("b".to_owned(), spec(&[1, 2]));
        assert!(refused(&expected));
        expected.remove("b");
        assert!(refused(&expected));
        expected.extend([("b".to_owned(), spec(&[2])), ("c".to_owned(), spec(&[2]))]);
        assert!(refused(&expected));
    }

    #[test]
    fn each_known_attack_is_refused_for_its_own_reason() {
        use TensorProblem as P;
        let zeros = [0; 16];
        let two = |a: [u64; 2], b: [u64; 2]| header(&[tensor("a", "[2]", a[0], a[1]), tensor("b", "[2]", b[0], b[1])]);
        assert!(checked(&two([0, 8], [8, 16]), &zeros).is_ok());
        assert!(matches!(checked(&two([0, 8], [4, 12]), &zeros[..12]), Err(P::Place { .. })), "overlap");
        assert!(matches!(checked(&two([0, 8], [0, 8]), &zeros[..8]), Err(P::Place { .. })), "shared bytes");
        assert!(matches!(checked(&two([0, 4], [8, 16]), &zeros), Err(P::Size { .. })), "short");
        assert!(matches!(checked(&header(&[tensor("a", "[1]", 0, 4), tensor("b", "[2]", 8, 16)]), &zeros), Err(P::Place { .. })), "gap");
        assert!(matches!(checked(&header(&[tensor("a", "[2]", 0, 8)]), &zeros), Err(P::Place { .. })), "bytes that nobody owns");
        assert!(matches!(checked(&header(&[tensor("a", "[4]", 0, 16)]), &zeros[..8]), Err(P::Place { .. })), "cut off");
        let overflow = tensor("a", "[4611686018427387904,4]", 0, 0);
        assert!(matches!(checked(&header(&[overflow]), &[]), Err(P::Size { .. })), "a product that overflows to 0");
        assert!(matches!(checked(&header(&[tensor("a", "[2]", 8, 0)]), &zeros), Err(P::Place { .. })), "backwards");
        let twice = header(&[tensor("a", "[2]", 0, 8), tensor("a", "[2]", 8, 16)]);
        assert!(matches!(checked(&twice, &zeros), Err(P::Header(why)) if why.contains("twice")));
        assert!(matches!(checked("{\"a\":{\"dtype\":\"F8\",\"shape\":[],\"data_offsets\":[0,1]}}", &[0]), Err(P::Header(_))));
        assert!(matches!(checked(&header(&[tensor("", "[0]", 0, 0)]), &[]), Err(P::Name { .. })));
        let many: Vec<String> = (0..5000).map(|i| tensor(&format!("t{i}"), "[0]", 0, 0)).collect();
        assert!(matches!(checked(&header(&many), &[]), Err(P::Count { .. })));
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.push(b'{');
        let refused = check_tensors(&Arc::new(huge), &TensorLimits::PATCH, None);
        assert!(matches!(refused, Err(P::HeaderSize { .. })));
        assert!(matches!(check_tensors(&Arc::new(vec![1]), &TensorLimits::PATCH, None), Err(P::CutOff { .. })));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(matches!(checked(&deep, &[]), Err(P::Header(_))), "depth");
    }

    #[test]
    fn values_are_finite_and_bounded() {
        let one = |value: f32| checked(&header(&[tensor("a", "[1]", 0, 4)]), &value.to_le_bytes());
        assert!(one(1e6).is_ok());
        assert!(matches!(one(1.1e6), Err(TensorProblem::Norm { .. })));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(one(wrong), Err(TensorProblem::NotFinite { position: 0, .. })));
        }
        let half = |kind: &str, bits: u16| {
            checked(&format!("{{\"a\":{{\"dtype\":\"{kind}\",\"shape\":[1],\"data_offsets\":[0,2]}}}}"), &bits.to_le_bytes())
        };
        assert!(half("F16", 0x7bff).is_ok() && half("BF16", 0x4000).is_ok());
        assert!(
            half("F16", 0x7c00).is_err() && half("F16", 0xfe01).is_err() && half("BF16", 0x7f80).is_err() && half("BF16", 0xffc0).is_err()
        );
    }

    #[test]
    fn whole_numbers_have_no_norm() {
        let keys = "{\"keys\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]}}";
        assert!(checked(keys, &u64::MAX.to_le_bytes()).is_ok());
    }
}
