"""Measures of lists and scores."""

import numpy as np

CUT = 10
"""How many of the first answers count."""
_DISCOUNTS = 1 / np.log2(np.arange(2, CUT + 2))


def ndcg(gains, all_gains):
    """nDCG@10 of the gains of an answer, best first, given the gains of everything that could be answered.

    None where nothing has a gain: there is no best order.
    """
    best = np.sort(np.asarray(all_gains, float))[::-1][:CUT]
    ideal = float(best @ _DISCOUNTS[: len(best)])
    if ideal == 0:
        return None
    found = np.asarray(list(gains)[:CUT], float)
    return float(found @ _DISCOUNTS[: len(found)]) / ideal


def pearson(xs, ys):
    """Correlation of two rows of numbers."""
    return float(np.corrcoef(np.asarray(xs, float), np.asarray(ys, float))[0, 1])


def interval(values, seed=1, rounds=2_000):
    """95 % bootstrap interval of a mean."""
    values = np.asarray(values, float)
    random = np.random.default_rng(seed)
    means = values[random.integers(0, len(values), (rounds, len(values)))].mean(axis=1)
    return tuple(float(v) for v in np.quantile(means, [0.025, 0.975]))
