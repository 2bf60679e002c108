"""What must be true once all is quiet, in the words of Jepsen's tests of queues.

attempted: events that were sent. acknowledged: of these, the ones that a client was told are durable.
lost: acknowledged events whose item has an older version, or none. recovered: events that nobody
acknowledged and that are there all the same, which is allowed. duplicated: an item that a list names
twice, or that has two rows. unexpected: a version that nobody sent, or an item that is not as its
version says.

Lists are compared bit by bit with those of a `kindred standalone` with an empty store, which is given
the items that are left: it compares every item with every other one."""

import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time

from .client import ask, item
from .cluster import NotInTime, free_port, wait_for

QUIET_S = 300
# Two looks at the broker's counts, which lag.
COUNTS_LAG_S = 2
ORACLE_READY_S = 60
ORACLE_IMPORT_S = 1200
LIST = 50
ASK_TIMEOUT_S = 20
# Over HTTP at most this many lists are asked for, of each instance: of the large domain, and of all
# others. The tables are read whole.
SAMPLE, SAMPLE_OF_SMALL = 500, 5000
READERS = 4
EXAMPLES = 10
# `wrong` and `missing` are lists.
FAULTS = ("lost", "duplicated", "unexpected", "wrong", "missing")
COUNTS = ("attempted", "acknowledged", "recovered", "lists", *FAULTS)


def bits(score):
    return struct.pack("<f", score)


def wait_quiet(cluster, domains):
    """Until no event waits anywhere and all lists are stored, as the system itself tells."""
    begun = time.time()

    def quiet():
        if cluster.broker.messages(cluster.vhost, "kindred.items.p") != 0:
            return False
        for service in cluster.answering():
            answer = ask(service.port, "GET", "/v1/domains", timeout=ASK_TIMEOUT_S)
            if answer.status != 200:
                return False
            states = {one["domain"]: one for one in answer.body["domains"]}
            if any(name not in states or not states[name]["quiet"] for name in domains):
                return False
        return True

    def quiet_twice():
        if not quiet():
            return False
        time.sleep(COUNTS_LAG_S)
        return quiet()

    wait_for("all domains are quiet", QUIET_S, quiet_twice, every=0.5)
    return time.time() - begun


class Tables:
    """What the database holds of the domains, read at QUORUM."""

    def __init__(self, cluster, domains):
        self.items, self.lists, self.doubles = {}, {}, []
        with cluster.database() as session:
            buckets = {
                row.domain: row.buckets for row in session.execute("SELECT domain, buckets FROM domains")
            }
            of_bucket = session.prepare(
                "SELECT id, version, live, hidden, title FROM items WHERE domain = ? AND bucket = ?"
            )
            of_domain = session.prepare("SELECT id, neighbours FROM similar_items WHERE domain = ?")
            for domain in domains:
                for bucket in range(buckets.get(domain, 0)):
                    for row in session.execute(of_bucket, (domain, bucket)):
                        if (domain, row.id) in self.items:
                            self.doubles.append((domain, row.id))
                        self.items[domain, row.id] = row
                for row in session.execute(of_domain, (domain,)):
                    self.lists[domain, row.id] = [(id, bits(score)) for id, score in row.neighbours or ()]


