//! Marks the words that two texts share.

use maud::{Markup, html};

/// A part of a text, and whether it is shared.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    text: &'a str,
    is_shared: bool,
}

/// How much two forms of a word may differ at their ends, in characters.
const ENDING: usize = 3;
/// How many characters they must then have in common.
const STEM: usize = 4;

/// A text in which forms of the terms are marked.
pub(crate) fn marked(text: &str, terms: &[&str]) -> Markup {
    html! {
        @for part in parts(text, terms) {
            @if part.is_shared { mark { (part.text) } } @else { (part.text) }
        }
    }
}

fn parts<'a>(text: &'a str, terms: &[&str]) -> Vec<Part<'a>> {
    let terms: Vec<String> = terms.iter().map(|term| term.to_lowercase()).collect();
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest
            .find(|next: char| is_part(next) != is_word)
            .unwrap_or(rest.len());
        // An emphasis mark before a word is not part of it, and does not end it either.
        let end = end.max(first.len_utf8());
        let (part, after) = rest.split_at(end);
        rest = after;
        if is_word {
            of_word(part, &terms, &mut found);
        } else {
            found.push(Part {
                text: part,
                is_shared: false,
            });
        }
    }
    found
}

fn is_part(next: char) -> bool {
    next.is_alphanumeric() || matches!(next, '\u{300}'..='\u{36f}')
}

fn of_word<'a>(word: &'a str, terms: &[String], found: &mut Vec<Part<'a>>) {
    let small = word.to_lowercase();
    if terms.iter().any(|term| is_form(&small, term)) {
        return found.push(Part {
            text: word,
            is_shared: true,
        });
    }
    // Scripts without spaces are compared by pairs of characters, which may be anywhere within what looks like a word.
    let mut rest = word;
    while !rest.is_empty() {
        let here = terms
            .iter()
            .filter(|term| is_unspaced(term))
            .find(|term| rest.starts_with(term.as_str()));
        let length = here.map_or_else(
            || rest.chars().next().map_or(1, char::len_utf8),
            String::len,
        );
        let (part, after) = rest.split_at(length);
        rest = after;
        match found.last_mut() {
            Some(last) if here.is_none() && !last.is_shared && is_behind(last.text, part, word) => {
                last.text = joined(word, last.text, part);
            }
            _ => found.push(Part {
                text: part,
                is_shared: here.is_some(),
            }),
        }
    }
}

/// Whether both are forms of one word, judged without grammar.
fn is_form(word: &str, term: &str) -> bool {
    if word == term {
        return true;
    }
    let common = word
        .chars()
        .zip(term.chars())
        .take_while(|(a, b)| a == b)
        .count();
    common >= STEM
        && word.chars().count() <= common + ENDING
        && term.chars().count() <= common + ENDING
}

fn is_unspaced(term: &str) -> bool {
    term.chars().all(|next| matches!(next, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{e00}'..='\u{eff}'))
}

/// Whether a part of a word directly follows another.
fn is_behind(before: &str, part: &str, word: &str) -> bool {
    let (begin, of_before) = (word.as_ptr() as usize, before.as_ptr() as usize);
    of_before >= begin && of_before + before.len() == part.as_ptr() as usize
}

/// Joins two adjacent parts of a word.
fn joined<'a>(word: &'a str, before: &str, part: &str) -> &'a str {
    let from = before.as_ptr() as usize - word.as_ptr() as usize;
    &word[from..from + before.len() + part.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(text: &str, terms: &[&str]) -> Vec<String> {
        let parts = parts(text, terms);
        let whole: String = parts.iter().map(|part| part.text).collect();
        assert_eq!(whole, text);
        parts
            .iter()
            .filter(|part| part.is_shared)
            .map(|part| part.text.to_owned())
            .collect()
    }

    #[test]
    fn forms_of_a_word_are_marked_and_others_are_not() {
        assert_eq!(
            shared("Glaciers flow, like a GLACIER.", &["glacier", "flow"]),
            ["Glaciers", "flow", "GLACIER"]
        );
        assert_eq!(shared("Iced tea on ice, nicely", &["ice"]), ["ice"]);
        assert!(shared("Nothing here", &["glacier"]).is_empty());
        assert!(shared("", &["x"]).is_empty());
        assert_eq!(shared("Über Länder", &["über"]), ["Über"]);
    }

    #[test]
    fn pairs_of_characters_are_marked_inside() {
        assert_eq!(shared("夜行列車が復活", &["列車"]), ["列車"]);
    }

    #[test]
    fn what_is_marked_is_text_and_no_markup() {
        let text = marked("<b>ice</b> & ice", &["ice"]).into_string();
        assert_eq!(
            text,
            "&lt;b&gt;<mark>ice</mark>&lt;/b&gt; &amp; <mark>ice</mark>"
        );
    }
}
