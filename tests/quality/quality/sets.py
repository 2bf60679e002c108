"""The measured sets: news with human ratings, Debian's sections with tags, and their translations."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np

from . import measures

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "compute-worker" / "tables"))
from text_2.debian import packages  # noqa: E402

TUNED_ON = ("sound", "games", "utils")
HELD_OUT = ("graphics", "science", "net")
PER_SECTION = 1_000
LEAST_TAGS = 4
ACROSS = 1_000


def news(gensim):
    """The 50 texts of Lee, Pincombe and Welsh (2005), and their mean ratings, above the diagonal of 50 × 50."""
    with zipfile.ZipFile(gensim) as wheel:
        place = "gensim/test/test_data/"
        texts = wheel.read(place + "lee.cor").decode("latin-1").splitlines()
        ratings = np.loadtxt(wheel.open(place + "similarities0-1.txt"))
    if len(texts) != 50 or ratings.shape != (50, 50):
        raise RuntimeError(f"{gensim} holds {len(texts)} texts and ratings {ratings.shape}, not 50 and 50 × 50")
    return texts, ratings


def demo():
    """The demo's three domains: items, and for some of them the ids that their lists should begin with."""
    for file in sorted((ROOT / "model-service" / "demo").glob("*.expected.json")):
        name = file.name.removesuffix(".expected.json")
        events = [json.loads(line) for line in (file.parent / f"{name}.ndjson").read_text().splitlines()]
        items = [{k: v for k, v in event.items() if k in ("id", "title", "text", "language")} for event in events]
        yield name, items, {one["id"]: one["expected"] for one in json.loads(file.read_text())}


def sections(lists, names, languages=("de", "fr")):
    """By section, its first packages with enough tags; translations beside."""
    every = packages(lists, languages)
    return {
        name: [p for p in every if p.section == name and len(p.tags) >= LEAST_TAGS][:PER_SECTION] for name in names
    }


def item(package, language, says_language):
    """A package as an item, in a translation or (`None`) in English, which is said or left to be detected."""
    title, body = package.translations[language] if language else (package.title, package.body)
    said = {"language": language or "en"} if says_language else {}
    return {"id": package.name, "title": title, "text": body, **said}


_GAINS = {}


def _gains(chosen):
    """Shared tags of all with all, 0 within a source; kept, since variants are measured on the same packages."""
    key = tuple(p.name for p in chosen)
    if key not in _GAINS:
        column = {tag: at for at, tag in enumerate(sorted(set().union(*(p.tags for p in chosen))))}
        tags = np.zeros((len(chosen), len(column)))
        for at, package in enumerate(chosen):
            tags[at, [column[tag] for tag in package.tags]] = 1
        shared, count = tags @ tags.T, tags.sum(axis=1)
        gains = shared / (count[:, None] + count[None, :] - shared)
        source = np.unique([p.source for p in chosen], return_inverse=True)[1]
        gains[source[:, None] == source[None, :]] = 0
        _GAINS[key] = gains
    return _GAINS[key]


def tag_scores(chosen, answers):
    """nDCG@10 of each package's answers by shared tags (Jaccard); answers of the same source do not count."""
    gains, at = _gains(chosen), {p.name: row for row, p in enumerate(chosen)}
    scores = []
    for row, package in enumerate(chosen):
        found = [at[name] for name, _ in answers[package.name] if chosen[at[name]].source != package.source]
        score = measures.ndcg(gains[row, found[: measures.CUT]], gains[row])
        if score is not None:
            scores.append(score)
    return scores


def overlap(answers, others):
    """Mean share of the first ten answers that two lists of an item have in common."""
    cut = measures.CUT
    shares = []
    for name, found in answers.items():
        a, b = {n for n, _ in found[:cut]}, {n for n, _ in others[name][:cut]}
        if b:
            shares.append(len(a & b) / len(b))
    return float(np.mean(shares))
