//! Look-up in the segments of a version.

use super::{Segment, SegmentEntry, SegmentIndex};
use crate::{Digest, Kind, Name, Registry, RegistryError, Version};

/// The open segments of a version. It can be shared by threads.
pub struct SegmentStore {
    digest: Digest,
    index: SegmentIndex,
    segments: Vec<Segment>,
    rebuilt: bool,
}

impl std::fmt::Debug for SegmentStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentStore").field("digest", &self.digest).field("users", &self.users()).finish_non_exhaustive()
    }
}

impl SegmentStore {
    /// Opens the segments of a version. Its manifest and the layout and keys of each segment are checked; to hash the files too, call
    /// [`verify`](Registry::verify) first.
    ///
    /// # Errors
    /// The version is not there, or a segment can not be used. An index that can not be used is made again from the segments.
    pub fn open(registry: &Registry, name: &Name, version: Version) -> Result<Self, RegistryError> {
        let stored = registry.show(Kind::Segments, name, version)?;
        let mut opened = Vec::new();
        for file in stored.manifest.files.keys().filter(|file| file.as_str().ends_with(".safetensors")) {
            let path = format!("{}/{name}/{version}/{file}", Kind::Segments.folder());
            opened.push((file.clone(), Segment::open(&path, registry.file(Kind::Segments, name, version, file)?)?));
        }
        let (index, segments) = SegmentIndex::of(opened)?;
        let file = SegmentIndex::FILE.parse()?;
        let found =
            registry.read(Kind::Segments, name, version, &file, 64 << 20).and_then(|bytes| SegmentIndex::read(SegmentIndex::FILE, &bytes));
        let rebuilt = found.map_or(true, |found| found != index);
        Ok(Self { digest: stored.digest, index, segments, rebuilt })
    }

    /// The version's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of users.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.index.segments.iter().map(|segment| segment.rows).sum()
    }

    /// Values of each user, P.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.index.width
    }

    /// Whether the stored index could not be used.
    #[must_use]
    pub fn index_was_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// The patch of a user, `[P]`; `None` for one who has none.
    ///
    /// # Errors
    /// The system refuses to read.
    pub fn get(&self, key: u64) -> Result<Option<Vec<f32>>, RegistryError> {
        let at = self.index.segments.partition_point(|segment| segment.last < key);
        let Some((SegmentEntry { file, .. }, segment)) = self.index.segments.get(at).zip(self.segments.get(at)) else { return Ok(None) };
        segment.get(key).map_err(crate::folder::io("read", file.as_str()))
    }
}
