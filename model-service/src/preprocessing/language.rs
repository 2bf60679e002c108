//! Detects the language of an item.

use std::sync::OnceLock;

use kindred_shared::language::canonical;
use whatlang::{Detector, Lang};

use super::function_words::FunctionWords;
use super::sample::{of_main_script, samples};

/// The languages that can be detected: ISO 639-1 code and whatlang's language.
///
/// whatlang's Norwegian is Bokmål; its code here is `no`, as in the stop words.
#[rustfmt::skip] // one a line would fill pages
const KNOWN: [(&str, Lang); 70] = [
    ("af", Lang::Afr), ("ak", Lang::Aka), ("am", Lang::Amh), ("ar", Lang::Ara),
    ("az", Lang::Aze), ("be", Lang::Bel), ("bg", Lang::Bul), ("bn", Lang::Ben),
    ("ca", Lang::Cat), ("cs", Lang::Ces), ("cy", Lang::Cym), ("da", Lang::Dan),
    ("de", Lang::Deu), ("el", Lang::Ell), ("en", Lang::Eng), ("eo", Lang::Epo),
    ("es", Lang::Spa), ("et", Lang::Est), ("fa", Lang::Pes), ("fi", Lang::Fin),
    ("fr", Lang::Fra), ("gu", Lang::Guj), ("he", Lang::Heb), ("hi", Lang::Hin),
    ("hr", Lang::Hrv), ("hu", Lang::Hun), ("hy", Lang::Hye), ("id", Lang::Ind),
    ("it", Lang::Ita), ("ja", Lang::Jpn), ("jv", Lang::Jav), ("ka", Lang::Kat),
    ("km", Lang::Khm), ("kn", Lang::Kan), ("ko", Lang::Kor), ("la", Lang::Lat),
    ("lt", Lang::Lit), ("lv", Lang::Lav), ("mk", Lang::Mkd), ("ml", Lang::Mal),
    ("mr", Lang::Mar), ("my", Lang::Mya), ("ne", Lang::Nep), ("nl", Lang::Nld),
    ("no", Lang::Nob), ("or", Lang::Ori), ("pa", Lang::Pan), ("pl", Lang::Pol),
    ("pt", Lang::Por), ("ro", Lang::Ron), ("ru", Lang::Rus), ("si", Lang::Sin),
    ("sk", Lang::Slk), ("sl", Lang::Slv), ("sn", Lang::Sna), ("sr", Lang::Srp),
    ("sv", Lang::Swe), ("ta", Lang::Tam), ("te", Lang::Tel), ("th", Lang::Tha),
    ("tk", Lang::Tuk), ("tl", Lang::Tgl), ("tr", Lang::Tur), ("uk", Lang::Ukr),
    ("ur", Lang::Urd), ("uz", Lang::Uzb), ("vi", Lang::Vie), ("yi", Lang::Yid),
    ("zh", Lang::Cmn), ("zu", Lang::Zul),
];

/// An unknown language code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown language {0:?}; known: {known}", known = known_codes())]
pub struct UnknownLanguage(pub String);

/// The function words of all detectable languages; built on first use.
fn function_words() -> &'static FunctionWords {
    static ALL: OnceLock<FunctionWords> = OnceLock::new();
    ALL.get_or_init(|| FunctionWords::of(codes()))
}

/// The codes of all detectable languages.
fn codes() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(code, _)| *code)
}

fn known_codes() -> String {
    codes().collect::<Vec<_>>().join(", ")
}

fn code(lang: Lang) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(_, known)| *known == lang)
        .map(|(code, _)| *code)
}

/// The canonical code of a detectable language.
///
/// # Errors
/// [`UnknownLanguage`] for any other.
pub fn known(tag: &str) -> Result<&'static str, UnknownLanguage> {
    canonical(tag)
        .and_then(|code| KNOWN.iter().find(|(known, _)| *known == code))
        .map(|(code, _)| *code)
        .ok_or_else(|| UnknownLanguage(tag.to_owned()))
}

