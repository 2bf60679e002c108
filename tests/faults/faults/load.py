"""Clients: writers over AMQP and HTTP, readers of every instance, and who waits for new items.

What they did and saw is in a `History`; times are those of time.time()."""

import collections
import heapq
import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field

import pika
import pika.exceptions

from .client import ask, item

EXCHANGE = "kindred.items"
HTTP_WRITERS, AMQP_WRITERS = 6, 4
WATCHERS = 12
WRITE_TIMEOUT_S = 10
READ_TIMEOUT_S = 5
WATCH_TIMEOUT_S = 2
READY_TIMEOUT_S = 1
# Between two requests of a reader.
READ_EVERY_S = 0.1
READY_EVERY_S = 0.2
# Between two tries of a write that was not acknowledged.
AGAIN_S = 0.2
# Between two looks for a new item, as a share of how long it is waited for.
WATCH_EVERY, WATCH_LEAST_S = 0.02, 0.1
# What writers do, with its weight.
KINDS = {"create": 6, "change": 2, "delete": 1, "hide": 1}
HEARTBEAT_S = 10


@dataclass(eq=False)
class Operation:
    """One event: what was sent, how often, and what is known of it."""

    domain: str
    id: str
    version: int
    kind: str
    event: dict
    via: str = ""
    first: float = 0.0
    attempts: int = 0
    acknowledged: float | None = None
    seen: float | None = None
    gone: bool | None = None

    @property
    def is_visible(self):
        return self.kind in ("create", "change")


@dataclass(eq=False)
class Read:
    service: str
    begun: float
    seconds: float
    status: int
    stale: bool
    # Whether the instance was down on purpose at some time of the request.
    down: bool
    # Not found, though it is visible and was never anything else.
    missing: bool = False

    @property
    def failed(self):
        return self.status not in (200, 404)


@dataclass
class Probe:
    """An answer of /readyz."""

    service: str
    at: float
    ready: bool
    down: bool


@dataclass
class Item:
    operations: list = field(default_factory=list)
    # Since when no instance may answer it; None: it may be answered.
    gone_since: float | None = None


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.items = collections.defaultdict(Item)
        # Items by domain that no write is under way for, so that one may be begun.
        self.settled = collections.defaultdict(list)
        self.reads, self.probes, self.broken_promises = [], [], []
        self.stale_deleted = 0
        self.last_version = 0

    def version(self):
        """Higher than all before; near the clock, as events without one would have it."""
        with self.lock:
            self.last_version = max(self.last_version + 1, int(time.time() * 1000))
            return self.last_version

    def begin(self, domain, id, kind, fields, version=None):
        """An operation that is about to be sent for the first time."""
        version = self.version() if version is None else version
        names = {"domain": domain, "id": id, "version": version}
        if kind == "delete":
            event = {"type": "item.deleted"} | names
        else:
            event = {"type": "item.created" if kind == "create" else "item.updated"} | names | fields
            if kind == "hide":
                event["hidden"] = True
        operation = Operation(domain, id, version, kind, event, first=time.time())
        with self.lock:
            of = self.items[domain, id]
            of.operations.append(operation)
            of.gone_since = None
        return operation

    def settle(self, operation):
        if operation.kind == "delete":
            return
        with self.lock:
            self.settled[operation.domain].append(operation.id)

    def take(self, source, domains):
        """An item for the next write, which nobody else writes meanwhile; None: there is none."""
        with self.lock:
            for domain in source.sample(domains, len(domains)):
                ids = self.settled[domain]
                if ids:
                    at = source.randrange(len(ids))
                    ids[at], ids[-1] = ids[-1], ids[at]
                    return domain, ids.pop()
        return None

    def some_item(self, source, domains):
        """An item for a reader, and its newest operation."""
        with self.lock:
            domain = source.choice(domains)
            ids = self.settled[domain]
            if not ids:
                return None
            id = source.choice(ids)
            return domain, id, self.items[domain, id].operations[-1]

    def is_visible_throughout(self, domain, id, newest):
        """Whether it never was hidden or deleted, and this operation is its newest still."""
        with self.lock:
            operations = self.items[domain, id].operations
            return operations[-1] is newest and all(one.is_visible for one in operations)

    def promise_gone(self, operation, at):
        """From here on no answer may hold it, unless it is written again."""
        with self.lock:
            of = self.items[operation.domain, operation.id]
            if of.operations[-1] is operation:
                of.gone_since = at

    def examine(self, service, domain, answer):
        """Looks for items in an answer that were promised to be in none."""
        if answer.status != 200:
            return
        ids = [one["id"] for one in answer.body.get("similar", [])] + [answer.body.get("id")]
        with self.lock:
            for id in ids:
                of = self.items.get((domain, id))
                if of and of.gone_since is not None and of.gone_since < answer.begun:
                    if answer.body.get("stale"):
                        self.stale_deleted += 1
                        continue
                    late = answer.begun - of.gone_since
                    broken = {"service": service, "domain": domain, "id": id, "seconds_after": round(late, 4)}
                    self.broken_promises.append(broken)

    def operations(self):
        with self.lock:
            return [one for of in self.items.values() for one in of.operations]


