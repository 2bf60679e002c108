"""A light contrastive fit: moves texts that belong together closer to each other than to others.

Symmetric InfoNCE (van den Oord, Li and Vinyals 2018) over the normalised sums of rows, with Adagrad and one sum
of squares per row. A batch consists of chunks of similar texts, so that the negatives of a pair are hard ones;
other texts of its source are not used as negatives.
"""

import numpy as np
from scipy import sparse

BATCH = 1_024
CHUNK = 128
CLUSTERS = 200
EPOCHS = 3
TEMPERATURE = 0.2
RATE = 0.4
SEED = 20


def _normalised(x):
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return x / np.maximum(length, 1e-9), np.maximum(length, 1e-9)


def _clusters(x, random):
    """k-means on the unit sphere: the cluster of each row."""
    centres = x[random.choice(len(x), CLUSTERS, replace=False)]
    for _ in range(4):
        nearest = (x @ centres.T).argmax(axis=1)
        of = sparse.csr_matrix((np.ones(len(x), np.float32), nearest, np.arange(len(x) + 1)), (len(x), CLUSTERS))
        centres, _ = _normalised(of.T @ x)
    return nearest


def _batches(clusters, random):
    order = np.lexsort((random.random(len(clusters)), clusters))
    chunks = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    chunks = [chunks[i] for i in random.permutation(len(chunks))]
    per_batch = BATCH // CHUNK
    for first in range(0, len(chunks) - per_batch + 1, per_batch):
        yield np.concatenate(chunks[first : first + per_batch])


def fitted(rows, left, right, sources, say=print):
    """`rows` after the fit. `left`, `right`: CSR matrices, pairs × rows; `sources`: an integer a pair."""
    rows = rows.copy()
    squares = np.zeros(len(rows), np.float32)
    random = np.random.default_rng(SEED)
    steps, step = EPOCHS * (left.shape[0] // BATCH), 0
    for epoch in range(EPOCHS):
        clusters = _clusters(_normalised(left @ rows)[0], random)
        losses = []
        for batch in _batches(clusters, random):
            rate = RATE * (1 - step / steps)
            step += 1
            both = sparse.vstack([left[batch], right[batch]]).tocsc()
            used = np.flatnonzero(np.diff(both.indptr))
            x = both[:, used].tocsr()
            sums, lengths = _normalised(x @ rows[used])
            count = len(batch)
            a, b = sums[:count], sums[count:]
            logits = a @ b.T / np.float32(TEMPERATURE)
            same = sources[batch][:, None] == sources[batch][None, :]
            np.fill_diagonal(same, False)
            logits[same] = -1e9
            by_row = np.exp(logits - logits.max(axis=1, keepdims=True))
            by_row /= by_row.sum(axis=1, keepdims=True)
            by_column = np.exp(logits - logits.max(axis=0, keepdims=True))
            by_column /= by_column.sum(axis=0, keepdims=True)
            losses.append(float(-np.log(np.maximum(np.diag(by_row), 1e-12)).mean()))
            gradient = (by_row + by_column) / (2 * count)
            gradient[range(count), range(count)] -= 1 / count
            gradient /= np.float32(TEMPERATURE)
            towards = np.concatenate([gradient @ b, gradient.T @ a])
            towards = (towards - sums * (towards * sums).sum(axis=1, keepdims=True)) / lengths
            change = x.T @ towards
            squares[used] += (change * change).mean(axis=1)
            rows[used] -= np.float32(rate) * change / np.sqrt(squares[used] + 1e-20)[:, None]
        say(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}")
    return rows
