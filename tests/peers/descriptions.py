#!/usr/bin/env python3
"""Real texts to measure with: the descriptions of Debian's packages, from apt's lists.

Usage: descriptions.py LISTS > items.ndjson

LISTS is a folder that `apt-get update` filled, such as target/debian-lists after tests/run, or
/var/lib/apt/lists. Writes one event a package, all of one domain, by name."""

import json
import pathlib
import re
import subprocess
import sys

APT_HELPER = "/usr/lib/apt/apt-helper"


def paragraphs(lists, ending):
    """The fields of each paragraph of the lists whose names end so, however they are compressed."""
    for path in sorted(pathlib.Path(lists).iterdir()):
        if not re.sub(r"\.(lz4|xz|gz|bz2|zst)$", "", path.name).endswith(ending):
            continue
        text = subprocess.run([APT_HELPER, "cat-file", path], check=True, capture_output=True)
        for paragraph in text.stdout.decode(errors="replace").split("\n\n"):
            # A folded line begins with a space.
            fields = re.split(r"\n(?! )", paragraph.strip("\n"))
            yield dict(field.split(":", 1) for field in fields if ":" in field)


def unfolded(folded):
    lines = (line.strip() for line in folded.splitlines())
    return " ".join("\n\n" if line == "." else line for line in lines)


def main(lists):
    long = {}
    for fields in paragraphs(lists, "_Translation-en"):
        _, _, folded = fields.get("Description-en", "").strip().partition("\n")
        long[fields.get("Description-md5", "").strip()] = unfolded(folded)
    packages = {}
    for fields in paragraphs(lists, "_Packages"):
        title, _, folded = fields.get("Description", "").strip().partition("\n")
        text = long.get(fields.get("Description-md5", "").strip()) or unfolded(folded)
        if "Package" in fields:
            packages.setdefault(fields["Package"].strip(), (title, text))
    for name, (title, text) in sorted(packages.items()):
        event = {"type": "item.created", "domain": "packages.debian", "id": name, "version": 1}
        print(json.dumps(event | {"title": title, "text": text, "language": "en"}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
