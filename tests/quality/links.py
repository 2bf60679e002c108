#!/usr/bin/env python3
"""How often the lists of a running Kindred have what authors linked to: plain, balanced, collapsed, collapsed and balanced.

Usage: links.py --items items.ndjson --links links.ndjson [--program target/release/kindred] [--model NAME …]

Items and links are those that `markdown.py` makes. Starts `kindred standalone`, imports the items once for each
model, asks for the list of every item that links to another, and prints a table: hit@5 (lists with a linked
post among the first five), recall@10 and MRR, each the mean over these items, and how many of all
first places the most frequent first neighbour has. `kindred evaluate` gives the same of TF-IDF and BM25.
Needs numpy, as in the environment that `tests/quality/run` makes (target/quality/venv).
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from quality.measures import interval
from quality.service import Kindred

CONDITIONS = {
    "plain": "",
    "balanced": "&balance=true",
    "collapsed": "&collapse=near",
    "balanced, collapsed": "&balance=true&collapse=near",
}


def lines(file):
    with open(file, encoding="utf-8") as rows:
        return [json.loads(row) for row in rows]


def measures(lists, links):
    """Of each item with links: whether one is among the first five, how many of them among ten, and 1 / the first one's rank."""
    hits, recalls, ranks = [], [], []
    for item, linked in links.items():
        found = [rank for rank, other in enumerate(lists[item][:10], 1) if other in linked]
        hits.append(float(any(rank <= 5 for rank in found)))
        recalls.append(len(found) / len(linked))
        ranks.append(1 / found[0] if found else 0.0)
    return hits, recalls, ranks


def mean(values):
    return sum(values) / len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--links", type=Path, required=True)
    parser.add_argument("--program", type=Path, default=root / "target/release/kindred")
    parser.add_argument("--model", nargs="+", default=["words-1", "text-2"])
    options = parser.parse_args()
    items = lines(options.items)
    for item in items:
        item.pop("domain", None)
        item.pop("type", None)
    ids = [item["id"] for item in items]
    links = defaultdict(set)
    for link in lines(options.links):
        links[link["from"]].add(link["to"])

    print("| model | lists | hit@5 | 95 % | recall@10 | MRR | most frequent first |")
    print("|---|---|---|---|---|---|---|")
    with Kindred(options.program) as kindred:
        for model in options.model:
            domain = f"links-{model}"
            kindred.load(domain, items, model=model)
            for name, conditions in CONDITIONS.items():
                lists = {
                    item: [other for other, _ in found]
                    for item, found in kindred.lists(domain, ids, limit=10, conditions=conditions).items()
                }
                hits, recalls, ranks = measures(lists, links)
                low, high = interval(hits)
                firsts = Counter(found[0] for found in lists.values() if found)
                most = max(firsts.values(), default=0)
                print(
                    f"| {model} | {name} | {mean(hits):.3f} | {low:.3f}–{high:.3f} | {mean(recalls):.3f} "
                    f"| {mean(ranks):.3f} | {most} of {sum(firsts.values())} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
