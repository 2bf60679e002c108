//! Language codes: many spellings, one canonical code per language.
//!
//! `de`, `DE`, `ger`, `deu`, `de-AT` and `de_AT` are one language. ISO 639 has up to three codes for a language (639-1,
//! and two in 639-2, terminological and bibliographic), BCP 47 adds subtags for region and script, some systems write
//! `_`, and some codes that were replaced long ago are still in use.

/// Codes of two and three letters and the canonical one: every language of ISO 639-1 by its 639-2 codes; withdrawn
/// codes (`iw`, `in`, `mo`, …); and, for a group of languages, the one that is usually meant, by its own code (`cmn`
/// for `zh`), following Unicode's CLDR. Both written forms of Norwegian are `no`, because detection cannot distinguish
/// them. Sorted by code.
#[rustfmt::skip] // one a line would fill pages
const CANONICAL: [(&str, &str); 243] = [
    ("aar", "aa"), ("abk", "ab"), ("afr", "af"), ("aka", "ak"), ("alb", "sq"), ("als", "sq"),
    ("amh", "am"), ("ara", "ar"), ("arb", "ar"), ("arg", "an"), ("arm", "hy"), ("asm", "as"),
    ("ava", "av"), ("ave", "ae"), ("aym", "ay"), ("aze", "az"), ("azj", "az"), ("bak", "ba"),
    ("bam", "bm"), ("baq", "eu"), ("bel", "be"), ("ben", "bn"), ("bih", "bh"), ("bis", "bi"),
    ("bod", "bo"), ("bos", "bs"), ("bre", "br"), ("bul", "bg"), ("bur", "my"), ("cat", "ca"),
    ("ces", "cs"), ("cha", "ch"), ("che", "ce"), ("chi", "zh"), ("chu", "cu"), ("chv", "cv"),
    ("cmn", "zh"), ("cor", "kw"), ("cos", "co"), ("cre", "cr"), ("cym", "cy"), ("cze", "cs"),
    ("dan", "da"), ("deu", "de"), ("div", "dv"), ("dut", "nl"), ("dzo", "dz"), ("ekk", "et"),
    ("ell", "el"), ("eng", "en"), ("epo", "eo"), ("est", "et"), ("eus", "eu"), ("ewe", "ee"),
    ("fao", "fo"), ("fas", "fa"), ("fat", "ak"), ("fij", "fj"), ("fil", "tl"), ("fin", "fi"),
    ("fra", "fr"), ("fre", "fr"), ("fry", "fy"), ("fuc", "ff"), ("ful", "ff"), ("geo", "ka"),
    ("ger", "de"), ("gla", "gd"), ("gle", "ga"), ("glg", "gl"), ("glv", "gv"), ("gre", "el"),
    ("grn", "gn"), ("gug", "gn"), ("guj", "gu"), ("hat", "ht"), ("hau", "ha"), ("hbs", "sr"),
    ("heb", "he"), ("her", "hz"), ("hin", "hi"), ("hmo", "ho"), ("hrv", "hr"), ("hun", "hu"),
    ("hye", "hy"), ("ibo", "ig"), ("ice", "is"), ("ido", "io"), ("iii", "ii"), ("ike", "iu"),
    ("iku", "iu"), ("ile", "ie"), ("in", "id"), ("ina", "ia"), ("ind", "id"), ("ipk", "ik"),
    ("isl", "is"), ("ita", "it"), ("iw", "he"), ("jav", "jv"), ("jaw", "jv"), ("ji", "yi"),
    ("jpn", "ja"), ("jw", "jv"), ("kal", "kl"), ("kan", "kn"), ("kas", "ks"), ("kat", "ka"),
    ("kau", "kr"), ("kaz", "kk"), ("khk", "mn"), ("khm", "km"), ("kik", "ki"), ("kin", "rw"),
    ("kir", "ky"), ("kmr", "ku"), ("kom", "kv"), ("kon", "kg"), ("kor", "ko"), ("kua", "kj"),
    ("kur", "ku"), ("lao", "lo"), ("lat", "la"), ("lav", "lv"), ("lim", "li"), ("lin", "ln"),
    ("lit", "lt"), ("ltz", "lb"), ("lub", "lu"), ("lug", "lg"), ("lvs", "lv"), ("mac", "mk"),
    ("mah", "mh"), ("mal", "ml"), ("mao", "mi"), ("mar", "mr"), ("may", "ms"), ("mkd", "mk"),
    ("mlg", "mg"), ("mlt", "mt"), ("mo", "ro"), ("mol", "ro"), ("mon", "mn"), ("mri", "mi"),
    ("msa", "ms"), ("mya", "my"), ("nau", "na"), ("nav", "nv"), ("nb", "no"), ("nbl", "nr"),
    ("nde", "nd"), ("ndo", "ng"), ("nep", "ne"), ("nld", "nl"), ("nn", "no"), ("nno", "no"),
    ("nob", "no"), ("nor", "no"), ("npi", "ne"), ("nya", "ny"), ("oci", "oc"), ("ojg", "oj"),
    ("oji", "oj"), ("ori", "or"), ("orm", "om"), ("ory", "or"), ("oss", "os"), ("pan", "pa"),
    ("per", "fa"), ("pes", "fa"), ("pli", "pi"), ("plt", "mg"), ("pnb", "pa"), ("pol", "pl"),
    ("por", "pt"), ("prs", "fa"), ("pus", "ps"), ("que", "qu"), ("quz", "qu"), ("roh", "rm"),
    ("ron", "ro"), ("rum", "ro"), ("run", "rn"), ("rus", "ru"), ("sag", "sg"), ("san", "sa"),
    ("scc", "sr"), ("scr", "hr"), ("sh", "sr"), ("sin", "si"), ("slk", "sk"), ("slo", "sk"),
    ("slv", "sl"), ("sme", "se"), ("smo", "sm"), ("sna", "sn"), ("snd", "sd"), ("som", "so"),
    ("sot", "st"), ("spa", "es"), ("sqi", "sq"), ("srd", "sc"), ("srp", "sr"), ("ssw", "ss"),
    ("sun", "su"), ("swa", "sw"), ("swe", "sv"), ("swh", "sw"), ("tah", "ty"), ("tam", "ta"),
    ("tat", "tt"), ("tel", "te"), ("tgk", "tg"), ("tgl", "tl"), ("tha", "th"), ("tib", "bo"),
    ("tir", "ti"), ("ton", "to"), ("tsn", "tn"), ("tso", "ts"), ("tuk", "tk"), ("tur", "tr"),
    ("tw", "ak"), ("twi", "ak"), ("uig", "ug"), ("ukr", "uk"), ("urd", "ur"), ("uzb", "uz"),
    ("uzn", "uz"), ("ven", "ve"), ("vie", "vi"), ("vol", "vo"), ("wel", "cy"), ("wln", "wa"),
    ("wol", "wo"), ("xho", "xh"), ("ydd", "yi"), ("yid", "yi"), ("yor", "yo"), ("zha", "za"),
    ("zho", "zh"), ("zsm", "ms"), ("zul", "zu"),
];