class Oracle:
    """`kindred standalone` with nothing but the items it is given."""

    def __init__(self, cluster, events):
        self.place = tempfile.mkdtemp(prefix="oracle-", dir=cluster.place)
        self.port = free_port()
        environment = cluster.environment(
            KINDRED_LISTEN=f"127.0.0.1:{self.port}",
            KINDRED_DATA_DIR=f"{self.place}/data",
            KINDRED_PARTITIONS="1",
        )
        with open(f"{self.place}/log", "wb") as log:
            self.process = subprocess.Popen(
                [f"{cluster.programs}/kindred", "standalone"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.place,
            )
        try:
            wait_for("the oracle is ready", ORACLE_READY_S, self.is_ready)
            with open(f"{self.place}/items.ndjson", "w") as file:
                file.writelines(json.dumps(event) + "\n" for event in events)
            if events:
                url = f"http://127.0.0.1:{self.port}"
                arguments = ["import", "--wait", "--url", url, f"{self.place}/items.ndjson"]
                cluster.run_program(*arguments, timeout=ORACLE_IMPORT_S)
        except BaseException:
            self.end()
            raise

    def is_ready(self):
        return ask(self.port, "GET", "/readyz").status == 200

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


def list_over_http(port, domain, id):
    """Its list; None when the item is not visible. Raises when there is no answer."""
    answer = ask(port, "GET", f"{item(domain, id)}/similar?limit={LIST}", timeout=ASK_TIMEOUT_S)
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise NotInTime(f"port {port}, {domain} {id}: {answer.status} {answer.body}")
    return [(one["id"], bits(one["score"])) for one in answer.body["similar"]]


def lists_over_http(port, keys):
    """Key → list, by several connections; a failed one is told in place of a list."""
    found, turn, keys = {}, threading.Lock(), iter(keys)

    def work():
        while True:
            with turn:
                key = next(keys, None)
            if key is None:
                return
            try:
                found[key] = list_over_http(port, *key)
            except NotInTime as trouble:
                found[key] = str(trouble)

    threads = [threading.Thread(target=work) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Check:
    """One comparison of everything. `result` has the counts, `examples` some of what is at fault.

    All events ever sent are checked; attempted, acknowledged and recovered are of those since `since`."""

    def __init__(self, cluster, history, domains, large=None, since=0.0):
        self.cluster, self.history, self.domains, self.large = cluster, history, domains, large
        self.since = since
        self.examples = []
        self.result = dict.fromkeys(COUNTS, 0)
        self.result["quiet_after_s"] = None

    def fault(self, word, *what):
        self.result[word] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append([word, *map(str, what)])

    @property
    def is_good(self):
        return self.result["quiet_after_s"] is not None and not any(self.result[word] for word in FAULTS)

    def run(self):
        try:
            self.result["quiet_after_s"] = round(wait_quiet(self.cluster, self.domains), 1)
        except NotInTime as trouble:
            self.examples.append(["not quiet", str(trouble)])
        tables = Tables(self.cluster, self.domains)
        visible, live = self.check_items(tables)
        self.check_lists(tables, visible, live)
        return self

    def check_items(self, tables):
        """Key → event of every item that must be in lists, and of every live one: hidden ones count for what is usual."""
        for double in tables.doubles:
            self.fault("duplicated", "two rows of", *double)
        with self.history.lock:
            histories = {key: list(of.operations) for key, of in self.history.items.items() if of.operations}
        for key in tables.items.keys() - histories.keys():
            self.fault("unexpected", "an item that nobody sent:", *key)
        visible, live = {}, {}
        for key, operations in histories.items():
            acknowledged = [one for one in operations if one.acknowledged]
            self.result["attempted"] += sum(one.first >= self.since for one in operations)
            self.result["acknowledged"] += sum(one.first >= self.since for one in acknowledged)
            row = tables.items.get(key)
            version = row.version if row else -1
            for one in acknowledged:
                if one.version > version:
                    self.fault("lost", key, "version", one.version, "acknowledged, stored", version)
            if row is None:
                continue
            newest = next((one for one in operations if one.version == version), None)
            if newest is None:
                self.fault("unexpected", key, "version", version, "was not sent")
                continue
            if not newest.acknowledged and newest.first >= self.since:
                self.result["recovered"] += 1
            self.check_row(key, row, newest)
            if newest.is_visible:
                visible[key] = newest.event
            if newest.kind != "delete":
                live[key] = newest.event
        self.check_answers(histories, tables)
        return visible, live

    def check_row(self, key, row, newest):
        is_deleted = newest.kind == "delete"
        is_as_sent = row.live != is_deleted and (
            is_deleted or (row.title == newest.event["title"] and bool(row.hidden) == (newest.kind == "hide"))
        )
        if not is_as_sent:
            self.fault("unexpected", key, "is not as version", newest.version, "says:", row)

    def check_answers(self, histories, tables):
        """GET of each item, of each instance by turns, tells the version that is stored."""
        services = self.cluster.answering()
        keys = self.sample(histories)
        for n, key in enumerate(keys):
            answer = ask(services[n % len(services)].port, "GET", item(*key), timeout=ASK_TIMEOUT_S)
            row = tables.items.get(key)
            told = answer.body.get("version") if answer.status in (200, 404, 410) else answer.status
            if told != (row.version if row else None):
                where = services[n % len(services)].name
                self.fault("unexpected", key, where, "answers", answer.status, "version", told, "stored", row)

    def sample(self, keys):
        """All keys, as long as there are not too many."""
        chosen = []
        for most, is_large in ((SAMPLE_OF_SMALL, False), (SAMPLE, True)):
            those = [key for key in keys if (key[0] == self.large) == is_large]
            chosen += random.Random(len(those)).sample(those, min(most, len(those)))
        return chosen

    def check_lists(self, tables, visible, live):
        oracle = Oracle(self.cluster, list(live.values()))
        try:
            expected = lists_over_http(oracle.port, visible)
        finally:
            oracle.end()
        self.result["visible"] = len(visible)
        self.compare("the table", tables.lists, expected, visible)
        for key in tables.lists.keys() - visible.keys():
            self.fault("wrong", "the table has a list of", key, "which is not visible")
        # Some that must have none, too.
        hidden = [key for key in tables.items if key not in visible]
        for service in self.cluster.answering():
            asked = self.sample(visible) + hidden[:SAMPLE]
            self.compare(service.name, lists_over_http(service.port, asked), expected, asked)

    def compare(self, where, lists, expected, keys):
        for key in keys:
            found, right = lists.get(key), expected.get(key)
            self.result["lists"] += 1
            if found == right:
                continue
            if found is None:
                self.fault("missing", where, "has no list of", key)
            elif isinstance(found, str) or isinstance(right, str):
                self.fault("missing", where, key, found if isinstance(found, str) else right)
            else:
                ids = [id for id, _ in found]
                word = "duplicated" if len(set(ids)) < len(ids) else "wrong"
                differ = [n for n, pair in enumerate(zip(found, right or ())) if pair[0] != pair[1]]
                lengths = f"{len(found)} neighbours, expected {len(right) if right is not None else None}"
                self.fault(word, where, key, lengths, "first difference at", differ[:1])


def keep_examples(path, examples):
    with open(path, "a") as file:
        file.writelines(json.dumps(example) + "\n" for example in examples)
        file.flush()
        os.fsync(file.fileno())
