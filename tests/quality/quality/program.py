"""The same lists without a service: terms and features of the program's own code, compared here.

It needs only the examples `terms` and `features`. Scores are dot products of numpy, so the last digits of a score
may differ from those that the program serves, and languages are said instead of detected.
"""

import json
import subprocess

import numpy as np
from scipy import sparse

LIST = 50


class Program:
    """Domains in memory, by the interface of `service.Kindred`."""

    says_language = True

    def __init__(self, terms, features):
        self.terms, self.features = terms, features
        self.domains = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _ask(self, program, lines):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        done = subprocess.run([program], input=text.encode(), stdout=subprocess.PIPE, check=True)
        return [json.loads(line) for line in done.stdout.decode().splitlines()]

    def load(self, domain, items, model="text-2", across_languages=False):
        """Makes the features of items, and their scores with all others."""
        texts = [{"language": i["language"], "title": i.get("title", ""), "text": i["text"]} for i in items]
        terms = self._ask(self.terms, texts)
        asked = [{"space": f"{model}/{t['language']}", "terms": n} for t, n in zip(texts, terms)]
        features = self._ask(self.features, asked)
        length = max(len(f["dense"]) for f in features)
        dense = np.zeros((len(features), length), np.float32)
        columns, column, weights, offsets = {}, [], [], [0]
        for row, feature in enumerate(features):
            dense[row, : len(feature["dense"])] = feature["dense"]
            column += [columns.setdefault(i, len(columns)) for i in feature["ids"]]
            weights += feature["weights"]
            offsets.append(len(column))
        terms_part = sparse.csr_matrix(
            (np.array(weights, np.float32), column, offsets), shape=(len(features), len(columns)))
        scores = dense @ dense.T + np.asarray((terms_part @ terms_part.T).todense())
        if not across_languages:
            languages = np.array([t["language"] for t in texts])
            scores[languages[:, None] != languages[None, :]] = 0
        np.fill_diagonal(scores, 0)
        self.domains[domain] = ([i["id"] for i in items], scores)

    def lists(self, domain, ids):
        """The list of each item: ids and scores, best first, ties by id."""
        names, scores = self.domains[domain]
        at, found = {name: row for row, name in enumerate(names)}, {}
        for item in ids:
            row = scores[at[item]]
            order = sorted(np.flatnonzero(row > 0), key=lambda i: (-row[i], names[i].encode()))
            found[item] = [(names[i], float(row[i])) for i in order[:LIST]]
        return found
