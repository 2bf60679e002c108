//! Stop words: words that say nothing about an item's subject.
//!
//! Lists made by counting words also contain subjects: "computer", "fire", "Mensch", "Recht". Where
//! available we use NLTK's list, which goes back to Snowball's: articles, pronouns, prepositions,
//! auxiliaries. Other languages use the list of stopwords-iso. Words that are in either by mistake
//! are removed here, and missing ones are added.

use std::collections::HashSet;
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use kindred_shared::Folding;

/// Single letters that are words, by language. Any other letter is a name: vitamin C, plan B.
#[rustfmt::skip] // one a line would fill pages
const LETTERS: [(&str, &str); 29] = [
    ("af", "n"), ("be", "абвзіскяў"), ("bg", "авиксую"), ("br", "aeo"), ("ca", "aeioydlmnst"),
    ("cs", "aikosuvz"), ("cy", "aeioy"), ("da", "iå"), ("el", "ηοω"), ("en", "ai"), ("es", "aeouy"),
    ("fr", "aycdjlmnst"), ("ga", "aiá"), ("gl", "aeoá"), ("hr", "aikosuz"),
    ("hu", "aes"), ("it", "aeiolcd"), ("mk", "авиксо"), ("nl", "nstu"), ("no", "iå"),
    ("pl", "aiouwz"), ("pt", "aeo"), ("ro", "aeo"), ("ru", "авикосуя"), ("sk", "aikosuvz"),
    ("sl", "aikosvzh"), ("sr", "aikosuаикосу"), ("sv", "iå"), ("uk", "абвєзійоуя"),
];

/// Subjects in the lists, by language: removed.
const SUBJECTS: [(&str, &[&str]); 10] = [
    (
        "bg",
        &[
            "автентичен",
            "време",
            "глас",
            "година",
            "години",
            "годишен",
            "ден",
            "дни",
            "евтин",
            "екип",
            "живот",
            "лесен",
            "месец",
            "мокър",
            "син",
            "юмрук",
        ],
    ),
    (
        "cs",
        &[
            "clanek", "clanku", "clanky", "design", "email", "strana", "tema", "tipy", "večer",
            "vecer", "zpravy", "zprávy", "článek", "článku", "články", "téma",
        ],
    ),
    ("de", &["weg"]),
    // What is left of "won't" and the like without the part after the apostrophe; "won" and "Don"
    // are words.
    (
        "en",
        &[
            "ain", "aren", "couldn", "didn", "doesn", "don", "hadn", "hasn", "haven", "isn", "ll",
            "ma", "mightn", "mustn", "needn", "re", "shan", "shouldn", "ve", "wasn", "weren",
            "won", "wouldn",
        ],
    ),
    ("es", &["estado", "estados"]),
    ("fr", &["été", "étés"]),
    ("hu", &["cikk", "cikkek", "cikkeket"]),
    ("it", &["faccia"]),
    ("ko", &["시간", "아이", "월", "년", "집"]),
    (
        "pl",
        &[
            "godz", "inż", "kierunku", "lat", "mgr", "pan", "pana", "pani", "prof", "roku", "www",
        ],
    ),
];

/// Function words that the lists lack, by language.
#[rustfmt::skip] // one a line would fill pages
const FUNCTION_WORDS: [(&str, &[&str]); 2] = [
    (
        "de",
        &[
            "ab", "beim", "bereits", "dabei", "dadurch", "dafür", "daher", "damals", "danach",
            "daran", "darauf", "daraus", "darin", "darüber", "davon", "davor", "dazu", "deren",
            "deshalb", "dessen", "ebenfalls", "ebenso", "etwa", "gegenüber", "insgesamt", "je",
            "jedoch", "kaum", "mehr", "meist", "meisten", "mittels", "neben", "ob", "schon", "sehr",
            "seit", "sobald", "sofern", "sogar", "somit", "sowie", "statt", "stets", "trotz",
            "vielmehr", "vom", "wegen", "weitere", "weiteren", "weiterer", "weiteres", "wenig",
            "weniger", "wobei", "wodurch", "worden", "zudem", "zumindest", "zwar",
        ],
    ),
    (
        "fr",
        &[
            "afin", "ainsi", "alors", "après", "assez", "aucun", "aucune", "auprès", "auquel",
            "aussi", "autant", "autre", "autres", "avant", "beaucoup", "ceci", "cela", "celle",
            "celles", "celui", "cependant", "certaines", "certains", "cet", "cette", "ceux", "chacun",
            "chacune", "chaque", "chez", "comme", "comment", "contre", "depuis", "desquelles",
            "desquels", "donc", "dont", "duquel", "durant", "dès", "encore", "enfin", "ensuite",
            "entre", "envers", "environ", "hors", "ici", "jamais", "jusqu", "jusque", "laquelle",
            "lequel", "lesquelles", "lesquels", "lorsqu", "lorsque", "malgré", "moins", "ni", "où",
            "parce", "parfois", "parmi", "pendant", "peu", "plus", "plusieurs", "plutôt", "pourquoi",
            "pourtant", "près", "puis", "puisqu", "puisque", "quand", "quant", "quel", "quelle",
            "quelles", "quelqu", "quelque", "quelques", "quels", "quoi", "rien", "sans", "sauf",
            "selon", "seulement", "si", "sinon", "sous", "souvent", "sur", "surtout", "tandis",
            "tant", "tel", "telle", "telles", "tels", "toujours", "tous", "tout", "toute",
            "toutefois", "toutes", "trop", "très", "vers", "voici", "voilà",
        ],
    ),
];

