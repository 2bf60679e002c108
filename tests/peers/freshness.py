#!/usr/bin/env python3
"""The plot of docs/BENCHMARKS.md, "Freshness": p99 against the rate of events.

Usage: freshness.py REPORT... -o freshness.svg

REPORT is what `kindred bench freshness --json` wrote. Prints the table of all of them, as Markdown.
Needs matplotlib (tests/peers/requirements.txt)."""

import argparse
import json

# Of the plot's axis.
SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
MEASURES = {"event_to_served": "served", "event_to_stored": "stored"}


def percentiles(one):
    return f"{one['p50_ms']:,.0f} / {one['p99_ms']:,.0f}"


def table(reports):
    lines = ["| | items before | rate/s | served | stored | lists written an event |", "|---" * 6 + "|"]
    for report in reports:
        for phase in report["phases"]:
            cells = [report["title"], f"{phase['items']:,}", str(phase["rate"])]
            cells += [percentiles(phase[measure]) for measure in MEASURES]
            cells.append(f"{phase['lists_per_event']:.0f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def title(report):
    count = report["domains"]
    domains = "one domain" if count == 1 else f"{count} domains"
    return f"{report['role']}, {domains}"


def plot(reports, path):
    import matplotlib

    matplotlib.use("svg")
    # Letters stay letters, and the file has no date: the same results, the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kindred", "font.size": 9})
    from matplotlib import pyplot

    lines = {}
    for report in reports:
        first = report["phases"][0]["items"]
        for phase in report["phases"]:
            # Phases of a size follow each other: what came before is there too.
            first = phase["items"] if phase["items"] > 2 * first else first
            for measure, word in MEASURES.items():
                key = (report["title"], first, word)
                lines.setdefault(key, []).append((phase["rate"], phase[measure]["p99_ms"] / 1e3))
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    colors = list(dict.fromkeys(key[:2] for key in lines))
    for key, points in lines.items():
        axes.plot(
            *zip(*sorted(points)),
            marker="o",
            markersize=3,
            linestyle="-" if key[2] == "served" else "--",
            color=pyplot.cm.tab10(colors.index(key[:2])),
            label=f"{key[0]}, {key[1]:,} items: {key[2]}",
        )
    axes.set(xscale="log", yscale="log", xlabel="events a second", ylabel="p99, seconds")
    rates = sorted({rate for points in lines.values() for rate, _ in points})
    axes.set_xticks(rates, labels=[str(rate) for rate in rates], minor=False)
    axes.set_yticks(SECONDS, labels=[str(seconds) for seconds in SECONDS], minor=False)
    axes.set_ylim(SECONDS[0], SECONDS[-1])
    axes.minorticks_off()
    axes.set_title("From an event to lists that are served, and stored")
    axes.grid(True, which="major", linewidth=0.3)
    axes.legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    reports = []
    for name in options.reports:
        with open(name) as file:
            reports.append(json.load(file))
        reports[-1]["title"] = title(reports[-1])
    print(table(reports))
    plot(reports, options.output)


if __name__ == "__main__":
    main()