/// Codes for an unknown language (`und`), several languages (`mul`), no language (`zxx`), or a language without a code
/// (`mis`).
const NOT_GIVEN: [&str; 4] = ["mis", "mul", "und", "zxx"];
/// Longest tag that is accepted, in bytes.
const MAX_TAG_BYTES: usize = 64;

/// The canonical code of the language that a tag names: two letters if ISO 639-1 has such a code, else three. `None` if
/// the tag names no language: empty, `und`, `mul`, `zxx`, `mis`, or entirely for private use.
pub fn canonical(tag: &str) -> Option<String> {
    let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    if primary.len() < 2 || NOT_GIVEN.contains(&primary.as_str()) {
        return None;
    }
    let found = CANONICAL.binary_search_by_key(&primary.as_str(), |(code, _)| code);
    Some(found.map_or(primary, |at| CANONICAL[at].1.to_owned()))
}

/// Whether this is a two-letter ISO 639-1 code, in lower case.
pub fn is_of_iso_639_1(code: &str) -> bool {
    let is_it = |(from, to): &(&str, &str)| *from == code || *to == code;
    code.len() == 2 && CANONICAL.iter().any(is_it)
}

/// Whether this has the form of a BCP 47 tag or an ISO 639 code; `_` may replace `-`. The empty tag has.
pub fn is_well_formed(tag: &str) -> bool {
    let tag = tag.trim();
    if tag.is_empty() {
        return true;
    }
    let mut subtags = tag.split(['-', '_']);
    let primary = subtags.next().unwrap_or_default();
    let of_letters = primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && match primary.len() {
            // Private-use tags, and tags registered before BCP 47: `x-mine`, `i-klingon`.
            1 => matches!(primary, "x" | "X" | "i" | "I") && tag.len() > 1,
            length => (2..=3).contains(&length),
        };
    tag.len() <= MAX_TAG_BYTES
        && of_letters
        && subtags.all(|subtag| {
            (1..=8).contains(&subtag.len())
                && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ascends_and_ends_in_canonical_codes() {
        assert!(CANONICAL.is_sorted_by(|a, b| a.0 < b.0));
        for (code, to) in CANONICAL {
            assert_ne!(code, to);
            assert_eq!(canonical(to).as_deref(), Some(to), "{code}");
        }
    }

    #[test]
    fn two_letters_are_a_code_where_a_language_has_it() {
        for code in ["de", "en", "nb", "zh"] {
            assert!(is_of_iso_639_1(code), "{code}");
        }
        for other in ["", "xx", "DE", "deu", "qa"] {
            assert!(!is_of_iso_639_1(other), "{other}");
        }
    }

    #[test]
    fn codes_of_one_language_are_one() {
        for (canonical_code, tags) in [
            (
                "de",
                &[
                    "de",
                    "DE",
                    "ger",
                    "deu",
                    "de-AT",
                    "de_AT",
                    "de-Latn-DE-1996",
                    " de ",
                ][..],
            ),
            ("fr", &["fr", "fre", "fra", "fr-CA", "FRE"]),
            ("zh", &["zh", "zho", "chi", "cmn", "zh-Hans-CN", "zh_TW"]),
            ("he", &["he", "iw", "heb", "iw-IL"]),
            ("id", &["id", "in", "ind", "in_ID"]),
            ("no", &["no", "nb", "nn", "nor", "nob", "nno", "nb-NO"]),
            ("cs", &["cs", "cze", "ces"]),
            ("el", &["el", "gre", "ell"]),
            ("nl", &["nl", "dut", "nld", "nl-BE"]),
            ("fa", &["fa", "per", "fas", "pes"]),
            ("ro", &["ro", "rum", "ron", "mo"]),
            ("sr", &["sr", "srp", "sr-Cyrl", "sh"]),
            ("haw", &["haw", "haw-US"]),
            ("zz", &["zz"]),
        ] {
            for tag in tags {
                assert!(is_well_formed(tag), "{tag}");
                assert_eq!(canonical(tag).as_deref(), Some(canonical_code), "{tag}");
            }
        }
    }

    #[test]
    fn some_tags_name_no_language() {
        for tag in [
            "", "  ", "und", "UND", "mul", "zxx", "mis", "und-Latn", "mul-x-a", "x-mine", "i-lux",
        ] {
            assert!(is_well_formed(tag), "{tag:?}");
            assert_eq!(canonical(tag), None, "{tag:?}");
        }
        assert_eq!(canonical("-x"), None);
    }

    #[test]
    fn what_is_no_tag_is_told() {
        for tag in [
            "english",
            "e",
            "x",
            "de-",
            "-de",
            "de--AT",
            "d3",
            "français",
            "de AT",
            "de.UTF-8",
        ] {
            assert!(!is_well_formed(tag), "{tag}");
        }
        assert!(!is_well_formed(&format!("de{}", "-abcdefgh".repeat(8))));
    }
}
