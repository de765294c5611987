//! Lists as JSON, Python and NumPy write them: `[3, 9]`, `['a', "b"]`, `(1, 2)`, `{1, 2}`, `[3 9]`.

/// What a text turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brackets {
    /// A list; each element was given away.
    List,
    /// Something else.
    None,
    /// The text begins as a list and does not end as one, or an element is no single value.
    Broken,
}

/// Calls `element` with each element of a bracketed list, in order. Missing ones (`None`, `null`, `nan`) and empty ones are left out.
///
/// Round and curly brackets also belong to plain texts (`(500) Days of Summer`): they are a list only if all elements are numbers, quoted texts, truth
/// values or missing. A square bracket that closes before the end of the text is no list either.
pub(super) fn elements(text: &str, mut element: impl FnMut(&str)) -> Brackets {
    let text = text.trim();
    let (close, is_strict) = match text.as_bytes().first() {
        Some(b'[') => (']', false),
        Some(b'(') => (')', true),
        Some(b'{') => ('}', true),
        _ => return Brackets::None,
    };
    // First without giving anything away: what is no list must leave nothing behind.
    let scan = |element: &mut dyn FnMut(&str)| Scanner { rest: &text[1..], close, is_strict }.list(element);
    match scan(&mut |_| {}) {
        Ok(()) => {
            scan(&mut element).expect("the same text is the same list");
            Brackets::List
        }
        Err(Fault::ClosedEarly) => Brackets::None,
        Err(_) if is_strict => Brackets::None,
        Err(Fault::Broken) => Brackets::Broken,
    }
}

#[derive(Debug)]
enum Fault {
    ClosedEarly,
    Broken,
}

struct Scanner<'a> {
    rest: &'a str,
    close: char,
    is_strict: bool,
}

