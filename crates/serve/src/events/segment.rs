//! The form of a segment: a header, and frames of events that were written and synced together.
//!
//! ```text
//! header  magic 8 | spec 64 | number 8 | first position 8 | length of the segment before 8 | crc32c 4
//! frame   magic 4 | length 4 | events 4 | at 8 | first position 8 | crc32c of the events 4 | crc32c of the header 4 | events
//! event   length 4 | JSON
//! ```
//! Numbers are little-endian. The checksum of a frame's header covers its place (number of the segment, offset) as well. A frame is written only when the one
//! before it is on disk, so a broken frame behind which another begins is damage, and one behind which nothing begins is a write that was never finished.

/// Begins every segment; the digit is the version of what follows.
const MAGIC: &[u8; 8] = b"ACEVENT1";
/// Begins every frame.
const FRAME: &[u8; 4] = b"AEVF";
/// Bytes of a segment's header.
pub const HEADER: usize = 100;
/// Bytes of a frame's header.
const FRAME_HEADER: usize = 36;
/// Bytes of the events of a frame.
pub(super) const MOST: usize = 32 << 20;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The features whose state it moves: 64 hexadecimal digits.
    pub spec: String,
    /// Its number; segments follow each other without a gap.
    pub number: u64,
    /// The position of its first event, from 0.
    pub first: u64,
    /// How many bytes of the segment before it count: what lies behind them was never acknowledged.
    pub before: u64,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it begins.
    pub offset: u64,
    /// The position of its first event.
    pub first: u64,
    /// When it was written, in microseconds since 1970.
    pub at: i64,
    /// How many events it has.
    pub count: u32,
    events: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The bytes of each event.
    pub fn events(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.events;
        std::iter::from_fn(move || {
            let (event, behind) = split_event(rest)?;
            rest = behind;
            Some(event)
        })
    }
}

fn split_event(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A segment that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// What it says of itself.
    pub header: Header,
    /// Its frames.
    pub frames: Vec<Frame<'a>>,
    /// Where the frames end; what lies behind was never finished.
    pub end: u64,
}

/// What is wrong with a segment, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The byte.
    pub offset: u64,
    /// What is wrong.
    pub problem: &'static str,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Header {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.spec.bytes().chain(std::iter::repeat(b' ')).take(64));
        [self.number, self.first, self.before].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the header of a segment.
    ///
    /// # Errors
    /// It is cut off, of another version, or damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let damage = |problem| Damage { offset: 0, problem };
        let header = bytes.get(..HEADER).ok_or_else(|| damage("the header is cut off"))?;
        if !header.starts_with(MAGIC) {
            return Err(damage("it is no segment of this version"));
        }
        if crc32c::crc32c(&header[..HEADER - 4]) != u32_at(header, HEADER - 4) {
            return Err(damage("the checksum of the header is another"));
        }
        let spec = std::str::from_utf8(&header[8..72]).map_err(|_| damage("the header names no features"))?;
        Ok(Self { spec: spec.to_owned(), number: u64_at(header, 72), first: u64_at(header, 80), before: u64_at(header, 88) })
    }
}

