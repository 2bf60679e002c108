//! AMQP short strings.

use lapin::types::ShortString;

/// A short string: at most 255 bytes, cut at a character boundary.
pub(super) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
}
