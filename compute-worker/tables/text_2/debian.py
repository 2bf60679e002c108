"""Debian's package lists: descriptions, their translations, sections and tags."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame

MIRROR = "deb.debian.org_debian_dists_bookworm_main_"


@dataclass
class Package:
    """A binary package of the list, with its English description."""

    name: str
    source: str
    section: str
    tags: frozenset
    md5: str
    title: str = ""
    body: str = ""
    translations: dict = field(default_factory=dict)


def _paragraphs(path):
    """Each paragraph of a list as a dictionary of its fields; a field's later lines keep their indent."""
    with lz4.frame.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        fields, last = {}, None
        for line in lines:
            line = line.rstrip("\n")
            if not line:
                if fields:
                    yield fields
                fields, last = {}, None
            elif line[0] in " \t":
                if last:
                    fields[last] += "\n" + line
            else:
                last, _, value = line.partition(":")
                fields[last] = value.strip()
        if fields:
            yield fields


def _body(lines):
    """The long description: a lone dot is an empty line."""
    return "\n".join("" if line.strip() == "." else line[1:] for line in lines)


def descriptions(lists, language):
    """Title and body by the checksum of the English description."""
    path = Path(lists) / f"{MIRROR}i18n_Translation-{language}.lz4"
    found = {}
    for fields in _paragraphs(path):
        text = next((v for k, v in fields.items() if k.startswith("Description-") and k != "Description-md5"), None)
        md5 = fields.get("Description-md5")
        if text is None or md5 is None:
            continue
        title, *lines = text.split("\n")
        found[md5] = (title, _body(lines))
    return found


def packages(lists, languages=()):
    """Every package in the order of the list, each name once, with the translations it has."""
    english = descriptions(lists, "en")
    others = {language: descriptions(lists, language.replace("_", "%5f")) for language in languages}
    found = {}
    for fields in _paragraphs(Path(lists) / f"{MIRROR}binary-amd64_Packages.lz4"):
        name, md5 = fields["Package"], fields.get("Description-md5", "")
        if name in found or md5 not in english:
            continue
        title, body = english[md5]
        found[name] = Package(
            name=name,
            source=fields.get("Source", name).split(" ")[0],
            section=fields.get("Section", "").rsplit("/", 1)[-1],
            tags=frozenset(re.split(r"[,\s]+", fields["Tag"])) - {""} if "Tag" in fields else frozenset(),
            md5=md5,
            title=title,
            body=body,
            translations={l: texts[md5] for l, texts in others.items() if md5 in texts},
        )
    return list(found.values())