/// The languages that detection chooses from.
#[derive(Debug)]
pub struct Languages {
    codes: Vec<&'static str>,
    detector: Detector,
}

impl Languages {
    /// # Errors
    /// [`UnknownLanguage`] naming the first unknown code.
    pub fn new(codes: &[String]) -> Result<Self, UnknownLanguage> {
        let codes = codes
            .iter()
            .map(|tag| known(tag))
            .collect::<Result<Vec<_>, _>>()?;
        let langs = KNOWN
            .iter()
            .filter(|(code, _)| codes.contains(code))
            .map(|(_, lang)| *lang);
        Ok(Self {
            detector: Detector::with_allowlist(langs.collect()),
            codes,
        })
    }

    /// The canonical codes, in the order given.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.codes.iter().copied()
    }

    /// The language of a title and a text (both plain), if it is certain and one of these.
    ///
    /// Only some places of a long text are examined ([`samples`]), until two agree: detection costs
    /// more per character than all other preprocessing.
    pub fn detect(&self, title: &str, text: &str) -> Option<&'static str> {
        let samples = samples(title, text);
        let of_script: Vec<_> = samples.iter().map(|one| of_main_script(one)).collect();
        if let Some(clear) = function_words().clear_language_of(&of_script) {
            return Some(clear).filter(|code| self.codes.contains(code));
        }
        if let [only] = samples.as_slice() {
            return self.sure_of(only);
        }
        let mut votes: Vec<&'static str> = Vec::new();
        for at in from_the_middle(samples.len()) {
            let Some(vote) = self.sure_of(&samples[at]) else {
                continue;
            };
            if votes.contains(&vote) {
                return Some(vote);
            }
            votes.push(vote);
        }
        match votes.as_slice() {
            [only] => Some(only),
            _ => self.sure_of(&samples.concat()),
        }
    }

    /// The language of a sample by its letters, or by its function words if those leave doubts.
    fn sure_of(&self, sample: &str) -> Option<&'static str> {
        let sample = of_main_script(sample);
        let info = self.detector.detect(&sample)?;
        let by_letters = code(info.lang())?;
        let sure = if info.is_reliable() {
            by_letters
        } else {
            function_words().language_of(&sample, by_letters)?
        };
        // If a script is used by one language only, whatlang returns that language even if it is
        // not allowed.
        Some(sure).filter(|code| self.codes.contains(code))
    }
}

