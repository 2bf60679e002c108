"""What is played: a fault under load, a soak, a storm of deletions, an overload; each ends with a check."""

import collections
import itertools
import json
import queue
import random
import threading
import time

from . import report
from .checker import Check, keep_examples, wait_quiet
from .client import ask, item
from .cluster import NotInTime, in_parallel, resident
from .faults import Skipped, Stage
from .load import Load
from .texts import LANGUAGES

BEFORE_S, AFTER_S = 8, 12
# Items of each language that a domain has at least, at the start.
FEW = 5
# For the last writes to be acknowledged, and the last items to be seen.
ACKNOWLEDGED_S, SEEN_S = 60, 150
SOAK_RATE, SOAK_TELLS_EVERY_S = 5, 60
# Deletions wait for readers that are behind, so that every question is asked soon after its answer.
DELETERS, WAITING = 8, 2
OVERLOAD_FACTOR, OVERLOAD_S = 100, 60
# Events are handed to the publisher so often.
FLOOD_EVERY_S = 0.1
RECOVERY_S = 1800
MIB = 1024 * 1024


class Play:
    """A cluster with its history, and what scenarios on it found."""

    def __init__(self, cluster, history, texts, domains, large, rate, scale, examples, say):
        self.cluster, self.history, self.texts = cluster, history, texts
        self.domains, self.large, self.rate, self.scale = domains, large, rate, scale
        self.examples, self.say = examples, say
        self.seeds = itertools.count(1)

    @property
    def programs(self):
        return self.cluster.services + self.cluster.workers

    def load(self, rate=None):
        return Load(self.cluster, self.history, self.texts, self.domains, rate or self.rate, next(self.seeds))

    def fill(self, items, large):
        """Items in every domain before anything else."""
        source, path = random.Random(0), f"{self.cluster.place}/fill.ndjson"
        counts = {domain: large if domain == self.large else items for domain in self.domains}
        version, begun = int(time.time() * 1000) - sum(counts.values()), time.time()
        with open(path, "w") as file:
            for domain, count in counts.items():
                for n in range(count):
                    version += 1
                    # Every language is there a few times, so that a new item is never the only one.
                    language = n % len(LANGUAGES) if n < FEW * len(LANGUAGES) else None
                    fields = self.texts.fields(source, language)
                    operation = self.history.begin(domain, f"item-{n}", "create", fields, version)
                    file.write(json.dumps(operation.event) + "\n")
        url = f"http://127.0.0.1:{self.cluster.services[0].port}"
        self.cluster.run_program("publish", "--wait", "--url", url, path)
        for operation in self.history.operations():
            operation.acknowledged = time.time()
            self.history.settle(operation)
        self.say(f"{sum(counts.values()):,} items in {len(counts)} domains in {time.time() - begun:.0f} s")

    def finish(self, load, entry, since, marks):
        """Ends the load, waits until all is quiet, and checks."""
        load.stop_writing(ACKNOWLEDGED_S)
        not_seen = load.wait_seen(SEEN_S)
        if not_seen:
            self.say(f"{not_seen} new items were not seen within {SEEN_S} s")
        load.stop()
        self.check(entry, since, marks)

    def check(self, entry, since, marks):
        entry["logs"] = marks.since(self.programs)
        check = Check(self.cluster, self.history, self.domains, self.large, since).run()
        entry["check"], entry["examples"] = check.result, check.examples
        broken = [one for one in self.history.broken_promises if one not in entry.pop("_broken_before")]
        entry["broken_promises"] = len(broken)
        entry["examples"] += [["gone, yet answered", str(one)] for one in broken[:10]]
        missing = sum(one["missing"] for one in entry.get("answers", {}).values())
        entry["good"] = check.is_good and not broken and not missing and not entry.get("trouble")
        keep_examples(self.examples, entry["examples"])

    def entry(self, name, title):
        return {"name": name, "title": title, "_broken_before": list(self.history.broken_promises)}

    def repair(self):
        """Brings back what a fault that failed half-way has left down."""
        works = [self.cluster.broker.start] + [node.start for node in self.cluster.nodes]
        for work in works:
            # What runs already says so.
            try:
                work()
            except RuntimeError:
                pass
        for program in self.cluster.workers + self.cluster.services[: self.cluster.counts[0]]:
            if not program.runs:
                program.start()

    def wait_healthy(self):
        """All services ready, so that no fault begins in the wake of the one before."""
        services = self.cluster.services[: self.cluster.counts[0]]
        in_parallel([service.wait_ready for service in services])


