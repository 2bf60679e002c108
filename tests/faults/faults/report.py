"""What was measured, as numbers and as a table in Markdown."""

import collections
import json

SHOWN_ERRORS = 10


def percentile(values, share):
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


def rounded(value, digits=1):
    return None if value is None else round(value, digits)


def freshness(operations, begun, ended):
    """Of the new items first sent in this time: how long until each was in a list of its own."""
    chosen = [
        one
        for one in operations
        if one.kind == "create" and one.via and begun <= one.first < ended and one.acknowledged
    ]
    waits = sorted(one.seen - one.first for one in chosen if one.seen)
    return {
        "events": len(chosen),
        "not_seen": len(chosen) - len(waits),
        "p50_s": rounded(percentile(waits, 0.5), 2),
        "worst_s": rounded(waits[-1] if waits else None, 2),
    }


def answers(reads, begun, ended):
    """Of each instance: errors, those while it was down on purpose, the longest gap, the slowest."""
    told = {}
    of_service = collections.defaultdict(list)
    for read in reads:
        if begun <= read.begun < ended:
            of_service[read.service].append(read)
    for service, chosen in sorted(of_service.items()):
        chosen.sort(key=lambda read: read.begun)
        gap, since = 0.0, None
        for read in chosen:
            if read.failed and not read.down:
                since = read.begun if since is None else since
                gap = max(gap, read.begun + read.seconds - since)
            elif not read.failed:
                # Until the first answer that came.
                gap = max(gap, read.begun + read.seconds - since) if since is not None else gap
                since = None
        good = sorted(read.seconds for read in chosen if not read.failed)
        failed = [read for read in chosen if read.failed and not read.down]
        told[service] = {
            "reads": len(chosen),
            "errors": len(failed),
            # When in the fault, how long it took, and the status; 0: no answer came.
            "first_errors": [
                (rounded(read.begun - begun, 1), rounded(read.seconds, 1), read.status)
                for read in failed[:SHOWN_ERRORS]
            ],
            "errors_while_down": sum(read.failed and read.down for read in chosen),
            "missing": sum(read.missing for read in chosen),
            "stale": sum(read.stale for read in chosen),
            "longest_gap_s": rounded(gap, 2),
            "p99_s": rounded(percentile(good, 0.99), 3),
            "slowest_s": rounded(good[-1] if good else None, 2),
        }
    return told


def flaps(probes, begun, ended):
    """Instance → how often it stopped being ready without being down on purpose."""
    counts, before = collections.Counter(), {}
    for probe in probes:
        if not begun <= probe.at < ended:
            continue
        counts[probe.service] += 0
        if not probe.down and not probe.ready and before.get(probe.service, True):
            counts[probe.service] += 1
        before[probe.service] = probe.ready or probe.down
    return dict(counts)


class Logs:
    """Lines that programs have logged since a mark, by level, and some of their events."""

    EVENTS = ("partition owned", "partition lost", "partition handed over")

    def __init__(self, programs):
        self.marks = {program.log: self.end(program.log) for program in programs}

    @staticmethod
    def end(path):
        try:
            with open(path, "rb") as file:
                return file.seek(0, 2)
        except FileNotFoundError:
            return 0

    def since(self, programs):
        levels, events, bursts = collections.Counter(), collections.Counter(), collections.Counter()
        for program in programs:
            with open(program.log, "rb") as file:
                file.seek(self.marks.get(program.log, 0))
                for line in file:
                    level, message = parse(line)
                    levels[level] += 1
                    if message in self.EVENTS:
                        events[message] += 1
                    if level in ("WARN", "ERROR"):
                        bursts[message] += 1
        return {
            "lines": dict(levels),
            "leases_taken": events["partition owned"],
            "leases_lost": events["partition lost"],
            "handed_over": events["partition handed over"],
            "warnings": dict(bursts.most_common(10)),
        }


def parse(line):
    try:
        entry = json.loads(line)
        return entry.get("level", "?"), entry.get("fields", entry).get("message", "?")
    except (ValueError, AttributeError):
        # A panic, or what a library printed.
        return "?", line[:200].decode(errors="replace").strip()


HEADER = (
    "fault",
    "answers: errors (while down)",
    "longest gap, s",
    "slowest, s",
    "fresh, worst, s",
    "aim, s",
    "after, worst, s",
    "events acknowledged",
    "lost",
    "duplicated",
    "unexpected",
    "lists compared",
    "wrong",
    "missing",
    "gone, yet answered",
    "leases lost",
    "readiness flaps",
    "WARN",
)


