//! Small helpers for text.

use kindred_domain::markup::plain_text;

/// Escapes text for HTML.
pub(super) fn escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

/// Whether readers of this HTML see any word.
pub(super) fn has_words(html: &str) -> bool {
    plain_text(html).chars().any(char::is_alphanumeric)
}

/// Text with white space collapsed; `None` if there is nothing else.
pub(super) fn folded(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// Text from bytes; invalid UTF-8 is replaced.
pub(super) fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
