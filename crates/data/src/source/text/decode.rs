//! From the bytes of a file to UTF-8 text: decompression, byte-order marks, other encodings.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use encoding_rs::{DecoderResult, Encoding, UTF_8};
use flate2::bufread::MultiGzDecoder;

use super::BUFFER;
use super::records::EndlessLine;
use crate::DataError;
use crate::error::{Compression, Container};

/// Bytes that tell a compression or an encoding.
const HEAD: usize = 8;

/// A text file as UTF-8.
pub(super) struct Text {
    pub(super) source: Box<dyn Read>,
    pub(super) compression: Option<Compression>,
}

/// An encoding by its name in the WHATWG standard; `latin-1` is one of them here.
pub(crate) fn encoding(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label(if name.eq_ignore_ascii_case("latin-1") { b"latin1" } else { name.as_bytes() })
}

/// Opens a file, unpacks it, and decodes what is not UTF-8.
pub(super) fn open(file: &Path, named: Option<&'static Encoding>) -> Result<Text, DataError> {
    let io = |source| DataError::Io { file: file.to_owned(), source };
    let mut packed = BufReader::with_capacity(BUFFER, File::open(file).map_err(io)?);
    let head = Head::take(&mut packed).map_err(io)?;
    if let Some(found) = container(head.bytes()) {
        return Err(DataError::NotText { file: file.to_owned(), found });
    }
    let compression = compression(head.bytes());
    let packed = BufReader::with_capacity(BUFFER, head.before(packed));
    let mut text: Box<dyn Read> = match compression {
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(packed)),
        Some(Compression::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(packed).map_err(io)?),
        None => Box::new(packed),
    };
    let mut head = Head::take(&mut text).map_err(|source| broken(file, 0, compression, source))?;
    let marked = Encoding::for_bom(head.bytes());
    if let Some((_, length)) = marked {
        head.skip(length);
    }
    let encoding = marked.map(|(encoding, _)| encoding).or(named).unwrap_or(UTF_8);
    let text: Box<dyn Read> = Box::new(head.before(text));
    let source = if encoding == UTF_8 { text } else { Box::new(Decoded::new(text, encoding)) };
    Ok(Text { source, compression })
}

/// What went wrong while rows were read.
pub(super) fn broken(file: &Path, rows: u64, compression: Option<Compression>, source: io::Error) -> DataError {
    let file = file.to_owned();
    let inner = source.get_ref();
    if let Some(&NotInEncoding(encoding)) = inner.and_then(|inner| inner.downcast_ref()) {
        return DataError::Undecodable { file, encoding, rows };
    }
    if let Some(&EndlessLine(line)) = inner.and_then(|inner| inner.downcast_ref()) {
        return DataError::EndlessLine { file, line };
    }
    match (compression, source.kind()) {
        (Some(compression), io::ErrorKind::UnexpectedEof) => DataError::Truncated { file, compression, rows },
        (Some(compression), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other) => {
            DataError::Damaged { file, compression, rows, source }
        }
        _ => DataError::Io { file, source },
    }
}

fn compression(head: &[u8]) -> Option<Compression> {
    match head {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        _ => None,
    }
}

/// Formats that are often taken for text.
fn container(head: &[u8]) -> Option<Container> {
    match head {
        [b'P', b'K', 3, 4, ..] => Some(Container::Zip),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => Some(Container::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Container::Xz),
        [b'P', b'A', b'R', b'1', ..] => Some(Container::Parquet),
        _ => None,
    }
}

/// The first bytes of a stream, which are looked at and then read as if they had not been.
struct Head {
    bytes: [u8; HEAD],
    start: usize,
    end: usize,
}