def by_service(told, word):
    return " / ".join(str(one[word]) for one in told.values())


def worst(told, word):
    return max((one[word] or 0 for one in told.values()), default=0)


def row(entry):
    if entry.get("skipped"):
        return [entry["title"], f"skipped: {entry['skipped']}"] + [""] * (len(HEADER) - 2)
    told, check, logs = entry["answers"], entry["check"], entry["logs"]
    during, after, aim = entry["fresh_during"], entry["fresh_after"], entry.get("aim_s")
    fresh = "–" if during["worst_s"] is None else f"{during['worst_s']:.1f}"
    if during["not_seen"]:
        fresh += f" ({during['not_seen']} not seen)"
    return [
        entry["title"],
        f"{by_service(told, 'errors')} ({by_service(told, 'errors_while_down')})",
        f"{worst(told, 'longest_gap_s'):.1f}",
        f"{worst(told, 'slowest_s'):.1f}",
        fresh,
        "" if aim is None else f"{aim:.0f}{'' if entry['aim_kept'] else ' missed'}",
        "–" if after["worst_s"] is None else f"{after['worst_s']:.1f}",
        f"{check['acknowledged']:,}",
        check["lost"],
        check["duplicated"],
        check["unexpected"],
        f"{check['lists']:,}",
        check["wrong"],
        check["missing"] + sum(one["missing"] for one in told.values()),
        entry["broken_promises"],
        logs["leases_lost"],
        sum(entry["flaps"].values()),
        f"{logs['lines'].get('WARN', 0):,}",
    ]


def table(header, rows):
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(str(cell) for cell in cells)} |" for cells in rows]
    return "\n".join(lines)


def faults_table(entries):
    """The table, and below it what a number cannot say."""
    lines = [table(HEADER, [row(entry) for entry in entries]), ""]
    for entry in entries:
        for note in [entry.get("trouble"), *entry.get("notes", [])]:
            if note:
                lines.append(f"- {entry['title']}: {note}")
    return "\n".join(lines).rstrip()


def mode_table(entry):
    """Of a soak, a storm of deletions or an overload: what it is about, a line a figure."""
    told, check, logs = entry["answers"], entry["check"], entry["logs"]
    rows = [
        ("events attempted / acknowledged", f"{check['attempted']:,} / {check['acknowledged']:,}"),
        (
            "lost / duplicated / unexpected",
            f"{check['lost']} / {check['duplicated']} / {check['unexpected']}",
        ),
        ("lists compared / wrong / missing", f"{check['lists']:,} / {check['wrong']} / {check['missing']}"),
        ("answered after `gone`", entry["broken_promises"]),
        ("reads, by instance", by_service(told, "reads")),
        ("of these errors", by_service(told, "errors")),
        ("p99, s", by_service(told, "p99_s")),
        ("slowest, s", by_service(told, "slowest_s")),
        ("leases lost", logs["leases_lost"]),
        ("readiness flaps", sum(entry["flaps"].values())),
        ("log lines", ", ".join(f"{level} {count:,}" for level, count in sorted(logs["lines"].items()))),
    ]
    if "fresh_during" in entry:
        fresh = entry["fresh_during"]
        rows.append(("freshness p50 / worst, s", f"{fresh['p50_s']} / {fresh['worst_s']}"))
    if "gone" in entry:
        rows.append(("`gone` in answers", ", ".join(f"{word}: {n:,}" for word, n in entry["gone"].items())))
        rows.append(
            (
                "deletion p50 / p99 / worst, s",
                " / ".join(str(entry[f"delete_{w}_s"]) for w in ("p50", "p99", "worst")),
            )
        )
        rows.append(("deleted items in `stale` answers", entry["stale_deleted"]))
    if "recovered_after_s" in entry:
        rows += [
            ("events/s reached", entry["rate"]),
            ("backlog in the broker, most", f"{entry['backlog_most']:,}"),
            ("all served after the end, s", entry["recovered_after_s"]),
            ("p99 before, s", by_service(entry["answers_before"], "p99_s")),
            ("p99 while recovering, s", by_service(entry["answers_recovering"], "p99_s")),
        ]
        for name, memory in entry["memory_mib"].items():
            rows.append((f"{name}, MiB before / most / after", " / ".join(str(n) for n in memory.values())))
    elif "memory_mib" in entry:
        for name, (before, after) in entry["memory_mib"].items():
            rows.append((f"{name}, MiB before / after", f"{before} / {after}"))
    return table((entry["title"], ""), rows)