/// Folded words.
pub(super) type WordSet = HashSet<Box<str>, RandomState>;

/// The stop words of every language that has a list, built on first use.
pub(super) struct StopWords {
    languages: &'static [&'static str],
    /// In the order of `languages`.
    lists: Vec<OnceLock<WordSet>>,
}

impl StopWords {
    /// The stop words of a language, folded like terms; `None` if it has no list.
    pub(super) fn of(&self, language: &str) -> Option<&WordSet> {
        let at = self.languages.binary_search(&language).ok()?;
        let words = stop_words::lookup(language)?;
        Some(self.lists[at].get_or_init(|| list(language, words)))
    }
}

fn list(language: &str, words: &[&str]) -> WordSet {
    let folding = Folding::of(language);
    let of_language = |table: &[(&str, &'static str)]| {
        let found = table.iter().find(|(code, _)| *code == language);
        found.map_or("", |(_, letters)| *letters)
    };
    let letters = of_language(&LETTERS);
    let subjects = SUBJECTS.iter().find(|(code, _)| *code == language);
    let subjects = subjects.map_or(&[][..], |(_, words)| *words);
    let lacking = FUNCTION_WORDS.iter().find(|(code, _)| *code == language);
    let lacking = lacking.map_or(&[][..], |(_, words)| *words);
    let is_letter = |word: &str| {
        let mut chars = word.chars();
        // In scripts without case a character is more than a letter.
        chars
            .next()
            .is_some_and(|c| c.is_lowercase() || c.is_uppercase())
            && chars.next().is_none()
    };
    let listed = words
        .iter()
        .chain(lacking)
        .filter(|word| !is_letter(word) && !subjects.contains(word))
        .map(|word| folding.fold(word).into_owned());
    let letters = letters
        .chars()
        .map(|letter| folding.fold(letter.encode_utf8(&mut [0; 4])).into_owned());
    listed.chain(letters).map(String::into_boxed_str).collect()
}

impl Default for StopWords {
    fn default() -> Self {
        let languages = stop_words::available_languages();
        Self {
            languages,
            lists: languages.iter().map(|_| OnceLock::new()).collect(),
        }
    }
}

impl std::fmt::Debug for StopWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self
            .lists
            .iter()
            .filter(|list| list.get().is_some())
            .count();
        write!(f, "{made} of {} lists", self.lists.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_made_once_and_folded() {
        let stop_words = StopWords::default();
        assert!(stop_words.of("no such language").is_none());
        assert_eq!(
            format!("{stop_words:?}"),
            format!("0 of {} lists", stop_words.lists.len())
        );
        for language in [
            "en", "de", "fr", "es", "it", "pt", "nl", "sv", "no", "pl", "cs", "ru", "tr", "ja",
            "zh",
        ] {
            assert!(
                stop_words.of(language).is_some_and(|list| list.len() > 50),
                "{language}"
            );
        }
        let holds = |language, word: &str| {
            let list = stop_words.of(language);
            list.is_some_and(|list| list.contains(word))
        };
        for (language, word) in [
            ("en", "don't"),
            ("en", "the"),
            ("en", "a"),
            ("tr", "için"),
            ("fr", "meme"),
            ("fr", "a"),
            ("de", "dass"),
            ("el", "τησ"),
            ("es", "mas"),
            ("pl", "w"),
            ("cs", "s"),
            ("ja", "の"),
        ] {
            assert!(holds(language, word), "{language} {word}");
        }
    }

    #[test]
    fn lists_hold_no_subjects_and_no_letters_that_are_names() {
        let stop_words = StopWords::default();
        for (language, subjects) in [
            (
                "en",
                "ai computer fire microsoft uk tv web home money school won don b c d s t x",
            ),
            ("de", "mensch recht tag jahr zeit leben teil weg b c s"),
            ("fr", "ete monde temps vie b d'or"),
            ("es", "trabajo verdad estado dias lugar b c"),
            ("it", "casa tempo lavoro governo anni faccia b"),
            ("nl", "mens tijd jaar dag b c"),
            ("sv", "dag tid liv bra b c"),
            ("pt", "tempo povo valor ponto b c"),
            ("cs", "strana zpravy email b c"),
            ("pl", "pan rok lat b c"),
            ("ru", "год время жизнь б"),
            ("bg", "живот година б"),
        ] {
            let Some(list) = stop_words.of(language) else {
                continue;
            };
            for word in subjects.split(' ') {
                assert!(!list.contains(word), "{language} {word}");
            }
        }
    }
}