impl Head {
    fn take(source: &mut impl Read) -> io::Result<Self> {
        let mut head = Self { bytes: [0; HEAD], start: 0, end: 0 };
        while head.end < HEAD {
            match source.read(&mut head.bytes[head.end..]) {
                Ok(0) => break,
                Ok(read) => head.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(head)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn skip(&mut self, length: usize) {
        self.start += length;
    }

    fn before<R: Read>(self, rest: R) -> impl Read + use<R> {
        Cursor::new(self.bytes().to_vec()).chain(rest)
    }
}

/// Bytes that the named encoding does not know.
#[derive(Debug, thiserror::Error)]
#[error("bytes that are not {0}")]
struct NotInEncoding(&'static str);

/// A stream of another encoding as UTF-8.
struct Decoded<R> {
    source: R,
    decoder: encoding_rs::Decoder,
    name: &'static str,
    input: Vec<u8>,
    start: usize,
    end: usize,
    is_complete: bool,
    /// Whether the decoder has been told that nothing follows.
    is_flushed: bool,
    output: Vec<u8>,
    given: usize,
}

impl<R: Read> Decoded<R> {
    fn new(source: R, encoding: &'static Encoding) -> Self {
        Self {
            source,
            decoder: encoding.new_decoder_without_bom_handling(),
            name: encoding.name(),
            input: vec![0; BUFFER],
            start: 0,
            end: 0,
            is_complete: false,
            is_flushed: false,
            output: Vec::new(),
            given: 0,
        }
    }

    /// Decodes the next piece into the empty output.
    fn decode(&mut self) -> io::Result<()> {
        if self.start == self.end && !self.is_complete {
            (self.start, self.end) = (0, self.source.read(&mut self.input)?);
            self.is_complete = self.end == 0;
        }
        self.output.resize(BUFFER, 0);
        let input = &self.input[self.start..self.end];
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, self.is_complete);
        self.start += read;
        self.output.truncate(written);
        self.given = 0;
        match result {
            DecoderResult::Malformed(..) => return Err(io::Error::new(io::ErrorKind::InvalidData, NotInEncoding(self.name))),
            DecoderResult::InputEmpty => self.is_flushed = self.is_complete,
            DecoderResult::OutputFull => {}
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.output.len() {
            if self.is_flushed {
                return Ok(0);
            }
            self.decode()?;
        }
        let length = out.len().min(self.output.len() - self.given);
        out[..length].copy_from_slice(&self.output[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most a few bytes at a time, as pipes do.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = out.len().min(3).min(self.0.len());
            out[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn decode(bytes: &[u8], name: &str) -> io::Result<String> {
        let mut text = String::new();
        Decoded::new(Trickle(bytes), encoding(name).unwrap()).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn characters_are_decoded_across_the_ends_of_reads() {
        let text = "Léon, 東京 𝄞\n".repeat(9);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode(&utf16, "utf-16le").unwrap(), text);
        assert_eq!(decode(b"L\xe9on", "latin-1").unwrap(), "Léon");
        assert_eq!(decode(b"\xb6\xab", "GBK").unwrap(), "东");
        assert!(encoding("latin").is_none() && encoding("utf-8") == Some(UTF_8));
    }

    #[test]
    fn bytes_that_are_not_in_the_encoding_are_an_error() {
        for (bytes, name) in [(&b"\x00\xd8a\x00"[..], "utf-16le"), (b"a\xff", "gbk"), (b"a\x00b", "utf-16le")] {
            let error = decode(bytes, name).unwrap_err();
            assert!(error.get_ref().is_some_and(|inner| inner.is::<NotInEncoding>()), "{error}");
        }
    }

    #[test]
    fn a_head_is_read_again() {
        for bytes in [&b"ab"[..], b"abcdefghijk"] {
            let mut source = Trickle(bytes);
            let mut head = Head::take(&mut source).unwrap();
            assert_eq!(head.bytes(), &bytes[..bytes.len().min(HEAD)]);
            head.skip(1);
            let mut rest = Vec::new();
            head.before(source).read_to_end(&mut rest).unwrap();
            assert_eq!(rest, bytes[1..]);
        }
    }
}
