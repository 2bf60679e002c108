#!/usr/bin/env python3
"""Writes the related posts of a static site during its build, with one request per post.

    related_posts.py SITE -o related.json [--url http://127.0.0.1:8080] [--domain blog.example] [--limit 5]
        [--half-life 365d | --balance] [--collapse near] [--category NAME …] [--fallback newest]

SITE is the folder of a site, or of its posts, as `kindred import` reads it: Hugo's, Jekyll's, Astro's, Docusaurus's,
Eleventy's, or just Markdown (docs/IMPORT.md). The domain then has what the folder has: posts that are gone are deleted.
Posts of the same series are left out: readers find them through it. The output file has the
related posts of each post, best first:

    {"2026/night-trains": [{"id": "2026/sleepers", "title": "Sleepers", "url": "/2026/sleepers/", "score": 0.71}, …]}

If the service requires a key (with the grants read and write for the domain), set the variable KINDRED_KEY.
This script needs only Python 3.9, the program `kindred` and a running Kindred.
"""

import argparse
import json
import os
import pathlib
import subprocess
import urllib.error
import urllib.parse
import urllib.request


class Service:
    def __init__(self, url, domain):
        self.base = f"{url.rstrip('/')}/v1/domains/{urllib.parse.quote(domain, safe='')}"

    def ask(self, path):
        request = urllib.request.Request(self.base + path)
        if os.environ.get("KINDRED_KEY"):
            request.add_header("Authorization", f"Bearer {os.environ['KINDRED_KEY']}")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise SystemExit(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
        except urllib.error.URLError as error:
            raise SystemExit(f"{self.base}: {error.reason}; is Kindred running?") from error

    def items(self):
        after = None
        while True:
            query = "?limit=1000" + (f"&after={urllib.parse.quote(after, safe='')}" if after else "")
            page = self.ask(f"/items{query}") or {"items": []}
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    def related(self, item, conditions):
        """The posts related to one post: a single request with all conditions."""
        if "group" in item:
            conditions = [*conditions, ("not_group", item["group"])]
        name = urllib.parse.quote(item["id"], safe="")
        answer = self.ask(f"/items/{name}/similar?{urllib.parse.urlencode(conditions)}") or {"similar": []}
        wanted = ("id", "title", "url", "score", "also", "fallback")
        return [{key: one[key] for key in wanted if one.get(key) is not None} for one in answer["similar"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--domain", default="blog.example")
    parser.add_argument("--limit", type=int, default=5)
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--half-life", metavar="TIME", help="prefer newer posts: halve scores per TIME of age")
    order.add_argument("--balance", action="store_true", help="rank posts that resemble everything lower")
    parser.add_argument("--collapse", choices=["near", "group"], help="keep only the best of near-duplicates or a series")
    parser.add_argument("--category", action="append", default=[], help="only posts of this category; may be repeated")
    parser.add_argument("--fallback", choices=["newest", "random"], help="add other posts if too few are related")
    parser.add_argument("--kindred", default="kindred", help="the program, if it is not on the PATH")
    arguments = parser.parse_args()
    sent = [arguments.kindred, "import", arguments.site, "--url", arguments.url, "--domain", arguments.domain]
    done = subprocess.run([*sent, "--sync", "--yes", "--wait"], stdout=subprocess.DEVNULL)
    # 3: what could not be read was named, and the rest went in.
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    service = Service(arguments.url, arguments.domain)
    conditions = [("limit", arguments.limit), *(("category", name) for name in arguments.category)]
    for name in ("half_life", "balance", "collapse", "fallback"):
        if value := getattr(arguments, name):
            conditions.append((name, "true" if value is True else value))
    related = {item["id"]: service.related(item, conditions) for item in service.items()}
    if not related:
        raise SystemExit(f"no posts in {arguments.site}")
    arguments.output.write_text(json.dumps(related, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"related posts of {len(related)} posts written to {arguments.output}")


if __name__ == "__main__":
    main()