def play_fault(play, fault):
    entry = play.entry(fault.name, fault.says)
    play.wait_healthy()
    since, marks, load = time.time(), report.Logs(play.programs), play.load()
    stage = Stage(play.cluster, load, play.large, play.scale)
    load.start()
    stage.lasting(BEFORE_S)
    begun = time.time()
    try:
        fault.does(stage)
    except Skipped as reason:
        load.stop_writing(ACKNOWLEDGED_S)
        load.stop()
        return entry | {"skipped": str(reason), "good": True, "_broken_before": None}
    except (NotInTime, RuntimeError, OSError) as trouble:
        entry["trouble"] = f"{type(trouble).__name__}: {trouble}"
        entry["examples"] = [["trouble", entry["trouble"]]]
        play.say(entry["trouble"])
        play.repair()
        play.wait_healthy()
    ended = time.time()
    stage.lasting(AFTER_S)
    load.stop_writing(ACKNOWLEDGED_S)
    load.wait_seen(SEEN_S)
    over = time.time()
    load.stop()
    operations = play.history.operations()
    entry |= {
        "seconds": round(ended - begun, 1),
        "notes": stage.notes,
        "answers": report.answers(play.history.reads, begun, over),
        "answers_before": report.answers(play.history.reads, since, begun),
        "fresh_before": report.freshness(operations, since, begun),
        "fresh_during": report.freshness(operations, begun, ended),
        "fresh_after": report.freshness(operations, ended, over),
        "flaps": report.flaps(play.history.probes, since, over),
        "stale_deleted": play.history.stale_deleted,
    }
    if fault.aim is not None:
        entry["outage_s"] = None if stage.outage is None else round(stage.outage, 1)
        entry["aim_s"] = fault.aim + (stage.outage or 0 if fault.after_outage else 0)
        fresh = [entry["fresh_during"], entry["fresh_after"]]
        worst = max((one["worst_s"] or 0 for one in fresh), default=0)
        entry["aim_kept"] = worst <= entry["aim_s"] and not any(one["not_seen"] for one in fresh)
    play.check(entry, since, marks)
    return entry


