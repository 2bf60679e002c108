#![allow(clippy::unwrap_used)] // a test may panic

use std::time::Instant;

use proptest::prelude::*;

use super::terms::{MAX_TERM_BYTES, MAX_TERMS};
use super::*;

fn preprocessor() -> Preprocessor {
    let languages = ["en", "de", "fr", "es", "it", "pt", "nl", "sv"];
    Preprocessor::new(&languages.map(str::to_owned), "en").unwrap()
}

/// Habits in which most texts are in this language.
fn mostly(language: Option<&str>) -> Usual<'_> {
    Usual {
        language,
        ..Usual::default()
    }
}

/// `term` or `term*frequency`, one after the other.
#[track_caller]
fn text_gives(language: &str, text: &str, expected: &str) {
    let got = preprocessor().preprocess(None, Some(text), Some(language), Usual::default());
    let shown: Vec<String> = got
        .terms
        .iter()
        .map(|(term, count)| match count {
            1 => term.to_string(),
            count => format!("{term}*{count}"),
        })
        .collect();
    assert_eq!(shown.join(" "), expected, "{text}");
    assert_eq!(got.language, language);
}

#[test]
fn a_title_counts_three_times() {
    let got = preprocessor().preprocess(
        Some("Harbour <b>bridge</b>"),
        Some("<p>The bridge, the bridge!</p>"),
        Some("en"),
        Usual::default(),
    );
    let expected: Vec<(Box<str>, u32)> = vec![("bridge".into(), 5), ("harbour".into(), 3)];
    assert_eq!(got.terms, expected);
}

#[test]
fn english() {
    text_gives("en", "Don't panic, don’t PANIC", "panic*2");
    text_gives("en", "Ann's and O’Brien's boats", "ann boats o'brien");
    text_gives("en", "C++ and C# beat C", "beat c c# c++");
    text_gives("en", "e-mail about COVID-19", "19 covid e mail");
    text_gives(
        "en",
        "version 3.5 of 1,000: 10 the 2",
        "1,000 10 2 3.5 version",
    );
    text_gives("en", "ﬁnal oﬃce ＷＩＤＥ ① ½x", "1 1⁄2x final office wide");
    text_gives("en", "so\u{ad}ft hy\u{ad}phen", "hyphen soft");
    text_gives("en", "AT&amp;T caf&eacute; cafe\u{301}", "at café*2 t");
    text_gives("en", "harbour of the city", "city harbour");
    // Nothing else is there.
    text_gives("en", "the of and", "and of the");
    text_gives("en", "!? … 😀", "");
}

#[test]
fn german() {
    text_gives(
        "de",
        "Die Straße über den Fluß: STRASSE, Übung, ÜBUNG, U\u{308}bung",
        "fluss strasse*2 übung*3",
    );
    text_gives("de", "GROẞE Straßen", "grosse strassen");
    text_gives("de", "Wie geht's? 1980er", "1980er geht's");
}

#[test]
fn french_and_italian_elisions_are_cut_off() {
    text_gives("fr", "L'eau, l’eau, d'eau et jusqu'au lac", "eau*3 lac");
    text_gives(
        "fr",
        "aujourd'hui c'est presqu'île",
        "aujourd'hui presqu'ile",
    );
    text_gives("it", "L'acqua dell’oceano, un'isola", "acqua isola oceano");
    text_gives("es", "l'eau", "l'eau");
}

#[test]
fn scripts_without_spaces_keep_the_order_of_characters() {
    text_gives("ja", "東京タワー", "タワー 東京");
    text_gives("ja", "ﾀﾜｰ", "タワー");
    text_gives("ja", "日本と本日", "日本 本日");
    text_gives("zh", "北京大学 2026", "2026 京大 北京 大学");
    text_gives("zh", "水", "水");
    text_gives("zh", "北京的大学", "北京 大学");
    text_gives("zh", "我们 AI北京", "ai 北京");
    text_gives("th", "ทองคำ", "ค\u{e4d}า งค\u{e4d} ทอ อง");
    let terms = |text| {
        preprocessor()
            .preprocess(None, Some(text), Some("km"), Usual::default())
            .terms
    };
    assert_ne!(terms("ភ្នំពេញ"), terms("ពេញភ្នំ"));
}

#[test]
fn korean_phrases_are_cut_back_to_their_stems() {
    text_gives("ko", "서울에서 지진이 발생했다", "발생 서울 지진");
    text_gives("ko", "서울의 지진은 AI로", "ai 서울 지진");
}

#[test]
fn turkish_capitals_match_their_small_letters() {
    text_gives("tr", "İstanbul istanbul İSTANBUL", "istanbul*3");
    text_gives("tr", "IŞIK Işık ışık KIŞ", "kış ışık*3");
    text_gives("en", "İstanbul", "istanbul");
}

