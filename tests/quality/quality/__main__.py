"""Measures models through `kindred standalone`, and prints a table or JSON."""

import argparse
import json
import sys

import numpy as np

from . import measures, sets
from .program import Program
from .service import Kindred


def options():
    parser = argparse.ArgumentParser(prog="tests/quality/run", description=__doc__)
    parser.add_argument("--program", help="the built `kindred`")
    parser.add_argument("--terms", help="instead of it: the built example `terms`")
    parser.add_argument("--features", help="and the built example `features`")
    parser.add_argument("--lists", required=True, help="folder of Debian's lists, with translations")
    parser.add_argument("--gensim", required=True, help="the wheel of gensim 4.3.3, for its test data")
    parser.add_argument("--model", action="append", help="a model, more than once for several [text-2, words-1]")
    parser.add_argument("--encoders", help="folder of encoders; --model may name one of them")
    parser.add_argument("--english", action="store_true", help="only sets in English")
    parser.add_argument("--tuned", action="store_true", help="also the sections that weights were chosen on")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.program and not (args.terms and args.features):
        parser.error("say --program, or --terms and --features")
    return args


def of_demo(kindred, model):
    """By domain, and of all: whether an expected item is in the first five answers, and how many of those expected are."""
    found, hits, shares = {}, [], []
    for name, items, expected in sets.demo():
        domain = f"{name}-{model}"
        kindred.load(domain, items, model=model)
        lists = kindred.lists(domain, list(expected))
        first = {item: {other for other, _ in answers[:5]} for item, answers in lists.items()}
        own = [len(first[item] & set(wanted)) / len(wanted) for item, wanted in expected.items()]
        found[f"demo, {name}: hit@5"] = float(np.mean([share > 0 for share in own]))
        hits += [share > 0 for share in own]
        shares += own
    found["demo: hit@5"] = float(np.mean(hits))
    found["demo: recall@5"] = float(np.mean(shares))
    return found


def of_news(kindred, model, gensim):
    texts, ratings = sets.news(gensim)
    items = [{"id": f"news-{n:02}", "text": text, **({"language": "en"} if kindred.says_language else {})} for n, text in enumerate(texts)]
    domain = f"news-{model}"
    kindred.load(domain, items, model=model)
    ids = [item["id"] for item in items]
    scores = {i: dict(answers) for i, answers in kindred.lists(domain, ids).items()}
    pairs = [(a, b) for b in range(50) for a in range(b)]
    ours = [scores[ids[a]].get(ids[b], 0.0) for a, b in pairs]
    return {"news: Pearson": measures.pearson(ours, [ratings[a, b] for a, b in pairs])}


def of_tags(kindred, model, chosen, languages=("de", "fr")):
    """By section, then their mean; and of the translations, with the overlap with the English lists."""
    found, by_language = {}, {language: {} for language in (None, *languages)}
    for name, section in chosen.items():
        for language, results in by_language.items():
            there = [p for p in section if language is None or language in p.translations]
            lists = []
            for used in dict.fromkeys((language, None)):
                domain = f"{name}-{len(there)}-{used}-{model}"
                ids = [p.name for p in there]
                kindred.load(domain, [sets.item(p, used, kindred.says_language) for p in there], model=model)
                lists.append(kindred.lists(domain, ids))
            results[name] = (sets.tag_scores(there, lists[0]), sets.overlap(lists[0], lists[-1]), len(there))
    for language, results in by_language.items():
        words = {None: "", "de": "German: ", "fr": "French: "}[language]
        for name, (scores, _, count) in results.items():
            low, high = measures.interval(scores)
            found[f"{words}{name}: nDCG@10"] = {"value": float(np.mean(scores)), "low": low, "high": high, "items": count}
        found[f"{words}mean nDCG@10"] = float(np.mean([np.mean(scores) for scores, _, _ in results.values()]))
        if language:
            found[f"{words}overlap@10 with English"] = float(np.mean([share for _, share, _ in results.values()]))
    return found


def of_translations(kindred, model, chosen, language):
    """How often a translated text finds its original first, where both are in one domain."""
    there = [p for section in chosen.values() for p in section if language in p.translations]
    # One of each text: of two equal originals none can be first.
    one_each = {}
    for package in there:
        one_each.setdefault((package.title, package.body), package)
    there = list(one_each.values())[: sets.ACROSS]
    domain = f"across-{language}-{model}"
    items = [{**sets.item(p, None, kindred.says_language), "id": f"en:{p.name}"} for p in there]
    items += [{**sets.item(p, language, kindred.says_language), "id": f"{language}:{p.name}"} for p in there]
    kindred.load(domain, items, model=model, across_languages=True)
    lists = kindred.lists(domain, [f"{language}:{p.name}" for p in there])
    first = first_english = 0
    for package in there:
        answers = [name for name, _ in lists[f"{language}:{package.name}"]]
        english = [name for name in answers if name.startswith("en:")]
        first += answers[:1] == [f"en:{package.name}"]
        first_english += english[:1] == [f"en:{package.name}"]
    return {
        f"across, {language}: original first of all": first / len(there),
        f"across, {language}: original first of English": first_english / len(there),
        f"across, {language}: texts": len(there),
    }


def main():
    args = options()
    chosen = sets.sections(args.lists, sets.HELD_OUT)
    tuned = sets.sections(args.lists, sets.TUNED_ON) if args.tuned else {}
    results = {}
    languages = () if args.english else ("de", "fr")
    door = Program(args.terms, args.features) if args.features else Kindred(args.program, encoders=args.encoders)
    with door as kindred:
        for model in args.model or ["text-2", "words-1"]:
            found = of_news(kindred, model, args.gensim)
            if not args.features:
                found.update(of_demo(kindred, model))
            found.update(of_tags(kindred, model, chosen, languages))
            if tuned:
                found.update({f"tuned on, {k}": v for k, v in of_tags(kindred, model, tuned, languages).items()})
            if model != "words-1":
                for language in languages:
                    found.update(of_translations(kindred, model, chosen, language))
            if not args.features:
                found["texts a second, until lists are stored"] = kindred.pace()
            results[model] = found
            print(f"{model}: done", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(results, indent=1))
        return
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    print("| | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for name in names:
        cells = []
        for found in results.values():
            value = found.get(name)
            if isinstance(value, dict):
                value = f"{value['value']:.3f} ({value['low']:.3f}–{value['high']:.3f}, {value['items']} items)"
            elif isinstance(value, float):
                value = f"{value:.3f}"
            cells.append("–" if value is None else str(value))
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
