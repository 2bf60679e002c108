//! What in a text is markup, and what only looks like it.
//!
//! The rule: `<` begins a tag when an HTML element's name follows (any case, after an optional
//! `/`), then white space, `/` or `>`, and the tag is closed before the next `<`; the tag of a
//! one-letter element with attributes also needs a `=` (`if a <b and c> d` has none). Once a
//! text has shown one such tag, names with a hyphen or colon inside (`my-card`, `o:p`) count as
//! elements too. `&` begins a character reference when it ends with `;`. Comments, doctypes and
//! XML declarations must be closed. Everything else is text.
//!
//! Every scan either moves on past what it read, or fails for the rest of the text and is not
//! tried again: the time is linear in the length of the text.

use super::elements::{DROPPED, ELEMENTS};

/// Longest name of an element or character reference that is looked at, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// HTML with the same text in which every `<` begins a tag without attributes and every `&` a
/// character reference; or `None` when the text holds no markup.
pub(super) fn tame(input: &str) -> Option<String> {
    let mut scanner = Scanner {
        input,
        out: String::new(),
        at: 0,
        literal_until: 0,
        markup_seen: false,
        element_seen: false,
        unclosed: Unclosed::default(),
    };
    scanner.run();
    scanner.markup_seen.then_some(scanner.out)
}

struct Scanner<'a> {
    input: &'a str,
    out: String,
    at: usize,
    /// Before this position `<` is text: a tag was tried there and is none.
    literal_until: usize,
    markup_seen: bool,
    element_seen: bool,
    unclosed: Unclosed,
}

/// What is known not to come any more in the rest of the text.
#[derive(Default)]
struct Unclosed {
    comment: bool,
    angle: bool,
    double_quote: bool,
    single_quote: bool,
    dropped: [bool; DROPPED.len()],
}

