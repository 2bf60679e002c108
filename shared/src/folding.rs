//! How words become terms: what readers consider one word must become one term.
//!
//! Both sides of a look-up are folded alike: the words of texts and the vocabulary of word vectors. Folding has two
//! steps, so that code between them still sees capitals: [`Folding::normal`] for a text, then [`Folding::word`] for
//! each of its words.
//!
//! In every language:
//! - NFKC: ligatures, full-width and composed forms become what they stand for;
//! - invisible characters are dropped: soft hyphens, joiners, direction marks, variation selectors (Unicode's
//!   Default_Ignorable_Code_Point);
//! - all apostrophes become one;
//! - case folding, not just lower case: `MASSNAHMEN` equals `Maßnahmen`, and a final sigma is a sigma;
//! - Greek loses accents, which capitals do not have; Arabic loses vowel signs and tatweel, with one form each of alef,
//!   yeh, kaf and teh marbuta; Hebrew loses points; Cyrillic loses stress marks.
//!
//! By language:
//! - Turkish and Azerbaijani: `I` is the capital of `ı`;
//! - French, Italian, Spanish, Portuguese and Catalan: no accents, since capitals are often written without; Spanish
//!   keeps `ñ`, which is a letter of its own; in French `œ` becomes `oe`;
//! - Russian: `ё` becomes `е`, as most texts write it.
//!
//! Elsewhere accents and umlauts stay, because they distinguish words.

mod characters;

use std::borrow::Cow;

use characters::Characters;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{compose, decompose_canonical, is_combining_mark};

/// The folding rules of one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folding {
    dotless_i: bool,
    accents: Accents,
    oe: bool,
    yo: bool,
}

/// Which accents of Latin letters are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Accents {
    #[default]
    Kept,
    /// All accents that the language has.
    Dropped,
    /// All but the tilde.
    TildeKept,
}

impl Folding {
    /// The rules of a language, named by its canonical code.
    pub fn of(language: &str) -> Self {
        Self {
            dotless_i: matches!(language, "tr" | "az"),
            accents: match language {
                "fr" | "it" | "pt" | "ca" => Accents::Dropped,
                "es" => Accents::TildeKept,
                _ => Accents::Kept,
            },
            oe: language == "fr",
            yo: language == "ru",
        }
    }

