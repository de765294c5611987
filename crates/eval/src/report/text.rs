//! Text of the page: escaping and numbers.

use std::fmt::Write;

/// The page as it grows.
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(1 << 16))
    }

    pub(super) fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("writing to a string does not fail");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Appends formatted text to an [`Html`]; texts from outside go through [`escape`] first.
macro_rules! push {
    ($page:expr, $($argument:tt)*) => { $page.push(format_args!($($argument)*)) };
}
pub(super) use push;

/// Safe inside elements and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An escaped identifier that may break after its underscores.
pub(super) fn name(text: &str) -> String {
    escape(text).replace('_', "_<wbr>")
}

/// An escaped setting with room after its commas.
pub(super) fn setting(text: &str) -> String {
    escape(&text.replace(',', ", "))
}

/// An identifier as words: `user_cold_start` becomes `User cold start`.
pub(super) fn spaced(name: &str) -> String {
    let words = escape(&name.replace('_', " "));
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A metric value with four decimals and a true minus sign.
pub(super) fn number(value: f64) -> String {
    format!("{value:.4}").replace('-', "\u{2212}")
}

/// A difference with its sign, four decimals.
pub(super) fn signed(value: f64) -> String {
    format!("{value:+.4}").replace('-', "\u{2212}")
}

/// An integer with thin spaces between thousands.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in binary units.
pub(super) fn bytes(value: u64) -> String {
    let value = value as f64;
    match value {
        v if v < 1024.0 => format!("{v:.0} B"),
        v if v < 1024.0 * 1024.0 => format!("{:.1} KiB", v / 1024.0),
        v => format!("{:.1} MiB", v / (1024.0 * 1024.0)),
    }
}

/// Seconds, or minutes and hours when they are many.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{seconds:.3} s")
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(thousands(100), "100");
        assert_eq!(bytes(36_864), "36.0 KiB");
        assert_eq!(signed(-0.01234), "\u{2212}0.0123");
        assert_eq!((duration(0.0123), duration(12.34), duration(600.0)), ("0.012 s".into(), "12.3 s".into(), "10 min".into()));
        assert_eq!(spaced("user_cold_start"), "User cold start");
        assert_eq!(escape(r#"<a href="x">'&"#), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
