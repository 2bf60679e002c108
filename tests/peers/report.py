"""Tables and the plot of what was measured, between two markers in docs/BENCHMARKS.md."""

import math

BEGIN, END = "<!-- peers: made by tests/peers/run -->", "<!-- peers: end -->"
PLOT = "peers.svg"
ANCHORS = ("faiss IndexFlatIP", "hnswlib")


def fit(points):
    """The exponent of a power law through (x, y), by least squares of the logarithms."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def ms(seconds):
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def ordered(results, key):
    return list(dict.fromkeys(result[key] for result in results))


class Results:
    def __init__(self, measured):
        self.machine, self.k = measured["machine"], measured["k"]
        self.all = [r for r in measured["results"] if r["work"] == "all"]
        self.insert = [r for r in measured["results"] if r["work"] == "insert"]
        self.programs = ordered(self.all, "program")
        self.by = {(r["n"], r["d"], r["program"]): r for r in self.all}

    def sizes(self, d):
        return sorted({r["n"] for r in self.all if r["d"] == d})

    def ratio(self, n, d, program, anchor, what="wall_min"):
        mine, other = self.by.get((n, d, program)), self.by.get((n, d, anchor))
        if not mine or not other or program == anchor:
            return ""
        return f"{other[what] / mine[what]:.1f}"

    def size(self, n, d):
        rows = []
        for program in self.programs:
            result = self.by.get((n, d, program))
            if result:
                rows.append(
                    [
                        program,
                        ms(result["wall_min"]),
                        ms(result["wall_median"]),
                        ms(result["cpu_min"]),
                        f"{result['recall']:.4f}",
                        *(self.ratio(n, d, program, anchor) for anchor in ANCHORS),
                        self.ratio(n, d, program, ANCHORS[0], "cpu_min"),
                    ]
                )
        rounds = max(r["rounds"] for r in self.all if (r["n"], r["d"]) == (n, d))
        title = f"**n = {n:,}, d = {d}** ({rounds} round{'s' if rounds > 1 else ''})\n\n"
        head = ["program", "min, ms", "median", "CPU, min", f"recall@{self.k}"]
        head += [f"{anchor} / it" for anchor in ANCHORS] + ["by CPU time"]
        return title + table(head, rows)

    def inserted(self):
        rows = [
            [r["program"], ms(r["wall_min"]), ms(r["wall_median"]), ms(r["cpu_min"])]
            for r in self.insert
        ]
        resident, rounds = self.insert[0]["n"], self.insert[0]["rounds"]
        return (
            f"**100 rows into {resident:,}, d = 100** ({rounds} rounds). Kindred: the lists of both sides "
            "brought up to date. faiss: a search of the new rows alone. hnswlib and usearch: added and "
            "searched; lists of rows that were there stay as they were.\n\n"
            + table(["program", "min, ms", "median", "CPU, min"], rows)
        )

    def growth(self):
        rows = []
        for program in self.programs:
            cells = [program]
            for fixed, along in [("d", "n"), ("n", "d")]:
                at = 100 if fixed == "d" else max(
                    (n for n in self.sizes(384) if n in self.sizes(100)), default=0
                )
                points = [
                    (r[along], r["wall_min"])
                    for r in self.all
                    if r["program"] == program and r[fixed] == at
                ]
                cells.append(f"{fit(points):.2f}" if len(points) > 1 else "")
            rows.append(cells)
        n = max((n for n in self.sizes(384) if n in self.sizes(100)), default=0)
        return (
            "**How cost grows**: the exponent a of time ∝ n^a at d = 100, and of time ∝ d^a at "
            f"n = {n:,}, fitted to the minima above.\n\n" + table(["program", "n^a", "d^a"], rows)
        )

    def text(self):
        m = self.machine
        versions = ", ".join(dict.fromkeys(f"{name} {v}" for name, v in m["versions"].items()))
        core = f"`OPENBLAS_CORETYPE={m['coretype']}`" if m["coretype"] else "as installed"
        parts = [
            f"Measured {m['date']} on {m['cpu']}, {m['cores']} cores, {m['threads']} threads each; load of "
            f"the machine before it began: {m['load_before']:.1f}. {versions}; OpenBLAS {core}, its fastest "
            f"here. Graphs: M 16, efConstruction 100, ef 64. The top {self.k} of every row; times go from "
            "normalised rows to sorted lists, building an index included; `kindred neighbours` is the whole "
            "process, files in and out. Programs take turns, each warmed up by the same work where that is short; ratios are of the minima, the last one that of faiss "
            "IndexFlatIP by CPU time, which a shared machine disturbs less. Recall is against float64, of a "
            "sample: exact programs that sum in f32 may miss a neighbour by rounding.",
            f"![time by number of rows]({PLOT})",
        ]
        dimensions = sorted({r["d"] for r in self.all})
        parts += [self.size(n, d) for d in dimensions for n in self.sizes(d)]
        if self.insert:
            parts.append(self.inserted())
        parts.append(self.growth())
        return "\n\n".join(parts)

    def plot(self, path):
        import matplotlib

        matplotlib.use("svg")
        # Letters stay letters, and the file has no date: the same results, the same file.
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kindred", "font.size": 9})
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
        for number, program in enumerate(self.programs):
            points = [(n, self.by[n, 100, program]) for n in self.sizes(100) if (n, 100, program) in self.by]
            own = "indred" in program
            axes.plot(
                [n for n, _ in points],
                [r["wall_min"] for _, r in points],
                marker="o",
                markersize=3,
                linewidth=1.8 if own else 1,
                linestyle="--" if "`" in program else "-",
                color=pyplot.cm.tab20(number % 20),
                label=program.strip("`").replace("`", ""),
            )
        axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds")
        axes.set_title(f"Top {self.k} of every row, d = 100, {self.machine['threads']} threads")
        axes.grid(True, which="major", linewidth=0.3)
        axes.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})


def write(measured, place, docs):
    """Into `docs`, or with `docs` None beside the results."""
    results = Results(measured)
    text = f"{BEGIN}\n\n{results.text()}\n\n{END}"
    if docs is None:
        (place / "quick.md").write_text(text + "\n")
        results.plot(place / PLOT)
        print(place / "quick.md")
        return 0
    page = docs / "BENCHMARKS.md"
    old = page.read_text()
    before, found, rest = old.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        print(f"{page} has no markers {BEGIN} and {END}")
        return 1
    page.write_text(before + text + after)
    results.plot(docs / PLOT)
    print(page)
    return 0
