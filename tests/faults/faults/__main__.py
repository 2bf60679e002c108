"""Puts a real cluster through faults while clients write and read, and checks what is left.

Names of faults (--list shows them; all when none is named), or:
  soak       5 events a second for --minutes: leases lost, readiness flaps, log lines
  deletions  a storm of deletions through one instance, with readers of all
  overload   100 times --sustainable events a second for a minute
Exit code 1 when anything was lost, duplicated, wrong or unexpected, or was answered after it was gone."""

import argparse
import json
import os
import signal
import sys
import time
import traceback

from . import report, scenarios
from .cluster import Broker, Cluster
from .faults import FAULTS
from .load import History
from .texts import Texts

MODES = ("soak", "deletions", "overload")


def arguments():
    parser = argparse.ArgumentParser(
        prog="tests/faults/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to play, in this order")
    parser.add_argument("--list", action="store_true", help="tell the names of all faults")
    parser.add_argument(
        "--programs", default="target/release", help="directory of kindred and compute-worker"
    )
    parser.add_argument("--paxos", choices=("v1", "v2"), default="v2", help="paxos_variant of Cassandra")
    parser.add_argument("--services", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--domains", type=int, default=20, help="small domains")
    parser.add_argument("--items", type=int, default=100, help="items of each at the start")
    parser.add_argument("--large", type=int, default=0, help="one more domain, of so many items")
    parser.add_argument("--rate", type=float, default=4, help="events a second while a fault lasts")
    parser.add_argument("--scale", type=float, default=1, help="share of a fault's duration, to try it out")
    parser.add_argument("--minutes", type=float, default=60, help="of soak")
    parser.add_argument("--deletions", type=int, default=1000)
    parser.add_argument("--sustainable", type=float, default=5, help="events a second, for overload")
    parser.add_argument("--overload-seconds", type=int, default=60)
    parser.add_argument("--json", metavar="FILE", help="results, whole; written after each scenario")
    parser.add_argument("--markdown", metavar="FILE", help="the tables, which are printed too")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in FAULTS and name not in MODES]
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join([*FAULTS, *MODES])}")
    options.names = options.names or list(FAULTS)
    return options


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def groups(names):
    """Those that need proxies are played on a cluster of their own: proxies cost the others time."""
    proxied = [name for name in names if name in FAULTS and FAULTS[name].proxied]
    direct = [name for name in names if name not in proxied]
    return [(is_proxied, chosen) for is_proxied, chosen in ((False, direct), (True, proxied)) if chosen]


def play_one(play, name, options):
    if name == "soak":
        return scenarios.soak(play, options.minutes)
    if name == "deletions":
        return scenarios.deletions(play, options.deletions)
    if name == "overload":
        return scenarios.overload(play, options.sustainable, options.overload_seconds)
    return scenarios.play_fault(play, FAULTS[name])


def play_group(is_proxied, names, options, place, broker, entries, keep):
    domains = [f"small-{n:02}" for n in range(options.domains)]
    large = "large" if options.large else None
    cluster = Cluster(
        f"{place}/{'proxied' if is_proxied else 'direct'}",
        os.path.abspath(options.programs),
        broker,
        os.environ["FAULTS_NODE_CONTROL"],
        options.paxos,
        options.partitions,
        options.services,
        options.workers,
        is_proxied,
    )
    history, texts = History(), Texts(os.environ["FAULTS_ROOT"])
    try:
        begun = time.time()
        cluster.start()
        say(f"the cluster is there after {time.time() - begun:.0f} s; partitions {cluster.holdings()}")
        everything = domains + ([large] if large else [])
        examples = f"{place}/examples.ndjson"
        play = scenarios.Play(
            cluster, history, texts, everything, large, options.rate, options.scale, examples, say
        )
        play.fill(options.items, options.large)
        for name in names:
            say(f"== {name}")
            begun = time.time()
            entry = play_one(play, name, options)
            entry.pop("_broken_before", None)
            entries.append(entry)
            brief = {word: value for word, value in entry.items() if word not in ("samples", "examples")}
            say(
                f"{name}: {'good' if entry['good'] else 'BAD'} after {time.time() - begun:.0f} s: {json.dumps(brief)}"
            )
            for example in entry.get("examples", []):
                say(f"  {example}")
            keep()
    finally:
        cluster.end()


def tables(entries):
    parts = []
    faults = [entry for entry in entries if entry["name"] in FAULTS]
    if faults:
        parts.append(report.faults_table(faults))
    for entry in entries:
        if entry["name"] in MODES:
            parts.append(report.mode_table(entry))
    return "\n\n".join(parts)


def main():
    options = arguments()
    if options.list:
        for fault in FAULTS.values():
            print(f"{fault.name:18} {fault.says}")
        return 0
    # So that everything is ended however this is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = os.environ["FAULTS_PLACE"]
    ports = {name: int(os.environ[f"FAULTS_BROKER_{name}"]) for name in ("AMQP", "MANAGEMENT")}
    broker = Broker(os.environ["FAULTS_BROKER_CONTROL"], ports)
    entries, troubles = [], []

    def keep():
        if options.json:
            run = {"paxos": options.paxos, "rate": options.rate, "large": options.large}
            with open(options.json, "w") as file:
                json.dump(run | {"entries": entries}, file, indent=1)
        if options.markdown:
            with open(options.markdown, "w") as file:
                file.write(tables(entries) + "\n")

    for is_proxied, names in groups(options.names):
        try:
            play_group(is_proxied, names, options, place, broker, entries, keep)
        except Exception as trouble:  # The other group may still be played.
            traceback.print_exc()
            troubles.append(str(trouble))
    print()
    print(tables(entries))
    bad = [entry["name"] for entry in entries if not entry["good"]]
    if troubles:
        print(f"\nnot played to the end: {'; '.join(troubles)}")
    print(f"\n{len(entries)} played, bad: {', '.join(bad) or 'none'}")
    return 1 if bad or troubles else 0


if __name__ == "__main__":
    sys.exit(main())
