"""Makes the table of word pieces. Steps that were done are kept in the work folder."""

import argparse
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
from scipy import sparse

from . import encoder, file, fit, inputs, pairs, start, vocabulary
from .segments import Segmenter
from .terms import terms

HERE = Path(__file__).resolve().parent
FIT_DIMENSION = 256


def say(text):
    print(text, file=sys.stderr, flush=True)


def options():
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("--inputs", required=True, type=Path, help="folder of the packages in inputs.py")
    parser.add_argument("--lists", required=True, type=Path, help="folder of Debian's lists (see debian.sums)")
    parser.add_argument("--terms", required=True, type=Path, help="the built example `terms`")
    parser.add_argument("--work", required=True, type=Path, help="folder for what takes long")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--without-fit", action="store_true", help="the start vectors, for comparison")
    parser.add_argument("--leave-out", default="", help="more sections not to fit to, with commas between")
    parser.add_argument("-o", "--output", required=True, type=Path)
    return parser.parse_args()


def begin(args):
    """The vocabulary's texts, costs, probabilities, and start vectors."""
    kept = args.work / "start.npz"
    if not kept.exists():
        model, weights = inputs.encoder(args.inputs)
        english_words, english_vectors = inputs.english(args.inputs)
        pieces = encoder.pieces(model)
        found = vocabulary.build(pieces, english_words, args.terms)
        say(f"{len(pieces)} pieces, {len(found.texts)} texts, {len(found.english)} with English word vectors")
        rows = start.build(found, encoder.Encoder(weights), english_vectors, FIT_DIMENSION)
        np.savez(kept, texts=np.array(found.texts), probability=found.probability, rows=rows)
    with np.load(kept) as saved:
        return saved["texts"].tolist(), saved["probability"], saved["rows"]


def counts(term_lists, segmenter, weights):
    """A CSR matrix, texts × rows: Σ tf · weight of each row."""
    cache = {}
    data, columns, offsets = [], [], [0]
    for one in term_lists:
        for term, frequency in one:
            rows = cache.get(term)
            if rows is None:
                rows = cache[term] = segmenter.segment(term)[0]
            columns.extend(rows)
            data.extend([frequency] * len(rows))
        offsets.append(len(columns))
    columns = np.array(columns, np.int64)
    data = np.array(data, np.float32) * weights[columns]
    matrix = sparse.csr_matrix((data, columns, offsets), shape=(len(term_lists), len(weights)))
    matrix.sum_duplicates()
    return matrix


def paired(args, left_out):
    """The source and the terms of both sides of each pair."""
    kept = args.work / f"pairs-{'-'.join(left_out)}.pickle"
    if not kept.exists():
        found, kinds = pairs.texts(args.lists, left_out)
        say(f"{len(found)} pairs: {kinds}")
        sides = [terms(args.terms, [pair[side] for pair in found]) for side in (1, 2)]
        kept.write_bytes(pickle.dumps(([pair[0] for pair in found], *sides)))
    return pickle.loads(kept.read_bytes())


def fitted(args, texts, probability, rows):
    left_out = pairs.HELD_OUT + tuple(name for name in args.leave_out.split(",") if name)
    kept = args.work / f"fitted-{'-'.join(left_out)}.npy"
    if not kept.exists():
        of, *term_lists = paired(args, left_out)
        segmenter = Segmenter(texts, [-math.log(p) for p in probability])
        weights = start.smooth(probability).astype(np.float32)
        sides = [counts(one, segmenter, weights) for one in term_lists]
        usable = np.flatnonzero((np.diff(sides[0].indptr) > 0) & (np.diff(sides[1].indptr) > 0))
        _, sources = np.unique([of[i] for i in usable], return_inverse=True)
        say(f"{len(usable)} pairs with terms")
        np.save(kept, fit.fitted(rows, sides[0][usable], sides[1][usable], sources, say))
    return np.load(kept)


def main():
    args = options()
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        inputs.check_lists(args.lists, HERE / "debian.sums")
        texts, probability, rows = begin(args)
        if not args.without_fit:
            rows = fitted(args, texts, probability, rows)
    except (inputs.WrongInput, FileNotFoundError) as error:
        sys.exit(f"make: {error}")
    weights = np.minimum(probability, start.COMMON).astype(np.float32)
    rows = rows - (weights / weights.sum()) @ rows
    if args.dimension < rows.shape[1]:
        rows = rows @ start.components(rows, weights, args.dimension)
    rows = rows * start.smooth(probability).astype(np.float32)[:, None]
    costs = [-math.log(p) for p in probability]
    file.write(args.output, rows, [(text, row, cost) for row, (text, cost) in enumerate(zip(texts, costs))])
    say(f"{args.output}: {os.path.getsize(args.output):,} bytes, {len(texts)} texts of {args.dimension} values")


if __name__ == "__main__":
    main()
