"""The word vectors of the npm package as a matrix: vectors.py PACKAGE.tgz OUT.npy"""

import json
import sys
import tarfile

import numpy as np

DIMENSION = 100


def main(package, out):
    with tarfile.open(package) as archive:
        name = next(n for n in archive.getnames() if n.endswith("-100d.json"))
        vectors = json.load(archive.extractfile(name))["vectors"]
    # Behind the values of a word are its norm and its number.
    rows = np.array([row[:DIMENSION] for row in vectors.values()], dtype=np.float32)
    # A word without a direction has no neighbours.
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    np.save(out, rows)
    print(f"{len(rows)} vectors of {DIMENSION} values", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
