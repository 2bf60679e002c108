//! Splits a text into words, by the rules of UAX #29.
//!
//! The words are those of `unicode_segmentation`, which classifies every character by a search in a table. Here the
//! characters that ordinary texts consist of are classified by ranges, and the library is asked only about segments
//! that contain others, or are followed by one.

use unicode_segmentation::UnicodeSegmentation;

/// The words of a text with their offsets: segments that contain a letter or a number.
pub(super) fn words(text: &str) -> Words<'_> {
    Words { text, at: 0 }
}

/// Whether Unicode counts a character among the letters. The standard library searches a table for those that are not
/// ASCII.
pub(super) fn is_letter(c: char) -> bool {
    match class(c) {
        Letter | Sign | Katakana => true,
        Other | Mark => c.is_alphabetic(),
        Space | Digit | Underscore | Quote | Colon | Comma => false,
    }
}

/// See [`words`].
#[derive(Debug, Clone)]
pub(super) struct Words<'t> {
    text: &'t str,
    /// A boundary.
    at: usize,
}

/// What a character does to the segments around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Joins letters, digits and underscores.
    Letter,
    /// Joins letters, digits and underscores.
    Digit,
    /// Joins letters, digits and underscores, and katakana behind it.
    Underscore,
    /// Joins two letters, and two digits.
    Quote,
    /// Joins two letters.
    Colon,
    /// Joins two digits.
    Comma,
    /// Joins katakana.
    Katakana,
    /// A word by itself.
    Sign,
    /// A space: joins spaces.
    Space,
    /// A segment by itself, and no word.
    Mark,
    /// Anything else, which may do anything.
    Other,
}

use Class::{Colon, Comma, Digit, Katakana, Letter, Mark, Other, Quote, Sign, Space, Underscore};

/// The classes of the first characters: those of most texts in Latin, Greek, Cyrillic and Arabic letters.
static FIRST: [Class; 0x700] = {
    let mut classes = [Other; 0x700];
    let mut code = 0;
    while code < classes.len() {
        if let Some(c) = char::from_u32(code as u32) {
            classes[code] = by_range(c);
        }
        code += 1;
    }
    classes
};

fn class(c: char) -> Class {
    FIRST
        .get(c as usize)
        .copied()
        .unwrap_or_else(|| by_range(c))
}

const fn by_range(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Letter,
        ' ' => Space,
        '0'..='9' => Digit,
        '.' | '\'' => Quote,
        ',' | ';' => Comma,
        ':' => Colon,
        '_' => Underscore,
        '\0'..='\u{7f}' => Mark,
        // Latin, Greek, Cyrillic, Armenian, Arabic, Georgian, Hangul.
        '\u{c0}'..='\u{d6}'
        | '\u{d8}'..='\u{f6}'
        | '\u{f8}'..='\u{24f}'
        | '\u{386}'
        | '\u{388}'..='\u{38a}'
        | '\u{38c}'
        | '\u{38e}'..='\u{3a1}'
        | '\u{3a3}'..='\u{3ce}'
        | '\u{400}'..='\u{481}'
        | '\u{48a}'..='\u{52f}'
        | '\u{531}'..='\u{556}'
        | '\u{561}'..='\u{586}'
        | '\u{620}'..='\u{64a}'
        | '\u{671}'..='\u{6d3}'
        | '\u{10d0}'..='\u{10fa}'
        | '\u{1e00}'..='\u{1eff}'
        | '\u{ac00}'..='\u{d7a3}' => Letter,
        // Hiragana and Han.
        '\u{3041}'..='\u{3096}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => Sign,
        '\u{30a1}'..='\u{30fa}' | '\u{30fc}' => Katakana,
        // Punctuation, quotation marks, currencies.
        '\u{a1}'..='\u{a9}'
        | '\u{ab}'
        | '\u{ac}'
        | '\u{ae}'..='\u{b1}'
        | '\u{b4}'
        | '\u{b6}'
        | '\u{bb}'
        | '\u{bf}'
        | '\u{d7}'
        | '\u{f7}'
        | '\u{61f}'
        | '\u{2010}'..='\u{2016}'
        | '\u{201a}'..='\u{2023}'
        | '\u{2026}'
        | '\u{2030}'
        | '\u{2039}'
        | '\u{203a}'
        | '\u{20a0}'..='\u{20bf}'
        | '\u{3001}'
        | '\u{3002}'
        | '\u{3008}'..='\u{3011}' => Mark,
        _ => Other,
    }
}

