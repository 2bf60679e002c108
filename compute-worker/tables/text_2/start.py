"""Initial vectors of the vocabulary's texts, from the encoder and the English word vectors."""

import numpy as np

COMMON = 1e-4
"""Words much likelier than this hardly count; it also bounds the weight of a row in means and components."""
GLOVE_WEIGHT = 2.0
GLOVE_COMPONENTS = 3
BATCH = 4_096
HEAVIEST = 40_000
"""Number of rows, those of highest weight, from which components are computed."""


def smooth(probability):
    """How much a row counts: a/(a + p) (Arora, Liang and Ma 2017)."""
    return COMMON / (COMMON + probability)


def components(x, weights, count):
    """The `count` directions in which rows with these weights differ most, `x.shape[1] × count`."""
    heavy = np.argsort(-weights, kind="stable")[:HEAVIEST]
    x, weights = x[heavy], weights[heavy]
    covariance = (x * weights[:, None]).T @ x
    _, vectors = np.linalg.eigh(covariance.astype(np.float64))
    vectors = vectors[:, ::-1][:, :count]
    # The sign of an eigenvector is arbitrary; make its largest value positive.
    largest = np.abs(vectors).argmax(axis=0)
    return (vectors * np.sign(vectors[largest, range(count)])).astype(np.float32)


def without_components(words, count):
    """English word vectors less their mean and their largest components."""
    x = words - words.mean(axis=0)
    main = components(x, np.ones(len(x), np.float32), count)
    return x - (x @ main) @ main.T


def build(vocabulary, encoder, english, dimension):
    """`len(vocabulary.texts) × dimension`, the mean taken off, each component of one variance.

    The largest components tell languages and frequent words apart: unscaled they hide the rest.
    """
    count = len(vocabulary.texts)
    used = sorted({p for parts in vocabulary.members for _, ids in parts for p in ids})
    at = {piece: row for row, piece in enumerate(used)}
    raw = encoder.embeddings(np.array(used)).astype(np.float32)
    encoded = np.concatenate([encoder.alone(raw[i : i + BATCH]) for i in range(0, len(raw), BATCH)])
    blocks = [np.zeros((count, 512), np.float32), np.zeros((count, 512), np.float32)]
    for row, parts in enumerate(vocabulary.members):
        for weight, ids in parts:
            for piece in ids:
                share = np.float32(weight / len(ids))
                blocks[0][row] += share * raw[at[piece]]
                blocks[1][row] += share * encoded[at[piece]]
    glove = np.zeros((count, english.shape[1]), np.float32)
    cleaned = without_components(english, GLOVE_COMPONENTS)
    for row, text in enumerate(vocabulary.texts):
        if text in vocabulary.english:
            glove[row] = cleaned[vocabulary.english[text]]
    weights = np.minimum(vocabulary.probability, COMMON).astype(np.float32)
    weights /= weights.sum()

    def scaled(block, factor):
        rows = np.abs(block).max(axis=1) > 0
        return block * np.float32(factor / np.sqrt((block[rows] ** 2).mean()))

    x = np.concatenate([scaled(blocks[0], 1), scaled(blocks[1], 1), scaled(glove, GLOVE_WEIGHT)], axis=1)
    x -= weights @ x
    x = x @ components(x, weights, dimension)
    return x / np.sqrt(weights @ (x * x))