def soak(play, minutes):
    entry = play.entry("soak", f"{minutes:g} minutes at {SOAK_RATE} events/s")
    play.wait_healthy()
    since, marks, load = time.time(), report.Logs(play.programs), play.load(SOAK_RATE)
    memory = {program.name: program.resident() // MIB for program in play.programs}
    load.start()
    until = since + minutes * 60
    while (left := until - time.time()) > 0:
        time.sleep(min(left, SOAK_TELLS_EVERY_S))
        told, fresh = (
            marks.since(play.programs),
            report.freshness(play.history.operations(), since, time.time()),
        )
        flaps = sum(report.flaps(play.history.probes, since, time.time()).values())
        play.say(f"leases lost {told['leases_lost']}, flaps {flaps}, lines {told['lines']}, fresh {fresh}")
    load.stop_writing(ACKNOWLEDGED_S)
    load.wait_seen(SEEN_S)
    over = time.time()
    load.stop()
    entry |= {
        "minutes": minutes,
        "answers": report.answers(play.history.reads, since, over),
        "fresh_during": report.freshness(play.history.operations(), since, over),
        "flaps": report.flaps(play.history.probes, since, over),
        "memory_mib": {
            program.name: [memory.get(program.name), program.resident() // MIB] for program in play.programs
        },
    }
    play.check(entry, since, marks)
    return entry


def deletions(play, count):
    """Deletes through one instance, while readers ask all of them for what was just deleted."""
    entry = play.entry("deletions", f"{count:,} deletions through one instance")
    play.wait_healthy()
    since, marks, load = time.time(), report.Logs(play.programs), play.load()
    source = random.Random(count)
    chosen = []
    while len(chosen) < count:
        taken = play.history.take(source, play.domains)
        if taken is None:
            raise RuntimeError(f"only {len(chosen)} items to delete: see --items")
        chosen.append(taken)
    works, gone, waits = queue.SimpleQueue(), collections.Counter(), []
    for one in chosen:
        works.put(one)
    through = play.cluster.services[0]
    load.start(http_writers=0, amqp_writers=0)
    # Lists that were likely to name it are asked for, of all instances, right after it is gone.

    def ask_again(service, mine):
        while (one := mine.get()) is not None:
            for id in one[1:]:
                load.read_one(service, one[0], id, None)

    mailboxes = [(service, queue.Queue(WAITING)) for service in play.cluster.services for _ in range(2)]
    readers = [threading.Thread(target=ask_again, args=pair) for pair in mailboxes]

    def delete():
        own = random.Random(count)
        while True:
            try:
                domain, id = works.get_nowait()
            except queue.Empty:
                return
            listed = ask(through.port, "GET", f"{item(domain, id)}/similar?limit=2").body.get("similar", [])
            operation = play.history.begin(domain, id, "delete", {})
            begun = time.time()
            is_acknowledged = load.until_acknowledged(
                operation, own, lambda one, chooser: load.send_http(one, chooser, through)
            )
            waits.append(time.time() - begun)
            gone[str(operation.gone) if is_acknowledged else "not acknowledged"] += 1
            for _, mailbox in mailboxes:
                mailbox.put((domain, id, *(one["id"] for one in listed)))

    deleters = [threading.Thread(target=delete) for _ in range(DELETERS)]
    for thread in readers + deleters:
        thread.start()
    for thread in deleters:
        thread.join()
    for _, mailbox in mailboxes:
        mailbox.put(None)
    for thread in readers:
        thread.join()
    over = time.time()
    load.stop_writing(0)
    load.stop()
    waits.sort()
    entry |= {
        "seconds": round(over - since, 1),
        "gone": dict(gone),
        "delete_p50_s": round(report.percentile(waits, 0.5), 3),
        "delete_p99_s": round(report.percentile(waits, 0.99), 3),
        "delete_worst_s": round(waits[-1], 3),
        "answers": report.answers(play.history.reads, since, over),
        "flaps": report.flaps(play.history.probes, since, over),
        "stale_deleted": play.history.stale_deleted,
    }
    play.check(entry, since, marks)
    return entry


def flood(play, rate, seconds, prefix):
    """New items at a rate, by `kindred publish`; all of them are acknowledged when it has ended well."""
    source, operations = random.Random(0), []
    with play.cluster.program("publish", "-") as publisher:
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < seconds:
            # What could not be written in time is not made up for: the broker takes no more.
            due = int(rate * FLOOD_EVERY_S)
            for _ in range(due):
                # Readers do not ask for it: it is served much later.
                name = f"{prefix}-{len(operations)}"
                fields = play.texts.fields(source, 0)
                operations.append(play.history.begin(source.choice(play.domains), name, "create", fields))
                operations[-1].via = "amqp"
                publisher.stdin.write(json.dumps(operations[-1].event) + "\n")
            publisher.stdin.flush()
            time.sleep(max(0, begun + elapsed + FLOOD_EVERY_S - time.monotonic()))
    for operation in operations:
        operation.acknowledged = time.time()
    return operations


def overload(play, sustainable, seconds):
    """Publishes far more than can be served, and watches memory, backlog and recovery."""
    rate = sustainable * OVERLOAD_FACTOR
    entry = play.entry("overload", f"{rate:g} events/s for {seconds} s")
    play.wait_healthy()
    since, marks = time.time(), report.Logs(play.programs)
    readers = play.load()
    readers.start(http_writers=0, amqp_writers=0)
    time.sleep(BEFORE_S)
    samples, sampled = [], threading.Event()

    def sample():
        broker = play.cluster.broker.pid
        nodes = {node.name: node.pid for node in play.cluster.nodes}
        while not sampled.wait(1):
            memory = {program.name: program.resident() // MIB for program in play.programs}
            memory["RabbitMQ"] = resident(broker) // MIB
            memory |= {name: resident(pid) // MIB for name, pid in nodes.items()}
            backlog = play.cluster.broker.messages(play.cluster.vhost, "kindred.items.p")
            jobs = play.cluster.broker.messages(play.cluster.vhost, "kindred.jobs.")
            samples.append(
                {"second": round(time.time() - since), "backlog": backlog, "jobs": jobs, "memory_mib": memory}
            )

    sampler = threading.Thread(target=sample)
    sampler.start()
    begun = time.time()
    sent = flood(play, rate, seconds, f"over-{int(since)}")
    ended = time.time()
    play.say(f"{len(sent):,} events in {ended - begun:.0f} s; waiting until all is served")
    deadline = time.time() + RECOVERY_S
    recovered = None
    while recovered is None and time.time() < deadline:
        try:
            wait_quiet(play.cluster, play.domains)
            recovered = time.time() - ended
        except NotInTime:
            play.say(f"backlog {samples[-1]['backlog'] if samples else None}")
    over = time.time()
    time.sleep(BEFORE_S)
    sampled.set()
    sampler.join()
    readers.stop_writing(0)
    readers.stop()
    names = samples[0]["memory_mib"] if samples else {}
    entry |= {
        "rate_wanted": rate,
        "rate": round(len(sent) / (ended - begun)),
        "recovered_after_s": rounded(recovered),
        "backlog_most": max((one["backlog"] or 0 for one in samples), default=0),
        "jobs_most": max((one["jobs"] or 0 for one in samples), default=0),
        "memory_mib": {
            name: {
                "before": samples[0]["memory_mib"][name],
                "most": max(one["memory_mib"].get(name, 0) for one in samples),
                "after": samples[-1]["memory_mib"].get(name, 0),
            }
            for name in names
        },
        "answers_before": report.answers(play.history.reads, since, begun),
        "answers": report.answers(play.history.reads, begun, ended),
        "answers_recovering": report.answers(play.history.reads, ended, over),
        "flaps": report.flaps(play.history.probes, since, over),
        "samples": samples,
    }
    play.check(entry, since, marks)
    return entry


def rounded(value):
    return None if value is None else round(value, 1)
