#!/usr/bin/env python3
"""Makes items and links for `kindred evaluate` of a folder of Markdown posts.

Usage: markdown.py FOLDER --base /blog/ --items items.ndjson --links links.ndjson

An item is a file: its id is its path below FOLDER without the suffix, its title that of
the front matter or the first heading, its text the body without code blocks, images and addresses. A link is one to another file of the folder, by its address
below --base, the `path` of its front matter, or relative to the file. Files without a text are left out, as redirects are; posts that are lists
of links to most others (more than a tenth) are left out of the links.
"""

import argparse
import json
import re
from pathlib import Path

FRONT = re.compile(r"\A(---|\+\+\+)\n(.*?)\n\1\n", re.S)
HEADING = re.compile(r"^# (.+)$", re.M)
TITLE = re.compile(r"^title\s*[:=]\s*(.+)$", re.M)
ADDRESS = re.compile(r"""^path\s*[:=]\s*["']?([^"'\n]+)""", re.M)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.M | re.S)
INDENTED = re.compile(r"^(?: {4}|\t).*$", re.M)
SHORTCODE = re.compile(r"\{\{.*?\}\}", re.S)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
HREF = re.compile(r"""href=["']([^"']+)["']""")


def read(path):
    """Title, text, the addresses that a file links to, and its own, if it says one."""
    source = path.read_text(encoding="utf-8", errors="replace")
    front = FRONT.match(source)
    body = source[front.end() :] if front else source
    title = TITLE.search(front.group(2)) if front else HEADING.search(source)
    address = ADDRESS.search(front.group(2)) if front else None
    targets = [target for _, target in LINK.findall(body)] + HREF.findall(body)
    for pattern in (FENCE, INDENTED, SHORTCODE, IMAGE):
        body = pattern.sub(" ", body)
    text = LINK.sub(r"\1", body)
    title = title.group(1).strip().strip("\"'") if title else path.stem
    return title, text, targets, address and address.group(1).strip("/")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="/", help="address of the folder on its site")
    parser.add_argument("--suffix", nargs="+", default=[".md"], help="of files that are posts")
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--links", type=Path, required=True)
    options = parser.parse_args()
    posts = {}
    paths = [path for path in options.folder.rglob("*") if path.suffix in options.suffix]
    for path in sorted(paths):
        post = read(path)
        # Those without a text lead elsewhere.
        if post[1].strip():
            posts[path.relative_to(options.folder).with_suffix("").as_posix()] = post

    addresses = {post: post for post in posts} | {
        address: post for post, (_, _, _, address) in posts.items() if address
    }

    def found(post, target):
        target = re.sub(r"^https?://(?:www\.)?[^/]+", "", target).split("#")[0].split("?")[0].rstrip("/")
        target = re.sub(r"\.(?:md|html)$", "", target)
        if target.startswith(options.base):
            target = target[len(options.base) :]
        elif target.startswith("/"):
            return None
        else:
            parent = post.rpartition("/")[0]
            target = f"{parent}/{target}" if parent else target
        other = addresses.get(target)
        return other if other != post else None

    links = {post: {found(post, target) for target in said[2]} - {None} for post, said in posts.items()}
    with options.items.open("w") as file:
        for post, (title, text, *_) in posts.items():
            event = {"type": "item.updated", "domain": "posts", "id": post, "title": title, "text": text}
            file.write(json.dumps(event) + "\n")
    count = 0
    with options.links.open("w") as file:
        for post, others in links.items():
            if len(others) * 10 > len(posts):
                continue
            for other in sorted(others):
                file.write(json.dumps({"from": post, "to": other}) + "\n")
                count += 1
    print(f"{len(posts)} posts, {count} links of {sum(map(bool, links.values()))}")


if __name__ == "__main__":
    main()
