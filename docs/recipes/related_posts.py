#!/usr/bin/env python3
"""Writes the related posts of a static site while it is built: one request a post.

    related_posts.py POSTS -o related.json [--url http://127.0.0.1:8080] [--domain blog.example] [--limit 5]
        [--half-life 365d | --balance] [--collapse near] [--category NAME …] [--fallback newest]

POSTS is a folder of Markdown files with front matter, as Jekyll, Hugo and Eleventy have it. The id of a post is its
path in the folder without the ending. Of the front matter `title`, `date`, `series`, `tags` or `categories`, `link` and
`draft` count. Posts of the same series are left out: readers find them through it. The file that is written says for each
post its related ones, best first:

    {"2026/night-trains": [{"id": "2026/sleepers", "title": "Sleepers", "url": "/2026/sleepers/", "score": 0.71}, …]}

Python 3.9 and a running Kindred are all that it needs.
"""

import argparse
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SLASH = re.compile(r"[\[\]\"']")


def front_matter(text):
    """What a post says of itself, and its text."""
    match = re.match(r"\A---\s*\n(.*?)\n---\s*\n(.*)\Z", text, re.S)
    if not match:
        return {}, text
    said, key = {}, None
    for line in match.group(1).splitlines():
        if (entry := re.match(r"\s*-\s+(.*)", line)) and key:
            said.setdefault(key, [])
            if isinstance(said[key], list):
                said[key].append(entry.group(1).strip().strip("\"'"))
        elif field := re.match(r"([A-Za-z_]+):\s*(.*)", line):
            key, value = field.group(1).lower(), field.group(2).strip()
            if value.startswith("["):
                said[key] = [part.strip() for part in SLASH.sub("", value).split(",") if part.strip()]
            elif value:
                said[key] = value.strip("\"'")
            else:
                said[key] = []
    return said, match.group(2)


def labels(said):
    found = []
    for name in ("categories", "tags"):
        value = said.get(name) or []
        found += value if isinstance(value, list) else [value]
    return sorted({label[:80] for label in found})[:64]


def published(said):
    """The date of a post as RFC 3339; without one none."""
    date = re.match(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d)\s*(Z|[+-]\d\d:?\d\d)?)?", str(said.get("date", "")))
    if not date:
        return None
    zone = date.group(3) or "Z"
    zone = zone if zone == "Z" or ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return f"{date.group(1)}T{date.group(2) or '00:00:00'}{zone}"


def posts(folder):
    for path in sorted(folder.rglob("*.md")) + sorted(folder.rglob("*.markdown")):
        said, text = front_matter(path.read_text(encoding="utf-8", errors="replace"))
        if str(said.get("draft", "")).lower() == "true":
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        item = {
            "type": "item.updated",
            "id": name,
            "title": said.get("title") or name.rsplit("/", 1)[-1].replace("-", " "),
            "text": text[: 200 << 10],
            "url": said.get("link") or f"/{name}/",
            "categories": labels(said),
            "published_at": published(said),
        }
        if isinstance(said.get("series"), str):
            item["group"] = said["series"][:80]
        yield item


class Service:
    def __init__(self, url, domain):
        self.base = f"{url.rstrip('/')}/v1/domains/{urllib.parse.quote(domain, safe='')}"

    def ask(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.base + path, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == "GET":
                return None
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        except urllib.error.URLError as error:
            raise SystemExit(f"{self.base}: {error.reason}; is Kindred running?") from error

    def send(self, items, domain):
        lines = "\n".join(json.dumps({**item, "domain": domain}) for item in items)
        answer = self.ask("POST", "/items:batch", lines.encode(), "application/x-ndjson")
        for line in answer["rejected"]:
            print(f"{items[line['line'] - 1]['id']}: {line['detail']}", file=sys.stderr)

    def known(self):
        """The ids that are there."""
        ids, after = set(), None
        while True:
            query = "?limit=1000" + (f"&after={urllib.parse.quote(after, safe='')}" if after else "")
            page = self.ask("GET", f"/items{query}") or {"items": []}
            ids |= {item["id"] for item in page["items"]}
            after = page.get("next")
            if after is None:
                return ids

    def forget(self, name):
        self.ask("DELETE", f"/items/{urllib.parse.quote(name, safe='')}")

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            domain = self.ask("GET", "")
            if domain and domain["quiet"]:
                return
            time.sleep(0.1)
        raise SystemExit(f"the lists are not made after {seconds} s")

    def related(self, item, conditions):
        """What is related to a post: one request, all conditions in it."""
        if "group" in item:
            conditions = [*conditions, ("not_group", item["group"])]
        name = urllib.parse.quote(item["id"], safe="")
        answer = self.ask("GET", f"/items/{name}/similar?{urllib.parse.urlencode(conditions)}") or {"similar": []}
        wanted = ("id", "title", "url", "score", "also", "fallback")
        return [{key: one[key] for key in wanted if one.get(key) is not None} for one in answer["similar"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posts", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--domain", default="blog.example")
    parser.add_argument("--limit", type=int, default=5)
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--half-life", metavar="TIME", help="newer posts first, such as 365d: older by that counts half")
    order.add_argument("--balance", action="store_true", help="posts that are like all others count for less")
    parser.add_argument("--collapse", choices=["near", "group"], help="of near-duplicates, or of a series, only the best")
    parser.add_argument("--category", action="append", default=[], help="only posts of this category, or of one of these")
    parser.add_argument("--fallback", choices=["newest", "random"], help="other posts where too few are related")
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait for the lists")
    arguments = parser.parse_args()
    items = list(posts(arguments.posts))
    if not items:
        raise SystemExit(f"no Markdown files in {arguments.posts}")
    service = Service(arguments.url, arguments.domain)
    service.send(items, arguments.domain)
    ids = [item["id"] for item in items]
    for gone in sorted(service.known() - set(ids)):
        service.forget(gone)
    service.wait(arguments.timeout)
    conditions = [("limit", arguments.limit), *(("category", name) for name in arguments.category)]
    for name in ("half_life", "balance", "collapse", "fallback"):
        if value := getattr(arguments, name):
            conditions.append((name, "true" if value is True else value))
    related = {item["id"]: service.related(item, conditions) for item in items}
    arguments.output.write_text(json.dumps(related, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"related posts of {len(ids)} posts written to {arguments.output}")


if __name__ == "__main__":
    main()