    /// Normalizes a text so that equal words differ only by case.
    pub fn normal(self, text: &str) -> Cow<'_, str> {
        if text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let Cow::Owned(mut normal) = self.normal_once(text) else {
            return Cow::Borrowed(text);
        };
        // A mark that was left over may compose with a letter that lost its own.
        while normal.contains(|c| matches!(c, '\u{300}'..='\u{36f}')) {
            let again = self.normal_once(&normal).into_owned();
            if again == normal {
                break;
            }
            normal = again;
        }
        Cow::Owned(normal)
    }

    /// Only characters that are not stable, and the ones before them, need more than a table look-up.
    fn normal_once(self, text: &str) -> Cow<'_, str> {
        let characters = Characters::get();
        let changes = |c| !characters.is_kept(c) || self.changes(c);
        let mut normal = String::new();
        let mut from = 0;
        while let Some(offset) = text[from..].find(changes) {
            let at = from + offset;
            let rest = &text[at..];
            let first = rest.chars().next().map_or('\0', apostrophe);
            let is_stable = characters.is_stable(first);
            let rest = &rest[rest.ceil_char_boundary(1)..];
            let joined = rest.find(|c| characters.is_stable(apostrophe(c)));
            let to = text.len() - rest.len() + joined.unwrap_or(rest.len());
            normal.reserve(text.len() - from);
            if is_stable && joined.unwrap_or(rest.len()) == 0 {
                normal.push_str(&text[from..at]);
                self.push_normal(&mut normal, first);
            } else {
                let at = if is_stable || at == from {
                    at
                } else {
                    text.floor_char_boundary(at - 1)
                };
                normal.push_str(&text[from..at]);
                self.push_all(&mut normal, &text[at..to]);
            }
            from = to;
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        normal.push_str(&text[from..]);
        Cow::Owned(normal)
    }

    /// Whether this language's own rules may change a character that others keep.
    fn changes(self, c: char) -> bool {
        match c {
            '\u{c0}'..='\u{17f}' => self.accents != Accents::Kept || self.oe,
            'ё' | 'Ё' => self.yo,
            _ => false,
        }
    }

    /// Normalizes a text character by character.
    fn push_all(self, normal: &mut String, text: &str) {
        // Must precede NFKC, which decomposes some of these into a space and a mark, and composes the characters around
        // them.
        let seen = text
            .chars()
            .filter(|c| c.is_ascii() || !(is_ignorable(*c) || is_dropped_mark(*c)))
            .map(apostrophe);
        let mut before = '\0';
        for c in seen.nfkc().map(apostrophe) {
            if c.is_ascii() {
                normal.push(c);
            } else if is_dropped_mark(c) || is_stress(c, before) || self.drops_after(c, before) {
                continue;
            } else {
                self.push_normal(normal, c);
            }
            before = c;
        }
    }

    fn push_normal(self, normal: &mut String, c: char) {
        match c {
            // Alef with hamza, madda and wasla; alef maksura and the Farsi yeh; keheh; teh marbuta.
            '\u{622}' | '\u{623}' | '\u{625}' | '\u{671}' => normal.push('\u{627}'),
            '\u{649}' | '\u{6cc}' => normal.push('\u{64a}'),
            '\u{6a9}' => normal.push('\u{643}'),
            '\u{629}' => normal.push('\u{647}'),
            'œ' if self.oe => normal.push_str("oe"),
            'Œ' if self.oe => normal.push_str("OE"),
            'æ' if self.oe => normal.push_str("ae"),
            'Æ' if self.oe => normal.push_str("AE"),
            'ё' if self.yo => normal.push('е'),
            'Ё' if self.yo => normal.push('Е'),
            // Greek and Coptic, Greek Extended.
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => {
                decompose_canonical(c, |part| {
                    if !is_combining_mark(part) {
                        normal.push(part);
                    }
                });
            }
            // Latin letters with their accents.
            '\u{c0}'..='\u{17f}' if self.accents != Accents::Kept => {
                let mut letter = c;
                decompose_canonical(c, |part| {
                    if part.is_ascii() {
                        letter = part;
                    } else if is_combining_mark(part) && !self.drops(part) {
                        letter = compose(letter, part).unwrap_or(c);
                    }
                });
                normal.push(letter);
            }
            other => normal.push(other),
        }
    }

    /// Whether to drop a mark that did not compose with the Latin letter before it, as its composed form would be.
    fn drops_after(self, mark: char, before: char) -> bool {
        let is_latin = before.is_ascii_alphabetic() || matches!(before, '\u{c0}'..='\u{24f}');
        self.accents != Accents::Kept && is_latin && self.drops(mark)
    }

    /// Grave, acute, circumflex, diaeresis, cedilla; tilde.
    fn drops(self, mark: char) -> bool {
        match mark {
            '\u{300}' | '\u{301}' | '\u{302}' | '\u{308}' | '\u{327}' => true,
            '\u{303}' => self.accents == Accents::Dropped,
            _ => false,
        }
    }

    /// Folds a word of a normalized text.
    pub fn word(self, word: &str) -> Cow<'_, str> {
        if word.is_ascii() && !self.dotless_i {
            return if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(word.to_ascii_lowercase())
            } else {
                Cow::Borrowed(word)
            };
        }
        let characters = Characters::get();
        let Some(first) = word.find(|c| !characters.is_small(c)) else {
            return Cow::Borrowed(word);
        };
        let mut folded = String::with_capacity(word.len());
        folded.push_str(&word[..first]);
        for c in word[first..].chars() {
            match c {
                small if characters.is_small(small) => folded.push(small),
                // The dot above a lower-case i, which some systems write separately.
                '\u{307}' if folded.ends_with('i') => {}
                other => self.push_folded(&mut folded, other),
            }
        }
        Cow::Owned(folded)
    }

    fn push_folded(self, folded: &mut String, c: char) {
        match c {
            'I' if self.dotless_i => folded.push('ı'),
            'İ' => folded.push('i'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            'և' => folded.push_str("եւ"),
            // These letters have no capital of their own: a capital plus a mark represents it.
            'ǰ' | 'ẖ' | 'ẗ' | 'ẘ' | 'ẙ' => {
                decompose_canonical(c, |part| folded.push(part));
            }
            other => folded.extend(other.to_lowercase()),
        }
    }

    /// Normalizes and folds a text or word in one step.
    pub fn fold(self, text: &str) -> Cow<'_, str> {
        match self.normal(text) {
            Cow::Borrowed(normal) => self.word(normal),
            Cow::Owned(normal) => {
                let folded = match self.word(&normal) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(folded) => Some(folded),
                };
                Cow::Owned(folded.unwrap_or(normal))
            }
        }
    }
}

