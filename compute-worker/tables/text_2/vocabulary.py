"""The texts under which vectors are found: the encoder's pieces and English words, folded like terms."""

import math
import unicodedata
from dataclasses import dataclass

import numpy as np

from .segments import BEGIN, Segmenter
from .terms import folded

ENGLISH_WORDS = 60_000
"""The most frequent ones are looked at; those that are pieces anyway are left out."""
FOLDINGS = ("en", "fr", "es", "ru")
"""Languages whose folding differs: as in most, without accents, with the tilde alone, without yo."""
LONGEST_BYTES = 128


@dataclass
class Vocabulary:
    """Texts, and of what each one's vector is made."""

    texts: list
    probability: np.ndarray
    members: list
    """For each text, the parts of its vector: (weight, piece ids); the weights sum to 1."""
    english: dict
    """Text → row of the English word vectors."""


def _is_word(text):
    return bool(text) and all(unicodedata.category(c)[0] in "LNM" for c in text)


def build(pieces, english_words, program):
    """`pieces` as of `encoder.pieces`; `english_words` by descending frequency."""
    begins = [text.startswith(BEGIN) for text, _, _ in pieces]
    bare = [text[1:] if begin else text for (text, _, _), begin in zip(pieces, begins)]
    forms = {}
    for language in FOLDINGS:
        for piece, form in enumerate(folded(program, language, bare)):
            if not pieces[piece][2] or not _is_word(form) or len(form.encode()) > LONGEST_BYTES - 3:
                continue
            forms.setdefault((BEGIN if begins[piece] else "") + form, set()).add(piece)
    texts = sorted(forms)
    probability = [sum(math.exp(pieces[p][1]) for p in sorted(forms[text])) for text in texts]
    members = []
    for text in texts:
        whole = sum(math.exp(pieces[p][1]) for p in sorted(forms[text]))
        members.append([(math.exp(pieces[p][1]) / whole, [p]) for p in sorted(forms[text])])

    # English words that are not pieces, built from the pieces into which they are segmented.
    rank = {word: row for row, word in enumerate(english_words)}
    known = Segmenter(texts, [-math.log(p) for p in probability])
    likely = _likelihood(texts, probability, rank)
    english = {text: rank[text[1:]] for text in texts if text.startswith(BEGIN) and text[1:] in rank}
    for row, word in enumerate(english_words[:ENGLISH_WORDS]):
        text = BEGIN + word
        if text in known.row or not (word.isascii() and word.isalpha()) or len(word) < 2:
            continue
        rows, _ = known.segment(word)
        if not rows:
            continue
        ids = [max(members[r])[1][0] for r in rows]
        texts.append(text)
        probability.append(likely(row))
        members.append([(1.0, ids)])
        english[text] = row
    return Vocabulary(texts, np.array(probability), members, english)


def _likelihood(texts, probability, rank):
    """p of an English word by its rank: the line log p = a + b·log(rank + 3) through words that are pieces."""
    known = [(rank[t[1:]], p) for t, p in zip(texts, probability) if t.startswith(BEGIN) and t[1:] in rank]
    known = [(math.log(r + 3), math.log(p)) for r, p in known if 1_000 <= r < ENGLISH_WORDS]
    xs, ys = np.array(known).T
    slope, offset = np.polyfit(xs, ys, 1)
    return lambda r: math.exp(offset + slope * math.log(r + 3))
