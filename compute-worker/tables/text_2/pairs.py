"""Pairs of texts that belong together: title and description, description and translation."""

from .debian import packages

HELD_OUT = ("graphics", "science", "net")
"""Sections that docs/QUALITY.md measures. Their sources are excluded from the fit."""
LANGUAGES = {
    "de": "de", "fr": "fr", "it": "it", "es": "es", "pt": "pt", "pt_BR": "pt", "nl": "nl", "da": "da",
    "sv": "sv", "fi": "fi", "pl": "pl", "cs": "cs", "sk": "sk", "ru": "ru", "uk": "uk", "tr": "tr",
    "hu": "hu", "ja": "ja", "ko": "ko", "zh_CN": "zh", "zh_TW": "zh", "ca": "ca", "vi": "vi",
}
"""Maps each list of translations to the language of its texts."""
PER_SOURCE = 2
"""Packages of one source say nearly the same."""
PER_LANGUAGE = 4_000
TITLES = 15_000


def texts(lists, left_out):
    """Pairs of (language, title, body), each with its source; and how many there are of each kind."""
    every = packages(lists, tuple(LANGUAGES))
    held_sources = {p.source for p in every if p.section in left_out}
    held_texts = {p.md5 for p in every if p.section in left_out}
    pairs, counts, taken, seen = [], {}, {}, set()
    usable = [p for p in every if p.source not in held_sources and p.md5 not in held_texts]
    # In an order unrelated to names, so that caps select a mixture of everything.
    for package in sorted(usable, key=lambda p: (p.md5, p.name)):
        if package.md5 in seen or taken.get(package.source, 0) >= PER_SOURCE or len(package.body) < 40:
            continue
        seen.add(package.md5)
        taken[package.source] = taken.get(package.source, 0) + 1
        if taken[package.source] == 1 and counts.get("en title", 0) < TITLES:
            pairs.append((package.source, ("en", package.title, ""), ("en", "", package.body)))
            counts["en title"] = counts.get("en title", 0) + 1
        for code, (title, body) in sorted(package.translations.items()):
            is_translated = title != package.title and body != package.body and len(body) >= 20
            if not is_translated or counts.get(code, 0) >= PER_LANGUAGE:
                continue
            counts[code] = counts.get(code, 0) + 1
            original = ("en", package.title, package.body)
            pairs.append((package.source, original, (LANGUAGES[code], title, body)))
    return pairs, counts