/// Unifies apostrophes. `‘` is included, because some systems turn all of them into quotes.
fn apostrophe(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '\u{2b9}' | '\u{2032}' | '\u{b4}'
        | '\u{5f3}' | '\u{ff07}' => '\'',
        other => other,
    }
}

/// Default_Ignorable_Code_Point of Unicode 16, and annotations between lines.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Arabic vowel signs and tatweel; Hebrew points and accents.
fn is_dropped_mark(c: char) -> bool {
    matches!(c,
        '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{8d3}'..='\u{8e1}' | '\u{8e3}'..='\u{8ff}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}')
}

/// Marks that did not compose with the letter before them: any on a Greek letter; a grave or acute accent or a
/// diaeresis on a Cyrillic one.
fn is_stress(c: char, before: char) -> bool {
    match before {
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => is_combining_mark(c),
        '\u{400}'..='\u{52f}' => matches!(c, '\u{300}' | '\u{301}' | '\u{308}'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn same(language: &str, spellings: &[&str]) {
        let folding = Folding::of(language);
        for spelling in spellings {
            assert_eq!(folding.fold(spelling), spellings[0], "{spelling}");
        }
    }

    #[track_caller]
    fn differ(language: &str, a: &str, b: &str) {
        let folding = Folding::of(language);
        assert_ne!(folding.fold(a), folding.fold(b), "{a} {b}");
    }

    #[test]
    fn capitals_are_no_other_words() {
        same("de", &["strasse", "Straße", "STRASSE", "STRAẞE"]);
        same("el", &["αθηνα", "Αθήνα", "ΑΘΗΝΑ", "Ἀθῆνα", "Αθη\u{301}να"]);
        same("el", &["οδοσ", "ΟΔΟΣ", "οδός", "Οδος"]);
        same("el", &["μαιοσ", "Μάιος", "Μαΐος", "ΜΑΪΟΣ"]);
        same("tr", &["ışık", "IŞIK", "Işık"]);
        same(
            "tr",
            &["istanbul", "İSTANBUL", "İstanbul", "I\u{307}stanbul"],
        );
        same("az", &["qızıl", "QIZIL"]);
        same("en", &["istanbul", "İstanbul", "ISTANBUL"]);
        same("hy", &["եւ", "և", "ԵՒ"]);
        same(
            "en",
            &["ǰ".nfd().collect::<String>().as_str(), "ǰ", "J\u{30c}"],
        );
        differ("tr", "ışık", "işik");
    }

    #[test]
    fn accents_are_left_out_where_capitals_lack_them() {
        same("fr", &["ecole", "École", "ECOLE", "E\u{301}cole"]);
        same("fr", &["oeuvre", "œuvre", "ŒUVRE", "OEUVRE"]);
        same("fr", &["ca", "ça", "ÇA"]);
        same("es", &["mexico", "México", "MEXICO"]);
        same("pt", &["sao", "São", "SAO"]);
        same("it", &["citta", "Città"]);
        same("ru", &["елка", "ёлка", "Ёлка"]);
        differ("es", "año", "ano");
        differ("de", "schon", "schön");
        differ("sv", "hav", "häv");
        differ("cs", "rad", "řád");
        differ("fr", "dvorak", "dvořak");
        differ("uk", "гейша", "геиша");
    }

    #[test]
    fn what_readers_do_not_see_is_left_out() {
        for unseen in [
            "\u{ad}",
            "\u{200b}",
            "\u{200c}",
            "\u{200d}",
            "\u{200e}",
            "\u{200f}",
            "\u{202a}",
            "\u{202c}",
            "\u{2060}",
            "\u{2066}",
            "\u{2069}",
            "\u{feff}",
            "\u{fe0f}",
            "\u{34f}",
            "\u{61c}",
            "\u{180e}",
            "\u{e0020}",
        ] {
            let written = format!("{unseen}Do{unseen}nau{unseen}");
            same("de", &["donau", &written]);
        }
        same("ar", &["القاهره", "القاهــرة", "القَاهِرَة", "القاهرة"]);
        same("ar", &["احمد", "أحمد", "أَحْمَد", "احمد"]);
        same("fa", &["كتابها", "کتاب\u{200c}ها", "کتابها"]);
        same("he", &["שלום", "שָׁלוֹם"]);
        same("ru", &["замок", "за\u{301}мок", "Замо\u{301}к"]);
        same("hi", &["क्षेत्र", "क्\u{200d}षेत्र"]);
    }

    #[test]
    fn one_apostrophe_and_compatible_forms() {
        same(
            "fr",
            &[
                "presqu'ile",
                "presqu’île",
                "presqu‘ile",
                "PRESQU\u{2bc}ÎLE",
                "presqu´île",
            ],
        );
        same("en", &["office wide 1", "oﬃce ＷＩＤＥ ①"]);
        same("ja", &["タワー", "ﾀﾜｰ"]);
    }

    /// Whatever Unicode has, and mixtures of what composes, decomposes, is dropped and replaced.
    const TEXTS: &str = "\\PC{0,24}|\
        [a-zA-ZÀ-žơưΑ-ώἀ-ῼЀ-ѿא-ת\u{5b0}-\u{5c7}ء-ۓİıßςœñ’´ʹ\u{ad}\u{200d} ]{0,16}|\
        [ae sioœçéЁёиηάא\u{300}-\u{30a}\u{323}\u{327}\u{342}\u{345}\u{5b0}\u{651}\u{655}\u{ad}’]{0,16}|\
        [가-힣ㄱ-ㅣᄀ-ᇿｦ-ﾟァ-ヶ\u{3099}\u{309a}क-ह\u{93c}-\u{94d}ก-๛𐀀-𐿿ﬁ①½…]{0,16}";

    fn normal_by_characters(folding: Folding, text: &str) -> String {
        let once = |text: &str| {
            let mut normal = String::new();
            folding.push_all(&mut normal, text);
            normal
        };
        let mut normal = once(text);
        loop {
            let again = once(&normal);
            if again == normal || !normal.contains(|c| matches!(c, '\u{300}'..='\u{36f}')) {
                return normal;
            }
            normal = again;
        }
    }

    fn word_by_characters(folding: Folding, word: &str) -> String {
        let mut folded = String::new();
        for c in word.chars() {
            if c != '\u{307}' || !folded.ends_with('i') {
                folding.push_folded(&mut folded, c);
            }
        }
        folded
    }

    #[test]
    fn every_character_folds_as_by_itself_behind_any_other() {
        // Above are private characters, and annotations that are dropped.
        let assigned = ('\0'..='\u{323af}').chain('\u{e0000}'..='\u{e01ef}');
        for c in assigned {
            let text = format!("{c} e{c}e η{c}\u{301}и{c}");
            for language in ["de", "fr", "es", "ru"] {
                let folding = Folding::of(language);
                let normal = normal_by_characters(folding, &text);
                assert_eq!(folding.normal(&text), normal, "{language} {text:?}");
                let folded = word_by_characters(folding, &normal);
                assert_eq!(folding.word(&normal), folded, "{language} {text:?}");
            }
        }
    }

    proptest! {
        /// Terms are looked up among words that have been folded already.
        #[test]
        fn folding_twice_is_folding_once(
            text in "\\PC{0,24}|[a-zA-ZÀ-žΑ-ώἀ-ῼЀ-ѿא-ת\u{5b0}-\u{5c7}ء-ۓ\u{300}-\u{345}İıßςœñ’\u{200d}]{0,24}",
            language in "de|fr|es|tr|ru|el|ar",
        ) {
            let folding = Folding::of(&language);
            // A mark that composes with no letter may compose with what its letter is folded to.
            let is_left_over = |c: &char| matches!(c, '\u{300}'..='\u{36f}');
            let text: String = text.nfkc().filter(|c| !is_left_over(c)).collect();
            let once = folding.fold(&text);
            prop_assert_eq!(folding.fold(&once), &*once);
        }

        /// The table must not change what normalizing everything gives.
        #[test]
        fn folding_is_what_it_is_character_by_character(
            text in TEXTS,
            language in "de|fr|es|it|tr|ru|el|ar|ko|vi",
        ) {
            let folding = Folding::of(&language);
            let normal = normal_by_characters(folding, &text);
            prop_assert_eq!(folding.normal(&text), normal.as_str());
            let folded = word_by_characters(folding, &normal);
            prop_assert_eq!(folding.word(&normal), folded.as_str());
            prop_assert_eq!(folding.fold(&text), folded);
        }

        #[test]
        fn folded_ascii_is_lower_case(text in "[ -~]{0,24}", language in "de|fr|es|ru") {
            prop_assert_eq!(Folding::of(&language).fold(&text), text.to_lowercase());
        }
    }
}