/// All numbers below `count`, from the middle outwards: the beginning of a text is the most likely
/// part to be in another language.
fn from_the_middle(count: usize) -> impl Iterator<Item = usize> {
    let middle = count / 2;
    (middle..count).chain((0..middle).rev())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_runtime::config::{Config, Flags};

    use super::*;

    fn languages(codes: &[&str]) -> Languages {
        Languages::new(
            &codes
                .iter()
                .map(|code| (*code).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap()
    }

    #[test]
    fn every_language_of_the_detector_has_a_code() {
        assert_eq!(Lang::all().len(), KNOWN.len());
        for lang in Lang::all() {
            assert!(code(*lang).is_some(), "{lang:?}");
        }
        assert!(KNOWN.is_sorted_by(|a, b| a.0 < b.0));
    }

    /// An item with a given language is comparable to items whose language was detected.
    #[test]
    fn detected_codes_are_canonical() {
        for (known, lang) in KNOWN {
            assert_eq!(canonical(known).as_deref(), Some(known));
            assert_eq!(canonical(lang.code()).as_deref(), Some(known), "{lang:?}");
        }
    }

    #[test]
    fn an_unknown_language_is_named() {
        let error = Languages::new(&["en".into(), "tlh".into()]).unwrap_err();
        assert_eq!(error, UnknownLanguage("tlh".into()));
        assert!(error.to_string().contains("\"tlh\"") && error.to_string().contains("de, el, en"));
    }

    #[test]
    fn finds_the_configured_languages() {
        let known = languages(&["en", "de", "fr", "es", "it", "pt", "nl", "sv"]);
        for (code, text) in [
            (
                "en",
                "The harbour bridge has been reopened to traffic after two years of repairs, and the city is glad about it.",
            ),
            (
                "de",
                "Die Hafenbrücke ist nach zwei Jahren wieder für den Verkehr geöffnet, und die Stadt freut sich darüber sehr.",
            ),
            (
                "fr",
                "Le pont du port est de nouveau ouvert à la circulation après deux ans de travaux, et la ville s'en réjouit.",
            ),
            (
                "es",
                "El puente del puerto vuelve a estar abierto al tráfico después de dos años de obras, y la ciudad se alegra.",
            ),
            (
                "it",
                "Il ponte del porto è di nuovo aperto al traffico dopo due anni di lavori, e la città ne è contenta.",
            ),
            (
                "pt",
                "A ponte do porto está novamente aberta ao trânsito depois de dois anos de obras, e a cidade está contente com isso.",
            ),
            (
                "nl",
                "De havenbrug is na twee jaar werkzaamheden weer open voor het verkeer, en de stad is daar heel blij mee.",
            ),
            (
                "sv",
                "Hamnbron är åter öppen för trafik efter två års reparationer, och staden är mycket glad över det.",
            ),
        ] {
            assert_eq!(known.detect("", text), Some(code), "{text}");
        }
    }

    /// The default setting, with which every language may be confused with any other.
    #[test]
    fn all_languages_are_told_apart() {
        let nowhere = std::path::Path::new("/nonexistent");
        let (config, _) = Config::resolve(&Flags::default(), [], nowhere).unwrap();
        let default = config.texts.languages;
        assert_eq!(default.len(), KNOWN.len());
        let known = Languages::new(&default).unwrap();
        let mut others = Vec::new();
        for (code, text) in [
            (
                "en",
                "Schools get new paint before summer, and the council says that it will pay for all of it.",
            ),
            (
                "de",
                "Die Hafenbrücke ist nach zwei Jahren wieder für den Verkehr geöffnet, und die Bewohner der Stadt freuen sich darüber sehr.",
            ),
            (
                "fr",
                "La ville a rouvert le pont du port après deux ans de travaux, et les habitants s'en réjouissent beaucoup.",
            ),
            (
                "pl",
                "Most portowy został ponownie otwarty dla ruchu po dwóch latach remontu, a mieszkańcy bardzo się cieszą.",
            ),
            (
                "cs",
                "Přístavní most byl po dvou letech oprav znovu otevřen pro dopravu a obyvatelé města mají velkou radost.",
            ),
            (
                "fi",
                "Satamasilta on avattu jälleen liikenteelle kahden vuoden korjausten jälkeen, ja kaupunki on siitä iloinen.",
            ),
            (
                "tr",
                "Liman köprüsü iki yıllık onarımdan sonra yeniden trafiğe açıldı ve şehir halkı buna çok sevindi.",
            ),
            (
                "ru",
                "Портовый мост снова открыт для движения после двух лет ремонта, и жители города очень рады этому.",
            ),
            (
                "uk",
                "Портовий міст знову відкрито для руху після двох років ремонту, і мешканці міста дуже цьому раді.",
            ),
            ("ja", "港の橋が二年ぶりに開通しました。"),
            ("ko", "항구 다리가 이 년 만에 다시 열렸다"),
            (
                "ar",
                "أعيد فتح جسر الميناء أمام حركة المرور بعد عامين من الإصلاحات، والمدينة سعيدة بذلك.",
            ),
        ] {
            let found = known.detect("", text);
            if found != Some(code) {
                others.push((code, found));
            }
        }
        assert_eq!(others, [], "read as other languages");
        for short in [
            "Nachtzug nach Rom",
            "Hafenbrücke gesperrt",
            "iPhone 15 Pro Max",
        ] {
            let found = known.detect(short, "");
            assert!(found.is_none() || found == Some("de"), "{short}: {found:?}");
        }
    }

    /// Product names stay Latin in texts of other scripts, where a word may be only a character or
    /// two.
    #[test]
    fn latin_names_do_not_outvote_another_script() {
        let known = Languages::new(&codes().map(str::to_owned).collect::<Vec<_>>()).unwrap();
        for (code, text) in [
            (
                "ja",
                "libmpeg2 は、MPEG1 および MPEG2 ビデオストリームのデコードを行なえるライブラリです。",
            ),
            ("ja", "Raspberry Pi と Kubernetes で作る小さな Cluster"),
            ("zh", "在 Kubernetes 上运行 PostgreSQL 数据库的方法"),
            ("ko", "GitHub Actions 로 Rust 프로젝트 배포하기"),
            ("el", "Πώς τρέχει το PostgreSQL στο Kubernetes"),
        ] {
            assert_eq!(known.detect(text, ""), Some(code), "{text}");
        }
        let russian = known.detect("сбор данных (Debian Science)", "");
        assert!(russian.is_none() || russian == Some("ru"), "{russian:?}");
        let english =
            "The word книга means book in Russian, and what it means to readers is another matter.";
        assert_eq!(known.detect(english, ""), Some("en"));
    }

    #[test]
    fn what_is_not_configured_or_not_reliable_is_not_found() {
        let known = languages(&["en", "de", "fr", "es", "it", "pt", "nl", "sv"]);
        assert_eq!(known.detect("", ""), None);
        assert_eq!(known.detect("", "123 456"), None);
        assert_eq!(known.detect("OK", ""), None);
        assert_eq!(
            known.detect("", "Η γέφυρα του λιμανιού άνοιξε ξανά μετά από δύο χρόνια."),
            None
        );
        assert_eq!(known.detect("", "港の橋が二年ぶりに開通しました。"), None);
        assert_eq!(
            languages(&[]).detect("", "The harbour bridge has been reopened to traffic."),
            None
        );
        assert_eq!(
            languages(&["ja", "zh"]).detect("", "港の橋が二年ぶりに開通しました。"),
            Some("ja")
        );
    }

    const GERMAN: &str = "An der Hafenbrücke wird wieder gebaut: Die Fähre fährt öfter, und die Händler am Kai fürchten um ihre Gäste im Sommer. ";
    const BANNER: &str = "We and our partners store and access information on your device, such as cookies, and process personal data. ";

    #[test]
    fn what_is_no_word_does_not_count() {
        let known = languages(&["en", "de", "fr", "es", "it", "pt", "nl", "sv"]);
        let french = "La ville a rouvert le pont du port après deux ans de travaux, et les habitants s'en réjouissent beaucoup.";
        for space in [
            " ", "\n", "\t", "\r\n", "\u{a0}", "\u{3000}", "\u{2003}", "1 ", ". ", "— ", "\u{200b}",
        ] {
            let text = format!("{}{french}{}", space.repeat(2_000), space.repeat(500));
            assert_eq!(known.detect("Pont", &text), Some("fr"), "{space:?}");
        }
        let links = "https://www.example.org/the/and/of/with/from ".repeat(50);
        assert_eq!(known.detect("", &format!("{links}{french}")), Some("fr"));
    }

    #[test]
    fn the_most_of_a_text_counts_and_not_its_start() {
        let known = languages(&["en", "de", "fr", "es", "it", "pt", "nl", "sv"]);
        for (banners, rest) in [(1, 4), (2, 8), (10, 30), (4, 8)] {
            let text = format!("{}{}", BANNER.repeat(banners), GERMAN.repeat(rest));
            assert_eq!(known.detect("", &text), Some("de"), "{banners} {rest}");
            let text = format!("{}{}", GERMAN.repeat(rest), BANNER.repeat(banners));
            assert_eq!(known.detect("", &text), Some("de"), "{banners} {rest}");
        }
    }
}
