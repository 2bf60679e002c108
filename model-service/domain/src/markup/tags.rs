//! Decides what in a text is markup, and what only looks like it.
//!
//! The rule: `<` begins a tag if the name of an HTML element follows (in any case, after an optional `/`), then white
//! space, `/` or `>`, and the tag is closed before the next `<`. The tag of a one-letter element with attributes also
//! needs a `=` (`if a <b and c> d` has none). Names that contain a hyphen or colon (`my-card`, `jats:p`) also count as
//! elements once the text has had an HTML tag, or if they are closed: `</jats:p>`, `<o:p/>`. After a prefix, the rest
//! of the name decides what the element is. `&` begins a character reference if it ends with `;`, or if it is one of
//! those often written without. Comments, doctypes, processing instructions and Word's `<![if …]>` must be closed.
//! `[gallery ids="1,2"]` and `[caption]…[/caption]` are shortcodes of blogs and forums. Everything else is text.
//!
//! HTML may be cut off within a tag, a Word comment or a script. The unfinished construct is then dropped.
//!
//! Every scan either advances past what it read, or fails for the rest of the text and is not tried again: the time is
//! linear in the length of the text.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use super::elements::{CODE, DROPPED, ELEMENTS, LETTERS, OF_SECTIONS, SIGNS};

/// Longest name of an element or character reference that is recognised, in bytes.
const MAX_NAME_BYTES: usize = 40;

/// Longest shortcode, in bytes.
const MAX_SHORTCODE_BYTES: usize = 4 << 10;
/// Bytes after a tag that are examined to distinguish code from text.
const LOOK_BYTES: usize = 400;

/// HTML with the same text, in which every `<` begins a tag without attributes and every `&` a character reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tame {
    pub(super) html: String,
    /// Whether it contains elements, and not only references.
    pub(super) has_elements: bool,
}

/// Finds the markup of a text; `None` if there is none.
pub(super) fn tame(input: &str) -> Option<Tame> {
    let mut scanner = Scanner {
        input,
        out: String::new(),
        at: 0,
        literal_until: 0,
        markup_seen: false,
        element_seen: false,
        unclosed: Unclosed::default(),
        end_tags: OnceCell::new(),
        shortcodes: OnceCell::new(),
        opened: HashSet::new(),
    };
    scanner.run();
    let has_elements = scanner.element_seen;
    let html = scanner.out;
    scanner.markup_seen.then_some(Tame { html, has_elements })
}

/// Whether a text without elements contains some after its references are decoded, which means it was escaped twice. A
/// tag that is only mentioned has no end tag, or no start tag.
pub(super) fn is_escaped(decoded: &str) -> bool {
    // The second pair: escaped once more.
    [("<", "</"), ("&lt;", "&lt;/")]
        .into_iter()
        .any(|(begin, end)| {
            let ends = names_after(decoded, end);
            let is_element = |name: &str| ELEMENTS.binary_search(&name).is_ok();
            !ends.is_empty()
                && names_after(decoded, begin)
                    .keys()
                    .any(|name| ends.contains_key(name) && is_element(name))
        })
}

/// The names that directly follow `opening`, in lower case, and the last position of each.
fn names_after(input: &str, opening: &str) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for (at, _) in input.match_indices(opening) {
        let name = name_at(input, at + opening.len());
        if !name.is_empty() {
            names.insert(name.to_ascii_lowercase(), at);
        }
    }
    names
}

/// The element name that begins at a position; empty if none does.
fn name_at(input: &str, at: usize) -> &str {
    let length = input.as_bytes()[at..]
        .iter()
        .take(MAX_NAME_BYTES)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':'))
        .count();
    &input[at..at + length]
}

/// The shortcode name that begins at a position; empty if none does.
fn shortcode_at(input: &str, at: usize) -> &str {
    let bytes = &input.as_bytes()[at..];
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return "";
    }
    let length = bytes
        .iter()
        .take(MAX_NAME_BYTES)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        .count();
    &input[at..at + length]
}

struct Scanner<'a> {
    input: &'a str,
    out: String,
    at: usize,
    /// Before this position `<` is text: a tag was tried there and failed.
    literal_until: usize,
    markup_seen: bool,
    element_seen: bool,
    unclosed: Unclosed,
    /// The names of all end tags, in lower case, and the last position of each.
    end_tags: OnceCell<HashMap<String, usize>>,
    /// The names of all closing shortcodes.
    shortcodes: OnceCell<HashSet<&'a str>>,
    /// Shortcodes that are open.
    opened: HashSet<&'a str>,
}