impl<'t> Words<'t> {
    /// The class of the character at a position, and where it ends.
    fn class_at(&self, at: usize) -> Option<(Class, usize)> {
        let c = self.text[at..].chars().next()?;
        Some((class(c), at + c.len_utf8()))
    }

    /// The end of the run of characters of a class that begins before `at`.
    fn end_of(&self, run: Class, mut at: usize) -> usize {
        while let Some((class, end)) = self.class_at(at)
            && class == run
        {
            at = end;
        }
        at
    }

    /// For the run of letters, digits and underscores whose first character ends at `at`: its end, and whether it is a
    /// word. `None` if that is not certain.
    fn end_of_word(&self, first: Class, mut at: usize) -> Option<(usize, bool)> {
        let (mut last, mut is_word) = (first, first != Underscore);
        while let Some((class, end)) = self.class_at(at) {
            let joined = match class {
                Letter | Digit | Underscore => Some((class, end)),
                Quote | Colon | Comma => {
                    let next = self.class_at(end);
                    match next {
                        Some((Other, _)) => return None,
                        Some((Letter, _)) if last == Letter && class != Comma => next,
                        Some((Digit, _)) if last == Digit && class != Colon => next,
                        _ => None,
                    }
                }
                Katakana if last == Underscore => return None,
                _ => None,
            };
            let Some((class, end)) = joined else {
                break;
            };
            is_word |= class != Underscore;
            (last, at) = (class, end);
        }
        Some((at, is_word))
    }

    /// The end of the segment that begins here, and whether it is a word.
    fn segment(&self) -> Option<(usize, bool)> {
        let (first, end) = self.class_at(self.at)?;
        let found = match first {
            Letter | Digit | Underscore => self.end_of_word(first, end),
            Space => Some((self.end_of(Space, end), false)),
            Katakana => Some((self.end_of(Katakana, end), true)),
            Sign => Some((end, true)),
            Quote | Colon | Comma | Mark => Some((end, false)),
            Other => None,
        };
        let is_joined = |end| match self.class_at(end) {
            Some((Other, _)) => true,
            Some((Underscore, _)) => first == Katakana,
            _ => false,
        };
        found.filter(|&(end, _)| !is_joined(end)).or_else(|| {
            let segment = self.text[self.at..].split_word_bounds().next()?;
            let is_word = segment.unicode_words().next().is_some();
            Some((self.at + segment.len(), is_word))
        })
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = (usize, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.at;
            let (end, is_word) = self.segment()?;
            self.at = end;
            if is_word {
                return Some((begin, &self.text[begin..end]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn as_the_library_says(text: &str) {
        let expected: Vec<_> = text.unicode_word_indices().collect();
        assert_eq!(words(text).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn every_character_does_what_its_class_says() {
        for c in ('\0'..='\u{ffff}').filter(|c| class(*c) != Other) {
            as_the_library_says(&format!(
                "{c} {c}{c} a{c}a 1{c}1 a{c}1 1{c}a _{c}_ カ{c}カ 漢{c}漢 a'{c}'a 1,{c},1 _{c}カ א{c}א א'{c} \
                 a{c}'b a.{c} {c}\u{301}a 'a{c}\u{301}'a 1{c}\u{301}1 ({c}) \u{200d}{c}\u{200d}{c} 한{c}ア"
            ));
        }
    }

    #[test]
    fn letters_are_those_of_unicode() {
        for c in '\0'..=char::MAX {
            assert_eq!(is_letter(c), c.is_alphabetic(), "{c:?}");
        }
    }

    #[test]
    fn marks_join_what_is_before_them() {
        for text in [
            "  \u{93f}a",
            "\n\u{93f}",
            "a'\u{301}b",
            "a\u{200d}©",
            "🇩🇪🇫🇷 a🇩",
            "カ_カ_a",
            "_カ",
            "א\"ב a\"ב",
            "don't o'clock 1,000.5 a:b a.b. x_1 __ c++",
        ] {
            as_the_library_says(text);
        }
    }

    proptest! {
        #[test]
        fn words_are_those_of_the_library(
            text in "\\PC{0,40}|[a-c1-2_.,:;' \n\"éжア漢가]{0,40}|[a1_.'\"אカ\u{301}\u{200d}\u{93f}©🇩 \u{3000}]{0,24}"
        ) {
            let expected: Vec<_> = text.unicode_word_indices().collect();
            prop_assert_eq!(words(&text).collect::<Vec<_>>(), expected);
        }
    }
}
