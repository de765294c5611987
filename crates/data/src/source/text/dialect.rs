//! How records and fields of a text file are told apart.

use memchr::memchr_iter;
use memchr::memmem::Finder;

/// How a text file is written.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    delimiter: Vec<u8>,
    finder: Finder<'static>,
    pub(super) quoting: Quoting,
    comment: Option<Vec<u8>>,
}

/// What quotes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Ordinary characters.
    Off,
    /// Fields may be quoted; a quoted text that looks as if it held rows is a fault.
    Careful,
    /// Fields may be quoted, whatever their text.
    Trusted,
}

impl Dialect {
    /// `delimiter` must not be empty.
    pub(super) fn new(delimiter: &str, quoting: Quoting, comment: Option<&str>) -> Self {
        let delimiter = delimiter.as_bytes().to_vec();
        let finder = Finder::new(&delimiter).into_owned();
        Self { delimiter, finder, quoting, comment: comment.map(|text| text.as_bytes().to_vec()) }
    }

    pub(super) fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    pub(super) fn first_byte(&self) -> u8 {
        self.delimiter[0]
    }

    pub(super) fn is_comment(&self, line: &[u8]) -> bool {
        self.comment.as_ref().is_some_and(|comment| line.starts_with(comment))
    }

    /// Calls `cut` with the position of each separator of a line.
    pub(super) fn for_each_separator(&self, line: &[u8], cut: impl FnMut(usize)) {
        match self.delimiter[..] {
            [byte] => memchr_iter(byte, line).for_each(cut),
            _ => self.finder.find_iter(line).for_each(cut),
        }
    }

    /// Number of separators in a text.
    pub(super) fn separators(&self, text: &[u8]) -> usize {
        let mut count = 0;
        self.for_each_separator(text, |_| count += 1);
        count
    }
}

/// What ends a line: the first one of a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// `\n`, with or without a `\r` before it.
    Newline,
    /// `\r`, and a `\n` right after it belongs to it.
    Return,
}

impl LineEnd {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Newline => b'\n',
            Self::Return => b'\r',
        }
    }

    /// Whether the byte before a line end belongs to the line end.
    pub(super) fn is_return_before(self, text: &[u8], at: usize) -> bool {
        self == Self::Newline && at > 0 && text[at - 1] == b'\r'
    }
}