/// The header of a frame; `frame` is its number of events, when it is written, and the position of its first.
pub(super) fn frame_header(number: u64, offset: u64, frame: (u32, i64, u64), events: &[u8]) -> [u8; FRAME_HEADER] {
    let (count, at, first) = frame;
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(FRAME);
    header[4..8].copy_from_slice(&(events.len() as u32).to_le_bytes());
    header[8..12].copy_from_slice(&count.to_le_bytes());
    header[12..20].copy_from_slice(&at.to_le_bytes());
    header[20..28].copy_from_slice(&first.to_le_bytes());
    header[28..32].copy_from_slice(&crc32c::crc32c(events).to_le_bytes());
    let crc = placed(number, offset, &header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A segment with some frames of some events, as a log writes it: what examples and harnesses begin with.
#[must_use]
pub fn sample(frames: &[&[&[u8]]]) -> Vec<u8> {
    let mut bytes = Header { spec: "0".repeat(64), number: 1, first: 0, before: 0 }.bytes();
    let mut first = 0;
    for &frame in frames {
        let mut events = Vec::new();
        frame.iter().for_each(|event| push_event(&mut events, event));
        bytes.extend(frame_header(1, bytes.len() as u64, (frame.len() as u32, 0, first), &events));
        bytes.extend(events);
        first += frame.len() as u64;
    }
    bytes
}

pub(super) fn push_event(events: &mut Vec<u8>, json: &[u8]) {
    events.extend((json.len() as u32).to_le_bytes());
    events.extend(json);
}

/// The checksum of a header at its place.
fn placed(number: u64, offset: u64, header: &[u8]) -> u32 {
    let place = crc32c::crc32c(&[number.to_le_bytes(), offset.to_le_bytes()].concat());
    crc32c::crc32c_append(place, header)
}

/// Whether a frame begins at an offset.
fn begins(bytes: &[u8], number: u64, offset: usize) -> bool {
    let header = bytes.get(offset..).and_then(|rest| rest.get(..FRAME_HEADER));
    header.is_some_and(|header| header.starts_with(FRAME) && placed(number, offset as u64, &header[..32]) == u32_at(header, 32))
}

/// The frame at an offset, and where it ends.
fn frame(bytes: &[u8], number: u64, offset: usize) -> Result<(Frame<'_>, usize), &'static str> {
    if !begins(bytes, number, offset) {
        return Err("no frame begins here");
    }
    let header = &bytes[offset..offset + FRAME_HEADER];
    let length = u32_at(header, 4) as usize;
    let begin = offset + FRAME_HEADER;
    let events = bytes.get(begin..).and_then(|rest| rest.get(..length)).ok_or("the frame is cut off")?;
    let is_whole = cfg!(feature = "canary") || crc32c::crc32c(events) == u32_at(header, 28);
    if length > MOST || !is_whole {
        return Err("the checksum of the events is another");
    }
    let at = i64::from_le_bytes(header[12..20].try_into().expect("eight bytes"));
    let frame = Frame { offset: offset as u64, first: u64_at(header, 20), at, count: u32_at(header, 8), events };
    let (mut rest, mut count) = (events, 0);
    while let Some((_, behind)) = split_event(rest) {
        (rest, count) = (behind, count + 1);
    }
    if !rest.is_empty() || count != frame.count { Err("the events do not fill their frame") } else { Ok((frame, begin + length)) }
}

/// Reads a segment. `end` is how many of its bytes count, as the next segment says; the last one ends where its last frame does.
///
/// # Errors
/// A header or a frame that is damaged where it was whole once.
pub fn read(bytes: &[u8], end: Option<u64>) -> Result<Segment<'_>, Damage> {
    let header = Header::read(bytes)?;
    let bytes = match end.map(|end| bytes.get(..usize::try_from(end).unwrap_or(usize::MAX))) {
        Some(None) => return Err(Damage { offset: bytes.len() as u64, problem: "the segment is cut off" }),
        Some(Some(counted)) => counted,
        None => bytes,
    };
    let (mut frames, mut offset, mut next) = (Vec::new(), HEADER, header.first);
    while offset < bytes.len() {
        let problem = match frame(bytes, header.number, offset) {
            Ok((frame, behind)) if frame.first == next => {
                (offset, next) = (behind, next.saturating_add(frame.count.into()));
                frames.push(frame);
                continue;
            }
            Ok(_) => "the frame is not the next one",
            Err(problem) => problem,
        };
        // Magics are few, and each is checked by its header alone.
        let goes_on = magics(&bytes[offset + 1..]).any(|at| begins(bytes, header.number, offset + 1 + at));
        if end.is_some() || goes_on || problem == "the frame is not the next one" {
            return Err(Damage { offset: offset as u64, problem });
        }
        break;
    }
    if bytes.len() < HEADER {
        return Err(Damage { offset: bytes.len() as u64, problem: "the segment is cut off" });
    }
    Ok(Segment { header, frames, end: offset as u64 })
}

/// Where the magic of a frame stands.
fn magics(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.windows(FRAME.len()).enumerate().filter(|(_, window)| *window == FRAME).map(|(at, _)| at)
}