/// Constructs known not to occur in the rest of the text.
#[derive(Default)]
struct Unclosed {
    comment: bool,
    angle: bool,
    double_quote: bool,
    single_quote: bool,
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
        while let Some(offset) = self.rest().find(['<', '&', '[']) {
            let from = self.at;
            self.at += offset;
            self.out.push_str(&self.input[from..self.at]);
            match self.rest().as_bytes()[0] {
                b'&' => self.reference(),
                b'[' if self.shortcode() => {}
                b'[' => {
                    self.out.push('[');
                    self.at += 1;
                }
                _ if self.at < self.literal_until || !self.markup() => {
                    self.out.push_str("&lt;");
                    self.at += 1;
                }
                _ => {}
            }
        }
        self.out.push_str(&self.input[self.at..]);
    }

    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    fn reference(&mut self) {
        let rest = &self.rest().as_bytes()[1..];
        let is_number = rest.first() == Some(&b'#');
        let body = &rest[usize::from(is_number)..];
        let length = body
            .iter()
            .take(MAX_NAME_BYTES)
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        if length > 0 && body.get(length) == Some(&b';') {
            self.markup_seen = true;
            self.out.push('&');
            self.at += 1;
            return;
        }
        let name = &self.rest()[1..][..length];
        if !is_number && let Some(name) = without_semicolon(name, body.get(length).copied()) {
            self.markup_seen = true;
            self.out.push('&');
            self.out.push_str(name);
            self.out.push(';');
            self.at += 1 + name.len();
            return;
        }
        self.out.push_str("&amp;");
        self.at += 1;
    }

    /// Consumes the shortcode that begins here; `false` if there is none.
    fn shortcode(&mut self) -> bool {
        let rest = self.rest();
        let closing = rest.starts_with("[/");
        let name = shortcode_at(self.input, self.at + 1 + usize::from(closing));
        if name.is_empty() {
            return false;
        }
        let behind = &rest[1 + usize::from(closing) + name.len()..];
        let look = &behind.as_bytes()[..behind.len().min(MAX_SHORTCODE_BYTES)];
        let Some(end) = shortcode_end(look) else {
            return false;
        };
        let attributes = &behind[..end];
        let taken = if closing {
            attributes.is_empty() && self.opened.contains(name)
        } else {
            matches!(look[0], b']' | b' ' | b'\n' | b'\t' | b'\r' | b'=' | b'/')
                && (assigns(attributes) || self.closes_shortcode(name))
        };
        if taken {
            if !closing {
                self.opened.insert(name);
            }
            // A single letter is a style (`[b]`), which may occur within a word.
            if name.len() > 1 {
                self.out.push(' ');
            }
            self.markup_seen = true;
            self.at += 1 + usize::from(closing) + name.len() + end + 1;
        }
        taken
    }

    fn closes_shortcode(&self, name: &str) -> bool {
        let closing = self.shortcodes.get_or_init(|| {
            let places = self.input.match_indices("[/");
            let names = places.map(|(at, _)| shortcode_at(self.input, at + 2));
            names.filter(|name| !name.is_empty()).collect()
        });
        closing.contains(name)
    }

    /// Consumes the markup that begins here; `false` if there is none.
    fn markup(&mut self) -> bool {
        let rest = self.rest();
        let taken = if rest.starts_with("<!--") {
            self.comment()
        } else if rest.starts_with("<![CDATA[") {
            self.at += "<![CDATA[".len();
            true
        } else if starts_with_word(rest, "<!doctype")
            || starts_with_word(rest, "<![if")
            || starts_with_word(rest, "<![endif")
            || is_instruction(rest)
        {
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
            // Word's comments often contain more than the text does; an unclosed one was cut off.
            None if self.element_seen && self.input[from..].starts_with("[if") => {
                self.at = self.input.len();
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
            return self.cut_off();
        };
        let full = lower_case(tag.name);
        let (prefix, local) = full.rsplit_once(':').unwrap_or(("", &full));
        self.element_seen = true;
        self.at = tag.end;
        let is_heading = local == "title" && !prefix.is_empty() && !OF_SECTIONS.contains(&prefix);
        if DROPPED.binary_search(&local).is_ok() && !is_heading {
            self.out.push(' ');
            if !tag.closing && !tag.empty {
                self.drop_contents(&full, local);
            }
        } else if local == "title" {
            self.out.push(' ');
        } else {
            self.out.push_str(if tag.closing { "</" } else { "<" });
            self.out.push_str(local);
            self.out.push('>');
        }
        true
    }

    /// Consumes a tag that is cut off by the end of the text; `false` if there is none.
    fn cut_off(&mut self) -> bool {
        let rest = self.rest();
        let name = name_at(self.input, self.at + 1);
        let is_cut_off = self.element_seen
            && self.literal_until == self.input.len()
            && rest.contains('=')
            && !rest[1..].contains(['<', '>'])
            && self.is_element(name);
        if is_cut_off {
            self.at = self.input.len();
        }
        is_cut_off
    }

    /// Skips to the end of the dropped element that begins here, if it has an end tag.
    fn drop_contents(&mut self, full: &str, local: &str) {
        if !self.is_closed(full) {
            let behind = self.rest();
            if CODE.contains(&local) && is_code(&behind[..behind.floor_char_boundary(LOOK_BYTES)]) {
                self.at = self.input.len();
            }
            return;
        }
        let mut from = self.at;
        while let Some(offset) = self.input[from..].find("</") {
            from += offset + "</".len();
            if starts_with_word(&self.input[from..], full) {
                let end = find(self.input, from, ">", &mut self.unclosed.angle);
                self.at = end.map_or(self.input.len(), |end| end + 1);
                return;
            }
        }
    }

    /// Whether an end tag with this name, in lower case, follows.
    fn is_closed(&self, name: &str) -> bool {
        let ends = self.end_tags.get_or_init(|| names_after(self.input, "</"));
        ends.get(name).is_some_and(|last| *last >= self.at)
    }

    fn tag(&mut self) -> Option<Tag<'a>> {
        let input = self.input;
        let bytes = input.as_bytes();
        let closing = bytes.get(self.at + 1) == Some(&b'/');
        let start = self.at + 1 + usize::from(closing);
        let length = name_at(input, start).len();
        let after = start + length;
        let ends_name = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let name = &input[start..after];
        if !bytes.get(after).is_some_and(ends_name) {
            return None;
        }
        let is_element = self.is_element(name);
        if !is_element && !is_custom(name) {
            return None;
        }
        let Some((end, assigns)) = self.tag_end(after) else {
            // The scan reached `literal_until`: what it read is text.
            return None;
        };
        let attributes = input[after..end - 1].trim_end();
        let empty = attributes.ends_with('/');
        let bare = attributes.trim_end_matches('/').trim_ascii().is_empty();
        let is_text = length == 1 && !bare && !assigns;
        if is_text || !(empty || is_element) {
            self.literal_until = end;
            return None;
        }
        Some(Tag {
            name,
            closing,
            empty,
            end,
        })
    }

    /// Whether this is the name of an element. A name that is not HTML's is one if it is closed somewhere.
    fn is_element(&self, name: &str) -> bool {
        let name = lower_case(name);
        let closed = || {
            let ends = self.end_tags.get_or_init(|| names_after(self.input, "</"));
            ends.contains_key(&*name)
        };
        ELEMENTS.binary_search(&&*name).is_ok()
            || (is_custom(&name) && (self.element_seen || closed()))
    }

    /// The position after the `>` that closes a tag whose name ended at `from`, and whether the tag has a `=`. If the
    /// tag is not closed, sets [`Self::literal_until`] to where that became clear.
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
            // A quote that is never closed is an ordinary character.
            at = find(self.input, at + 1, quote, unclosed).unwrap_or(at) + 1;
        }
    }
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a name has the form of a custom element: `my-card`, `jats:p`.
fn is_custom(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().any(|byte| matches!(byte, b'-' | b':'))
        && !name.contains("::")
}