impl<'a> Scanner<'a> {
    fn list(mut self, element: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(after) = self.rest.strip_prefix(self.close) {
                return if after.is_empty() { Ok(()) } else { Err(Fault::ClosedEarly) };
            }
            let is_wrapped = self.unwrap_scalar();
            match self.quote() {
                Some(quote) => self.quoted(quote, element)?,
                None => self.bare(is_wrapped, element)?,
            }
            if is_wrapped {
                self.rest = self.rest.trim_start().strip_prefix(')').ok_or(Fault::Broken)?;
            }
            // Elements stand apart by a comma or, as NumPy writes them, by a blank.
            let before = self.rest.len();
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(after) => self.rest = after,
                None if self.rest.len() < before || self.rest.starts_with(self.close) => {}
                None => return Err(Fault::Broken),
            }
        }
    }

    /// Passes over `np.int64(` and the like, in which NumPy wraps single values.
    fn unwrap_scalar(&mut self) -> bool {
        let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match self.rest.strip_prefix("np.").and_then(|rest| rest.split_once('(')) {
            Some((kind, rest)) if name(kind) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The quote that begins the element, with or without the letter that Python puts before it.
    fn quote(&mut self) -> Option<char> {
        let text = self.rest.strip_prefix(['u', 'b']).unwrap_or(self.rest);
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        self.rest = &text[1..];
        Some(quote)
    }

    fn quoted(&mut self, quote: char, element: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        let end = self.rest.find([quote, '\\']).ok_or(Fault::Broken)?;
        if self.rest[end..].starts_with(quote) {
            element(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            return Ok(());
        }
        let mut text = String::new();
        loop {
            let end = self.rest.find([quote, '\\']).ok_or(Fault::Broken)?;
            text.push_str(&self.rest[..end]);
            let is_end = self.rest[end..].starts_with(quote);
            self.rest = &self.rest[end + 1..];
            if is_end {
                element(&text);
                return Ok(());
            }
            self.escape(&mut text)?;
        }
    }

    /// The character that a backslash stands before; one that means nothing special keeps its backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), Fault> {
        let escaped = self.rest.chars().next().ok_or(Fault::Broken)?;
        self.rest = &self.rest[escaped.len_utf8()..];
        match escaped {
            '\\' | '"' | '\'' | '/' => text.push(escaped),
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'x' => text.push(char::from_u32(self.hex(2)?).ok_or(Fault::Broken)?),
            'u' => {
                let mut code = self.hex(4)?;
                if (0xd800..0xdc00).contains(&code) {
                    self.rest = self.rest.strip_prefix("\\u").ok_or(Fault::Broken)?;
                    let low = self.hex(4)?.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(Fault::Broken)?;
                    code = 0x10000 + ((code - 0xd800) << 10) + low;
                }
                text.push(char::from_u32(code).ok_or(Fault::Broken)?);
            }
            _ => text.extend(['\\', escaped]),
        }
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, Fault> {
        let (code, rest) = self.rest.split_at_checked(digits).ok_or(Fault::Broken)?;
        self.rest = rest;
        u32::from_str_radix(code, 16).map_err(|_| Fault::Broken)
    }

    /// An element without quotes; blanks between numbers part them.
    fn bare(&mut self, is_wrapped: bool, element: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        let stops = |c: char| matches!(c, ',' | '[' | '(' | '{' | '"') || c == self.close || (is_wrapped && c == ')');
        let end = self.rest.find(stops).ok_or(Fault::Broken)?;
        let (text, rest) = (self.rest[..end].trim_end(), &self.rest[end..]);
        let is_end = rest.starts_with([',', self.close]) || (is_wrapped && rest.starts_with(')'));
        if !is_end {
            return Err(Fault::Broken);
        }
        let are_scalars = text.split_ascii_whitespace().all(is_scalar);
        if text.contains("...") || (self.is_strict && !are_scalars) {
            return Err(Fault::Broken);
        }
        let mut give = |text: &str| {
            if !text.is_empty() && !is_missing(text) {
                element(text);
            }
        };
        if are_scalars {
            text.split_ascii_whitespace().for_each(give)
        } else {
            give(text)
        }
        self.rest = rest;
        Ok(())
    }
}

fn is_scalar(text: &str) -> bool {
    text.parse::<f64>().is_ok() || is_missing(text) || matches!(text, "True" | "False" | "true" | "false")
}

fn is_missing(text: &str) -> bool {
    matches!(text, "None" | "null" | "nan" | "NaN" | "<NA>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Brackets, String) {
        let mut found = Vec::new();
        let brackets = elements(text, |element| found.push(element.to_owned()));
        (brackets, found.join("·"))
    }

    #[test]
    fn lists_of_json_python_and_numpy() {
        for (text, expected) in [
            ("[3, 9]", "3·9"),
            (" [3,9] ", "3·9"),
            ("[10]", "10"),
            ("[]", ""),
            ("[ ]", ""),
            (r#"["x, y", "a\"b", "\u00e9\ud834\udd1e"]"#, "x, y·a\"b·é𝄞"),
            (r"['a', 'it\'s', 'c\d', u'e']", "a·it's·c\\d·e"),
            (r#"['a', "b's"]"#, "a·b's"),
            ("(1, 2)", "1·2"),
            ("('a',)", "a"),
            ("{1, 2}", "1·2"),
            ("[3 9\n 10]", "3·9·10"),
            ("['a' 'b']", "a·b"),
            ("[0.5 1.]", "0.5·1."),
            ("[np.int64(3), np.str_('a')]", "3·a"),
            ("[1, None, nan, , 2]", "1·2"),
            ("[Drama, Science Fiction]", "Drama·Science Fiction"),
            ("[New York]", "New York"),
            ("[True, False]", "True·False"),
        ] {
            assert_eq!(parse(text), (Brackets::List, expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_list_leaves_nothing_behind() {
        for text in ["a", "", "[Drama]|[War]", "[Remastered] Abbey Road", "(500) Days of Summer", "(Director's cut)", "{\"a\": 1}", "(1, 2"]
        {
            assert_eq!(parse(text), (Brackets::None, String::new()), "{text}");
        }
        for text in ["[3, 9", "[", "['a]", "['a'b']", "[[1, 2], [3]]", "[1, {\"a\": 2}]", "[0 1 ... 8 9]", r"['\u12']", "[np.int64(3]"] {
            assert_eq!(parse(text), (Brackets::Broken, String::new()), "{text}");
        }
    }
}