#[test]
fn subjects_and_letters_that_name_something_are_terms() {
    text_gives("en", "AI at Microsoft", "ai microsoft");
    text_gives("en", "Computer fire on TV in the UK", "computer fire tv uk");
    text_gives("de", "Mensch und Recht", "mensch recht");
    for (a, b) in [
        ("Vitamin C", "Vitamin D"),
        ("Plan B", "Plan C"),
        ("Vitamin A", "Vitamin E"),
    ] {
        for language in ["en", "de", "fr", "es", "it", "pt", "pl", "cs", "sv"] {
            let terms = |text| {
                preprocessor()
                    .preprocess(None, Some(text), Some(language), Usual::default())
                    .terms
            };
            assert_ne!(terms(a), terms(b), "{language}");
            assert_eq!(terms(a).len(), 2, "{language} {a}");
        }
    }
}

#[test]
fn words_without_a_subject_are_none_of_the_terms() {
    text_gives(
        "fr",
        "avant tout, il y a peu de monde sous la tente, et plus souvent encore au marché",
        "marche monde tente",
    );
    text_gives(
        "de",
        "Beim Bäcker ab sechs schon mehr Brot, kaum Kuchen",
        "brot bäcker kuchen sechs",
    );
}

#[test]
fn stop_words_in_capitals_are_names_among_other_words() {
    text_gives("en", "IT at the WHO", "it who");
    text_gives(
        "en",
        "it is what the doctor who left said",
        "doctor left said",
    );
    text_gives("en", "WHO IS AT HOME", "home");
    text_gives("en", "A hepatitis A vaccine", "a hepatitis vaccine");
    text_gives("en", "A Night in A Train. A bus, A", "bus night train");
    text_gives("en", "What I saw", "saw");
    text_gives("fr", "ECOLE FERMEE A EPINAL", "ecole epinal fermee");
    text_gives("fr", "École fermée à Épinal", "ecole epinal fermee");
}

#[test]
fn what_is_not_seen_makes_no_other_word() {
    text_gives(
        "de",
        "Donau\u{200b}dampf\u{ad}schiff Donau<wbr>dampf&shy;schiff",
        "donaudampfschiff*2",
    );
    text_gives("he", "ירושלים\u{200f} ירושלים", "ירושלים*2");
    text_gives("en", "\u{202a}Kraków\u{fe0f}\u{202c} Kraków", "kraków*2");
    text_gives("ar", "معـــرض مَعْرِض معرض", "معرض*3");
}

#[test]
fn what_most_texts_share_adds_nothing() {
    let banner = "The Daily Lighthouse: independent since 1894. Support us today!";
    let subjects = [
        "cats", "glaciers", "tides", "bees", "comets", "rivers", "owls", "storms",
    ];
    let preprocessor = preprocessor();
    let texts = (0..32).map(|n| format!("{banner}\n{} number {n}", subjects[n % 8]));
    let surveyed = texts.map(|text| preprocessor.survey(None, Some(&text), Some("en")));
    let habits = Habits::of(16, 32, 0, &Surveyed::together(surveyed));
    assert_eq!(habits.language.as_deref(), Some("en"));
    let read =
        |text: &str| preprocessor.preprocess(Some("Tides"), Some(text), None, Usual::of(&habits));
    let plain = "How the moon makes the sea rise and fall twice a day.";
    assert_eq!(read(&format!("{banner} {plain}")), read(plain));
    assert_eq!(read(&format!("<p>{banner}</p>{plain}")), read(plain));
    // A text that has nothing else keeps it.
    let alone = preprocessor.preprocess(None, Some(banner), None, Usual::of(&habits));
    assert!(!alone.terms.is_empty());
}

#[test]
fn languages_without_stop_words_keep_all_words() {
    text_gives("zz", "the and c'est", "and c'est the");
}

#[test]
fn a_given_language_wins_then_detection_then_the_default() {
    let preprocessor = preprocessor();
    let german = "Die Hafenbrücke ist nach zwei Jahren wieder für den Verkehr geöffnet worden.";
    let language = |text, given, default| {
        preprocessor
            .preprocess(None, Some(text), given, mostly(default))
            .language
    };
    assert_eq!(language(german, Some("fr"), Some("sv")), "fr");
    assert_eq!(language(german, Some("JPN"), Some("sv")), "ja");
    assert_eq!(language(german, None, Some("sv")), "de");
    assert_eq!(language("OK", None, Some("sv")), "sv");
    assert_eq!(language("OK", None, None), "en");
    for none in ["", "und", "mul", "zxx", "mis", "UND-Latn"] {
        assert_eq!(language("OK", Some(none), Some("sv")), "sv", "{none}");
        assert_eq!(language(german, Some(none), None), "de", "{none}");
    }
    let html = format!("<div lang=en><p>{german}</p></div>");
    assert_eq!(language(&html, None, None), "de");
}

#[test]
fn a_default_that_is_set_goes_before_the_habitual_language() {
    let all = ["en".to_owned(), "de".to_owned()];
    let preprocessors = Preprocessors::new(&all, "en").unwrap();
    let of = |default: Option<&str>| {
        let settings = DomainSettings {
            default_language: default.map(str::to_owned),
            ..DomainSettings::default()
        };
        let preprocessor = preprocessors.of(&settings);
        let got = preprocessor.preprocess(Some("OK"), None, None, mostly(Some("de")));
        assert!(!got.is_sure);
        got.language
    };
    assert_eq!(of(None), "de");
    assert_eq!(of(Some("en")), "en");
    assert_eq!(of(Some("sv")), "sv");
}

