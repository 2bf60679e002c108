"""What each ingredient of text-2 gains and costs: the model's formula in numpy, with one thing changed at a time.

Sums are those of numpy and stems those of PyPI's snowballstemmer, so figures may differ from the program's in the
third digit; differences between rows of the table are what counts.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import snowballstemmer
from scipy import sparse

from . import measures, sets
from text_2 import start
from text_2.file import quantised
from text_2.segments import Segmenter
from text_2.terms import terms

STEMMERS = {"en": "english", "de": "german", "fr": "french"}


class Corpus:
    """Terms of titles and of bodies, in one language."""

    def __init__(self, program, language, texts):
        self.language = language
        self.titles = terms(program, [(language, title, "") for title, _ in texts])
        self.bodies = terms(program, [(language, "", body) for _, body in texts])

    def counted(self, title_weight):
        """Frequencies by term; the terms of titles come three times already."""
        for title, body in zip(self.titles, self.bodies):
            counts = {}
            for term, frequency in title:
                counts[term] = counts.get(term, 0) + frequency / 3 * title_weight
            for term, frequency in body:
                counts[term] = counts.get(term, 0) + frequency
            yield {term: count for term, count in sorted(counts.items()) if count > 0}


class Variant:
    """The formula, with what a variant changes."""

    def __init__(self, texts, probability, rows, share=0.4, title_weight=3, power=1.5, stems=True):
        self.segmenter = Segmenter(texts, [-math.log(p) for p in probability])
        self.rows, self.share, self.title_weight = rows, share, title_weight
        self.power, self.stems, self.known = power, stems, {}

    def scores(self, corpus):
        """All texts with all."""
        stemmer = snowballstemmer.stemmer(STEMMERS[corpus.language])
        dense = np.zeros((len(corpus.titles), self.rows.shape[1]), np.float32)
        columns, data, column, offsets = {}, [], [], [0]
        for at, counts in enumerate(corpus.counted(self.title_weight)):
            forms = {}
            for term, frequency in counts.items():
                if term not in self.known:
                    self.known[term] = self.segmenter.segment(term)
                pieces, cost = self.known[term]
                for piece in pieces:
                    dense[at] += np.float32(frequency) * self.rows[piece]
                has_forms = self.stems and not any(c.isdigit() for c in term)
                stem = stemmer.stemWord(term) if has_forms else term
                before = forms.get(stem, (0, 14.0))
                forms[stem] = (before[0] + frequency, min(before[1], cost))
            for stem, (frequency, idf) in forms.items():
                column.append(columns.setdefault(stem, len(columns)))
                data.append(math.log(1 + frequency) * idf**self.power)
            offsets.append(len(column))
        terms_part = sparse.csr_matrix((data, column, offsets), shape=(len(offsets) - 1, len(columns)))
        lengths = np.sqrt(np.asarray(terms_part.multiply(terms_part).sum(axis=1)).ravel())
        terms_part = sparse.diags(1 / np.maximum(lengths, 1e-9)) @ terms_part
        dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-9)
        by_terms = np.asarray((terms_part @ terms_part.T).todense())
        return self.share * (dense @ dense.T) + (1 - self.share) * by_terms


def ranked(names, scores, keep=50):
    """Lists as the program gives them: scores above 0, best first, ties by name."""
    lists = {}
    for at, name in enumerate(names):
        order = sorted((-s, names[i]) for i, s in enumerate(scores[at]) if i != at and s > 0)
        lists[name] = [(other, -s) for s, other in order[:keep]]
    return lists


def measured(variant, corpora, news):
    """nDCG of English, German, French, their overlaps, and Pearson on the news."""
    found = {}
    for language, by_section in corpora.items():
        scores, overlaps = [], []
        for packages, corpus, english in by_section.values():
            names = [p.name for p in packages]
            lists = ranked(names, variant.scores(corpus))
            scores.append(np.mean(sets.tag_scores(packages, lists)))
            if english is not None:
                overlaps.append(sets.overlap(lists, ranked(names, variant.scores(english))))
        found[f"{language} nDCG"] = float(np.mean(scores))
        if overlaps:
            found[f"{language} overlap"] = float(np.mean(overlaps))
    if news:
        corpus, ratings = news
        above = np.triu_indices(len(ratings), 1)
        found["news"] = measures.pearson(np.maximum(variant.scores(corpus), 0)[above], ratings[above])
    return found


def reduced(rows, probability, dimension, bits=4):
    """Rows as they are stored: fewer components, smoothed, in 4 bits."""
    weights = np.minimum(probability, start.COMMON).astype(np.float32)
    rows = rows - (weights / weights.sum()) @ rows
    if dimension < rows.shape[1]:
        rows = rows @ start.components(rows, weights, dimension)
    rows = rows * start.smooth(probability).astype(np.float32)[:, None]
    if bits == 4:
        codes, scales = quantised(rows)
        rows = codes * scales.astype(np.float32)[:, None]
    return rows


def variants(texts, probability, begin, fitted):
    """Name and variant, the model itself first."""
    def of(rows, dimension=128, bits=4, **changes):
        return Variant(texts, probability, reduced(rows, probability, dimension, bits), **changes)

    yield "text-2", of(fitted)
    yield "terms alone", of(fitted, share=0.0)
    yield "dense alone", of(fitted, share=1.0)
    yield "share of the dense part .3", of(fitted, share=0.3)
    yield "share of the dense part .5", of(fitted, share=0.5)
    yield "no fit", of(begin)
    yield "256 values", of(fitted, 256)
    yield "64 values", of(fitted, 64)
    yield "values of 32 bits", of(fitted, bits=32)
    yield "title once", of(fitted, title_weight=1)
    yield "title five times", of(fitted, title_weight=5)
    yield "idf, not idf^1.5", of(fitted, power=1.0)
    yield "no stems", of(fitted, stems=False)


def corpora(program, lists, names):
    """By language and section: packages, their texts, and the English texts of the same."""
    chosen = sets.sections(lists, names)
    found = {"en": {}, "de": {}, "fr": {}}
    for name, section in chosen.items():
        found["en"][name] = (section, Corpus(program, "en", [(p.title, p.body) for p in section]), None)
        for language in ("de", "fr"):
            there = [p for p in section if language in p.translations]
            english = Corpus(program, "en", [(p.title, p.body) for p in there])
            found[language][name] = (there, Corpus(program, language, [p.translations[language] for p in there]), english)
    return found


def main():
    parser = argparse.ArgumentParser(prog="ablation", description=__doc__)
    parser.add_argument("--work", required=True, type=Path, help="work folder of compute-worker/tables/make")
    parser.add_argument("--fitted", required=True, type=Path, help="fitted rows in that folder")
    parser.add_argument("--terms", required=True, help="the built example `terms`")
    parser.add_argument("--lists", required=True)
    parser.add_argument("--gensim", help="with it: the news, too")
    parser.add_argument("--sections", default=",".join(sets.TUNED_ON))
    args = parser.parse_args()
    with np.load(args.work / "start.npz") as saved:
        texts, probability, begin = saved["texts"].tolist(), saved["probability"], saved["rows"]
    fitted = np.load(args.fitted)
    measured_on = corpora(args.terms, args.lists, args.sections.split(","))
    news = None
    if args.gensim:
        bodies, ratings = sets.news(args.gensim)
        news = (Corpus(args.terms, "en", [("", body) for body in bodies]), ratings)
    header = None
    for name, variant in variants(texts, probability, begin, fitted):
        found = measured(variant, measured_on, news)
        if header is None:
            header = list(found)
            print("| | " + " | ".join(header) + " |\n|---|" + "---|" * len(header))
        print(f"| {name} | " + " | ".join(f"{found[h]:.3f}" for h in header) + " |", flush=True)


if __name__ == "__main__":
    main()
