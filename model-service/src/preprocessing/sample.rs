//! Selects the parts of a text that language detection examines: words from several places.
//!
//! White space, digits, symbols and URLs say nothing about a language, and the beginning of a text
//! may be in another language: a banner, a quotation, a list of names.

use std::borrow::Cow;

use super::words::is_letter;

/// Letters per sample.
pub(super) const SAMPLE_LETTERS: usize = 200;
/// Number of places in a long text to sample.
pub(super) const PLACES: usize = 5;
/// Fewest letters for a sample to count.
const LEAST_LETTERS: usize = 40;

/// Samples of a title and a text (both plain): one of a short text, else one from each of several
/// places, in text order. The first contains the title.
pub(super) fn samples(title: &str, text: &str) -> Vec<String> {
    let mut first = Sample::default();
    first.add(title, SAMPLE_LETTERS);
    let mut short = Sample::default();
    short.add(text, 2 * SAMPLE_LETTERS);
    if short.letters < 2 * SAMPLE_LETTERS {
        first.words.push_str(&short.words);
        return vec![first.words];
    }
    let mut samples: Vec<String> = Vec::new();
    for place in 0..PLACES {
        let mut sample = std::mem::take(&mut first);
        let (from, to) = (boundary(text, place), boundary(text, place + 1));
        sample.add(&text[from..to], SAMPLE_LETTERS);
        if sample.letters >= LEAST_LETTERS {
            samples.push(sample.words);
        }
    }
    if samples.is_empty() {
        let mut whole = Sample::default();
        whole.add(text, PLACES * SAMPLE_LETTERS);
        samples.push(whole.words);
    }
    samples
}

/// The start of a place: at the beginning of a word, if one is near.
fn boundary(text: &str, place: usize) -> usize {
    const NEAR_BYTES: usize = 64;
    let at = text.floor_char_boundary(text.len() / PLACES * place);
    if place == 0 || place == PLACES {
        return if place == 0 { 0 } else { text.len() };
    }
    let near = &text[at..text.floor_char_boundary((at + NEAR_BYTES).min(text.len()))];
    at + near.find(char::is_whitespace).unwrap_or(0)
}

#[derive(Default)]
struct Sample {
    words: String,
    letters: usize,
}

impl Sample {
    /// Adds words of a text while there are fewer letters than `most`.
    fn add(&mut self, text: &str, most: usize) {
        self.words.reserve(text.len().min(2 * most));
        for token in text.split_whitespace() {
            if self.letters >= most {
                break;
            }
            if is_address(token) {
                continue;
            }
            let mut in_word = false;
            for c in token.chars() {
                // Combining marks belong to their letters.
                let is_part = is_letter(c) || (in_word && !c.is_ascii() && !c.is_numeric());
                if is_part || (in_word && matches!(c, '\'' | '’')) {
                    self.words.push(c);
                    self.letters += usize::from(is_part);
                } else if in_word {
                    self.words.push(' ');
                }
                in_word = is_part;
            }
            self.words.push(' ');
        }
    }
}

fn is_address(token: &str) -> bool {
    let is_sign = |byte| matches!(byte, b':' | b'@');
    token.starts_with("www.")
        || (token.bytes().any(is_sign) && (token.contains("://") || token.contains('@')))
}

/// Up to this many Latin letters per letter of another script leave the main script in doubt; with
/// more, it is Latin.
const LATIN_FOR_OTHER: usize = 2;
/// Latin letters that carry as much information as one character of a syllabic or logographic
/// script.
const LETTERS_OF_A_SIGN: usize = 3;

/// A sample without its Latin words, if enough of it is in another script: names of products and
/// people stay Latin in texts of all scripts.
pub(super) fn of_main_script(sample: &str) -> Cow<'_, str> {
    let (mut latin, mut other) = (0, 0);
    for letter in sample.chars().filter(|c| is_letter(*c)) {
        match letter {
            '\u{2e80}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7af}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'.. => {
                other += LETTERS_OF_A_SIGN;
            }
            latin_letter if is_latin(latin_letter) => latin += 1,
            _ => other += 1,
        }
    }
    if latin == 0 || latin > LATIN_FOR_OTHER * other {
        return Cow::Borrowed(sample);
    }
    let without = sample.chars().map(|c| if is_latin(c) { ' ' } else { c });
    Cow::Owned(without.collect())
}

fn is_latin(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | 'ª' | 'º' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_alone_are_looked_at() {
        let text = "\n\u{a0}\u{3000}\t 12,5 % — Le pont  du\u{2003}port! https://e.example/the-and-of a@b.example www.x.example";
        assert_eq!(
            samples("", text)[0].split_whitespace().collect::<Vec<_>>(),
            ["Le", "pont", "du", "port"]
        );
        assert_eq!(samples("", " \n 12 \u{2028}")[0].trim(), "");
    }

    #[test]
    fn a_long_text_is_looked_at_in_several_places() {
        let text = format!("{}{}", "start ".repeat(300), "end ".repeat(600));
        let samples = samples("title", &text);
        assert_eq!(samples.len(), PLACES);
        assert!(samples[0].starts_with("title start"));
        assert!(samples[1].contains("start") && samples[4].contains("end"));
        // Mostly white space, with all words near the end.
        let spaces = format!("{}{}", " \n".repeat(5_000), "mot ".repeat(300));
        let all = super::samples("", &spaces);
        assert!(all.iter().all(|sample| sample.contains("mot")), "{all:?}");
    }

    /// From all words that may count, read at once.
    fn samples_of_whole(title: &str, text: &str) -> Vec<String> {
        let mut first = Sample::default();
        first.add(title, SAMPLE_LETTERS);
        let mut whole = Sample::default();
        whole.add(text, PLACES * SAMPLE_LETTERS);
        if whole.letters < 2 * SAMPLE_LETTERS {
            return vec![first.words + &whole.words];
        }
        let mut found = Vec::new();
        for place in 0..PLACES {
            let mut sample = std::mem::take(&mut first);
            sample.add(
                &text[boundary(text, place)..boundary(text, place + 1)],
                SAMPLE_LETTERS,
            );
            if sample.letters >= LEAST_LETTERS {
                found.push(sample.words);
            }
        }
        if found.is_empty() {
            vec![whole.words]
        } else {
            found
        }
    }

    proptest! {
        #[test]
        fn no_more_is_read_than_counts(
            title in "[a-z ]{0,40}",
            words in proptest::collection::vec("[a-zà-ž]{1,12}|[0-9 ]{1,80}|x@y|http://[a-z]{3}|a:b", 0..160),
        ) {
            let text = words.join(" ");
            prop_assert_eq!(samples(&title, &text), samples_of_whole(&title, &text));
        }

        #[test]
        fn addresses_are_known_by_their_signs(token in "[a-z:/@.]{0,8}|www.[a-z]{3}|[a-z]{2}://[a-z]{2}") {
            let expected = token.contains("://") || token.contains('@') || token.starts_with("www.");
            prop_assert_eq!(is_address(&token), expected);
        }

        #[test]
        fn any_text_gives_small_samples(title in "\\PC{0,40}", text in any::<String>(), times in 1_usize..400) {
            let text = text.repeat(times);
            let samples = samples(&title, &text);
            prop_assert!(!samples.is_empty() && samples.len() <= PLACES);
        }
    }
}