class Pace:
    """So many a second for all who ask; what could not be begun in time is not made up for."""

    def __init__(self, rate):
        self.rate = rate
        self.lock = threading.Lock()
        self.next = time.monotonic()

    def wait(self, stopped):
        """Until it is one's turn; false: stopped."""
        with self.lock:
            now = time.monotonic()
            self.next = max(self.next, now - 1) + 1 / self.rate
            turn = self.next
        return not stopped.wait(max(0, turn - now))


class Load:
    def __init__(self, cluster, history, texts, domains, rate, seed=1):
        self.cluster, self.history, self.texts, self.domains = cluster, history, texts, domains
        self.pace = Pace(rate)
        self.seeds = itertools.count(seed * 1000)
        self.names = itertools.count()
        # No new writes; no more tries of old ones; nobody looks any more.
        self.writing_stopped, self.trying_stopped, self.stopped = (threading.Event() for _ in range(3))
        self.writers, self.others = [], []
        self.watched, self.watch = [], threading.Condition()
        self.order = itertools.count()
        self.pending = 0
        self.prefix = f"new-{int(time.time())}"

    def start(self, http_writers=HTTP_WRITERS, amqp_writers=AMQP_WRITERS, kinds=None):
        kinds = kinds or KINDS
        for _ in range(http_writers):
            self.thread(self.writers, self.write, self.send_http, kinds)
        for _ in range(amqp_writers):
            self.thread(self.writers, self.write, AmqpSender(self).send, kinds)
        for service in self.cluster.services:
            self.watch_service(service)
        for _ in range(WATCHERS):
            self.thread(self.others, self.look)

    def watch_service(self, service):
        """A reader of this instance, and one who asks whether it is ready."""
        self.thread(self.others, self.read, service)
        self.thread(self.others, self.ask_ready, service)

    def thread(self, threads, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    def stop_writing(self, patience):
        """No new writes; those under way may be tried again for so many seconds."""
        self.writing_stopped.set()
        deadline = time.monotonic() + patience
        for thread in self.writers:
            thread.join(max(0, deadline - time.monotonic()))
        self.trying_stopped.set()
        for thread in self.writers:
            thread.join()

    def wait_seen(self, patience):
        """Until every acknowledged new item was seen in a list of its own; how many were not."""
        deadline = time.monotonic() + patience
        with self.watch:
            while self.watched or self.pending:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self.watch.wait(min(1, left))
            return len(self.watched) + self.pending

    def stop(self):
        self.stopped.set()
        with self.watch:
            self.watch.notify_all()
        for thread in self.others:
            thread.join()

    # Writing.

    def write(self, send, kinds):
        source = random.Random(next(self.seeds))
        while self.pace.wait(self.writing_stopped):
            operation = self.choose(source, kinds)
            if operation.kind == "create":
                self.expect(operation)
            if self.until_acknowledged(operation, source, send) and operation.kind != "create":
                self.history.settle(operation)

    def choose(self, source, kinds):
        kind = source.choices(list(kinds), list(kinds.values()))[0]
        taken = None if kind == "create" else self.history.take(source, self.domains)
        if taken is None:
            taken, kind = (source.choice(self.domains), f"{self.prefix}-{next(self.names)}"), "create"
        # New ones are English: only there does every text have a score with every other, and so a list.
        fields = {} if kind == "delete" else self.texts.fields(source, 0 if kind == "create" else None)
        return self.history.begin(*taken, kind, fields)

    def until_acknowledged(self, operation, source, send):
        """Sends it again until it is acknowledged: it has a version, and may come any number of times."""
        while True:
            operation.attempts += 1
            if send(operation, source):
                operation.acknowledged = time.time()
                return True
            if self.trying_stopped.wait(AGAIN_S):
                return False

    def send_http(self, operation, source, service=None):
        """Through any instance that is not down on purpose."""
        operation.via = "http"
        services = [service] if service else self.cluster.answering()
        if not services:
            return False
        port = source.choice(services).port
        path = item(operation.domain, operation.id)
        if operation.kind == "delete":
            answer = ask(port, "DELETE", f"{path}?version={operation.version}", timeout=WRITE_TIMEOUT_S)
        else:
            answer = ask(port, "PUT", path, operation.event, WRITE_TIMEOUT_S)
        operation.gone = answer.body.get("gone")
        if operation.gone:
            self.history.promise_gone(operation, answer.ended)
        return answer.status == 202

    # Waiting for what was written.

    def expect(self, operation):
        with self.watch:
            heapq.heappush(self.watched, (time.time(), next(self.order), operation))
            self.watch.notify()

    def look(self):
        source = random.Random(next(self.seeds))
        while not self.stopped.is_set():
            with self.watch:
                now = time.time()
                if not self.watched or self.watched[0][0] > now:
                    self.watch.wait(min(0.5, self.watched[0][0] - now) if self.watched else 0.5)
                    continue
                _, _, operation = heapq.heappop(self.watched)
                self.pending += 1
            is_seen = self.is_served(operation, source)
            with self.watch:
                self.pending -= 1
                if is_seen:
                    self.watch.notify_all()
                elif not (self.trying_stopped.is_set() and operation.acknowledged is None):
                    age = time.time() - operation.first
                    due = time.time() + max(WATCH_LEAST_S, age * WATCH_EVERY)
                    heapq.heappush(self.watched, (due, next(self.order), operation))
            if is_seen:
                self.history.settle(operation)

    def is_served(self, operation, source):
        services = self.cluster.answering()
        if not services:
            return False
        path = f"{item(operation.domain, operation.id)}/similar?limit=1"
        answer = ask(source.choice(services).port, "GET", path, timeout=WATCH_TIMEOUT_S)
        if answer.status == 200 and answer.body.get("similar"):
            operation.seen = answer.ended
            return True
        return False

    # Reading.

    def read(self, service):
        source = random.Random(next(self.seeds))
        while not self.stopped.wait(READ_EVERY_S):
            chosen = self.history.some_item(source, self.domains)
            if chosen is None:
                continue
            domain, id, before = chosen
            self.read_one(service, domain, id, before)

    def read_one(self, service, domain, id, before):
        was_down = service.down
        path = f"{item(domain, id)}/similar?limit=50"
        answer = ask(service.port, "GET", path, timeout=READ_TIMEOUT_S)
        stale = bool(answer.body.get("stale"))
        read = Read(
            service.name, answer.begun, answer.seconds, answer.status, stale, was_down or service.down
        )
        self.history.examine(service.name, domain, answer)
        read.missing = answer.status == 404 and self.history.is_visible_throughout(domain, id, before)
        self.history.reads.append(read)
        return answer

    def ask_ready(self, service):
        while not self.stopped.wait(READY_EVERY_S):
            was_down = service.down
            at = time.time()
            ready = ask(service.port, "GET", "/readyz", timeout=READY_TIMEOUT_S).status == 200
            self.history.probes.append(Probe(service.name, at, ready, was_down or service.down))


class AmqpSender:
    """A publisher with a connection of its own, one confirm after the other."""

    def __init__(self, load):
        self.load = load
        self.channel = self.connection = None

    def open(self):
        parameters = pika.URLParameters(self.load.cluster.amqp_url)
        parameters.heartbeat = HEARTBEAT_S
        parameters.blocked_connection_timeout = WRITE_TIMEOUT_S
        parameters.socket_timeout = parameters.stack_timeout = WRITE_TIMEOUT_S
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def send(self, operation, source):
        del source
        operation.via = "amqp"
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        body = json.dumps(operation.event).encode()
        try:
            if self.channel is None:
                self.open()
            self.channel.basic_publish(EXCHANGE, operation.domain, body, properties, mandatory=True)
            return True
        except (pika.exceptions.NackError, pika.exceptions.UnroutableError):
            return False
        except (pika.exceptions.AMQPError, OSError):
            self.close()
            return False

    def close(self):
        if self.connection is not None and self.connection.is_open:
            try:
                self.connection.close()
            except (pika.exceptions.AMQPError, OSError):
                pass
        self.channel = self.connection = None