#[test]
fn an_unknown_language_is_refused_by_name() {
    for (languages, default, named) in [
        (vec!["en".to_owned(), "qq".to_owned()], "en", "qq"),
        (vec!["en".to_owned()], "english", "english"),
        (vec![String::new()], "en", ""),
    ] {
        let error = Preprocessor::new(&languages, default).unwrap_err();
        assert_eq!(error, UnknownLanguage(named.to_owned()));
    }
    assert!(Preprocessor::new(&[], "ja").is_ok());
}

#[test]
fn long_words_are_dropped() {
    let kept = "x".repeat(MAX_TERM_BYTES);
    text_gives(
        "en",
        &format!("{kept} {kept}x word"),
        &format!("word {kept}"),
    );
}

#[test]
fn the_most_frequent_terms_are_kept() {
    // Odd ones occur twice, even ones once; of the even ones the first in byte order are kept.
    let words: String = (0..3 * MAX_TERMS / 2)
        .map(|n| match n % 2 {
            0 => format!("w{n:05} "),
            _ => format!("w{n:05} w{n:05} "),
        })
        .collect();
    let got = preprocessor().preprocess(None, Some(&words), Some("en"), Usual::default());
    assert_eq!(got.terms.len(), MAX_TERMS);
    let odd = got.terms.iter().filter(|(_, count)| *count == 2).count();
    assert_eq!(odd, 3 * MAX_TERMS / 4);
    let mut even = got.terms.iter().filter(|(_, count)| *count == 1);
    let last_even = format!("w{:05}", 2 * (MAX_TERMS - odd) - 2);
    assert_eq!(
        even.next_back().map(|(term, _)| &**term),
        Some(last_even.as_str())
    );
}

#[test]
fn hostile_texts_take_linear_time() {
    let preprocessor = preprocessor();
    let size = 256 << 10;
    for unit in [
        "a",
        "\u{301}",
        "a\u{301}",
        "\u{fdfa}",
        "🇩",
        "a'",
        "1.",
        "a:",
        "_",
        "Σ",
        "Σ'",
        "\u{200d}",
        "👩\u{200d}",
        "ｶﾞ",
        "각",
        "ไ",
        "\u{302e}\u{e31}",
        "\"א",
        "i\u{307}",
        "x ",
        "+",
        "c++",
        "\u{1e0a}\u{323}",
    ] {
        let text = unit.repeat(size / unit.len());
        for given in [Some("en"), None] {
            let started = Instant::now();
            preprocessor.preprocess(None, Some(&text), given, Usual::default());
            // Far more than linear time takes, far less than quadratic time.
            assert!(
                started.elapsed().as_secs() < 5,
                "{unit:?}: {:?}",
                started.elapsed()
            );
        }
    }
}

#[test]
fn words_that_normalisation_breaks_up_are_dropped() {
    // NFKC turns this into a space with a mark, and UAX #29 keeps the two together.
    text_gives("en", "\u{fe70}", "");
}

fn check(got: &Preprocessed) -> Result<(), TestCaseError> {
    prop_assert!(got.terms.is_sorted_by(|a, b| a.0 < b.0));
    prop_assert!(got.terms.len() <= MAX_TERMS);
    for (term, count) in &got.terms {
        prop_assert!(*count >= 1 && !term.is_empty() && term.len() <= MAX_TERM_BYTES);
        prop_assert!(!term.contains(char::is_whitespace));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_gives_ascending_terms_twice_the_same(
        title in proptest::option::of(any::<String>()),
        text in proptest::option::of(any::<String>()),
        given in proptest::option::of("[a-z]{0,3}|fr|it|en|de"),
    ) {
        let preprocessor = preprocessor();
        let run = || preprocessor.preprocess(title.as_deref(), text.as_deref(), given.as_deref(), Usual::default());
        let got = run();
        check(&got)?;
        prop_assert_eq!(got, run());
    }

    #[test]
    fn any_markup_gives_ascending_terms(
        pieces in proptest::collection::vec(prop::sample::select(vec![
            "<p>", "</p>", "<b", " a=\"", "\"", "'", "=", ">", "<", "</", "/>", "<!--", "-->", "&",
            "amp;", "&#", "x41;", ";", "<script>", "</script>", "<svg", "<![CDATA[", "<!doctype",
            "<?xml", "wörter", " ", "c++", "l'eau", "日本", "<my-card", "\0", "\r\n", "<title", "é",
        ]), 0..40),
    ) {
        let html = pieces.concat();
        check(&preprocessor().preprocess(Some(&html), Some(&html), None, mostly(Some("fr"))))?;
    }

    #[test]
    fn text_without_angles_and_ampersands_is_left_alone(text in "[^<&]*") {
        prop_assert_eq!(plain_text(&text), text.as_str());
    }

    /// Escaping a text and reducing it again returns the text, so nothing is lost.
    #[test]
    fn escaped_text_comes_back(text in "[^\\p{Cc}\u{feff}]*") {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        prop_assert_eq!(plain_text(&escaped), text.as_str());
    }
}