/// A tag, from `<` to `>`.
struct Tag<'a> {
    name: &'a str,
    closing: bool,
    empty: bool,
    end: usize,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) {
        while let Some(offset) = self.rest().find(['<', '&']) {
            let from = self.at;
            self.at += offset;
            self.out.push_str(&self.input[from..self.at]);
            if self.rest().starts_with('&') {
                self.reference();
            } else if self.at < self.literal_until || !self.markup() {
                self.out.push_str("&lt;");
                self.at += 1;
            }
        }
        self.out.push_str(&self.input[self.at..]);
    }

    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    fn reference(&mut self) {
        let rest = &self.rest().as_bytes()[1..];
        let body = rest.strip_prefix(b"#").unwrap_or(rest);
        let length = body
            .iter()
            .take(MAX_NAME_BYTES)
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        if length > 0 && body.get(length) == Some(&b';') {
            self.markup_seen = true;
            self.out.push('&');
        } else {
            self.out.push_str("&amp;");
        }
        self.at += 1;
    }

    /// Takes the markup that begins here; `false` if there is none.
    fn markup(&mut self) -> bool {
        let rest = self.rest();
        let taken = if rest.starts_with("<!--") {
            self.comment()
        } else if rest.starts_with("<![CDATA[") {
            self.at += "<![CDATA[".len();
            true
        } else if starts_with_word(rest, "<!doctype") || starts_with_word(rest, "<?xml") {
            self.declaration()
        } else {
            self.element()
        };
        self.markup_seen |= taken;
        taken
    }

    fn comment(&mut self) -> bool {
        let from = self.at + "<!--".len();
        match find(self.input, from, "-->", &mut self.unclosed.comment) {
            Some(end) => {
                self.at = end + "-->".len();
                true
            }
            None => false,
        }
    }

    fn declaration(&mut self) -> bool {
        match find(self.input, self.at, ">", &mut self.unclosed.angle) {
            Some(end) => {
                self.at = end + 1;
                self.out.push(' ');
                true
            }
            None => false,
        }
    }

    fn element(&mut self) -> bool {
        let Some(tag) = self.tag() else {
            return false;
        };
        let name = tag.name.to_ascii_lowercase();
        self.element_seen = true;
        self.at = tag.end;
        if let Ok(which) = DROPPED.binary_search(&name.as_str()) {
            self.out.push(' ');
            if !tag.closing && !tag.empty {
                self.drop_contents(which);
            }
        } else {
            self.out.push_str(if tag.closing { "</" } else { "<" });
            self.out.push_str(&name);
            self.out.push('>');
        }
        true
    }

    /// Moves past the end tag of the dropped element that begins here, if there is one.
    fn drop_contents(&mut self, which: usize) {
        if self.unclosed.dropped[which] {
            return;
        }
        let mut from = self.at;
        while let Some(offset) = self.input[from..].find("</") {
            from += offset + "</".len();
            if starts_with_word(&self.input[from..], DROPPED[which]) {
                let end = find(self.input, from, ">", &mut self.unclosed.angle);
                self.at = end.map_or(self.input.len(), |end| end + 1);
                return;
            }
        }
        self.unclosed.dropped[which] = true;
    }

    fn tag(&mut self) -> Option<Tag<'a>> {
        let input = self.input;
        let bytes = input.as_bytes();
        let closing = bytes.get(self.at + 1) == Some(&b'/');
        let start = self.at + 1 + usize::from(closing);
        let length = bytes[start..]
            .iter()
            .take(MAX_NAME_BYTES)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':'))
            .count();
        let after = start + length;
        let ends_name = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        if !bytes.get(after).is_some_and(ends_name) || !self.is_element(&input[start..after]) {
            return None;
        }
        let Some((end, assigns)) = self.tag_end(after) else {
            // The scan went to `literal_until`: what it read is text.
            return None;
        };
        let attributes = input[after..end - 1].trim_end();
        let empty = attributes.ends_with('/');
        let bare = attributes.trim_end_matches('/').trim_ascii().is_empty();
        if length == 1 && !bare && !assigns {
            self.literal_until = end;
            return None;
        }
        Some(Tag {
            name: &input[start..after],
            closing,
            empty,
            end,
        })
    }

    fn is_element(&self, name: &str) -> bool {
        let bytes = name.as_bytes();
        let custom = || {
            self.element_seen
                && bytes.first().is_some_and(u8::is_ascii_alphabetic)
                && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
                && bytes.iter().any(|byte| matches!(byte, b'-' | b':'))
        };
        ELEMENTS
            .binary_search(&name.to_ascii_lowercase().as_str())
            .is_ok()
            || custom()
    }

    /// The position after the `>` that closes a tag whose name ended at `from`, and whether it
    /// has a `=`. When the tag is not closed, [`Self::literal_until`] is set to where that showed.
    fn tag_end(&mut self, from: usize) -> Option<(usize, bool)> {
        let bytes = self.input.as_bytes();
        let mut assigns = false;
        let mut at = from;
        loop {
            let Some(offset) = self.input[at..].find(['>', '<', '=']) else {
                self.literal_until = self.input.len();
                return None;
            };
            at += offset;
            match bytes[at] {
                b'>' => return Some((at + 1, assigns)),
                b'<' => {
                    self.literal_until = at;
                    return None;
                }
                _ => {}
            }
            assigns = true;
            at += 1;
            at += bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let (quote, unclosed) = match bytes.get(at) {
                Some(b'"') => ("\"", &mut self.unclosed.double_quote),
                Some(b'\'') => ("'", &mut self.unclosed.single_quote),
                _ => continue,
            };
            // A quote that is never closed is a character like any other.
            at = find(self.input, at + 1, quote, unclosed).unwrap_or(at) + 1;
        }
    }
}

/// Finds `what` at or after `from`, unless it is known not to come any more; remembers if not.
fn find(input: &str, from: usize, what: &str, unclosed: &mut bool) -> Option<usize> {
    if *unclosed {
        return None;
    }
    let found = input[from..].find(what);
    *unclosed = found.is_none();
    found.map(|offset| from + offset)
}

/// Whether a text starts with an ASCII word in any case that does not go on.
fn starts_with_word(text: &str, word: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= word.len()
        && bytes[..word.len()].eq_ignore_ascii_case(word.as_bytes())
        && !bytes
            .get(word.len())
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lose_their_attributes() {
        assert_eq!(
            tame("<P class=\"a>b\">x &amp; y < z & w</P >").as_deref(),
            Some("<p>x &amp; y &lt; z &amp; w</p>")
        );
        assert_eq!(tame("x < y & z"), None);
    }
}