/// The beginning of a name that is a character reference even without `;`, given the byte that follows the name.
fn without_semicolon(name: &str, follows: Option<u8>) -> Option<&str> {
    if SIGNS.binary_search(&name).is_ok() && follows != Some(b'=') {
        return Some(name);
    }
    let letter = LETTERS.iter().find(|letter| name.starts_with(**letter))?;
    (follows != Some(b'=')).then(|| &name[..letter.len()])
}

/// Whether a processing instruction begins here: `<?xml …?>`, `<?xml:namespace … />`, `<?php … ?>`.
fn is_instruction(rest: &str) -> bool {
    rest.strip_prefix("<?")
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether the text after a `<script>` without an end tag looks like the contents of such an element.
fn is_code(text: &str) -> bool {
    let signs = text
        .bytes()
        .filter(|byte| matches!(byte, b'{' | b'}' | b';' | b'=' | b'(' | b'<'));
    signs.take(3).count() == 3
}

/// The position of the `]` that ends a shortcode, ignoring quoted ones.
fn shortcode_end(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b']') => return Some(at),
            (None, b'[') => return None,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Whether the attributes of a shortcode assign a value: `ids="1,2"`, `width=300`.
fn assigns(attributes: &str) -> bool {
    attributes.split_once('=').is_some_and(|(name, value)| {
        let name = name.trim_start();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b' ');
        !name.is_empty() && name.bytes().all(is_name) && !value.starts_with(['=', ' '])
    })
}

/// Finds `what` at or after `from`, unless it is known not to occur any more; remembers if it does not.
fn find(input: &str, from: usize, what: &str, unclosed: &mut bool) -> Option<usize> {
    if *unclosed {
        return None;
    }
    let found = input[from..].find(what);
    *unclosed = found.is_none();
    found.map(|offset| from + offset)
}

/// Whether a text starts with a complete ASCII word, in any case.
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
            tame("<P class=\"a>b\">x &amp; y < z & w</P >"),
            Some(Tame {
                html: "<p>x &amp; y &lt; z &amp; w</p>".to_owned(),
                has_elements: true
            })
        );
        assert_eq!(tame("x < y & z"), None);
    }
}
